"""A convolution layer without a framework: what its arguments mean, its parameters, its call.

The Flax shells keep PyTorch's arguments as attributes of PyTorch's names. The functions here take any object that has
these attributes, `layer`, so that neither shell needs arithmetic of its own.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv import _spec, functional, init


class ConvArguments(NamedTuple):
    """The checked arguments of a layer, each with one entry per spatial axis, as PyTorch's layers keep them."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...] | _spec.Pads
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    data_format: str


def check(
    rank, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode, data_format
) -> ConvArguments:
    """The arguments of a constructor, parsed and checked as far as they can be without an image.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument that cannot be; the message names it, its value and a remedy.
    """
    checked = ConvArguments(
        _spec.integer("in_channels", in_channels, 1),
        _spec.integer("out_channels", out_channels, 1),
        _spec.per_axis("kernel_size", kernel_size, rank, 1),
        _spec.per_axis("stride", stride, rank, 1),
        _spec.parse_padding(padding, rank),
        _spec.per_axis("dilation", dilation, rank, 1),
        _spec.integer("groups", groups, 1),
        _spec.one_of("padding_mode", padding_mode, _spec.PADDING_MODES),
        _spec.one_of("data_format", data_format, _spec.DATA_FORMATS),
    )
    _spec.check_groups(checked.groups, in_channels=checked.in_channels, out_channels=checked.out_channels)
    if checked.padding == "same":
        _spec.check_same(checked.stride, checked.kernel_size, checked.dilation)
    pads = _spec.resolve_pads(checked.padding, checked.kernel_size, checked.dilation)
    _spec.check_pads(checked.padding_mode, pads)
    return checked


def weight_shape(layer: Any) -> tuple[int, ...]:
    """The shape of the weight of `layer`."""
    return (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)


def initialisers(weight_init: Any, bias_init: Any, weight_shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The initialisers of weight and bias: the given ones, PyTorch's where none is given."""
    return (
        weight_init or init.conv_weight_init,
        bias_init or partial(init.conv_bias_init, weight_shape=weight_shape),
    )


def call(layer: Any, x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    """What `layer` does to `x`: everything is converted to `layer.dtype`, or promoted where that is None."""
    x = functional.as_array("input", x)
    arrays = (x, weight) if bias is None else (x, weight, bias)
    dtype = jnp.result_type(*arrays) if layer.dtype is None else jnp.dtype(layer.dtype)
    return functional.conv2d(
        x.astype(dtype),
        weight.astype(dtype),
        None if bias is None else bias.astype(dtype),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        padding_mode=layer.padding_mode,
        data_format=layer.data_format,
        precision=layer.precision,
        preferred_element_type=layer.preferred_element_type,
        algorithm=layer.algorithm,
    )


def extra_repr(layer: Any, has_bias: bool) -> str:
    """What PyTorch's layers print between the parentheses; additions to PyTorch appear where they are used."""
    text = f"{layer.in_channels}, {layer.out_channels}, kernel_size={layer.kernel_size}, stride={layer.stride}"
    if isinstance(layer.padding, str) or any(p not in (0, (0, 0)) for p in layer.padding):
        text += f", padding={layer.padding}"
    if any(d != 1 for d in layer.dilation):
        text += f", dilation={layer.dilation}"
    if layer.groups != 1:
        text += f", groups={layer.groups}"
    if not has_bias:
        text += ", bias=False"
    if layer.padding_mode != "zeros":
        text += f", padding_mode={layer.padding_mode}"
    if layer.data_format != "channels_first":
        text += f", data_format={layer.data_format}"
    return text
