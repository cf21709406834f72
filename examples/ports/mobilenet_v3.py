"""MobileNetV3 (small): inverted residuals with a squeeze and excitation of the channels, and hard activations.

    python -m examples.ports.mobilenet_v3 mobilenet_v3_small.safetensors

loads any checkpoint with torchvision's names: `features.0.0.weight`, `features.1.block.1.fc1.weight`,
`classifier.3.bias`.
"""

from collections.abc import Sequence
from functools import partial

import jax
from flax import nnx

from examples.ports import cli, parts
from examples.ports.parts import SqueezeExcitation
from jaxconv.nnx import AdaptiveAvgPool2d, BatchNorm2d, Flatten, Sequential

# channels in, kernel, expanded channels, channels out, with SE or not, activation, stride: the table in the paper.
Row = tuple[int, int, int, int, bool, str, int]
SETTING: tuple[Row, ...] = (
    (16, 3, 16, 16, True, "RE", 2),
    (16, 3, 72, 24, False, "RE", 2),
    (24, 3, 88, 24, False, "RE", 1),
    (24, 5, 96, 40, True, "HS", 2),
    (40, 5, 240, 40, True, "HS", 1),
    (40, 5, 240, 40, True, "HS", 1),
    (40, 5, 120, 48, True, "HS", 1),
    (48, 5, 144, 48, True, "HS", 1),
    (48, 5, 288, 96, True, "HS", 2),
    (96, 5, 576, 96, True, "HS", 1),
    (96, 5, 576, 96, True, "HS", 1),
)
conv_norm = partial(parts.conv_norm, norm=partial(BatchNorm2d, eps=0.001, momentum=0.01))


def make_divisible(value: int, divisor: int) -> int:
    """The nearest multiple of `divisor` that is not more than a tenth below `value`."""
    new = max(divisor, (value + divisor // 2) // divisor * divisor)
    return new + divisor if new < 0.9 * value else new


class InvertedResidual(nnx.Module):
    """Widen, convolve depthwise, weigh the channels, narrow."""

    def __init__(self, row: Row, divisor: int, *, rngs: nnx.Rngs):
        inp, kernel, expanded, out, use_se, activation, stride = row
        self.use_res_connect = stride == 1 and inp == out
        function = nnx.hard_swish if activation == "HS" else nnx.relu
        layers: list = []
        if expanded != inp:
            layers.append(conv_norm(inp, expanded, 1, activation=function, rngs=rngs))
        layers.append(conv_norm(expanded, expanded, kernel, stride, expanded, activation=function, rngs=rngs))
        if use_se:
            squeezed = make_divisible(expanded // 4, divisor)
            layers.append(SqueezeExcitation(expanded, squeezed, scale_activation=nnx.hard_sigmoid, rngs=rngs))
        layers.append(conv_norm(expanded, out, 1, activation=None, rngs=rngs))
        self.block = Sequential(*layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in, H, W) → (N, out, H / stride, W / stride)."""
        return x + self.block(x) if self.use_res_connect else self.block(x)


class MobileNetV3(nnx.Module):
    """Images (N, 3, H, W) → scores (N, num_classes)."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        setting: Sequence[Row] = SETTING,
        last: int = 1024,
        dropout: float = 0.2,
        divisor: int = 8,
        rngs: nnx.Rngs,
    ):
        channels = setting[0][0]
        layers: list = [conv_norm(3, channels, stride=2, activation=nnx.hard_swish, rngs=rngs)]
        for row in setting:
            layers.append(InvertedResidual(row, divisor, rngs=rngs))
            channels = row[3]
        layers.append(conv_norm(channels, 6 * channels, 1, activation=nnx.hard_swish, rngs=rngs))
        self.features = Sequential(*layers)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.flatten = Flatten()
        self.classifier = Sequential(
            nnx.Linear(6 * channels, last, rngs=rngs),
            nnx.hard_swish,
            nnx.Dropout(dropout, rngs=rngs),
            nnx.Linear(last, num_classes, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


if __name__ == "__main__":
    cli.main(lambda rngs: MobileNetV3(rngs=rngs), (1, 3, 224, 224))
