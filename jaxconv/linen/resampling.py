"""Resampling layers for Flax Linen."""

from jaxconv._layers import resampling as _layer
from jaxconv.linen.plain import Plain


class Upsample(Plain, _layer.Upsample):
    """`jaxconv.nnx.Upsample` in Linen.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import Upsample
        >>> Upsample(scale_factor=2, mode="bilinear").apply({}, jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 10, 14)
    """


class UpsamplingNearest2d(Plain, _layer.UpsamplingNearest2d):
    """`jaxconv.nnx.UpsamplingNearest2d` in Linen; it is called as `Upsample` is."""


class UpsamplingBilinear2d(Plain, _layer.UpsamplingBilinear2d):
    """`jaxconv.nnx.UpsamplingBilinear2d` in Linen; it is called as `Upsample` is."""


class PixelShuffle(Plain, _layer.PixelShuffle):
    """`jaxconv.nnx.PixelShuffle` in Linen; it is called as `Upsample` is."""


class PixelUnshuffle(Plain, _layer.PixelUnshuffle):
    """`jaxconv.nnx.PixelUnshuffle` in Linen; it is called as `Upsample` is."""


class ChannelShuffle(Plain, _layer.ChannelShuffle):
    """`jaxconv.nnx.ChannelShuffle` in Linen; it is called as `Upsample` is."""
