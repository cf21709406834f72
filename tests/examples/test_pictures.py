"""What the pictures of a run show, read off the figures; and each is written as a file with something on it."""

import matplotlib.figure
import matplotlib.image
import matplotlib.text
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg

from examples.trainer import pictures

SHAPES = {
    "conv1.bias": (4,),
    "conv1.weight": (4, 1, 3, 3),
    "conv2.depthwise.weight": (4, 1, 3, 3),
    "linear.bias": (10,),
    "linear.kernel": (36, 10),
}
LAYERS = ["conv1", "conv2.depthwise", "linear"]


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Calls a drawing function, and gives the figure that it saved."""
    kept = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path: (kept.append(self), save(self, path)))

    def draw(function, *args):
        function(*args, tmp_path / "picture.png")
        picture = matplotlib.image.imread(tmp_path / "picture.png")[..., :3]
        assert picture.std() > 0.01
        return kept[-1]

    return draw


def assert_no_overlap(figure):
    """No text lies over another, or beyond the edge."""
    renderer, (width, height) = FigureCanvasAgg(figure).get_renderer(), figure.bbox.size
    shown = []
    for text in visible_texts(figure):
        box = text.get_window_extent(renderer)
        assert min(box.x0, box.y0) > -1, text
        assert box.x1 < width + 1, text
        assert box.y1 < height + 1, text
        for other, place in shown:
            apart = box.x0 > place.x1 - 1 or place.x0 > box.x1 - 1 or box.y0 > place.y1 - 1 or place.y0 > box.y1 - 1
            assert apart, (text, other)
        shown.append((text, box))


def visible_texts(figure):
    """All that is written, less the labels of ticks that lie beyond the ends of an axis and are not drawn."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            drawn = set(axis._update_ticks()) if axes.axison else set()
            for tick in {*axis.get_major_ticks(), *axis.get_minor_ticks()} - drawn:
                hidden |= {tick.label1, tick.label2}
    texts = figure.findobj(matplotlib.text.Text)
    return [text for text in texts if text not in hidden and text.get_visible() and text.get_text().strip()]


def training(step, **changes):
    rng = np.random.default_rng(step)
    record = {"step": step, "loss": 2 / step, "accuracy": 1 - 1 / step, "learning_rate": 1e-3 / step}
    for measure in ("norm", "mean", "max", "zero"):
        record[f"gradient_{measure}"] = {name: float(rng.uniform(0.1, 0.9)) for name in SHAPES}
    return record | changes


TRAININGS = [training(step) for step in (20, 40, 50)]
TESTS = [{"step": step, "test_loss": 1 / step, "test_accuracy": 1 - 0.5 / step} for step in (25, 50)]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves(draw):
    figure = draw(pictures.draw_curves, TRAININGS, TESTS)
    loss, accuracy, rate, norm = figure.axes
    for axes, last in ((loss, (2 / 50, 1 / 50)), (accuracy, (1 - 1 / 50, 1 - 0.5 / 50))):
        assert legend(axes) == ["training, on moved images", "held out"]
        lines = axes.get_lines()
        assert [list(line.get_xdata()) for line in lines] == [[20, 40, 50], [25, 50]]
        np.testing.assert_allclose([line.get_ydata()[-1] for line in lines], last)
        assert len({line.get_linestyle() for line in lines}) == 2
    assert (loss.get_title(), loss.get_ylabel(), loss.get_yscale()) == ("Loss", "cross-entropy (nats)", "log")
    assert (accuracy.get_title(), accuracy.get_ylabel()) == ("Accuracy", "share that is right")
    assert accuracy.get_ylim()[0] == pytest.approx(1 - 0.5 / 25 - 0.05)
    assert rate.get_xlabel() == norm.get_xlabel() == "step"
    np.testing.assert_allclose(rate.get_lines()[0].get_ydata(), [1e-3 / 20, 1e-3 / 40, 1e-3 / 50])
    wanted = [np.sqrt(sum(norm**2 for norm in record["gradient_norm"].values())) for record in TRAININGS]
    np.testing.assert_allclose(norm.get_lines()[0].get_ydata(), wanted)
    assert_no_overlap(figure)


