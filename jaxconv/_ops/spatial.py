"""The functions for blocks of images: within a `shard_map`, where each device has a part of an image.

A result's block follows from the windows that it reads of the image (`_lowering/halo.py`): its own positions, those of
its neighbours, and at the image's border the padding. What is computed of the windows is the plain function, without
padding along the axes that are divided.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Shaped

from jaxconv._arrays import as_array, batched, element_type, wide
from jaxconv._lowering import padding as padding_modes
from jaxconv._lowering.common import add_bias
from jaxconv._lowering.halo import Windows, mesh_order, read_all
from jaxconv._ops import convolution, documents, meshes, pooling
from jaxconv._ops.documents import BIAS, images, kernels, public
from jaxconv._spec.arguments import IntOrInts, boolean, check_dtypes, one_of
from jaxconv._spec.convolution import (
    Arguments,
    ConvSpec,
    Shapes,
    TransposedArguments,
    parse_conv,
    parse_conv_transpose,
)
from jaxconv._spec.padding import (
    PADDING_MODES,
    Padding,
    check_pads,
    parse_transposed_padding,
    resolve_pads,
)
from jaxconv._spec.pooling import Arguments as PoolArguments
from jaxconv._spec.pooling import (
    PoolSpec,
    check_avg_dtype,
    check_max_dtype,
    check_whole_kernel,
    parse_divisor,
    parse_pool,
)
from jaxconv._spec.shapes import DATA_FORMATS, extent, span, spatial_axes, split_shape
from jaxconv._spec.spatial import AxisName, Division, check_result, of_whole, parse_axis_names, parse_widths

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "halo",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

AxisNames = Sequence[AxisName]

_NAMES = {1: '("h",)', 2: '("h", None)', 3: '("h", None, None)'}
_FORMATS = '`"channels_first"` or `"channels_last"`'
# What all of them say of the axes, and what their examples begin with.
_AXIS_NAMES = """\
        axis_names: which axes of the mesh divide the spatial axes, one entry for each of these: a name, a tuple of
            names with the outermost first, or None where the block has the whole axis."""
_MESH = """\
        >>> import jax, jax.numpy as jnp, jaxconv.spatial
        >>> from jax.sharding import Mesh, PartitionSpec
        >>> mesh, rows = Mesh(jax.devices()[:1], ("h",)), PartitionSpec(None, None, "h")"""
_RAISES = documents.RAISES.replace(
    "an invalid argument or shape;", "an invalid argument or shape, or a result that the devices do not divide;"
)


# ---------------------------------------------------------------------------------------------------------------
# Blocks
# ---------------------------------------------------------------------------------------------------------------


class _Blocks:
    """Blocks of images, one on each device: how the images are divided.

    Attributes:
        mesh: the axes of the mesh that may divide the images, and how many devices are along each.
        shape: the shape of a block.
        axes: the spatial axes of a block.
        divisions: how each of these is divided.
        whole: the shape of the whole images.
    """

    def __init__(self, x: jax.Array, rank: int, axis_names: Any, data_format: Any):
        mesh = jax.sharding.get_abstract_mesh()
        self.mesh = {name: n for name, n in mesh.shape.items() if name in mesh.manual_axes}
        self.divisions = parse_axis_names(rank, axis_names, self.mesh)
        self.shape = whole = tuple(x.shape)
        self.axes: tuple[int, ...] = ()
        if len(whole) > rank:  # else the shape is refused where the call is parsed
            self.axes = tuple(
                len(whole) + axis for axis in spatial_axes(rank, one_of("data_format", data_format, DATA_FORMATS))
            )
            parts = {axis: each.parts for axis, each in zip(self.axes, self.divisions, strict=True)}
            whole = tuple(n * parts.get(axis, 1) for axis, n in enumerate(whole))
        self.whole = whole

    @property
    def size(self) -> tuple[int, ...]:
        """The size of the whole images along the spatial axes."""
        return tuple(self.whole[axis] for axis in self.axes)

    @property
    def divided(self) -> list[tuple[int, int, Division]]:
        """The spatial axes that are divided: their number, their place, and how."""
        each = enumerate(zip(self.axes, self.divisions, strict=True))
        return [(i, axis, division) for i, (axis, division) in each if division.parts > 1]

    def parsed(self, parse: Callable[..., Any], *arguments: Any) -> Any:
        """What `parse` makes of a call for the whole images; it says so where it refuses them."""
        try:
            return parse(*arguments)
        except ValueError as error:
            if self.whole == self.shape:
                raise
            raise ValueError(of_whole(error, self.shape, self.whole)) from None

    def check(self, i: int, stride: int, size_of: Callable[[int], int], fix: Callable[[int], str]) -> None:
        """Refuses a result that the devices do not divide along spatial axis `i`; see `check_result`."""
        check_result(i, self.shape[self.axes[i]], stride, self.divisions[i], size_of, fix)

    def windows(self, i: int, size: int, pads: tuple[int, int], *, step: int, length: int) -> Windows:
        """The windows along spatial axis `i` of padded images of that size, which are divided as these are."""
        names, parts = self.divisions[i].names, self.divisions[i].parts
        return Windows(self.axes[i], names, parts, mesh_order(names, self.mesh), size, pads, -pads[0], step, length)


def _read(x: jax.Array, windows: tuple[Windows, ...], mode: str, value: Any = None) -> jax.Array:
    """The windows of a block; beyond the image is what the mode says, or `value`."""
    if not windows:
        return x
    return meshes.divided(_jit_read, (x, value), _places(x, windows), windows=windows, mode=mode)


@partial(jax.jit, static_argnames=("windows", "mode"), inline=True)
def _jit_read(x, value, windows: tuple[Windows, ...], mode: str):
    for each in windows:
        x = each.read(x, mode)
        if value is not None:
            positions = each.offset + each.step * lax.axis_index(each.names) + np.arange(each.length)
            inside = (positions >= 0) & (positions < each.size)
            others = [axis for axis in range(x.ndim) if axis != each.axis]
            x = jnp.where(jnp.expand_dims(inside, others), x, jnp.asarray(value).astype(x.dtype))
    return x


def _places(x: jax.Array, windows: Iterable[Windows]) -> list[Any]:
    """The places of an array like `x` but for the axes of its windows."""
    taken = {each.axis for each in windows}
    return [None if axis in taken else (0, axis) for axis in range(x.ndim)]


@partial(jax.jit, static_argnames=("windows", "spec", "dtype"), inline=True)
def _put_back(sheet: jax.Array, bias: jax.Array | None, windows: tuple[Windows, ...], spec: ConvSpec, dtype: Any):
    """The transpose of reading: blocks to which each position of the windows is added where it was read, and a bias."""
    names = {name for each in windows for name in each.names}
    sheet = _varying(sheet, names)
    shape = list(sheet.shape)
    for each in windows:
        shape[each.axis] = each.size // each.parts
    # A block that were the same on all devices would get the sum of what is put back on all of them.
    block = _varying(jnp.zeros(shape, sheet.dtype), jax.typeof(sheet).mat.varying)
    _, transpose = jax.vjp(partial(read_all, windows=windows, mode=spec.padding_mode), block)
    (x,) = transpose(sheet)
    x = x.astype(dtype)
    return x if bias is None else batched(lambda x: add_bias(x, bias, spec), spec.rank, x)


def _varying(x: jax.Array, names: Iterable[str]) -> jax.Array:
    """`x`, marked as one that differs between the devices along these axes."""
    return lax.pcast(x, tuple(set(names) - jax.typeof(x).mat.varying), to="varying")


# ---------------------------------------------------------------------------------------------------------------
# Convolution
# ---------------------------------------------------------------------------------------------------------------

_CONV_DOC = """`jaxconv.conv{rank}d` for a block of divided images, within a `jax.shard_map`.

    Each device computes its block of the result, from its own block and what it reads of its neighbours' blocks; at the
    border of the images it pads. The result is that of the whole images, and gradients are. A window may reach further
    than the block of the next device.

    Args:
        input: this device's block of images of shape (N, C, {axes}) or (C, {axes}), or with the channels last. The
            images have as many times its size along a divided axis as there are devices.
        weight: as of `jaxconv.conv{rank}d`, as are all arguments that follow.
        bias: (out_channels,), or None.
        stride: step between two output positions.
        padding: of the whole images; the size of the result, {first}' below, must be a multiple of the number of
            devices.
        dilation: step between two taps of the kernel.
        groups: number of blocks of channels that are convolved apart.
{axis_names}
        padding_mode: what fills the padding, at the border of the whole images.
        data_format: {formats}, of input and output.
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return.
        algorithm: how to compute it: `"auto"` or one of `jaxconv.algorithms()`.

    Returns:
        The block of the result that has this device's place: (N, out_channels, {out}) where each {first}' is that of
        `jaxconv.conv{rank}d` for the whole images, over the number of devices.

    Raises:
{raises}

    Example:
{mesh}
        >>> images, weight = jnp.ones({images}), jnp.ones({weight})
        >>> conv = jax.shard_map(
        ...     lambda x, w: jaxconv.spatial.conv{rank}d(x, w, padding="same", axis_names={names}),
        ...     mesh=mesh, in_specs=(rows, PartitionSpec()), out_specs=rows,
        ... )
        >>> conv(images, weight).shape
        {result}
    """


def _fields(rank: int) -> dict[str, Any]:
    """What the docstrings need beside the letters of the axes."""
    size, kernel = (8, 10, 12)[:rank], (3, 3, 3)[:rank]
    return {
        "axis_names": _AXIS_NAMES,
        "formats": _FORMATS,
        "mesh": _MESH,
        "names": _NAMES[rank],
        "images": (2, 3, *size),
        "weight": (5, 3, *kernel),
        "transposed": (3, 5, *(2,) * rank),
        "result": (2, 5, *size),
        "larger": (2, 5, *(2 * n for n in size)),
        "halved": (2, 3, *(n // 2 for n in size)),
    }


def _public(rank: int, name: str, template: str, annotations: dict[str, Any], **texts: Any) -> Callable:
    return public(rank, name, template.replace("{raises}", _RAISES), annotations, **_fields(rank), **texts)


def _make_conv(rank: int):
    plain = (convolution.conv1d, convolution.conv2d, convolution.conv3d)[rank - 1]
    annotations = {
        "input": images(rank),
        "weight": kernels(rank, "O", "I"),
        "bias": BIAS,
        "return": images(rank, "O", "_out"),
    }

    @_public(rank, f"conv{rank}d", _CONV_DOC, annotations)
    def conv(
        input: jax.Array,
        weight: jax.Array,
        bias: jax.Array | None = None,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        *,
        axis_names: AxisNames,
        padding_mode: str = "zeros",
        data_format: str = "channels_first",
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
    ) -> jax.Array:
        x, w = as_array("input", input), as_array("weight", weight)
        check_dtypes(input=x.dtype, weight=w.dtype)
        blocks = _Blocks(x, rank, axis_names, data_format)
        arguments = Arguments(stride, padding, dilation, groups, padding_mode, data_format)
        spec = blocks.parsed(parse_conv, rank, Shapes(blocks.whole, tuple(w.shape)), arguments)
        pads, windows = list(spec.pads), []
        out = spec.output_size(blocks.size, w.shape[2:])
        for i, _, division in blocks.divided:
            k, s, d = w.shape[2 + i], spec.strides[i], spec.dilations[i]
            room = sum(spec.pads[i]) - span(k, d) + s
            blocks.check(
                i,
                s,
                lambda n, room=room, s=s: (n + room) // s,
                lambda rest, s=s, parts=division.parts: (
                    f"{(parts - rest) * s} position{'s' * (parts - rest > 1 or s > 1)} of padding more"
                ),
            )
            m = out[i] // division.parts
            windows.append(blocks.windows(i, blocks.size[i], spec.pads[i], step=m * s, length=extent(m, k, s, d)))
            pads[i] = (0, 0)
        return plain(
            _read(x, tuple(windows), spec.padding_mode),
            w,
            bias,
            spec.strides,
            tuple(pads),
            spec.dilations,
            groups,
            padding_mode=padding_mode,
            data_format=data_format,
            precision=precision,
            preferred_element_type=preferred_element_type,
            algorithm=algorithm,
        )

    return conv


conv1d, conv2d, conv3d = (_make_conv(rank) for rank in (1, 2, 3))


_CONV_TRANSPOSE_DOC = """`jaxconv.conv_transpose{rank}d` for a block of divided images, within a `jax.shard_map`.

    Each device adds its positions' kernels up, and what lies beyond its block of the result goes to the devices that
    have it. The result is that of the whole images, and gradients are.

    Args:
        input: this device's block of images of shape (N, C, {axes}) or (C, {axes}), or with the channels last. The
            images have as many times its size along a divided axis as there are devices.
        weight: as of `jaxconv.conv_transpose{rank}d`, as are all arguments that follow.
        bias: (out_channels,), or None.
        stride: step between the kernels of two input positions.
        padding: what is cut off both ends of the whole output; its size must be a multiple of the number of devices.
        output_padding: positions added at the end of the whole output.
        groups: number of blocks of channels that are convolved apart.
        dilation: step between two taps of the kernel.
{axis_names}
        output_size: the size of the whole output, in place of `output_padding`.
        padding_mode: `"zeros"` or `"circular"`.
        data_format: {formats}, of input and output.
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return.
        algorithm: how to compute it: `"auto"` or one of `jaxconv.algorithms()`.

    Returns:
        The block of the result that has this device's place: (N, out_channels, {out}) where each {first}' is that of
        `jaxconv.conv_transpose{rank}d` for the whole images, over the number of devices.

    Raises:
{raises}

    Example:
{mesh}
        >>> images, weight = jnp.ones({images}), jnp.ones({transposed})
        >>> conv = jax.shard_map(
        ...     lambda x, w: jaxconv.spatial.conv_transpose{rank}d(x, w, stride=2, axis_names={names}),
        ...     mesh=mesh, in_specs=(rows, PartitionSpec()), out_specs=rows,
        ... )
        >>> conv(images, weight).shape
        {larger}
    """


def _make_conv_transpose(rank: int):
    plain = (convolution.conv_transpose1d, convolution.conv_transpose2d, convolution.conv_transpose3d)[rank - 1]
    annotations = {
        "input": images(rank),
        "weight": kernels(rank, "C", "O_per_group"),
        "bias": BIAS,
        "return": images(rank, "O", "_out"),
    }

    @_public(rank, f"conv_transpose{rank}d", _CONV_TRANSPOSE_DOC, annotations)
    def conv_transpose(
        input: jax.Array,
        weight: jax.Array,
        bias: jax.Array | None = None,
        stride: IntOrInts = 1,
        padding: IntOrInts | Sequence[tuple[int, int]] = 0,
        output_padding: IntOrInts = 0,
        groups: int = 1,
        dilation: IntOrInts = 1,
        *,
        axis_names: AxisNames,
        output_size: Sequence[int] | None = None,
        padding_mode: str = "zeros",
        data_format: str = "channels_first",
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
    ) -> jax.Array:
        y, w = as_array("input", input), as_array("weight", weight)
        b = None if bias is None else as_array("bias", bias)
        check_dtypes(input=y.dtype, weight=w.dtype, bias=None if b is None else b.dtype)
        blocks = _Blocks(y, rank, axis_names, data_format)
        arguments = TransposedArguments(
            stride, padding, output_padding, groups, dilation, output_size, padding_mode, data_format
        )
        shapes = Shapes(blocks.whole, tuple(w.shape), None if b is None else tuple(b.shape))
        spec = blocks.parsed(parse_conv_transpose, rank, shapes, arguments)
        strides, dilations, kernel = spec.spec.strides, spec.spec.dilations, w.shape[2:]
        pads = list(resolve_pads(parse_transposed_padding(padding, rank), kernel, dilations))
        sheets = [extent(n, k, s, d) for n, k, s, d in zip(blocks.size, kernel, strides, dilations, strict=True)]
        more = [n - sheet + sum(pair) for n, sheet, pair in zip(spec.size, sheets, pads, strict=True)]
        windows = []
        for i, axis, division in blocks.divided:
            k, s, d = kernel[i], strides[i], dilations[i]
            blocks.check(
                i,
                1,
                lambda n, s=s, beyond=spec.size[i] - blocks.size[i] * s: n * s + beyond,
                lambda rest, parts=division.parts: (
                    f"padding that cuts {rest} position{'s' * (rest > 1)} more off it, or {parts - rest} fewer"
                ),
            )
            m = blocks.shape[axis]
            # As `ConvSpec` has them: the pads of the convolution that this is the transpose of.
            windows.append(blocks.windows(i, spec.size[i], spec.spec.pads[i], step=m * s, length=extent(m, k, s, d)))
            pads[i], more[i] = (0, 0), 0
        dtype = y.dtype if preferred_element_type is None else element_type(preferred_element_type, y.dtype)
        # What several devices add up is not in 16 bits.
        dtype_of_sums = wide(dtype) if windows else dtype
        x = plain(
            y,
            w,
            None if windows else b,
            strides,
            tuple(pads),
            tuple(more),
            groups,
            dilations,
            padding_mode=padding_mode,
            data_format=data_format,
            precision=precision,
            preferred_element_type=preferred_element_type if dtype_of_sums == dtype else dtype_of_sums,
            algorithm=algorithm,
        )
        if not windows:
            return x
        put = {"windows": tuple(windows), "spec": spec.spec, "dtype": np.dtype(dtype)}
        return meshes.divided(_put_back, (x, b), _places(x, windows), **put)

    return conv_transpose


conv_transpose1d, conv_transpose2d, conv_transpose3d = (_make_conv_transpose(rank) for rank in (1, 2, 3))


# ---------------------------------------------------------------------------------------------------------------
# Pools
# ---------------------------------------------------------------------------------------------------------------

_MAX_DOC = """`jaxconv.max_pool{rank}d` for a block of divided images, within a `jax.shard_map`, without indices.

    Each device computes its block of the result, from its own block and what it reads of its neighbours' blocks.

    Args:
        input: this device's block of images of shape (N, C, {axes}) or (C, {axes}), or with the channels last. The
            images have as many times its size along a divided axis as there are devices.
        kernel_size: size of a window, as of `jaxconv.max_pool{rank}d`, as are all arguments that follow.
        stride: step between two windows; by default `kernel_size`.
        padding: of the whole images; the number of windows, {first}' below, must be a multiple of that of the devices.
        dilation: step between two elements of a window.
        ceil_mode: whether the last window of the whole images may hang over their end.
{axis_names}
        data_format: {formats}, of input and output.

    Returns:
        The block of the result that has this device's place: (N, C, {out}) where each {first}' is that of
        `jaxconv.max_pool{rank}d` for the whole images, over the number of devices.

    Raises:
{raises}

    Example:
{mesh}
        >>> pool = jax.shard_map(
        ...     lambda x: jaxconv.spatial.max_pool{rank}d(x, 3, 2, 1, axis_names={names}),
        ...     mesh=mesh, in_specs=rows, out_specs=rows,
        ... )
        >>> pool(jnp.ones({images})).shape
        {halved}
    """


def _read_for_pool(
    x: jax.Array, rank: int, axis_names: AxisNames, arguments: PoolArguments, beyond: Any = None
) -> tuple[jax.Array, PoolSpec, PoolSpec, _Blocks]:
    """What the windows of a block of a pool's result read, with the pool of that, and that of the whole images.

    What lies beyond the images is `beyond`, or zero.
    """
    blocks = _Blocks(x, rank, axis_names, arguments.data_format)
    spec = blocks.parsed(parse_pool, rank, blocks.whole, arguments)
    out, padding, windows = spec.output_size(blocks.size), list(spec.padding), []
    for i, _, division in blocks.divided:
        blocks.check(
            i,
            spec.strides[i],
            partial(_along, spec, i),
            lambda rest: "the whole of the axis on each device, and None for it in axis_names",
        )
        k, s, p, d = spec.kernel[i], spec.strides[i], spec.padding[i], spec.dilations[i]
        m = out[i] // division.parts
        windows.append(blocks.windows(i, blocks.size[i], (p, p), step=m * s, length=extent(m, k, s, d)))
        padding[i] = 0
    return _read(x, tuple(windows), "zeros", beyond), replace(spec, padding=tuple(padding)), spec, blocks


def _along(spec: PoolSpec, i: int, n: int) -> int:
    """The number of a pool's windows along spatial axis `i` of images of size n."""
    return spec.output_size((n,) * spec.rank)[i]


