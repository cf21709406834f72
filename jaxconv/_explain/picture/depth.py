"""How the receptive field grows from layer to layer."""

from typing import Any

from matplotlib.ticker import MaxNLocator

from jaxconv._explain.picture.canvas import EDGE, FAINT, NEXT, SANS, TAP, TEXT, add_axes
from jaxconv._explain.picture.layout import Box
from jaxconv._explain.picture.scene import Depth, ModelScene

_LOOKS = (
    {"color": TAP, "linewidth": 1.8},
    {"color": NEXT, "linewidth": 1.5, "linestyle": (0, (3, 2))},
    {"color": FAINT, "linewidth": 1.3, "linestyle": (0, (1, 1.5))},
)


def draw_depths(figure: Any, box: Box, scene: ModelScene) -> None:
    """A step for each row; where everything is read, a band at the top."""
    axes = add_axes(figure, box)
    same = _alike(scene)
    depths = scene.depths[:1] if same else scene.depths
    known = [f for depth in depths for f in depth.fields if f is not None]
    top = 1.25 * max([*known, *(depth.size for depth in scene.depths)])
    rows = range(1, len(scene.names) + 1)
    for depth, look in zip(depths, _LOOKS, strict=False):
        fields = [top if f is None else f for f in depth.fields]
        letters = ", ".join(d.axis for d in scene.depths) if same else depth.axis
        axes.step(rows, fields, where="mid", label=f"receptive field along {letters}", zorder=3, **look)
    sizes = {depth.size: [d.axis for d in scene.depths if d.size == depth.size] for depth in scene.depths}
    for i, (size, letters) in enumerate(sizes.items()):  # side by side, as some may be as good as equal
        axes.axhline(size, color=EDGE, linewidth=1.0, linestyle=(0, (6, 3)), zorder=1)
        axes.annotate(
            f"size along {', '.join(letters)}: {size}", (0.5, size), xytext=(6 + 130 * i, 3),
            textcoords="offset points", ha="left", fontsize=8.5, color=FAINT, family=SANS,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5},
        )  # fmt: skip
    if any(None in depth.fields for depth in depths):
        axes.axhspan(top * 0.97, top * 1.03, color=EDGE, alpha=0.35, linewidth=0, zorder=0)
    axes.set_xlim(0.5, len(rows) + 0.5)
    axes.set_ylim(0, top * 1.03)
    _jumps(axes, depths[0], top)
    title = "receptive field over depth" + ("; the band at the top: everything" if _has_all(scene) else "")
    axes.set_title(title, fontsize=11, family=SANS, color=TEXT, loc="left", pad=18)
    axes.set_xlabel("row, in the order of the computation", fontsize=9, color=TEXT)
    axes.set_ylabel("positions of the input", fontsize=9, color=TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(length=0, labelsize=8, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(EDGE)
    if not same:
        axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=TEXT)


def _alike(scene: ModelScene) -> bool:
    return len({tuple(d.fields) for d in scene.depths}) == 1


def _has_all(scene: ModelScene) -> bool:
    return any(None in depth.fields for depth in scene.depths)


def _jumps(axes: Any, depth: Depth, top: float) -> None:
    """A line where two neighbours move further apart, or nearer, and how far they are; the labels do not overlap."""
    before, free = None, 0.0
    for row, jump in enumerate(depth.jumps, 1):
        if jump is None or jump == before:
            continue
        before = jump
        axes.axvline(row - 0.5, color=EDGE, linewidth=0.7, zorder=0)
        text = f"jump {jump}"
        width = (len(text) + 1.5) * len(depth.jumps) / 160
        if row - 0.5 >= free:
            axes.annotate(
                text, (row - 0.5, top * 1.03), xytext=(2, 3), textcoords="offset points",
                fontsize=8, color=FAINT, family=SANS, annotation_clip=False,
            )  # fmt: skip
            free = row - 0.5 + width
