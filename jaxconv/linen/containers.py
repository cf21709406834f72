"""Containers for Flax Linen."""

from collections.abc import Iterator
from typing import Any

from flax import linen as nn

from jaxconv._layers import containers as _layer
from jaxconv._spec.containers import check_index, parse_layers
from jaxconv.linen.plain import Plain


class _Given(nn.Module):
    """A module that takes any arguments, and so do the classes derived from it, for which Linen would write others."""

    def __init_subclass__(cls, **options: Any) -> None:
        if "__init__" not in vars(cls):
            cls.__init__ = cls.__init__  # which now stands in the class itself, where Linen leaves it
        super().__init_subclass__(**options)


class Sequential(_Given):
    """`jaxconv.nnx.Sequential` in Linen, which is not changed once it is made: no `append`, no assignment.

    The variables of a layer stand under its name, `{"params": {"0": ..., "2": ...}}`: where the `Sequential` is made
    outside of modules or in `setup`. In a compact method Linen gives the layers to the module whose method it is, by
    names of its own ("Conv2d_0"); `Conv2d(3, 8, 3, parent=None)` keeps a layer for the `Sequential`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import linen as nn
        >>> from jaxconv.linen import Conv2d, Sequential
        >>> model = Sequential({"conv": Conv2d(3, 8, 3), "relu": nn.relu})
        >>> jax.tree.map(jnp.shape, model.init(jax.random.key(0), jnp.ones((1, 3, 10, 12))))
        {'params': {'conv': {'bias': (8,), 'weight': (8, 3, 3, 3)}}}
    """

    layers: Any
    names: Any

    # Linen: a layer keeps the name that it has when this module takes it in.
    preserve_adopted_names = True

    def __init__(self, *layers: Any, **fields: Any):
        if not fields.keys() & {"layers", "names"}:  # which Linen gives when it copies a module
            pairs = parse_layers(layers, lambda name: hasattr(nn.Module, name) or name in ("layers", "names"))
            fields |= {"layers": tuple(layer for _, layer in pairs), "names": tuple(name for name, _ in pairs)}
            for name, layer in pairs:
                _take(layer, name)
        self.layers, self.names = fields.pop("layers"), fields.pop("names")
        _begin(self, **fields)

    def __call__(self, x: Any, **flags: Any) -> Any:
        """What the last layer gives; `flags` are handed to the layers that have arguments of their names."""
        return _layer.call(self.layers, x, flags)

    def flags_of_layers(self) -> frozenset[str]:
        """What a call can be given by name."""
        return _layer.flags_of(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(zip(self.names[index], self.layers[index], strict=True)), parent=None)
        return self.layers[check_index(index, len(self))]

    def __repr__(self) -> str:
        return _layer.text(type(self).__name__, zip(self.names, self.layers, strict=True))


def _begin(module: nn.Module, parent: Any = ..., name: str | None = None) -> None:
    """What the constructor that Linen would write does with its own two fields."""
    module.parent = type(module).__dataclass_fields__["parent"].default if parent is ... else parent
    module.name = name
    module.__post_init__()


def _take(layer: Any, name: str) -> None:
    """Names a layer that no module has yet, of `setup` too, where it is its module's once it is assigned."""
    if isinstance(layer, nn.Module) and layer.name is None and layer.scope is None:
        object.__setattr__(layer, "name", name)
        object.__setattr__(layer, "parent", None)


class Identity(Plain, _layer.Identity, _Given):
    """`jaxconv.nnx.Identity` in Linen.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import Identity
        >>> Identity(54, unused=0.1).apply({}, jnp.ones((2, 3))).shape
        (2, 3)
    """

    def __init__(self, *args: Any, **kwargs: Any):
        _begin(self, **{name: kwargs[name] for name in ("parent", "name") if name in kwargs})
