"""Resampling: images of another size, images read along a grid of places, and shuffles between channels and space."""

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Num, Shaped

from jaxconv._arrays import as_array, check_room, wide
from jaxconv._lowering.resampling import CUBIC, byte_table, cubic_far, cubic_near, resample, weighed
from jaxconv._ops import pooling
from jaxconv._ops.meshes import divided, images
from jaxconv._spec.resampling import (
    InterpolateArguments,
    InterpolateSpec,
    SampleSpec,
    parse_affine_grid,
    parse_channel_shuffle,
    parse_grid_sample,
    parse_interpolate,
    parse_pixel_shuffle,
)
from jaxconv._spec.shapes import Size, image_shape, is_static, spatial_axes

_AREA = {1: pooling.adaptive_avg_pool1d, 2: pooling.adaptive_avg_pool2d, 3: pooling.adaptive_avg_pool3d}


# ---------------------------------------------------------------------------------------------------------------
# Images of another size
# ---------------------------------------------------------------------------------------------------------------


def interpolate(
    input: Num[Array, "N *C_L_H_W"],
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
    *,
    data_format: str = "channels_first",
) -> Num[Array, "N *C_L_H_W"]:
    """Images of another size: `torch.nn.functional.interpolate`, whose numbers are not those of `jax.image.resize`.

    Args:
        input: images of shape (N, C, L), (N, C, H, W) or (N, C, D, H, W); with `data_format="channels_last"`
            (N, L, C), (N, H, W, C) or (N, D, H, W, C). Floating point; with the nearest modes, and with those of two
            axes, bytes (uint8) too. Only N may be 0.
        size: spatial size of the result; an int, or one per spatial axis.
        scale_factor: in place of `size`, how many times as long each spatial axis becomes; a number, or one per spatial
            axis. The new size is rounded down.
        mode: `"nearest"`, `"nearest-exact"` or `"area"`; `"linear"` for one spatial axis, `"bilinear"`, `"bicubic"` or
            `"lanczos"` (with `antialias`) for two, `"trilinear"` for three.
        align_corners: whether the centres of the corners lie upon each other, or else the edges do; for the linear
            modes and the cubic one. None is False.
        recompute_scale_factor: whether coordinates come from the two sizes where `scale_factor` is given; otherwise
            they come from the factor itself, which differs where the new size was rounded.
        antialias: whether the filter is widened to the step of a smaller result, as Pillow's; for `"bilinear"`,
            `"bicubic"` and `"lanczos"`.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input`. 16-bit floats are accumulated in float32 and rounded once. Bytes are rounded
        along each axis, the last one first.

    Raises:
        TypeError: an argument of a wrong kind, or a dtype that is not resampled.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> x = jnp.arange(4.0).reshape(1, 1, 4)
        >>> jaxconv.interpolate(x, scale_factor=2, mode="linear", align_corners=False)
        Array([[[0.  , 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.  ]]], dtype=float32)
        >>> jaxconv.interpolate(jnp.ones((2, 3, 5, 7)), (10, 8), mode="bicubic").shape
        (2, 3, 10, 8)
    """
    x = as_array("input", input)
    arguments = InterpolateArguments(
        size, scale_factor, mode, align_corners, recompute_scale_factor, antialias, data_format
    )
    spec = parse_interpolate(x.shape, x.dtype, arguments)
    rank = x.ndim - 2
    if spec.mode == "area":
        return _AREA[rank](x, spec.output_size, data_format=data_format)
    channels = x.shape[1 if data_format == "channels_first" else -1]
    check_room(image_shape(x.shape[:1], channels, spec.output_size, data_format), x.dtype, "use a smaller size")
    run = _jit_interpolate if is_static(x.shape, spec.output_size) else _interpolate
    return divided(run, (x,), images(x.ndim, rank, data_format), spec=spec)


def _interpolate(x: jax.Array, spec: InterpolateSpec) -> jax.Array:
    places = [a + x.ndim for a in spatial_axes(len(spec.axes), spec.data_format)]
    # Axes that become shorter first: then the others are shorter when their turn comes.
    todo = [pair for pair in zip(places, spec.axes, strict=True) if not pair[1].is_identity][::-1]
    dtype, nearest = x.dtype, spec.mode.startswith("nearest")
    if dtype == jnp.uint8 and not nearest:
        return _of_bytes(x, todo)
    x = x if nearest else x.astype(wide(dtype))
    if is_static(x.shape, spec.output_size):
        todo.sort(key=lambda pair: pair[1].output_size / pair[1].size)
    for axis, each in todo:
        x = resample(x, axis, each)
    return x.astype(dtype)


_jit_interpolate = jax.jit(_interpolate, static_argnames=("spec",), inline=True)


