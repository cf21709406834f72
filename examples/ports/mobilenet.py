"""MobileNetV2: narrow ends, a wide depthwise middle, and a shortcut past both.

    python -m examples.ports.mobilenet mobilenet_v2.safetensors

loads any checkpoint with torchvision's names: `features.0.0.weight`, `features.2.conv.1.0.weight`,
`classifier.1.bias`. `Sequential` numbers its entries as `nn.Sequential` does, functions included.
"""

from collections.abc import Sequence
from functools import partial

import jax
from flax import nnx

from examples.ports import cli
from examples.ports.parts import conv_norm
from jaxconv.nnx import BatchNorm2d, Conv2d, Sequential

# expansion, channels, repeats, stride of the first: the table in the paper.
SETTING = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


conv_norm_relu6 = partial(conv_norm, activation=nnx.relu6)


class InvertedResidual(nnx.Module):
    """Widen, convolve depthwise, narrow."""

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int, *, rngs: nnx.Rngs):
        hidden_dim = inp * expand_ratio
        self.use_res_connect = stride == 1 and inp == oup
        layers = []
        if expand_ratio != 1:
            layers.append(conv_norm_relu6(inp, hidden_dim, kernel_size=1, rngs=rngs))
        layers += [
            conv_norm_relu6(hidden_dim, hidden_dim, stride=stride, groups=hidden_dim, rngs=rngs),
            Conv2d(hidden_dim, oup, 1, bias=False, rngs=rngs),
            BatchNorm2d(oup),
        ]
        self.conv = Sequential(*layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, inp, H, W) → (N, oup, H / stride, W / stride)."""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nnx.Module):
    """Images (N, 3, H, W) → scores (N, num_classes)."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        setting: Sequence[tuple[int, int, int, int]] = SETTING,
        stem: int = 32,
        last: int = 1280,
        dropout: float = 0.2,
        rngs: nnx.Rngs,
    ):
        features: list = [conv_norm_relu6(3, stem, stride=2, rngs=rngs)]
        channels = stem
        for expand_ratio, width, repeats, first_stride in setting:
            for i in range(repeats):
                stride = first_stride if i == 0 else 1
                features.append(InvertedResidual(channels, width, stride, expand_ratio, rngs=rngs))
                channels = width
        features.append(conv_norm_relu6(channels, last, kernel_size=1, rngs=rngs))
        self.features = Sequential(*features)
        self.classifier = Sequential(nnx.Dropout(dropout, rngs=rngs), nnx.Linear(last, num_classes, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        x = self.features(x)
        return self.classifier(x.mean((2, 3)))


if __name__ == "__main__":
    cli.main(lambda rngs: MobileNetV2(rngs=rngs), (1, 3, 224, 224))
