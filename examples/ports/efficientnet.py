"""EfficientNet-B0: inverted residuals with SiLU, whose blocks are dropped at random in training.

    python -m examples.ports.efficientnet efficientnet_b0.safetensors

loads any checkpoint with torchvision's names: `features.1.0.block.0.0.weight`, `classifier.1.bias`.
"""

from collections.abc import Sequence

import jax
from flax import nnx

from examples.ports import cli
from examples.ports.parts import SqueezeExcitation, conv_norm
from jaxconv.nnx import AdaptiveAvgPool2d, Flatten, Sequential, StochasticDepth

# expansion, kernel, stride of the first, channels in, channels out, repeats: the table in the paper.
Row = tuple[int, int, int, int, int, int]
SETTING: tuple[Row, ...] = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


class MBConv(nnx.Module):
    """Widen, convolve depthwise, weigh the channels, narrow."""

    def __init__(self, ratio: int, kernel: int, stride: int, inp: int, out: int, p: float, *, rngs: nnx.Rngs):
        self.use_res_connect = stride == 1 and inp == out
        layers, expanded = [], inp * ratio
        if expanded != inp:
            layers.append(conv_norm(inp, expanded, 1, activation=nnx.silu, rngs=rngs))
        layers += [
            conv_norm(expanded, expanded, kernel, stride, expanded, activation=nnx.silu, rngs=rngs),
            SqueezeExcitation(expanded, max(1, inp // 4), activation=nnx.silu, rngs=rngs),
            conv_norm(expanded, out, 1, activation=None, rngs=rngs),
        ]
        self.block = Sequential(*layers)
        self.stochastic_depth = StochasticDepth(p, "row", rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, inp, H, W) → (N, out, H / stride, W / stride)."""
        return x + self.stochastic_depth(self.block(x)) if self.use_res_connect else self.block(x)


class EfficientNet(nnx.Module):
    """Images (N, 3, H, W) → scores (N, num_classes)."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        setting: Sequence[Row] = SETTING,
        last: int = 1280,
        stochastic_depth: float = 0.2,
        dropout: float = 0.2,
        rngs: nnx.Rngs,
    ):
        total, number = sum(row[-1] for row in setting), 0
        layers = [conv_norm(3, setting[0][3], stride=2, activation=nnx.silu, rngs=rngs)]
        for ratio, kernel, stride, inp, out, repeats in setting:
            stage = []
            for _ in range(repeats):
                stage.append(MBConv(ratio, kernel, stride, inp, out, stochastic_depth * number / total, rngs=rngs))
                stride, inp = 1, out
                number += 1
            layers.append(Sequential(*stage))
        layers.append(conv_norm(setting[-1][4], last, 1, activation=nnx.silu, rngs=rngs))
        self.features = Sequential(*layers)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.flatten = Flatten()
        self.classifier = Sequential(nnx.Dropout(dropout, rngs=rngs), nnx.Linear(last, num_classes, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


if __name__ == "__main__":
    cli.main(lambda rngs: EfficientNet(rngs=rngs), (1, 3, 224, 224))
