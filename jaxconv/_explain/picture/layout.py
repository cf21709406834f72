"""Where things stand on the canvas, in inches, so that nothing overlaps whatever the sizes are."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxconv._explain.picture.scene import Scene
from jaxconv._explain.picture.view import AxisView, Positions

_CELL = 0.40  # inches, at most
_LEFT, _GAP, _RIGHT = 0.95, 1.1, 0.45
_CHANNELS = 2.3


class Box(NamedTuple):
    """A rectangle on the canvas in inches from its lower left corner."""

    x: float
    y: float
    width: float
    height: float


class Side(NamedTuple):
    """One side of the picture: a grid of positions.

    Attributes:
        title: what it is.
        rows: those of its rows that are drawn, or None for a single row.
        columns: its columns that are drawn.
        ends: (first, end) of all rows and of all columns, drawn or not.
        sizes: number of the rows and of the columns of the image.
        chosen: the rows and columns of the cells that are explained.
        following: those of the next place.
        is_many: whether this side has the windows, and with them the padding.
    """

    title: str
    rows: Positions | None
    columns: Positions
    ends: tuple[tuple[int, int], tuple[int, int]]
    sizes: tuple[int, int]
    chosen: tuple[range, range]
    following: tuple[range, range]
    is_many: bool


def make_sides(scene: Scene, views: Sequence[AxisView]) -> tuple[Side, Side]:
    """The side that has many positions, and the side that has one."""
    sizes = [(a.axis.size, a.axis.output_size) for a in views]
    inner, outer = (" x ".join(str(n) for n in side) for side in zip(*sizes, strict=True))
    padded = any(any(a.axis.pads) for a in views)
    titles = [f"{scene.sides[0]} {inner}", f"{scene.sides[1]} {outer}"]
    if padded:
        titles[scene.writes] += ", and what is cut off" if scene.writes else ", and its padding"
    if scene.writes:
        titles.reverse()
        sizes = [(b, a) for a, b in sizes]
    rows, columns = (views[0] if len(views) == 2 else None), views[-1]
    single = (range(1), range(1))
    row_taps, row_chosen = (rows.taps, _ranges(rows.chosen)) if rows else (single, single)
    column_chosen = _ranges(columns.chosen)
    (height, places_down), (width, places_across) = [(1, 1)] * (rows is None) + sizes
    many = Side(
        title=titles[0],
        rows=rows and rows.shown,
        columns=columns.shown,
        ends=(rows.many if rows else (0, 1), columns.many),
        sizes=(height, width),
        chosen=(row_taps[0], columns.taps[0]),
        following=(row_taps[1], columns.taps[1]),
        is_many=True,
    )
    one = Side(
        title=titles[1],
        rows=rows and rows.places,
        columns=columns.places,
        ends=((0, places_down), (0, places_across)),
        sizes=(places_down, places_across),
        chosen=(row_chosen[0], column_chosen[0]),
        following=(row_chosen[1], column_chosen[1]),
        is_many=False,
    )
    return many, one


def _ranges(places: tuple[int, int]) -> tuple[range, range]:
    first, second = (range(p, p + 1) for p in places)
    return first, second


def cell_size(sides: Sequence[Side], flat: bool) -> float:
    """The side of a cell in inches, the same on both sides of the picture."""
    if flat:
        return min(_CELL, 11.0 / _span(sides))
    across = sum(len(side.columns) for side in sides)
    return min(_CELL, 11.0 / across, 5.8 / max(len(side.rows or (0,)) for side in sides))


def _offsets(sides: Sequence[Side]) -> list[int]:
    """How many cells two rows are indented by, so that equal positions stand above each other."""
    starts = [side.columns[0] or 0 for side in sides]
    unbroken = all(None not in side.columns for side in sides)
    return [start - min(starts) if unbroken else 0 for start in starts]


def _span(sides: Sequence[Side]) -> int:
    return max(offset + len(side.columns) for offset, side in zip(_offsets(sides), sides, strict=True))


def layout(sides: Sequence[Side], cell: float, flat: bool) -> tuple[list[Box], float, float]:
    """The boxes of the two grids and of the channels, and the size that they take."""
    widths = [len(side.columns) * cell for side in sides]
    # A title of 11 points takes 0.095 inches a character, and may be longer than its grid is wide.
    needed = [max(w, 0.095 * len(side.title)) for w, side in zip(widths, sides, strict=True)]
    if flat:
        height = max(2 * cell + 1.5, _CHANNELS)
        boxes = [
            Box(_LEFT + offset * cell, y, w, cell)
            for offset, y, w in zip(_offsets(sides), (height - cell, 0.0), widths, strict=True)
        ]
        after = max(_LEFT + _span(sides) * cell, *(box.x + w for box, w in zip(boxes, needed, strict=True)))
    else:
        heights = [len(side.rows or (0,)) * cell for side in sides]
        height = max(*heights, _CHANNELS)
        boxes = [
            Box(_LEFT, height - heights[0], widths[0], heights[0]),
            Box(_LEFT + needed[0] + _GAP, height - heights[1], widths[1], heights[1]),
        ]
        after = boxes[1].x + needed[1] + 0.6
    channels = Box(after + 1.0, height - _CHANNELS, _CHANNELS, _CHANNELS)
    width = max(channels.x + _CHANNELS + _RIGHT, 11.0)
    return [*boxes, channels], width, height
