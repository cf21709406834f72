"""The layers of a `Sequential`, and their names."""

import difflib
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxconv._spec.messages import listing, short, show

Named = tuple[tuple[str, Any], ...]


def parse_layers(layers: tuple[Any, ...], taken: Callable[[str], bool]) -> Named:
    """The layers given to a `Sequential`, one by one or as one mapping of names, with their names."""
    if len(layers) == 1 and isinstance(layers[0], Mapping):
        pairs: Iterable[tuple[Any, Any]] = layers[0].items()
    else:
        pairs = ((str(i), layer) for i, layer in enumerate(layers))
    return tuple((check_name(name, taken), check_layer(f"layer {name!r}", layer)) for name, layer in pairs)


def check_layer(which: str, layer: Any) -> Any:
    """Refuses what cannot be called."""
    if isinstance(layer, list | tuple):
        raise TypeError(f"{which} must be callable, got a {type(layer).__name__}; give its layers one by one: *layers")
    if isinstance(layer, type):
        raise TypeError(f"{which} must be a layer, got the class {layer.__name__}; make a layer of it")
    if not callable(layer):
        raise TypeError(f"{which} must be callable, a layer or a function, got {show(layer)}")
    return layer


def check_name(name: Any, taken: Callable[[str], bool]) -> str:
    """Refuses a name that could not be an attribute, or a part of the name of an array."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a layer must be a string, got {show(name)}")
    if not name or "." in name:
        raise ValueError(f"the name of a layer must not be empty and must have no dot, got {short(name)}")
    if taken(name):
        raise ValueError(f"the name of a layer must not be that of an attribute of Sequential, got {short(name)}")
    return name


def check_index(index: Any, length: int) -> int:
    """The number of a layer, which may be counted from the end."""
    try:
        number = operator.index(index)
    except TypeError:
        raise TypeError(f"the index of a layer must be an integer or a slice, got {show(index)}") from None
    if not -length <= number < length:
        raise IndexError(f"the index of a layer must be from {-length} to {length - 1}, got {short(number)}")
    return number % length


def check_flags(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuses an argument of a call that none of the layers has."""
    known = sorted(set(known))
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            has = f"did you mean {nearest[0]!r}?" if nearest else f"they have {listing(known) or 'none'}"
            raise TypeError(f"none of the layers has an argument {name!r}; {has}")
