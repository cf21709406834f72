"""What the result of each JAX primitive reads of the input, from what its arguments read: a rule a kind of primitive.

A primitive that no rule knows may read everything. So does what an index decides that is computed.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from jaxconv._explain.model.program import Step
from jaxconv._explain.model.reach import (
    Field,
    Label,
    Reach,
    Windows,
    all_along,
    everything,
    joined,
    reduced,
    reshaped,
    seen_through,
    spread,
    transposed,
)
from jaxconv._explain.model.windows import WINDOWS, slide

# Each element of the result is computed from those at its place in the arguments.
_ELEMENTWISE = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "cbrt", "ceil", "clamp", "clz", "complex", "conj", "convert_element_type", "copy", "copy_p", "cos",
    "cosh", "digamma", "div", "eq", "eq_to", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt",
    "igamma", "igammac", "imag", "integer_pow", "is_finite", "le", "le_to", "lgamma", "log", "log1p", "logistic", "lt",
    "lt_to", "max", "min", "mul", "name", "ne", "neg", "nextafter", "not", "optimization_barrier", "or", "polygamma",
    "population_count", "pow", "real", "reduce_precision", "regularized_incomplete_beta", "rem", "round", "rsqrt",
    "select_n", "shift_left", "shift_right_arithmetic", "shift_right_logical", "sharding_constraint", "sign", "sin",
    "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor", "pvary", "reshard",
}  # fmt: skip


def results(step: Step, reaches: Sequence[Reach | None], slid: set[Label]) -> list[Reach | None]:
    """What the results of an equation read, from what its arguments read.

    Args:
        step: an equation of the program.
        reaches: of each argument; None of those that do not depend on an input.
        slid: takes in the axes of inputs along which a window moves.
    """
    name, shapes = step.name, [v.shape for v in step.outputs]
    if not any(reaches):
        return [None] * len(shapes)
    if name == "optimization_barrier":
        return list(reaches)
    if name in _ELEMENTWISE:
        return [joined(reaches, shape) for shape in shapes]
    windows = WINDOWS[name](step) if name in WINDOWS else None
    if windows is not None:
        return [slide(reaches, windows, shapes[0], slid)]
    found = _RULES[name](step, reaches) if name in _RULES else None
    if isinstance(found, list):
        return found
    return [everything(reaches, shape) if found is None else found for shape in shapes]


def _reduce(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    reach = joined(reaches, step.inputs[0].shape)
    return reach and reduced(reach, step.params["axes"])


def _cumulative(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    (reach,) = reaches
    axis = step.params["axis"]
    return reach and all_along(reach, axis)


def _product(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    """`dot_general`: its axes are those of a batch, and those of each side that are not contracted."""
    (contracted, batched), shape = step.params["dimension_numbers"], step.outputs[0].shape
    sides, start = [], len(batched[0])
    for reach, gone, batch, v in zip(reaches, contracted, batched, step.inputs, strict=True):
        rank = len(v.shape)
        free = [a for a in range(rank) if a not in gone and a not in batch]
        if reach is not None:
            kept = [a for a in range(rank) if a not in gone]
            order = [kept.index(a) for a in (*batch, *free)]
            places = [*range(len(batch)), *range(start, start + len(free))]
            sides.append(spread(transposed(reduced(reach, gone), order), shape, places))
        start += len(free)
    return joined(sides, shape)


def _slice(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    p, (reach,) = step.params, reaches
    strides = p["strides"] or (1,) * len(p["start_indices"])
    return reach and _sliced(reach, p["start_indices"], step.outputs[0].shape, strides)


def _sliced(reach: Reach, starts: Sequence[int], shape: Sequence[int], strides: Sequence[int]) -> Reach:
    axes = {
        axis: Windows(n, Fraction(step), Fraction(start), Fraction(start))
        for axis, (start, n, step, whole) in enumerate(zip(starts, shape, strides, reach.shape, strict=True))
        if n != whole
    }
    return seen_through(reach, axes)


def _dynamic_slice(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    """A slice that begins where numbers say that are known, or, where they are not, anywhere."""
    reach, shape = reaches[0], step.outputs[0].shape
    if reach is None or any(reaches[1:]):
        return None
    starts = [v.constant for v in step.inputs[1:]]
    for axis, start in enumerate(starts):
        if start is None and shape[axis] != reach.shape[axis]:
            reach = all_along(reach, axis)
    size = [int(s) if s is not None else 0 for s in starts]
    size = [min(max(s + n * (s < 0), 0), n - m) for s, n, m in zip(size, reach.shape, shape, strict=True)]
    return _sliced(reach, size, shape, (1,) * len(shape))


def _pad(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    reach, value = reaches
    if reach is None or value is not None:
        return None
    axes = {
        axis: Windows(n, *(Fraction(m, inner + 1) for m in (1, -low, -low)))
        for axis, (n, (low, high, inner)) in enumerate(
            zip(step.outputs[0].shape, step.params["padding_config"], strict=True)
        )
        if low or high or inner
    }
    return seen_through(reach, axes)


def _concatenate(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    """Pieces one after the other. Those that do not move as the largest of them does are taken for its border."""
    axis, shape, start, pieces = step.params["dimension"], step.outputs[0].shape, 0, []
    for reach, v in zip(reaches, step.inputs, strict=True):
        n = v.shape[axis]
        if reach is not None:
            window = Windows(shape[axis], Fraction(1), Fraction(-start), Fraction(-start))
            pieces.append((n, seen_through(reach, {axis: window})))
        start += n
    pieces.sort(key=lambda piece: -piece[0])
    whole = joined((reach for _, reach in pieces), shape)
    if whole is None:
        return None
    fields, (_, largest) = dict(whole.fields), pieces[0]
    for label, field in largest.fields.items():
        same = [field, *(reach.fields[label] for _, reach in pieces[1:] if label in reach.fields)]
        elsewhere = {f.steps[:axis] + f.steps[axis + 1 :] for f in same}
        span = max(f.high - f.low for f in same)
        if any(field.steps[axis]) and len(elsewhere) == 1 and whole.factors == largest.factors and span < math.inf:
            fields[label] = Field(field.steps, field.low, field.low + span)
    return Reach(whole.factors, fields)


def _divide(step: Step, reaches: Sequence[Reach | None]) -> list[Reach | None] | None:
    """`lax.split`: slices one after the other."""
    (reach,), axis, start, parts = reaches, step.params["axis"], 0, []
    for value in step.outputs:
        starts = [start if a == axis else 0 for a in range(len(value.shape))]
        parts.append(reach and _sliced(reach, starts, value.shape, (1,) * len(value.shape)))
        start += value.shape[axis]
    return parts


def _stack(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    """Arrays along a new axis."""
    shape = step.outputs[0].shape
    places = [a for a in range(len(shape)) if a != step.params["axis"]]
    return joined([r and spread(r, shape, places) for r in reaches], shape)


def _unstack(step: Step, reaches: Sequence[Reach | None]) -> list[Reach | None] | None:
    """The slices along an axis, which is gone."""
    (reach,), axis = reaches, step.params["axis"]
    if reach is None:
        return None
    one = tuple(1 if a == axis else n for a, n in enumerate(reach.shape))
    starts = [[i if a == axis else 0 for a in range(len(one))] for i in range(len(step.outputs))]
    return [reshaped(_sliced(reach, start, one, (1,) * len(one)), step.outputs[0].shape) for start in starts]


def _reverse(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    (reach,) = reaches
    if reach is None:
        return None
    axes = {
        a: Windows(reach.shape[a], Fraction(-1), *(Fraction(reach.shape[a] - 1),) * 2)
        for a in step.params["dimensions"]
    }
    return seen_through(reach, axes)


def _gather(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    """`jnp.take` along one axis by indices that are known, whose places are near to a straight line."""
    reach, indices = reaches[0], step.inputs[1].constant
    numbers, whole = step.params["dimension_numbers"], step.inputs[0].shape
    (axis,) = numbers.start_index_map if len(numbers.start_index_map) == 1 else (-1,)
    kept = [n if a != axis else 1 for a, n in enumerate(whole)]
    if reach is None or indices is None or numbers.collapsed_slice_dims != (axis,) or not np.size(indices):
        return None
    if list(step.params["slice_sizes"]) != kept or len(reach.factors[axis]) > 1:
        return None
    places = np.clip(np.asarray(indices)[..., 0].astype(np.int64), 0, whole[axis] - 1)
    shape, offsets = step.outputs[0].shape, numbers.offset_dims
    rest = [a for a in range(len(whole)) if a != axis]
    new = [a for a in range(len(shape)) if a not in offsets]
    # The line goes through the first and the last place along each axis of the indices.
    steps, away = [], places.astype(object)
    for i, n in enumerate(places.shape):
        line = places[(0,) * i + (slice(None),) + (0,) * (places.ndim - i - 1)]
        steps.append(Fraction(int(line[-1] - line[0]), max(n - 1, 1)))
        away = away - steps[-1] * np.arange(n).reshape([-1 if j == i else 1 for j in range(places.ndim)])
    low, high = Fraction(away.min()), Fraction(away.max())
    factors: list[tuple[int, ...]] = [()] * len(shape)
    for a, o in zip(rest, offsets, strict=True):
        factors[o] = reach.factors[a]
    for a, n in zip(new, places.shape, strict=True):
        factors[a] = () if n == 1 else (n,)
    fields = {}
    for label, field in reach.fields.items():
        along = field.steps[axis][0] if field.steps[axis] else Fraction(0)
        moved: list[tuple[Fraction, ...]] = [()] * len(shape)
        for a, o in zip(rest, offsets, strict=True):
            moved[o] = field.steps[a]
        for a, s in zip(new, steps, strict=True):
            moved[a] = (along * s,) * len(factors[a])
        fields[label] = field.moved(tuple(moved), (along * low, along * high))
    return Reach(tuple(factors), fields)


def _moments(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    """The sums of a norm, of (K0, A, K1, B) over A and B."""
    whole = joined(reaches[:1], step.inputs[0].shape)
    return whole and reduced(whole, (1, 3)) if not any(reaches[1:]) else None


def _norm_spread(step: Step, reaches: Sequence[Reach | None]) -> Reach | None:
    """u + v * (x - m), where x is (K0, A, K1, B) and the others (K0, K1)."""
    shape = step.outputs[0].shape
    return joined([r if i == 2 else r and spread(r, shape, (0, 2)) for i, r in enumerate(reaches)], shape)


def _norm_channels(step: Step, reaches: Sequence[Reach | None]) -> list[Reach | None]:
    """x (K0, A, K1, B) normalised over A, B and the channels of each group of K1; scale and shift are (K0, K1)."""
    x, shape, groups = reaches[0], step.inputs[0].shape, step.params["groups"]
    images, places, count, following = shape
    moments = joined([x], shape)
    if moments is not None:
        grouped = reshaped(moments, (images, places, groups, count // groups, following))
        moments = grouped and reduced(grouped, (1, 3, 4))
    each = (images, groups, count // groups)
    found = moments and reshaped(spread(moments, each, (0, 1)), (images, count))
    others = [r and spread(r, shape, (0, 2)) for r in (found, *reaches[1:])]
    return [joined([x, *others], shape), *[found] * 3]


def _norm_layer(step: Step, reaches: Sequence[Reach | None]) -> list[Reach | None]:
    """x (K0, R, C) normalised over C; scale and shift are (K0, C)."""
    x, shape = reaches[0], step.inputs[0].shape
    whole = joined([x], shape)
    found = whole and reduced(whole, (2,))
    others = [r and spread(r, shape, (0, 2)) for r in reaches[1:]]
    return [joined([x, found and spread(found, shape, (0, 1)), *others], shape), *[found] * 3]


_REDUCTIONS = (
    "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor",
    "argmax", "argmin",
)  # fmt: skip
_CUMULATIVE = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
_RULES: dict[str, Callable[[Step, Sequence[Reach | None]], Any]] = {
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_CUMULATIVE, _cumulative),
    "dot_general": _product,
    "broadcast_in_dim": lambda step, reaches: (
        reaches[0] and spread(reaches[0], step.params["shape"], step.params["broadcast_dimensions"])
    ),
    "reshape": lambda step, reaches: reaches[0] and reshaped(reaches[0], step.outputs[0].shape),
    "squeeze": lambda step, reaches: reaches[0] and reshaped(reaches[0], step.outputs[0].shape),
    "expand_dims": lambda step, reaches: reaches[0] and reshaped(reaches[0], step.outputs[0].shape),
    "transpose": lambda step, reaches: reaches[0] and transposed(reaches[0], step.params["permutation"]),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "rev": _reverse,
    "split": _divide,
    "stack": _stack,
    "unstack": _unstack,
    "gather": _gather,
    "norm_moments": _moments,
    "norm_spread": _norm_spread,
    "norm_channels": _norm_channels,
    "norm_layer": _norm_layer,
}
