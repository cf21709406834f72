"""How everything here is timed.

All sides of a row run in one process, in turn, so that what else the machine does falls on all of them alike. Each is
compiled, run once and compared with the first side before anything is timed. What is reported is the median of at
least five runs; of a side that takes more than a second a run, the median of two.
"""

import argparse
import contextlib
import ctypes
import datetime
import gc
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np

try:
    import torch
except ImportError:  # a peer like the others: its columns stay empty where it is not installed
    torch = None

LEAST_RUNS, MOST_RUNS, SECONDS = 5, 25, 2.0
SLOW_SECONDS, PAUSE_SECONDS = 1.0, 0.02
CORES = len(os.sched_getaffinity(0))
ON_GPU = jax.default_backend() == "gpu"

Results = dict[str, dict[str, dict[str, Any]]]  # row -> side -> figure


@dataclass
class Side:
    """One way to compute a row: it is prepared once, which may compile it, and then run many times.

    `run` returns when all of its result is computed. `read` brings that into the layout that all sides share.
    """

    run: Callable[[], Any]
    read: Callable[[Any], Sequence[Any]] = tuple
    compile_seconds: float | None = None
    temporary_bytes: int | None = None  # what the compiler says that it asks for
    peak_bytes: int | None = None  # what a run was seen to ask for
    times: list[float] = field(default_factory=list)

    def time(self) -> tuple[float, Any]:
        """Seconds of one run, and its result."""
        start = time.perf_counter()
        result = self.run()
        return time.perf_counter() - start, result

    @property
    def figures(self) -> dict[str, float | None]:
        """The median time of a run, and the rest."""
        peak = self.temporary_bytes if self.peak_bytes is None else self.peak_bytes
        return {
            "ms": 1e3 * median(self.times),
            "compile_s": self.compile_seconds,
            "memory_mb": None if peak is None else peak / 1e6,
        }


def compiled(function: Callable, *arguments: Any, read: Callable[[Any], Sequence[Any]] = tuple) -> Side:
    """A JAX function compiled for its arguments, with the time that took."""
    start = time.perf_counter()
    executable = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    return Side(
        lambda: jax.block_until_ready(executable(*arguments)), read, seconds, temporary_bytes=temporaries(executable)
    )


def temporaries(executable: jax.stages.Compiled) -> int | None:
    """The temporary memory that a compiled function asks for, as its compiler counts it."""
    memory = executable.memory_analysis()
    return None if memory is None else memory.temp_size_in_bytes


def measure(
    sides: Mapping[str, Side], *tolerances: float, seconds: float = SECONDS
) -> dict[str, dict[str, float | None]]:
    """The figures of all sides of a row.

    Args:
        sides: what to compare and time; each is compared with the first.
        tolerances: how far a value may lie off, in units of its largest element; the last is for all further values.
        seconds: how long all sides are timed, once they have run often enough.

    Raises:
        AssertionError: two sides do not compute the same: a wrong answer is not fast.
    """
    first, reference = "", []
    quick = []
    for name, side in sides.items():
        first_seconds, result = side.time()
        values = [np.asarray(v, np.float64) for v in side.read(result)]
        if first_seconds > SLOW_SECONDS:
            side.times.append(first_seconds)
        else:
            quick.append(side)
        first, reference = (first, reference) if reference else (name, values)
        for index, (a, b) in enumerate(zip(reference, values, strict=True)):
            tolerance = tolerances[min(index, len(tolerances) - 1)]
            error = np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)
            if not error <= tolerance:
                raise AssertionError(f"{name} and {first} differ by {error:.1e} in value {index}, over {tolerance:.0e}")
        del result, values
    for side in sides.values():
        again_seconds, side.peak_bytes = peak_memory(side)
        if side not in quick:
            side.times.append(again_seconds)
    alternate(quick, seconds)
    return {name: side.figures for name, side in sides.items()}


def alternate(sides: Sequence[Side], seconds: float = SECONDS) -> None:
    """Times all sides in turn.

    The threads of one library (OpenMP's, for some milliseconds) still spin when its call has returned, and what it read
    still fills the cache. So before a side is timed there is a pause, and a run of its own that is not counted.
    """
    start = time.perf_counter()
    for count in range(MOST_RUNS):
        if count >= LEAST_RUNS and time.perf_counter() - start > seconds:
            break
        for side in sides:
            time.sleep(PAUSE_SECONDS)
            side.run()
            side.times.append(side.time()[0])


def profile(side: Side, runs: int = 5) -> dict[str, float]:
    """Milliseconds of one run that XLA spends in each kind of operation, by the name that XLA gives it.

    The kernels that are called from outside of XLA go by `ffi_call`. Threads that work at once are added up.
    """
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(runs):
                side.run()
        (file,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(file)).planes
        for event in (event for plane in planes for line in plane.lines for event in line.events):
            if any(name == "hlo_op" for name, _ in event.stats):
                kind = re.sub(r"[.\d]+$", "", event.name)
                spent[kind] = spent.get(kind, 0) + event.duration_ns / 1e6 / runs
    return spent


