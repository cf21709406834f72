"""NNX models traced: on a copy, whose modules say when they are called.

The copy is made while JAX traces, of arrays without values, and each of its modules is given a class derived from its
own, whose `__call__` notes the call. So nothing of the model or of its classes is touched, whatever happens. Where a
module stands in the model it knows by an attribute, which goes with it through `nnx.jit`, `nnx.remat` and `nnx.scan`.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxconv._explain.model.trace import Layer, Leaf, Trace, recorder, refusing, trace
from jaxconv.nnx.containers import Sequential

_PLACE = "_explained_as"


def trace_nnx(model: nnx.Module, inputs: Any, keywords: Mapping[str, Any]) -> Trace:
    """Traces `model(*inputs, **keywords)`, in evaluation."""
    if any(getattr(module, "in_channels", 0) is None for _, module in nnx.iter_modules(model)):
        model = _after_a_call(model, inputs, keywords)
    names = module_names(model)
    graph, state = nnx.split(model)
    variables = dict(nnx.to_flat_state(state))
    with_paths, structure = jax.tree.flatten_with_path(state)
    values = [value for _, value in with_paths]
    # What else a variable may hold, such as a number of Python's, stays what it is.
    which = [i for i, value in enumerate(values) if isinstance(value, jax.Array | np.ndarray | jax.ShapeDtypeStruct)]
    leaves = [_leaf(_keys(with_paths[i][0]), variables, names) for i in which]

    def run(arrays: Any, inputs: Any) -> Any:
        known = dict(zip(which, arrays, strict=True))
        copy = nnx.merge(graph, jax.tree.unflatten(structure, [known.get(i, v) for i, v in enumerate(values)]))
        copy.eval()
        noted = recorder()
        assert noted is not None
        for path, module in list(nnx.iter_modules(copy)):
            _watch(module, names[path][0], noted.tracing)
        return copy(*inputs, **keywords)

    modules = {names[path][0]: names[path][1] for path, module in nnx.iter_modules(model) if callable(module)}
    arrays = [jax.ShapeDtypeStruct(values[i].shape, values[i].dtype) for i in which]
    return trace(type(model).__name__, leaves, arrays, inputs, run, modules)


def module_names(model: nnx.Module) -> dict[tuple[Any, ...], tuple[str, str]]:
    """The names of all modules by their paths, as PyTorch has them, and their classes' names.

    The list of an `nnx.Sequential` is a level of its own in Flax, and not in PyTorch.
    """
    modules = dict(nnx.iter_modules(model))
    names = {}
    for path, module in modules.items():
        kept = [
            str(part)
            for i, part in enumerate(path)
            if not (part == "layers" and isinstance(modules.get(path[:i]), nnx.Sequential))
        ]
        names[path] = (".".join(kept), type(module).__name__)
    return names


def _keys(path: Iterable[Any]) -> tuple[Any, ...]:
    """The keys of a path through a state."""
    return tuple(getattr(key, "key", getattr(key, "idx", getattr(key, "name", None))) for key in path)


def _leaf(keys: tuple[Any, ...], variables: Mapping[Any, Any], names: Mapping[Any, tuple[str, str]]) -> Leaf:
    variable = next((variables[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in variables), None)
    above = next(keys[:n] for n in range(len(keys) - 1, -1, -1) if keys[:n] in names)
    rest = [str(key) for key in keys[len(above) :] if key != "value"]
    module, kind = names[above]
    return Leaf(".".join(filter(None, [module, *rest])), module, kind, isinstance(variable, nnx.Param))


def _after_a_call(model: nnx.Module, inputs: Any, keywords: Mapping[str, Any]) -> nnx.Module:
    """A copy of a model whose lazy layers have found their sizes."""
    graph, state = nnx.split(model)

    def call(state: Any, inputs: Any) -> Any:
        copy = nnx.merge(graph, state)
        copy.eval()
        copy(*inputs, **keywords)
        return copy

    with refusing(type(model).__name__):
        return nnx.eval_shape(call, state, inputs)


def _watch(module: nnx.Module, name: str, tracing: int) -> None:
    """Has a module of the copy say when it is called, and the functions among its layers if it is a `Sequential`."""
    if isinstance(module, Sequential | nnx.Sequential):
        layers = module if isinstance(module, Sequential) else module.layers
        for i, layer in enumerate(list(layers)):
            if not isinstance(layer, nnx.Module):
                level = module._names[i] if isinstance(module, Sequential) else str(i)
                layers[i] = _noted(layer, f"{name}.{level}".lstrip("."))
    if callable(module):
        # With the number, that nothing compiled for another tracing is taken.
        nnx.Module.__setattr__(module, _PLACE, (tracing, name))
        object.__setattr__(module, "__class__", _watched(type(module)))


def _noted(function: Any, name: str) -> Any:
    """A function that notes its calls."""
    kind = getattr(getattr(function, "func", function), "__name__", type(function).__name__)
    layer = Layer(name, "function" if kind == "<lambda>" else kind)

    def call(*args: Any, **kwargs: Any) -> Any:
        noted = recorder()
        return function(*args, **kwargs) if noted is None else noted.call(layer, function, args, kwargs, _is_one)

    return functools.wraps(function)(call) if hasattr(function, "__name__") else call


@functools.cache
def _watched(base: type) -> type:
    """A class like `base` whose calls are noted."""
    function: Any = base.__call__

    @functools.wraps(function)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        noted, bound = recorder(), functools.partial(function, self)
        if noted is None:
            return bound(*args, **kwargs)
        text = repr(self) if base.__module__.startswith("jaxconv.") else "\n"
        layer = Layer(getattr(self, _PLACE)[1], base.__name__, None if "\n" in text else text)
        return noted.call(layer, bound, args, kwargs, _is_one)

    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base)(base.__name__, (base,), {**names, "__call__": __call__}, pytree=base._pytree__is_pytree)  # type: ignore[attr-defined]


def _is_one(value: Any) -> bool:
    """Whether an argument is handed on as it is: a module that is taken apart and put together is another one."""
    return isinstance(value, nnx.Pytree | nnx.Variable)
