"""What a run prints, and the metrics it writes into its folder."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from examples.trainer.config import RunError
from examples.trainer.pictures import draw_curves, draw_gradient_flow, layer_statistics, whole_norm
from examples.trainer.tensorboard import EventFiles


class Report:
    """Writes metrics.jsonl as the run goes, and shows its progress: a live bar on a terminal, lines in a pipe."""

    def __init__(
        self,
        out: Path,
        steps: int,
        shapes: dict[str, tuple[int, ...]],
        records: Sequence[dict] = (),
        *,
        quiet: bool = False,
        tensorboard: bool = False,
    ):
        """Continues the `records` of a resumed run. With `quiet` it writes nothing: another process reports."""
        done = records[-1]["step"] if records else 0
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._events = EventFiles(out / "tensorboard", done + 1) if tensorboard and not quiet else None
            file = os.devnull if quiet else out / "metrics.jsonl"
            self._file = open(file, "a" if records else "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise RunError(f"--out: cannot write into {out}: {error.strerror}") from error
        self.out = out
        self.shapes = shapes
        self.records = list(records)
        self._quiet = quiet
        self._speed = math.nan  # in images a second, between the last two records of training
        self._headed = False
        self._console = Console(highlight=False, quiet=quiet)
        self._progress = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("", total=steps, completed=done)

    def __enter__(self) -> "Report":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()
        if self._events:
            self._events.close()

    def say(self, text: str) -> None:
        """Prints one line."""
        self._console.print(text, soft_wrap=True, markup=False)

    def record(self, step: int, metrics: dict) -> None:
        """Writes one line of metrics.jsonl: the means over some training steps, or the results of a test."""
        record = {"step": step, **metrics}
        try:
            line = json.dumps(record, allow_nan=False)
        except ValueError:
            raise RunError(f"training diverged by step {step}: lower optimizer.learning_rate") from None
        self._file.write(line + "\n")
        self._file.flush()
        self.records.append(record)
        if self._events:
            self._events.write(record)

    def advance(self, step: int, images_per_second: float) -> None:
        """Moves the progress bar to `step`, whose record was just written."""
        self._speed = images_per_second
        latest = self.records[-1]
        numbers = (
            f"loss {latest['loss']:.3f} acc {latest['accuracy']:.1%} lr {latest['learning_rate']:.1e} "
            f"grad {whole_norm(latest):.2g} {images_per_second:,.0f} img/s"  # fits into 80 columns
        )
        self._progress.update(self._task, completed=step, description=numbers)
        if self._events:
            self._events.write({"step": step}, images_per_second=images_per_second)

    def epoch(self, number: int) -> None:
        """Prints the line of an epoch whose test was just recorded: the means over its training, and the test."""
        *before, test = self.records
        start = next((i for i in range(len(before), 0, -1) if "test_loss" in before[i - 1]), 0)
        trainings = before[start:]
        if not self._headed:
            self.say(
                f"{'epoch':>5} {'loss':>8} {'accuracy':>9} {'held out':>9} {'lr':>9} {'gradient':>9} {'images/s':>9}"
            )
            self._headed = True
        # An epoch of few steps can end before its first record.
        columns = [f"{'':>8}", f"{'':>9}", f"{'':>9}", f"{'':>9}"]
        if trainings:
            loss, accuracy = (np.mean([record[name] for record in trainings]) for name in ("loss", "accuracy"))
            gradient = np.mean([whole_norm(record) for record in trainings])
            rate = trainings[-1]["learning_rate"]
            columns = [f"{loss:8.4f}", f"{accuracy:9.2%}", f"{rate:9.1e}", f"{gradient:9.2g}"]
        columns.insert(2, f"{test['test_accuracy']:9.2%}")
        speed = f"{self._speed:9,.0f}" if math.isfinite(self._speed) else ""
        self.say(" ".join([f"{number:5d}", *columns, speed]).rstrip())

    def finish(self) -> None:
        """Prints a table of the layers and the accuracy, and draws the pictures of the whole run."""
        self._progress.stop()
        if self._quiet:
            return
        trainings = [record for record in self.records if "loss" in record]
        tests = [record for record in self.records if "test_loss" in record]
        table = Table(title="The gradient of each layer", box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("layer")
        for name in ("parameters", "norm: first", "median", "last", "largest", "dead units"):
            table.add_column(name, justify="right")
        for layer, found in layer_statistics(trainings, self.shapes).items():
            size = sum(math.prod(shape) for name, shape in self.shapes.items() if name.rpartition(".")[0] == layer)
            norms = found["norm"]
            numbers = [f"{value:.3g}" for value in (norms[0], np.median(norms), norms[-1], found["max"].max())]
            table.add_row(layer, f"{size:,}", *numbers, f"{found['dead'][-1]:.1%}")
        self._console.print(table)
        best = max(tests, key=lambda record: record["test_accuracy"])
        self.say(f"best      {best['test_accuracy']:.2%} after step {best['step']}")
        self.say(f"held-out accuracy {tests[-1]['test_accuracy']:.2%}")
        draw_curves(trainings, tests, self.out / "curves.png")
        draw_gradient_flow(trainings, self.shapes, self.out / "gradient_flow.png")
