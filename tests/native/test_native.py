"""The native kernels as a program meets them: what they compute, and what is asked of their call."""

import ctypes
import itertools
import os
import re
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
import torch
from cases import CASES, DATA_FORMATS, Case, layout
from closeness import assert_close, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export
from jax.sharding import NamedSharding, PartitionSpec
from problems import three_ops

import jaxconv
from jaxconv import _native
from jaxconv._lowering import native, select, sharded
from jaxconv._lowering.family import HIDDEN, NOT_KNOWN, ONE, make_problem
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.padding import PADDING_MODES

pytestmark = pytest.mark.usefixtures("quick_compile")

FLOAT32 = np.dtype("float32")


@pytest.fixture(autouse=True, scope="module")
def most_isa():
    """The instruction set is put back as it was found."""
    yield
    _native.use_isa(_native.isas()[-1])


def test_it_is_here():
    assert _native.unavailable is None
    assert jaxconv.algorithms()["native"] == "available"
    assert _native.isas()[0] == "baseline"


# --- values ---------------------------------------------------------------------------------------------------


# What stands for the table of cases where the machine's last instruction set is not the one: `make sanitize` has random
# problems for each.
OF_EACH_ISA = (
    "1d_depthwise_multiplier",
    "2d_1x1_stride_pads",
    "2d_dilation_and_stride",
    "2d_groups_everything",
    "2d_depthwise",
    "2d_reflect",
    "2d_circular_crop",
    "3d_everything",
)


@pytest.mark.parametrize("name", OF_EACH_ISA)
def test_the_ops_of_each_instruction_set_are_the_oracles(name):
    """With a bias and without; test_algorithms.py has all cases, with the instruction set that is taken."""
    case = next(case for case in CASES if case.name == name)
    x, w, b, y = case.arrays("float32")
    biased, dx, dw, db = case.oracle(*(a.astype("float64") for a in (x, w, b, y)))
    plain = biased - b.astype("float64").reshape(-1, *(1,) * case.rank)
    problems = []
    for data_format in DATA_FORMATS:
        xf, yf, *of_images = (layout(a, data_format) for a in (x, y, plain, dx, biased))
        compute = jax.jit(partial(all_ops, case.spec(data_format)))
        expected = (*of_images[:2], dw, of_images[2], of_images[1], dw, db)
        for isa in _native.isas():
            _native.use_isa(isa)
            for i, (a, e) in enumerate(zip(compute(xf, w, yf, b), expected, strict=True)):
                if not relative_error(a, e) < 1.5e-6:
                    problems.append((isa, i, data_format, relative_error(a, e)))
    assert not problems


def all_ops(spec, x, w, y, b):
    return *three_ops(native, spec, x, w, y), *three_ops(native, spec, x, w, y, b)


