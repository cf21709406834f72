"""Pooling layers for Flax Linen."""

from collections.abc import Sequence

import jax

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


class AdaptiveMaxPool1d(Plain, _layer.AdaptiveMaxPool):
    """`jaxconv.nnx.AdaptiveMaxPool1d` in Linen; it is called as `MaxPool2d` is."""

    rank = 1


class AdaptiveMaxPool2d(Plain, _layer.AdaptiveMaxPool):
    """`jaxconv.nnx.AdaptiveMaxPool2d` in Linen; it is called as `MaxPool2d` is."""

    rank = 2


class AdaptiveMaxPool3d(Plain, _layer.AdaptiveMaxPool):
    """`jaxconv.nnx.AdaptiveMaxPool3d` in Linen; it is called as `MaxPool2d` is."""

    rank = 3


class LPPool1d(Plain, _layer.LPPool):
    """`jaxconv.nnx.LPPool1d` in Linen; it is called as `MaxPool2d` is."""

    rank = 1


class LPPool2d(Plain, _layer.LPPool):
    """`jaxconv.nnx.LPPool2d` in Linen; it is called as `MaxPool2d` is."""

    rank = 2


class LPPool3d(Plain, _layer.LPPool):
    """`jaxconv.nnx.LPPool3d` in Linen; it is called as `MaxPool2d` is."""

    rank = 3


class _MaxUnpool(Plain, _layer.MaxUnpool):
    def __call__(  # type: ignore[override]  # of two arrays
        self, x: jax.Array, indices: jax.Array, output_size: Sequence[int] | None = None
    ) -> jax.Array:
        """The maxima `x` at the places `indices`, in an image of `output_size`."""
        return self.compute(x, indices, output_size)


class MaxUnpool1d(_MaxUnpool):
    """`jaxconv.nnx.MaxUnpool1d` in Linen; it is called as `MaxUnpool2d` is."""

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """`jaxconv.nnx.MaxUnpool2d` in Linen; its call takes the maxima and the indices.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.linen import MaxPool2d, MaxUnpool2d
        >>> x, indices = MaxPool2d(2, return_indices=True).apply({}, jnp.ones((2, 3, 5, 7)))
        >>> MaxUnpool2d(2).apply({}, x, indices, output_size=(5, 7)).shape
        (2, 3, 5, 7)
    """

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """`jaxconv.nnx.MaxUnpool3d` in Linen; it is called as `MaxUnpool2d` is."""

    rank = 3
