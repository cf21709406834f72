"""How the arrays of each kind of Flax's layers correspond to PyTorch's: one row of `KINDS` a kind.

A layer of another kind, such as those of `jaxconv.nnx` and `jaxconv.linen`, holds PyTorch's arrays as they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from jaxconv.interop.recurrent import Gates, recurrent
from jaxconv.interop.slots import Shape, Shapes, Slot, converted, reshaped, same


class Flattened:
    """The argument `flattened`: the image that is flattened before a Linear, by the path of the Linear."""

    def __init__(self, images: Mapping[str, Sequence[int]] | None):
        self._images = dict(images or {})
        self._linears: list[str] = []

    def before(self, path: str, inputs: int) -> tuple[int, ...] | None:
        """The image (channels, *spatial) that is flattened into the `inputs` of the Linear at `path`."""
        self._linears.append(path)
        if path not in self._images:
            return None
        image = tuple(self._images[path])
        if math.prod(image) != inputs or len(image) < 2:
            raise ValueError(
                f"flattened[{path!r}] must be (channels, *spatial) with a product of {inputs}, the inputs of the "
                f"layer; got {image}"
            )
        return image

    def check(self) -> None:
        """Refuses a path at which there was no Linear."""
        if unknown := sorted(set(self._images) - set(self._linears)):
            linears = ", ".join(path or "''" for path in self._linears)
            raise ValueError(f"flattened names {', '.join(unknown)}, but the Linear layers are: {linears}")


class Layer(NamedTuple):
    """A layer whose slots are asked for.

    Attributes:
        path: where it is, in PyTorch's words.
        shapes: the shapes of its arrays.
        flattened: the images that are flattened before a Linear.
        module: the NNX module; None in Linen, where names and shapes are all there is.
        suffix: what PyTorch appends to the names of the arrays of a cell: "_l0" where the cell is in an RNN.
    """

    path: str
    shapes: Shapes
    flattened: Flattened
    module: Any = None
    suffix: str = ""


class Kind(NamedTuple):
    """A kind of Flax's layers.

    Attributes:
        modules: its classes in NNX.
        slots: what its arrays are to PyTorch, or an error that says why they are nothing.
        in_linen: whether a module of Linen is of this kind, by the shapes of its own arrays and of the arrays of the
            modules inside it.
        parts: the modules inside it that are no layers of their own; their arrays are `part.name` in `Layer.shapes`.
        is_pytorchs: whether PyTorch has such a layer, of a module of these classes.
        is_recurrent: whether it is a cell, several of which are one layer of PyTorch.
    """

    modules: tuple[type[nnx.Module], ...]
    slots: Callable[[Layer], list[Slot]]
    in_linen: Callable[[Shapes, Mapping[str, Shapes]], bool] = lambda shapes, inside: False
    parts: tuple[str, ...] = ()
    is_pytorchs: Callable[[Any], bool] = lambda module: True
    is_recurrent: bool = False


def kind_of_module(module: nnx.Module) -> Kind | None:
    """The kind of a module of NNX; None where its arrays are PyTorch's as they are."""
    return next((kind for kind in KINDS if isinstance(module, kind.modules) and kind.is_pytorchs(module)), None)


def kind_in_linen(shapes: Shapes, inside: Mapping[str, Shapes]) -> Kind | None:
    """The kind of a module of Linen, by the shapes of its own arrays and of the modules' inside it."""
    return next((kind for kind in KINDS if kind.in_linen(shapes, inside)), None)


def _linear(layer: Layer, input_axes: int = 1) -> list[Slot]:
    """(in, out) here, (out, in) there; several axes on either side are flattened there.

    Behind a flatten of an image PyTorch's columns are ordered (C, H, W), and those of a channels last one (H, W, C).
    """
    if "kernel" not in layer.shapes:  # it is computed, from arrays that are PyTorch's
        return [same(name, shape) for name, shape in layer.shapes.items()]
    shape = layer.shapes["kernel"]
    inputs, outputs = math.prod(shape[:input_axes]), math.prod(shape[input_axes:])
    image = layer.flattened.before(layer.path, inputs)

    def to_torch(kernel):
        kernel = kernel.reshape(inputs, outputs)
        if image is not None:
            kernel = np.moveaxis(kernel.reshape(*image[1:], image[0], outputs), -2, 0).reshape(inputs, outputs)
        return kernel.T

    def to_flax(weight):
        kernel = weight.T
        if image is not None:
            kernel = np.moveaxis(kernel.reshape(*image, outputs), 0, -2)
        return kernel.reshape(shape)

    slots = [converted("weight", (outputs, inputs), "kernel", to_torch, to_flax)]
    if "bias" in layer.shapes:
        slots.append(reshaped("bias", (outputs,), "bias", layer.shapes["bias"]))
    return slots


