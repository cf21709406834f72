"""The public function `pad`."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Shaped

from jaxconv._arrays import as_array
from jaxconv._lowering import padding
from jaxconv._spec.padding import parse_pad


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
    widths, mode = parse_pad(x.shape, x.dtype, pad, mode, value)
    if isinstance(value, int) and x.dtype.kind not in "iu":
        value = float(value)  # a long int fits into no array before it is converted
    return _pad(x, 0 if value is None else value, widths, mode)


@partial(jax.jit, static_argnames=("widths", "mode"), inline=True)
def _pad(x, value, widths, mode):
    return padding.pad(x, widths, mode, jnp.asarray(value).astype(x.dtype))


def pad_images(input: jax.Array, rank: int, amounts, mode: str, value: float | None, data_format: str) -> jax.Array:
    """`pad` of the spatial axes, wherever the channels stand."""
    if data_format == "channels_first":
        return pad(input, amounts, mode, value)
    x = as_array("input", input)
    # Checked in the order of axes that PyTorch has, then put into the order that `x` has.
    first = (*x.shape[: -rank - 1], *x.shape[-1:], *x.shape[-rank - 1 : -1])
    widths, mode = parse_pad(first, x.dtype, amounts, mode, value)
    widths = (*widths[: x.ndim - rank - 1], *widths[x.ndim - rank :], widths[x.ndim - rank - 1])
    return _pad(x, 0 if value is None else value, widths, mode)