def _make_max_pool(rank: int):
    plain = (pooling.max_pool1d, pooling.max_pool2d, pooling.max_pool3d)[rank - 1]
    annotations = {"input": images(rank), "return": images(rank, after="_out")}

    @_public(rank, f"max_pool{rank}d", _MAX_DOC, annotations)
    def max_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        dilation: IntOrInts = 1,
        ceil_mode: bool = False,
        *,
        axis_names: AxisNames,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_max_dtype(x.dtype)
        arguments = PoolArguments(kernel_size, stride, padding, dilation, ceil_mode, data_format)
        lowest = np.asarray(pooling.lowest_of(x.dtype), x.dtype)
        x, own, _, _ = _read_for_pool(x, rank, axis_names, arguments, lowest)
        return plain(x, own.kernel, own.strides, own.padding, own.dilations, own.ceil_mode, data_format=own.data_format)

    return max_pool


max_pool1d, max_pool2d, max_pool3d = (_make_max_pool(rank) for rank in (1, 2, 3))


_AVG_DOC = """`jaxconv.avg_pool{rank}d` for a block of divided images, within a `jax.shard_map`.

    Each device computes its block of the result, from its own block and what it reads of its neighbours' blocks.

    Args:
        input: this device's block of images of shape (N, C, {axes}) or (C, {axes}), or with the channels last. The
            images have as many times its size along a divided axis as there are devices.
        kernel_size: size of a window, as of `jaxconv.avg_pool{rank}d`, as are all arguments that follow.
        stride: step between two windows; by default `kernel_size`.
        padding: of the whole images; the number of windows, {first}' below, must be a multiple of that of the devices.
        ceil_mode: whether the last window of the whole images may hang over their end.
        count_include_pad: whether the divisor counts the zeros of the padding.
{divisor}{axis_names}
        data_format: {formats}, of input and output.

    Returns:
        The block of the result that has this device's place: (N, C, {out}) where each {first}' is that of
        `jaxconv.avg_pool{rank}d` for the whole images, over the number of devices.

    Raises:
{raises}

    Example:
{mesh}
        >>> pool = jax.shard_map(
        ...     lambda x: jaxconv.spatial.avg_pool{rank}d(x, 2, axis_names={names}),
        ...     mesh=mesh, in_specs=rows, out_specs=rows,
        ... )
        >>> pool(jnp.ones({images})).shape
        {halved}
    """

