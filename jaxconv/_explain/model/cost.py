"""What an equation costs, and how a convolution is computed."""

import math

import numpy as np

from jaxconv._explain.convolution import explain_ops
from jaxconv._explain.explanation import Op
from jaxconv._explain.model.program import Step
from jaxconv._lowering.family import result_shape
from jaxconv._spec.convolution import multiply_accumulates

# Primitives that run code which no jaxpr shows.
OPAQUE = ("pallas_call", "ffi_call", "custom_call", "pure_callback", "io_callback")


def products(step: Step) -> int:
    """How many multiply-accumulates an equation takes: those of products of matrices, and of convolutions.

    As in a layer's explanation, those that meet padding are counted, and those of a transposed convolution are as many
    as those of the convolution that it transposes, unless it is XLA's own and of stride 1. A difference, a maximum
    or an exponential is none.
    """
    shapes, p = [v.shape for v in step.inputs], step.params
    out: tuple[int, ...] = step.outputs[0].shape if step.outputs else ()
    if step.name == "dot_general":
        contracted = p["dimension_numbers"][0][0]
        return math.prod(out) * math.prod(shapes[0][axis] for axis in contracted)
    if step.name in ("ragged_dot", "ragged_dot_general"):
        return math.prod(out) * shapes[0][-1]
    if step.name == "conv_general_dilated":
        numbers, per_output = (
            p["dimension_numbers"],
            math.prod(shapes[1]) // shapes[1][p["dimension_numbers"].rhs_spec[0]],
        )
        # Of a transposed convolution, whose input is dilated, each position of the input meets each tap once.
        is_transposed = any(dilation > 1 for dilation in p["lhs_dilation"])
        spatial = zip(numbers.lhs_spec[2:], numbers.out_spec[2:], strict=True)
        sizes = [shapes[0][a] if is_transposed else out[b] for a, b in spatial]
        return math.prod([*sizes, *(out[axis] for axis in numbers.out_spec[:2])]) * per_output
    if (arrays := _convolution(step)) is not None:
        _, w_shape, y_shape = arrays
        return y_shape[0] * multiply_accumulates(w_shape, p["spec"].size_of(y_shape))
    return 0


def ops(step: Step) -> tuple[Op, ...]:
    """How the three ops of a convolution are computed, that of the equation first; none of another equation."""
    if step.name == "conv_general_dilated":
        return explain_ops(False, "xla", ())
    arrays = _convolution(step)
    if arrays is None:
        return ()
    is_transposed = step.name == "conv_input"
    problem = (step.params["spec"], *arrays, np.dtype(step.params["dtype"]))
    return explain_ops(is_transposed, step.params["algorithm"], problem)


def _convolution(step: Step) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """The shapes of x, w and y of one of this package's convolutions."""
    op = step.name.removeprefix("conv_").removesuffix("_bias")
    if op not in ("output", "input", "weight") or "spec" not in step.params:
        return None
    first, second = (v.shape for v in step.inputs[:2])
    result = result_shape(op, first, second, step.params["spec"], step.params["size"])
    x, w, y = {
        "output": (first, second, result),
        "input": (result, first, second),
        "weight": (first, result, second),
    }[op]
    return x, w, y
