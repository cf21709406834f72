"""One side of the picture: a grid of positions, with the window that is explained and the next one."""

from collections.abc import Sequence
from typing import Any

from matplotlib.patches import Rectangle

from jaxconv._explain.picture.canvas import EDGE, FAINT, IMAGE, NEXT, PADDING, SANS, TAP, TEXT, add_axes
from jaxconv._explain.picture.layout import Box, Side
from jaxconv._explain.picture.scene import Scene
from jaxconv._explain.picture.view import Positions
from jaxconv._spec.padding import PADDING_MODES, source_index

# The tints of the image's four corners; those of other positions are between them.
_CORNERS = ((0.99, 0.93, 0.74), (0.74, 0.92, 0.82), (0.98, 0.80, 0.78), (0.76, 0.84, 0.98))


def draw_grid(figure: Any, box: Box, side: Side, scene: Scene, cell: float, second: bool) -> Any:
    """One side of the picture. A cell stands at its place in the view, not at its position."""
    axes = add_axes(figure, box)
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
            face = PADDING if padding else tint or IMAGE
            square(x, y, facecolor=face, edgecolor=EDGE, linewidth=0.6)
            if padding and tint:  # a copy of what it is filled from, framed by the grey of padding
                square(x, y, 0.72, facecolor=tint, edgecolor="none")
            if chosen:
                square(x, y, facecolor=TAP, edgecolor="white", linewidth=0.8)
            if side.following != side.chosen and r in side.following[0] and c in side.following[1]:
                dashed = {"edgecolor": NEXT, "linewidth": 1.4, "linestyle": (0, (2.2, 1.2)), "zorder": 1.8}
                square(x, y, 0.7, facecolor="none", **dashed)
            labels.append((x, y, label, "white" if chosen else FAINT if padding and not tint else TEXT))
    for x, y, label, color in labels:
        if label:
            points = min(8.0, cell * 72 * 0.8 / max(0.62 * len(label), 1.2))
            axes.text(x, y, label, ha="center", va="center", fontsize=points, family=SANS, color=color)
    _outline(axes, side)
    _open_ends(axes, side)

    style = {"fontsize": 11, "family": SANS, "color": TEXT, "loc": "left"}
    flat = side.rows is None
    # Of two rows the titles stand on the outer sides, and above or below the numbers.
    inches = (-0.42 if second else box.height + 0.3) if flat else box.height + 0.1
    axes.set_title(side.title, y=inches / box.height, pad=0, va="baseline", **style)
    _ticks(axes.xaxis, columns, cell)
    label = _axis_label(scene.axes[-1].name, columns, side.ends[1], side.sizes[1])
    axes.set_xlabel(label, fontsize=9, color=TEXT, loc="right" if flat else "left")
    if flat:
        axes.set_yticks([])
        if not second:  # so that nothing stands between the two rows
            axes.xaxis.tick_top()
            axes.xaxis.set_label_position("top")
    else:
        _ticks(axes.yaxis, rows, cell)
        label = _axis_label(scene.axes[-2].name, rows, side.ends[0], side.sizes[0])
        axes.set_ylabel(label, fontsize=9, color=TEXT, loc="top")
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
    style = {"color": TEXT, "linewidth": 1.5, "solid_capstyle": "projecting", "clip_on": False, "zorder": 2}
    for x in ends[1]:
        axes.plot([x, x], spans[0], **style)
    for y in ends[0]:
        axes.plot(spans[1], [y, y], **style)


def _open_ends(axes: Any, side: Side) -> None:
    """Fades out the cells at which the view ends before the image and its padding do, and marks its gaps."""
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
                axes.text(*middle, "⋯" if across else "⋮", ha="center", va="center", fontsize=10, color=FAINT)


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
        found = [source_index(scene.filled, *each) or 0 for each in zip(cell, side.sizes, pads, strict=True)]
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


def _ticks(axis: Any, view: Positions, cell: float) -> None:
    longest = max(len(str(p)) for p in view if p is not None)
    fits = cell >= 0.08 + 0.06 * longest
    step = 1 if fits or None in view else 2 if cell >= 0.14 else 5
    marks = [(i, str(p).replace("-", "−")) for i, p in enumerate(view) if p is not None and p % step == 0]
    axis.set_ticks([i for i, _ in marks], [text for _, text in marks])
    axis.set_tick_params(length=0, labelsize=7.5 if fits else 6.0, labelcolor=FAINT)


def _axis_label(name: str, view: Positions, ends: tuple[int, int], size: int) -> str:
    if (view[0], view[-1]) == (ends[0], ends[1] - 1):
        return name
    return f"{name}  ({view[0]} to {view[-1]} shown, of 0 to {size - 1})".replace("-", "−")
