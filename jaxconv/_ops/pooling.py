"""The public pools: PyTorch's arguments and meaning on JAX arrays, one path for every spatial rank.

A box of taps is pooled one axis after the other. Along an axis the taps of all windows are strided slices of the
image, merged pairwise by a select (for the maximum) or a sum: a window of k_h * k_w taps costs k_h + k_w merges, its
derivatives of any order are those of slices, selects and sums, and no window is ever gathered or scattered. Where the
positions of the maxima are asked for they go with them, through the same merges. The maxima of small windows have two
forms of their own, whose gradients are written in one pass: where the windows lie side by side, and where they overlap.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxconv._arrays import as_array, batched, check_room, every, room_for_taps, wide
from jaxconv._maxima import maxima
from jaxconv._ops import documents
from jaxconv._ops.documents import public
from jaxconv._ops.meshes import divided, images
from jaxconv._spec.arguments import IntOrInts, boolean
from jaxconv._spec.pooling import (
    Arguments,
    PoolSpec,
    Unpooling,
    check_avg_dtype,
    check_index_dtype,
    check_index_room,
    check_lp_dtype,
    check_max_dtype,
    check_positions,
    check_whole_kernel,
    parse_adaptive,
    parse_divisor,
    parse_norm_type,
    parse_pool,
    parse_unpool,
)
from jaxconv._spec.shapes import Size, extent, image_shape, is_static, span, spatial_axes

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]

# Windows side by side of more taps than this are pooled axis by axis, which takes fewer merges to compile.
_MOST_TAPS = 16
# And windows that overlap, which have as many as three along each of three axes.
_MOST_OVERLAPPING = 27

# As many numbers along an axis are listed where an op is traced; more are computed by its program.
_LISTED = 2**16

# What is merged of the taps of windows: an array of numbers, and where their positions are asked for one of those.
Runs = tuple[jax.Array, ...]


# ---------------------------------------------------------------------------------------------------------------
# The public functions, made once for every rank
# ---------------------------------------------------------------------------------------------------------------


def _fields(rank: int) -> dict[str, Any]:
    """What the docstrings of the pools need beside the letters of their axes."""
    image = (9, 8, 7)[:rank]
    return {
        "per_axis": "an int, or a tuple of one" if rank == 1 else "an int, or one per spatial axis",
        "image": (2, 16, *image),
        "pooled": (2, 16, *((n - 1) // 2 + 1 for n in image)),
        "halved": (2, 16, *(n // 2 for n in image)),
        "adapted": (2, 16, *(3,) * rank),
        "given": image,
        "sizes": "a tuple of one" if rank == 1 else "one per spatial axis, where None keeps the size of the image",
    }


def _annotations(rank: int) -> dict[str, Any]:
    return {"input": documents.images(rank), "return": documents.images(rank, after="_out")}


_INDICES = """\
        return_indices: whether the result is a pair, of the maxima and where they are.
