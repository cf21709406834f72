"""DeepLabV3 on ResNet-50: dilation in place of strides, and five views of the result, one of them the mean of it all.

    python -m examples.ports.deeplab deeplabv3_resnet50.safetensors

loads any checkpoint with torchvision's names: `backbone.layer3.0.conv2.weight`, `classifier.0.convs.4.1.weight`,
`classifier.4.bias`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from examples.ports import cli
from jaxconv import interpolate
from jaxconv.nnx import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, MaxPool2d, Sequential


class Bottleneck(nnx.Module):
    """Narrow, convolve, widen, and a shortcut."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, dilation: int = 1, *, rngs: nnx.Rngs):
        self.conv1 = Conv2d(inplanes, planes, 1, bias=False, rngs=rngs)
        self.bn1 = BatchNorm2d(planes)
        self.conv2 = Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False, rngs=rngs)
        self.bn2 = BatchNorm2d(planes)
        self.conv3 = Conv2d(planes, planes * 4, 1, bias=False, rngs=rngs)
        self.bn3 = BatchNorm2d(planes * 4)
        self.downsample = nnx.data(None)
        if stride != 1 or inplanes != planes * 4:
            self.downsample = Sequential(
                Conv2d(inplanes, planes * 4, 1, stride, bias=False, rngs=rngs), BatchNorm2d(planes * 4)
            )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, inplanes, H, W) → (N, 4 · planes, H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = nnx.relu(self.bn1(self.conv1(x)))
        out = nnx.relu(self.bn2(self.conv2(out)))
        return nnx.relu(self.bn3(self.conv3(out)) + identity)


class Backbone(nnx.Module):
    """A ResNet without its last layer. Its last two stages are dilated: an eighth of the height and width is left."""

    def __init__(self, layers: Sequence[int], width: int, *, rngs: nnx.Rngs):
        self.conv1 = Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False, rngs=rngs)
        self.bn1 = BatchNorm2d(width)
        self.maxpool = MaxPool2d(kernel_size=3, stride=2, padding=1)
        # The first block of a stage still has the dilation of the stage before.
        for i, (stride, first, dilation) in enumerate(((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4))):
            inplanes, planes = width * (2 ** (i + 1) if i else 1), width * 2**i
            stage = [Bottleneck(inplanes, planes, stride, first, rngs=rngs)]
            stage += [Bottleneck(planes * 4, planes, 1, dilation, rngs=rngs) for _ in range(layers[i] - 1)]
            setattr(self, f"layer{i + 1}", Sequential(*stage))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, 3, H, W) → (N, 32 · width, H / 8, W / 8)."""
        x = self.maxpool(nnx.relu(self.bn1(self.conv1(x))))
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return x


def conv_norm_relu(in_channels: int, out_channels: int, rate: int = 0, *, rngs: nnx.Rngs) -> Sequential:
    """`ASPPConv`; without a rate the kernel is 1×1."""
    kernel_size = 3 if rate else 1
    conv = Conv2d(in_channels, out_channels, kernel_size, padding=rate, dilation=rate or 1, bias=False, rngs=rngs)
    return Sequential(conv, BatchNorm2d(out_channels), nnx.relu)


class ASPPPooling(Sequential):
    """The mean of the image, at every pixel of it."""

    def __init__(self, in_channels: int, out_channels: int, align_corners: bool, *, rngs: nnx.Rngs):
        conv = Conv2d(in_channels, out_channels, 1, bias=False, rngs=rngs)
        super().__init__(AdaptiveAvgPool2d(1), conv, BatchNorm2d(out_channels), nnx.relu)
        self.align_corners = align_corners

    def __call__(self, x: jax.Array, **flags) -> jax.Array:
        """(N, in_channels, H, W) → (N, out_channels, H, W)."""
        mean = super().__call__(x, **flags)
        return interpolate(mean, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)


class ASPP(nnx.Module):
    """Convolutions of several dilations and the mean, side by side, and a convolution that joins them."""

    def __init__(
        self,
        in_channels: int,
        rates: Sequence[int],
        out_channels: int,
        dropout: float,
        align_corners: bool,
        *,
        rngs: nnx.Rngs,
    ):
        self.convs = nnx.List([conv_norm_relu(in_channels, out_channels, rate, rngs=rngs) for rate in (0, *rates)])
        self.convs.append(ASPPPooling(in_channels, out_channels, align_corners, rngs=rngs))
        joined = conv_norm_relu(len(self.convs) * out_channels, out_channels, rngs=rngs)
        self.project = Sequential(*joined, nnx.Dropout(dropout, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_channels, H, W) → (N, out_channels, H, W)."""
        return self.project(jnp.concatenate([conv(x) for conv in self.convs], axis=1))


class DeepLabV3(nnx.Module):
    """Images (N, 3, H, W) → scores of every pixel (N, num_classes, H, W)."""

    def __init__(
        self,
        num_classes: int = 21,
        *,
        width: int = 64,
        layers: Sequence[int] = (3, 4, 6, 3),
        rates: Sequence[int] = (12, 24, 36),
        head: int = 256,
        dropout: float = 0.5,
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        self.align_corners = align_corners
        self.backbone = Backbone(layers, width, rngs=rngs)
        self.classifier = Sequential(
            ASPP(32 * width, rates, head, dropout, align_corners, rngs=rngs),
            Conv2d(head, head, kernel_size=3, padding=1, bias=False, rngs=rngs),
            BatchNorm2d(head),
            nnx.relu,
            Conv2d(head, num_classes, kernel_size=1, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores of every pixel."""
        out = self.classifier(self.backbone(x))
        return interpolate(out, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)


if __name__ == "__main__":
    cli.main(lambda rngs: DeepLabV3(rngs=rngs), (1, 3, 224, 224))
