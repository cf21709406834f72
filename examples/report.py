"""What a run shows on the terminal, and what it leaves in its folder."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from examples.config import RunError


class Report:
    """Writes metrics.jsonl as the run goes; shows progress, live on a terminal and by lines in a pipe."""

    def __init__(
        self,
        out: Path,
        steps: int,
        shapes: dict[str, tuple[int, ...]],
        records: Sequence[dict] = (),
        *,
        quiet: bool = False,
    ):
        """`records` are those of a run that is resumed; `quiet` is for a process that leaves reporting to another."""
        try:
            out.mkdir(parents=True, exist_ok=True)
            file = os.devnull if quiet else out / "metrics.jsonl"
            self._file = open(file, "a" if records else "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise RunError(f"--out: cannot write into {out}: {error.strerror}") from error
        self.out = out
        self.shapes = shapes
        self.records = list(records)
        self._quiet = quiet
        self._console = Console(highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("", total=steps, completed=self.records[-1]["step"] if records else 0)

    def __enter__(self) -> "Report":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()

    def say(self, text: str) -> None:
        """Prints one line."""
        self._console.print(text, soft_wrap=True, markup=False)

    def record(self, step: int, metrics: dict) -> None:
        """Writes one line of metrics.jsonl: the mean over some training steps, or what a test found."""
        record = {"step": step, **metrics}
        try:
            line = json.dumps(record, allow_nan=False)
        except ValueError:
            raise RunError(f"training diverged by step {step}: lower optimizer.learning_rate") from None
        self._file.write(line + "\n")
        self._file.flush()
        self.records.append(record)

    def advance(self, step: int, images_per_second: float) -> None:
        """Moves the progress display on to `step`, whose record was just written."""
        latest = self.records[-1]
        numbers = f"loss {latest['loss']:.3f}  accuracy {latest['accuracy']:.1%}  {images_per_second:,.0f} images/s"
        self._progress.update(self._task, completed=step, description=numbers)

    def finish(self) -> None:
        """Prints the gradient norms and the accuracy, and draws the pictures."""
        self._progress.stop()
        if self._quiet:
            return
        trainings = [record for record in self.records if "loss" in record]
        tests = [record for record in self.records if "test_loss" in record]
        table = Table(title="Gradient norm of each parameter", box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("parameter")
        table.add_column("shape")
        for when in ("first", "median", "last"):
            table.add_column(when, justify="right")
        for name, shape in self.shapes.items():
            norms = [record["gradient_norm"][name] for record in trainings]
            numbers = (f"{norm:.3g}" for norm in (norms[0], np.median(norms), norms[-1]))
            table.add_row(name, " × ".join(map(str, shape)), *numbers)
        self._console.print(table)
        self.say(f"held-out accuracy {tests[-1]['test_accuracy']:.2%}")
        draw_curves(trainings, tests, self.out / "curves.png")
        draw_gradient_flow(trainings, self.out / "gradient_flow.png")


# Shade, dash and marker each tell the lines apart, so that no reader depends on colour.
_STYLES: list[dict[str, Any]] = [
    {"color": "#0b2a4a", "linestyle": "-", "marker": "o"},
    {"color": "#c2501f", "linestyle": "--", "marker": "s"},
    {"color": "#5a9e4b", "linestyle": "-.", "marker": "^"},
    {"color": "#d9a514", "linestyle": ":", "marker": "D"},
]


def draw_curves(trainings: list[dict], tests: list[dict], path: Path) -> None:
    """Draws loss and accuracy over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name in ((left, "loss"), (right, "accuracy")):
        scale = 1 if name == "loss" else 100
        for records, key, label, style in (
            (trainings, name, "training, on moved digits", _STYLES[0] | {"marker": ""}),
            (tests, f"test_{name}", "held out", _STYLES[1]),
        ):
            steps = [record["step"] for record in records]
            values = [scale * record[key] for record in records]
            axes.plot(steps, values, **style, markersize=4, label=label)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    left.set(title="Loss", ylabel="cross-entropy (nats)", yscale="log")
    # The steep start would flatten everything after it.
    floor = max(0.0, 100 * min(record["test_accuracy"] for record in tests) - 5)
    right.set(title="Accuracy", ylabel="digits read correctly (%)", ylim=(floor, 100.5))
    figure.savefig(path)


def draw_gradient_flow(trainings: list[dict], path: Path) -> None:
    """Draws the norm of each layer's gradient over the steps: weight and bias taken together."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    steps = [record["step"] for record in trainings]
    for number, (layer, norms) in enumerate(layer_norms(trainings).items()):
        style = _STYLES[number % len(_STYLES)]
        axes.plot(steps, norms, **style, markersize=4, markevery=(number, 5), label=layer)
    axes.set(
        title="Gradient flow: the norm of each layer's gradient",
        xlabel="step",
        ylabel="Euclidean norm of the gradient",
        yscale="log",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="layer, from the input", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path)


def layer_norms(trainings: list[dict]) -> dict[str, np.ndarray]:
    """The norm of each layer's gradient in each record: the root of its parameters' squared norms."""
    squares: dict[str, np.ndarray] = {}
    for name in trainings[0]["gradient_norm"]:
        layer = name.rpartition(".")[0]
        norms = np.array([record["gradient_norm"][name] for record in trainings])
        squares[layer] = squares.get(layer, 0.0) + norms**2
    return {layer: np.sqrt(square) for layer, square in squares.items()}
