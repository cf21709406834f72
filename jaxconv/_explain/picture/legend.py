"""What the colours and numbers of the picture mean."""

from collections.abc import Sequence
from typing import Any

from matplotlib.patches import Patch

from jaxconv._explain.picture.canvas import BLOCK, EDGE, IMAGE, NEXT, PADDING, SANS, TAP, TEXT
from jaxconv._explain.picture.scene import Scene
from jaxconv._explain.picture.view import AxisView
from jaxconv._spec.padding import PADDING_MODES


def draw_legend(figure: Any, scene: Scene, views: Sequence[AxisView], y: float) -> None:
    """A legend whose lower edge is `y` inches above that of the canvas."""

    def places(i):
        found = [str(a.chosen[i]) for a in views]
        return found[0] if len(found) == 1 else f"({', '.join(found)})"

    outline = {"edgecolor": EDGE, "linewidth": 0.8}
    copied = scene.filled in PADDING_MODES[1:]
    side, verb = ("input", "writes to") if scene.writes else ("output", "reads")
    kernel = scene.axes[-1].kernel
    if copied and any(any(a.axis.pads) for a in views):
        number = ", numbered by the position that it is added to" if scene.writes else ", numbered by what fills it"
        number_image = "position of the image, with its number"
    else:
        number, number_image = "", "position of the image"
    told = ", with the tap's number" if kernel and max(len(a.taps[0]) for a in views) > 1 and not number else ""
    handles = [Patch(facecolor=IMAGE, label=number_image, **outline)]
    if any(any(a.axis.pads) for a in views):
        filled = {"zeros": "zeros", "-inf": "minus infinity"}.get(scene.filled, scene.filled)
        what = "cut off" if scene.writes else f"padding: {filled}"
        cropped = "; cropped where it has no number" if any(p < 0 for a in views for p in a.axis.pads) else ""
        handles.append(Patch(facecolor=PADDING, label=what + number + cropped, **outline))
    handles.append(Patch(facecolor=TAP, label=f"{side} {places(0)}, and what it {verb}{told}"))
    if any(a.chosen[0] != a.chosen[1] for a in views):
        label = f"the next, {side} {places(1)}"
        handles.append(Patch(facecolor="none", edgecolor=NEXT, linestyle="--", linewidth=1.4, label=label))
    apart = scene.grouping == "each apart"
    label = "output channel made of input channel" if apart else "weights between two channels"
    handles.append(Patch(facecolor=BLOCK, edgecolor=TEXT, linewidth=0.8, label=label))
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.42 / width, y / height),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=TEXT,
        borderpad=0,
        handlelength=1.3,
        handleheight=1.1,
        columnspacing=2.0,
        prop={"family": SANS, "size": 9},
    )
