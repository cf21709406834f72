"""What is drawn of a layer, and of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from jaxconv._explain.axis import Axis
from jaxconv._explain.machine import Machine


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        title: the layer.
        subtitle: what kind it is, and its shapes.
        axes: its spatial axes; the last two of them are drawn.
        writes: whether one input position writes to many, rather than one output position reads many.
        filled: the padding mode, or what fills the padding.
        sides: what the input's and the output's positions are called.
        channels: numbers of input and output channels, and of their groups.
        grouping: what the groups are called.
        sizes: lines of text, how the output's size is computed.
    """

    title: str
    subtitle: str
    axes: tuple[Axis, ...]
    writes: bool
    filled: str
    sides: tuple[str, str]
    channels: tuple[int, int, int]
    grouping: str
    sizes: tuple[str, ...]


def picked_channel(scene: Scene) -> int:
    """An output channel of the second group: in the first it would look as if there were no other."""
    _, outs, groups = scene.channels
    return outs // groups if groups > 1 else 0


class Depth(NamedTuple):
    """How the receptive field grows along one axis of the input.

    Attributes:
        axis: its letter.
        size: positions of the input.
        fields: of each row the receptive field; None where it is everything.
        jumps: of each row how far apart the fields of two neighbours are; None where there are none.
    """

    axis: str
    size: int
    fields: Sequence[int | None]
    jumps: Sequence[Fraction | None]


class Point(NamedTuple):
    """Rows of a model under the roofline, all alike.

    Attributes:
        name: the first of them.
        number: how many there are.
        intensity: in FLOP/byte.
        speed: in FLOP/s, measured; None where it was not.
        share: of the model's multiply-accumulates.
    """

    name: str
    number: int
    intensity: float
    speed: float | None
    share: float


@dataclass(frozen=True)
class ModelScene:
    """What is drawn of a model.

    Attributes:
        title: the model.
        subtitle: its input and its totals.
        names: the names of its rows, in the order of the computation.
        depths: how its receptive field grows, by the axis of the input.
        points: its rows that have products.
        machine: the ceilings.
        others: how many rows have no products.
    """

    title: str
    subtitle: str
    names: Sequence[str]
    depths: Sequence[Depth]
    points: Sequence[Point]
    machine: Machine
    others: int
