"""Algorithm `native`: compiled kernels for CPUs, called by the program through XLA's foreign function interface.

Arithmetic is float32; the arrays may hold 16-bit floats. The kernels pad, whatever the mode, and take both data
formats as they are, so each op is one call, a bias included: it is added while the output is written, and its gradient
is summed from what is read anyway. Memory for intermediate values is a further result of the call, which XLA plans like
any other of its buffers.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv import _native
from jaxconv._arrays import wide
from jaxconv._lowering.family import HIDDEN, NOT_KNOWN, ONE, Problem, make_problem
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.padding import PADDING_MODES
from jaxconv._spec.shapes import is_static, span

WITHOUT_PRIMITIVE = False

# Of a stride with more phases than this the kernels' passes are too many to be worth it where they leave gaps.
_MOST_PHASES = 8


def missing() -> str | None:
    """See `Family.missing`."""
    return _native.unavailable


def cannot(problem: Problem) -> str | None:
    """See `Family.cannot`."""
    if _native.unavailable:
        return _native.unavailable
    if str(problem.dtype) not in _native.STORAGES:
        return f"native computes in float32, and the arrays are of dtype {problem.dtype}"
    if problem.platform not in ("cpu", NOT_KNOWN):
        return "native computes on CPUs, and the program is for another platform"
    if problem.portable:
        return "native calls a library of this package, and an exported program must run without it"
    if problem.devices == HIDDEN:
        return (
            "it is not known here how devices share it, as within a shard_map that divides along some axes of its "
            "mesh only"
        )
    if not is_static(problem.x_shape, problem.w_shape, problem.y_shape):
        return "native is called with sizes in numbers, and the image has a symbolic size"
    if problem.spec.rank > 3:
        return f"native takes up to three spatial axes, and the image has shape {problem.x_shape}"
    return _native.refusal(problem.op, problem.spec.rank, _numbers(problem))


def output(problem: Problem, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """See `Family.output`."""
    return _call(problem, x, w, *([] if b is None else [b]))[0]


def input(problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
    """See `Family.input`."""
    return _stamped(problem, w, y) if _leaves_gaps(problem) else _call(problem, w, y)[0]


def weight(problem: Problem, x: jax.Array, y: jax.Array) -> Any:
    """See `Family.weight`."""
    found = _call(problem, x, y)
    return tuple(found) if problem.bias else found[0]


def _leaves_gaps(problem: Problem) -> bool:
    """Whether `input` puts the kernel down at each position of y with room between, in many phases of the stride.

    The kernels make a pass for each phase, most of them short and some without a tap.
    """
    spec = problem.spec
    apart = all(s >= span(k, d) for s, k, d in zip(spec.strides, problem.w_shape[2:], spec.dilations, strict=True))
    one_by_one = all(k == 1 or d == 1 for k, d in zip(problem.w_shape[2:], spec.dilations, strict=True))
    phases = math.prod(spec.strides)
    return apart and one_by_one and phases > _MOST_PHASES and spec.padding_mode == "zeros" and problem.devices == ONE


def _stamped(problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
    """The op `input` as a product for each position of y, whose results are put side by side with zeros between."""
    spec, kernel = problem.spec, problem.w_shape[2:]
    groups, rank, taps = spec.groups, spec.rank, math.prod(kernel)
    # (O, C / groups, *kernel) -> (C * taps, O / groups, 1, ...)
    matrix = jnp.moveaxis(w.reshape(groups, -1, w.shape[1] * taps), 1, 2).reshape(
        -1, w.shape[0] // groups, *(1,) * rank
    )
    ones = (1,) * rank
    each = ConvSpec(ones, ((0, 0),) * rank, ones, groups, "zeros", spec.data_format)
    facts = {"platform": problem.platform, "portable": problem.portable, "devices": problem.devices}
    product = make_problem("output", each, y.shape, matrix.shape, (), problem.dtype, **facts)
    stamps = output(product, y, matrix)
    # The taps of an axis beside its positions, zeros up to the next, and the two as one axis.
    c, axes = spec.channel_axis, spec.spatial_axes
    stamps = stamps.reshape(*stamps.shape[:c], w.shape[1] * groups, *kernel, *stamps.shape[c + 1 :])
    at = [axis + rank if axis > c else axis for axis in axes]
    order = [
        0,
        *([c] if c == 1 else []),
        *(a for i in range(rank) for a in (at[i], c + 1 + i)),
        *([] if c == 1 else [c]),
    ]
    first = 2 if c == 1 else 1  # of the pairs
    gaps = [(0, 0, 0)] * len(order)
    for i, (k, s) in enumerate(zip(kernel, spec.strides, strict=True)):
        gaps[first + 2 * i + 1] = (0, s - k, 0)
    zero = jnp.zeros((), stamps.dtype)
    x = lax.pad(stamps.transpose(order), zero, gaps)
    sizes = [n * s for n, s in zip(spec.size_of(y.shape), spec.strides, strict=True)]
    x = x.reshape(spec.image_shape(x.shape[0], w.shape[1] * groups, sizes))
    around = [(0, 0, 0)] * x.ndim
    for axis, n, (low, _) in zip(axes, sizes, spec.pads, strict=True):
        around[axis] = (-low, problem.x_shape[axis] + low - n, 0)
    return lax.pad(x, zero, around)


def _call(problem: Problem, *arrays: jax.Array) -> list[jax.Array]:
    """The op's results from one call of the library."""
    through = _storage(problem)
    scratch = _native.scratch_bytes(problem.op, problem.spec.rank, _numbers(problem))
    results = [jax.ShapeDtypeStruct(problem.shape(array), through) for array in problem.results]
    attributes = {name: np.asarray(values, np.int64) for name, values in _per_axis(problem).items()}
    attributes |= {name: np.int64(value) for name, value in _scalars(problem).items()}
    call = jax.ffi.ffi_call(_native.target(problem.op), (*results, jax.ShapeDtypeStruct((scratch,), jnp.uint8)))
    *found, _ = call(*(a.astype(through) for a in arrays), **attributes)
    return [a.astype(problem.dtype) for a in found]


def _storage(problem: Problem) -> np.dtype:
    """The dtype of the arrays of a call."""
    # Where padding repeats pixels, what it received is added to them in a second step: not in 16 bits.
    repeats = problem.op == "input" and problem.spec.padding_mode != "zeros"
    return jnp.dtype(wide(problem.dtype)) if repeats else problem.dtype


def _per_axis(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The attributes of a call that have one number per spatial axis."""
    low, high = zip(*problem.spec.pads, strict=True)
    return {"strides": problem.spec.strides, "low": low, "high": high, "dilations": problem.spec.dilations}


def _scalars(problem: Problem) -> dict[str, int]:
    """The other attributes of a call."""
    return {
        "groups": problem.spec.groups,
        "mode": PADDING_MODES.index(problem.spec.padding_mode),
        "channels_last": int(problem.spec.data_format == "channels_last"),
    }


def _numbers(problem: Problem) -> list[int]:
    """A call in numbers, as `_native.scratch_bytes` has them."""
    lists = (problem.x_shape, problem.w_shape, problem.y_shape, *_per_axis(problem).values())
    storage = _native.STORAGES.index(str(_storage(problem)))
    return [*(n for values in lists for n in values), *_scalars(problem).values(), storage, int(problem.bias)]
