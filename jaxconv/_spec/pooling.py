"""What a pool is, in numbers: a call is parsed and checked once, here, into a `PoolSpec`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxconv._spec.arguments import boolean, integer, one_of, parse_output_size, per_axis, remembered
from jaxconv._spec.messages import ints, show
from jaxconv._spec.shapes import (
    DATA_FORMATS,
    Size,
    check_countable,
    extent,
    is_less,
    is_static,
    span,
    spatial_axes,
    split_shape,
    windows,
)

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# What each pool takes. PyTorch averages int64, and truncates the result; it averages no other integers.
_MAX_DTYPES = (*_FLOATS, *_INTEGERS)
_AVG_DTYPES = (*_FLOATS, "complex64", "complex128", "int64")
_ADAPTIVE_DTYPES = (*_FLOATS, "complex64", "complex128")
_INDEX_DTYPES = ("int32", "int64")


@dataclass(frozen=True)
class PoolSpec:
    """The resolved numbers of a pool: along each axis, tap t of window p reads x[p * stride + t * dilation - padding].

    Attributes:
        kernel: number of taps of a window, per spatial axis.
        strides: step between two windows, per spatial axis.
        padding: amount added at both ends, per spatial axis.
        dilations: step between two taps, per spatial axis.
        ceil_mode: whether a window may hang over the padded image at its end.
        data_format: where the channels stand; one of `DATA_FORMATS`.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil_mode: bool = False
    data_format: str = "channels_first"

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The spatial axes, counted from the end: the same with and without a batch."""
        return spatial_axes(self.rank, self.data_format)

    def output_size(self, input_size: Sequence[Size]) -> tuple[Size, ...]:
        """Number of windows per axis: floor(room / stride) + 1, where room is that of the first tap of a window.

        With span = dilation * (kernel - 1) + 1, room = n + 2 * padding - span, and in `ceil_mode` stride - 1 more,
        but at most n + padding - 1, since the last window must start within the image or its low padding. Neither
        bound depends on n, so no comparison with a symbolic size is needed.
        """
        sizes = []
        for n, k, s, p, d in zip(input_size, self.kernel, self.strides, self.padding, self.dilations, strict=True):
            room = 2 * p - span(k, d)
            if self.ceil_mode:
                room = min(room + s - 1, p - 1)
            sizes.append(windows(n + room, s))
        return tuple(sizes)

    def receptive_field(self) -> tuple[int, ...]:
        """How far apart the first and the last position of a window are, both counted."""
        return tuple(span(k, d) for k, d in zip(self.kernel, self.dilations, strict=True))


class Arguments(NamedTuple):
    """The arguments of a pool beside its input, as the user wrote them or `checked`."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: Any = False
    data_format: Any = "channels_first"

    def checked(self, rank: int) -> "Arguments":
        """The same as one entry per spatial axis each; refuses a wrong kind or value."""
        kernel = per_axis("kernel_size", self.kernel_size, rank, 1)
        # As in PyTorch an empty stride is an omitted one.
        omitted = self.stride is None or (isinstance(self.stride, Sequence) and len(self.stride) == 0)
        return Arguments(
            kernel,
            kernel if omitted else per_axis("stride", self.stride, rank, 1),
            per_axis("padding", self.padding, rank, 0),
            per_axis("dilation", self.dilation, rank, 1),
            boolean("ceil_mode", self.ceil_mode),
            one_of("data_format", self.data_format, DATA_FORMATS),
        )


def parse_pool(rank: int, input_shape: tuple[Size, ...], arguments: Arguments) -> PoolSpec:
    """The `PoolSpec` of a call of a pool, from the shape of its input and its arguments.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.
    """
    return _pool_spec(rank, (input_shape,), arguments)


@remembered
def _pool_spec(rank: int, shapes: tuple[tuple[Size, ...]], arguments: Arguments) -> PoolSpec:
    (input_shape,) = shapes
    kernel, strides, padding, dilations, ceil_mode, data_format = arguments
    channels, size = split_shape("input", input_shape, rank, data_format, "pool")
    _check_channels(channels, input_shape, data_format)
    spec = PoolSpec(kernel, strides, padding, dilations, ceil_mode, data_format)
    for axis, (p, k) in enumerate(zip(padding, kernel, strict=True)):
        if 2 * p > k:
            raise ValueError(
                f"padding must be at most half of kernel_size, got padding {padding} and kernel_size {kernel}: on "
                f"spatial axis {axis} at most {k // 2}; pad the input first for more"
            )
    for axis, (n, out) in enumerate(zip(size, spec.output_size(size), strict=True)):
        if not isinstance(n, int):
            continue  # a symbolic size: the program is made for whatever size fits
        k, p, d = kernel[axis], padding[axis], dilations[axis]
        if out < 1:
            raise ValueError(
                f"kernel_size {kernel} with dilation {dilations} spans {span(k, d)} positions on spatial axis "
                f"{axis}, where the padded input has only {n} + 2 * {p} = {n + 2 * p}: there is no window; use a "
                "smaller kernel_size, or a larger input"
            )
    padded = [n + 2 * p + k for n, p, k in zip(size, padding, kernel, strict=True)]  # a window may hang over
    check_countable("the padded input", (*input_shape[: -rank - 1], channels, *padded), "use a smaller kernel_size")
    return spec


