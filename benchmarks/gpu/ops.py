"""Ways to compute each op of a layer, side by side: what `jaxconv._lowering.select` should learn of this device.

    python -m benchmarks.gpu --only ops

`xla` and `taps` are algorithms of the library. The others are candidates, which stand here until one of them wins:

    shifted     depthwise layers as a sum of shifted products, written out, which XLA fuses into one loop
    product     a kernel of one position as a matrix product
    interior    the input's gradient under a stride: zeros put between its positions first, then a plain convolution,
                in place of `lhs_dilation`

A transposed layer is the op `input` of a convolution, and that convolution stands in its place. The candidates that are
written with Pallas are timed by `kernels.py`, and `choices.py` says what follows from both.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv
from benchmarks.gpu import layers, timing
from benchmarks.gpu.part import Part, first_line, main
from benchmarks.layers import OPS, Row
from jaxconv._lowering import select
from jaxconv._lowering.common import exchange_channels
from jaxconv._lowering.family import Problem, default_platform, make_problem
from jaxconv._spec.convolution import ConvSpec

# Terms of `shifted`, and sums of its weight's gradient, that XLA compiles for a GPU in a few seconds.
MOST_TERMS, MOST_SUMS = 49, 25
Ops = tuple[Callable[..., Any] | None, Callable[..., Any] | None, Callable[..., Any] | None]  # in the order of OPS


def of_library(r: Row, algorithm: str) -> Ops:
    """An algorithm of the library. The functions take x, w and the output's gradient, channels last."""
    options = {
        "stride": r.stride,
        "padding": r.padding,
        "dilation": r.dilation,
        "groups": r.groups,
        "data_format": "channels_last",
        "algorithm": algorithm,
    }
    return (
        lambda x, w, dy: jaxconv.conv2d(x, w, **options),
        lambda x, w, dy: jaxconv.conv2d_input(x.shape, w, dy, **options),
        lambda x, w, dy: jaxconv.conv2d_weight(x, w.shape, dy, **options),
    )


def shifted(r: Row) -> Ops:
    """Shifted products, added in float32."""
    taps = list(itertools.product(*map(range, r.kernel)))
    if r.groups != r.channels or r.out != r.channels or len(taps) > MOST_TERMS:
        return None, None, None

    def read(x, tap, size, strides):
        offsets = [t * d for t, d in zip(tap, r.dilation, strict=True)]
        stops = [o + (m - 1) * s + 1 for o, m, s in zip(offsets, size, strides, strict=True)]
        part = lax.slice(x, (0, *offsets, 0), (len(x), *stops, x.shape[-1]), (1, *strides, 1))
        return part.astype("float32")

    def output(x, w, dy):
        padded = _padded(r, x)
        terms = [read(padded, t, dy.shape[1:3], r.stride) * w[:, 0, *t].astype("float32") for t in taps]
        return sum(terms[1:], start=terms[0]).astype(x.dtype)

    def input_gradient(x, w, dy):
        spread = _spread(r, x, dy)
        last = [k - 1 for k in r.kernel]
        terms = [
            read(spread, [n - a for n, a in zip(last, t, strict=True)], x.shape[1:3], (1, 1))
            * w[:, 0, *t].astype("float32")
            for t in taps
        ]
        return sum(terms[1:], start=terms[0]).astype(x.dtype)

    def weight_gradient(x, w, dy):
        padded, wide = _padded(r, x), dy.astype("float32")
        sums = [(read(padded, t, dy.shape[1:3], r.stride) * wide).sum((0, 1, 2)) for t in taps]
        return jnp.stack(sums, -1).reshape(w.shape).astype(w.dtype)

    return output, input_gradient, weight_gradient if len(taps) <= MOST_SUMS else None


def product(r: Row) -> Ops:
    """A matrix product over all positions."""
    if set(r.kernel) | set(r.stride) != {1} or r.groups > 1 or any(r.padding):
        return None, None, None

    def summed(a, b, axes):
        return jnp.tensordot(a, b, axes, preferred_element_type=jnp.float32).astype(a.dtype)

    return (
        lambda x, w, dy: summed(x, w[:, :, 0, 0], ((3,), (1,))),
        lambda x, w, dy: summed(dy, w[:, :, 0, 0], ((3,), (0,))),
        lambda x, w, dy: summed(dy, x, ((0, 1, 2), (0, 1, 2)))[..., None, None],
    )


def interior(r: Row) -> Ops:
    """Zeros between the positions of the output's gradient, and a plain convolution of them."""
    if set(r.stride) == {1}:
        return None, None, None

    def input_gradient(x, w, dy):
        kernel = lax.rev(exchange_channels(w, r.groups), (2, 3))
        layout = ("NHWC", "OIHW", "NHWC")
        more = {"rhs_dilation": r.dilation, "dimension_numbers": layout, "feature_group_count": r.groups}
        return lax.conv_general_dilated(_spread(r, x, dy), kernel, (1, 1), "VALID", **more)

    return None, input_gradient, None


