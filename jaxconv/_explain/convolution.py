"""Convolutions and transposed convolutions explained."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._explain.common import (
    SPATIAL,
    axis_names,
    filling_text,
    make_axes,
    pads_text,
    span_text,
    span_texts,
    windows_text,
)
from jaxconv._explain.explanation import Explanation, Op, Parameter
from jaxconv._layers import convolution as _layer
from jaxconv._lowering.family import Problem, default_platform, result_shape
from jaxconv._lowering.select import choose
from jaxconv._spec.convolution import (
    Arguments,
    ConvSpec,
    Shapes,
    TransposedArguments,
    check_groups,
    multiply_accumulates,
    parse_conv,
    parse_conv_transpose,
)
from jaxconv._spec.padding import resolve_pads
from jaxconv._spec.shapes import image_shape, split_shape

# What each of the three ops is to a layer, its output first: design, "The one idea".
_OPS = {
    False: {
        "output": "the output",
        "input": "the gradient of the input",
        "weight": "the gradient of the weight",
    },
    True: {
        "input": "the output",
        "output": "the gradient of the input",
        "weight": "the gradient of the weight",
    },
}


def is_convolution(layer: Any) -> bool:
    """Whether `layer` is a convolution of either shell, by what marks one: their classes would bring in Flax."""
    return not isinstance(layer, type) and hasattr(layer, "transposed") and hasattr(layer, "rank")


def explain_convolution(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains a convolution, or a transposed one."""
    return (_transposed if layer.transposed else _plain)(layer, shape)


def _plain(layer: Any, shape: tuple[int, ...]) -> Explanation:
    rank = layer.rank
    in_channels, w_shape, bias_shape = _parameter_shapes(layer, shape)
    arguments = Arguments(
        layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode, layer.data_format
    )
    spec = parse_conv(rank, Shapes(shape, w_shape, bias_shape), arguments)
    _, size = split_shape("input", shape, rank, spec.data_format)
    kernel = layer.kernel_size
    out, fields = spec.output_size(size, kernel), spec.receptive_field(kernel)
    axes = make_axes(rank, size, out, kernel, spec.strides, spec.dilations, spec.pads, fields)
    padding = [pads_text(axes)]
    if isinstance(layer.padding, str):
        padding[0] = f"{layer.padding!r} is {padding[0]}"
    if any(any(pads) for pads in spec.pads):
        padding.append(filling_text(spec.padding_mode))
    names = SPATIAL[rank]
    return Explanation(
        kind=f"{rank}-D convolution",
        output_shape=image_shape(shape[: -rank - 1], layer.out_channels, out, spec.data_format),
        arithmetic=tuple((a.name, windows_text(a, a.size, a.output_size)) for a in axes),
        axes=axes,
        fields=span_texts(axes),
        padding=tuple(padding),
        filled=spec.padding_mode,
        multiply_accumulates=multiply_accumulates(w_shape, out),
        formula=_product(
            ("out_channels", *(n + "'" for n in names), "(in_channels / groups)", *("k" + n for n in names)),
            (layer.out_channels, *out, f"({in_channels} / {layer.groups})", *kernel),
        ),
        ops=_ops(layer, spec, _batched(shape, rank), w_shape),
        **_common(layer, shape, in_channels, w_shape, bias_shape),
    )


def _transposed(layer: Any, shape: tuple[int, ...]) -> Explanation:
    rank = layer.rank
    in_channels, w_shape, bias_shape = _parameter_shapes(layer, shape)
    arguments = TransposedArguments(
        layer.stride,
        layer.padding,
        layer.output_padding,
        layer.groups,
        layer.dilation,
        padding_mode=layer.padding_mode,
        data_format=layer.data_format,
    )
    parsed = parse_conv_transpose(rank, Shapes(shape, w_shape, bias_shape), arguments)
    _, size = split_shape("input", shape, rank, layer.data_format)
    kernel, out, names = layer.kernel_size, parsed.size, SPATIAL[rank]
    pads = resolve_pads(layer.padding, kernel, layer.dilation)
    fields, spans = parsed.receptive_field(kernel), parsed.spec.receptive_field(kernel)
    axes = make_axes(rank, size, out, kernel, layer.stride, layer.dilation, pads, fields)
    is_cut = any(any(p) for p in pads)
    padding = [pads_text(axes) + (" cut off the output" if is_cut else "")]
    if any(layer.output_padding):
        more = ", ".join(f"{name}: {p}" for name, p in zip(names, layer.output_padding, strict=True))
        padding.append(f"{more} more at the end of the output (output_padding)")
    if layer.padding_mode == "circular" and is_cut:
        padding.append("circular: what is cut off one end is added to the other")
    output_shape = image_shape(shape[: -rank - 1], layer.out_channels, out, layer.data_format)
    return Explanation(
        kind=f"{rank}-D transposed convolution",
        output_shape=output_shape,
        arithmetic=tuple(
            (
                a.name,
                f"({a.size} - 1) * {a.stride} - {a.pads[0]} - {a.pads[1]} + {span_text(a)} + {p} = {a.output_size}",
            )
            for a, p in zip(axes, layer.output_padding, strict=True)
        ),
        axes=axes,
        writes=True,
        fields=tuple(
            (
                a.name,
                f"at most {a.receptive_field}; one input position writes to a span of {span_text(a)} = {span}",
            )
            for a, span in zip(axes, spans, strict=True)
        ),
        padding=tuple(padding),
        filled=layer.padding_mode,
        multiply_accumulates=multiply_accumulates(w_shape, size),
        formula=_product(
            ("in_channels", *names, "(out_channels / groups)", *("k" + n for n in names)),
            (in_channels, *size, f"({layer.out_channels} / {layer.groups})", *kernel),
        ),
        # The output of this layer is the input of the convolution that it is the transpose of.
        ops=_ops(layer, parsed.spec, _batched(output_shape, rank), w_shape),
        **_common(layer, shape, in_channels, w_shape, bias_shape),
    )


