"""The package is installed where no C++ compiler works, and used; and the one that is tested here is complete."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import jax.numpy as jnp, jaxconv
print(jaxconv.__file__)
print(jaxconv.algorithms()["native"])
print(jaxconv.conv1d(jnp.arange(4.0).reshape(1, 1, 4), jnp.ones((1, 1, 2)))[0, 0].tolist())
try:
    jaxconv.conv1d(jnp.ones((1, 1, 4)), jnp.ones((1, 1, 2)), algorithm="native")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_a_working_compiler_the_package_works_and_says_why(tmp_path):
    """Built from the source tree in a folder of its own; the tree's own library does not get into it."""
    arguments = ["--no-build-isolation", "--no-deps", "--no-cache-dir", "--wheel-dir", str(tmp_path)]
    build = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-v", *arguments, "-C", f"build-dir={tmp_path / 'build'}", str(ROOT)],
        env={**os.environ, "CXX": "/bin/false"},
        capture_output=True,
        text=True,
    )
    log = build.stdout + build.stderr
    assert build.returncode == 0, log
    assert log.count("installed without its native kernels") == 1
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("jaxconv-")
    assert "-py3-none-" in wheel.name  # for every version of Python
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        own = {name for name in archive.namelist() if name.startswith("jaxconv/_native/")}
    assert own == {"jaxconv/_native/__init__.py", "jaxconv/_native/unavailable.txt"}

    # Without `site`, which would put the tree's own package first.
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(Path(jax.__file__).parents[1])])},
        capture_output=True,
        text=True,
        check=True,
    )
    file, reason, result, error = done.stdout.splitlines()
    assert Path(file).is_relative_to(site)
    assert reason.startswith("there is no compiled library: no working C++ compiler was found")
    assert result == "[1.0, 3.0, 5.0]"
    assert error == f"algorithm='native' cannot serve this call: {reason}; use algorithm='auto'"


def test_the_library_needs_neither_python_nor_the_compilers_libraries():
    library = (ROOT / "jaxconv" / "_native" / "native.so").read_bytes()
    for symbol in (b"jaxconv_output", b"jaxconv_input", b"jaxconv_weight", b"jaxconv_scratch_bytes"):
        assert symbol in library
    assert b"libstdc++.so" not in library
    assert b"libpython" not in library
