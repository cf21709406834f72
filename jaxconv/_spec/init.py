"""The arguments of initial distributions."""

import math
from typing import Any

from jaxconv._spec.arguments import number


def check_range(a: Any, b: Any) -> tuple[float, float]:
    """The bounds of a distribution."""
    low, high = number("a", a), number("b", b)
    if not low <= high:
        raise ValueError(f"b must be at least a, got a={low} and b={high}")
    return low, high


def check_std(std: Any, least: int | None) -> float:
    """A standard deviation, at least `least`, or above 0 where that is None."""
    value = number("std", std)
    if not (0 < value < math.inf or value == least):
        raise ValueError(f"std must be {'positive' if least is None else 'zero or positive'} and finite, got {value}")
    return value


def check_axes(name: str, shape: tuple[int, ...], least: int, most: int | None) -> None:
    """Refuses a weight of too few or too many axes."""
    if len(shape) < least or (most is not None and len(shape) > most):
        wanted = f"{least} axes or more" if most is None else f"{least} to {most} axes"
        raise ValueError(f"{name} makes weights of {wanted}, got shape {shape}")
    if most is not None and 0 in shape[2:]:
        raise ValueError(f"{name} makes weights of kernels that are not empty, got shape {shape}")


def check_groups(shape: tuple[int, ...], groups: int) -> None:
    """Refuses channels that do not fall into groups."""
    if shape[0] % groups:
        raise ValueError(f"groups must divide the {shape[0]} output channels, got {groups}")
