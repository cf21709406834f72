"""Every file in configs/: what its header says, and that it runs."""

import re
from pathlib import Path

import pytest
from small_run import records

from examples import train
from examples.trainer.config import parse_command_line, read_config

pytestmark = pytest.mark.usefixtures("quick_compile", "no_pictures")

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


def test_each_shows_one_thing():
    assert {path.stem for path in CONFIGS} == {
        "autoencoder", "fashion_mnist", "mnist", "mnist_bf16", "mnist_circular", "mnist_depthwise", "mnist_dilated",
        "mnist_linen", "mnist_smoke",
    }  # fmt: skip
    mnist = read_config(CONFIGS[0].with_name("mnist.toml"))
    changed = {"mnist_bf16": "precision", "mnist_circular": "model", "mnist_depthwise": "model",
               "mnist_dilated": "model", "mnist_linen": "model"}  # fmt: skip
    for path in CONFIGS:
        config = read_config(path)
        for section in ("data", "model", "precision"):
            if path.stem in changed:
                assert (getattr(config, section) != getattr(mnist, section)) == (section == changed[path.stem])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_header_states_command_time_and_result(path):
    header = path.read_text(encoding="utf-8").partition("[")[0]
    command = re.search(r"^#     python -m examples\.train (.*)$", header, re.MULTILINE)
    assert command
    run = parse_command_line(command[1].replace(f"configs/{path.name}", str(path)).split())
    assert run.settings == read_config(path)
    assert run.out == Path("runs") / path.stem
    time, result = r"\d+ s of training on two CPU cores", r"\d+\.\d % of the "
    if path.stem == "fashion_mnist":  # its data have to be fetched, and there was no way to them
        time = result = "not measured"
    assert re.search(rf"^# Time:      .*{time}", header, re.MULTILINE)
    assert re.search(rf"^# Accuracy:  .*{result}", header, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_runs(path, folder, tmp_path):
    few = ["--train.epochs", "1", "--train.batch-size", "8", "--train.log-every", "1"]
    data = ["--data.source", "folder", "--data.path", str(folder)]
    assert train.main(["--config", str(path), "--out", str(tmp_path), *few, *data]) == 0
    found = records(tmp_path)
    assert [record["step"] for record in found] == [1, 2, 3, 3]
    assert all(0 < record["loss"] < 4 for record in found[:3])
    assert 0 <= found[-1]["test_accuracy"] <= 1
