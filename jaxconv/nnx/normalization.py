"""Normalisation layers for Flax NNX.

Parameters are `nnx.Param`s named `weight` and `bias`, statistics `nnx.BatchStat`s named `running_mean`, `running_var`
and `num_batches_tracked`.
"""

from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

import jax
from flax import nnx
from flax.nnx import reprlib

from jaxconv._layers import normalization as _layer
from jaxconv._layers.plain import Hinting
from jaxconv._spec.arguments import truth
from jaxconv.nnx.plain import Plain


@dataclass(repr=False, eq=False)
class _Norm(Hinting, nnx.Module):
    """A module made of one of the dataclasses of `jaxconv._layers`, which stands after this class among the bases.

    Each public layer names its `__call__` anew: `nnx.capture` instruments the methods that stand in a class itself.
    """

    _: KW_ONLY
    rngs: InitVar[nnx.Rngs | None] = None  # there so that all layers are made alike: nothing is drawn

    def __post_init__(self, rngs: nnx.Rngs | None) -> None:
        layer: Any = self
        layer.parse()
        shapes, kinds = {**layer.parameters, **layer.statistics}, layer.parameters
        for name in layer.names:
            kind = nnx.Param if name in kinds else nnx.BatchStat
            variable = kind(layer.initial(name, shapes[name])) if name in shapes else None
            setattr(self, name, nnx.data(variable))

    def __call__(self, x: jax.Array) -> jax.Array:
        """The output for `x`; in training the running statistics are those with the ones of `x` mixed in."""
        layer: Any = self
        names = (*layer.parameters, *layer.statistics)
        training = not truth("use_running_average", getattr(self, "use_running_average", False))
        y, changed = layer.normalise(x, {name: getattr(self, name)[...] for name in names}, training)
        for name, value in changed.items():
            getattr(self, name)[...] = value
        return y

    def __nnx_repr__(self):
        layer: Any = self
        yield reprlib.Object(type(self), kv_sep="", same_line=True)
        yield reprlib.Attr("", layer.extra_repr(), use_raw_key=True, use_raw_value=True)


class _WithStatistics(_Norm):
    """A layer that is in training, as a new one is, or in evaluation, which `train`, `eval` and `nnx.view` switch."""

    def __post_init__(self, rngs: nnx.Rngs | None) -> None:
        super().__post_init__(rngs)
        self.use_running_average = False

    def set_view(self, use_running_average: bool | None = None) -> None:
        """What `nnx.view` calls: whether the layer is in evaluation."""
        if use_running_average is not None:
            self.use_running_average = use_running_average


@dataclass(repr=False, eq=False)
class _BatchNorm(_WithStatistics, _layer.BatchNorm):
    pass


@dataclass(repr=False, eq=False)
class _InstanceNorm(_WithStatistics, _layer.InstanceNorm):
    pass


class BatchNorm1d(_BatchNorm):
    """As `BatchNorm2d`, of (N, C, L) or (N, C): `torch.nn.BatchNorm1d`."""

    rank = 1
    __call__ = _BatchNorm.__call__


class BatchNorm2d(_BatchNorm):
    """Each channel of (N, C, H, W) less its mean, divided by its standard deviation: `torch.nn.BatchNorm2d`.

    In training, which a new layer is in, the statistics are those of the batch, and the running ones are updated in
    place, as `jaxconv.batch_norm` returns them; in evaluation they are the running ones. `train()` and `eval()` of a
    model switch it, and so do `nnx.view` and the attribute `use_running_average`. Errors of a call as
    `jaxconv.batch_norm`.

    Args:
        num_features: channels of the input.
        eps: what is added to the variance.
        momentum: the share of a batch in the new running statistics; where it is None they are the average over all
            batches.
        affine: whether the layer has parameters.
        track_running_stats: whether it has running statistics; without them those of the batch are taken in evaluation
            too.
        bias: whether a bias is among the parameters.
        data_format: `"channels_first"` or `"channels_last"`.
        dtype: what the input is converted to, and the dtype of the output; by default input and variables are promoted
            to one, but 16-bit floats stay what they are with variables of float32. Whatever it is, 16-bit floats are
            computed with in float32.
        param_dtype: the dtype that parameters and statistics are made in.
        axis_name: the name of a mapped axis over which the statistics are taken, as of `torch.nn.SyncBatchNorm`.
        rngs: not needed, since nothing is drawn; there so that all layers can be made alike.

    Attributes:
        weight: `nnx.Param` of ones of shape (num_features,), or None.
        bias: `nnx.Param` of zeros of shape (num_features,), or None.
        running_mean: `nnx.BatchStat` of zeros of shape (num_features,), or None.
        running_var: `nnx.BatchStat` of ones of shape (num_features,), or None.
        num_batches_tracked: `nnx.BatchStat` of shape (), an integer, or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import BatchNorm2d
        >>> layer = BatchNorm2d(3)
        >>> layer
        BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
        >>> layer(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 5, 7)
        >>> layer.running_mean[...], layer.num_batches_tracked[...]
        (Array([0.1, 0.1, 0.1], dtype=float32), Array(1, dtype=int32))
    """

    rank = 2
    __call__ = _BatchNorm.__call__


class BatchNorm3d(_BatchNorm):
    """As `BatchNorm2d`, of (N, C, D, H, W): `torch.nn.BatchNorm3d`."""

    rank = 3
    __call__ = _BatchNorm.__call__


