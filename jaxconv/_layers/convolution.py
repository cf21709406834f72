"""Layers without a framework: what their arguments mean, their parameters, their call.

A convolution layer's parameters belong to its shell, so here are functions of `layer`, any object that has PyTorch's
arguments as attributes of PyTorch's names. A layer without parameters is a dataclass whole, `compute` included; a shell
only makes a module of it.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv import functional, init
from jaxconv._arrays import as_array
from jaxconv._lowering.select import ALGORITHMS
from jaxconv._ops.padding import pad_images
from jaxconv._spec.arguments import IntOrInts, axis_number, integer, one_of, per_axis
from jaxconv._spec.convolution import check_groups, check_output_padding
from jaxconv._spec.padding import (
    PADDING_MODES,
    TRANSPOSED_PADDING_MODES,
    Pads,
    check_pads,
    check_same,
    parse_padding,
    parse_transposed_padding,
    resolve_pads,
)
from jaxconv._spec.shapes import DATA_FORMATS, split_shape

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVG_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_ADAPTIVE = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


# ---------------------------------------------------------------------------------------------------------------
# Convolution layers
# ---------------------------------------------------------------------------------------------------------------


class ConvArguments(NamedTuple):
    """The checked arguments of a convolution layer, each with one entry per spatial axis, as PyTorch keeps them."""

    in_channels: int | None
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...] | Pads
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    data_format: str


def check(layer: Any) -> ConvArguments:
    """The arguments of `layer`, parsed and checked as far as they can be without an image.

    Where `layer.in_channels` is None they are still to be found.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument that cannot be; the message names it, its value and a remedy.
    """
    rank, transposed = layer.rank, layer.transposed
    checked = ConvArguments(
        None if layer.in_channels is None else integer("in_channels", layer.in_channels, 1),
        integer("out_channels", layer.out_channels, 1),
        per_axis("kernel_size", layer.kernel_size, rank, 1, one_for_all=False),
        per_axis("stride", layer.stride, rank, 1),
        (parse_transposed_padding if transposed else parse_padding)(layer.padding, rank),
        per_axis("output_padding", layer.output_padding if transposed else 0, rank, 0),
        per_axis("dilation", layer.dilation, rank, 1),
        integer("groups", layer.groups, 1),
        one_of("padding_mode", layer.padding_mode, TRANSPOSED_PADDING_MODES if transposed else PADDING_MODES),
        one_of("data_format", layer.data_format, DATA_FORMATS),
    )
    one_of("algorithm", layer.algorithm, ALGORITHMS)
    channels = {"in_channels": checked.in_channels, "out_channels": checked.out_channels}
    check_groups(checked.groups, **{name: number for name, number in channels.items() if number is not None})
    if checked.padding == "same":
        check_same(checked.stride, checked.kernel_size, checked.dilation)
    if transposed:
        check_output_padding(checked.output_padding, checked.stride, checked.dilation)
    pads = resolve_pads(checked.padding, checked.kernel_size, checked.dilation)
    check_pads("zeros" if transposed else checked.padding_mode, pads)
    return checked


def weight_shape(layer: Any, in_channels: int) -> tuple[int, ...]:
    """The shape of the weight of `layer`: (out, in / groups, *kernel_size), transposed (in, out / groups, ...)."""
    channels = (in_channels, layer.out_channels) if layer.transposed else (layer.out_channels, in_channels)
    return (channels[0], channels[1] // layer.groups, *layer.kernel_size)


def channels_of(layer: Any, x: Any) -> int:
    """The channels of the first input of a layer that was made without `in_channels`."""
    channels, _ = split_shape("input", as_array("input", x).shape, layer.rank, layer.data_format)
    check_groups(layer.groups, in_channels=channels)
    return channels


def initialisers(layer: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The initialisers of weight and bias: the given ones, PyTorch's where none is given."""
    return (
        layer.weight_init or init.conv_weight_init,
        layer.bias_init or partial(init.conv_bias_init, weight_shape=shape),
    )


def call(
    layer: Any, x: jax.Array, weight: jax.Array, bias: jax.Array | None, output_size: Sequence[int] | None = None
) -> jax.Array:
    """What a convolution layer does to `x`: all is converted to `layer.dtype`, or promoted where that is None."""
    x = as_array("input", x)
    arrays = (x, weight) if bias is None else (x, weight, bias)
    dtype = jnp.result_type(*arrays) if layer.dtype is None else jnp.dtype(layer.dtype)
    x, weight, bias = x.astype(dtype), weight.astype(dtype), None if bias is None else bias.astype(dtype)
    options = {
        "padding_mode": layer.padding_mode,
        "data_format": layer.data_format,
        "precision": layer.precision,
        "preferred_element_type": layer.preferred_element_type,
        "algorithm": layer.algorithm,
    }
    if layer.transposed:
        return _CONV_TRANSPOSE[layer.rank](
            x,
            weight,
            bias,
            layer.stride,
            layer.padding,
            layer.output_padding,
            layer.groups,
            layer.dilation,
            output_size=output_size,
            **options,
        )
    return _CONV[layer.rank](x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups, **options)


def extra_repr(layer: Any, has_bias: bool) -> str:
    """What PyTorch's layers print between the parentheses; additions to PyTorch appear where they are used."""
    shown = [f"{layer.in_channels or 0}, {layer.out_channels}, kernel_size={layer.kernel_size}, stride={layer.stride}"]
    if isinstance(layer.padding, str) or any(p not in (0, (0, 0)) for p in layer.padding):
        shown.append(f"padding={layer.padding}")
    if any(d != 1 for d in layer.dilation):
        shown.append(f"dilation={layer.dilation}")
    if layer.transposed and any(layer.output_padding):
        shown.append(f"output_padding={layer.output_padding}")
    for name, usual in (("groups", 1), ("bias", True), ("padding_mode", "zeros"), ("data_format", "channels_first")):
        value = has_bias if name == "bias" else getattr(layer, name)
        if value != usual:
            shown.append(f"{name}={value}")
    return ", ".join(shown)


