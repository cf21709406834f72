"""Padding layers without a framework: each family is `Pad` with a mode."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import jax

from jaxconv._layers.plain import Plain
from jaxconv._ops.padding import pad_images
from jaxconv._spec.arguments import IntOrInts, one_of, per_axis
from jaxconv._spec.shapes import DATA_FORMATS


@dataclass(repr=False, eq=False)
class Pad(Plain):
    """Pads the spatial axes; `padding` is kept as (low, high) amounts with the last axis first, as PyTorch keeps it."""

    rank: ClassVar[int]
    mode: ClassVar[str]

    padding: IntOrInts
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        self._set("padding", per_axis("padding", self.padding, 2 * self.rank, one_for_all=False))
        one_of("data_format", self.data_format, DATA_FORMATS)

    def compute(self, x: jax.Array) -> jax.Array:
        value = getattr(self, "value", None)
        return pad_images(x, self.rank, self.padding, self.mode, value, self.data_format)

    def extra_repr(self) -> str:
        other_format = f", data_format={self.data_format}" if self.data_format != "channels_first" else ""
        return f"{self.padding}{other_format}"


class ZeroPad(Pad):
    """Pads with zeros."""

    mode = "constant"
    value: ClassVar[float] = 0.0


class ReflectionPad(Pad):
    """Pads with the image mirrored at its border, which is not repeated."""

    mode = "reflect"


class ReplicationPad(Pad):
    """Pads with copies of the image's border."""

    mode = "replicate"


class CircularPad(Pad):
    """Pads with the image's other end."""

    mode = "circular"


@dataclass(repr=False, eq=False)
class ConstantPad(Pad):
    """Pads with a value."""

    mode: ClassVar[str] = "constant"

    value: float

    def extra_repr(self) -> str:
        return self._named("padding", "value")
