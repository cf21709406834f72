"""Batch norms of NNX models folded into the layers before them.

With s = weight / sqrt(running_var + eps), a norm makes y s + (bias - running_mean s) of y, per channel. Of a layer
whose output is y = conv(x, w) + b, w takes the factor s along its output channels, and b becomes
(b - running_mean) s + bias.

A norm reads what a layer gives where both are one value in the traced program of the model; and what else reads it,
an equation or the result of the model, is found there too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv.nnx as layers
from jaxconv._explain.model.of_nnx import module_names, trace_nnx
from jaxconv._explain.model.program import Call, Program, Value
from jaxconv._explain.model.trace import Trace
from jaxconv._fuse.report import FuseReport


@dataclass(frozen=True)
class _Affine:
    """What a norm multiplies each channel by and adds to it, and which axis the channels are."""

    scale: np.ndarray
    shift: np.ndarray


def fuse_nnx(model: Any, inputs: Any, arguments: Mapping[str, Any]) -> tuple[Any, FuseReport]:
    """As `jaxconv.fuse`."""
    modules = {names[0]: module for names, module in _named(model)}
    norms = {name: module for name, module in modules.items() if isinstance(module, _NORMS)}
    for name, norm in norms.items():
        if not norm.use_running_average and _running(norm) is not None:
            raise ValueError(
                f"model is in training: the norm {name!r} takes the statistics of its batch; call model.eval() first"
            )
    trace = trace_nnx(model, inputs, arguments)
    copy = nnx.clone(model)
    copies = {names[0]: module for names, module in _named(copy)}
    folded, left = [], []
    for name, norm in norms.items():
        source, why = _source(trace, modules, name, norm)
        if why is None:
            why = _exchange(copy, copies[name])
        if why is None:
            _fold(copies[source], norm)
            folded.append((name, source))
        else:
            left.append((name, why))
    return copy, FuseReport(tuple(folded), tuple(left))


def _named(model: nnx.Module) -> list[tuple[tuple[str, str], nnx.Module]]:
    names = module_names(model)
    return [(names[path], module) for path, module in nnx.iter_modules(model)]


# ---------------------------------------------------------------------------------------------------------------
# Which layer a norm follows
# ---------------------------------------------------------------------------------------------------------------


def _source(trace: Trace, modules: Mapping[str, Any], name: str, norm: Any) -> tuple[str, str | None]:
    """The layer that a norm can be folded into, and otherwise why there is none."""
    if _running(norm) is None:
        return "", "it has no running statistics, and takes those of each batch"
    if type(norm).__call__ not in _NORM_CALLS:
        return "", f"{type(norm).__name__} has a call of its own"
    program = trace.program
    calls = [call for call in program.calls if _name(trace, call) == name]
    if len(calls) != 1 or calls[0].times != 1:
        return "", f"it is called {sum(call.times for call in calls)} times"
    (call,) = calls
    if len(call.inputs) != 1 or len(call.outputs) != 1 or call.inputs[0].dtype != call.outputs[0].dtype:
        return "", "its output is of another dtype than its input"
    (value,) = call.inputs
    sources = [
        other
        for other in program.calls
        if any(v is value for v in other.outputs) and _kind(modules.get(_name(trace, other))) is not None
    ]
    if not sources:
        return "", "its input is not the output of a convolution or a linear layer"
    source = _name(trace, sources[-1])
    layer = modules[source]
    times = sum(other.times for other in program.calls if _name(trace, other) == source)
    if times != 1:
        return "", f"{source}, which it follows, is called {times} times"
    if _is_read_elsewhere(program, value, call):
        return "", f"the output of {source}, which it follows, is read elsewhere too"
    if not all(isinstance(p, nnx.Param) for p in (_weight(layer), *([] if layer.bias is None else [layer.bias]))):
        return "", f"the weight of {source}, which it follows, is computed of other arrays"
    if _axis(norm, len(value.shape)) != _axis(layer, len(value.shape)):
        return "", f"{source}, which it follows, has its channels along another axis"
    return source, None


def _name(trace: Trace, call: Call) -> str:
    """What a call calls; the whole model has no name."""
    return "" if call.event is None else trace.layers[call.event].name


def _is_read_elsewhere(program: Program, value: Value, norm: Call) -> bool:
    """Whether anything but a norm reads a value."""

    def reads(values: list[Value]) -> bool:
        return any(v is value for v in values)

    holders = [step for step, _ in program.bodies()]
    steps = [*program.flat(), *holders]
    return (
        any(reads(step.inputs) and step.call is not norm for step in steps)
        or any(reads(body.outputs) for _, body in program.bodies())
        or reads(program.outputs)
    )


# ---------------------------------------------------------------------------------------------------------------
# The layers that are known
# ---------------------------------------------------------------------------------------------------------------

_CONVOLUTIONS = (layers.Conv1d, layers.Conv2d, layers.Conv3d)
_TRANSPOSED = (layers.ConvTranspose1d, layers.ConvTranspose2d, layers.ConvTranspose3d)
_NORMS = (layers.BatchNorm1d, layers.BatchNorm2d, layers.BatchNorm3d, nnx.BatchNorm)
_NORM_CALLS = tuple(kind.__call__ for kind in _NORMS)


def _first(w: np.ndarray, scale: np.ndarray, groups: int) -> np.ndarray:
    return w * scale.reshape(-1, *[1] * (w.ndim - 1))


def _second(w: np.ndarray, scale: np.ndarray, groups: int) -> np.ndarray:
    """(in, out / groups, ...): the output channels of a group meet its input channels alone."""
    of_groups = w.reshape(groups, -1, *w.shape[1:])
    return (of_groups * scale.reshape(groups, 1, -1, *[1] * (w.ndim - 2))).reshape(w.shape)


def _last(w: np.ndarray, scale: np.ndarray, groups: int) -> np.ndarray:
    return w * scale


# How a weight takes a factor for each output channel, by what calls it.
_SCALED: dict[Any, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    **{kind.__call__: _first for kind in _CONVOLUTIONS},
    **{kind.__call__: _second for kind in _TRANSPOSED},
    nnx.Conv.__call__: _last,
    nnx.Linear.__call__: _last,
}


def _kind(module: Any) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None:
    """How the weight of a layer takes a factor; None of what is no layer that is known."""
    kind: Any = type(module)
    if not issubclass(kind, nnx.Module) or not callable(module):
        return None
    if kind.__call__ is nnx.ConvTranspose.__call__:
        return None if module.transpose_kernel else _last  # type: ignore[attr-defined]
    return _SCALED.get(kind.__call__)


def _weight(layer: Any) -> Any:
    return layer.weight if hasattr(layer, "weight") else layer.kernel


def _axis(module: Any, ndim: int) -> int:
    """Which axis of its output the channels are."""
    if hasattr(module, "data_format"):
        return 1 if module.data_format == "channels_first" else ndim - 1
    axis = getattr(module, "axis", -1)
    return axis % ndim if isinstance(axis, int) else -1


def _running(norm: Any) -> tuple[Any, Any] | None:
    """The running mean and variance of a norm."""
    pair = (norm.mean, norm.var) if isinstance(norm, nnx.BatchNorm) else (norm.running_mean, norm.running_var)
    return None if pair[0] is None or pair[1] is None else pair


def _affine(norm: Any) -> _Affine:
    of_flax = isinstance(norm, nnx.BatchNorm)
    running = _running(norm)
    assert running is not None
    mean, var = (_numbers(each) for each in running)
    weight = norm.scale if of_flax else norm.weight
    scale = 1 / np.sqrt(var + (norm.epsilon if of_flax else norm.eps))
    scale = scale if weight is None else scale * _numbers(weight)
    return _Affine(scale, (0 if norm.bias is None else _numbers(norm.bias)) - mean * scale)


def _numbers(variable: Any) -> np.ndarray:
    return np.asarray(variable.get_value()).astype(np.float64)


# ---------------------------------------------------------------------------------------------------------------
# What is exchanged in the copy
# ---------------------------------------------------------------------------------------------------------------


def _fold(layer: Any, norm: Any) -> None:
    """Has a layer compute what the norm after it makes of its output."""
    affine, weight, scaled = _affine(norm), _weight(layer), _kind(layer)
    assert scaled is not None
    kind = weight.get_value().dtype
    name = "weight" if hasattr(layer, "weight") else "kernel"
    values = {name: scaled(_numbers(weight), affine.scale, getattr(layer, "groups", 1))}
    values["bias"] = affine.shift + (0 if layer.bias is None else _numbers(layer.bias) * affine.scale)
    for name, value in values.items():
        setattr(layer, name, nnx.data(nnx.Param(jnp.asarray(value.astype(kind)))))
    if hasattr(layer, "use_bias"):
        layer.use_bias = True


def _exchange(model: nnx.Module, norm: nnx.Module) -> str | None:
    """Puts an `Identity` wherever a model holds a norm; why it did not, where it could not."""
    holders = [
        (holder, name)
        for _, holder in nnx.iter_graph(model)
        if isinstance(holder, nnx.Pytree)
        for name, value in vars(holder).items()
        if value is norm
    ]
    for holder, name in holders:
        setattr(holder, name, layers.Identity())
    if any(module is norm for _, module in nnx.iter_modules(model)):
        for holder, name in holders:
            setattr(holder, name, norm)
        return "what holds it is neither a module nor a list of NNX"
    return None
