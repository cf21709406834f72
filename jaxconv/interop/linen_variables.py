"""The arrays of a Linen module: a walk through its variables, where names tell what a layer is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.core import meta

from jaxconv.interop.conversions import Flattened, Kind, Layer, kind_in_linen
from jaxconv.interop.names import join
from jaxconv.interop.slots import Entry, Place, entries_of, shapes_of, unconverted

_COLLECTIONS = ("params", "batch_stats")
Nodes = dict[str, dict[str, Any]]  # the part of each collection that belongs to one module


def copied(variables: Any) -> dict[str, Any]:
    """New dictionaries with the leaves of `variables`, which must be a mapping of collections."""
    if not isinstance(variables, Mapping) or not all(isinstance(tree, Mapping) for tree in variables.values()):
        raise TypeError(
            f"variables must be a mapping of collections, such as {{'params': ...}}, got {type(variables).__name__}"
        )
    return _copied(variables)


def _copied(tree: Any) -> Any:
    return {name: _copied(child) for name, child in tree.items()} if isinstance(tree, Mapping) else tree


def linen_entries(variables: dict[str, Any], flattened: Mapping[str, Sequence[int]] | None) -> list[Entry]:
    """All entries of the variables of a module; what is written goes into these dictionaries."""
    trees = {name: variables[name] for name in _COLLECTIONS if name in variables}
    if not trees:
        raise TypeError(f"variables must hold 'params' or 'batch_stats', got {sorted(variables)}; wrap them in a dict")
    images = Flattened(flattened)
    entries = list(_walk(trees, "", images))
    images.check()
    return entries


def _walk(nodes: Nodes, path: str, images: Flattened) -> Iterator[Entry]:
    """The entries of one module and of all below it."""
    if cells := stacked_cells(nodes):
        for cell, suffix in cells:
            yield from _converted(cell, path, images, suffix)[0]
        return
    entries, below = _converted(nodes, path, images)
    yield from entries
    is_sequential = _is_sequential(below)
    for name, inner in below.items():
        stem, number = _numbered(name)
        level = name if number is None else number if is_sequential else f"{stem}.{number}"
        yield from _walk(inner, join(path, level), images)


def _converted(
    nodes: Nodes, path: str, images: Flattened, suffix: str = ""
) -> tuple[Iterator[Entry], dict[str, Nodes]]:
    """The entries of one module, and the modules inside it that are still to walk."""
    places, below, kind = _places(nodes), _below(nodes), _kind(nodes)
    if kind is None:
        return unconverted(path, places), below
    for part in kind.parts:
        places |= {f"{part}.{name}": place for name, place in _places(below.pop(part)).items()}
    return entries_of(path, kind.slots(Layer(path, shapes_of(places), images, suffix=suffix)), places), below


def _kind(nodes: Nodes) -> Kind | None:
    inside = {name: shapes_of(_places(inner)) for name, inner in _below(nodes).items()}
    return kind_in_linen(shapes_of(_places(nodes)), inside)


def _is_sequential(below: Mapping[str, Nodes]) -> bool:
    """Whether these are the layers of Flax's `Sequential`."""
    return bool(below) and all(_numbered(name)[0] == "layers" for name in below)


def stacked_cells(nodes: Nodes) -> list[tuple[Nodes, str]]:
    """The cells of what is one recurrent layer of PyTorch, as `nnx_modules.stacked_cells` says, by names."""
    below = _below(nodes)
    if _places(nodes):
        return []
    if not (_is_sequential(below) or (below and all(name.isdecimal() for name in below))):
        return [(cell, f"_l0{way}") for cell, way in _cells(nodes)]
    stack = [_cells(below[name]) for name in sorted(below, key=lambda name: int(_numbered(f"n_{name}")[1] or 0))]
    alike = {tuple((_kind(cell), _width(cell)) for cell, _ in cells) for cells in stack}
    if len(stack) < 2 or len(alike) > 1 or not all(stack):
        return []
    return [(cell, f"_l{i}{way}") for i, cells in enumerate(stack) for cell, way in cells]


def _cells(nodes: Nodes) -> list[tuple[Nodes, str]]:
    """The cells of one recurrent layer, of one direction or of both."""
    below = _below(nodes)
    if below.keys() == {"forward_rnn", "backward_rnn"}:
        ways = [_cells(below[way]) for way in ("forward_rnn", "backward_rnn")]
        if not all(len(way) == 1 for way in ways) or _kind(ways[0][0][0]) is not _kind(ways[1][0][0]):
            return []
        return [(ways[0][0][0], ""), (ways[1][0][0], "_reverse")]
    is_cell = below.keys() == {"cell"} and not _places(nodes) and (kind := _kind(below["cell"])) and kind.is_recurrent
    return [(below["cell"], "")] if is_cell else []


def _width(cell: Nodes) -> int:
    """How many numbers the state of a cell has: as many as each of its gates."""
    return next(shapes["kernel"][-1] for shapes in map(shapes_of, map(_places, _below(cell).values())))


def _places(nodes: Nodes) -> dict[str, Place]:
    """Where a module's own arrays are."""
    return {
        name: _Leaf(node, name)
        for node in nodes.values()
        for name, child in node.items()
        if not isinstance(child, dict)
    }


def _below(nodes: Nodes) -> dict[str, Nodes]:
    """The modules inside a module, by name."""
    below: dict[str, Nodes] = {}
    for collection, node in nodes.items():
        for name, child in node.items():
            if isinstance(child, dict):
                below.setdefault(name, {})[collection] = child
    return below


def _numbered(name: str) -> tuple[str, str | None]:
    """`blocks_0`, an entry of a list, in its two parts; the names that Flax makes up begin with a capital."""
    stem, _, number = name.rpartition("_")
    return (stem, number) if stem[:1].islower() and number.isdecimal() else (name, None)


class _Leaf:
    """A leaf of the variables: the entry `name` of `node`."""

    def __init__(self, node: dict[str, Any], name: str):
        self.node, self.name, self.identity = node, name, (id(node), name)
        leaf = node[name]
        self.value = leaf.unbox() if isinstance(leaf, meta.AxisMetadata) else leaf
        self.shape, self.dtype = tuple(self.value.shape), np.dtype(self.value.dtype)
        self.sharding = getattr(self.value, "sharding", None)

    def read(self) -> np.ndarray:
        return np.array(self.value, order="C")

    def prepare(self, value: np.ndarray) -> jax.Array:
        return jax.device_put(value, self.sharding)

    def write(self, value: jax.Array) -> None:
        old = self.node[self.name]
        self.node[self.name] = old.replace_boxed(value) if isinstance(old, meta.AxisMetadata) else value
