"""Single layers that fill a GPU: output, and output with both gradients, against Flax and PyTorch.

    python -m benchmarks.gpu --only layers

In TF32 and in bfloat16. A side is compared on the first image and on all of the weight's gradient before it is timed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import layers, measure
from benchmarks.gpu import timing
from benchmarks.gpu.part import Part, main
from benchmarks.layers import Row, row

# The first are those that a target names: where the time runs out, the last are missing.
ROWS = [
    row("3x3, 256-256, 28x28", 128, 256, (28, 28), 256, 3, 1, 1),
    row("depthwise 3x3, 96, 112x112", 64, 96, (112, 112), 96, 3, 1, 1, groups=96),
    row("depthwise 7x7, 384, 28x28", 128, 384, (28, 28), 384, 7, 1, 3, groups=384),
    row("32 groups of 4, 3x3, 56x56", 128, 128, (56, 56), 128, 3, 1, 1, groups=32),
    row("1x1, 256-64, 56x56", 128, 256, (56, 56), 64, 1),
    row("7x7 stride 2, 3-64, 224x224", 128, 3, (224, 224), 64, 7, 2, 3),
    row("depthwise 3x3 stride 2, 144, 112x112", 64, 144, (112, 112), 144, 3, 2, 1, groups=144),
    row("3x3, 64-64, 56x56", 256, 64, (56, 56), 64, 3, 1, 1),
    row("3x3 stride 2, 128-256, 56x56", 128, 128, (56, 56), 256, 3, 2, 1),
    row("transposed 4x4 stride 2, 128-64, 28x28", 128, 128, (28, 28), 64, 4, 2, 1, transposed=True),
    row("32 groups of 16, 3x3, 28x28", 128, 512, (28, 28), 512, 3, 1, 1, groups=32),
    row("3x3 dilation 2, 256-256, 28x28", 64, 256, (28, 28), 256, 3, 1, 2, 2),
    row("3x3 reflect, 64-64, 56x56", 128, 64, (56, 56), 64, 3, 1, 1, padding_mode="reflect"),
    row("3x3 channels_first, 64-64, 56x56", 128, 64, (56, 56), 64, 3, 1, 1, data_format="channels_first"),
    row("depthwise 31x31, 128, 28x28", 64, 128, (28, 28), 128, 31, 1, 15, groups=128),
    row("3-D 3x3x3, 32-64, 16x56x56", 16, 32, (16, 56, 56), 64, 3, 1, 1),
    row("1-D 9, 128-128, 4096", 128, 128, (4096,), 128, 9, 1, 4),
]
DTYPES = ("bfloat16", "tf32")
TOLERANCES = {"tf32": 1e-2, "bfloat16": 2e-2}
PEERS = ("flax", "lax", "torch", "torch.compile")
DENSE = "3x3, 256-256, 28x28, bfloat16"  # the row that a share of the matrix product's rate is asked of
# PyTorch compiles a single layer to the call that it makes without; a few rows show that.
COMPILED = 4


def rows(tiny: bool) -> list[Row]:
    """The rows by their places: each in all dtypes before the next."""
    some = ROWS[:2] if tiny else ROWS
    some = some if jax.default_backend() != "cpu" else [smaller(r, tiny) for r in some]
    return [replace(r, name=f"{r.name}, {d}", dtype=d) for r in some for d in DTYPES]


def smaller(r: Row, tiny: bool) -> Row:
    """The row with few and small images, for a CPU; its name still says what it is on a GPU."""
    most = 2 * max(*r.kernel, *(p + 1 for p in r.padding)) if tiny else 28
    return replace(r, batch=2, size=tuple(min(n, most) for n in r.size))


def filled(shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
    """Normal numbers, a few million that are repeated: to draw all of them would take longer than to compute."""
    numbers = np.random.default_rng(0).standard_normal(min(math.prod(shape), 2**22 - 3), np.float32)
    return np.resize(numbers * np.float32(scale), shape)


def shapes(r: Row) -> list[tuple[int, ...]]:
    """Of input, weight and output, in PyTorch's layout."""
    pair = (r.channels, r.out // r.groups) if r.transposed else (r.out, r.channels // r.groups)
    given = [(r.batch, r.channels, *r.size), (*pair, *r.kernel)]
    call = partial(layers.ours, r, data_format="channels_first")
    return [*given, jax.eval_shape(call, *(jax.ShapeDtypeStruct(s, r.array_dtype) for s in given)).shape]


def arrays(r: Row) -> list[jax.Array]:
    """Input, weight and gradient of the output in PyTorch's layout."""
    x, w, y = shapes(r)
    scales = (1.0, 1 / math.sqrt(math.prod(w[1:])), 1.0)
    return [jnp.asarray(filled(s, k), r.array_dtype) for s, k in zip((x, w, y), scales, strict=True)]


def makers(r: Row, train: bool, compiled: bool) -> dict[str, Callable[[], timing.Side]]:
    """What makes the sides of a row; the first is ours."""
    given = arrays(r)
    found = layers.jax_sides(r, "auto", given)
    found.pop("equinox", None)
    if "flax" in found:
        found.pop("lax")

    def of_jax(side: layers.JaxSide) -> timing.Side:
        x, w, dy = side.arrays
        if train:
            return timing.compiled(partial(layers.step, side.function), x, w, dy, read=lambda r: side.read(few(r)))
        return timing.compiled(side.function, x, w, read=lambda y: side.read(few([y]), slice(0, 1)))

    made: dict[str, Callable[[], timing.Side]] = {name: partial(of_jax, side) for name, side in found.items()}
    if measure.torch is not None:
        made["torch"] = partial(of_torch, r, given, train, False)
        if compiled:
            made["torch.compile"] = partial(of_torch, r, given, train, True)
    return made


def few(results: Sequence[Any]) -> list[Any]:
    """Of the images the first; the weight's gradient, which comes third, as it is."""
    return [a if i == 2 else a[:1] for i, a in enumerate(results)]


def of_torch(r: Row, given: Sequence[jax.Array], train: bool, compiled: bool) -> timing.Side:
    """The row in PyTorch, whose convolutions cuDNN searches the best algorithm for."""
    torch = measure.torch
    x, w, dy, function = layers.torch_arrays(r, given)
    function = torch.compile(function, dynamic=False) if compiled else function

    def call():
        if not train:
            with torch.no_grad():
                return [function(x, w)]
        y = function(x, w)
        return [y, *torch.autograd.grad(y, (x, w), dy)]

    def read(results):
        return [a.detach().float().cpu().numpy() for a in few(results)]

    if compiled:
        with timing.compiling():
            call()
    return timing.of_torch(call, read)


def moved(r: Row) -> dict[str, int]:
    """Bytes that have to be read and written: of the output, and of a step, whose three ops each move two images."""
    once = sum(map(math.prod, shapes(r))) * jnp.dtype(r.array_dtype).itemsize
    return {"forward": once, "step": 3 * once}


def measure_all(part: Part) -> None:
    """Each row, its output and its step, as long as there is time."""
    found = part.results["rows"] = {}
    todo = rows(part.tiny)
    for index, r in enumerate(todo):
        if part.seconds_left <= 0:
            part.note(f"No time was left for {len(todo) - index} of {len(todo)} rows, from {r.name!r} on.")
            break
        found[r.name] = {
            "flops": {"forward": r.flops, "step": 3 * r.flops},
            "bytes": moved(r),
            "groups": r.groups,
            "channels": r.channels,
        }
        for what, train in (("forward", False), ("step", True)):
            compiled = index < COMPILED * len(DTYPES) and not part.tiny
            try:
                sides = makers(r, train, compiled)
            except Exception as error:  # not even the arrays fit
                part.note(f"{r.name}, {what}: {error}")
                continue
            found[r.name][what] = timing.compare(sides, TOLERANCES[r.dtype], 0.1 if part.tiny else 1.0)
            part.save()
        print(f"  {r.name}", flush=True)


if __name__ == "__main__":
    main(measure_all)