# Large enough that every loop of a kernel runs full and has a rest: channels of blocks of 16 and 48, many rows.
LARGE = (
    Case("dense", 2, 2, 67, (19, 23), 83, (3, 3), pads=1),
    Case("dense_stride", 2, 2, 48, (21, 17), 96, (3, 3), strides=2, pads=1),
    Case("dense_1x1", 2, 2, 130, (9, 13), 70, (1, 1)),
    Case("few_channels", 2, 2, 3, (40, 37), 50, (7, 7), strides=2, pads=3),
    Case("groups", 2, 2, 64, (15, 18), 64, (3, 3), pads=1, groups=16, padding_mode="reflect"),
    Case("depthwise", 2, 2, 70, (17, 20), 70, (5, 5), pads=2, groups=70),
    Case("depthwise_dilated", 1, 2, 33, (400,), 66, (9,), strides=2, pads=12, dilations=3, groups=33),
    Case("tiles_odd", 2, 6, 33, (7, 12), 20, (3, 3), pads=((2, 0), (0, 1)), padding_mode="replicate"),
    Case("tiles_groups", 2, 3, 68, (14, 9), 40, (3, 3), pads=1, groups=2, padding_mode="reflect"),
    Case("tiles_dilated", 2, 4, 19, (11, 14), 31, (3, 3), pads=((2, 1), (3, 4)), dilations=(2, 3)),
    Case("tiles_small", 2, 70, 16, (2, 3), 33, (3, 3), pads=1),
    Case("tiles_one_row", 1, 2, 16, (300,), 33, (3,), pads=1),
    Case("tiles_many_channels", 2, 8, 300, (5, 6), 130, (3, 3), pads=((1, 1), (0, -1))),
    Case("circular_3d", 3, 1, 20, (6, 7, 9), 24, (3, 3, 3), pads=1, padding_mode="circular"),
    # Results larger than the caches, which are stored past them.
    Case("huge_output", 2, 2, 8, (133, 130), 64, (1, 1)),
    Case("huge_input", 2, 2, 64, (133, 130), 32, (1, 1)),
    Case("huge_depthwise", 2, 2, 32, (187, 183), 32, (3, 3), strides=2, pads=1, groups=32),
)


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_accuracy(case):
    """The error is at most twice that of PyTorch in float32, or ten units in the last place of the largest value."""
    x, w, b, y = case.arrays("float32")

    def in_torch(dtype):
        xt, wt, bt = (torch.tensor(a, dtype=dtype, requires_grad=True) for a in (x, w, b))
        padded = xt
        for axis, pair in enumerate(case.pads):
            mode = {"zeros": "constant"}.get(case.padding_mode, case.padding_mode)
            widths = [0] * (2 * case.rank)
            widths[2 * (case.rank - 1 - axis) : 2 * (case.rank - axis)] = pair
            padded = torch.nn.functional.pad(padded, widths, mode)
        conv = getattr(torch.nn.functional, f"conv{case.rank}d")
        out = conv(padded, wt, bt, case.strides, 0, case.dilations, case.groups)
        out.backward(torch.tensor(y, dtype=dtype))
        return tuple(a.numpy() for a in (out.detach(), xt.grad, wt.grad, bt.grad))

    exact, theirs = in_torch(torch.float64), in_torch(torch.float32)
    for data_format in DATA_FORMATS:
        xf, yf = (layout(a, data_format) for a in (x, y))
        spec = case.spec(data_format)

        compute = jax.jit(partial(three_ops, native, spec))
        for isa in _native.isas():
            _native.use_isa(isa)
            ours = compute(xf, w, yf, b)
            for i, op in enumerate((*_native.OPS, "bias")):
                e, t = (layout(a[i], data_format) if i < 2 else a[i] for a in (exact, theirs))
                assert relative_error(ours[i], e) <= max(2 * relative_error(t, e), 10 * 2.0**-23), (
                    isa,
                    op,
                    data_format,
                )


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_stays_where_it_is_read(value, data_format):
    """Tiles of results share sums of numbers, which must not carry it to a neighbour, nor overflow."""
    case = next(case for case in LARGE if case.name == "tiles_odd")
    x, w, _, y = case.arrays("float32")
    x[0, 3, 2, 4], x[0, 3, 2, 5] = value, -value
    y[1, 5, 0, 0], y[1, 5, 0, 1] = value, -value
    xf, yf = layout(x, data_format), layout(y, data_format)
    spec = case.spec(data_format)
    w = w / 16  # products of 3e38 are finite; the sums within a tile are not
    ours, expected = (three_ops(f, spec, xf, w, yf) for f in (native, select.FAMILIES["xla"]))
    for op, a, e in zip(_native.OPS, map(np.asarray, ours), map(np.asarray, expected), strict=True):
        if op == "weight" and np.isfinite(value):
            continue  # a sum of such products overflows in one order and not in another
        finite = np.isfinite(e)
        assert finite.any()
        assert finite.all() == np.isfinite(value)
        np.testing.assert_array_equal(np.isfinite(a), finite, op)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(e), op)
        assert relative_error(a[finite], e[finite]) < 2e-6, op


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_storage_is_rounded_once(dtype):
    """Small whole numbers are exact; larger sums come out as float32 rounds them to 16 bits."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-4, 5, (2, 7, 9, 20)), dtype)
    w = jnp.asarray(rng.integers(-4, 5, (24, 10, 3, 2)), dtype)
    spec = ConvSpec((2, 1), ((1, 1), (0, 2)), (1, 2), 2, "circular", "channels_last")
    y = jnp.asarray(rng.integers(-4, 5, (2, *spec.output_size((7, 9), (3, 2)), 24)), dtype)
    b = jnp.asarray(rng.integers(-4, 5, 24), dtype)
    exact = three_ops(select.FAMILIES["xla"], spec, *(a.astype("float32") for a in (x, w, y)))
    exact += exact[0] + b.astype("float32"), *exact[1:], y.astype("float32").sum((0, 1, 2))
    for isa in _native.isas():
        _native.use_isa(isa)
        found = *three_ops(native, spec, x, w, y), *three_ops(native, spec, x, w, y, b)
        for a, e in zip(found, exact, strict=True):
            assert a.dtype == dtype
            np.testing.assert_array_equal(a.astype("float32"), e.astype(dtype).astype("float32"))


def test_widening_accumulates_and_returns_float32():
    x, w = jnp.full((1, 3, 5), 1 + 2**-7, "bfloat16"), jnp.full((2, 3, 2), 1 + 2**-7, "bfloat16")
    y = jaxconv.conv1d(x, w, preferred_element_type=jnp.float32, algorithm="native")
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, np.full((1, 2, 4), 6 * (1 + 2**-7) ** 2, "float32"))


# No product of two of them overflows: whether a sum does would depend on its order.
SPECIAL = np.array([0.0, -0.0, 1.0, 1e-18, 1e18, np.inf, -np.inf, np.nan], "float32")


@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_what_is_not_finite_spreads_as_it_does_in_xla(padding_mode, groups):
    rng = np.random.default_rng(0)
    spec = ConvSpec((1, 2), ((1, 1), (1, 2)), (1, 1), groups, padding_mode, "channels_last")
    x = rng.standard_normal((2, 6, 9, 6)).astype("float32")
    w = rng.standard_normal((6, 6 // groups, 3, 3)).astype("float32")
    y = rng.standard_normal((2, *spec.output_size((6, 9), (3, 3)), 6)).astype("float32")
    for array in (x, y):
        array.reshape(-1)[rng.choice(array.size, len(SPECIAL), replace=False)] = SPECIAL
    arrays = x, w, y
    expected = jax.jit(partial(three_ops, select.FAMILIES["taps"], spec))(*arrays)
    compute = jax.jit(partial(three_ops, native, spec))
    for isa in _native.isas():
        _native.use_isa(isa)
        for op, a, e in zip(_native.OPS, compute(*arrays), expected, strict=True):
            a, e = np.asarray(a), np.asarray(e)
            np.testing.assert_array_equal(np.isnan(a), np.isnan(e), err_msg=f"{isa} {op}")
            np.testing.assert_array_equal(a[np.isinf(e)], e[np.isinf(e)], err_msg=f"{isa} {op}")


@pytest.mark.parametrize("groups", [1, 3])
def test_a_zero_is_a_factor_like_any_other(groups):
    """Nothing is skipped for being zero."""
    w = np.full((3, 3 // groups, 1), np.inf, "float32")
    x = np.zeros((1, 3, 5), "float32")
    assert np.isnan(jaxconv.conv1d(x, w, groups=groups, algorithm="native")).all()


def test_equal_from_run_to_run_and_close_for_every_number_of_threads():
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((3, 30, 33, 40), (56, 40, 3, 3)))
    spec = ConvSpec((1, 1), ((1, 1), (1, 1)), (1, 1), 1, "zeros", "channels_last")
    y = problems.output(native, spec, x, w)
    compute = jax.jit(partial(three_ops, native, spec))
    first = [np.asarray(a) for a in compute(x, w, y)]
    for _ in range(20):
        for a, b in zip(first, compute(x, w, y), strict=True):
            np.testing.assert_array_equal(a, b)


# --- how it is called -----------------------------------------------------------------------------------------


def conv(x, w, algorithm="native", groups=1):
    return jaxconv.conv2d(x, w, padding=1, groups=groups, padding_mode="circular", algorithm=algorithm)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(1)
    return tuple(jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((4, 6, 9, 8), (6, 6, 3, 3)))


close = partial(assert_close, tolerance=1e-5)


def test_within_cond_scan_while_and_vmap(arrays):
    x, w = arrays[0], arrays[1] / 8

    def program(algorithm):
        def f(x, w):
            step = lambda x, _: (jnp.tanh(conv(x, w, algorithm)), jnp.sum(x))  # noqa: E731
            scanned, sums = jax.lax.scan(step, x, None, 3)
            taken = jax.lax.cond(sums[0] > 1e9, lambda x: x, lambda x: conv(x, w, algorithm), scanned)
            looped = jax.lax.fori_loop(0, 3, lambda i, x: jnp.tanh(conv(x, w, algorithm)), taken)
            mapped = jax.vmap(lambda s: conv(looped * s, w, algorithm))(jnp.arange(3.0))
            return jnp.sum(mapped**2), mapped

        return jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True))

    ours, theirs = program("native")(x, w), program("xla")(x, w)
    assert 'jaxconv_input"' in program("native").lower(x, w).compile().as_text().replace("'", '"')
    jax.tree.map(close, ours, theirs)


def test_a_bias_takes_no_pass_of_its_own(arrays):
    x, w = arrays
    b = jnp.arange(w.shape[0], dtype=jnp.float32)

    def value_and_gradients(x, w, b):
        y, transpose = jax.vjp(lambda x, w, b: jaxconv.conv2d(x, w, b, algorithm="native"), x, w, b)
        return y, transpose(y)

    text = jax.jit(value_and_gradients).lower(x, w, b).compile().as_text()
    assert text.count('custom_call_target="jaxconv_') == 3
    assert " add(" not in text
    assert " reduce(" not in text
    # One of the pair alone, and no images.
    of_b = jax.grad(lambda b: jaxconv.conv2d(x, w, b, algorithm="native").sum())(b)
    np.testing.assert_array_equal(of_b, np.full(b.shape, 4 * 7 * 6))
    both = jax.grad(lambda w, b: jaxconv.conv2d(x[:0], w, b, algorithm="native").sum(), (0, 1))(w, b)
    jax.tree.map(lambda a, p: np.testing.assert_array_equal(a, np.zeros(p.shape)), both, (w, b))


def test_derivatives_of_second_order(arrays):
    x, w = arrays

    def program(algorithm):
        gradient = jax.grad(lambda x, w: jnp.sum(conv(x, w, algorithm) ** 3), argnums=(0, 1))
        return jax.jit(lambda x, w: jax.jvp(gradient, (x, w), (jnp.cos(x), jnp.sin(w)))[1])

    jax.tree.map(close, program("native")(x, w), program("xla")(x, w))


def test_calls_from_many_threads_at_once(arrays):
    x, w = arrays
    x = jnp.tile(x, (2, 1, 3, 3))
    compute = jax.jit(jax.grad(lambda x, w: jnp.sum(conv(x, w) ** 2), argnums=(0, 1)))
    expected = [np.asarray(a) for a in compute(x, w)]
    wrong = []

    def call():
        for _ in range(25):
            for a, e in zip(compute(x, w), expected, strict=True):
                if not np.array_equal(a, e):
                    wrong.append(np.abs(a - e).max())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    assert not wrong


POOLS = """
import sys, threading
sys.path[:0] = {path!r}
import numpy as np, jax, jax.numpy as jnp, jaxconv
from jaxconv import _native
assert _native.unavailable is None
rng = np.random.default_rng(0)
x, w = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((8, 16, 16, 32), (48, 32, 3, 3)))

