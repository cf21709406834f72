"""3-D U-Net: volumes instead of images, group norm before each convolution, up by the nearest voxel.

    python -m examples.ports.unet3d unet3d.safetensors

loads a checkpoint with the names of pytorch-3dunet: `encoders.0.basic_module.SingleConv1.groupnorm.weight`,
`decoders.0.basic_module.SingleConv2.conv.weight`, `final_conv.bias`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from examples.ports import cli
from jaxconv import interpolate
from jaxconv.nnx import Conv3d, GroupNorm, MaxPool3d, Sequential


def single_conv(in_channels: int, out_channels: int, num_groups: int, *, rngs: nnx.Rngs) -> Sequential:
    """Norm, convolution, function."""
    return Sequential(
        {
            "groupnorm": GroupNorm(num_groups if in_channels >= num_groups else 1, in_channels),
            "conv": Conv3d(in_channels, out_channels, kernel_size=3, padding=1, bias=False, rngs=rngs),
            "ReLU": nnx.relu,
        }
    )


def double_conv(in_channels: int, mid: int, out_channels: int, num_groups: int, *, rngs: nnx.Rngs) -> Sequential:
    """Two of them."""
    return Sequential(
        {
            "SingleConv1": single_conv(in_channels, mid, num_groups, rngs=rngs),
            "SingleConv2": single_conv(mid, out_channels, num_groups, rngs=rngs),
        }
    )


class Encoder(nnx.Module):
    """Half the size, except at first, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, first: bool, num_groups: int, *, rngs: nnx.Rngs):
        self.pooling = nnx.data(None if first else MaxPool3d(kernel_size=2))
        mid = max(out_channels // 2, in_channels)
        self.basic_module = double_conv(in_channels, mid, out_channels, num_groups, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_channels, D, H, W) → (N, out_channels, D // 2, H // 2, W // 2)."""
        return self.basic_module(x if self.pooling is None else self.pooling(x))


class Decoder(nnx.Module):
    """Up to the size of the volume from the way down, beside it, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, num_groups: int, *, rngs: nnx.Rngs):
        self.basic_module = double_conv(in_channels, out_channels, out_channels, num_groups, rngs=rngs)

    def __call__(self, encoded: jax.Array, x: jax.Array) -> jax.Array:
        """The larger and the smaller volume → (N, out_channels, D, H, W) of the larger one."""
        x = interpolate(x, size=encoded.shape[2:], mode="nearest")
        return self.basic_module(jnp.concatenate([encoded, x], axis=1))


class UNet3D(nnx.Module):
    """Volumes (N, in_channels, D, H, W) → scores of every voxel (N, out_channels, D, H, W)."""

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        *,
        f_maps: Sequence[int] = (64, 128, 256, 512),
        num_groups: int = 8,
        rngs: nnx.Rngs,
    ):
        self.encoders = nnx.List([])
        for i, width in enumerate(f_maps):
            self.encoders.append(Encoder(in_channels, width, i == 0, num_groups, rngs=rngs))
            in_channels = width
        self.decoders = nnx.List([])
        for width in reversed(f_maps[:-1]):
            self.decoders.append(Decoder(in_channels + width, width, num_groups, rngs=rngs))
            in_channels = width
        self.final_conv = Conv3d(in_channels, out_channels, kernel_size=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores of every voxel."""
        across = []
        for encoder in self.encoders:
            x = encoder(x)
            across.append(x)
        across.pop()
        for decoder in self.decoders:
            x = decoder(across.pop(), x)
        return self.final_conv(x)


if __name__ == "__main__":
    cli.main(lambda rngs: UNet3D(rngs=rngs), (1, 1, 32, 64, 64))
