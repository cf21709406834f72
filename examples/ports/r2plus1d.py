"""R(2+1)D-18: a video by convolutions in space and convolutions in time, one after the other.

    python -m examples.ports.r2plus1d r2plus1d_18.safetensors

loads any checkpoint with torchvision's names: `stem.0.weight`, `layer1.0.conv1.0.3.weight`, `fc.bias`.
"""

from collections.abc import Sequence

import jax
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import AdaptiveAvgPool3d, BatchNorm3d, Conv3d, Flatten, Sequential


def spatial(in_planes: int, out_planes: int, size: int, stride: int, *, rngs: nnx.Rngs) -> Conv3d:
    """A convolution of each frame."""
    return Conv3d(
        in_planes,
        out_planes,
        kernel_size=(1, size, size),
        stride=(1, stride, stride),
        padding=(0, size // 2, size // 2),
        bias=False,
        rngs=rngs,
    )


def temporal(in_planes: int, out_planes: int, stride: int = 1, *, rngs: nnx.Rngs) -> Conv3d:
    """A convolution of each pixel along time."""
    return Conv3d(
        in_planes,
        out_planes,
        kernel_size=(3, 1, 1),
        stride=(stride, 1, 1),
        padding=(1, 0, 0),
        bias=False,
        rngs=rngs,
    )


def conv2plus1d(in_planes: int, out_planes: int, mid: int, stride: int = 1, *, rngs: nnx.Rngs) -> Sequential:
    """`Conv2Plus1D`."""
    return Sequential(
        spatial(in_planes, mid, 3, stride, rngs=rngs),
        BatchNorm3d(mid),
        nnx.relu,
        temporal(mid, out_planes, stride, rngs=rngs),
    )


class BasicBlock(nnx.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, *, rngs: nnx.Rngs):
        # As many weights as a 3×3×3 convolution has.
        mid = (inplanes * planes * 3 * 3 * 3) // (inplanes * 3 * 3 + 3 * planes)
        self.conv1 = Sequential(conv2plus1d(inplanes, planes, mid, stride, rngs=rngs), BatchNorm3d(planes), nnx.relu)
        self.conv2 = Sequential(conv2plus1d(planes, planes, mid, rngs=rngs), BatchNorm3d(planes))
        self.downsample = nnx.data(None)
        if stride != 1 or inplanes != planes:
            conv = Conv3d(inplanes, planes, kernel_size=1, stride=stride, bias=False, rngs=rngs)
            self.downsample = Sequential(conv, BatchNorm3d(planes))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, inplanes, T, H, W) → (N, planes, T / stride, H / stride, W / stride)."""
        residual = x if self.downsample is None else self.downsample(x)
        return nnx.relu(self.conv2(self.conv1(x)) + residual)


class VideoResNet(nnx.Module):
    """Videos (N, 3, T, H, W) → scores (N, num_classes)."""

    def __init__(
        self,
        num_classes: int = 400,
        *,
        width: int = 64,
        stem: int = 45,
        layers: Sequence[int] = (2, 2, 2, 2),
        rngs: nnx.Rngs,
    ):
        self.stem = Sequential(
            spatial(3, stem, 7, 2, rngs=rngs),
            BatchNorm3d(stem),
            nnx.relu,
            temporal(stem, width, rngs=rngs),
            BatchNorm3d(width),
            nnx.relu,
        )
        self.depth, inplanes = len(layers), width
        for i, blocks in enumerate(layers):
            planes = width * 2**i
            stage = [BasicBlock(inplanes, planes, stride=1 if i == 0 else 2, rngs=rngs)]
            stage += [BasicBlock(planes, planes, rngs=rngs) for _ in range(blocks - 1)]
            setattr(self, f"layer{i + 1}", Sequential(*stage))
            inplanes = planes
        self.avgpool = AdaptiveAvgPool3d((1, 1, 1))
        self.flatten = Flatten()
        self.fc = nnx.Linear(inplanes, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        x = self.stem(x)
        for i in range(self.depth):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(self.flatten(self.avgpool(x)))


if __name__ == "__main__":
    cli.main(lambda rngs: VideoResNet(rngs=rngs), (1, 3, 16, 112, 112))
