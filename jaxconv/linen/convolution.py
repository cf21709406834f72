"""Layers for Flax Linen, with the arguments, parameters, initial distributions and texts of `torch.nn`.

The arguments are those of `jaxconv.nnx` without `rngs`, as dataclass fields; `in_channels=None` finds it from the
input. Variables of a convolution layer: `{"params": {"weight", "bias"}}`, in PyTorch's shapes.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxconv._layers import convolution as _layer
from jaxconv._spec.arguments import IntOrInts
from jaxconv._spec.padding import Padding

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Flatten",
    "Fold",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Unfold",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


# ---------------------------------------------------------------------------------------------------------------
# Convolution layers
# ---------------------------------------------------------------------------------------------------------------


class _Convolution(nn.Module):
    """What all convolution layers share: the check of their fields, their parameters and their text."""

    rank: ClassVar[int]
    transposed: ClassVar[bool]

    def __post_init__(self):
        # Kept with one entry per spatial axis, as PyTorch's layers keep them; wrong arguments fail here, not in `init`.
        for name, value in _layer.check(self)._asdict().items():
            object.__setattr__(self, name, value)
        super().__post_init__()

    def _apply(self, x: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        layer: Any = self  # the fields are those of the subclasses
        channels = _layer.channels_of(self, x) if layer.in_channels is None else layer.in_channels
        shape = _layer.weight_shape(self, channels)
        weight_init, bias_init = _layer.initialisers(self, shape)
        weight = self.param("weight", weight_init, shape, layer.param_dtype)
        bias = self.param("bias", bias_init, (layer.out_channels,), layer.param_dtype) if layer.bias else None
        return _layer.call(self, x, weight, bias, output_size)

    def __repr__(self) -> str:
        layer: Any = self
        return f"{type(self).__name__}({_layer.extra_repr(self, layer.bias)})"


class _Conv(_Convolution):
    transposed = False

    in_channels: int | None
    out_channels: int
    kernel_size: IntOrInts
    stride: IntOrInts = 1
    padding: Padding = 0
    dilation: IntOrInts = 1
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    data_format: str = "channels_first"
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    preferred_element_type: Any = None
    algorithm: str = "auto"
    weight_init: Any = None
    bias_init: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of `x` with this layer's weight; shapes and errors as of `jaxconv.conv2d` and its kin."""
        return self._apply(x)


class _ConvTranspose(_Convolution):
    transposed = True

    in_channels: int | None
    out_channels: int
    kernel_size: IntOrInts
    stride: IntOrInts = 1
    padding: IntOrInts | Sequence[tuple[int, int]] = 0
    output_padding: IntOrInts = 0
    groups: int = 1
    bias: bool = True
    dilation: IntOrInts = 1
    padding_mode: str = "zeros"
    data_format: str = "channels_first"
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    preferred_element_type: Any = None
    algorithm: str = "auto"
    weight_init: Any = None
    bias_init: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        """The transposed convolution of `x`; shapes and errors as of `jaxconv.conv_transpose2d` and its kin."""
        return self._apply(x, output_size)


class Conv1d(_Conv):
    """1-D convolution with the meaning of `torch.nn.Conv1d`; the arguments are those of `jaxconv.nnx.Conv1d`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Conv1d
        >>> sound = jnp.ones((20, 16, 50))
        >>> Conv1d(16, 33, 3, padding="causal", dilation=4).init_with_output(jax.random.key(0), sound)[0].shape
        (20, 33, 50)
    """

    rank = 1


class Conv2d(_Conv):
    """2-D convolution with the meaning of `torch.nn.Conv2d`, as a Linen module.

    The arguments are those of `jaxconv.nnx.Conv2d` without `rngs`, as dataclass fields. Variables:
    `{"params": {"weight", "bias"}}`, in PyTorch's shapes.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument that cannot be; the message names it, its value and a remedy.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Conv2d
        >>> layer = Conv2d(None, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))
        >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 16, 50, 100)))
        >>> jax.tree.map(jnp.shape, variables)
        {'params': {'bias': (33,), 'weight': (33, 16, 3, 5)}}
        >>> layer.apply(variables, jnp.ones((20, 16, 50, 100))).shape
        (20, 33, 26, 100)
    """

    rank = 2


