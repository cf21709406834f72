import torch
from torch import nn


class SingleConv(nn.Sequential):
    def __init__(self, inp, out, num_groups):
        super().__init__()
        self.add_module("groupnorm", nn.GroupNorm(num_groups if inp >= num_groups else 1, inp))
        self.add_module("conv", nn.Conv3d(inp, out, 3, padding=1, bias=False))
        self.add_module("ReLU", nn.ReLU(inplace=True))


class DoubleConv(nn.Sequential):
    def __init__(self, inp, out, encoder, num_groups):
        super().__init__()
        mid = max(out // 2, inp) if encoder else out
        self.add_module("SingleConv1", SingleConv(inp, mid, num_groups))
        self.add_module("SingleConv2", SingleConv(mid, out, num_groups))


class Encoder(nn.Module):
    def __init__(self, inp, out, pool, num_groups):
        super().__init__()
        self.pooling = nn.MaxPool3d(2) if pool else None
        self.basic_module = DoubleConv(inp, out, True, num_groups)

    def forward(self, x):
        return self.basic_module(x if self.pooling is None else self.pooling(x))


class Decoder(nn.Module):
    def __init__(self, inp, out, num_groups):
        super().__init__()
        self.basic_module = DoubleConv(inp, out, False, num_groups)

    def forward(self, encoded, x):
        x = nn.functional.interpolate(x, size=encoded.size()[2:], mode="nearest")
        return self.basic_module(torch.cat((encoded, x), dim=1))


class UNet3D(nn.Module):
    def __init__(self, in_channels, out_channels, *, f_maps, num_groups):
        super().__init__()
        sizes = [in_channels, *f_maps]
        self.encoders = nn.ModuleList([Encoder(sizes[i], sizes[i + 1], i > 0, num_groups) for i in range(len(f_maps))])
        up = f_maps[::-1]
        self.decoders = nn.ModuleList(
            [Decoder(up[i] + up[i + 1], up[i + 1], num_groups) for i in range(len(f_maps) - 1)]
        )
        self.final_conv = nn.Conv3d(f_maps[0], out_channels, 1)

    def forward(self, x):
        across = []
        for encoder in self.encoders:
            x = encoder(x)
            across.insert(0, x)
        for decoder, encoded in zip(self.decoders, across[1:], strict=True):
            x = decoder(encoded, x)
        return self.final_conv(x)
