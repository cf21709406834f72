"""PyTorch's initial distributions as JAX initialisers: functions of (key, shape, dtype).

Shapes are PyTorch's: (out, in, *kernel_size) for a plain weight and (in, out / groups, *kernel_size) for a transposed
one. PyTorch, and so these functions, take axis 1 times the kernel's size as fan_in and axis 0 times it as fan_out *for
both*: the "fan_in" of a transposed layer counts its output channels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer, variance_scaling

from jaxconv._arrays import wide
from jaxconv._spec.arguments import integer, number, one_of
from jaxconv._spec.init import check_axes, check_groups, check_range, check_std

__all__ = [
    "calculate_gain",
    "constant",
    "conv_bias_init",
    "conv_weight_init",
    "dirac",
    "kaiming_normal",
    "kaiming_uniform",
    "normal",
    "orthogonal",
    "trunc_normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
]

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": None,  # depends on its slope
    "selu": 3 / 4,
}
_FANS = ("fan_in", "fan_out")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a standard deviation is scaled before a nonlinearity, `torch.nn.init.calculate_gain`.

    Args:
        nonlinearity: `"linear"`, `"sigmoid"`, `"tanh"`, `"relu"`, `"leaky_relu"` or `"selu"`.
        param: the negative slope of `"leaky_relu"`, 0.01 where it is None.

    Returns:
        The gain; sqrt(2 / (1 + slope^2)) for `"leaky_relu"`.

    Raises:
        ValueError: an unknown nonlinearity.

    Example:
        >>> from jaxconv import init
        >>> round(init.calculate_gain("leaky_relu", 1.0), 6)
        1.0
    """
    gain = _GAINS[one_of("nonlinearity", nonlinearity, tuple(_GAINS))]
    return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2)) if gain is None else gain


