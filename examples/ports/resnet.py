"""ResNet-18, line for line as it stands in PyTorch.

    python -m examples.ports.resnet resnet18.safetensors

loads any checkpoint with torchvision's names: `conv1.weight`, `layer1.0.bn2.running_var`, `fc.bias`. What differs from
PyTorch's source is `rngs`, for the initial values, and the functions, which are not modules.
"""

import jax
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, MaxPool2d, Sequential


class BasicBlock(nnx.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, *, rngs: nnx.Rngs):
        self.conv1 = Conv2d(inplanes, planes, kernel_size=3, stride=stride, padding=1, bias=False, rngs=rngs)
        self.bn1 = BatchNorm2d(planes)
        self.conv2 = Conv2d(planes, planes, kernel_size=3, padding=1, bias=False, rngs=rngs)
        self.bn2 = BatchNorm2d(planes)
        self.downsample = nnx.data(None)
        if stride != 1 or inplanes != planes:
            self.downsample = Sequential(
                Conv2d(inplanes, planes, kernel_size=1, stride=stride, bias=False, rngs=rngs),
                BatchNorm2d(planes),
            )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, inplanes, H, W) → (N, planes, H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = nnx.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return nnx.relu(out + identity)


class ResNet18(nnx.Module):
    """Images (N, 3, H, W) → scores (N, num_classes); `width` is the number of channels of the first stage."""

    def __init__(self, num_classes: int = 1000, *, width: int = 64, rngs: nnx.Rngs):
        self.conv1 = Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False, rngs=rngs)
        self.bn1 = BatchNorm2d(width)
        self.maxpool = MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = stage(width, width, 1, rngs=rngs)
        self.layer2 = stage(width, width * 2, 2, rngs=rngs)
        self.layer3 = stage(width * 2, width * 4, 2, rngs=rngs)
        self.layer4 = stage(width * 4, width * 8, 2, rngs=rngs)
        self.avgpool = AdaptiveAvgPool2d((1, 1))
        self.flatten = Flatten()
        self.fc = nnx.Linear(width * 8, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        x = self.maxpool(nnx.relu(self.bn1(self.conv1(x))))
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        return self.fc(self.flatten(self.avgpool(x)))


def stage(inplanes: int, planes: int, stride: int, *, rngs: nnx.Rngs) -> Sequential:
    """Two blocks, the first with the given stride."""
    return Sequential(
        BasicBlock(inplanes, planes, stride, rngs=rngs),
        BasicBlock(planes, planes, rngs=rngs),
    )


if __name__ == "__main__":
    cli.main(lambda rngs: ResNet18(rngs=rngs), (1, 3, 224, 224))
