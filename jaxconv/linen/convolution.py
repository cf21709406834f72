"""Convolution layers for Flax Linen; their variables are `{"params": {"weight", "bias"}}`, in PyTorch's shapes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxconv._layers import convolution as _layer
from jaxconv._layers.plain import Hinting
from jaxconv._spec.arguments import IntOrInts, truth
from jaxconv._spec.padding import Padding


class _Convolution(Hinting, nn.Module):
    """What all convolution layers share: the check of their fields, their parameters and their text."""

    rank: ClassVar[int]
    transposed: ClassVar[bool]

    def __post_init__(self):
        # Kept with one entry per spatial axis, as PyTorch's layers keep them; wrong arguments fail here, not in `init`.
        for name, value in _layer.check(self).items():
            object.__setattr__(self, name, value)
        layer: Any = self
        object.__setattr__(self, "bias", truth("bias", layer.bias))
        super().__post_init__()

    def _apply(self, x: jax.Array, output_size: Sequence[int] | None = None, **training: Any) -> jax.Array:
        layer: Any = self  # the fields are those of the subclasses
        channels = _layer.channels_of(layer, x) if layer.in_channels is None else layer.in_channels
        shape = _layer.weight_shape(layer, channels)
        weight_init, bias_init = _layer.initialisers(layer, shape)
        weight = self._weight(weight_init, shape, **training)
        bias = self.param("bias", bias_init, (layer.out_channels,), layer.param_dtype) if layer.bias else None
        return _layer.call(layer, x, weight, bias, output_size)

    def _weight(self, init: Any, shape: tuple[int, ...]) -> jax.Array:
        layer: Any = self
        return self.param("weight", init, shape, layer.param_dtype)

    def __repr__(self) -> str:
        layer: Any = self
        return f"{type(self).__name__}({_layer.extra_repr(layer, layer.bias)})"


class _Conv(_Convolution):
    transposed = False

    in_channels: int | None
    out_channels: int
    kernel_size: IntOrInts
    stride: IntOrInts = 1
    padding: Padding = 0
    dilation: IntOrInts = 1
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    data_format: str = "channels_first"
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    preferred_element_type: Any = None
    algorithm: str = "auto"
    weight_init: Any = None
    bias_init: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of `x`; shapes and errors as of `jaxconv.conv1d`, `conv2d` and `conv3d`."""
        return self._apply(x)


class _ConvTranspose(_Convolution):
    transposed = True

    in_channels: int | None
    out_channels: int
    kernel_size: IntOrInts
    stride: IntOrInts = 1
    padding: IntOrInts | Sequence[tuple[int, int]] = 0
    output_padding: IntOrInts = 0
    groups: int = 1
    bias: bool = True
    dilation: IntOrInts = 1
    padding_mode: str = "zeros"
    data_format: str = "channels_first"
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    preferred_element_type: Any = None
    algorithm: str = "auto"
    weight_init: Any = None
    bias_init: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        """The transposed convolution of `x`; shapes and errors as of `jaxconv.conv_transpose1d` to `3d`."""
        return self._apply(x, output_size)


class Conv1d(_Conv):
    """`jaxconv.nnx.Conv1d` in Linen; it is made and called as `Conv2d` is."""

    rank = 1


class Conv2d(_Conv):
    """`jaxconv.nnx.Conv2d` in Linen: its arguments without `rngs` are fields, and `in_channels=None` takes the input's.

    Variables: `{"params": {"weight", "bias"}}`, in PyTorch's shapes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Conv2d
        >>> layer = Conv2d(None, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))
        >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 16, 50, 100)))
        >>> jax.tree.map(jnp.shape, variables)
        {'params': {'bias': (33,), 'weight': (33, 16, 3, 5)}}
        >>> layer.apply(variables, jnp.ones((20, 16, 50, 100))).shape
        (20, 33, 26, 100)
    """

    rank = 2


class Conv3d(_Conv):
    """`jaxconv.nnx.Conv3d` in Linen; it is made and called as `Conv2d` is."""

    rank = 3


class ConvTranspose1d(_ConvTranspose):
    """`jaxconv.nnx.ConvTranspose1d` in Linen; it is made and called as `ConvTranspose2d` is."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """`jaxconv.nnx.ConvTranspose2d` in Linen, made as `Conv2d` is and called as `layer(x)` or `layer(x, output_size)`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import ConvTranspose2d
        >>> layer = ConvTranspose2d(16, 33, 3, stride=2, padding=1)
        >>> layer.init_with_output(jax.random.key(0), jnp.ones((20, 16, 6, 7)), output_size=(12, 13))[0].shape
        (20, 33, 12, 13)
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """`jaxconv.nnx.ConvTranspose3d` in Linen; it is made and called as `ConvTranspose2d` is."""

    rank = 3
