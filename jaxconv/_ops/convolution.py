"""The public functions: convolution with PyTorch's arguments and meaning on JAX arrays.

A convolution is linear in its input and in its weight, so with T(x, w, y) = <y, conv(x, w)> all of them are one of
T's three partial derivatives:

    conv*d                          the one in y, op `output`
    conv_transpose*d, conv*d_input  the one in x, op `input`
    conv*d_weight                   the one in w, op `weight`

The functions for one, two and three dimensions are made from one body.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import jax

from jaxconv import _trilinear
from jaxconv._arrays import as_array, batched, check_room, element_type, parse_precision
from jaxconv._lowering import padding, select
from jaxconv._lowering.common import add_bias
from jaxconv._lowering.family import make_problem
from jaxconv._ops import meshes
from jaxconv._ops.documents import BIAS, images, kernels, public
from jaxconv._spec.arguments import IntOrInts, check_dtypes, one_of, parse_shape
from jaxconv._spec.convolution import (
    LESS,
    SMALLER,
    Arguments,
    ConvSpec,
    Shapes,
    TransposedArguments,
    TransposedSpec,
    check_grad_output,
    parse_conv,
    parse_conv_transpose,
)
from jaxconv._spec.padding import Padding
from jaxconv._spec.shapes import image_shape, is_static, spatial_axes
from jaxconv._trilinear import Options

_COMMON_ARGUMENTS = """\
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return; by default that of the arguments, with 16-bit
            floats accumulated in float32.
        algorithm: how to compute it: `"auto"` or one of `jaxconv.algorithms()`; never what is computed."""

_GEOMETRY_ARGUMENTS = """\
        stride: step between two output positions; an int, or one per spatial axis.
        padding: an int, or one per spatial axis, added at both ends; `"same"` (stride 1 only; the odd element goes
            to the end), `"valid"`{causal}; or a (low, high) pair per spatial axis. Padding modes other than
            `"zeros"` take negative amounts too, which crop.
        dilation: step between two taps of the kernel; an int, or one per spatial axis.
        groups: number of blocks of channels that are convolved apart; `groups=C` is the depthwise convolution.
        padding_mode: `"zeros"`, `"reflect"` (amounts below the image's size), `"replicate"`, `"circular"` or
            `"symmetric"` (amounts up to the image's size).
        data_format: `"channels_first"` or `"channels_last"`, of input and output; the weight's layout is the same."""

_CAUSAL = {1: ', `"causal"` (all of it at the start)', 2: "", 3: ""}
_TEXTS = {"common": _COMMON_ARGUMENTS, "geometry": _GEOMETRY_ARGUMENTS}


# ---------------------------------------------------------------------------------------------------------------
# Convolution
# ---------------------------------------------------------------------------------------------------------------

_CONV_DOC = """{rank}-D convolution, as `torch.nn.functional.conv{rank}d` defines it.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C). Only N may be 0.
        weight: (out_channels, C / groups, {kernel}), in both data formats.
        bias: (out_channels,), or None.
{geometry}
{common}

    Returns:
        An array of shape (N, out_channels, {out}), or without N or with the channels last as `input` has it, where
        {first}' = floor(({first} + low + high - dilation * (k{first} - 1) - 1) / stride) + 1 along each axis.

    Raises:
{raises}

    Example:
        >>> import jax.numpy as jnp, jaxconv
{example}
    """


def _make_conv(rank: int, example: str):
    annotations = {
        "input": images(rank),
        "weight": kernels(rank, "O", "I"),
        "bias": BIAS,
        "return": images(rank, "O", "_out"),
    }

    @public(rank, f"conv{rank}d", _CONV_DOC, annotations, **_TEXTS, example=example, causal=_CAUSAL[rank])
    def conv(
        input: jax.Array,
        weight: jax.Array,
        bias: jax.Array | None = None,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        *,
        padding_mode: str = "zeros",
        data_format: str = "channels_first",
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
    ) -> jax.Array:
        x, w, b = as_array("input", input), as_array("weight", weight), _bias(bias)
        check_dtypes(input=x.dtype, weight=w.dtype, bias=None if b is None else b.dtype)
        arguments = Arguments(stride, padding, dilation, groups, padding_mode, data_format)
        spec = parse_conv(rank, Shapes(x.shape, w.shape, _shape(b)), arguments)
        options = _options("output", spec, x, w, None, precision, preferred_element_type, algorithm)
        if is_static(x.shape):
            check_room(_output_shape(spec, x.shape, w.shape), x.dtype, LESS)
        places = meshes.images(x.ndim, rank, spec.data_format, (1, 0))
        return meshes.divided(_conv, (x, w, b), places, spec=spec, options=options)

    return conv


@lru_cache(4096)
def _output_shape(spec: ConvSpec, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> tuple[int, ...]:
    size = [x_shape[axis] for axis in spatial_axes(spec.rank, spec.data_format)]
    batch = x_shape[: -spec.rank - 1]
    return image_shape(batch, w_shape[0], spec.output_size(size, w_shape[2:]), spec.data_format)


# Compiled as a whole where it is called eagerly; within another compiled function it leaves no trace (`inline`).
@partial(jax.jit, static_argnames=("spec", "options"), inline=True)
def _conv(x, w, b, spec: ConvSpec, options: Options):
    return batched(lambda x: _trilinear.output(x, w, b, spec, options), spec.rank, x)


conv1d = _make_conv(
    1,
    """\
        >>> sound, weight = jnp.ones((20, 16, 50)), jnp.ones((33, 16, 3))
        >>> jaxconv.conv1d(sound, weight, padding="causal", dilation=4).shape
        (20, 33, 50)""",
)
conv2d = _make_conv(
    2,
    """\
        >>> images, weight = jnp.ones((20, 16, 50, 100)), jnp.ones((33, 16, 3, 5))
        >>> jaxconv.conv2d(images, weight, stride=(2, 1), padding=(4, 2), dilation=(3, 1)).shape
        (20, 33, 26, 100)""",
)
conv3d = _make_conv(
    3,
    """\
        >>> volumes, weight = jnp.ones((2, 16, 10, 50, 100)), jnp.ones((33, 16, 3, 5, 2))
        >>> jaxconv.conv3d(volumes, weight, stride=(2, 1, 1), padding=(4, 2, 0)).shape
        (2, 33, 8, 50, 99)""",
)


# ---------------------------------------------------------------------------------------------------------------
# Transposed convolution
# ---------------------------------------------------------------------------------------------------------------

_CONV_TRANSPOSE_DOC = """{rank}-D transposed convolution, as `torch.nn.functional.conv_transpose{rank}d` defines it.

    It is the transpose of `conv{rank}d` in its input: every position of `input` adds its kernel, scaled, to the output.

    Args:
        input: images of shape (N, C, {axes}) or (C, {axes}); with `data_format="channels_last"` (N, {axes}, C) or
            ({axes}, C). Only N may be 0.
        weight: (C, out_channels / groups, {kernel}), in both data formats.
        bias: (out_channels,), or None.
        stride: step between the kernels of two input positions; an int, or one per spatial axis.
        padding: what is cut off both ends of the output; an int, or one per spatial axis, or a (low, high) pair per
            spatial axis.
        output_padding: positions added at the end of the output, fewer than stride or than dilation; an int, or one
            per spatial axis.
        groups: number of blocks of channels that are convolved apart.
        dilation: step between two taps of the kernel; an int, or one per spatial axis.
        output_size: the output's size along the spatial axes, or along all axes of `input`, in place of
            `output_padding`; it may exceed the least possible one by stride - 1.
        padding_mode: `"zeros"`, or `"circular"`, which adds what is cut off one end to the other.
        data_format: `"channels_first"` or `"channels_last"`, of input and output; the weight's layout is the same.
{common}

    Returns:
        An array of shape (N, out_channels, {out}), or without N or with the channels last as `input` has it, where
        {first}' = ({first} - 1) * stride - low - high + dilation * (k{first} - 1) + 1 + output_padding along each axis.

    Raises:
{raises}

    Example:
        >>> import jax.numpy as jnp, jaxconv
{example}
    """


def _make_conv_transpose(rank: int, example: str):
    annotations = {
        "input": images(rank),
        "weight": kernels(rank, "C", "O_per_group"),
        "bias": BIAS,
        "return": images(rank, "O", "_out"),
    }

    @public(rank, f"conv_transpose{rank}d", _CONV_TRANSPOSE_DOC, annotations, **_TEXTS, example=example)
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
        output_size: Sequence[int] | None = None,
        padding_mode: str = "zeros",
        data_format: str = "channels_first",
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
    ) -> jax.Array:
        y, w, b = as_array("input", input), as_array("weight", weight), _bias(bias)
        check_dtypes(input=y.dtype, weight=w.dtype, bias=None if b is None else b.dtype)
        arguments = TransposedArguments(
            stride, padding, output_padding, groups, dilation, output_size, padding_mode, data_format
        )
        spec = parse_conv_transpose(rank, Shapes(y.shape, w.shape, _shape(b)), arguments)
        options = _options("input", spec.spec, w, y, spec.size, precision, preferred_element_type, algorithm)
        shape = image_shape(y.shape[: -rank - 1], w.shape[1] * spec.spec.groups, spec.size, spec.spec.data_format)
        check_room(shape, y.dtype, SMALLER)
        run = _jit_conv_transpose if is_static(y.shape) else _conv_transpose
        places = meshes.images(y.ndim, rank, spec.spec.data_format, (1, 1) if spec.spec.groups == 1 else None)
        return meshes.divided(run, (y, w, b), places, spec=spec, options=options)

    return conv_transpose


def _conv_transpose(y, w, b, spec: TransposedSpec, options: Options):
    conv = spec.spec

    def op(y):
        if any(spec.extension):
            widths = [(0, 0)] * y.ndim
            for axis, more in zip(conv.spatial_axes, spec.extension, strict=True):
                widths[axis] = (0, more)
            y = padding.pad(y, widths, "zeros")
        x = _trilinear.input(w, y, conv, spec.size, options)
        return x if b is None else add_bias(x, b, conv)

    return batched(op, conv.rank, y)


# Symbolic sizes cannot be looked up among compiled functions; there is nothing to compile then, but to trace.
_jit_conv_transpose = jax.jit(_conv_transpose, static_argnames=("spec", "options"), inline=True)

conv_transpose1d = _make_conv_transpose(
    1,
    """\
        >>> sound, weight = jnp.ones((20, 16, 50)), jnp.ones((16, 33, 3))
        >>> jaxconv.conv_transpose1d(sound, weight, stride=2, padding=1, output_padding=1).shape
        (20, 33, 100)""",
)
conv_transpose2d = _make_conv_transpose(
    2,
    """\
        >>> images, weight = jnp.ones((20, 16, 12, 12)), jnp.ones((16, 33, 3, 3))
        >>> jaxconv.conv_transpose2d(images, weight, stride=2, padding=1, output_size=(24, 23)).shape
        (20, 33, 24, 23)""",
)
conv_transpose3d = _make_conv_transpose(
    3,
    """\
        >>> volumes, weight = jnp.ones((2, 16, 5, 7, 6)), jnp.ones((16, 33, 3, 5, 2))
        >>> jaxconv.conv_transpose3d(volumes, weight, stride=(2, 1, 1), padding=(0, 4, 2)).shape
        (2, 33, 11, 3, 3)""",
)


# ---------------------------------------------------------------------------------------------------------------
# The other two partial derivatives by name
# ---------------------------------------------------------------------------------------------------------------

_CONV_INPUT_DOC = """The gradient of `conv{rank}d` in its input, as `torch.nn.grad.conv{rank}d_input` gives it.

    It is linear in `weight` and in `grad_output`; for complex numbers it is the transpose, nothing is conjugated.

    Args:
        input_size: shape of the input of the convolution, batched or not.
        weight: the weight of the convolution, (out_channels, C / groups, {kernel}).
        grad_output: gradient of its output, of the output's shape.
{geometry}
{common}

    Returns:
        An array of shape `input_size`.

    Raises:
{raises}

    Example:
        >>> import jax.numpy as jnp, jaxconv
{example}
    """

_CONV_WEIGHT_DOC = """The gradient of `conv{rank}d` in its weight, as `torch.nn.grad.conv{rank}d_weight` gives it.

    It is linear in `input` and in `grad_output`; for complex numbers it is the transpose, nothing is conjugated.

    Args:
        input: the input of the convolution, batched or not.
        weight_size: shape of its weight, (out_channels, C / groups, {kernel}).
        grad_output: gradient of its output, of the output's shape.
{geometry}
{common}

    Returns:
        An array of shape `weight_size`.

    Raises:
{raises}

    Example:
        >>> import jax.numpy as jnp, jaxconv
{example}
    """


def _make_conv_input(rank: int, example: str):
    annotations = {
        "weight": kernels(rank, "O", "I"),
        "grad_output": images(rank, "O", "_out"),
        "return": images(rank),
    }

    @public(rank, f"conv{rank}d_input", _CONV_INPUT_DOC, annotations, **_TEXTS, example=example, causal=_CAUSAL[rank])
    def conv_input(
        input_size: Sequence[int],
        weight: jax.Array,
        grad_output: jax.Array,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        *,
        padding_mode: str = "zeros",
        data_format: str = "channels_first",
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
    ) -> jax.Array:
        w, y = as_array("weight", weight), as_array("grad_output", grad_output)
        check_dtypes(weight=w.dtype, grad_output=y.dtype)
        x_shape = parse_shape("input_size", input_size)
        arguments = Arguments(stride, padding, dilation, groups, padding_mode, data_format)
        spec = parse_conv(rank, Shapes(x_shape, w.shape), arguments)
        check_grad_output(spec, x_shape, w.shape, y.shape)
        size = tuple(x_shape[a] for a in spatial_axes(rank, spec.data_format))
        options = _options("input", spec, w, y, size, precision, preferred_element_type, algorithm)
        check_room(x_shape, y.dtype, "use a smaller input_size")
        run = _jit_conv_input if is_static(x_shape) else _conv_input
        places = meshes.images(y.ndim, rank, spec.data_format, (1, 1) if spec.groups == 1 else None)
        return meshes.divided(run, (y, w), places, spec=spec, size=size, options=options)

    return conv_input


def _conv_input(y, w, spec: ConvSpec, size, options):
    return batched(lambda y: _trilinear.input(w, y, spec, size, options), spec.rank, y)


_jit_conv_input = jax.jit(_conv_input, static_argnames=("spec", "size", "options"), inline=True)


def _make_conv_weight(rank: int, example: str):
    annotations = {
        "input": images(rank),
        "grad_output": images(rank, "O", "_out"),
        "return": kernels(rank, "O", "I"),
    }

    @public(rank, f"conv{rank}d_weight", _CONV_WEIGHT_DOC, annotations, **_TEXTS, example=example, causal=_CAUSAL[rank])
    def conv_weight(
        input: jax.Array,
        weight_size: Sequence[int],
        grad_output: jax.Array,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        *,
        padding_mode: str = "zeros",
        data_format: str = "channels_first",
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
    ) -> jax.Array:
        x, y = as_array("input", input), as_array("grad_output", grad_output)
        check_dtypes(input=x.dtype, grad_output=y.dtype)
        w_shape = parse_shape("weight_size", weight_size)
        arguments = Arguments(stride, padding, dilation, groups, padding_mode, data_format)
        spec = parse_conv(rank, Shapes(x.shape, w_shape), arguments)
        check_grad_output(spec, x.shape, w_shape, y.shape)
        options = _options("weight", spec, x, y, w_shape[2:], precision, preferred_element_type, algorithm)
        c = spec.channel_axis - (rank + 2) + x.ndim
        places = [(1, c), (0, c) if spec.groups == 1 else None, *[None] * rank]
        return meshes.divided(_conv_weight, (x, y), places, spec=spec, kernel=w_shape[2:], options=options)

    return conv_weight


@partial(jax.jit, static_argnames=("spec", "kernel", "options"), inline=True)
def _conv_weight(x, y, spec: ConvSpec, kernel, options):
    if x.ndim == spec.rank + 1:
        x, y = x[None], y[None]
    return _trilinear.weight(x, y, spec, kernel, options)


_INPUT_EXAMPLES = (
    """\
        >>> weight, gradient = jnp.ones((33, 16, 3)), jnp.ones((20, 33, 25))
        >>> jaxconv.conv1d_input((20, 16, 50), weight, gradient, stride=2, padding=1).shape
        (20, 16, 50)""",
    """\
        >>> weight, gradient = jnp.ones((33, 16, 3, 5)), jnp.ones((20, 33, 25, 96))
        >>> jaxconv.conv2d_input((20, 16, 50, 100), weight, gradient, stride=(2, 1), padding=(1, 0)).shape
        (20, 16, 50, 100)""",
    """\
        >>> weight, gradient = jnp.ones((8, 4, 3, 2, 1)), jnp.ones((2, 8, 3, 5, 6))
        >>> jaxconv.conv3d_input((2, 4, 5, 6, 6), weight, gradient).shape
        (2, 4, 5, 6, 6)""",
)
_WEIGHT_EXAMPLES = (
    """\
        >>> sound, gradient = jnp.ones((20, 16, 50)), jnp.ones((20, 33, 25))
        >>> jaxconv.conv1d_weight(sound, (33, 16, 3), gradient, stride=2, padding=1).shape
        (33, 16, 3)""",
    """\
        >>> images, gradient = jnp.ones((20, 16, 50, 100)), jnp.ones((20, 33, 25, 96))
        >>> jaxconv.conv2d_weight(images, (33, 16, 3, 5), gradient, stride=(2, 1), padding=(1, 0)).shape
        (33, 16, 3, 5)""",
    """\
        >>> volumes, gradient = jnp.ones((2, 4, 5, 6, 6)), jnp.ones((2, 8, 3, 5, 6))
        >>> jaxconv.conv3d_weight(volumes, (8, 4, 3, 2, 1), gradient).shape
        (8, 4, 3, 2, 1)""",
)
conv1d_input = _make_conv_input(1, _INPUT_EXAMPLES[0])
conv2d_input = _make_conv_input(2, _INPUT_EXAMPLES[1])
conv3d_input = _make_conv_input(3, _INPUT_EXAMPLES[2])
conv1d_weight = _make_conv_weight(1, _WEIGHT_EXAMPLES[0])
conv2d_weight = _make_conv_weight(2, _WEIGHT_EXAMPLES[1])
conv3d_weight = _make_conv_weight(3, _WEIGHT_EXAMPLES[2])


# ---------------------------------------------------------------------------------------------------------------
# What the functions share
# ---------------------------------------------------------------------------------------------------------------


def _bias(bias: Any) -> jax.Array | None:
    return None if bias is None else as_array("bias", bias)


def _shape(array: jax.Array | None) -> tuple[int, ...] | None:
    return None if array is None else array.shape


def _options(
    op: str,
    spec: ConvSpec,
    first: jax.Array,
    second: jax.Array,
    size: Any,
    precision: Any,
    preferred_element_type: Any,
    algorithm: str,
) -> Options:
    """The options of a call; refuses an algorithm that cannot serve it."""
    precision = parse_precision(precision)
    preferred_element_type = element_type(preferred_element_type, first.dtype)
    if one_of("algorithm", algorithm, select.ALGORITHMS) != "auto":
        # An image without a batch is a batch of one.
        shapes = [a.shape if a.ndim == spec.rank + 2 else (1, *a.shape) for a in (first, second)]
        dtype = first.dtype if preferred_element_type is None else preferred_element_type
        problem = make_problem(op, spec, shapes[0], shapes[1], size, dtype, precision=precision)
        select.check(problem, algorithm)
    return Options(precision, preferred_element_type, algorithm)
