import torch
from torch import nn


def double_conv(inp, out):
    return nn.Sequential(nn.Conv2d(inp, out, 3, padding=1), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, in_channels, num_classes, widths):
        super().__init__()
        sizes = [in_channels, *widths]
        self.down = nn.ModuleList([double_conv(a, b) for a, b in zip(sizes, widths, strict=False)])
        self.pool = nn.MaxPool2d(2)
        upward = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList([nn.ConvTranspose2d(a, b, kernel_size=2, stride=2) for a, b in upward])
        self.merge = nn.ModuleList([double_conv(2 * b, b) for _, b in upward])
        self.out = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x):
        across = []
        for block in self.down[:-1]:
            across.append(block(x))
            x = self.pool(across[-1])
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = across.pop()
            x = merge(torch.cat([skip, up(x, output_size=skip.shape[2:])], dim=1))
        return self.out(x)
