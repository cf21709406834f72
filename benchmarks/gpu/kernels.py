"""Candidates that are written with Pallas, beside XLA's own convolution and what XLA makes of the library's layer norm.

    python -m benchmarks.gpu --only kernels

The kernels are in `depthwise.py` and `layer_norm.py`. They are a part of their own: a compiler that ends the process
over one of them takes no other figures with it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxconv
from benchmarks.gpu import choices, layers, ops, timing
from benchmarks.gpu.part import Part, first_line, load, main
from benchmarks.layers import Row
from jaxconv._lowering.family import default_platform

# Rows and columns: those of ConvNeXt's stages, 64 images of 224x224.
NORMS = {
    "layer norm, 96, 64x56x56": (64 * 56 * 56, 96),
    "layer norm, 384, 64x14x14": (64 * 14 * 14, 384),
    "layer norm, 192, 64x28x28": (64 * 28 * 28, 192),
    "layer norm, 768, 64x7x7": (64 * 7 * 7, 768),
}
NORM_OPS = ("output", "step")
EPS = 1e-6


def kernels(r: Row) -> ops.Ops:
    """The kernels of `depthwise.py`."""

    def call(index: int, *given: jax.Array) -> Any:
        family, of = load("benchmarks.gpu.depthwise"), ops.problem(r, index)
        if refusal := family.cannot(of):
            raise ValueError(refusal)
        return getattr(family, of.op)(of, *given)

    return (
        lambda x, w, dy: call(0, x, w),
        lambda x, w, dy: call(1, w, dy),
        lambda x, w, dy: call(2, x, dy),
    )


CANDIDATES: dict[str, Callable[[Row], ops.Ops]] = {"xla": ops.CANDIDATES["xla"], "pallas": kernels}
ROWS = [r for r in ops.ROWS if r.groups == r.channels == r.out]


def norm_makers(shape: tuple[int, int], dtype: str, op: str) -> dict[str, timing.Maker]:
    """The library's layer norm, which is XLA's where there is no CPU, and the kernels; the first is the library's."""
    x, g = (jnp.asarray(layers.filled(shape, k), dtype) for k in (1.0, 0.5))
    c, b = (jnp.asarray(layers.filled(shape[1:], k), dtype) for k in (0.3, 0.2))

    def ours(x, c, b):
        return jaxconv.layer_norm(x, shape[1:], c, b, EPS)

    def candidate(x, c, b):
        module = load("benchmarks.gpu.layer_norm")
        if refusal := module.cannot(x):
            raise ValueError(refusal)
        return module.layer_norm(x, c, b, EPS, platform=default_platform())

    def side(norm: Callable[..., jax.Array]) -> timing.Side:
        def step(x, c, b, g):
            y, pull = jax.vjp(norm, x, c, b)
            return y, *pull(g)

        def read(result):
            return [np.asarray(a[:4096]).astype(np.float32) for a in jax.tree.leaves(result)]

        if op == "output":
            return timing.compiled(norm, x, c, b, read=read)
        return timing.compiled(step, x, c, b, g, read=read)

    return {"xla": partial(side, ours), "pallas": partial(side, candidate)}


def measure_norms(part: Part) -> None:
    """Each layer norm, its output and its step, as long as there is time."""
    found, about = part.results.setdefault("rows", {}), part.results.setdefault("about", {})
    todo = [(name, dtype, op) for name in NORMS for dtype in layers.DTYPES for op in NORM_OPS]
    for done, (row, dtype, op) in enumerate(todo[: len(NORM_OPS) if part.tiny else None]):
        name = f"{row}, {dtype}: {op}"
        if part.seconds_left <= 0:
            part.note(f"No time was left for {len(todo) - done} of {len(todo)} norms, from {name!r} on.")
            break
        rows, columns = NORMS[row]
        shape = (min(rows, 100) if jax.default_backend() == "cpu" else rows, columns)
        held = "float32" if dtype == "tf32" else dtype
        about[name] = {"platform": default_platform(), "kind": choices.LAYER_NORM, "op": op, "dtype": held}
        try:
            sides = norm_makers(shape, held, op)
        except Exception as error:  # not even the arrays fit
            part.note(f"{name}: {first_line(error)}")
            continue
        found[name] = timing.compare(sides, layers.TOLERANCES[dtype], 0.1 if part.tiny else 0.3)
        part.save()


def measure_all(part: Part) -> None:
    """Depthwise layers, then layer norms."""
    ops.measure_ops(part, ROWS, CANDIDATES)
    measure_norms(part)


if __name__ == "__main__":
    main(measure_all)
