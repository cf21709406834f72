"""The whole family against PyTorch: samples of calls, a grid of conv2d, and what differs on purpose.

See `side_by_side` for what agreeing means, `sampling` for how calls are drawn.
"""

import functools
import itertools
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

import jaxconv.linen
import jaxconv.nnx

torch = pytest.importorskip("torch")
# These import torch, too.
import differences  # noqa: E402
import pool_cases  # noqa: E402
import sampling  # noqa: E402
import side_by_side  # noqa: E402
import torch_side  # noqa: E402
from differences import DIFFERENCES  # noqa: E402
from side_by_side import Arr, call  # noqa: E402

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

CHUNK = 25  # calls to a program


@functools.cache
def sample(family):
    """Distinct calls of one family."""
    draw, rank, number = sampling.FAMILIES[family]
    rng = np.random.default_rng(family)
    calls = {}
    while len(calls) < number:
        c = draw(rng) if rank is None else draw(rng, rank)
        calls[str(c)] = c
    return list(calls.values())


# By default every second chunk, the first of each family among them; with JAXCONV_ALL in the environment all of them.
EVERY = 1 if "JAXCONV_ALL" in os.environ else 2
CHUNKS = [
    (family, first)
    for family, (_, _, number) in enumerate(sampling.FAMILIES)
    for first in range(0, number, CHUNK * EVERY)
]


def name(chunk):
    family, first = chunk
    draw, rank, _ = sampling.FAMILIES[family]
    return f"{draw.__name__}{f'{rank}d' if rank else ''}-{first}"


@pytest.mark.parametrize("chunk", CHUNKS, ids=name)
def test_sampled_calls_are_pytorchs(chunk):
    family, first = chunk
    failures = side_by_side.compare(sample(family)[first : first + CHUNK], differences.covered, step=4)
    assert not failures, "\n".join(failures)


def test_the_sample_is_large_and_distinct():
    calls = [str(c) for family in range(len(sampling.FAMILIES)) for c in sample(family)]
    pools = {str((kind, rank, {**c, "seed": 0})) for kind, rank, c in pool_cases.cases()}
    assert len(set(calls)) == len(calls)
    assert len(calls) + len(pools) >= 2000


def test_a_quarter_of_the_sample_is_refused():
    """By a look at a tenth of it: neither side refuses everything, and every function refuses something."""
    for family, (draw, rank, _) in enumerate(sampling.FAMILIES):
        calls = sample(family)[:25]
        refused = sum(side_by_side.our_refusal(c)[0] is not None for c in calls)
        assert 2 <= refused <= 18, (draw.__name__, rank, refused)


# --- conv2d, every argument with every other ------------------------------------------------------------------

GRID = list(
    itertools.product(
        (1, 2, (2, 3)),  # stride
        (0, 1, (2, 1), "same", "valid", ((0, 2), (1, 0))),  # padding
        (1, 2, (1, 3)),  # dilation
        (1, 2, 4),  # groups, the last depthwise
        ("zeros", "reflect", "replicate", "circular"),
        ("channels_first", "channels_last"),
        (True, False),  # bias
        (True, False),  # batched
    )
)
# Steps that share no factor with the lengths of the axes above, so that every pair of values meets. The programs of
# float64, which XLA compiles in full, take six times as long as the calls of the kernels that float32 comes to.
STEPS = {"float32": 23, "float64": 67}
GRID_CHUNK = 47


def grid_calls(dtype, step):
    calls = []
    for stride, padding, dilation, groups, mode, data_format, bias, batched in GRID[::step]:
        x, w = (*(2,) * batched, 4, 6, 7), (8, 4 // groups, 3, 2)
        if data_format == "channels_last":
            x = (*x[:-3], *x[-2:], x[-3])
        arrays = Arr(x, dtype), Arr(w, dtype), Arr((8,), dtype) if bias else None
        calls.append(
            call("conv2d", *arrays, stride, padding, dilation, groups, padding_mode=mode, data_format=data_format)
        )
    return calls


@pytest.mark.parametrize("step", STEPS.values())
def test_every_pair_of_values_is_in_the_grid(step):
    taken = GRID[::step]
    for a, b in itertools.combinations(range(8), 2):
        every = {(str(g[a]), str(g[b])) for g in GRID}
        assert {(str(g[a]), str(g[b])) for g in taken} == every


@pytest.mark.parametrize(
    ("dtype", "first"), [(d, f) for d, step in STEPS.items() for f in range(0, len(GRID[::step]), GRID_CHUNK)]
)
def test_grid_of_conv2d(dtype, first):
    failures = side_by_side.compare(grid_calls(dtype, STEPS[dtype])[first : first + GRID_CHUNK])
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64", "complex128", "int64"])
def test_grid_of_conv2d_in_other_dtypes(dtype):
    failures = side_by_side.compare(grid_calls(dtype, 121))
    assert not failures, "\n".join(failures)


# --- what differs on purpose ----------------------------------------------------------------------------------


def outcome(refusals, fn, *arrays):
    try:
        fn(*arrays)
    except refusals:
        return differences.REFUSES
    return differences.RUNS


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda d: d.name)
def test_differences(difference):
    example = difference.example
    arrays = side_by_side.arrays_of(example)

    def theirs(*tensors):
        args, kwargs = example.bind(tensors)
        home = torch.nn.grad if example.name in side_by_side.GRAD else torch.nn.functional
        return getattr(home, example.name)(*args, **kwargs)  # as it is, where `side_by_side` would translate it

    assert outcome(side_by_side.REFUSALS, side_by_side.our_function(example), *arrays) == difference.ours
    tensors = map(torch_side.to_torch, arrays)
    answer = differences.REFUSES if torch_side.refuses(theirs, *tensors) else differences.RUNS
    assert difference.theirs in (answer, differences.VARIES)


