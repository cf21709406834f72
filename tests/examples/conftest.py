"""A small run of the training program, for all tests that only read what it leaves."""

import contextlib
import io

import jax
import pytest
from small_run import write_digits, write_settings

from examples import train


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The digits of the small runs, which change nothing in it."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


@pytest.fixture(scope="session")
def arguments(folder, tmp_path_factory):
    """The command line of a small run, but for `--out`."""
    config = tmp_path_factory.mktemp("config") / "small.toml"
    write_settings(config, folder)
    return ["--config", str(config)]


@pytest.fixture(scope="session")
def finished(arguments, tmp_path_factory):
    """A run of 3 epochs of 3 steps: its folder, which nobody changes, and what it printed into a pipe."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "first"
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)  # as the fixture quick_compile, which is of a module
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert train.main([*arguments, "--out", str(out)]) == 0
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    return out, printed.getvalue()
