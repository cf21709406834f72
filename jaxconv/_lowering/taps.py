"""Algorithm `taps`: a convolution as a sum over the taps of its kernel, in plain JAX. For CPUs.

Two forms of that sum, on padded images with the channels last:

- multiply-add, where a channel meets few others (depthwise convolutions and small groups):
      y[p, c] = sum over t of x[p s + t d, c] w[t, c]
  XLA makes one loop of it that runs over the channels in steps of the machine's vectors.
- product, where it meets many: the taps of a block of rows side by side are a matrix (im2col), and
      y = columns @ w,    w's gradient = columns^T @ y
  The block is chosen to stay in cache, and the blocks are the steps of a loop, so that no large temporary is made.

Every loop runs over rows of the image and never over the batch, so a batch that is split over devices stays split.
The input's gradient is a convolution of y: with a stride, one for each of the `stride` phases of the result, whose
kernels are the taps that reach it.
"""

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._arrays import wide
from jaxconv._lowering import padding
from jaxconv._lowering.common import add_bias, exchange_channels, sum_to_bias
from jaxconv._lowering.family import Problem
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.padding import padded_size
from jaxconv._spec.shapes import extent, is_static, span, windows

# Up to this many multiply-adds are written out one by one: compilation takes about 2 ms for each.
_UNROLLED = 64
# Bytes of columns that one step of a loop makes: what stays in the second level cache beside the weights.
_BLOCK_BYTES = 512 * 1024
# Phases of a stride, each of which is a convolution of its own to compile.
_MOST_PHASES = 256
# Groups of fewer channels than this are merged for the product that is the weight's gradient: it wastes the products of
# one with another, and wins by the shape of its matrices.
_MERGED_CHANNELS = 32

WITHOUT_PRIMITIVE = False


def missing() -> str | None:
    """Nothing: see `Family.missing`."""
    return None


def cannot(problem: Problem) -> str | None:
    """See `Family.cannot`."""
    if not is_static(problem.x_shape[1:]):
        return "taps makes blocks of a size in numbers, and the image has a symbolic size"
    spec = problem.spec
    if max(*spec.strides, *spec.dilations) >= 2**31:
        return f"taps counts positions in 32 bits, and stride is {spec.strides}, dilation {spec.dilations}"
    if problem.op == "input" and math.prod(spec.strides) > _MOST_PHASES:
        return f"taps makes a convolution for each phase of stride {spec.strides}, and for at most {_MOST_PHASES}"
    return None


