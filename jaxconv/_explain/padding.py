"""Layers that pad, explained."""

from typing import Any

from jaxconv._explain.common import each_channel_apart, filling_text, make_axes, pads_text, plain, plus
from jaxconv._explain.explanation import Explanation
from jaxconv._spec.padding import padded_size
from jaxconv._spec.shapes import split_shape


def explain_pad(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains a layer that pads."""
    rank = layer.rank
    said = plain(layer, shape, rank, f"{rank}-D padding")
    _, size = split_shape("input", shape, rank, layer.data_format)
    pads = list(zip(layer.padding[::2], layer.padding[1::2], strict=True))[::-1]  # kept with the last axis first
    padded = padded_size(size, pads)
    ones = (1,) * rank
    axes = make_axes(rank, size, padded, ones, ones, ones, pads, ones)
    filled = f"{layer.value:g}" if layer.mode == "constant" else layer.mode
    filled = "zeros" if filled == "0" else filled
    return Explanation(
        **said,
        arithmetic=tuple((a.name, f"{a.size}{plus(a.pads)} = {a.output_size}") for a in axes),
        axes=axes,
        fields=tuple((a.name, "1") for a in axes),
        padding=(pads_text(axes), filling_text(filled)),
        filled=filled,
        **each_channel_apart(shape, rank, layer.data_format),
    )
