"""U-Net: down by pooling, up by transposed convolution, with a skip connection at each level.

    python -m examples.ports.unet unet.safetensors

loads a checkpoint of the same modules in PyTorch: `down.0.0.weight`, `up.2.weight`, `out.bias`. The weight of a
transposed convolution is (in_channels, out_channels, kH, kW), as in PyTorch, neither flipped nor transposed.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import Conv2d, ConvTranspose2d, MaxPool2d, Sequential


def double_conv(in_channels: int, out_channels: int, *, rngs: nnx.Rngs) -> Sequential:
    """Two convolutions that keep the size of the image."""
    return Sequential(
        Conv2d(in_channels, out_channels, 3, padding=1, rngs=rngs),
        nnx.relu,
        Conv2d(out_channels, out_channels, 3, padding=1, rngs=rngs),
        nnx.relu,
    )


class UNet(nnx.Module):
    """Images (N, in_channels, H, W) → scores of every pixel (N, num_classes, H, W)."""

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        rngs: nnx.Rngs,
    ):
        self.down = nnx.List([])
        for width in widths:
            self.down.append(double_conv(in_channels, width, rngs=rngs))
            in_channels = width
        self.pool = MaxPool2d(2)
        self.up = nnx.List([])
        self.merge = nnx.List([])
        for width in reversed(widths[:-1]):
            self.up.append(ConvTranspose2d(in_channels, width, kernel_size=2, stride=2, rngs=rngs))
            self.merge.append(double_conv(2 * width, width, rngs=rngs))
            in_channels = width
        self.out = Conv2d(in_channels, num_classes, kernel_size=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores of every pixel. For odd sides, `output_size` selects which of two sizes to return to."""
        across = []
        for block in self.down[:-1]:
            x = block(x)
            across.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = across.pop()
            x = up(x, output_size=skip.shape[2:])
            x = merge(jnp.concatenate([skip, x], axis=1))
        return self.out(x)


if __name__ == "__main__":
    cli.main(lambda rngs: UNet(rngs=rngs), (1, 3, 128, 128))
