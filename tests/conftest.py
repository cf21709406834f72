"""What the tests share: how XLA and Hypothesis are set up for them, and two fixtures."""

import atexit
import gc
import os
import tempfile
import zlib
from collections import Counter, defaultdict
from importlib.metadata import version

# Before JAX is imported, by whatever test file comes first.
# XLA's compiler reads the flags that are written --so, up to the first that is not.
# - Compiling is most of what the tests do, and XLA's newer emitters of loops take five times as long as those that they
#   replace, which only the versions up to 0.10 still have.
# - Eight devices, for what is split over several; a single thread each, since pytest-xdist takes a process per core.
os.environ.setdefault(
    "XLA_FLAGS",
    ("--xla_cpu_use_fusion_emitters=false " if version("jaxlib").startswith("0.10.") else "")
    + "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_multi_thread_eigen=false "
    "--xla_force_host_platform_device_count=8 intra_op_parallelism_threads=1",
)

# Nobody reads where in Python an instruction of a compiled program came from.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

import hypothesis
import jax
import pytest

# What takes longer to compile than to read is compiled once: many tests run the same program, each from its own
# function.
_compiled = tempfile.TemporaryDirectory(prefix="jaxconv-tests-")
atexit.register(_compiled.cleanup)
jax.config.update("jax_compilation_cache_dir", _compiled.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)

# The same cases each time, and no time limit on one, which may be the first to compile.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")

# How many cases of a test `make quick` runs.
OF_EACH_TEST = 3
# About how many cases `make test` runs of each test in these files, whose cases are programs to compile: it sets
# JAXCONV_OF_EACH. With JAXCONV_ALL, and where pytest is called by hand, all are run.
OF_MANY_CASES = {
    "test_accuracy.py", "test_algorithms.py", "test_configs.py", "test_convolution.py", "test_division.py",
    "test_dropout.py", "test_every_layer.py", "test_fuse.py", "test_init.py", "test_kernels.py", "test_maxima.py",
    "test_mesh.py", "test_meshes.py", "test_model_fields.py", "test_models.py", "test_moments.py", "test_native.py",
    "test_normalised.py", "test_normalization.py", "test_padding.py", "test_parametrization.py", "test_patches.py",
    "test_picture.py", "test_platforms.py", "test_pooling.py", "test_ports.py", "test_recurrent.py",
    "test_resampling.py", "test_spatial.py", "test_step.py", "test_torch_grid.py", "test_torch_samples.py",
    "test_transformed_calls.py", "test_transforms.py",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # before those that are not wanted are left out
def pytest_collection_modifyitems(config, items):
    """Marks as slow what tests the examples, and of a test of many cases all but a few, which are spread over them."""
    most = int(os.environ.get("JAXCONV_OF_EACH") or 0)
    if most and "JAXCONV_ALL" not in os.environ:
        numbers = Counter((item.path, item.originalname) for item in items if item.path.name in OF_MANY_CASES)

        def is_left_out(item):  # by its name, so that no argument of the cases is met by the steps
            return zlib.crc32(item.nodeid.encode()) % max(numbers[item.path, item.originalname] // most, 1)

        config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
        items[:] = [item for item in items if not is_left_out(item)]
    tests = defaultdict(list)
    for item in items:
        tests[item.path, item.originalname].append(item)
        if "examples" in item.path.relative_to(item.config.rootpath).parts:
            item.add_marker("slow")
    for cases in tests.values():
        step = -(-len(cases) // OF_EACH_TEST)
        for i, item in enumerate(cases):
            if i % step:
                item.add_marker("slow")


def pytest_collection_finish():
    """What has been imported stays: to look through it for garbage again and again would take a tenth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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
