"""The public functions: convolution with PyTorch's arguments and meaning on JAX arrays."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import _spec
from jaxconv._lowering import xla
from jaxconv._spec import ConvSpec, IntOrInts, Padding

__all__ = ["conv2d"]

# Accumulating 16-bit floats in 16 bits loses all but three digits of a long sum.
_HALF_TYPES = (jnp.dtype("float16"), jnp.dtype("bfloat16"))


def conv2d(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    data_format: str = "channels_first",
    precision: Any = None,
    preferred_element_type: Any = None,
    algorithm: str = "auto",
) -> jax.Array:
    """2-D convolution, as `torch.nn.functional.conv2d` defines it.

    Args:
        input: images of shape (N, C, H, W) or (C, H, W); with `data_format="channels_last"` (N, H, W, C) or
            (H, W, C). Only N may be 0.
        weight: (out_channels, C / groups, kH, kW), in both data formats.
        bias: (out_channels,), or None.
        stride: step between two output positions; an int, or one per spatial axis.
        padding: an int, or one per spatial axis, added at both ends; `"same"` (stride 1 only; the odd element goes
            to the end), `"valid"`; or a (low, high) pair per spatial axis. Modes other than `"zeros"` take negative
            amounts too, which crop.
        dilation: step between two taps of the kernel; an int, or one per spatial axis.
        groups: number of blocks of channels that are convolved apart; `groups=C` is the depthwise convolution.
        padding_mode: `"zeros"`, `"reflect"` (amounts below the image's size), `"replicate"`, `"circular"` or
            `"symmetric"` (amounts up to the image's size).
        data_format: `"channels_first"` or `"channels_last"`, of input and output.
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return; by default that of `input`, with 16-bit floats
            accumulated in float32.
        algorithm: how to compute it: `"auto"` or `"xla"`.

    Returns:
        An array of shape (N, out_channels, H', W'), or without N or with the channels last as `input` has it, where
        H' = floor((H + low + high - dilation * (kH - 1) - 1) / stride) + 1, and W' likewise.

    Raises:
        TypeError: an argument of a wrong kind, or arrays of different dtypes.
        ValueError: an argument or a shape that cannot be; the message names it, its value and a remedy.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> images, weight = jnp.ones((20, 16, 50, 100)), jnp.ones((33, 16, 3, 5))
        >>> jaxconv.conv2d(images, weight, stride=(2, 1), padding=(4, 2), dilation=(3, 1)).shape
        (20, 33, 26, 100)
    """
    x, w, b = (
        as_array("input", input),
        as_array("weight", weight),
        None if bias is None else as_array("bias", bias),
    )
    _spec.check_dtypes(input=x.dtype, weight=w.dtype, bias=None if b is None else b.dtype)
    spec = _spec.parse_conv(
        2,
        x.shape,
        w.shape,
        None if b is None else b.shape,
        stride,
        padding,
        dilation,
        groups,
        padding_mode,
        data_format,
    )
    _spec.one_of("algorithm", algorithm, ("auto", "xla"))
    return _conv(x, w, b, spec, precision, preferred_element_type)


# Compiled as a whole where it is called eagerly; within another compiled function it leaves no trace (`inline`).
@partial(jax.jit, static_argnames=("spec", "precision", "preferred_element_type"), inline=True)
def _conv(x: jax.Array, w: jax.Array, b: jax.Array | None, spec: ConvSpec, precision, preferred_element_type):
    batched = x.ndim == spec.rank + 2
    y = xla.output(
        x if batched else x[None], w, spec, precision=precision, preferred_element_type=preferred_element_type
    )
    if b is not None:
        y = _add_bias(y, b, spec.channel_axis)
    return y if batched else y[0]


def _add_bias(y: jax.Array, b: jax.Array, channel_axis: int) -> jax.Array:
    """y + b along the channels. The gradient of b is a long sum, so 16-bit floats are widened for it."""
    wide = jnp.dtype("float32") if y.dtype in _HALF_TYPES else y.dtype
    shape = [1] * y.ndim
    shape[channel_axis] = b.size
    return (y.astype(wide) + b.astype(wide).reshape(shape)).astype(y.dtype)


def as_array(name: str, value: Any) -> jax.Array:
    """`value` as a JAX array; anything but an array is refused, as JAX's own functions do."""
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__jax_array__"):
        return jnp.asarray(value)
    raise TypeError(f"{name} must be an array, got {type(value).__name__}; convert it with jnp.asarray({name})")