_DIVISOR = "        divisor_override: divisor of every window, in place of its size.\n"


def _make_avg_pool(rank: int):
    annotations = {"input": images(rank), "return": images(rank, after="_out")}

    @_public(rank, f"avg_pool{rank}d", _AVG_DOC, annotations, divisor=_DIVISOR)
    def avg_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        axis_names: AxisNames,
        data_format: str = "channels_first",
    ) -> jax.Array:
        x = as_array("input", input)
        check_avg_dtype(x.dtype)
        arguments = PoolArguments(kernel_size, stride, padding, 1, ceil_mode, data_format)
        windows, own, spec, blocks = _read_for_pool(x, rank, axis_names, arguments)
        if rank == 3:
            check_whole_kernel(spec, blocks.whole)
        include = boolean("count_include_pad", count_include_pad)
        divisor = parse_divisor(divisor_override)
        static = {"spec": spec, "own": own, "include_pad": include, "divisor": divisor, "size": blocks.size}
        static["divided"] = tuple((i, division) for i, _, division in blocks.divided)
        return meshes.divided(_average, (windows,), meshes.images(x.ndim, rank, spec.data_format), **static)

    return avg_pool


@partial(jax.jit, static_argnames=("spec", "own", "include_pad", "divisor", "size", "divided"), inline=True)
def _average(x, spec: PoolSpec, own: PoolSpec, include_pad: bool, divisor: int | None, size, divided):
    """The sums of the windows, over the numbers of taps that are counted along each axis of the whole images."""
    dtype = x.dtype
    total = pooling.average(x.astype(wide(dtype)), own, include_pad, 1)
    count: Any = 1
    parts = dict(divided)
    axes = zip(size, spec.output_size(size), spec.spatial_axes, spec.kernel, spec.strides, spec.padding, strict=True)
    for i, (n, out, axis, k, s, p) in enumerate(axes):
        counted = pooling.counted_taps(n, out, k, s, p, spec.ceil_mode, include_pad)
        if not isinstance(counted, int):
            if i in parts:
                counted = jnp.asarray(counted.reshape(parts[i].parts, -1))[lax.axis_index(parts[i].names)]
            others = [a for a in range(x.ndim) if a != axis + x.ndim]
            counted = jnp.expand_dims(jnp.asarray(counted, total.dtype), others)
        count = count * counted
    count = jnp.asarray(count if divisor is None else divisor, total.dtype)
    return lax.div(total, jnp.broadcast_to(count, total.shape)).astype(dtype)


