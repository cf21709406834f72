"""Activation layers for Flax Linen."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxconv._layers import activation as _layer
from jaxconv.linen.plain import Plain


class PReLU(nn.Module):
    """`jaxconv.nnx.PReLU` in Linen; its variables are `{"params": {"weight"}}`.

    The field is called `slope`, since `init` is a method of every module of Linen; the argument is PyTorch's.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import PReLU
        >>> layer = PReLU(3, init=0.5)
        >>> layer.init(jax.random.key(0), jnp.ones((2, 3, 5)))["params"]["weight"].tolist()
        [0.5, 0.5, 0.5]
    """

    num_parameters: int = 1
    slope: float = 0.25
    data_format: str = "channels_first"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        data_format: str = "channels_first",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        **fields: Any,
    ):
        # What `dataclass` would write, but for one name; `fields` are Linen's, and `slope` where a copy is made.
        given = {
            "num_parameters": num_parameters,
            "slope": init,
            "data_format": data_format,
            "dtype": dtype,
            "param_dtype": param_dtype,
            **fields,
        }
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, given.pop(field.name, field.default))
        if given:
            raise TypeError(f"PReLU: got an unexpected keyword argument {next(iter(given))!r}")
        self.__post_init__()

    def __post_init__(self):
        _layer.check(self, self.slope)  # type: ignore[arg-type]  # its fields are those of `Slopes`
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer does to `x`."""
        weight = self.param("weight", lambda _: _layer.initial(self, self.slope))  # type: ignore[arg-type]
        return _layer.call(self, x, weight)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"PReLU({_layer.extra_repr(self)})"  # type: ignore[arg-type]


class Softmax2d(Plain, _layer.Softmax2d):
    """`jaxconv.nnx.Softmax2d` in Linen; it is called as `MaxPool2d` is."""
