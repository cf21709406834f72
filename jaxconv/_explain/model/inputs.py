"""What a model is called with, from shapes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._spec.arguments import parse_shape
from jaxconv._spec.messages import show
from jaxconv._spec.shapes import is_static


def parse_inputs(given: Any) -> tuple[Any, ...]:
    """The inputs of a model, arrays without values, from the argument `input_shape` of `jaxconv.explain`.

    Raises:
        TypeError: it is no shape, no array and nothing that is made of such.
        ValueError: a shape that is not of numbers, none of them negative.
    """
    inputs = _parse("input_shape", given)
    return tuple(inputs) if isinstance(inputs, list) else (inputs,)


def _parse(name: str, given: Any) -> Any:
    if _is_array(given):
        return jax.ShapeDtypeStruct(given.shape, given.dtype)
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


def _is_array(given: Any) -> bool:
    return hasattr(given, "shape") and hasattr(given, "dtype")


def parse_static_shape(name: str, given: Any) -> tuple[int, ...]:
    """A shape of numbers."""
    shape = parse_shape(name, given)
    if not is_static(shape):
        raise ValueError(f"{name} must be of numbers, got {shape}; choose a number for each symbolic size")
    return shape