@jax.jit
def f(x, w):  # several independent calls, which XLA may run at once, and a loop around others
    ys = [jaxconv.conv2d(x * s, w, None, 1, 1, data_format="channels_last", algorithm="native") for s in range(1, 5)]
    last = jax.lax.fori_loop(0, 3, lambda i, x: x + jaxconv.conv2d(
        x, w[:32], None, 1, 1, data_format="channels_last", algorithm="native"), x * 1e-3)
    return sum(jnp.sum(y) for y in ys) + jnp.sum(last), jax.grad(lambda w: jnp.sum(jaxconv.conv2d(
        x, w, None, 1, 1, data_format="channels_last", algorithm="native") ** 2))(w)

def call():
    for _ in range(15):
        f(x, w)[1].block_until_ready()

threads = [threading.Thread(target=call) for _ in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
np.save(sys.argv[1], np.asarray(f(x, w)[1]))
"""


@pytest.mark.slow
def test_a_pool_of_any_size_ends_and_gives_the_same(tmp_path):
    """One thread, whose only one may be the caller, and more threads than cores."""
    results = []
    for threads in (1, 7):
        file = tmp_path / f"{threads}.npy"
        flags = f"--xla_cpu_multi_thread_eigen={'false' if threads == 1 else 'true'} "
        environment = {
            **os.environ,
            "XLA_FLAGS": flags + f"intra_op_parallelism_threads={threads}",
            "NPROC": str(threads),
            "JAX_PLATFORMS": "cpu",
        }
        program = POOLS.format(path=[str(p) for p in sys.path if p])
        done = subprocess.run(
            [sys.executable, "-c", program, str(file)], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        results.append(np.load(file))
    for other in results[1:]:
        assert relative_error(other, results[0].astype("float64")) < 1e-6


@pytest.mark.slow
def test_many_calls_do_not_grow_the_process(arrays):
    x, w = arrays
    compute = jax.jit(jax.grad(lambda x, w: jnp.sum(conv(x, w) ** 2), argnums=(0, 1)))

    def calls(count):
        for _ in range(count):
            result = compute(x, w)
        jax.block_until_ready(result)
        return resident()

    sizes = [calls(2500) for _ in range(4)]
    # 7,500 calls of a kernel each time; what other threads keep grows once, and a leak every time.
    assert min(b - a for a, b in itertools.pairwise(sizes)) < 2**19


OUT_OF_MEMORY = """
import resource, sys
sys.path[:0] = {path!r}
import jax, jax.numpy as jnp, jaxconv
from jaxconv._lowering import native
from jaxconv._lowering.family import make_problem
from jaxconv._spec.convolution import ConvSpec

# A thread holds what one result reads: two taps and the 2**28 positions between them. `conv1d` would leave the tap out
# that is in the padding.
problem = make_problem("output", ConvSpec((1,), ((2**28, 0),), (2**28,)), (8, 1, 1), (1, 1, 2), (), "float32")
far = jax.jit(lambda x, w: native.output(problem, x, w))
near = jax.jit(lambda x, w: jaxconv.conv1d(x, w, None, 1, ((1, 0),), 1, algorithm="native"))
x, w = jnp.ones((8, 1, 1)), jnp.ones((1, 1, 2))
near(x, w).block_until_ready()
program = far.lower(x, w).compile()
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 2**29, resource.getrlimit(resource.RLIMIT_AS)[1]))
try:
    program(x, w).block_until_ready()