def _linear_general(layer: Layer) -> list[Slot]:
    if layer.module.batch_axis:
        raise ValueError(
            f"{layer.path or 'module'} is a LinearGeneral with batch_axis, for which PyTorch has no layer; "
            "use one nnx.Linear for each index of those axes"
        )
    return _linear(layer, len(layer.module.in_features))


def _conv(layer: Layer) -> list[Slot]:
    """(*kernel_size, in / groups, out) here, (out, in / groups, *kernel_size) there."""
    if "kernel" not in layer.shapes:
        return [same(name, shape) for name, shape in layer.shapes.items()]
    shape = layer.shapes["kernel"]
    rank = len(shape) - 2
    to_torch, to_flax = (rank + 1, rank, *range(rank)), (*range(2, rank + 2), 1, 0)
    slots = [
        converted(
            "weight",
            tuple(shape[axis] for axis in to_torch),
            "kernel",
            lambda kernel: kernel.transpose(to_torch),
            lambda weight: weight.transpose(to_flax),
        )
    ]
    if "bias" in layer.shapes:
        slots.append(same("bias", layer.shapes["bias"]))
    return slots


_NAMES_OF_NORMS = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _norm(layer: Layer) -> list[Slot]:
    shapes = layer.shapes
    slots = [same(torch, shapes[flax], flax) for flax, torch in _NAMES_OF_NORMS.items() if flax in shapes]
    if "mean" in shapes:
        # Checkpoints older than PyTorch 0.4.1 lack the count. A Linen module has nowhere to keep it.
        kept = ("num_batches_tracked",) if "num_batches_tracked" in shapes else ()
        slots.append(
            Slot(
                {"num_batches_tracked": ()},
                kept,
                lambda a: a if kept else {"num_batches_tracked": np.zeros((), np.int64)},
                lambda a: a if kept else {},
                optional=True,
            )
        )
    return slots


def _embed(layer: Layer) -> list[Slot]:
    return [same("weight", layer.shapes["embedding"], "embedding")]


def _prelu(layer: Layer) -> list[Slot]:
    shape = layer.shapes["negative_slope"]
    return [reshaped("weight", shape or (1,), "negative_slope", shape)]


# Flax's names of the layers of attention, in the order in which PyTorch stacks three of them.
_ATTENTION = ("query", "key", "value", "out")


def _attention(layer: Layer) -> list[Slot]:
    """(in, heads, features of a head) here, (heads * features, in) there, stacked where the three inputs are alike."""
    shapes = layer.shapes
    width = shapes["out.kernel"][-1]
    kernels = [f"{name}.kernel" for name in _ATTENTION[:3]]
    biases = [f"{name}.bias" for name in _ATTENTION[:3]]
    inputs = [shapes[kernel][0] for kernel in kernels]

    def weight(name: str, names: list[str]) -> Slot:
        return Slot(
            {name: (len(names) * width, shapes[names[0]][0])},
            tuple(names),
            lambda a: {name: np.concatenate([a[n].reshape(-1, width).T for n in names])},
            lambda a: {n: w.T.reshape(shapes[n]) for n, w in zip(names, np.split(a[name], len(names)), strict=True)},
        )

    if set(inputs) == {width}:
        slots = [weight("in_proj_weight", kernels)]
    else:
        slots = [weight(f"{kernel[0]}_proj_weight", [kernel]) for kernel in kernels]
    if biases[0] in shapes:
        slots.append(
            Slot(
                {"in_proj_bias": (3 * width,)},
                tuple(biases),
                lambda a: {"in_proj_bias": np.concatenate([a[n].reshape(-1) for n in biases])},
                lambda a: {
                    n: b.reshape(shapes[n]) for n, b in zip(biases, np.split(a["in_proj_bias"], 3), strict=True)
                },
            )
        )
    out = shapes["out.kernel"]
    slots.append(
        converted(
            "out_proj.weight",
            (width, width),
            "out.kernel",
            lambda kernel: kernel.reshape(width, width).T,
            lambda w: w.T.reshape(out),
        )
    )
    if "out.bias" in shapes:
        slots.append(same("out_proj.bias", (width,), "out.bias"))
    return slots


