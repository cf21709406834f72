"""What a resampling is, in numbers: a call is parsed and checked once, here, into a spec."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from jaxconv._spec.arguments import boolean, integer, one_of, parse_shape
from jaxconv._spec.messages import axes, ints, listing, short, show
from jaxconv._spec.shapes import (
    DATA_FORMATS,
    Size,
    check_countable,
    image_shape,
    is_static,
    is_symbolic,
    split_shape,
)

_FLOATS = ("float16", "bfloat16", "float32", "float64")
# The filter of each mode, and the numbers of spatial axes that PyTorch has it for.
_MODES = {
    "nearest": ("nearest", (1, 2, 3)),
    "nearest-exact": ("nearest-exact", (1, 2, 3)),
    "linear": ("linear", (1,)),
    "bilinear": ("linear", (2,)),
    "trilinear": ("linear", (3,)),
    "bicubic": ("cubic", (2,)),
    "lanczos": ("lanczos", (2,)),
    "area": ("area", (1, 2, 3)),
}
_WITHOUT_CORNERS = ("nearest", "nearest-exact", "area")
_ANTIALIASED = ("bilinear", "bicubic", "lanczos")
# What XLA counts places in, on some platforms, are ints of 32 bits.
_PLACES = 2**31
# Up to this sum of height and width PyTorch's CPU finds nearest neighbours by another rule: see `AxisSpec.small_image`.
_SMALL_IMAGE = 128


@dataclass(frozen=True)
class AxisSpec:
    """The resolved numbers of a resampling along one axis.

    Attributes:
        size: positions of the input.
        output_size: positions of the output.
        filter: "nearest", "nearest-exact", "linear", "cubic" or "lanczos".
        factor: the scale factor, where it decides about the coordinates; None where the two sizes do.
        align_corners: whether the first and the last positions of both lie upon each other, rather than their edges.
        antialias: whether the filter is as wide as a step of the output.
        small_image: whether nearest neighbours are those of a small image of two axes. PyTorch's CPU has two rules,
            which differ where a factor leaves the size as it is or doubles it without being 1 or 2, and by rounding.
    """

    size: Size
    output_size: Size
    filter: str
    factor: float | None = None
    align_corners: bool = False
    antialias: bool = False
    small_image: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether nothing is to be done, by a rule that does not look at the coordinates."""
        same = is_static((self.size, self.output_size)) and self.size == self.output_size
        return same and (self.filter == "linear" or self.antialias or self.factor is None)


@dataclass(frozen=True)
class InterpolateSpec:
    """A call of `interpolate`: its mode, and each spatial axis.

    Attributes:
        mode: as the user wrote it.
        axes: the spatial axes.
        data_format: where the channels stand; one of `DATA_FORMATS`.
    """

    mode: str
    axes: tuple[AxisSpec, ...]
    data_format: str

    @property
    def output_size(self) -> tuple[Size, ...]:
        """The spatial size of the result."""
        return tuple(axis.output_size for axis in self.axes)


class InterpolateArguments(NamedTuple):
    """The arguments of `interpolate` beside its input, as the user wrote them."""

    size: Any = None
    scale_factor: Any = None
    mode: Any = "nearest"
    align_corners: Any = None
    recompute_scale_factor: Any = None
    antialias: Any = False
    data_format: Any = "channels_first"


