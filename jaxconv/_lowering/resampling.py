"""Resampling along one axis: each position of the output is a weighted sum of few positions of the input.

Which positions and with which weights stands in a `Table`, found from the sizes alone by PyTorch's arithmetic, in its
order and in its precision: the neighbours that it takes depend on how a coordinate is rounded. The sum reads whole
slices of the array, one a tap, by one vector of places. Its transpose is such a sum too, over the outputs that an
input reaches: so a gradient is neither a scatter nor a product with a matrix of zeros, and what is not finite stays
where it is read. A primitive ties the two together, and everything else about derivatives follows.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxconv._arrays import wide
from jaxconv._lowering.primitives import place, register
from jaxconv._spec.resampling import AxisSpec
from jaxconv._spec.shapes import is_static

# More taps than this are added up in a loop, where each would be a slice of the program.
_UNROLLED = 16
# Half the width of each filter where the step of the output is not longer than that of the input.
_SUPPORT = {"linear": 1, "cubic": 2, "lanczos": 3}


# PyTorch's a of a cubic filter that is not widened, which is OpenCV's.
CUBIC = -0.75


class Table(NamedTuple):
    """Output o is the sum over taps t of weights[t, o] * input[places[t, o]].

    Attributes:
        places: integers, (taps, outputs).
        weights: numbers of the same shape; None where all are 1.
        holds: whether there is such a tap, of the same shape; None where there are all.
    """

    places: Any
    weights: Any = None
    holds: Any = None


# ---------------------------------------------------------------------------------------------------------------
# The tables: PyTorch's arithmetic, step by step
# ---------------------------------------------------------------------------------------------------------------


def make_table(spec: AxisSpec, dtype: Any, xp: Any = np) -> Table:
    """The table of an axis, whose coordinates are computed in `dtype`: by NumPy, or by `jax.numpy` for symbolic sizes.

    PyTorch's compiled code rounds scale * (i + 0.5) - 0.5 once, by a fused multiplication and addition: so is it here,
    by float64.
    """
    if spec.antialias:
        return _antialiased(spec, dtype)
    n, m = spec.size, spec.output_size
    double = np.float64 if xp is np else dtype
    i = xp.arange(m)
    last = xp.asarray(n).astype(i.dtype) - 1
    if spec.filter == "nearest" and spec.small_image and m in (n, 2 * n):
        return Table((i * n // m)[None])
    scale = _scale(spec, np.dtype("float32") if spec.small_image else dtype, xp)
    if spec.filter == "nearest":
        return Table(xp.minimum(_floor(i.astype(scale.dtype) * scale, i.dtype), last)[None])
    centre = i.astype(double) + 0.5
    if spec.filter == "nearest-exact":
        place = centre * scale.astype(double)
        if not spec.small_image:
            place = xp.maximum((place - 0.5).astype(dtype), 0).astype(double) + 0.5
        return Table(xp.minimum(_floor(place, i.dtype), last)[None])
    place = i.astype(dtype) * scale if spec.align_corners else (centre * scale.astype(double) - 0.5).astype(dtype)
    if spec.filter == "linear":
        place = xp.maximum(place, 0)
    low = xp.minimum(_floor(place, i.dtype), last)
    right = xp.clip(place - low.astype(dtype), 0, 1)
    if spec.filter == "linear":
        return Table(xp.stack([low, xp.minimum(low + 1, last)]), xp.stack([1 - right, right]))
    weights = [_cubic(xp.abs(right - t), CUBIC) for t in range(-1, 3)]
    return Table(xp.stack([xp.clip(low + t, 0, last) for t in range(-1, 3)]), xp.stack(weights))


def _floor(place, dtype):
    """The next lower integers, of float32 whatever the coordinates are of: as PyTorch's."""
    return lax.floor(place.astype(np.float32)).astype(dtype) if isinstance(place, jax.Array) else _np_floor(place)


def _np_floor(place: np.ndarray) -> np.ndarray:
    return np.floor(place.astype(np.float32)).astype(np.int64)


