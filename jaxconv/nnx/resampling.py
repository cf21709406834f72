"""Resampling layers for Flax NNX."""

from jaxconv._layers import resampling as _layer
from jaxconv.nnx.plain import Plain


class Upsample(_layer.Upsample, Plain):
    """Images of another size: `torch.nn.Upsample`.

    Shapes, from (N, C, L), (N, C, H, W) or (N, C, D, H, W) to the same with other spatial sizes, and errors, which come
    at the call, as `jaxconv.interpolate`.

    Args:
        size: spatial size of the result; an int, or one per spatial axis.
        scale_factor: in place of `size`, how many times as long each spatial axis becomes; kept as floats.
        mode: `"nearest"`, `"nearest-exact"`, `"linear"`, `"bilinear"`, `"bicubic"`, `"trilinear"` or `"area"`.
        align_corners: whether the centres of the corners lie upon each other, or else the edges do.
        recompute_scale_factor: whether coordinates come from the two sizes where `scale_factor` is given.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Upsample
        >>> Upsample(scale_factor=2, mode="bilinear", align_corners=False)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 10, 14)
    """

    __call__ = Plain.__call__


class UpsamplingNearest2d(_layer.UpsamplingNearest2d, Plain):
    """`Upsample` with `mode="nearest"`, of (N, C, H, W): `torch.nn.UpsamplingNearest2d`.

    Args:
        size: spatial size of the result; an int, or one per spatial axis.
        scale_factor: in place of `size`, how many times as long each spatial axis becomes; kept as floats.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import UpsamplingNearest2d
        >>> UpsamplingNearest2d(scale_factor=2)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 10, 14)
    """

    __call__ = Plain.__call__


class UpsamplingBilinear2d(_layer.UpsamplingBilinear2d, Plain):
    """As `UpsamplingNearest2d`, linearly between aligned corners, of (N, C, H, W): `torch.nn.UpsamplingBilinear2d`."""

    __call__ = Plain.__call__


class PixelShuffle(_layer.PixelShuffle, Plain):
    """Channels made positions: `torch.nn.PixelShuffle`.

    Shapes, from (N, C * r * r, H, W) to (N, C, H * r, W * r), and errors, at the call, as `jaxconv.pixel_shuffle`.

    Args:
        upscale_factor: r.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import PixelShuffle
        >>> PixelShuffle(2)(jnp.ones((2, 12, 5, 7))).shape
        (2, 3, 10, 14)
    """

    __call__ = Plain.__call__


class PixelUnshuffle(_layer.PixelUnshuffle, Plain):
    """Positions made channels, the inverse of `PixelShuffle`: `torch.nn.PixelUnshuffle`.

    Shapes, from (N, C, H * r, W * r) to (N, C * r * r, H, W), and errors, at the call, as `jaxconv.pixel_unshuffle`.

    Args:
        downscale_factor: r.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import PixelUnshuffle
        >>> PixelUnshuffle(2)(jnp.ones((2, 3, 10, 14))).shape
        (2, 12, 5, 7)
    """

    __call__ = Plain.__call__


class ChannelShuffle(_layer.ChannelShuffle, Plain):
    """Channels dealt out to groups: `torch.nn.ChannelShuffle`.

    The shape, (N, C, H, W) or any with the channels second, stays; errors come at the call, as of
    `jaxconv.channel_shuffle`.

    Args:
        groups: the number of groups before, which divides C.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import ChannelShuffle
        >>> ChannelShuffle(2)(jnp.arange(6.0).reshape(1, 6, 1))[0, :, 0]
        Array([0., 3., 1., 4., 2., 5.], dtype=float32)
    """

    __call__ = Plain.__call__
