"""Pooling layers for Flax NNX."""

from jaxconv._layers import pooling as _layer
from jaxconv.nnx.plain import Plain


class MaxPool1d(_layer.MaxPool, Plain):
    """As `MaxPool2d`, of (N, C, L): `torch.nn.MaxPool1d`."""

    rank = 1
    __call__ = Plain.__call__


class MaxPool2d(_layer.MaxPool, Plain):
    """The maximum of each window: `torch.nn.MaxPool2d`.

    Shapes, from (N, C, H, W) to (N, C, H', W'), as `jaxconv.max_pool2d`.

    Args:
        kernel_size: size of a window; an int, or one per spatial axis.
        stride: step between two windows; `kernel_size` where it is None.
        padding: minus infinities added at both ends, at most half of `kernel_size`.
        dilation: step between two positions of a window.
        return_indices: only False; the argument is there so that positional arguments mean what they do in PyTorch.
        ceil_mode: whether the last window may hang over the end.
        data_format: `"channels_first"` or `"channels_last"`.

    Raises:
        ValueError: `return_indices=True`. The other arguments are checked at the call, as `jaxconv.max_pool2d` does.

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