def _is_pytorchs_attention(kernels: Mapping[str, Shape]) -> bool:
    """Whether attention is as wide within as its queries and its output, and has as many heads for each of the three.

    Of another width, with fewer heads for keys, or with norms, PyTorch has none.
    """
    width, heads, size = kernels["query"]
    return (
        heads * size == width
        and kernels["out"] == (heads, size, width)
        and all(kernels[name][1:] == (heads, size) for name in ("key", "value"))
    )


def _attention_in_linen(shapes: Shapes, inside: Mapping[str, Shapes]) -> bool:
    if shapes or inside.keys() != set(_ATTENTION):
        return False
    kernels = {name: inside[name].get("kernel", ()) for name in _ATTENTION}
    return all(len(kernel) == 3 for kernel in kernels.values()) and _is_pytorchs_attention(kernels)


def _refused(instead: str) -> Callable[[Layer], list[Slot]]:
    def refuse(layer: Layer) -> list[Slot]:
        raise ValueError(
            f"{layer.path or 'module'} is Flax's {type(layer.module).__name__}, whose kernel is not converted; "
            f"use {instead}"
        )

    return refuse


def _cell(module: type[nnx.Module], gates: Gates) -> Kind:
    """A recurrent cell of NNX."""
    slots = lambda layer: recurrent(gates, layer.shapes, layer.suffix)  # noqa: E731
    return Kind((module,), slots, parts=gates.layers, is_recurrent=True)


def _linen_cell(gates: Gates) -> Kind:
    """A recurrent cell of Linen: a module of the layers of its gates and nothing else."""
    return Kind(
        (),
        lambda layer: recurrent(gates, layer.shapes, layer.suffix),
        lambda shapes, inside: not shapes and inside.keys() == set(gates.layers),
        gates.layers,
        is_recurrent=True,
    )


# The first row that fits a layer is taken.
KINDS = (
    Kind((nnx.Linear,), _linear, lambda shapes, _: len(shapes.get("kernel", ())) == 2),
    Kind((nnx.LinearGeneral,), _linear_general),
    Kind((nnx.Conv,), _conv, lambda shapes, _: "kernel" in shapes),
    Kind(
        (nnx.BatchNorm, nnx.LayerNorm, nnx.GroupNorm, nnx.InstanceNorm, nnx.RMSNorm),
        _norm,
        lambda shapes, _: "scale" in shapes or "mean" in shapes,
    ),
    Kind(
        (nnx.MultiHeadAttention,),
        _attention,
        _attention_in_linen,
        _ATTENTION,
        lambda module: (
            not module.normalize_qk
            and _is_pytorchs_attention({name: getattr(module, name).kernel.shape for name in _ATTENTION})
        ),
    ),
    Kind((nnx.Embed,), _embed, lambda shapes, _: "embedding" in shapes),
    Kind((nnx.PReLU,), _prelu, lambda shapes, _: "negative_slope" in shapes),
    _cell(nnx.LSTMCell, Gates(("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho"), 4)),
    _cell(nnx.OptimizedLSTMCell, Gates(("dense_i",), ("dense_h",), 4)),
    _cell(nnx.GRUCell, Gates(("dense_i",), ("dense_h",), 3, inside=2)),
    _cell(nnx.SimpleCell, Gates(("dense_i",), ("dense_h",), 1)),
    _linen_cell(Gates(("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho"), 4)),  # also the optimized one
    _linen_cell(Gates(("ir", "iz", "in"), ("hr", "hz", "hn"), 3, inside=2)),
    Kind((nnx.ConvTranspose,), _refused("jaxconv.nnx.ConvTranspose2d")),
    Kind((nnx.Einsum,), _refused("nnx.Linear")),
)
