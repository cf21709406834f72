import torch
from torch import nn


class DoubleConv(nn.Module):
    def __init__(self, inp, out, mid=None):
        super().__init__()
        mid = mid or out
        self.double_conv = nn.Sequential(
            nn.Conv2d(inp, mid, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, out, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inp, out))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = DoubleConv(inp, out, inp // 2)

    def forward(self, x1, x2):
        x1 = self.up(x1)
        dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = nn.functional.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([x2, x1], dim=1))


class OutConv(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel_size=1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self, n_channels, n_classes, *, width, depth):
        super().__init__()
        self.depth = depth
        self.inc = DoubleConv(n_channels, width)
        for i in range(1, depth + 1):
            out = width * 2**i // (2 if i == depth else 1)
            setattr(self, f"down{i}", Down(width * 2 ** (i - 1), out))
        for i in range(1, depth + 1):
            inp = width * 2 ** (depth + 1 - i)
            setattr(self, f"up{i}", Up(inp, inp // 2 // (1 if i == depth else 2)))
        self.outc = OutConv(width, n_classes)

    def forward(self, x):
        across = [self.inc(x)]
        for i in range(1, self.depth + 1):
            across.append(getattr(self, f"down{i}")(across[-1]))
        x = across.pop()
        for i in range(1, self.depth + 1):
            x = getattr(self, f"up{i}")(x, across.pop())
        return self.outc(x)
