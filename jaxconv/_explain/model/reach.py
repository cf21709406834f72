"""What positions of the input an array depends on: receptive fields, as intervals that move with the position.

The element at (i, j, ...) of an array reads, along an axis of the input, no position outside of

    [step_i * i + step_j * j + ... + low,  step_i * i + step_j * j + ... + high]

where steps may be fractions, as after a transposed convolution. An axis of an array that a reshape has merged of
several keeps a step for each of these, its factors: so what a reshape splits again, or a transposition carries along,
is known exactly. Where no such interval is known, it is infinite: everything may be read. Its steps may still be known,
as where each position is scaled by a mean over all.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from jaxconv._explain.model.factors import Factors, common, cut, finer, pieces, straight, whole

# For each axis of an array the steps of its factors, in their order.
Steps = tuple[tuple[Fraction, ...], ...]
Number = Fraction | float  # a float only where it is infinite


class Label(NamedTuple):
    """An axis of an input.

    Attributes:
        number: which input.
        axis: which axis.
        size: how many positions it has.
    """

    number: int
    axis: int
    size: int


@dataclass(frozen=True)
class Field:
    """What an array reads along one axis of the input: the interval above.

    Attributes:
        steps: for each axis of the array, for each of its factors, how far one position moves the interval.
        low: where the interval of the first element begins.
        high: where it ends; that is in it.
    """

    steps: Steps
    low: Number
    high: Number

    @property
    def size(self) -> int | None:
        """How many positions one element reads, at most; None stands for everything."""
        return None if self.high == math.inf else math.floor(self.high - self.low) + 1

    def moved(self, steps: Steps, by: Sequence[Number] = (0,)) -> "Field":
        """The same with other steps, each of whose elements reads what is `by` away: from any of them to any other."""
        return Field(steps, self.low + min(by), self.high + max(by))


@dataclass(frozen=True)
class Reach:
    """What an array reads along all axes of the inputs.

    Attributes:
        factors: for each axis of the array the sizes whose product it is, without those of 1.
        fields: what it reads by the axis of the input. An axis that is not in it belongs to an input on which the array
            does not depend.
    """

    factors: Factors
    fields: Mapping[Label, Field]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return tuple(map(math.prod, self.factors))


def of_input(number: int, shape: Sequence[int]) -> Reach:
    """The reach of an input: each element reads itself."""
    factors = whole(shape)
    fields = {}
    for axis, n in enumerate(shape):
        steps = tuple((Fraction(i == axis),) * len(f) for i, f in enumerate(factors))
        fields[Label(number, axis, n)] = Field(steps, Fraction(0), Fraction(0))
    return Reach(factors, fields)


def everything(reaches: Iterable[Reach | None], shape: Sequence[int]) -> Reach | None:
    """An array each of whose elements may depend on all that these do; None where none depends on an input."""
    known, factors = [r for r in reaches if r is not None], whole(shape)
    return Reach(factors, {label: _all(factors) for r in known for label in r.fields}) if known else None


def _all(factors: Factors) -> Field:
    """Everything, and nothing is known of what moves."""
    return Field(tuple((Fraction(0),) * len(f) for f in factors), -math.inf, math.inf)


def all_along(reach: Reach, axis: int) -> Reach:
    """The same where everything is read of what moves along an axis."""
    fields = {k: _all(reach.factors) if any(f.steps[axis]) else f for k, f in reach.fields.items()}
    return Reach(reach.factors, fields)


def joined(reaches: Iterable[Reach | None], shape: Sequence[int]) -> Reach | None:
    """An array each of whose elements depends on those at its place in arrays of its shape, or in scalars.

    Intervals are joined to the shortest that holds them all; it moves as one of them does.
    """
    known = [_as_shape(r, shape) for r in reaches if r is not None]
    if not known:
        return None
    factors = tuple(common([r.factors[axis] for r in known], n) for axis, n in enumerate(shape))
    fields: dict[Label, Field] = {}
    for r in (_split(r, factors) for r in known):
        for label, field in r.fields.items():
            fields[label] = _union(fields[label], field, factors, label) if label in fields else field
    return Reach(factors, fields)


def _union(a: Field, b: Field, factors: Factors, label: Label) -> Field:
    if a.steps == b.steps:
        return Field(a.steps, min(a.low, b.low), max(a.high, b.high))
    first, second = sorted((a, b), key=lambda f: -sum(abs(s) for each in f.steps for s in each))
    # How far the second drifts away from the first, from the first position to the last.
    drift = [
        (t - s) * (n - 1)
        for axis in zip(factors, first.steps, second.steps, strict=True)
        for n, s, t in zip(*axis, strict=True)
    ]
    low, high = (second.low + sum(d for d in drift if d < 0), second.high + sum(d for d in drift if d > 0))
    if high - low - (second.high - second.low) >= label.size or None in (a.size, b.size):
        return Field(first.steps, -math.inf, math.inf)
    return Field(first.steps, min(first.low, low), max(first.high, high))


def _as_shape(reach: Reach, shape: Sequence[int]) -> Reach:
    """A scalar, or what has axes of size 1, spread to a shape."""
    if len(reach.factors) == len(shape) and reach.shape == tuple(shape):
        return reach
    return spread(reach, shape, range(len(shape) - len(reach.factors), len(shape)))


def spread(reach: Reach, shape: Sequence[int], places: Iterable[int]) -> Reach:
    """`lax.broadcast_in_dim`: axis i becomes axis places[i], and along all others the array is repeated."""
    of_axis = {place: i for i, place in enumerate(places)}
    kept = [of_axis.get(a) if a in of_axis and reach.shape[of_axis[a]] == n else None for a, n in enumerate(shape)]
    new = whole(shape)
    factors = tuple(new[a] if i is None else reach.factors[i] for a, i in enumerate(kept))
    return _with_axes(reach, factors, kept)


def transposed(reach: Reach, order: Sequence[int]) -> Reach:
    """The axes in another order."""
    return _with_axes(reach, tuple(reach.factors[i] for i in order), order)


def _with_axes(reach: Reach, factors: Factors, origin: Sequence[int | None]) -> Reach:
    """Axes, each of which is the one of `reach` that `origin` names, or along which nothing moves."""

    def steps(field: Field) -> Steps:
        still = (Fraction(0),)
        return tuple(still * len(f) if i is None else field.steps[i] for f, i in zip(factors, origin, strict=True))

    return Reach(factors, {k: f.moved(steps(f)) for k, f in reach.fields.items()})


def reduced(reach: Reach, axes: Iterable[int]) -> Reach:
    """The axes reduced to one position each, which reads what all of them do."""
    axes = set(axes)
    kept = [axis for axis in range(len(reach.factors)) if axis not in axes]
    factors, fields = tuple(reach.factors[a] for a in kept), {}
    for label, field in reach.fields.items():
        gone = [(s, n) for a in axes for s, n in zip(field.steps[a], reach.factors[a], strict=True) if s]
        steps = tuple(field.steps[a] for a in kept)
        if gone and not any(map(any, steps)):
            fields[label] = _all(factors)  # nothing is left of the axis
        else:
            ends = [sum((pick(s * (n - 1), 0) for s, n in gone), Fraction(0)) for pick in (min, max)]
            fields[label] = field.moved(steps, ends)
    return Reach(factors, fields)


@dataclass(frozen=True)
class Windows:
    """How the positions of one axis read those of another: position o reads step * o + [low, high].

    Attributes:
        size: number of the positions.
        step: how far their windows are apart.
        low: where the first window begins.
        high: where it ends.
    """

    size: int
    step: Fraction
    low: Fraction
    high: Fraction


def seen_through(reach: Reach, windows: Mapping[int, Windows]) -> Reach:
    """An array whose axes are windows on those of `reach`; an axis that is not named stays."""
    factors = tuple(
        f if axis not in windows else () if windows[axis].size == 1 else (windows[axis].size,)
        for axis, f in enumerate(reach.factors)
    )
    fields = {}
    for label, field in reach.fields.items():
        steps, low, high = list(field.steps), Fraction(0), Fraction(0)
        for axis, window in windows.items():
            step, away = straight(field.steps[axis], reach.factors[axis])
            ends = (step * window.low, step * window.high)
            low, high = low + min(ends) + min(away, 0), high + max(ends) + max(away, 0)
            steps[axis] = (step * window.step,) * len(factors[axis])
        fields[label] = field.moved(tuple(steps), (low, high))
    return Reach(factors, fields)


def reshaped(reach: Reach, shape: Sequence[int]) -> Reach | None:
    """The same elements in row order of another shape."""
    sizes = [n for f in reach.factors for n in f]
    factors = cut(sizes, shape)
    cuts = None if factors is None else pieces(sizes, [n for f in factors for n in f])
    if factors is None or cuts is None:
        return everything([reach], shape)
    fields = {}
    for label, field in reach.fields.items():
        rest, steps = finer([s for each in field.steps for s in each], cuts), []
        for f in factors:
            steps.append(rest[: len(f)])
            rest = rest[len(f) :]
        fields[label] = field.moved(tuple(steps))
    return Reach(factors, fields)


def _split(reach: Reach, factors: Factors) -> Reach:
    """The same with other factors of its axes; where they are no cuts of its own, nothing is known along the axis."""
    cuts = [pieces(own, new) for own, new in zip(reach.factors, factors, strict=True)]
    fields = {}
    for label, field in reach.fields.items():
        pairs = list(zip(field.steps, cuts, factors, strict=True))
        if any(into is None and any(steps) for steps, into, _ in pairs):
            fields[label] = _all(factors)
            continue
        still = Fraction(0)
        steps = tuple((still,) * len(f) if into is None else finer(steps, into) for steps, into, f in pairs)
        fields[label] = field.moved(steps)
    return Reach(factors, fields)
