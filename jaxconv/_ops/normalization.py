"""The public normalisations: PyTorch's arguments and meaning on JAX arrays.

All of them are computed in float32 or wider, from moments that are exact to the last digits where the mean is large
beside the deviation, too: `_moments.py` has these and the algebra of the derivatives.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Inexact, Num

from jaxconv import _moments, _normalised
from jaxconv._arrays import as_array, mapped_size, wide
from jaxconv._ops.meshes import divided, may_be_divided
from jaxconv._spec.arguments import boolean, number
from jaxconv._spec.normalization import Array as _Checked
from jaxconv._spec.normalization import (
    channel_axis,
    check_batch_norm,
    check_group_norm,
    check_instance_norm,
    check_layer_norm,
    check_response_norm,
    parse_axis_name,
    parse_momentum,
)
from jaxconv._spec.shapes import Size

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm"]

_Images = Num[Array, "N C ..."] | Num[Array, "N ... C"]
_PerChannel = Num[Array, "C"] | None
_Statistics = tuple[jax.Array, jax.Array | None, jax.Array | None]


# ---------------------------------------------------------------------------------------------------------------
# The public functions
# ---------------------------------------------------------------------------------------------------------------


def batch_norm(
    input: _Images,
    running_mean: _PerChannel = None,
    running_var: _PerChannel = None,
    weight: _PerChannel = None,
    bias: _PerChannel = None,
    training: bool = False,
    momentum: float | jax.Array = 0.1,
    eps: float = 1e-5,
    *,
    data_format: str = "channels_first",
    axis_name: Any = None,
) -> tuple[_Images, _PerChannel, _PerChannel]:
    """Each channel less its mean, divided by its standard deviation: `torch.nn.functional.batch_norm`.

    The output is (input - mean) / sqrt(variance + eps) * weight + bias. In training mean and variance are those of the
    batch, and what is returned with the output are the running statistics with theirs mixed in: PyTorch writes these
    into its arguments, here nothing is written in place.

    Args:
        input: a batch of shape (N, C, ...), or with `data_format="channels_last"` (N, ..., C), of floats.
        running_mean: the mean of each channel over the batches so far, or None.
        running_var: the variance of each channel over the batches so far, or None.
        weight: what each channel is multiplied by, or None.
        bias: what is added to each channel, or None.
        training: whether the statistics are those of the batch, rather than the running ones.
        momentum: the share of the batch in the new running statistics; a number, or an array of shape ().
        eps: what is added to the variance.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.
        axis_name: the name of a mapped axis, of `jax.vmap`, `jax.pmap` or `jax.shard_map`, or several: the batch is
            that of all its parts, as of `torch.nn.SyncBatchNorm`.

    Returns:
        The output, of the shape and the dtype of `input`, the new running mean and the new running variance. The
        latter has the number of values less one in the denominator; both are None where they were, keep their dtype,
        and no gradient flows through them. An input without values leaves them as they are. 16-bit floats may come
        with parameters and statistics of float32.

    Raises:
        TypeError: an argument of a wrong kind, numbers that are not of floats, or arrays of different dtypes.
        ValueError: an invalid argument or shape, or one value per channel in training; the message names it, its value
            and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> x = jnp.arange(6.0).reshape(3, 2)
        >>> y, mean, var = jaxconv.batch_norm(x, jnp.zeros(2), jnp.ones(2), training=True, momentum=0.5)
        >>> y.round(3)
        Array([[-1.225, -1.225],
               [ 0.   ,  0.   ],
               [ 1.225,  1.225]], dtype=float32)
        >>> mean, var
        (Array([1. , 1.5], dtype=float32), Array([2.5, 2.5], dtype=float32))
    """
    x = as_array("input", input)
    statistics = _arrays(running_mean=running_mean, running_var=running_var)
    parameters = _arrays(weight=weight, bias=bias)
    training, eps = boolean("training", training), number("eps", eps)
    axis = channel_axis(data_format)
    names = parse_axis_name(axis_name) if training else ()
    devices = mapped_size("axis_name", names)
    check_batch_norm(_of(x), _all(statistics), _all(parameters), training, eps, axis, devices)
    static = {"axis": axis % x.ndim, "per_image": False, "training": training, "eps": eps, "axis_name": names}
    return _run_with_statistics(x, statistics, parameters, momentum, static)


def instance_norm(
    input: _Images,
    running_mean: _PerChannel = None,
    running_var: _PerChannel = None,
    weight: _PerChannel = None,
    bias: _PerChannel = None,
    use_input_stats: bool = True,
    momentum: float | jax.Array = 0.1,
    eps: float = 1e-5,
    *,
    data_format: str = "channels_first",
) -> tuple[_Images, _PerChannel, _PerChannel]:
    """Each channel of each image less its mean, divided by its deviation: `torch.nn.functional.instance_norm`.

    Args:
        input: a batch of shape (N, C, ...), or with `data_format="channels_last"` (N, ..., C), of floats.
        running_mean: the mean of each channel over the images so far, or None.
        running_var: the variance of each channel over the images so far, or None.
        weight: what each channel is multiplied by, or None.
        bias: what is added to each channel, or None.
        use_input_stats: whether the statistics are those of the images, rather than the running ones.
        momentum: the share of the images in the new running statistics; a number, or an array of shape ().
        eps: what is added to the variance.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        The output, the new running mean and the new running variance, as `batch_norm` returns them. What is mixed into
        these is the average over the images of each one's mean and variance.

    Raises:
        TypeError: an argument of a wrong kind, numbers that are not of floats, or arrays of different dtypes.
        ValueError: an invalid argument or shape, or images of one position whose statistics are asked for; the message
            names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> y, _, _ = jaxconv.instance_norm(jnp.array([[[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]]]))
        >>> y.round(3)
        Array([[[-1.225,  0.   ,  1.225],
                [ 0.   ,  0.   ,  0.   ]]], dtype=float32)
    """
    x = as_array("input", input)
    statistics = _arrays(running_mean=running_mean, running_var=running_var)
    parameters = _arrays(weight=weight, bias=bias)
    training, eps = boolean("use_input_stats", use_input_stats), number("eps", eps)
    axis = channel_axis(data_format)
    check_instance_norm(_of(x), _all(statistics), _all(parameters), training, axis)
    static = {"axis": axis % x.ndim, "per_image": True, "training": training, "eps": eps, "axis_name": ()}
    return _run_with_statistics(x, statistics, parameters, momentum, static)


def group_norm(
    input: _Images,
    num_groups: int,
    weight: _PerChannel = None,
    bias: _PerChannel = None,
    eps: float = 1e-5,
    *,
    data_format: str = "channels_first",
) -> _Images:
    """Each group of channels of each image less its mean, divided by its deviation: `torch.nn.functional.group_norm`.

    Args:
        input: a batch of shape (N, C, ...), or with `data_format="channels_last"` (N, ..., C), of floats.
        num_groups: into how many groups of channels side by side an image is divided; a divisor of C.
        weight: what each channel is multiplied by, or None.
        bias: what is added to each channel, or None.
        eps: what is added to the variance.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the shape and the dtype of `input`. 16-bit floats may come with parameters of float32.

    Raises:
        TypeError: an argument of a wrong kind, numbers that are not of floats, or arrays of different dtypes.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.group_norm(jnp.array([[1.0, 2.0, 7.0, 5.0]]), 2).round(3)
        Array([[-1.,  1.,  1., -1.]], dtype=float32)
    """
    x = as_array("input", input)
    parameters = _arrays(weight=weight, bias=bias)
    axis, eps = channel_axis(data_format), number("eps", eps)
    groups = check_group_norm(_of(x), num_groups, _all(parameters), axis)
    static = {"groups": groups, "axis": axis % x.ndim, "eps": eps}
    return divided(_group, (x, *parameters.values()), _like(x), **static)


def layer_norm(
    input: Num[Array, "..."],
    normalized_shape: int | Sequence[int],
    weight: Num[Array, "..."] | None = None,
    bias: Num[Array, "..."] | None = None,
    eps: float = 1e-5,
) -> Num[Array, "..."]:
    """The last axes less their mean, divided by their standard deviation: `torch.nn.functional.layer_norm`.

    Args:
        input: an array of floats of shape (..., *normalized_shape).
        normalized_shape: the shape of the last axes, over which the statistics are taken; an int for the last one.
        weight: what each of their positions is multiplied by, or None.
        bias: what is added to each of their positions, or None.
        eps: what is added to the variance.

    Returns:
        An array of the shape and the dtype of `input`. 16-bit floats may come with parameters of float32.

    Raises:
        TypeError: an argument of a wrong kind, numbers that are not of floats, or arrays of different dtypes.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.layer_norm(jnp.array([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]]), 3).round(3)
        Array([[-1.225,  0.   ,  1.225],
               [ 0.   ,  0.   ,  0.   ]], dtype=float32)
    """
    x = as_array("input", input)
    parameters = _arrays(weight=weight, bias=bias)
    eps = number("eps", eps)
    axes = check_layer_norm(_of(x), normalized_shape, _all(parameters))
    return divided(_layer, (x, *parameters.values()), _like(x), axes=axes, eps=eps)


def rms_norm(
    input: Inexact[Array, "..."],
    normalized_shape: int | Sequence[int],
    weight: Inexact[Array, "..."] | None = None,
    eps: float | None = None,
) -> Inexact[Array, "..."]:
    """The last axes divided by the root of the mean of their squares: `torch.nn.functional.rms_norm`.

    Args:
        input: an array of floats or complex numbers of shape (..., *normalized_shape).
        normalized_shape: the shape of the last axes, over which the mean is taken; an int for the last one.
        weight: what each of their positions is multiplied by, or None.
        eps: what is added to the mean; where it is None the distance from 1 to the next number of the dtype that it is
            computed in, which for 16-bit floats is float32.

    Returns:
        An array of the shape and the dtype of `input`.

    Raises:
        TypeError: an argument of a wrong kind, or numbers that are not of floats.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.rms_norm(jnp.array([[1.0, -1.0], [7.0, 7.0]]), 2).round(3)
        Array([[ 1., -1.],
               [ 1.,  1.]], dtype=float32)
    """
    x = as_array("input", input)
    parameters = _arrays(weight=weight)
    eps = None if eps is None else number("eps", eps)
    axes = check_layer_norm(_of(x), normalized_shape, _all(parameters), rms=True)
    return divided(_rms, (x, *parameters.values()), _like(x), axes=axes, eps=eps)


def local_response_norm(
    input: _Images,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    data_format: str = "channels_first",
) -> _Images:
    """Each value divided by a power of its neighbours in other channels: `torch.nn.functional.local_response_norm`.

    The output is input / (k + alpha * mean)^beta, with the mean of the squares of `size` channels around each one.
    Channels that are not there count as zeros.

    Args:
        input: a batch of shape (N, C, L, ...), or with `data_format="channels_last"` (N, L, ..., C), of floats.
        size: how many channels a mean is taken over: from size // 2 before to (size - 1) // 2 after each one.
        alpha: what the mean is multiplied by.
        beta: the exponent.
        k: what is added to the mean.
        data_format: `"channels_first"` or `"channels_last"`, of input and output.

    Returns:
        An array of the shape and the dtype of `input`.

    Raises:
        TypeError: an argument of a wrong kind, or numbers that are not of floats.
        ValueError: an invalid argument or shape; the message names it, its value and a fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> jaxconv.local_response_norm(jnp.ones((1, 3, 1)), 2, alpha=2.0, beta=1.0).ravel().tolist()
        [0.5, 0.3333333432674408, 0.3333333432674408]
    """
    x = as_array("input", input)
    size = check_response_norm(_of(x), size)
    axis = channel_axis(data_format) % x.ndim
    numbers = {name: number(name, value) for name, value in (("alpha", alpha), ("beta", beta), ("k", k))}
    return divided(_response, (x,), _like(x), size=size, axis=axis, **numbers)


# ---------------------------------------------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------------------------------------------


def _arrays(**given: Any) -> dict[str, jax.Array | None]:
    return {name: None if value is None else as_array(name, value) for name, value in given.items()}


def _of(x: jax.Array) -> _Checked:
    return _Checked(x.shape, x.dtype)


def _all(arrays: Mapping[str, jax.Array | None]) -> dict[str, _Checked | None]:
    return {name: None if x is None else _of(x) for name, x in arrays.items()}


def _like(x: jax.Array) -> list[tuple[int, int]]:
    """The places of a result that is divided as `x` is."""
    return [(0, axis) for axis in range(x.ndim)]


def _run_with_statistics(x, statistics, parameters, momentum, static) -> _Statistics:
    fixed = parse_momentum(momentum)
    moving = as_array("momentum", momentum) if fixed is None else None
    arrays = (x, *statistics.values(), *parameters.values(), moving)
    places = (_like(x), *(None if a is None else [(i, 0)] for i, a in enumerate(arrays[1:3], 1)))
    return divided(_with_statistics, arrays, places, momentum=fixed, **static)


# ---------------------------------------------------------------------------------------------------------------
# What they compute. Compiled as a whole where called eagerly; within another compiled function they leave no trace
# ---------------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("momentum", "axis", "per_image", "training", "eps", "axis_name"), inline=True)
def _with_statistics(
    x: jax.Array,
    running_mean: jax.Array | None,
    running_var: jax.Array | None,
    weight: jax.Array | None,
    bias: jax.Array | None,
    moving: jax.Array | None,
    *,
    momentum: float | None,
    axis: int,
    per_image: bool,
    training: bool,
    eps: float,
    axis_name: tuple[str, ...],
) -> _Statistics:
    """Batch norm of the channels along `axis`, or instance norm, whose statistics are those of each image."""
    shape, acc = x.shape, wide(x.dtype)
    in_place, whole = may_be_divided(x) and not axis_name, x
    x = x.reshape(_view(shape, axis, per_image))
    devices = lax.psum(1, axis_name)
    y = None
    if training and any(isinstance(n, int) and n == 0 for n in (*shape, devices)):
        m, rest, var = _no_moments(x)  # nothing, and nothing to learn from it
    elif training:
        if axis_name:
            m, rest, var = _moments_of_all(x, axis_name)
        elif in_place:
            m, rest, var = _moments_in_place(whole, axis, per_image, x.shape[2])
        else:
            y, m, rest, var = _normalised.channels(x, *_parameters(x, weight, bias), x.shape[2], eps)
        if running_mean is not None and running_var is not None:
            share = jnp.asarray(momentum if moving is None else moving).astype(acc)
            count = x.shape[1] * x.shape[3] * devices
            # A number may be too large for an integer of JAX; a symbolic size is one.
            count = jnp.asarray(float(count) if isinstance(count, int) else count).astype(acc)
            running_mean = _mixed(running_mean, m + rest, share)
            running_var = _mixed(running_var, var * (count / (count - 1)), share)
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = (jnp.broadcast_to(s.astype(acc), (x.shape[0], *s.shape)) for s in (running_mean, running_var))
        m = lax.stop_gradient(mean)
        rest = mean - m  # zero, with the derivatives of the mean
    if y is None:
        numbers = m, rest, lax.rsqrt(var + eps), *_parameters(x, weight, bias)
        y = _scaled_in_place(whole, axis, *numbers) if in_place else _scaled(x, *numbers)
    return y.reshape(shape), running_mean, running_var


@partial(jax.jit, static_argnames=("groups", "axis", "eps"), inline=True)
def _group(x, weight, bias, *, groups: int, axis: int, eps: float) -> jax.Array:
    shape = x.shape
    if 0 in shape:
        return x
    view = x.reshape(_view(shape, axis, True))
    parameters = _parameters(view, weight, bias)
    if may_be_divided(x):
        m, rest, var = _moments_in_place(x, axis, True, groups)
        return _scaled_in_place(x, axis, m, rest, lax.rsqrt(var + eps), *parameters)
    return _normalised.channels(view, *parameters, groups, eps)[0].reshape(shape)


@partial(jax.jit, static_argnames=("axes", "eps"), inline=True)
def _layer(x, weight, bias, *, axes: tuple[int, ...], eps: float) -> jax.Array:
    shape, first = x.shape, x.ndim - len(axes)
    if 0 in shape:
        return x
    if may_be_divided(x):
        m, rest, var = _moments_over(x, axes)
        y = (x.astype(m.dtype) - m - rest) * lax.rsqrt(var + eps)
        y = y if weight is None else y * weight.astype(y.dtype)
        return (y if bias is None else y + bias.astype(y.dtype)).astype(x.dtype)
    x = x.reshape(1, math.prod(shape[:first]), math.prod(shape[first:]))
    weight, bias = (None if p is None else p.reshape(-1) for p in (weight, bias))
    return _normalised.layer(x, *_parameters(x, weight, bias), eps)[0].reshape(shape)


@partial(jax.jit, static_argnames=("axes", "eps"), inline=True)
def _rms(x, weight, *, axes: tuple[int, ...], eps: float | None) -> jax.Array:
    dtype, acc = x.dtype, wide(x.dtype)
    if 0 in x.shape:
        return x
    x = x.astype(acc)
    y = x * lax.rsqrt((x * x).mean(axes, keepdims=True) + (float(jnp.finfo(acc).eps) if eps is None else eps))
    if weight is not None:
        acc = jnp.promote_types(acc, weight.dtype)
        y = y.astype(acc) * jnp.expand_dims(weight.astype(acc), tuple(range(x.ndim - len(axes))))
    return y.astype(dtype)


@partial(jax.jit, static_argnames=("size", "axis", "alpha", "beta", "k"), inline=True)
def _response(x, *, size: int, axis: int, alpha: float, beta: float, k: float) -> jax.Array:
    if 0 in x.shape:
        return x
    dtype = x.dtype
    x = x.astype(wide(dtype))
    low, high = size // 2, (size - 1) // 2
    if isinstance(n := x.shape[axis], int):  # beyond all channels there are zeros alone
        low, high = min(low, n - 1), min(high, n - 1)
    window, pads = [1] * x.ndim, [(0, 0)] * x.ndim
    window[axis], pads[axis] = low + 1 + high, (low, high)
    total = lax.reduce_window(x * x, np.zeros((), x.dtype), lax.add, window, (1,) * x.ndim, pads)
    return (x / (k + alpha * (total / float(size))) ** beta).astype(dtype)


# ---------------------------------------------------------------------------------------------------------------
# The same of images that devices may divide. An axis that is in parts cannot be one with another, so these are computed
# in the shape that the images have, by operations that XLA's partitioner divides
# ---------------------------------------------------------------------------------------------------------------


def _moments_over(x: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`_moments.moments` over some axes, which are kept with size 1."""
    x = x.astype(wide(x.dtype))
    m = lax.stop_gradient(x.mean(axes, keepdims=True))
    rest = (x - m).mean(axes, keepdims=True)
    return m, rest, ((x - m) ** 2).mean(axes, keepdims=True) - rest**2