def kaiming_uniform(a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Initializer:
    """Uniform within ±gain * sqrt(3 / fan), `torch.nn.init.kaiming_uniform_` (He et al., 2015).

    Args:
        a: negative slope of the rectifier that follows, for `"leaky_relu"`.
        mode: `"fan_in"` keeps the variance of the forward pass, `"fan_out"` that of the backward pass.
        nonlinearity: as for `calculate_gain`.

    Returns:
        A JAX initialiser of plain and of transposed weights, real or complex.

    Raises:
        ValueError: an unknown mode or nonlinearity.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> init.kaiming_uniform(nonlinearity="relu")(jax.random.key(0), (33, 16, 3, 5)).shape
        (33, 16, 3, 5)
    """
    return _kaiming(a, mode, nonlinearity, "uniform")


def kaiming_normal(a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Initializer:
    """Normal with standard deviation gain / sqrt(fan), `torch.nn.init.kaiming_normal_` (He et al., 2015).

    Arguments and errors are those of `kaiming_uniform`.

    Returns:
        A JAX initialiser of plain and of transposed weights.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> init.kaiming_normal(mode="fan_out", nonlinearity="relu")(jax.random.key(0), (8, 4, 3, 3)).shape
        (8, 4, 3, 3)
    """
    return _kaiming(a, mode, nonlinearity, "normal")


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform within ±gain * sqrt(6 / (fan_in + fan_out)), `torch.nn.init.xavier_uniform_` (Glorot & Bengio, 2010).

    Args:
        gain: factor of the distribution's width, for example `calculate_gain("relu")`.

    Returns:
        A JAX initialiser of plain and of transposed weights.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> init.xavier_uniform()(jax.random.key(0), (8, 4, 3, 3)).shape
        (8, 4, 3, 3)
    """
    return _scaled(gain, "fan_avg", "uniform")


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)), `torch.nn.init.xavier_normal_`.

    The argument is that of `xavier_uniform`.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> weights = init.xavier_normal()(jax.random.key(0), (800, 400, 3, 3))
        >>> round(float(weights.std() * ((800 + 400) * 9 / 2) ** 0.5), 2)
        1.0
    """
    return _scaled(gain, "fan_avg", "normal")


def uniform(a: float = 0.0, b: float = 1.0) -> Initializer:
    """Uniform within [a, b), `torch.nn.init.uniform_`.

    Args:
        a: the lower bound.
        b: the upper bound.

    Returns:
        A JAX initialiser, of real numbers or of complex ones, whose parts are drawn apart.

    Raises:
        TypeError: an argument is no number.
        ValueError: `b` is less than `a`.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> bool(abs(init.uniform(-0.1, 0.1)(jax.random.key(0), (8, 4))).max() <= 0.1)
        True
    """
    low, high = check_range(a, b)
    return _parts(_initialiser(lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, low, high)))


def normal(mean: float = 0.0, std: float = 1.0) -> Initializer:
    """Normal, `torch.nn.init.normal_`.

    Args:
        mean: the mean.
        std: the standard deviation.

    Returns:
        A JAX initialiser, of real or complex numbers.

    Raises:
        TypeError: an argument is no number.
        ValueError: `std` is negative.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> round(float(init.normal(std=0.02)(jax.random.key(0), (200, 300)).std()), 4)
        0.02
    """
    middle, width = number("mean", mean), check_std(std, least=0)
    return _initialiser(lambda key, shape, dtype: middle + width * jax.random.normal(key, shape, dtype))


def trunc_normal(mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Initializer:
    """Normal and within [a, b], `torch.nn.init.trunc_normal_`.

    The bounds are values, not standard deviations: with `std=0.02` those of PyTorch's default cut nothing off.
    `jax.nn.initializers.truncated_normal` and Flax's defaults cut at two standard deviations, and the first makes up
    for what that takes from the deviation.

    Args:
        mean: the mean before numbers are left out.
        std: the standard deviation before numbers are left out.
        a: the least value.
        b: the largest value.

    Returns:
        A JAX initialiser of real numbers.

    Raises:
        TypeError: an argument is no number.
        ValueError: `std` is not positive, or `b` is less than `a`.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> weight = init.trunc_normal(std=0.02)(jax.random.key(0), (200, 300))
        >>> round(float(weight.std()), 4), bool(abs(weight).max() > 0.06)
        (0.02, True)
    """
    middle, width, (low, high) = number("mean", mean), check_std(std, least=None), check_range(a, b)

    def draw(key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        # A float16 has 11 bits, too few for the inverse of the distribution.
        wanted, least, most = wide(jnp.dtype(dtype)), (low - middle) / width, (high - middle) / width
        drawn = middle + width * jax.random.truncated_normal(key, least, most, shape, wanted)
        return jnp.clip(drawn, low, high).astype(dtype)

    return _initialiser(draw)


def constant(val: float) -> Initializer:
    """One value everywhere, `torch.nn.init.constant_`; 0 and 1 are `torch.nn.init.zeros_` and `torch.nn.init.ones_`.

    Args:
        val: the value.

    Returns:
        A JAX initialiser.

    Raises:
        TypeError: `val` is no number.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> init.constant(0.5)(jax.random.key(0), (2,)).tolist()
        [0.5, 0.5]
    """
    value = number("val", val)
    return _initialiser(lambda key, shape, dtype: jnp.full(shape, value, dtype))


def orthogonal(gain: float = 1.0) -> Initializer:
    """Rows or columns of length `gain` at right angles, `torch.nn.init.orthogonal_` (Saxe et al., 2013).

    The weight is taken for a matrix whose rows are its first axis, as PyTorch takes it.

    Args:
        gain: the length.

    Returns:
        A JAX initialiser of weights of two axes or more, real or complex.

    Raises:
        TypeError: `gain` is no number.
        ValueError: when it is called: a shape of fewer axes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv import init
        >>> rows = init.orthogonal()(jax.random.key(0), (4, 3, 5)).reshape(4, 15)
        >>> bool(jnp.allclose(rows @ rows.T, jnp.eye(4), atol=1e-5))
        True
    """
    scale = number("gain", gain)

    def draw(key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        check_axes("orthogonal", shape, 2, None)
        if 0 in shape:
            return jnp.zeros(shape, dtype)
        make = jax.nn.initializers.orthogonal(scale, column_axis=0)
        return make(key, shape, wide(jnp.dtype(dtype))).astype(dtype)

    return _initialiser(draw)


def dirac(groups: int = 1) -> Initializer:
    """The weight of a convolution that gives its input back, `torch.nn.init.dirac_`, channel by channel in each group.

    Args:
        groups: groups of output channels, each of which begins with the first input channel again.

    Returns:
        A JAX initialiser of weights of three to five axes, (out, in, *kernel_size).

    Raises:
        TypeError: `groups` is no integer.
        ValueError: `groups` is not positive; or, when it is called, a shape that does not fit.

    Example:
        >>> import jax, jax.numpy as jnp, jaxconv
        >>> from jaxconv import init
        >>> x = jnp.arange(12.0).reshape(1, 3, 4)
        >>> weight = init.dirac()(jax.random.key(0), (3, 3, 5))
        >>> bool((jaxconv.conv1d(x, weight, padding=2) == x).all())
        True
    """
    number_of_groups = integer("groups", groups, 1)

    def make(key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
        check_axes("dirac", shape, 3, 5)
        check_groups(shape, number_of_groups)
        out, middle = shape[0] // number_of_groups, tuple(size // 2 for size in shape[2:])
        weight = np.zeros(shape, dtype)
        for group in range(number_of_groups):
            for channel in range(min(out, shape[1])):
                weight[(group * out + channel, channel, *middle)] = 1
        return jnp.asarray(weight)

    return _initialiser(make)


def conv_weight_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """A convolution's initial weight in PyTorch: uniform within ±1 / sqrt(fan_in).

    `torch.nn.Conv*d.reset_parameters` calls `kaiming_uniform_` with a = sqrt(5), so gain^2 = 2 / (1 + 5) and the bound
    is sqrt(3 * gain^2 / fan_in) = 1 / sqrt(fan_in), with fan_in = shape[1] * prod(kernel_size) for plain and for
    transposed weights.

    Args:
        key: a JAX random key.
        shape: the weight's shape, (out, in / groups, *kernel_size), or (in, out / groups, *kernel_size) transposed.
        dtype: its dtype, real or complex.

    Returns:
        An array of shape `shape`.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> weight = init.conv_weight_init(jax.random.key(0), (33, 16, 3, 5))
        >>> bool(abs(weight).max() <= (16 * 3 * 5) ** -0.5)
        True
    """
    return _CONV_WEIGHT(key, shape, dtype)


def conv_bias_init(
    key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, *, weight_shape: Sequence[int]
) -> jax.Array:
    """A convolution's initial bias in PyTorch: uniform within ±1 / sqrt(fan_in), the fan of its weight.

    Args:
        key: a JAX random key.
        shape: the bias's shape, (out_channels,).
        dtype: its dtype, real or complex.
        weight_shape: the shape of the layer's weight, which sets the bound.

    Returns:
        An array of shape `shape`.

    Example:
        >>> import jax
        >>> from jaxconv import init
        >>> bias = init.conv_bias_init(jax.random.key(0), (33,), weight_shape=(33, 16, 3, 5))
        >>> bool(abs(bias).max() <= (16 * 3 * 5) ** -0.5)
        True
    """
    bound = 1 / math.sqrt(math.prod(weight_shape[1:]))
    return _parts(lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound))(key, shape, dtype)


def _kaiming(a: float, mode: str, nonlinearity: str, distribution: Literal["uniform", "normal"]) -> Initializer:
    gain = calculate_gain(nonlinearity, a)
    return _scaled(gain, one_of("mode", mode, _FANS), distribution)


def _scaled(gain: float, mode: Any, distribution: Literal["uniform", "normal"]) -> Initializer:
    # variance = gain^2 / fan; in_axis and out_axis say which axes of PyTorch's shape the fans are read from.
    init = variance_scaling(gain**2, mode, distribution, in_axis=1, out_axis=0)
    return _parts(init) if distribution == "uniform" else init


def _initialiser(draw: Callable[..., jax.Array]) -> Initializer:
    """`draw`, of (key, shape, dtype), with the defaults of JAX's initialisers."""

    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        made = draw(key, tuple(shape), dtype)
        return made if out_sharding is None else jax.sharding.reshard(made, out_sharding)

    return init


def _parts(init: Callable[..., jax.Array]) -> Initializer:
    """`init`, with the real and the imaginary part of complex numbers drawn apart, as PyTorch draws uniform ones."""

    def both(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        more = {} if out_sharding is None else {"out_sharding": out_sharding}
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            return init(key, shape, dtype, **more)
        part = jnp.finfo(dtype).dtype
        return jax.lax.complex(*(init(key, shape, part, **more) for key in jax.random.split(key)))

    return both


_CONV_WEIGHT = kaiming_uniform(a=math.sqrt(5))
