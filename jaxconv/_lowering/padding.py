"""Padding modes on arrays, and nothing else.

Along one axis a mode fills each end with a stretch of the axis itself: in its order (circular), reversed (reflect,
symmetric), or one position repeated (replicate). So padding is slices, reversals and a concatenation, and its
transpose adds the ends back onto the stretches that they came from: no gather, and no scatter in the gradient.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._spec.padding import filler

Widths = Sequence[tuple[int, int]]


def pad(x: jax.Array, widths: Widths, mode: str, value: object = 0) -> jax.Array:
    """`x` with (low, high) more positions along each axis; a negative amount crops.

    The axes are padded one after another, so corners are filled from what has been filled before; the order of the
    axes makes no difference. The amounts are taken as admissible.

    Args:
        x: any array.
        widths: one (low, high) pair per axis of `x`.
        mode: `"zeros"` (filled with `value`) or another padding mode.
        value: what fills the padding in mode `"zeros"`, a scalar.

    Returns:
        An array of the dtype of `x`, of size `n + low + high` along each axis.
    """
    if mode == "zeros":
        if not any(low or high for low, high in widths):
            return x
        return lax.pad(x, jnp.asarray(value, x.dtype), [(low, high, 0) for low, high in widths])
    for axis, (low, high) in enumerate(widths):
        before, (low, high), after = _stages(mode, low, high)
        x = _crop(x, axis, before)
        parts = [*_end(x, axis, mode, low, True), x, *_end(x, axis, mode, high, False)]
        x = _crop(lax.concatenate(parts, axis) if len(parts) > 1 else x, axis, after)
    return x


def pad_transpose(y: jax.Array, widths: Widths, mode: str, shape: Sequence[int]) -> jax.Array:
    """The transpose of `pad` from an array of `shape`: <pad_transpose(y), x> = <y, pad(x)>."""
    if mode == "zeros":
        return lax.pad(y, jnp.zeros((), y.dtype), [(-low, -high, 0) for low, high in widths])
    for axis, (low, high) in reversed(list(enumerate(widths))):
        before, (low, high), after = _stages(mode, low, high)
        y = _crop_transpose(y, axis, after)
        n = shape[axis] + sum(before)
        x = lax.slice_in_dim(y, low, low + n, axis=axis)
        for start, amount, at_start in ((0, low, True), (low + n, high, False)):
            if amount:
                end = lax.slice_in_dim(y, start, start + amount, axis=axis)
                first, length = _stretch(mode, n, amount, at_start)
                around = [(0, 0, 0)] * y.ndim
                around[axis] = (first, n - first - length, 0)
                x = x + lax.pad(_end_transpose(end, axis, mode), jnp.zeros((), y.dtype), around)
        y = _crop_transpose(x, axis, before)
    return y


def _stages(mode: str, low: int, high: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """What is cropped before padding, what is padded, and what is cropped after it, at both ends of an axis.

    PyTorch's circular padding wraps what is left of a cropped image; the other modes read the image as it was.
    """
    crop, grow = (min(low, 0), min(high, 0)), (max(low, 0), max(high, 0))
    return (crop, grow, (0, 0)) if mode == "circular" else ((0, 0), grow, crop)


def _stretch(mode: str, n: int, amount: int, at_start: bool) -> tuple[int, int]:
    """(first, length) of the stretch of an axis of size n that fills `amount` positions at its start or its end."""
    # What the positions next to the image and furthest from it repeat: the ends of the stretch.
    near, far = (filler(mode, i, n, at_start=at_start) for i in (0, amount - 1))
    if mode == "replicate":
        return near, 1
    ascending = (mode == "circular") != at_start  # outwards
    return (near if ascending else far), amount


def _end(x: jax.Array, axis: int, mode: str, amount: int, at_start: bool) -> list[jax.Array]:
    """What `amount` positions at one end of the padded axis hold; nothing where there are none."""
    if not amount:
        return []
    first, length = _stretch(mode, x.shape[axis], amount, at_start)
    stretch = lax.slice_in_dim(x, first, first + length, axis=axis)
    if mode == "circular":
        return [stretch]
    if mode == "replicate":
        shape = tuple(amount if a == axis else n for a, n in enumerate(x.shape))
        return [lax.broadcast_in_dim(stretch, shape, tuple(range(x.ndim)))]
    return [lax.rev(stretch, (axis,))]


def _end_transpose(end: jax.Array, axis: int, mode: str) -> jax.Array:
    if mode == "circular":
        return end
    if mode == "replicate":
        return jnp.sum(end, axis, keepdims=True, dtype=end.dtype)
    return lax.rev(end, (axis,))


def _crop(x: jax.Array, axis: int, amounts: tuple[int, int]) -> jax.Array:
    """`x` without its first -low and last -high positions, for amounts (low, high) that are not positive."""
    low, high = amounts
    return lax.slice_in_dim(x, -low, x.shape[axis] + high, axis=axis) if low or high else x


def _crop_transpose(x: jax.Array, axis: int, amounts: tuple[int, int]) -> jax.Array:
    low, high = amounts
    if not (low or high):
        return x
    around = [(0, 0, 0)] * x.ndim
    around[axis] = (-low, -high, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), around)
