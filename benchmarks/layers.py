"""Single layers: output and both gradients, against `lax` as Flax and Equinox call it, and against PyTorch.

    python -m benchmarks.layers [--only NAME ...] [--json FILE] [--ops]

A row is timed in the peers' own layouts: channels last for Flax and for PyTorch, channels first for Equinox.
"""

import argparse
import json
import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import jaxconv
from benchmarks import measure
from benchmarks.measure import Side

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Row:
    """One layer and its input."""

    name: str
    batch: int
    channels: int
    size: tuple[int, ...]
    out: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    padding_mode: str = "zeros"
    data_format: str = "channels_last"
    dtype: str = "float32"
    transposed: bool = False
    main: bool = False  # one of the twelve that the geometric mean is taken over

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)


def row(name, batch, channels, size, out, kernel, stride=1, padding=0, dilation=1, groups=1, **more) -> Row:
    """A row, with numbers that stand for all axes."""
    rank = len(size)
    each = ((v,) * rank if isinstance(v, int) else v for v in (kernel, stride, padding, dilation))
    return Row(name, batch, channels, size, out, *each, groups, **more)


ROWS = [
    row("3x3 stride 2, 16-33", 20, 16, (50, 100), 33, 3, 2, main=True),
    row("3x5 dilation (3, 1), 16-33", 20, 16, (50, 100), 33, (3, 5), (2, 1), (4, 2), (3, 1), main=True),
    row("3x3, 64-64, 56x56", 8, 64, (56, 56), 64, 3, 1, 1, main=True),
    row("3x3, 256-256, 14x14", 8, 256, (14, 14), 256, 3, 1, 1, main=True),
    row("7x7 stride 2, 3-64, 224x224", 8, 3, (224, 224), 64, 7, 2, 3, main=True),
    row("1x1, 256-64, 56x56", 8, 256, (56, 56), 64, 1, main=True),
    row("depthwise 3x3, 96, 56x56", 8, 96, (56, 56), 96, 3, 1, 1, groups=96, main=True),
    row("depthwise 7x7, 384, 14x14", 8, 384, (14, 14), 384, 7, 1, 3, groups=384, main=True),
    row("32 groups of 4, 3x3, 56x56", 8, 128, (56, 56), 128, 3, 1, 1, groups=32, main=True),
    row("3x3 dilation 2, 256-256, 28x28", 4, 256, (28, 28), 256, 3, 1, 2, 2, main=True),
    row("3x3, 1-32, 28x28", 64, 1, (28, 28), 32, 3, 1, 1, main=True),
    row("3x3, 32-64, 14x14", 64, 32, (14, 14), 64, 3, 1, 1, main=True),
    row("3-D 3x3x3, 16-32, 16x28x28", 2, 16, (16, 28, 28), 32, 3, 1, 1),
    row("1-D 9, 64-64, 1000", 8, 64, (1000,), 64, 9, 1, 4),
    row("transposed 4x4 stride 2, 64-32, 28x28", 8, 64, (28, 28), 32, 4, 2, 1, transposed=True),
    *(
        row(f"3x3 {mode}, 64-64, 28x28", 8, 64, (28, 28), 64, 3, 1, 1, padding_mode=mode)
        for mode in ("zeros", "reflect", "replicate", "circular", "symmetric")
    ),
    row("3x3 channels_first, 64-64, 56x56", 8, 64, (56, 56), 64, 3, 1, 1, data_format="channels_first"),
    row(
        "depthwise 3x3 channels_first, 96, 56x56", 8, 96, (56, 56), 96, 3, 1, 1, groups=96, data_format="channels_first"
    ),
    row("1x1 channels_first, 256-64, 56x56", 8, 256, (56, 56), 64, 1, data_format="channels_first"),
    row("3x3, 64-64, 56x56, batch 1", 1, 64, (56, 56), 64, 3, 1, 1),
    row("3x3 bfloat16, 64-64, 28x28", 8, 64, (28, 28), 64, 3, 1, 1, dtype="bfloat16"),
    row("3x3, 67-61, 28x28", 8, 67, (28, 28), 61, 3, 1, 1),
    row("depthwise 31x31, 64, 32x32", 4, 64, (32, 32), 64, 31, 1, 15, groups=64),
]

_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "symmetric": "symmetric"}


