"""Padding: its arguments, its modes and what they can supply."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

from jaxconv._spec.arguments import integer, one_of, per_axis
from jaxconv._spec.messages import axes, ints, short, show
from jaxconv._spec.shapes import Size, check_countable, extent, span

PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
# A mirror or an edge has no transposed convolution in PyTorch or elsewhere; wrapping around has.
TRANSPOSED_PADDING_MODES = ("zeros", "circular")
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], ...]


def filler(mode: str, beyond: Any, size: Size, *, at_start: bool) -> Any:
    """The index map of the padding modes: which position of the image a position of its padding repeats.

    Args:
        mode: a padding mode other than `"zeros"`.
        beyond: how far outside the image the position lies: 0 beside its border, 1 after that, and so on; a number, or
            an array of them.
        size: positions of the image along the axis.
        at_start: whether it lies before the image or after it.
    """
    if mode == "circular":  # -1 is the last position, n the first
        return size - 1 - beyond if at_start else beyond
    if mode == "replicate":
        return 0 if at_start else size - 1
    # A mirror stands on the border, which is then not repeated, or, with "symmetric", outside it.
    mirrored = beyond + 1 if mode == "reflect" else beyond
    return mirrored if at_start else size - 1 - mirrored


def source_index(mode: str, position: int, size: int, pads: tuple[int, int]) -> int | None:
    """The position of an image of `size` that fills `position` of the padded image; None where a constant does.

    Both are counted from the image's first position, which negative pads crop. Circular padding wraps what cropping
    leaves; the other modes read the image as it was.
    """
    first, end = (max(-pads[0], 0), size + min(pads[1], 0)) if mode == "circular" else (0, size)
    if first <= position < end:
        return position
    if mode == "zeros":
        return None
    at_start = position < first
    return first + filler(mode, first - 1 - position if at_start else position - end, end - first, at_start=at_start)


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
                f"padding as (low, high) pairs needs one pair for each of the {axes(rank)}, got {show(padding)}"
            )
        pairs = ((integer("padding", low), integer("padding", high)) for low, high in padding)
        return tuple(pairs)
    try:
        return per_axis("padding", padding, rank)
    except TypeError:
        raise TypeError(
            f"padding must be an int, a tuple of {ints(rank)}, (low, high) pairs, 'same' or 'valid', "
            f"got {show(padding)}"
        ) from None


def parse_transposed_padding(padding: object, rank: int) -> tuple[int, ...] | Pads:
    """`padding` of a transposed convolution, which has no 'same'."""
    if isinstance(padding, str):
        raise TypeError(
            f"padding of a transposed convolution must be an int or a tuple of {ints(rank)}, got {padding!r}; "
            "the size of the result is chosen by output_size"
        )
    parsed = parse_padding(padding, rank)
    assert not isinstance(parsed, str)
    return parsed


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
        max(extent(-(-n // s), k, s, d) - n, 0) for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
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
        reach = [span(k, d) - 1 for k, d in zip(kernel, dilations, strict=True)]
        if padding == "same":
            return tuple((r // 2, r - r // 2) for r in reach)
        if padding == "causal":
            return tuple((r, 0) for r in reach)
        return ((0, 0),) * len(reach)
    return tuple((p, p) if isinstance(p, int) else p for p in padding)


def padded_size(size: Sequence[Size], pads: Sequence[tuple[int, int]]) -> tuple[Size, ...]:
    """The sizes of an image along its axes with (low, high) more positions along each."""
    return tuple(n + low + high for n, (low, high) in zip(size, pads, strict=True))


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


# `pad` has PyTorch's names for its modes.
PAD_MODES = ("constant", "reflect", "replicate", "circular", "symmetric")


def parse_pad(shape, dtype, pad, mode, value) -> tuple[Pads, str]:
    """The (low, high) amounts of all axes that a call of `pad` asks for, and the padding mode."""
    one_of("mode", mode, PAD_MODES)
    if isinstance(pad, str) or not isinstance(pad, Sequence):
        raise TypeError(f"pad must be a tuple of ints, the last axis first, got {show(pad)}")
    amounts = [integer(f"pad[{i}]", p) for i, p in enumerate(pad)]
    axes = len(amounts) // 2
    if len(amounts) % 2 or axes > len(shape):
        raise ValueError(
            f"pad must hold a (low, high) pair for each of at most {len(shape)} axes, the last axis first, "
            f"got {len(amounts)} numbers"
        )
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    widths = ((0, 0),) * (len(shape) - axes) + tuple(pairs)
    check_countable(
        "the result", [n + max(low, 0) + max(high, 0) for n, (low, high) in zip(shape, widths, strict=True)], "pad less"
    )
    if mode == "constant":
        if isinstance(value, complex) and dtype.kind != "c":
            raise TypeError(f"value must be real where input has dtype {dtype}, got {value!r}")
        _check_value(value, dtype)
        for axis, (n, (low, high)) in enumerate(zip(shape, widths, strict=True)):
            if isinstance(n, int) and min(n + low, n + high, n + low + high, n + min(low, 0) + min(high, 0)) < 0:
                raise ValueError(f"pad crops more than there is: {(low, high)} of axis {axis}, which has size {n}")
        return widths, "zeros"
    if value is not None and not (isinstance(value, numbers.Number) and not value):
        raise ValueError(f"value is for mode='constant', got value={short(value)} with mode={mode!r}; leave it out")
    _check_pad_mode(shape, dtype, axes, mode)
    check_pads(mode, tuple(pairs), shape[len(shape) - axes :], "mode")
    # As in PyTorch an axis may be cropped to nothing, but not all of them, unless the padding is circular.
    results = [n + sum(pair) for n, pair in zip(shape, widths, strict=True)]
    nothing = mode != "circular" and all(isinstance(n, int) and n <= 0 for n in results[len(shape) - axes :])
    for axis, (n, (low, high), result) in enumerate(zip(shape, widths, results, strict=True)):
        if isinstance(result, int) and (result < 0 or (result == 0 and nothing and axis >= len(shape) - axes)):
            raise ValueError(f"pad leaves nothing of axis {axis}: {(low, high)} of size {n}; crop less")
    return widths, mode


def _check_value(value: Any, dtype: Any) -> None:
    """Refuses a number that `dtype` cannot hold, as PyTorch does, rather than to fill with another one."""
    if value is None:
        return
    own = getattr(value, "dtype", None)
    # Fractions and decimals are Numbers too, and no array holds them.
    if not isinstance(value, int | float | complex) and not (own is not None and isinstance(value, numbers.Number)):
        if own is None or getattr(value, "shape", None) != ():
            raise TypeError(f"value must be a number, got {show(value)}")
        if not _holds(dtype, own):
            raise TypeError(
                f"value has dtype {own}, whose numbers do not all fit into an input of dtype {dtype}; convert "
                f"it, for example value.astype({str(dtype)!r})"
            )
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
        raise ValueError(f"value must be between {least} and {most} where input has dtype {dtype}, got {short(value)}")


def _holds(dtype, other) -> bool:
    """Whether `dtype` has room for a number of dtype `other`, of which nothing else is known; floats are rounded."""
    kinds = {"b": "biufV", "i": "biu", "u": "bu", "f": "biufV", "V": "biufV", "c": "biufcV"}
    kind, other_kind = dtype.kind, getattr(other, "kind", "")
    if other_kind not in tuple(kinds[kind]) or other.name.startswith(("void", "float128", "longdouble")):
        return False
    if kind not in "iu" or other_kind == "b":
        return True
    bits, other_bits = 8 * dtype.itemsize - (kind == "i"), 8 * other.itemsize - (other_kind == "i")
    return other_bits <= bits


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
