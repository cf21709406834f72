"""Normalisation layers without a framework: their arguments, the shapes of their variables, what they compute."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxconv import functional
from jaxconv._arrays import as_array, promoted, wide
from jaxconv._layers.plain import Plain, check_dtypes
from jaxconv._spec.arguments import integer, number, one_of, truth
from jaxconv._spec.normalization import (
    check_groups,
    check_layer_input,
    check_num_features,
    parse_axis_name,
    parse_normalized_shape,
)
from jaxconv._spec.shapes import DATA_FORMATS

# The parameters and the statistics of a layer by their names; what it does not have is None.
Variables = Mapping[str, jax.Array | None]


@dataclass(repr=False, eq=False)
class Norm(Plain):
    """What layers with parameters share: a shell makes their variables and hands the arrays to `normalise`."""

    names: ClassVar[tuple[str, ...]] = ("weight", "bias")  # of all variables that it may have

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters by their names."""
        raise NotImplementedError

    @property
    def statistics(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the running statistics by their names."""
        return {}

    def initial(self, name: str, shape: tuple[int, ...]) -> jax.Array:
        """What a variable holds at first."""
        if name == "num_batches_tracked":  # as many bits as JAX is switched to
            return jnp.zeros(shape, jax.dtypes.canonicalize_dtype("int64"))
        options: Any = self
        make = jnp.ones if name in ("weight", "running_var") else jnp.zeros
        return make(shape, options.param_dtype)

    def normalise(self, x: jax.Array, variables: Variables, training: bool = True) -> tuple[jax.Array, Variables]:
        """The output for `x`, and the statistics that have changed.

        Args:
            x: the input.
            variables: arrays by the names of `parameters` and `statistics`.
            training: whether the layer is in training.
        """
        raise NotImplementedError

    def _check_options(self) -> None:
        options: Any = self
        number("eps", 0 if options.eps is None else options.eps)
        check_dtypes(self)
        for name in ("affine", "elementwise_affine", "track_running_stats"):
            if hasattr(self, name):
                truth(name, getattr(self, name))
        if hasattr(self, "data_format"):
            one_of("data_format", options.data_format, DATA_FORMATS)

    def _of_parameters(self, shape: tuple[int, ...], affine: bool, bias: Any) -> dict[str, tuple[int, ...]]:
        if not affine:
            return {}
        return {"weight": shape} if bias is None or bias is False else {"weight": shape, "bias": shape}

    def _converted(self, x: jax.Array, variables: Variables) -> tuple[jax.Array, dict[str, Any]]:
        """The input and the variables in the dtypes that the functions take.

        Without `dtype` they are promoted to one, as by Flax; but 16-bit floats stay what they are with variables of
        float32, as in PyTorch. Variables are as wide as what is computed with them.
        """
        options: Any = self
        x = as_array("input", x)
        arrays = {name: v for name, v in variables.items() if v is not None and name != "num_batches_tracked"}
        if options.dtype is not None:
            dtype = jnp.dtype(options.dtype)
        elif wide(x.dtype) != x.dtype and all(v.dtype == wide(x.dtype) for v in arrays.values()):
            dtype = x.dtype
        else:
            dtype = promoted(input=x, **(arrays or {"param_dtype": jax.ShapeDtypeStruct((), options.param_dtype)}))
        x = x.astype(dtype)
        return x, {n: None if v is None else v.astype(wide(dtype)) for n, v in variables.items()}


@dataclass(repr=False, eq=False)
class _WithStatistics(Norm):
    """What batch norm and instance norm begin with."""

    names = (*Norm.names, "running_mean", "running_var", "num_batches_tracked")
    rank: ClassVar[int]
    name_in_words: ClassVar[str]

    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True
    _: KW_ONLY
    bias: bool = True
    data_format: str = "channels_first"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def parse(self) -> None:
        self._set("num_features", integer("num_features", self.num_features, 0))
        if self.momentum is not None:
            number("momentum", self.momentum)
        truth("bias", self.bias)
        self._check_options()

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        return self._of_parameters((self.num_features,), self.affine, self.bias)

    @property
    def statistics(self) -> dict[str, tuple[int, ...]]:
        shape = (self.num_features,)
        tracked = {"running_mean": shape, "running_var": shape, "num_batches_tracked": ()}
        return tracked if self.track_running_stats else {}

    def _check_axes(self, x: jax.Array, missing: str) -> None:
        shape = as_array("input", x).shape
        check_layer_input(shape, self.rank, self.data_format, f"{self.name_in_words} of {self.rank}-D images", missing)

    def extra_repr(self) -> str:
        return _text(self, f"{self.num_features}", "eps", "momentum", "affine", "bias", "track_running_stats")


@dataclass(repr=False, eq=False)
class BatchNorm(_WithStatistics):
    """The statistics are those of each channel over the batch."""

    name_in_words = "a batch norm"

    _: KW_ONLY
    axis_name: Any = None

    def parse(self) -> None:
        super().parse()
        parse_axis_name(self.axis_name)

    def normalise(self, x: jax.Array, variables: Variables, training: bool = True) -> tuple[jax.Array, Variables]:
        self._check_axes(x, "L" if self.rank == 1 else "")
        x, given = self._converted(x, variables)
        count, momentum = variables.get("num_batches_tracked"), self.momentum
        if training and count is not None:
            count = count + jnp.ones((), count.dtype)
            # The average over all batches so far.
            momentum = 1 / count.astype(wide(x.dtype)) if momentum is None else momentum
        y, mean, var = functional.batch_norm(
            x,
            given.get("running_mean"),
            given.get("running_var"),
            given.get("weight"),
            given.get("bias"),
            training or not self.track_running_stats,
            0.0 if momentum is None else momentum,
            self.eps,
            data_format=self.data_format,
            # Without running statistics those of the batch are taken in evaluation too, as in PyTorch of each part.
            axis_name=self.axis_name if training else None,
        )
        return y, _changed(variables, mean, var, count) if training and self.track_running_stats else {}


@dataclass(repr=False, eq=False)
class InstanceNorm(_WithStatistics):
    """The statistics are those of each channel of each image."""

    name_in_words = "an instance norm"

    affine: bool = False
    track_running_stats: bool = False

    def normalise(self, x: jax.Array, variables: Variables, training: bool = True) -> tuple[jax.Array, Variables]:
        self._check_axes(x, "N")
        x, given = self._converted(x, variables)
        is_batch = x.ndim == self.rank + 2
        channels = x.shape[1 if is_batch else 0] if self.data_format == "channels_first" else x.shape[-1]
        if (words := check_num_features(channels, self.num_features, self.affine)) and not self.statistics:
            warnings.warn(words, stacklevel=4)
        # PyTorch counts no batches here: without a momentum its statistics stay as they are.
        y, mean, var = functional.instance_norm(
            x if is_batch else x[None],
            given.get("running_mean"),
            given.get("running_var"),
            given.get("weight"),
            given.get("bias"),
            training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
            data_format=self.data_format,
        )
        is_changed = training and self.track_running_stats
        return (y if is_batch else y[0]), _changed(variables, mean, var, None) if is_changed else {}


@dataclass(repr=False, eq=False)
class GroupNorm(Norm):
    """The statistics are those of each group of channels of each image."""

    num_groups: int
    num_channels: int
    eps: float = 1e-5
    affine: bool = True
    _: KW_ONLY
    bias: bool = True
    data_format: str = "channels_first"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def parse(self) -> None:
        self._set("num_groups", integer("num_groups", self.num_groups, 1))
        self._set("num_channels", integer("num_channels", self.num_channels, 0))
        check_groups(self.num_groups, "num_channels", self.num_channels)
        truth("bias", self.bias)
        self._check_options()

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        return self._of_parameters((self.num_channels,), self.affine, self.bias)

    def normalise(self, x: jax.Array, variables: Variables, training: bool = True) -> tuple[jax.Array, Variables]:
        x, given = self._converted(x, variables)
        parameters = given.get("weight"), given.get("bias")
        return functional.group_norm(x, self.num_groups, *parameters, self.eps, data_format=self.data_format), {}

    def extra_repr(self) -> str:
        return _text(self, f"{self.num_groups}, {self.num_channels}", "eps", "affine", "bias")


@dataclass(repr=False, eq=False)
class LayerNorm(Norm):
    """The statistics are those of the last axes."""

    normalized_shape: int | Sequence[int]
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True
    _: KW_ONLY
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def parse(self) -> None:
        self._set("normalized_shape", parse_normalized_shape(self.normalized_shape))
        truth("bias", self.bias)
        self._check_options()

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        return self._of_parameters(parse_normalized_shape(self.normalized_shape), self.elementwise_affine, self.bias)

    def normalise(self, x: jax.Array, variables: Variables, training: bool = True) -> tuple[jax.Array, Variables]:
        x, given = self._converted(x, variables)
        return functional.layer_norm(x, self.normalized_shape, given.get("weight"), given.get("bias"), self.eps), {}

    def extra_repr(self) -> str:
        return _text(self, f"{self.normalized_shape}", "eps", "elementwise_affine", "bias")


@dataclass(repr=False, eq=False)
class RMSNorm(Norm):
    """The last axes are divided by the root of the mean of their squares."""

    names = ("weight",)

    normalized_shape: int | Sequence[int]
    eps: float | None = None
    elementwise_affine: bool = True
    _: KW_ONLY
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def parse(self) -> None:
        self._set("normalized_shape", parse_normalized_shape(self.normalized_shape))
        self._check_options()

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        return self._of_parameters(parse_normalized_shape(self.normalized_shape), self.elementwise_affine, None)

    def normalise(self, x: jax.Array, variables: Variables, training: bool = True) -> tuple[jax.Array, Variables]:
        x, given = self._converted(x, variables)
        return functional.rms_norm(x, self.normalized_shape, given.get("weight"), self.eps), {}

    def extra_repr(self) -> str:
        return _text(self, f"{self.normalized_shape}", "eps", "elementwise_affine")


@dataclass(repr=False, eq=False)
class LocalResponseNorm(Plain):
    """Each value is divided by a power of the squares of its neighbours in other channels."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        integer("size", self.size, 1)
        for name in ("alpha", "beta", "k"):
            number(name, getattr(self, name))
        one_of("data_format", self.data_format, DATA_FORMATS)

    def compute(self, x: jax.Array) -> jax.Array:
        numbers = (self.size, self.alpha, self.beta, self.k)
        return functional.local_response_norm(x, *numbers, data_format=self.data_format)

    def extra_repr(self) -> str:
        return f"{self.size}, {self._named('alpha', 'beta', 'k')}"


def _changed(variables: Variables, mean: Any, var: Any, count: jax.Array | None) -> Variables:
    """The new statistics in the dtypes of the old ones."""
    new = {"running_mean": mean, "running_var": var} | ({} if count is None else {"num_batches_tracked": count})
    return {name: value.astype(old.dtype) for name, value in new.items() if (old := variables[name]) is not None}


def _text(layer: Norm, first: str, *names: str) -> str:
    shown = [first, *(f"{n}={'bias' in layer.parameters if n == 'bias' else getattr(layer, n)}" for n in names)]
    if getattr(layer, "data_format", "channels_first") != "channels_first":
        shown.append("data_format=channels_last")
    return ", ".join(shown)