def _moments_in_place(x: jax.Array, axis: int, per_image: bool, groups: int) -> Sequence[jax.Array]:
    """`_moments.moments` of each group of the channels along `axis`, at all its channels: (K0, K1)."""
    channels = x.shape[axis]
    x = x.reshape(*x.shape[:axis], groups, channels // groups, *x.shape[axis + 1 :])
    kept = (0, axis) if per_image else (axis,)
    found = _moments_over(x, [a for a in range(x.ndim) if a not in kept])
    images = x.shape[0] if per_image else 1
    return [
        jnp.broadcast_to(a.reshape(images, groups, 1), (images, groups, channels // groups)).reshape(images, channels)
        for a in found
    ]


def _scaled_in_place(x, axis: int, m, rest, factor, c: jax.Array, b: jax.Array) -> jax.Array:
    """`_scaled`, of numbers for each image or for all and for each of the channels along `axis`."""
    v = factor * c
    shape = [1] * x.ndim
    shape[0], shape[axis] = v.shape
    u, v, m = (a.reshape(shape) for a in (b - v * rest, v, m))
    return (u + v * (x.astype(v.dtype) - m)).astype(x.dtype)


# ---------------------------------------------------------------------------------------------------------------
# What they are made of: arrays (K0, A, K1, B), a number for each pair of kept indices
# ---------------------------------------------------------------------------------------------------------------


def _view(shape: tuple[Size, ...], axis: int, per_image: bool) -> tuple[Size, ...]:
    """The shape as (images, places before, channels, places after); without `per_image` all images are places."""
    before, after = math.prod(shape[1:axis]), math.prod(shape[axis + 1 :])
    return (shape[0], before, shape[axis], after) if per_image else (1, shape[0] * before, shape[axis], after)


def _parameters(x: jax.Array, weight: jax.Array | None, bias: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """What each index of K1, or each column of a row, is multiplied by and what is added to it, for each of K0."""
    shape, acc = (x.shape[0], x.shape[2]), wide(x.dtype)
    c = jnp.ones(shape, acc) if weight is None else jnp.broadcast_to(weight.astype(acc), shape)
    b = jnp.zeros(shape, acc) if bias is None else jnp.broadcast_to(bias.astype(acc), shape)
    return c, b


def _moments_of_all(x: jax.Array, axis_name: tuple[str, ...]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`moments` over the devices of an axis: the variance is that of each, and that of their means."""
    m, rest, var = _moments.moments(x)
    if not axis_name:
        return m, rest, var
    all_m = lax.pmean(m, axis_name)
    rest = (m - all_m) + rest
    all_rest = lax.pmean(rest, axis_name)
    return all_m, all_rest, lax.pmean(var + (rest - all_rest) ** 2, axis_name)


def _no_moments(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Those of an array without values, which are read by nobody."""
    none = jnp.zeros((x.shape[0], x.shape[2]), wide(x.dtype))
    return none, none, jnp.ones_like(none)


def _scaled(x, m, rest, factor, c: jax.Array, b: jax.Array) -> jax.Array:
    """(x - m - rest) * factor * c + b."""
    v = factor * c
    return _moments.spread(b - v * rest, v, x, m, x.dtype)


def _mixed(running: jax.Array, batch: jax.Array, share: jax.Array) -> jax.Array:
    """Running statistics with those of a batch mixed in, on average over the images that have their own."""
    batch = lax.stop_gradient(batch).mean(0)
    mixed = (1 - share) * running.astype(batch.dtype) + share * batch
    return lax.stop_gradient(mixed).astype(running.dtype)