def _make_avg_pool_1d():
    # PyTorch's has no divisor_override.
    pool = _make_avg_pool(1)
    annotations = {"input": images(1), "return": images(1, after="_out")}

    @_public(1, "avg_pool1d", _AVG_DOC, annotations, divisor="")
    def avg_pool(
        input: jax.Array,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        axis_names: AxisNames,
        data_format: str = "channels_first",
    ) -> jax.Array:
        size = (kernel_size, stride, padding, ceil_mode, count_include_pad)
        return pool(input, *size, axis_names=axis_names, data_format=data_format)

    return avg_pool


avg_pool1d, avg_pool2d, avg_pool3d = _make_avg_pool_1d(), _make_avg_pool(2), _make_avg_pool(3)


# ---------------------------------------------------------------------------------------------------------------
# Padding
# ---------------------------------------------------------------------------------------------------------------


def halo(
    block: Shaped[Array, "..."],
    widths: int | Sequence[int] | Sequence[tuple[int, int]],
    axis_names: AxisNames,
    padding_mode: str = "zeros",
    *,
    data_format: str = "channels_first",
) -> Shaped[Array, "..."]:
    """A block of divided images with its halo: what its neighbours have beside it, within a `jax.shard_map`.

    At the border of the whole images the halo is filled as padding is. So a function that reads no further, without
    padding of its own, computes of the larger block its block of the result: a stencil, a convolution of stride 1.

    Args:
        block: this device's block of images, with or without a batch, of any dtype.
        widths: positions before the block and after it: an int, one per spatial axis, or a (low, high) pair per
            spatial axis. They may exceed the size of a block.
        axis_names: which axes of the mesh divide the spatial axes, one entry for each of these: a name, a tuple of
            names with the outermost first, or None where the block has the whole axis.
        padding_mode: `"zeros"`, `"reflect"`, `"replicate"`, `"circular"` or `"symmetric"`, at the border of the whole
            images.
        data_format: `"channels_first"` or `"channels_last"`.

    Returns:
        An array of the dtype of `block`, low + high positions larger along each spatial axis.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax, jax.numpy as jnp, jaxconv.spatial
        >>> from jax.sharding import Mesh, PartitionSpec
        >>> mesh, columns = Mesh(jax.devices()[:1], ("w",)), PartitionSpec(None, "w")
        >>> ring = jax.shard_map(
        ...     lambda x: jaxconv.spatial.halo(x, ((1, 2),), ("w",), "circular"),
        ...     mesh=mesh, in_specs=columns, out_specs=columns,
        ... )
        >>> ring(jnp.arange(5.0)[None])
        Array([[4., 0., 1., 2., 3., 4., 0., 1.]], dtype=float32)
    """
    x = as_array("block", block)
    if isinstance(axis_names, Sequence) and not 1 <= len(axis_names) <= 3:
        raise ValueError(f"axis_names must have an entry for each of 1 to 3 spatial axes, got {tuple(axis_names)}")
    rank = len(axis_names) if isinstance(axis_names, Sequence) else 1
    blocks = _Blocks(x, rank, axis_names, data_format)
    split_shape("block", x.shape, rank, data_format, "halo")
    pairs = parse_widths(rank, widths)
    mode = one_of("padding_mode", padding_mode, PADDING_MODES)
    blocks.parsed(check_pads, mode, pairs, blocks.size)
    amounts, windows = [(0, 0)] * x.ndim, []
    for i, (axis, division, pair) in enumerate(zip(blocks.axes, blocks.divisions, pairs, strict=True)):
        n = x.shape[axis]
        if division.parts > 1 and any(pair):
            windows.append(blocks.windows(i, blocks.size[i], pair, step=n, length=n + sum(pair)))
        else:
            amounts[axis] = pair
    x = _read(x, tuple(windows), mode)
    places = [None if pair != (0, 0) else (0, axis) for axis, pair in enumerate(amounts)]
    return meshes.divided(_pad, (x,), places, widths=tuple(amounts), mode=mode) if any(map(any, amounts)) else x


_pad = jax.jit(padding_modes.pad, static_argnames=("widths", "mode"), inline=True)
