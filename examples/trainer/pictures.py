"""The pictures of a run: its curves, the gradients of its layers, its kernels, feature maps and mistakes.

Shades, dashes and markers distinguish things, so that a picture can be read without colour.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

TRAINING: dict[str, Any] = {"color": "#0b2a4a", "linestyle": "-"}
HELD_OUT: dict[str, Any] = {"color": "#c2501f", "linestyle": "--", "marker": "s", "markersize": 4}
SHADES = "cividis"  # its lightness is monotonic
MOST_MAPS = 16  # channels shown of a layer
MOST_MISTAKES = 20


def draw_curves(trainings: Sequence[dict], tests: Sequence[dict], path: Path) -> None:
    """Draws loss, accuracy, learning rate and the norm of the gradient over the steps."""
    figure = _figure(9, 6.5)
    (loss, accuracy), (rate, norm) = figure.subplots(2, 2, sharex=True)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        _plot(axes, trainings, operator.itemgetter(name), label="training, on moved images", **TRAINING)
        _plot(axes, tests, operator.itemgetter(f"test_{name}"), label="held out", **HELD_OUT)
        axes.legend()
    _plot(rate, trainings, lambda record: record["learning_rate"], **TRAINING)
    _plot(norm, trainings, whole_norm, **TRAINING)
    loss.set(title="Loss", ylabel="cross-entropy (nats)", yscale="log")
    # With the steep start in it the rest would look flat.
    floor = max(0.0, min(record["test_accuracy"] for record in tests) - 0.05)
    accuracy.set(title="Accuracy", ylabel="share that is right", ylim=(floor, 1.005))
    accuracy.yaxis.set_major_formatter(PercentFormatter(1))
    rate.set(title="Learning rate", xlabel="step", ylabel="learning rate", ylim=(0, None))
    norm.set(title="Gradient of all parameters", xlabel="step", ylabel="Euclidean norm", yscale="log")
    for axes in (loss, norm):
        _plain_numbers(axes)
    for axes in (rate, norm):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path)


def draw_gradient_flow(trainings: Sequence[dict], shapes: Mapping[str, Sequence[int]], path: Path) -> None:
    """Draws mean and maximum of each layer's gradient, and its share of dead units, as heat maps over the steps."""
    layers = layer_statistics(trainings, shapes)
    figure = _figure(9, 2 + 3 * (0.5 + 0.28 * len(layers)))
    figure.suptitle("Gradient flow: what reaches each layer, from the input (top) to the output (bottom)")
    panels = figure.subplots(3, 1, sharex=True)
    # A record covers the steps since the one before it.
    edges = [0, *(record["step"] for record in trainings)]
    for axes, key, title, label in (
        (panels[0], "mean", "Mean size of the gradient", "|∂ loss / ∂ parameter|"),
        (panels[1], "max", "Largest size of the gradient", "|∂ loss / ∂ parameter|"),
        (panels[2], "dead", "Dead units: those that no image of the batch gives a gradient", "share (%)"),
    ):
        values = np.array([statistics[key] for statistics in layers.values()])
        if key == "dead":
            # A few percent must be visible.
            values, norm = 100 * values, Normalize(0, max(10.0, 100 * values.max()))
        else:
            positive = values[values > 0] if (values > 0).any() else np.array([1e-8])
            norm = LogNorm(positive.min(), max(positive.max(), 1.01 * positive.min()), clip=True)
        mesh = axes.pcolormesh(edges, np.arange(len(layers) + 1) - 0.5, values, norm=norm, cmap=SHADES)
        axes.set_title(title, fontsize="medium")
        axes.set_yticks(range(len(layers)), list(layers))
        axes.invert_yaxis()
        bar = figure.colorbar(mesh, ax=axes, label=label, pad=0.01)
        if key != "dead":
            _plain_numbers(bar.ax)
    panels[-1].set_xlabel("step")
    figure.savefig(path)


def layer_statistics(
    trainings: Sequence[dict], shapes: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, np.ndarray]]:
    """Statistics of each layer's gradient, of weight and bias together, as arrays over the records.

    Returns:
        For each layer, from the input on: the `norm` of its gradient, the `mean` and the `max` of the absolute values,
        and the share of `dead` units, whose bias has a gradient of zero. A layer without a bias counts its weights.
    """
    layers: dict[str, list[str]] = {}
    for name in shapes:
        layers.setdefault(name.rpartition(".")[0], []).append(name)

    def column(measure: str, name: str) -> np.ndarray:
        return np.array([record[f"gradient_{measure}"][name] for record in trainings])

    found = {}
    for layer, names in layers.items():
        sizes = np.array([math.prod(shapes[name]) for name in names])
        means = np.array([column("mean", name) for name in names])
        (unit,) = [name for name in names if name.endswith(".bias")] or names[:1]
        found[layer] = {
            "norm": np.sqrt(sum(column("norm", name) ** 2 for name in names)),
            "mean": sizes @ means / sizes.sum(),
            "max": np.max([column("max", name) for name in names], axis=0),
            "dead": column("zero", unit),
        }
    return found


def whole_norm(record: dict) -> float:
    """The Euclidean norm of the gradient of all the parameters together."""
    return math.hypot(*record["gradient_norm"].values())


