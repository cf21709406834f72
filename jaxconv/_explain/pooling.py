"""Pools explained."""

from typing import Any

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
from jaxconv._layers.pooling import MaxPool
from jaxconv._spec.pooling import Arguments, PoolSpec, adaptive_window, parse_adaptive, parse_pool
from jaxconv._spec.shapes import split_shape


def explain_pool(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains a maximum or average pool."""
    rank, is_max = layer.rank, isinstance(layer, MaxPool)
    said = plain(layer, shape, rank, f"{rank}-D {'maximum' if is_max else 'average'} of each window")
    dilation = layer.dilation if is_max else 1
    arguments = Arguments(layer.kernel_size, layer.stride, layer.padding, dilation, layer.ceil_mode, layer.data_format)
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
    said = plain(layer, shape, rank, f"{rank}-D average of windows that give a size")
    _, size = split_shape("input", shape, rank, layer.data_format)
    kept = parse_adaptive(rank, shape, layer.output_size, layer.data_format)
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
