"""A layer drawn: the positions that one output position depends on, and the channels that feed each other.

A layer connects many positions with one, along each axis apart. A convolution reads: one output position depends on
many positions of the padded input. A transposed convolution writes: one input position adds to many positions of the
output, whose ends are cut off. So one drawing serves both, with its sides exchanged.

The canvas is laid out in inches, so that nothing overlaps whatever the sizes are.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple

from jaxconv._spec.padding import PADDING_MODES
from jaxconv._spec.pooling import adaptive_window


@dataclass(frozen=True)
class Axis:
    """A layer along one spatial axis.

    Attributes:
        name: its letter.
        size: positions of the input.
        output_size: positions of the output.
        kernel: taps of the window; None, as the next two, where the windows are those of an adaptive pool.
        stride: step between two windows.
        dilation: step between two taps of a window.
        pads: positions added to the input, or cut off the output of a layer that writes, (low, high).
        receptive_field: span of the input positions that one output position depends on, at most.
    """

    name: str
    size: int
    output_size: int
    kernel: int | None
    stride: int | None
    dilation: int | None
    pads: tuple[int, int]
    receptive_field: int


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


def save(scene: Scene, path: str | PathLike, description: str) -> None:
    """Draws `scene` into a PNG, whose metadata hold `description` for those who cannot see it.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError as error:
        raise ImportError(
            "a picture needs matplotlib, which is not installed: pip install matplotlib, "
            "or pip install 'jaxconv[examples]'"
        ) from error
    with style.context("default"):  # the user's own may have other fonts and crop the canvas
        draw(scene).savefig(path, format="png", metadata={"Title": scene.title, "Description": description})


# ---------------------------------------------------------------------------------------------------------------
# What is to be seen along one axis
# ---------------------------------------------------------------------------------------------------------------

# Cells that are drawn along an axis: as many as usual, as many before the view is broken, places on the other side.
_USUAL, _MOST, _PLACES = 15, 24, 11
_ROW, _ROW_MOST, _ROW_PLACES = 26, 30, 26  # where there is a single row

# The positions that are drawn along an axis, in their order; None stands for a stretch that is left out.
View = tuple[int | None, ...]


class Line(NamedTuple):
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
    shown: View
    places: View
    chosen: tuple[int, int]
    taps: tuple[range, range]


def taps(axis: Axis, place: int) -> range:
    """The positions that `place` is connected with: position 0 is the image's first, and padding comes before it."""
    if axis.kernel is None or axis.stride is None or axis.dilation is None:
        return adaptive_window(axis.size, axis.output_size, place)
    first = place * axis.stride - axis.pads[0]
    return range(first, first + axis.kernel * axis.dilation, axis.dilation)


def line(axis: Axis, writes: bool, flat: bool = False) -> Line:
    """Chooses what is to be seen: a place whose window shows padding and image where one does, and what is near it."""
    usual, most, most_places = (_ROW, _ROW_MOST, _ROW_PLACES) if flat else (_USUAL, _MOST, _PLACES)
    size, places = (axis.output_size, axis.size) if writes else (axis.size, axis.output_size)
    low, high = axis.pads
    many = (min(-low, 0), max(size + high, size, taps(axis, places - 1)[-1] + 1))
    first = min(1, places - 1)
    if writes:  # what the first positions write may be cut off whole
        while first < places - 1 and taps(axis, first)[-1] < 0:
            first += 1
    else:
        at_border = [p for p in range(min(places, 5)) if taps(axis, p)[0] < 0 <= taps(axis, p)[-1]]
        first = at_border[-1] if at_border else first
    chosen = (first, min(first + 1, places - 1))
    reached = taps(axis, chosen[0]), taps(axis, chosen[1])

    start = many[0] if reached[0][0] - many[0] <= 4 else reached[0][0] - 2
    end = min(max(start + usual, reached[1][-1] + 3), many[1])
    end = many[1] if many[1] - end <= 3 else end
    shown = tuple(range(start, end)) if end - start <= most else _broken(range(start, end), reached, size)
    begin = 0 if first <= 4 else first - 2
    stop = min(begin + most_places, places)
    return Line(axis, many, shown, tuple(range(begin, places if places - stop <= 3 else stop)), chosen, reached)


def _broken(shown: range, reached: Sequence[range], size: int) -> View:
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


