"""What every public function does with the arrays it is given."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer, max_dim

from jaxconv._spec.messages import show
from jaxconv._spec.shapes import Size, is_static, span

_HALF_TYPES = (jnp.dtype("float16"), jnp.dtype("bfloat16"))


def as_array(name: str, value: Any) -> jax.Array:
    """`value` with a dtype of JAX; anything but an array of numbers is refused, as JAX's own functions do."""
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            raise TypeError(f"{name} must be an array of numbers, got one of {value.dtype}, random keys")
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcV" and _is_jaxs(value.dtype):
        # Compiled functions take it as it is; `jnp.asarray` would compile a program of its own for each shape.
        return np.asarray(value, jax.dtypes.canonicalize_dtype(value.dtype))  # type: ignore[return-value]
    if hasattr(value, "__jax_array__"):
        return jnp.asarray(value)
    of = f" of dtype {value.dtype}" if isinstance(value, np.ndarray | np.generic) else ""
    raise TypeError(f"{name} must be an array, got {type(value).__name__}{of}; convert it with jnp.asarray({name})")


def _is_jaxs(dtype: np.dtype) -> bool:
    """Whether JAX has numbers of this dtype; structures and C's long double it has not."""
    return dtype.type not in (np.void, np.longdouble, np.clongdouble)


def number_dtype(name: str, value: Any) -> np.dtype:
    """An argument that names a dtype of numbers, one that JAX has as it is switched."""
    try:
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            raise TypeError  # NumPy takes an array's own dtype
        wanted = np.dtype(jax.dtypes.canonicalize_dtype(value) if value in _PYTHONS else value)
    except Exception:  # what NumPy raises of a value that is no dtype has no one type
        raise TypeError(f"{name} must be a dtype of numbers, such as 'float32', got {show(value)}") from None
    if _kind(wanted) is None:
        raise TypeError(f"{name} must be a dtype of numbers, such as 'float32', got {wanted}")
    if (there := jax.dtypes.canonicalize_dtype(wanted)) != wanted:
        raise ValueError(
            f"{name} is {wanted}, and JAX has 64 bits switched off; use {there}, or switch them on: "
            "jax.config.update('jax_enable_x64', True)"
        )
    return wanted


def element_type(value: Any, dtype: Any) -> np.dtype | None:
    """`preferred_element_type`, in which numbers of `dtype` are added up; None where that is left open.

    As lax asks for: as wide as the arguments or wider, and of the same kind, or for integers floats.
    """
    if value is None:
        return None
    wanted = number_dtype("preferred_element_type", value)
    own, kind = _kind(dtype), _kind(wanted)
    if not (own == kind or (own in _INTEGERS and kind == "floating")) or wanted.itemsize < dtype.itemsize:
        raise TypeError(
            f"preferred_element_type must be as wide as the arguments' {dtype} or wider, and of its kind, got "
            f"{wanted}; convert the result instead, by .astype({str(wanted)!r})"
        )
    return wanted


def float_dtype(name: str, value: Any) -> np.dtype:
    """An argument that names the dtype of parameters, or of what is computed with them."""
    dtype = number_dtype(name, value)
    if _kind(dtype) in _INTEGERS:
        raise TypeError(f"{name} must be a dtype of floats or complex numbers, such as 'float32', got {dtype}")
    return dtype


_PYTHONS = (int, float, complex)
_INTEGERS = ("signedinteger", "unsignedinteger")


def _kind(dtype: Any) -> str | None:
    """What numbers a dtype is of; None where of none."""
    kinds = (*_INTEGERS, "floating", "complexfloating")
    return next((kind for kind in kinds if jnp.issubdtype(dtype, getattr(jnp, kind))), None)


def promoted(**arrays: Any) -> np.dtype:
    """The dtype of which JAX makes arrays of different ones, as its promotion is switched."""
    given = {name: a for name, a in arrays.items() if a is not None}
    try:
        return jnp.result_type(*given.values())
    except ValueError:
        dtypes = ", ".join(f"{name} has dtype {a.dtype}" for name, a in given.items())
        raise TypeError(
            f"{dtypes}, and JAX promotes these to no common dtype; give the layer dtype='float32', or convert the input"
        ) from None


