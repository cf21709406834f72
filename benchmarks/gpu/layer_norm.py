"""Candidate `pallas` for a layer norm over the last axis: a Triton kernel forward, and one for all gradients.

With mean and r = 1 / sqrt(var + eps) of each row of x (R, C), xn = (x - mean) r and h = c g,

    forward    y = c xn + b
    gradients  dx = r (h - mean of h - xn mean of h xn),  dc = sum over rows of g xn,  db = sum over rows of g

A program of the grid holds whole rows in registers, so that forward reads x once and writes y, and the gradients read
x and g once and write dx: what XLA's own fusions read more often is what there is to win. The sums over rows are taken
in shares, a share a program, and added up afterwards. A batch norm has no such candidate: its statistics need all of x
before the first result can be written, which two fusions of XLA read and write as often as two kernels would.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

_ELEMENTS = 2048  # of a block of rows
_SHARES = 1024  # about how many programs there are for the gradients
_MOST_COLUMNS = 2**15  # that a program can hold


def cannot(x: jax.Array) -> str | None:
    """Why the kernels cannot serve an array, or None where they can."""
    if str(x.dtype) not in ("float32", "bfloat16", "float16"):
        return f"the kernels take floats of 16 and 32 bits, and the dtype is {x.dtype}"
    if not 0 < x.shape[-1] <= _MOST_COLUMNS or not 0 < x.size // x.shape[-1] < 2**31 - _ELEMENTS:
        return f"the kernels take up to {_MOST_COLUMNS} columns and nothing empty, and the shape is {x.shape}"
    return None


def layer_norm(x: jax.Array, c: jax.Array, b: jax.Array, eps: float = 1e-5, *, platform: str) -> jax.Array:
    """`x` over its last axis, times `c` and plus `b`, with gradients; on the platform `"cuda"` by the kernels.

    On a CPU, Pallas computes the kernels by operations of JAX.
    """
    return _differentiable(eps, platform != "cuda")(x.reshape(-1, x.shape[-1]), c, b).reshape(x.shape)


def _differentiable(eps: float, interpret: bool) -> Callable[..., jax.Array]:
    @jax.custom_vjp
    def norm(x, c, b):
        return _forward(x, c, b, eps, interpret)[0]

    def forward(x, c, b):
        y, mean, r = _forward(x, c, b, eps, interpret)
        return y, (x, mean, r, c, b)

    def gradients(kept, g):
        x, mean, r, c, b = kept
        dx, dc, db = _gradients(x, mean, r, c, g, interpret)
        return dx, dc.astype(c.dtype), db.astype(b.dtype)

    norm.defvjp(forward, gradients)
    return norm


def _forward(x, c, b, eps: float, interpret: bool) -> list[jax.Array]:
    rows, block = len(x), _block(x)
    number = jax.ShapeDtypeStruct((rows,), jnp.float32)
    kernel = partial(_forward_kernel, shape=x.shape, block=block, eps=eps)
    return _call(kernel, [x, number, number], pl.cdiv(rows, block[0]), block, interpret)(x, c, b)


def _forward_kernel(x_ref, c_ref, b_ref, y_ref, mean_ref, r_ref, *, shape, block, eps: float):
    row = pl.program_id(0) * block[0] + jnp.arange(block[0])[:, None]
    column, within, exists = _columns(shape, block, row)
    x = triton.load(x_ref.at[row, column], mask=exists, other=0).astype(jnp.float32)
    mean = x.sum(1)[:, None] / shape[1]
    # The columns that are not there are 0, and would lie a mean away from it.
    centred = jnp.where(within, x - mean, 0)
    r = lax.rsqrt((centred * centred).sum(1)[:, None] / shape[1] + eps)
    c, b = (triton.load(ref.at[column], mask=within, other=0).astype(jnp.float32) for ref in (c_ref, b_ref))
    triton.store(y_ref.at[row, column], (centred * r * c + b).astype(y_ref.dtype), mask=exists)
    for ref, number in ((mean_ref, mean), (r_ref, r)):
        triton.store(ref.at[row], number, mask=row < shape[0])


def _gradients(x, mean, r, c, g, interpret: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    rows, count = x.shape
    block = _block(x)
    steps = pl.cdiv(pl.cdiv(rows, block[0]), _SHARES)
    shares = pl.cdiv(rows, block[0] * steps)
    sums = jax.ShapeDtypeStruct((shares, count), jnp.float32)
    kernel = partial(_gradients_kernel, shape=x.shape, block=block, steps=steps)
    dx, dc, db = _call(kernel, [x, sums, sums], shares, block, interpret)(x, mean, r, c, g)
    return dx, dc.sum(0), db.sum(0)


def _gradients_kernel(x_ref, mean_ref, r_ref, c_ref, g_ref, dx_ref, dc_ref, db_ref, *, shape, block, steps: int):
    share = pl.program_id(0)
    first = share * steps * block[0] + jnp.arange(block[0])[:, None]
    column, within, _ = _columns(shape, block, first)
    c = triton.load(c_ref.at[column], mask=within, other=0).astype(jnp.float32)

    def add(step, sums):
        row = first + step * block[0]
        _, _, exists = _columns(shape, block, row)
        x, g = (triton.load(ref.at[row, column], mask=exists, other=0).astype(jnp.float32) for ref in (x_ref, g_ref))
        mean, r = (triton.load(ref.at[row], mask=row < shape[0], other=0) for ref in (mean_ref, r_ref))
        xn, h = (x - mean) * r, c * g  # where there is no column, h and g are 0
        of_h, of_xn = ((a.sum(1)[:, None] / shape[1]) for a in (h, h * xn))
        triton.store(dx_ref.at[row, column], (r * (h - of_h - xn * of_xn)).astype(dx_ref.dtype), mask=exists)
        return sums[0] + g * xn, sums[1] + g

    zeros = jnp.zeros(block, jnp.float32)
    for ref, total in zip((dc_ref, db_ref), lax.fori_loop(0, steps, add, (zeros, zeros)), strict=True):
        triton.store(ref.at[share, column], total.sum(0)[None], mask=within)


def _call(kernel: Callable[..., None], results: list[Any], programs: int, block, interpret: bool) -> Callable[..., Any]:
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in results]
    params = triton.CompilerParams(num_warps=max(4, min(16, math.prod(block) // 512)), num_stages=1)
    return pl.pallas_call(kernel, out_shape=shapes, grid=(programs,), compiler_params=params, interpret=interpret)


def _block(x: jax.Array) -> tuple[int, int]:
    """Rows and columns of a block, which has all columns; both are powers of two, as Triton wants them."""
    columns = pl.next_power_of_2(x.shape[1])
    return max(1, _ELEMENTS // columns), columns


def _columns(shape, block, row):
    """The columns of a block; which there are; and which of its places."""
    column = jnp.arange(block[1])[None, :]
    within = column < shape[1]
    return column, within, within & (row < shape[0])