def _scale(spec: AxisSpec, dtype: Any, xp: Any) -> Any:
    """The step of the output, in positions of the input."""
    n, m = (xp.asarray(size).astype(dtype) for size in (spec.size, spec.output_size))
    if spec.align_corners:
        return xp.where(m > 1, (n - 1) / xp.maximum(m - 1, 1), 0).astype(dtype)
    return n / m if spec.factor is None else xp.asarray(1 / spec.factor).astype(dtype)


def _antialiased(spec: AxisSpec, dtype: Any) -> Table:
    """The table of a filter that is stretched over a step of the output where that is longer, as Pillow has it."""
    scale = _scale(spec, dtype, np)
    factor = max(scale, dtype.type(1))
    support = dtype.type(_SUPPORT[spec.filter]) * factor
    # In float64, as a sum with a constant of C is.
    centre = (scale.astype(np.float64) * (np.arange(spec.output_size) + 0.5)).astype(dtype)
    start = np.maximum(np.trunc((centre - support).astype(np.float64) + 0.5), 0).astype(np.int64)
    end = np.minimum(np.trunc((centre + support).astype(np.float64) + 0.5), spec.size).astype(np.int64)
    length = np.clip(end - start, 0, math.ceil(support) * 2 + 1)
    tap = np.arange(length.max())[:, None]
    inverse = np.float64(dtype.type(1 / np.float64(factor)))
    offset = ((start + tap).astype(dtype) - centre).astype(np.float64) + 0.5
    weights = np.where(tap < length, _filter(spec.filter)((offset * inverse).astype(dtype)), 0).astype(dtype)
    total = weights.sum(0)
    return Table(
        np.minimum(start + tap, spec.size - 1), weights / np.where(total == 0, dtype.type(1), total), tap < length
    )


def _filter(name: str) -> Any:
    """A filter by its name."""
    if name == "linear":
        return lambda x: np.maximum(1 - np.abs(x), 0)
    if name == "cubic":
        return lambda x: _cubic(np.abs(x), -0.5)  # Keys's a, as Pillow's
    return lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _cubic(x, a: float):
    """The cubic convolution filter of a distance."""
    xp = jnp if isinstance(x, jax.Array) else np
    return xp.where(x <= 1, cubic_near(x, a), xp.where(x < 2, cubic_far(x, a), xp.zeros_like(x)))


def cubic_near(x, a: float):
    """The cubic convolution filter of a distance of 1 at most."""
    return ((a + 2) * x - (a + 3)) * x * x + 1


def cubic_far(x, a: float):
    """The cubic convolution filter of a distance from 1 to 2."""
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def byte_table(spec: AxisSpec) -> tuple[Table, int]:
    """The table of an axis of bytes, of integer weights, and the power of 2 that these are multiplied by.

    It is the largest by which all weights fit into 16 bits, up to 22, as Pillow has it.
    """
    float64 = np.dtype("float64")
    places, weights, _ = make_table(spec, float64)
    if not spec.antialias:
        # Taps beyond the image are one with its border, and PyTorch looks at their sums on the way to the last.
        first = places.min(0)
        merged, largest = np.zeros_like(weights), 0.0
        for place, weight in zip(places, weights, strict=True):
            at = (place - first, np.arange(len(first)))
            merged[at] += weight
            largest = max(largest, merged[at].max())
        places, weights = np.minimum(first + np.arange(len(places))[:, None], spec.size - 1), merged
    else:
        largest = weights.max()
    bits = next((p for p in range(22) if int(0.5 + largest * 2 ** (p + 1)) >= 2**15), 22)
    scaled = weights * 2**bits
    return Table(places, np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int32)), bits


@functools.lru_cache(maxsize=1024)
def _table(spec: AxisSpec, dtype: Any, transposed: bool) -> Table:
    """The table of an axis, or that of its transpose: which outputs each input is read by, and with which weights."""
    table = make_table(spec, dtype)
    if not transposed:
        return table
    places, weights, holds = table
    n, m = spec.size, spec.output_size
    weights = np.ones(places.shape, dtype) if weights is None else weights
    pairs = places * m + np.arange(m)  # (input, output), in this order
    pairs, weights = (pairs.ravel(), weights.ravel()) if holds is None else (pairs[holds], weights[holds])
    pairs, which = np.unique(pairs, return_inverse=True)
    sums = np.zeros(len(pairs), dtype)
    np.add.at(sums, which, weights)
    inputs, outputs = np.divmod(pairs, m)
    count = np.bincount(inputs, minlength=n)
    tap = np.arange(len(pairs)) - (np.cumsum(count) - count)[inputs]
    shape = (count.max(), n)
    found = Table(np.zeros(shape, np.int64), np.zeros(shape, dtype), np.arange(shape[0])[:, None] < count)
    found.places[tap, inputs], found.weights[tap, inputs] = outputs, sums
    return Table(found.places, None if table.weights is None else found.weights, found.holds)


