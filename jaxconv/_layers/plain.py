"""The base of the layers without parameters."""

from typing import Any

import jax


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
