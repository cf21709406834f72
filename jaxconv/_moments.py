"""What normalisation is made of, as JAX primitives: moments of an array, and a pair that are each other's transposes.

The array x is (K0, A, K1, B). Kept are the axes K0 and K1, and over the n = A B positions of the others

    moments   x          ->  m, rest, var       the mean, m + rest, and the mean of the squared distances from it
    spread    u, v, x, m ->  u + v (x - m)      linear in u and v, which have a number for each pair of kept indices
    blend     u, v, x, m, w, g  ->  u + v (x - m) + w g                  linear in u, v and w, and in u, v and g
    products  x, m, g    ->  sum g, sum g (x - m)                                                     linear in g

With r = 1 / sqrt(var + eps), a normalised x with a scale c and a shift b is spread(b - c r rest, c r, x, m). So what
goes back through it is one call of products, which reads x and g once; and what goes back through the moments is a
spread, since their derivatives in direction t, products(x, m, t) = (s0, s1) given, are

    d mean = s0 / n                        d var = 2 (s1 - rest s0) / n

m, a mean as it is rounded, is a constant to all derivatives: nothing depends on it but how sums are rounded. That of
the mean is carried by `rest`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxconv._arrays import wide
from jaxconv._lowering import reductions
from jaxconv._lowering.primitives import batch, bind, is_native, no_tangent, place, register
from jaxconv._lowering.reductions import spread_out

moments_p = Primitive("norm_moments")
moments_p.multiple_results = True
products_p = Primitive("norm_products")
products_p.multiple_results = True
spread_p = Primitive("norm_spread")  # parameter: the dtype of the result
blend_p = Primitive("norm_blend")


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """m, rest and var of shape (K0, K1), in float32 or wider, of `x` of shape (K0, A, K1, B)."""
    return tuple(bind(moments_p, x))


def products(x: jax.Array, m: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum of g and the sum of g * (x - m), of shape (K0, K1) and the dtype of m; g is of the shape of x."""
    return tuple(bind(products_p, x, m, g))


def spread(u: jax.Array, v: jax.Array, x: jax.Array, m: jax.Array, dtype: Any) -> jax.Array:
    """u + v * (x - m), of the shape of x; computed in the dtype of u, v and m."""
    return bind(spread_p, u, v, x, m, dtype=jnp.dtype(dtype))


def blend(u: jax.Array, v: jax.Array, x: jax.Array, m: jax.Array, w: jax.Array, g: jax.Array) -> jax.Array:
    """u + v * (x - m) + w * g, of the shape and dtype of x and g; computed in the dtype of the others."""
    return bind(blend_p, u, v, x, m, w, g)


# ---------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------


def _sums(x: Any, number: int) -> list[ShapedArray]:
    return [ShapedArray((x.shape[0], x.shape[2]), wide(x.dtype), **place(x))] * number


moments_p.def_abstract_eval(lambda x: _sums(x, 3))
products_p.def_abstract_eval(lambda x, m, g: _sums(x, 2))
spread_p.def_abstract_eval(lambda u, v, x, m, *, dtype: ShapedArray(x.shape, dtype, **place(x)))
blend_p.def_abstract_eval(lambda u, v, x, m, w, g: ShapedArray(x.shape, x.dtype, **place(x)))


# ---------------------------------------------------------------------------------------------------------------
# Derivatives
# ---------------------------------------------------------------------------------------------------------------


def _total(tangents: Sequence[Any], like: Any) -> Any:
    """The sum of those tangents that are there."""
    there = [t for t in tangents if type(t) is not ad.Zero]
    return sum(there[1:], there[0]) if there else no_tangent(like)


def _moments_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    m, rest, var = moments(x)
    if type(dx) is ad.Zero:
        return [m, rest, var], [no_tangent(a) for a in (m, rest, var)]
    n = x.shape[1] * x.shape[3]
    s0, s1 = products(x, m, dx)
    return [m, rest, var], [no_tangent(m), s0 / n, 2 * (s1 - rest * s0) / n]


def _products_jvp(primals, tangents):
    """In x the second sum moves by sum g dx, which is linear in dx: dx takes the place of g."""
    (x, m, g), (dx, _, dg) = primals, tangents
    found = products(x, m, g)
    moves: list[list[Any]] = [[], []]
    if type(dg) is not ad.Zero:
        for move, part in zip(moves, products(x, m, dg), strict=True):
            move.append(part)
    if type(dx) is not ad.Zero:
        moves[1].append(products(g, jnp.zeros_like(m), dx)[1])
    return list(found), [_total(move, a) for move, a in zip(moves, found, strict=True)]


