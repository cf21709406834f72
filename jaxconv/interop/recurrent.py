"""The arrays of recurrent cells: PyTorch stacks the gates, Flax has a layer for each, or stacks them as well."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxconv.interop.slots import Arrays, CannotHold, Shapes, Slot


class Gates(NamedTuple):
    """How a cell of Flax holds its gates, each of which adds a product with the input to one with the hidden state.

    Attributes:
        input: the layers that multiply the input: one for all gates, or one for each in PyTorch's order.
        hidden: the layers that multiply the hidden state.
        number: how many gates there are.
        inside: the gate that multiplies its second product, bias included, before it adds the two; if there is one.
    """

    input: Sequence[str]
    hidden: Sequence[str]
    number: int
    inside: int | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that the cell is made of."""
        return (*self.input, *self.hidden)


def recurrent(gates: Gates, shapes: Shapes, suffix: str) -> list[Slot]:
    """The slots of a cell, from the shapes of its arrays by `layer.kernel` and `layer.bias`.

    PyTorch adds a bias to both products of every gate. Where here only one product has a bias, it takes their sum:
    (W x + b) + (U h + c) = (W x + b + c) + U h. For the gate `inside`, whose r * (U h + c) keeps c apart, c must be 0.
    """
    layers = {"ih": gates.input, "hh": gates.hidden}
    width = shapes[f"{gates.hidden[0]}.kernel"][0]
    slots = [_kernels(f"weight_{side}{suffix}", layers[side], gates.number * width, shapes) for side in layers]
    biased = [f"{layer}.bias" for layer in gates.layers if f"{layer}.bias" in shapes]
    if not biased:
        return slots
    names = {side: f"bias_{side}{suffix}" for side in layers}

    def to_torch(arrays: Arrays) -> Arrays:
        dtype = next(iter(arrays.values())).dtype

        def stacked(side: str) -> np.ndarray:
            absent = np.zeros(gates.number * width // len(layers[side]), dtype)
            return np.concatenate([arrays.get(f"{layer}.bias", absent) for layer in layers[side]])

        return {names[side]: stacked(side) for side in layers}

    def to_flax(arrays: Arrays) -> Arrays:
        held = _held({side: arrays[name] for side, name in names.items()}, gates, layers, biased)
        pieces = [np.split(held[side], len(layers[side])) for side in layers]
        by_layer = dict(zip(gates.layers, (piece for each in pieces for piece in each), strict=True))
        return {name: by_layer[name.removesuffix(".bias")] for name in biased}

    return [*slots, Slot(dict.fromkeys(names.values(), (gates.number * width,)), tuple(biased), to_torch, to_flax)]


def _kernels(name: str, layers: Sequence[str], rows: int, shapes: Shapes) -> Slot:
    kernels = tuple(f"{layer}.kernel" for layer in layers)
    return Slot(
        {name: (rows, shapes[kernels[0]][0])},
        kernels,
        lambda a: {name: np.concatenate([a[kernel].T for kernel in kernels])},
        lambda a: {n: k.T for n, k in zip(kernels, np.split(a[name], len(kernels)), strict=True)},
    )


def _held(
    biases: dict[str, np.ndarray], gates: Gates, layers: dict[str, Sequence[str]], biased: Sequence[str]
) -> dict[str, np.ndarray]:
    """PyTorch's two biases with their sum in both where the cell has only one of them."""
    by_gate = {side: np.split(bias.copy(), gates.number) for side, bias in biases.items()}

    def has_bias(side: str, gate: int) -> bool:
        layer = layers[side][gate * len(layers[side]) // gates.number]  # one layer may hold all gates
        return f"{layer}.bias" in biased

    for gate in range(gates.number):
        first, second = by_gate["ih"][gate], by_gate["hh"][gate]
        has_first, has_second = has_bias("ih", gate), has_bias("hh", gate)
        if has_first and has_second:
            continue
        if gate == gates.inside and not has_second and second.any():
            width = len(second)
            raise CannotHold(
                f"gate {gate + 1} of this cell has no second bias and PyTorch's is not zero; before loading, give "
                f"it one: cell.dense_h = nnx.Linear({width}, {gates.number * width}, rngs=rngs)"
            )
        if not has_first and not has_second:
            raise CannotHold("this cell has no bias")
        first += second
        second[...] = first
    return {side: np.concatenate(parts) for side, parts in by_gate.items()}
