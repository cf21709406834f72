"""The arrays of an NNX module: a walk through it, and where the arrays are kept."""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv.interop.conversions import Flattened, Layer, kind_of_module
from jaxconv.interop.names import join
from jaxconv.interop.slots import Entry, Place, entries_of, shapes_of, unconverted

# What PyTorch has no place for in a state dict.
_TRANSIENT = (nnx.RngState, nnx.Cache, nnx.Intermediate)


def nnx_entries(module: Any, flattened: Mapping[str, Sequence[int]] | None) -> list[Entry]:
    """All entries of a module, in the order in which PyTorch would list them."""
    if not isinstance(module, nnx.Module):
        of_linen = " (for Linen there is linen_state_dict and linen_from_state_dict)" if _is_linen(module) else ""
        raise TypeError(f"module must be an nnx.Module, got {type(module).__name__}{of_linen}")
    images = Flattened(flattened)
    entries = list(_walk(module, "", (), images))
    images.check()
    return entries


def _is_linen(module: Any) -> bool:
    return any(base.__module__.startswith("flax.linen") for base in type(module).__mro__)


def _walk(node: Any, path: str, above: tuple[int, ...], images: Flattened) -> Iterator[Entry]:
    """The entries of `node` and of all below it. A module shared by two places is there twice, as in PyTorch."""
    if id(node) in above:
        return  # a module that refers to one it is part of
    if isinstance(node, nnx.Module):
        entries, below = _layer(node, path, images)
        yield from entries
    else:
        children = list(node.items() if isinstance(node, Mapping) else enumerate(node))
        below = [(_level(key), child) for key, child in children]
        yield from unconverted(path, _kept(children, node))
    for name, child in below:
        if isinstance(child, nnx.Module | list | tuple | dict):
            yield from _walk(child, join(path, name), (*above, id(node)), images)


def _layer(module: Any, path: str, images: Flattened) -> tuple[Iterator[Entry], list[tuple[str, Any]]]:
    """The entries of one module, and what is below it that is still to walk."""
    suffix = ""
    if isinstance(module, nnx.RNN) and (kind := kind_of_module(module.cell)) and kind.parts:
        module, suffix = module.cell, "_l0"
    own = vars(module)
    if own.get("weight", ...) is None and own.get("in_channels", ...) is None:
        raise ValueError(
            f"{path or 'module'} is a {type(module).__name__} that has not found its in_channels; "
            "call the model once before its weights are read or loaded"
        )
    kind = kind_of_module(module)
    places = _places(module)
    if kind is None:
        below = [(n, v) for n, v in own.items() if n not in places and not n.startswith("_pytree__")]
        if isinstance(module, nnx.Sequential):
            # Its list of layers is a level of its own here, and not in PyTorch.
            below = [("" if n == "layers" else n, v) for n, v in below]
        return unconverted(path, places), below
    for part in kind.parts:
        places |= {f"{part}.{n}": place for n, place in _places(getattr(module, part)).items()}
    slots = kind.slots(Layer(path, shapes_of(places), images, module, suffix))
    # What a class that is derived from one of Flax's layers has beside that layer's arrays.
    known = {name for slot in slots for name in slot.flax} | set(kind.parts)
    more = {name: place for name, place in places.items() if name not in known and name.partition(".")[0] not in known}
    below = [(n, v) for n, v in own.items() if n not in places and n not in known and not n.startswith("_pytree__")]
    return chain(entries_of(path, slots, places), unconverted(path, more)), below


def _places(module: nnx.Module) -> dict[str, Place]:
    """Where a module keeps its own parameters and buffers."""
    places = _kept(vars(module).items(), module)
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
