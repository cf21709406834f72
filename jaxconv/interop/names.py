"""Names of arrays: paths joined by dots, and the argument `rename`."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Rename = Callable[[str], str | None] | Mapping[str, str | None]


def join(path: str, name: str) -> str:
    """`path.name`, either of which may be empty."""
    return f"{path}.{name}" if path and name else path or name


# What `torch.nn.utils.weight_norm` and `spectral_norm` have called the arrays of a parametrisation, by their names now.
_OLDER = {"original0": "g", "original1": "v", "original": "orig", "0._u": "u", "0._v": "v"}
_PARAMETRIZATION = re.compile(r"(.*\.|)parametrizations\.(\w+)\.(.+)")


def older_name(name: str) -> str | None:
    """What PyTorch called an array before it had parametrisations; None of other arrays."""
    found = _PARAMETRIZATION.fullmatch(name)
    return f"{found[1]}{found[2]}_{_OLDER[found[3]]}" if found and found[3] in _OLDER else None


def renamed(arrays: Mapping[str, Any], rename: Rename | None) -> dict[str, Any]:
    """The same arrays by other names; those renamed to None are left out."""
    if rename is None:
        return dict(arrays)
    if not callable(rename) and not isinstance(rename, Mapping):
        raise TypeError(f"rename must be a function or a mapping of names, got {type(rename).__name__}")
    function = partial(_by_prefix, rename) if isinstance(rename, Mapping) else rename
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


def _by_prefix(names: Mapping[str, str | None], name: str) -> str | None:
    """What a mapping makes of a name: the longest of its keys that is the name, or a prefix of it up to a dot."""
    parts = name.split(".")
    for count in range(len(parts), -1, -1):
        prefix, rest = ".".join(parts[:count]), ".".join(parts[count:])
        if prefix in names:
            new = names[prefix]
            return None if new is None else join(new, rest)
    return name