class Conv3d(_Conv):
    """3-D convolution with the meaning of `torch.nn.Conv3d`; the arguments are those of `jaxconv.nnx.Conv3d`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Conv3d
        >>> volumes = jnp.ones((2, 4, 5, 7, 6))
        >>> Conv3d(4, 8, (3, 5, 2), stride=(2, 1, 1)).init_with_output(jax.random.key(0), volumes)[0].shape
        (2, 8, 2, 3, 5)
    """

    rank = 3


class ConvTranspose1d(_ConvTranspose):
    """1-D transposed convolution, `torch.nn.ConvTranspose1d`; arguments as of `jaxconv.nnx.ConvTranspose1d`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import ConvTranspose1d
        >>> sound = jnp.ones((20, 16, 50))
        >>> ConvTranspose1d(16, 33, 4, stride=2, padding=1).init_with_output(jax.random.key(0), sound)[0].shape
        (20, 33, 100)
    """

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution, `torch.nn.ConvTranspose2d`; arguments as of `jaxconv.nnx.ConvTranspose2d`.

    It is called as `layer(x)` or `layer(x, output_size)`.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument that cannot be; the message names it, its value and a remedy.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import ConvTranspose2d
        >>> layer = ConvTranspose2d(16, 33, 3, stride=2, padding=1)
        >>> layer.init_with_output(jax.random.key(0), jnp.ones((20, 16, 6, 7)), output_size=(12, 13))[0].shape
        (20, 33, 12, 13)
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """3-D transposed convolution, `torch.nn.ConvTranspose3d`; arguments as of `jaxconv.nnx.ConvTranspose3d`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import ConvTranspose3d
        >>> volumes = jnp.ones((2, 4, 5, 7, 6))
        >>> ConvTranspose3d(4, 8, (3, 5, 2), stride=(2, 1, 1)).init_with_output(jax.random.key(0), volumes)[0].shape
        (2, 8, 11, 11, 7)
    """

    rank = 3


# ---------------------------------------------------------------------------------------------------------------
# Layers without parameters
# ---------------------------------------------------------------------------------------------------------------


class _Plain(nn.Module):
    """A module made of one of `_layer`'s dataclasses, which comes after this class among the bases."""

    def __post_init__(self):
        layer: Any = self
        layer.parse()
        super().__post_init__()

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        layer: Any = self
        return layer.compute(x)

    def __repr__(self) -> str:
        layer: Any = self
        return f"{type(self).__name__}({layer.extra_repr()})"


class ZeroPad1d(_Plain, _layer.Pad):
    """Pads the last axis with zeros, `torch.nn.ZeroPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ZeroPad1d
        >>> ZeroPad1d(1).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "constant"
    value = 0.0


class ZeroPad2d(_Plain, _layer.Pad):
    """Pads the last 2 axes with zeros, `torch.nn.ZeroPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ZeroPad2d
        >>> ZeroPad2d(1).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "constant"
    value = 0.0


class ZeroPad3d(_Plain, _layer.Pad):
    """Pads the last 3 axes with zeros, `torch.nn.ZeroPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ZeroPad3d
        >>> ZeroPad3d(1).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "constant"
    value = 0.0


