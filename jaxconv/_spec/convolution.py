"""What a convolution is, in numbers: argument parsing, every argument error, shape arithmetic.

This file knows no arrays and imports no JAX. The arguments of a call are parsed and checked once, here, into a
`ConvSpec`; below this point nothing parses, guesses or validates again.
"""

import difflib
import functools
import math
import numbers
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
# A mirror or an edge has no transposed convolution in PyTorch or elsewhere; wrapping around has.
TRANSPOSED_PADDING_MODES = ("zeros", "circular")
DATA_FORMATS = ("channels_first", "channels_last")

# Parsed calls that are remembered; a network has a few hundred distinct ones.
_CACHE_SIZE = 4096

IntOrInts = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], ...]
# A size along an axis: an int, or under `jax.export` a symbolic dimension, which has an int's arithmetic.
Size = Any


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
        first = 2 if self.data_format == "channels_first" else 1
        return tuple(range(first, first + self.rank))

    def output_size(self, input_size: Sequence[Size], kernel_size: Sequence[int]) -> tuple[Size, ...]:
        """Spatial size of y: floor((size + low + high - dilation * (kernel - 1) - 1) / stride) + 1 per axis."""
        return tuple(
            (n + low + high - d * (k - 1) - 1) // s + 1
            for n, (low, high), k, s, d in zip(
                input_size, self.pads, kernel_size, self.strides, self.dilations, strict=True
            )
        )

    def receptive_field(self, kernel_size: Sequence[int]) -> tuple[int, ...]:
        """How far apart the first and the last position are that one position of y depends on, both counted."""
        return tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, self.dilations, strict=True))


# ---------------------------------------------------------------------------------------------------------------
# Single arguments
# ---------------------------------------------------------------------------------------------------------------


