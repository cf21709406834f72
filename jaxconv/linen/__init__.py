"""Layers for Flax Linen, with the arguments, parameters, initial distributions and texts of `torch.nn`.

The arguments are those of `jaxconv.nnx` without `rngs`, as dataclass fields; `in_channels=None` finds it from the
input. Variables of a convolution layer: `{"params": {"weight", "bias"}}`, in PyTorch's shapes.
"""

# A row a family.
# isort: off
# fmt: off
from jaxconv.linen.activation import PReLU, Softmax2d
from jaxconv.linen.containers import Identity, Sequential
from jaxconv.linen.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from jaxconv.linen.dropout import Dropout1d, Dropout2d, Dropout3d, StochasticDepth
from jaxconv.linen.normalization import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d,
    LayerNorm, LocalResponseNorm, RMSNorm,
)
from jaxconv.linen.padding import (
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d,
    ReflectionPad1d, ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d,
    ZeroPad1d, ZeroPad2d, ZeroPad3d,
)
from jaxconv.linen.parametrization import spectral_norm, weight_norm
from jaxconv.linen.patches import Flatten, Fold, Unfold
from jaxconv.linen.pooling import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d,
    AvgPool1d, AvgPool2d, AvgPool3d, LPPool1d, LPPool2d, LPPool3d,
    MaxPool1d, MaxPool2d, MaxPool3d, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d,
)
from jaxconv.linen.resampling import (
    ChannelShuffle, PixelShuffle, PixelUnshuffle, Upsample, UpsamplingBilinear2d, UpsamplingNearest2d,
)

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d",
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d",
    "ChannelShuffle",
    "CircularPad1d", "CircularPad2d", "CircularPad3d",
    "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "Dropout1d", "Dropout2d", "Dropout3d",
    "Flatten", "Fold",
    "GroupNorm",
    "Identity",
    "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "LPPool1d", "LPPool2d", "LPPool3d",
    "LayerNorm",
    "LocalResponseNorm",
    "MaxPool1d", "MaxPool2d", "MaxPool3d",
    "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
    "PReLU",
    "PixelShuffle", "PixelUnshuffle",
    "RMSNorm",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d",
    "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d",
    "Sequential", "Softmax2d", "StochasticDepth",
    "Unfold",
    "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d",
    "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
    "spectral_norm", "weight_norm",
]
