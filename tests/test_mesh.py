"""A run over several devices, or several processes, takes the same course as on one device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from small_run import records, write_digits, write_settings

from examples import train

pytestmark = pytest.mark.usefixtures("quick_compile", "no_pictures")

ROOT = Path(__file__).parent.parent
STEPS = 50


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder, train=40)
    write_settings(folder / "small.toml", folder)
    # Five steps an epoch; batches of 8 are one digit for each of 8 devices.
    return ["--config", str(folder / "small.toml"), "--train.epochs", "10", "--train.log-every", "1",
            "--checkpoint.every", "10"]  # fmt: skip


@pytest.fixture(scope="module")
def one_device(arguments, tmp_path_factory, quick_compile, no_pictures):
    out = tmp_path_factory.mktemp("runs") / "one"
    assert train.main([*arguments, "--out", str(out)]) == 0
    return records(out)


def check_same_course(found, wanted):
    assert [record["step"] for record in found] == [record["step"] for record in wanted]
    for key in ("loss", "test_loss"):
        ours, theirs = ([record[key] for record in run if key in record] for run in (found, wanted))
        assert len(theirs) == (STEPS if key == "loss" else 10)
        assert max(theirs) > 1.2 * min(theirs)  # it learns, so that there is something to agree on
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices")
def test_eight_devices(arguments, one_device, tmp_path, capsys):
    assert train.main([*arguments, "--out", str(tmp_path), "--mesh", "data=8"]) == 0
    device = jax.devices()[0]
    assert f"device    {device.platform} ({device.device_kind}) × 8\n" in capsys.readouterr().out
    check_same_course(records(tmp_path), one_device)


def test_two_processes_of_two_devices(arguments, one_device, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"
    environment = os.environ | {
        "XLA_FLAGS": f"{flags} intra_op_parallelism_threads=1",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    command = [sys.executable, "-m", "examples.train", *arguments, "--out", str(tmp_path), "--distributed",
               "--coordinator", address, "--processes", "2", "--process"]  # fmt: skip
    processes = [
        subprocess.Popen(
            [*command, str(number)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        (first, first_err), (second, second_err) = (process.communicate(timeout=120) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], first_err + second_err
    assert "device    cpu (cpu) × 4\n" in first
    assert "device" not in second  # the first one reports for both
    assert (first_err, second_err) == ("", "")
    check_same_course(records(tmp_path), one_device)
    assert (tmp_path / "checkpoints" / str(STEPS)).is_dir()


def test_a_mesh_that_cannot_be(arguments, tmp_path, capsys):
    count = len(jax.devices())
    for mesh, message in (
        ("model=2", "--mesh model=2: give the number of devices that divide each batch, such as data=8"),
        ("data=two", "--mesh data=two: give the number of devices that divide each batch, such as data=8"),
        (f"data={count + 1}", f"--mesh data={count + 1}: JAX finds {count} devices, from data=1 to data={count}"),
    ):
        assert train.main([*arguments, "--out", str(tmp_path), "--mesh", mesh]) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.skipif(len(jax.devices()) < 3, reason="needs three devices")
def test_a_batch_that_cannot_be_divided(arguments, tmp_path, capsys):
    assert train.main([*arguments, "--out", str(tmp_path), "--mesh", "data=3"]) == 2
    assert capsys.readouterr().err == "error: train.batch_size is 8: not a multiple of the 3 devices\n"