def test_layer_statistics_are_those_of_the_joined_arrays():
    """From arrays to the measures that a step records, and from these to the layer's: as if taken at once."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    arrays["conv1.bias"][1:4] = 0
    arrays["conv1.weight"][1:4] = 0
    arrays["conv2.depthwise.weight"][2] = 0
    measures = {
        "norm": np.linalg.norm,
        "mean": lambda array: np.abs(array).mean(),
        "max": lambda array: np.abs(array).max(),
        "zero": lambda array: (array == 0).mean(),
    }
    record = {
        f"gradient_{measure}": {name: float(of(array)) for name, array in arrays.items()}
        for measure, of in measures.items()
    }
    other = {measure: dict.fromkeys(SHAPES, 0.0) for measure in record}
    found = pictures.layer_statistics([record, other], SHAPES)
    assert list(found) == LAYERS
    for layer, dead in zip(LAYERS, (3 / 4, 1 / 4, 0), strict=True):
        joined = np.concatenate([array.ravel() for name, array in arrays.items() if name.startswith(layer)])
        for measure in ("norm", "mean", "max"):
            np.testing.assert_allclose(found[layer][measure], [measures[measure](joined), 0])
        np.testing.assert_allclose(found[layer]["dead"], [dead, 0])


def test_gradient_flow(draw):
    figure = draw(pictures.draw_gradient_flow, TRAININGS, SHAPES)
    statistics = pictures.layer_statistics(TRAININGS, SHAPES)
    panels = figure.axes[:3]
    for axes, key, scale in zip(panels, ("mean", "max", "dead"), (1, 1, 100), strict=True):
        assert [label.get_text() for label in axes.get_yticklabels()] == LAYERS
        # The first layer is at the top.
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
        (mesh,) = axes.collections
        np.testing.assert_allclose(mesh.get_array(), [scale * statistics[layer][key] for layer in LAYERS])
        np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [0, 20, 40, 50])
        assert axes.get_title()
    assert panels[2].collections[0].get_clim() == (0, 100 * max(statistics[layer]["dead"].max() for layer in LAYERS))
    assert panels[-1].get_xlabel() == "step"
    assert [axes.get_ylabel() for axes in figure.axes[3:]] == ["|∂ loss / ∂ parameter|"] * 2 + ["share (%)"]
    assert_no_overlap(figure)


def test_a_network_without_any_gradient_can_be_drawn(draw):
    still = [training(step, gradient_mean=dict.fromkeys(SHAPES, 0.0)) for step in (1, 2)]
    still = [record | {"gradient_zero": dict.fromkeys(SHAPES, 0.01)} for record in still]
    figure = draw(pictures.draw_gradient_flow, still, SHAPES)
    assert figure.axes[2].collections[0].get_clim() == (0, 10)  # one of a hundred is a tenth of the shades


def test_the_shades_read_the_same_without_colour():
    """Lightness grows from one end of the scale to the other."""
    red, green, blue = colormaps[pictures.SHADES](np.linspace(0, 1, 64))[:, :3].T
    assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0).all()


def drawn_images(figure):
    return [image for axes in figure.axes for image in axes.get_images()]


@pytest.mark.parametrize("count", [1, 8, 11])
def test_kernels(draw, count):
    kernels = np.random.default_rng(0).normal(size=(count, 3, 5))
    figure = draw(pictures.draw_kernels, kernels)
    images = drawn_images(figure)
    assert len(images) == count
    limit = np.abs(kernels).max()
    for image, kernel in zip(images, kernels, strict=True):
        np.testing.assert_array_equal(image.get_array(), kernel)
        assert image.get_clim() == (-limit, limit)  # so that no weight is in the middle of the shades
    assert figure.axes[-1].get_ylabel() == "weight"
    assert_no_overlap(figure)


def test_feature_maps(draw):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (28, 28), dtype=np.uint8)
    maps = {"conv1": rng.normal(size=(28, 28, 3)), "conv2": rng.normal(size=(14, 14, 40))}
    figure = draw(pictures.draw_feature_maps, image, maps, "Feature maps of a 7")
    assert figure.get_suptitle().startswith("Feature maps of a 7\n")
    images = drawn_images(figure)
    assert len(images) == 1 + 3 + pictures.MOST_MAPS
    np.testing.assert_array_equal(images[0].get_array(), image)
    np.testing.assert_array_equal(images[2].get_array(), maps["conv1"][..., 1])
    np.testing.assert_array_equal(images[-1].get_array(), maps["conv2"][..., 15])
    assert len({image.get_clim() for image in images[4:]}) == 1
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["image\n28×28", "conv1\n28×28\n3 channels", "conv2\n14×14\n16 of 40 channels"]
    assert_no_overlap(figure)


FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@pytest.mark.parametrize("names", [tuple("0123456789"), FASHION], ids=["short", "long"])
def test_confusion(draw, names):
    labels = np.array([0] * 20 + [1] * 300 + [2] * 7)
    predicted = labels.copy()
    predicted[[0, 1, 20]] = 9, 9, 2
    figure = draw(pictures.draw_confusion, labels, predicted, names)
    axes = figure.axes[0]
    found = {text.get_position(): int(text.get_text()) for text in axes.texts}
    assert found == {(0, 0): 18, (9, 0): 2, (1, 1): 299, (2, 1): 1, (2, 2): 7}  # (predicted, true)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == "Held out: 327 images, 99.08% right"
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == list(names)
    if names != FASHION:  # slanted names overlap as boxes, though not as lines
        assert_no_overlap(figure)


def test_mistakes(draw):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 10
    probabilities = np.full((40, 10), 0.01)
    probabilities[np.arange(40), labels] = 0.91
    for number, confidence in ((7, 0.6), (31, 0.9), (12, 0.7)):
        probabilities[number] = (1 - confidence) / 9
        probabilities[number, (labels[number] + 1) % 10] = confidence
    figure = draw(pictures.draw_mistakes, images, labels, probabilities, FASHION)
    assert figure.get_suptitle() == "The 3 most confident of 3 mistakes on 40 held-out images"
    shown = [axes for axes in figure.axes if axes.get_images()]
    for axes, number in zip(shown, (31, 12, 7), strict=True):
        np.testing.assert_array_equal(axes.get_images()[0].get_array(), images[number])
    assert [axes.get_title() for axes in shown] == [
        "true trouser\npredicted pullover (90%)",
        "true pullover\npredicted dress (70%)",
        "true sneaker\npredicted bag (60%)",
    ]
    assert_no_overlap(figure)


def test_no_mistake_and_very_many(draw):
    images, labels = np.full((60, 28, 28), 99, np.uint8), np.zeros(60, int)
    right, wrong = (np.eye(10)[np.full(60, label)] for label in (0, 9))
    figure = draw(pictures.draw_mistakes, images, labels, wrong, FASHION)
    assert len(drawn_images(figure)) == 20
    assert figure.get_suptitle() == "The 20 most confident of 60 mistakes on 60 held-out images"
    assert_no_overlap(figure)
    figure = draw(pictures.draw_mistakes, images, labels, right, FASHION)
    assert drawn_images(figure) == []
    assert figure.get_suptitle() == "No mistake on 60 held-out images"


def test_reconstructions(draw):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    figure = draw(pictures.draw_reconstructions, images, 255.0 - images)
    for image, wanted in zip(drawn_images(figure), [*images, *(255.0 - images)], strict=True):
        np.testing.assert_array_equal(image.get_array(), wanted)
        assert image.get_clim() == (0, 255)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["image", "drawn"]
    assert_no_overlap(figure)
