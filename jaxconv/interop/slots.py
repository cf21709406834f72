"""Slots: some of PyTorch's arrays paired with the arrays of Flax that hold the same numbers.

A layer is a list of slots. What a slot does is independent of where the arrays live, which a `Place` knows.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Arrays = dict[str, np.ndarray]


# The size of an axis that the layer has not found yet.
ANY = -1


class CannotHold(Exception):
    """A layer of Flax has no room for the given numbers; the message says why, and which layer has."""


@dataclass(frozen=True)
class Slot:
    """Some arrays of PyTorch, and the arrays of Flax that hold the same numbers.

    Attributes:
        torch: the shapes of PyTorch's arrays, by their names in the layer.
        flax: the names of Flax's arrays in the layer.
        to_torch: makes PyTorch's arrays of Flax's, both by name.
        to_flax: the inverse; raises `CannotHold`.
        optional: whether a state dict of PyTorch may lack these arrays.
    """

    torch: Shapes
    flax: tuple[str, ...]
    to_torch: Callable[[Arrays], Arrays]
    to_flax: Callable[[Arrays], Arrays]
    optional: bool = False


def converted(
    name: str, shape: Shape, flax: str, to_torch: Callable[[Any], Any], to_flax: Callable[[Any], Any]
) -> Slot:
    """A slot of one array on each side."""
    return Slot({name: shape}, (flax,), lambda a: {name: to_torch(a[flax])}, lambda a: {flax: to_flax(a[name])})


def same(name: str, shape: Shape, flax: str | None = None) -> Slot:
    """A slot of one array that is the same on both sides, up to its name."""
    return converted(name, shape, flax or name, lambda a: a, lambda a: a)


def reshaped(name: str, shape: Shape, flax: str, flax_shape: Shape) -> Slot:
    """A slot of one array whose shapes differ."""
    return converted(name, shape, flax, lambda a: a.reshape(shape), lambda a: a.reshape(flax_shape))


class Place(Protocol):
    """Where Flax keeps an array: a variable of an NNX module, or a leaf of the variables of a Linen module."""

    @property
    def shape(self) -> Shape:
        """The shape of the array."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The dtype in which the array is loaded."""
        ...

    @property
    def identity(self) -> Hashable:
        """Equal for two places that share one array."""
        ...

    def read(self) -> np.ndarray:
        """A copy of the array."""
        ...

    def prepare(self, value: np.ndarray) -> Any:
        """`value` as `write` takes it, on the device of the old array."""
        ...

    def write(self, value: Any) -> None:
        """Exchanges the array."""
        ...


class Entry(NamedTuple):
    """A slot of one layer, with the places of its arrays."""

    path: str
    slot: Slot
    places: dict[str, Place]

    def name(self, inner: str) -> str:
        """The name in the state dict of an array of the layer."""
        return f"{self.path}.{inner}" if self.path else inner


def entries_of(path: str, slots: Iterable[Slot], places: Mapping[str, Place]) -> Iterator[Entry]:
    """The entries of the layer at `path`."""
    for slot in slots:
        yield Entry(path, slot, {name: places[name] for name in slot.flax})


def unconverted(path: str, places: Mapping[str, Place]) -> Iterator[Entry]:
    """The entries of a layer whose arrays are PyTorch's as they are."""
    slots = (count() if name == COUNT else same(name, place.shape) for name, place in places.items())
    return entries_of(path, slots, places)


# How many batches a norm has seen. JAX counts in 32 bits unless it is told otherwise; PyTorch has it as int64, and
# checkpoints older than its version 0.4.1 have not.
COUNT = "num_batches_tracked"


def count() -> Slot:
    """The slot of a count that the layer keeps."""
    return Slot({COUNT: ()}, (COUNT,), lambda a: {COUNT: a[COUNT].astype(np.int64)}, lambda a: a, optional=True)


def shapes_of(places: Mapping[str, Place]) -> Shapes:
    """The shapes of the arrays at `places`."""
    return {name: place.shape for name, place in places.items()}
