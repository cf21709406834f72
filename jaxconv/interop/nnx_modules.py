"""The arrays of an NNX module: a walk through it, and where the arrays are kept."""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv.nnx
from jaxconv._layers.convolution import weight_shape
from jaxconv.interop.conversions import Flattened, Layer, kind_of_module
from jaxconv.interop.matching import fits, sizes_of
from jaxconv.interop.names import join
from jaxconv.interop.slots import ANY, CannotHold, Entry, Place, converted, entries_of, shapes_of, unconverted

# What PyTorch has no place for in a state dict.
_TRANSIENT = (nnx.RngState, nnx.Cache, nnx.Intermediate)


class Outside(NamedTuple):
    """What a walk through a module is told.

    Attributes:
        images: the argument `flattened`.
        given: the arrays that are to be loaded, which tell lazy layers their sizes; None where arrays are read.
    """

    images: Flattened
    given: Mapping[str, Any] | None


def nnx_entries(
    module: Any, flattened: Mapping[str, Sequence[int]] | None, given: Mapping[str, Any] | None = None
) -> list[Entry]:
    """All entries of a module, in the order in which PyTorch would list them; `given` is what is to be loaded."""
    if not isinstance(module, nnx.Module):
        of_linen = " (for Linen there is linen_state_dict and linen_from_state_dict)" if _is_linen(module) else ""
        raise TypeError(f"module must be an nnx.Module, got {type(module).__name__}{of_linen}")
    outside = Outside(Flattened(flattened), given)
    entries = list(_walk(module, "", (), outside))
    outside.images.check()
    return entries


def _is_linen(module: Any) -> bool:
    return any(base.__module__.startswith("flax.linen") for base in type(module).__mro__)


def _walk(node: Any, path: str, above: tuple[int, ...], outside: Outside) -> Iterator[Entry]:
    """The entries of `node` and of all below it. A module shared by two places is there twice, as in PyTorch."""
    if id(node) in above:
        return  # a module that refers to one it is part of
    if isinstance(node, nnx.Module):
        entries, below = _layer(node, path, outside)
        yield from entries
    else:
        children = list(node.items() if isinstance(node, Mapping) else enumerate(node))
        below = [(_level(key), child) for key, child in children]
        yield from unconverted(path, _kept(children, node))
    for name, child in below:
        if isinstance(child, nnx.Module | list | tuple | dict):
            yield from _walk(child, join(path, name), (*above, id(node)), outside)


_ORDER = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _layer(module: Any, path: str, outside: Outside) -> tuple[Iterator[Entry], list[tuple[str, Any]]]:
    """The entries of one module, and what is below it that is still to walk."""
    if cells := stacked_cells(module):
        each = [_converted(cell, path, outside, suffix) for cell, suffix in cells]
        return chain.from_iterable(entries for entries, _ in each), [child for _, below in each for child in below]
    if isinstance(module, _LAZY) and module.in_channels is None:
        return _lazy(module, path, outside), []
    return _converted(module, path, outside)


def _converted(module: Any, path: str, outside: Outside, suffix: str = "") -> tuple[Iterator[Entry], list]:
    """The entries of a module that is no stack, and what is below it."""
    own = vars(module)
    kind = kind_of_module(module)
    places = _places(module)
    if kind is None:
        below = [(n, v) for n, v in own.items() if n not in places and not n.startswith("_pytree__")]
        if isinstance(module, nnx.Sequential):
            # Its list of layers is a level of its own here, and not in PyTorch.
            below = [("" if n == "layers" else n, v) for n, v in below]
        if isinstance(module, jaxconv.nnx.Sequential):
            below.sort(key=lambda child: module._names.index(child[0]) if child[0] in module._names else -1)
        return unconverted(path, places), below
    for part in kind.parts:
        if hasattr(getattr(module, part), "parametrizations"):
            raise ValueError(
                f"{path or 'module'} is a {type(module).__name__} whose {part} computes its weight, for which PyTorch "
                "has no names; use remove_parametrizations before"
            )
        places |= {f"{part}.{n}": place for n, place in _places(getattr(module, part)).items()}
    slots = kind.slots(Layer(path, shapes_of(places), outside.images, module, suffix))
    # What a class that is derived from one of Flax's layers has beside that layer's arrays.
    known = {name for slot in slots for name in slot.flax} | set(kind.parts)
    more = {name: place for name, place in places.items() if name not in known and name.partition(".")[0] not in known}
    below = [(n, v) for n, v in own.items() if n not in places and n not in known and not n.startswith("_pytree__")]
    return chain(entries_of(path, slots, places), unconverted(path, more)), below