except jax.errors.JaxRuntimeError as error:
    print(error)
print(near(x, w)[:, 0, 0].tolist())
"""


@pytest.mark.slow
def test_memory_that_cannot_be_had_is_an_error_of_the_call():
    """The process lives, and other calls are computed."""
    program = OUT_OF_MEMORY.format(path=[p for p in sys.path if p])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    error, *_, values = done.stdout.splitlines()
    assert "RESOURCE_EXHAUSTED: jaxconv:" in error
    assert int(re.search(r"jaxconv: (\d+) bytes", error)[1]) >= 2**30
    assert values == str([1.0] * 8)


def resident() -> int:
    """Bytes of memory that the process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# --- what it refuses ------------------------------------------------------------------------------------------


def raw(op, a, b, result, scratch=1 << 16, bias=(), of_bias=(), **attributes):
    """The call as the program has it, with nothing checked before; `bias` are further arguments, `of_bias` results."""
    results = (jax.ShapeDtypeStruct(result, a.dtype), *of_bias, jax.ShapeDtypeStruct((scratch,), jnp.uint8))
    given = {
        "strides": (1,),
        "low": (0,),
        "high": (0,),
        "dilations": (1,),
        "groups": 1,
        "mode": 0,
        "channels_last": 1,
        **attributes,
    }
    given = {k: np.asarray(v, np.int64) if isinstance(v, tuple) else np.int64(v) for k, v in given.items()}
    return jax.ffi.ffi_call(f"jaxconv_{op}", results)(a, b, *bias, **given)[0]


X, W, Y = (jnp.ones(shape, jnp.float32) for shape in ((2, 8, 4), (6, 4, 3), (2, 6, 6)))


def test_a_call_that_fits_is_computed():
    np.testing.assert_array_equal(raw("output", X, W, (2, 6, 6)), np.full((2, 6, 6), 12))
    np.testing.assert_array_equal(raw("output", X, W, (2, 6, 6), bias=(jnp.arange(6.0),))[1, 2], 12 + np.arange(6))


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("y of size 7 where it must be 6", {"result": (2, 7, 6)}),
        ("differ in batch", {"result": (3, 6, 6)}),
        ("differ in output channels", {"result": (2, 6, 7)}),
        ("do not make 2 groups", {"groups": 2}),
        ("groups 0", {"groups": 0}),
        ("groups -9223372036854775808", {"groups": -(2**63)}),
        ("a stride of 0", {"strides": (0,)}),
        ("a dilation of 9223372036854775807", {"dilations": (2**63 - 1,)}),
        ("a dilation of -1", {"dilations": (-1,)}),
        ("a pad of 9223372036854775807", {"low": (2**63 - 1,)}),
        ("a kernel of 3 taps that does not fit into 8", {"dilations": (4,)}),
        ("0 positions after padding", {"low": (-4,), "high": (-4,)}),
        ("mode 5", {"mode": 5}),
        ("mode -1", {"mode": -1}),
        ("channels_last 2", {"channels_last": 2}),
        ("one number per spatial axis", {"low": (0, 0)}),
        ("4 strides", {"strides": (1,) * 4}),
        ("0 strides", {"strides": ()}),
        ("x has 3 axes where 2 spatial", {"strides": (1, 1), "low": (0, 0), "high": (0, 0), "dilations": (1, 1)}),
        ("at most 7 positions", {"mode": 1, "low": (8,), "result": (2, 14, 6)}),
        ("at most 8 positions", {"mode": 4, "high": (9,), "result": (2, 15, 6)}),
        ("at most 5 positions", {"mode": 3, "low": (-3,), "high": (6,), "result": (2, 9, 6)}),
        ("bytes of scratch where", {"scratch": 0}),
        ("one number for each of the 6 output channels", {"bias": (jnp.ones(5),)}),
        ("one number for each of the 6 output channels", {"bias": (jnp.ones((6, 1)),)}),
        ("must be of one dtype", {"bias": (jnp.ones(6, jnp.float16),)}),
        ("4 arguments and 2 results", {"bias": (jnp.ones(6),) * 2}),
        ("2 arguments and 3 results", {"of_bias": (jax.ShapeDtypeStruct((6,), jnp.float32),)}),
        ("a bias, and x of", {"a": jnp.ones((2, 0, 4)), "low": (4,), "high": (4,), "bias": (jnp.ones(6),)}),
        (
            "one number for each of the 6 output channels",
            {"op": "weight", "b": Y, "result": W.shape, "of_bias": (jax.ShapeDtypeStruct((7,), jnp.float32),)},
        ),
        ("3 arguments and 2 results", {"op": "input", "a": W, "b": Y, "result": X.shape, "bias": (jnp.ones(6),)}),
    ],
)
def test_a_call_that_does_not_fit_is_refused(words, arguments):
    with pytest.raises(Exception, match=words):
        jax.block_until_ready(raw(**{"op": "output", "a": X, "b": W, "result": (2, 6, 6), **arguments}))


