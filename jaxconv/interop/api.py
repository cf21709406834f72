"""PyTorch's weights in and out of Flax modules: its names, its layouts, and nothing loaded by halves.

Every layer is a list of `_Slot`s. A slot pairs some of PyTorch's arrays with the arrays of Flax that hold the same
numbers, and knows the way in both directions. What a slot does is independent of where the arrays live: in an NNX
module, or in the variables of a Linen module. PyTorch itself is never imported, and no pickle is ever opened.
"""

import math
import os
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core import FrozenDict, freeze, meta

__all__ = [
    "LoadReport",
    "linen_from_state_dict",
    "linen_state_dict",
    "load_state_dict",
    "save_safetensors",
    "state_dict",
]

Rename = Callable[[str], str | None] | Mapping[str, str | None]
Shape = tuple[int, ...]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class LoadReport:
    """What `load_state_dict` did, or would have done: names are PyTorch's, after `rename`.

    Args:
        loaded: the names that fit.
        missing: names that the module has and the state dict has not.
        unexpected: names that the state dict has and the module has not.
        mismatched: a line for each array of a wrong shape or kind, or that cannot be converted.

    Example:
        >>> from jaxconv.interop import LoadReport
        >>> LoadReport(("weight",), (), ("scale",), ()).ok
        False
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the state dict and the module fit one another entirely."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        return f"loaded {len(self.loaded)} arrays" + ("" if self.ok else f"\n{self._problems()}")

    def _problems(self) -> str:
        lines = []
        for heading in ("missing", "unexpected", "mismatched"):
            names = getattr(self, heading)
            lines += [f"{heading} ({len(names)}):", *(f"    {name}" for name in names)] if names else []
        return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------
# Public functions
# ---------------------------------------------------------------------------------------------------------------


def state_dict(module: nnx.Module, *, flattened: Mapping[str, Sequence[int]] | None = None) -> dict[str, np.ndarray]:
    """The parameters and buffers of an NNX module, named and laid out as `torch.nn.Module.state_dict` has them.

    The levels of `nnx.Sequential` and `nnx.List` read as PyTorch's do (`features.0.weight`). Layers of `jaxconv.nnx`
    go out as they are. These layers of Flax are converted, and whatever else is a variable goes out by its own name:

    - `Linear`, `LinearGeneral` without batch axes, `Conv`, `Embed`, `PReLU`;
    - `BatchNorm`, `LayerNorm`, `GroupNorm`, `InstanceNorm`, `RMSNorm`;
    - `LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, `SimpleCell`, and `RNN` of one of them, which is a one-layer
      `torch.nn.LSTM`, `GRU` or `RNN`. Flax's cells have one bias where PyTorch's have two: it goes out as one of the
      two, and the other is zero. To keep both apart, give the cell a second one: `cell.dense_i = nnx.Linear(...)`.

    How many batches PyTorch's batch norm has seen is kept as it was loaded, and is 0 in a module that is new or comes
    from `nnx.merge`. The keys of random number generators, caches and intermediates are left out.

    Args:
        module: any NNX module.
        flattened: {path of a Linear: (channels, *spatial)} for each `Linear` behind a flatten of a channels last
            image. PyTorch flattens channels first: its columns stand in another order.

    Returns:
        {name: array}. The arrays are copies, with the dtypes of the module's.

    Raises:
        TypeError: `module` is not an NNX module.
        ValueError: a layer that has not yet found its `in_channels`, or that PyTorch cannot hold; or `flattened`
            names a layer that is not there.

    Example:
        >>> from flax import nnx
        >>> from jaxconv.interop import state_dict
        >>> from jaxconv.nnx import Conv2d
        >>> rngs = nnx.Rngs(0)
        >>> model = nnx.Sequential(Conv2d(3, 8, 3, rngs=rngs), nnx.relu, nnx.Linear(8, 2, rngs=rngs))
        >>> {name: array.shape for name, array in state_dict(model).items()}
        {'0.weight': (8, 3, 3, 3), '0.bias': (8,), '2.weight': (2, 8), '2.bias': (2,)}
    """
    return _read_all(_nnx_slots(module, flattened))


def load_state_dict(
    module: nnx.Module,
    state_dict: Mapping[str, Any] | str | os.PathLike[str],
    *,
    strict: bool = True,
    rename: Rename | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> LoadReport:
    """Puts PyTorch's weights into an NNX module, in place, as `torch.nn.Module.load_state_dict` does.

    All of it is checked before any of it is written: where this function raises, the module is as it was. The layers
    that are converted are those of `jaxconv.interop.state_dict`. Values are cast to the dtypes of the module, so a
    checkpoint in half precision fills a module in float32. Arrays that the module shares need only one of their
    names in the state dict, and must agree where there are several.

    Two biases of an LSTM cell become their sum where the cell has one. For a GRU cell that is impossible if the
    second bias of its third gate is not zero; the message says what to do.

    Args:
        module: any NNX module, also one made by `nnx.eval_shape`, which has shapes alone.
        state_dict: a mapping from names to arrays: NumPy's, JAX's, or PyTorch's tensors; or the path of a
            `.safetensors` or `.npz` file.
        strict: whether to raise where not everything fits. If not, what fits is loaded.
        rename: from a name of the state dict to that of the module: a function, or a mapping of whole names or of
            their beginnings up to a dot. None in place of a name leaves it out.
        flattened: {path of a Linear: (channels, *spatial)} for each `Linear` behind a flatten of a channels last
            image. PyTorch flattens channels first: its columns stand in another order.

    Returns:
        What was loaded, and what did not fit.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `module` is not an NNX module, or `state_dict` is neither a mapping nor a path.
        ValueError: something does not fit and `strict` is true: all of it is listed. Or a file that cannot be read.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from jaxconv.interop import load_state_dict
        >>> layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        >>> print(load_state_dict(layer, {"fc.weight": np.ones((2, 3)), "fc.bias": np.zeros(2)}, rename={"fc": ""}))
        loaded 2 arrays
        >>> layer.kernel[...].shape
        (3, 2)
    """
    bound = _nnx_slots(module, flattened)
    report, writes = _match(bound, _renamed(_arrays_of(state_dict), rename))
    _refuse(report, strict, type(module).__name__)
    # Every array is on its device before the first one is exchanged: running out of memory changes nothing either.
    placed = [(cell, cell.prepare(value)) for cell, value in writes]
    for cell, value in placed:
        cell.write(value)
    return report


def save_safetensors(
    module: nnx.Module,
    path: str | os.PathLike[str],
    *,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Writes the state dict of an NNX module into a file that `safetensors.torch.load_file` reads.

    Args:
        module: any NNX module.
        path: where to, ending in `.safetensors`. A file that is there is replaced once the new one is complete.
        flattened: as of `jaxconv.interop.state_dict`.

    Returns:
        None.

    Raises:
        ImportError: the package safetensors is not installed.
        TypeError: `module` is not an NNX module.
        ValueError: `path` has another ending, or as of `jaxconv.interop.state_dict`.

    Example:
        >>> import tempfile
        >>> from flax import nnx
        >>> from jaxconv.interop import load_state_dict, save_safetensors
        >>> layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_safetensors(layer, f"{folder}/layer.safetensors")
        ...     load_state_dict(layer, f"{folder}/layer.safetensors").loaded
        ('weight', 'bias')
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {str(path)!r}")
    # "format" is what readers ask for to know whose layouts these are.
    data = _safetensors().save(state_dict(module, flattened=flattened), metadata={"format": "pt"})
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def linen_state_dict(
    variables: Mapping[str, Any],
    *,
    rename: Rename | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, np.ndarray]:
    """The variables of a Linen module, named and laid out as `torch.nn.Module.state_dict` would have them.

    A Linen module is not needed: what a layer is shows in the names of its variables, in `params` and `batch_stats`.
    The layers that are converted are `Dense`, `Conv`, `Embed`, `PReLU`, `BatchNorm`, `LayerNorm`, `GroupNorm`,
    `LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, and those of `jaxconv.linen`, which go out as they are. Paths are
    joined by dots. `blocks_0`, an entry of a list made in `setup`, is `blocks.0`, and the level `layers_0` of
    `nn.Sequential` is `0`; a name that Flax has made up, such as `Conv2d_0`, stays as it is: see `rename`. Since names
    are all there is, a `kernel` of three axes or more is taken for that of a `Conv`, not of a `DenseGeneral`.

    Args:
        variables: {"params": …, "batch_stats": …}, as `init` gives them.
        rename: from the names described above to those wanted: a function, or a mapping of whole names or of their
            beginnings up to a dot. None in place of a name leaves it out.
        flattened: as of `jaxconv.interop.state_dict`.

    Returns:
        {name: array}. The arrays are copies.

    Raises:
        TypeError: `variables` is not a mapping of collections.
        ValueError: two arrays of one name, or `flattened` names a layer that is not there.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.interop import linen_state_dict
        >>> from jaxconv.linen import Conv2d
        >>> variables = Conv2d(3, 8, 3, bias=False).init(jax.random.key(0), jnp.ones((1, 3, 8, 8)))
        >>> {name: array.shape for name, array in linen_state_dict(variables).items()}
        {'weight': (8, 3, 3, 3)}
    """
    return _renamed(_read_all(_linen_slots(variables, flattened)), rename)


def linen_from_state_dict(
    variables: Mapping[str, Any],
    state_dict: Mapping[str, Any] | str | os.PathLike[str],
    *,
    strict: bool = True,
    rename: Rename | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """The variables of a Linen module with PyTorch's weights in place of their values.

    Names and layers are those of `jaxconv.interop.linen_state_dict`. Collections other than `params` and `batch_stats`
    are handed on. `variables` may be of `jax.eval_shape(module.init, key, x)`: only shapes and dtypes are looked at.

    Args:
        variables: {"params": …, "batch_stats": …}, as `init` gives them; not changed.
        state_dict: as of `jaxconv.interop.load_state_dict`.
        strict: whether to raise where not everything fits. If not, what fits is taken.
        rename: from a name of the state dict to that of the variables, as of `jaxconv.interop.load_state_dict`.
        flattened: as of `jaxconv.interop.state_dict`.

    Returns:
        New variables.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `variables` is not a mapping of collections, or `state_dict` is neither a mapping nor a path.
        ValueError: something does not fit and `strict` is true: all of it is listed. Or a file that cannot be read.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from jaxconv.interop import linen_from_state_dict
        >>> from jaxconv.linen import Conv2d
        >>> variables = Conv2d(3, 8, 3, bias=False).init(jax.random.key(0), jnp.ones((1, 3, 8, 8)))
        >>> new = linen_from_state_dict(variables, {"conv.weight": np.ones((8, 3, 3, 3))}, rename={"conv": ""})
        >>> float(new["params"]["weight"].sum())
        216.0
    """
    bound = _linen_slots(variables, flattened)
    report, writes = _match(bound, _renamed(_arrays_of(state_dict), rename))
    _refuse(report, strict, "the Linen module")
    new = {name: _copied(tree) for name, tree in variables.items()}
    for cell, value in writes:
        assert isinstance(cell, _Leaf)
        node = new
        for step in cell.path[:-1]:
            node = node[step]
        old = node[cell.path[-1]]
        value = cell.prepare(value)
        node[cell.path[-1]] = old.replace_boxed(value) if isinstance(old, meta.AxisMetadata) else value
    return freeze(new) if isinstance(variables, FrozenDict) else new  # type: ignore[return-value]


# ---------------------------------------------------------------------------------------------------------------
# Slots: what a layer of Flax is to PyTorch
# ---------------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """Numbers that this layer of Flax cannot hold; the message says why, and what can."""


@dataclass(frozen=True)
class _Slot:
    """Some arrays of PyTorch, and the arrays of Flax that hold the same numbers."""

    torch: dict[str, Shape]
    flax: tuple[str, ...]
    out: Callable[[Arrays], Arrays]
    back: Callable[[Arrays], Arrays]
    optional: bool = False  # whether PyTorch itself does without


def _moved(torch: str, shape: Shape, flax: str, out: Callable[[Any], Any], back: Callable[[Any], Any]) -> _Slot:
    """A slot of one array on each side."""
    return _Slot({torch: shape}, (flax,), lambda a: {torch: out(a[flax])}, lambda a: {flax: back(a[torch])})


def _same(name: str, shape: Shape, flax: str | None = None) -> _Slot:
    return _moved(name, shape, flax or name, lambda a: a, lambda a: a)


def _reshaped(name: str, shape: Shape, flax: str, held: Shape) -> _Slot:
    return _moved(name, shape, flax, lambda a: a.reshape(shape), lambda a: a.reshape(held))


def _linear(shapes: dict[str, Shape], image: Sequence[int] | None = None, axes_in: int = 1) -> list[_Slot]:
    """(in, out) here, (out, in) there; several axes on either side are flattened there.

    Behind a flatten of an image PyTorch's columns are ordered (C, H, W), and those of a channels last one (H, W, C).
    """
    held = shapes["kernel"]
    rows, columns = math.prod(held[:axes_in]), math.prod(held[axes_in:])

    def out(kernel):
        kernel = kernel.reshape(rows, columns)
        if image is not None:
            kernel = np.moveaxis(kernel.reshape(*image[1:], image[0], columns), -2, 0).reshape(rows, columns)
        return kernel.T

    def back(weight):
        kernel = weight.T
        if image is not None:
            kernel = np.moveaxis(kernel.reshape(*image, columns), 0, -2)
        return kernel.reshape(held)

    slots = [_moved("weight", (columns, rows), "kernel", out, back)]
    if "bias" in shapes:
        slots.append(_reshaped("bias", (columns,), "bias", shapes["bias"]))
    return slots


def _conv(shapes: dict[str, Shape]) -> list[_Slot]:
    """(*kernel_size, in / groups, out) here, (out, in / groups, *kernel_size) there."""
    held = shapes["kernel"]
    to_torch = (len(held) - 1, len(held) - 2, *range(len(held) - 2))
    to_flax = (*range(2, len(held)), 1, 0)
    shape = tuple(held[axis] for axis in to_torch)
    weight = _moved("weight", shape, "kernel", lambda a: a.transpose(to_torch), lambda a: a.transpose(to_flax))
    return [weight, *([_same("bias", shapes["bias"])] if "bias" in shapes else [])]


_NAMES_OF_NORMS = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _norm(shapes: dict[str, Shape]) -> list[_Slot]:
    slots = [_same(torch, shapes[flax], flax) for flax, torch in _NAMES_OF_NORMS.items() if flax in shapes]
    if "mean" in shapes:
        # Absent in checkpoints older than PyTorch 0.4.1. A Linen module has nowhere to keep it.
        kept = ("num_batches_tracked",) if "num_batches_tracked" in shapes else ()
        slots.append(
            _Slot(
                {"num_batches_tracked": ()},
                kept,
                lambda a: a if kept else {"num_batches_tracked": np.zeros((), np.int64)},
                lambda a: a if kept else {},
                optional=True,
            )
        )
    return slots


def _embed(shapes: dict[str, Shape]) -> list[_Slot]:
    return [_same("weight", shapes["embedding"], "embedding")]


def _prelu(shapes: dict[str, Shape]) -> list[_Slot]:
    return [_reshaped("weight", (1,), "negative_slope", shapes["negative_slope"])]


def _recurrent(
    shapes: dict[str, Shape],
    parts_i: Sequence[str],
    parts_h: Sequence[str],
    gates: int,
    inside: int | None = None,
    suffix: str = "",
) -> list[_Slot]:
    """The gates of a recurrent cell, which PyTorch stacks; here they are a layer each, or stacked as well.

    PyTorch adds a bias to both products of every gate. Where here only one product has a bias, it takes their sum;
    but the gate numbered `inside` multiplies its second product, bias included, before it adds the two.
    """
    width = shapes[f"{parts_h[0]}.kernel"][0]
    names = {side: f"weight_{side}{suffix}" for side in ("ih", "hh")}
    parts = {"ih": parts_i, "hh": parts_h}
    biased = {side: [f"{part}.bias" in shapes for part in parts[side]] for side in parts}
    # By gate, also where one layer holds all gates.
    has = {side: biased[side] * (gates // len(parts[side])) for side in parts}

    def kernels(side: str) -> _Slot:
        held = [f"{part}.kernel" for part in parts[side]]
        shape = (gates * width, shapes[held[0]][0])
        return _Slot(
            {names[side]: shape},
            tuple(held),
            lambda a: {names[side]: np.concatenate([a[name].T for name in held])},
            lambda a: {n: k.T for n, k in zip(held, np.split(a[names[side]], len(held)), strict=True)},
        )

    slots = [kernels("ih"), kernels("hh")]
    if not any(has["ih"] + has["hh"]):
        return slots
    bias = {side: f"bias_{side}{suffix}" for side in parts}

    def out(arrays: Arrays) -> Arrays:
        some = next(iter(arrays.values()))
        return {
            bias[side]: np.concatenate(
                [
                    arrays[f"{part}.bias"] if there else np.zeros(gates * width // len(parts[side]), some.dtype)
                    for part, there in zip(parts[side], biased[side], strict=True)
                ]
            )
            for side in parts
        }

    def back(arrays: Arrays) -> Arrays:
        by_gate = {side: np.split(arrays[bias[side]].copy(), gates) for side in parts}
        for gate in range(gates):
            i, h = by_gate["ih"][gate], by_gate["hh"][gate]
            if has["ih"][gate] and has["hh"][gate]:
                continue
            if gate == inside and not has["hh"][gate] and h.any():
                raise _Refused(
                    f"gate {gate + 1} of this cell has no second bias and PyTorch's is not zero; before loading, give "
                    f"it one: cell.dense_h = nnx.Linear({width}, {gates * width}, rngs=rngs)"
                )
            if not has["ih"][gate] and not has["hh"][gate]:
                raise _Refused("this cell has no bias")
            i += h
            h[...] = i
        joined = {side: np.concatenate(by_gate[side]) for side in parts}
        return {
            f"{part}.bias": piece
            for side in parts
            for part, there, piece in zip(
                parts[side], biased[side], np.split(joined[side], len(parts[side])), strict=True
            )
            if there
        }

    held = tuple(
        f"{part}.bias" for side in parts for part, there in zip(parts[side], biased[side], strict=True) if there
    )
    return [*slots, _Slot(dict.fromkeys(bias.values(), (gates * width,)), held, out, back)]


# ---------------------------------------------------------------------------------------------------------------
# Cells: where the arrays of Flax live
# ---------------------------------------------------------------------------------------------------------------


class _Variable:
    """The value of an NNX variable."""

    def __init__(self, variable: nnx.Variable, dtype: Any = None):
        self.variable, self.identity = variable, id(variable)
        value = variable.get_value()
        self.shape, self.dtype = tuple(value.shape), np.dtype(dtype or value.dtype)
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


# How many batches PyTorch had counted, by the BatchNorm that the number was loaded into. Flax has no use for it: as an
# attribute of the module it would have every function compiled again for every checkpoint, as a variable it would
# give a loaded model other leaves than a new one. `nnx.merge` makes new modules, whose count is 0.
_COUNTS: weakref.WeakKeyDictionary[nnx.Module, int] = weakref.WeakKeyDictionary()


class _Count:
    """The number of batches of one BatchNorm."""

    shape, dtype = (), np.dtype(np.int64)

    def __init__(self, module: nnx.Module):
        self.module, self.identity = module, ("count", id(module))

    def read(self) -> np.ndarray:
        return np.array(_COUNTS.get(self.module, 0), np.int64)

    def prepare(self, value: np.ndarray) -> int:
        return int(value)

    def write(self, value: int) -> None:
        _COUNTS[self.module] = value


class _Leaf:
    """A leaf of the variables of a Linen module."""

    def __init__(self, path: tuple[str, ...], leaf: Any):
        self.path, self.identity = path, path
        self.value = leaf.unbox() if isinstance(leaf, meta.AxisMetadata) else leaf
        self.shape, self.dtype = tuple(self.value.shape), np.dtype(self.value.dtype)
        self.sharding = getattr(self.value, "sharding", None)

    def read(self) -> np.ndarray:
        return np.array(self.value, order="C")

    def prepare(self, value: np.ndarray) -> jax.Array:
        return jax.device_put(value, self.sharding)


class _Bound(NamedTuple):
    """The slot of one layer, with the cells that it is about."""

    path: str
    slot: _Slot
    cells: dict[str, Any]

    def name(self, inner: str) -> str:
        return f"{self.path}.{inner}" if self.path else inner


@dataclass
class _Layer:
    """The slots of one layer, the cells by the names that the slots use, and what is below that is still to walk."""

    cells: dict[str, Any]
    slots: list[_Slot]
    path: str
    below: list[tuple[str, Any]] = field(default_factory=list)

    def bound(self) -> Iterator[_Bound]:
        for slot in self.slots:
            yield _Bound(self.path, slot, {name: self.cells[name] for name in slot.flax})


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _shapes(cells: Mapping[str, Any]) -> dict[str, Shape]:
    return {name: cell.shape for name, cell in cells.items()}


# ---------------------------------------------------------------------------------------------------------------
# NNX modules
# ---------------------------------------------------------------------------------------------------------------

# What PyTorch has no place for in a state dict.
_TRANSIENT = (nnx.RngState, nnx.Cache, nnx.Intermediate)
_NORMS = (nnx.BatchNorm, nnx.LayerNorm, nnx.GroupNorm, nnx.InstanceNorm, nnx.RMSNorm)
_CELLS: dict[type, tuple[Sequence[str], Sequence[str], int, int | None]] = {
    nnx.LSTMCell: (("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho"), 4, None),
    nnx.OptimizedLSTMCell: (("dense_i",), ("dense_h",), 4, None),
    nnx.GRUCell: (("dense_i",), ("dense_h",), 3, 2),
    nnx.SimpleCell: (("dense_i",), ("dense_h",), 1, None),
}


def _nnx_slots(module: Any, flattened: Mapping[str, Sequence[int]] | None) -> list[_Bound]:
    """All slots of a module, in the order in which PyTorch would list them."""
    if not isinstance(module, nnx.Module):
        of_linen = " (for Linen there is linen_state_dict and linen_from_state_dict)" if _is_linen(module) else ""
        raise TypeError(f"module must be an nnx.Module, got {type(module).__name__}{of_linen}")
    images, linears = dict(flattened or {}), []
    bound = list(_walk(module, "", (), images, linears))
    _check_images(images, linears)
    return bound


def _is_linen(module: Any) -> bool:
    return any(base.__module__.startswith("flax.linen") for base in type(module).__mro__)


def _check_images(images: Mapping[str, Any], linears: Sequence[str]) -> None:
    if unknown := sorted(set(images) - set(linears)):
        raise ValueError(f"flattened names {', '.join(unknown)}, but the Linear layers are: {', '.join(linears)}")


def _image(images: Mapping[str, Sequence[int]], path: str, rows: int) -> tuple[int, ...] | None:
    """The image that is flattened before the Linear at `path`."""
    if path not in images:
        return None
    image = tuple(images[path])
    if math.prod(image) != rows or len(image) < 2:
        raise ValueError(
            f"flattened[{path!r}] must be (channels, *spatial) with a product of {rows}, the inputs of the layer; "
            f"got {image}"
        )
    return image


def _walk(node: Any, path: str, above: tuple[int, ...], images: Mapping, linears: list[str]) -> Iterator[_Bound]:
    """The slots of `node` and of all below it. A module shared by two places is there twice, as in PyTorch."""
    if id(node) in above:
        return  # a module that refers to one it is part of
    if isinstance(node, nnx.Module):
        layer = _nnx_layer(node, path, images, linears)
    else:
        children = node.items() if isinstance(node, Mapping) else enumerate(node)
        layer = _Layer({}, [], path, [(str(name), child) for name, child in children])
    yield from layer.bound()
    for name, child in layer.below:
        if isinstance(child, nnx.Module | list | tuple | dict):
            yield from _walk(child, _join(path, name), (*above, id(node)), images, linears)


def _nnx_layer(module: Any, path: str, images: Mapping, linears: list[str]) -> _Layer:
    """One module: what it holds itself, by what it is."""
    if isinstance(module, nnx.RNN) and (kind := _kind_of_cell(module.cell)):
        return _nnx_cell(module.cell, path, kind, "_l0")
    if kind := _kind_of_cell(module):
        return _nnx_cell(module, path, kind, "")
    own = {n: v for n, v in vars(module).items() if not n.startswith("_pytree__")}
    if own.get("weight", ...) is None and own.get("in_channels", ...) is None:
        raise ValueError(
            f"{path or 'module'} is a {type(module).__name__} that has not found its in_channels; "
            "call the model once before its weights are read or loaded"
        )
    cells: dict[str, Any] = {n: _Variable(v) for n, v in own.items() if _is_kept(v)}
    below = [(n, v) for n, v in own.items() if n not in cells]
    if isinstance(module, nnx.Sequential):
        # Its list of layers is a level of its own here, and not in PyTorch.
        below = [("" if n == "layers" else n, v) for n, v in below]
    if isinstance(module, nnx.Linear | nnx.LinearGeneral):
        linears.append(path or "''")
        axes_in = 1 if isinstance(module, nnx.Linear) else len(module.in_features)
        if getattr(module, "batch_axis", None):
            raise ValueError(f"{path or 'module'} is a LinearGeneral with batch_axis, which no layer of PyTorch is")
        shapes = _shapes(cells)
        image = _image(images, path, math.prod(shapes["kernel"][:axes_in]))
        return _Layer(cells, _linear(shapes, image, axes_in), path)
    if isinstance(module, nnx.ConvTranspose | nnx.Einsum):
        instead = "jaxconv.nnx.ConvTranspose2d" if isinstance(module, nnx.ConvTranspose) else "nnx.Linear"
        raise ValueError(
            f"{path or 'module'} is Flax's {type(module).__name__}, whose kernel is not converted; use {instead}"
        )
    if isinstance(module, _NORMS):
        if isinstance(module, nnx.BatchNorm):
            cells["num_batches_tracked"] = _Count(module)
            # Flax makes the statistics float32 whatever the layer's dtype is; of a layer in float64 that would halve
            # the digits of what is loaded.
            for name in ("mean", "var"):
                wide = jnp.promote_types(cells[name].dtype, module.param_dtype)
                cells[name] = _Variable(cells[name].variable, wide)
        return _Layer(cells, _norm(_shapes(cells)), path)
    for kind, slots in ((nnx.Conv, _conv), (nnx.Embed, _embed), (nnx.PReLU, _prelu)):
        if isinstance(module, kind):
            return _Layer(cells, slots(_shapes(cells)), path)
    return _Layer(cells, [_same(name, cell.shape) for name, cell in cells.items()], path, below)


def _is_kept(value: Any) -> bool:
    """Whether this attribute of a module is a parameter or a buffer."""
    is_variable = isinstance(value, nnx.Variable) and not isinstance(value, _TRANSIENT)
    return is_variable and hasattr(value.get_value(), "shape")


def _kind_of_cell(module: Any) -> tuple[Sequence[str], Sequence[str], int, int | None] | None:
    return next((of for kind, of in _CELLS.items() if isinstance(module, kind)), None)


def _nnx_cell(cell: Any, path: str, kind: tuple, suffix: str) -> _Layer:
    parts_i, parts_h, gates, inside = kind
    cells = {}
    for part in (*parts_i, *parts_h):
        for name in ("kernel", "bias"):
            if getattr(getattr(cell, part), name, None) is not None:
                cells[f"{part}.{name}"] = _Variable(getattr(getattr(cell, part), name))
    return _Layer(cells, _recurrent(_shapes(cells), parts_i, parts_h, gates, inside, suffix), path)


# ---------------------------------------------------------------------------------------------------------------
# Linen variables
# ---------------------------------------------------------------------------------------------------------------

_COLLECTIONS = ("params", "batch_stats")
_LINEN_CELLS = (
    (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho"), 4, None),
    (("ir", "iz", "in"), ("hr", "hz", "hn"), 3, 2),
)


def _linen_slots(variables: Any, flattened: Mapping[str, Sequence[int]] | None) -> list[_Bound]:
    if not isinstance(variables, Mapping) or not all(isinstance(tree, Mapping) for tree in variables.values()):
        raise TypeError(
            f"variables must be a mapping of collections, such as {{'params': ...}}, got {type(variables).__name__}"
        )
    images, linears = dict(flattened or {}), []
    trees = {name: variables[name] for name in _COLLECTIONS if name in variables}
    if not trees:
        raise TypeError(f"variables must hold 'params' or 'batch_stats', got {sorted(variables)}; wrap them in a dict")
    bound = list(_walk_linen(trees, (), "", images, linears))
    _check_images(images, linears)
    return bound


def _walk_linen(
    nodes: Mapping[str, Mapping], steps: tuple[str, ...], path: str, images: Mapping, linears: list[str]
) -> Iterator[_Bound]:
    """The slots of one module of Linen and of all below it; `nodes` is its part of each collection."""
    cells: dict[str, Any] = {}
    below: dict[str, dict[str, Mapping]] = {}
    for collection, node in nodes.items():
        for name, child in node.items():
            if isinstance(child, Mapping):
                below.setdefault(name, {})[collection] = child
            else:
                cells[name] = _Leaf((collection, *steps, name), child)
    for parts_i, parts_h, gates, inside in _LINEN_CELLS:
        if {*parts_i, *parts_h} == set(below) and not cells:
            cells = {
                f"{part}.{name}": _Leaf(("params", *steps, part, name), leaf)
                for part in below
                for name, leaf in below[part]["params"].items()
            }
            yield from _Layer(cells, _recurrent(_shapes(cells), parts_i, parts_h, gates, inside), path).bound()
            return
    shapes = _shapes(cells)
    if "kernel" in shapes and len(shapes["kernel"]) == 2:
        linears.append(path or "''")
        slots = _linear(shapes, _image(images, path, shapes["kernel"][0]))
    elif "kernel" in shapes:
        slots = _conv(shapes)
    elif "scale" in shapes or "mean" in shapes:
        slots = _norm(shapes)
    elif "embedding" in shapes:
        slots = _embed(shapes)
    elif "negative_slope" in shapes:
        slots = _prelu(shapes)
    else:
        slots = [_same(name, shape) for name, shape in shapes.items()]
    yield from _Layer(cells, slots, path).bound()
    is_sequential = bool(below) and all(_numbered(name)[0] == "layers" for name in below)
    for name, parts in below.items():
        stem, number = _numbered(name)
        level = name if number is None else number if is_sequential else f"{stem}.{number}"
        yield from _walk_linen(parts, (*steps, name), _join(path, level), images, linears)


def _numbered(name: str) -> tuple[str, str | None]:
    """`blocks_0`, an entry of a list, in its two parts; the names that Flax makes up begin with a capital."""
    stem, _, number = name.rpartition("_")
    return (stem, number) if stem[:1].islower() and number.isdecimal() else (name, None)


def _copied(tree: Any) -> Any:
    return {name: _copied(child) for name, child in tree.items()} if isinstance(tree, Mapping) else tree


# ---------------------------------------------------------------------------------------------------------------
# What is given: files, tensors, names
# ---------------------------------------------------------------------------------------------------------------

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "files of safetensors need the package of that name: pip install 'jaxconv[interop]'"
        ) from None
    return safetensors.numpy


def _arrays_of(source: Any) -> Mapping[str, Any]:
    """The mapping that is given, or that a file holds."""
    if isinstance(source, Mapping):
        if odd := [name for name in source if not isinstance(name, str)]:
            raise TypeError(f"state_dict must have strings as keys, got {odd[0]!r}")
        return source
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            "state_dict must be a mapping from names to arrays, or the path of a .safetensors or .npz file; "
            f"got {type(source).__name__}"
        )
    path = Path(source)
    kind = path.suffix.lower()
    if kind in _PICKLES:
        raise ValueError(
            f"{path} is a pickle, which can run any program when it is opened, so it is not; convert it with PyTorch:\n"
            "    import torch, safetensors.torch\n"
            "    safetensors.torch.save_file({k: v.clone().contiguous() for k, v in "
            f"torch.load({str(path)!r}, 'cpu', weights_only=True).items()}}, {str(path.with_suffix('.safetensors'))!r})"
        )
    if kind not in (".safetensors", ".npz"):
        raise ValueError(f"state_dict must be the path of a .safetensors or .npz file, got {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"{path} is a directory; give the path of a file in it")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    read = _read_safetensors if kind == ".safetensors" else _read_npz
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it holds 0 bytes")
    return read(path)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    library = _safetensors()
    from safetensors import SafetensorError

    try:
        return library.load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{path} is not a sound safetensors file ({error}); it may be cut short, so compare its size with that of "
            "the original"
        ) from error


# What NumPy and zipfile raise between them, the last two for a lone array and for an archive that is encrypted.
_BROKEN_NPZ = (ValueError, AttributeError, EOFError, KeyError, OSError, MemoryError, zipfile.BadZipFile, zlib.error)
_BROKEN_NPZ += (TypeError, RuntimeError)


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: _bfloat16(arrays[name]) for name in arrays.files}
    except _BROKEN_NPZ as error:
        raise ValueError(
            f"{path} is not a sound .npz file of plain arrays ({error}); write it with numpy.savez(path, **state_dict)"
        ) from error


def _bfloat16(array: np.ndarray) -> np.ndarray:
    """NumPy's files have no word for bfloat16: they hold its bits as two bytes of no meaning."""
    return array.view(jnp.bfloat16) if array.dtype == np.dtype("V2") else array