def arrays(row: Row) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Input, weight in PyTorch's shape and gradient of the output: random, since zeros are computed faster."""
    rng = np.random.default_rng(0)
    pair = (row.channels, row.out // row.groups) if row.transposed else (row.out, row.channels // row.groups)
    x = jnp.asarray(rng.normal(size=(row.batch, row.channels, *row.size)), row.dtype)
    w = jnp.asarray(rng.normal(size=(*pair, *row.kernel)) / np.sqrt(np.prod(row.kernel) * pair[1]), row.dtype)
    y = jax.eval_shape(partial(ours, row, data_format="channels_first"), x, w)
    return x, w, jnp.asarray(rng.normal(size=y.shape), row.dtype)


def ours(row: Row, x: jax.Array, w: jax.Array, **options: Any) -> jax.Array:
    """The row as jaxconv computes it."""
    keywords = {"padding_mode": row.padding_mode, "data_format": row.data_format, **options}
    name = f"conv_transpose{row.rank}d" if row.transposed else f"conv{row.rank}d"
    order = {"stride": row.stride, "padding": row.padding, "dilation": row.dilation, "groups": row.groups}
    return getattr(jaxconv, name)(x, w, **order, **keywords)


def with_lax(row: Row, x: jax.Array, w: jax.Array) -> jax.Array:
    """The row as Flax computes it: `lax` with the channels last and the weight as (*kernel, in, out)."""
    if row.transposed:
        pads = [(k - 1 - p, k - 1 - p) for k, p in zip(row.kernel, row.padding, strict=True)]
        w = jnp.flip(w, tuple(range(row.rank)))
        return _lax(row, x, w, (1,) * row.rank, pads, row.stride)
    pads = [(p, p) for p in row.padding]
    if row.padding_mode != "zeros":
        x = jnp.pad(x, [(0, 0), *pads, (0, 0)], mode=_PAD_MODES[row.padding_mode])
        pads = [(0, 0)] * row.rank
    return _lax(row, x, w, row.stride, pads, (1,) * row.rank)


def _lax(row, x, w, strides, pads, lhs_dilation):
    spatial = "DHW"[-row.rank :]
    images = f"N{spatial}C" if row.data_format == "channels_last" else f"NC{spatial}"
    return jax.lax.conv_general_dilated(
        x,
        w,
        strides,
        pads,
        lhs_dilation,
        row.dilation,
        (images, f"{spatial}IO", images),
        feature_group_count=row.groups,
    )


def step(function, x, w, dy):
    """Output and both gradients."""
    y, transpose = jax.vjp(function, x, w)
    return (y, *transpose(dy))


def sides(row: Row, algorithm: str) -> dict[str, Side]:
    """Every library that can compute the row."""
    x, w, dy = arrays(row)
    last = row.data_format == "channels_last"
    images = [jnp.moveaxis(a, 1, -1) for a in (x, dy)] if last else [x, dy]
    back = (lambda a: np.moveaxis(np.asarray(a, np.float32), -1, 1)) if last else (lambda a: np.asarray(a, np.float32))

    def as_torch(run, weight_back=np.asarray):
        def call():
            y, dx, dw = run()
            return y, dx, dw

        call.read = lambda: (lambda y, dx, dw: (back(y), back(dx), weight_back(np.asarray(dw, np.float32))))(*run())
        return call

    made: dict[str, Side] = {}

    def add(name, side, weight_back=np.asarray):
        run = side.run
        side.run = as_torch(run, weight_back)
        made[name] = side

    add("jaxconv", measure.compiled(partial(step, partial(ours, row, algorithm=algorithm)), images[0], w, images[1]))
    order = (*range(2, row.rank + 2), 0, 1) if row.transposed else (*range(2, row.rank + 2), 1, 0)
    add(
        "lax",
        measure.compiled(partial(step, partial(with_lax, row)), images[0], jnp.transpose(w, order), images[1]),
        lambda dw: np.transpose(dw, np.argsort(order)),
    )
    if not row.transposed and row.padding_mode == "zeros" and last and row.dtype == "float32":
        layer = nnx.Conv(
            row.channels,
            row.out,
            row.kernel,
            row.stride,
            padding=[(p, p) for p in row.padding],
            kernel_dilation=row.dilation,
            feature_group_count=row.groups,
            use_bias=False,
            rngs=nnx.Rngs(0),
        )
        graph, _ = nnx.split(layer)

        def flax_layer(x, kernel):
            return nnx.merge(graph, nnx.State({"kernel": nnx.Param(kernel)}))(x)

        add(
            "flax",
            measure.compiled(partial(step, flax_layer), images[0], jnp.transpose(w, order), images[1]),
            lambda dw: np.transpose(dw, np.argsort(order)),
        )
    if not row.transposed and row.padding_mode == "zeros" and row.dtype == "float32":
        conv = equinox.nn.Conv(
            row.rank,
            row.channels,
            row.out,
            row.kernel,
            row.stride,
            row.padding,
            row.dilation,
            row.groups,
            use_bias=False,
            key=jax.random.key(0),
        )

        def equinox_layer(x, w):
            return jax.vmap(equinox.tree_at(lambda c: c.weight, conv, w))(x)

        side = measure.compiled(partial(step, equinox_layer), x, w, dy)
        run = side.run
        read = as_torch(run)
        read.read = lambda: tuple(np.asarray(a, np.float32) for a in run())
        side.run = read
        made["equinox"] = side
    if row.padding_mode != "symmetric":
        made["torch"] = torch_side(row, x, w, dy)
    return made


def torch_side(row: Row, x, w, dy) -> Side:
    """The row in PyTorch, on its own device, channels last in memory."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(CORES)
    torch.backends.cudnn.benchmark = True
    dtype = getattr(torch, row.dtype)
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(row.rank + 2, torch.contiguous_format)
    layout = layout if row.data_format == "channels_last" else torch.contiguous_format

    def tensor(a):
        copied = torch.from_numpy(np.array(a, np.float32)).to(device, dtype)
        return copied.contiguous(memory_format=layout) if copied.ndim == row.rank + 2 else copied

    tx, tw, ty = tensor(x).requires_grad_(), tensor(w).requires_grad_(), tensor(dy)
    name = f"conv_transpose{row.rank}d" if row.transposed else f"conv{row.rank}d"
    function = getattr(torch.nn.functional, name)
    amounts = [p for p in reversed(row.padding) for _ in range(2)]

    def run():
        tx.grad = tw.grad = None
        padded, padding = tx, row.padding
        if row.padding_mode != "zeros":
            padded, padding = torch.nn.functional.pad(tx, amounts, mode=row.padding_mode), 0
        options = {"stride": row.stride, "padding": padding, "dilation": row.dilation, "groups": row.groups}
        y = function(padded, tw, **options)
        y.backward(ty)
        if device == "cuda":
            torch.cuda.synchronize()
        return y, tx.grad, tw.grad

    run.read = lambda: tuple(a.detach().float().cpu().numpy() for a in run())
    return Side(run)


def measure_row(row: Row, algorithm: str) -> dict[str, Any]:
    """The figures of one row."""
    made = sides(row, algorithm)
    # The sides that JAX computes are compared after they are brought into one layout.
    tolerance = 2e-2 if row.dtype == "bfloat16" else 1e-4
    measure.check({name: Side(side.run.read) for name, side in made.items()}, tolerance)  # type: ignore[attr-defined]
    measure.alternate(made)
    return {
        name: {
            "ms": side.milliseconds,
            "compile_s": side.compile_seconds,
            "memory_mb": None if side.memory_bytes is None else side.memory_bytes / 1e6,
        }
        for name, side in made.items()
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """One line a row."""
    header = ["layer", "jaxconv ms", "lax ms", "flax ms", "equinox ms", "torch ms", "lax / ours", "ours / torch"]
    header += ["compile s", "lax compile s", "temporaries MB", "lax temporaries MB"]
    lines = []
    for name, figures in results.items():
        ms = {side: f["ms"] for side, f in figures.items()}

        def show(value, digits=2):
            return "" if value is None else f"{value:.{digits}f}"

        lines.append(
            [
                name,
                *(show(ms.get(side)) for side in ("jaxconv", "lax", "flax", "equinox", "torch")),
                show(ms["lax"] / ms["jaxconv"]),
                show(ms["jaxconv"] / ms["torch"] if "torch" in ms else None),
                *(show(figures[side]["compile_s"]) for side in ("jaxconv", "lax")),
                *(show(figures[side]["memory_mb"], 1) for side in ("jaxconv", "lax")),
            ]
        )
    return measure.markdown(header, lines)


def summary(results: dict[str, dict[str, Any]]) -> str:
    """The means over the twelve rows."""
    ms = {row.name: results[row.name] for row in ROWS if row.main and row.name in results}
    if not ms:
        return ""
    against_lax = measure.geometric_mean([f["lax"]["ms"] / f["jaxconv"]["ms"] for f in ms.values()])
    against_torch = measure.geometric_mean([f["jaxconv"]["ms"] / f["torch"]["ms"] for f in ms.values()])
    return (
        f"Geometric mean over {len(ms)} rows: lax / ours {against_lax:.2f}, ours / torch {against_torch:.2f}; "
        f"least lax / ours of all rows {min(f['lax']['ms'] / f['jaxconv']['ms'] for f in results.values()):.2f}."
    )


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description="Times single layers against their peers.")
    parser.add_argument("--only", nargs="+", default=None, help="rows whose names contain one of these")
    parser.add_argument("--algorithm", default="auto", help="what jaxconv computes with")
    parser.add_argument("--json", default=None, help="also write the figures to this file")
    arguments = parser.parse_args()
    where = measure.surroundings()
    for name, value in where.items():
        print(f"{name}: {value}")
    results = {}
    for row in ROWS:
        if arguments.only is None or any(part in row.name for part in arguments.only):
            results[row.name] = measure_row(row, arguments.algorithm)
            print(f"  {row.name}: " + ", ".join(f"{k} {v['ms']:.2f}" for k, v in results[row.name].items()), flush=True)
    print()
    print(table(results))
    print()
    print(summary(results))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"where": where, "rows": results}, file, indent=1)


if __name__ == "__main__":
    main()
