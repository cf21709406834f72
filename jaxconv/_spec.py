"""What a convolution is, in numbers: argument parsing, every argument error, shape arithmetic.

This file knows no arrays and imports no JAX. The arguments of a call are parsed and checked once, here, into a
`ConvSpec`; below this point nothing parses, guesses or validates again.
"""

import difflib
import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
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


def per_axis(name: str, value: object, rank: int, minimum: int | None = None) -> tuple[int, ...]:
    """`value` as `rank` ints: an int or a sequence of one stands for all axes, as in PyTorch."""
    if type(value) is int:
        return (integer(name, value, minimum),) * rank
    if isinstance(value, str) or not isinstance(value, Sequence):
        try:
            return (integer(name, value, minimum),) * rank
        except TypeError:
            raise TypeError(f"{name} must be an int or a tuple of {_ints(rank)}, got {_show(value)}") from None
    if len(value) not in (1, rank):
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


def check_pads(mode: str, pads: Pads, size: Sequence[Size] | None = None) -> None:
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
            least = max(pair) + 1 if mode == "reflect" else max(pair)
            raise ValueError(
                f"padding_mode={mode!r} can pad at most {limit} where the image has size {n}, got padding {pair} "
                f"on spatial axis {axis}; use an image of at least {least} there, or padding_mode='replicate'"
            )


# ---------------------------------------------------------------------------------------------------------------
# Whole calls
# ---------------------------------------------------------------------------------------------------------------


def check_dtypes(**dtypes: Any) -> None:
    """Refuses arrays of different dtypes, and of dtypes that convolution is not defined for."""
    (first, dtype), *rest = ((name, d) for name, d in dtypes.items() if d is not None)
    if dtype.kind not in "iufcV" or dtype.names:  # V: the extended floats, bfloat16 among them
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


def _uncached_where_symbolic(function: Callable) -> Callable:
    """Remembers the results of `function`, except of calls with symbolic sizes, which have no order to hash by."""
    cached = functools.lru_cache(_CACHE_SIZE)(function)

    @functools.wraps(function)
    def call(rank: int, input_shape: tuple, *arguments):
        if all(type(n) is int for n in input_shape):
            return cached(rank, input_shape, *arguments)
        return function(rank, input_shape, *arguments)

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


@_uncached_where_symbolic
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


def split_shape(name: str, shape: Sequence[Size], rank: int, data_format: str) -> tuple[Size, tuple[Size, ...]]:
    """The channels and the spatial sizes of a shape, batched or not; refuses another rank or an empty image."""
    if len(shape) not in (rank + 1, rank + 2):
        spatial = ("L", "H, W", "D, H, W")[rank - 1]
        inner = f"C, {spatial}" if data_format == "channels_first" else f"{spatial}, C"
        raise ValueError(
            f"{name} of a {rank}-D convolution must have shape (N, {inner}) or ({inner}), got shape {tuple(shape)}"
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
