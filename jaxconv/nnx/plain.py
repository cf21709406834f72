"""The base of the NNX layers without parameters."""

import jax
from flax import nnx
from flax.nnx import reprlib

from jaxconv._layers import plain


class Plain(plain.Plain, nnx.Module):
    """A module made of one of the dataclasses of `jaxconv._layers`, which stands before this class among the bases."""

    # `nnx.capture` instruments the methods that stand in a class itself: each public layer names its `__call__` anew.
    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        return self.compute(x)

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), kv_sep="", same_line=True)
        yield reprlib.Attr("", self.extra_repr(), use_raw_key=True, use_raw_value=True)
