"""Patches: `unfold` and its transpose `fold`."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Num

from jaxconv._arrays import as_array, batched, check_room, every, room_for_taps, wide
from jaxconv._lowering import padding
from jaxconv._ops.meshes import divided
from jaxconv._spec.arguments import IntOrInts
from jaxconv._spec.convolution import LESS, ConvSpec
from jaxconv._spec.padding import padded_size
from jaxconv._spec.patches import parse_fold, parse_unfold
from jaxconv._spec.shapes import is_static


def unfold(
    input: Num[Array, "*N C H W"],
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: IntOrInts = 0,
    stride: IntOrInts = 1,
) -> Num[Array, "*N C_kH_kW L"]:
    """The patches that a convolution reads, as columns: `torch.nn.functional.unfold`.

    Args:
        input: images of shape (N, C, H, W) or (C, H, W), of floats or complex numbers.
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch; an int, or one per spatial axis.
        padding: zeros added at both ends; an int, or one per spatial axis.
        stride: step between two patches; an int, or one per spatial axis.

    Returns:
        An array of shape (N, C * kH * kW, H' * W') or without N, the channel slowest along the columns' axis and
        the patches in row order; H' and W' as of `conv2d`.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.unfold(jnp.ones((2, 5, 3, 4)), (2, 3)).shape
        (2, 30, 4)
    """
    x = as_array("input", input)
    spec, kernel = parse_unfold(x.shape, x.dtype, kernel_size, dilation, padding, stride)
    check_room((*x.shape[:-2], *kernel, *spec.output_size(x.shape[-2:], kernel)), x.dtype, LESS)
    places = [*[(0, 0)] * (x.ndim - 3), None, None]
    return divided(_unfold, (x,), places, spec=spec, kernel=kernel)


@partial(jax.jit, static_argnames=("spec", "kernel"), inline=True)
def _unfold(x, spec: ConvSpec, kernel):
    def op(x):
        n, c = x.shape[:2]
        out_h, out_w = spec.output_size(x.shape[2:], kernel)
        more = [
            0 if isinstance(m, int) else room_for_taps(k, s, d)
            for m, k, s, d in zip(x.shape[2:], kernel, spec.strides, spec.dilations, strict=True)
        ]
        pads = [(low, high + extra) for (low, high), extra in zip(spec.pads, more, strict=True)]
        x = padding.pad(x, [(0, 0), (0, 0), *pads], "zeros")
        # One axis after the other: kH + kW strided slices in place of kH * kW.
        x = jnp.stack([_tap(x, 2, t, out_h, spec, 0) for t in range(kernel[0])], axis=2)
        x = jnp.stack([_tap(x, 4, t, out_w, spec, 1) for t in range(kernel[1])], axis=3)
        return x.reshape(n, c * kernel[0] * kernel[1], x.shape[4] * x.shape[5])

    return batched(op, 2, x)


def _tap(x: jax.Array, axis: int, tap: int, size, spec: ConvSpec, spatial_axis: int) -> jax.Array:
    """What one tap of the kernel reads along an axis."""
    return every(x, tap * spec.dilations[spatial_axis], size, spec.strides[spatial_axis], axis)


def fold(
    input: Num[Array, "*N C_kH_kW L"],
    output_size: IntOrInts,
    kernel_size: IntOrInts,
    dilation: IntOrInts = 1,
    padding: IntOrInts = 0,
    stride: IntOrInts = 1,
) -> Num[Array, "*N C H W"]:
    """Patches added up into images, the transpose of `unfold`: `torch.nn.functional.fold`.

    Args:
        input: columns of shape (N, C * kH * kW, L) or (C * kH * kW, L), of floats or complex numbers, L being the
            number of patches of an image of size `output_size`.
        output_size: size (H, W) of the images; an int stands for both.
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch; an int, or one per spatial axis.
        padding: what is cut off both ends of the image; an int, or one per spatial axis.
        stride: step between two patches; an int, or one per spatial axis.

    Returns:
        An array of shape (N, C, H, W) or without N.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.fold(jnp.ones((2, 30, 4)), (3, 4), (2, 3)).shape
        (2, 5, 3, 4)
    """
    columns = as_array("input", input)
    spec, size, kernel = parse_fold(columns.shape, columns.dtype, output_size, kernel_size, dilation, padding, stride)
    run = _jit_fold if is_static(columns.shape, size) else _fold
    shape = (*columns.shape[:-2], columns.shape[-2] // math.prod(kernel), *size)
    check_room(shape, columns.dtype, "use a smaller output_size")
    places = [*[(0, 0)] * (columns.ndim - 2), None, None, None]
    return divided(run, (columns,), places, spec=spec, size=size, kernel=kernel)


def _fold(columns, spec: ConvSpec, size, kernel):
    if columns.ndim == 2:
        return _fold(columns[None], spec, size, kernel)[0]
    n = columns.shape[0]
    channels = columns.shape[1] // (kernel[0] * kernel[1])
    out = spec.output_size(size, kernel)
    padded = padded_size(size, spec.pads)
    x = columns.reshape(n, channels, *kernel, *out)
    x = _add_taps(x, 3, 5, padded[1], spec, 1)
    x = _add_taps(x, 2, 3, padded[0], spec, 0)
    return padding.pad_transpose(x, [(0, 0), (0, 0), *spec.pads], "zeros", (n, channels, *size))


_jit_fold = jax.jit(_fold, static_argnames=("spec", "size", "kernel"), inline=True)


def _add_taps(x: jax.Array, tap_axis: int, axis: int, size, spec: ConvSpec, spatial_axis: int) -> jax.Array:
    """The transpose of stacking the taps along an axis: each goes to where it was read, and they are added."""
    stride, dilation = spec.strides[spatial_axis], spec.dilations[spatial_axis]
    reach = (x.shape[axis] - 1) * stride + 1
    total = None
    for tap in range(x.shape[tap_axis]):
        taken = lax.index_in_dim(x, tap, tap_axis, keepdims=False).astype(wide(x.dtype))
        widths = [(0, 0, 0)] * taken.ndim
        widths[axis - 1] = (tap * dilation, size - tap * dilation - reach, stride - 1)
        placed = lax.pad(taken, jnp.zeros((), taken.dtype), widths)
        total = placed if total is None else total + placed
    assert total is not None
    return total.astype(x.dtype)