# ---------------------------------------------------------------------------------------------------------------
# The sum
# ---------------------------------------------------------------------------------------------------------------


def weighed(x: jax.Array, axis: int, table: Table) -> jax.Array:
    """The sums that a table describes, along an axis of `x`, added up in the dtype of `x`."""
    others = tuple(a for a in range(x.ndim) if a != axis)

    def tap(places, weights, holds):
        part = jnp.take(x, places, axis, mode="clip")
        if weights is not None:
            part = part * jnp.expand_dims(jnp.asarray(weights, x.dtype), others)
        # What is multiplied by 0 instead might be infinite.
        return part if holds is None else jnp.where(jnp.expand_dims(holds, others), part, jnp.zeros((), x.dtype))

    taps = len(table.places)
    if taps <= _UNROLLED:
        parts = [tap(*(a if a is None else a[t] for a in table)) for t in range(taps)]
        return sum(parts[1:], parts[0])
    rows = Table(*(a if a is None else jnp.asarray(a, jnp.int32 if a is table.places else None) for a in table))

    def add(t, total):
        return total + tap(*(a if a is None else a[t] for a in rows))

    shape = (*x.shape[:axis], table.places.shape[1], *x.shape[axis + 1 :])
    return lax.fori_loop(0, taps, add, jnp.zeros(shape, x.dtype))


def resample(x: jax.Array, axis: int, spec: AxisSpec) -> jax.Array:
    """`x` resampled along one axis. Floats of 16 bits only by the nearest neighbour, which is not a sum."""
    if not is_static((spec.size, spec.output_size)):
        return weighed(x, axis, make_table(spec, _computed(x.dtype), jnp))
    if spec.filter.startswith("nearest") and spec.size == spec.output_size and _stays(spec, _computed(x.dtype)):
        return x
    return resample_p.bind(x, axis=axis, spec=spec, transposed=False)


def _stays(spec: AxisSpec, dtype: Any) -> bool:
    """Whether each position is its own neighbour."""
    return np.array_equal(_table(spec, dtype, False).places[0], np.arange(spec.size))


def _computed(dtype: Any) -> Any:
    """The dtype of the coordinates."""
    return np.dtype("float64" if dtype == np.float64 else "float32")


# ---------------------------------------------------------------------------------------------------------------
# The primitive, which is linear and whose transpose is itself by the other table
# ---------------------------------------------------------------------------------------------------------------

resample_p = Primitive("resample")


def _abstract(x, *, axis: int, spec: AxisSpec, transposed: bool):
    size = spec.size if transposed else spec.output_size
    return ShapedArray((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype, **place(x))


def _compute(x: jax.Array, *, facts: Any, axis: int, spec: AxisSpec, transposed: bool) -> jax.Array:
    table = _table(spec, _computed(x.dtype), transposed)
    if len(table.places) == 1 and table.weights is None:
        return weighed(x, axis, table)
    return weighed(x.astype(wide(x.dtype)), axis, table).astype(x.dtype)


def _transpose(cotangent, x, *, axis: int, spec: AxisSpec, transposed: bool):
    return [resample_p.bind(cotangent, axis=axis, spec=spec, transposed=not transposed)]


def _batch(arguments, dims, *, axis: int, spec: AxisSpec, transposed: bool):
    (x,), (d,) = arguments, dims
    return resample_p.bind(jnp.moveaxis(x, d, 0), axis=axis + 1, spec=spec, transposed=transposed), 0


resample_p.def_abstract_eval(_abstract)
ad.deflinear2(resample_p, _transpose)
batching.primitive_batchers[resample_p] = _batch
register(resample_p, _compute, ("axis", "spec", "transposed"))