def mapped_size(name: str, axes: tuple[str, ...]) -> int:
    """The product of the sizes of mapped axes, of `vmap` or `shard_map`, that an argument names."""
    try:
        return lax.psum(1, axes)
    except NameError:
        raise ValueError(
            f"{name} is {axes}, and no axis of that name is mapped here; give jax.vmap, or what else calls this, the "
            f"same axis_name, or leave {name} out"
        ) from None


def parse_precision(value: Any) -> Any:
    """`precision`, checked and hashable: None, or one or two of `lax.Precision`."""
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(_one_precision(v) for v in value)
    return _one_precision(value)


def _one_precision(value: Any) -> lax.Precision:
    if isinstance(value, lax.Precision):
        return value
    try:
        if isinstance(value, str):
            return lax.Precision(value)
    except ValueError:
        pass
    raise (ValueError if isinstance(value, str) else TypeError)(
        f"precision must be None, 'default', 'high', 'highest', a jax.lax.Precision, or two of these, got {show(value)}"
    )


def check_room(shape: Sequence[Size], dtype: Any, fix: str) -> None:
    """Refuses a result that is to be computed now and that this machine cannot hold.

    XLA would take hours to compile some of these calls, and end the process after others. Where shapes alone are asked
    for, as by `jax.eval_shape`, nothing is refused.
    """
    # The product of symbolic sizes is one, too.
    if type(n := math.prod(shape)) is int and n * dtype.itemsize > _MEMORY and not _is_traced():
        refuse_for_room(shape, dtype, fix)


def refuse_for_room(shape: Sequence[Size], dtype: Any, fix: str) -> None:
    """Refuses a result that is known to be computed, if this machine cannot hold it."""
    if is_static(shape) and (size := math.prod(shape) * dtype.itemsize) > _MEMORY:
        raise ValueError(
            f"the result would have the shape {tuple(shape)} and take {size / 2**30:.0f} GiB, more than twice the "
            f"memory of this machine; {fix}, or ask jax.eval_shape for the shape alone"
        )


def _is_traced() -> bool:
    """Whether what is called now becomes part of a program, in place of being computed."""
    return isinstance(lax.iota(np.int32, 1), Tracer)


def _memory() -> float:
    """Twice the memory of this machine in bytes, since some can be lent by a disk; infinite where it is not known."""
    try:
        return 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return math.inf


_MEMORY = _memory()


def wide(dtype: Any) -> Any:
    """The dtype to accumulate in: a long sum of 16-bit floats in 16 bits keeps hardly a digit."""
    return jnp.dtype("float32") if dtype in _HALF_TYPES else dtype


def every(x: jax.Array, first: int, number: Size, step: int, axis: int) -> jax.Array:
    """Each `step`-th position of an axis: `number` of them from `first` on, and no more than that past the last."""
    if isinstance(number, int):
        return lax.slice_in_dim(x, first, first + (number - 1) * step + 1, step, axis)
    # A symbolic number may turn out to be negative, where `lax.reduce_window` has no windows; and JAX cannot infer the
    # shape of a strided slice's gradient. So whole steps are taken, `room_for_taps` being there, and the first of each.
    number = max_dim(number, 0)
    steps = lax.slice_in_dim(x, first, first + number * step, 1, axis)
    steps = steps.reshape(*x.shape[:axis], number, step, *x.shape[axis + 1 :])
    return lax.index_in_dim(steps, 0, axis + 1, keepdims=False)


def room_for_taps(kernel: int, stride: int, dilation: int) -> int:
    """Positions after an axis of symbolic size n with which what `every` takes of it lies within it, for all taps.

    With t < kernel and m = floor((n - span) / stride) + 1 windows, t * dilation + max(m, 0) * stride is at most
    n + stride - 1, or (kernel - 1) * dilation where m is negative; JAX can infer both.
    """
    return max(stride - 1, span(kernel, dilation) - 1)


def batched(op: Callable[[jax.Array], jax.Array], rank: int, x: jax.Array) -> jax.Array:
    """`op` of a batch of images, or of one image."""
    return op(x) if x.ndim == rank + 2 else op(x[None])[0]
