"""Normalisations explained."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._explain.common import SPATIAL, plain
from jaxconv._explain.explanation import Explanation, Parameter
from jaxconv._layers.normalization import BatchNorm, GroupNorm, InstanceNorm, LocalResponseNorm, Norm, RMSNorm
from jaxconv._spec.shapes import image_shape

_LAST = "normalisation of the last axes"


def explain_norm(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains a layer that divides by a deviation, or by the root of a mean of squares."""
    output_shape = _output_shape(layer, shape)
    layout = _letters(layer, shape)
    if isinstance(layer, BatchNorm | InstanceNorm):
        kept = ("C",) if isinstance(layer, BatchNorm) else ("N", "C")
        kind = f"{layer.rank}-D normalisation of each channel" + (" of each image" if len(kept) == 2 else "")
        counted = [(name, n) for name, n in zip(layout, shape, strict=True) if name not in kept]
    elif isinstance(layer, GroupNorm):
        kind = "normalisation of each group of channels of each image"
        named = [(name, n) for name, n in zip(layout, shape, strict=True) if name != "N"]
        groups = layer.num_groups
        counted = [("C / groups", n // groups) if name == "C" else (name, n) for name, n in named]
    else:
        is_rms = isinstance(layer, RMSNorm)
        kind = "division of the last axes by the root of the mean of their squares" if is_rms else _LAST
        first = len(shape) - len(layer.normalized_shape)
        counted = list(zip(layout[first:], shape[first:], strict=True))
    statistics = "each mean of squares" if isinstance(layer, RMSNorm) else "each mean and variance"
    names, numbers = (" * ".join(str(pair[i]) for pair in counted) for i in (0, 1))
    text = numbers if "axis" in names else f"{names} = {numbers}"
    axes = "C" if _shape(layer) is None else ", ".join(name for name, _ in counted)
    return Explanation(
        layer=f"{type(layer).__name__}({layer.extra_repr()})",
        kind=kind,
        input_shape=shape,
        output_shape=output_shape,
        layout=layout,
        arithmetic=(
            ("values", f"{text} = {math.prod(n for _, n in counted)}; so many for {statistics}"),
            ("output", _formula(layer)),
        ),
        parameters=tuple(Parameter(name, size, axes) for name, size in layer.parameters.items()),
        platform=jax.default_backend(),
    )


def explain_response_norm(layer: LocalResponseNorm, shape: tuple[int, ...]) -> Explanation:
    """Explains a local response norm."""
    said = plain(layer, shape, 1, "division of each value by its neighbours in other channels")
    said["layout"] = _letters(layer, shape)
    before, after = layer.size // 2, (layer.size - 1) // 2
    return Explanation(
        **said,
        arithmetic=(
            ("channels", f"{before} + 1 + {after} = {layer.size}; so many for each mean of squares"),
            ("output", f"input / ({layer.k} + {layer.alpha} * mean)^{layer.beta}"),
        ),
    )


def _output_shape(layer: Norm, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Tracing the layer gives it, and the layer's own error where it takes no such input."""

    def call(x: jax.Array) -> jax.Array:
        shapes = {**layer.parameters, **layer.statistics}
        arrays = {name: layer.initial(name, size) for name, size in shapes.items()}
        # There is no mapped axis here.
        return layer.normalise(x, arrays, training=getattr(layer, "axis_name", None) is None)[0]

    return jax.eval_shape(call, jax.ShapeDtypeStruct(shape, jnp.float32)).shape


def _shape(layer: Any) -> tuple[int, ...] | None:
    return getattr(layer, "normalized_shape", None)


def _letters(layer: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The letters of the axes of images, or the numbers of the axes of any array."""
    rank = getattr(layer, "rank", len(shape) - 2)
    if _shape(layer) is not None or rank > len(SPATIAL):
        return tuple(f"axis {i}" for i in range(len(shape)))
    if len(shape) == 2 and not isinstance(layer, InstanceNorm):
        return ("N", "C")
    batch = ("N",) if len(shape) == rank + 2 else ()
    return image_shape(batch, "C", SPATIAL[rank], layer.data_format)


def _formula(layer: Any) -> str:
    """What is computed of each value."""
    if isinstance(layer, RMSNorm):
        eps = "eps" if layer.eps is None else layer.eps
        text = f"input / sqrt(mean of squares + {eps})"
    else:
        text = f"(input - mean) / sqrt(variance + {layer.eps})"
    return text + "".join({"weight": " * weight", "bias": " + bias"}[name] for name in layer.parameters)
