"""What a run shows in a pipe and on a terminal, its closing table, and TensorBoard's event files."""

import math
import re
import struct
import sys

import numpy as np
import pytest

from examples.trainer.config import RunError
from examples.trainer.pictures import layer_statistics
from examples.trainer.report import Report

SHAPES = {"conv1.bias": (4,), "conv1.weight": (4, 1, 3, 3), "linear.bias": (10,), "linear.kernel": (1000, 10)}


def training(step):
    rng = np.random.default_rng(step)
    metrics = {"loss": 1 / step, "accuracy": 1 - 1 / (2 * step), "learning_rate": 0.004 / step}
    for measure in ("norm", "mean", "max", "zero"):
        metrics[f"gradient_{measure}"] = {name: float(rng.uniform(0.1, 0.9)) for name in SHAPES}
    return metrics


TEST = {"test_loss": 0.25, "test_accuracy": 0.875}


def run(out, steps=range(2, 9, 2), last_test=TEST, **options):
    """A run with a record at every step of `steps` and a test after the second and the last."""
    with Report(out, steps[-1], SHAPES, **options) as report:
        for step in steps:
            report.record(step, training(step))
            report.advance(step, 1234.5 * step)
            if step in (steps[1], steps[-1]):
                report.record(step, last_test if step == steps[-1] else TEST)
                report.epoch(1 if step == steps[1] else 2)
        report.finish()
    return report


def whole(step):
    return math.hypot(*training(step)["gradient_norm"].values())


def test_a_pipe_receives_a_line_for_each_epoch(tmp_path, capsys):
    run(tmp_path)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    assert max(map(len, out.splitlines())) <= 80
    head, first, second = (line.split() for line in out.splitlines()[:3])
    assert head == ["epoch", "loss", "accuracy", "held", "out", "lr", "gradient", "images/s"]
    for number, line, steps in ((1, first, (2, 4)), (2, second, (6, 8))):
        loss, accuracy = (np.mean([training(step)[name] for step in steps]) for name in ("loss", "accuracy"))
        gradient = np.mean([whole(step) for step in steps])
        wanted = [
            str(number),
            f"{loss:.4f}",
            f"{accuracy:.2%}",
            "87.50%",
            f"{0.004 / steps[-1]:.1e}",
            f"{gradient:.2g}",
        ]
        assert line == [*wanted, f"{1234.5 * steps[-1]:,.0f}"]
    # Each number ends below its name.
    ends = [[match.end() for match in re.finditer(r"\S( \S|\S)*", line)] for line in out.splitlines()[:3]]
    assert ends[0] == ends[1] == ends[2]


def test_an_epoch_without_a_record_of_training(tmp_path, capsys):
    with Report(tmp_path, 9, SHAPES) as report:
        report.record(1, TEST)
        report.epoch(1)
    head, line = capsys.readouterr().out.splitlines()
    assert line.split() == ["1", "87.50%"]
    assert line.index("%") == head.index("held out") + len("held out") - 1


def test_a_resumed_run_counts_from_where_it_was(tmp_path, capsys):
    records = run(tmp_path / "whole").records
    capsys.readouterr()
    with Report(tmp_path / "rest", 8, SHAPES, records[:-2]) as report:
        report.record(8, training(8))
        report.record(8, TEST)
        report.epoch(2)
    _, line = capsys.readouterr().out.splitlines()
    # The record of step 6 is of the same epoch. Nothing is known of the speed: `advance` was not called.
    loss = np.mean([training(step)["loss"] for step in (6, 8)])
    assert line.split()[:2] == ["2", f"{loss:.4f}"]
    assert not line.endswith("nan")