def _as_numpy(value: Any) -> np.ndarray:
    """An array of any library, by the methods that its kind has."""
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu().resolve_conj().resolve_neg()
        if str(value.dtype) == "torch.bfloat16":
            # NumPy does not know the type. float32 holds every value of it exactly, so there and back is the same.
            return value.float().numpy().astype(jnp.bfloat16)
        return value.numpy()
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"not an array but {type(value).__name__}")
    return _bfloat16(np.asarray(value))


def _renamed(arrays: Mapping[str, Any], rename: Rename | None) -> dict[str, Any]:
    """The same arrays by other names; those renamed to None are left out."""
    if rename is None:
        return dict(arrays)
    if not callable(rename) and not isinstance(rename, Mapping):
        raise TypeError(f"rename must be a function or a mapping of names, got {type(rename).__name__}")
    function = partial(_by_beginning, rename) if isinstance(rename, Mapping) else rename
    result, origin = {}, {}
    for name, value in arrays.items():
        new = function(name)
        if new is None:
            continue
        if not isinstance(new, str):
            raise TypeError(f"rename must give a string or None, got {new!r} for {name!r}")
        if new in result:
            raise ValueError(f"rename gives {new!r} for both {origin[new]!r} and {name!r}; names must stay distinct")
        result[new], origin[new] = value, name
    return result


