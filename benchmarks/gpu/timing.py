"""Times of work that a device is handed: as many calls as fill some milliseconds are queued, and waited for once.

A call that is waited for by itself also measures how long the host takes to notice. All sides of a row are timed in
turn, each compared with the first side before that, as in `benchmarks.measure`.
"""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from benchmarks.gpu.part import first_line

Maker = Callable[[], "Side"]
BURST_SECONDS, MOST_CALLS = 0.02, 200
LEAST_RUNS, MOST_RUNS = 5, 15


@dataclass
class Side:
    """One way to compute a row.

    `call` hands the work over and may return before it is done; `finish` returns when a result is there. `read` brings
    a result into the layout that all sides share.
    """

    call: Callable[[], Any]
    finish: Callable[[Any], Any] = jax.block_until_ready
    read: Callable[[Any], Sequence[Any]] = tuple
    compile_seconds: float | None = None
    times: list[float] = field(default_factory=list)

    def burst(self, calls: int) -> float:
        """Seconds of one call, of several that are queued."""
        start = time.perf_counter()
        for _ in range(calls - 1):
            self.call()
        self.finish(self.call())
        return (time.perf_counter() - start) / calls


def compiled(function: Callable, *arrays: Any, read: Callable[[Any], Sequence[Any]] = tuple) -> Side:
    """A JAX function, compiled for its arguments."""
    start = time.perf_counter()
    executable = jax.jit(function).lower(*arrays).compile()
    return Side(partial(executable, *arrays), jax.block_until_ready, read, time.perf_counter() - start)


def of_torch(call: Callable[[], Any], read: Callable[[Any], Sequence[Any]]) -> Side:
    """A function of PyTorch; whatever it compiles or searches for, it does in its first call."""
    return Side(call, measure.finish_torch, read)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """While PyTorch compiles: its compiler calls what PyTorch warns of, and a process may have warnings raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def compare(makers: Mapping[str, Maker], tolerance: float, seconds: float) -> dict[str, dict[str, Any]]:
    """The figures of the sides of a row, the first of which the others are compared with.

    A side that cannot be made, that runs out of memory or that computes something else gives the reason in place of a
    time, and the others go on.

    Args:
        makers: what makes each side.
        tolerance: how far a value may lie off, in units of its largest element.
        seconds: about how long the timed runs may take together.
    """
    figures: dict[str, dict[str, Any]] = {}
    sides: dict[str, tuple[Side, int]] = {}
    reference: list[np.ndarray] | None = None
    for name, make in makers.items():
        try:
            start = time.perf_counter()
            side = make()
            result = side.finish(side.call())
            first = time.perf_counter() - start
            values = [np.asarray(v, np.float32) for v in side.read(result)]
            del result
            if reference is None:
                reference = values
            for index, (a, b) in enumerate(zip(reference, values, strict=True)):
                off = np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)
                if not off <= tolerance:
                    raise AssertionError(f"value {index} differs by {off:.1e}, over {tolerance:.0e}: not timed")
            each = side.burst(2)
            sides[name] = side, max(1, min(MOST_CALLS, int(BURST_SECONDS / max(each, 1e-7))))
            figures[name] = {"compile_s": first if side.compile_seconds is None else side.compile_seconds}
        except Exception as error:  # out of memory, no algorithm for it, no compiler: the row goes on without this side
            figures[name] = {"failed": first_line(error)}
    start = time.perf_counter()
    for count in range(MOST_RUNS):
        if count >= LEAST_RUNS and time.perf_counter() - start > seconds:
            break
        for side, calls in sides.values():
            side.times.append(side.burst(calls))
    for name, (side, _) in sides.items():
        figures[name]["ms"] = 1e3 * median(side.times)
        figures[name]["spread"] = (max(side.times) - min(side.times)) / median(side.times)
    return figures
