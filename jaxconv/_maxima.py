"""Maxima of windows, and what goes back through them, as JAX primitives.

The maximum of a window is at one of its taps, which has a number in row order of the window:

    maxima  x         ->  y, which   the maxima, and the number of the tap of each, a byte
    pick    t, which  ->  like y     what t has at those taps                                           linear in t
    put     g, which  ->  like x     each g added where its tap is: the transpose of pick               linear in g

The derivative of the maxima in direction t is pick(t, which). What is an array of bytes has none, so that of pick and
put is their own in t and g, and derivatives of every order are made of these two. Where only the maxima are asked for,
the numbers of their taps are not found.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxconv._lowering import pooling
from jaxconv._lowering.primitives import batch, bind, is_native, no_tangent, place, register
from jaxconv._spec.pooling import PoolSpec

maxima_p = Primitive("pool_maxima")  # parameters: the pool, and whether the taps are found
maxima_p.multiple_results = True
pick_p = Primitive("pool_pick")  # parameter: the pool
put_p = Primitive("pool_put")  # parameters: the pool, and the spatial size of the result


def maxima(x: jax.Array, spec: PoolSpec) -> jax.Array:
    """The maximum of each window of batched images of static spatial size; a window has at most 255 taps."""
    (y,) = bind(maxima_p, x, spec=spec, indexed=False)
    return y


def maxima_and_taps(x: jax.Array, spec: PoolSpec) -> tuple[jax.Array, jax.Array]:
    """The maxima, and the numbers of their taps, uint8: of the first of equal maxima, or of the last NaN."""
    return tuple(bind(maxima_p, x, spec=spec, indexed=True))


def pick(t: jax.Array, which: jax.Array, spec: PoolSpec) -> jax.Array:
    """What images `t` have at the taps of that number, zero outside of them."""
    return bind(pick_p, t, which, spec=spec)


def put(g: jax.Array, which: jax.Array, spec: PoolSpec, size: Sequence[int]) -> jax.Array:
    """The transpose of `pick` for images of that spatial size."""
    return bind(put_p, g, which, spec=spec, size=tuple(size))


# ---------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------


def _like(x: Any, spec: PoolSpec, size: Sequence[int], dtype: Any) -> ShapedArray:
    return ShapedArray(pooling.with_size(x.shape, spec, size), dtype, **place(x))


@maxima_p.def_abstract_eval
def _maxima_shapes(x, *, spec, indexed):
    size = spec.output_size(pooling.size_of(x, spec))
    return [_like(x, spec, size, dtype) for dtype in (x.dtype, jnp.dtype("uint8"))[: 1 + indexed]]


pick_p.def_abstract_eval(lambda t, which, *, spec: ShapedArray(which.shape, t.dtype, **place(t)))
put_p.def_abstract_eval(lambda g, which, *, spec, size: _like(g, spec, size, g.dtype))


# ---------------------------------------------------------------------------------------------------------------
# Derivatives
# ---------------------------------------------------------------------------------------------------------------


def _maxima_jvp(primals, tangents, *, spec, indexed):
    (x,), (dx,) = primals, tangents
    if type(dx) is ad.Zero:
        found = bind(maxima_p, x, spec=spec, indexed=indexed)
        return found, [no_tangent(a) for a in found]
    y, which = maxima_and_taps(x, spec)
    dy = pick(dx, which, spec)
    return ([y, which], [dy, no_tangent(which)]) if indexed else ([y], [dy])


def _pick_transpose(cotangent, t, which, *, spec):
    if type(cotangent) is ad.Zero:
        return [ad.Zero(t.aval), None]
    return [put(cotangent, which, spec, pooling.size_of(t.aval, spec)), None]


def _put_transpose(cotangent, g, which, *, spec, size):
    return [ad.Zero(g.aval) if type(cotangent) is ad.Zero else pick(cotangent, which, spec), None]


ad.primitive_jvps[maxima_p] = _maxima_jvp
ad.defjvp(pick_p, lambda dt, t, which, *, spec: pick(dt, which, spec), None)
ad.defjvp(put_p, lambda dg, g, which, *, spec, size: put(dg, which, spec, size), None)
ad.primitive_transposes[pick_p] = _pick_transpose
ad.primitive_transposes[put_p] = _put_transpose


# ---------------------------------------------------------------------------------------------------------------
# Batching: a mapped axis is a part of the batch
# ---------------------------------------------------------------------------------------------------------------

for _p in (maxima_p, pick_p, put_p):
    batching.primitive_batchers[_p] = partial(batch, primitive=_p)


# ---------------------------------------------------------------------------------------------------------------
# Lowering
# ---------------------------------------------------------------------------------------------------------------


def _compute_maxima(x, *, facts, spec, indexed):
    native = is_native(x, **facts) and pooling.fits(spec, pooling.size_of(x, spec))
    return pooling.maxima(x, spec, indexed, native)


def _compute_pick(t, which, *, facts, spec):
    return pooling.pick(t, which, spec)


def _compute_put(g, which, *, facts, spec, size):
    return pooling.put(g, which, spec, size, is_native(g, **facts) and pooling.fits(spec, size))


register(maxima_p, _compute_maxima, ("spec", "indexed"))
register(pick_p, _compute_pick, ("spec",))
register(put_p, _compute_put, ("spec", "size"))