@pytest.mark.parametrize("dtype", ["int32", "float64", "complex64"])
def test_other_dtypes_are_refused(dtype):
    with jax.enable_x64(True), pytest.raises(Exception, match="must be of one dtype"):
        jax.block_until_ready(raw("output", X.astype(dtype), W.astype(dtype), (2, 6, 6)))


sizes = st.one_of(st.integers(0, 9), st.sampled_from([-1, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63)]))
small = st.integers(0, 6)


@settings(max_examples=150)
@given(st.data())
def test_any_numbers_at_the_boundary_are_computed_or_refused(data):
    """Shapes and attributes at random, most of which fit nothing: an answer or an error, and the process lives."""
    rank = data.draw(st.integers(1, 3))
    op = data.draw(st.sampled_from(_native.OPS))
    arrays = [data.draw(st.lists(small, min_size=rank + 2, max_size=rank + 2)) for _ in range(3)]
    if data.draw(st.booleans()):  # sizes that fit, so that the rest is looked at too
        x, w, y = arrays
        x[0] = y[0]
        x[-1], w[1] = w[1] * data.draw(st.integers(1, 2)), w[1]
        y[-1] = w[0]
    x, w, y = (tuple(a) for a in arrays)
    per_axis = st.lists(st.one_of(st.integers(-2, 4), sizes), min_size=rank, max_size=rank).map(tuple)
    attributes = {name: data.draw(per_axis) for name in ("strides", "low", "high", "dilations")}
    attributes |= {name: data.draw(sizes) for name in ("groups", "mode", "channels_last")}
    a, b, result = {"output": (x, w, y), "input": (w, y, x), "weight": (x, y, w)}[op]
    scratch = data.draw(st.sampled_from([0, 64, 1 << 20]))
    error = None
    try:
        value = np.asarray(raw(op, np.ones(a, "float32"), np.ones(b, "float32"), result, scratch, **attributes))
    except jax.errors.JaxRuntimeError as refused:
        error = str(refused)
    if error is None:
        assert np.isfinite(value).all()
    else:
        assert "jaxconv:" in error


@given(st.integers(-1, 3), st.lists(sizes, max_size=40))
def test_any_numbers_asked_for_scratch_are_answered(op, numbers):
    array = np.asarray(numbers, np.int64)
    for rank in (0, 1, 2, 3, 4):
        text = ctypes.create_string_buffer(b"x" * 1024)
        call = op, rank, array.ctypes.data, array.size
        length = _native.kernels.jaxconv_refusal(*call, text, len(text))
        assert length == len(text.value)
        scratch = _native.kernels.jaxconv_scratch_bytes(*call)
        assert scratch == -1 if length else scratch >= 0
        if array.size != 7 * rank + 11:
            assert length


def numbers_of(x, w, y, spec, storage="float32", bias=0):
    """A call as `_native.scratch_bytes` and `_native.refusal` have it."""
    low, high = zip(*spec.pads, strict=True)
    mode, last = PADDING_MODES.index(spec.padding_mode), int(spec.data_format == "channels_last")
    per_axis = (*spec.strides, *low, *high, *spec.dilations)
    return [*x, *w, *y, *per_axis, spec.groups, mode, last, _native.STORAGES.index(storage), bias]


def plain_spec(rank, strides=1, pads=0, dilations=1):
    return ConvSpec((strides,) * rank, ((pads, pads),) * rank, (dilations,) * rank, 1, "zeros", "channels_last")


