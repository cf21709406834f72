"""The figure of a model: how its receptive field grows, and where its layers are under the roofline."""

from typing import Any

from matplotlib.figure import Figure

from jaxconv._explain.picture.canvas import FAINT, write
from jaxconv._explain.picture.depth import draw_depths
from jaxconv._explain.picture.layout import Box
from jaxconv._explain.picture.roofline import draw_roofline
from jaxconv._explain.picture.scene import ModelScene

_WIDTH, _LEFT, _RIGHT = 13.0, 0.95, 0.45  # inches
_DEPTH, _ROOFLINE, _TABLE = 3.4, 4.2, 4.6


def draw_model(scene: ModelScene) -> Any:
    """The figure of a model; a part of it that there is nothing to show in is left out."""
    heights = [_DEPTH + 1.1] * bool(scene.depths) + [_ROOFLINE + 1.0] * bool(scene.points)
    height = sum(heights) + 1.0
    figure = Figure(figsize=(_WIDTH, height), dpi=150, facecolor="white")
    write(figure, scene.title, 0.5, height - 0.45, size=14, weight="bold")
    write(figure, scene.subtitle, 0.5, height - 0.75, size=10.5, color=FAINT)
    top = height - 1.0
    if scene.depths:
        draw_depths(figure, Box(_LEFT, top - _DEPTH - 0.4, _WIDTH - _LEFT - _RIGHT, _DEPTH), scene)
        top -= heights[0]
    if scene.points:
        width = _WIDTH - _LEFT - _RIGHT - _TABLE
        draw_roofline(figure, Box(_LEFT, top - _ROOFLINE - 0.4, width, _ROOFLINE), scene)
    return figure
