"""The arguments of `weight_norm` and `spectral_norm`."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxconv._spec.arguments import integer, number
from jaxconv._spec.messages import listing, show


class WeightNorm(NamedTuple):
    """What a weight is made of: a direction, and a length for each index of an axis.

    Attributes:
        dim: the axis, or None where one length is all the weight's.
    """

    dim: int | None


class SpectralNorm(NamedTuple):
    """How a weight is divided by its largest singular value.

    Attributes:
        dim: the axis that has the rows of the matrix.
        n_power_iterations: how many steps the singular vectors are improved by at a call in training.
        eps: the least length of a vector that is divided by its length.
    """

    dim: int
    n_power_iterations: int
    eps: float


def parse_weight_norm(dim: Any, shape: tuple[int, ...], dtype: Any) -> WeightNorm:
    """The arguments of `weight_norm`, for a weight of this shape and dtype."""
    if dtype.kind == "c":
        raise TypeError(f"weight_norm is defined for real weights, as in PyTorch, got {dtype}; use spectral_norm")
    return WeightNorm(None if dim is None or integer("dim", dim) == -1 else _axis(dim, len(shape)))


def parse_spectral_norm(n_power_iterations: Any, eps: Any, dim: Any, shape: tuple[int, ...]) -> SpectralNorm:
    """The arguments of `spectral_norm`, for a weight of this shape."""
    eps = number("eps", eps)
    if not (0 <= eps < math.inf):
        raise ValueError(f"eps must be zero or positive and finite, got {eps}")
    return SpectralNorm(_axis(dim, len(shape)), integer("n_power_iterations", n_power_iterations, 1), eps)


def _axis(dim: Any, ndim: int) -> int:
    number = integer("dim", dim)
    if not -ndim <= number < ndim:
        raise ValueError(f"dim must be an axis of the weight, from {-ndim} to {ndim - 1}, got {number}")
    return number % ndim


def refuse_name(layer: str, name: Any, known: Iterable[str], is_there: bool) -> None:
    """Says why a layer has no such parameter that could be computed from others."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {show(name)}")
    if is_there:
        raise ValueError(f"{name} of {layer} is None; call a layer that finds its in_channels once before")
    raise ValueError(f"{layer} has no parameter {name!r}; it has {listing(known) or 'none'}")


def refuse_second(layer: str, name: str) -> None:
    """Refuses a parameter that is computed already."""
    raise ValueError(f"{name} of {layer} is computed from others already; remove_parametrizations undoes that")


def refuse_layer(layer: Any, wanted: str) -> None:
    """Refuses what is no layer of the shell."""
    what = f"the class {layer.__name__}; make a layer of it" if isinstance(layer, type) else show(layer)
    raise TypeError(f"layer must be {wanted}, got {what}")


def check_new_value(name: str, given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuses a value of another shape for a parameter that is computed."""
    if given != shape:
        raise ValueError(f"{name} must have shape {shape}, got shape {given}")


def check_left_as_it_was(leave_parametrized: Any, name: str, originals: int) -> None:
    """Refuses to go back to the original where there are two, neither of which is the parameter."""
    if not isinstance(leave_parametrized, bool):
        raise TypeError(f"leave_parametrized must be True or False, got {show(leave_parametrized)}")
    if originals > 1 and not leave_parametrized:
        raise ValueError(f"{name} is computed from {originals} arrays; only leave_parametrized=True can remove that")


def check_is_computed(layer: str, name: Any, computed: Iterable[str]) -> None:
    """Refuses to remove what is not there."""
    computed = list(computed)
    if name not in computed:
        raise ValueError(f"{layer} computes {listing(computed) or 'none'} of its parameters, got {show(name)}")