def _parameter_shapes(layer: Any, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...] | None]:
    """The number of input channels, and the shapes of weight and bias."""
    channels = layer.in_channels
    if channels is None:
        channels, _ = split_shape("input", shape, layer.rank, layer.data_format)
        check_groups(layer.groups, in_channels=channels)
    # Linen keeps the argument; NNX the parameter, or what makes it.
    bias = layer.bias
    has_bias = bias if isinstance(bias, bool) else bias is not None or getattr(layer, "_bias_key", None) is not None
    return channels, _layer.weight_shape(layer, channels), (layer.out_channels,) if has_bias else None


def _common(
    layer: Any,
    shape: tuple[int, ...],
    in_channels: int,
    w_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
) -> dict[str, Any]:
    """What is said of plain and of transposed convolutions alike."""
    kernel = ", ".join("k" + n for n in SPATIAL[layer.rank])
    order = "in_channels, out_channels / groups" if layer.transposed else "out_channels, in_channels / groups"
    parameters = [Parameter("weight", w_shape, f"{order}, {kernel}")]
    if bias_shape is not None:
        parameters.append(Parameter("bias", bias_shape, "out_channels"))
    return {
        "layer": f"{type(layer).__name__}({_layer.extra_repr(layer, bias_shape is not None)})",
        "input_shape": shape,
        "layout": axis_names(shape, layer.rank, layer.data_format),
        "parameters": tuple(parameters),
        "channels": (in_channels, layer.out_channels, layer.groups),
        "grouping": _grouping(in_channels, layer.out_channels, layer.groups),
        "platform": jax.default_backend(),
    }


def _grouping(in_channels: int, out_channels: int, groups: int) -> tuple[str, str]:
    def channels(n: int, what: str) -> str:
        return f"{n} {what} channel{'s' * (n != 1)}"

    reads, makes = in_channels // groups, out_channels // groups
    if groups == 1:
        whom = f"all {channels(reads, 'input')}" if reads != 1 else "the input channel"
        return "dense", f"1, dense: every output channel reads {whom}"
    if reads == 1:
        return "depthwise", (
            f"{groups}, depthwise with multiplier {makes}: each input channel makes {channels(makes, 'output')}"
        )
    return "grouped", f"{groups}: each block of {channels(reads, 'input')} makes {channels(makes, 'output')} alone"


def _ops(layer: Any, spec: ConvSpec, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> tuple[Op, ...]:
    """How each op of a layer is computed here."""
    dtype = jnp.dtype(layer.param_dtype if layer.dtype is None else layer.dtype)
    y_shape = result_shape("output", x_shape, w_shape, spec, None)
    return explain_ops(layer.transposed, layer.algorithm, (spec, x_shape, w_shape, y_shape, dtype))


def explain_ops(transposed: bool, algorithm: str, facts: tuple[Any, ...]) -> tuple[Op, ...]:
    """How each op is computed here, in the order of the layer's: its output first.

    Args:
        transposed: whether the layer's output is the op `input`.
        algorithm: the one that is asked for, or `"auto"`.
        facts: the spec, the shapes of x, w and y, and the dtype: what an automatic choice is made from.
    """
    ops = []
    for name, computes in _OPS[transposed].items():
        if algorithm == "auto":
            taken, reason = choose(Problem(name, *facts, platform=default_platform()))
        else:
            taken, reason = algorithm, f"algorithm={algorithm!r} asks for it"
        ops.append(Op(name, computes, taken, reason))
    return tuple(ops)


def _batched(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return shape if len(shape) == rank + 2 else (1, *shape)


def _product(names: Sequence[str], numbers: Sequence[object]) -> str:
    return " * ".join(names) + "\n" + " * ".join(str(n) for n in numbers)
