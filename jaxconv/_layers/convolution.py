"""Convolution layers without a framework: what their arguments mean, the shapes of their parameters, their call.

The parameters belong to the shells, so these are functions of `layer`: any object that has PyTorch's arguments as
attributes of PyTorch's names, and `rank` and `transposed`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxconv import functional, init
from jaxconv._arrays import as_array, number_dtype, parse_precision, promoted
from jaxconv._layers.plain import check_dtypes
from jaxconv._lowering.select import ALGORITHMS
from jaxconv._spec.arguments import integer, one_of, per_axis
from jaxconv._spec.convolution import Arguments, TransposedArguments, check_groups, check_output_padding
from jaxconv._spec.messages import show
from jaxconv._spec.padding import Pads, check_pads, check_same, resolve_pads
from jaxconv._spec.shapes import split_shape

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


class Convolution:
    """What the functions below read of a layer whose arguments are checked."""

    rank: ClassVar[int]
    transposed: ClassVar[bool]

    in_channels: int | None  # None until the first input gives it
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...] | Pads
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    data_format: str
    dtype: Any
    param_dtype: Any
    precision: Any
    preferred_element_type: Any
    algorithm: str
    weight_init: Any
    bias_init: Any


def check(layer: Any) -> dict[str, Any]:
    """The arguments of `layer` by name, parsed into one entry per spatial axis each, as PyTorch keeps them.

    All checks are made that need no image. `layer.in_channels` is None where the first input is to give it.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.
    """
    rank, transposed = layer.rank, layer.transposed
    channels = {"in_channels": layer.in_channels, "out_channels": layer.out_channels}
    channels = {name: integer(name, n, 1) for name, n in channels.items() if n is not None or name != "in_channels"}
    kernel = per_axis("kernel_size", layer.kernel_size, rank, 1, one_for_all=False)
    kind = TransposedArguments if transposed else Arguments
    given = kind(**{name: getattr(layer, name) for name in kind._fields if name != "output_size"}).checked(rank)
    one_of("algorithm", layer.algorithm, ALGORITHMS)
    _check_options(layer)
    check_groups(given.groups, **channels)
    if given.padding == "same":
        check_same(given.stride, kernel, given.dilation)
    if isinstance(given, TransposedArguments):
        check_output_padding(given.output_padding, given.stride, given.dilation)
    pads = resolve_pads(given.padding, kernel, given.dilation)
    check_pads("zeros" if transposed else given.padding_mode, pads)
    checked = {"output_padding": (0,) * rank, **given._asdict(), **channels, "kernel_size": kernel}
    return {name: value for name, value in checked.items() if name != "output_size"}


def _check_options(layer: Any) -> None:
    """Refuses options that no call could be computed with."""
    check_dtypes(layer)
    if layer.preferred_element_type is not None:
        number_dtype("preferred_element_type", layer.preferred_element_type)
    parse_precision(layer.precision)
    for name in ("weight_init", "bias_init"):
        value = getattr(layer, name)
        if not (value is None or callable(value)):
            raise TypeError(f"{name} must be a function of a key, a shape and a dtype, or None, got {show(value)}")


def weight_shape(layer: Convolution, in_channels: int) -> tuple[int, ...]:
    """The shape of the weight of `layer`: (out, in / groups, *kernel_size), transposed (in, out / groups, ...)."""
    channels = (in_channels, layer.out_channels) if layer.transposed else (layer.out_channels, in_channels)
    return (channels[0], channels[1] // layer.groups, *layer.kernel_size)


def channels_of(layer: Convolution, x: Any) -> int:
    """The channels of the first input of a layer that was made without `in_channels`."""
    channels, _ = split_shape("input", as_array("input", x).shape, layer.rank, layer.data_format)
    check_groups(layer.groups, in_channels=channels)
    return channels


def initialisers(layer: Convolution, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The initialisers of weight and bias: the given ones, PyTorch's where none is given."""
    bias_init = partial(init.conv_bias_init, weight_shape=shape)
    return (
        init.conv_weight_init if layer.weight_init is None else _checked("weight_init", layer.weight_init),
        bias_init if layer.bias_init is None else _checked("bias_init", layer.bias_init),
    )


def _checked(name: str, init: Any) -> Any:
    """An initialiser of the user's, which must return what it is asked for."""

    def make(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
        made = init(key, shape, dtype)
        found = getattr(made, "shape", None)
        # A box around the array, such as `nn.with_partitioning` makes, is its own affair.
        if found is not None and tuple(found) != tuple(shape):
            raise ValueError(f"{name} must return an array of shape {tuple(shape)}, got one of shape {tuple(found)}")
        return made

    return make


def _check_parameters(layer: Convolution, weight: jax.Array, bias: jax.Array | None) -> None:
    """Refuses a weight and a bias that do not go together, where it is the weight that is not the layer's.

    As in PyTorch a weight may be exchanged for one of another shape, as long as the function takes it.
    """
    if bias is None or layer.in_channels is None:
        return
    expected = weight_shape(layer, layer.in_channels)
    if bias.shape == (layer.out_channels,) and weight.shape != expected:
        out_channels = weight.shape[1:2] if layer.transposed else weight.shape[:1]
        if tuple(n * (layer.groups if layer.transposed else 1) for n in out_channels) != bias.shape:
            raise ValueError(f"weight must have the layer's shape {expected}, got shape {tuple(weight.shape)}")


def call(
    layer: Convolution,
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None,
    output_size: Sequence[int] | None = None,
) -> jax.Array:
    """What a convolution layer does to `x`: all arrays in `layer.dtype`, or promoted to one where that is None."""
    x = as_array("input", x)
    _check_parameters(layer, weight, bias)
    dtype = promoted(input=x, weight=weight, bias=bias) if layer.dtype is None else jnp.dtype(layer.dtype)
    x, weight, bias = x.astype(dtype), weight.astype(dtype), None if bias is None else bias.astype(dtype)
    options = {
        "padding_mode": layer.padding_mode,
        "data_format": layer.data_format,
        "precision": layer.precision,
        "preferred_element_type": layer.preferred_element_type,
        "algorithm": layer.algorithm,
    }
    if layer.transposed:
        assert not isinstance(layer.padding, str)  # `check` takes no word there
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


def extra_repr(layer: Convolution, has_bias: bool) -> str:
    """What PyTorch's layers print between the parentheses; arguments that PyTorch lacks appear where they are used."""
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
