"""Layers that only rearrange an array, explained."""

import math
from typing import Any

import jax.numpy as jnp

from jaxconv._explain.common import APART, make_axes, pads_text, plain, windows_text
from jaxconv._explain.explanation import Explanation
from jaxconv._layers.patches import Fold
from jaxconv._spec.arguments import axis_number
from jaxconv._spec.convolution import TransposedSpec
from jaxconv._spec.patches import parse_fold, parse_unfold
from jaxconv._spec.shapes import split_shape


def explain_patches(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains Unfold, or Fold, which is its transpose."""
    return (_fold if isinstance(layer, Fold) else _unfold)(layer, shape)


def _unfold(layer: Any, shape: tuple[int, ...]) -> Explanation:
    said = plain(layer, shape, 2, "patches of 2-D images, as columns")
    spec, kernel = parse_unfold(shape, jnp.dtype("float32"), *_numbers(layer))
    channels, size = split_shape("input", shape, 2, "channels_first")
    places = spec.output_size(size, kernel)
    axes = make_axes(2, size, places, kernel, spec.strides, spec.dilations, spec.pads, spec.receptive_field(kernel))
    rows = channels * math.prod(kernel)
    per_patch = " * ".join(str(n) for n in (channels, *kernel))
    return Explanation(
        **said,
        arithmetic=(
            *((a.name + "'", windows_text(a, a.size, a.output_size)) for a in axes),
            ("column", f"C * kH * kW = {per_patch} = {rows}"),
            ("number", f"H' * W' = {places[0]} * {places[1]} = {math.prod(places)}"),
        ),
        sides=("input", "places of the columns"),
        channels=(channels, rows, channels),
        **_about(axes, "filled with zeros"),
    )


def _fold(layer: Any, shape: tuple[int, ...]) -> Explanation:
    said = plain(layer, shape, 2, "patches added up into 2-D images")
    said["layout"] = ("N", "C * kH * kW", "H' * W'")[-len(shape) :]
    spec, size, kernel = parse_fold(shape, jnp.dtype("float32"), layer.output_size, *_numbers(layer))
    rows = shape[-2]
    channels = rows // math.prod(kernel)
    places, fields = spec.output_size(size, kernel), TransposedSpec(spec, size, (0, 0)).receptive_field(kernel)
    axes = make_axes(2, places, size, kernel, spec.strides, spec.dilations, spec.pads, fields)
    return Explanation(
        **said,
        arithmetic=(
            ("C", f"{rows} / ({kernel[0]} * {kernel[1]}) = {channels}"),
            *((a.name, f"{a.output_size} for places {windows_text(a, a.output_size, a.size)}") for a in axes),
        ),
        writes=True,
        sides=("places of the columns", "output"),
        channels=(rows, channels, channels),
        **_about(axes, "cut off the images"),
    )


def _about(axes: Any, done_to_pads: str) -> dict[str, Any]:
    """What is said of the axes, and of what does not mix."""
    return {
        "axes": axes,
        "fields": tuple((a.name, str(a.receptive_field)) for a in axes),
        "padding": (pads_text(axes), done_to_pads),
        "grouping": APART,
    }


def _numbers(layer: Any) -> tuple[Any, Any, Any, Any]:
    return layer.kernel_size, layer.dilation, layer.padding, layer.stride


def explain_flatten(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains Flatten."""
    said = plain(layer, shape, 1, "several axes made one")
    first, last = (axis_number("dim", dim, len(shape)) for dim in (layer.start_dim, layer.end_dim))
    said["layout"] = tuple(f"axis {i}" for i in range(len(shape)))
    product = " * ".join(str(n) for n in shape[first : last + 1])
    return Explanation(**said, arithmetic=((f"axis {first}", f"{product} = {said['output_shape'][first]}"),))