# ---------------------------------------------------------------------------------------------------------------
# Layers without parameters
# ---------------------------------------------------------------------------------------------------------------


def _layer(cls: Any) -> Any:
    """A dataclass that leaves its identity and its text to the module made of it."""
    return dataclass(repr=False, eq=False)(cls)


class Plain:
    """A layer without parameters."""

    def __post_init__(self):
        self.parse()

    def parse(self) -> None:
        """Checks the arguments, and completes those that are left to be derived."""

    def compute(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """What PyTorch's layer prints between the parentheses."""
        raise NotImplementedError

    def _complete(self, name: str, value: Any) -> None:
        # Linen's modules are frozen, and this is still their construction.
        object.__setattr__(self, name, value)

    def _named(self, *names: str) -> str:
        other_format = getattr(self, "data_format", "channels_first") != "channels_first"
        return ", ".join(f"{name}={getattr(self, name)}" for name in (*names, *["data_format"] * other_format))


@_layer
class Pad(Plain):
    """Pads the spatial axes; `padding` is kept as (low, high) amounts with the last axis first, as PyTorch keeps it."""

    rank: ClassVar[int]
    mode: ClassVar[str]

    padding: IntOrInts
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        self._complete("padding", per_axis("padding", self.padding, 2 * self.rank, one_for_all=False))
        one_of("data_format", self.data_format, DATA_FORMATS)

    def compute(self, x: jax.Array) -> jax.Array:
        value = getattr(self, "value", None)
        return pad_images(x, self.rank, self.padding, self.mode, value, self.data_format)

    def extra_repr(self) -> str:
        other_format = f", data_format={self.data_format}" if self.data_format != "channels_first" else ""
        return f"{self.padding}{other_format}"


@_layer
class ConstantPad(Pad):
    """Pads the spatial axes with a value."""

    mode: ClassVar[str] = "constant"

    value: float

    def extra_repr(self) -> str:
        return self._named("padding", "value")


@_layer
class Unfold(Plain):
    """The patches of images as columns."""

    kernel_size: IntOrInts
    dilation: IntOrInts = 1
    padding: IntOrInts = 0
    stride: IntOrInts = 1

    def compute(self, x: jax.Array) -> jax.Array:
        return functional.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return self._named("kernel_size", "dilation", "padding", "stride")


@_layer
class Fold(Plain):
    """Patches added up into images."""

    output_size: IntOrInts
    kernel_size: IntOrInts
    dilation: IntOrInts = 1
    padding: IntOrInts = 0
    stride: IntOrInts = 1

    def compute(self, x: jax.Array) -> jax.Array:
        return functional.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return self._named("output_size", "kernel_size", "dilation", "padding", "stride")


@_layer
class MaxPool(Plain):
    """The maximum of each window."""

    rank: ClassVar[int]

    kernel_size: IntOrInts
    stride: IntOrInts | None = None
    padding: IntOrInts = 0
    dilation: IntOrInts = 1
    return_indices: bool = False
    ceil_mode: bool = False
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        if self.return_indices:
            # The argument is there so that PyTorch's positional arguments mean the same here.
            raise ValueError("return_indices=True is not supported; leave it out: the gradient needs no indices")
        self._complete("stride", self.kernel_size if self.stride is None else self.stride)

    def compute(self, x: jax.Array) -> jax.Array:
        arguments = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return _MAX_POOL[self.rank](x, *arguments, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("kernel_size", "stride", "padding", "dilation", "ceil_mode")


@_layer
class AvgPool(Plain):
    """The mean of each window; in one dimension PyTorch knows no `divisor_override`."""

    rank: ClassVar[int]

    kernel_size: IntOrInts
    stride: IntOrInts | None = None
    padding: IntOrInts = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        self._complete("stride", self.kernel_size if self.stride is None else self.stride)
        if self.rank == 1:  # as PyTorch keeps them, in this one layer
            for name in ("kernel_size", "stride", "padding"):
                self._complete(name, per_axis(name, getattr(self, name), 1))

    def compute(self, x: jax.Array) -> jax.Array:
        arguments = [self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad]
        if self.rank > 1:
            arguments.append(getattr(self, "divisor_override", None))
        return _AVG_POOL[self.rank](x, *arguments, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("kernel_size", "stride", "padding")


@_layer
class AvgPoolWithDivisor(AvgPool):
    """The mean of each window, or its sum divided by `divisor_override`."""

    divisor_override: int | None = None


@_layer
class AdaptiveAvgPool(Plain):
    """The means of windows chosen so that the output has a given size."""

    rank: ClassVar[int]

    output_size: int | Sequence[int | None] | None
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> jax.Array:
        return _ADAPTIVE[self.rank](x, self.output_size, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("output_size")


@_layer
class Flatten(Plain):
    """Several axes made one."""

    start_dim: int = 1
    end_dim: int = -1

    def compute(self, x: jax.Array) -> jax.Array:
        x = as_array("input", x)
        axes = max(x.ndim, 1)  # as in PyTorch a number has one axis, of size 1
        first, last = (axis_number(name, getattr(self, name), axes) for name in ("start_dim", "end_dim"))
        if first > last:
            raise ValueError(
                f"start_dim must not come after end_dim, got {self.start_dim} and {self.end_dim} for an input of "
                f"{x.ndim} axes; exchange them"
            )
        return x.reshape(*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])

    def extra_repr(self) -> str:
        return self._named("start_dim", "end_dim")
