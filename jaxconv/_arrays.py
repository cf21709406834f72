"""What every public function does with the arrays it is given."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_HALF_TYPES = (jnp.dtype("float16"), jnp.dtype("bfloat16"))


def as_array(name: str, value: Any) -> jax.Array:
    """`value` with a dtype of JAX; anything but an array of numbers is refused, as JAX's own functions do."""
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcV":
        # Compiled functions take it as it is; `jnp.asarray` would compile a program of its own for each shape.
        return np.asarray(value, jax.dtypes.canonicalize_dtype(value.dtype))  # type: ignore[return-value]
    if hasattr(value, "__jax_array__"):
        return jnp.asarray(value)
    of = f" of dtype {value.dtype}" if isinstance(value, np.ndarray | np.generic) else ""
    raise TypeError(f"{name} must be an array, got {type(value).__name__}{of}; convert it with jnp.asarray({name})")


def wide(dtype: Any) -> Any:
    """The dtype to accumulate in: a long sum of 16-bit floats in 16 bits keeps hardly a digit."""
    return jnp.dtype("float32") if dtype in _HALF_TYPES else dtype


def batched(op: Callable[[jax.Array], jax.Array], rank: int, x: jax.Array) -> jax.Array:
    """`op` of a batch of images, or of one image."""
    return op(x) if x.ndim == rank + 2 else op(x[None])[0]
