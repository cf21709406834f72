"""Resampling layers, explained."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv._explain.common import SPATIAL, axis_names, each_channel_apart, plain
from jaxconv._explain.explanation import Explanation
from jaxconv._layers.resampling import PixelShuffle
from jaxconv._lowering.resampling import make_table
from jaxconv._spec.pooling import adaptive_window
from jaxconv._spec.resampling import AxisSpec, parse_interpolate

_KINDS = {
    "nearest": "by their nearest neighbours",
    "nearest-exact": "by their nearest neighbours",
    "linear": "linear between positions",
    "cubic": "cubic between positions",
    "area": "by averages",
}


def explain_upsampling(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains a layer that gives images another size."""
    arguments = layer.arguments()
    spec = parse_interpolate(shape, jnp.dtype("float32"), arguments)
    rank = len(spec.axes)
    corners = ", with aligned corners" if arguments.align_corners else ""
    said = plain(layer, shape, rank, f"{rank}-D images of another size, {_KINDS[spec.axes[0].filter]}{corners}")
    factors = layer.scale_factor if isinstance(layer.scale_factor, tuple) else (layer.scale_factor,) * rank
    names = SPATIAL[rank]
    return Explanation(
        **said,
        arithmetic=tuple((n, _size(a, f)) for n, a, f in zip(names, spec.axes, factors, strict=True)),
        fields=tuple((n, _reach(a)) for n, a in zip(names, spec.axes, strict=True)),
        **each_channel_apart(shape, rank, spec.data_format),
    )


def _size(axis: AxisSpec, factor: float | None) -> str:
    """How the size of the result is computed."""
    if factor is None:
        return f"{axis.output_size}, as size says"
    if factor == int(factor):
        return f"{axis.size} * {int(factor)} = {axis.output_size}"
    return f"floor({axis.size} * {factor}) = {axis.output_size}"


def _reach(axis: AxisSpec) -> str:
    """How many positions of the input one of the output reads, and from where."""
    n, m = axis.size, axis.output_size
    if axis.filter == "area":
        most = max((len(adaptive_window(n, m, i)) for i in range(m)), default=0)
        return f"at most {most}: output i reads floor(i * {n} / {m}) to ceil((i + 1) * {n} / {m}) - 1"
    places = np.sort(make_table(axis, np.dtype("float32")).places, axis=0)
    most = int((np.diff(places, axis=0) > 0).sum(axis=0).max(initial=0)) + 1
    step = f"{n} / {m}" if axis.factor is None else f"1 / {axis.factor:g}"
    if axis.align_corners:
        place = "0" if m == 1 else f"i * {n - 1} / {m - 1}"
    else:
        place = f"i * {step}" if axis.filter == "nearest" else f"(i + 0.5) * {step} - 0.5"
    return f"at most {most}: output i lies at {place} of the input"


def explain_pixel_shuffle(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains PixelShuffle, or PixelUnshuffle, which is its inverse."""
    up = isinstance(layer, PixelShuffle)
    said = plain(layer, shape, 2, "channels made positions" if up else "positions made channels")
    out = said["output_shape"]
    r = layer.upscale_factor if up else layer.downscale_factor
    last = layer.data_format == "channels_last"
    (c, h, w), (c_out, h_out, w_out) = ((s[-1], *s[-3:-1]) if last else s[-3:] for s in (shape, out))
    said["layout"] = (*(f"axis {i}" for i in range(len(shape) - 4)), *axis_names(shape[-4:], 2, layer.data_format))
    arithmetic = (
        ("C", f"{c} / ({r} * {r}) = {c_out}" if up else f"{c} * {r} * {r} = {c_out}"),
        *(
            (name, f"{n} {'*' if up else '/'} {r} = {m}")
            for name, n, m in zip(SPATIAL[2], (h, w), (h_out, w_out), strict=True)
        ),
    )
    return Explanation(**said, arithmetic=arithmetic, channels=(c, c_out, math.gcd(c, c_out)))


def explain_channel_shuffle(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains ChannelShuffle."""
    said = plain(layer, shape, 1, "channels dealt out to groups")
    axis = 1 if layer.data_format == "channels_first" else len(shape) - 1
    said["layout"] = tuple("C" if i == axis else "N" if i == 0 else f"axis {i}" for i in range(len(shape)))
    c, groups = shape[axis], layer.groups
    arithmetic = (("C", f"{groups} * {c // groups} = {c}, channel i of group g becoming channel g of group i"),)
    return Explanation(**said, arithmetic=arithmetic, channels=(c, c, groups))
