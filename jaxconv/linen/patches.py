"""Layers for Flax Linen that only rearrange an array: `Unfold`, its transpose `Fold`, and `Flatten`."""

from jaxconv._layers import patches as _layer
from jaxconv.linen.plain import Plain


class Unfold(Plain, _layer.Unfold):
    """`jaxconv.nnx.Unfold` in Linen.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import Unfold
        >>> Unfold((2, 3)).apply({}, jnp.ones((2, 5, 3, 4))).shape
        (2, 30, 4)
    """


class Fold(Plain, _layer.Fold):
    """`jaxconv.nnx.Fold` in Linen; it is called as `Unfold` is."""


class Flatten(Plain, _layer.Flatten):
    """`jaxconv.nnx.Flatten` in Linen; it is called as `Unfold` is."""