def source(mode: str, position: int, size: int, pads: tuple[int, int]) -> int | None:
    """The position of an image of `size` that fills `position` of the padded image; None where a constant does."""
    if mode == "circular":  # wraps what cropping leaves
        first, end = max(-pads[0], 0), size + min(pads[1], 0)
        return first + (position - first) % (end - first)
    if 0 <= position < size:
        return position
    if mode == "replicate":
        return min(max(position, 0), size - 1)
    if mode in ("reflect", "symmetric"):
        border = 0 if mode == "reflect" else 1
        return -position - border if position < 0 else 2 * (size - 1) - position + border
    return None


# ---------------------------------------------------------------------------------------------------------------
# The canvas
# ---------------------------------------------------------------------------------------------------------------

# All are told apart by lightness alone: from white over greys to navy; the next window is an outline, and dashed.
_IMAGE, _PADDING, _TAP, _NEXT, _EDGE, _TEXT = "#f4f7fb", "#c9ced6", "#17406d", "#e07b00", "#9aa5b1", "#27313c"
_FAINT, _BLOCK = "#5c6773", "#b9cbe0"
_CORNERS = ((0.99, 0.93, 0.74), (0.74, 0.92, 0.82), (0.98, 0.80, 0.78), (0.76, 0.84, 0.98))
_SANS, _MONO = "DejaVu Sans", "DejaVu Sans Mono"
_CELL = 0.40  # inches, at most
_LEFT, _GAP, _RIGHT = 0.95, 1.1, 0.45
_CHANNELS = 2.3
_BIG_BLOCKS = 24  # groups that are drawn before only the first are


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
    rows: View | None
    columns: View
    ends: tuple[tuple[int, int], tuple[int, int]]
    sizes: tuple[int, int]
    chosen: tuple[range, range]
    following: tuple[range, range]
    is_many: bool


def draw(scene: Scene) -> Any:
    """The figure of a scene."""
    from matplotlib.figure import Figure

    flat = len(scene.axes) == 1
    lines = [line(axis, scene.writes, flat) for axis in scene.axes[-2:]]
    many, one = _sides(scene, lines)
    sides = (one, many) if scene.writes else (many, one)
    cell = _cell_size(sides, flat)
    boxes, width, height = _layout(sides, cell, flat)

    # 8.5 points of a fixed width take 0.071 inches a character, 14 bold ones 0.125.
    room = width - 1.0
    texts = _caption(scene, lines)
    texts = [part for text in texts for part in textwrap.wrap(text, int(room / 0.0715), subsequent_indent="   ")]
    titles = textwrap.wrap(scene.title, int(room / 0.125), subsequent_indent="    ")
    top = 0.35 + 0.27 * len(titles) + 0.55 + 0.25 * flat
    bottom = 0.2 * len(texts) + 0.2 + 0.55 + 0.75
    figure = Figure(figsize=(width, bottom + height + top), dpi=150, facecolor="white")
    for i, text in enumerate(titles):
        _write(figure, text, 0.5, bottom + height + top - 0.42 - 0.27 * i, size=14, weight="bold")
    _write(figure, _more_axes(scene), 0.5, bottom + height + top - 0.42 - 0.27 * len(titles), size=10.5, color=_FAINT)
    for i, text in enumerate(texts):
        _write(figure, text, 0.5, 0.2 * (len(texts) - i), size=8.5, family=_MONO)

    boxes = [box._replace(y=box.y + bottom) for box in boxes]
    grids = [_grid(figure, boxes[i], side, scene, cell, second=i == 1) for i, side in enumerate(sides)]
    _connect(figure, grids, sides, flat)
    _channel_matrix(figure, boxes[2], scene)
    _legend(figure, scene, lines, 0.2 * len(texts) + 0.2)
    return figure


def _more_axes(scene: Scene) -> str:
    rank = len(scene.axes)
    if rank < 3:
        return scene.subtitle
    drawn, others = scene.axes[-2:], scene.axes[:-2]
    return (
        f"{scene.subtitle}   |   drawn: the last two axes, {' and '.join(a.name for a in drawn)}; "
        f"{', '.join(a.name for a in others)} is like them"
    )


def _sides(scene: Scene, lines: Sequence[Line]) -> tuple[Side, Side]:
    """The side that has many positions, and the side that has one."""
    sizes = [(a.axis.size, a.axis.output_size) for a in lines]
    inner, outer = (" x ".join(str(n) for n in side) for side in zip(*sizes, strict=True))
    padded = any(any(a.axis.pads) for a in lines)
    titles = [f"{scene.sides[0]} {inner}", f"{scene.sides[1]} {outer}"]
    if padded:
        titles[scene.writes] += ", and what is cut off" if scene.writes else ", and its padding"
    if scene.writes:
        titles.reverse()
        sizes = [(b, a) for a, b in sizes]
    rows, columns = (lines[0] if len(lines) == 2 else None), lines[-1]
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


