"""DenseNet-121: every layer reads what all layers of its block before it gave.

    python -m examples.ports.densenet densenet121.safetensors

loads any checkpoint with torchvision's names: `features.denseblock1.denselayer2.norm1.weight`, `classifier.bias`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Flatten, MaxPool2d, Sequential


class DenseLayer(nnx.Module):
    """Norm, function, convolution, twice."""

    def __init__(self, in_channels: int, growth_rate: int, bn_size: int, *, rngs: nnx.Rngs):
        self.norm1 = BatchNorm2d(in_channels)
        self.conv1 = Conv2d(in_channels, bn_size * growth_rate, kernel_size=1, bias=False, rngs=rngs)
        self.norm2 = BatchNorm2d(bn_size * growth_rate)
        self.conv2 = Conv2d(bn_size * growth_rate, growth_rate, kernel_size=3, padding=1, bias=False, rngs=rngs)

    def __call__(self, features: Sequence[jax.Array]) -> jax.Array:
        """Arrays (N, any, H, W) → (N, growth_rate, H, W)."""
        x = self.conv1(nnx.relu(self.norm1(jnp.concatenate(features, axis=1))))
        return self.conv2(nnx.relu(self.norm2(x)))


class DenseBlock(nnx.Module):
    """Layers that each add `growth_rate` channels: `denselayer1`, `denselayer2` and so on."""

    def __init__(self, num_layers: int, in_channels: int, growth_rate: int, bn_size: int, *, rngs: nnx.Rngs):
        self.num_layers = num_layers
        for i in range(num_layers):
            layer = DenseLayer(in_channels + i * growth_rate, growth_rate, bn_size, rngs=rngs)
            setattr(self, f"denselayer{i + 1}", layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, C, H, W) → (N, C + num_layers · growth_rate, H, W)."""
        features = [x]
        for i in range(self.num_layers):
            features.append(getattr(self, f"denselayer{i + 1}")(features))
        return jnp.concatenate(features, axis=1)


def transition(in_channels: int, out_channels: int, *, rngs: nnx.Rngs) -> Sequential:
    """Fewer channels, and half the height and width."""
    return Sequential(
        {
            "norm": BatchNorm2d(in_channels),
            "relu": nnx.relu,
            "conv": Conv2d(in_channels, out_channels, kernel_size=1, bias=False, rngs=rngs),
            "pool": AvgPool2d(kernel_size=2, stride=2),
        }
    )


class DenseNet(nnx.Module):
    """Images (N, 3, H, W) → scores (N, num_classes)."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        rngs: nnx.Rngs,
    ):
        channels = num_init_features
        features = {
            "conv0": Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False, rngs=rngs),
            "norm0": BatchNorm2d(channels),
            "relu0": nnx.relu,
            "pool0": MaxPool2d(kernel_size=3, stride=2, padding=1),
        }
        for i, num_layers in enumerate(block_config, start=1):
            features[f"denseblock{i}"] = DenseBlock(num_layers, channels, growth_rate, bn_size, rngs=rngs)
            channels += num_layers * growth_rate
            if i < len(block_config):
                features[f"transition{i}"] = transition(channels, channels // 2, rngs=rngs)
                channels //= 2
        features["norm5"] = BatchNorm2d(channels)
        self.features = Sequential(features)
        self.avgpool = AdaptiveAvgPool2d((1, 1))
        self.flatten = Flatten()
        self.classifier = nnx.Linear(channels, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        x = nnx.relu(self.features(x))
        return self.classifier(self.flatten(self.avgpool(x)))


if __name__ == "__main__":
    cli.main(lambda rngs: DenseNet(rngs=rngs), (1, 3, 224, 224))
