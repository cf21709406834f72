"""Pictures of layers: what is shown, that nothing overlaps, and what is refused."""

import itertools
import re
import sys

import pytest
from explained import EXAMPLE, EXAMPLE_SHAPE

import jaxconv
from jaxconv._explain.axis import Axis
from jaxconv._explain.picture import figure
from jaxconv._explain.picture.view import axis_view

# Title of the left and of the right grid, labels of the columns of both, and the title of the channels.
PICTURES = {
    EXAMPLE: (
        EXAMPLE_SHAPE,
        ("input 50 x 100, and its padding", "output 26 x 100", "channels: dense"),
        ("W  (−2 to 12 shown, of 0 to 99)", "W  (0 to 10 shown, of 0 to 99)"),
    ),
    "Conv2d(32, 64, 3, padding='same', groups=32)": (
        (8, 32, 28, 28),
        ("input 28 x 28, and its padding", "output 28 x 28", "channels: depthwise"),
        ("W  (−1 to 13 shown, of 0 to 27)", "W  (0 to 10 shown, of 0 to 27)"),
    ),
    "Conv2d(3, 8, 3, padding=2, padding_mode='circular')": (
        (1, 3, 6, 7),
        ("input 6 x 7, and its padding", "output 8 x 9", "channels: dense"),
        ("W", "W"),
    ),
    "ConvTranspose2d(16, 8, 4, stride=2, padding=1, groups=4)": (
        (4, 16, 7, 9),
        ("input 7 x 9", "output 14 x 18, and what is cut off", "channels: grouped"),
        ("W", "W  (−1 to 13 shown, of 0 to 17)"),
    ),
    "ConvTranspose2d(2, 2, 3, 2, 1, 1, padding_mode='circular')": (
        (2, 4, 5),
        ("input 4 x 5", "output 8 x 10, and what is cut off", "channels: dense"),
        ("W", "W"),
    ),
    "Conv1d(16, 32, 3, padding='causal', dilation=4)": (
        (20, 16, 50),
        ("input 50, and its padding", "output 50", "channels: dense"),
        ("L  (−8 to 17 shown, of 0 to 49)", "L  (0 to 25 shown, of 0 to 49)"),
    ),
    "Conv3d(16, 33, (3, 5, 2), stride=(2, 1, 1), padding=(4, 2, 0))": (
        (2, 16, 10, 50, 100),
        ("input 50 x 100, and its padding", "output 50 x 99", "channels: dense"),
        ("W  (0 to 14 shown, of 0 to 99)", "W  (0 to 10 shown, of 0 to 98)"),
    ),
    "Conv2d(8, 8, 3, padding=12, dilation=12)": (  # too wide to be drawn whole
        (8, 33, 33),
        ("input 33 x 33, and its padding", "output 33 x 33", "channels: dense"),
        ("W  (−12 to 19 shown, of 0 to 32)", "W  (0 to 10 shown, of 0 to 32)"),
    ),
    "AdaptiveAvgPool2d((2, 3))": (
        (4, 7, 8),
        ("input 7 x 8", "output 2 x 3", "channels: each apart"),
        ("W", "W"),
    ),
    "Fold((6, 7), 3, padding=1)": (
        (45, 42),
        ("places of the columns 6 x 7", "output 6 x 7, and what is cut off", "channels: each apart"),
        ("W", "W"),
    ),
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, beside what becomes of them."""
    figures, draw = [], figure.draw
    monkeypatch.setattr(figure, "draw", lambda scene: figures.append(draw(scene)) or figures[-1])
    return figures


@pytest.mark.parametrize("text", PICTURES)
def test_a_picture_has_its_titles_and_nothing_overlaps(text, tmp_path, drawn):
    shape, titles, labels = PICTURES[text]
    path = tmp_path / "layer.png"
    explanation = jaxconv.explain(text, shape)
    explanation.picture(path)
    (figure,) = drawn
    assert tuple(axes.get_title("left") for axes in figure.axes) == titles
    assert tuple(axes.get_xlabel() for axes in figure.axes[:2]) == labels
    words = " ".join(t.get_text() for t in figure.texts)
    for _, line in explanation.arithmetic:
        assert line in words
    assert ("drawn: the last two axes, H and W; D is like them" in words) == (len(explanation.axes) == 3)

    boxes = [t.get_window_extent() for t in figure.texts] + [figure.legends[0].get_window_extent()]
    for axes in figure.axes:
        parts = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        parts += [*axes.xaxis.get_ticklabels(), *axes.yaxis.get_ticklabels()]
        boxes += [part.get_window_extent() for part in parts if part.get_text()]
        boxes.append(axes.patch.get_window_extent())
    boxes = [box for box in boxes if box.width > 0]
    for a, b in itertools.combinations(boxes, 2):
        assert not a.padded(-1).overlaps(b.padded(-1))
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height

    image = pytest.importorskip("PIL.Image")
    with image.open(path) as png:
        png.load()
        assert png.format == "PNG"
        assert png.size == (width, height)
        assert png.text["Title"] == explanation.layer
        assert png.text["Description"] == str(explanation)


def test_a_place_is_chosen_that_reads_padding_and_image():
    axis = Axis("W", 50, 26, 3, 2, 3, (4, 4), 7)
    view = axis_view(axis, writes=False)
    assert view.chosen == (1, 2)
    assert [list(t) for t in view.taps] == [[-2, 1, 4], [0, 3, 6]]
    assert view.shown == tuple(range(-4, 11))


def test_a_long_view_is_broken_and_keeps_taps_and_border():
    axis = Axis("L", 16000, 16000, 2, 1, 64, (64, 0), 65)
    view = axis_view(axis, writes=False, flat=True)
    assert view.shown == (-64, -63, -62, -61, -60, -59, -58, None, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7)
    wide = axis_view(Axis("W", 512, 513, 10**9, 1, 1, (5 * 10**8,) * 2, 10**9), writes=False)
    assert len(wide.shown) < 50
    assert wide.taps[0][0] in wide.shown
    assert wide.taps[0][-1] in wide.shown


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("Flatten()", (2, 3, 4), "Flatten(start_dim=1, end_dim=-1) has no picture: it has no windows"),
        ("AdaptiveAvgPool1d(0)", (2, 3, 4), "has no picture: its output is empty, of shape (2, 3, 0)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(text, shape, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        jaxconv.explain(text, shape).picture(tmp_path / "layer.png")


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    wanted = 'pip install "jaxconv[picture]"'
    with pytest.raises(ImportError, match=re.escape(wanted)):
        jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE).picture(tmp_path / "layer.png")
