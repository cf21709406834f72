"""The whole family against PyTorch: samples of calls, a grid of conv2d, and what differs on purpose.

See `side_by_side` for what agreeing means, `sampling` for how calls are drawn.
"""

import functools
import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
# These import torch, too.
import differences  # noqa: E402
import sampling  # noqa: E402
import side_by_side  # noqa: E402
import test_pooling  # noqa: E402
import torch_side  # noqa: E402
from differences import DIFFERENCES  # noqa: E402
from side_by_side import Arr, call  # noqa: E402

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

CHUNK = 25  # calls to a program

# (how they are drawn, the spatial rank, how many)
FAMILIES = (
    *((draw, rank, 250) for draw in (sampling.conv, sampling.conv_transpose) for rank in (1, 2, 3)),
    *((draw, rank, 100) for draw in (sampling.conv_input, sampling.conv_weight) for rank in (1, 2, 3)),
    (sampling.unfold, None, 200),
    (sampling.fold, None, 200),
    (sampling.pad, None, 400),
    *(
        (draw, rank, 50)
        for draw in (sampling.max_pool, sampling.avg_pool, sampling.adaptive_avg_pool)
        for rank in (1, 2, 3)
    ),
)


@functools.cache
def sample(family):
    """Distinct calls of one family."""
    draw, rank, number = FAMILIES[family]
    rng = np.random.default_rng(family)
    calls = {}
    while len(calls) < number:
        c = draw(rng) if rank is None else draw(rng, rank)
        calls[str(c)] = c
    return list(calls.values())


CHUNKS = [(family, first) for family, (_, _, number) in enumerate(FAMILIES) for first in range(0, number, CHUNK)]


def name(chunk):
    family, first = chunk
    draw, rank, _ = FAMILIES[family]
    return f"{draw.__name__}{f'{rank}d' if rank else ''}-{first}"


@pytest.mark.parametrize("chunk", CHUNKS, ids=name)
def test_sampled_calls_are_pytorchs(chunk):
    family, first = chunk
    failures = side_by_side.compare(sample(family)[first : first + CHUNK], differences.covered)
    assert not failures, "\n".join(failures)


def test_the_sample_is_large_and_distinct():
    calls = [str(c) for family in range(len(FAMILIES)) for c in sample(family)]
    pools = {str((kind, rank, {**c, "seed": 0})) for kind, rank, c in test_pooling.cases()}
    assert len(set(calls)) == len(calls)
    assert len(calls) + len(pools) >= 2000


def test_a_quarter_of_the_sample_is_refused():
    """By a look at a tenth of it: neither side refuses everything, and every function refuses something."""
    for family, (draw, rank, _) in enumerate(FAMILIES):
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
# A step that shares no factor with the lengths of the axes above, so that every pair of values meets.
STEP = 7
GRID_CHUNK = 42


def grid_calls(dtype, step=STEP):
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


def test_every_pair_of_values_is_in_the_grid():
    taken = GRID[::STEP]
    for a, b in itertools.combinations(range(8), 2):
        every = {(str(g[a]), str(g[b])) for g in GRID}
        assert {(str(g[a]), str(g[b])) for g in taken} == every


@pytest.mark.parametrize("first", range(0, len(GRID[::STEP]), GRID_CHUNK))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_grid_of_conv2d(dtype, first):
    failures = side_by_side.compare(grid_calls(dtype)[first : first + GRID_CHUNK])
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64", "complex128", "int64"])
def test_grid_of_conv2d_in_other_dtypes(dtype):
    failures = side_by_side.compare(grid_calls(dtype, 121))
    assert not failures, "\n".join(failures)