def parse_interpolate(shape: tuple[Size, ...], dtype: Any, arguments: InterpolateArguments) -> InterpolateSpec:
    """The `InterpolateSpec` of a call, from the shape and the dtype of its input and its arguments.

    Raises:
        TypeError: an argument of a wrong kind, or a dtype that is not resampled.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.
    """
    mode = one_of("mode", arguments.mode, tuple(_MODES))
    data_format = one_of("data_format", arguments.data_format, DATA_FORMATS)
    antialias = boolean("antialias", arguments.antialias)
    corners = _parse_corners(mode, arguments.align_corners, antialias)
    rank = len(shape) - 2
    if rank not in (1, 2, 3):
        raise ValueError(
            "input must have shape (N, C, L), (N, C, H, W) or (N, C, D, H, W), or with the channels last, got shape "
            f"{tuple(shape)}; give a single image a batch of one, by input[None]"
        )
    name, ranks = _MODES[mode]
    if rank not in ranks:
        valid = [m for m, (_, r) in _MODES.items() if rank in r]
        raise ValueError(
            f"mode {mode!r} is for {axes(ranks[0])}, and input of shape {tuple(shape)} has {rank}; use one of "
            f"{listing(valid)}"
        )
    if antialias and mode not in _ANTIALIASED:
        raise ValueError(f"antialias=True is for mode {listing(_ANTIALIASED)} alone, got mode {mode!r}; leave it out")
    _check_dtype(dtype, mode, rank)
    channels, size = split_shape("input", shape, rank, data_format, "interpolation")
    if isinstance(channels, int) and channels == 0 and mode != "area":
        raise ValueError(
            f"input must have at least one channel, got shape {tuple(shape)} with data_format={data_format!r}; only "
            "the batch may have size 0"
        )
    output_size, factors = _parse_sizes(size, arguments)
    least = 0 if mode == "area" else 1
    if any(isinstance(m, int) and m < least for m in output_size):
        given, value = ("size", arguments.size) if factors is None else ("scale_factor", arguments.scale_factor)
        raise ValueError(
            f"{given} must leave at least one position along each axis, got {short(value)} for an input of size "
            f"{size}: the result would have size {output_size}; use a larger {given}"
        )
    if any(isinstance(m, int) and m >= _PLACES for m in (*size, *output_size)):
        raise ValueError(
            f"images must have fewer than 2**31 positions along each axis, got {size} for a result of {output_size}"
        )
    if mode == "area" and not is_static(output_size):
        raise ValueError(f"mode 'area' needs the size of the result in numbers, got {output_size}; give size as ints")
    result = image_shape(shape[:1], channels, output_size, data_format)
    check_countable("the result", result, "use a smaller size or scale_factor")
    if factors is None or mode == "area" or _recomputes(arguments):
        factors = (None,) * rank
    small = rank == 2 and is_static(output_size) and sum(output_size) <= _SMALL_IMAGE
    parsed = tuple(
        AxisSpec(n, m, name, factor, corners, antialias, small and name.startswith("nearest"))
        for n, m, factor in zip(size, output_size, factors, strict=True)
    )
    if (antialias or str(dtype) == "uint8") and any(not is_static((a.size, a.output_size)) for a in parsed):
        why = "antialias=True" if antialias else f"mode {mode!r} of uint8"
        raise ValueError(f"{why} needs the sizes of its images in numbers, got {size} and {output_size}; give ints")
    return InterpolateSpec(mode, parsed, data_format)


def _parse_corners(mode: str, align_corners: object, antialias: bool) -> bool:
    """align_corners, which only some modes have."""
    if align_corners is None:
        corners = False
    elif mode in _WITHOUT_CORNERS:
        raise ValueError(
            f"align_corners must be None with mode {mode!r}, got {show(align_corners)}; leave it out: only the linear "
            "and cubic modes have corners to align"
        )
    else:
        corners = boolean("align_corners", align_corners)
    if mode == "lanczos" and (corners or not antialias):
        raise ValueError(
            "mode 'lanczos' must have antialias=True and not align_corners=True, got "
            f"antialias={antialias}, align_corners={align_corners}"
        )
    return corners


def _check_dtype(dtype: Any, mode: str, rank: int) -> None:
    of_bytes = mode.startswith("nearest") or (rank == 2 and mode != "area")
    if str(dtype) not in _FLOATS and not (of_bytes and str(dtype) == "uint8"):
        also = " or bytes" if of_bytes else ""
        raise TypeError(
            f"input has dtype {dtype}, and mode {mode!r} needs floating point numbers{also}; convert it, for example "
            "input.astype('float32')"
        )


def _recomputes(arguments: InterpolateArguments) -> bool:
    return arguments.recompute_scale_factor is not None and boolean(
        "recompute_scale_factor", arguments.recompute_scale_factor
    )


