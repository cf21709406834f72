"""What a convolution is, in numbers: a call is parsed and checked once, here, into a `ConvSpec`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxconv._spec.arguments import integer, one_of, parse_output_size, per_axis, remembered
from jaxconv._spec.padding import (
    PADDING_MODES,
    TRANSPOSED_PADDING_MODES,
    Pads,
    check_pads,
    check_same,
    padded_size,
    parse_padding,
    parse_transposed_padding,
    resolve_pads,
)
from jaxconv._spec.shapes import (
    DATA_FORMATS,
    Size,
    check_countable,
    extent,
    image_shape,
    is_less,
    span,
    spatial_axes,
    split_shape,
    windows,
)


@dataclass(frozen=True)
class ConvSpec:
    """The resolved numbers that fix the form T(x, w, y) = <y, conv(x, w)>.

    With spatial positions p of the output and taps t of the kernel, along each axis,

        conv(x, w)[n, o, p] = sum over c, t of  pad(x)[n, c, p * stride + t * dilation] * w[o, c, t]

    where c runs over the input channels of the group that output channel o belongs to, and pad(x) has `pads` more
    positions, low and high, filled in the way of `padding_mode` (a negative amount crops).

    Attributes:
        strides: step between two output positions, per spatial axis.
        pads: (low, high) amounts, per spatial axis.
        dilations: step between two taps of the kernel, per spatial axis.
        groups: number of blocks that the channels are divided into.
        padding_mode: what fills the padding; one of `PADDING_MODES`.
        data_format: where the channels of x and y stand; one of `DATA_FORMATS`.
    """

    strides: tuple[int, ...]
    pads: Pads
    dilations: tuple[int, ...]
    groups: int = 1
    padding_mode: str = "zeros"
    data_format: str = "channels_first"

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.strides)

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in a batched array."""
        return 1 if self.data_format == "channels_first" else self.rank + 1

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The spatial axes of a batched array."""
        return tuple(a + self.rank + 2 for a in spatial_axes(self.rank, self.data_format))

    def size_of(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """The spatial sizes of the shape of a batched array."""
        return tuple(shape[a] for a in self.spatial_axes)

    def image_shape(self, batch: Size, channels: Size, size: Sequence[Size]) -> tuple[Size, ...]:
        """The shape of a batch of images."""
        return image_shape((batch,), channels, size, self.data_format)

    def output_size(self, input_size: Sequence[Size], kernel_size: Sequence[int]) -> tuple[Size, ...]:
        """Spatial size of y: floor((size + low + high - dilation * (kernel - 1) - 1) / stride) + 1 per axis."""
        return tuple(
            windows(n + low + high - span(k, d), s)
            for n, (low, high), k, s, d in zip(
                input_size, self.pads, kernel_size, self.strides, self.dilations, strict=True
            )
        )

    def receptive_field(self, kernel_size: Sequence[int]) -> tuple[int, ...]:
        """How far apart the first and the last position are that one position of y depends on, both counted."""
        return tuple(span(k, d) for k, d in zip(kernel_size, self.dilations, strict=True))


@dataclass(frozen=True)
class TransposedSpec:
    """A transposed convolution: the op `input` of the convolution `spec`, for images of `size`.

    Attributes:
        spec: the convolution that it is the transpose of.
        size: spatial size of the result.
        extension: how many zeros follow its argument along each spatial axis; not 0 only where a circular result
            has more output_padding than padding and so room for another step of the convolution.
    """

    spec: ConvSpec
    size: tuple[Size, ...]
    extension: tuple[int, ...]

    def receptive_field(self, kernel_size: Sequence[int]) -> tuple[int, ...]:
        """How far apart the first and the last input position are that one position of the result depends on at most.

        Position q of the result takes tap t from input position (q + low - t * dilation) / stride, where that is
        whole. With g = gcd(stride, dilation), such taps are stride / g apart, and their inputs dilation / g.
        """
        fields = []
        for k, s, d in zip(kernel_size, self.spec.strides, self.spec.dilations, strict=True):
            g = math.gcd(s, d)
            taps = -(-k // (s // g))
            fields.append((taps - 1) * (d // g) + 1)
        return tuple(fields)


class Shapes(NamedTuple):
    """The shapes of the arrays of a call; None for a bias that is not there."""

    input: tuple[Size, ...]
    weight: tuple[int, ...]
    bias: tuple[int, ...] | None = None


class Arguments(NamedTuple):
    """The arguments of a convolution beside its arrays, as the user wrote them or `checked`."""

    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: Any = 1
    padding_mode: Any = "zeros"
    data_format: Any = "channels_first"

    def checked(self, rank: int) -> "Arguments":
        """The same as one entry per spatial axis each; refuses a wrong kind or value.

        They are hashable and, unlike 1, 1.0 and True, equal only where they mean the same.
        """
        return Arguments(
            per_axis("stride", self.stride, rank, 1),
            parse_padding(self.padding, rank),
            per_axis("dilation", self.dilation, rank, 1),
            integer("groups", self.groups, 1),
            one_of("padding_mode", self.padding_mode, PADDING_MODES),
            one_of("data_format", self.data_format, DATA_FORMATS),
        )


class TransposedArguments(NamedTuple):
    """The arguments of a transposed convolution beside its arrays, as the user wrote them or `checked`."""

    stride: Any = 1
    padding: Any = 0
    output_padding: Any = 0
    groups: Any = 1
    dilation: Any = 1
    output_size: Any = None
    padding_mode: Any = "zeros"
    data_format: Any = "channels_first"

    def checked(self, rank: int) -> "TransposedArguments":
        """As `Arguments.checked`."""
        return TransposedArguments(
            per_axis("stride", self.stride, rank, 1),
            parse_transposed_padding(self.padding, rank),
            per_axis("output_padding", self.output_padding, rank, 0),
            integer("groups", self.groups, 1),
            per_axis("dilation", self.dilation, rank, 1),
            parse_output_size(self.output_size),
            one_of("padding_mode", self.padding_mode, TRANSPOSED_PADDING_MODES),
            one_of("data_format", self.data_format, DATA_FORMATS),
        )


@remembered
def parse_conv(rank: int, shapes: Shapes, arguments: Arguments) -> ConvSpec:
    """What a call of conv{rank}d asks for.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.
    """
    input_shape, weight_shape, bias_shape = shapes
    strides, padding, dilations, groups, mode, data_format = arguments
    channels, size = split_shape("input", input_shape, rank, data_format)
    out_channels, per_group, *kernel = check_weight(weight_shape, rank)
    check_groups(groups, out_channels=out_channels)
    if channels != per_group * groups:
        raise ValueError(
            f"input has {channels} channels, and a weight of shape {weight_shape} with groups={groups} needs "
            f"{per_group} * {groups} = {per_group * groups}; got input of shape {input_shape} with "
            f"data_format={data_format!r}"
        )
    check_bias(bias_shape, out_channels)
    if padding == "same":
        check_same(strides, kernel, dilations, size)
    spec = ConvSpec(strides, resolve_pads(padding, kernel, dilations), dilations, groups, mode, data_format)
    check_pads(mode, spec.pads, size)
    check_fit(spec, size, kernel)
    batch = input_shape[: -rank - 1]
    check_countable("input", input_shape, "use a smaller one")
    check_countable("the padded input", image_shape(batch, channels, padded_size(size, spec.pads), data_format), LESS)
    outputs = image_shape(batch, out_channels, spec.output_size(size, kernel), data_format)
    check_countable("the result", outputs, LESS)
    return spec


# What to do where an array is too large, of a convolution and of a transposed one.
LESS = "use less padding"
SMALLER = "use a smaller stride or dilation"


def multiply_accumulates(weight_shape: Sequence[int], size: Sequence[Size]) -> Size:
    """How many multiply-accumulates one image takes, for any of the three ops: the number of terms of T(x, w, y).

    T sums one product for each element of w at each spatial position of y. Those that meet padding are counted.

    Args:
        weight_shape: the shape of w.
        size: spatial size of y: a convolution's output, a transposed convolution's input.
    """
    return math.prod(weight_shape) * math.prod(size)


def check_grad_output(spec: ConvSpec, x_shape, w_shape, y_shape) -> None:
    """Refuses a `grad_output` that is not of the shape of the convolution's output."""
    _, size = split_shape("input", x_shape, spec.rank, spec.data_format)
    size = spec.output_size(size, w_shape[2:])
    expected = image_shape(x_shape[: -spec.rank - 1], w_shape[0], size, spec.data_format)
    if tuple(y_shape) != expected:
        raise ValueError(
            f"grad_output must have the shape of the output, {expected} for an input of shape {tuple(x_shape)} and a "
            f"weight of shape {tuple(w_shape)}, got shape {tuple(y_shape)}"
        )


