"""Shapes of images: where the channels and the spatial axes stand, and sizes that are numbers or symbols."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

DATA_FORMATS = ("channels_first", "channels_last")
# A size along an axis: an int, or under `jax.export` a symbolic dimension, which has an int's arithmetic.
Size = Any


def is_static(*shapes: Sequence[Size] | None) -> bool:
    """Whether all sizes are numbers; under `jax.export` some may be symbolic dimensions."""
    return all(type(n) is int for shape in shapes if shape is not None for n in shape)


def is_symbolic(n: object) -> bool:
    """Whether `n` is a symbolic dimension: no int, but with the arithmetic of one."""
    if isinstance(n, str):  # NumPy's have its operators
        return False
    return hasattr(n, "__floordiv__") and not isinstance(n, numbers.Number) and not hasattr(n, "__index__")


def is_less(a: Size, b: Size) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a < b


def span(kernel: int, dilation: int) -> int:
    """How many positions a kernel covers along an axis, from its first tap to its last."""
    return dilation * (kernel - 1) + 1


def extent(windows: Size, kernel: int, stride: int, dilation: int) -> Size:
    """How many positions that many windows cover along an axis, from the first tap of one to the last of another."""
    return (windows - 1) * stride + span(kernel, dilation)


def windows(room: Size, stride: int) -> Size:
    """How many windows begin at the positions 0 to `room`, every `stride`-th.

    It is floor(room / stride) + 1, written so that JAX knows of more symbolic sizes that it is not negative.
    """
    return (room + stride) // stride


def check_countable(what: str, shape: Sequence[Size], fix: str) -> None:
    """Refuses an array whose bytes XLA, which counts them in 64 bits and ends the process, might not be able to count.

    Args:
        what: the array, as the message calls it.
        shape: its shape.
        fix: what to do about it.
    """
    if is_static(shape) and math.prod(shape) >= 2**59:  # of 16 bytes at most
        raise ValueError(f"{what} would have the shape {tuple(shape)}, 2**59 numbers or more; {fix}")


def spatial_axes(rank: int, data_format: str) -> tuple[int, ...]:
    """The spatial axes of an image, counted from the end: the same with and without a batch."""
    return tuple(range(-rank, 0)) if data_format == "channels_first" else tuple(range(-rank - 1, -1))


def image_shape(batch: Sequence[Size], channels: Size, size: Sequence[Size], data_format: str) -> tuple[Size, ...]:
    """The shape of images; `batch` holds the axes that precede those of one image, none or one."""
    return (*batch, channels, *size) if data_format == "channels_first" else (*batch, *size, channels)


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
