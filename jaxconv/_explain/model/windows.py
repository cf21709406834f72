"""Windows that primitives move along an array: those of convolutions, of pools and of resampling."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from jaxconv._explain.model.program import Step
from jaxconv._explain.model.reach import Label, Reach, Windows, everything, reduced, seen_through, spread, transposed
from jaxconv._lowering.resampling import make_table
from jaxconv._spec.convolution import ConvSpec


class Sliding(NamedTuple):
    """Windows that move along some axes of one argument, while another axis is mixed.

    Attributes:
        argument: which argument.
        axes: the windows by the axis that they move along.
        mixed: the axis of the channels; None where each channel stays apart.
        order: for each axis of the result the axis of the argument that it comes from.
    """

    argument: int
    axes: dict[int, Windows]
    mixed: int | None
    order: Sequence[int]


def _lax_convolution(step: Step) -> Sliding | None:
    p, shape = step.params, step.outputs[0].shape
    numbers = p["dimension_numbers"]
    if p["batch_group_count"] != 1:
        return None
    kernel = [step.inputs[1].shape[axis] for axis in numbers.rhs_spec[2:]]
    axes = {}
    for i, (axis, out) in enumerate(zip(numbers.lhs_spec[2:], numbers.out_spec[2:], strict=True)):
        span = p["rhs_dilation"][i] * (kernel[i] - 1)
        axes[axis] = _windows(shape[out], p["window_strides"][i], p["padding"][i][0], span, p["lhs_dilation"][i])
    order = dict(zip(numbers.out_spec, numbers.lhs_spec, strict=True))
    return Sliding(0, axes, numbers.lhs_spec[1], [order[a] for a in range(len(order))])


def _output(step: Step) -> Sliding:
    """Our convolution."""
    spec, shape, kernel = step.params["spec"], step.outputs[0].shape, step.inputs[1].shape[2:]
    axes = {}
    for axis, k, s, d, (low, _) in _axes(spec, kernel):
        axes[axis] = _windows(shape[axis], s, low, d * (k - 1))
    return Sliding(0, axes, spec.channel_axis, range(len(shape)))


def _input(step: Step) -> Sliding:
    """Our transposed convolution: position q of the result takes tap t from position (q + low - t * d) / s."""
    spec, shape, kernel = step.params["spec"], step.outputs[0].shape, step.inputs[0].shape[2:]
    axes = {}
    for axis, k, s, d, (low, _) in _axes(spec, kernel):
        axes[axis] = Windows(shape[axis], Fraction(1, s), Fraction(low - d * (k - 1), s), Fraction(low, s))
    return Sliding(1, axes, spec.channel_axis, range(len(shape)))


def _axes(spec: ConvSpec, kernel: Sequence[int]) -> list[tuple[int, int, int, int, tuple[int, int]]]:
    first = 2 if spec.channel_axis == 1 else 1
    return list(zip(range(first, first + spec.rank), kernel, spec.strides, spec.dilations, spec.pads, strict=True))


def _reduce_window(step: Step) -> Sliding:
    p, shape = step.params, step.outputs[0].shape
    axes = {}
    for axis, k in enumerate(p["window_dimensions"]):
        span = p["window_dilation"][axis] * (k - 1)
        window = _windows(shape[axis], p["window_strides"][axis], p["padding"][axis][0], span, p["base_dilation"][axis])
        if window != Windows(shape[axis], Fraction(1), Fraction(0), Fraction(0)):
            axes[axis] = window
    return Sliding(0, axes, None, range(len(shape)))


def _maxima(step: Step) -> Sliding:
    """Our maxima of windows that overlap."""
    spec, shape = step.params["spec"], step.outputs[0].shape
    axes = {}
    for a, k, s, p, d in zip(spec.spatial_axes, spec.kernel, spec.strides, spec.padding, spec.dilations, strict=True):
        axis = a + len(shape)
        axes[axis] = _windows(shape[axis], s, p, d * (k - 1))
    return Sliding(0, axes, None, range(len(shape)))


def _windows(size: int, stride: int, low: int, span: int, dilation: int = 1) -> Windows:
    """Windows of a span on an axis that is dilated first, and then padded."""
    return Windows(size, Fraction(stride, dilation), Fraction(-low, dilation), Fraction(span - low, dilation))


def _resample(step: Step) -> Sliding | None:
    """Our resampling, whose table says which positions are read."""
    axis, spec = step.params["axis"], step.params["spec"]
    if step.params["transposed"]:
        return None
    places, weights, holds = make_table(spec, np.dtype("float32"))
    read = np.ones(places.shape, bool) if weights is None else weights != 0
    read = read if holds is None else read & holds
    size = spec.output_size
    stride = Fraction(spec.size - 1, max(size - 1, 1)) if spec.align_corners else Fraction(spec.size, size)
    away = places.astype(object) - stride * np.arange(size)
    ends = away[read].min(), away[read].max()
    return Sliding(0, {axis: Windows(size, stride, *map(Fraction, ends))}, None, range(len(step.inputs[0].shape)))


WINDOWS: dict[str, Callable[[Step], Sliding | None]] = {
    "conv_general_dilated": _lax_convolution,
    "conv_output": _output,
    "conv_output_bias": _output,
    "conv_input": _input,
    "pool_maxima": _maxima,
    "reduce_window": _reduce_window,
    "reduce_window_sum": _reduce_window,
    "reduce_window_max": _reduce_window,
    "reduce_window_min": _reduce_window,
    "resample": _resample,
}


def slide(reaches: Sequence[Reach | None], windows: Sliding, shape: Sequence[int], slid: set[Label]) -> Reach | None:
    """What is read through windows; `slid` takes in the axes of inputs that they move along."""
    reach = reaches[windows.argument]
    if reach is None or sum(r is not None for r in reaches) > 1:
        return everything(reaches, shape)  # the windows' weights depend on the input
    slid |= {k for k, f in reach.fields.items() if any(any(f.steps[axis]) for axis in windows.axes)}
    reach = seen_through(reach, windows.axes)
    if windows.mixed is not None:
        reach = reduced(reach, [windows.mixed])
        axes = [a for a in range(len(shape)) if windows.order[a] != windows.mixed]
        places = [sorted(windows.order[a] for a in axes).index(windows.order[a]) for a in axes]
        return spread(transposed(reach, places), shape, axes)
    return transposed(reach, windows.order)
