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
from jaxconv._lowering import sharded
from jaxconv._lowering.family import HIDDEN, NOT_KNOWN, SEVERAL, Problem
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
    if not is_static(problem.x_shape):
        return "native is called with sizes in numbers, and the image has a symbolic size"
    if problem.spec.rank > 3:
        return f"native takes up to three spatial axes, and the image has shape {problem.x_shape}"
    return None


def output(problem: Problem, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """See `Family.output`."""
    return _run(problem, x, w, *([] if b is None else [b]))[0]


def input(problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
    """See `Family.input`."""
    return _run(problem, w, y)[0]


def weight(problem: Problem, x: jax.Array, y: jax.Array) -> Any:
    """See `Family.weight`."""
    found = _run(problem, x, y)
    return tuple(found) if problem.bias else found[0]


def _run(problem: Problem, *arrays: jax.Array) -> list[jax.Array]:
    """The op's results, computed in parts where devices share it."""
    return sharded.divided(problem, _call, arrays) if problem.devices == SEVERAL else _call(problem, *arrays)


def _call(problem: Problem, *arrays: jax.Array) -> list[jax.Array]:
    """The op's results from one call of the library."""
    op, spec = problem.op, problem.spec
    # Where padding repeats pixels, what it received is added to them in a second step: not in 16 bits.
    through = wide(problem.dtype) if op == "input" and spec.padding_mode != "zeros" else problem.dtype
    low, high = zip(*spec.pads, strict=True)
    per_axis = {"strides": spec.strides, "low": low, "high": high, "dilations": spec.dilations}
    numbers = {
        "groups": spec.groups,
        "mode": PADDING_MODES.index(spec.padding_mode),
        "channels_last": int(spec.data_format == "channels_last"),
    }
    shapes = (problem.x_shape, problem.w_shape, problem.y_shape)
    listed = [n for values in (*shapes, *per_axis.values()) for n in values]
    storage = _native.STORAGES.index(str(through))
    scratch = _native.scratch_bytes(op, spec.rank, [*listed, *numbers.values(), storage, int(problem.bias)])
    like = [jax.ShapeDtypeStruct(problem.shape(array), through) for array in problem.results]
    attributes = {name: np.asarray(values, np.int64) for name, values in per_axis.items()}
    attributes |= {name: np.int64(value) for name, value in numbers.items()}
    call = jax.ffi.ffi_call(_native.target(op), (*like, jax.ShapeDtypeStruct((scratch,), jnp.uint8)))
    *found, _ = call(*(a.astype(through) for a in arrays), **attributes)
    return [a.astype(problem.dtype) for a in found]
