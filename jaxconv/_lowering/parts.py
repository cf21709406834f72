"""A convolution computed in parts along one spatial axis, each of them a convolution of a stretch of it.

Padding modes but zeros are for whoever calls this to apply first. With a position of x counted from the image's first,

    y[p] = sum over t of x[p s + t d - low] w[t]

so the positions a to b - 1 of y, or the taps a to b - 1 of w, meet a stretch of x that begins at a s - low, or at
a d - low; and of y only the positions p of which some p s + t d - low is among positions a to b - 1 of x. Parts of what
an op gives are put side by side, and parts of what it sums over are added up.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._lowering.family import Problem, make_problem
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.shapes import extent, span

Run = Callable[[Problem, jax.Array, jax.Array], jax.Array]


def by_taps(problem: Problem, i: int, most: int, run: Run, first: jax.Array, second: jax.Array) -> jax.Array:
    """An op by `run`, in parts of taps along spatial axis `i` that span `most` positions at most.

    Args:
        problem: the op, without a bias.
        i: the axis, counted among the spatial ones.
        most: see above.
        run: computes the op of a part; it is given what this function is.
        first: the op's first argument.
        second: its second.
    """
    spec, axis = problem.spec, problem.spec.spatial_axes[i]
    low, s, d = spec.pads[i][0], spec.strides[i], spec.dilations[i]
    n, m = problem.x_shape[axis], problem.y_shape[axis]
    found = []
    for a, b in _stretches(problem.w_shape[2 + i], (most - 1) // d + 1):
        reach = extent(m, b - a, s, d)
        if problem.op == "input":
            taken = lax.slice_in_dim(first, a, b, axis=2 + i)
            own = _with_pads(spec, i, (low - a * d, reach - (low - a * d) - n))
            found.append(run(_changed(problem, own, taken, second, problem.size), taken, second))
            continue
        piece, pads = _stretch(first, axis, a * d - low, reach)
        own = _with_pads(spec, i, pads)
        if problem.op == "output":
            taken = lax.slice_in_dim(second, a, b, axis=2 + i)
            found.append(run(_changed(problem, own, piece, taken, ()), piece, taken))
        else:
            size = _with_entry(problem.size, i, b - a)
            found.append(run(_changed(problem, own, piece, second, size), piece, second))
    return jnp.concatenate(found, 2 + i) if problem.op == "weight" else sum(found[1:], found[0])


def by_positions(problem: Problem, i: int, most: int, run: Run, first: jax.Array, second: jax.Array) -> jax.Array:
    """An op by `run`, in parts along spatial axis `i` of the output whose windows begin at `most` positions at most.

    `input` is computed in parts of its result, of `most` positions at most. The arguments are those of `by_taps`.
    """
    spec, axis = problem.spec, problem.spec.spatial_axes[i]
    k, s, d = problem.w_shape[2 + i], spec.strides[i], spec.dilations[i]
    low = spec.pads[i][0]
    found = []
    if problem.op == "input":
        for a, b in _stretches(problem.x_shape[axis], most):
            p = max(-((span(k, d) - 1 - a - low) // s), 0)
            number = min((b - 1 + low) // s + 1, second.shape[axis]) - p
            if number < 1:
                found.append(jnp.zeros(_with_entry(problem.x_shape, axis, b - a), problem.dtype))
                continue
            piece = lax.slice_in_dim(second, p, p + number, axis=axis)
            before = low + a - p * s
            own = _with_pads(spec, i, (before, extent(number, k, s, d) - before - (b - a)))
            found.append(run(_changed(problem, own, first, piece, _with_entry(problem.size, i, b - a)), first, piece))
        return jnp.concatenate(found, axis)
    for a, b in _stretches(problem.y_shape[axis], (most - 1) // s + 1):
        piece, pads = _stretch(first, axis, a * s - low, extent(b - a, k, s, d))
        own = _with_pads(spec, i, pads)
        other = second if problem.op == "output" else lax.slice_in_dim(second, a, b, axis=axis)
        found.append(run(_changed(problem, own, piece, other, problem.size), piece, other))
    return jnp.concatenate(found, axis) if problem.op == "output" else sum(found[1:], found[0])


def _stretches(number: int, most: int) -> Iterator[tuple[int, int]]:
    """Where the parts of a number begin and end."""
    return ((a, min(a + most, number)) for a in range(0, number, most))


def _changed(problem: Problem, spec: ConvSpec, first: jax.Array, second: jax.Array, size: tuple[int, ...]) -> Problem:
    """The problem of the same op of other arrays."""
    return make_problem(problem.op, spec, first.shape, second.shape, size, problem.dtype, precision=problem.precision)


def _with_pads(spec: ConvSpec, i: int, pads: tuple[int, int]) -> ConvSpec:
    return replace(spec, pads=_with_entry(spec.pads, i, pads))


def _with_entry(entries: tuple, i: int, entry: object) -> tuple:
    return (*entries[:i], entry, *entries[i + 1 :])


def _stretch(x: jax.Array, axis: int, first: int, length: int) -> tuple[jax.Array, tuple[int, int]]:
    """What of an image is within a stretch of one of its axes, and how many zeros are on either side of that."""
    start, end = max(first, 0), min(first + length, x.shape[axis])
    if start >= end:  # a zero stands for the image
        return jnp.zeros(_with_entry(x.shape, axis, 1), x.dtype), (0, length - 1)
    return lax.slice_in_dim(x, start, end, axis=axis), (start - first, first + length - end)
