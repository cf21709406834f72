"""The base of the Linen layers without parameters."""

import jax
from flax import linen as nn

from jaxconv._layers import plain


class Plain(nn.Module, plain.Plain):
    """A module made of one of the dataclasses of `jaxconv._layers`, which stands after this class among the bases."""

    def __post_init__(self):
        self.parse()
        super().__post_init__()

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        return self.compute(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
