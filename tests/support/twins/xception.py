import torch
from torch import nn


class SeparableConv2d(nn.Module):
    def __init__(self, inp, out, dilation=1):
        super().__init__()
        self.depthwise = nn.Conv2d(inp, inp, 3, padding=dilation, dilation=dilation, groups=inp, bias=False)
        self.pointwise = nn.Conv2d(inp, out, 1, bias=False)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class XceptionBlock(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.sep1 = SeparableConv2d(inp, out)
        self.norm1 = nn.BatchNorm2d(out)
        self.sep2 = SeparableConv2d(out, out, dilation=2)
        self.norm2 = nn.BatchNorm2d(out)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.skip = nn.Conv2d(inp, out, 1, stride=2, bias=False)
        self.skip_norm = nn.BatchNorm2d(out)

    def forward(self, x):
        out = self.norm1(self.sep1(torch.relu(x)))
        out = self.norm2(self.sep2(torch.relu(out)))
        return self.pool(out) + self.skip_norm(self.skip(x))


class Xception(nn.Module):
    def __init__(self, num_classes, stem, widths):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.blocks = nn.ModuleList([XceptionBlock(a, b) for a, b in zip([stem, *widths], widths, strict=False)])
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(torch.relu(x).mean((2, 3)))
