"""torchvision's `ops`: what several of its networks are made of."""

import torch
from torch import nn


def conv_norm(inp, out, kernel_size=3, stride=1, groups=1, activation=nn.ReLU, norm=nn.BatchNorm2d):
    layers = [
        nn.Conv2d(inp, out, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False),
        norm(out),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation()]))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeezed, activation=nn.ReLU, scale_activation=nn.Sigmoid):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x):
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


class StochasticDepth(nn.Module):
    """The mode "row", which every torchvision network takes."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        kept = torch.rand((len(x),) + (1,) * (x.ndim - 1), dtype=x.dtype) >= self.p
        return x * kept / (1 - self.p)