class ReflectionPad1d(_Plain, _layer.Pad):
    """Pads the last axis with the image mirrored at its border, `torch.nn.ReflectionPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ReflectionPad1d
        >>> ReflectionPad1d(1).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "reflect"


class ReflectionPad2d(_Plain, _layer.Pad):
    """Pads the last 2 axes with the image mirrored at its border, `torch.nn.ReflectionPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ReflectionPad2d
        >>> ReflectionPad2d(1).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "reflect"


class ReflectionPad3d(_Plain, _layer.Pad):
    """Pads the last 3 axes with the image mirrored at its border, `torch.nn.ReflectionPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ReflectionPad3d
        >>> ReflectionPad3d(1).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "reflect"


class ReplicationPad1d(_Plain, _layer.Pad):
    """Pads the last axis with the image's border, `torch.nn.ReplicationPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ReplicationPad1d
        >>> ReplicationPad1d(1).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "replicate"


class ReplicationPad2d(_Plain, _layer.Pad):
    """Pads the last 2 axes with the image's border, `torch.nn.ReplicationPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ReplicationPad2d
        >>> ReplicationPad2d(1).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "replicate"


class ReplicationPad3d(_Plain, _layer.Pad):
    """Pads the last 3 axes with the image's border, `torch.nn.ReplicationPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ReplicationPad3d
        >>> ReplicationPad3d(1).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "replicate"


class CircularPad1d(_Plain, _layer.Pad):
    """Pads the last axis with the image's other end, `torch.nn.CircularPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import CircularPad1d
        >>> CircularPad1d(1).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "circular"


class CircularPad2d(_Plain, _layer.Pad):
    """Pads the last 2 axes with the image's other end, `torch.nn.CircularPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import CircularPad2d
        >>> CircularPad2d(1).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "circular"


class CircularPad3d(_Plain, _layer.Pad):
    """Pads the last 3 axes with the image's other end, `torch.nn.CircularPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import CircularPad3d
        >>> CircularPad3d(1).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "circular"


class ConstantPad1d(_Plain, _layer.ConstantPad):
    """Pads the last axis with `value`, `torch.nn.ConstantPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        value: what the padding holds.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ConstantPad1d
        >>> ConstantPad1d(1, 3.5).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1


class ConstantPad2d(_Plain, _layer.ConstantPad):
    """Pads the last 2 axes with `value`, `torch.nn.ConstantPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        value: what the padding holds.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ConstantPad2d
        >>> ConstantPad2d(1, 3.5).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2


class ConstantPad3d(_Plain, _layer.ConstantPad):
    """Pads the last 3 axes with `value`, `torch.nn.ConstantPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        value: what the padding holds.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ConstantPad3d
        >>> ConstantPad3d(1, 3.5).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3


class Unfold(_Plain, _layer.Unfold):
    """The patches of images as columns, `torch.nn.Unfold`; see `jaxconv.unfold`.

    Args:
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch.
        padding: zeros added at both ends.
        stride: step between two patches.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import Unfold
        >>> Unfold((2, 3)).apply({}, jnp.ones((2, 5, 3, 4))).shape
        (2, 30, 4)
    """


class Fold(_Plain, _layer.Fold):
    """Patches added up into images, `torch.nn.Fold`; see `jaxconv.fold`.

    Args:
        output_size: size of the images; an int, or one per spatial axis.
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch.
        padding: what is cut off both ends of the image.
        stride: step between two patches.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import Fold
        >>> Fold((3, 4), (2, 3)).apply({}, jnp.ones((2, 30, 4))).shape
        (2, 5, 3, 4)
    """


class MaxPool1d(_Plain, _layer.MaxPool):
    """The maximum of each window, `torch.nn.MaxPool1d`; see `jaxconv.max_pool1d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: minus infinities added at both ends, at most half of `kernel_size`.
        dilation: step between two positions of a window.
        return_indices: only False; the argument is there so that positional arguments mean what they do in PyTorch.
        ceil_mode: whether the last window may hang over the end.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import MaxPool1d
        >>> MaxPool1d(2).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 2)
    """

    rank = 1


