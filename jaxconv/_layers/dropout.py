"""Layers that drop parts of an array at random, without a framework."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import jax

from jaxconv._arrays import as_array
from jaxconv._layers.plain import Plain
from jaxconv._ops.dropout import dropped
from jaxconv._spec.arguments import one_of
from jaxconv._spec.dropout import channel_axes, check_inplace, parse_mode, parse_probability, row_axes
from jaxconv._spec.shapes import DATA_FORMATS, Size


class Random(Plain):
    """A layer that drops parts of its input in training, and gives it back as it is in evaluation."""

    p: float

    @property
    def draws(self) -> bool:
        """Whether chance has a part in what it drops."""
        return 0 < self.p < 1

    def axes(self, shape: Sequence[Size]) -> tuple[int, ...]:
        """The axes along which is decided anew what is dropped; refuses other shapes."""
        raise NotImplementedError

    def compute(self, x: jax.Array, key: jax.Array | None = None, deterministic: bool = True) -> jax.Array:
        x = as_array("input", x)
        axes = self.axes(x.shape)
        return x if deterministic else dropped(x, key, self.p, axes)


@dataclass(repr=False, eq=False)
class Dropout(Random):
    """Whole channels are dropped."""

    rank: ClassVar[int]

    p: float = 0.5
    inplace: bool = False
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        parse_probability(self.p)
        check_inplace(self.inplace)
        one_of("data_format", self.data_format, DATA_FORMATS)

    def axes(self, shape: Sequence[Size]) -> tuple[int, ...]:
        return channel_axes(shape, self.rank, self.data_format)

    def extra_repr(self) -> str:
        return self._named("p", "inplace")


@dataclass(repr=False, eq=False)
class StochasticDepth(Random):
    """The batch or whole rows of it are dropped."""

    p: float
    mode: str

    def parse(self) -> None:
        parse_probability(self.p)
        parse_mode(self.mode)

    def axes(self, shape: Sequence[Size]) -> tuple[int, ...]:
        return row_axes(shape, self.mode)

    def extra_repr(self) -> str:
        return self._named("p", "mode")


def chosen(call: Any, layer: Any) -> Any:
    """An option of a call, or the layer's where the call leaves it open."""
    return layer if call is None else call
