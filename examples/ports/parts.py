"""torchvision's `ops`: what several of its networks are made of."""

from collections.abc import Callable

import jax
from flax import nnx

from jaxconv.nnx import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Sequential

Function = Callable[[jax.Array], jax.Array]


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    groups: int = 1,
    *,
    activation: Function | None = nnx.relu,
    norm: Callable[..., BatchNorm2d] = BatchNorm2d,
    rngs: nnx.Rngs,
) -> Sequential:
    """`Conv2dNormActivation`, whose function is an entry without arrays, as PyTorch's module is."""
    padding = (kernel_size - 1) // 2
    layers = [
        Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False, rngs=rngs),
        norm(out_channels, rngs=rngs),
    ]
    return Sequential(*layers, *([] if activation is None else [activation]))


class SqueezeExcitation(nnx.Module):
    """Scales each channel by a function of all channels' means."""

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Function = nnx.relu,
        scale_activation: Function = nnx.sigmoid,
        *,
        rngs: nnx.Rngs,
    ):
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc1 = Conv2d(input_channels, squeeze_channels, 1, rngs=rngs)
        self.fc2 = Conv2d(squeeze_channels, input_channels, 1, rngs=rngs)
        self.activation = activation
        self.scale_activation = scale_activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, C, H, W) → the same."""
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x
