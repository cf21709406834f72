"""`explain`, and the table that names the function for each kind of layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, overload

import jax

from jaxconv._explain.activation import explain_prelu, explain_softmax, is_prelu
from jaxconv._explain.containers import explain_identity
from jaxconv._explain.convolution import explain_convolution, is_convolution
from jaxconv._explain.dropout import explain_dropout
from jaxconv._explain.explanation import Explanation
from jaxconv._explain.machine import Machine, parse_machine
from jaxconv._explain.model.explanation import ModelExplanation
from jaxconv._explain.model.inputs import parse_inputs, parse_layer_input
from jaxconv._explain.model.make import explain_trace
from jaxconv._explain.model.trace import Trace
from jaxconv._explain.normalization import explain_norm, explain_response_norm
from jaxconv._explain.padding import explain_pad
from jaxconv._explain.parser import EXAMPLE, layer_of_text
from jaxconv._explain.patches import explain_flatten, explain_patches
from jaxconv._explain.pooling import explain_adaptive_pool, explain_pool, explain_unpool
from jaxconv._explain.resampling import explain_channel_shuffle, explain_pixel_shuffle, explain_upsampling
from jaxconv._layers.activation import Softmax2d
from jaxconv._layers.containers import Identity
from jaxconv._layers.dropout import Dropout, StochasticDepth
from jaxconv._layers.normalization import LocalResponseNorm, Norm
from jaxconv._layers.padding import Pad
from jaxconv._layers.patches import Flatten, Fold, Unfold
from jaxconv._layers.pooling import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, LPPool, MaxPool, MaxUnpool
from jaxconv._layers.resampling import ChannelShuffle, PixelShuffle, PixelUnshuffle, Upsampling


@overload
def explain(layer: str, input_shape: Sequence[int], *, machine: tuple[float, float] | None = None) -> Explanation: ...
@overload
def explain(layer: Any, input_shape: Any, *, machine: tuple[float, float] | None = None, **arguments: Any) -> Any: ...
def explain(
    layer: Any, input_shape: Any, *, machine: tuple[float, float] | None = None, **arguments: Any
) -> Explanation | ModelExplanation:
    """What a layer or a whole model does to an input of `input_shape`, without computing it.

    A model is any module of Flax, NNX or Linen, and is explained in evaluation. It stays as it is.

    Args:
        layer: a layer of `jaxconv.nnx` or `jaxconv.linen`; or its text, which is a call with literal arguments, such
            as `"Conv2d(16, 33, 3, stride=2)"`, where prefixes such as `torch.nn.` and the argument `rngs` are ignored;
            or a model, with values or as `nnx.eval_shape` makes it.
        input_shape: the shape of the input, batched or not. Of a model, of float32; an array or a
            `jax.ShapeDtypeStruct` says another dtype, and a list of such is several inputs. Where its sharding divides
            it over several devices, of a layer or of a model, the explanation says what these send each other; the
            parameters are whole on each.
        machine: how fast it is told to be, in FLOP/s of products and bytes/s of copies; by default both are measured,
            once in a process, when a text or a dictionary is made.
        **arguments: what else a model is called with, by name.

    Returns:
        An `Explanation` of a layer, a `ModelExplanation` of a model, to be printed, or taken as a dictionary or as a
        picture.

    Raises:
        TypeError: `layer` is neither a layer nor a model, or an argument is of a wrong kind.
        ValueError: the text names no layer of ours, or the layer cannot take such an input: the layer's own error, of a
            model with the layer's path in front.

    Example:
        >>> import jaxconv
        >>> layer = "Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))"
        >>> explanation = jaxconv.explain(layer, (20, 16, 50, 100))
        >>> for axis, arithmetic in explanation.arithmetic:
        ...     print(axis, arithmetic, sep=": ")
        H: floor((50 + 4 + 4 - 3 * (3 - 1) - 1) / 2) + 1 = 26
        W: floor((100 + 2 + 2 - 1 * (5 - 1) - 1) / 1) + 1 = 100
        >>> explanation.multiply_accumulates
        20592000
    """
    ceilings = None if machine is None else parse_machine(machine)
    if isinstance(layer, str):
        layer = layer_of_text(layer)
    for is_kind, explain_kind in _KINDS:
        if is_kind(layer):
            if arguments:
                raise TypeError(f"explain() takes no argument {next(iter(arguments))!r} for a layer, only for a model")
            shape, division = parse_layer_input(input_shape)
            explanation = replace(explain_kind(layer, shape), given=ceilings, timed=partial(_timed, layer, shape))
            if division is None:
                return explanation
            (row,) = _explain_model(layer, input_shape, {}).rows
            return replace(explanation, sent=row.sent)
    if _tracer(layer) is not None:
        return _explain_model(layer, input_shape, arguments, ceilings)
    what = f"the class {layer.__name__}; make a layer of it" if isinstance(layer, type) else type(layer).__name__
    raise TypeError(
        "layer must be a layer of jaxconv.nnx or jaxconv.linen, or its text such as "
        f"{EXAMPLE}, or a model of Flax, got {what}"
        + ("" if isinstance(layer, type) else "; of another framework's layer, try str(layer)")
    )


def _timed(layer: Any, shape: tuple[int, ...]) -> tuple[float | None, ...]:
    """The times of a layer, as a model of its own."""
    (row,) = _explain_model(layer, shape, {}).measure().rows
    return row.measured or ()


def _explain_model(
    model: Any, input_shape: Any, arguments: Mapping[str, Any], ceilings: Machine | None = None
) -> ModelExplanation:
    """The explanation of a module of Flax."""
    trace = _tracer(model)
    assert trace is not None
    inputs = parse_inputs(input_shape)
    return explain_trace(trace(model, inputs, arguments), ceilings, [a.sharding for a in jax.tree.leaves(inputs)])


def _tracer(model: Any) -> Callable[..., Trace] | None:
    """What traces a model; its framework is imported already, by whom made it."""
    if isinstance(model, type):
        return None
    modules = {base.__module__ for base in type(model).__mro__}
    if "flax.nnx.module" in modules:
        from jaxconv._explain.model.of_nnx import trace_nnx

        return trace_nnx
    if "flax.linen.module" in modules:
        from jaxconv._explain.model.of_linen import trace_linen

        return trace_linen
    return None


def _is(*classes: type) -> Callable[[Any], bool]:
    return lambda layer: isinstance(layer, classes)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, tuple[int, ...]], Explanation]], ...] = (
    (is_convolution, explain_convolution),
    (_is(Norm), explain_norm),
    (_is(LocalResponseNorm), explain_response_norm),
    (_is(Pad), explain_pad),
    (_is(MaxPool, AvgPool, LPPool), explain_pool),
    (_is(AdaptiveAvgPool, AdaptiveMaxPool), explain_adaptive_pool),
    (_is(MaxUnpool), explain_unpool),
    (_is(Unfold, Fold), explain_patches),
    (_is(Flatten), explain_flatten),
    (_is(Upsampling), explain_upsampling),
    (_is(PixelShuffle, PixelUnshuffle), explain_pixel_shuffle),
    (_is(ChannelShuffle), explain_channel_shuffle),
    (is_prelu, explain_prelu),
    (_is(Softmax2d), explain_softmax),
    (_is(Dropout, StochasticDepth), explain_dropout),
    (_is(Identity), explain_identity),
)
