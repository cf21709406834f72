"""A seeded sample of calls of the pools: mostly valid ones, and some that PyTorch refuses."""

import functools

import numpy as np

RANKS = (1, 2, 3)
KINDS = ("max_pool", "avg_pool", "adaptive_avg_pool")
CASES = 40  # sampled calls per function
LONGEST = {1: 24, 2: 14, 3: 9}  # axis lengths are below


def _each(rng, rank, low, high):
    """An int, or one per axis."""
    numbers = tuple(int(n) for n in rng.integers(low, high, rank))
    return numbers[0] if rng.random() < 0.3 else numbers


def sample(kind, rank, rng):
    """The arguments of a call: mostly valid ones, and some that PyTorch refuses."""
    size = tuple(int(n) for n in rng.choice(np.arange(4, LONGEST[rank]), rank, replace=False))
    batch = ((), (2,), (2,), (2,), (0,))[rng.integers(5)]
    call = {"shape": (*batch, 3, *size), "channels_last": bool(rng.integers(2)), "seed": int(rng.integers(2**31))}
    if kind == "adaptive_avg_pool":
        output = [int(m) for m in rng.integers(0 if rng.random() < 0.1 else 1, 2 + max(size), rank)]
        if rng.random() < 0.4:  # a divisor of the size, a multiple of a divisor, and None
            output = [n // int(rng.choice([1, 2, 3])) * int(rng.choice([1, 1, 2])) for n in size]
        output = [None if rng.random() < 0.15 else m for m in output]
        return call | {"output_size": output[0] if rng.random() < 0.2 else tuple(output)}
    long = rng.random() < 0.25
    kernel = _each(rng, rank, 1, 10 if long else 5)
    call["kernel_size"] = kernel
    if rng.random() < 0.8:
        call["stride"] = _each(rng, rank, 1, 5)
    half = [k // 2 for k in (kernel if isinstance(kernel, tuple) else (kernel,) * rank)]
    call["padding"] = tuple(int(rng.integers(0, h + 1 + (rng.random() < 0.05))) for h in half)
    call["ceil_mode"] = bool(rng.integers(2))
    if kind == "max_pool":
        call["dilation"] = _each(rng, rank, 1, 3 if long else 4)
    else:
        call["count_include_pad"] = bool(rng.integers(2))
        if rank > 1 and rng.random() < 0.25:
            call["divisor_override"] = int(rng.choice([-3, 1, 7]))
    return call


@functools.cache
def cases():
    rng = np.random.default_rng(2)
    return [(kind, rank, sample(kind, rank, rng)) for kind in KINDS for rank in RANKS for _ in range(CASES)]
