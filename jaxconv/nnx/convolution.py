"""Layers for Flax NNX, with the arguments, parameters, initial distributions and texts of `torch.nn`.

A layer is a line of PyTorch with `rngs` added where it has parameters, which are `nnx.Param`s named `weight` and
`bias` in PyTorch's shapes. What PyTorch does not have is keyword-only.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import reprlib

from jaxconv._layers import convolution as _layer
from jaxconv._spec.arguments import IntOrInts
from jaxconv._spec.padding import Padding, Pads

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
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
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


class _Convolution(nnx.Module):
    """What all convolution layers share: their attributes, their parameters and their text."""

    rank: ClassVar[int]
    transposed: ClassVar[bool]

    in_channels: int | None
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...] | Pads
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    data_format: str
    dtype: Any
    param_dtype: Any
    precision: Any
    preferred_element_type: Any
    algorithm: str
    weight: Any  # an nnx.Param, or None where in_channels is still to be found
    bias: Any  # an nnx.Param, or None
    _weight_key: Any  # what the parameters are to be made from, until they are
    _bias_key: Any

    def _set_up(self, rngs: nnx.Rngs, bias: bool, **arguments: Any) -> None:
        """Keeps the arguments as attributes and makes the parameters, or what makes them at the first call."""
        for name, value in arguments.items():
            setattr(self, name, value)
        for name, value in _layer.check(self)._asdict().items():
            setattr(self, name, value)
        weight_key, bias_key = rngs.params(), rngs.params() if bias else None
        if self.in_channels is None:
            self.weight = self.bias = nnx.data(None)
            self._weight_key = nnx.data(nnx.RngKey(weight_key, tag="params"))
            self._bias_key = nnx.data(None if bias_key is None else nnx.RngKey(bias_key, tag="params"))
        else:
            self._make_parameters(self.in_channels, weight_key, bias_key)

    def _make_parameters(self, in_channels: int, weight_key: jax.Array, bias_key: jax.Array | None) -> None:
        shape = _layer.weight_shape(self, in_channels)
        weight_init, bias_init = _layer.initialisers(self, shape)
        self.weight = nnx.Param(weight_init(weight_key, shape, self.param_dtype))
        self.bias = nnx.data(
            None if bias_key is None else nnx.Param(bias_init(bias_key, (self.out_channels,), self.param_dtype))
        )

    def _apply(self, x: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        if self.in_channels is None:
            channels = _layer.channels_of(self, x)
            weight_key, bias_key = (None if k is None else k[...] for k in (self._weight_key, self._bias_key))
            assert weight_key is not None
            self._make_parameters(channels, weight_key, bias_key)
            self.in_channels, self._weight_key, self._bias_key = channels, None, None
        return _layer.call(self, x, self.weight[...], None if self.bias is None else self.bias[...], output_size)

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), kv_sep="", same_line=True)
        has_bias = self.bias is not None or getattr(self, "_bias_key", None) is not None
        yield reprlib.Attr("", _layer.extra_repr(self, has_bias), use_raw_key=True, use_raw_value=True)


class _Conv(_Convolution):
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        data_format: str = "channels_first",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
        weight_init: Any = None,
        bias_init: Any = None,
        rngs: nnx.Rngs,
    ):
        self._set_up(
            rngs,
            bias,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            padding_mode=padding_mode,
            data_format=data_format,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            preferred_element_type=preferred_element_type,
            algorithm=algorithm,
            weight_init=weight_init,
            bias_init=bias_init,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of `x` with this layer's weight; shapes and errors as of `jaxconv.conv2d` and its kin."""
        return self._apply(x)


