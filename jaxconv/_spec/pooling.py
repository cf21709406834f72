"""What a pool is, in numbers: a call is parsed and checked once, here, into a `PoolSpec`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxconv._spec.arguments import boolean, integer, one_of, per_axis, remembered
from jaxconv._spec.messages import ints, show
from jaxconv._spec.shapes import DATA_FORMATS, Size, check_countable, span, spatial_axes, split_shape, windows

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# What each pool takes. PyTorch averages int64, and truncates the result; it averages no other integers.
_MAX_DTYPES = (*_FLOATS, *_INTEGERS)
_AVG_DTYPES = (*_FLOATS, "complex64", "complex128", "int64")
_ADAPTIVE_DTYPES = (*_FLOATS, "complex64", "complex128")


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
    if isinstance(channels, int) and channels == 0:
        raise ValueError(
            f"input must have at least one channel, got shape {tuple(input_shape)} with "
            f"data_format={data_format!r}; only the batch may have size 0"
        )
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


def check_whole_kernel(spec: PoolSpec, input_shape: Sequence[Size]) -> None:
    """Refuses a kernel that does not fit into the image without its padding: PyTorch asks this of avg_pool3d alone."""
    for axis, (place, k) in enumerate(zip(spec.spatial_axes, spec.kernel, strict=True)):
        n = input_shape[place]
        if isinstance(n, int) and n < k:
            raise ValueError(
                f"kernel_size {spec.kernel} must fit into the input of avg_pool3d without padding, and on spatial axis "
                f"{axis} the input has only {n} positions for {k}; use a smaller kernel_size, or pad the input first"
            )


def parse_adaptive(rank, input_shape, output_size, data_format) -> tuple[int | None, ...]:
    """The output size per axis of an adaptive pool; None where the size is kept."""
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
    channels, size = split_shape("input", input_shape, rank, data_format, "pool")
    if any(m is not None and m >= 2**31 for m in sizes):
        raise ValueError(f"output_size must be below 2**31 along each axis, got {show(output_size)}")
    pooled = tuple(n if m is None else m for n, m in zip(size, sizes, strict=True))
    check_countable("the result", (*input_shape[: -rank - 1], channels, *pooled), "use a smaller output_size")
    return tuple(None if isinstance(n, int) and n == m else m for n, m in zip(size, sizes, strict=True))


def adaptive_window(size: int, output_size: int, place: int) -> range:
    """The positions of a window of an adaptive pool along an axis."""
    return range(place * size // output_size, -(-(place + 1) * size // output_size))


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


def _complex(dtype: Any) -> bool:
    return str(dtype).startswith("complex")


def _check_pool_dtype(dtype: Any, valid: Sequence[str], needs: str, fix: str | None = None) -> None:
    if str(dtype) not in valid:
        fix = fix or "input.astype('float32')"
        raise TypeError(f"input has dtype {dtype}, and {needs}; convert it, for example {fix}")
