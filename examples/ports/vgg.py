"""VGG-11: convolutions, a flatten, and linear layers, with the channels last.

    python -m examples.ports.vgg vgg11.safetensors

loads any checkpoint with torchvision's names: `features.0.weight`, `classifier.0.weight`. The network takes
(N, H, W, 3) where PyTorch's takes (N, 3, H, W). The weights of convolutions are the same for both. But the first linear
layer reads the flattened image, and the columns of its weight are in PyTorch's order (C, H, W):
`flattened={"classifier.0": (512, 7, 7)}` has them reordered as the weights are loaded.
"""

from collections.abc import Sequence

import jax
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import AdaptiveAvgPool2d, Conv2d, Flatten, MaxPool2d, Sequential

LAST = "channels_last"
# Channels of the convolutions, and "M" for a pool.
SETTING = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


class VGG(nnx.Module):
    """Images (N, H, W, 3) → scores (N, num_classes)."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        setting: Sequence[int | str] = SETTING,
        side: int = 7,
        hidden: int = 4096,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
    ):
        layers, channels = [], 3
        for entry in setting:
            if isinstance(entry, str):
                layers.append(MaxPool2d(kernel_size=2, stride=2, data_format=LAST))
            else:
                layers += [Conv2d(channels, entry, kernel_size=3, padding=1, data_format=LAST, rngs=rngs), nnx.relu]
                channels = entry
        self.features = Sequential(*layers)
        self.avgpool = AdaptiveAvgPool2d((side, side), data_format=LAST)
        self.flatten = Flatten()
        self.classifier = Sequential(
            nnx.Linear(channels * side * side, hidden, rngs=rngs),
            nnx.relu,
            nnx.Dropout(dropout, rngs=rngs),
            nnx.Linear(hidden, hidden, rngs=rngs),
            nnx.relu,
            nnx.Dropout(dropout, rngs=rngs),
            nnx.Linear(hidden, num_classes, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        x = self.avgpool(self.features(x))
        return self.classifier(self.flatten(x))


if __name__ == "__main__":
    cli.main(lambda rngs: VGG(rngs=rngs), (1, 224, 224, 3), flattened={"classifier.0": (512, 7, 7)})
