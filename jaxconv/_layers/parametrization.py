"""Weights that are computed from other arrays, without a framework.

Weight norm (Salimans & Kingma, 2016): w = g v / |v|, with the norm along all axes but one. Spectral norm (Miyato et
al., 2018): w = W / sigma, sigma = u^H W v the largest singular value of W as a matrix. The vectors u and v are what
power iteration has found so far, u <- W v / |W v| and v <- W^H u / |W^H u|, and are constants to a derivative.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxconv._arrays import wide
from jaxconv._spec.parametrization import SpectralNorm, WeightNorm

_jit = partial(jax.jit, static_argnames=("spec",), inline=True)
Vectors = tuple[jax.Array, jax.Array]

# PyTorch's, at the start.
FIRST_ITERATIONS = 15


@_jit
def length(weight: jax.Array, spec: WeightNorm) -> jax.Array:
    """The norms of a weight: g, of its shape with ones but along `dim`, or a number."""
    over = None if spec.dim is None else tuple(axis for axis in range(weight.ndim) if axis != spec.dim)
    x = weight.astype(wide(weight.dtype))
    return jnp.sqrt(jnp.sum(x * x, axis=over, keepdims=over is not None)).astype(weight.dtype)


@_jit
def of_length(g: jax.Array, v: jax.Array, spec: WeightNorm) -> jax.Array:
    """The weight of norms `g` in the direction of `v`; NaN, as in PyTorch, where that has none."""
    more = wide(v.dtype)
    v, dtype = v.astype(more), v.dtype
    return (v * (g.astype(more) / length(v, spec))).astype(dtype)


@_jit
def first_vectors(key: jax.Array, weight: jax.Array, spec: SpectralNorm) -> Vectors:
    """Random vectors, improved as PyTorch improves them at the start."""
    matrix = _matrix(weight, spec.dim)
    drawn = (jax.random.normal(k, (n,), matrix.dtype) for k, n in zip(jax.random.split(key), matrix.shape, strict=True))
    u, v = (_unit(each, spec.eps).astype(weight.dtype) for each in drawn)
    return improved(weight, (u, v), spec._replace(n_power_iterations=FIRST_ITERATIONS))


@_jit
def improved(weight: jax.Array, vectors: Vectors, spec: SpectralNorm) -> Vectors:
    """The vectors after the steps of power iteration."""
    matrix = jax.lax.stop_gradient(_matrix(weight, spec.dim))

    def step(_, vectors):
        u = _unit(_product(matrix, vectors[1]), spec.eps)
        return u, _unit(_product(matrix.conj().T, u), spec.eps)

    u, v = (jax.lax.stop_gradient(each).astype(matrix.dtype) for each in vectors)
    u, v = jax.lax.fori_loop(0, spec.n_power_iterations, step, (u, v), unroll=spec.n_power_iterations < 4)
    return u.astype(weight.dtype), v.astype(weight.dtype)


@_jit
def divided(weight: jax.Array, vectors: Vectors, spec: SpectralNorm) -> jax.Array:
    """The weight over its largest singular value."""
    matrix = _matrix(weight, spec.dim)
    u, v = (jax.lax.stop_gradient(each).astype(matrix.dtype) for each in vectors)
    sigma = _product(u.conj(), _product(matrix, v))
    return (weight.astype(matrix.dtype) / sigma).astype(weight.dtype)


@_jit
def unit(weight: jax.Array, spec: SpectralNorm) -> jax.Array:
    """A weight of one axis over its length, which is the singular value of a column."""
    return _unit(weight.astype(wide(weight.dtype)), spec.eps).astype(weight.dtype)


def _matrix(weight: jax.Array, dim: int) -> jax.Array:
    """The weight with `dim` as its rows, in a dtype to add up in."""
    moved = jnp.moveaxis(weight.astype(wide(weight.dtype)), dim, 0)
    return moved.reshape(moved.shape[0], -1)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    # Small, and an error in sigma is one in all of the weight: no accelerator's shortcut.
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)


def _unit(x: jax.Array, eps: float) -> jax.Array:
    """`x` over its length, or over `eps` where that is more; the slope of the length at 0 is 0, as in PyTorch."""
    square = jnp.sum((x * x.conj()).real)
    is_zero = square == 0
    norm = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, square)))
    return x / jnp.where(norm >= eps, norm, jnp.asarray(eps, norm.dtype))
