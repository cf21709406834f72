"""The activations that know of channels: PyTorch's arguments and meaning on JAX arrays."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Num

from jaxconv._arrays import as_array, wide
from jaxconv._ops.meshes import divided
from jaxconv._spec.activation import check_prelu_dtypes, parse_prelu, softmax_axis
from jaxconv._spec.shapes import Size

__all__ = ["prelu"]


def prelu(
    input: Num[jax.Array, "*shape"],
    weight: Num[jax.Array, "*C"],
    *,
    data_format: str = "channels_first",
) -> Num[jax.Array, "*shape"]:
    """x where it is positive, and weight * x elsewhere: `torch.nn.functional.prelu`.

    Args:
        input: an array of any shape, (N, C, ...) for a weight of C slopes; with `data_format="channels_last"`
            (N, ..., C). As in PyTorch the second axis is that of the channels, of an image without a batch too.
            Floating point.
        weight: one slope, of shape () or (1,), or one per channel, of shape (C,); of the dtype of `input`.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array of the shape and dtype of `input`. Gradients of 16-bit floats are accumulated in float32.

    Raises:
        TypeError: numbers other than floats, or arrays of different dtypes.
        ValueError: another number of slopes; the message names it and what would fit.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.prelu(jnp.array([[-2.0, 3.0], [4.0, -8.0]]), jnp.array([0.5, 0.25])).tolist()
        [[-1.0, 3.0], [4.0, -2.0]]
    """
    x, w = as_array("input", input), as_array("weight", weight)
    check_prelu_dtypes(x.dtype, w.dtype)
    shape, _ = parse_prelu(x.shape, w.shape, data_format)
    return divided(_prelu, (x, w), [(0, axis) for axis in range(x.ndim)], shape=shape)


@partial(jax.jit, static_argnames=("shape",), inline=True)
def _prelu(x: jax.Array, weight: jax.Array, shape: tuple[Size, ...]) -> jax.Array:
    """The slopes multiply only what is not positive, so that an infinity makes no NaN in their gradient."""
    dtype = x.dtype
    x, weight = x.astype(wide(dtype)), weight.astype(wide(dtype))
    return jnp.where(x > 0, x, weight.reshape(shape) * jnp.where(x > 0, 0, x)).astype(dtype)


def softmax2d(x: jax.Array, data_format: str) -> jax.Array:
    """The softmax over the channels at each position of 2-D images; 16-bit floats are computed in float32."""
    x = as_array("input", x)
    axis = softmax_axis(x.shape, x.dtype, data_format)
    places = [None if i == axis + x.ndim else (0, i) for i in range(x.ndim)]
    return divided(_softmax, (x,), places, axis=axis)


@partial(jax.jit, static_argnames=("axis",), inline=True)
def _softmax(x: jax.Array, axis: int) -> jax.Array:
    return jax.nn.softmax(x.astype(wide(x.dtype)), axis).astype(x.dtype)
