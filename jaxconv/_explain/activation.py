"""Activations that know of channels, explained."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._explain.common import plain, sizes_kept
from jaxconv._explain.explanation import Explanation, Parameter
from jaxconv._layers import activation as _layer


def is_prelu(layer: Any) -> bool:
    """Whether `layer` is a PReLU, of either shell."""
    return not isinstance(layer, type) and hasattr(layer, "num_parameters")


def explain_prelu(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains PReLU."""
    weight = jax.ShapeDtypeStruct((layer.num_parameters,), jnp.float32)
    result = jax.eval_shape(lambda x, w: _layer.call(layer, x, w), jax.ShapeDtypeStruct(shape, jnp.float32), weight)
    return Explanation(
        layer=f"PReLU({_layer.extra_repr(layer)})",
        kind="the input where it is positive, a learned slope times it elsewhere",
        input_shape=shape,
        output_shape=result.shape,
        layout=tuple(f"axis {i}" for i in range(len(shape))),
        platform=jax.default_backend(),
        arithmetic=sizes_kept(shape),
        parameters=(Parameter("weight", weight.shape, "slopes"),),
    )


def explain_softmax(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains Softmax2d."""
    said = plain(layer, shape, 2, "the channels at each position made positive, with a sum of 1")
    return Explanation(**said, arithmetic=sizes_kept(shape, said["layout"]))
