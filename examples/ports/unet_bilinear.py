"""U-Net with batch norm, up by bilinear interpolation.

    python -m examples.ports.unet_bilinear unet.safetensors

loads a checkpoint with the names of the most used implementation in PyTorch (milesial/Pytorch-UNet with
`bilinear=True`): `inc.double_conv.0.weight`, `down1.maxpool_conv.1.double_conv.4.running_mean`, `outc.conv.bias`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from examples.ports import cli
from jaxconv import pad
from jaxconv.nnx import BatchNorm2d, Conv2d, MaxPool2d, Sequential, Upsample


class DoubleConv(nnx.Module):
    """Two convolutions that keep the size of the image."""

    def __init__(self, in_channels: int, out_channels: int, mid_channels: int | None = None, *, rngs: nnx.Rngs):
        mid = mid_channels or out_channels
        self.double_conv = Sequential(
            Conv2d(in_channels, mid, kernel_size=3, padding=1, bias=False, rngs=rngs),
            BatchNorm2d(mid),
            nnx.relu,
            Conv2d(mid, out_channels, kernel_size=3, padding=1, bias=False, rngs=rngs),
            BatchNorm2d(out_channels),
            nnx.relu,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_channels, H, W) → (N, out_channels, H, W)."""
        return self.double_conv(x)


class Down(nnx.Module):
    """Half the size, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.maxpool_conv = Sequential(MaxPool2d(2), DoubleConv(in_channels, out_channels, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_channels, H, W) → (N, out_channels, H // 2, W // 2)."""
        return self.maxpool_conv(x)


class Up(nnx.Module):
    """Twice the size, beside the image of that size from the way down, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.up = Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = DoubleConv(in_channels, out_channels, in_channels // 2, rngs=rngs)

    def __call__(self, x1: jax.Array, x2: jax.Array) -> jax.Array:
        """The smaller and the larger image → (N, out_channels, H, W) of the larger one."""
        x1 = self.up(x1)
        dy, dx = x2.shape[2] - x1.shape[2], x2.shape[3] - x1.shape[3]
        x1 = pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(jnp.concatenate([x2, x1], axis=1))


class OutConv(nnx.Module):
    """Scores of every pixel."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.conv = Conv2d(in_channels, out_channels, kernel_size=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_channels, H, W) → (N, out_channels, H, W)."""
        return self.conv(x)


class UNet(nnx.Module):
    """Images (N, n_channels, H, W) → scores of every pixel (N, n_classes, H, W)."""

    def __init__(self, n_channels: int = 3, n_classes: int = 2, *, width: int = 64, depth: int = 4, rngs: nnx.Rngs):
        self.depth = depth
        self.inc = DoubleConv(n_channels, width, rngs=rngs)
        for i in range(1, depth + 1):
            # The last level has half the channels that it would have: interpolation, unlike a transposed
            # convolution, keeps their number.
            out_channels = width * 2**i // (2 if i == depth else 1)
            setattr(self, f"down{i}", Down(width * 2 ** (i - 1), out_channels, rngs=rngs))
        for i in range(1, depth + 1):
            in_channels = width * 2 ** (depth + 1 - i)
            setattr(self, f"up{i}", Up(in_channels, in_channels // (2 if i == depth else 4), rngs=rngs))
        self.outc = OutConv(width, n_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores of every pixel."""
        across = [self.inc(x)]
        for i in range(1, self.depth + 1):
            across.append(getattr(self, f"down{i}")(across[-1]))
        x = across.pop()
        for i in range(1, self.depth + 1):
            x = getattr(self, f"up{i}")(x, across.pop())
        return self.outc(x)


if __name__ == "__main__":
    cli.main(lambda rngs: UNet(rngs=rngs), (1, 3, 128, 128))