def _by_beginning(names: Mapping[str, str | None], name: str) -> str | None:
    """What a mapping makes of a name: the longest of its keys that is the name, or its beginning up to a dot."""
    parts = name.split(".")
    for count in range(len(parts), -1, -1):
        beginning, rest = ".".join(parts[:count]), ".".join(parts[count:])
        if beginning in names:
            new = names[beginning]
            return None if new is None else _join(new, rest)
    return name


# ---------------------------------------------------------------------------------------------------------------
# Reading and matching
# ---------------------------------------------------------------------------------------------------------------


def _read_all(bound: Sequence[_Bound]) -> dict[str, np.ndarray]:
    result = {}
    for each in bound:
        arrays = each.slot.out({name: cell.read() for name, cell in each.cells.items()})
        for inner in each.slot.torch:
            name = each.name(inner)
            if name in result:
                raise ValueError(f"two arrays of the module would be named {name!r}; rename one of its attributes")
            # A copy: what a caller does to it stays with the caller.
            result[name] = np.array(arrays[inner], order="C")
    return result


def _match(bound: Sequence[_Bound], given: Mapping[str, Any]) -> tuple[LoadReport, list[tuple[Any, np.ndarray]]]:
    """What fits where, and what does not; nothing is written yet."""
    loaded, missing, mismatched = [], [], []
    writes: dict[Any, tuple[Any, np.ndarray, str]] = {}
    absent: list[tuple[str, _Bound]] = []
    for each in bound:
        arrays, complete = {}, True
        dtype = next(iter(each.cells.values())).dtype if each.cells else np.dtype(np.int64)
        for inner, shape in each.slot.torch.items():
            name = each.name(inner)
            if name not in given:
                complete = False
                if not each.slot.optional:
                    absent.append((name, each))
                continue
            array, wrong = _fitting(given[name], shape, dtype)
            if array is None:
                complete = False
                mismatched.append(f"{name}: {wrong}")
            else:
                arrays[inner] = array
        if not complete:
            continue
        names = [each.name(inner) for inner in arrays]
        try:
            values = each.slot.back(arrays)
        except _Refused as refused:
            mismatched.append(f"{', '.join(names)}: {refused}")
            continue
        for inner, value in values.items():
            cell = each.cells[inner]
            # The memory of what was given may be written to later, and JAX would share it.
            value = np.array(value, cell.dtype, order="C")
            if cell.identity in writes:
                _, first, first_name = writes[cell.identity]
                if first.tobytes() != value.tobytes():  # bit for bit, so that a NaN equals itself
                    mismatched.append(f"{names[0]}: differs from {first_name}, with which the module shares its array")
            else:
                writes[cell.identity] = (cell, value, names[0])
        loaded += names
    for name, each in absent:
        # A shared array needs only one of its names.
        if not all(cell.identity in writes for cell in each.cells.values()):
            missing.append(name)
    known = {each.name(inner) for each in bound for inner in each.slot.torch}
    unexpected = [name for name in given if name not in known]
    report = LoadReport(tuple(loaded), tuple(missing), tuple(unexpected), tuple(mismatched))
    return report, [(cell, value) for cell, value, _ in writes.values()]


def _fitting(given: Any, shape: Shape, dtype: np.dtype) -> tuple[np.ndarray | None, str]:
    """The array as the module wants it, or what is wrong with it."""
    try:
        array = _as_numpy(given)
    except Exception as error:
        return None, str(error)
    if array.shape != shape:
        return None, f"shape {array.shape} in the state dict, {shape} in the module"
    if _kind(array.dtype) != _kind(dtype):
        return None, f"{array.dtype} in the state dict, {dtype} in the module; cast it if that is what it means"
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if _kind(dtype) == "floating" and not np.array_equal(np.isinf(cast), np.isinf(array)):
        return None, f"{array.dtype} in the state dict, with values too large for {dtype} in the module"
    return cast, ""


def _kind(dtype: np.dtype) -> str:
    for kind in ("floating", "complexfloating", "integer", "bool_"):
        if jnp.issubdtype(dtype, getattr(jnp, kind)):
            return kind
    return str(dtype)


def _refuse(report: LoadReport, strict: bool, whose: str) -> None:
    if strict and not report.ok:
        raise ValueError(
            f"the state dict does not fit {whose}, and nothing was loaded\n{report._problems()}\n"
            "rename= maps its names to those of the module; strict=False loads what fits"
        )