def output(problem: Problem, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """See `Family.output`."""
    spec = problem.spec
    x, w = _widened(problem, x, w)
    y = _convolve(_padded(x, spec), w, spec.strides, spec.dilations, spec.groups, problem.precision)
    y = _like_images(y, spec)
    return y if b is None else add_bias(y, b, spec)


def input(problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
    """See `Family.input`."""
    spec, x_shape = problem.spec, problem.x_shape
    w, y = _widened(problem, w, y)
    y = _channels_last(y, spec)
    widths = _widths(spec)
    padded = padded_size(spec.size_of(x_shape), spec.pads)
    x = _phases(y, exchange_channels(w, spec.groups), spec, padded, problem.precision)
    shape = (x_shape[0], *spec.size_of(x_shape), x_shape[spec.channel_axis])
    return _like_images(padding.pad_transpose(x, widths, spec.padding_mode, shape), spec)


def weight(problem: Problem, x: jax.Array, y: jax.Array) -> Any:
    """See `Family.weight`."""
    w = _weight(problem, *_widened(problem, x, y))
    return (w, sum_to_bias(y, problem.spec)) if problem.bias else w


def _weight(problem: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    spec, w_shape = problem.spec, problem.w_shape
    x, y = _padded(x, spec), _channels_last(y, spec)
    kernel, geometry = tuple(w_shape[2:]), (spec.strides, spec.dilations)
    if w_shape[1] == 1 and x.shape[-1] == y.shape[-1]:
        return _multiply_add_weight(x, y, kernel, *geometry)
    merged = _merged_groups(spec.groups, max(w_shape[1], w_shape[0] // spec.groups))
    parts = []
    for xg, yg in zip(_channel_blocks(x, merged), _channel_blocks(y, merged), strict=True):
        parts.append(_diagonal(_product_weight(xg, yg, kernel, *geometry, problem.precision), spec.groups // merged))
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


# ---------------------------------------------------------------------------------------------------------------
# The convolution of padded images, channels last
# ---------------------------------------------------------------------------------------------------------------


def _convolve(x, w, strides, dilations, groups: int, precision) -> jax.Array:
    """The convolution of padded images (N, *size, C) with w (O, C / groups, *kernel)."""
    if w.shape[1] * (w.shape[0] // groups) <= 32 and groups > 1:
        return _multiply_add(x, w, strides, dilations, groups)
    product = functools.partial(_product, strides=strides, dilations=dilations, precision=precision)
    if groups == 1:
        return product(x, w)
    # Not a matrix with a block for each group: its zeros, times what is not finite in one group, are NaN in another.
    y = jnp.moveaxis(jax.vmap(product)(_by_group(x, groups), w.reshape(groups, -1, *w.shape[1:])), 0, -2)
    return y.reshape(*y.shape[:-2], w.shape[0])


def _multiply_add(x, w, strides, dilations, groups: int) -> jax.Array:
    """y[p, g, o] = sum over t, i of x[p s + t d, g, i] w[g, o, i, t]."""
    kernel = w.shape[2:]
    per_in, per_out = w.shape[1], w.shape[0] // groups
    out = _positions(x.shape[1:-1], kernel, strides, dilations)
    taps = w.reshape(groups, per_out, per_in, *kernel)

    def inner(x, w, offsets):
        """The sum over the taps of the later axes: `offsets` are of the first."""
        terms = []
        for t in itertools.product(*map(range, w.shape[3:])):
            read = _read(x, [o + a * d for o, a, d in zip(offsets, t, dilations[-len(t) :], strict=True)], out, strides)
            read = read.reshape(*read.shape[:-1], groups, per_in)
            terms += [
                read[..., i, None] * w[(*[None] * (read.ndim - 2), slice(None), slice(None), i, *t)]
                for i in range(per_in)
            ]
        return functools.reduce(operator.add, terms)

    if math.prod(kernel) * per_in <= _UNROLLED or len(kernel) == 1:
        total = inner(x, taps, (0,) * len(kernel))
    else:
        # One row of the kernel in a step of a loop: the image shifts under it.
        reach = extent(out[0], 1, strides[0], 1)

        def step(row, total):
            shifted = lax.dynamic_slice_in_dim(x, row * dilations[0], reach, axis=1)
            return total + inner(shifted, lax.dynamic_slice_in_dim(taps, row, 1, axis=3), (0,) * len(kernel))

        total = lax.fori_loop(0, kernel[0], step, jnp.zeros((x.shape[0], *out, groups, per_out), x.dtype))
    return total.reshape(*total.shape[:-2], groups * per_out)


def _product(x, w, strides, dilations, precision) -> jax.Array:
    """y[p] = columns[p] @ w: all of it where no tap lies beside another, else a block of rows after the other."""
    kernel = w.shape[2:]
    out = _positions(x.shape[1:-1], kernel, strides, dilations)
    matrix = jnp.moveaxis(w, (0, 1), (-1, -2)).reshape(-1, w.shape[0])  # (taps * C, O)
    if math.prod(kernel) == 1:
        return jnp.dot(_read(x, (0,) * len(kernel), out, strides), matrix, precision=precision)
    rows = _rows_of_a_block(x, out, kernel)
    rows_read = extent(rows, kernel[0], strides[0], dilations[0])

    def block(first):
        """The output's rows from `first` on."""
        part = lax.dynamic_slice_in_dim(x, first * strides[0], rows_read, axis=1)
        return jnp.dot(_columns(part, kernel, (rows, *out[1:]), strides, dilations), matrix, precision=precision)

    if rows == out[0]:
        return block(0)

    def step(i, y):
        # The last block is moved back to end with the image; rows that it shares are computed twice, alike.
        first = jnp.minimum(i * rows, out[0] - rows)
        return lax.dynamic_update_slice_in_dim(y, block(first), first, axis=1)

    empty = jnp.zeros((x.shape[0], *out, w.shape[0]), x.dtype)
    return lax.fori_loop(0, -(-out[0] // rows), step, empty)


def _phases(y, w, spec: ConvSpec, padded: Sequence[int], precision) -> jax.Array:
    """The padded image x[q] = sum over p, t with p s + t d = q of y[p] w[t], w having out and in exchanged.

    Position q = s m + r, of phase r, takes the taps with t d = r + s j for a whole j, from y[m - j]. With
    g = gcd(s, d) these taps are t0, t0 + s / g, ...; their j are j0, j0 + d / g, ...: a convolution of y with stride 1
    and dilation d / g, whose kernel is flipped since j counts downwards.
    """
    axes = range(spec.rank)
    phases = []
    for residues in itertools.product(*(range(s) for s in spec.strides)):
        counts = [-(-(n - r) // s) for n, r, s in zip(padded, residues, spec.strides, strict=True)]
        taps, dilations, pads = [], [], []
        for axis, r in zip(axes, residues, strict=True):
            s, d, k = spec.strides[axis], spec.dilations[axis], w.shape[2 + axis]
            g = math.gcd(s, d)
            own = [t for t in range(k) if (t * d - r) % s == 0]
            taps.append(own)
            dilations.append(d // g)
            if own:
                first, last = ((own[i] * d - r) // s for i in (0, -1))
                # m - j must run over all m: y from -last to counts - 1 - first.
                pads.append((last, counts[axis] - first - y.shape[1 + axis]))
        if not all(taps) or not all(n > 0 for n in counts):
            phases.append(jnp.zeros((y.shape[0], *(max(n, 0) for n in counts), w.shape[0]), y.dtype))
            continue
        kernel = w
        for axis, own in zip(axes, taps, strict=True):
            step = own[1] - own[0] if len(own) > 1 else 1
            kernel = lax.slice_in_dim(kernel, own[0], own[-1] + 1, step, axis=2 + axis)
        kernel = lax.rev(kernel, tuple(range(2, w.ndim)))
        around = padding.pad(y, [(0, 0), *pads, (0, 0)], "zeros")
        phases.append(_convolve(around, kernel, (1,) * spec.rank, dilations, spec.groups, precision))
    if len(phases) == 1:
        return phases[0]
    # Interleaved: (residues, N, *m, C) -> (N, *(m residue), C), made equal in size first.
    most = [-(-n // s) for n, s in zip(padded, spec.strides, strict=True)]
    equal = [
        padding.pad(p, [(0, 0), *((0, n - have) for n, have in zip(most, p.shape[1:-1], strict=True)), (0, 0)], "zeros")
        for p in phases
    ]
    x = jnp.stack(equal).reshape(*spec.strides, *equal[0].shape)
    order = [spec.rank] + [a for axis in axes for a in (spec.rank + 1 + axis, axis)] + [2 * spec.rank + 1]
    sizes = [n * s for n, s in zip(most, spec.strides, strict=True)]
    x = x.transpose(order).reshape(y.shape[0], *sizes, w.shape[0])
    return x[(slice(None), *(slice(n) for n in padded))]


# ---------------------------------------------------------------------------------------------------------------
# The weight's gradient
# ---------------------------------------------------------------------------------------------------------------


def _multiply_add_weight(x, y, kernel, strides, dilations) -> jax.Array:
    """w[c, t] = sum over n, p of x[n, p s + t d, c] y[n, p, c], of shape (C, 1, *kernel).

    A sum that keeps the last axis is slow on a CPU. Here whole rows are added up first, all axes kept, and only the
    last few rows are summed.
    """
    out = y.shape[1:-1]
    taps = list(itertools.product(*map(range, kernel)))
    rows = max(1, min(out[0], _UNROLLED // len(taps)))  # of the image, in one step

    def add(first, count, totals):
        rows_read = extent(count, kernel[0], strides[0], dilations[0])
        part = lax.dynamic_slice_in_dim(x, first * strides[0], rows_read, axis=1)
        grad = lax.dynamic_slice_in_dim(y, first, count, axis=1)
        sums = []
        for t, total in zip(taps, totals, strict=True):
            read = _read(part, [a * d for a, d in zip(t, dilations, strict=True)], (count, *out[1:]), strides)
            for r in range(count):
                total = total + read[:, r] * grad[:, r]
            sums.append(total)
        return tuple(sums)

    start = (jnp.zeros((y.shape[0], *out[1:], y.shape[-1]), y.dtype),) * len(taps)
    totals = lax.fori_loop(0, out[0] // rows, lambda i, totals: add(i * rows, rows, totals), start)
    if out[0] % rows:
        totals = add(out[0] - out[0] % rows, out[0] % rows, totals)
    sums = jnp.stack([total.sum(tuple(range(total.ndim - 1))) for total in totals], axis=-1)
    return sums.reshape(y.shape[-1], 1, *kernel)


def _product_weight(x, y, kernel, strides, dilations, precision) -> jax.Array:
    """w = columns^T @ y, of shape (O, C, *kernel)."""
    out = y.shape[1:-1]
    rows = _rows_of_a_block(x, out, kernel)

    def block(first, count):
        rows_read = extent(count, kernel[0], strides[0], dilations[0])
        part = lax.dynamic_slice_in_dim(x, first * strides[0], rows_read, axis=1)
        columns = _columns(part, kernel, (count, *out[1:]), strides, dilations)
        grad = lax.dynamic_slice_in_dim(y, first, count, axis=1)
        summed = tuple(range(grad.ndim - 1))
        return lax.dot_general(columns, grad, ((summed, summed), ((), ())), precision=precision)

    total = jnp.zeros((math.prod(kernel) * x.shape[-1], y.shape[-1]), y.dtype)
    total = lax.fori_loop(0, out[0] // rows, lambda i, total: total + block(i * rows, rows), total)
    if out[0] % rows:
        total = total + block(out[0] - out[0] % rows, out[0] % rows)
    return jnp.moveaxis(total.reshape(*kernel, x.shape[-1], y.shape[-1]), (-1, -2), (0, 1))


# ---------------------------------------------------------------------------------------------------------------
# Pieces
# ---------------------------------------------------------------------------------------------------------------


def _widened(problem: Problem, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both in the dtype to accumulate in."""
    return a.astype(wide(problem.dtype)), b.astype(wide(problem.dtype))


def _channels_last(x: jax.Array, spec: ConvSpec) -> jax.Array:
    return jnp.moveaxis(x, spec.channel_axis, -1)


def _like_images(x: jax.Array, spec: ConvSpec) -> jax.Array:
    return jnp.moveaxis(x, -1, spec.channel_axis)


def _widths(spec: ConvSpec) -> list[tuple[int, int]]:
    """The pads of all axes, channels last."""
    return [(0, 0), *spec.pads, (0, 0)]


def _padded(x: jax.Array, spec: ConvSpec) -> jax.Array:
    return padding.pad(_channels_last(x, spec), _widths(spec), spec.padding_mode)


def _positions(size, kernel, strides, dilations) -> tuple[int, ...]:
    """The output's size, of an image that is padded already."""
    return tuple(windows(n - span(k, d), s) for n, k, s, d in zip(size, kernel, strides, dilations, strict=True))


def _read(x: jax.Array, offsets: Sequence[int], out: Sequence[int], strides: Sequence[int]) -> jax.Array:
    """What a tap at `offsets` reads for all output positions."""
    stops = [o + (m - 1) * s + 1 for o, m, s in zip(offsets, out, strides, strict=True)]
    return lax.slice(x, (0, *offsets, 0), (x.shape[0], *stops, x.shape[-1]), (1, *strides, 1))


def _columns(x: jax.Array, kernel, out, strides, dilations) -> jax.Array:
    """What all taps read, side by side: (N, *out, taps * C)."""
    offsets = itertools.product(*(range(0, d * k, d) for k, d in zip(kernel, dilations, strict=True)))
    return jnp.concatenate([_read(x, o, out, strides) for o in offsets], axis=-1)


def _rows_of_a_block(x: jax.Array, out: Sequence[int], kernel: Sequence[int]) -> int:
    """How many rows of the output are computed at a time; a batch of symbolic size counts as one image."""
    batch = x.shape[0] if isinstance(x.shape[0], int) else 1
    row = batch * math.prod(out[1:]) * math.prod(kernel) * x.shape[-1] * x.dtype.itemsize
    return max(1, min(out[0], _BLOCK_BYTES // max(row, 1)))


def _merged_groups(groups: int, channels: int) -> int:
    """How many groups are left where neighbours are merged until each has enough channels for a product."""
    if channels >= _MERGED_CHANNELS:
        return groups
    return min(g for g in range(1, groups + 1) if groups % g == 0 and groups // g * channels <= 2 * _MERGED_CHANNELS)


def _channel_blocks(x: jax.Array, count: int) -> list[jax.Array]:
    return jnp.split(x, count, axis=-1) if count > 1 else [x]


def _diagonal(w: jax.Array, each: int) -> jax.Array:
    """What one merged group has of its own groups: (O, C, ...) -> (O, C / each, ...)."""
    if each == 1:
        return w
    blocks = w.reshape(each, w.shape[0] // each, each, w.shape[1] // each, *w.shape[2:])
    own = jnp.moveaxis(jnp.diagonal(blocks, axis1=0, axis2=2), -1, 0)
    return own.reshape(w.shape[0], w.shape[1] // each, *w.shape[2:])


def _by_group(x: jax.Array, groups: int) -> jax.Array:
    """The channels of each group apart: (..., C) -> (groups, ..., C / groups)."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups), -2, 0)
