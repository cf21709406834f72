"""Padding layers for Flax NNX."""

from jaxconv._layers import padding as _layer
from jaxconv.nnx.plain import Plain


class ZeroPad1d(_layer.ZeroPad, Plain):
    """As `ZeroPad2d`, of (N, C, L): `torch.nn.ZeroPad1d`."""

    rank = 1
    __call__ = Plain.__call__


class ZeroPad2d(_layer.ZeroPad, Plain):
    """Pads the spatial axes with zeros: `torch.nn.ZeroPad2d`.

    An input (N, C, H, W), (N, H, W, C) or without N comes out with each spatial axis longer by its two amounts.

    Args:
        padding: an int, or (low, high) amounts of each spatial axis, the last axis first: (left, right, top, bottom).
            Negative amounts crop.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument, or at the call a shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ZeroPad2d
        >>> ZeroPad2d((1, 2, 0, 3))(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 8, 10)
    """

    rank = 2
    __call__ = Plain.__call__


class ZeroPad3d(_layer.ZeroPad, Plain):
    """As `ZeroPad2d`, of (N, C, D, H, W): `torch.nn.ZeroPad3d`."""

    rank = 3
    __call__ = Plain.__call__


class ReflectionPad1d(_layer.ReflectionPad, Plain):
    """As `ReflectionPad2d`, of (N, C, L): `torch.nn.ReflectionPad1d`."""

    rank = 1
    __call__ = Plain.__call__


class ReflectionPad2d(_layer.ReflectionPad, Plain):
    """As `ZeroPad2d`, with the image mirrored at its border, of (N, C, H, W): `torch.nn.ReflectionPad2d`."""

    rank = 2
    __call__ = Plain.__call__


class ReflectionPad3d(_layer.ReflectionPad, Plain):
    """As `ReflectionPad2d`, of (N, C, D, H, W): `torch.nn.ReflectionPad3d`."""

    rank = 3
    __call__ = Plain.__call__


class ReplicationPad1d(_layer.ReplicationPad, Plain):
    """As `ReplicationPad2d`, of (N, C, L): `torch.nn.ReplicationPad1d`."""

    rank = 1
    __call__ = Plain.__call__


class ReplicationPad2d(_layer.ReplicationPad, Plain):
    """As `ZeroPad2d`, with copies of the border, of (N, C, H, W): `torch.nn.ReplicationPad2d`."""

    rank = 2
    __call__ = Plain.__call__


class ReplicationPad3d(_layer.ReplicationPad, Plain):
    """As `ReplicationPad2d`, of (N, C, D, H, W): `torch.nn.ReplicationPad3d`."""

    rank = 3
    __call__ = Plain.__call__


class CircularPad1d(_layer.CircularPad, Plain):
    """As `CircularPad2d`, of (N, C, L): `torch.nn.CircularPad1d`."""

    rank = 1
    __call__ = Plain.__call__


class CircularPad2d(_layer.CircularPad, Plain):
    """As `ZeroPad2d`, with the image's other end, of (N, C, H, W): `torch.nn.CircularPad2d`."""

    rank = 2
    __call__ = Plain.__call__


class CircularPad3d(_layer.CircularPad, Plain):
    """As `CircularPad2d`, of (N, C, D, H, W): `torch.nn.CircularPad3d`."""

    rank = 3
    __call__ = Plain.__call__


class ConstantPad1d(_layer.ConstantPad, Plain):
    """As `ConstantPad2d`, of (N, C, L): `torch.nn.ConstantPad1d`."""

    rank = 1
    __call__ = Plain.__call__


class ConstantPad2d(_layer.ConstantPad, Plain):
    """As `ZeroPad2d`, with `value` in place of zeros, of (N, C, H, W): `torch.nn.ConstantPad2d`.

    Args:
        padding: an int, or (low, high) amounts of each spatial axis, the last axis first: (left, right, top, bottom).
            Negative amounts crop.
        value: what the padding holds.
        data_format: `"channels_first"` or `"channels_last"`: which axes are the spatial ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ConstantPad2d
        >>> ConstantPad2d(1, 3.5)(jnp.ones((1, 1, 1, 2)))
        Array([[[[3.5, 3.5, 3.5, 3.5],
                 [3.5, 1. , 1. , 3.5],
                 [3.5, 3.5, 3.5, 3.5]]]], dtype=float32)
    """

    rank = 2
    __call__ = Plain.__call__


class ConstantPad3d(_layer.ConstantPad, Plain):
    """As `ConstantPad2d`, of (N, C, D, H, W): `torch.nn.ConstantPad3d`."""

    rank = 3
    __call__ = Plain.__call__
