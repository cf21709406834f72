"""Weights that are computed from other variables, for Flax Linen."""

import functools
from typing import Any, TypeVar

import jax
from flax import linen as nn
from flax.core import meta

from jaxconv._layers import containers as _containers
from jaxconv._layers import parametrization as _layer
from jaxconv._spec import parametrization as _spec
from jaxconv.linen.convolution import _Convolution, _ConvTranspose

_Layer = TypeVar("_Layer", bound=nn.Module)


def weight_norm(layer: _Layer, name: str = "weight", dim: int | None = 0) -> _Layer:
    """`jaxconv.nnx.weight_norm` in Linen, of the convolution layers: the layer is changed, and given back.

    Args:
        layer: a convolution layer of `jaxconv.linen` that has not been called.
        name: the parameter: only `"weight"`.
        dim: the axis of the weight whose indices have a length each; None for one length of all.

    Returns:
        `layer`. In place of `weight`, `params` has `{"parametrizations": {"weight": {"original0", "original1"}}}`.

    Raises:
        TypeError: `layer` is another layer, or an argument is of a wrong kind.
        ValueError: the layer has no such parameter, computes it already, or `dim` is none of its axes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Conv1d, weight_norm
        >>> variables = weight_norm(Conv1d(3, 8, 5, bias=False)).init(jax.random.key(0), jnp.ones((1, 3, 9)))
        >>> jax.tree.map(jnp.shape, variables["params"]["parametrizations"])
        {'weight': {'original0': (8, 1, 1), 'original1': (8, 3, 5)}}
    """
    _check(layer, name)
    _spec.parse_weight_norm(dim, _shape(layer), jax.numpy.dtype(layer.param_dtype))  # type: ignore[attr-defined]
    return _become(layer, _weight_normed(type(layer), dim))


def spectral_norm(
    layer: _Layer,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    *,
    deterministic: bool | None = None,
) -> _Layer:
    """`jaxconv.nnx.spectral_norm` in Linen, of the convolution layers: the layer is changed, and given back.

    It is called as `layer(x, deterministic=False)` in training, where `batch_stats` must be mutable.

    Args:
        layer: as of `weight_norm`.
        name: the parameter: only `"weight"`.
        n_power_iterations: steps of power iteration at a call in training.
        eps: the least length of a vector that is divided by its length.
        dim: the axis with the rows of the matrix; by default 1 for transposed convolutions, and 0 for other layers.
        deterministic: whether the vectors stay as they are; or as the call says.

    Returns:
        `layer`. In place of `weight`, `params` has `{"parametrizations": {"weight": {"original"}}}`, and `batch_stats`
        has `{"parametrizations": {"weight": {"0": {"_u", "_v"}}}}`.

    Raises:
        TypeError: `layer` is another layer, or an argument is of a wrong kind.
        ValueError: the layer has no such parameter, computes it already, or an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.linen import Conv1d, spectral_norm
        >>> layer, x = spectral_norm(Conv1d(3, 8, 5)), jnp.ones((1, 3, 9))
        >>> variables = layer.init(jax.random.key(0), x, deterministic=True)
        >>> y, changed = layer.apply(variables, x, deterministic=False, mutable=["batch_stats"])
        >>> jax.tree.map(jnp.shape, changed["batch_stats"]["parametrizations"])
        {'weight': {'0': {'_u': (8,), '_v': (15,)}}}
    """
    _check(layer, name)
    if dim is None:
        dim = 1 if isinstance(layer, _ConvTranspose) else 0
    spec = _spec.parse_spectral_norm(n_power_iterations, eps, dim, _shape(layer))
    layer = _become(layer, _spectrally_normed(type(layer), spec))
    object.__setattr__(layer, "deterministic", deterministic)
    return layer


def _check(layer: Any, name: Any) -> None:
    if not isinstance(layer, _Convolution):
        _spec.refuse_layer(layer, "a convolution layer of jaxconv.linen")
    if name != "weight":
        _spec.refuse_name(type(layer).__name__, name, ["weight"], False)
    if isinstance(layer, _Parametrized):
        _spec.refuse_second(type(layer).__name__, name)