def _spread_jvp(primals, tangents, *, dtype):
    (u, v, x, m), (du, dv, dx, _) = primals, tangents
    y = spread(u, v, x, m, dtype)
    moves = []
    if not type(du) is type(dv) is ad.Zero:
        du, dv = (ad.instantiate_zeros(t) for t in (du, dv))
        moves.append(spread(du, dv, x, m, dtype))
    if type(dx) is not ad.Zero:
        moves.append(_scaled(v, dx, dtype))
    return y, _total(moves, y)


def _blend_jvp(primals, tangents):
    (_, v, x, m, w, g), (du, dv, dx, _, dw, dg) = primals, tangents
    y = blend(*primals)
    moves = []
    if type(dw) is not ad.Zero:
        moves.append(blend(ad.instantiate_zeros(du), ad.instantiate_zeros(dv), x, m, dw, g))
    elif not type(du) is type(dv) is ad.Zero:
        moves.append(spread(ad.instantiate_zeros(du), ad.instantiate_zeros(dv), x, m, x.dtype))
    moves += [_scaled(a, t, y.dtype) for a, t in ((v, dx), (w, dg)) if type(t) is not ad.Zero]
    return y, _total(moves, y)


def _scaled(a: jax.Array, x: jax.Array, dtype: Any) -> jax.Array:
    return (spread_out(a) * x.astype(a.dtype)).astype(dtype)


def _products_transpose(cotangents, x, m, g):
    """In g: each of its numbers is in both sums."""
    if all(type(c) is ad.Zero for c in cotangents):
        return [None, None, ad.Zero(g.aval)]
    u, v = (ad.instantiate_zeros(c) for c in cotangents)
    return [None, None, spread(u, v, x, m, g.aval.dtype)]


def _spread_transpose(cotangent, u, v, x, m, *, dtype):
    """In u and v, or in one of them."""
    sums = (None, None) if type(cotangent) is ad.Zero else products(x, m, cotangent)
    pair = [
        (ad.Zero(a.aval) if s is None else s) if ad.is_undefined_primal(a) else None
        for a, s in zip((u, v), sums, strict=True)
    ]
    return [*pair, None, None]


def _blend_transpose(cotangent, u, v, x, m, w, g):
    """In those of u, v and w that are asked for, or in u, v and g."""
    given = (u, v, x, m, w, g)
    if type(cotangent) is ad.Zero:
        return [ad.Zero(a.aval) if ad.is_undefined_primal(a) else None for a in given]
    found = dict.fromkeys(range(6))
    if ad.is_undefined_primal(u) or ad.is_undefined_primal(v):
        found[0], found[1] = products(x, m, cotangent)
    if ad.is_undefined_primal(w):
        found[4] = products(g, jnp.zeros_like(m), cotangent)[1]
    if ad.is_undefined_primal(g):
        found[5] = _scaled(w, cotangent, g.aval.dtype)
    return [found[i] if ad.is_undefined_primal(a) else None for i, a in enumerate(given)]


ad.primitive_jvps[moments_p] = _moments_jvp
ad.primitive_jvps[products_p] = _products_jvp
ad.primitive_jvps[spread_p] = _spread_jvp
ad.primitive_jvps[blend_p] = _blend_jvp
ad.primitive_transposes[products_p] = _products_transpose
ad.primitive_transposes[spread_p] = _spread_transpose
ad.primitive_transposes[blend_p] = _blend_transpose


# ---------------------------------------------------------------------------------------------------------------
# Batching: a mapped axis is kept, so it is a part of K0
# ---------------------------------------------------------------------------------------------------------------

for _p in (moments_p, products_p, spread_p, blend_p):
    batching.primitive_batchers[_p] = partial(batch, primitive=_p)


# ---------------------------------------------------------------------------------------------------------------
# Lowering
# ---------------------------------------------------------------------------------------------------------------


def _compute_moments(x, *, facts):
    return list(reductions.moments(x, is_native(x, **facts)))


def _compute_products(x, m, g, *, facts):
    return list(reductions.products(x, m, g, is_native(x, **facts)))


def _compute_spread(u, v, x, m, *, facts, dtype):
    return reductions.spread(u, v, x, m, dtype)


def _compute_blend(u, v, x, m, w, g, *, facts):
    return reductions.blend(u, v, x, m, w, g, x.dtype == g.dtype and is_native(x, **facts))


register(moments_p, _compute_moments, ())
register(products_p, _compute_products, ())
register(spread_p, _compute_spread, ("dtype",))
register(blend_p, _compute_blend, ())
