"""Convolution layers for Flax Linen, with the arguments, parameters and initial distributions of `torch.nn`."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxconv import _layer
from jaxconv._spec import IntOrInts, Padding

__all__ = ["Conv2d"]


class _Conv(nn.Module):
    """What the convolution layers of all ranks share."""

    rank: ClassVar[int]

    in_channels: int
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

    def __post_init__(self):
        # Kept with one entry per spatial axis, as PyTorch's layers keep them; wrong arguments fail here, not in `init`.
        checked = _layer.check(
            self.rank,
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.padding_mode,
            self.data_format,
        )
        for name, value in checked._asdict().items():
            object.__setattr__(self, name, value)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of `x` with this layer's weight; shapes and errors as of `jaxconv.conv2d`."""
        shape = _layer.weight_shape(self)
        weight_init, bias_init = _layer.initialisers(self.weight_init, self.bias_init, shape)
        weight = self.param("weight", weight_init, shape, self.param_dtype)
        bias = self.param("bias", bias_init, (self.out_channels,), self.param_dtype) if self.bias else None
        return _layer.call(self, x, weight, bias)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_layer.extra_repr(self, self.bias)})"


class Conv2d(_Conv):
    """2-D convolution with the meaning of `torch.nn.Conv2d`, as a Linen module.

    The arguments are those of `jaxconv.nnx.Conv2d` without `rngs`, as dataclass fields. Variables:
    `{"params": {"weight", "bias"}}`, in PyTorch's shapes.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument that cannot be; the message names it, its value and a remedy.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Conv2d
        >>> layer = Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))
        >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 16, 50, 100)))
        >>> layer.apply(variables, jnp.ones((20, 16, 50, 100))).shape
        (20, 33, 26, 100)
    """

    rank = 2