@pytest.mark.parametrize(
    ("words", "x", "w", "spec"),
    [
        (None, (2, 32768, 32768, 1), (1, 1, 1, 1), plain_spec(2)),
        (None, (1, 2**31 - 1, 1), (1, 1, 1), plain_spec(1)),
        ("an axis of 2200000000 positions on spatial axis 0", (1, 2_200_000_000, 1), (1, 1, 3), plain_spec(1)),
        ("a stride of 2147483648 on spatial axis 0", (1, 9, 1), (1, 1, 1), plain_spec(1, strides=2**31)),
        ("a dilation of 2147483648 on spatial axis 0", (1, 9, 9, 1), (1, 1, 1, 1), plain_spec(2, dilations=2**31)),
        ("a pad of 2147483648 on spatial axis 0", (1, 9, 1), (1, 1, 1), plain_spec(1, pads=2**31, strides=2**30)),
        ("18446744073709551616 does not fit into 64 bits", (1, 9, 1), (1, 1, 1), plain_spec(1, strides=2**64)),
        ("4294967296 channels", (1, 9, 2**32), (1, 2**32, 1), plain_spec(1)),
        ("x of shape (1, 1099511627776, 1024) is too large", (1, 2**40, 2**10), (1, 2**10, 1), plain_spec(1)),
        ("a kernel that spans 1 by 65537 by 65537", (1, 1, 1, 1), (1, 1, 2, 2), plain_spec(2, 1, 2**15, 2**16)),
        ("an image of 1610612737 by 1610612737", (1, 1, 1, 1), (1, 1, 2, 2), plain_spec(2, 2**29, 2**29, 2**29)),
    ],
)
def test_a_size_beyond_the_kernels_is_said_without_arrays(words, x, w, spec):
    y = (x[0], *spec.output_size(x[1:-1], w[2:]), w[0])
    for op in _native.OPS:
        numbers = numbers_of(x, w, y, spec, "float16")
        refusal = _native.refusal(op, spec.rank, numbers)
        if words is None:
            assert refusal is None
            assert _native.scratch_bytes(op, spec.rank, numbers) >= 64
        else:
            assert refusal is not None
            assert words in refusal
            with pytest.raises(ValueError, match=re.escape(refusal)):
                _native.scratch_bytes(op, spec.rank, numbers)


def test_a_refusal_is_cut_to_the_room_there_is():
    numbers = np.asarray(numbers_of((1, 9, 1), (1, 1, 1), (1, 1, 1), plain_spec(1, strides=2**31)), np.int64)
    call = 0, 1, numbers.ctypes.data, numbers.size
    whole = b"a stride of 2147483648 on spatial axis 0"
    for size in (0, 1, 2, 10, len(whole), len(whole) + 1, 100):
        text = ctypes.create_string_buffer(b"?" * 100)
        assert _native.kernels.jaxconv_refusal(*call, text, size) == len(whole)
        assert text.raw == whole[: max(size - 1, 0)] + b"\0" * (size > 0) + text.raw[min(size, len(whole) + 1) :]
        assert set(text.raw[min(size, len(whole) + 1) : 100]) <= {ord("?")}


@pytest.mark.parametrize(
    ("kind", "names"), [("op", _native.OPS), ("storage", _native.STORAGES), ("mode", PADDING_MODES)]
)
def test_a_number_means_the_same_on_both_sides(kind, names):
    name_of = getattr(_native.kernels, f"jaxconv_{kind}_name")
    assert [name_of(i) for i in range(-1, len(names) + 1)] == [None, *(name.encode() for name in names), None]
    assert name_of(2**32) is None


# --- the choice -----------------------------------------------------------------------------------------------


SPEC = ConvSpec((1, 1), ((1, 1), (1, 1)), (1, 1), 1, "zeros", "channels_last")
PROBLEM = make_problem("output", SPEC, (2, 9, 9, 4), (4, 4, 3, 3), None, FLOAT32, platform="cpu", devices=ONE)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("of dtype float64", {"dtype": np.dtype("float64")}),
        ("of dtype complex64", {"dtype": np.dtype("complex64")}),
        ("of dtype int32", {"dtype": np.dtype("int32")}),
        ("another platform", {"platform": "cuda"}),
        ("exported program", {"portable": True}),
        ("divides along some axes", {"devices": HIDDEN}),
        ("three spatial axes", {"spec": ConvSpec((1,) * 4, ((0, 0),) * 4, (1,) * 4)}),
    ],
)
def test_what_it_cannot_serve_is_said(words, arguments):
    assert words in native.cannot(replace(PROBLEM, **arguments))
    assert select.choose(replace(PROBLEM, **arguments))[0] != "native"


def test_a_size_beyond_the_kernels_goes_to_another_algorithm():
    x, w = jnp.arange(1.0, 10.0).reshape(1, 1, 9), jnp.full((1, 1, 1), 2.0)

    def conv(x, w, algorithm="auto"):
        return jaxconv.conv1d(x, w, stride=2**31, algorithm=algorithm)

    np.testing.assert_array_equal(conv(x, w), [[[2.0]]])
    dx, dw = jax.grad(lambda x, w: conv(x, w).sum(), (0, 1))(x, w)
    np.testing.assert_array_equal(dx, [[[2.0] + [0.0] * 8]])
    np.testing.assert_array_equal(dw, [[[1.0]]])
    with pytest.raises(
        ValueError, match="the native kernels refuse the call: a stride of 2147483648 on spatial axis 0"
    ):
        conv(x, w, "native")
    # An axis of more positions than 32 bits count, in a program that is lowered and not run.
    long = jax.ShapeDtypeStruct((1, 1, 2_200_000_000), jnp.float16), jax.ShapeDtypeStruct((1, 1, 1), jnp.float16)
    assert "jaxconv_" not in jax.jit(lambda x, w: jaxconv.conv1d(x, w)).lower(*long).as_text()


def test_what_is_not_known_yet_speaks_for_it():
    assert native.cannot(replace(PROBLEM, platform=NOT_KNOWN, devices=NOT_KNOWN)) is None


def test_a_call_that_asks_for_it_in_vain_says_why():
    with pytest.raises(ValueError, match=r"algorithm='native' cannot serve this call: .*dtype int32; use .*'auto'"):
        jaxconv.conv1d(jnp.ones((1, 1, 3), "int32"), jnp.ones((1, 1, 2), "int32"), algorithm="native")


