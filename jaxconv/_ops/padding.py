"""The public function `pad`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Shaped

from jaxconv._arrays import as_array, check_room
from jaxconv._lowering import padding
from jaxconv._ops.meshes import divided
from jaxconv._spec.padding import padded_size, parse_pad


def pad(
    input: Shaped[Array, "..."], pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Shaped[Array, "..."]:
    """Pads or crops the last axes of an array: `torch.nn.functional.pad`, and `mode="symmetric"`.

    Args:
        input: an array. Modes other than `"constant"` take 1 to 3 padded axes after one or two that are not.
        pad: (low, high) amounts, the *last* axis first: `(left, right, top, bottom)` for images. Negative amounts
            crop.
        mode: `"constant"`, `"reflect"`, `"replicate"`, `"circular"` or `"symmetric"`.
        value: what fills the padding in mode `"constant"`; 0 where it is None.

    Returns:
        An array of the dtype of `input`.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.pad(jnp.arange(4.0).reshape(1, 1, 4), (2, 1), mode="reflect")
        Array([[[2., 1., 0., 1., 2., 3., 2.]]], dtype=float32)
    """
    x = as_array("input", input)
    value = _number(value, x.dtype)
    widths, mode = parse_pad(x.shape, x.dtype, pad, mode, value)
    return _pad(x, _filler(value, x.dtype), widths, mode)


def _pad(x, value, widths, mode):
    check_room(padded_size(x.shape, widths), x.dtype, "pad less")
    return divided(_jit_pad, (x, value), [(0, axis) for axis in range(x.ndim)], widths=widths, mode=mode)


@partial(jax.jit, static_argnames=("widths", "mode"), inline=True)
def _jit_pad(x, value, widths, mode):
    return padding.pad(x, widths, mode, jnp.asarray(0 if value is None else value).astype(x.dtype))


def _number(value: Any, dtype: Any) -> Any:
    """`value` as a number, where it is an array and may not fit into an input of integers."""
    is_array = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer)
    if not is_array or dtype.kind not in "iu" or value.shape != () or value.dtype.kind not in "biufV":
        return value
    return value.item()


def _filler(value: Any, dtype: Any) -> Any:
    """A checked `value` as an argument of a compiled function; where it is None there is nothing to transfer."""
    if isinstance(value, int):  # JAX would make it an array of the signed dtype that it has by default
        return np.asarray(value, dtype) if dtype.kind in "iu" else bool(value) if dtype.kind == "b" else float(value)
    return value


def pad_images(input: jax.Array, rank: int, amounts, mode: str, value: float | None, data_format: str) -> jax.Array:
    """`pad` of the spatial axes, wherever the channels stand."""
    if data_format == "channels_first":
        return pad(input, amounts, mode, value)
    x = as_array("input", input)
    # Checked in the order of axes that PyTorch has, then put into the order that `x` has.
    first = (*x.shape[: -rank - 1], *x.shape[-1:], *x.shape[-rank - 1 : -1])
    value = _number(value, x.dtype)
    widths, mode = parse_pad(first, x.dtype, amounts, mode, value)
    widths = (*widths[: x.ndim - rank - 1], *widths[x.ndim - rank :], widths[x.ndim - rank - 1])
    return _pad(x, _filler(value, x.dtype), widths, mode)