def _check_channels(channels: Size, input_shape: Sequence[Size], data_format: str) -> None:
    if isinstance(channels, int) and channels == 0:
        raise ValueError(
            f"input must have at least one channel, got shape {tuple(input_shape)} with "
            f"data_format={data_format!r}; only the batch may have size 0"
        )


def check_whole_kernel(spec: PoolSpec, input_shape: Sequence[Size]) -> None:
    """Refuses a kernel that does not fit into the image without its padding: PyTorch asks this of avg_pool3d alone."""
    for axis, (place, k) in enumerate(zip(spec.spatial_axes, spec.kernel, strict=True)):
        n = input_shape[place]
        if isinstance(n, int) and n < k:
            raise ValueError(
                f"kernel_size {spec.kernel} must fit into the input of avg_pool3d without padding, and on spatial axis "
                f"{axis} the input has only {n} positions for {k}; use a smaller kernel_size, or pad the input first"
            )


def parse_adaptive(rank, input_shape, output_size, data_format, *, channels: bool) -> tuple[int | None, ...]:
    """The output size per axis of an adaptive pool; None where the size is kept.

    With `channels` a batch of images without channels is refused: PyTorch averages it, but finds no maxima.
    """
    one_of("data_format", data_format, DATA_FORMATS)
    valid = f"an int or a tuple of {ints(rank)}" + (", where None keeps a size" if rank > 1 else "")
    if output_size is None or isinstance(output_size, str) or not isinstance(output_size, Sequence):
        try:
            sizes = (integer("output_size", output_size, 0),) * rank
        except TypeError:
            raise TypeError(f"output_size must be {valid}, got {show(output_size)}") from None
    else:
        if len(output_size) != rank:
            raise ValueError(f"output_size must be {valid}, got {show(output_size)}")
        sizes = tuple(
            None if m is None and rank > 1 else integer(f"output_size[{i}]", m, 0) for i, m in enumerate(output_size)
        )
    number, size = split_shape("input", input_shape, rank, data_format, "pool")
    if channels and len(input_shape) == rank + 2:
        _check_channels(number, input_shape, data_format)
    if any(m is not None and m >= 2**31 for m in sizes):
        raise ValueError(f"output_size must be below 2**31 along each axis, got {show(output_size)}")
    pooled = tuple(n if m is None else m for n, m in zip(size, sizes, strict=True))
    check_countable("the result", (*input_shape[: -rank - 1], number, *pooled), "use a smaller output_size")
    return tuple(None if isinstance(n, int) and n == m else m for n, m in zip(size, sizes, strict=True))