"""
_AND_INDICES = """

        With `return_indices` a pair of that array and of one of its shape: the position of each maximum in its plane
        of the image without padding, {position}. They are int64, or int32 where JAX has 64 bits switched off."""
_POSITIONS = {1: "l", 2: "h * W + w", 3: "(d * H + h) * W + w"}


_MAX_DOC = """The largest element of every window, as `torch.nn.functional.{name}` defines it.

    NaN is larger than every number. Where a window has equal maxima, the first of them in row order gets the gradient.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point or integer. Only N may be 0.
        kernel_size: size of a window; {per_axis}.
        stride: step between two windows; by default `kernel_size`.
        padding: positions added at both ends, which never win; at most half of `kernel_size`.
        dilation: step between two elements of a window.
        ceil_mode: whether the last window may hang over the end, as long as it starts within the image or its
            low padding.
{indices}        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it, where {first}' = floor(({first} + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1, and
        with `ceil_mode` the ceiling instead.{and_indices}

    Raises:
        TypeError: an argument of a wrong kind, or numbers without an order.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 3, stride=2, padding=1).shape
        {pooled}
    """


def _max_fields(rank: int) -> dict[str, Any]:
    more = {"indices": _INDICES, "and_indices": _AND_INDICES, "position": _POSITIONS[rank]}
    return _fields(rank) | more


def _max_pool(rank: int):
    @public(rank, f"max_pool{rank}d", _MAX_DOC, _annotations(rank), **_max_fields(rank))
    def max_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        dilation: IntOrInts = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
        *,
        data_format: str = "channels_first",
    ) -> Any:
        x = as_array("input", input)
        check_max_dtype(x.dtype)
        spec = parse_pool(rank, x.shape, Arguments(kernel_size, stride, padding, dilation, ceil_mode, data_format))
        static = {"spec": spec, "indices": _index_dtype(return_indices, x, spec.spatial_axes)}
        return divided(_max, (x,), images(x.ndim, rank, spec.data_format), **static)

    return max_pool


def _index_dtype(return_indices: Any, x: jax.Array, axes: tuple[int, ...]) -> np.dtype | None:
    """The dtype of indices; None where none are asked for."""
    if not boolean("return_indices", return_indices):
        return None
    dtype = jax.dtypes.canonicalize_dtype(np.int64)
    check_index_room([x.shape[axis] for axis in axes], dtype)
    return dtype


_AVG_DOC = """The average of every window, as `torch.nn.functional.{name}` defines it.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point or complex; int64 too, whose averages are truncated as PyTorch's are. Only N may be 0.
        kernel_size: size of a window; {per_axis}.
        stride: step between two windows; by default `kernel_size`.
        padding: zeros added at both ends; at most half of `kernel_size`.
        ceil_mode: whether the last window may hang over the end, as long as it starts within the image or its
            low padding.
        count_include_pad: whether the divisor counts the zeros of the padding. What hangs over the padding is never
            counted.
{divisor}        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it, where {first}' = floor(({first} + 2 * padding - kernel_size) / stride) + 1, and with `ceil_mode` the
        ceiling instead. 16-bit floats are accumulated in float32.

    Raises:
        TypeError: an argument of a wrong kind, or numbers without an average.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 2).shape
        {halved}
    """


_DIVISOR = "        divisor_override: divisor of every window, in place of its size; any int but 0.\n"


def _avg_pool(rank: int):
    @public(rank, f"avg_pool{rank}d", _AVG_DOC, _annotations(rank), **_fields(rank), divisor=_DIVISOR)
    def avg_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_avg_dtype(x.dtype)
        spec = parse_pool(rank, x.shape, Arguments(kernel_size, stride, padding, 1, ceil_mode, data_format))
        if rank == 3:
            check_whole_kernel(spec, x.shape)
        include = boolean("count_include_pad", count_include_pad)
        static = {"spec": spec, "include_pad": include, "divisor": parse_divisor(divisor_override)}
        return divided(average, (x,), images(x.ndim, rank, spec.data_format), **static)

    return avg_pool


def _avg_pool_1d():
    # PyTorch's has no divisor_override.
    pool = _avg_pool(1)

    @public(1, "avg_pool1d", _AVG_DOC, _annotations(1), **_fields(1), divisor="")
    def avg_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        return pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, data_format=data_format)

    return avg_pool


_ADAPTIVE_DOC = """The averages of as many windows as asked for, as `torch.nn.functional.{name}` defines it.

    Along an axis of n positions, window i of m averages positions floor(i * n / m) to ceil((i + 1) * n / m) - 1.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point or complex. Only N and C may be 0.
        output_size: number of windows; an int, or {sizes}.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it. 16-bit floats are accumulated in float32.

    Raises:
        TypeError: an argument of a wrong kind, or numbers without an average.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 3).shape
        {adapted}
    """


def _adaptive_avg_pool(rank: int):
    @public(rank, f"adaptive_avg_pool{rank}d", _ADAPTIVE_DOC, _annotations(rank), **_fields(rank))
    def adaptive_avg_pool(
        input: jax.Array,
        output_size: Any,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_avg_dtype(x.dtype, adaptive=True)
        sizes = parse_adaptive(rank, x.shape, output_size, data_format, channels=False)
        axes = spatial_axes(rank, data_format)
        _check_adapted(x, sizes, axes)
        return divided(_adaptive, (x,), images(x.ndim, rank, data_format), sizes=sizes, axes=axes)

    return adaptive_avg_pool


_ADAPTIVE_MAX_DOC = """The maxima of as many windows as asked for, as `torch.nn.functional.{name}` defines it.

    Along an axis of n positions, window i of m covers positions floor(i * n / m) to ceil((i + 1) * n / m) - 1. NaN and
    equal maxima are as in `max_pool{rank}d`.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point or integer. Only N may be 0.
        output_size: number of windows; an int, or {sizes}.
{indices}        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it.{and_indices}

    Raises:
        TypeError: an argument of a wrong kind, or numbers without an order.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 3).shape
        {adapted}
    """


def _adaptive_max_pool(rank: int):
    @public(rank, f"adaptive_max_pool{rank}d", _ADAPTIVE_MAX_DOC, _annotations(rank), **_max_fields(rank))
    def adaptive_max_pool(
        input: jax.Array,
        output_size: Any,
        return_indices: bool = False,
        *,
        data_format: str = "channels_first",
    ) -> Any:
        x = as_array("input", input)
        check_max_dtype(x.dtype)
        sizes = parse_adaptive(rank, x.shape, output_size, data_format, channels=True)
        axes = spatial_axes(rank, data_format)
        _check_adapted(x, sizes, axes)
        static = {"sizes": sizes, "axes": axes, "indices": _index_dtype(return_indices, x, axes)}
        return divided(_adaptive_max, (x,), images(x.ndim, rank, data_format), **static)

    return adaptive_max_pool


def _check_adapted(x: jax.Array, sizes: tuple[int | None, ...], axes: tuple[int, ...]) -> None:
    """Refuses a result that this machine cannot hold."""
    shape = list(x.shape)
    for axis, m in zip(axes, sizes, strict=True):
        shape[axis] = shape[axis] if m is None else m
    check_room(shape, x.dtype, "use a smaller output_size")


_UNPOOL_DOC = """The maxima of a pool, put back where they were among zeros: `torch.nn.functional.{name}`.

    Where an index stands twice in a plane, the last of them in row order holds on a CPU, and any of them elsewhere; the
    gradient goes to all of them, as PyTorch's does.

    Args:
        input: maxima of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C). Only N may be 0.
        indices: where they go, positions in the planes of the result as `max_pool{rank}d` with `return_indices=True`
            gives them; int64 or int32, in the shape of `input`. An index outside of a plane is refused, and writes
            nothing where it cannot be looked at, as in a compiled function.
        kernel_size: that of the pool; {per_axis}.
        stride: that of the pool; by default `kernel_size`.
        padding: that of the pool.
        output_size: size of the result, which the pool's arguments leave open, less than `stride` away from the
            default; one int per spatial axis, or the whole shape of a batch.
        data_format: `"channels_first"` or `"channels_last"`, of all arrays.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it, where {first}' = ({first} - 1) * stride - 2 * padding + kernel_size, or as `output_size` says.

    Raises:
        TypeError: an argument of a wrong kind, or indices that are no positions.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> pooled, indices = jaxconv.max_pool{rank}d(jnp.ones({image}), 2, return_indices=True)
        >>> jaxconv.{name}(pooled, indices, 2, output_size={given}).shape
        {image}
    """


def _max_unpool(rank: int):
    annotations = _annotations(rank) | {"indices": documents.images(rank)}

    @public(rank, f"max_unpool{rank}d", _UNPOOL_DOC, annotations, **_fields(rank))
    def max_unpool(
        input: jax.Array,
        indices: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        output_size: Sequence[int] | None = None,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x, places = as_array("input", input), as_array("indices", indices)
        check_max_dtype(x.dtype)
        check_index_dtype(places.dtype)
        arguments = Unpooling(kernel_size, stride, padding, output_size, data_format)
        sizes = parse_unpool(rank, x.shape, places.shape, arguments)
        channels = x.shape[-rank - 1 if data_format == "channels_first" else -1]
        shape = image_shape(x.shape[: -rank - 1], channels, sizes, data_format)
        check_room(shape, x.dtype, "use a smaller stride")
        # What is empty is empty, for PyTorch too.
        known = not isinstance(places, Tracer) and getattr(places, "is_fully_addressable", True)
        if known and places.size and is_static(sizes) and math.prod(sizes):
            numbers = jax.device_get(places)
            check_positions(int(numbers.min()), int(numbers.max()), sizes)
        static = {"sizes": sizes, "channels_last": data_format == "channels_last"}
        return divided(_unpool, (x, places), images(x.ndim, rank, data_format), **static)

    return max_unpool


_LP_DOC = """The norm of every window, as `torch.nn.functional.{name}` defines it: (sum of x^p)^(1/p).

    The powers are those of the elements themselves, not of their magnitudes, so for odd p a sum may be negative and its
    root NaN. A window whose sum is 0 gives no gradient. `norm_type=float("inf")` takes the largest magnitude, and
    `-float("inf")` the smallest.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C).
            Floating point. Only N may be 0.
        norm_type: p; any number but 0.
        kernel_size: size of a window; {per_axis}.
        stride: step between two windows; by default `kernel_size`.
        ceil_mode: whether the last window may hang over the end. Its sum is scaled up to a whole window's.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the dtype of `input` and of shape (N, C, {out}), or without N or with the channels last as `input`
        has it, where {first}' = floor(({first} - kernel_size) / stride) + 1, and with `ceil_mode` the ceiling instead.
        16-bit floats are computed in float32.

    Raises:
        TypeError: an argument of a wrong kind, or numbers other than floats.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.{name}(jnp.ones({image}), 2, 2).shape
        {halved}
    """


def _lp_pool(rank: int):
    @public(rank, f"lp_pool{rank}d", _LP_DOC, _annotations(rank), **_fields(rank))
    def lp_pool(
        input: jax.Array,
        norm_type: float,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        ceil_mode: bool = False,
        *,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_lp_dtype(x.dtype)
        power = parse_norm_type(norm_type)
        spec = parse_pool(rank, x.shape, Arguments(kernel_size, stride, 0, 1, ceil_mode, data_format))
        if rank == 3 and math.isfinite(power):
            check_whole_kernel(spec, x.shape)
        return divided(_lp, (x,), images(x.ndim, rank, spec.data_format), spec=spec, power=power)

    return lp_pool


max_pool1d = _max_pool(1)
max_pool2d = _max_pool(2)
max_pool3d = _max_pool(3)
avg_pool1d = _avg_pool_1d()
avg_pool2d = _avg_pool(2)
avg_pool3d = _avg_pool(3)
adaptive_avg_pool1d = _adaptive_avg_pool(1)
adaptive_avg_pool2d = _adaptive_avg_pool(2)
adaptive_avg_pool3d = _adaptive_avg_pool(3)
adaptive_max_pool1d = _adaptive_max_pool(1)
adaptive_max_pool2d = _adaptive_max_pool(2)
adaptive_max_pool3d = _adaptive_max_pool(3)
max_unpool1d = _max_unpool(1)
max_unpool2d = _max_unpool(2)
max_unpool3d = _max_unpool(3)
lp_pool1d = _lp_pool(1)
lp_pool2d = _lp_pool(2)
lp_pool3d = _lp_pool(3)


# ---------------------------------------------------------------------------------------------------------------
# What they compute. Compiled as a whole where called eagerly; within another compiled function they leave no trace
# ---------------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("spec", "indices"), inline=True)
def _max(x: jax.Array, spec: PoolSpec, indices: np.dtype | None) -> Any:
    """The maximum, from the last axis to the first; with `indices` where it is, too, in that dtype.

    PyTorch walks through a window in row order and takes an element where it is larger than the best so far, or NaN:
    it ends at the first of equal maxima, or at the last NaN. The same rule within each row and then over the rows'
    results ends there too: first (or last NaN) in the first row that has the maximum (in the last that has a NaN).
    """
    dtype = x.dtype
    if _is_partition(x, spec):
        return _max_side_by_side(x, spec, indices)
    if indices is None and _overlap(x, spec):
        return batched(lambda x: maxima(x, spec), spec.rank, x)
    # The gradient of an element is the sum over the windows that it is the maximum of.
    x = x.astype(wide(dtype)) if any(s < span(k, d) for k, s, d in _each(spec, "kernel strides dilations")) else x
    lowest = lowest_of(x.dtype)
    size = [x.shape[axis] for axis in spec.spatial_axes]
    counted = _counted(size, indices)
    places = []  # where each element is, once there are any: none or one array
    numbers = _each(spec, "spatial_axes kernel strides padding dilations")
    axes = list(zip(spec.output_size(size), _apart(size), numbers, strict=True))
    for out, apart, (axis, k, s, p, d) in reversed(axes):
        axis += x.ndim
        over = _overhang(x.shape[axis], out, k, s, p, d, spec.ceil_mode)
        x = _padded(x, axis, p, over, lowest)
        if indices is not None:
            here = _places(x.shape, axis, apart, counted, p)
            places = [_padded(each, axis, p, over, 0) + here for each in places] or [here]
        merge = partial(_first_max, axis=axis, padding=p, dilation=d)
        x, *places = _slide((x, *places), axis, out, k, s, d, merge)
    x = x.astype(dtype)
    return x if indices is None else (x, places[0].astype(indices))


def lowest_of(dtype: Any) -> Any:
    """What loses against every number, or equals it."""
    return -np.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).min


def _counted(size: Sequence[Size], indices: np.dtype | None) -> Any:
    """The integers that positions are counted in: 32 bits where they will do."""
    return np.dtype("int32") if is_static(size) and math.prod(size) <= 2**31 else indices


def _apart(size: Sequence[Size]) -> list[Size]:
    """How far two neighbours along each axis are apart in a plane of this size."""
    return [math.prod(size[axis + 1 :]) for axis in range(len(size))]


def _places(shape: Sequence[Size], axis: int, apart: Size, dtype: Any, low: int = 0) -> jax.Array:
    """What an element's place along `axis`, which `low` positions precede, adds to its position in the plane."""
    places = lax.broadcasted_iota(dtype, tuple(shape), axis)
    return (places - low if low else places) * _number(apart, dtype)