def _cell_size(sides: Sequence[Side], flat: bool) -> float:
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


def _layout(sides: Sequence[Side], cell: float, flat: bool) -> tuple[list[Box], float, float]:
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


def _write(figure: Any, text: str, x: float, y: float, **style: Any) -> None:
    """A line of text on the canvas, at inches."""
    width, height = figure.get_size_inches()
    style = {"family": _SANS, "color": _TEXT, "va": "baseline", **style}
    figure.text(x / width, y / height, text.replace("$", r"\$"), **style)


def _axes(figure: Any, box: Box) -> Any:
    width, height = figure.get_size_inches()
    return figure.add_axes((box.x / width, box.y / height, box.width / width, box.height / height))


def _grid(figure: Any, box: Box, side: Side, scene: Scene, cell: float, second: bool) -> Any:
    """One side of the picture. A cell stands at its place in the view, not at its position."""
    from matplotlib.patches import Rectangle

    axes = _axes(figure, box)
    axes.patch.set_visible(False)
    rows, columns = side.rows or (0,), side.columns
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    pads = [(0, 0)] * (side.rows is None) + [a.pads for a in scene.axes[-2:]]

    def square(x, y, side_length=1.0, **style):
        half = side_length / 2
        axes.add_patch(Rectangle((x - half, y - half), side_length, side_length, **style))

    labels = []
    for y, r in enumerate(rows):
        for x, c in enumerate(columns):
            if r is None or c is None:
                continue
            label, tint = _cell(scene, side, (r, c), pads)
            padding = side.is_many and not _is_image((r, c), side.sizes, pads, scene.writes)
            chosen = r in side.chosen[0] and c in side.chosen[1]
            face = _PADDING if padding else tint or _IMAGE
            square(x, y, facecolor=face, edgecolor=_EDGE, linewidth=0.6)
            if padding and tint:  # a copy of what it is filled from, framed by the grey of padding
                square(x, y, 0.72, facecolor=tint, edgecolor="none")
            if chosen:
                square(x, y, facecolor=_TAP, edgecolor="white", linewidth=0.8)
            if side.following != side.chosen and r in side.following[0] and c in side.following[1]:
                dashed = {"edgecolor": _NEXT, "linewidth": 1.4, "linestyle": (0, (2.2, 1.2)), "zorder": 1.8}
                square(x, y, 0.7, facecolor="none", **dashed)
            labels.append((x, y, label, "white" if chosen else _FAINT if padding and not tint else _TEXT))
    for x, y, label, color in labels:
        if label:
            points = min(8.0, cell * 72 * 0.8 / max(0.62 * len(label), 1.2))
            axes.text(x, y, label, ha="center", va="center", fontsize=points, family=_SANS, color=color)
    _outline(axes, side)
    _open_ends(axes, side)

    style = {"fontsize": 11, "family": _SANS, "color": _TEXT, "loc": "left"}
    flat = side.rows is None
    # Of two rows the titles stand on the outer sides, and above or below the numbers.
    inches = (-0.42 if second else box.height + 0.3) if flat else box.height + 0.1
    axes.set_title(side.title, y=inches / box.height, pad=0, va="baseline", **style)
    _ticks(axes.xaxis, columns, cell)
    label = _axis_label(scene.axes[-1].name, columns, side.ends[1], side.sizes[1])
    axes.set_xlabel(label, fontsize=9, color=_TEXT, loc="right" if flat else "left")
    if flat:
        axes.set_yticks([])
        if not second:  # so that nothing stands between the two rows
            axes.xaxis.tick_top()
            axes.xaxis.set_label_position("top")
    else:
        _ticks(axes.yaxis, rows, cell)
        label = _axis_label(scene.axes[-2].name, rows, side.ends[0], side.sizes[0])
        axes.set_ylabel(label, fontsize=9, color=_TEXT, loc="top")
        if second:
            axes.yaxis.tick_right()
            axes.yaxis.set_label_position("right")
    axes.spines[:].set_visible(False)
    return axes


