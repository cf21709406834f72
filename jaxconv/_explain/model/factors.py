"""Axes of arrays as products of factors: what a reshape merges and splits, and how far a position moves by each."""

import math
from collections.abc import Sequence
from fractions import Fraction

Factors = tuple[tuple[int, ...], ...]


def whole(shape: Sequence[int]) -> Factors:
    """The factors of axes none of which was merged."""
    return tuple(() if n == 1 else (n,) for n in shape)


def cut(sizes: Sequence[int], shape: Sequence[int]) -> Factors | None:
    """The axes of a shape as factors each of which is a size, or a cut of one; None where they are not."""
    if 0 in shape:
        return None
    left, factors = list(sizes), []
    for n in shape:
        axis = []
        while n > 1:
            piece = math.gcd(left[0], n)
            if piece not in (left[0], n):  # the outer part of a size, or what is left of it
                return None
            axis.append(piece)
            n //= piece
            left = [left[0] // piece, *left[1:]] if left[0] > piece else left[1:]
        factors.append(tuple(axis))
    return tuple(factors)


def common(lists: Sequence[tuple[int, ...]], n: int) -> tuple[int, ...]:
    """Factors of an axis of size n that all of these can be cut into; n itself where there are none."""
    result: Sequence[int] = lists[0]
    for other in lists[1:]:
        a, b, both = list(result), list(other), []
        while a and b:
            piece = math.gcd(a[0], b[0])
            if piece not in (a[0], b[0]) or piece == 1:
                return (n,)
            both.append(piece)
            a, b = ([x[0] // piece, *x[1:]] if x[0] > piece else x[1:] for x in (a, b))
        result = both
    return tuple(result)


def pieces(own: Sequence[int], new: Sequence[int]) -> list[list[int]] | None:
    """The factors `new` as the cuts of each of `own`, one after the other; None where they are none."""
    if tuple(own) == tuple(new):  # of which one may be 0
        return [[n] for n in own]
    rest, found = list(new), []
    for n in own:
        piece = []
        while n > 1:
            if not rest or n % rest[0]:
                return None
            piece.append(rest.pop(0))
            n //= piece[-1]
        found.append(piece)
    return found


def finer(steps: Sequence[Fraction], cuts: Sequence[Sequence[int]]) -> tuple[Fraction, ...]:
    """The steps of pieces, from those of what they are cut from."""
    return tuple(s * math.prod(p[i + 1 :]) for s, p in zip(steps, cuts, strict=True) for i in range(len(p)))


def straight(steps: Sequence[Fraction], factors: Sequence[int]) -> tuple[Fraction, Fraction]:
    """One step for an axis of several factors, and how far the interval is away from where that takes it, at most."""
    if not steps:
        return Fraction(0), Fraction(0)
    step, away = steps[0], Fraction(0)
    for s, n in zip(steps[1:], factors[1:], strict=True):
        step /= n
        away += (s - step) * (n - 1)
    return step, away