def _of_bytes(x: jax.Array, todo: Sequence[tuple[int, Any]]) -> jax.Array:
    """Bytes, in the fixed-point arithmetic of Pillow and PyTorch: rounded to bytes after each axis."""
    x = x.astype(jnp.int32)
    for axis, spec in todo:
        table, bits = byte_table(spec)
        x = jnp.clip((weighed(x, axis, table) + (1 << (bits - 1))) >> bits, 0, 255)
    return x.astype(jnp.uint8)


# ---------------------------------------------------------------------------------------------------------------
# A grid of places
# ---------------------------------------------------------------------------------------------------------------


def grid_sample(
    input: Float[Array, "N C *D_H_W"],
    grid: Float[Array, "N *D_H_W_axes"],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Float[Array, "N C *D_H_W"]:
    """Images read at the places of a grid: `torch.nn.functional.grid_sample`.

    Args:
        input: images of shape (N, C, H, W) or (N, C, D, H, W). Only N and C may be 0.
        grid: places of shape (N, H', W', 2) or (N, D', H', W', 3), of the dtype of `input`: (x, y) or (x, y, z), the
            last axis of the image first, from -1 at its beginning to 1 at its end.
        mode: `"bilinear"` (trilinear for three axes), `"nearest"` (of two equally near the even one) or `"bicubic"`
            (two axes).
        padding_mode: what is read beyond the image: `"zeros"`, `"border"`, or the image mirrored, `"reflection"`.
        align_corners: whether -1 and 1 are the centres of the outermost positions, or else their edges. None is False.

    Returns:
        An array of shape (N, C, H', W') or (N, C, D', H', W'). 16-bit floats are computed in float32. At the border and
        beyond it the gradient in the grid is 0 with `"border"`, as PyTorch's.

    Raises:
        TypeError: an argument of a wrong kind, a dtype without fractions, or two dtypes.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> x = jnp.arange(6.0).reshape(1, 1, 2, 3)
        >>> grid = jnp.array([[[[-1.0, -1.0], [0.5, 1.0]]]])
        >>> jaxconv.grid_sample(x, grid, align_corners=True)
        Array([[[[0. , 4.5]]]], dtype=float32)
    """
    x, places = as_array("input", input), as_array("grid", grid)
    spec = parse_grid_sample(x.shape, x.dtype, places.shape, places.dtype, mode, padding_mode, align_corners)
    like = [(0, 0), (0, 1), *((1, a) for a in range(1, x.ndim - 1))]
    return divided(_grid_sample, (x, places), like, spec=spec)


@functools.partial(jax.jit, static_argnames=("spec",), inline=True)
def _grid_sample(x: jax.Array, grid: jax.Array, spec: SampleSpec) -> jax.Array:
    """The sum over the corners of a cell: a product of one weight an axis, times what is read there."""
    dtype, sizes = x.dtype, x.shape[2:]
    x, grid = x.astype(wide(dtype)), grid.astype(wide(dtype))
    taps = [_taps(grid[..., -1 - axis], n, spec, len(sizes)) for axis, n in enumerate(sizes)]
    # One number for the places of an image, and one for those of the grid: what is gathered has one axis.
    flat = x.reshape(*x.shape[:2], math.prod(sizes))
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    read = jax.vmap(lambda image, places: jnp.take(image, places, 1, mode="clip"))
    zero = jnp.zeros((), x.dtype)
    total = None
    for corner in itertools.product(*taps):
        index = sum(tap.index * stride for tap, stride in zip(corner, strides, strict=True))
        inside = functools.reduce(operator.and_, (tap.inside for tap in corner))
        # Outside is 0, whatever stands at the border.
        value = jnp.where(inside[:, None], read(flat, index), zero)
        if spec.mode != "nearest":
            weight = functools.reduce(operator.mul, (tap.weight for tap in corner))
            # Of a place that is no number PyTorch reads a NaN in two dimensions, and 0 in three.
            weight = weight if len(sizes) == 2 else jnp.where(inside, weight, zero)
            value = value * weight[:, None]
        total = value if total is None else total + value
    assert total is not None
    return total.astype(dtype)


class _Tap:
    """One of the positions that are read along an axis: its index, its weight, and whether the image has it."""

    def __init__(self, place: jax.Array, n: Size, weight: Any = None):
        last = _number(n - 1, place)
        self.inside = (place >= 0) & (place <= last)
        self.index = jnp.clip(place, 0, last).astype(jnp.int32)
        self.weight = weight


def _taps(coordinate: jax.Array, n: Size, spec: SampleSpec, rank: int) -> list[_Tap]:
    """What is read along an axis of n positions, whose coordinates go from -1 to 1."""
    size = _number(n, coordinate)
    if spec.align_corners:
        place = (coordinate + 1) * ((size - 1) / 2) if rank == 2 else (coordinate + 1) / 2 * (size - 1)
    else:
        place = (coordinate + 1) * (size / 2) - 0.5 if rank == 2 else ((coordinate + 1) * size - 1) / 2
    if spec.mode == "bicubic":
        low = lax.floor(place)
        weights = _cubic_weights(place - low)
        return [_Tap(_padded(low + t, size, spec, rank), n, w) for t, w in zip(range(-1, 3), weights, strict=True)]
    place = _padded(place, size, spec, rank)
    if spec.mode == "nearest":
        return [_Tap(lax.round(place, lax.RoundingMethod.TO_NEAREST_EVEN), n)]
    low = lax.floor(place)
    return [_Tap(low, n, 1 - (place - low)), _Tap(low + 1, n, place - low)]


def _number(n: Size, like: jax.Array) -> jax.Array:
    """A size, symbolic or not, as a number of the dtype of another."""
    return jnp.asarray(n).astype(like.dtype)


def _padded(place: jax.Array, size: jax.Array, spec: SampleSpec, rank: int) -> jax.Array:
    """The positions of the image that positions beyond it stand for.

    The selects are written so that the gradient at the border, and of NaN, is PyTorch's: 0.
    """
    zero, last = jnp.zeros((), place.dtype), size - 1
    if spec.padding_mode == "zeros":
        return place
    if spec.padding_mode == "reflection":
        low = zero if spec.align_corners else zero - 0.5
        span = jnp.maximum(last if spec.align_corners else size, 1)  # one position is clipped to itself below
        away = place - low
        away = jnp.where(away < 0, -away, away)
        away = away - lax.floor(away / (2 * span)) * (2 * span)  # there and back
        place = jnp.where(away > span, 2 * span - away, away) + low
    if rank == 2:  # NaN is at the beginning, and in three dimensions at the end
        return jnp.where(place > 0, jnp.where(place < last, place, last), zero)
    return jnp.where(place <= 0, zero, jnp.where(place < last, place, last))


def _cubic_weights(t: jax.Array) -> list[jax.Array]:
    """The weights of the four positions around a place, t behind the second."""
    return [cubic_far(t + 1, CUBIC), cubic_near(t, CUBIC), cubic_near(1 - t, CUBIC), cubic_far(2 - t, CUBIC)]


def affine_grid(
    theta: Float[Array, "N axes axes_1"], size: Sequence[int], align_corners: bool | None = None
) -> Float[Array, "N *D_H_W_axes"]:
    """The grid of places that affine maps read, for `grid_sample`: `torch.nn.functional.affine_grid`.

    Args:
        theta: maps of shape (N, 2, 3) or (N, 3, 4), from places of the result to places of the image.
        size: shape (N, C, H, W) or (N, C, D, H, W) of the result of `grid_sample`.
        align_corners: as of `grid_sample`, and to be the same there. None is False.

    Returns:
        An array of the dtype of `theta` and of shape (N, H, W, 2) or (N, D, H, W, 3).

    Raises:
        TypeError: an argument of a wrong kind, or a dtype without fractions.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> theta = jnp.array([[[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]])  # upside down
        >>> grid = jaxconv.affine_grid(theta, (1, 1, 2, 2))
        >>> jaxconv.grid_sample(jnp.arange(4.0).reshape(1, 1, 2, 2), grid)
        Array([[[[2., 3.],
                 [0., 1.]]]], dtype=float32)
    """
    maps = as_array("theta", theta)
    spatial, corners = parse_affine_grid(maps.shape, maps.dtype, size, align_corners)
    check_room((*maps.shape[:1], *spatial, len(spatial)), maps.dtype, "use a smaller size")
    run = _jit_affine_grid if is_static(maps.shape, spatial) else _affine_grid
    return divided(run, (maps,), [(0, 0)] + [None] * (len(spatial) + 1), size=spatial, align_corners=corners)


def _affine_grid(theta: jax.Array, size: tuple[Size, ...], align_corners: bool) -> jax.Array:
    dtype, rank = theta.dtype, len(size)
    theta = theta.astype(wide(dtype))
    total = jnp.expand_dims(theta[:, :, rank], range(1, rank + 1))
    for axis, n in enumerate(size):
        i, number = jnp.arange(n).astype(theta.dtype), _number(n, theta)
        if align_corners:
            place = jnp.where(number > 1, 2 * i / jnp.maximum(number - 1, 1) - 1, jnp.zeros((), theta.dtype))
        else:
            place = (2 * i + 1) / number - 1
        others = tuple(a for a in range(rank + 2) if a != axis + 1)
        column = jnp.expand_dims(theta[:, :, rank - 1 - axis], range(1, rank + 1))
        total = total + column * jnp.expand_dims(place, others)
    return total.astype(dtype)


_jit_affine_grid = jax.jit(_affine_grid, static_argnames=("size", "align_corners"), inline=True)


# ---------------------------------------------------------------------------------------------------------------
# Shuffles
# ---------------------------------------------------------------------------------------------------------------


def pixel_shuffle(
    input: Shaped[Array, "..."], upscale_factor: int, *, data_format: str = "channels_first"
) -> Shaped[Array, "..."]:
    """Channels made positions, r * r of them a square of r by r: `torch.nn.functional.pixel_shuffle`.

    Args:
        input: an array of shape (*, C * r * r, H, W), or with `data_format="channels_last"` (*, H, W, C * r * r), of
            any dtype.
        upscale_factor: r.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of shape (*, C, H * r, W * r) or (*, H * r, W * r, C).

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.pixel_shuffle(jnp.arange(4).reshape(1, 4, 1, 1), 2)
        Array([[[[0, 1],
                 [2, 3]]]], dtype=int32)
    """
    x = as_array("input", input)
    r, data_format = parse_pixel_shuffle("upscale_factor", upscale_factor, x.shape, data_format)
    places = images(x.ndim, 2, data_format, None)
    return divided(_pixel_shuffle, (x,), places, r=r, last=data_format == "channels_last")


def _pixel_shuffle(x: jax.Array, r: int, last: bool) -> jax.Array:
    *batch, _, _, _ = x.shape
    k = len(batch)
    if last:
        h, w, c = x.shape[k:]
        x = x.reshape(*batch, h, w, c // (r * r), r, r)
        x = x.transpose(*range(k), k, k + 3, k + 1, k + 4, k + 2)
        return x.reshape(*batch, h * r, w * r, c // (r * r))
    c, h, w = x.shape[k:]
    x = x.reshape(*batch, c // (r * r), r, r, h, w)
    x = x.transpose(*range(k), k, k + 3, k + 1, k + 4, k + 2)
    return x.reshape(*batch, c // (r * r), h * r, w * r)


def pixel_unshuffle(
    input: Shaped[Array, "..."], downscale_factor: int, *, data_format: str = "channels_first"
) -> Shaped[Array, "..."]:
    """Squares of r by r positions made channels, the inverse of `pixel_shuffle`: `torch.nn.functional.pixel_unshuffle`.

    Args:
        input: an array of shape (*, C, H * r, W * r), or with `data_format="channels_last"` (*, H * r, W * r, C), of
            any dtype.
        downscale_factor: r.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of shape (*, C * r * r, H, W) or (*, H, W, C * r * r).

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.pixel_unshuffle(jnp.ones((2, 3, 4, 10)), 2).shape
        (2, 12, 2, 5)
    """
    x = as_array("input", input)
    r, data_format = parse_pixel_shuffle("downscale_factor", downscale_factor, x.shape, data_format)
    return divided(
        _pixel_unshuffle, (x,), images(x.ndim, 2, data_format, None), r=r, last=data_format == "channels_last"
    )


def _pixel_unshuffle(x: jax.Array, r: int, last: bool) -> jax.Array:
    *batch, _, _, _ = x.shape
    k = len(batch)
    if last:
        h, w, c = x.shape[k:]
        x = x.reshape(*batch, h // r, r, w // r, r, c)
        x = x.transpose(*range(k), k, k + 2, k + 4, k + 1, k + 3)
        return x.reshape(*batch, h // r, w // r, c * r * r)
    c, h, w = x.shape[k:]
    x = x.reshape(*batch, c, h // r, r, w // r, r)
    x = x.transpose(*range(k), k, k + 2, k + 4, k + 1, k + 3)
    return x.reshape(*batch, c * r * r, h // r, w // r)


def channel_shuffle(
    input: Shaped[Array, "..."], groups: int, *, data_format: str = "channels_first"
) -> Shaped[Array, "..."]:
    """The channels dealt out to groups: `torch.nn.functional.channel_shuffle`.

    Channel i of group g becomes channel g of group i: a grouped convolution behind it reads from all groups.

    Args:
        input: an array of shape (N, C, *), or with `data_format="channels_last"` (N, *, C), of any dtype.
        groups: the number of groups before, which divides C.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the shape of `input`.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.channel_shuffle(jnp.arange(6).reshape(1, 6, 1), 2).ravel()
        Array([0, 3, 1, 4, 2, 5], dtype=int32)
    """
    x = as_array("input", input)
    number, axis = parse_channel_shuffle(groups, x.shape, data_format)
    like = [None if a == axis else (0, a) for a in range(x.ndim)]
    return divided(_channel_shuffle, (x,), like, groups=number, axis=axis)


def _channel_shuffle(x: jax.Array, groups: int, axis: int) -> jax.Array:
    shape = x.shape
    x = x.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    return jnp.swapaxes(x, axis, axis + 1).reshape(shape)
