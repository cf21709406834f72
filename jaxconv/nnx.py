"""Convolution layers for Flax NNX, with the arguments, parameters and initial distributions of `torch.nn`."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import reprlib

from jaxconv import _layer
from jaxconv._spec import IntOrInts, Padding

__all__ = ["Conv2d"]


class _Conv(nnx.Module):
    """What the convolution layers of all ranks share."""

    rank: ClassVar[int]

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
        checked = _layer.check(
            self.rank,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            padding_mode,
            data_format,
        )
        self.in_channels = checked.in_channels
        self.out_channels = checked.out_channels
        self.kernel_size = checked.kernel_size
        self.stride = checked.stride
        self.padding = checked.padding
        self.dilation = checked.dilation
        self.groups = checked.groups
        self.padding_mode = checked.padding_mode
        self.data_format = checked.data_format
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.preferred_element_type = preferred_element_type
        self.algorithm = algorithm

        shape = _layer.weight_shape(self)
        weight_init, bias_init = _layer.initialisers(weight_init, bias_init, shape)
        self.weight = nnx.Param(weight_init(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(bias_init(rngs.params(), (out_channels,), param_dtype)) if bias else nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of `x` with this layer's weight; shapes and errors as of `jaxconv.conv2d`."""
        return _layer.call(self, x, self.weight[...], None if self.bias is None else self.bias[...])

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), kv_sep="", same_line=True)
        yield reprlib.Attr("", _layer.extra_repr(self, self.bias is not None), use_raw_key=True, use_raw_value=True)


class Conv2d(_Conv):
    """2-D convolution with the meaning of `torch.nn.Conv2d`: a line of PyTorch, with `rngs` added.

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
        rngs: where the key of the initial parameters comes from.

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