class InstanceNorm1d(_InstanceNorm):
    """As `InstanceNorm2d`, of (N, C, L) or (C, L): `torch.nn.InstanceNorm1d`."""

    rank = 1
    __call__ = _InstanceNorm.__call__


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each image of (N, C, H, W) or (C, H, W) normalised: `torch.nn.InstanceNorm2d`.

    The statistics are those of each channel of each image, in evaluation too, unless `track_running_stats`: then they
    are the running ones there, which are updated in training as `jaxconv.instance_norm` returns them. What switches
    the two is as of `BatchNorm2d`. Errors of a call as `jaxconv.instance_norm`.

    Args:
        num_features: channels of the input; another number warns where the layer has no variables.
        eps: what is added to the variance.
        momentum: the share of a batch in the new running statistics; as in PyTorch they stay as they are where it is
            None.
        affine: whether the layer has parameters.
        track_running_stats: whether it has running statistics.
        bias: whether a bias is among the parameters.
        data_format: `"channels_first"` or `"channels_last"`.
        dtype: as of `BatchNorm2d`.
        param_dtype: the dtype that parameters and statistics are made in.
        rngs: not needed, since nothing is drawn; there so that all layers can be made alike.

    Attributes:
        weight: `nnx.Param` of ones of shape (num_features,), or None.
        bias: `nnx.Param` of zeros of shape (num_features,), or None.
        running_mean: `nnx.BatchStat` of zeros of shape (num_features,), or None.
        running_var: `nnx.BatchStat` of ones of shape (num_features,), or None.
        num_batches_tracked: `nnx.BatchStat` of shape (), which as in PyTorch stays 0, or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import InstanceNorm2d
        >>> InstanceNorm2d(3)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 5, 7)
    """

    rank = 2
    __call__ = _InstanceNorm.__call__


class InstanceNorm3d(_InstanceNorm):
    """As `InstanceNorm2d`, of (N, C, D, H, W) or (C, D, H, W): `torch.nn.InstanceNorm3d`."""

    rank = 3
    __call__ = _InstanceNorm.__call__


@dataclass(repr=False, eq=False)
class GroupNorm(_Norm, _layer.GroupNorm):
    """Each group of channels of each image of (N, C, ...) normalised: `torch.nn.GroupNorm`.

    Errors of a call as `jaxconv.group_norm`.

    Args:
        num_groups: into how many groups of channels side by side an image is divided.
        num_channels: channels of the input; `num_groups` divides them.
        eps: what is added to the variance.
        affine: whether the layer has parameters.
        bias: whether a bias is among them.
        data_format: `"channels_first"` or `"channels_last"`.
        dtype: as of `BatchNorm2d`.
        param_dtype: the dtype that the parameters are made in.
        rngs: not needed, since nothing is drawn; there so that all layers can be made alike.

    Attributes:
        weight: `nnx.Param` of ones of shape (num_channels,), or None.
        bias: `nnx.Param` of zeros of shape (num_channels,), or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import GroupNorm
        >>> GroupNorm(2, 6)(jnp.ones((2, 6, 5, 7))).shape
        (2, 6, 5, 7)
    """

    __call__ = _Norm.__call__


@dataclass(repr=False, eq=False)
class LayerNorm(_Norm, _layer.LayerNorm):
    """The last axes of (N, C, ...), or of any array, normalised: `torch.nn.LayerNorm`.

    Errors of a call as `jaxconv.layer_norm`.

    Args:
        normalized_shape: the shape of the last axes; an int for the last one.
        eps: what is added to the variance.
        elementwise_affine: whether the layer has parameters.
        bias: whether a bias is among them.
        dtype: as of `BatchNorm2d`.
        param_dtype: the dtype that the parameters are made in.
        rngs: not needed, since nothing is drawn; there so that all layers can be made alike.

    Attributes:
        weight: `nnx.Param` of ones of shape `normalized_shape`, or None.
        bias: `nnx.Param` of zeros of shape `normalized_shape`, or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import LayerNorm
        >>> LayerNorm((5, 7))(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 5, 7)
    """

    __call__ = _Norm.__call__


@dataclass(repr=False, eq=False)
class RMSNorm(_Norm, _layer.RMSNorm):
    """The last axes of (N, C, ...), or of any array, over the root of the mean of their squares: `torch.nn.RMSNorm`.

    Errors of a call as `jaxconv.rms_norm`.

    Args:
        normalized_shape: the shape of the last axes; an int for the last one.
        eps: what is added to the mean; where it is None as in `jaxconv.rms_norm`.
        elementwise_affine: whether the layer has a weight.
        dtype: as of `BatchNorm2d`.
        param_dtype: the dtype that the weight is made in.
        rngs: not needed, since nothing is drawn; there so that all layers can be made alike.

    Attributes:
        weight: `nnx.Param` of ones of shape `normalized_shape`, or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import RMSNorm
        >>> RMSNorm(7)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 5, 7)
    """

    __call__ = _Norm.__call__


class LocalResponseNorm(_layer.LocalResponseNorm, Plain):
    """Each value of (N, C, L, ...) divided by a power of its neighbours' squares: `torch.nn.LocalResponseNorm`.

    Errors of a call as `jaxconv.local_response_norm`.

    Args:
        size: how many channels a mean of squares is taken over.
        alpha: what the mean is multiplied by.
        beta: the exponent.
        k: what is added to the mean.
        data_format: `"channels_first"` or `"channels_last"`.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.nnx import LocalResponseNorm
        >>> LocalResponseNorm(3)(jnp.ones((2, 3, 5, 7))).shape
        (2, 3, 5, 7)
    """

    __call__ = Plain.__call__
