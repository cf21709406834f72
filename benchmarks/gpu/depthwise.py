"""Candidate `pallas`: depthwise convolutions as Triton kernels, written with Pallas. For NVIDIA's GPUs.

A depthwise convolution has as many multiply-adds for each number that it reads as its kernel has taps, so a small one
can at best be as fast as a copy. Channels lie last. A program of the grid has a tile of positions of the result and up
to 64 channels side by side, and adds up in float32:

    output    y[p, c] = sum over t of x[p s + t d - low, c] w[t, c]
    input     x[i, c] = sum over t of y[(i + low - t d) / s, c] w[t, c]
    weight    w[t, c] = sum over p of x[p s + t d - low, c] y[p, c]

A program of `input` has positions of one phase, i mod s, which the taps t = r, r + s, r + 2 s, ... reach for one r. A
program of `weight` has a share of the rows of y, and the shares are added up afterwards.

What lies outside an image is not read and counts as 0. The file implements `jaxconv._lowering.family.Family`: where it
wins, it is moved beside the others, and `select.py` names it. Until then it is here.

Triton wants sizes that are powers of two. JAX deprecates Pallas on Triton from 0.11 on, in favour of Mosaic GPU: what
wins here has to be written anew for that before a version of JAX leaves Triton out.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jaxconv._lowering.common import add_bias, sum_to_bias
from jaxconv._lowering.family import NOT_KNOWN, ONE, Problem
from jaxconv._spec.shapes import is_static

WITHOUT_PRIMITIVE = False

_DTYPES = ("float32", "bfloat16", "float16")
_MOST_CHANNELS = 64  # of a program: a line of memory in 16 bits, two in float32
_POSITIONS = 32  # of a tile
_UNROLLED = 25  # taps that are written out one by one; beyond that a step of a loop has up to `_COLUMNS` of a row
_COLUMNS = 8
_WEIGHT_POSITIONS = 8  # of a step of `weight`, which has a sum for each of them, tap and channel in registers
_WEIGHT_TAPS = 16  # that a program of `weight` has sums for, or those of a row of the kernel
_WEIGHT_PROGRAMS = 2048  # about how many there are
_MOST_PROGRAMS = 2**16  # along the grid's later axes


def missing() -> str | None:
    """See `Family.missing`: the kernels are compiled where the program is."""
    return None


def cannot(problem: Problem) -> str | None:
    """See `Family.cannot`."""
    spec = problem.spec
    if problem.platform not in ("cpu", "cuda", NOT_KNOWN):
        return f"pallas has kernels for NVIDIA's GPUs, and the platform is {problem.platform}"
    if problem.portable or problem.devices not in (ONE, NOT_KNOWN):
        return "pallas computes in a program for one device that is not exported"
    if spec.rank != 2 or spec.data_format != "channels_last" or spec.padding_mode != "zeros":
        return "pallas takes two spatial axes, channels_last and padding_mode='zeros'"
    if problem.w_shape[1] != 1 or problem.w_shape[0] != spec.groups:
        return "pallas takes depthwise convolutions with as many output channels as input channels"
    if any(s > 1 and d > 1 for s, d in zip(spec.strides, spec.dilations, strict=True)):
        return "pallas takes a stride or a dilation along an axis, not both"
    if str(problem.dtype) not in _DTYPES:
        return f"pallas takes {', '.join(_DTYPES)}, and the dtype is {problem.dtype}"
    shapes = problem.x_shape, problem.w_shape, problem.y_shape
    if not all(is_static(shape) and math.prod(shape) for shape in shapes):
        return "pallas takes arrays that are not empty and whose sizes are numbers"
    if any(math.prod(shape[:3]) + _POSITIONS >= 2**31 for shape in shapes):
        return "pallas counts positions in 32 bits"
    if max(math.prod(spec.strides), problem.w_shape[2], spec.groups // _MOST_CHANNELS) >= _MOST_PROGRAMS:
        return f"pallas has a program for each phase of the strides {spec.strides}, and CUDA takes fewer"
    return None


def output(problem: Problem, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """See `Family.output`."""
    (n, *_), (height, width) = x.shape, problem.y_shape[1:3]
    tile, channels = _tile(height, width), _channels(x.shape[3])
    tiles = [pl.cdiv(m, t) for m, t in zip((height, width), tile, strict=True)]
    call = _call(
        partial(_output_kernel, problem=problem, tile=tile, tiles=tiles, channels=channels),
        problem,
        jax.ShapeDtypeStruct(problem.y_shape, problem.dtype),
        grid=(n * math.prod(tiles), pl.cdiv(x.shape[3], channels)),
    )
    y = call(x, _taps_first(w))
    return y if b is None else add_bias(y, b, problem.spec)


def _output_kernel(x_ref, w_ref, y_ref, *, problem: Problem, tile, tiles, channels: int):
    spec, kernel, size = problem.spec, problem.w_shape[2:], problem.x_shape[1:3]
    image, p, c, within = _place(tile, tiles, channels, problem.x_shape[3])

    def add(t, total):
        at = [q * s + tap * d - low for q, tap, s, d, (low, _) in _along(p, t, spec)]
        exists = _inside(t, kernel) & within
        read = triton.load(x_ref.at[image, *at, c], mask=_inside(at, size) & exists, other=0)
        tap = triton.load(w_ref.at[t[0] * kernel[1] + t[1], c], mask=exists, other=0)
        return total + read.astype(jnp.float32) * tap.astype(jnp.float32)

    total = _over_taps(kernel, add, jnp.zeros((*tile, channels), jnp.float32))
    mask = _inside(p, problem.y_shape[1:3]) & within
    triton.store(y_ref.at[image, *p, c], total.astype(y_ref.dtype), mask=mask)


def input(problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
    """See `Family.input`."""
    n, height, width, count = problem.x_shape
    strides = problem.spec.strides
    # A phase of the result is an image whose positions lie s apart.
    sizes = [pl.cdiv(m, s) for m, s in zip((height, width), strides, strict=True)]
    tile, channels = _tile(*sizes), _channels(count)
    tiles = [pl.cdiv(m, t) for m, t in zip(sizes, tile, strict=True)]
    call = _call(
        partial(_input_kernel, problem=problem, tile=tile, tiles=tiles, channels=channels),
        problem,
        jax.ShapeDtypeStruct(problem.x_shape, problem.dtype),
        grid=(n * math.prod(tiles), pl.cdiv(count, channels), math.prod(strides)),
    )
    return call(_taps_first(w), y)


def _input_kernel(w_ref, y_ref, x_ref, *, problem: Problem, tile, tiles, channels: int):
    spec, kernel, size = problem.spec, problem.w_shape[2:], problem.y_shape[1:3]
    image, q, c, within = _place(tile, tiles, channels, problem.x_shape[3])
    both = pl.program_id(2)
    phases = [lax.div(both, spec.strides[1]), lax.rem(both, spec.strides[1])]
    i = [a * s + f for a, s, f in zip(q, spec.strides, phases, strict=True)]
    # i + low = s (q + base) + first: `first` is the first tap that reaches the phase, and meets y at q + base.
    first, base = [], []
    for f, s, (low, _) in zip(phases, spec.strides, spec.pads, strict=True):
        first.append(lax.rem(f + low % s, s))
        base.append(lax.div(f + low % s, s) + low // s)

    def add(j, total):
        t = [r + n * s for r, n, s in zip(first, j, spec.strides, strict=True)]
        at = [a + b - n * d for a, b, n, d in zip(q, base, j, spec.dilations, strict=True)]
        exists = _inside(t, kernel) & within
        read = triton.load(y_ref.at[image, *at, c], mask=_inside(at, size) & exists, other=0)
        tap = triton.load(w_ref.at[t[0] * kernel[1] + t[1], c], mask=exists, other=0)
        return total + read.astype(jnp.float32) * tap.astype(jnp.float32)

    steps = [pl.cdiv(k, s) for k, s in zip(kernel, spec.strides, strict=True)]
    total = _over_taps(steps, add, jnp.zeros((*tile, channels), jnp.float32))
    mask = _inside(i, problem.x_shape[1:3]) & within
    triton.store(x_ref.at[image, *i, c], total.astype(x_ref.dtype), mask=mask)


def weight(problem: Problem, x: jax.Array, y: jax.Array) -> Any:
    """See `Family.weight`."""
    (height, width), count = problem.w_shape[2:], x.shape[3]
    channels, columns = _channels(count), min(_WEIGHT_POSITIONS, pl.next_power_of_2(y.shape[2]))
    rows_of_taps = max(1, min(height, _WEIGHT_TAPS // width))
    others = pl.cdiv(height, rows_of_taps) * pl.cdiv(count, channels)
    rows = y.shape[0] * y.shape[1]
    rows_each = pl.cdiv(rows, max(1, min(rows, _WEIGHT_PROGRAMS // others)))
    shares = pl.cdiv(rows, rows_each)
    options = {"rows_of_taps": rows_of_taps, "rows_each": rows_each, "columns": columns, "channels": channels}
    call = _call(
        partial(_weight_kernel, problem=problem, **options),
        problem,
        jax.ShapeDtypeStruct((shares, height * width, count), jnp.float32),
        grid=(shares, pl.cdiv(count, channels), pl.cdiv(height, rows_of_taps)),
    )
    w = call(x, y).sum(0).T.reshape(problem.w_shape).astype(problem.dtype)
    return (w, sum_to_bias(y, problem.spec)) if problem.bias else w


def _weight_kernel(x_ref, y_ref, w_ref, *, problem: Problem, rows_of_taps, rows_each, columns, channels):
    spec, (height, width) = problem.spec, problem.w_shape[2:]
    size, of_y = problem.x_shape[1:3], problem.y_shape[1:3]
    share, first_tap = pl.program_id(0), pl.program_id(2) * rows_of_taps
    c = pl.program_id(1) * channels + jnp.arange(channels)[None, :]
    within = c < problem.x_shape[3]
    taps = [(a, b) for a in range(rows_of_taps) for b in range(width)]
    steps = pl.cdiv(of_y[1], columns)

    def add(step, totals):
        row = share * rows_each + lax.div(step, steps)
        image, p = lax.div(row, of_y[0]), lax.rem(row, of_y[0])
        q = lax.rem(step, steps) * columns + jnp.arange(columns)[:, None]
        exists = (row < problem.y_shape[0] * of_y[0]) & within
        dy = triton.load(y_ref.at[image, p, q, c], mask=(q < of_y[1]) & exists, other=0).astype(jnp.float32)
        added = []
        for (a, b), total in zip(taps, totals, strict=True):
            at = [m * s + tap * d - low for m, tap, s, d, (low, _) in _along((p, q), (first_tap + a, b), spec)]
            # Beyond the last column y is not there, and is 0; x may hold what is not finite.
            mask = _inside(at, size) & (q < of_y[1]) & exists
            read = triton.load(x_ref.at[image, *at, c], mask=mask, other=0)
            added.append(total + read.astype(jnp.float32) * dy)
        return tuple(added)

    totals = tuple(jnp.zeros((columns, channels), jnp.float32) for _ in taps)
    for (a, b), total in zip(taps, lax.fori_loop(0, rows_each * steps, add, totals), strict=True):
        row = first_tap + a
        mask = within & (row < height)
        triton.store(w_ref.at[share, row * width + b, c], total.sum(0)[None], mask=mask)


# ---------------------------------------------------------------------------------------------------------------
# Tiles and taps
# ---------------------------------------------------------------------------------------------------------------


def _call(kernel: Callable[..., None], problem: Problem, shape: Any, grid: tuple[int, ...]) -> Callable[..., jax.Array]:
    # Where there is no GPU, Pallas computes a kernel by operations of JAX.
    params = triton.CompilerParams(num_warps=4, num_stages=1)
    on_cpu = problem.platform != "cuda"
    return pl.pallas_call(kernel, out_shape=shape, grid=grid, compiler_params=params, interpret=on_cpu)


def _taps_first(w: jax.Array) -> jax.Array:
    """(C, 1, kh, kw) -> (kh kw, C): channels side by side."""
    return w.reshape(w.shape[0], -1).T


def _channels(count: int) -> int:
    return min(_MOST_CHANNELS, pl.next_power_of_2(count))


def _tile(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a tile: of those that reach least far beyond the image, the one nearest to a square."""
    tiles = [(_POSITIONS // n, n) for n in (8, 4, 16, 2, 32)]
    return min(tiles, key=lambda t: pl.cdiv(height, t[0]) * pl.cdiv(width, t[1]))


def _place(tile, tiles, channels: int, count: int):
    """A program's image, positions in it and channels, and which of those there are."""
    program = pl.program_id(0)
    column, above = lax.rem(program, tiles[1]), lax.div(program, tiles[1])
    row, image = lax.rem(above, tiles[0]), lax.div(above, tiles[0])
    p = (
        row * tile[0] + jnp.arange(tile[0])[:, None, None],
        column * tile[1] + jnp.arange(tile[1])[None, :, None],
    )
    c = pl.program_id(1) * channels + jnp.arange(channels)[None, None, :]
    return image, p, c, c < count


def _along(p: Sequence[Any], t: Sequence[Any], spec):
    """For each axis: position, tap, stride, dilation and pads."""
    return zip(p, t, spec.strides, spec.dilations, spec.pads, strict=True)


def _inside(at: Sequence[Any], size: Sequence[int]):
    """Which places there are."""
    inside = [(a >= 0) & (a < n) for a, n in zip(at, size, strict=True)]
    return inside[0] & inside[1]


def _over_taps(kernel: Sequence[int], add: Callable[..., jax.Array], total: jax.Array) -> jax.Array:
    """`add` for each tap in turn, and perhaps for some beyond the last column of the kernel."""

    def several(a, columns, total):
        for b in columns:
            total = add((a, b), total)
        return total

    if math.prod(kernel) <= _UNROLLED:
        for a in range(kernel[0]):
            total = several(a, range(kernel[1]), total)
        return total
    blocks = pl.cdiv(kernel[1], _COLUMNS)
    columns = pl.cdiv(kernel[1], blocks)

    def step(i, total):
        first = lax.rem(i, blocks) * columns
        return several(lax.div(i, blocks), [first + b for b in range(columns)], total)

    return lax.fori_loop(0, kernel[0] * blocks, step, total)
