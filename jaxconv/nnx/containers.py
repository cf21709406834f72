"""Containers for Flax NNX."""

from collections.abc import Iterable, Iterator
from typing import Any, Self

import jax
from flax import nnx
from flax.nnx import reprlib

from jaxconv._layers import containers as _layer
from jaxconv._spec.containers import check_index, check_layer, check_name, parse_layers
from jaxconv.nnx.plain import Plain


class Sequential(nnx.Module):
    """Layers, each of which is given what the one before it gave: `torch.nn.Sequential`.

    `Sequential(Conv2d(...), nnx.relu)`, or with names `Sequential({"conv": Conv2d(...), "relu": nnx.relu})`. A layer is
    anything that can be called, functions included. It is an attribute by its name, `model.conv` or
    `getattr(model, "0")`, so that the names of parameters are PyTorch's: `"conv.weight"`, `"0.weight"`. As in PyTorch,
    what is assigned to another attribute is one more layer, which here functions are too.

    `len(model)`, `model[-1]`, `model[1:3]` (a `Sequential` that shares its layers), `model[0] = layer`,
    `del model[0]`, `model.append(layer)`, `extend`, `insert` and `add_module(name, layer)` are PyTorch's.

    A call takes the input, of any shape, for example (N, C, H, W). What is given by name beside it (`rngs`,
    `deterministic`) goes to each layer whose call has an argument of that name. A tuple is handed on as it is, as in
    PyTorch: `nnx.Sequential` would take it apart.

    Raises:
        TypeError: a layer that cannot be called, a list of layers, or a name that is no string.
        ValueError: a name that is empty, has a dot or is taken.
        IndexError: there is no such layer.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv2d, MaxPool2d, Sequential
        >>> model = Sequential(Conv2d(3, 8, 3, rngs=nnx.Rngs(0)), nnx.relu, MaxPool2d(2))
        >>> model(jnp.ones((1, 3, 10, 12))).shape, len(model[:2])
        ((1, 8, 4, 5), 2)
        >>> model
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): relu
          (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
        )
    """

    _names: tuple[str, ...] = ()  # of the layers, in their order

    def __init__(self, *layers: Any):
        for name, layer in parse_layers(layers, self._is_taken):
            self._put(name, layer)

    def _is_taken(self, name: str) -> bool:
        return name not in self._names and hasattr(self, name)

    def _put(self, name: str, layer: Any) -> None:
        super().__setattr__(name, layer)
        if name not in self._names:
            self._names = (*self._names, name)

    def _number_anew(self, layers: Iterable[Any]) -> None:
        """Takes `layers` in place of all that are here, by their numbers."""
        layers = list(layers)
        for name in self._names:
            super().__delattr__(name)
        self._names = ()
        for i, layer in enumerate(layers):
            self._put(str(i), layer)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._names:
            super().__setattr__(name, check_layer(f"layer {name!r}", value))
        elif _is_layer(value) and not name.startswith("_"):
            self._put(check_name(name, self._is_taken), value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._names = tuple(other for other in self._names if other != name)

    def __call__(self, x: Any, **flags: Any) -> Any:
        """What the last layer gives; `flags` are handed to the layers that have arguments of their names."""
        return _layer.call(list(self), x, flags)

    def flags_of_layers(self) -> frozenset[str]:
        """What a call can be given by name."""
        return _layer.flags_of(self)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, name) for name in self._names])

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential({name: getattr(self, name) for name in self._names[index]})
        return getattr(self, self._names[check_index(index, len(self))])

    def __setitem__(self, index: int, layer: Any) -> None:
        setattr(self, self._names[check_index(index, len(self))], layer)

    def __delitem__(self, index: int | slice) -> None:
        left = list(self)
        del left[index if isinstance(index, slice) else check_index(index, len(self))]
        self._number_anew(left)  # the names become numbers, as in PyTorch

    def add_module(self, name: str, layer: Any) -> None:
        """Puts a layer at the end, or in place of the one of this name."""
        self._put(check_name(name, self._is_taken), check_layer(f"layer {name!r}", layer))

    def append(self, layer: Any) -> Self:
        """Puts a layer at the end, by its number."""
        self.add_module(str(len(self)), layer)
        return self

    def extend(self, layers: Iterable[Any]) -> Self:
        """Puts layers at the end, by their numbers."""
        for layer in list(layers):
            self.append(layer)
        return self

    def insert(self, index: int, layer: Any) -> Self:
        """Puts a layer before the one of this index; all are numbered anew."""
        all_of_them = list(self)
        all_of_them.insert(check_index(index, len(self) + 1) if index >= 0 else check_index(index, len(self)), layer)
        check_layer("layer", layer)
        self._number_anew(all_of_them)
        return self

    def __nnx_repr__(self):
        whole = _layer.text("", ((name, getattr(self, name)) for name in self._names))
        yield reprlib.Object(type(self), kv_sep="", same_line=True, indent="")
        yield reprlib.Attr("", whole[1:-1], use_raw_key=True, use_raw_value=True)


def _is_layer(value: Any) -> bool:
    """Whether a value that is assigned to an attribute is a layer, and not a variable, a class or a source of keys."""
    return callable(value) and not isinstance(value, type | nnx.Variable | nnx.Rngs | nnx.RngStream | jax.Array)


class Identity(_layer.Identity, Plain):
    """Gives its input back, of any shape, such as (N, C, H, W): `torch.nn.Identity`.

    It takes any arguments and reads none of them.

    Raises:
        TypeError: a call without an input.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Identity
        >>> Identity(54, unused=0.1)(jnp.ones((2, 3))).shape
        (2, 3)
    """

    __call__ = Plain.__call__
