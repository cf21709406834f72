"""Padding layers for Flax Linen."""

from jaxconv._layers import padding as _layer
from jaxconv.linen.plain import Plain


class ZeroPad1d(Plain, _layer.ZeroPad):
    """`jaxconv.nnx.ZeroPad1d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 1


class ZeroPad2d(Plain, _layer.ZeroPad):
    """`jaxconv.nnx.ZeroPad2d` in Linen.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import ZeroPad2d
        >>> ZeroPad2d((1, 2, 0, 3)).apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 8, 10)
    """

    rank = 2


class ZeroPad3d(Plain, _layer.ZeroPad):
    """`jaxconv.nnx.ZeroPad3d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 3


class ReflectionPad1d(Plain, _layer.ReflectionPad):
    """`jaxconv.nnx.ReflectionPad1d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 1


class ReflectionPad2d(Plain, _layer.ReflectionPad):
    """`jaxconv.nnx.ReflectionPad2d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 2


class ReflectionPad3d(Plain, _layer.ReflectionPad):
    """`jaxconv.nnx.ReflectionPad3d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 3


class ReplicationPad1d(Plain, _layer.ReplicationPad):
    """`jaxconv.nnx.ReplicationPad1d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 1


class ReplicationPad2d(Plain, _layer.ReplicationPad):
    """`jaxconv.nnx.ReplicationPad2d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 2


class ReplicationPad3d(Plain, _layer.ReplicationPad):
    """`jaxconv.nnx.ReplicationPad3d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 3


class CircularPad1d(Plain, _layer.CircularPad):
    """`jaxconv.nnx.CircularPad1d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 1


class CircularPad2d(Plain, _layer.CircularPad):
    """`jaxconv.nnx.CircularPad2d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 2


class CircularPad3d(Plain, _layer.CircularPad):
    """`jaxconv.nnx.CircularPad3d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 3


class ConstantPad1d(Plain, _layer.ConstantPad):
    """`jaxconv.nnx.ConstantPad1d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 1


class ConstantPad2d(Plain, _layer.ConstantPad):
    """`jaxconv.nnx.ConstantPad2d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 2


class ConstantPad3d(Plain, _layer.ConstantPad):
    """`jaxconv.nnx.ConstantPad3d` in Linen; it is called as `ZeroPad2d` is."""

    rank = 3
