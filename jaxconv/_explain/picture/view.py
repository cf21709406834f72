"""What is shown along one axis: which positions, and which of them are connected."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxconv._explain.axis import Axis

# Cells that are drawn along an axis: as many as usual, as many before the view is broken, places on the other side.
_USUAL, _MOST, _PLACES = 15, 24, 11
_ROW, _ROW_MOST, _ROW_PLACES = 26, 30, 26  # where there is a single row

# The positions that are drawn along an axis, in their order; None stands for a stretch that is left out.
Positions = tuple[int | None, ...]


class AxisView(NamedTuple):
    """One axis of the picture.

    Attributes:
        axis: the axis.
        many: (first, end) of all positions on the side that has many, padding included.
        shown: those of them that are drawn.
        places: the positions that are drawn on the side that has one.
        chosen: the position there that is explained, and the next one beside it.
        taps: the positions on the other side that these two are connected with.
    """

    axis: Axis
    many: tuple[int, int]
    shown: Positions
    places: Positions
    chosen: tuple[int, int]
    taps: tuple[range, range]


def axis_view(axis: Axis, writes: bool, flat: bool = False) -> AxisView:
    """Chooses what is to be seen: a place whose window shows padding and image where one does, and what is near it."""
    usual, most, most_places = (_ROW, _ROW_MOST, _ROW_PLACES) if flat else (_USUAL, _MOST, _PLACES)
    size, places = (axis.output_size, axis.size) if writes else (axis.size, axis.output_size)
    low, high = axis.pads
    many = (min(-low, 0), max(size + high, size, axis.taps(places - 1)[-1] + 1))
    first = min(1, places - 1)
    if writes:  # what the first positions write may be cut off whole
        while first < places - 1 and axis.taps(first)[-1] < 0:
            first += 1
    else:
        at_border = [p for p in range(min(places, 5)) if axis.taps(p)[0] < 0 <= axis.taps(p)[-1]]
        first = at_border[-1] if at_border else first
    chosen = (first, min(first + 1, places - 1))
    reached = axis.taps(chosen[0]), axis.taps(chosen[1])

    start = many[0] if reached[0][0] - many[0] <= 4 else reached[0][0] - 2
    end = min(max(start + usual, reached[1][-1] + 3), many[1])
    end = many[1] if many[1] - end <= 3 else end
    shown = tuple(range(start, end)) if end - start <= most else _broken(range(start, end), reached, size)
    begin = 0 if first <= 4 else first - 2
    stop = min(begin + most_places, places)
    return AxisView(axis, many, shown, tuple(range(begin, places if places - stop <= 3 else stop)), chosen, reached)


def _broken(shown: range, reached: Sequence[range], size: int) -> Positions:
    """The ends of a long view, the image's border, and the taps; of many taps the first and the last ones."""
    marks = {shown[0], shown[-1], *(p for p in (-1, 0, size - 1, size) if p in shown)}
    for each in reached:
        marks |= set(each if len(each) <= 5 else (*each[:3], *each[-3:]))
    near = {p + i for p in marks for i in (-1, 0, 1) if p + i in shown}
    # A single position takes no more room than the mark of a gap.
    near |= {p + 1 for p in near if p + 2 in near}
    view: list[int | None] = []
    for p in sorted(near):
        if view and p - 1 not in near:
            view.append(None)
        view.append(p)
    return tuple(view)
