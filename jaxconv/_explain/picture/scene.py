"""What is drawn of a layer."""

from dataclasses import dataclass

from jaxconv._explain.axis import Axis


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
