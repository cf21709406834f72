"""The figure: two grids of positions and what connects them, the channels, a legend and a caption."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

from jaxconv._explain.picture.canvas import FAINT, MONO, NEXT, TAP, write
from jaxconv._explain.picture.caption import caption
from jaxconv._explain.picture.channels import draw_channels
from jaxconv._explain.picture.grid import draw_grid
from jaxconv._explain.picture.layout import Side, cell_size, layout, make_sides
from jaxconv._explain.picture.legend import draw_legend
from jaxconv._explain.picture.scene import Scene
from jaxconv._explain.picture.view import Positions, axis_view


def draw(scene: Scene) -> Any:
    """The figure of a scene."""
    flat = len(scene.axes) == 1
    views = [axis_view(axis, scene.writes, flat) for axis in scene.axes[-2:]]
    many, one = make_sides(scene, views)
    sides = (one, many) if scene.writes else (many, one)
    cell = cell_size(sides, flat)
    boxes, width, height = layout(sides, cell, flat)

    # 8.5 points of a fixed width take 0.071 inches a character, 14 bold ones 0.125.
    room = width - 1.0
    texts = caption(scene, views)
    texts = [part for text in texts for part in textwrap.wrap(text, int(room / 0.0715), subsequent_indent="   ")]
    titles = textwrap.wrap(scene.title, int(room / 0.125), subsequent_indent="    ")
    top = 0.35 + 0.27 * len(titles) + 0.55 + 0.25 * flat
    bottom = 0.2 * len(texts) + 0.2 + 0.55 + 0.75
    figure = Figure(figsize=(width, bottom + height + top), dpi=150, facecolor="white")
    for i, text in enumerate(titles):
        write(figure, text, 0.5, bottom + height + top - 0.42 - 0.27 * i, size=14, weight="bold")
    write(figure, _more_axes(scene), 0.5, bottom + height + top - 0.42 - 0.27 * len(titles), size=10.5, color=FAINT)
    for i, text in enumerate(texts):
        write(figure, text, 0.5, 0.2 * (len(texts) - i), size=8.5, family=MONO)

    boxes = [box._replace(y=box.y + bottom) for box in boxes]
    grids = [draw_grid(figure, boxes[i], side, scene, cell, second=i == 1) for i, side in enumerate(sides)]
    _connect(figure, grids, sides, flat)
    draw_channels(figure, boxes[2], scene)
    draw_legend(figure, scene, views, 0.2 * len(texts) + 0.2)
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


def _connect(figure: Any, axes: Sequence[Any], sides: Sequence[Side], flat: bool) -> None:
    """From the cells on one side to the cells on the other that they are connected with."""

    def place(ax, x, y):
        return figure.transFigure.inverted().transform(ax.transData.transform((x, y)))

    def draw_line(start, end, **style):
        # In the first grid, between its cells and their labels, and reaching out of it over the second.
        ends = zip(start, end, strict=True)
        axes[0].add_artist(Line2D(*ends, transform=figure.transFigure, clip_on=False, zorder=1.5, **style))

    axes[0].set_zorder(axes[1].get_zorder() + 1)
    if flat:
        looks = {"following": {"color": NEXT, "linestyle": (0, (3, 2))}, "chosen": {"color": TAP}}
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
    style = {"facecolor": TAP, "alpha": 0.10, "edgecolor": "none", "clip_on": False, "zorder": 1.5}
    axes[0].add_artist(Polygon([a, b, d, c], closed=True, transform=figure.transFigure, **style))
    for start, end in ((a, c), (b, d)):
        draw_line(start, end, color=TAP, linewidth=0.9, alpha=0.6)


def _slots(positions: range, view: Positions) -> list[int]:
    """Where positions stand in a view, those that are in it."""
    return [i for i, p in enumerate(view) if p is not None and p in positions]
