"""Pooling layers for Flax NNX."""

from collections.abc import Sequence

import jax

from jaxconv._layers import pooling as _layer
from jaxconv.nnx.plain import Plain


class MaxPool1d(_layer.MaxPool, Plain):
    """As `MaxPool2d`, of (N, C, L): `torch.nn.MaxPool1d`."""

    rank = 1
    __call__ = Plain.__call__


class MaxPool2d(_layer.MaxPool, Plain):
    """The maximum of each window: `torch.nn.MaxPool2d`.

    Shapes, from (N, C, H, W) to (N, C, H', W'), and errors, which come at the call, as `jaxconv.max_pool2d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: minus infinities added at both ends, at most half of `kernel_size`.
        dilation: step between two positions of a window.
        return_indices: whether the layer gives a pair: the maxima, and where each was.
        ceil_mode: whether the last window may hang over the end.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import MaxPool2d
        >>> MaxPool2d(2)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 3)
    """

    rank = 2
    __call__ = Plain.__call__


class MaxPool3d(_layer.MaxPool, Plain):
    """As `MaxPool2d`, of (N, C, D, H, W): `torch.nn.MaxPool3d`."""

    rank = 3
    __call__ = Plain.__call__


class AvgPool1d(_layer.AvgPool, Plain):
    """As `AvgPool2d` without `divisor_override`, of (N, C, L): `torch.nn.AvgPool1d`."""

    rank = 1
    __call__ = Plain.__call__


class AvgPool2d(_layer.AvgPoolWithDivisor, Plain):
    """The mean of each window: `torch.nn.AvgPool2d`.

    Shapes, from (N, C, H, W) to (N, C, H', W'), and errors, which come at the call, as `jaxconv.avg_pool2d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: zeros added at both ends, at most half of `kernel_size`.
        ceil_mode: whether the last window may hang over the end.
        count_include_pad: whether padding counts in the divisor.
        divisor_override: what the sums are divided by in place of the number of positions.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import AvgPool2d
        >>> AvgPool2d(3, stride=2, padding=1, count_include_pad=False)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 3, 4)
    """

    rank = 2
    __call__ = Plain.__call__


class AvgPool3d(_layer.AvgPoolWithDivisor, Plain):
    """As `AvgPool2d`, of (N, C, D, H, W): `torch.nn.AvgPool3d`."""

    rank = 3
    __call__ = Plain.__call__


class AdaptiveAvgPool1d(_layer.AdaptiveAvgPool, Plain):
    """As `AdaptiveAvgPool2d`, of (N, C, L): `torch.nn.AdaptiveAvgPool1d`."""

    rank = 1
    __call__ = Plain.__call__


class AdaptiveAvgPool2d(_layer.AdaptiveAvgPool, Plain):
    """The means of windows that give `output_size`: `torch.nn.AdaptiveAvgPool2d`.

    Shapes, from (N, C, H, W) to (N, C, *output_size), and errors, at the call, as `jaxconv.adaptive_avg_pool2d`.

    Args:
        output_size: an int, or one per spatial axis; None keeps a size.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import AdaptiveAvgPool2d
        >>> AdaptiveAvgPool2d((1, None))(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 1, 7)
    """

    rank = 2
    __call__ = Plain.__call__


class AdaptiveAvgPool3d(_layer.AdaptiveAvgPool, Plain):
    """As `AdaptiveAvgPool2d`, of (N, C, D, H, W): `torch.nn.AdaptiveAvgPool3d`."""

    rank = 3
    __call__ = Plain.__call__


class AdaptiveMaxPool1d(_layer.AdaptiveMaxPool, Plain):
    """As `AdaptiveMaxPool2d`, of (N, C, L): `torch.nn.AdaptiveMaxPool1d`."""

    rank = 1
    __call__ = Plain.__call__


class AdaptiveMaxPool2d(_layer.AdaptiveMaxPool, Plain):
    """The maxima of windows that give `output_size`: `torch.nn.AdaptiveMaxPool2d`.

    Shapes, from (N, C, H, W) to (N, C, *output_size), and errors, at the call, as `jaxconv.adaptive_max_pool2d`.

    Args:
        output_size: an int, or one per spatial axis; None keeps a size.
        return_indices: whether the layer gives a pair: the maxima, and where each was.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import AdaptiveMaxPool2d
        >>> AdaptiveMaxPool2d((1, None))(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 1, 7)
    """

    rank = 2
    __call__ = Plain.__call__


class AdaptiveMaxPool3d(_layer.AdaptiveMaxPool, Plain):
    """As `AdaptiveMaxPool2d`, of (N, C, D, H, W): `torch.nn.AdaptiveMaxPool3d`."""

    rank = 3
    __call__ = Plain.__call__


class LPPool1d(_layer.LPPool, Plain):
    """As `LPPool2d`, of (N, C, L): `torch.nn.LPPool1d`."""

    rank = 1
    __call__ = Plain.__call__


class LPPool2d(_layer.LPPool, Plain):
    """The norm of each window: `torch.nn.LPPool2d`.

    Shapes, from (N, C, H, W) to (N, C, H', W'), and errors, which come at the call, as `jaxconv.lp_pool2d`.

    Args:
        norm_type: p of the norm (sum of x^p)^(1/p); any number but 0, infinities too.
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        ceil_mode: whether the last window may hang over the end.
        data_format: `"channels_first"` or `"channels_last"`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import LPPool2d
        >>> LPPool2d(2, 3, stride=2)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 3)
    """

    rank = 2
    __call__ = Plain.__call__


class LPPool3d(_layer.LPPool, Plain):
    """As `LPPool2d`, of (N, C, D, H, W): `torch.nn.LPPool3d`."""

    rank = 3
    __call__ = Plain.__call__


class _MaxUnpool(_layer.MaxUnpool, Plain):  # type: ignore[override]  # it has two arrays
    def __call__(  # type: ignore[override]  # of two arrays
        self, x: jax.Array, indices: jax.Array, output_size: Sequence[int] | None = None
    ) -> jax.Array:
        """The maxima `x` at the places `indices`, in an image of `output_size`."""
        return self.compute(x, indices, output_size)


class MaxUnpool1d(_MaxUnpool):
    """As `MaxUnpool2d`, of (N, C, L): `torch.nn.MaxUnpool1d`."""

    rank = 1
    __call__ = _MaxUnpool.__call__


class MaxUnpool2d(_MaxUnpool):
    """The maxima of a pool put back where they were, among zeros: `torch.nn.MaxUnpool2d`.

    The layer is called with the maxima, the indices and, where the pool's arguments leave it open, the `output_size`.
    Shapes, from (N, C, H, W) to (N, C, H', W'), and errors of a call as `jaxconv.max_unpool2d`.

    Args:
        kernel_size: that of the pool; an int, or one per spatial axis.
        stride: that of the pool; `kernel_size` where it is None.
        padding: that of the pool.
        data_format: `"channels_first"` or `"channels_last"`.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an argument with too few or too many entries.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import MaxPool2d, MaxUnpool2d
        >>> x, indices = MaxPool2d(2, return_indices=True)(jnp.ones((2, 3, 5, 7)))
        >>> MaxUnpool2d(2)(x, indices, output_size=(5, 7)).shape
        (2, 3, 5, 7)
    """

    rank = 2
    __call__ = _MaxUnpool.__call__


class MaxUnpool3d(_MaxUnpool):
    """As `MaxUnpool2d`, of (N, C, D, H, W): `torch.nn.MaxUnpool3d`."""

    rank = 3
    __call__ = _MaxUnpool.__call__
