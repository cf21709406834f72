"""What normalisation sums over an array, and what it makes of it then, by the compiled kernels or in plain JAX.

The array is (K0, A, K1, B); what is summed over are A and B, and a result has a number for each pair of kept indices.
XLA's CPU compiler takes such sums on one thread, and reads the array once for each of them; the kernels read it once,
on all threads.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import _native
from jaxconv._arrays import wide

REDUCED = (1, 3)
# Numbers of a row that stays in a core's cache from its sums to its result.
_LARGEST_ROW = 2**16


def moments(x: jax.Array, native: bool) -> Sequence[jax.Array]:
    """The mean m as the dtype has it, what it lacks, and the variance: n in its denominator."""
    acc = wide(x.dtype)
    if native:
        like = jax.ShapeDtypeStruct((x.shape[0], x.shape[2]), acc)
        return jax.ffi.ffi_call(_native.target("moments"), (like,) * 3)(x)
    x = x.astype(acc)
    m = x.mean(REDUCED, keepdims=True)
    # The long sum of m is rough where the numbers are large; without it they are small, and so is what m lacks.
    x = x - m
    rest = x.mean(REDUCED, keepdims=True)
    x = x - rest
    return m[:, 0, :, 0], rest[:, 0, :, 0], (x * x).mean(REDUCED)


def products(x: jax.Array, m: jax.Array, g: jax.Array, native: bool) -> Sequence[jax.Array]:
    """The sum of g, and the sum of g * (x - m)."""
    acc = m.dtype
    if native:
        both = jnp.promote_types(x.dtype, g.dtype)
        like = jax.ShapeDtypeStruct(m.shape, acc)
        return jax.ffi.ffi_call(_native.target("products"), (like,) * 2)(x.astype(both), m, g.astype(both))
    x, g = x.astype(acc), g.astype(acc)
    return g.sum(REDUCED), (g * (x - spread_out(m))).sum(REDUCED)


def spread(u: jax.Array, v: jax.Array, x: jax.Array, m: jax.Array, dtype: Any) -> jax.Array:
    """u + v * (x - m). XLA makes one pass of this and of an activation after it, which a kernel would keep apart."""
    return (spread_out(u) + spread_out(v) * (x.astype(v.dtype) - spread_out(m))).astype(dtype)


def blend(u, v, x: jax.Array, m, w, g: jax.Array, native: bool) -> jax.Array:
    """u + v * (x - m) + w * g."""
    if native:
        return jax.ffi.ffi_call(_native.target("blend"), jax.ShapeDtypeStruct(x.shape, x.dtype))(u, v, x, m, w, g)
    moved = spread_out(v) * (x.astype(v.dtype) - spread_out(m)) + spread_out(w) * g.astype(w.dtype)
    return (spread_out(u) + moved).astype(x.dtype)


def fit_rows(x: jax.Array) -> bool:
    """Whether the kernels take the rows of `x` of shape (K0, R, C) as those of a layer norm."""
    return x.shape[2] <= _LARGEST_ROW


def layer(x: jax.Array, c: jax.Array, b: jax.Array, eps: float) -> Sequence[jax.Array]:
    """Each row normalised, scaled and shifted, and its moments, by the kernel."""
    like = jax.ShapeDtypeStruct(x.shape, x.dtype), *[jax.ShapeDtypeStruct(x.shape[:2], c.dtype)] * 3
    return jax.ffi.ffi_call(_native.target("layer"), like)(x, c, b, eps=np.float32(eps))


def layer_back(x: jax.Array, m, rest, var, c: jax.Array, g: jax.Array, eps: float) -> Sequence[jax.Array]:
    """The gradients of x, c and b, by the kernel."""
    like = jax.ShapeDtypeStruct(x.shape, x.dtype), *[jax.ShapeDtypeStruct(c.shape, c.dtype)] * 2
    return jax.ffi.ffi_call(_native.target("layer_back"), like)(x, m, rest, var, c, g, eps=np.float32(eps))


def spread_out(a: jax.Array) -> jax.Array:
    """(K0, K1) -> (K0, 1, K1, 1): a number for each pair of kept indices, at all positions."""
    return jnp.expand_dims(a, REDUCED)
