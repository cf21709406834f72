"""What the functions and layers with slopes and probabilities of channels take: shapes and dtypes."""

import math
from collections.abc import Sequence
from typing import Any

from jaxconv._spec.arguments import one_of
from jaxconv._spec.messages import show
from jaxconv._spec.shapes import DATA_FORMATS, Size, is_static

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def parse_prelu(
    input_shape: Sequence[Size], weight_shape: Sequence[Size], data_format: object
) -> tuple[tuple[Size, ...], int | None]:
    """What the weight is reshaped to, and the axis of the channels that it is one slope each of; None for one of all.

    As in PyTorch the channels are those of a batch: the second axis, or the last where they stand last.
    """
    last = one_of("data_format", data_format, DATA_FORMATS) == "channels_last"
    ndim = len(input_shape)
    if len(weight_shape) > 1:
        raise ValueError(f"weight must be a number or have one axis, got shape {tuple(weight_shape)}")
    slopes = math.prod(weight_shape)
    if is_static(weight_shape) and slopes == 1:
        return (1,) * ndim, None
    axis = ndim - 1 if last else 1
    channels = input_shape[axis] if ndim > 1 else 1
    if isinstance(slopes, int) and isinstance(channels, int) and slopes != channels:
        raise ValueError(
            f"weight must hold one slope, or one for each of the {channels} channels of input, which has shape "
            f"{tuple(input_shape)} with data_format={data_format!r}, got {slopes}"
        )
    return tuple(slopes if a == axis else 1 for a in range(ndim)), axis


def check_prelu_dtypes(input_dtype: Any, weight_dtype: Any) -> None:
    """Refuses what has no slope, and a weight of another dtype."""
    if str(input_dtype) not in _FLOATS:
        raise TypeError(
            f"input has dtype {input_dtype}, and prelu needs floating point numbers; convert it, for example "
            "input.astype('float32')"
        )
    if weight_dtype != input_dtype:
        raise TypeError(
            f"weight has dtype {weight_dtype} where input has {input_dtype}; convert one, for example "
            f"weight.astype({str(input_dtype)!r})"
        )


def parse_slope(value: object) -> float:
    """The slope that a layer begins with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"init must be a number, got {show(value)}")
    return value


def softmax_axis(input_shape: Sequence[Size], dtype: Any, data_format: str) -> int:
    """The axis of the channels of 2-D images, counted from the end; refuses other shapes, and numbers without a power.

    PyTorch's layer takes images of three or four axes.
    """
    if len(input_shape) not in (3, 4):
        inner = "C, H, W" if data_format == "channels_first" else "H, W, C"
        raise ValueError(f"input must have shape (N, {inner}) or ({inner}), got shape {tuple(input_shape)}")
    if str(dtype) not in _FLOATS:
        raise TypeError(
            f"input has dtype {dtype}, and a softmax needs floating point numbers; convert it, for example "
            "input.astype('float32')"
        )
    return -3 if data_format == "channels_first" else -1
