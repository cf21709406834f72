"""The arguments of `unfold` and `fold`."""

import math
from collections.abc import Sequence

from jaxconv._spec.arguments import parse_shape, per_axis
from jaxconv._spec.convolution import LESS, ConvSpec, check_fit
from jaxconv._spec.padding import padded_size
from jaxconv._spec.shapes import Size, check_countable, is_symbolic, split_shape


def parse_unfold(shape, dtype, kernel_size, dilation, padding, stride) -> tuple[ConvSpec, tuple[int, ...]]:
    """The convolution whose patches `unfold` takes, and the size of a patch."""
    spec, kernel = _patches(dtype, kernel_size, dilation, padding, stride)
    channels, size = split_shape("input", shape, 2, "channels_first")
    if channels == 0:
        raise ValueError(f"input must have channels, got shape {tuple(shape)}; only the batch may have size 0")
    check_fit(spec, size, kernel)
    taken = (*shape[:-2], *kernel, *spec.output_size(size, kernel))
    for what, sizes in (("the result", taken), ("the padded input", (*shape[:-2], *padded_size(size, spec.pads)))):
        check_countable(what, sizes, LESS)
    return spec, kernel


def parse_fold(shape, dtype, output_size, kernel_size, dilation, padding, stride):
    """The convolution whose patches `fold` adds up, the size of its images, and the size of a patch."""
    spec, kernel = _patches(dtype, kernel_size, dilation, padding, stride)
    size: tuple[Size, ...]
    if isinstance(output_size, Sequence) and any(is_symbolic(n) for n in output_size):
        size = parse_shape("output_size", output_size)
    else:
        size = per_axis("output_size", output_size, 2, 1, one_for_all=False)
    check_fit(spec, size, kernel)
    check_countable("the result with what is cut off it", (*shape[:-1], *padded_size(size, spec.pads)), LESS)
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
