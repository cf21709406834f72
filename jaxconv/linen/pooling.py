"""Pooling layers for Flax Linen."""

from jaxconv._layers import pooling as _layer
from jaxconv.linen.plain import Plain


class MaxPool1d(Plain, _layer.MaxPool):
    """`jaxconv.nnx.MaxPool1d` in Linen; it is called as `MaxPool2d` is."""

    rank = 1


class MaxPool2d(Plain, _layer.MaxPool):
    """`jaxconv.nnx.MaxPool2d` in Linen.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import MaxPool2d
        >>> MaxPool2d(2).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 3)
    """

    rank = 2


class MaxPool3d(Plain, _layer.MaxPool):
    """`jaxconv.nnx.MaxPool3d` in Linen; it is called as `MaxPool2d` is."""

    rank = 3


class AvgPool1d(Plain, _layer.AvgPool):
    """`jaxconv.nnx.AvgPool1d` in Linen; it is called as `MaxPool2d` is."""

    rank = 1


class AvgPool2d(Plain, _layer.AvgPoolWithDivisor):
    """`jaxconv.nnx.AvgPool2d` in Linen; it is called as `MaxPool2d` is."""

    rank = 2


class AvgPool3d(Plain, _layer.AvgPoolWithDivisor):
    """`jaxconv.nnx.AvgPool3d` in Linen; it is called as `MaxPool2d` is."""

    rank = 3


class AdaptiveAvgPool1d(Plain, _layer.AdaptiveAvgPool):
    """`jaxconv.nnx.AdaptiveAvgPool1d` in Linen; it is called as `MaxPool2d` is."""

    rank = 1


class AdaptiveAvgPool2d(Plain, _layer.AdaptiveAvgPool):
    """`jaxconv.nnx.AdaptiveAvgPool2d` in Linen; it is called as `MaxPool2d` is."""

    rank = 2


class AdaptiveAvgPool3d(Plain, _layer.AdaptiveAvgPool):
    """`jaxconv.nnx.AdaptiveAvgPool3d` in Linen; it is called as `MaxPool2d` is."""

    rank = 3