def test_every_difference_has_its_words():
    names = [d.name for d in DIFFERENCES]
    assert len(set(names)) == len(names)
    for d in DIFFERENCES:
        assert d.ours != d.theirs
        assert d.reason


# --- the examples of PyTorch's page on Conv2d -----------------------------------------------------------------

EXAMPLES = [
    ((16, 33, 3), {"stride": 2}),
    ((16, 33, (3, 5)), {"stride": (2, 1), "padding": (4, 2)}),
    ((16, 33, (3, 5)), {"stride": (2, 1), "padding": (4, 2), "dilation": (3, 1)}),
]


def _nnx(args, kwargs, weight, bias):
    layer = jaxconv.nnx.Conv2d(*args, **kwargs, rngs=nnx.Rngs(0))
    graph, parameters = nnx.split(layer)
    assert parameters.weight.shape == weight.shape
    assert parameters.bias.shape == bias.shape

    def apply(x, weight, bias):
        state = nnx.State({"weight": parameters.weight.replace(weight), "bias": parameters.bias.replace(bias)})
        return nnx.merge(graph, state)(x)

    return apply


def _linen(args, kwargs, weight, bias):
    layer = jaxconv.linen.Conv2d(*args, **kwargs)
    return lambda x, weight, bias: layer.apply({"params": {"weight": weight, "bias": bias}}, x)


@functools.cache
def their_example(number):
    """From weights that PyTorch has drawn: (x, weight, bias), the cotangent, the value and the gradients."""
    args, kwargs = EXAMPLES[number]
    torch.manual_seed(number)
    layer = torch.nn.Conv2d(*args, **kwargs)
    arrays = [torch.randn(20, 16, 50, 100), layer.weight, layer.bias]
    arrays = [torch_side.to_numpy(a) for a in arrays]

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    value = torch_side.run(run, arrays).value
    cotangent = np.random.default_rng(number).standard_normal(value.shape).astype(np.float32)
    return arrays, cotangent, torch_side.run(run, arrays, cotangent)


@pytest.mark.parametrize("shell", [_nnx, _linen], ids=["nnx", "linen"])
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_pytorchs_page(number, shell):
    arrays, cotangent, theirs = their_example(number)
    apply = shell(*EXAMPLES[number], *arrays[1:])

    @jax.jit
    def run(arrays, cotangent):
        value, vjp = jax.vjp(apply, *arrays)
        return value, vjp(cotangent)

    value, gradients = jax.tree.map(np.asarray, run(arrays, cotangent))
    assert value.shape[:2] == (20, 33)
    assert side_by_side.disagreement("value", value, theirs.value, 1e-5) is None
    for name, ours, their in zip(("x", "weight", "bias"), gradients, theirs.gradients, strict=True):
        assert side_by_side.disagreement(f"gradient of {name}", ours, their, 1e-4) is None


# --- what XLA would misread -----------------------------------------------------------------------------------

# (size, kernel, stride, dilation, padding) along the axis in question, and size and kernel along the other one.
MISREAD = {
    "transposed": ((6, 2, 2, 1, 1), (7, 5)),
    "weight's": ((4, 3, 1, 2, 1), (9, 3)),
    "image as window, y dilated": ((3, 2, 3, 2, 2), (4, 2)),
    "image as window, w dilated": ((3, 2, 2, 3, 2), (4, 2)),
}

MISREAD_PROGRAM = """
import ast, functools, itertools, sys
import jax, jax.numpy as jnp, jaxconv

def first(algorithm, x, w, y):
    return jax.vjp(lambda x, w: jaxconv.conv2d(x, w, None, *arguments, algorithm=algorithm), x, w)[1](y)

def own(algorithm, x, w, y):
    extra = x.shape[-1] - ((y.shape[-1] - 1) * s - 2 * p + d * (k - 1) + 1)
    return (
        jaxconv.conv2d_input(x.shape, w, y, *arguments, algorithm=algorithm),
        jaxconv.conv2d_weight(x, w.shape, y, *arguments, algorithm=algorithm),
        jaxconv.conv_transpose2d(y, w, None, (1, s), (0, p), (0, extra), 1, (1, d), algorithm=algorithm),
    )

def derivative(of):
    def fn(x, w, y):
        value, vjp = jax.vjp(of, x, w, y)
        return vjp(value)
    return fn

# By "xla" the derivatives are those that JAX makes of `lax.conv_general_dilated`, in more forms than ours take: on the
# only device.
for name, ((n, k, s, d, p), (n0, k0)) in ast.literal_eval(sys.argv[1]).items():
    print(name, flush=True)
    x, w = jnp.ones((2, 4, n0, n)), jnp.ones((3, 4, k0, k))
    arguments = (1, s), (0, p), (1, d)
    y = jnp.ones_like(jaxconv.conv2d(x, w, None, *arguments))
    for f, algorithm in itertools.product((first, own), ("auto", "xla")):
        f = functools.partial(f, algorithm)
        for order in range(3):
            jax.block_until_ready(jax.jit(f)(x, w, y))
            f = derivative(f)
"""


@pytest.mark.slow
def test_xla_does_not_abort():
    """XLA ends the process where it takes an axis of a convolution for one of groups: in a process of its own."""
    program = [sys.executable, "-c", MISREAD_PROGRAM, repr(MISREAD)]
    flags = re.sub("device_count=[0-9]+", "device_count=1", os.environ["XLA_FLAGS"])
    done = subprocess.run(program, capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": flags})
    assert done.stdout.splitlines() == list(MISREAD), done.stderr[:2000]
    assert done.returncode == 0, done.stderr[:2000]
