"""Algorithm `xla`: plain `lax` operations. It serves every case on every platform.

Each op is one call of `lax.conv_general_dilated`. In one dimension, with x padded, the three sums are

    y[p] = sum over t of x[p s + t d] w[t]     stride s, kernel dilated by d
    x[i] = sum over t of y[p] w[t], i = p s + t d     y dilated by s, the flipped kernel dilated by d
    w[t] = sum over p of x[p s + t d] y[p]     stride d, y dilated by s

Zeros are padded by the convolution itself; every other mode pads a copy of the image first. A very long axis is
computed in parts: see `_MOST_POSITIONS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
from jax import lax

from jaxconv._lowering import padding, parts
from jaxconv._lowering.common import add_bias, exchange_channels, sum_to_bias
from jaxconv._lowering.family import Problem
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.padding import padded_size
from jaxconv._spec.shapes import extent, is_static, span

# With `algorithm="xla"` a program for the only device holds `lax` operations alone, for tools that read programs.
WITHOUT_PRIMITIVE = True

# XLA's CPU compiler (that of jaxlib 0.10) finds the number of windows along an axis by a division in float32. Where a
# window may begin at more positions than float32 has integers, 2**24, it may find one too few or too many, and where
# the result of the last one should be nothing is written. So the parts of a long axis begin at half as many, and their
# taps span half as many: JAX differentiates this algorithm as it stands, and what is a window in one op is an image in
# the next.
_MOST_POSITIONS = 2**23
# And XLA counts the positions of a dilated image, as y is for `input`, in 32 bits.
_MOST_DILATED = 2**31
# More parts than this are an array that is not computed, only spoken of.
_MOST_PARTS = 2**12


def missing() -> str | None:
    """Nothing: see `Family.missing`."""
    return None


def cannot(problem: Problem) -> str | None:
    """Nothing: see `Family.cannot`."""
    return None


def output(problem: Problem, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """See `Family.output`."""
    y = _output(problem, x, w)
    return y if b is None else add_bias(y, b, problem.spec)


def _output(problem: Problem, x: jax.Array, w: jax.Array) -> jax.Array:
    if is_long := _long_axis(problem):
        problem, x = _of_padded(problem, x)
        in_parts, i = is_long
        return in_parts(problem, i, _MOST_POSITIONS, _output, x, w)
    if _has_far_steps(problem.spec):
        problem, x = _of_padded(problem, x)
        problem = _without_idle_steps(problem)
    spec = problem.spec
    x, pads = _pad_image(x, spec, w.shape[2:])
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=spec.strides,
        padding=pads,
        rhs_dilation=spec.dilations,
        dimension_numbers=lax.ConvDimensionNumbers(_images(spec), tuple(range(w.ndim)), _images(spec)),
        feature_group_count=spec.groups,
        **_accumulation(problem, x),
    )


def input(problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
    """See `Family.input`."""
    spec, x_shape = problem.spec, problem.x_shape
    if spec.padding_mode == "zeros":
        return _input(problem, w, y)
    padded = replace(problem, spec=_without_padding(spec), x_shape=padded_shape(x_shape, spec))
    return padding.pad_transpose(_input(padded, w, y), _widths(spec), spec.padding_mode, x_shape)


def _input(problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
    """The op `input` in padding mode zeros."""
    if is_long := _long_axis(problem):
        in_parts, i = is_long
        return in_parts(problem, i, _MOST_POSITIONS, _input, w, y)
    if _has_far_steps(problem.spec):
        problem = _without_idle_steps(problem)
    spec, x_shape = problem.spec, problem.x_shape
    pads, surplus = [], False
    for axis, (low, high), k, s, d in zip(
        spec.spatial_axes, spec.pads, w.shape[2:], spec.strides, spec.dilations, strict=True
    ):
        # The dilated y begins at tap k - 1 of the flipped kernel, `low` positions before the image does; what is
        # left of the size wanted goes to the end, and is negative where the last strides reach beyond it.
        n, m = x_shape[axis], y.shape[axis]
        before = span(k, d) - 1 - low
        after = n + span(k, d) - 1 - before - extent(m, 1, s, 1)
        if not isinstance(after, int):
            # The strides of a symbolic size leave over a number that is not known: room for the most there can be.
            after, surplus = span(k, d) - 1 - high + s - 1, True
        elif _is_misread(n, m, k, s, d, low):
            after, surplus = after + 1, True
        pads.append((before, after))
    x = lax.conv_general_dilated(
        y,
        lax.rev(exchange_channels(w, spec.groups), tuple(range(2, w.ndim))),
        window_strides=(1,) * spec.rank,
        padding=pads,
        lhs_dilation=spec.strides,
        rhs_dilation=spec.dilations,
        dimension_numbers=lax.ConvDimensionNumbers(_images(spec), tuple(range(w.ndim)), _images(spec)),
        feature_group_count=spec.groups,
        **_accumulation(problem, y),
    )
    if surplus:
        x = lax.dynamic_slice(x, (0,) * x.ndim, x_shape)
    return x


def weight(problem: Problem, x: jax.Array, y: jax.Array) -> Any:
    """See `Family.weight`."""
    w = _weight(problem, x, y)
    return (w, sum_to_bias(y, problem.spec)) if problem.bias else w


def _weight(problem: Problem, x: jax.Array, y: jax.Array) -> jax.Array:
    if is_long := _long_axis(problem):
        problem, x = _of_padded(problem, x)
        in_parts, i = is_long
        return in_parts(problem, i, _MOST_POSITIONS, _weight, x, y)
    if _has_far_steps(problem.spec):
        problem, x = _of_padded(problem, x)
        problem = _without_idle_steps(problem)
    spec, w_shape = problem.spec, problem.w_shape
    x, pads = _pad_image(x, spec, w_shape[2:])
    # The high pad is what k taps need: the positions that the last stride left over are not read.
    read = [
        extent(y.shape[axis], k, s, d)
        for axis, k, s, d in zip(spec.spatial_axes, w_shape[2:], spec.strides, spec.dilations, strict=True)
    ]
    if is_static(x.shape):
        pads = [(low, n - x.shape[axis] - low) for axis, (low, _), n in zip(spec.spatial_axes, pads, read, strict=True)]
    else:  # lax takes numbers as pads, and symbolic sizes where it slices
        x = padding.pad(x, _on_axes(spec, pads), "zeros")
        x = lax.dynamic_slice(x, (0,) * x.ndim, _on_axes(spec, read, x.shape))
        pads = ((0, 0),) * spec.rank
    # The images are summed over, so they take the place of channels, and the channels that of images: with x as
    # (C, N), y as (N, O) the result is (C / groups, O). `batch_group_count` pairs the groups of C with those of O.
    batch, channels, *spatial = _images(spec)
    return lax.conv_general_dilated(
        x,
        y,
        window_strides=spec.dilations,
        padding=pads,
        rhs_dilation=spec.strides,
        dimension_numbers=lax.ConvDimensionNumbers(
            (channels, batch, *spatial), (channels, batch, *spatial), (1, 0, *range(2, len(w_shape)))
        ),
        batch_group_count=spec.groups,
        **_accumulation(problem, x),
    )


def _long_axis(problem: Problem) -> tuple[Callable[..., jax.Array], int] | None:
    """How to compute the op in parts, and along which spatial axis; None where XLA counts rightly."""
    spec = problem.spec
    for i, (axis, k, s, d) in enumerate(
        zip(spec.spatial_axes, problem.w_shape[2:], spec.strides, spec.dilations, strict=True)
    ):
        n, m = problem.x_shape[axis], problem.y_shape[axis]
        if not is_static((n, m)):
            continue
        most = _MOST_POSITIONS
        if k > 1 and span(k, d) > most and k < _MOST_PARTS * ((most - 1) // d + 1):
            return parts.by_taps, i
        if problem.op == "input":
            long = n > 2 * most or (m - 1) * s >= _MOST_DILATED
            number = n // most
        else:
            long = n + sum(spec.pads[i]) > 2 * most
            number = m // ((most - 1) // s + 1)
        if long and number < _MOST_PARTS:
            return parts.by_positions, i
    return None


def _has_far_steps(spec: ConvSpec) -> bool:
    """Whether a stride or a dilation is one at which XLA, which counts them in 32 bits, may end the process."""
    return max(*spec.strides, *spec.dilations) >= 2**31


def _without_idle_steps(problem: Problem) -> Problem:
    """The same problem, of padding mode zeros, with no steps where there is no second window or tap to step to."""
    spec = problem.spec
    sizes = (spec.size_of(problem.x_shape), spec.size_of(problem.y_shape), problem.w_shape[2:])
    strides, dilations, pads = [], [], []
    for n, m, k, s, d, (low, high) in zip(*sizes, spec.strides, spec.dilations, spec.pads, strict=True):
        one = isinstance(m, int) and m == 1
        strides.append(1 if one else s)
        dilations.append(1 if k == 1 else d)
        pads.append((low, span(k, dilations[-1]) - low - n if one else high))
    return replace(problem, spec=replace(spec, strides=tuple(strides), dilations=tuple(dilations), pads=tuple(pads)))


def _of_padded(problem: Problem, x: jax.Array) -> tuple[Problem, jax.Array]:
    """The problem of an image that is padded already, if not with zeros, and that image."""
    spec = problem.spec
    if spec.padding_mode == "zeros":
        return problem, x
    x = padding.pad(x, _widths(spec), spec.padding_mode)
    return replace(problem, spec=_without_padding(spec), x_shape=x.shape), x


def _without_padding(spec: ConvSpec) -> ConvSpec:
    return replace(spec, pads=((0, 0),) * spec.rank, padding_mode="zeros")


def _accumulation(problem: Problem, array: jax.Array) -> dict[str, Any]:
    """The options of `lax` that say how sums are taken."""
    return {
        "precision": problem.precision,
        "preferred_element_type": None if problem.dtype == array.dtype else problem.dtype,
    }


def padded_shape(x_shape: Sequence[int], spec: ConvSpec) -> tuple[int, ...]:
    """The shape of the padded images."""
    return padded_size(x_shape, _widths(spec))


def _pad_image(x: jax.Array, spec: ConvSpec, kernel: Sequence[int]) -> tuple[jax.Array, Sequence[tuple[int, int]]]:
    """The image, and the zeros that are still to be padded by the convolution itself."""
    if spec.padding_mode != "zeros":
        return padding.pad(x, _widths(spec), spec.padding_mode), ((0, 0),) * spec.rank
    size = spec.size_of(x.shape)
    numbers = zip(size, spec.output_size(size, kernel), kernel, spec.strides, spec.dilations, spec.pads, strict=True)
    own = {
        axis: pair
        for axis, (n, m, k, s, d, pair) in zip(spec.spatial_axes, numbers, strict=True)
        if _is_misread(n, m, k, s, d, pair[0])
    }
    if not own:
        return x, spec.pads
    left = [(0, 0) if axis in own else pair for axis, pair in zip(spec.spatial_axes, spec.pads, strict=True)]
    return padding.pad(x, [own.get(axis, (0, 0)) for axis in range(x.ndim)], "zeros"), left


def _is_misread(n: int, m: int, k: int, s: int, d: int, low: int) -> bool:
    """Whether XLA might misread this axis of x (n positions), y (m) and w (k), in an op or in a derivative of one.

    XLA writes an axis of groups as one with no pads, no window dilation, a base dilation of the size of the window and
    a stride of one less. It takes any axis with these numbers for such a one; where it is none, and along the others
    the window is larger than the image, XLA (that of jaxlib 0.10) makes window and image change places wrongly, finds
    its own result impossible and ends the process. With a pad the same numbers are read rightly.

    An op and its derivatives are convolutions of two of x, w and y, either as the window; x is never dilated.
    """

    def like_groups(window, base_dilation, stride, window_dilation):
        return window_dilation == 1 and base_dilation == window and stride == window - 1

    y_dilated = low == span(k, d) - 1 and (like_groups(k, s, 1, d) or like_groups(n, s, d, 1))
    w_dilated = low == span(m, s) - 1 and (like_groups(m, d, 1, s) or like_groups(n, d, s, 1))
    return y_dilated or w_dilated


def _widths(spec: ConvSpec) -> list[tuple[int, int]]:
    """The pads of all axes of a batch of images."""
    return _on_axes(spec, spec.pads)


def _on_axes(spec: ConvSpec, values: Sequence[Any], others: Sequence[Any] | None = None) -> list[Any]:
    """What is given for the spatial axes, and for the others what `others` holds or no padding."""
    everywhere = [(0, 0)] * (spec.rank + 2) if others is None else list(others)
    for axis, value in zip(spec.spatial_axes, values, strict=True):
        everywhere[axis] = value
    return everywhere


def _images(spec: ConvSpec) -> tuple[int, ...]:
    """The layout of images as `lax` writes one: where the batch, the channels and each spatial axis stand."""
    return (0, spec.channel_axis, *spec.spatial_axes)
