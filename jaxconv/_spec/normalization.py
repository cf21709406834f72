"""What a normalisation asks of its arrays: shapes, dtypes, and enough values for a variance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxconv._spec.arguments import integer, number, one_of, parse_shape
from jaxconv._spec.messages import show
from jaxconv._spec.shapes import DATA_FORMATS, Size, is_static

_HALF = ("float16", "bfloat16")
_FLOATS = (*_HALF, "float32", "float64")
_COMPLEX = ("complex64", "complex128")


class Array(NamedTuple):
    """What is checked of an array."""

    shape: tuple[Size, ...]
    dtype: Any


def channel_axis(data_format: object) -> int:
    """The axis of the channels of a batch."""
    return 1 if one_of("data_format", data_format, DATA_FORMATS) == "channels_first" else -1


def check_batch_norm(
    input: Array,
    statistics: Mapping[str, Array | None],
    parameters: Mapping[str, Array | None],
    training: bool,
    eps: float,
    axis: int,
    devices: int,
) -> None:
    """Refuses arrays that batch norm cannot take.

    Args:
        input: the images.
        statistics: `running_mean` and `running_var`, which may be None.
        parameters: `weight` and `bias`, likewise.
        training: whether the statistics are those of the input.
        eps: what is added to the variance.
        axis: the axis of the channels.
        devices: over how many parts of the batch, of this size each, the statistics are taken.
    """
    _check_dtype("a batch norm", input.dtype, _FLOATS)
    _check_axes("a batch norm", input.shape, 2)
    if eps < 0 or (training and eps == 0):
        least = "positive" if training else "zero or positive"
        raise ValueError(f"eps of a batch norm must be {least} with training={training}, got {eps}")
    _check_statistics(statistics, needed=None if training else "training=False")
    _check_parameter_dtypes("a batch norm", input.dtype, {**statistics, **parameters})
    _check_per_channel(input.shape, axis, {**statistics, **parameters})
    channels = axis % len(input.shape)
    _check_several(input.shape, [n for a, n in enumerate(input.shape) if a != channels], training, devices)


def check_instance_norm(
    input: Array,
    statistics: Mapping[str, Array | None],
    parameters: Mapping[str, Array | None],
    use_input_stats: bool,
    axis: int,
) -> None:
    """Refuses arrays that instance norm cannot take; the arguments are those of `check_batch_norm`."""
    _check_dtype("an instance norm", input.dtype, _FLOATS)
    _check_axes("an instance norm", input.shape, 2)
    _check_statistics(statistics, needed=None if use_input_stats else "use_input_stats=False")
    for name, array in statistics.items():
        if array is not None:
            _check_dtype("an instance norm", array.dtype, _FLOATS, name)
    _check_parameter_dtypes("an instance norm", input.dtype, parameters)
    _check_per_channel(input.shape, axis, {**statistics, **parameters})
    size = input.shape[2:] if axis == 1 else input.shape[1:-1]
    if use_input_stats and is_static(size) and math.prod(size) == 1:
        raise ValueError(
            f"input of an instance norm must have more than one position for the statistics of a channel, got shape "
            f"{tuple(input.shape)}; normalise over the batch (batch_norm), or with running statistics "
            "(use_input_stats=False)"
        )


def check_group_norm(input: Array, num_groups: object, parameters: Mapping[str, Array | None], axis: int) -> int:
    """`num_groups` as an int; refuses arrays that group norm cannot take."""
    _check_dtype("a group norm", input.dtype, _FLOATS)
    _check_axes("a group norm", input.shape, 2)
    groups = integer("num_groups", num_groups, 1)
    channels = input.shape[axis]
    check_groups(groups, "input", channels)
    _check_parameter_dtypes("a group norm", input.dtype, parameters)
    _check_per_channel(input.shape, axis, parameters)
    # PyTorch counts the values of all groups of a number together: two images of one value each are let through.
    spatial = input.shape[2:] if axis == 1 else input.shape[1:-1]
    if is_static(input.shape) and input.shape[0] * channels // groups * math.prod(spatial) == 1:
        raise ValueError(
            f"input must have more than one value per group, got shape {tuple(input.shape)} and num_groups={groups}; "
            "use fewer groups, or a larger input"
        )
    return groups


def check_groups(groups: int, name: str, channels: Size) -> None:
    """Refuses a number of groups that does not divide the channels."""
    if isinstance(channels, int) and channels % groups:
        fits = math.gcd(channels, groups)
        what = "the channels of the input" if name == "input" else name
        raise ValueError(
            f"num_groups must divide {what}, got num_groups={groups} and {channels} channels; {fits} would divide them"
        )


def check_layer_norm(
    input: Array, normalized_shape: object, parameters: Mapping[str, Array | None], *, rms: bool = False
) -> tuple[int, ...]:
    """The axes that layer norm, or `rms` norm, normalises over, counted from the end; refuses what it cannot take."""
    of = "an RMS norm" if rms else "a layer norm"
    _check_dtype(of, input.dtype, (*_FLOATS, *_COMPLEX) if rms else _FLOATS)
    shape = parse_normalized_shape(normalized_shape)
    if tuple(input.shape[max(len(input.shape) - len(shape), 0) :]) != shape:
        raise ValueError(
            f"normalized_shape must be that of the last axes of the input, got {shape} for an input of shape "
            f"{tuple(input.shape)}"
        )
    if rms:
        # PyTorch converts a weight of another dtype.
        valid = (*_FLOATS, *_COMPLEX) if str(input.dtype) in _COMPLEX else _FLOATS
        for name, array in parameters.items():
            if array is not None:
                _check_dtype(of, array.dtype, valid, name)
    else:
        _check_parameter_dtypes(of, input.dtype, parameters)
    for name, array in parameters.items():
        if array is not None and tuple(array.shape) != shape:
            raise ValueError(f"{name} must have the shape of normalized_shape, {shape}, got shape {tuple(array.shape)}")
    return tuple(range(-len(shape), 0))


def parse_normalized_shape(normalized_shape: Any) -> tuple[Size, ...]:
    """`normalized_shape` as a tuple: an int stands for the last axis alone."""
    if isinstance(normalized_shape, str) or not isinstance(normalized_shape, Sequence):
        try:
            return (integer("normalized_shape", normalized_shape, 0),)
        except TypeError:
            words = f"normalized_shape must be an int or a tuple of ints, got {show(normalized_shape)}"
            raise TypeError(words) from None
    if len(normalized_shape) == 0:
        raise ValueError(f"normalized_shape must have at least one entry, got {show(normalized_shape)}")
    return parse_shape("normalized_shape", normalized_shape)


def check_response_norm(input: Array, size: object) -> int:
    """`size` as an int; refuses an input that local response norm cannot take."""
    _check_dtype("a local response norm", input.dtype, _FLOATS)
    _check_axes("a local response norm", input.shape, 3)
    return integer("size", size, 1)


def parse_axis_name(value: Any) -> tuple[str, ...]:
    """`axis_name` as the names of mapped axes, none where it is None."""
    names = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"axis_name must be the name of a mapped axis, a tuple of several, or None, got {show(value)}")
    return tuple(names)


def parse_momentum(momentum: Any) -> float | None:
    """`momentum` as a float; None where it is an array that may be known only when the program runs."""
    if hasattr(momentum, "dtype") and getattr(momentum, "shape", None) == ():
        if str(momentum.dtype) not in _FLOATS:
            raise TypeError(f"momentum must be a float, got an array of dtype {momentum.dtype}")
        return None
    return number("momentum", momentum)


def check_layer_input(shape: Sequence[Size], rank: int, data_format: str, of: str, missing: str) -> None:
    """Refuses an input of a layer of images that has another number of axes.

    Args:
        shape: that of the input.
        rank: the number of spatial axes.
        data_format: where the channels stand.
        of: what the layer is called.
        missing: what axis the input may come without: "L", "N", or none.
    """
    spatial = ("L", "H, W", "D, H, W")[rank - 1]
    inner = f"C, {spatial}" if data_format == "channels_first" else f"{spatial}, C"
    ranks = (rank + 1, rank + 2) if missing else (rank + 2,)
    if len(shape) not in ranks:
        other = {"L": " or (N, C)", "N": f" or ({inner})", "": ""}[missing]
        raise ValueError(f"input of {of} must have shape (N, {inner}){other}, got shape {tuple(shape)}")


def check_num_features(channels: Size, num_features: int, affine: bool) -> str | None:
    """Refuses an input of an instance norm of another number of channels; what is wrong where PyTorch only warns."""
    if not isinstance(channels, int) or channels == num_features:
        return None
    words = f"input must have num_features={num_features} channels, got {channels}"
    if affine:
        raise ValueError(f"{words}; make the layer with num_features={channels}")
    return f"{words}; with affine=False the layer takes any number"


def _check_dtype(of: str, dtype: Any, valid: Sequence[str], name: str = "input") -> None:
    if str(dtype) not in valid:
        kind = "floating point or complex" if "complex64" in valid else "real floating point"
        fix = f"{name}.real" if str(dtype) in _COMPLEX else f"{name}.astype('float32')"
        raise TypeError(f"{name} has dtype {dtype}, and {of} needs {kind} numbers; convert it, for example {fix}")


def _check_parameter_dtypes(of: str, dtype: Any, arrays: Mapping[str, Array | None]) -> None:
    """Refuses parameters of another dtype than the input's; those of 16-bit floats may all be of float32."""
    given = {name: str(array.dtype) for name, array in arrays.items() if array is not None}
    valid = (str(dtype), "float32") if str(dtype) in _HALF else (str(dtype),)
    for name, of_array in given.items():
        first = next(iter(given))
        if of_array not in valid:
            raise TypeError(
                f"{name} has dtype {of_array} where input has {dtype}; {of} does not mix these: convert one, for "
                f"example {name}.astype({valid[-1]!r})"
            )
        if of_array != given[first]:
            raise TypeError(
                f"{name} has dtype {of_array} where {first} has {given[first]}; {of} takes them in one dtype: convert "
                f"one, for example {name}.astype({given[first]!r})"
            )