def one_of(name: str, value: object, valid: Sequence[str]) -> str:
    """`value`, checked to be one of the strings in `valid`; the error names the nearest of them."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {_listing(valid)}, got {_show(value)}")
    if value not in valid:
        nearest = difflib.get_close_matches(value.lower(), valid, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"{name} must be one of {_listing(valid)}, got {value!r}{hint}")
    return value


def integer(name: str, value: object, minimum: int | None = None) -> int:
    """`value` as an int, at least `minimum`. As in PyTorch neither a bool nor a float counts as an integer."""
    if type(value) is not int:
        try:
            if isinstance(value, bool):
                raise TypeError
            value = operator.index(value)  # type: ignore[arg-type]  # numpy's integers, and whatever else is one
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {_show(value)}") from None
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be {_at_least(minimum)}, got {value}")
    return value


def per_axis(
    name: str, value: object, rank: int, minimum: int | None = None, *, one_for_all: bool = True
) -> tuple[int, ...]:
    """`value` as `rank` ints: an int stands for all axes, and so does a sequence of one unless `one_for_all` is off.

    PyTorch takes a sequence of one for the arguments of a convolution, but not for the size of a kernel.
    """
    if type(value) is int:
        return (integer(name, value, minimum),) * rank
    if isinstance(value, str) or not isinstance(value, Sequence):
        try:
            return (integer(name, value, minimum),) * rank
        except TypeError:
            raise TypeError(f"{name} must be an int or a tuple of {_ints(rank)}, got {_show(value)}") from None
    if len(value) != rank and not (one_for_all and len(value) == 1):
        raise ValueError(f"{name} must be an int or a tuple of {_ints(rank)}, got {_show(value)}")
    numbers = tuple(integer(f"{name}[{i}]", v) for i, v in enumerate(value))
    if minimum is not None and min(numbers) < minimum:
        raise ValueError(f"{name} must be {_at_least(minimum)} along each axis, got {_show(value)}")
    return numbers * rank if len(numbers) == 1 else numbers


def parse_padding(padding: object, rank: int) -> str | tuple[int, ...] | Pads:
    """`padding` in one of three forms: a known name, one int per axis, or one (low, high) pair per axis."""
    if isinstance(padding, str):
        names = ("same", "valid", "causal") if rank == 1 else ("same", "valid")
        if padding == "causal" and rank != 1:
            raise ValueError(
                "padding='causal' is for conv1d, where one axis is time; give (low, high) pairs, such as "
                f"padding={((2, 0),) + ((1, 1),) * (rank - 1)}, to pad one axis at its start only"
            )
        return one_of("padding", padding, names)
    if isinstance(padding, Sequence) and any(isinstance(p, Sequence) for p in padding):
        if len(padding) != rank or not all(
            isinstance(p, Sequence) and not isinstance(p, str) and len(p) == 2 for p in padding
        ):
            raise ValueError(
                f"padding as (low, high) pairs needs one pair for each of the {_axes(rank)}, got {_show(padding)}"
            )
        pairs = ((integer("padding", low), integer("padding", high)) for low, high in padding)
        return tuple(pairs)
    try:
        return per_axis("padding", padding, rank)
    except TypeError:
        raise TypeError(
            f"padding must be an int, a tuple of {_ints(rank)}, (low, high) pairs, 'same' or 'valid', "
            f"got {_show(padding)}"
        ) from None


def check_same(
    strides: Sequence[int], kernel: Sequence[int], dilations: Sequence[int], size: Sequence[Size] | None = None
) -> None:
    """Refuses 'same' with a stride, as PyTorch does, and says what TensorFlow's SAME would pad instead.

    TensorFlow makes ceil(size / stride) outputs and puts the odd element of the padding at the end. Where the size
    of the image is not known yet, the pads named are those of an image whose size the stride divides.
    """
    if all(s == 1 for s in strides):
        return
    sizes = strides if size is None or any(not isinstance(n, int) for n in size) else size
    totals = [
        max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    pads = tuple((total // 2, total - total // 2) for total in totals)
    where = f"an image of size {tuple(sizes)}" if sizes is size else "an image whose size the stride divides"
    raise ValueError(
        f"padding='same' needs stride 1, got stride {tuple(strides)}: PyTorch does not define it. "
        f"TensorFlow's SAME would be padding={pads} for {where}"
    )


def resolve_pads(padding: str | tuple[int, ...] | Pads, kernel: Sequence[int], dilations: Sequence[int]) -> Pads:
    """The (low, high) pads of a parsed `padding`; 'same' puts its odd element at the end, as PyTorch does."""
    if isinstance(padding, str):
        reach = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
        if padding == "same":
            return tuple((r // 2, r - r // 2) for r in reach)
        if padding == "causal":
            return tuple((r, 0) for r in reach)
        return ((0, 0),) * len(reach)
    return tuple((p, p) if isinstance(p, int) else p for p in padding)


def check_pads(mode: str, pads: Pads, size: Sequence[Size] | None = None, name: str = "padding_mode") -> None:
    """Refuses amounts of padding that the mode, or the image where its size is given, cannot supply."""
    if mode == "zeros":
        if any(p < 0 for pair in pads for p in pair):
            raise ValueError(
                f"padding must not be negative, got {pads}; crop the input instead, for example input[..., 1:-1]"
            )
        return
    if size is None:
        return
    for axis, (n, pair) in enumerate(zip(size, pads, strict=True)):
        if not isinstance(n, int):
            continue  # a symbolic size: the program is made for whatever size fits
        # Circular padding crops before it wraps, so it is the cropped image that has to supply it.
        supply = n + min(pair[0], 0) + min(pair[1], 0) if mode == "circular" else n
        limit = {"reflect": supply - 1, "circular": supply, "symmetric": supply, "replicate": math.inf}[mode]
        if max(pair) > limit:
            least = n + max(pair) - limit
            raise ValueError(
                f"{name}={mode!r} can pad at most {limit} where the image has size {n}, got padding {pair} "
                f"on spatial axis {axis}; use less padding, or an image of at least {least} there"
            )


# ---------------------------------------------------------------------------------------------------------------
# Whole calls
# ---------------------------------------------------------------------------------------------------------------


def check_dtypes(**dtypes: Any) -> None:
    """Refuses arrays of different dtypes, and of dtypes that convolution is not defined for."""
    (first, dtype), *rest = ((name, d) for name, d in dtypes.items() if d is not None)
    if getattr(dtype, "kind", "") not in tuple("iufcV"):  # V: the extended floats, bfloat16 among them
        raise TypeError(
            f"{first} has dtype {dtype}, and a convolution needs numbers; convert it, for example "
            f"{first}.astype('float32')"
        )
    for name, other in rest:
        if other != dtype:
            raise TypeError(
                f"{name} has dtype {other} where {first} has {dtype}; a convolution does not mix dtypes: convert "
                f"one, for example {name}.astype({str(dtype)!r})"
            )


def is_static(*shapes: Sequence[Size] | None) -> bool:
    """Whether all sizes are numbers; under `jax.export` some may be symbolic dimensions."""
    return all(type(n) is int for shape in shapes if shape is not None for n in shape)


def _remembered(parse: Callable) -> Callable:
    """`parse`, which begins with (rank, shape), with its results remembered.

    Symbolic sizes are left out: they cannot be compared with those of another program, as looking one up would.
    """
    cached = functools.lru_cache(_CACHE_SIZE)(parse)

    @functools.wraps(parse)
    def call(rank: int, shape: tuple, *arguments):
        return (cached if is_static(shape) else parse)(rank, shape, *arguments)

    return call


def parse_conv(rank, input_shape, weight_shape, bias_shape, stride, padding, dilation, groups, mode, data_format):
    """The `ConvSpec` of a call of conv{rank}d, from its arguments and the shapes of its arrays.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument or a shape that cannot be; the message names it, its value and a remedy.
    """
    # Made into tuples of ints here, since to the cache below 1, 1.0 and True are one key.
    return _conv_spec(
        rank,
        input_shape,
        weight_shape,
        bias_shape,
        per_axis("stride", stride, rank, 1),
        parse_padding(padding, rank),
        per_axis("dilation", dilation, rank, 1),
        integer("groups", groups, 1),
        one_of("padding_mode", mode, PADDING_MODES),
        one_of("data_format", data_format, DATA_FORMATS),
    )


@_remembered
def _conv_spec(
    rank, input_shape, weight_shape, bias_shape, strides, padding, dilations, groups, mode, data_format
) -> ConvSpec:
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
    return spec


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
    inner = (w_shape[0], *size) if spec.data_format == "channels_first" else (*size, w_shape[0])
    expected = (*x_shape[: -spec.rank - 1], *inner)
    if tuple(y_shape) != expected:
        raise ValueError(
            f"grad_output must have the shape of the output, {expected} for an input of shape {tuple(x_shape)} and a "
            f"weight of shape {tuple(w_shape)}, got shape {tuple(y_shape)}"
        )


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


def parse_conv_transpose(
    rank,
    input_shape,
    weight_shape,
    bias_shape,
    stride,
    padding,
    output_padding,
    groups,
    dilation,
    output_size,
    mode,
    data_format,
) -> TransposedSpec:
    """What a call of conv_transpose{rank}d asks for, from its arguments and the shapes of its arrays.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument or a shape that cannot be; the message names it, its value and a remedy.
    """
    return _transposed_spec(
        rank,
        input_shape,
        weight_shape,
        bias_shape,
        per_axis("stride", stride, rank, 1),
        parse_transposed_padding(padding, rank),
        per_axis("output_padding", output_padding, rank, 0),
        integer("groups", groups, 1),
        per_axis("dilation", dilation, rank, 1),
        parse_output_size(output_size),
        one_of("padding_mode", mode, TRANSPOSED_PADDING_MODES),
        one_of("data_format", data_format, DATA_FORMATS),
    )


def parse_output_size(output_size: object) -> tuple[Size, ...] | None:
    """`output_size` as a tuple."""
    if output_size is None:
        return None
    if isinstance(output_size, str) or not isinstance(output_size, Sequence):
        raise TypeError(f"output_size must be a tuple of ints, got {_show(output_size)}")
    return tuple(n if _is_symbolic(n) else integer("output_size", n) for n in output_size)


def parse_transposed_padding(padding: object, rank: int) -> tuple[int, ...] | Pads:
    """`padding` of a transposed convolution, which has no 'same'."""
    if isinstance(padding, str):
        raise TypeError(
            f"padding of a transposed convolution must be an int or a tuple of {_ints(rank)}, got {padding!r}; "
            "the size of the result is chosen by output_size"
        )
    parsed = parse_padding(padding, rank)
    assert not isinstance(parsed, str)
    return parsed


@_remembered
def _transposed_spec(
    rank,
    input_shape,
    weight_shape,
    bias_shape,
    strides,
    padding,
    output_padding,
    groups,
    dilations,
    output_size,
    mode,
    data_format,
) -> TransposedSpec:
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
    sheet = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
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
    if any(_is_less(n, low) or _is_less(high, n) for n, low, high in zip(wanted, least, most, strict=True)):
        raise ValueError(f"output_size must lie between {least} and {most} for this input, got {tuple(wanted)}")
    return tuple(n - low for n, low in zip(wanted, least, strict=True))


def _is_symbolic(n: object) -> bool:
    """Whether `n` is a symbolic dimension: no int, but with the arithmetic of one."""
    return hasattr(n, "__floordiv__") and not isinstance(n, numbers.Number) and not hasattr(n, "__index__")


def _is_less(a: Size, b: Size) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a < b


def split_shape(
    name: str, shape: Sequence[Size], rank: int, data_format: str, of: str = "convolution"
) -> tuple[Size, tuple[Size, ...]]:
    """The channels and the spatial sizes of a shape, batched or not; refuses another rank or an empty image."""
    if len(shape) not in (rank + 1, rank + 2):
        spatial = ("L", "H, W", "D, H, W")[rank - 1]
        inner = f"C, {spatial}" if data_format == "channels_first" else f"{spatial}, C"
        raise ValueError(
            f"{name} of a {rank}-D {of} must have shape (N, {inner}) or ({inner}), got shape {tuple(shape)}"
        )
    tail = tuple(shape[-rank - 1 :])
    channels, size = (tail[0], tail[1:]) if data_format == "channels_first" else (tail[-1], tail[:-1])
    if any(isinstance(n, int) and n == 0 for n in size):
        raise ValueError(
            f"{name} must not be empty along a spatial axis, got shape {tuple(shape)} with "
            f"data_format={data_format!r}; only the batch may have size 0"
        )
    return channels, size


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
            divisors = [g for g in range(1, number + 1) if number % g == 0]
            nearest = min(divisors, key=lambda g: abs(g - groups))
            raise ValueError(
                f"groups must divide {name}, got groups={groups} and {name}={number}; {nearest} would divide it"
            )


def check_bias(shape: Sequence[int] | None, out_channels: int) -> None:
    """Refuses a bias that is not one number per output channel."""
    if shape is not None and tuple(shape) != (out_channels,):
        raise ValueError(
            f"bias must have shape ({out_channels},), one number per output channel, got shape {tuple(shape)}"
        )


def check_fit(spec: ConvSpec, size: Sequence[Size], kernel: Sequence[int]) -> None:
    """Refuses a kernel that does not fit into the padded image."""
    for axis, (n, (low, high), k, d) in enumerate(zip(size, spec.pads, kernel, spec.dilations, strict=True)):
        span = d * (k - 1) + 1
        if isinstance(n, int) and n + low + high < span:
            raise ValueError(
                f"kernel_size {tuple(kernel)} with dilation {spec.dilations} spans {span} positions on spatial axis "
                f"{axis}, where the padded input has only {n} + {low} + {high} = {n + low + high}; use a smaller "
                "kernel or dilation, or more padding"
            )


# ---------------------------------------------------------------------------------------------------------------
# Patches and padding
# ---------------------------------------------------------------------------------------------------------------

# `pad` has PyTorch's names for its modes.
PAD_MODES = ("constant", "reflect", "replicate", "circular", "symmetric")


def parse_shape(name: str, shape: object) -> tuple[Size, ...]:
    """A shape given as an argument."""
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TypeError(f"{name} must be a tuple of ints, got {_show(shape)}")
    return tuple(n if _is_symbolic(n) else integer(f"{name}[{i}]", n, 0) for i, n in enumerate(shape))


def axis(name: str, value: object, ndim: int) -> int:
    """The number of an axis, which may be counted from the end."""
    number = integer(name, value)
    if not -ndim <= number < ndim:
        raise ValueError(f"{name} must be an axis of the input, from {-ndim} to {ndim - 1}, got {number}")
    return number % ndim


def parse_unfold(shape, dtype, kernel_size, dilation, padding, stride) -> tuple[ConvSpec, tuple[int, ...]]:
    """The convolution whose patches `unfold` takes, and the size of a patch."""
    spec, kernel = _patches(dtype, kernel_size, dilation, padding, stride)
    channels, size = split_shape("input", shape, 2, "channels_first")
    if channels == 0:
        raise ValueError(f"input must have channels, got shape {tuple(shape)}; only the batch may have size 0")
    check_fit(spec, size, kernel)
    return spec, kernel


def parse_fold(shape, dtype, output_size, kernel_size, dilation, padding, stride):
    """The convolution whose patches `fold` adds up, the size of its images, and the size of a patch."""
    spec, kernel = _patches(dtype, kernel_size, dilation, padding, stride)
    size: tuple[Size, ...]
    if isinstance(output_size, Sequence) and any(_is_symbolic(n) for n in output_size):
        size = parse_shape("output_size", output_size)
    else:
        size = per_axis("output_size", output_size, 2, 1, one_for_all=False)
    check_fit(spec, size, kernel)
    rows, columns = spec.output_size(size, kernel)
    if len(shape) not in (2, 3) or shape[-2] == 0 or shape[-2] % math.prod(kernel) or shape[-1] != rows * columns:
        raise ValueError(
            f"input must have shape (N, C * {math.prod(kernel)}, {rows * columns}) or without N, for patches of "
            f"{kernel[0]} x {kernel[1]} positions at {rows} x {columns} places, got shape {tuple(shape)}"
        )
    return spec, size, kernel


def _patches(dtype, kernel_size, dilation, padding, stride) -> tuple[ConvSpec, tuple[int, ...]]:
    if dtype.kind in "iu":
        raise TypeError(f"input must be of floats or complex numbers, got {dtype}; use input.astype('float32')")
    kernel = per_axis("kernel_size", kernel_size, 2, 1, one_for_all=False)
    dilations = per_axis("dilation", dilation, 2, 1, one_for_all=False)
    pads = tuple((p, p) for p in per_axis("padding", padding, 2, 0, one_for_all=False))
    return ConvSpec(per_axis("stride", stride, 2, 1, one_for_all=False), pads, dilations), kernel


def parse_pad(shape, dtype, pad, mode, value) -> tuple[Pads, str]:
    """The (low, high) amounts of all axes that a call of `pad` asks for, and the padding mode."""
    one_of("mode", mode, PAD_MODES)
    if isinstance(pad, str) or not isinstance(pad, Sequence):
        raise TypeError(f"pad must be a tuple of ints, the last axis first, got {_show(pad)}")
    amounts = [integer(f"pad[{i}]", p) for i, p in enumerate(pad)]
    axes = len(amounts) // 2
    if len(amounts) % 2 or axes > len(shape):
        raise ValueError(
            f"pad must hold a (low, high) pair for each of at most {len(shape)} axes, the last axis first, "
            f"got {len(amounts)} numbers"
        )
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    widths = ((0, 0),) * (len(shape) - axes) + tuple(pairs)
    if mode == "constant":
        if isinstance(value, complex) and dtype.kind != "c":
            raise TypeError(f"value must be real where input has dtype {dtype}, got {value!r}")
        _check_value(value, dtype)
        for axis, (n, (low, high)) in enumerate(zip(shape, widths, strict=True)):
            if isinstance(n, int) and min(n + low, n + high, n + low + high, n + min(low, 0) + min(high, 0)) < 0:
                raise ValueError(f"pad crops more than there is: {(low, high)} of axis {axis}, which has size {n}")
        return widths, "zeros"
    if value:
        raise ValueError(f"value is for mode='constant', got value={value!r} with mode={mode!r}; leave it out")
    _check_pad_mode(shape, dtype, axes, mode)
    check_pads(mode, tuple(pairs), shape[len(shape) - axes :], "mode")
    # As in PyTorch an axis may be cropped to nothing, but not all of them, unless the padding is circular.
    results = [n + sum(pair) for n, pair in zip(shape, widths, strict=True)]
    nothing = mode != "circular" and all(isinstance(n, int) and n <= 0 for n in results[len(shape) - axes :])
    for axis, (n, (low, high), result) in enumerate(zip(shape, widths, results, strict=True)):
        if isinstance(result, int) and (result < 0 or (result == 0 and nothing and axis >= len(shape) - axes)):
            raise ValueError(f"pad leaves nothing of axis {axis}: {(low, high)} of size {n}; crop less")
    return widths, mode


def _check_value(value, dtype) -> None:
    """Refuses a number that `dtype` cannot hold, as PyTorch does, rather than to fill with another one."""
    if value is not None and not isinstance(value, numbers.Number) and getattr(value, "shape", None) != ():
        raise TypeError(f"value must be a number, got {_show(value)}")
    if not isinstance(value, numbers.Real) or dtype.kind == "b":
        return
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize - (dtype.kind == "i")
        least, most = (-(2**bits) if dtype.kind == "i" else 0), 2**bits - 1
        fits = least <= value <= most  # type: ignore[operator]  # a Real has an order
    else:
        most = _LARGEST.get(str(dtype), math.inf)
        least, fits = -most, abs(value) <= most or value in (math.inf, -math.inf) or value != value
    if not fits:
        raise ValueError(f"value must be between {least} and {most} where input has dtype {dtype}, got {value!r}")


_LARGEST = {
    "float16": 65504.0,
    "bfloat16": (2 - 2**-7) * 2.0**127,
    "float32": (2 - 2**-23) * 2.0**127,
    "complex64": (2 - 2**-23) * 2.0**127,
    "float64": (2 - 2**-52) * 2.0**1023,
    "complex128": (2 - 2**-52) * 2.0**1023,
}


def _check_pad_mode(shape, dtype, axes: int, mode: str) -> None:
    """PyTorch's other modes are for images: 1 to 3 spatial axes after the channels, with or without a batch."""
    if not 1 <= axes <= 3 or len(shape) - axes not in (1, 2):
        raise ValueError(
            f"mode={mode!r} pads 1 to 3 axes of an array that has one or two more, got {axes} padded axes of an input "
            f"of shape {tuple(shape)}; add or remove axes by input.reshape"
        )
    rest = shape[len(shape) - axes - 1 :] if mode != "circular" else shape[len(shape) - axes :]
    if any(isinstance(n, int) and n == 0 for n in rest):
        raise ValueError(f"input must not be empty where mode={mode!r} reads it, got shape {tuple(shape)}")
    if dtype.kind == "b" and mode != "circular":
        raise TypeError(f"mode={mode!r} needs numbers, got dtype {dtype}; use input.astype('uint8')")


