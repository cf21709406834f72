"""Normalisation layers for Flax Linen.

Parameters are `weight` and `bias` in the collection `params`, statistics `running_mean`, `running_var` and
`num_batches_tracked` in `batch_stats`, which is mutable in training.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import jax
from flax import linen as nn

from jaxconv._layers import normalization as _layer
from jaxconv._layers.plain import Hinting
from jaxconv._spec.arguments import truth
from jaxconv.linen.plain import Plain


class _Norm(Hinting, nn.Module):
    """A module made of one of the dataclasses of `jaxconv._layers`, which stands after this class among the bases."""

    def __post_init__(self):
        layer: Any = self
        layer.parse()
        super().__post_init__()

    def _apply(self, x: jax.Array, training: bool = True) -> jax.Array:
        layer: Any = self
        arrays = {
            name: self.param(name, lambda key, name, shape: layer.initial(name, shape), name, shape)
            for name, shape in layer.parameters.items()
        }
        kept = {
            name: self.variable("batch_stats", name, layer.initial, name, shape)
            for name, shape in layer.statistics.items()
        }
        # `init` is no training: it leaves the statistics as they are made, and knows of no mapped axis.
        training = training and not self.is_initializing()
        y, changed = layer.normalise(x, arrays | {name: v.value for name, v in kept.items()}, training)
        for name, value in changed.items():
            kept[name].value = value
        return y

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The output for `x`."""
        return self._apply(x)

    def __repr__(self) -> str:
        layer: Any = self
        return f"{type(self).__name__}({layer.extra_repr()})"


@dataclass(repr=False, eq=False)
class _Mode:
    _: KW_ONLY
    use_running_average: bool | None = None


class _WithStatistics(_Norm):
    @nn.compact
    def __call__(self, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
        """The output for `x`, from the running statistics where `use_running_average`; the field may say so, too."""
        layer: Any = self
        evaluates = use_running_average
        if layer.track_running_stats:
            evaluates = nn.merge_param("use_running_average", layer.use_running_average, use_running_average)
            evaluates = truth("use_running_average", evaluates)
        return self._apply(x, not evaluates)


class BatchNorm1d(_WithStatistics, _Mode, _layer.BatchNorm):
    """`jaxconv.nnx.BatchNorm1d` in Linen; it is made and called as `BatchNorm2d` is."""

    rank = 1


class BatchNorm2d(_WithStatistics, _Mode, _layer.BatchNorm):
    """`jaxconv.nnx.BatchNorm2d` in Linen: its arguments without `rngs` are fields, and so is `use_running_average`.

    Whether the running statistics are taken is said by that field or in the call, `layer(x, use_running_average=True)`,
    but with `track_running_stats=False`. Variables: `{"params": {"weight", "bias"}, "batch_stats": {"running_mean",
    "running_var", "num_batches_tracked"}}`, of which the second are mutable in training. `init` leaves them as they
    are made, and knows of no `axis_name`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import BatchNorm2d
        >>> layer, x = BatchNorm2d(3), jnp.ones((2, 3, 5, 7))
        >>> variables = layer.init(jax.random.key(0), x, use_running_average=True)
        >>> y, changed = layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
        >>> changed["batch_stats"]["running_mean"]
        Array([0.1, 0.1, 0.1], dtype=float32)
    """

    rank = 2


class BatchNorm3d(_WithStatistics, _Mode, _layer.BatchNorm):
    """`jaxconv.nnx.BatchNorm3d` in Linen; it is made and called as `BatchNorm2d` is."""

    rank = 3


class InstanceNorm1d(_WithStatistics, _Mode, _layer.InstanceNorm):
    """`jaxconv.nnx.InstanceNorm1d` in Linen; it is made and called as `BatchNorm2d` is."""

    rank = 1


class InstanceNorm2d(_WithStatistics, _Mode, _layer.InstanceNorm):
    """`jaxconv.nnx.InstanceNorm2d` in Linen; it is made and called as `BatchNorm2d` is."""

    rank = 2


class InstanceNorm3d(_WithStatistics, _Mode, _layer.InstanceNorm):
    """`jaxconv.nnx.InstanceNorm3d` in Linen; it is made and called as `BatchNorm2d` is."""

    rank = 3


class GroupNorm(_Norm, _layer.GroupNorm):
    """`jaxconv.nnx.GroupNorm` in Linen: its arguments without `rngs` are fields.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import GroupNorm
        >>> layer = GroupNorm(2, 6)
        >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 6, 5, 7)))
        >>> layer.apply(variables, jnp.ones((2, 6, 5, 7))).shape
        (2, 6, 5, 7)
    """


class LayerNorm(_Norm, _layer.LayerNorm):
    """`jaxconv.nnx.LayerNorm` in Linen; it is made and called as `GroupNorm` is."""


class RMSNorm(_Norm, _layer.RMSNorm):
    """`jaxconv.nnx.RMSNorm` in Linen; it is made and called as `GroupNorm` is."""


class LocalResponseNorm(Plain, _layer.LocalResponseNorm):
    """`jaxconv.nnx.LocalResponseNorm` in Linen; it is made and called as `GroupNorm` is, and has no variables."""
