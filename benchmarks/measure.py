"""How everything here is timed.

All sides of a row run in one process, in turn, so that what else the machine does falls on all of them alike. Each is
compiled, run once and compared with the first side before anything is timed. What is reported is the median of at
least five runs, and ratios of medians.
"""

import datetime
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np

LEAST_RUNS, MOST_RUNS, SECONDS = 5, 25, 2.0


@dataclass
class Side:
    """One way to compute a row: it is prepared once, which may compile it, and then run many times."""

    run: Callable[[], Any]
    compile_seconds: float = 0.0
    memory_bytes: int | None = None
    times: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """The median time of a run."""
        return 1e3 * median(self.times)


def compiled(function: Callable, *arguments: Any, **options: Any) -> Side:
    """A JAX function compiled for its arguments, with the time that took and the temporary memory that it asks for."""
    start = time.perf_counter()
    executable = jax.jit(function, **options).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = executable.memory_analysis()
    return Side(
        lambda: jax.block_until_ready(executable(*arguments)),
        seconds,
        None if memory is None else memory.temp_size_in_bytes,
    )


def check(sides: Mapping[str, Side], tolerance: float) -> None:
    """Refuses to go on where two sides do not compute the same: a wrong answer is not fast."""
    (first, reference), *others = ((name, side.run()) for name, side in sides.items())
    for name, values in others:
        for a, b in zip(reference, values, strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            error = np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)
            if not error <= tolerance:
                raise AssertionError(f"{name} and {first} differ by {error:.1e}, more than {tolerance:.0e}")


def alternate(sides: Mapping[str, Side]) -> None:
    """Times all sides in turn."""
    for side in sides.values():
        side.run()
    start = time.perf_counter()
    for count in range(MOST_RUNS):
        if count >= LEAST_RUNS and time.perf_counter() - start > SECONDS:
            break
        for side in sides.values():
            before = time.perf_counter()
            side.run()
            side.times.append(time.perf_counter() - before)


def matrix_product_gflops(size: int = 2048) -> float:
    """What a large float32 matrix product reaches here: the ceiling for dense convolutions."""
    a = jax.numpy.asarray(np.random.default_rng(0).normal(size=(size, size)), np.float32)
    side = compiled(lambda a: a @ a, a)
    alternate({"product": side})
    return 2 * size**3 / median(side.times) / 1e9


def surroundings() -> dict[str, str]:
    """What the figures depend on."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "flax", "equinox", "torch"))
    return {
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()}), {cpu}, {_cores()} cores",
        "versions": f"Python {platform.python_version()}, {versions}",
        "matrix product": f"{matrix_product_gflops():.0f} GFLOP/s",
    }


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def geometric_mean(values: list[float]) -> float:
    """The mean that treats twice as fast and half as fast as opposites."""
    return float(np.exp(np.mean(np.log(values))))


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table for a terminal and for a page."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    lines = [header, ["---" + "-" * (w - 3) for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)