def test_it_is_not_chosen_where_there_is_none(monkeypatch):
    monkeypatch.setattr(_native, "unavailable", "there is no compiled library: it is a test")
    assert jaxconv.algorithms()["native"] == "there is no compiled library: it is a test"
    assert select.choose(PROBLEM)[0] != "native"
    with pytest.raises(ValueError, match="it is a test"):
        jaxconv.conv1d(jnp.ones((1, 1, 3)), jnp.ones((1, 1, 2)), algorithm="native")


def test_an_exported_program_is_portable():
    f = jax.jit(lambda x, w: jax.grad(lambda w: jaxconv.conv2d(x, w, data_format="channels_last").sum())(w))
    arguments = jax.ShapeDtypeStruct((2, 7, 5, 4), jnp.float32), jax.ShapeDtypeStruct((4, 4, 3, 3), jnp.float32)
    assert "jaxconv_" in f.lower(*arguments).as_text()
    for platforms in (None, ("cpu",), ("cpu", "cuda")):
        assert "jaxconv_" not in export.export(f, platforms=platforms)(*arguments).mlir_module()
    f = jax.jit(lambda x, w: jaxconv.conv2d(x, w, algorithm="native"))
    with pytest.raises(ValueError, match="exported program must run without it"):
        export.export(f)(jax.ShapeDtypeStruct((2, 4, 7, 5), jnp.float32), arguments[1])


def test_another_platform_does_not_get_it():
    f = jax.jit(lambda x, w, algorithm: jaxconv.conv2d(x, w, algorithm=algorithm), static_argnames="algorithm")
    arguments = jax.ShapeDtypeStruct((2, 4, 7, 5), jnp.float32), jax.ShapeDtypeStruct((4, 4, 3, 3), jnp.float32)
    assert "jaxconv_" not in f.trace(*arguments, "auto").lower(lowering_platforms=("cuda",)).as_text()
    with pytest.raises(ValueError, match="the program is for another platform"):
        f.trace(*arguments, "native").lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize("wanted", ["sse9", "baseline", "", None])
def test_the_environment_names_an_instruction_set(monkeypatch, wanted):
    """The library is loaded again, as at import."""
    if wanted is None:
        monkeypatch.delenv("JAXCONV_ISA", raising=False)
    else:
        monkeypatch.setenv("JAXCONV_ISA", wanted)
    library, reason = _native._load()
    if wanted == "sse9":
        assert library is None
        assert reason.startswith("JAXCONV_ISA must be one of baseline")
        assert reason.endswith("got 'sse9'")
    else:
        assert reason is None
        assert _native.isa() == (wanted or _native.isas()[-1])


@pytest.mark.parametrize(("wanted", "used"), [("0", False), ("1", True), ("", True), (None, True), ("off", None)])
def test_the_environment_turns_hints_off(monkeypatch, wanted, used):
    """The library is loaded again, as at import."""
    if wanted is None:
        monkeypatch.delenv("JAXCONV_NATIVE_HINTS", raising=False)
    else:
        monkeypatch.setenv("JAXCONV_NATIVE_HINTS", wanted)
    try:
        library, reason = _native._load()
        if used is None:
            assert library is None
            assert reason == "JAXCONV_NATIVE_HINTS must be 0 or 1, got 'off'"
        else:
            assert reason is None
            assert library.jaxconv_hints_in_use() == used
    finally:
        _native.kernels.jaxconv_use_hints(True)


