"""Which input channels feed which output channels."""

from typing import Any

from matplotlib.patches import Rectangle

from jaxconv._explain.picture.canvas import BLOCK, EDGE, FAINT, SANS, TAP, TEXT, add_axes
from jaxconv._explain.picture.layout import Box
from jaxconv._explain.picture.scene import Scene, picked_channel

_BIG_BLOCKS = 24  # groups that are drawn before only the first are


def draw_channels(figure: Any, box: Box, scene: Scene) -> None:
    """Which input channels feed which output channels: a block for each group, and one output channel picked out."""
    ins, outs, groups = scene.channels
    shown = groups if groups <= _BIG_BLOCKS else 8
    reads, makes = ins // groups, outs // groups
    across, down = reads * shown, makes * shown
    picked = picked_channel(scene)
    axes = add_axes(figure, box)
    axes.set_xlim(-0.5, across - 0.5)
    axes.set_ylim(down - 0.5, -0.5)
    axes.set_facecolor("white")
    for g in range(shown):
        corner = (g * reads - 0.5, g * makes - 0.5)
        axes.add_patch(Rectangle(corner, reads, makes, facecolor=BLOCK, edgecolor=TEXT, linewidth=0.8))
    corner = (picked // makes * reads - 0.5, picked - 0.5)
    axes.add_patch(Rectangle(corner, reads, 1, facecolor=TAP, edgecolor=TAP, linewidth=1.2, zorder=3))
    style = {"color": EDGE, "linewidth": 0.4, "zorder": 2}
    for count, lines in ((across, axes.axvline), (down, axes.axhline)):
        if count <= 40:
            for i in range(1, count):
                lines(i - 0.5, **style)
    axes.set_title(f"channels: {scene.grouping}", fontsize=11, family=SANS, color=TEXT, loc="left", pad=8)
    for name, number, set_label in (("input", ins, axes.set_xlabel), ("output", outs, axes.set_ylabel)):
        first = f"the first {(across if name == 'input' else down)} of {number}" if shown < groups else f"{number}"
        set_label(f"{name} channel ({first})", fontsize=9, color=TEXT)
    for axis, count in ((axes.xaxis, across), (axes.yaxis, down)):
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10 ** len(str(count))) if count / s <= 9)
        axis.set_ticks([p for p in range(count) if p % step == 0])
    axes.tick_params(length=0, labelsize=7.5, labelcolor=FAINT)
    axes.spines[:].set_color(EDGE)
