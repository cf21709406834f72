"""Weights that are computed from other parameters, for Flax NNX."""

import functools
from typing import Any, TypeVar

import jax
from flax import nnx
from flax.nnx import reprlib

from jaxconv._arrays import as_array
from jaxconv._layers import containers as _containers
from jaxconv._layers import parametrization as _layer
from jaxconv._spec import parametrization as _spec
from jaxconv.nnx.convolution import _ConvTranspose

_Layer = TypeVar("_Layer", bound=nnx.Module)
# Layers of Flax whose `kernel`, (*kernel_size, in, out), is PyTorch's `weight`, (out, in, *kernel_size).
_WITH_KERNEL = (nnx.Linear, nnx.Conv)


def weight_norm(layer: _Layer, name: str = "weight", dim: int | None = 0) -> _Layer:
    """Has a layer compute its weight as g v / |v|: `torch.nn.utils.parametrizations.weight_norm`.

    The layer is changed, and given back. In place of the parameter it has two, whose names are PyTorch's:
    `parametrizations.weight.original0`, the lengths g, and `parametrizations.weight.original1`, the direction v. They
    start as the weight's. `layer.weight` is computed at each call; a value assigned to it is taken apart.

    Args:
        layer: a layer of `jaxconv.nnx`, of (N, C, H, W) or other inputs, or one of Flax. Of `nnx.Linear` and
            `nnx.Conv` the parameter `"weight"` is their `kernel`, in PyTorch's shape.
        name: the parameter.
        dim: the axis of the weight whose indices have a length each; None for one length of all.

    Returns:
        `layer`.

    Raises:
        TypeError: `layer` is no NNX module, an argument is of a wrong kind, or the weight is complex.
        ValueError: the layer has no such parameter (yet), computes it already, or `dim` is none of its axes.

    Example:
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv1d, weight_norm
        >>> layer = weight_norm(Conv1d(3, 8, 5, rngs=nnx.Rngs(0)))
        >>> layer
        ParametrizedConv1d(
          3, 8, kernel_size=(5,), stride=(1,)
          (parametrizations): ModuleDict(
            (weight): ParametrizationList(
              (0): _WeightNorm()
            )
          )
        )
        >>> layer.weight.shape, layer.parametrizations.weight.original0.shape
        ((8, 3, 5), (8, 1, 1))
    """
    weight = _parameter(layer, name)
    spec = _spec.parse_weight_norm(dim, weight.shape, weight.dtype)
    g = type(weight)(_layer.length(weight.get_value(), spec))
    return _parametrized(layer, name, ParametrizationList(_WeightNorm(spec), (g, weight)))


def spectral_norm(
    layer: _Layer,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    *,
    rngs: nnx.Rngs | None = None,
) -> _Layer:
    """Has a layer divide its weight by its largest singular value: `torch.nn.utils.parametrizations.spectral_norm`.

    The layer is changed, and given back. The parameter is now `parametrizations.weight.original`; the singular vectors
    are `nnx.BatchStat`s, `parametrizations.weight.0._u` and `._v`, PyTorch's buffers. In training each call, as each
    look at `layer.weight`, improves them by `n_power_iterations` steps; `layer.eval()` ends that.

    Args:
        layer: as of `weight_norm`.
        name: the parameter. One of a single axis is divided by its length.
        n_power_iterations: steps of power iteration at a call in training.
        eps: the least length of a vector that is divided by its length.
        dim: the axis with the rows of the matrix; by default 1 for transposed convolutions, and 0 for other layers.
        rngs: where the first vectors come from, of which 15 steps leave little; by default always the same.

    Returns:
        `layer`.

    Raises:
        TypeError: `layer` is no NNX module, or an argument is of a wrong kind.
        ValueError: the layer has no such parameter (yet), computes it already, or an argument is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv2d, spectral_norm
        >>> layer = spectral_norm(Conv2d(3, 8, 5, rngs=nnx.Rngs(0)), n_power_iterations=20)
        >>> singular_values = jnp.linalg.svd(layer.weight.reshape(8, -1), compute_uv=False)
        >>> round(float(singular_values.max()), 2)
        1.0
    """
    weight = _parameter(layer, name)
    if dim is None:
        dim = 1 if isinstance(layer, _ConvTranspose) else 0
    spec = _spec.parse_spectral_norm(n_power_iterations, eps, dim, weight.shape)
    key = jax.random.key(0) if rngs is None else rngs.params()
    return _parametrized(layer, name, ParametrizationList(_SpectralNorm(spec, key, weight.get_value()), (weight,)))


