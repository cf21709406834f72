"""The public pools: PyTorch's arguments and meaning on JAX arrays, one path for every spatial rank.

A box of taps is pooled one axis after the other. Along an axis the taps of all windows are strided slices of the
image, merged pairwise by a select (for the maximum) or a sum: a window of k_h * k_w taps costs k_h + k_w merges, its
derivatives of any order are those of slices, selects and sums, and no window is ever gathered or scattered. Small
windows that lie side by side have a form of their own for the maximum, whose gradient is written in one pass.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._arrays import as_array, every, room_for_taps, wide
from jaxconv._ops import documents
from jaxconv._ops.documents import public
from jaxconv._ops.meshes import divided, images
from jaxconv._spec.arguments import IntOrInts, boolean
from jaxconv._spec.pooling import (
    Arguments,
    PoolSpec,
    check_avg_dtype,
    check_max_dtype,
    check_whole_kernel,
    parse_adaptive,
    parse_divisor,
    parse_pool,
)
from jaxconv._spec.shapes import Size, extent, span, spatial_axes

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

# Windows side by side of more taps than this are pooled axis by axis, which takes fewer merges to compile.
_MOST_TAPS = 16


# ---------------------------------------------------------------------------------------------------------------
# The public functions, made once for every rank
# ---------------------------------------------------------------------------------------------------------------


def _fields(rank: int) -> dict[str, Any]:
    """What the docstrings of the pools need beside the letters of their axes."""
    image = (9, 8, 7)[:rank]
    return {
        "per_axis": "an int, or a tuple of one" if rank == 1 else "an int, or one per spatial axis",
        "image": (2, 16, *image),
        "pooled": (2, 16, *((n - 1) // 2 + 1 for n in image)),
        "halved": (2, 16, *(n // 2 for n in image)),
        "adapted": (2, 16, *(3,) * rank),
    }


def _annotations(rank: int) -> dict[str, Any]:
    return {"input": documents.images(rank), "return": documents.images(rank, after="_out")}


_MAX_DOC = """The largest element of every window, as `torch.nn.functional.{name}` defines it.

    NaN is larger than every number. Where a window has equal maxima, the first of them in row order gets the gradient.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point or integer. Only N may be 0.
        kernel_size: size of a window; {per_axis}.
        stride: step between two windows; by default `kernel_size`.
        padding: positions added at both ends, which never win; at most half of `kernel_size`.
        dilation: step between two elements of a window.
        ceil_mode: whether the last window may hang over the end, as long as it starts within the image or its
            low padding.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it, where {first}' = floor(({first} + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1, and
        with `ceil_mode` the ceiling instead.

    Raises:
        TypeError: an argument of a wrong kind, or numbers without an order.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 3, stride=2, padding=1).shape
        {pooled}
    """


def _max_pool(rank: int):
    @public(rank, f"max_pool{rank}d", _MAX_DOC, _annotations(rank), **_fields(rank))
    def max_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        dilation: IntOrInts = 1,
        ceil_mode: bool = False,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_max_dtype(x.dtype)
        spec = parse_pool(rank, x.shape, Arguments(kernel_size, stride, padding, dilation, ceil_mode, data_format))
        return divided(_max, (x,), images(x.ndim, rank, spec.data_format), spec=spec)

    return max_pool


_AVG_DOC = """The average of every window, as `torch.nn.functional.{name}` defines it.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point or complex; int64 too, whose averages are truncated as PyTorch's are. Only N may be 0.
        kernel_size: size of a window; {per_axis}.
        stride: step between two windows; by default `kernel_size`.
        padding: zeros added at both ends; at most half of `kernel_size`.
        ceil_mode: whether the last window may hang over the end, as long as it starts within the image or its
            low padding.
        count_include_pad: whether the divisor counts the zeros of the padding. What hangs over the padding is never
            counted.
{divisor}        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it, where {first}' = floor(({first} + 2 * padding - kernel_size) / stride) + 1, and with `ceil_mode` the
        ceiling instead. 16-bit floats are accumulated in float32.

    Raises:
        TypeError: an argument of a wrong kind, or numbers without an average.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 2).shape
        {halved}
    """


_DIVISOR = "        divisor_override: divisor of every window, in place of its size; any int but 0.\n"


def _avg_pool(rank: int):
    @public(rank, f"avg_pool{rank}d", _AVG_DOC, _annotations(rank), **_fields(rank), divisor=_DIVISOR)
    def avg_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_avg_dtype(x.dtype)
        spec = parse_pool(rank, x.shape, Arguments(kernel_size, stride, padding, 1, ceil_mode, data_format))
        if rank == 3:
            check_whole_kernel(spec, x.shape)
        include = boolean("count_include_pad", count_include_pad)
        static = {"spec": spec, "include_pad": include, "divisor": parse_divisor(divisor_override)}
        return divided(_avg, (x,), images(x.ndim, rank, spec.data_format), **static)

    return avg_pool


def _avg_pool_1d():
    # PyTorch's has no divisor_override.
    pool = _avg_pool(1)

    @public(1, "avg_pool1d", _AVG_DOC, _annotations(1), **_fields(1), divisor="")
    def avg_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        return pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, data_format=data_format)

    return avg_pool


_ADAPTIVE_DOC = """The averages of as many windows as asked for, as `torch.nn.functional.{name}` defines it.

    Along an axis of n positions, window i of m averages positions floor(i * n / m) to ceil((i + 1) * n / m) - 1.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point or complex. Only N and C may be 0.
        output_size: number of windows; an int, or {sizes}.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it. 16-bit floats are accumulated in float32.

    Raises:
        TypeError: an argument of a wrong kind, or numbers without an average.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 3).shape
        {adapted}
    """


def _adaptive_avg_pool(rank: int):
    sizes = "a tuple of one" if rank == 1 else "one per spatial axis, where None keeps the size of the image"

    @public(rank, f"adaptive_avg_pool{rank}d", _ADAPTIVE_DOC, _annotations(rank), **_fields(rank), sizes=sizes)
    def adaptive_avg_pool(
        input: jax.Array,
        output_size: Any,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_avg_dtype(x.dtype, adaptive=True)
        sizes = parse_adaptive(rank, x.shape, output_size, data_format)
        axes = spatial_axes(rank, data_format)
        return divided(_adaptive, (x,), images(x.ndim, rank, data_format), sizes=sizes, axes=axes)

    return adaptive_avg_pool


max_pool1d = _max_pool(1)
max_pool2d = _max_pool(2)
max_pool3d = _max_pool(3)
avg_pool1d = _avg_pool_1d()
avg_pool2d = _avg_pool(2)
avg_pool3d = _avg_pool(3)
adaptive_avg_pool1d = _adaptive_avg_pool(1)
adaptive_avg_pool2d = _adaptive_avg_pool(2)
adaptive_avg_pool3d = _adaptive_avg_pool(3)


# ---------------------------------------------------------------------------------------------------------------
# What they compute. Compiled as a whole where called eagerly; within another compiled function they leave no trace
# ---------------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("spec",), inline=True)
def _max(x: jax.Array, spec: PoolSpec) -> jax.Array:
    """The maximum, from the last axis to the first.

    PyTorch walks through a window in row order and takes an element where it is larger than the best so far, or NaN:
    it ends at the first of equal maxima, or at the last NaN. The same rule within each row and then over the rows'
    results ends there too: first (or last NaN) in the first row that has the maximum (in the last that has a NaN).
    """
    dtype = x.dtype
    if _is_partition(x, spec):
        return _max_side_by_side(x, spec)
    # The gradient of an element is the sum over the windows that it is the maximum of.
    x = x.astype(wide(dtype)) if any(s < span(k, d) for k, s, d in _each(spec, "kernel strides dilations")) else x
    lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
    sizes = spec.output_size([x.shape[axis] for axis in spec.spatial_axes])
    numbers = _each(spec, "spatial_axes kernel strides padding dilations")
    for out, (axis, k, s, p, d) in reversed(list(zip(sizes, numbers, strict=True))):
        axis += x.ndim
        x = _padded(x, axis, p, _overhang(x.shape[axis], out, k, s, p, d, spec.ceil_mode), lowest)
        x = _slide(x, axis, out, k, s, d, partial(_first_max, axis=axis, padding=p, dilation=d))
    return x.astype(dtype)


def _first_max(left, right, taps: int, step: int, *, axis: int, padding: int, dilation: int) -> jax.Array:
    """The winner of two runs of taps; `left` has `taps` taps, and its positions are `step` apart.

    A position of the padding must lose against minus infinity too, which its value alone does not do: the right run
    wins where all of the left one lies in the low padding, position * step + (taps - 1) * dilation < padding. (In the
    high padding the right run cannot win, since it is not larger.)
    """
    take = right > left
    if jnp.issubdtype(right.dtype, jnp.inexact):
        take |= jnp.isnan(right)
        unset = -(-(padding - (taps - 1) * dilation) // step)
        if unset > 0:
            take |= lax.broadcasted_iota(jnp.int32, right.shape, axis) < unset
    return jnp.where(take, right, left)


def _is_partition(x: jax.Array, spec: PoolSpec) -> bool:
    """Whether small windows lie side by side within the image: no position is in two of them, or in the padding."""
    sizes = [x.shape[axis] for axis in spec.spatial_axes]
    numbers = zip(sizes, spec.output_size(sizes), _each(spec, "kernel strides padding dilations"), strict=True)
    return (
        jnp.issubdtype(x.dtype, jnp.inexact)
        and math.prod(spec.kernel) <= _MOST_TAPS
        and all(type(n) is int and k == s and p == 0 and d == 1 and m * k <= n for n, m, (k, s, p, d) in numbers)
    )


def _max_side_by_side(x: jax.Array, spec: PoolSpec) -> jax.Array:
    """The maximum of each window, where they lie side by side: a window's taps become axes of their own."""
    taps, shape = [], list(x.shape)
    for axis, k in reversed(_each(spec, "spatial_axes kernel")):
        axis += x.ndim
        m = x.shape[axis] // k
        x = lax.slice_in_dim(x, 0, m * k, axis=axis)
        shape[axis : axis + 1] = [m, k]
        taps = [axis + 1, *(a + 1 for a in taps)]
    return _first_maximum(x.reshape(shape), tuple(taps))


