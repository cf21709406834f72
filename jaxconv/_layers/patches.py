"""Layers that only rearrange an array, without a framework: `Unfold`, its transpose `Fold`, and `Flatten`.

PyTorch defines them on axes, not on images: none of them has a data format.
"""

import math
from dataclasses import dataclass

import jax

from jaxconv import functional
from jaxconv._arrays import as_array
from jaxconv._layers.plain import Plain
from jaxconv._spec.arguments import IntOrInts, axis_number


@dataclass(repr=False, eq=False)
class Unfold(Plain):
    """The patches of images as columns."""

    kernel_size: IntOrInts
    dilation: IntOrInts = 1
    padding: IntOrInts = 0
    stride: IntOrInts = 1

    def compute(self, x: jax.Array) -> jax.Array:
        return functional.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return self._named("kernel_size", "dilation", "padding", "stride")


@dataclass(repr=False, eq=False)
class Fold(Plain):
    """Patches added up into images."""

    output_size: IntOrInts
    kernel_size: IntOrInts
    dilation: IntOrInts = 1
    padding: IntOrInts = 0
    stride: IntOrInts = 1

    def compute(self, x: jax.Array) -> jax.Array:
        return functional.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return self._named("output_size", "kernel_size", "dilation", "padding", "stride")


@dataclass(repr=False, eq=False)
class Flatten(Plain):
    """Several axes made one."""

    start_dim: int = 1
    end_dim: int = -1

    def compute(self, x: jax.Array) -> jax.Array:
        x = as_array("input", x)
        axes = max(x.ndim, 1)  # as in PyTorch a number has one axis, of size 1
        first, last = (axis_number(name, getattr(self, name), axes) for name in ("start_dim", "end_dim"))
        if first > last:
            raise ValueError(
                f"start_dim must not come after end_dim, got {self.start_dim} and {self.end_dim} for an input of "
                f"{x.ndim} axes; exchange them"
            )
        return x.reshape(*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])

    def extra_repr(self) -> str:
        return self._named("start_dim", "end_dim")