def _number(size: Size, dtype: Any) -> Any:
    """A size, which may be symbolic, among integers of a dtype."""
    return np.asarray(size, dtype) if isinstance(size, int) else jnp.array(size).astype(dtype)


def _first_max(left: Runs, right: Runs, taps: int, step: int, *, axis: int, padding: int, dilation: int) -> Runs:
    """The winners of two runs of taps, and where they are; `left` has `taps` taps, and its positions are `step` apart.

    A position of the padding must lose against the least of numbers too, which its value alone does not do: the right
    run wins where all of the left one lies in the low padding, position * step + (taps - 1) * dilation < padding. (In
    the high padding the right run cannot win, since it is not larger.)
    """
    take = right[0] > left[0]
    if jnp.issubdtype(right[0].dtype, jnp.inexact):
        take |= jnp.isnan(right[0])
    unset = -(-(padding - (taps - 1) * dilation) // step)
    if unset > 0:
        take |= lax.broadcasted_iota(jnp.int32, take.shape, axis) < unset
    return tuple(jnp.where(take, *both) for both in zip(right, left, strict=True))


def _is_partition(x: jax.Array, spec: PoolSpec) -> bool:
    """Whether small windows lie side by side within the image: no position is in two of them, or in the padding."""
    sizes = [x.shape[axis] for axis in spec.spatial_axes]
    numbers = zip(sizes, spec.output_size(sizes), _each(spec, "kernel strides padding dilations"), strict=True)
    return (
        jnp.issubdtype(x.dtype, jnp.inexact)
        and math.prod(spec.kernel) <= _MOST_TAPS
        and all(type(n) is int and k == s and p == 0 and d == 1 and m * k <= n for n, m, (k, s, p, d) in numbers)
    )


def _overlap(x: jax.Array, spec: PoolSpec) -> bool:
    """Whether small windows overlap along an axis, and leave no gaps along the others, in images of known size."""
    small = math.prod(spec.kernel) <= _MOST_OVERLAPPING and is_static([x.shape[axis] for axis in spec.spatial_axes])
    steps = list(zip(spec.strides, spec.kernel, strict=True))
    return small and all(s <= k for s, k in steps) and any(s < k for s, k in steps)


def _max_side_by_side(x: jax.Array, spec: PoolSpec, indices: np.dtype | None) -> Any:
    """The maximum of each window, where they lie side by side: a window's taps become axes of their own."""
    taps, shape, size = [], list(x.shape), [x.shape[axis] for axis in spec.spatial_axes]
    for axis, k in reversed(_each(spec, "spatial_axes kernel")):
        axis += x.ndim
        m = x.shape[axis] // k
        x = lax.slice_in_dim(x, 0, m * k, axis=axis)
        shape[axis : axis + 1] = [m, k]
        taps = [axis + 1, *(a + 1 for a in taps)]
    x, taps = x.reshape(shape), tuple(taps)
    value = _first_maximum(x, taps)
    if indices is None:
        return value
    counted = _counted(size, indices)
    winner, place = _winner(lax.stop_gradient(x), taps)[1].astype(counted), jnp.zeros(value.shape, counted)
    axes = _each(spec, "spatial_axes kernel")
    for apart, after, (axis, k) in zip(_apart(size), _apart(spec.kernel), axes, strict=True):
        place += _places(value.shape, axis + value.ndim, k * apart, counted) + winner // after % k * apart
    return value, place.astype(indices)


# The maximum over some axes.
_first_maximum = jax.custom_jvp(lambda x, taps: _winner(x, taps)[0], nondiff_argnums=(1,))


@_first_maximum.defjvp
def _first_maximum_jvp(taps: tuple[int, ...], primals, tangents):
    # That of the winning tap. Its transpose writes each element of the image once, where that of a chain of selects
    # would add up an image for each tap.
    (x,), (dx,) = primals, tangents
    value, winner = _winner(x, taps)
    wins = jnp.expand_dims(winner, taps) == _numbers(x, taps, winner.dtype)
    return value, jnp.where(wins, dx, 0).sum(taps)


def _numbers(x: jax.Array, taps: tuple[int, ...], dtype: Any) -> jax.Array:
    """The number of each tap, in row order of the axes `taps`; the other axes are of size 1."""
    number = jnp.zeros((1,) * x.ndim, dtype)
    for axis in taps:
        along = lax.broadcasted_iota(dtype, tuple(n if a == axis else 1 for a, n in enumerate(x.shape)), axis)
        number = number * _number(x.shape[axis], dtype) + along
    return number


def _winner(x: jax.Array, taps: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The maximum over the axes `taps`, and the number of the tap that it is at: the first, or the last NaN."""
    number = [x.shape[axis] for axis in taps]
    if not is_static(number) or math.prod(number) > _MOST_TAPS:
        return _winner_of_many(x, taps)

    def tap(index):
        value = x
        for axis, i in reversed(list(zip(taps, index, strict=True))):
            value = lax.index_in_dim(value, i, axis, keepdims=False)
        return value

    first, *others = itertools.product(*map(range, number))
    best = tap(first)
    winner = jnp.zeros(best.shape, jnp.int8)
    for number, index in enumerate(others, 1):
        value = tap(index)
        take = value > best
        if jnp.issubdtype(x.dtype, jnp.inexact):
            take |= jnp.isnan(value)
        best, winner = jnp.where(take, value, best), jnp.where(take, jnp.int8(number), winner)
    return best, winner


def _winner_of_many(x: jax.Array, taps: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The same by reductions, which are as short for any number of taps."""
    number = _numbers(x, taps, jnp.int32)
    best = lax.stop_gradient(x).max(taps, keepdims=True)
    winner = jnp.where(x == best, number, np.int32(2**31 - 1)).min(taps, keepdims=True)
    if jnp.issubdtype(x.dtype, jnp.inexact):
        last = jnp.where(jnp.isnan(x), number, np.int32(-1)).max(taps, keepdims=True)
        winner = jnp.where(last < 0, winner, last)
    # The maximum again, as what has the derivative of the winner alone; that of `max` is divided among equals.
    value = jnp.where(number == winner, x, 0).sum(taps, dtype=x.dtype)
    return value, winner.squeeze(taps)


@partial(jax.jit, static_argnames=("spec", "include_pad", "divisor"), inline=True)
def average(x: jax.Array, spec: PoolSpec, include_pad: bool, divisor: int | None) -> jax.Array:
    """The sum of each window over its divisor, which is a product of one number per axis."""
    dtype = x.dtype
    x = x.astype(wide(dtype))
    sizes = spec.output_size([x.shape[axis] for axis in spec.spatial_axes])
    count: Any = 1
    for out, (axis, k, s, p) in zip(sizes, _each(spec, "spatial_axes kernel strides padding"), strict=True):
        n, axis = x.shape[axis], axis + x.ndim
        over = _overhang(n, out, k, s, p, 1, spec.ceil_mode)
        x = _padded(x, axis, p, over, 0)
        (x,) = _slide((x,), axis, out, k, s, 1, lambda left, right, taps, step: (left[0] + right[0],))
        counted = counted_taps(n, x.shape[axis], k, s, p, spec.ceil_mode, include_pad)
        if not isinstance(counted, int):
            counted = jnp.expand_dims(jnp.asarray(counted, x.dtype), _others(x, axis))
        count = count * counted
    count = jnp.asarray(count if divisor is None else divisor, x.dtype)
    # Integers are truncated towards zero, as in C.
    x = lax.div(x, jnp.broadcast_to(count, x.shape))
    return x.astype(dtype)


def counted_taps(n: Size, out: Size, k: int, s: int, p: int, ceil_mode: bool, include_pad: bool) -> Any:
    """How many taps of each of `out` windows along an axis of size n an average counts: one int where all of them."""
    over = _overhang(n, out, k, s, p, 1, ceil_mode)
    if (p == 0 or include_pad) and (not ceil_mode or over <= p):
        return k
    return _counted_positions(out, k, s, p, -p if include_pad else 0, n + p if include_pad else n)


def _counted_positions(out: Size, k: int, s: int, p: int, first: int, end: Size) -> Any:
    """How many positions from `first` to before `end` are in each of `out` windows, of which the first is at -p."""
    if is_static((out, end)) and out > _LISTED:
        # In 32 bits: what is cut off a window on either side, which is nothing but of those next to the ends.
        i = lax.iota(jnp.int32, out)
        cuts = ((first + p, i), ((out - 1) * s - p + k - end, out - 1 - i))
        return k - sum(jnp.maximum(most - jnp.minimum(i, -(-most // s)) * s, 0) for most, i in cuts if most > 0)
    numbers = np if is_static((out, end)) else jnp  # of 64 bits, where the sizes are known
    start = numbers.arange(out) * s - p
    return numbers.minimum(start + k, end) - numbers.maximum(start, first)


@partial(jax.jit, static_argnames=("spec", "power"), inline=True)
def _lp(x: jax.Array, spec: PoolSpec, power: float) -> jax.Array:
    """The norm of each window: PyTorch's, of the average of its powers times the number of its taps."""
    if math.isinf(power):
        sign = 1 if power > 0 else -1
        # The magnitude, with a derivative of 0 at 0.
        return sign * _max(sign * x * jnp.sign(x), spec, None)
    dtype = x.dtype
    x = x.astype(wide(dtype))
    whole = power.is_integer() and abs(power) <= 8
    powers = lax.integer_pow(x, int(power)) if whole else lax.pow(x, jnp.asarray(power, x.dtype))
    total = average(powers, spec, True, None) * math.prod(spec.kernel)
    # The root has no derivative at 0, where PyTorch's product with a relu gives none.
    root = lax.pow(jnp.where(total == 0, 1, total), jnp.asarray(1 / power, x.dtype))
    return jnp.where(total == 0, 0 if power > 0 else np.inf, root).astype(dtype)


@partial(jax.jit, static_argnames=("sizes", "channels_last"), inline=True)
def _unpool(x: jax.Array, places: jax.Array, sizes: tuple[Size, ...], channels_last: bool) -> jax.Array:
    """Each plane's maxima written into zeros, in row order; a place outside of the plane is left out."""
    rank = len(sizes)
    if channels_last:
        x, places = jnp.moveaxis(x, -1, -rank - 1), jnp.moveaxis(places, -1, -rank - 1)
    put = _put
    for _ in range(x.ndim - rank):
        put = jax.vmap(put, (0, 0, None))
    planes = x.shape[:-rank]
    flat = (*planes, math.prod(x.shape[-rank:]))
    y = put(x.reshape(flat), places.reshape(flat), math.prod(sizes)).reshape(*planes, *sizes)
    return jnp.moveaxis(y, -rank - 1, -1) if channels_last else y


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _put(x: jax.Array, places: jax.Array, size: Size) -> jax.Array:
    """`size` zeros, with the elements of `x` at `places`."""
    return _scatter(lax.scatter, x, places, size)


@_put.defjvp
def _put_jvp(size: Size, primals, tangents):
    # Added up, not put, so that the transpose gathers: each element gets the gradient of its place, as PyTorch's do.
    (x, places), (dx, _) = primals, tangents
    return _put(x, places, size), _scatter(lax.scatter_add, dx, places, size)


def _scatter(scatter: Callable[..., jax.Array], x: jax.Array, places: jax.Array, size: Size) -> jax.Array:
    # JAX gathers, for the gradient, from what has one position for sure.
    more = 0 if isinstance(size, int) and size else 1
    numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
    mode = lax.GatherScatterMode.FILL_OR_DROP
    y = scatter(jnp.zeros((size + more,), x.dtype), places[:, None], x, numbers, mode=mode)
    return lax.slice_in_dim(y, 0, size) if more else y


@partial(jax.jit, static_argnames=("sizes", "axes"), inline=True)
def _adaptive(x: jax.Array, sizes: tuple[int | None, ...], axes: tuple[int, ...]) -> jax.Array:
    """The means over boxes, one axis after the other: all slices of a box have the same number of elements."""
    dtype = x.dtype
    x = x.astype(wide(dtype))
    for m, axis in zip(sizes, axes, strict=True):
        if m is not None:
            (x,) = _adaptive_axis((x,), m, axis + x.ndim, _mean)
    return x.astype(dtype)


@partial(jax.jit, static_argnames=("sizes", "axes", "indices"), inline=True)
def _adaptive_max(x: jax.Array, sizes: tuple[int | None, ...], axes: tuple[int, ...], indices: np.dtype | None) -> Any:
    """The maxima of boxes, from the last axis to the first, as `_max` finds them; with `indices` where they are."""
    dtype = x.dtype
    size = [x.shape[axis] for axis in axes]
    counted = _counted(size, indices)
    runs: Runs = (x.astype(wide(dtype)),)
    for m, axis, apart in reversed(list(zip(sizes, axes, _apart(size), strict=True))):
        axis += x.ndim
        if indices is not None:
            here = _places(runs[0].shape, axis, apart, counted)
            runs = (runs[0], *([each + here for each in runs[1:]] or [here]))
        if m is not None:
            runs = _adaptive_axis(runs, m, axis, _first_of_window)
    value, *places = runs
    value = value.astype(dtype)
    return value if indices is None else (value, places[0].astype(indices))


def _mean(runs: Runs, axis: int, inside: jax.Array | None = None) -> Runs:
    """The mean over an axis, or over what is inside of a window."""
    (x,) = runs
    if inside is None:
        return (x.mean(axis),)
    return (jnp.where(inside, x, 0).sum(axis) / inside.sum(axis, dtype=np.int32).astype(x.dtype),)


def _first_of_window(runs: Runs, axis: int, inside: jax.Array | None = None) -> Runs:
    """The maximum over an axis and where it is, what is not inside of a window left out: that comes last in it."""
    x, *places = runs
    if inside is not None:
        x = jnp.where(inside, x, jnp.asarray(lowest_of(x.dtype), x.dtype))
    value = _first_maximum(x, (axis,))
    if not places:
        return (value,)
    _, winner = _winner(lax.stop_gradient(x), (axis,))
    wins = jnp.expand_dims(winner, axis) == _numbers(x, (axis,), winner.dtype)
    return (value, *(jnp.where(wins, each, 0).sum(axis, dtype=each.dtype) for each in places))


def _adaptive_axis(runs: Runs, m: int, axis: int, reduce: Callable[..., Runs]) -> Runs:
    """`reduce` of m windows along one axis.

    With g = gcd(n, m), windows i and i + m / g are n / g positions apart, so the axis falls into g equal blocks, none
    of whose windows crosses its ends. An axis of symbolic size is one block.
    """
    shape = runs[0].shape
    before, n, after = shape[:axis], shape[axis], shape[axis + 1 :]
    if m == 0:
        return tuple(jnp.zeros((*before, 0, *after), x.dtype) for x in runs)
    blocks = math.gcd(n, m) if isinstance(n, int) else 1
    runs = tuple(x.reshape(*before, blocks, n // blocks, *after) for x in runs)
    runs = reduce(runs, axis + 1) if blocks == m else _adaptive_block(runs, m // blocks, axis + 1, reduce)
    return tuple(x.reshape(*before, m, *after) for x in runs)


def _adaptive_block(runs: Runs, m: int, axis: int, reduce: Callable[..., Runs]) -> Runs:
    """`reduce` of m windows along one axis, whose taps are gathered.

    Those beyond the end of a short window are told to it, for a sum to replace them by 0, not to multiply them by it
    (as an averaging matrix would), since they may be infinite or NaN. With n = q m + r, window i starts at
    i q + floor(i r / m), and is q + 2 positions long at most, or q + r where that is less.
    """
    x = runs[0]
    n = x.shape[axis]
    q, r = n // m, n % m
    if isinstance(n, int):
        start, end = _adaptive_windows(n, m)
        tap = np.arange(q + min(r, 2), dtype=np.int32)
    else:
        i = lax.iota(jnp.int32, m)
        start, end = i * q + i * r // m, (i + 1) * q - -(i + 1) * r // m
        tap = jnp.arange(q + 2, dtype=jnp.int32)
    places = start[:, None] + tap[None]
    # JAX gathers from what has one position for sure.
    padded = [_padded(x, axis, 0, 0 if isinstance(n, int) else 1, 0) for x in runs]
    taken = tuple(jnp.take(x, places, axis, mode="clip") for x in padded)
    inside = jnp.expand_dims(places < end[:, None], _others(taken[0], axis, axis + 1))
    return reduce(taken, axis + 1, inside)


def _adaptive_windows(n: int, m: int) -> tuple[Any, Any]:
    """Where m windows of n positions start and end, floor(i * n / m) and ceil((i + 1) * n / m) of coprime n and m.

    Few are found here. Many are left to the program, so that no array of their number is made where shapes alone are
    asked for. With i = a * b + c that is what a * b * n and c * n leave over, added up: two tables of about the root of
    m are all that is stored, and the program computes no product that 32 bits might not hold.
    """
    if m <= _LISTED:
        starts = np.arange(m + 1) * n // m
        return starts[:-1], np.minimum(starts[1:] + 1, n)
    dtype = _counted([n], np.dtype("int64"))
    b = math.isqrt(m) + 1
    (of_a, over_a), (of_c, over_c) = (np.divmod(np.arange(b) * step * (n % m), m) for step in (b, 1))
    carry = jnp.asarray(over_a, dtype)[:, None] >= jnp.asarray(m - over_c, dtype)
    parts = jnp.asarray(of_a, dtype)[:, None] + jnp.asarray(of_c, dtype) + carry
    starts = parts.reshape(-1)[: m + 1] + lax.iota(dtype, m + 1) * _number(n // m, dtype)
    return starts[:-1], jnp.minimum(starts[1:] + 1, _number(n, dtype))


def _others(x: jax.Array, *axes: int) -> tuple[int, ...]:
    """The axes of `x` beside these."""
    return tuple(a for a in range(x.ndim) if a not in axes)


# ---------------------------------------------------------------------------------------------------------------
# Windows along one axis
# ---------------------------------------------------------------------------------------------------------------


def _each(spec: PoolSpec, names: str) -> list[tuple[int, ...]]:
    """The named numbers of a spec, axis by axis."""
    return list(zip(*(getattr(spec, name) for name in names.split()), strict=True))


def _overhang(n: Size, out: Size, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """Positions beyond the image's end that the last window reaches.

    Of a symbolic size, what it reaches at most, and room for what `_slide` takes.
    """
    if isinstance(n, int):
        return max(extent(out, k, s, d) - p - n, 0)
    return p + (s - 1 if ceil_mode else 0) + room_for_taps(k, s, d)


def _padded(x: jax.Array, axis: int, low: int, high: int, value: Any) -> jax.Array:
    if not (low or high):
        return x
    widths = [(low, high, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return lax.pad(x, jnp.asarray(value, x.dtype), widths)


def _slide(runs: Runs, axis: int, out: Size, k: int, s: int, d: int, merge: Callable[..., Runs]) -> Runs:
    """The merged taps of `out` windows along `axis` of the padded arrays, in the order of the taps.

    `merge(left, right, taps, step)` merges two neighbouring runs of taps, the left one of `taps` taps, where two
    positions are `step` apart.
    """
    if k <= (3 if s == 1 else 5):
        taps = [tuple(every(x, t * d, out, s, axis) for x in runs) for t in range(k)]
        best = taps[0]
        for t, tap in enumerate(taps[1:], 1):
            best = merge(best, tap, t, s)
        return best
    # Long windows by doubling: runs of 1, 2, 4, ... taps at every position, of which k's binary digits are joined.
    # A chain of k merges would take longer to compile, and its gradient k^2 steps where the compiler fuses it.
    taps = 1
    joined, done = None, 0
    while True:
        if k & taps:
            part = tuple(every(x, done * d, out, s, axis) for x in runs)
            joined = part if joined is None else merge(joined, part, done, s)
            done += taps
            if done == k:
                return joined
        rest = runs[0].shape[axis] - taps * d
        left, right = (tuple(lax.slice_in_dim(x, i, i + rest, 1, axis) for x in runs) for i in (0, taps * d))
        runs = merge(left, right, taps, 1)
        taps *= 2