def draw_kernels(kernels: np.ndarray, path: Path) -> None:
    """Draws the kernels (count, height, width) of the first layer, all with the same shades."""
    columns = min(8, len(kernels))
    rows = -(-len(kernels) // columns)
    figure = _figure(max(5.5, columns + 1.5), 1.1 * rows + 0.9)
    figure.suptitle("Kernels of the first layer: light adds, dark subtracts")
    grid = figure.subplots(rows, columns, squeeze=False)
    limit = max(float(np.abs(kernels).max()), 1e-8)
    norm = Normalize(-limit, limit)
    for number, axes in enumerate(grid.flat):
        axes.axis("off")
        if number < len(kernels):
            axes.imshow(kernels[number], cmap="gray", norm=norm)
            axes.set_title(str(number), fontsize="small", pad=2)
    figure.colorbar(ScalarMappable(norm, "gray"), ax=grid, label="weight", shrink=0.9)
    figure.savefig(path)


def draw_feature_maps(image: np.ndarray, maps: Mapping[str, np.ndarray], title: str, path: Path) -> None:
    """Draws an image (height, width) and each layer's feature maps of it, (height, width, channels)."""
    columns = max(min(MOST_MAPS, values.shape[-1]) for values in maps.values())
    figure = _figure(max(5.5, 0.62 * columns + 1.6), 0.72 * (len(maps) + 1) + 0.9)
    figure.suptitle(
        f"{title}\nafter the ReLU; all maps of a layer share one scale, from black to white", fontsize="medium"
    )
    grid = figure.subplots(len(maps) + 1, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    _image(grid[0, 0], image)
    _side_label(grid[0, 0], f"image\n{image.shape[0]}×{image.shape[1]}")
    for row, (name, values) in zip(grid[1:], maps.items(), strict=True):
        height, width, channels = values.shape
        shown = f"{columns} of {channels}" if channels > columns else str(channels)
        _side_label(row[0], f"{name}\n{height}×{width}\n{shown} channel{'s' * (channels > 1)}")
        # One scale per layer: a channel without a response is dark.
        for axes, channel in zip(row, np.moveaxis(values, -1, 0), strict=False):
            axes.imshow(channel, cmap="gray", vmin=min(0.0, values.min()), vmax=max(values.max(), 1e-8))
    figure.savefig(path)


def draw_confusion(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draws the confusion matrix: the number of images of each true class by predicted class."""
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, predicted), 1)
    figure = _figure(7.5, 6.5)
    axes = figure.subplots()
    # Few mistakes beside many right predictions: the scale is logarithmic, and 0 is left white.
    norm = LogNorm(0.5, max(counts.max(), 2))
    mesh = axes.imshow(np.ma.masked_equal(counts, 0), cmap="Greys", norm=norm)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if norm(count) > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize="small")
    right = np.trace(counts) / max(counts.sum(), 1)
    axes.set(
        title=f"Held out: {counts.sum():,} images, {right:.2%} right", xlabel="predicted class", ylabel="true class"
    )
    long = max(map(len, names)) > 2
    axes.set_xticks(range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(len(names)), names)
    figure.colorbar(mesh, ax=axes, label="images", format="{x:g}")
    figure.savefig(path)


def draw_mistakes(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], path: Path
) -> None:
    """Draws the misclassified images, the most confident mistakes first."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != labels)
    shown = [int(number) for number in wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]]
    columns = 5
    rows = max(1, -(-len(shown) // columns))
    figure = _figure(8.8, 1.9 * rows + 0.6)
    figure.suptitle(
        f"The {len(shown)} most confident of {len(wrong)} mistakes on {len(labels):,} held-out images"
        if len(wrong)
        else f"No mistake on {len(labels):,} held-out images"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, number in zip(grid.flat, shown, strict=False):
        _image(axes, images[number])
        taken, sure = names[predicted[number]], f"{confidence[number]:.0%}"
        axes.set_title(f"true {names[labels[number]]}\npredicted {taken} ({sure})", fontsize="small")
    figure.savefig(path)


def draw_reconstructions(images: np.ndarray, drawn: np.ndarray, path: Path) -> None:
    """Draws images (count, height, width), 0 to 255, above an autoencoder's reconstructions of them."""
    figure = _figure(max(5.5, 0.8 * len(images) + 1.2), 2.6)
    figure.suptitle("Held-out images and what the autoencoder draws of them")
    for row, (name, pictures) in zip(
        figure.subplots(2, len(images), squeeze=False), (("image", images), ("drawn", drawn)), strict=True
    ):
        for axes, picture in zip(row, pictures, strict=True):
            _image(axes, picture)
            axes.set(xticks=[], yticks=[])
        _side_label(row[0], name)
    figure.savefig(path)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _plot(axes: Axes, records: Sequence[dict], value: Callable[[dict], float], **style: Any) -> None:
    axes.plot([record["step"] for record in records], [value(record) for record in records], **style)
    axes.grid(alpha=0.3)


def _plain_numbers(axes: Axes) -> None:
    """Labels a logarithmic vertical axis with plain numbers: 1, 2, 5, 10, 20, 50 and so on."""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")


def _image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)


def _side_label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize="small")