def _check_axes(of: str, shape: Sequence[Size], least: int) -> None:
    if len(shape) < least:
        raise ValueError(
            f"input of {of} must have {least} axes or more, for the batch, the channels and the rest, got shape "
            f"{tuple(shape)}; a single image needs an axis for the batch: input[None]"
        )


def _check_statistics(statistics: Mapping[str, Array | None], needed: str | None) -> None:
    missing = [name for name, array in statistics.items() if array is None]
    if needed and missing:
        raise ValueError(f"{needed} needs running_mean and running_var, got None for {' and '.join(missing)}")
    if len(missing) == 1:
        raise ValueError(f"running_mean and running_var must be given together, got None for {missing[0]}")


def _check_per_channel(shape: Sequence[Size], axis: int, arrays: Mapping[str, Array | None]) -> None:
    for name, array in arrays.items():
        if array is not None and tuple(array.shape) != (shape[axis],):
            raise ValueError(
                f"{name} must have shape ({shape[axis]},), a number for each channel of the input of shape "
                f"{tuple(shape)}, got shape {tuple(array.shape)}"
            )


def _check_several(shape: Sequence[Size], counted: Sequence[Size], training: bool, devices: int) -> None:
    if training and is_static(counted) and math.prod(counted) * devices == 1:
        raise ValueError(
            f"input must have more than one value per channel with training=True, got shape {tuple(shape)}; use a "
            "larger batch, or running statistics (training=False)"
        )