def test_a_terminal_sees_where_the_run_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    run(tmp_path)
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert "8/8" in out
    last = training(8)
    shown = f"loss {last['loss']:.3f} acc {last['accuracy']:.1%} lr {last['learning_rate']:.1e} "
    assert f"{shown}grad {whole(8):.2g} 9,876 img/s" in out
    assert "…" not in out  # nothing is cut off
    assert re.search(r"\d:\d\d:\d\d", out)  # the time left
    # On dark as on light ground: no colour that is set is black, or white.
    colours = set(re.findall(r"\x1b\[([\d;]*)m", out))
    assert not {"30", "37", "40", "47", "97"} & {code for colour in colours for code in colour.split(";")}


def test_the_closing_table(tmp_path, capsys):
    report = run(tmp_path, last_test={"test_loss": 0.5, "test_accuracy": 0.75})
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    trainings = [record for record in report.records if "loss" in record]
    for layer, found in layer_statistics(trainings, SHAPES).items():
        (row,) = [line.split() for line in lines if line.strip().startswith(layer)]
        size = {"conv1": "40", "linear": "10,010"}[layer]
        norms = found["norm"]
        numbers = [norms[0], np.median(norms), norms[-1], found["max"].max()]
        assert row == [layer, size, *(f"{number:.3g}" for number in numbers), f"{found['dead'][-1]:.1%}"]
    assert "best      87.50% after step 4" in lines
    assert lines[-1] == "held-out accuracy 75.00%"
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "curves.png", "gradient_flow.png"}


def test_a_process_that_leaves_reporting_to_another(tmp_path, capsys):
    run(tmp_path, quiet=True, tensorboard=True)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


# TensorBoard


def events(file):
    """The events of a file: records of a length, its checksum, the content and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, place = file.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield Event.FromString(content[place + 12 : place + 12 + length])
        place += 12 + length + 4
    assert place == len(content)


def scalars(file):
    return {(value.tag, event.step): value.simple_value for event in events(file) for value in event.summary.value}


def test_event_files(tmp_path):
    run(tmp_path, tensorboard=True)
    (file,) = (tmp_path / "tensorboard").iterdir()
    found = scalars(file)
    for step in (2, 4, 6, 8):
        metrics = training(step)
        assert found["loss/training", step] == pytest.approx(metrics["loss"])
        assert found["accuracy/training", step] == pytest.approx(metrics["accuracy"])
        assert found["learning_rate", step] == pytest.approx(metrics["learning_rate"])
        assert found["images_per_second", step] == pytest.approx(1234.5 * step)
        for measure in ("norm", "mean", "max", "zero"):
            for name in SHAPES:
                wanted = metrics[f"gradient_{measure}"][name]
                assert found[f"gradient_{measure}/{name}", step] == pytest.approx(wanted)
    assert {key: found[key] for key in found if "held_out" in key[0]} == {
        (f"{name}/held_out", step): value for step in (4, 8) for name, value in (("loss", 0.25), ("accuracy", 0.875))
    }
    assert len(found) == 4 * (4 + 4 * len(SHAPES)) + 4


def test_what_is_done_again_after_a_resume_counts_once(tmp_path):
    """TensorBoard drops the events of a folder from the step on at which a later file begins a session."""
    records = run(tmp_path, tensorboard=True).records
    with Report(tmp_path, 8, SHAPES, records[:3], tensorboard=True) as report:
        report.record(6, training(6))
    first, second = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: int(path.suffix[1:]))
    assert ("loss/training", 6) in scalars(first)
    start = [event for event in events(second) if event.HasField("session_log")]
    assert [(event.step, event.session_log.status) for event in start] == [(5, 1)]  # 1: START
    assert ("loss/training", 6) in scalars(second)


def test_tensorboard_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(RunError, match=r"^--tensorboard needs tensorboardX: pip install 'jaxconv\[tensorboard\]'$"):
        Report(tmp_path, 8, SHAPES, tensorboard=True)


def test_event_files_that_cannot_be_written(tmp_path):
    (tmp_path / "tensorboard").touch()
    with pytest.raises(RunError, match=rf"^--out: cannot write into {tmp_path / 'tensorboard'}: "):
        Report(tmp_path, 8, SHAPES, tensorboard=True)
