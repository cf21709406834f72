"""What the explanations of several topics say: names of axes, arithmetic along an axis, padding in words."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._explain.axis import Axis
from jaxconv._spec.shapes import image_shape, split_shape

APART = ("each apart", "none: each channel apart")
SPATIAL = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}
_FILLING = {
    "reflect": "mode reflect, the image mirrored at its border, which is not repeated",
    "symmetric": "mode symmetric, the image mirrored, its border repeated",
    "replicate": "mode replicate, the border repeated",
    "circular": "mode circular, the other end of the image",
}


def plain(layer: Any, shape: tuple[int, ...], rank: int, kind: str, *more: Any) -> dict[str, Any]:
    """What is said of every layer without parameters.

    Tracing the layer gives the shape of its output, and the layer's own error where it takes no such input. Of several
    arrays that come out, all of one shape, it is the first; `more` are the dtypes of further arrays that go in.
    """
    given = [jax.ShapeDtypeStruct(shape, dtype) for dtype in (jnp.float32, *more)]
    result = jax.tree.leaves(jax.eval_shape(layer.compute, *given))[0]
    data_format = getattr(layer, "data_format", "channels_first")
    return {
        "layer": f"{type(layer).__name__}({layer.extra_repr()})",
        "kind": kind,
        "input_shape": shape,
        "output_shape": result.shape,
        "layout": axis_names(shape, rank, data_format),
        "platform": jax.default_backend(),
    }


def each_channel_apart(shape: tuple[int, ...], rank: int, data_format: str) -> dict[str, Any]:
    """What is said of the channels by a layer that computes each from itself."""
    channels, _ = split_shape("input", shape, rank, data_format)
    return {"channels": (channels, channels, channels), "grouping": APART}


def axis_names(shape: tuple[int, ...], rank: int, data_format: str) -> tuple[str, ...]:
    """The letters of the axes of images, which have an axis N or not."""
    return image_shape(("N",)[: len(shape) - rank - 1], "C", SPATIAL[rank], data_format)


def sizes_kept(shape: tuple[int, ...], layout: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """The arithmetic of a layer that keeps all sizes; the axes have their letters, or numbers."""
    names = layout or [f"axis {i}" for i in range(len(shape))]
    return tuple((name, f"{n} = {n}") for name, n in zip(names, shape, strict=True))


def make_axes(rank: int, *columns: Sequence[Any]) -> tuple[Axis, ...]:
    """An `Axis` for each spatial axis; a column has the values of an attribute, in the order of `Axis`."""
    return tuple(Axis(*values) for values in zip(SPATIAL[rank], *columns, strict=True))


def span_text(axis: Axis) -> str:
    """How the span of a window is computed."""
    return f"{axis.dilation} * ({axis.kernel} - 1) + 1"


def span_texts(axes: Sequence[Axis]) -> tuple[tuple[str, str], ...]:
    """The receptive fields of layers each of whose outputs reads one window."""
    return tuple((a.name, f"{span_text(a)} = {a.receptive_field}") for a in axes)


def room_text(axis: Axis, size: int) -> str:
    """How far the window can move along `size` positions and their padding."""
    return f"{size}{plus(axis.pads)} - {axis.dilation} * ({axis.kernel} - 1) - 1"


def windows_text(axis: Axis, size: int, number: int) -> str:
    """How the number of windows along `size` positions and their padding is computed."""
    return f"floor(({room_text(axis, size)}) / {axis.stride}) + 1 = {number}"


def plus(pads: tuple[int, int]) -> str:
    """The pads as they stand behind a size."""
    return "".join(f" + {p}" if p >= 0 else f" - {-p}" for p in pads)


def pads_text(axes: Sequence[Axis]) -> str:
    """The pads of all axes."""
    if not any(any(a.pads) for a in axes):
        return "none"
    return "; ".join(f"{a.name}: {a.pads[0]} low, {a.pads[1]} high" for a in axes)


def filling_text(filled: str) -> str:
    """What fills the padding, from a padding mode or a name of what does."""
    return _FILLING.get(filled, f"filled with {filled}")
