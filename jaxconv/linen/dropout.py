"""Layers for Flax Linen that drop parts of an array at random."""

from typing import Any

import jax
from flax import linen as nn

from jaxconv._layers import dropout as _layer
from jaxconv._spec.arguments import truth
from jaxconv.linen.plain import Plain


class _Random(Plain):
    """A layer that draws from `make_rng("dropout")`; it stands before one of the dataclasses of `jaxconv._layers`."""

    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """`x` with parts of it dropped, or as it is where `deterministic`, which is a field or given here."""
        layer: Any = self
        deterministic = nn.merge_param("deterministic", self.deterministic, deterministic)
        deterministic = truth("deterministic", deterministic)
        key = self.make_rng("dropout") if layer.draws and not deterministic else None
        return layer.compute(x, key, deterministic)


class Dropout1d(_Random, _layer.Dropout):
    """`jaxconv.nnx.Dropout1d` in Linen; it is called as `Dropout2d` is."""

    rank = 1


class Dropout2d(_Random, _layer.Dropout):
    """`jaxconv.nnx.Dropout2d` in Linen; it draws from the stream `dropout`, and is told whether it is deterministic.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Dropout2d
        >>> x, rngs = jnp.ones((8, 16, 5, 7)), {"dropout": jax.random.key(0)}
        >>> y = Dropout2d(0.5).apply({}, x, deterministic=False, rngs=rngs)
        >>> sorted(set(y.ravel().tolist()))
        [0.0, 2.0]
    """

    rank = 2


class Dropout3d(_Random, _layer.Dropout):
    """`jaxconv.nnx.Dropout3d` in Linen; it is called as `Dropout2d` is."""

    rank = 3


class StochasticDepth(_Random, _layer.StochasticDepth):
    """`jaxconv.nnx.StochasticDepth` in Linen; it is called as `Dropout2d` is."""
