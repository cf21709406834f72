"""Layers for Flax NNX that only rearrange an array: `Unfold`, its transpose `Fold`, and `Flatten`.

PyTorch defines them on axes, not on images: none of them has a data format.
"""

from jaxconv._layers import patches as _layer
from jaxconv.nnx.plain import Plain


class Unfold(_layer.Unfold, Plain):
    """The patches of images as columns: `torch.nn.Unfold`.

    Shapes, from (N, C, H, W) to (N, C * kH * kW, H' * W'), and errors, which come at the call, as `jaxconv.unfold`.

    Args:
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch.
        padding: zeros added at both ends.
        stride: step between two patches.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Unfold
        >>> Unfold((2, 3))(jnp.ones((2, 5, 3, 4))).shape
        (2, 30, 4)
    """

    __call__ = Plain.__call__


class Fold(_layer.Fold, Plain):
    """Patches added up into images, the transpose of `Unfold`: `torch.nn.Fold`.

    Shapes, from (N, C * kH * kW, L) to (N, C, *output_size), and errors, which come at the call, as `jaxconv.fold`.

    Args:
        output_size: size of the images; an int, or one per spatial axis.
        kernel_size: size of a patch; an int, or one per spatial axis.
        dilation: step between two positions of a patch.
        padding: what is cut off both ends of the image.
        stride: step between two patches.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Fold
        >>> Fold((3, 4), (2, 3))(jnp.ones((2, 30, 4))).shape
        (2, 5, 3, 4)
    """

    __call__ = Plain.__call__


class Flatten(_layer.Flatten, Plain):
    """Several axes made one, by default all but the first: `torch.nn.Flatten`.

    An input of shape (N, C, H, W) comes out as (N, C * H * W).

    Args:
        start_dim: the first of the axes, counted from the end where it is negative.
        end_dim: the last of them.

    Raises:
        TypeError: at the call, an input that is no array or an argument that is no integer.
        ValueError: at the call, an axis that the input does not have, or `start_dim` after `end_dim`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import Flatten
        >>> Flatten()(jnp.ones((2, 3, 5, 7))).shape
        (2, 105)
    """

    __call__ = Plain.__call__