def _parse_sizes(
    size: tuple[Size, ...], arguments: InterpolateArguments
) -> tuple[tuple[Size, ...], tuple[float, ...] | None]:
    """The size of the result, and the scale factors where they are given."""
    rank = len(size)
    if (arguments.size is None) == (arguments.scale_factor is None):
        given = "neither" if arguments.size is None else f"{short(arguments.size)} and {short(arguments.scale_factor)}"
        raise ValueError(f"give either size or scale_factor, got {given}; for example size={(7,) * rank}")
    if arguments.size is not None:
        if _recomputes(arguments):
            raise ValueError("recompute_scale_factor=True has no meaning beside size; leave it out")
        return _parse_size(arguments.size, rank), None
    factors = parse_factors(arguments.scale_factor)
    factors = factors if isinstance(factors, tuple) else (factors,) * rank
    if len(factors) != rank:
        raise ValueError(
            f"scale_factor must be a number or a tuple of {rank} for {axes(rank)}, got {show(arguments.scale_factor)}"
        )
    return tuple(_scaled(n, factor) for n, factor in zip(size, factors, strict=True)), factors


def _parse_size(value: object, rank: int) -> tuple[Size, ...]:
    if not isinstance(value, tuple | list):
        value = (value,) * rank
    if len(value) != rank:
        raise ValueError(f"size must be an int or a tuple of {ints(rank)}, got {show(value)} for {axes(rank)}")
    return tuple(m if is_symbolic(m) else integer(f"size[{i}]", m) for i, m in enumerate(value))


def parse_factors(value: object) -> Any:
    """A scale factor as a float, several as a tuple of floats, none as None."""
    if isinstance(value, tuple | list):
        return tuple(_parse_factor(f"scale_factor[{i}]", factor) for i, factor in enumerate(value))
    return None if value is None else _parse_factor("scale_factor", value)


def _parse_factor(name: str, value: object) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {show(value)}")
    try:
        factor = float(value)
    except OverflowError:
        factor = math.inf
    if not 0 < factor < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {short(value)}; use 0.5 to halve an axis")
    return factor


def _scaled(n: Size, factor: float) -> Size:
    """floor(n * factor), which for a number is rounded as PyTorch rounds it."""
    if isinstance(n, int):
        return int(min(n * factor, 2.0**63))
    ratio = Fraction(factor)
    if ratio.denominator > 64 or ratio.numerator >= 2**31:
        raise ValueError(
            f"scale_factor must be a fraction of small numbers, such as 2 or 0.5, where an axis has the symbolic size "
            f"{n}, got {factor}; give size instead"
        )
    return n * ratio.numerator // ratio.denominator


# --- a grid of places ------------------------------------------------------------------------------------------

_SAMPLES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


class SampleSpec(NamedTuple):
    """How `grid_sample` reads an image between and beyond its positions."""

    mode: str
    padding_mode: str
    align_corners: bool


def parse_grid_sample(shape, dtype, grid_shape, grid_dtype, mode, padding_mode, align_corners) -> SampleSpec:
    """The `SampleSpec` of a call of `grid_sample`.

    Raises:
        TypeError: an argument of a wrong kind, a dtype without fractions, or two dtypes.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.
    """
    spec = SampleSpec(
        one_of("mode", mode, _SAMPLES), one_of("padding_mode", padding_mode, _PADDINGS), _corners(align_corners)
    )
    rank = len(shape) - 2
    if rank not in (2, 3):
        raise ValueError(f"input must have shape (N, C, H, W) or (N, C, D, H, W), got shape {tuple(shape)}")
    inner = ("H', W'", "D', H', W'")[rank - 2]
    if len(grid_shape) != rank + 2 or grid_shape[-1] != rank:
        raise ValueError(
            f"grid must have shape (N, {inner}, {rank}) for an input of {axes(rank)}, got shape {tuple(grid_shape)}"
        )
    if is_static((shape[0], grid_shape[0])) and shape[0] != grid_shape[0]:
        raise ValueError(
            f"grid must have the batch size of input, {shape[0]}, got shape {tuple(grid_shape)}; repeat one of them, "
            "for example by jnp.broadcast_to"
        )
    split_shape("input", shape, rank, "channels_first", "sampling")
    if is_static(shape) and math.prod(shape[2:]) >= _PLACES:
        raise ValueError(f"images must have fewer than 2**31 positions, got input of shape {tuple(shape)}; cut it up")
    if spec.mode == "bicubic" and rank == 3:
        raise ValueError(f"mode 'bicubic' is for 2 spatial axes, got input of shape {tuple(shape)}; use 'bilinear'")
    if str(dtype) not in _FLOATS:
        raise TypeError(f"input has dtype {dtype}, and sampling needs floats; use input.astype('float32')")
    if dtype != grid_dtype:
        raise TypeError(
            f"grid has dtype {grid_dtype} where input has {dtype}; convert one, for example grid.astype({str(dtype)!r})"
        )
    return spec


