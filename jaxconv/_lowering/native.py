"""Algorithm `native`: compiled kernels for CPUs, called by the program through XLA's foreign function interface.

Arithmetic is float32; the arrays may hold 16-bit floats. The kernels pad, whatever the mode, and take both data
formats as they are, so each op is one call, a bias included: it is added while the output is written, and its gradient
is summed from what is read anyway. Memory for intermediate values is a further result of the call, which XLA plans like
any other of its buffers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import _native
from jaxconv._arrays import wide
from jaxconv._lowering.family import HIDDEN, NOT_KNOWN, Problem
from jaxconv._spec.padding import PADDING_MODES
from jaxconv._spec.shapes import is_static

WITHOUT_PRIMITIVE = False


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
    return _call(problem, w, y)[0]


def weight(problem: Problem, x: jax.Array, y: jax.Array) -> Any:
    """See `Family.weight`."""
    found = _call(problem, x, y)
    return tuple(found) if problem.bias else found[0]


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
