"""How fast this machine multiplies and copies: the two ceilings of a roofline."""

import functools
import math
import statistics
import time
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv._spec.messages import short, show


class Machine(NamedTuple):
    """The ceilings.

    Attributes:
        flops: floating-point operations per second of a large product of matrices, two for each multiply-accumulate.
        bytes: bytes per second that a large copy reads and writes.
    """

    flops: float
    bytes: float

    @property
    def ridge(self) -> float:
        """The arithmetic intensity, in FLOP/byte, at which both ceilings allow the same speed."""
        return self.flops / self.bytes

    def seconds(self, multiply_accumulates: float, moved: float) -> float:
        """How long it takes at least to compute so many products and move so many bytes."""
        return max(2 * multiply_accumulates / self.flops, moved / self.bytes)

    def ceiling(self, multiply_accumulates: float, moved: float) -> str:
        """What binds: `"arithmetic"` or `"memory"`."""
        return "arithmetic" if 2 * multiply_accumulates / self.flops > moved / self.bytes else "memory"


def parse_machine(given: Any) -> Machine:
    """The argument `machine`: two speeds.

    Raises:
        TypeError: it is no pair of numbers.
        ValueError: one is not positive.
    """
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(isinstance(n, Real) for n in given):
        raise TypeError(f"machine must be FLOP/s and bytes/s, such as (4e11, 2e10), got {show(given)}")
    if not all(0 < n < math.inf for n in given):
        raise ValueError(f"machine must be two positive numbers, such as (4e11, 2e10), got {short(given)}")
    return Machine(*map(float, given))


# Numbers along a side of the matrices, and of the array that is copied, by platform: enough for the peak.
_SIDE = {"cpu": 1024}
_COPIED = {"cpu": 1 << 24}
_RUNS = 5
# Copies in one call: memory that the system has to give first is slower, and is taken once.
_COPIES = 3


@functools.cache
def measured(dtype: Any) -> Machine:
    """The ceilings of the machine at hand for arrays of a dtype, measured once in a process."""
    platform = jax.default_backend()
    side, copied = _SIDE.get(platform, 8192), _COPIED.get(platform, 1 << 28)
    # Numbers that differ, and that are not small enough to be slow.
    matrix = jnp.sin(jnp.arange(side * side, dtype=jnp.float32)).reshape(side, side).astype(dtype)
    array = jnp.ones(copied, dtype)
    product = best(jax.jit(lambda a: a @ a), matrix)
    copies = jax.jit(lambda a: jax.lax.fori_loop(0, _COPIES, lambda _, a: a + jnp.ones((), dtype), a))
    return Machine(2 * side**3 / product, 2 * _COPIES * array.nbytes / best(copies, array))


def best(function: Callable[..., Any], *arguments: Any) -> float:
    """The shortest of several times of a call, in seconds; the first one, which compiles, is not counted."""
    return min(times(function, *arguments))


def median(function: Callable[..., Any], *arguments: Any) -> float:
    """The median of several times of a call, in seconds; the first one, which compiles, is not counted."""
    return statistics.median(times(function, *arguments))


def times(function: Callable[..., Any], *arguments: Any) -> list[float]:
    """Several times of a call, in seconds; the first one, which compiles, is not counted."""
    jax.block_until_ready(function(*arguments))
    found = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        found.append(time.perf_counter() - start)
    return found
