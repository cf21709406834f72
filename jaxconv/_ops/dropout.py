"""What the layers do that drop parts of an array at random."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxconv._ops.meshes import divided
from jaxconv._spec.dropout import check_dropped_dtype


def dropped(x: jax.Array, key: jax.Array | None, p: float, axes: tuple[int, ...]) -> jax.Array:
    """`x`, of which parts are zeros, each with the probability `p`, and the others scaled by 1 / (1 - p).

    So the expectation is that of `x`. With p = 1 all are zeros, and no gradient is NaN.

    Args:
        x: an array of floats or complex numbers.
        key: what is drawn from; not needed where p is 0 or 1.
        p: the probability.
        axes: the axes along which is decided anew; whole along the others.
    """
    check_dropped_dtype(x.dtype)
    if p == 0:
        return x
    if key is None or p == 1:
        return jnp.zeros_like(x)
    return divided(_dropped, (x, key), [(0, axis) for axis in range(x.ndim)], p=p, axes=axes)


@partial(jax.jit, static_argnames=("p", "axes"), inline=True)
def _dropped(x: jax.Array, key: jax.Array, p: float, axes: tuple[int, ...]) -> jax.Array:
    keep = jax.random.bernoulli(key, 1 - p, [n if axis in axes else 1 for axis, n in enumerate(x.shape)])
    return jnp.where(keep, x * jnp.asarray(1 / (1 - p), x.dtype), 0)