# The maximum over some axes.
_first_maximum = jax.custom_jvp(lambda x, taps: _winner(x, taps)[0], nondiff_argnums=(1,))


@_first_maximum.defjvp
def _first_maximum_jvp(taps: tuple[int, ...], primals, tangents):
    # That of the winning tap. Its transpose writes each element of the image once, where that of a chain of selects
    # would add up an image for each tap.
    (x,), (dx,) = primals, tangents
    value, winner = _winner(x, taps)
    sizes = [n if axis in taps else 1 for axis, n in enumerate(x.shape)]
    number = np.arange(math.prod(sizes), dtype=np.int8).reshape(sizes)
    return value, jnp.where(jnp.expand_dims(winner, taps) == number, dx, 0).sum(taps)


def _winner(x: jax.Array, taps: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The maximum over the axes `taps`, and the number of the tap that it is at: the first, or the last NaN."""

    def tap(index):
        value = x
        for axis, i in reversed(list(zip(taps, index, strict=True))):
            value = lax.index_in_dim(value, i, axis, keepdims=False)
        return value

    first, *others = itertools.product(*(range(x.shape[axis]) for axis in taps))
    best = tap(first)
    winner = jnp.zeros(best.shape, jnp.int8)
    for number, index in enumerate(others, 1):
        value = tap(index)
        take = (value > best) | jnp.isnan(value)
        best, winner = jnp.where(take, value, best), jnp.where(take, jnp.int8(number), winner)
    return best, winner


@partial(jax.jit, static_argnames=("spec", "include_pad", "divisor"), inline=True)
def _avg(x: jax.Array, spec: PoolSpec, include_pad: bool, divisor: int | None) -> jax.Array:
    """The sum of each window over its divisor, which is a product of one number per axis."""
    dtype = x.dtype
    x = x.astype(wide(dtype))
    sizes = spec.output_size([x.shape[axis] for axis in spec.spatial_axes])
    count: Any = 1
    for out, (axis, k, s, p) in zip(sizes, _each(spec, "spatial_axes kernel strides padding"), strict=True):
        n, axis = x.shape[axis], axis + x.ndim
        over = _overhang(n, out, k, s, p, 1, spec.ceil_mode)
        x = _padded(x, axis, p, over, 0)
        x = _slide(x, axis, out, k, s, 1, lambda left, right, taps, step: left + right)
        if (p == 0 or include_pad) and (not spec.ceil_mode or over <= p):
            count *= k  # every window is full
        else:
            # Window p covers [start, end) of the image and its padding, cut at the end of what is counted.
            start = jnp.arange(x.shape[axis], dtype=jnp.int32) * s - p
            end = jnp.minimum(start + k, n + p if include_pad else n)
            start = start if include_pad else jnp.maximum(start, 0)
            count = count * jnp.expand_dims(end - start, _others(x, axis))
    count = jnp.asarray(count if divisor is None else divisor, x.dtype)
    # Integers are truncated towards zero, as in C.
    x = lax.div(x, jnp.broadcast_to(count, x.shape))
    return x.astype(dtype)


@partial(jax.jit, static_argnames=("sizes", "axes"), inline=True)
def _adaptive(x: jax.Array, sizes: tuple[int | None, ...], axes: tuple[int, ...]) -> jax.Array:
    """The means over boxes, one axis after the other: all slices of a box have the same number of elements."""
    dtype = x.dtype
    x = x.astype(wide(dtype))
    for m, axis in zip(sizes, axes, strict=True):
        if m is not None:
            x = _adaptive_axis(x, m, axis + x.ndim)
    return x.astype(dtype)


def _adaptive_axis(x: jax.Array, m: int, axis: int) -> jax.Array:
    """The means of m windows along one axis.

    With g = gcd(n, m), windows i and i + m / g are n / g positions apart, so the axis falls into g equal blocks, none
    of whose windows crosses its ends. An axis of symbolic size is one block.
    """
    if m == 1:
        return x.mean(axis, keepdims=True)
    n, shape = x.shape[axis], x.shape
    if m == 0:
        return jnp.zeros((*shape[:axis], 0, *shape[axis + 1 :]), x.dtype)
    if not isinstance(n, int):
        return _adaptive_block(x, m, axis)
    blocks = math.gcd(n, m)
    x = x.reshape(*shape[:axis], blocks, n // blocks, *shape[axis + 1 :])
    x = x.mean(axis + 1, keepdims=True) if blocks == m else _adaptive_block(x, m // blocks, axis + 1)
    return x.reshape(*shape[:axis], m, *shape[axis + 1 :])


def _adaptive_block(x: jax.Array, m: int, axis: int) -> jax.Array:
    """The means of m windows along one axis, whose taps are gathered.

    Those beyond the end of a short window are replaced by 0, not multiplied by it (as an averaging matrix would),
    since they may be infinite or NaN. With n = q m + r, window i starts at i q + floor(i r / m), and is q + 2 positions
    long at most, or q + r where that is less.
    """
    n = x.shape[axis]
    q, r = n // m, n % m
    i = np.arange(m) if isinstance(n, int) else lax.iota(jnp.int32, m)
    start, end = i * q + i * r // m, (i + 1) * q - -(i + 1) * r // m
    tap = np.arange(q + min(r, 2)) if isinstance(n, int) else jnp.arange(q + 2, dtype=jnp.int32)
    places = start[:, None] + tap[None]
    inside = places < end[:, None]
    x = _padded(x, axis, 0, 0 if isinstance(n, int) else 1, 0)  # JAX gathers from what has one position for sure
    x = jnp.take(x, places, axis, mode="clip")
    x = jnp.where(jnp.expand_dims(inside, _others(x, axis, axis + 1)), x, 0).sum(axis + 1)
    return x / jnp.expand_dims(jnp.asarray(end - start, x.dtype), _others(x, axis))


def _others(x: jax.Array, *axes: int) -> tuple[int, ...]:
    """The axes of `x` beside these."""
    return tuple(a for a in range(x.ndim) if a not in axes)


# ---------------------------------------------------------------------------------------------------------------
# Windows along one axis
# ---------------------------------------------------------------------------------------------------------------


def _each(spec: PoolSpec, names: str) -> list[tuple[int, ...]]:
    """The named numbers of a spec, axis by axis."""
    return list(zip(*(getattr(spec, name) for name in names.split()), strict=True))


def _overhang(n: Size, out: Size, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """Positions beyond the image's end that the last window reaches.

    Of a symbolic size, what it reaches at most, and room for what `_slide` takes.
    """
    if isinstance(n, int):
        return max(extent(out, k, s, d) - p - n, 0)
    return p + (s - 1 if ceil_mode else 0) + room_for_taps(k, s, d)


def _padded(x: jax.Array, axis: int, low: int, high: int, value: Any) -> jax.Array:
    if not (low or high):
        return x
    widths = [(low, high, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return lax.pad(x, jnp.asarray(value, x.dtype), widths)


def _slide(x: jax.Array, axis: int, out: Size, k: int, s: int, d: int, merge: Callable[..., jax.Array]) -> jax.Array:
    """The merged taps of `out` windows along `axis` of the padded `x`, in the order of the taps.

    `merge(left, right, taps, step)` merges two neighbouring runs of taps, the left one of `taps` taps, where two
    positions are `step` apart.
    """
    if k <= (3 if s == 1 else 5):
        taps = [every(x, t * d, out, s, axis) for t in range(k)]
        best = taps[0]
        for t, tap in enumerate(taps[1:], 1):
            best = merge(best, tap, t, s)
        return best
    # Long windows by doubling: runs of 1, 2, 4, ... taps at every position, of which k's binary digits are joined.
    # A chain of k merges would take longer to compile, and its gradient k^2 steps where the compiler fuses it.
    run, taps = x, 1
    joined, done = None, 0
    while True:
        if k & taps:
            part = every(run, done * d, out, s, axis)
            joined = part if joined is None else merge(joined, part, done, s)
            done += taps
            if done == k:
                return joined
        rest = run.shape[axis] - taps * d
        left = lax.slice_in_dim(run, 0, rest, 1, axis)
        run = merge(left, lax.slice_in_dim(run, taps * d, taps * d + rest, 1, axis), taps, 1)
        taps *= 2