def peak_memory(side: Side) -> tuple[float, int | None]:
    """Seconds of a run, and how far it raised the memory of the process, or of the GPU where PyTorch counts that.

    One count for all sides, of temporaries and results both; XLA's own would leave out what compiled kernels ask for.
    On a GPU, JAX keeps all memory to itself from the start, so its sides fall back on the compiler's count.
    """
    gc.collect()
    if ON_GPU:
        if side.compile_seconds is not None or torch is None:
            return side.time()[0], None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        return side.time()[0], torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed goes back, so that a run has to ask for all of it
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _resident("VmRSS")
    except (OSError, AttributeError):  # not Linux, or not allowed
        return side.time()[0], None
    seconds, result = side.time()
    peak = _resident("VmHWM")
    del result
    return seconds, max(peak - before, 0)


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def matrix_product_gflops(size: int = 2048) -> float:
    """What a large float32 matrix product reaches here, in JAX or PyTorch: the ceiling for dense convolutions."""
    a = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    sides = [compiled(lambda a: a @ a, jax.numpy.asarray(a))]
    if torch is not None:
        t = torch.from_numpy(a).to(torch_device())
        sides.append(Side(lambda: finish_torch(t @ t)))
    for side in sides:
        side.run()
    alternate(sides)
    return 2 * size**3 / min(median(side.times) for side in sides) / 1e9


# ---------------------------------------------------------------------------------------------------------------
# PyTorch
# ---------------------------------------------------------------------------------------------------------------


def torch_device() -> str:
    """Where PyTorch computes: on a GPU where JAX does."""
    return "cuda" if ON_GPU and torch.cuda.is_available() else "cpu"


def set_up_torch(tf32: bool = False) -> None:
    """As many threads as JAX has, and on a GPU cuDNN's own search and the precision of the row."""
    torch.set_num_threads(CORES)
    if ON_GPU:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32


def finish_torch(result: Any) -> Any:
    """`result`, when it is computed."""
    if ON_GPU:
        torch.cuda.synchronize()
    return result


# ---------------------------------------------------------------------------------------------------------------
# Reports
# ---------------------------------------------------------------------------------------------------------------


def surroundings() -> dict[str, str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = re.search(r"model name\s*: (.*)", cpuinfo)
    vectors = [name for name in ("avx512f", "avx2", "asimd") if re.search(rf"\b{name}\b", cpuinfo)]
    device = f"{jax.devices()[0].device_kind} ({jax.default_backend()})"
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{device}, {cpu[1] if cpu else platform.processor()}, {CORES} cores, {' '.join(vectors[:1])}",
        "versions": versions(),
        "matrix product": f"{matrix_product_gflops():.0f} GFLOP/s",
    }


def versions() -> str:
    """Of Python, JAX and the peers that are installed."""
    found = [f"Python {platform.python_version()}"]
    for name in ("jax", "flax", "equinox", "optax", "torch", "onnxruntime", "openvino"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join([*found, *(["no PyTorch, whose columns are empty"] if torch is None else [])])


def ceiling(where: Mapping[str, str]) -> float:
    """The matrix product's rate among what `surroundings` gives."""
    return float(where["matrix product"].split()[0])


def geometric_mean(values: Sequence[float]) -> float:
    """The mean that treats twice as fast and half as fast as opposites."""
    return float(np.exp(np.mean(np.log(values))))


def figure(value: float | None, digits: int = 2) -> str:
    """A number in a table; nothing where there is none, and three digits at most where it is large."""
    if value is None:
        return ""
    return f"{value:.{digits if abs(value) < 10 else min(digits, 1) if abs(value) < 100 else 0}f}"


def quotient(results: Mapping[str, Mapping[str, float | None]], over: str, under: str, name: str = "ms"):
    """One side's figure over another's, where both have it."""
    a, b = (results.get(side, {}).get(name) for side in (over, under))
    return None if a is None or not b else a / b


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal and for a page."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--only", nargs="+", default=None, metavar="TEXT", help="rows whose names contain one of these")
    made.add_argument("--json", default=None, metavar="FILE", help="also write the figures to this file")
    return made


def run(rows: Mapping[str, Callable[[], dict]], arguments: argparse.Namespace) -> tuple[dict[str, str], Results]:
    """Measures the rows that are asked for, one after the other, and keeps what is done should it be cut short.

    Returns:
        What the figures depend on, and the figures.
    """
    where, results = surroundings(), {}

    def keep() -> None:
        if arguments.json:
            Path(arguments.json).write_text(json.dumps({"where": where, "rows": results}, indent=1))

    keep()
    for name, value in where.items():
        print(f"{name}: {value}")
    for name, row in rows.items():
        if arguments.only is not None and not any(part in name for part in arguments.only):
            continue
        results[name] = row()
        print(f"  {name}: " + ", ".join(f"{side} {f['ms']:.2f}" for side, f in results[name].items()), flush=True)
        keep()
    print()
    return where, results