def _padded(r: Row, x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), *((p, p) for p in r.padding), (0, 0)))


def _spread(r: Row, x: jax.Array, dy: jax.Array) -> jax.Array:
    """Position h of x meets tap t of the kernel at h + (k - 1 - t) d of what this gives."""
    amounts = [(0, 0, 0)]
    for n, m, k, s, p, d in zip(x.shape[1:3], dy.shape[1:3], r.kernel, r.stride, r.padding, r.dilation, strict=True):
        low = (k - 1) * d - p
        amounts.append((low, n + (k - 1) * d - low - ((m - 1) * s + 1), s - 1))
    return lax.pad(dy, jnp.zeros((), dy.dtype), [*amounts, (0, 0, 0)])


CANDIDATES: dict[str, Callable[[Row], Ops]] = {
    "xla": partial(of_library, algorithm="xla"),
    "taps": partial(of_library, algorithm="taps"),
    "shifted": shifted,
    "product": product,
    "interior": interior,
}


def plain(r: Row) -> Row:
    """A transposed layer's convolution, whose op `input` the layer is."""
    if not r.transposed:
        return r
    size = layers.shapes(r)[2][2:]
    return replace(r, name=f"{r.name}, its convolution", channels=r.out, out=r.channels, size=size, transposed=False)


SERVED = [plain(r) for r in layers.ROWS if r.rank == 2 and r.padding_mode == "zeros"]
# The rows that a candidate was written for.
ROWS = [r for r in SERVED if r.groups > 1 or set(r.kernel) == {1} or set(r.stride) != {1}]


def problem(r: Row, index: int) -> Problem:
    """One op of a row, as the library chooses an algorithm for it."""
    spec = ConvSpec(r.stride, tuple((p, p) for p in r.padding), r.dilation, r.groups, data_format="channels_last")
    x, w = (r.batch, *r.size, r.channels), (r.out, r.channels // r.groups, *r.kernel)
    y = (r.batch, *spec.output_size(r.size, r.kernel), r.out)
    op, given = (("output", (x, w, ())), ("input", (w, y, r.size)), ("weight", (x, y, r.kernel)))[index]
    return make_problem(op, spec, *given, r.array_dtype, platform=default_platform())


def makers(r: Row, index: int, candidates: Mapping[str, Callable[[Row], Ops]]) -> dict[str, timing.Maker]:
    """Every way to compute one op of a row; the first is XLA's own convolution."""
    x, w, dy = layers.arrays(r)
    x, dy = (a.transpose(0, 2, 3, 1) for a in (x, dy))

    def side(function: Callable[..., Any]) -> timing.Side:
        def read(result):
            return [np.asarray(result if index == 2 else result[:1]).astype(np.float32)]

        return timing.compiled(function, x, w, dy, read=read)

    found = {name: candidate(r)[index] for name, candidate in candidates.items()}
    return {name: partial(side, function) for name, function in found.items() if function is not None}


def rows(some: Sequence[Row], tiny: bool) -> list[Row]:
    """Rows in each dtype, and small on a CPU."""
    found = [
        replace(r, name=f"{r.name}, {d}", dtype=d, data_format="channels_last") for r in some for d in layers.DTYPES
    ]
    found = found[:1] if tiny else found
    return [layers.smaller(r, tiny) for r in found] if jax.default_backend() == "cpu" else found


def measure_ops(part: Part, some: Sequence[Row], candidates: Mapping[str, Callable[[Row], Ops]]) -> None:
    """Each op of each row, as long as there is time."""
    found, about = part.results.setdefault("rows", {}), part.results.setdefault("about", {})
    todo = [(r, index) for r in rows(some, part.tiny) for index in range(len(OPS))]
    for done, (r, index) in enumerate(todo):
        name, of = f"{r.name}: {OPS[index]}", problem(r, index)
        if part.seconds_left <= 0:
            part.note(f"No time was left for {len(todo) - done} of {len(todo)} ops, from {name!r} on.")
            break
        about[name] = {"platform": of.platform, "kind": select.kind(of), "op": of.op, "dtype": str(of.dtype)}
        try:
            sides = makers(r, index, candidates)
        except Exception as error:  # not even the arrays fit
            part.note(f"{name}: {first_line(error)}")
            continue
        found[name] = timing.compare(sides, layers.TOLERANCES[r.dtype], 0.1 if part.tiny else 0.4)
        part.save()


def measure_all(part: Part) -> None:
    """The rows that a candidate was written for."""
    measure_ops(part, ROWS, CANDIDATES)


if __name__ == "__main__":
    main(measure_all)