def remove_parametrizations(layer: _Layer, tensor_name: str, leave_parametrized: bool = True) -> _Layer:
    """Undoes `weight_norm` or `spectral_norm`: `torch.nn.utils.parametrize.remove_parametrizations`.

    Args:
        layer: a layer that one of the two has changed, as of `weight_norm`.
        tensor_name: the parameter, such as `"weight"`.
        leave_parametrized: whether the parameter has the value that was computed, or the original one, which
            `weight_norm` has not.

    Returns:
        `layer`.

    Raises:
        TypeError: an argument is of a wrong kind.
        ValueError: the layer does not compute the parameter, or computes it from two.

    Example:
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv1d, remove_parametrizations, weight_norm
        >>> remove_parametrizations(weight_norm(Conv1d(3, 8, 5, rngs=nnx.Rngs(0))), "weight")
        Conv1d(3, 8, kernel_size=(5,), stride=(1,))
    """
    computed = getattr(layer, "parametrizations", None)
    _spec.check_is_computed(type(layer).__name__, tensor_name, _names(layer))
    inner = getattr(computed, tensor_name)
    _spec.check_left_as_it_was(leave_parametrized, tensor_name, len(inner.originals))
    value = inner.value() if leave_parametrized else inner.originals[0].get_value()
    delattr(computed, tensor_name)
    left = tuple(name for name in _names(layer) if name != tensor_name)
    object.__setattr__(layer, "__class__", _class_of(_base(layer), left) if left else _base(layer))
    if not left:
        del layer.parametrizations
    attribute, moved = _attribute(layer, tensor_name)
    original = inner.originals[-1]  # what says how the parameter is laid out, if anything does
    setattr(layer, attribute, type(original)(_from_pytorch(value)) if moved else original.replace(value))
    return layer


def _parameter(layer: Any, name: Any) -> nnx.Variable:
    """The variable of a layer by PyTorch's name, in PyTorch's shape."""
    if not isinstance(layer, nnx.Module):
        _spec.refuse_layer(layer, "an nnx.Module")
    known = {key: value for key, value in vars(layer).items() if isinstance(value, nnx.Variable)}
    attribute, moved = _attribute(layer, name)
    if name in _names(layer):
        _spec.refuse_second(type(layer).__name__, name)
    if attribute not in known:
        _spec.refuse_name(type(layer).__name__, name, known, attribute in vars(layer))
    variable = known[attribute]
    return type(variable)(_to_pytorch(variable.get_value())) if moved else variable


def _attribute(layer: nnx.Module, name: Any) -> tuple[Any, bool]:
    """The attribute that holds a parameter of PyTorch's name, and whether its axes are moved."""
    moved = name == "weight" and isinstance(layer, _WITH_KERNEL)
    return ("kernel" if moved else name), moved


def _to_pytorch(kernel: jax.Array) -> jax.Array:
    return kernel.transpose(kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))


def _from_pytorch(weight: jax.Array) -> jax.Array:
    return weight.transpose(*range(2, weight.ndim), 1, 0)


class _Text(nnx.Module):
    """A module that is written as PyTorch writes it."""

    def _inside(self) -> list[tuple[str, Any]]:
        return []

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), kv_sep="", same_line=True, indent="")
        yield reprlib.Attr("", _containers.text("", self._inside())[1:-1], use_raw_key=True, use_raw_value=True)


class _WeightNorm(_Text):
    """How a weight is computed from its lengths and its direction."""

    def __init__(self, spec: _spec.WeightNorm):
        self._spec = spec

    def forward(self, g: nnx.Variable, v: nnx.Variable) -> jax.Array:
        return _layer.of_length(g.get_value(), v.get_value(), self._spec)

    def right_inverse(self, weight: jax.Array) -> tuple[jax.Array, ...]:
        return _layer.length(weight, self._spec), weight


