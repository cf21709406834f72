"""Linen models traced: an interceptor, which Flax calls around each method, notes the calls of layers."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from jaxconv._explain.model.trace import Layer, Leaf, Trace, recorder, refusing, trace

_Classes = dict[tuple[str, ...], type]
# What a call is given that needs to be told and is not: that it is in evaluation.
_EVALUATION = {
    "deterministic": True,
    "use_running_average": True,
    "train": False,
    "training": False,
    "is_training": False,
}


def trace_linen(model: nn.Module, inputs: Any, keywords: Mapping[str, Any]) -> Trace:
    """Traces `model.apply`, with variables such as `model.init` makes and one key for all that is random."""
    name, classes = type(model).__name__, {}
    key = jax.eval_shape(lambda: jax.random.key(0))

    def init(key: Any, inputs: Any) -> Any:
        with nn.intercept_methods(_noting(classes)):
            return model.init(key, *inputs, **keywords)

    def apply(arrays: Any, inputs: Any) -> Any:
        *values, key = arrays
        variables = jax.tree.unflatten(structure, values)
        with nn.intercept_methods(_noting(classes)):
            return model.apply(variables, *inputs, rngs={"params": key}, mutable=True, **keywords)[0]

    with refusing(name):
        variables = jax.eval_shape(init, key, inputs)
    with_paths, structure = jax.tree.flatten_with_path(variables)
    leaves = [_leaf(tuple(str(k.key) for k in path if hasattr(k, "key")), classes) for path, _ in with_paths]
    random = Leaf("", "", "", is_parameter=False)
    arrays = [*(value for _, value in with_paths), key]
    return trace(name, [*leaves, random], arrays, inputs, apply, {})  # a module that is not called is not there


def _leaf(path: tuple[str, ...], classes: _Classes) -> Leaf:
    collection, *above, own = path
    module = tuple(above)
    while module not in classes and module:
        module = module[:-1]
    rest = [*above[len(module) :], own]
    name = _name(module, classes)
    kind = classes[module].__name__ if module in classes else ""
    return Leaf(".".join(filter(None, [name, *rest])), name, kind, collection == "params")


def _name(path: Sequence[str], classes: _Classes) -> str:
    """The name of a module as PyTorch has it: an entry of a list is `blocks_0` here, and `blocks.0` there."""
    parts = []
    for i, part in enumerate(path):
        stem, _, number = part.rpartition("_")
        if stem[:1].islower() and number.isdecimal():
            parts += [number] if stem == "layers" and classes.get(tuple(path[:i])) is nn.Sequential else [stem, number]
        else:  # the names that Flax makes up begin with a capital
            parts.append(part)
    return ".".join(parts)


def _noting(classes: _Classes) -> Callable[..., Any]:
    """An interceptor that notes the calls of modules, and puts them in evaluation where they ask."""

    def note(function: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        noted, module = recorder(), context.module
        if context.method_name != "__call__" or noted is None:
            return function(*args, **kwargs)
        path, cls = tuple(module.path), type(module)
        classes[path] = cls
        text = repr(module) if cls.__module__.startswith("jaxconv.") else "\n"
        layer = Layer(_name(path, classes), cls.__name__, None if "\n" in text else text)
        kwargs = {**_untold(module, args, kwargs), **kwargs}
        return noted.call(layer, function, args, kwargs, lambda value: isinstance(value, nn.Module))

    return note


def _untold(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, bool]:
    """What the call of a module does not say and has to: whether it is in training."""
    parameters = list(inspect.signature(type(module).__call__).parameters.values())[1 + len(args) :]  # type: ignore[operator]
    said = {p.name: p.default for p in parameters if p.name in _EVALUATION and p.name not in kwargs}
    return {
        name: _EVALUATION[name]
        for name, default in said.items()
        if default is inspect.Parameter.empty or (default is None and getattr(module, name, True) is None)
    }
