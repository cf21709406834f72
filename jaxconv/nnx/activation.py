"""Activation layers for Flax NNX."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import reprlib

from jaxconv._layers import activation as _layer
from jaxconv.nnx.plain import Plain


class PReLU(_layer.Slopes, nnx.Module):
    """x where it is positive, and weight * x elsewhere, the weight being learned: `torch.nn.PReLU`.

    Shapes and errors of a call as `jaxconv.prelu`, for example (N, C, H, W).

    Args:
        num_parameters: number of slopes: 1, or that of the channels.
        init: what they are at first.
        data_format: `"channels_first"` or `"channels_last"`.
        dtype: what input and weight are converted to; by default they are promoted to one.
        param_dtype: the dtype that the weight is made in.
        rngs: not needed, since nothing is drawn; there so that all layers can be made alike.

    Attributes:
        weight: `nnx.Param` of shape (num_parameters,).

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import PReLU
        >>> PReLU(3)(-jnp.ones((2, 3, 5, 7)))[0, 0, 0, 0].item()
        -0.25
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        data_format: str = "channels_first",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs | None = None,
    ):
        self.num_parameters, self.init, self.data_format = num_parameters, init, data_format
        self.dtype, self.param_dtype = dtype, param_dtype
        _layer.check(self, init)
        self.weight = nnx.Param(_layer.initial(self, init))

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        return _layer.call(self, x, self.weight[...])

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), kv_sep="", same_line=True)
        yield reprlib.Attr("", _layer.extra_repr(self), use_raw_key=True, use_raw_value=True)


class Softmax2d(_layer.Softmax2d, Plain):
    """The softmax over the channels at each position of an image: `torch.nn.Softmax2d`.

    Shapes: (N, C, H, W) or (C, H, W), kept; with `data_format="channels_last"` (N, H, W, C) or (H, W, C).

    Args:
        data_format: `"channels_first"` or `"channels_last"`.

    Raises:
        TypeError: at the call, numbers other than floats.
        ValueError: an unknown `data_format`; at the call, another number of axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Softmax2d
        >>> Softmax2d()(jnp.ones((2, 4, 5, 7)))[0, 0, 0, 0].item()
        0.25
    """

    __call__ = Plain.__call__
