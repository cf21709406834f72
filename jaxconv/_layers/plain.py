"""The base of the layers without parameters, and what all layers check and say of their arguments."""

from collections.abc import Iterable
from typing import Any

import jax

from jaxconv._arrays import float_dtype


class Plain:
    """A layer without parameters: a dataclass of PyTorch's arguments, `compute` included.

    A shell only makes a module of it: it calls `parse` when the layer is made and `compute` when it is called. The
    dataclasses are made with `repr=False, eq=False`: a layer's text and its identity are the module's.
    """

    def __post_init__(self):
        self.parse()

    def parse(self) -> None:
        """Checks the arguments, and fills in those whose defaults depend on others."""

    def compute(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """What PyTorch's layer prints between the parentheses."""
        raise NotImplementedError

    def _set(self, name: str, value: Any) -> None:
        # Linen's modules are frozen, and this is still their construction.
        object.__setattr__(self, name, value)

    def _named(self, *names: str) -> str:
        other_format = getattr(self, "data_format", "channels_first") != "channels_first"
        return ", ".join(f"{name}={getattr(self, name)}" for name in (*names, *["data_format"] * other_format))


def hint(given: Iterable[str]) -> str:
    """What to write in place of an argument of PyTorch's that the layers do not have, among those given by name."""
    if "device" in given:
        return "; leave out device: JAX puts the parameters on jax.default_device, or where jax.device_put puts them"
    return ""


class Hinting:
    """A layer of fields, which the dataclass checks; of an argument of PyTorch's it is said what to do about it."""

    def __new__(cls, *args: Any, **kwargs: Any):
        """Refuses an argument of PyTorch's that there is something to say about."""
        if words := hint(kwargs):
            raise TypeError(f"{cls.__name__}: got an unexpected keyword argument 'device'{words}")
        return super().__new__(cls)


def check_dtypes(layer: Any) -> None:
    """Refuses dtypes of a layer, of its parameters and of what it computes, that are none of floats."""
    float_dtype("param_dtype", layer.param_dtype)
    if layer.dtype is not None:
        float_dtype("dtype", layer.dtype)