class _SpectralNorm(_Text):
    """How a weight is divided by its largest singular value, and the vectors of that."""

    def __init__(self, spec: _spec.SpectralNorm, key: jax.Array, weight: jax.Array):
        self._spec = spec
        self.deterministic = False
        if weight.ndim > 1:
            u, v = _layer.first_vectors(key, weight, spec)
            self._u, self._v = nnx.BatchStat(u), nnx.BatchStat(v)

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view` changes."""
        if deterministic is not None:
            self.deterministic = deterministic

    def forward(self, original: nnx.Variable) -> jax.Array:
        weight = original.get_value()
        if weight.ndim == 1:
            return _layer.unit(weight, self._spec)
        vectors = self._u.get_value(), self._v.get_value()
        if not self.deterministic:
            vectors = _layer.improved(weight, vectors, self._spec)
            self._u.set_value(vectors[0])
            self._v.set_value(vectors[1])
        return _layer.divided(weight, vectors, self._spec)

    def right_inverse(self, weight: jax.Array) -> tuple[jax.Array, ...]:
        return (weight,)


class ParametrizationList(_Text):
    """The arrays that a parameter is computed from, and how; the names are PyTorch's."""

    def __init__(self, how: Any, originals: tuple[nnx.Variable, ...]):
        setattr(self, "0", how)
        self._names = tuple(f"original{i}" for i in range(len(originals))) if len(originals) > 1 else ("original",)
        for name, variable in zip(self._names, originals, strict=True):
            setattr(self, name, variable)

    @property
    def originals(self) -> list[nnx.Variable]:
        """The variables."""
        return [getattr(self, name) for name in self._names]

    def value(self) -> jax.Array:
        """The parameter."""
        return getattr(self, "0").forward(*self.originals)

    def assign(self, value: jax.Array, name: str) -> None:
        """Has the parameter take this value."""
        _spec.check_new_value(name, value.shape, self.originals[-1].shape)
        parts = getattr(self, "0").right_inverse(value)
        for variable, part in zip(self.originals, parts, strict=True):
            variable.set_value(part)

    def _inside(self) -> list[tuple[str, Any]]:
        return [("0", getattr(self, "0"))]


class ModuleDict(_Text):
    """The parameters that a layer computes, attributes by their names."""

    def _inside(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, ParametrizationList)]


def _names(layer: Any) -> tuple[str, ...]:
    return getattr(type(layer), "_computed", ())


def _parametrized(layer: Any, name: str, inner: ParametrizationList) -> Any:
    """The layer, which computes a parameter from now on."""
    attribute, _ = _attribute(layer, name)
    delattr(layer, attribute)
    if not _names(layer):
        layer.parametrizations = ModuleDict()
    setattr(layer.parametrizations, name, inner)
    object.__setattr__(layer, "__class__", _class_of(_base(layer), (*_names(layer), name)))
    return layer


def _base(layer: Any) -> type:
    """The class that a layer had at first."""
    return type(layer).__base__ if _names(layer) else type(layer)  # type: ignore[return-value]


@functools.cache
def _class_of(base: type, names: tuple[str, ...]) -> type:
    """A class as `base` whose parameters `names` are computed: one for all layers, so that they compile once."""
    attributes = {_attribute_of(base, name): name for name in names}

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if name not in attributes:
            return super(made, self).__setattr__(name, value)
        value = value.get_value() if isinstance(value, nnx.Variable) else as_array(name, value)
        getattr(self.parametrizations, attributes[name]).assign(_to_pytorch(value) if name == "kernel" else value, name)

    def __nnx_repr__(self: Any) -> Any:
        yield reprlib.Object(type(self), kv_sep="", same_line=True, indent="")
        _, *own = base.__nnx_repr__(self)
        inside = _containers.text("", [("parametrizations", self.parametrizations)])[1:-1]
        yield reprlib.Attr("", f"\n  {own[0].value}{inside}", use_raw_key=True, use_raw_value=True)

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        # The class has no name that pickle could find it by.
        _, _, *state = super(made, self).__reduce_ex__(protocol)
        return (_new, (base, names), *state)

    namespace: dict[str, Any] = {
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "__call__": base.__call__,  # type: ignore[attr-defined]  # `nnx.capture` looks for it in the class itself
        "__setattr__": __setattr__,
        "__reduce_ex__": __reduce_ex__,
        "_computed": names,
    }
    if base.__module__.startswith("jaxconv."):
        namespace["__nnx_repr__"] = __nnx_repr__
    for attribute, name in attributes.items():
        namespace[attribute] = property(functools.partial(_value, name, attribute == "kernel"))
    made = type(base)(f"Parametrized{base.__name__}", (base,), namespace)
    return made


def _new(base: type, names: tuple[str, ...]) -> Any:
    cls = _class_of(base, names)
    return object.__new__(cls)


def _attribute_of(base: type, name: str) -> str:
    return "kernel" if name == "weight" and issubclass(base, _WITH_KERNEL) else name


def _value(name: str, moved: bool, layer: Any) -> jax.Array:
    value = getattr(layer.parametrizations, name).value()
    return _from_pytorch(value) if moved else value