# ---------------------------------------------------------------------------------------------------------------
# Words for messages
# ---------------------------------------------------------------------------------------------------------------


def _show(value: object) -> str:
    """`value` and its type in a message, cut where it is long."""
    text = repr(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return f"{text} of type {type(value).__name__}"


def _listing(names: Iterable[str]) -> str:
    return ", ".join(repr(n) for n in names)


def _at_least(minimum: int) -> str:
    return {0: "zero or positive", 1: "positive"}.get(minimum, f"at least {minimum}")


def _ints(rank: int) -> str:
    return f"{rank} int" + "s" * (rank > 1)


def _axes(rank: int) -> str:
    return "spatial axis" if rank == 1 else f"{rank} spatial axes"


# ---------------------------------------------------------------------------------------------------------------
# Pooling
# ---------------------------------------------------------------------------------------------------------------

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
        return pool_axes(self.rank, self.data_format)

    def output_size(self, input_size: Sequence[Size]) -> tuple[Size, ...]:
        """Number of windows per axis: floor(room / stride) + 1, where room is that of the first tap of a window.

        With span = dilation * (kernel - 1) + 1, room = n + 2 * padding - span, and in `ceil_mode` stride - 1 more,
        but at most n + padding - 1, since the last window must start within the image or its low padding. Neither
        bound depends on n, so no comparison with a symbolic size is needed.
        """
        sizes = []
        for n, k, s, p, d in zip(input_size, self.kernel, self.strides, self.padding, self.dilations, strict=True):
            room = 2 * p - (d * (k - 1) + 1)
            if self.ceil_mode:
                room = min(room + s - 1, p - 1)
            sizes.append((n + room) // s + 1)
        return tuple(sizes)

    def receptive_field(self) -> tuple[int, ...]:
        """How far apart the first and the last position of a window are, both counted."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def pool_axes(rank: int, data_format: str) -> tuple[int, ...]:
    """The spatial axes of an image, counted from the end."""
    return tuple(range(-rank, 0)) if data_format == "channels_first" else tuple(range(-rank - 1, -1))


def parse_pool(
    rank, input_shape, kernel_size, stride, padding, dilation, ceil_mode, data_format, *, whole_kernel=False
) -> PoolSpec:
    """The `PoolSpec` of a call of a pool, from its arguments and the shape of its input.

    With `whole_kernel` the kernel must fit into the image without its padding: PyTorch asks this of avg_pool3d alone.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument or a shape that cannot be; the message names it, its value and a remedy.
    """
    kernel = per_axis("kernel_size", kernel_size, rank, 1)
    # As in PyTorch an empty stride is an omitted one.
    omitted = stride is None or (isinstance(stride, Sequence) and len(stride) == 0)
    return _pool_spec(
        rank,
        input_shape,
        kernel,
        kernel if omitted else per_axis("stride", stride, rank, 1),
        per_axis("padding", padding, rank, 0),
        per_axis("dilation", dilation, rank, 1),
        flag("ceil_mode", ceil_mode),
        one_of("data_format", data_format, DATA_FORMATS),
        whole_kernel,
    )


@_remembered
def _pool_spec(
    rank, input_shape, kernel, strides, padding, dilations, ceil_mode, data_format, whole_kernel
) -> PoolSpec:
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
        span = d * (k - 1) + 1
        if out < 1:
            raise ValueError(
                f"kernel_size {kernel} with dilation {dilations} spans {span} positions on spatial axis {axis}, where "
                f"the padded input has only {n} + 2 * {p} = {n + 2 * p}: there is no window; use a smaller "
                "kernel_size, or a larger input"
            )
        if whole_kernel and n < k:
            raise ValueError(
                f"kernel_size {kernel} must fit into the input of avg_pool3d without padding, and on spatial axis "
                f"{axis} the input has only {n} positions for {k}; use a smaller kernel_size, or pad the input first"
            )
    return spec


def parse_adaptive(rank, input_shape, output_size, data_format) -> tuple[int | None, ...]:
    """The output size per axis of an adaptive pool; None where the size is kept.

    An axis of symbolic size can be kept or pooled to 1: other windows are made for a size in numbers.
    """
    one_of("data_format", data_format, DATA_FORMATS)
    valid = f"an int or a tuple of {_ints(rank)}" + (", where None keeps a size" if rank > 1 else "")
    if output_size is None or isinstance(output_size, str) or not isinstance(output_size, Sequence):
        try:
            sizes = (integer("output_size", output_size, 0),) * rank
        except TypeError:
            raise TypeError(f"output_size must be {valid}, got {_show(output_size)}") from None
    else:
        if len(output_size) != rank:
            raise ValueError(f"output_size must be {valid}, got {_show(output_size)}")
        sizes = tuple(
            None if m is None and rank > 1 else integer(f"output_size[{i}]", m, 0) for i, m in enumerate(output_size)
        )
    _, size = split_shape("input", input_shape, rank, data_format, "pool")
    for axis, (n, m) in enumerate(zip(size, sizes, strict=True)):
        if not isinstance(n, int) and m not in (None, 1):
            raise ValueError(
                f"output_size {_show(output_size)} needs a size in numbers on spatial axis {axis}, where the input has "
                f"the symbolic size {n}; only 1 and None work there"
            )
    return tuple(None if isinstance(n, int) and n == m else m for n, m in zip(size, sizes, strict=True))


def adaptive_window(size: int, output_size: int, place: int) -> range:
    """The positions of a window of an adaptive pool along an axis."""
    return range(place * size // output_size, -(-(place + 1) * size // output_size))


def flag(name: str, value: object) -> bool:
    """`value`, checked to be True or False, as PyTorch does."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {_show(value)}")
    return value


def divisor(value: object) -> int | None:
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


def _check_pool_dtype(dtype: Any, valid: Sequence[str], needs: str, remedy: str | None = None) -> None:
    if str(dtype) not in valid:
        remedy = remedy or "input.astype('float32')"
        raise TypeError(f"input has dtype {dtype}, and {needs}; convert it, for example {remedy}")