def _corners(align_corners: object) -> bool:
    return align_corners is not None and boolean("align_corners", align_corners)


def parse_affine_grid(shape, dtype, size, align_corners) -> tuple[tuple[Size, ...], bool]:
    """The spatial size of a call of `affine_grid`, and align_corners.

    Raises:
        TypeError: an argument of a wrong kind, or a dtype without fractions.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.
    """
    corners = _corners(align_corners)
    if str(dtype) not in _FLOATS:
        raise TypeError(f"theta has dtype {dtype}, and a grid needs floats; use theta.astype('float32')")
    images = parse_shape("size", size)
    rank = len(images) - 2
    if rank not in (2, 3):
        raise ValueError(f"size must be (N, C, H, W) or (N, C, D, H, W), got {show(size)}")
    if any(isinstance(n, int) and n < 1 for n in images):
        raise ValueError(f"size must be positive along each axis, got {show(size)}")
    if len(shape) != 3 or tuple(shape[1:]) != (rank, rank + 1):
        raise ValueError(
            f"theta must have shape (N, {rank}, {rank + 1}) for images of {axes(rank)}, got shape {tuple(shape)}"
        )
    if is_static((shape[0], images[0])) and shape[0] != images[0]:
        raise ValueError(f"size must have the batch size of theta, {shape[0]}, got {show(size)}")
    check_countable("the result", (images[0], *images[2:], rank), "use a smaller size")
    return images[2:], corners


# --- shuffles --------------------------------------------------------------------------------------------------


def parse_pixel_shuffle(name: str, factor: object, shape: Sequence[Size], data_format: object) -> tuple[int, str]:
    """The factor and the data format of `pixel_shuffle`, whose factor is `name`, or of `pixel_unshuffle`.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.
    """
    data_format = one_of("data_format", data_format, DATA_FORMATS)
    r = integer(name, factor, 1)
    if len(shape) < 3:
        raise ValueError(f"input must have three axes or more, (*, C, H, W), got shape {tuple(shape)}")
    first = data_format == "channels_first"
    channels, height, width = shape[-3:] if first else (shape[-1], *shape[-3:-1])
    up = name == "upscale_factor"
    for size, by, what in ((channels, r * r, "channels"),) if up else ((height, r, "rows"), (width, r, "columns")):
        if isinstance(size, int) and size % by:
            square = f" squared, {short(by)}" if up else ""
            raise ValueError(
                f"the number of {what} must be divisible by {name}{square}, got {name}={short(r)} and input of shape "
                f"{tuple(shape)}, which has {size} {what} with data_format={data_format!r}"
            )
    grown = (channels, height * r, width * r) if up else (channels * r * r, height, width)
    check_countable("the result", (*shape[:-3], *grown), f"use a smaller {name}")
    return r, data_format


def parse_channel_shuffle(groups: object, shape: Sequence[Size], data_format: object) -> tuple[int, int]:
    """The number of groups of `channel_shuffle`, and the axis of the channels.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.
    """
    data_format = one_of("data_format", data_format, DATA_FORMATS)
    number = integer("groups", groups, 1)
    if len(shape) < 3:
        raise ValueError(f"input must have three axes or more, (N, C, *), got shape {tuple(shape)}")
    axis = 1 if data_format == "channels_first" else len(shape) - 1
    channels = shape[axis]
    if isinstance(channels, int) and channels % number:
        raise ValueError(
            f"groups must divide the number of channels, got groups={short(number)} and an input of shape "
            f"{tuple(shape)}, which has {channels} with data_format={data_format!r}"
        )
    return number, axis