class MaxPool2d(_Plain, _layer.MaxPool):
    """The maximum of each window, `torch.nn.MaxPool2d`; see `jaxconv.max_pool2d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: minus infinities added at both ends, at most half of `kernel_size`.
        dilation: step between two positions of a window.
        return_indices: only False; the argument is there so that positional arguments mean what they do in PyTorch.
        ceil_mode: whether the last window may hang over the end.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import MaxPool2d
        >>> MaxPool2d(2).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 3)
    """

    rank = 2


class MaxPool3d(_Plain, _layer.MaxPool):
    """The maximum of each window, `torch.nn.MaxPool3d`; see `jaxconv.max_pool3d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: minus infinities added at both ends, at most half of `kernel_size`.
        dilation: step between two positions of a window.
        return_indices: only False; the argument is there so that positional arguments mean what they do in PyTorch.
        ceil_mode: whether the last window may hang over the end.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import MaxPool3d
        >>> MaxPool3d(2).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 2, 3, 3)
    """

    rank = 3


class AvgPool1d(_Plain, _layer.AvgPool):
    """The mean of each window, `torch.nn.AvgPool1d`; see `jaxconv.avg_pool1d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: zeros added at both ends, at most half of `kernel_size`.
        ceil_mode: whether the last window may hang over the end.
        count_include_pad: whether padding counts in the divisor.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import AvgPool1d
        >>> AvgPool1d(2).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 2)
    """

    rank = 1


class AvgPool2d(_Plain, _layer.AvgPoolWithDivisor):
    """The mean of each window, `torch.nn.AvgPool2d`; see `jaxconv.avg_pool2d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: zeros added at both ends, at most half of `kernel_size`.
        ceil_mode: whether the last window may hang over the end.
        count_include_pad: whether padding counts in the divisor.
        divisor_override: what the sums are divided by in place of the number of positions.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import AvgPool2d
        >>> AvgPool2d(2).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 3)
    """

    rank = 2


class AvgPool3d(_Plain, _layer.AvgPoolWithDivisor):
    """The mean of each window, `torch.nn.AvgPool3d`; see `jaxconv.avg_pool3d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: zeros added at both ends, at most half of `kernel_size`.
        ceil_mode: whether the last window may hang over the end.
        count_include_pad: whether padding counts in the divisor.
        divisor_override: what the sums are divided by in place of the number of positions.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import AvgPool3d
        >>> AvgPool3d(2).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 2, 3, 3)
    """

    rank = 3


class AdaptiveAvgPool1d(_Plain, _layer.AdaptiveAvgPool):
    """The means of windows that give `output_size`, `torch.nn.AdaptiveAvgPool1d`.

    Args:
        output_size: an int, or one per spatial axis.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import AdaptiveAvgPool1d
        >>> AdaptiveAvgPool1d(4).apply({}, jnp.ones((2, 3, 5))).shape
        (2, 3, 4)
    """

    rank = 1


class AdaptiveAvgPool2d(_Plain, _layer.AdaptiveAvgPool):
    """The means of windows that give `output_size`, `torch.nn.AdaptiveAvgPool2d`.

    Args:
        output_size: an int, or one per spatial axis; None keeps a size.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import AdaptiveAvgPool2d
        >>> AdaptiveAvgPool2d((1, None)).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 1, 7)
    """

    rank = 2


class AdaptiveAvgPool3d(_Plain, _layer.AdaptiveAvgPool):
    """The means of windows that give `output_size`, `torch.nn.AdaptiveAvgPool3d`.

    Args:
        output_size: an int, or one per spatial axis; None keeps a size.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import AdaptiveAvgPool3d
        >>> AdaptiveAvgPool3d(2).apply({}, jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 2, 2, 2)
    """

    rank = 3


class Flatten(_Plain, _layer.Flatten):
    """Several axes made one, `torch.nn.Flatten`.

    Args:
        start_dim: the first of them.
        end_dim: the last of them.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import Flatten
        >>> Flatten().apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 105)
    """
