"""Looks for cliffs of speed: each argument of a convolution through its powers of two, with as much work as before.

    python tools/cliffs.py [--only TEXT ...] [--dtype float32] [--format channels_first] [--most 3] [--json FILE]

A chain begins at a plain convolution and doubles one argument at a time: a size of the kernel, a dilation, a stride, a
padding, groups, channels, the batch, a length, output_padding. The batch, and where that does not do the length, are
changed so that the work stays the same. What is compared is the time for a unit of work, which is a roofline's time:
multiply-accumulates at one rate and bytes at another, and a microsecond or two of overhead. Where a doubling makes a
unit of work more than `--most` times as expensive, both calls are timed again, in turn, and what remains is printed.
The exit status is 1 where anything does.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

OPS = ("output", "input", "weight")
# What a unit of work is counted by, of two cores of a few years ago: what is compared are quotients.
MULTIPLIES, BYTES, OVERHEAD = 20e9, 8e9, 30e-6
SECONDS = 2e-3  # of work in a call


@dataclass(frozen=True)
class Call:
    """A convolution, the same along each axis but for `length`, which is that of the first."""

    rank: int
    batch: int = 4
    channels: int = 32
    out: int = 32
    length: int = 0
    width: int = 16  # of the other axes
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1
    output_padding: int = 0
    transposed: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """The size of the images: of the convolution's input, or of the transposed one's."""
        return (self.length, *(self.width,) * (self.rank - 1))

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The sizes of x and of y, the convolution's input and output."""
        reach = self.dilation * (self.kernel - 1) + 1
        if self.transposed:
            more = reach - 2 * self.padding + self.output_padding
            return tuple((n - 1) * self.stride + more for n in self.size), self.size
        return self.size, tuple((n + 2 * self.padding - reach) // self.stride + 1 for n in self.size)

    @property
    def weight(self) -> tuple[int, ...]:
        """The shape of the convolution's weight."""
        return (self.out, self.channels // self.groups, *(self.kernel,) * self.rank)

    def work(self, itemsize: int) -> float:
        """The seconds that it should take."""
        x, y = (math.prod(size) for size in self.sizes)
        multiplies = self.batch * y * math.prod(self.weight)
        numbers = self.batch * (x * self.channels + y * self.out) + math.prod(self.weight)
        return OVERHEAD + multiplies / MULTIPLIES + numbers * itemsize / BYTES


BASES = {1: Call(1, length=2048), 2: Call(2, length=32, width=32), 3: Call(3, channels=16, out=16, length=16, width=12)}


def _with(**changed: Callable[[Call, int], int] | None) -> Callable[[Call, int], Call]:
    return lambda call, n: replace(call, **{k: n if f is None else f(call, n) for k, f in changed.items()})


# What makes a call of one with its argument at n.
CHAINS: dict[str, tuple[Callable[[Call, int], Call], int]] = {
    "kernel_size": (_with(kernel=None, padding=lambda _, n: n // 2), 64),
    "dilation": (_with(dilation=None, padding=lambda _, n: n), 4096),
    "stride": (_with(stride=None), 64),
    "padding": (_with(padding=None), 1024),
    "groups": (_with(groups=None), 32),
    "groups of 2": (_with(groups=None, channels=lambda _, n: 2 * n, out=lambda _, n: 2 * n), 128),
    "channels": (_with(channels=None), 1024),
    "out_channels": (_with(out=None), 1024),
    "depthwise": (_with(groups=None, channels=lambda _, n: n, out=lambda _, n: n), 1024),
    "batch": (_with(batch=None), 512),
    "length": (_with(length=None), 2**18),
    "length of one channel": (_with(length=None, channels=lambda _, n: 1, out=lambda _, n: 1), 2**20),
    "stride, transposed": (_with(stride=None, transposed=lambda _, n: True), 64),
    "kernel_size, transposed": (_with(kernel=None, transposed=lambda _, n: True, padding=lambda _, n: n // 2), 64),
    "output_padding": (
        _with(output_padding=lambda _, n: n // 2, stride=None, transposed=lambda _, n: True, kernel=lambda _, n: 1),
        64,
    ),
}


def chain(name: str, rank: int, itemsize: int) -> Iterator[tuple[int, Call]]:
    """The calls of a chain that there are, each with as much work as may be."""
    make, most = CHAINS[name]
    n = 4 if name.startswith("length") else 1
    while n <= most:
        call = make(BASES[rank], n)
        if name != "batch":
            each = call.work(itemsize) - OVERHEAD
            call = replace(call, batch=max(1, min(1024, round(call.batch * SECONDS / each))))
        # A batch of one is still too much work: shorter, as long as there are windows.
        while call.work(itemsize) > 4 * SECONDS and call.length > 2 * call.kernel and not name.startswith("length"):
            call = replace(call, length=call.length // 2)
        x, y = call.sizes
        if (
            call.channels % call.groups == call.out % call.groups == 0
            and min(*x, *y) >= 1
            and call.work(itemsize) < 16 * SECONDS
        ):
            yield n, call
        n *= 2


def prepared(call: Call, op: str, dtype: str, data_format: str) -> Callable[[], Any]:
    """A function that runs an op of a call."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxconv import _trilinear
    from jaxconv._spec.convolution import ConvSpec

    rank, high = call.rank, call.padding - call.output_padding
    spec = ConvSpec(
        (call.stride,) * rank,
        ((call.padding, high),) * rank,
        (call.dilation,) * rank,
        call.groups,
        "zeros",
        data_format,
    )
    x_size, y_size = call.sizes
    shapes = {
        "x": spec.image_shape(call.batch, call.channels, x_size),
        "w": call.weight,
        "y": spec.image_shape(call.batch, call.out, y_size),
    }
    rng = np.random.default_rng(0)
    arguments = {"output": "xw", "input": "wy", "weight": "xy"}[op]
    arrays = [jnp.asarray(rng.standard_normal(shapes[name]), dtype) for name in arguments]
    options = _trilinear.Options(None, None, "auto")
    size = {"output": (), "input": (x_size,), "weight": (call.weight[2:],)}[op]
    bias = (None,) if op == "output" else ()
    run = getattr(_trilinear, op)
    compiled = jax.jit(lambda a, b: run(a, b, *bias, spec, *size, options)).lower(*arrays).compile()
    return lambda: jax.block_until_ready(compiled(*arrays))


def seconds(run: Callable[[], Any], runs: int = 5) -> float:
    """The median time of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def dearer(first: tuple[Call, Any], second: tuple[Call, Any], itemsize: int, runs: int) -> float:
    """How many times as much a unit of the second's work costs, by medians of runs in turn."""
    rounds = []
    for _ in range(runs):
        costs = [seconds(run, 3) / call.work(itemsize) for call, run in (first, second)]
        rounds.append(costs[1] / costs[0])
    return statistics.median(rounds)


def main() -> None:
    """Sweeps, and prints what costs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="of the rows whose names hold one of these")
    parser.add_argument("--dtype", nargs="*", default=["float32", "float64"])
    parser.add_argument("--format", nargs="*", default=["channels_first", "channels_last"])
    parser.add_argument("--most", type=float, default=3, help="times as expensive")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import jax

    jax.config.update("jax_enable_x64", True)
    found, doublings = [], 0
    for dtype in options.dtype:
        itemsize = 8 if dtype == "float64" else 4
        for row, (name, rank, op, data_format) in {
            f"{rank}-D {name}, {op}, {data_format}": (name, rank, op, data_format)
            for name in CHAINS
            for rank in BASES
            for op in OPS
            for data_format in options.format
        }.items():
            if options.only and not any(text in row for text in options.only):
                continue
            before = None
            for n, call in chain(name, rank, itemsize):
                run = prepared(call, op, dtype, data_format)
                try:
                    run()
                except jax.errors.JaxRuntimeError as error:
                    print(f"{dtype} {row}: at {n} fails: {error}: {call}", flush=True)
                    found.append((row, dtype, n, math.inf))
                    break
                now = (call, run)
                cost = seconds(run) / call.work(itemsize)
                if before is not None:
                    doublings += 1
                    if (
                        cost > options.most * before[2]
                        and (times := dearer(before[:2], now, itemsize, 7)) > options.most
                    ):
                        found.append((row, dtype, n, times))
                        print(f"{dtype} {row}: at {n} {times:.1f} times as expensive: {call}", flush=True)
                before = (*now, cost)
    print(f"{doublings} doublings, {len(found)} of them a cliff")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