HINTS = """
import sys
sys.path[:0] = {path!r}
import jax.numpy as jnp, jaxconv
from jaxconv import _native

def advised():
    x, w = jnp.ones((1, 1024, 1024, 4)), jnp.ones((8, 4, 1, 1))
    y = jaxconv.conv2d(x, w, data_format="channels_last", algorithm="native").block_until_ready()
    with open("/proc/self/smaps") as file:
        return sum(" hg" in line for line in file if line.startswith("VmFlags")), y

print(advised()[0])
_native.kernels.jaxconv_use_hints(True)
print(advised()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/sys/kernel/mm/transparent_hugepage"), reason="there are no huge pages here")
def test_huge_pages_are_asked_for_where_hints_are_given():
    done = subprocess.run(
        [sys.executable, "-c", HINTS.format(path=[p for p in sys.path if p])],
        env={**os.environ, "JAXCONV_NATIVE_HINTS": "0", "GLIBC_TUNABLES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    without, with_hints = map(int, done.stdout.split())
    assert without == 0
    assert with_hints > 0


def test_an_instruction_set_that_the_machine_lacks_is_refused(monkeypatch):
    class Library:
        jaxconv_scratch_bytes = jaxconv_refusal = jaxconv_xla_major = jaxconv_xla_minor = Mock()
        jaxconv_op_name = jaxconv_storage_name = jaxconv_mode_name = Mock()
        jaxconv_use_hints = jaxconv_hints_in_use = Mock()
        jaxconv_output = jaxconv_input = jaxconv_weight = jaxconv_moments = jaxconv_products = Mock()
        jaxconv_blend = jaxconv_layer = jaxconv_layer_back = jaxconv_maxima = jaxconv_put = Mock()
        jaxconv_isa = Mock(side_effect=lambda i: (b"baseline", b"vectors", None)[i])
        jaxconv_isa_in_use = Mock()
        jaxconv_isa_supported = Mock(side_effect=lambda i: i == 0)
        jaxconv_use_isa = Mock(side_effect=lambda i: i == 0)

    monkeypatch.setattr(_native, "kernels", Library())
    assert _native.isas() == ["baseline"]
    with pytest.raises(ValueError, match="does not have the instruction set 'vectors', only baseline"):
        _native.use_isa("vectors")
    monkeypatch.setattr(_native.ctypes, "CDLL", lambda path: Library())
    monkeypatch.setenv("JAXCONV_ISA", "vectors")
    assert _native._load() == (None, "JAXCONV_ISA='vectors' is not what this machine has: baseline")


@pytest.mark.parametrize(
    ("version", "taken"), [((0, 3), True), ((0, 99), True), ((0, 2), False), ((1, 3), False), (None, False)]
)
def test_a_library_that_xla_would_refuse_is_not_shown_to_it(monkeypatch, tmp_path, version, taken):
    """XLA would refuse to start with it: the CPU would be gone."""
    header = tmp_path / "xla" / "ffi" / "api" / "c_api.h"
    header.parent.mkdir(parents=True)
    if version:
        header.write_text("#define XLA_FFI_API_MAJOR {}\n\n#define XLA_FFI_API_MINOR {}\n".format(*version))
    monkeypatch.setattr(jax.ffi, "include_dir", lambda: str(tmp_path))
    monkeypatch.setattr(_native, "_declare", lambda library: None)
    library = Mock(wraps=_native.kernels)
    library.jaxconv_xla_major, library.jaxconv_xla_minor = Mock(return_value=0), Mock(return_value=3)
    monkeypatch.setattr(_native.ctypes, "CDLL", lambda path: library)
    registered = []
    monkeypatch.setattr(jax.ffi, "pycapsule", lambda handler: handler)
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda name, *_, **__: registered.append(name))
    reason = _native._load()[1]
    if taken:
        assert reason is None
        assert registered == [_native.target(op) for op in (*_native.OPS, *_native.NORMS, *_native.POOLS)]
    else:
        assert reason.startswith("the compiled library was made for version (0, 3)")
        assert not registered


# --- several devices ------------------------------------------------------------------------------------------

# The mesh's shape; how x and w are divided; how many sums over devices the three ops need together.
DIVISIONS = {
    "batch": ((8,), ("a",), (), 1, 1),
    "batch, groups": ((8,), ("a",), (), 4, 1),
    "batch, depthwise": ((8,), ("a",), (), 16, 1),
    "batch and output channels": ((2, 4), ("a",), ("b",), 1, 2),
    "batch and input channels": ((2, 4), ("a", None, None, "b"), (None, "b"), 1, 2),
    "batch and groups of channels": ((2, 4), ("a", None, None, "b"), ("b",), 4, 1),
    "batch and depthwise channels": ((2, 4), ("a", None, None, "b"), ("b",), 16, 1),
    "batch along two axes in another order": ((2, 2, 2), (("c", "a"),), (), 1, 1),
    "batch, unequal axes": ((3, 2), (("b", "a"),), (), 1, 1),
}


@pytest.mark.parametrize("name", DIVISIONS)
def test_arrays_divided_over_devices_stay_divided(name):
    shape, x_axes, w_axes, groups, sums = DIVISIONS[name]
    count = int(np.prod(shape))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]).reshape(shape), ("a", "b", "c")[: len(shape)])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2 * count, 5, 6, 16)).astype("float32")
    w = rng.standard_normal((32, 16 // groups, 3, 3)).astype("float32")

    b = rng.standard_normal(32).astype("float32")

    def step(x, w, b, algorithm="native"):
        conv = lambda x, w, b: jaxconv.conv2d(  # noqa: E731
            x, w, b, 1, 1, 1, groups, padding_mode="circular", data_format="channels_last", algorithm=algorithm
        )
        y, transpose = jax.vjp(conv, x, w, b)
        return y, *transpose(y)

    xs, ws = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (x_axes, w_axes))
    xd, wd = jax.device_put(x, xs), jax.device_put(w, ws)
    compiled = jax.jit(step).lower(xd, wd, b).compile()
    text = compiled.as_text()
    for moved in ("all-gather(", "all-to-all(", "collective-permute("):
        assert moved not in text
    assert text.count("all-reduce(") == sums
    assert text.count('custom_call_target="jaxconv_') == 3
    for a, e in zip(compiled(xd, wd, b), jax.jit(step, static_argnums=3)(x, w, b, "xla"), strict=True):
        assert relative_error(a, np.asarray(e, "float64")) < 2e-6
    y, dx, dw, _ = compiled.output_shardings
    assert y.shard_shape((2 * count, 5, 6, 32))[0] == xs.shard_shape(x.shape)[0]
    assert dx.is_equivalent_to(xs, 4)
    assert dw.is_equivalent_to(ws, 4)


def test_a_part_within_a_shard_map_is_computed_as_it_is(arrays):
    x, w = arrays
    mesh = jax.make_mesh((4,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = PartitionSpec("a"), PartitionSpec()
    f = jax.jit(jax.shard_map(conv, mesh=mesh, in_specs=(split, whole), out_specs=split, check_vma=False))
    assert f.lower(x, w).compile().as_text().count('custom_call_target="jaxconv_') == 1
    close(f(x, w), conv(x, w, "xla"))


def test_a_mesh_is_found_for_any_division():
    devices = list(range(12))
    numbers = np.arange(12).reshape(2, 3, 2)
    parts = {"n": (numbers // 2 % 3 * 2 + numbers // 6).ravel(), "o": (numbers % 2).ravel()}
    mesh, of = sharded._mesh(devices, parts)
    for what, part in parts.items():
        order = [mesh.axis_names.index(name) for name in of[what]]
        digits = np.indices(mesh.devices.shape).reshape(mesh.devices.ndim, 12)
        radix = np.ravel_multi_index([digits[i] for i in order], [mesh.devices.shape[i] for i in order])
        np.testing.assert_array_equal(radix, part)
    assert not set(of["n"]) & set(of["o"])
    # What no mesh can say is left whole.
    assert sharded._mesh(devices, {"n": np.arange(12) * 5 % 12})[1] == {}
