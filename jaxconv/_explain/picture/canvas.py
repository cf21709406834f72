"""The canvas: its colours and fonts, and marks at inches from its lower left corner."""

from typing import Any

from jaxconv._explain.picture.layout import Box

# All are told apart by lightness alone: from white over greys to navy; the next window is an outline, and dashed.
IMAGE, PADDING, TAP, NEXT, EDGE, TEXT = "#f4f7fb", "#c9ced6", "#17406d", "#e07b00", "#9aa5b1", "#27313c"
FAINT, BLOCK = "#5c6773", "#b9cbe0"
SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"


def write(figure: Any, text: str, x: float, y: float, **style: Any) -> None:
    """A line of text on the canvas, at inches."""
    width, height = figure.get_size_inches()
    style = {"family": SANS, "color": TEXT, "va": "baseline", **style}
    figure.text(x / width, y / height, text.replace("$", r"\$"), **style)


def add_axes(figure: Any, box: Box) -> Any:
    """Axes of matplotlib that fill a box."""
    width, height = figure.get_size_inches()
    return figure.add_axes((box.x / width, box.y / height, box.width / width, box.height / height))