def adaptive_window(size: int, output_size: int, place: int) -> range:
    """The positions of a window of an adaptive pool along an axis."""
    return range(place * size // output_size, -(-(place + 1) * size // output_size))


def check_index_room(size: Sequence[Size], dtype: Any) -> None:
    """Refuses a plane whose flat indices `dtype`, the integers that JAX has as it is switched, cannot hold."""
    if str(dtype) == "int32" and is_static(size) and math.prod(size) > 2**31:
        raise ValueError(
            f"return_indices=True needs 64 bits for the indices of planes of shape {tuple(size)}, and JAX has them "
            "switched off; switch them on: jax.config.update('jax_enable_x64', True)"
        )


class Unpooling(NamedTuple):
    """The arguments of an unpooling beside its arrays, as the user wrote them."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    output_size: Any = None
    data_format: Any = "channels_first"


def parse_unpool(
    rank: int, input_shape: tuple[Size, ...], indices_shape: tuple[Size, ...], arguments: Unpooling
) -> tuple[Size, ...]:
    """The size per axis of what a pool's maxima are put back into.

    It is (n - 1) * stride - 2 * padding + kernel_size, or an `output_size` less than a stride away from that.
    """
    kernel = per_axis("kernel_size", arguments.kernel_size, rank, 1, one_for_all=False)
    given = arguments.stride is not None
    strides = per_axis("stride", arguments.stride, rank, 1, one_for_all=False) if given else kernel
    padding = per_axis("padding", arguments.padding, rank, 0, one_for_all=False)
    data_format = one_of("data_format", arguments.data_format, DATA_FORMATS)
    channels, size = split_shape("input", input_shape, rank, data_format, "pool")
    _check_channels(channels, input_shape, data_format)
    if tuple(indices_shape) != tuple(input_shape):
        raise ValueError(
            f"indices must have the shape of input, {tuple(input_shape)}, got {tuple(indices_shape)}; both come from "
            "the same call of a pool with return_indices=True"
        )
    sizes = tuple(extent(n, k, s, 1) - 2 * p for n, k, s, p in zip(size, kernel, strides, padding, strict=True))
    wanted = parse_output_size(arguments.output_size)
    if wanted is not None:
        if len(wanted) == rank + 2:  # a whole shape
            wanted = (*wanted[2:],) if data_format == "channels_first" else (*wanted[1:-1],)
        if len(wanted) != rank:
            raise ValueError(
                f"output_size must hold {ints(rank)}, or {rank + 2} with the batch and the channels, got "
                f"{show(arguments.output_size)}"
            )
        for axis, (n, s, m) in enumerate(zip(sizes, strides, wanted, strict=True)):
            if is_less(m, n - s + 1) or is_less(n + s - 1, m):
                raise ValueError(
                    f"output_size[{axis}] must be from {max(n - s + 1, 0)} to {n + s - 1}, less than a stride away "
                    f"from {n}, got {show(arguments.output_size)}"
                )
        sizes = wanted
    if any(is_less(n, 0) for n in sizes):
        raise ValueError(
            f"the size of the result would be negative, {sizes}, for kernel_size {kernel}, stride {strides} and "
            f"padding {padding}; give those of the pool that the indices come from"
        )
    check_countable("the result", (*input_shape[: -rank - 1], channels, *sizes), "use a smaller stride")
    return sizes


def check_index_dtype(dtype: Any) -> None:
    """Refuses indices that are no positions."""
    if str(dtype) not in _INDEX_DTYPES:
        raise TypeError(
            f"indices has dtype {dtype}, and positions are int64 or int32; take those that a pool with "
            "return_indices=True gives, or convert them by indices.astype('int32')"
        )


def check_positions(least: int, greatest: int, size: Sequence[Size]) -> None:
    """Refuses indices outside of the planes that they should be positions of."""
    positions = math.prod(size)
    if least < 0 or greatest >= positions:
        raise ValueError(
            f"indices must be positions in planes of shape {tuple(size)}, from 0 to {positions - 1}, got "
            f"{least if least < 0 else greatest}; give the kernel_size, stride, padding and output_size of the pool "
            "that they come from"
        )


def parse_norm_type(value: object) -> float:
    """The exponent of a norm: any number but 0 and NaN, infinities too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"norm_type must be a number, got {show(value)}")
    try:
        power = float(value)
    except OverflowError:
        power = math.nan
    if math.isnan(power) or power == 0:
        raise ValueError(
            f"norm_type must be a number other than 0 that a float can hold, got {show(value)}; use 2 for the "
            "root of the sum of squares, float('inf') for the largest magnitude"
        )
    return power


def parse_divisor(value: object) -> int | None:
    """`value` as a divisor_override: None, or any int but zero."""
    number = None if value is None else integer("divisor_override", value)
    if number == 0:
        raise ValueError("divisor_override must not be zero, got 0; use 1 for the sum of each window")
    return number


def check_max_dtype(dtype: Any) -> None:
    """Refuses what has no maximum in PyTorch: complex numbers, and what is no number."""
    _check_pool_dtype(dtype, _MAX_DTYPES, "a maximum needs real numbers", "input.real" if _complex(dtype) else None)


def check_avg_dtype(dtype: Any, *, adaptive: bool = False) -> None:
    """Refuses what has no average in PyTorch: integers (but int64, in windows of one size), and what is no number."""
    _check_pool_dtype(dtype, _ADAPTIVE_DTYPES if adaptive else _AVG_DTYPES, "an average needs floating point numbers")


def check_lp_dtype(dtype: Any) -> None:
    """Refuses what has no norm here: complex numbers, integers, and what is no number."""
    _check_pool_dtype(dtype, _FLOATS, "a norm needs floating point numbers", "abs(input)" if _complex(dtype) else None)


def _complex(dtype: Any) -> bool:
    return str(dtype).startswith("complex")


def _check_pool_dtype(dtype: Any, valid: Sequence[str], needs: str, fix: str | None = None) -> None:
    if str(dtype) not in valid:
        fix = fix or "input.astype('float32')"
        raise TypeError(f"input has dtype {dtype}, and {needs}; convert it, for example {fix}")
