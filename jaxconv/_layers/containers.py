"""Containers without a framework: how a `Sequential` calls its layers and what it prints; and `Identity`."""

import functools
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from jaxconv._layers.plain import Plain
from jaxconv._spec.containers import check_flags


class Identity(Plain):
    """Gives its input back."""

    def __init__(self, *args: Any, **kwargs: Any):
        """Takes any arguments and reads none of them."""

    def compute(self, x: Any) -> Any:
        return x

    def extra_repr(self) -> str:
        return ""


def call(layers: Sequence[Any], x: Any, flags: dict[str, Any]) -> Any:
    """Each of the layers of what the one before it gave; a flag goes to those that have an argument of its name."""
    taken = [_flags_of(layer) for layer in layers] if flags else [frozenset()] * len(layers)
    check_flags(flags, (name for names in taken for name in names))
    for layer, names in zip(layers, taken, strict=True):
        x = layer(x, **{name: value for name, value in flags.items() if name in names})
    return x


def _flags_of(layer: Any) -> frozenset[str]:
    """The arguments of a call of a layer that can be given by name, its input left out."""
    if hasattr(layer, "flags_of_layers"):
        return layer.flags_of_layers()
    try:
        parameters = list(inspect.signature(layer).parameters.values())
    except (TypeError, ValueError):  # some functions of C have no signature
        return frozenset()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(p.name for p in parameters[1:] if p.kind in by_name)


def flags_of(layers: Iterable[Any]) -> frozenset[str]:
    """What the calls of any of the layers can be given by name."""
    return frozenset().union(*map(_flags_of, layers))


def text(kind: str, named: Iterable[tuple[str, Any]]) -> str:
    """A container as PyTorch prints it: a line for each layer, and what is inside it moved to the right."""
    lines = [f"({name}): {_text_of(layer)}".replace("\n", "\n  ") for name, layer in named]
    return f"{kind}(\n  " + "\n  ".join(lines) + "\n)" if lines else f"{kind}()"


def _text_of(layer: Any) -> str:
    """A layer in one text; of a function its name, since where it lies in memory differs from run to run."""
    if isinstance(layer, functools.partial):
        words = [*map(repr, layer.args), *(f"{name}={value!r}" for name, value in layer.keywords.items())]
        return f"{_text_of(layer.func)}({', '.join(words)})"
    return getattr(layer, "__name__", None) or repr(layer)