def _shape(layer: Any) -> tuple[int, ...]:
    """The shape of the weight, as far as the layer knows it: of its number of axes."""
    return (layer.out_channels, layer.out_channels, *layer.kernel_size)


def _become(layer: Any, cls: type) -> Any:
    # In place, since a layer that was made in a compact method is its module's under the name that it has.
    object.__setattr__(layer, "__class__", cls)
    return layer


class _Parametrized(_Convolution):
    """What the classes below share. They are made once for each class of layers, so that layers can be compared."""

    def _made(self, init: Any, shape: tuple[int, ...], arrays: Any) -> dict[str, jax.Array]:
        """The parameters that the weight is computed from; `arrays` makes them of a weight."""
        layer: Any = self

        def make(key: jax.Array) -> Any:
            return {"weight": arrays(init(key, shape, layer.param_dtype))}

        return self.param("parametrizations", make)["weight"]

    def __repr__(self) -> str:
        own = super().__repr__().removeprefix(f"{type(self).__name__}(").removesuffix(")")
        text = _containers.text
        computed = text("ModuleDict", [("weight", _Text(text("ParametrizationList", [("0", _Text(self._how))])))])
        inside = text("", [("parametrizations", _Text(computed))])
        return f"{type(self).__name__}(\n  {own}{inside[1:]}"


class _Text(str):
    """A text that stands in a container as it is."""

    def __repr__(self) -> str:
        return str(self)


@functools.cache
def _weight_normed(base: type, dim: int | None) -> type:
    def _weight(self: Any, init: Any, shape: tuple[int, ...]) -> jax.Array:
        spec = _spec.parse_weight_norm(dim, shape, jax.numpy.dtype(self.param_dtype))

        def arrays(weight: Any) -> dict[str, Any]:
            return {"original0": _layer.length(meta.unbox(weight), spec), "original1": weight}

        parameters = self._made(init, shape, arrays)
        return _layer.of_length(parameters["original0"], parameters["original1"], spec)

    return _class_of(base, {"_weight": _weight, "_how": "_WeightNorm()"})


@functools.cache
def _spectrally_normed(base: type, spec: _spec.SpectralNorm) -> type:
    def _weight(self: Any, init: Any, shape: tuple[int, ...], deterministic: bool) -> jax.Array:
        weight = self._made(init, shape, lambda weight: {"original": weight})["original"]

        def make() -> Any:
            u, v = _layer.first_vectors(self.make_rng("params"), weight, spec)
            return {"weight": {"0": {"_u": u, "_v": v}}}

        kept = self.variable("batch_stats", "parametrizations", make)
        vectors = tuple(kept.value["weight"]["0"][name] for name in ("_u", "_v"))
        if not deterministic:
            vectors = _layer.improved(weight, vectors, spec)
            if not self.is_initializing():
                kept.value = {"weight": {"0": dict(zip(("_u", "_v"), vectors, strict=True))}}
        return _layer.divided(weight, vectors, spec)

    @nn.compact
    def __call__(self: Any, x: jax.Array, *args: Any, deterministic: bool | None = None, **kwargs: Any) -> jax.Array:
        """What the layer computes; `deterministic` keeps the vectors as they are."""
        flag = nn.merge_param("deterministic", self.deterministic, deterministic)
        return self._apply(x, *args, **kwargs, deterministic=flag)

    fields = {"__annotations__": {"deterministic": bool | None}, "deterministic": None}
    return _class_of(base, {"_weight": _weight, "_how": "_SpectralNorm()", "__call__": __call__, **fields})


def _class_of(base: type, namespace: dict[str, Any]) -> type:
    more = {"__module__": base.__module__, "__doc__": base.__doc__, **namespace}
    return type(base)(f"Parametrized{base.__name__}", (_Parametrized, base), more)
