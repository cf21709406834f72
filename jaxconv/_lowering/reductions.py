"""What normalisation sums over an array, by the compiled kernels or in plain JAX.

The array is (K0, A, K1, B); what is summed over are A and B, and a result has a number for each pair of kept indices.
XLA's CPU compiler takes such sums on one thread, and reads the array once for each of them; the kernels read it once,
on all threads.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv import _native
from jaxconv._arrays import wide

REDUCED = (1, 3)


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


def spread_out(a: jax.Array) -> jax.Array:
    """(K0, K1) -> (K0, 1, K1, 1): a number for each pair of kept indices, at all positions."""
    return jnp.expand_dims(a, REDUCED)
