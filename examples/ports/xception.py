"""A small Xception: separable convolutions, each a depthwise and a pointwise one.

    python -m examples.ports.xception xception.safetensors

loads a checkpoint of the same modules in PyTorch: `conv1.weight`, `blocks.0.sep1.depthwise.weight`,
`blocks.1.skip_norm.running_mean`, `fc.weight`.
"""

from collections.abc import Sequence

import jax
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import BatchNorm2d, Conv2d, MaxPool2d


class SeparableConv2d(nnx.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int = 1, rngs: nnx.Rngs):
        self.depthwise = Conv2d(
            in_channels,
            in_channels,
            3,
            padding=dilation,
            dilation=dilation,
            groups=in_channels,
            bias=False,
            rngs=rngs,
        )
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_channels, H, W) → (N, out_channels, H, W)."""
        return self.pointwise(self.depthwise(x))


class Block(nnx.Module):
    """Two separable convolutions and a pool, beside a strided 1×1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.sep1 = SeparableConv2d(in_channels, out_channels, rngs=rngs)
        self.norm1 = BatchNorm2d(out_channels)
        self.sep2 = SeparableConv2d(out_channels, out_channels, dilation=2, rngs=rngs)
        self.norm2 = BatchNorm2d(out_channels)
        self.pool = MaxPool2d(3, stride=2, padding=1)
        self.skip = Conv2d(in_channels, out_channels, 1, stride=2, bias=False, rngs=rngs)
        self.skip_norm = BatchNorm2d(out_channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_channels, H, W) → (N, out_channels, H / 2, W / 2)."""
        out = self.norm1(self.sep1(nnx.relu(x)))
        out = self.norm2(self.sep2(nnx.relu(out)))
        return self.pool(out) + self.skip_norm(self.skip(x))


class Xception(nnx.Module):
    """Images (N, 3, H, W) → scores (N, num_classes)."""

    def __init__(
        self, num_classes: int = 1000, *, stem: int = 32, widths: Sequence[int] = (128, 256, 728), rngs: nnx.Rngs
    ):
        self.conv1 = Conv2d(3, stem, 3, stride=2, bias=False, rngs=rngs)
        self.bn1 = BatchNorm2d(stem)
        self.blocks = nnx.List([])
        for width in widths:
            self.blocks.append(Block(stem, width, rngs=rngs))
            stem = width
        self.fc = nnx.Linear(stem, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        x = nnx.relu(self.bn1(self.conv1(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(nnx.relu(x).mean((2, 3)))


if __name__ == "__main__":
    cli.main(lambda rngs: Xception(rngs=rngs), (1, 3, 224, 224))