def stacked_cells(module: Any) -> list[tuple[nnx.Module, str]]:
    """The cells of what is one `torch.nn.LSTM`, `GRU` or `RNN`, with what PyTorch appends to their arrays' names.

    That is an `nnx.RNN`, an `nnx.Bidirectional` of two, or a Sequential of several of them and of layers without
    arrays, all alike; of a single one, the Sequential is PyTorch's.
    """
    if not isinstance(module, nnx.Sequential | jaxconv.nnx.Sequential):
        return [(cell, f"_l0{way}") for cell, way in _cells(module)]
    layers = [layer for layer in _layers(module) if not _is_empty(layer)]
    stack = [_cells(layer) for layer in layers]
    alike = {tuple((type(cell), getattr(cell, "hidden_features", None)) for cell, _ in cells) for cells in stack}
    if len(stack) < 2 or len(alike) > 1 or not all(stack) or any(getattr(rnn, "reverse", False) for rnn in layers):
        return []
    return [(cell, f"_l{i}{way}") for i, cells in enumerate(stack) for cell, way in cells]


def _cells(module: Any) -> list[tuple[nnx.Module, str]]:
    """The cells of one layer: of one direction or of both, where both are alike."""
    if isinstance(module, nnx.Bidirectional):
        ways = [_cells(rnn) for rnn in (module.forward_rnn, module.backward_rnn)]
        if not all(len(way) == 1 for way in ways) or type(ways[0][0][0]) is not type(ways[1][0][0]):
            return []
        return [(ways[0][0][0], ""), (ways[1][0][0], "_reverse")]
    if isinstance(module, nnx.RNN) and (kind := kind_of_module(module.cell)) and kind.is_recurrent:
        return [(module.cell, "")]
    return []


def _layers(module: Any) -> Iterable[Any]:
    return module.layers if isinstance(module, nnx.Sequential) else module


def _is_empty(layer: Any) -> bool:
    """Whether a layer has no arrays that PyTorch would keep."""
    return not isinstance(layer, nnx.Module) or not any(_walk(layer, "", (), Outside(Flattened(None), {})))


# Of a layer that has not found its in_channels the weight that is loaded tells them, as in PyTorch.
_LAZY = (
    jaxconv.nnx.LazyConv1d, jaxconv.nnx.LazyConv2d, jaxconv.nnx.LazyConv3d,
    jaxconv.nnx.LazyConvTranspose1d, jaxconv.nnx.LazyConvTranspose2d, jaxconv.nnx.LazyConvTranspose3d,
)  # fmt: skip


def _lazy(module: Any, path: str, outside: Outside) -> Iterator[Entry]:
    """The entries of a layer that has not found its in_channels."""
    if outside.given is None:
        raise ValueError(
            f"{path or 'module'} is a {type(module).__name__} that has not found its in_channels; "
            "call the model once, or load a state dict, before its weights are read"
        )
    axis = 0 if module.transposed else 1  # of the weight, which has the input's channels along it
    shape = tuple(ANY if i == axis else n for i, n in enumerate(weight_shape(module, module.groups)))
    found: Any = getattr(outside.given.get(join(path, "weight")), "shape", None)
    given = () if found is None else tuple(int(n) for n in found)
    size = given[axis] if fits(given, shape) else 0
    channels = None
    if size and (axis or size % module.groups == 0):
        channels, shape = size * (module.groups if axis else 1), given

    def of_found(array: np.ndarray) -> np.ndarray:
        if channels is None:
            sizes = ", ".join(sizes_of(shape))
            raise CannotHold(f"the layer has not found its in_channels, which a weight would tell that fits ({sizes})")
        return array

    wanted = {"weight": shape, "bias": (module.out_channels,)}
    if module._bias_key is None:
        del wanted["bias"]
    slots = [converted(name, size, name, lambda a: a, of_found) for name, size in wanted.items()]
    return entries_of(path, slots, {name: _Unfound(module, name, size, channels) for name, size in wanted.items()})


class _Unfound:
    """A parameter of a layer that has not found its in_channels, and does where one of them is loaded."""

    sharding = None

    def __init__(self, module: Any, name: str, shape: tuple[int, ...], channels: int | None):
        self.module, self.name, self.shape, self.channels = module, name, shape, channels
        self.dtype, self.identity = np.dtype(module.param_dtype), ("unfound", id(module), name)

    def read(self) -> np.ndarray:
        raise AssertionError("only for what is loaded")

    def prepare(self, value: np.ndarray) -> jax.Array:
        return jax.device_put(value)

    def write(self, value: jax.Array) -> None:
        if self.module.in_channels is None:
            self.module.set_in_channels(self.channels)
        getattr(self.module, self.name).set_value(value)


