"""Activation layers without a framework."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import functional
from jaxconv._arrays import as_array, promoted
from jaxconv._layers.plain import Plain, check_dtypes
from jaxconv._ops.activation import softmax2d
from jaxconv._spec.activation import parse_slope
from jaxconv._spec.arguments import integer, one_of
from jaxconv._spec.shapes import DATA_FORMATS


class Slopes:
    """What the functions below read of a `PReLU` of either shell whose arguments are checked."""

    num_parameters: int
    data_format: str
    dtype: Any
    param_dtype: Any


def check(layer: Slopes, init: Any) -> None:
    """Refuses invalid arguments; `init` is PyTorch's, which in Linen is a method of every module."""
    integer("num_parameters", layer.num_parameters, 1)
    parse_slope(init)
    one_of("data_format", layer.data_format, DATA_FORMATS)
    check_dtypes(layer)


def initial(layer: Slopes, init: float) -> jax.Array:
    """The weight of a new layer."""
    return jnp.full((layer.num_parameters,), init, layer.param_dtype)


def call(layer: Slopes, x: jax.Array, weight: jax.Array) -> jax.Array:
    """What the layer does to `x`: both in `layer.dtype`, or promoted to one where that is None."""
    x = as_array("input", x)
    dtype = promoted(input=x, weight=weight) if layer.dtype is None else jnp.dtype(layer.dtype)
    return functional.prelu(x.astype(dtype), weight.astype(dtype), data_format=layer.data_format)


def extra_repr(layer: Slopes) -> str:
    """What PyTorch's layer prints between the parentheses."""
    other = f", data_format={layer.data_format}" if layer.data_format != "channels_first" else ""
    return f"num_parameters={layer.num_parameters}{other}"


@dataclass(repr=False, eq=False)
class Softmax2d(Plain):
    """The softmax over the channels."""

    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        one_of("data_format", self.data_format, DATA_FORMATS)

    def compute(self, x: jax.Array) -> jax.Array:
        return softmax2d(x, self.data_format)

    def extra_repr(self) -> str:
        return self._named()