def _outline(axes: Any, side: Side) -> None:
    """A heavy line around the image, open where the view ends before it."""
    spans, ends = [], []
    for view, size in zip((side.rows or (0,), side.columns), side.sizes, strict=True):
        inside = [i for i, p in enumerate(view) if p is not None and 0 <= p < size]
        if not inside:
            return
        spans.append((inside[0] - 0.5, inside[-1] + 0.5))
        ends.append([at for at, p in zip(spans[-1], (0, size - 1), strict=True) if p in view])
    style = {"color": _TEXT, "linewidth": 1.5, "solid_capstyle": "projecting", "clip_on": False, "zorder": 2}
    for x in ends[1]:
        axes.plot([x, x], spans[0], **style)
    for y in ends[0]:
        axes.plot(spans[1], [y, y], **style)


def _open_ends(axes: Any, side: Side) -> None:
    """Fades out the cells at which the view ends before the image and its padding do, and marks its gaps."""
    from matplotlib.patches import Rectangle

    rows, columns = side.rows or (0,), side.columns
    height, width = len(rows), len(columns)
    veil = {"facecolor": "white", "alpha": 0.6, "edgecolor": "none", "zorder": 4, "clip_on": False}
    for view, (first, end), across in ((rows, side.ends[0], False), (columns, side.ends[1], True)):
        for at, p, border in ((0, view[0], first), (len(view) - 1, view[-1], end - 1)):
            if p != border:
                x, y, w, h = (at, 0, 1, height) if across else (0, at, width, 1)
                # Wide enough for the ends of the heavy line.
                axes.add_patch(Rectangle((x - 0.54, y - 0.54), w + 0.08, h + 0.08, **veil))
        for at, p in enumerate(view):
            if p is None:
                middle = (at, (height - 1) / 2) if across else ((width - 1) / 2, at)
                axes.text(*middle, "⋯" if across else "⋮", ha="center", va="center", fontsize=10, color=_FAINT)


def _is_image(cell: tuple[int, int], sizes: tuple[int, int], pads: Sequence[tuple[int, int]], writes: bool) -> bool:
    """Whether a cell is a position of the image that is kept; a negative amount of padding crops."""
    for position, size, (low, high) in zip(cell, sizes, pads, strict=True):
        first, end = (0, size) if writes else (max(-low, 0), size + min(high, 0))
        if not first <= position < end:
            return False
    return True


def _cell(scene: Scene, side: Side, cell: tuple[int, int], pads: Sequence[tuple[int, int]]) -> tuple[str, Any]:
    """What is written into a cell, and its tint: those of the position that it is filled from, or is added to."""
    if not side.is_many:
        return "", None
    image = _is_image(cell, side.sizes, pads, scene.writes)
    flat = side.rows is None
    if scene.filled in PADDING_MODES[1:] and any(any(p) for p in pads):
        if not all(-p[0] <= c < n + p[1] for c, n, p in zip(cell, side.sizes, pads, strict=True)):
            return "", None  # cropped
        found = [source(scene.filled, *each) or 0 for each in zip(cell, side.sizes, pads, strict=True)]
        return (str(found[1]) if flat else f"{found[0]},{found[1]}"), _tint(found, side)
    down, across = side.chosen
    if cell[0] in down and cell[1] in across and max(len(down), len(across)) > 1 and scene.axes[-1].kernel:
        t = [c.index(p) for c, p in zip(side.chosen, cell, strict=True)]
        return (f"#{t[1]}" if flat else f"{t[0]},{t[1]}"), None
    fill = {"zeros": "0", "-inf": "−∞"}.get(scene.filled, scene.filled)
    return ("" if image or scene.writes or len(fill) > 5 else fill), None