def _places(module: nnx.Module) -> dict[str, Place]:
    """Where a module keeps its own parameters and buffers."""
    places = _kept(vars(module).items(), module)
    if type(module).__module__.startswith("jaxconv."):  # their fields stand in another order than PyTorch's arrays
        places = {name: places[name] for name in sorted(places, key=lambda n: _ORDER.index(n) if n in _ORDER else 9)}
    if isinstance(module, nnx.BatchNorm):
        places["num_batches_tracked"] = _BatchCount(module)
        # Flax makes the statistics float32 whatever the layer's dtype is; of a layer in float64 that would halve
        # the digits of what is loaded.
        for name in ("mean", "var"):
            places[name] = _Variable(getattr(module, name), at_least=module.param_dtype)
    return places


def _level(key: Any) -> str:
    """A key of a container as a part of a name; Flax's wrappers of layers keep their variables by path."""
    return ".".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _kept(children: Iterable[tuple[Any, Any]], node: Any) -> dict[str, Place]:
    """Where a module or a container keeps parameters and buffers of its own."""
    places: dict[str, Place] = {}
    for key, value in children:
        if _is_kept(value):
            places[_level(key)] = _Variable(value)
        elif _is_array(value):
            places[_level(key)] = _Attribute(node, key)
    return places


def _is_kept(value: Any) -> bool:
    """Whether this attribute of a module is a parameter or a buffer."""
    is_variable = isinstance(value, nnx.Variable) and not isinstance(value, _TRANSIENT)
    return is_variable and hasattr(value.get_value(), "shape")


def _is_array(value: Any) -> bool:
    """Whether this attribute of a module is an array itself, as where one was assigned over a parameter."""
    return isinstance(value, jax.Array) and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


class _Variable:
    """The value of an NNX variable, loaded in its own dtype, or in one that also holds the numbers of `at_least`."""

    def __init__(self, variable: nnx.Variable, at_least: Any = None):
        self.variable, self.identity = variable, id(variable)
        value = variable.get_value()
        self.shape, self.dtype = tuple(value.shape), np.dtype(value.dtype)
        if at_least is not None:
            self.dtype = np.dtype(jnp.promote_types(self.dtype, at_least))
        self.sharding = getattr(value, "sharding", None)

    def read(self) -> np.ndarray:
        value = self.variable.get_value()
        if isinstance(value, jax.ShapeDtypeStruct):
            raise ValueError("the module has shapes and no values: load a state dict into it first")
        return np.array(value, order="C")

    def prepare(self, value: np.ndarray) -> jax.Array:
        return jax.device_put(value, self.sharding)

    def write(self, value: jax.Array) -> None:
        self.variable.set_value(value)


class _Attribute:
    """An array that a module or a container holds as it is; NNX counts it among the module's state, too."""

    def __init__(self, node: Any, key: Any):
        self.node, self.key = node, key
        value = self._value()
        self.identity = ("array", id(node), key)
        self.shape, self.dtype, self.sharding = tuple(value.shape), np.dtype(value.dtype), value.sharding

    def _value(self) -> jax.Array:
        return getattr(self.node, self.key) if isinstance(self.node, nnx.Module) else self.node[self.key]

    def read(self) -> np.ndarray:
        return np.array(self._value(), order="C")

    def prepare(self, value: np.ndarray) -> jax.Array:
        if isinstance(self.node, tuple):
            raise ValueError(
                f"the module holds an array of shape {self.shape} in a tuple, where it cannot be exchanged; "
                "use an nnx.Param, or a list"
            )
        return jax.device_put(value, self.sharding)

    def write(self, value: jax.Array) -> None:
        if isinstance(self.node, nnx.Module):
            setattr(self.node, self.key, value)
        else:
            self.node[self.key] = value


# How many batches PyTorch had counted, by the BatchNorm that the number was loaded into. Flax has no use for it: as an
# attribute of the module it would have every function compiled again for every checkpoint, as a variable it would
# give a loaded model other leaves than a new one. `nnx.merge` makes new modules, whose count is 0.
_COUNTS: weakref.WeakKeyDictionary[nnx.Module, int] = weakref.WeakKeyDictionary()


class _BatchCount:
    """The number of batches that one BatchNorm has seen."""

    shape, dtype = (), np.dtype(np.int64)

    def __init__(self, module: nnx.Module):
        self.module, self.identity = module, ("count", id(module))

    def read(self) -> np.ndarray:
        return np.array(_COUNTS.get(self.module, 0), np.int64)

    def prepare(self, value: np.ndarray) -> int:
        return int(value)

    def write(self, value: int) -> None:
        _COUNTS[self.module] = value
