"""Blocks of images: which axes of a mesh divide which axes of an image, and what they can divide."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxconv._spec.arguments import integer
from jaxconv._spec.messages import axes, ints, listing, show
from jaxconv._spec.padding import Pads

# How one axis of an image is divided: a mesh axis, several with the outermost first, or None where it is whole.
AxisName = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Division:
    """How one spatial axis is divided.

    Attributes:
        names: the axes of the mesh, the outermost first; none where the image's axis is whole.
        parts: how many devices these are.
    """

    names: tuple[str, ...]
    parts: int


def parse_axis_names(rank: int, axis_names: object, sizes: Mapping[str, int]) -> tuple[Division, ...]:
    """How each spatial axis is divided.

    Args:
        rank: how many spatial axes there are.
        axis_names: the argument, one entry for each of them.
        sizes: the axes of the mesh that may be named, and how many devices are along each.
    """
    if isinstance(axis_names, str) or not isinstance(axis_names, Sequence):
        example = ("'h'", "None", "None")[:rank]
        raise TypeError(
            f"axis_names must be a tuple with an entry for each of the {axes(rank)}, a name, a tuple of names or None, "
            f"got {show(axis_names)}; for example axis_names=({', '.join(example)}{',' * (rank == 1)})"
        )
    if len(axis_names) != rank:
        raise ValueError(
            f"axis_names must have an entry for each of the {axes(rank)}, got {tuple(axis_names)}; None stands for an "
            "axis that is whole on each device"
        )
    divisions, seen = [], set()
    for i, entry in enumerate(axis_names):
        names = (entry,) if isinstance(entry, str) else () if entry is None else entry
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"axis_names[{i}] must be a name, a tuple of names or None, got {show(entry)}")
        parts = 1
        for name in names:
            if name not in sizes:
                raise ValueError(f"axis_names[{i}] names {name!r}, {_where_names_are(name, sizes)}")
            if name in seen:
                raise ValueError(
                    f"axis_names names {name!r} twice, got {tuple(axis_names)}; an axis of the mesh divides one axis "
                    "of the image"
                )
            seen.add(name)
            parts *= sizes[name]
        divisions.append(Division(tuple(names), parts))
    return tuple(divisions)


def _where_names_are(name: str, sizes: Mapping[str, int]) -> str:
    if not sizes:
        return "and no axis of a mesh is manual here; call this within a jax.shard_map over a mesh that has that axis"
    nearest = difflib.get_close_matches(name[:100].lower(), sizes, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"which is none of the axes that the shard_map around this divides along, {listing(sizes)}{hint}"


def parse_widths(rank: int, widths: object) -> Pads:
    """A halo's widths as a (low, high) pair per axis, from an int, one per axis, or such pairs."""
    if isinstance(widths, str) or not isinstance(widths, Sequence):
        try:
            n = integer("widths", widths, 0)
            return ((n, n),) * rank
        except TypeError:
            raise TypeError(
                f"widths must be an int, a tuple of {ints(rank)}, or of (low, high) pairs, got {show(widths)}"
            ) from None
    if len(widths) != rank:
        raise ValueError(
            f"widths must have as many entries as axis_names has, {rank}, each an int or a (low, high) pair, got "
            f"{show(widths)}"
        )
    pairs = []
    for i, entry in enumerate(widths):
        low, high = entry if isinstance(entry, Sequence) and len(entry) == 2 else (entry, entry)
        pairs.append((integer(f"widths[{i}]", low, 0), integer(f"widths[{i}]", high, 0)))
    return tuple(pairs)


def check_result(
    axis: int, block: int, stride: int, division: Division, size_of: Callable[[int], int], fix: Callable[[int], str]
) -> None:
    """Refuses a result whose size along an axis the devices do not divide.

    Args:
        axis: the number of the spatial axis.
        block: positions of a block along it.
        stride: how many positions of the image the windows of two neighbours of the result are apart.
        division: how it is divided.
        size_of: the size of the result for an image of that size.
        fix: what else would do, where the result has so many positions more than the devices divide.
    """
    parts, size = division.parts, size_of(block * division.parts)
    if size % parts == 0:
        return
    # With `stride` more positions in each block the result has one more in each of its own: so far, and no further.
    below, above = range(block - 1, max(block - stride, 0), -1), range(block + 1, block + stride)
    nearest = (
        next((b for b in found if size_of(b * parts) in range(parts, 2**63, parts)), None) for found in (below, above)
    )
    sizes = " or ".join(str(b) for b in nearest if b)
    blocks = f"blocks of {sizes} positions there in place of {block}, or " if sizes else ""
    name = division.names[0] if len(division.names) == 1 else division.names
    raise ValueError(
        f"the result would have {size} positions along spatial axis {axis}, which the {parts} devices along "
        f"axis_names[{axis}]={name!r} do not divide; use {blocks}{fix(size % parts)}"
    )


def of_whole(message: object, block: Sequence[int], whole: Sequence[int]) -> str:
    """What is wrong with a whole image, told to who has blocks of it."""
    return f"{message} (input is a block of shape {tuple(block)}; that of the whole image is {tuple(whole)})"
