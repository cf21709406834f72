"""Single layers: output and both gradients, against `lax` as Flax and Equinox call it, and against PyTorch.

    python -m benchmarks.layers [--ops | --sample] [--main] [--algorithm NAME] [--only TEXT ...] [--json FILE]

Each side has its own layout: channels last for Flax and PyTorch, channels first for Equinox, and the row's own for
jaxconv and `lax`. With `--ops` the output and the two gradients are timed apart, for every algorithm of jaxconv. With
`--sample` the layers are drawn at random, so that none of them was known when the kernels were tuned.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv
from benchmarks import measure
from benchmarks.measure import ON_GPU, Results, Side, figure, quotient, torch

try:
    import equinox
except ImportError:  # its columns stay empty, as those of PyTorch
    equinox = None


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
    dtype: str = "float32"  # or "tf32": float32 whose products a GPU may round
    transposed: bool = False
    main: bool = False  # one of those that the geometric means are taken over

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def array_dtype(self) -> str:
        """The dtype of the arrays."""
        return "float32" if self.dtype == "tf32" else self.dtype

    @property
    def is_dense(self) -> bool:
        """Whether a matrix product is what bounds it."""
        return self.groups == 1

    @property
    def flops(self) -> int:
        """Of each of the three ops: two for each pair of a position and a tap."""
        positions = self.size
        if not self.transposed:
            numbers = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
            positions = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in numbers]
        taps = math.prod(self.kernel) * self.channels * self.out // self.groups
        return 2 * self.batch * math.prod(positions) * taps


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
    row("8 groups of 16, 3x3, 28x28", 8, 128, (28, 28), 128, 3, 1, 1, groups=8),
    row("depthwise 3x3 stride 2, 96, 56x56", 8, 96, (56, 56), 96, 3, 2, 1, groups=96),
    row("depthwise 31x31, 64, 32x32", 4, 64, (32, 32), 64, 31, 1, 15, groups=64),
]
if ON_GPU:
    ROWS += [replace(r, name=f"{r.name}, {d}", dtype=d, main=False) for d in ("tf32", "bfloat16") for r in ROWS[:12]]

SAMPLE, SEED = 60, 20261201
# Operations of one of the three ops of a sampled layer: from those of a small layer to some milliseconds.
LEAST_FLOPS, MOST_FLOPS = 2e6, 5e8
# Time of all sides of a sampled layer.
SAMPLE_SECONDS = 0.4


def sampled(count: int = SAMPLE, seed: int = SEED) -> list[Row]:
    """Layers with sizes, kernels, strides, dilations and groups as networks have them, drawn apart from each other."""
    rng = np.random.default_rng(seed)

    def one(*choices: int) -> int:
        return int(rng.choice(choices))

    rows: list[Row] = []
    while len(rows) < count:
        rank, kernel = one(1, 2, 2, 2, 2, 3), one(1, 3, 3, 3, 5, 7)
        size = one(*{1: (100, 500, 2000, 8000), 2: (7, 14, 20, 28, 56, 75, 112), 3: (8, 12, 20, 28)}[rank])
        channels, out = one(3, 16, 24, 32, 48, 64, 96, 128, 200, 256), one(16, 24, 32, 48, 64, 96, 128, 200, 256)
        kind = one(0, 0, 0, 0, 1, 2)  # dense, depthwise, or in groups
        groups = (1, channels, one(2, 4, 8))[kind]
        out = channels if kind == 1 else out
        stride, dilation = one(1, 1, 1, 2), one(1, 1, 1, 1, 2, 3) if kernel > 1 else 1
        numbers = (one(1, 2, 8, 16), channels, (size,) * rank, out, kernel, stride, dilation * (kernel // 2), dilation)
        if channels % groups or out % groups or stride > kernel:
            continue
        name = f"{rank}-D {kernel} stride {stride} dilation {dilation}, {channels}-{out}"
        name += f" in {groups}, {size}, batch {numbers[0]}"
        made = row(
            name, *numbers, groups, data_format=("channels_last", "channels_last", "channels_first")[one(0, 1, 2)]
        )
        if LEAST_FLOPS <= made.flops <= MOST_FLOPS and all(made.name != other.name for other in rows):
            rows.append(made)
    return rows


OPS = ("output", "input gradient", "weight gradient")
SIDES = ("jaxconv", "lax", "flax", "equinox", "torch")
_TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 2e-2}
_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "symmetric": "symmetric"}


# ---------------------------------------------------------------------------------------------------------------
# The sides
# ---------------------------------------------------------------------------------------------------------------


def arrays(row: Row) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Input, weight in PyTorch's shape and gradient of the output: random, since zeros are computed faster."""
    rng = np.random.default_rng(0)
    pair = (row.channels, row.out // row.groups) if row.transposed else (row.out, row.channels // row.groups)
    x = jnp.asarray(rng.normal(size=(row.batch, row.channels, *row.size)), row.array_dtype)
    w = jnp.asarray(rng.normal(size=(*pair, *row.kernel)) / np.sqrt(np.prod(row.kernel) * pair[1]), row.array_dtype)
    y = jax.eval_shape(partial(ours, row, data_format="channels_first"), x, w)
    return x, w, jnp.asarray(rng.normal(size=y.shape), row.array_dtype)


def ours(row: Row, x: jax.Array, w: jax.Array, **options: Any) -> jax.Array:
    """The row as jaxconv computes it."""
    keywords = {
        "padding_mode": row.padding_mode,
        "data_format": row.data_format,
        "precision": _precision(row),
    } | options
    name = f"conv_transpose{row.rank}d" if row.transposed else f"conv{row.rank}d"
    order = {"stride": row.stride, "padding": row.padding, "dilation": row.dilation, "groups": row.groups}
    return getattr(jaxconv, name)(x, w, **order, **(keywords | options))


def with_lax(row: Row, x: jax.Array, w: jax.Array) -> jax.Array:
    """The row in `lax`, with the weight as Flax has it, (*kernel, in, out)."""
    spatial = "DHW"[-row.rank :]
    images = f"N{spatial}C" if row.data_format == "channels_last" else f"NC{spatial}"
    strides, x_dilation, pads = row.stride, (1,) * row.rank, [(p, p) for p in row.padding]
    if row.transposed:
        w = jnp.flip(w, tuple(range(row.rank)))
        strides, x_dilation = x_dilation, strides
        pads = [(k - 1 - p, k - 1 - p) for k, p in zip(row.kernel, row.padding, strict=True)]
    elif row.padding_mode != "zeros":
        widths = [(0, 0), *pads, (0, 0)] if row.data_format == "channels_last" else [(0, 0), (0, 0), *pads]
        x, pads = jnp.pad(x, widths, mode=_PAD_MODES[row.padding_mode]), [(0, 0)] * row.rank
    return jax.lax.conv_general_dilated(
        x,
        w,
        strides,
        pads,
        x_dilation,
        row.dilation,
        (images, f"{spatial}IO", images),
        feature_group_count=row.groups,
        precision=_precision(row),
    )


def _precision(row: Row) -> str | None:
    return "highest" if ON_GPU and row.dtype == "float32" else None


def with_flax(row: Row) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The row as a layer of Flax."""
    layer = nnx.Conv(
        row.channels,
        row.out,
        row.kernel,
        row.stride,
        padding=[(p, p) for p in row.padding],
        kernel_dilation=row.dilation,
        feature_group_count=row.groups,
        use_bias=False,
        precision=_precision(row),
        dtype=row.array_dtype,
        rngs=nnx.Rngs(0),
    )
    graph, _ = nnx.split(layer)
    return lambda x, kernel: nnx.merge(graph, nnx.State({"kernel": nnx.Param(kernel)}))(x)


def with_equinox(row: Row) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The row as a layer of Equinox, which convolves one image and is mapped over the batch."""
    assert equinox is not None
    layer = equinox.nn.Conv(
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

    def mapped(x, w):
        with jax.default_matmul_precision(_precision(row) or "default"):
            return jax.vmap(equinox.tree_at(lambda c: c.weight, layer, w))(x)

    return mapped


def step(function, x, w, dy):
    """Output and both gradients."""
    y, transpose = jax.vjp(function, x, w)
    return (y, *transpose(dy))


@dataclass(frozen=True)
class JaxSide:
    """A library's function of x and w, and the three arrays in its layout."""

    function: Callable[[jax.Array, jax.Array], jax.Array]
    arrays: Sequence[jax.Array]
    orders: Sequence[tuple[int, ...]]  # of the axes of y, of the gradient of x and of that of w, from PyTorch's

    def read(self, results: Sequence[jax.Array], ops: slice = slice(None)) -> list[np.ndarray]:
        """Results of some ops in PyTorch's layout."""
        orders = self.orders[ops]
        return [_numpy(a).transpose(np.argsort(order)) for a, order in zip(results, orders, strict=True)]


def jax_sides(row: Row, algorithm: str, given: Sequence[Any] | None = None) -> dict[str, JaxSide]:
    """Every library on JAX that can compute the row, of `arrays(row)` or of others."""
    x, w, dy = given or arrays(row)
    spatial = tuple(range(2, row.rank + 2))
    first, last = (0, 1, *spatial), (0, *spatial, 1)
    own = last if row.data_format == "channels_last" else first
    kernel = (*spatial, 0, 1) if row.transposed else (*spatial, 1, 0)  # Flax's, (*kernel, in, out)

    def side(function, images, weight):
        moved = [jnp.transpose(a, order) for a, order in ((x, images), (w, weight), (dy, images))]
        return JaxSide(function, moved, (images, images, weight))

    made = {
        "jaxconv": side(partial(ours, row, algorithm=algorithm), own, first),
        "lax": side(partial(with_lax, row), own, kernel),
    }
    if not row.transposed and row.padding_mode == "zeros":
        if row.data_format == "channels_last":
            made["flax"] = side(with_flax(row), last, kernel)
        if equinox is not None:
            made["equinox"] = side(with_equinox(row), first, first)
    return made


def sides(row: Row, algorithm: str, names: Sequence[str] = SIDES) -> dict[str, Side]:
    """Every one of these libraries that can compute the row."""
    made = {
        name: measure.compiled(partial(step, side.function), *side.arrays, read=side.read)
        for name, side in jax_sides(row, algorithm).items()
        if name in names
    }
    if torch is not None and row.padding_mode != "symmetric":  # PyTorch has no such mode
        x, w, dy, function = torch_arrays(row)

        def run():
            y = function(x, w)
            return measure.finish_torch((y, *torch.autograd.grad(y, (x, w), dy)))

        made["torch"] = Side(run, lambda results: [_torch_numpy(a) for a in results])
    return made


def op_sides(row: Row, op: str) -> dict[str, Side]:
    """One op, by each algorithm that can serve it, as jaxconv chooses one (`auto`), and by PyTorch."""
    index, made = OPS.index(op), {}
    for algorithm in ("auto", *available()):
        side = jax_sides(row, algorithm)["jaxconv"]

        def one(x, w, dy, function=side.function):
            # What the others need is not computed: the derivatives of a convolution need x, w and dy alone.
            return step(function, x, w, dy)[index : index + 1]

        read = partial(side.read, ops=slice(index, index + 1))
        try:
            made[algorithm] = measure.compiled(one, *side.arrays, read=read)
        except (TypeError, ValueError, NotImplementedError) as refusal:
            print(f"  {row.name}, {op}: {refusal}")
    if torch is not None and row.padding_mode != "symmetric":
        x, w, dy, function = torch_arrays(row)
        if index == 0:
            x.requires_grad_(False), w.requires_grad_(False)

            def run():
                return measure.finish_torch([function(x, w)])
        else:
            y, of = function(x, w), (x, w)[index - 1]

            def run():
                return measure.finish_torch(torch.autograd.grad(y, of, dy, retain_graph=True))

        made["torch"] = Side(run, lambda results: [_torch_numpy(a) for a in results])
    return made


def available() -> list[str]:
    """The algorithms that work here."""
    return [name for name, state in jaxconv.algorithms().items() if state == "available"]


def torch_arrays(row: Row, given: Sequence[Any] | None = None) -> tuple[Any, Any, Any, Callable]:
    """The row's three arrays in PyTorch, on its own device and channels last in memory, and its function."""
    measure.set_up_torch(row.dtype == "tf32")
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}.get(row.rank, torch.contiguous_format)
    layout = layout if row.data_format == "channels_last" else torch.contiguous_format
    x, w, dy = (
        torch.from_numpy(_numpy(a).copy())
        .to(measure.torch_device(), getattr(torch, row.array_dtype))
        .contiguous(memory_format=layout)
        for a in given or arrays(row)
    )
    name = f"conv_transpose{row.rank}d" if row.transposed else f"conv{row.rank}d"
    convolve = getattr(torch.nn.functional, name)
    amounts = [p for p in reversed(row.padding) for _ in range(2)]

    def function(x, w):
        padding = row.padding
        if row.padding_mode != "zeros":
            x, padding = torch.nn.functional.pad(x, amounts, mode=row.padding_mode), 0
        return convolve(x, w, stride=row.stride, padding=padding, dilation=row.dilation, groups=row.groups)

    return x.requires_grad_(), w.requires_grad_(), dy, function


def _numpy(a: Any) -> np.ndarray:
    return np.asarray(a, np.float32)


def _torch_numpy(a: Any) -> np.ndarray:
    return a.detach().float().cpu().numpy()


# ---------------------------------------------------------------------------------------------------------------
# The tables
# ---------------------------------------------------------------------------------------------------------------


def layer_rows(rows: Sequence[Row], algorithm: str) -> dict[str, Callable[[], dict]]:
    """What measures each layer."""
    return {row.name: partial(_measure_layer, row, algorithm) for row in rows}


def _measure_layer(row: Row, algorithm: str) -> dict[str, dict[str, float | None]]:
    return measure.measure(sides(row, algorithm), _TOLERANCES[row.dtype])


def sample_rows(rows: Sequence[Row]) -> dict[str, Callable[[], dict]]:
    """What measures each sampled layer, against PyTorch and, where it is not in groups, `lax`."""
    return {row.name: partial(_measure_sampled, row) for row in rows}


def _measure_sampled(row: Row) -> dict[str, dict[str, float | None]]:
    peers = ("jaxconv", "torch", *(["lax"] if row.is_dense else []))
    return measure.measure(sides(row, "auto", peers), _TOLERANCES[row.dtype], seconds=SAMPLE_SECONDS)


def op_rows(rows: Sequence[Row]) -> dict[str, Callable[[], dict]]:
    """What measures each op of each layer; a name is `layer: op`."""
    return {f"{row.name}: {op}": partial(_measure_op, row, op) for row in rows for op in OPS}


def _measure_op(row: Row, op: str) -> dict[str, dict[str, float | None]]:
    return measure.measure(op_sides(row, op), _TOLERANCES[row.dtype])


def table(results: Results) -> str:
    """One line a layer, in milliseconds; above 1 a quotient says that jaxconv is the faster one."""
    header = ["layer", *(f"{side} ms" for side in SIDES), "lax / ours", "torch / ours"]
    header += ["compile s", "lax compile s", *(f"{side} MB" for side in ("jaxconv", "lax", "torch"))]
    lines = []
    for name, figures in results.items():
        of = {side: figures.get(side, {}) for side in SIDES}
        lines.append(
            [
                name,
                *(figure(of[side].get("ms")) for side in SIDES),
                *(figure(quotient(figures, peer, "jaxconv")) for peer in ("lax", "torch")),
                *(figure(of[side].get("compile_s")) for side in ("jaxconv", "lax")),
                *(figure(of[side].get("memory_mb"), 1) for side in ("jaxconv", "lax", "torch")),
            ]
        )
    return measure.markdown(header, lines)


def summary(results: Results) -> str:
    """The means over the main rows, and the least."""
    texts = []
    main = [results[row.name] for row in ROWS if row.main and row.name in results]
    for peer in ("lax", "torch"):
        ratios = [ratio for figures in main if (ratio := quotient(figures, peer, "jaxconv")) is not None]
        if ratios:
            texts.append(f"{peer} / ours {measure.geometric_mean(ratios):.2f}")
    mean = f"Geometric mean over {len(main)} rows: {', '.join(texts)}. " if texts else ""
    if not results:
        return ""
    least, name = min((figures["lax"]["ms"] / figures["jaxconv"]["ms"], name) for name, figures in results.items())
    return f"{mean}The least lax / ours of all {len(results)} rows is {least:.2f} ({name})."


def distribution(results: Results) -> str:
    """One line a peer: how its time over ours is distributed over the sampled layers, and the worst ones."""
    lines = []
    for peer in ("torch", "lax"):
        ratios = {name: ratio for name, f in results.items() if (ratio := quotient(f, peer, "jaxconv")) is not None}
        if not ratios:
            continue
        # Of ten layers nine are at or above the 90th percentile of the time that ours takes of the peer's.
        tenth = float(np.quantile(list(ratios.values()), 0.1))
        slower = sum(ratio < 1 for ratio in ratios.values())
        worst = ", ".join(f"{name} ({figure(ratios[name])})" for name in sorted(ratios, key=lambda n: ratios[n])[:3])
        mean = figure(measure.geometric_mean(list(ratios.values())))
        lines.append([f"{peer} / ours", str(len(ratios)), mean, figure(tenth), str(slower), worst])
    header = ["quotient", "layers", "geometric mean", "nine in ten at least", "below 1", "the least three"]
    return measure.markdown(header, lines)


def ops_table(results: Results, ceiling: float) -> str:
    """One line an op; for dense layers with the share of a matrix product's rate that the choice reaches."""
    rows = {row.name: row for row in ROWS}
    columns = list(dict.fromkeys(side for figures in results.values() for side in figures))
    lines = []
    for name, figures in results.items():
        row = rows[name.rpartition(": ")[0]]
        ms = figures["auto"]["ms"]
        share = row.flops / ms / 1e6 / ceiling if row.is_dense and row.dtype == "float32" else None
        lines.append(
            [
                name,
                *(figure(figures.get(side, {}).get("ms")) for side in columns),
                figure(quotient(figures, "xla", "auto")),
                figure(quotient(figures, "torch", "auto")),
                "" if share is None else f"{share:.0%}",
                figure(figures["auto"]["compile_s"]),
            ]
        )
    header = ["op", *(f"{side} ms" for side in columns), "xla / auto", "torch / auto", "share", "compile s"]
    return measure.markdown(header, lines)


def main() -> None:
    """Measures and prints the table."""
    parser = measure.parser("Times single layers against their peers.")
    parser.add_argument("--algorithm", default="auto", choices=["auto", *available()], help="what jaxconv takes")
    parser.add_argument("--ops", action="store_true", help="the output and both gradients apart")
    parser.add_argument("--sample", action="store_true", help="layers drawn from a stored seed, as a distribution")
    parser.add_argument("--main", action="store_true", help="no rows but those that the means are taken over")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if row.main or not arguments.main]
    if arguments.ops:
        where, results = measure.run(op_rows(rows), arguments)
        print(ops_table(results, measure.ceiling(where)))
    elif arguments.sample:
        print(distribution(measure.run(sample_rows(sampled()), arguments)[1]))
    else:
        where, results = measure.run(layer_rows(rows, arguments.algorithm), arguments)
        print(f"{table(results)}\n\n{summary(results)}")


if __name__ == "__main__":
    main()