class _ConvTranspose(_Convolution):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: IntOrInts | Sequence[tuple[int, int]] = 0,
        output_padding: IntOrInts = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrInts = 1,
        padding_mode: str = "zeros",
        *,
        data_format: str = "channels_first",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
        weight_init: Any = None,
        bias_init: Any = None,
        rngs: nnx.Rngs,
    ):
        self._set_up(
            rngs,
            bias,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            dilation=dilation,
            padding_mode=padding_mode,
            data_format=data_format,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            preferred_element_type=preferred_element_type,
            algorithm=algorithm,
            weight_init=weight_init,
            bias_init=bias_init,
        )

    def __call__(self, x: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        """The transposed convolution of `x`; shapes and errors as of `jaxconv.conv_transpose2d` and its kin."""
        return self._apply(x, output_size)


class Conv1d(_Conv):
    """1-D convolution with the meaning of `torch.nn.Conv1d`; the arguments are those of `Conv2d`.

    `padding` may also be `"causal"`: all of it at the start, so that no output depends on what comes after it.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv1d
        >>> Conv1d(16, 33, 3, padding="causal", dilation=4, rngs=nnx.Rngs(0))(jnp.ones((20, 16, 50))).shape
        (20, 33, 50)
    """

    rank = 1


class Conv2d(_Conv):
    """2-D convolution with the meaning of `torch.nn.Conv2d`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int, or one per spatial axis.
        stride: step between two output positions; an int, or one per spatial axis.
        padding: an int, or one per spatial axis, `"same"`, `"valid"`, or a (low, high) pair per spatial axis.
        dilation: step between two taps of the kernel; an int, or one per spatial axis.
        groups: number of blocks of channels convolved apart; `groups=in_channels` is the depthwise convolution.
        bias: whether a learnable bias is added.
        padding_mode: `"zeros"`, `"reflect"`, `"replicate"`, `"circular"` or `"symmetric"`.
        data_format: `"channels_first"` or `"channels_last"`, of input and output; the weight's shape is the same.
        dtype: what input and parameters are converted to; by default they are promoted to their common dtype.
        param_dtype: the dtype that the parameters are made in.
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return.
        algorithm: how to compute it, as in `jaxconv.conv2d`.
        weight_init: initialiser of the weight; by default PyTorch's, `jaxconv.init.conv_weight_init`.
        bias_init: initialiser of the bias; by default PyTorch's, `jaxconv.init.conv_bias_init`.
        rngs: where the keys of the initial parameters come from.

    Attributes:
        weight: `nnx.Param` of shape (out_channels, in_channels / groups, *kernel_size).
        bias: `nnx.Param` of shape (out_channels,), or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument that cannot be; the message names it, its value and a remedy.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv2d
        >>> layer = Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1), rngs=nnx.Rngs(0))
        >>> layer
        Conv2d(16, 33, kernel_size=(3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))
        >>> layer(jnp.ones((20, 16, 50, 100))).shape
        (20, 33, 26, 100)
    """

    rank = 2


class Conv3d(_Conv):
    """3-D convolution with the meaning of `torch.nn.Conv3d`; the arguments are those of `Conv2d`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv3d
        >>> Conv3d(16, 33, (3, 5, 2), stride=(2, 1, 1), rngs=nnx.Rngs(0))(jnp.ones((2, 16, 10, 20, 30))).shape
        (2, 33, 4, 16, 29)
    """

    rank = 3


class ConvTranspose1d(_ConvTranspose):
    """1-D transposed convolution, `torch.nn.ConvTranspose1d`; the arguments are those of `ConvTranspose2d`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import ConvTranspose1d
        >>> ConvTranspose1d(16, 33, 4, stride=2, padding=1, rngs=nnx.Rngs(0))(jnp.ones((20, 16, 50))).shape
        (20, 33, 100)
    """

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution with the meaning of `torch.nn.ConvTranspose2d`.

    It is called as `layer(x)` or `layer(x, output_size)`; `output_size`, the output's size along the spatial axes or
    along all axes, takes the place of `output_padding`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int, or one per spatial axis.
        stride: step between the kernels of two input positions; an int, or one per spatial axis.
        padding: what is cut off both ends of the output; an int, one per spatial axis, or (low, high) pairs.
        output_padding: positions added at the end of the output, fewer than stride or than dilation.
        groups: number of blocks of channels convolved apart.
        bias: whether a learnable bias is added.
        dilation: step between two taps of the kernel; an int, or one per spatial axis.
        padding_mode: `"zeros"`, or `"circular"`, which adds what is cut off one end to the other.
        data_format: `"channels_first"` or `"channels_last"`, of input and output; the weight's shape is the same.
        dtype: what input and parameters are converted to; by default they are promoted to their common dtype.
        param_dtype: the dtype that the parameters are made in.
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return.
        algorithm: how to compute it, as in `jaxconv.conv_transpose2d`.
        weight_init: initialiser of the weight; by default PyTorch's, `jaxconv.init.conv_weight_init`.
        bias_init: initialiser of the bias; by default PyTorch's, `jaxconv.init.conv_bias_init`.
        rngs: where the keys of the initial parameters come from.

    Attributes:
        weight: `nnx.Param` of shape (in_channels, out_channels / groups, *kernel_size).
        bias: `nnx.Param` of shape (out_channels,), or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument that cannot be; the message names it, its value and a remedy.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import ConvTranspose2d
        >>> layer = ConvTranspose2d(16, 33, 3, stride=2, padding=1, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((20, 16, 6, 7)), output_size=(12, 13)).shape
        (20, 33, 12, 13)
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """3-D transposed convolution, `torch.nn.ConvTranspose3d`; the arguments are those of `ConvTranspose2d`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import ConvTranspose3d
        >>> ConvTranspose3d(4, 8, (3, 5, 2), stride=(2, 1, 1), rngs=nnx.Rngs(0))(jnp.ones((2, 4, 5, 7, 6))).shape
        (2, 8, 11, 11, 7)
    """

    rank = 3


# ---------------------------------------------------------------------------------------------------------------
# Convolution layers that find in_channels at their first call
# ---------------------------------------------------------------------------------------------------------------


class _LazyConv(_Conv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(
            None,  # type: ignore[arg-type]  # found at the first call
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            rngs=rngs,
            **options,
        )


class _LazyConvTranspose(_ConvTranspose):
    def __init__(
        self,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: IntOrInts | Sequence[tuple[int, int]] = 0,
        output_padding: IntOrInts = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrInts = 1,
        padding_mode: str = "zeros",
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(
            None,  # type: ignore[arg-type]  # found at the first call
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            rngs=rngs,
            **options,
        )


class LazyConv1d(_LazyConv):
    """`Conv1d` without `in_channels`, which it finds at its first call, `torch.nn.LazyConv1d`; see `LazyConv2d`."""

    rank = 1


class LazyConv2d(_LazyConv):
    """`Conv2d` without `in_channels`, which it finds at its first call, `torch.nn.LazyConv2d`.

    Until then `weight` is None: call the model once before an optimiser is made of its parameters. The parameters are
    those of a `Conv2d` made with the same `rngs` at the same place.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import LazyConv2d
        >>> layer = LazyConv2d(33, 3, stride=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((20, 16, 50, 100))).shape, layer.in_channels
        ((20, 33, 24, 49), 16)
    """

    rank = 2


class LazyConv3d(_LazyConv):
    """`Conv3d` without `in_channels`, which it finds at its first call, `torch.nn.LazyConv3d`; see `LazyConv2d`."""

    rank = 3


class LazyConvTranspose1d(_LazyConvTranspose):
    """`ConvTranspose1d` without `in_channels`, `torch.nn.LazyConvTranspose1d`; see `LazyConv2d`."""

    rank = 1


class LazyConvTranspose2d(_LazyConvTranspose):
    """`ConvTranspose2d` without `in_channels`, `torch.nn.LazyConvTranspose2d`; see `LazyConv2d`."""

    rank = 2


class LazyConvTranspose3d(_LazyConvTranspose):
    """`ConvTranspose3d` without `in_channels`, `torch.nn.LazyConvTranspose3d`; see `LazyConv2d`."""

    rank = 3


# ---------------------------------------------------------------------------------------------------------------
# Layers without parameters
# ---------------------------------------------------------------------------------------------------------------


class _Plain(_layer.Plain, nnx.Module):
    """A module made of one of `_layer`'s dataclasses, which comes before this class among the bases."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        return self.compute(x)

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), kv_sep="", same_line=True)
        yield reprlib.Attr("", self.extra_repr(), use_raw_key=True, use_raw_value=True)


class ZeroPad1d(_layer.Pad, _Plain):
    """Pads the last axis with zeros, `torch.nn.ZeroPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ZeroPad1d
        >>> ZeroPad1d(1)(jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "constant"
    value = 0.0


class ZeroPad2d(_layer.Pad, _Plain):
    """Pads the last 2 axes with zeros, `torch.nn.ZeroPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ZeroPad2d
        >>> ZeroPad2d(1)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "constant"
    value = 0.0


class ZeroPad3d(_layer.Pad, _Plain):
    """Pads the last 3 axes with zeros, `torch.nn.ZeroPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ZeroPad3d
        >>> ZeroPad3d(1)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "constant"
    value = 0.0


class ReflectionPad1d(_layer.Pad, _Plain):
    """Pads the last axis with the image mirrored at its border, `torch.nn.ReflectionPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ReflectionPad1d
        >>> ReflectionPad1d(1)(jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "reflect"


class ReflectionPad2d(_layer.Pad, _Plain):
    """Pads the last 2 axes with the image mirrored at its border, `torch.nn.ReflectionPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ReflectionPad2d
        >>> ReflectionPad2d(1)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "reflect"


class ReflectionPad3d(_layer.Pad, _Plain):
    """Pads the last 3 axes with the image mirrored at its border, `torch.nn.ReflectionPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ReflectionPad3d
        >>> ReflectionPad3d(1)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "reflect"


class ReplicationPad1d(_layer.Pad, _Plain):
    """Pads the last axis with the image's border, `torch.nn.ReplicationPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ReplicationPad1d
        >>> ReplicationPad1d(1)(jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "replicate"


class ReplicationPad2d(_layer.Pad, _Plain):
    """Pads the last 2 axes with the image's border, `torch.nn.ReplicationPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ReplicationPad2d
        >>> ReplicationPad2d(1)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "replicate"


class ReplicationPad3d(_layer.Pad, _Plain):
    """Pads the last 3 axes with the image's border, `torch.nn.ReplicationPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ReplicationPad3d
        >>> ReplicationPad3d(1)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "replicate"


class CircularPad1d(_layer.Pad, _Plain):
    """Pads the last axis with the image's other end, `torch.nn.CircularPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import CircularPad1d
        >>> CircularPad1d(1)(jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1
    mode = "circular"


class CircularPad2d(_layer.Pad, _Plain):
    """Pads the last 2 axes with the image's other end, `torch.nn.CircularPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import CircularPad2d
        >>> CircularPad2d(1)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2
    mode = "circular"


class CircularPad3d(_layer.Pad, _Plain):
    """Pads the last 3 axes with the image's other end, `torch.nn.CircularPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import CircularPad3d
        >>> CircularPad3d(1)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3
    mode = "circular"


class ConstantPad1d(_layer.ConstantPad, _Plain):
    """Pads the last axis with `value`, `torch.nn.ConstantPad1d`.

    Args:
        padding: an int, or 2 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        value: what the padding holds.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ConstantPad1d
        >>> ConstantPad1d(1, 3.5)(jnp.ones((2, 3, 5))).shape
        (2, 3, 7)
    """

    rank = 1


class ConstantPad2d(_layer.ConstantPad, _Plain):
    """Pads the last 2 axes with `value`, `torch.nn.ConstantPad2d`.

    Args:
        padding: an int, or 4 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        value: what the padding holds.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ConstantPad2d
        >>> ConstantPad2d(1, 3.5)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 7, 9)
    """

    rank = 2


class ConstantPad3d(_layer.ConstantPad, _Plain):
    """Pads the last 3 axes with `value`, `torch.nn.ConstantPad3d`.

    Args:
        padding: an int, or 6 amounts: (low, high) of each axis, the last axis first; negative ones crop.
        value: what the padding holds.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ConstantPad3d
        >>> ConstantPad3d(1, 3.5)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 7, 9, 8)
    """

    rank = 3


class Unfold(_layer.Unfold, _Plain):
    """The patches of images as columns, `torch.nn.Unfold`; see `jaxconv.unfold`.

    Args:
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch.
        padding: zeros added at both ends.
        stride: step between two patches.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Unfold
        >>> Unfold((2, 3))(jnp.ones((2, 5, 3, 4))).shape
        (2, 30, 4)
    """


class Fold(_layer.Fold, _Plain):
    """Patches added up into images, `torch.nn.Fold`; see `jaxconv.fold`.

    Args:
        output_size: size of the images; an int, or one per spatial axis.
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch.
        padding: what is cut off both ends of the image.
        stride: step between two patches.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Fold
        >>> Fold((3, 4), (2, 3))(jnp.ones((2, 30, 4))).shape
        (2, 5, 3, 4)
    """


class MaxPool1d(_layer.MaxPool, _Plain):
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
        >>> from jaxconv.nnx import MaxPool1d
        >>> MaxPool1d(2)(jnp.ones((2, 3, 5))).shape
        (2, 3, 2)
    """

    rank = 1


class MaxPool2d(_layer.MaxPool, _Plain):
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
        >>> from jaxconv.nnx import MaxPool2d
        >>> MaxPool2d(2)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 3)
    """

    rank = 2


class MaxPool3d(_layer.MaxPool, _Plain):
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
        >>> from jaxconv.nnx import MaxPool3d
        >>> MaxPool3d(2)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 2, 3, 3)
    """

    rank = 3


class AvgPool1d(_layer.AvgPool, _Plain):
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
        >>> from jaxconv.nnx import AvgPool1d
        >>> AvgPool1d(2)(jnp.ones((2, 3, 5))).shape
        (2, 3, 2)
    """

    rank = 1


class AvgPool2d(_layer.AvgPoolWithDivisor, _Plain):
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
        >>> from jaxconv.nnx import AvgPool2d
        >>> AvgPool2d(2)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 3)
    """

    rank = 2


class AvgPool3d(_layer.AvgPoolWithDivisor, _Plain):
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
        >>> from jaxconv.nnx import AvgPool3d
        >>> AvgPool3d(2)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 2, 3, 3)
    """

    rank = 3


class AdaptiveAvgPool1d(_layer.AdaptiveAvgPool, _Plain):
    """The means of windows that give `output_size`, `torch.nn.AdaptiveAvgPool1d`.

    Args:
        output_size: an int, or one per spatial axis.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import AdaptiveAvgPool1d
        >>> AdaptiveAvgPool1d(4)(jnp.ones((2, 3, 5))).shape
        (2, 3, 4)
    """

    rank = 1


class AdaptiveAvgPool2d(_layer.AdaptiveAvgPool, _Plain):
    """The means of windows that give `output_size`, `torch.nn.AdaptiveAvgPool2d`.

    Args:
        output_size: an int, or one per spatial axis; None keeps a size.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import AdaptiveAvgPool2d
        >>> AdaptiveAvgPool2d((1, None))(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 1, 7)
    """

    rank = 2


class AdaptiveAvgPool3d(_layer.AdaptiveAvgPool, _Plain):
    """The means of windows that give `output_size`, `torch.nn.AdaptiveAvgPool3d`.

    Args:
        output_size: an int, or one per spatial axis; None keeps a size.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import AdaptiveAvgPool3d
        >>> AdaptiveAvgPool3d(2)(jnp.ones((2, 3, 5, 7, 6))).shape
        (2, 3, 2, 2, 2)
    """

    rank = 3


class Flatten(_layer.Flatten, _Plain):
    """Several axes made one, `torch.nn.Flatten`.

    Args:
        start_dim: the first of them.
        end_dim: the last of them.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Flatten
        >>> Flatten()(jnp.ones((2, 3, 5, 7))).shape
        (2, 105)
    """
