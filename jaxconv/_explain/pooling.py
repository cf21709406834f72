"""Pools explained."""

from typing import Any

import jax.numpy as jnp

from jaxconv._explain.axis import Axis
from jaxconv._explain.common import (
    each_channel_apart,
    make_axes,
    pads_text,
    plain,
    room_text,
    span_texts,
    windows_text,
)
from jaxconv._explain.explanation import Explanation
from jaxconv._layers.pooling import AdaptiveMaxPool, LPPool, MaxPool
from jaxconv._spec.pooling import Arguments, PoolSpec, adaptive_window, parse_adaptive, parse_pool
from jaxconv._spec.shapes import split_shape


def explain_pool(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains a maximum or average pool, or one of norms."""
    rank, is_max, is_norm = layer.rank, isinstance(layer, MaxPool), isinstance(layer, LPPool)
    what = f"norm of order {layer.norm_type}" if is_norm else "maximum" if is_max else "average"
    said = plain(layer, shape, rank, f"{rank}-D {what} of each window{_and_places(layer)}")
    dilation = layer.dilation if is_max else 1
    amount = 0 if is_norm else layer.padding
    arguments = Arguments(layer.kernel_size, layer.stride, amount, dilation, layer.ceil_mode, layer.data_format)
    spec = parse_pool(rank, shape, arguments)
    _, size = split_shape("input", shape, rank, spec.data_format)
    pads = [(p, p) for p in spec.padding]
    axes = make_axes(
        rank, size, spec.output_size(size), spec.kernel, spec.strides, spec.dilations, pads, spec.receptive_field()
    )
    padding = [pads_text(axes)]
    if any(spec.padding):
        padding.append("filled with minus infinity" if is_max else "filled with zeros")
        if not is_max and not layer.count_include_pad:
            padding[-1] += ", which do not count in the divisor"
    if not is_max and getattr(layer, "divisor_override", None) is not None:
        padding.append(f"each sum is divided by {layer.divisor_override}")
    return Explanation(
        **said,
        arithmetic=tuple((a.name, _windows(a, spec)) for a in axes),
        axes=axes,
        fields=span_texts(axes),
        padding=tuple(padding),
        filled="-inf" if is_max else "zeros",
        **each_channel_apart(shape, rank, spec.data_format),
    )


def _and_places(layer: Any) -> str:
    return ", and where it is" if getattr(layer, "return_indices", False) else ""


def _windows(axis: Axis, spec: PoolSpec) -> str:
    """How the number of windows is computed."""
    if not spec.ceil_mode:
        return windows_text(axis, axis.size, axis.output_size)
    assert axis.stride is not None
    room = axis.size + sum(axis.pads) - axis.receptive_field
    if -(-room // axis.stride) + 1 == axis.output_size:
        return f"ceil(({room_text(axis, axis.size)}) / {axis.stride}) + 1 = {axis.output_size}"
    return (
        f"floor(({axis.size} + {axis.pads[0]} - 1) / {axis.stride}) + 1 = {axis.output_size}; "
        "a window more would begin after the image"
    )


def explain_adaptive_pool(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains an adaptive pool."""
    rank = layer.rank
    is_max = isinstance(layer, AdaptiveMaxPool)
    what = "maximum" if is_max else "average"
    said = plain(layer, shape, rank, f"{rank}-D {what} of windows that give a size{_and_places(layer)}")
    _, size = split_shape("input", shape, rank, layer.data_format)
    kept = parse_adaptive(rank, shape, layer.output_size, layer.data_format, channels=is_max)
    out = [n if m is None else m for n, m in zip(size, kept, strict=True)]
    # The lengths of all windows along each axis; 0 where there is none.
    lengths = [[len(adaptive_window(n, m, i)) for i in range(m)] or [0] for n, m in zip(size, out, strict=True)]
    none = (None,) * rank
    axes = make_axes(rank, size, out, none, none, none, ((0, 0),) * rank, [max(each) for each in lengths])
    fields = []
    for a, each in zip(axes, lengths, strict=True):
        between = " to ".join(str(k) for k in dict.fromkeys((min(each), max(each))))
        n, m = a.size, a.output_size
        fields.append((a.name, f"{between}: output i reads floor(i * {n} / {m}) to ceil((i + 1) * {n} / {m}) - 1"))
    return Explanation(
        **said,
        arithmetic=tuple((a.name, f"{a.output_size}, as output_size says") for a in axes),
        axes=axes,
        fields=tuple(fields),
        **each_channel_apart(shape, rank, layer.data_format),
    )


def explain_unpool(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains an unpooling, without an `output_size`."""
    rank, kernel, strides, padding = layer.rank, layer.kernel_size, layer.stride, layer.padding
    said = plain(layer, shape, rank, f"{rank}-D maxima put back where they were, among zeros", jnp.int32)
    _, size = split_shape("input", shape, rank, layer.data_format)
    _, out = split_shape("input", said["output_shape"], rank, layer.data_format)
    # An element goes to one position of its window; a position may be given one by each window that it is in.
    fields = [-(-k // s) for k, s in zip(kernel, strides, strict=True)]
    axes = make_axes(rank, size, out, kernel, strides, (1,) * rank, [(p, p) for p in padding], fields)
    return Explanation(
        **said,
        arithmetic=tuple(
            (a.name, f"({a.size} - 1) * {a.stride} - 2 * {a.pads[0]} + {a.kernel} = {a.output_size}") for a in axes
        ),
        axes=axes,
        writes=True,
        fields=tuple(
            (a.name, f"at most {a.receptive_field}; one input position writes to one of {a.kernel}") for a in axes
        ),
        padding=(pads_text(axes), "cut off the output"),
        **each_channel_apart(shape, rank, layer.data_format),
    )
