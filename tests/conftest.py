"""What the tests share: how XLA and Hypothesis are set up for them, and two fixtures."""

import atexit
import os
import tempfile

# Before JAX is imported, by whatever test file comes first.
# Eight devices, for what is split over several; a single thread each, since pytest-xdist takes a process per core.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
)

import hypothesis
import jax
import pytest

# What takes long to compile is compiled once: many tests run the same training step, each from its own function.
_compiled = tempfile.TemporaryDirectory(prefix="jaxconv-tests-")
atexit.register(_compiled.cleanup)
jax.config.update("jax_compilation_cache_dir", _compiled.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

# The same cases each time, and no time limit on one, which may be the first to compile.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="module")
def x64():
    """float64 for one module: the others see JAX as it comes."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compile():
    """Half the time that XLA takes to compile, for tests of what is computed and not of how fast."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def no_pictures():
    """Runs of the training program that draw nothing, which takes longer than the few steps of a small one."""
    from small_run import without_pictures

    with without_pictures():
        yield
