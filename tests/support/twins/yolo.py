from collections import OrderedDict

import torch
from torch import nn


class Conv(nn.Module):
    def __init__(self, inp, out, k=1, s=1):
        super().__init__()
        self.conv = nn.Conv2d(inp, out, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cv1 = Conv(channels, channels, 3)
        self.cv2 = Conv(channels, channels, 3)

    def forward(self, x):
        return self.cv2(self.cv1(x))


class C2f(nn.Module):
    def __init__(self, inp, out, n):
        super().__init__()
        self.cv1 = Conv(inp, out)
        self.cv2 = Conv((2 + n) * (out // 2), out)
        self.m = nn.ModuleList(Bottleneck(out // 2) for _ in range(n))

    def forward(self, x):
        y = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            y.append(block(y[-1]))
        return self.cv2(torch.cat(y, 1))


class SPPF(nn.Module):
    def __init__(self, inp, out, k=5):
        super().__init__()
        self.cv1 = Conv(inp, inp // 2)
        self.cv2 = Conv(inp // 2 * 4, out)
        self.m = nn.MaxPool2d(k, stride=1, padding=k // 2)

    def forward(self, x):
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(self.m(y[-1]))
        return self.cv2(torch.cat(y, 1))


class Neck(nn.Module):
    def __init__(self, *, widths, n):
        super().__init__()
        c3, c4, c5 = widths
        self.model = nn.ModuleDict(
            OrderedDict(
                {
                    "9": SPPF(c5, c5),
                    "10": nn.Upsample(None, 2, "nearest"),
                    "12": C2f(c5 + c4, c4, n),
                    "13": nn.Upsample(None, 2, "nearest"),
                    "15": C2f(c4 + c3, c3, n),
                    "16": Conv(c3, c3, 3, 2),
                    "18": C2f(c3 + c4, c4, n),
                    "19": Conv(c4, c4, 3, 2),
                    "21": C2f(c4 + c5, c5, n),
                }
            )
        )

    def forward(self, p3, p4, p5):
        m = self.model
        p5 = m["9"](p5)
        p4 = m["12"](torch.cat([m["10"](p5), p4], 1))
        p3 = m["15"](torch.cat([m["13"](p4), p3], 1))
        p4 = m["18"](torch.cat([m["16"](p3), p4], 1))
        p5 = m["21"](torch.cat([m["19"](p4), p5], 1))
        return p3, p4, p5