@remembered
def parse_conv_transpose(rank: int, shapes: Shapes, arguments: TransposedArguments) -> TransposedSpec:
    """What a call of conv_transpose{rank}d asks for; errors as of `parse_conv`."""
    input_shape, weight_shape, bias_shape = shapes
    strides, padding, output_padding, groups, dilations, output_size, mode, data_format = arguments
    channels, size = split_shape("input", input_shape, rank, data_format)
    in_channels, per_group, *kernel = check_weight(weight_shape, rank, "in_channels, out_channels / groups")
    check_groups(groups, in_channels=in_channels)
    if channels != in_channels:
        raise ValueError(
            f"input has {channels} channels, and a transposed weight of shape {weight_shape} needs {in_channels}; got "
            f"input of shape {input_shape} with data_format={data_format!r}"
        )
    check_bias(bias_shape, per_group * groups)
    pads = resolve_pads(padding, kernel, dilations)
    if any(p < 0 for pair in pads for p in pair):
        raise ValueError(f"padding must not be negative, got {pads}; a larger result is asked for by output_padding")

    # Each input position stamps its dilated kernel onto a sheet of this size; padding cuts the sheet at its ends.
    sheet = [extent(n, k, s, d) for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
    least = tuple(n - low - high for n, (low, high) in zip(sheet, pads, strict=True))
    if output_size is not None:
        batch_axes = len(input_shape) - rank
        output_padding = _output_padding(output_size, least, strides, batch_axes, data_format)
    else:
        check_output_padding(output_padding, strides, dilations)
    result = tuple(n + p for n, p in zip(least, output_padding, strict=True))
    if any(isinstance(n, int) and n < 1 for n in result):
        raise ValueError(
            f"padding {pads} leaves an output of size {result} of the {tuple(sheet)} positions that an input of size "
            f"{size} and a kernel of size {tuple(kernel)} make; use less padding"
        )

    batch, channels = input_shape[: -rank - 1], per_group * groups
    for what, sizes in (("the result", result), ("the result with what is cut off it", sheet)):
        check_countable(what, image_shape(batch, channels, sizes, data_format), SMALLER)

    # The convolution whose transpose this is has pads (low, high - output_padding): with them an image of the size
    # of the result gives just as many positions as the input has. The high pad may be negative. A circular one may
    # not, since a crop would change what is wrapped around: there the convolution may have positions to spare, and
    # the input is extended to them by zeros.
    ends = [high - p for (_, high), p in zip(pads, output_padding, strict=True)]
    if mode == "circular":
        ends = [max(end, 0) for end in ends]
    spec = ConvSpec(
        strides,
        tuple((low, end) for (low, _), end in zip(pads, ends, strict=True)),
        dilations,
        groups,
        mode,
        data_format,
    )
    if mode == "circular":
        check_pads(mode, spec.pads, result)
    full = spec.output_size(result, kernel)
    extension = tuple(f - n if mode == "circular" else 0 for f, n in zip(full, size, strict=True))
    return TransposedSpec(spec, result, extension)


def check_output_padding(output_padding, strides, dilations) -> None:
    """Refuses an output_padding with room for another step of the convolution."""
    if any(p >= max(s, d) for p, s, d in zip(output_padding, strides, dilations, strict=True)):
        raise ValueError(
            f"output_padding must be smaller than stride or dilation along each axis, got {output_padding} with "
            f"stride {strides} and dilation {dilations}"
        )


def _output_padding(output_size, least, strides, batch_axes: int, data_format: str) -> tuple[Size, ...]:
    """The output_padding that gives `output_size`, the sizes of the result along the spatial or along all axes."""
    rank = len(least)
    wanted = output_size
    if len(wanted) == rank + batch_axes:
        wanted = wanted[batch_axes:] if data_format == "channels_first" else wanted[batch_axes - 1 : -1]
    if len(wanted) != rank:
        raise ValueError(
            f"output_size must have {rank} entries, one per spatial axis, or {rank + batch_axes}, one per axis of the "
            f"input, got {output_size}"
        )
    most = tuple(n + s - 1 for n, s in zip(least, strides, strict=True))
    if any(is_less(n, low) or is_less(high, n) for n, low, high in zip(wanted, least, most, strict=True)):
        raise ValueError(f"output_size must lie between {least} and {most} for this input, got {tuple(wanted)}")
    return tuple(n - low for n, low in zip(wanted, least, strict=True))


def check_weight(shape: Sequence[int], rank: int, layout: str = "out_channels, in_channels / groups") -> Sequence[int]:
    """`shape`, checked to be that of a weight."""
    if len(shape) != rank + 2:
        raise ValueError(
            f"weight of a {rank}-D convolution must have {rank + 2} axes, ({layout}, *kernel_size), "
            f"got shape {tuple(shape)}"
        )
    if 0 in shape:
        raise ValueError(
            f"weight must not be empty, got shape {tuple(shape)}: channels and kernel_size must be at least 1"
        )
    return shape


def check_groups(groups: int, **channels: int) -> None:
    """Refuses groups that do not divide the channels, which are given by name."""
    for name, number in channels.items():
        if number % groups:
            raise ValueError(
                f"groups must divide {name}, got groups={groups} and {name}={number}; {_divisor_near(number, groups)} "
                "would divide it"
            )


# How far from the groups that were given a divisor is looked for, so that a refusal takes no time whatever the numbers.
_DIVISORS_SEARCHED = 10_000


def _divisor_near(number: int, groups: int) -> int:
    """The divisor of `number` that is nearest to `groups`, the smaller of two; 1 where there is none nearby."""
    if groups > number:
        return number
    for distance in range(1, _DIVISORS_SEARCHED):
        for candidate in (groups - distance, groups + distance):
            if candidate >= 1 and number % candidate == 0:
                return candidate
    return 1


def check_bias(shape: Sequence[int] | None, out_channels: int) -> None:
    """Refuses a bias that is not one number per output channel."""
    if shape is not None and tuple(shape) != (out_channels,):
        raise ValueError(
            f"bias must have shape ({out_channels},), one number per output channel, got shape {tuple(shape)}"
        )


def check_fit(spec: ConvSpec, size: Sequence[Size], kernel: Sequence[int]) -> None:
    """Refuses a kernel that does not fit into the padded image."""
    for axis, (n, (low, high), k, d) in enumerate(zip(size, spec.pads, kernel, spec.dilations, strict=True)):
        if isinstance(n, int) and n + low + high < span(k, d):
            raise ValueError(
                f"kernel_size {tuple(kernel)} with dilation {spec.dilations} spans {span(k, d)} positions on spatial "
                f"axis {axis}, where the padded input has only {n} + {low} + {high} = {n + low + high}; use a smaller "
                "kernel or dilation, or more padding"
            )
