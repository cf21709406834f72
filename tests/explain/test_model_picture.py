"""Pictures of models: what they say, and that nothing overlaps."""

import itertools
import sys

import pytest
from flax import nnx
from models import MODELS
from ports import PORTS, network

import jaxconv
from jaxconv._explain.picture import model as picture

MACHINE = (3.8e11, 1.7e10)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, beside what becomes of them."""
    figures, draw = [], picture.draw_model
    monkeypatch.setattr(picture, "draw_model", lambda scene: figures.append(draw(scene)) or figures[-1])
    return figures


def explained(name, machine=MACHINE):
    if name in PORTS:
        port = PORTS[name]
        make, shapes = (lambda: network("examples.ports", port, rngs=nnx.Rngs(0))), port.shapes
        return jaxconv.explain(nnx.eval_shape(make), list(shapes), machine=machine)
    return jaxconv.explain(MODELS[name].blank(), MODELS[name].shape, machine=machine)


def texts_of(figure):
    """All texts that are to be read."""
    found = [*figure.texts]
    for axes in figure.axes:
        found += [axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        low, high = axes.get_xlim()
        found += [t for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high]
        low, high = axes.get_ylim()
        found += [t for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high]
        if (legend := axes.get_legend()) is not None:
            found += legend.get_texts()
    return [t for t in found if t.get_text() and t.get_visible()]


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("mobilenet", ["receptive field over depth; the band at the top: everything", "roofline: each layer as"]),
        ("attentive", ["receptive field over depth; the band at the top: everything", "roofline: each layer as"]),
        ("recurrent", ["roofline"]),
        ("no parameters", ["receptive field over depth"]),
        ("nothing", []),
    ],
)
def test_a_picture_has_its_titles_and_nothing_overlaps(name, titles, tmp_path, drawn):
    explanation = explained(name)
    path = tmp_path / "model.png"
    explanation.picture(path)
    (figure,) = drawn
    found = [axes.get_title("left") for axes in figure.axes]
    assert len(found) == len(titles)
    for title, start in zip(found, titles, strict=True):
        assert title.startswith(start)
    texts = texts_of(figure)
    # A rotated text's box is larger than the text: it lies along a line, above which there is nothing else.
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_rotation() in (0, 90)]
    for (a, one), (b, other) in itertools.combinations(boxes, 2):
        assert not one.padded(-1).overlaps(other.padded(-1)), (a, b)
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text

    image = pytest.importorskip("PIL.Image")
    with image.open(path) as png:
        png.load()
        assert png.size == (width, height)
        assert png.text["Title"] == explanation.model
        assert png.text["Description"] == str(explanation)


def test_a_roofline_says_its_ceilings_and_its_largest_layers(tmp_path, drawn):
    explanation = explained("unet")
    explanation.picture(tmp_path / "model.png")
    (figure,) = drawn
    said = [t.get_text() for t in texts_of(figure)]
    assert "memory: 17 GB/s" in said
    assert "arithmetic: 380 GFLOP/s" in said
    largest = max(explanation.rows, key=lambda row: row.multiply_accumulates)
    share = 100 * largest.multiply_accumulates / explanation.multiply_accumulates
    assert any(largest.name in t and f"{share:.1f}%" in t for t in said)
    without = sum(not row.multiply_accumulates for row in explanation.rows)
    assert f"{without} rows have no products: bound by memory" in said
    fields = [row.receptive_field[0] for row in explanation.rows]
    steps = figure.axes[0].lines[0].get_ydata()
    assert list(steps) == fields


def test_measured_layers_are_as_high_as_they_are_fast(tmp_path, drawn, monkeypatch):
    from jaxconv._explain.model import measure

    monkeypatch.setattr(measure, "median", lambda *_: 1e-3)
    explanation = explained("own parameters").measure()
    explanation.picture(tmp_path / "model.png")
    (figure,) = drawn
    roofline = figure.axes[-1]
    assert roofline.get_title("left") == "roofline: each layer as fast as measured"
    ((x, y),) = roofline.collections[-1].get_offsets()
    assert x == pytest.approx(explanation.rows[0].intensity)
    assert y == pytest.approx(2 * explanation.rows[0].multiply_accumulates / 1e-3)


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="jaxconv\\[picture\\]"):
        explained("one layer").picture(tmp_path / "model.png")
