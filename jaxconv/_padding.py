"""Padding modes on arrays, and nothing else.

Each mode is a map from positions of the padded axis to positions of the axis. All are made of slices, reversals and
one concatenation per axis, whose derivatives are slices and sums again: there is no gather, and no scatter in the
gradient.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


def pad(x: jax.Array, widths: Sequence[tuple[int, int]], mode: str, value: object = 0) -> jax.Array:
    """`x` with (low, high) more positions along each axis; a negative amount crops.

    The axes are padded one after another, so a corner is filled from what has been filled before, as in PyTorch:
    for all modes this is the same in any order of the axes. The amounts are taken as admissible.

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
    fill = _FILL[mode]
    for axis, (low, high) in enumerate(widths):
        if mode == "circular":
            # PyTorch crops first: what is wrapped around is the cropped image.
            x = _crop(x, axis, min(low, 0), min(high, 0))
            low, high = max(low, 0), max(high, 0)
        if low > 0 or high > 0:
            parts = (fill(x, axis, max(low, 0), True), x, fill(x, axis, max(high, 0), False))
            x = lax.concatenate([p for p in parts if p is not None], axis)
        x = _crop(x, axis, min(low, 0), min(high, 0))
    return x


def _crop(x: jax.Array, axis: int, low: int, high: int) -> jax.Array:
    """`x` without its first -low and last -high positions."""
    return lax.slice_in_dim(x, -low, x.shape[axis] + high, axis=axis) if low or high else x


def _reflect(x: jax.Array, axis: int, amount: int, at_start: bool, edge: int = 1) -> jax.Array | None:
    # Position -i holds what position i holds; `edge` positions at the border are not repeated.
    if not amount:
        return None
    n = x.shape[axis]
    first = edge if at_start else n - edge - amount
    return lax.rev(lax.slice_in_dim(x, first, first + amount, axis=axis), (axis,))


def _symmetric(x: jax.Array, axis: int, amount: int, at_start: bool) -> jax.Array | None:
    # The mirror stands beyond the border, not on it: position -1 - i holds what position i holds.
    return _reflect(x, axis, amount, at_start, edge=0)


def _circular(x: jax.Array, axis: int, amount: int, at_start: bool) -> jax.Array | None:
    # Position -i holds what position n - i holds.
    if not amount:
        return None
    n = x.shape[axis]
    first = n - amount if at_start else 0
    return lax.slice_in_dim(x, first, first + amount, axis=axis)


def _replicate(x: jax.Array, axis: int, amount: int, at_start: bool) -> jax.Array | None:
    # Every position beyond the border holds what the border holds.
    if not amount:
        return None
    n = x.shape[axis]
    border = lax.slice_in_dim(x, 0, 1, axis=axis) if at_start else lax.slice_in_dim(x, n - 1, n, axis=axis)
    shape = tuple(amount if a == axis else size for a, size in enumerate(x.shape))
    return lax.broadcast_in_dim(border, shape, tuple(range(x.ndim)))


_FILL = {"reflect": _reflect, "symmetric": _symmetric, "circular": _circular, "replicate": _replicate}
