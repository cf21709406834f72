"""A run that is stopped and goes on ends as one that was not. JAXCONV_KILLS is how many kills to try."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from small_run import records

from examples import train
from examples.trainer.checkpoint import check_identity, kept_records, restore_trained
from examples.trainer.config import RunError, read_config
from examples.trainer.report import Report

pytestmark = pytest.mark.usefixtures("quick_compile", "no_pictures")

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("JAXCONV_KILLS", "1"))
EPOCHS, STEPS = 4, 12  # three steps an epoch
KEPT = 2  # checkpoints, beside the best
PROGRAM = {
    "cwd": ROOT,
    "env": os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},  # as quick_compile does here
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
}


@pytest.fixture(scope="module")
def arguments(arguments):
    return [*arguments, "--train.epochs", str(EPOCHS), "--optimizer.average", "0.9"]


@pytest.fixture(scope="module")
def uninterrupted(arguments, tmp_path_factory, quick_compile, no_pictures):
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert train.main([*arguments, "--out", str(out)]) == 0
    return out


def final_state(out):
    """The bytes of each array of the last checkpoint, by name."""
    folder = out / "checkpoints" / str(STEPS) / "state"
    with ocp.StandardCheckpointer() as checkpointer:
        leaves = jax.tree_util.tree_leaves_with_path(checkpointer.restore(folder))

    def to_bytes(array):
        is_key = jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(array) if is_key else array).tobytes()

    return {jax.tree_util.keystr(path): to_bytes(leaf) for path, leaf in leaves}


def check_same(out, uninterrupted):
    assert (out / "metrics.jsonl").read_bytes() == (uninterrupted / "metrics.jsonl").read_bytes()
    found, wanted = final_state(out), final_state(uninterrupted)
    assert len(wanted) > 40
    assert any("average" in name for name in wanted)
    assert found == wanted


def stop_at(patch, step, number):
    """Has the run receive a signal right after a record of `step`."""
    record = Report.record

    def record_and_stop(self, at, metrics):
        record(self, at, metrics)
        if at == step:
            signal.raise_signal(number)

    patch.setattr(Report, "record", record_and_stop)


def steps_with_checkpoint(out):
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir() if path.name.isdigit())


def killed(arguments, out, when):
    """Starts the program and kills it `when` seconds after its first record; its exit status."""
    command = [sys.executable, "-m", "examples.train", *arguments, "--out", str(out)]
    with subprocess.Popen(command, **PROGRAM) as process:
        try:
            metrics = out / "metrics.jsonl"
            deadline = time.monotonic() + 120
            while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            time.sleep(when)
        finally:
            process.kill()
        process.wait()
        return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_run_goes_on_as_if_it_had_not_been(arguments, uninterrupted, tmp_path, number, capfd):
    # Over the time that the loop takes, and a little more: some kills come while a checkpoint is written.
    when = random.Random(number).uniform(0, 1.0)
    status = killed(arguments, tmp_path, when)
    there = steps_with_checkpoint(tmp_path)
    lines = len((tmp_path / "metrics.jsonl").read_text().splitlines())
    with capfd.disabled():
        if "JAXCONV_KILLS" in os.environ:
            print(f"\nkill {number}: {when:.2f} s after the first record, status {status}, {lines} records, {there=}")
    assert train.main([*arguments, "--out", str(tmp_path), "--resume"]) == 0
    check_same(tmp_path, uninterrupted)
    best = max(record["test_accuracy"] for record in records(tmp_path) if "test_accuracy" in record)
    assert KEPT <= len(steps_with_checkpoint(tmp_path)) <= KEPT + 1
    step, params = restore_trained(tmp_path, read_config(tmp_path / "config.toml"))
    (test,) = [record for record in records(tmp_path) if record["step"] == step and "test_accuracy" in record]
    assert test["test_accuracy"] == best
    assert params["conv2"]["weight"].shape == (3, 2, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(arguments, uninterrupted, tmp_path, monkeypatch, capsys, number, status):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_at(patch, 8, number)
        assert train.main([*arguments, "--out", str(tmp_path)]) == status
    assert signal.getsignal(number) is before
    assert steps_with_checkpoint(tmp_path)[-1] == 8  # in the middle of an epoch
    command = " ".join([*arguments, "--out", str(tmp_path), "--resume"])
    assert capsys.readouterr().err == f"stopped, and saved; to go on: python -m examples.train {command}\n"

    assert train.main(command.split()) == 0
    assert f"resumed   after step 8 of {STEPS}\n" in capsys.readouterr().out
    check_same(tmp_path, uninterrupted)
    # Once more, there is nothing left to do.
    assert train.main(command.split()) == 0
    check_same(tmp_path, uninterrupted)


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_the_steps_end(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Report, "record", lambda *_: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    assert train.main([*arguments, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "error: interrupted before it could save\n"


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(arguments, tmp_path, capsys):
    """A limit on the size of files fails the same call as a full disk does, and needs no rights to set."""
    arguments = [*arguments, "--out", str(tmp_path), "--train.log-every", str(STEPS)]
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 6, signal.SIGTERM)
        assert train.main(arguments) == 143
    there = steps_with_checkpoint(tmp_path)
    assert there == [3, 6]

    command = shlex.join([sys.executable, "-m", "examples.train", *arguments, "--resume"])
    failed = subprocess.run(["bash", "-c", f"ulimit -f 4; exec {command}"], check=False, **PROGRAM, text=True)
    folder = tmp_path / "checkpoints"
    message = f"error: cannot write a checkpoint into {folder} (the last good one is of step 6): File too large\n"
    assert (failed.returncode, failed.stderr) == (2, message)
    assert steps_with_checkpoint(tmp_path) == there
    capsys.readouterr()
    assert train.main([*arguments, "--resume"]) == 0
    assert f"resumed   after step 6 of {STEPS}\n" in capsys.readouterr().out


@pytest.mark.slow
def test_resume_before_the_first_checkpoint_starts_from_the_beginning(arguments, uninterrupted, tmp_path, capsys):
    assert train.main([*arguments, "--out", str(tmp_path), "--resume"]) == 0
    assert "resumed   nothing: no checkpoint yet\n" in capsys.readouterr().out
    check_same(tmp_path, uninterrupted)


@pytest.mark.slow
def test_a_run_without_resume_starts_anew(arguments, uninterrupted, tmp_path):
    for _ in range(2):
        assert train.main([*arguments, "--out", str(tmp_path), "--train.epochs", "1"]) == 0
    assert steps_with_checkpoint(tmp_path) == [3]
    assert [record["step"] for record in records(tmp_path)] == [2, 3, 3]


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(arguments, uninterrupted, capsys):
    metrics = (uninterrupted / "metrics.jsonl").read_bytes()
    resumed = [*arguments, "--out", str(uninterrupted), "--resume"]
    assert train.main([*resumed, "--model.channels", "2", "3", "5", "--train.seed", "1"]) == 2
    folder = uninterrupted / "checkpoints" / str(STEPS)
    assert capsys.readouterr().err == (
        f"error: {folder} is of another run: model.channels is [2, 3, 4] there and [2, 3, 5] here; train.seed is 0 "
        "there and 1 here; the shape of conv3.bias is [4] there and [5] here; the shape of conv3.weight is "
        "[4, 3, 3, 3] there and [5, 3, 3, 3] here\n"
    )
    assert (uninterrupted / "metrics.jsonl").read_bytes() == metrics


def test_what_identifies_a_run():
    check_identity(Path("run"), {"a": 1, "b": [2]}, {"b": [2], "a": 1})
    with pytest.raises(RunError, match=r"^run is of another run: a is absent there and 1 here; b is 2 there and absen"):
        check_identity(Path("run"), {"b": 2}, {"a": 1})


@pytest.mark.slow
def test_trained_parameters_of_what_is_no_run(arguments, uninterrupted, tmp_path):
    with pytest.raises(RunError, match=r"holds no checkpoint: run examples\.train with --out"):
        restore_trained(tmp_path, read_config(Path(arguments[1])))
    with pytest.raises(RunError, match=r"is of another run: the shape of conv1\.bias is \[2\] there and \[24\] here"):
        restore_trained(uninterrupted, read_config(ROOT / "configs" / "mnist.toml"))


def test_a_record_without_an_end_is_cut_off(tmp_path):
    lines = [f'{{"step": {step}, "loss": 1.0}}\n' for step in (2, 4, 4, 6)]
    for cut in ("", '{"step": 8, "lo', '{"step": 8, "loss": 1.0}'):
        (tmp_path / "metrics.jsonl").write_text("".join(lines) + cut)
        assert [record["step"] for record in kept_records(tmp_path, 4)] == [2, 4, 4]
        assert (tmp_path / "metrics.jsonl").read_text() == "".join(lines[:3])
    for broken in ("no JSON\n", '{"epoch": 1}\n', "[" * 10**5 + "\n", "7\n"):
        (tmp_path / "metrics.jsonl").write_text(lines[0] + broken)
        with pytest.raises(RunError, match=r"^cannot go on with .*metrics\.jsonl: line 2 is no record; remove it"):
            kept_records(tmp_path, 4)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"^cannot go on with .*metrics\.jsonl: No such file or directory$"):
        kept_records(tmp_path, 4)


def test_a_second_run_into_one_folder_is_refused(arguments, uninterrupted, capsys):
    before = final_state(uninterrupted)
    with filelock.FileLock(uninterrupted / ".lock"):
        assert train.main([*arguments, "--out", str(uninterrupted)]) == 2
    wanted = f"error: --out: another run writes into {uninterrupted}; wait until it ends, or name another folder\n"
    assert capsys.readouterr().err == wanted
    assert final_state(uninterrupted) == before


def test_more_steps_than_are_counted(arguments, tmp_path, capsys):
    assert train.main([*arguments, "--out", str(tmp_path), "--train.epochs", str(2**30)]) == 2
    assert "3221225472 steps, and optimisers count fewer than 2**31" in capsys.readouterr().err


def test_a_flipped_bit_of_a_checkpoint_is_found(arguments, uninterrupted, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    files = sorted(p for p in (out / "checkpoints" / str(STEPS)).rglob("*") if p.is_file() and p.stat().st_size)
    assert len(files) > 4
    for file in files:
        data = file.read_bytes()
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(RunError, match=rf"^{re.escape(str(file))} is not as it was written: its checksum differs"):
            restore_trained(out, read_config(out / "config.toml"))
        file.write_bytes(data)
    files[0].unlink()
    assert train.main([*arguments, "--out", str(out), "--resume"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {files[0]} is not as it was written")
    (out / "checksums.json").write_text("[1, 2]")
    assert train.main([*arguments, "--out", str(out), "--resume"]) == 2
    assert "checksums.json does not hold checksums; remove it" in capsys.readouterr().err


def test_checksums_are_of_the_checkpoints_that_are_kept(uninterrupted):
    known = json.loads((uninterrupted / "checksums.json").read_text())
    assert sorted(map(int, known)) == steps_with_checkpoint(uninterrupted)