def _tint(position: Sequence[Any], side: Side) -> tuple[float, ...]:
    """A pale colour by the place within the image, as far as it is in view."""
    shares = []
    for at, view, n in zip(position, (side.rows or (0,), side.columns), side.sizes, strict=True):
        seen = [p for p in view if p is not None and 0 <= p < n] or [0]
        shares.append(min(max((at - seen[0]) / max(seen[-1] - seen[0], 1), 0.0), 1.0))
    down, across = shares
    weights = ((1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across)
    return tuple(sum(w * c[i] for w, c in zip(weights, _CORNERS, strict=True)) for i in range(3))


def _ticks(axis: Any, view: View, cell: float) -> None:
    longest = max(len(str(p)) for p in view if p is not None)
    fits = cell >= 0.08 + 0.06 * longest
    step = 1 if fits or None in view else 2 if cell >= 0.14 else 5
    marks = [(i, str(p).replace("-", "−")) for i, p in enumerate(view) if p is not None and p % step == 0]
    axis.set_ticks([i for i, _ in marks], [text for _, text in marks])
    axis.set_tick_params(length=0, labelsize=7.5 if fits else 6.0, labelcolor=_FAINT)


def _axis_label(name: str, view: View, ends: tuple[int, int], size: int) -> str:
    if (view[0], view[-1]) == (ends[0], ends[1] - 1):
        return name
    return f"{name}  ({view[0]} to {view[-1]} shown, of 0 to {size - 1})".replace("-", "−")


# ---------------------------------------------------------------------------------------------------------------
# Connections, channels, words
# ---------------------------------------------------------------------------------------------------------------


def _connect(figure: Any, axes: Sequence[Any], sides: Sequence[Side], flat: bool) -> None:
    """From the cells on one side to the cells on the other that they are connected with."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon

    def place(ax, x, y):
        return figure.transFigure.inverted().transform(ax.transData.transform((x, y)))

    def draw_line(start, end, **style):
        # In the first grid, between its cells and their labels, and reaching out of it over the second.
        ends = zip(start, end, strict=True)
        axes[0].add_artist(Line2D(*ends, transform=figure.transFigure, clip_on=False, zorder=1.5, **style))

    axes[0].set_zorder(axes[1].get_zorder() + 1)
    if flat:
        looks = {"following": {"color": _NEXT, "linestyle": (0, (3, 2))}, "chosen": {"color": _TAP}}
        if all(side.following == side.chosen for side in sides):
            del looks["following"]
        for which, look in looks.items():
            above, below = (_slots(getattr(side, which)[1], side.columns) for side in sides)
            for a in above:
                for b in below:
                    draw_line(place(axes[0], a, 0.5), place(axes[1], b, -0.5), linewidth=1.1, **look)
        return
    corners = []
    for ax, side, at_end in zip(axes, sides, (True, False), strict=True):
        rows, columns = (
            _slots(at, view) for at, view in zip(side.chosen, (side.rows or (), side.columns), strict=True)
        )
        x = columns[-1] + 0.5 if at_end else columns[0] - 0.5
        corners.append((place(ax, x, rows[0] - 0.5), place(ax, x, rows[-1] + 0.5)))
    (a, b), (c, d) = corners
    style = {"facecolor": _TAP, "alpha": 0.10, "edgecolor": "none", "clip_on": False, "zorder": 1.5}
    axes[0].add_artist(Polygon([a, b, d, c], closed=True, transform=figure.transFigure, **style))
    for start, end in ((a, c), (b, d)):
        draw_line(start, end, color=_TAP, linewidth=0.9, alpha=0.6)


def _slots(positions: range, view: View) -> list[int]:
    """Where positions stand in a view, those that are in it."""
    return [i for i, p in enumerate(view) if p is not None and p in positions]


def _channel_matrix(figure: Any, box: Box, scene: Scene) -> None:
    """Which input channels feed which output channels: a block for each group, and one output channel picked out."""
    from matplotlib.patches import Rectangle

    ins, outs, groups = scene.channels
    shown = groups if groups <= _BIG_BLOCKS else 8
    reads, makes = ins // groups, outs // groups
    across, down = reads * shown, makes * shown
    picked = _picked(scene)
    axes = _axes(figure, box)
    axes.set_xlim(-0.5, across - 0.5)
    axes.set_ylim(down - 0.5, -0.5)
    axes.set_facecolor("white")
    for g in range(shown):
        corner = (g * reads - 0.5, g * makes - 0.5)
        axes.add_patch(Rectangle(corner, reads, makes, facecolor=_BLOCK, edgecolor=_TEXT, linewidth=0.8))
    corner = (picked // makes * reads - 0.5, picked - 0.5)
    axes.add_patch(Rectangle(corner, reads, 1, facecolor=_TAP, edgecolor=_TAP, linewidth=1.2, zorder=3))
    style = {"color": _EDGE, "linewidth": 0.4, "zorder": 2}
    for count, lines in ((across, axes.axvline), (down, axes.axhline)):
        if count <= 40:
            for i in range(1, count):
                lines(i - 0.5, **style)
    axes.set_title(f"channels: {scene.grouping}", fontsize=11, family=_SANS, color=_TEXT, loc="left", pad=8)
    for name, number, set_label in (("input", ins, axes.set_xlabel), ("output", outs, axes.set_ylabel)):
        first = f"the first {(across if name == 'input' else down)} of {number}" if shown < groups else f"{number}"
        set_label(f"{name} channel ({first})", fontsize=9, color=_TEXT)
    for axis, count in ((axes.xaxis, across), (axes.yaxis, down)):
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10 ** len(str(count))) if count / s <= 9)
        axis.set_ticks([p for p in range(count) if p % step == 0])
    axes.tick_params(length=0, labelsize=7.5, labelcolor=_FAINT)
    axes.spines[:].set_color(_EDGE)


def _picked(scene: Scene) -> int:
    """An output channel of the second group: in the first it would look as if there were no other."""
    _, outs, groups = scene.channels
    return outs // groups if groups > 1 else 0


def _legend(figure: Any, scene: Scene, lines: Sequence[Line], y: float) -> None:
    from matplotlib.patches import Patch

    def places(i):
        found = [str(a.chosen[i]) for a in lines]
        return found[0] if len(found) == 1 else f"({', '.join(found)})"

    outline = {"edgecolor": _EDGE, "linewidth": 0.8}
    copied = scene.filled in PADDING_MODES[1:]
    side, verb = ("input", "writes to") if scene.writes else ("output", "reads")
    kernel = scene.axes[-1].kernel
    if copied and any(any(a.axis.pads) for a in lines):
        number = ", numbered by the position that it is added to" if scene.writes else ", numbered by what fills it"
        number_image = "position of the image, with its number"
    else:
        number, number_image = "", "position of the image"
    told = ", with the tap's number" if kernel and max(len(a.taps[0]) for a in lines) > 1 and not number else ""
    handles = [Patch(facecolor=_IMAGE, label=number_image, **outline)]
    if any(any(a.axis.pads) for a in lines):
        filled = {"zeros": "zeros", "-inf": "minus infinity"}.get(scene.filled, scene.filled)
        what = "cut off" if scene.writes else f"padding: {filled}"
        cropped = "; cropped where it has no number" if any(p < 0 for a in lines for p in a.axis.pads) else ""
        handles.append(Patch(facecolor=_PADDING, label=what + number + cropped, **outline))
    handles.append(Patch(facecolor=_TAP, label=f"{side} {places(0)}, and what it {verb}{told}"))
    if any(a.chosen[0] != a.chosen[1] for a in lines):
        label = f"the next, {side} {places(1)}"
        handles.append(Patch(facecolor="none", edgecolor=_NEXT, linestyle="--", linewidth=1.4, label=label))
    apart = scene.grouping == "each apart"
    label = "output channel made of input channel" if apart else "weights between two channels"
    handles.append(Patch(facecolor=_BLOCK, edgecolor=_TEXT, linewidth=0.8, label=label))
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.42 / width, y / height),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=_TEXT,
        borderpad=0,
        handlelength=1.3,
        handleheight=1.1,
        columnspacing=2.0,
        prop={"family": _SANS, "size": 9},
    )


def _caption(scene: Scene, lines: Sequence[Line]) -> list[str]:
    """How the positions in the picture are computed, and the size of the output."""
    shown = {a.axis.name: a for a in lines}
    texts = []
    side, verb = ("input", "writes to") if scene.writes else ("output", "reads")
    for axis in scene.axes:
        place = (shown.get(axis.name) or line(axis, scene.writes)).chosen[0]
        reached = taps(axis, place)
        listed = _listed(reached)
        if axis.kernel is None:
            n, m = axis.size, axis.output_size
            how = f"floor({place} * {n} / {m}) to ceil({place + 1} * {n} / {m}) - 1"
        else:
            low = f"- {axis.pads[0]}" if axis.pads[0] >= 0 else f"+ {-axis.pads[0]}"
            how = f"{place} * {axis.stride} {low} + {axis.dilation} * ({_listed(range(axis.kernel))})"
        texts.append(f"{axis.name}: {side} {place} {verb} {how} = {listed}")
    ins, outs, groups = scene.channels
    picked, reads = _picked(scene), ins // groups
    first = picked // (outs // groups) * reads
    span = f"channels {first} to {first + reads - 1}" if reads > 1 else f"channel {first}"
    return [
        *texts,
        *(f"size of the output, {text}" for text in scene.sizes),
        f"channels: output channel {picked} reads input {span}",
    ]


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) > 8:
        return f"{numbers[0]}, {numbers[1]}, ..., {numbers[-1]}"
    return ", ".join(str(n) for n in numbers)
