"""ConvNeXt-T: 7×7 depthwise convolutions, layer norm over the channels, and linear layers at every pixel.

    python -m examples.ports.convnext convnext_tiny.safetensors

loads any checkpoint with torchvision's names: `features.1.0.block.0.weight`, `features.1.0.layer_scale`,
`classifier.2.bias`. PyTorch's GELU is the exact one, and Flax's an approximation unless it is told otherwise.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import AdaptiveAvgPool2d, Conv2d, Flatten, LayerNorm, Sequential, StochasticDepth


class LayerNorm2d(LayerNorm):
    """Layer norm over the channels of each pixel."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, C, H, W) → the same."""
        return super().__call__(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def channels_last(x: jax.Array) -> jax.Array:
    """`Permute([0, 2, 3, 1])`."""
    return x.transpose(0, 2, 3, 1)


def channels_first(x: jax.Array) -> jax.Array:
    """`Permute([0, 3, 1, 2])`."""
    return x.transpose(0, 3, 1, 2)


def gelu(x: jax.Array) -> jax.Array:
    """`nn.GELU()`."""
    return nnx.gelu(x, approximate=False)


class CNBlock(nnx.Module):
    """A depthwise convolution, and two linear layers with four times the channels between them."""

    def __init__(self, dim: int, layer_scale: float, p: float, *, rngs: nnx.Rngs):
        self.block = Sequential(
            Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim, rngs=rngs),
            channels_last,
            LayerNorm(dim, eps=1e-6),
            nnx.Linear(dim, 4 * dim, rngs=rngs),
            gelu,
            nnx.Linear(4 * dim, dim, rngs=rngs),
            channels_first,
        )
        self.layer_scale = nnx.Param(jnp.full((dim, 1, 1), layer_scale))
        self.stochastic_depth = StochasticDepth(p, "row", rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, dim, H, W) → the same."""
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


class ConvNeXt(nnx.Module):
    """Images (N, 3, H, W) → scores (N, num_classes). `setting` gives the channels and the blocks of each stage."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        setting: Sequence[tuple[int, int]] = ((96, 3), (192, 3), (384, 9), (768, 3)),
        layer_scale: float = 1e-6,
        stochastic_depth: float = 0.1,
        rngs: nnx.Rngs,
    ):
        total, number = sum(depth for _, depth in setting), 0
        channels = setting[0][0]
        layers = [Sequential(Conv2d(3, channels, 4, stride=4, rngs=rngs), LayerNorm2d(channels, eps=1e-6))]
        for i, (width, depth) in enumerate(setting):
            if i > 0:
                layers.append(
                    Sequential(LayerNorm2d(channels, eps=1e-6), Conv2d(channels, width, 2, stride=2, rngs=rngs))
                )
            channels, stage = width, []
            for _ in range(depth):
                stage.append(CNBlock(width, layer_scale, stochastic_depth * number / (total - 1), rngs=rngs))
                number += 1
            layers.append(Sequential(*stage))
        self.features = Sequential(*layers)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.classifier = Sequential(
            LayerNorm2d(channels, eps=1e-6), Flatten(), nnx.Linear(channels, num_classes, rngs=rngs)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        return self.classifier(self.avgpool(self.features(x)))


if __name__ == "__main__":
    cli.main(lambda rngs: ConvNeXt(rngs=rngs), (1, 3, 224, 224))
