"""A model from its name, such as "package.module:Model": imported, never evaluated."""

import difflib
import importlib
import inspect
import re
from typing import Any

_LONGEST = 200  # a list of names
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_name(text: str) -> bool:
    """Whether a text is the name of a model, and not a layer's call."""
    return _NAME.fullmatch(text.strip()) is not None


def model_of_name(text: str) -> Any:
    """The model that a name stands for: an instance, or what a class or a function makes without arguments.

    One that has an argument `rngs` is given an `nnx.Rngs`. The arrays of NNX models have no values, unless the
    constructor needs them.

    Raises:
        ValueError: there is no such module or no such name in it, or making the model fails.
        TypeError: what it names is no model, and makes none.
    """
    module_name, _, path = text.strip().partition(":")
    found = _imported(module_name)
    for i, part in enumerate(path.split(".")):
        if not hasattr(found, part):
            where = ".".join([module_name, *path.split(".")[:i]])
            names = [name for name in getattr(found, "__dict__", {}) if not name.startswith("_")]
            nearest = difflib.get_close_matches(part, names, n=1)
            what = f"did you mean {nearest[0]!r}?" if nearest else f"it has {_listed(names)}"
            raise ValueError(f"{where} has no {part!r}; {what}")
        found = getattr(found, part)
    if _is_model(found):
        return found
    if not callable(found):
        raise TypeError(f"{text} must be a model of Flax, or what makes one, got {type(found).__name__}")
    try:
        made = _made(found)
    except Exception as error:
        raise ValueError(
            f"{text}: {error}; a model is made without arguments but rngs, so name a function that makes it"
        ) from error
    if not _is_model(made):
        raise TypeError(f"{text} must make a model of Flax, and makes a {type(made).__name__}")
    return made


def _listed(names: list[str]) -> str:
    """Names with commas between, as many as a message has room for."""
    text = ", ".join(names)
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...") or "no names"


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"{name}: {error}") from error  # what it imports is not there
        raise ValueError(f"there is no module {error.name!r}; run this where `import {name}` works") from None
    except Exception as error:
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _is_model(value: Any) -> bool:
    """Whether a value is a module of Flax, by the classes that its own is derived from: Flax may not be imported."""
    modules = {base.__module__ for base in type(value).__mro__}
    return not isinstance(value, type) and bool(modules & {"flax.nnx.module", "flax.linen.module"})


def _made(make: Any) -> Any:
    """What a class or a function makes; of NNX without values, where that can be done."""
    # The metaclass of NNX hides the constructor's signature.
    parameters = inspect.signature(make.__init__ if inspect.isclass(make) else make).parameters
    from flax import nnx
    from jax.errors import JAXTypeError

    others: list[Any] = []

    def made() -> Any:
        model = make(**({"rngs": nnx.Rngs(0)} if "rngs" in parameters else {}))
        if isinstance(model, nnx.Module):
            return model
        others.append(model)  # which `nnx.eval_shape` could not give back
        return None

    try:
        model = nnx.eval_shape(made)
    except JAXTypeError:  # it asks for the value of an array
        others.clear()
        model = made()
    return others[0] if others else model
