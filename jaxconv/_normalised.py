"""Normalised arrays as JAX primitives, whose gradient reads the array once for its sums and once for the result.

With mean = m + rest, r = 1 / sqrt(var + eps) and xn = (x - m - rest) r,

    channels  x (K0, A, K1, B), c, b (K0, K1)  ->  c xn + b, m, rest, var    moments over A, B and each group of K1
    layer     x (K0, R, C),     c, b (K0, C)   ->  c xn + b, m, rest, var    moments over C: a number for each row

and m, rest and var are the moments of `_moments.py`, for each pair of kept indices. In direction (dx, dc, db) the
moments move as that file says, r by -r^3 dvar / 2, and the result by

    move      c (r (dx - d mean) + (x - m - rest) dr) + dc xn + db                            linear in dx, dc and db

which is a primitive for the sake of its transpose. Let g go back, h = c g and n the positions of a mean. What belongs
to x is then a single expression, where rules for each part of the above would add up two arrays:

    back      r h + u + v (x - m)      with v = -r^3 (sum h (x - m) - rest sum h) / n,  u = -r sum h / n - v rest

beside sum g xn for c and sum g for b. Derivatives of these are those of their definitions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxconv import _moments
from jaxconv._arrays import wide
from jaxconv._lowering import reductions
from jaxconv._lowering.primitives import batch, bind, is_native, no_tangent, place, register

channels_p = Primitive("norm_channels")  # parameters: into how many groups K1 is divided, and eps
channels_move_p = Primitive("norm_channels_move")
layer_p = Primitive("norm_layer")  # parameter: eps
layer_move_p = Primitive("norm_layer_move")
layer_back_p = Primitive("norm_layer_back")
_ALL = (channels_p, channels_move_p, layer_p, layer_move_p, layer_back_p)
for _p in _ALL:
    _p.multiple_results = True


def channels(x: jax.Array, c: jax.Array, b: jax.Array, groups: int, eps: float) -> list[jax.Array]:
    """The result, and m, rest and var of (K0, K1); `c` and `b` are of float32 or wider."""
    return bind(channels_p, x, c, b, groups=groups, eps=eps)


def layer(x: jax.Array, c: jax.Array, b: jax.Array, eps: float) -> list[jax.Array]:
    """The result, and m, rest and var of (K0, R); `c` and `b` are of float32 or wider."""
    return bind(layer_p, x, c, b, eps=eps)


# ---------------------------------------------------------------------------------------------------------------
# Their definitions
# ---------------------------------------------------------------------------------------------------------------


def _channels(x, c, b, *, groups, eps):
    images, places, count, following = x.shape
    # The channels of a group are side by side, and so are all its values at a place.
    of_groups = _moments.moments(x.reshape(images, places, groups, count // groups * following))
    m, rest, var = (_to_channels(a, count) for a in of_groups)
    v = c * lax.rsqrt(var + eps)
    return [_moments.spread(b - v * rest, v, x, m, x.dtype), m, rest, var]


def _channels_move(x, m, rest, var, c, dx, dc, db, *, groups, eps):
    r, v, n = _factors(x, var, c, groups, eps)
    s0, s1 = (_over_group(s, groups) for s in _moments.products(x, m, dx))
    drest, dvar = s0 / n, 2 * (s1 - rest * s0) / n
    dv = dc * r - 0.5 * c * r**3 * dvar
    return [_moments.blend(db - dv * rest - v * drest, dv, x, m, v, dx), drest, dvar]


def _channels_back(x, m, rest, var, c, g, *, groups, eps):
    r, v, n = _factors(x, var, c, groups, eps)
    s0, s1 = _moments.products(x, m, g)
    of_xn = r * (s1 - rest * s0)
    to_v = -_over_group(c * of_xn, groups) * r**2 / n
    to_u = -_over_group(v * s0, groups) / n - to_v * rest
    return [_moments.blend(to_u, to_v, x, m, v, g), of_xn, s0]


def _layer(x, c, b, *, eps):
    m, rest, var = _moments.moments(_rows(x))
    y = _normalised(x, m, rest, var, eps) * c[:, None] + b[:, None]
    return [y.astype(x.dtype), m, rest, var]


def _layer_move(x, m, rest, var, c, dx, dc, db, *, eps):
    n, r = x.shape[2], lax.rsqrt(var + eps)
    s0, s1 = _moments.products(_rows(x), m, _rows(dx))
    drest, dvar = s0 / n, 2 * (s1 - rest * s0) / n
    xn = _normalised(x, m, rest, var, eps)
    moved = r[..., None] * (dx.astype(c.dtype) - drest[..., None]) - (0.5 * r**2 * dvar)[..., None] * xn
    return [(c[:, None] * moved + dc[:, None] * xn + db[:, None]).astype(x.dtype), drest, dvar]


def _layer_back(x, m, rest, var, c, g, *, eps):
    xn, g = _normalised(x, m, rest, var, eps), g.astype(c.dtype)
    h = c[:, None] * g
    rough = h - h.mean(2, keepdims=True) - xn * (h * xn).mean(2, keepdims=True)
    return [(lax.rsqrt(var + eps)[..., None] * rough).astype(x.dtype), (g * xn).sum(1), g.sum(1)]


def _factors(x, var, c, groups, eps):
    """r, c r, and over how many positions a mean is taken."""
    r = lax.rsqrt(var + eps)
    return r, c * r, x.shape[1] * x.shape[3] * (x.shape[2] // groups)


def _to_channels(a: jax.Array, count: int) -> jax.Array:
    """(K0, groups) -> (K0, K1): a number for each group, at all its channels."""
    images, groups = a.shape
    return jnp.broadcast_to(a[:, :, None], (images, groups, count // groups)).reshape(images, count)


def _over_group(a: jax.Array, groups: int) -> jax.Array:
    """The sum over the channels of each group, at all of them."""
    images, count = a.shape
    return a if groups == count else _to_channels(a.reshape(images, groups, count // groups).sum(2), count)


def _rows(x: jax.Array) -> jax.Array:
    """(K0, R, C) as an array that is reduced over its last axis."""
    return x.reshape(x.shape[0], 1, x.shape[1], x.shape[2])


def _normalised(x, m, rest, var, eps):
    return ((x.astype(m.dtype) - m[..., None]) - rest[..., None]) * lax.rsqrt(var + eps)[..., None]


# ---------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------


def _shapes(x: Any, *numbers: tuple[Any, ...]) -> list[ShapedArray]:
    """An array like x, and others of float32 or wider."""
    kind = place(x)
    return [ShapedArray(x.shape, x.dtype, **kind), *(ShapedArray(s, wide(x.dtype), **kind) for s in numbers)]


channels_p.def_abstract_eval(lambda x, c, b, **_: _shapes(x, *[c.shape] * 3))
layer_p.def_abstract_eval(lambda x, c, b, **_: _shapes(x, *[x.shape[:2]] * 3))
channels_move_p.def_abstract_eval(lambda x, m, *_, **__: _shapes(x, *[m.shape] * 2))
layer_move_p.def_abstract_eval(lambda x, m, *_, **__: _shapes(x, *[m.shape] * 2))
layer_back_p.def_abstract_eval(lambda x, m, rest, var, c, g, **_: _shapes(x, *[c.shape] * 2))


# ---------------------------------------------------------------------------------------------------------------
# Derivatives
# ---------------------------------------------------------------------------------------------------------------


def _norm_jvp(primals, tangents, *, norm: Primitive, move: Primitive, scaled: Callable[..., jax.Array], **params):
    (x, c, b), (dx, dc, db) = primals, tangents
    found = y, m, rest, var = bind(norm, x, c, b, **params)
    if all(type(t) is ad.Zero for t in tangents):
        return found, [no_tangent(a) for a in found]
    dc, db = (ad.instantiate_zeros(t) for t in (dc, db))
    if type(dx) is ad.Zero:  # the moments stand still
        return found, [scaled(x, m, rest, var, dc, db, y.dtype, **params), *(no_tangent(a) for a in (m, rest, var))]
    dy, drest, dvar = bind(move, x, m, rest, var, c, dx, dc, db, **params)
    return found, [dy, no_tangent(m), drest, dvar]


def _scaled_channels(x, m, rest, var, c, b, dtype, *, groups, eps):
    v = c * lax.rsqrt(var + eps)
    return _moments.spread(b - v * rest, v, x, m, dtype)


def _scaled_layer(x, m, rest, var, c, b, dtype, *, eps):
    return (_normalised(x, m, rest, var, eps) * c[:, None] + b[:, None]).astype(dtype)


def _linear_jvp(primals, tangents, *, primitive: Primitive, definition: Callable, linear: int, **params):
    """Of what is linear in its arguments from number `linear` on."""
    if all(type(t) is ad.Zero for t in tangents):
        found = bind(primitive, *primals, **params)
        return found, [no_tangent(a) for a in found]
    given = [ad.instantiate_zeros(t) for t in tangents]
    if all(type(t) is ad.Zero for t in tangents[:linear]):
        return tuple(bind(primitive, *primals[:linear], *of, **params) for of in (primals[linear:], given[linear:]))
    return jax.jvp(partial(definition, **params), tuple(primals), tuple(given))


def _linear_transpose(cotangents, *arguments, definition: Callable, back: Callable | None, **params):
    """By `back`, where nothing but the result of `move` is asked about; otherwise as the definition is transposed."""
    unknown = [i for i, a in enumerate(arguments) if ad.is_undefined_primal(a)]
    answer: list[Any] = [None] * len(arguments)
    if all(type(c) is ad.Zero for c in cotangents):
        found = [ad.Zero(arguments[i].aval) for i in unknown]
    elif back is not None and all(type(c) is ad.Zero for c in cotangents[1:]):
        every = back(*arguments[:5], cotangents[0], **params)
        found = [every[i - 5] for i in unknown]
    else:

        def of_unknown(*given):
            whole = list(arguments)
            for i, a in zip(unknown, given, strict=True):
                whole[i] = a
            return definition(*whole, **params)

        zeros = (ad.instantiate_zeros(ad.Zero(arguments[i].aval)) for i in unknown)
        found = jax.vjp(of_unknown, *zeros)[1]([ad.instantiate_zeros(c) for c in cotangents])
    for i, a in zip(unknown, found, strict=True):
        answer[i] = a
    return answer


def layer_back(x, m, rest, var, c, g, *, eps) -> list[jax.Array]:
    """What belongs to x, c and b where g goes back through `layer`."""
    return bind(layer_back_p, x, m, rest, var, c, g, eps=eps)


for _norm, _move, _moved, _scaled, _goes_back in (
    (channels_p, channels_move_p, _channels_move, _scaled_channels, _channels_back),
    (layer_p, layer_move_p, _layer_move, _scaled_layer, layer_back),
):
    ad.primitive_jvps[_norm] = partial(_norm_jvp, norm=_norm, move=_move, scaled=_scaled)
    ad.primitive_jvps[_move] = partial(_linear_jvp, primitive=_move, definition=_moved, linear=5)
    ad.primitive_transposes[_move] = partial(_linear_transpose, definition=_moved, back=_goes_back)
ad.primitive_jvps[layer_back_p] = partial(_linear_jvp, primitive=layer_back_p, definition=_layer_back, linear=5)
ad.primitive_transposes[layer_back_p] = partial(_linear_transpose, definition=_layer_back, back=None)

for _p in _ALL:
    batching.primitive_batchers[_p] = partial(batch, primitive=_p)


# ---------------------------------------------------------------------------------------------------------------
# Lowering
# ---------------------------------------------------------------------------------------------------------------


def _computed(definition: Callable, native: Callable | None = None) -> Callable[..., Sequence[jax.Array]]:
    def compute(x, *arrays, facts, **params):
        if native is not None and is_native(x, **facts) and reductions.fit_rows(x):
            return native(x, *arrays, **params)
        return definition(x, *arrays, **params)

    return compute


register(channels_p, _computed(_channels), ("groups", "eps"))
register(channels_move_p, _computed(_channels_move), ("groups", "eps"))
register(layer_p, _computed(_layer, reductions.layer), ("eps",))
register(layer_move_p, _computed(_layer_move), ("eps",))
register(layer_back_p, _computed(_layer_back, reductions.layer_back), ("eps",))
