"""The maxima of windows and what goes back through them, by the compiled kernels or in plain JAX.

A tap has a number, in row order of the window, and which of them is the maximum is an array of bytes. Along an axis tap
t of window o is at position o * stride + t * dilation - padding. So the positions s q + f of an axis of stride s, for
each phase f < s, are those of tap t in the windows

    o = q + (f + padding - t * dilation) / s

where that is whole: neighbours in x are neighbours in the gradient, and a phase is a sum of slices of it.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv import _native
from jaxconv._arrays import wide
from jaxconv._spec.pooling import PoolSpec
from jaxconv._spec.shapes import extent

# A number that no tap has.
_NO_TAP = np.uint8(255)
# Numbers that the kernels count with 64 bits are at most so large.
_LARGEST = 2**31 - 1


def fits(spec: PoolSpec, size: Sequence[int]) -> bool:
    """Whether the kernels take windows in images of such a size."""
    return max(*size, *spec.strides, *spec.dilations) <= _LARGEST


def maxima(x: jax.Array, spec: PoolSpec, indexed: bool, native: bool) -> list[jax.Array]:
    """The maximum of each window and, where `indexed`, the number of the tap that it is at.

    Of equal maxima that is the first, and of NaNs the last. A window that misses the image has the lowest of numbers,
    at a tap that misses it too.
    """
    if native:
        shape = with_size(x.shape, spec, spec.output_size(size_of(x, spec)))
        like = [jax.ShapeDtypeStruct(shape, x.dtype), *[jax.ShapeDtypeStruct(shape, jnp.uint8)] * indexed]
        return list(jax.ffi.ffi_call(_native.target("maxima"), like)(x, **_attributes(spec)))
    dtype, x = x.dtype, x.astype(wide(x.dtype))  # to compare 16-bit floats takes XLA's CPU compiler longer
    inexact = jnp.issubdtype(x.dtype, jnp.inexact)
    best, *taps = _taps(x, spec, -np.inf if inexact else jnp.iinfo(x.dtype).min)
    which = jnp.broadcast_to(_first_taps(size_of(x, spec), spec), best.shape)
    for number, tap in enumerate(taps, 1):
        take = tap > best
        if inexact:
            take |= jnp.isnan(tap)
        best, which = jnp.where(take, tap, best), jnp.where(take, np.uint8(number), which)
    return [best.astype(dtype), which][: 1 + indexed]


def pick(t: jax.Array, which: jax.Array, spec: PoolSpec) -> jax.Array:
    """The number of each window that is at tap `which`: zero where that misses the image."""
    picked = jnp.zeros(which.shape, t.dtype)
    for number, tap in enumerate(_taps(t, spec, 0)):
        picked = jnp.where(which == number, tap, picked)
    return picked


def put(g: jax.Array, which: jax.Array, spec: PoolSpec, size: tuple[int, ...], native: bool) -> jax.Array:
    """The transpose of `pick` in images of that size: for each position the sum over the windows that pick it."""
    if native:
        like = jax.ShapeDtypeStruct(with_size(g.shape, spec, size), g.dtype)
        return jax.ffi.ffi_call(_native.target("put"), like)(which, g, **_attributes(spec))
    axes = [axis + g.ndim for axis in spec.spatial_axes]
    offsets = [_offsets(*each) for each in zip(spec.kernel, spec.strides, spec.padding, spec.dilations, strict=True)]
    # The windows as far as the taps of all positions go beyond the array.
    steps = [-(-n // s) for n, s in zip(size, spec.strides, strict=True)]
    pads = [(0, 0, 0)] * g.ndim
    for axis, q, offset in zip(axes, steps, offsets, strict=True):
        pads[axis] = (-min(0, *offset.values()), max(q + max(offset.values()) - g.shape[axis], 0), 0)
    acc = wide(g.dtype)
    padded = lax.pad(g.astype(acc), jnp.zeros((), acc), pads), lax.pad(which, _NO_TAP, pads)
    shape = with_size(g.shape, spec, steps)

    def phase(own: tuple[int, ...]) -> jax.Array:
        """The positions that are in these phases, one for each axis."""
        total = jnp.zeros(shape, acc)
        for number, taps in enumerate(itertools.product(*map(range, spec.kernel))):
            keys = list(zip(taps, own, strict=True))
            if all(key in offset for key, offset in zip(keys, offsets, strict=True)):
                begin = [0] * g.ndim
                for axis, key, offset in zip(axes, keys, offsets, strict=True):
                    begin[axis] = pads[axis][0] + offset[key]
                gradient, tap = (
                    lax.slice(a, begin, [b + n for b, n in zip(begin, shape, strict=True)]) for a in padded
                )
                total += jnp.where(tap == number, gradient, 0)
        return total

    def phases(own: tuple[int, ...]) -> jax.Array:
        """The same in all phases of the axes that are left, in turn."""
        i = len(own)
        if i == spec.rank:
            return phase(own)
        axis, s = axes[i], spec.strides[i]
        each = jnp.stack([phases((*own, f)) for f in range(s)], axis + 1)
        each = each.reshape(*each.shape[:axis], steps[i] * s, *each.shape[axis + 2 :])
        return lax.slice_in_dim(each, 0, size[i], axis=axis)

    return phases(()).astype(g.dtype)


def _offsets(k: int, s: int, p: int, d: int) -> dict[tuple[int, int], int]:
    """What is added to q for the window that has a tap at position s q + f: by the tap and the phase f."""
    found = ((t, f, divmod(f + p - t * d, s)) for t in range(k) for f in range(s))
    return {(t, f): offset for t, f, (offset, rest) in found if rest == 0}


def _taps(x: jax.Array, spec: PoolSpec, lowest: float) -> Iterator[jax.Array]:
    """For each tap, in row order, what the windows have there: `lowest` in the padding."""
    size, axes = size_of(x, spec), [axis + x.ndim for axis in spec.spatial_axes]
    windows = spec.output_size(size)
    pads = [(0, 0, 0)] * x.ndim
    for axis, n, m, k, s, p, d in _each(axes, size, windows, spec):
        pads[axis] = (p, max(extent(m, k, s, d) - p - n, 0), 0)
    x = lax.pad(x, jnp.asarray(lowest, x.dtype), pads)
    for taps in itertools.product(*map(range, spec.kernel)):
        begin, end, step = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for t, (axis, _, m, _, s, _, d) in zip(taps, _each(axes, size, windows, spec), strict=True):
            begin[axis], end[axis], step[axis] = t * d, t * d + (m - 1) * s + 1, s
        yield lax.slice(x, begin, end, step)


def _first_taps(size: Sequence[int], spec: PoolSpec) -> np.ndarray:
    """The number of the first tap of each window that is in the image, for images without their other axes but one."""
    first = np.zeros((1,) * spec.rank, np.uint8)
    for i, (_, n, m, k, s, p, d) in enumerate(_each(spec.kernel, size, spec.output_size(size), spec)):
        tap = -(-np.maximum(p - np.arange(m) * s, 0) // d)
        tap = np.where(np.arange(m) * s + tap * d - p < n, tap, 0)
        first = first * np.uint8(k) + np.expand_dims(tap.astype(np.uint8), [j for j in range(spec.rank) if j != i])
    return first[..., None] if spec.data_format == "channels_last" else first


def _each(axes: Sequence[int], size: Sequence[int], windows: Sequence[int], spec: PoolSpec) -> Iterator[tuple]:
    return zip(axes, size, windows, spec.kernel, spec.strides, spec.padding, spec.dilations, strict=True)


def size_of(x: Any, spec: PoolSpec) -> list[int]:
    """The spatial size of images."""
    return [x.shape[axis] for axis in spec.spatial_axes]


def with_size(shape: Sequence[int], spec: PoolSpec, size: Sequence[int]) -> tuple[int, ...]:
    """The shape of images with these spatial sizes in place of theirs."""
    sizes = dict(zip((axis + len(shape) for axis in spec.spatial_axes), size, strict=True))
    return tuple(sizes.get(axis, n) for axis, n in enumerate(shape))


def _attributes(spec: PoolSpec) -> dict[str, np.ndarray | np.int64]:
    """The attributes of a call."""
    per_axis = {"kernel": spec.kernel, "strides": spec.strides, "low": spec.padding, "dilations": spec.dilations}
    attributes = {name: np.asarray(numbers, np.int64) for name, numbers in per_axis.items()}
    return {**attributes, "channels_last": np.int64(spec.data_format == "channels_last")}
