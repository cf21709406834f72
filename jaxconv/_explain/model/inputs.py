"""What a model is called with, from shapes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding

from jaxconv._spec.arguments import parse_shape
from jaxconv._spec.messages import show
from jaxconv._spec.shapes import is_static


def parse_inputs(given: Any) -> tuple[Any, ...]:
    """The inputs of a model, arrays without values, from the argument `input_shape` of `jaxconv.explain`.

    Those that devices divide have a sharding.

    Raises:
        TypeError: it is no shape, no array and nothing that is made of such.
        ValueError: a shape that is not of numbers, none of them negative.
    """
    inputs = _parse("input_shape", given)
    return tuple(inputs) if isinstance(inputs, list) else (inputs,)


def _parse(name: str, given: Any) -> Any:
    if _is_array(given):
        return jax.ShapeDtypeStruct(given.shape, given.dtype, sharding=_division(name, given))
    if isinstance(given, Mapping):
        return {key: _parse(f"{name}[{key!r}]", each) for key, each in given.items()}
    if not isinstance(given, list | tuple):
        raise TypeError(
            f"{name} must be a shape such as (1, 3, 224, 224), an array or a jax.ShapeDtypeStruct, or a list of such "
            f"for several inputs, got {show(given)}"
        )
    if any(isinstance(each, list | tuple | Mapping) or _is_array(each) for each in given):
        return [_parse(f"{name}[{i}]", each) for i, each in enumerate(given)]
    return jax.ShapeDtypeStruct(parse_static_shape(name, given), jnp.float32)


def parse_layer_input(given: Any) -> tuple[tuple[int, ...], Any]:
    """The shape of a layer's input, and how devices divide it, or None.

    Raises:
        TypeError: it is no shape and no array of float32, of which layers are explained.
        ValueError: as `parse_inputs`.
    """
    if not _is_array(given):
        return parse_static_shape("input_shape", given), None
    if given.dtype != jnp.float32:
        raise TypeError(
            f"input_shape of a layer is of float32, got an array of {given.dtype}; give its shape, {given.shape}"
        )
    return parse_static_shape("input_shape", given.shape), _division("input_shape", given)


def _division(name: str, given: Any) -> NamedSharding | None:
    """How several devices divide an array, if they do; with axes of whose division JAX finds out as it compiles.

    A program in which types say it is another one for each division.
    """
    sharding = getattr(given, "sharding", None)
    if not isinstance(sharding, NamedSharding) or sharding.mesh.size == 1:
        return None
    if not isinstance(sharding.mesh, Mesh):
        raise ValueError(
            f"{name} has a sharding over a mesh without devices, {sharding.mesh}; give one of jax.make_mesh, whose "
            "devices the model can be compiled for"
        )
    names = sharding.mesh.axis_names
    return NamedSharding(Mesh(sharding.mesh.devices, names, axis_types=(AxisType.Auto,) * len(names)), sharding.spec)


def _is_array(given: Any) -> bool:
    return hasattr(given, "shape") and hasattr(given, "dtype")


def parse_static_shape(name: str, given: Any) -> tuple[int, ...]:
    """A shape of numbers."""
    shape = parse_shape(name, given)
    if not is_static(shape):
        raise ValueError(f"{name} must be of numbers, got {shape}; choose a number for each symbolic size")
    return shape
