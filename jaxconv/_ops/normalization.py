"""The public normalisations: PyTorch's arguments and meaning on JAX arrays.

All of them are computed in float32 or wider. A mean is taken of what is left of the values without the mean of a few of
them, since a long sum of large numbers is rough. Mean and variance are then exact to the last digits, for values around
a million too.
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

from jaxconv._arrays import as_array, wide
from jaxconv._ops.meshes import divided
from jaxconv._spec.arguments import boolean, number
from jaxconv._spec.normalization import Array as _Checked
from jaxconv._spec.normalization import (
    channel_axis,
    check_batch_norm,
    check_group_norm,
    check_instance_norm,
    check_layer_norm,
    check_response_norm,
    parse_momentum,
)

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
    devices = lax.psum(1, axis_name) if axis_name is not None and training else 1
    check_batch_norm(_of(x), _all(statistics), _all(parameters), training, eps, axis, devices)
    axes = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    names = axis_name if isinstance(axis_name, str | None) else tuple(axis_name)
    static = {"axes": axes, "kept": (), "training": training, "eps": eps, "axis_name": names}
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
    axes = tuple(a for a in range(1, x.ndim) if a != axis % x.ndim)
    static = {"axes": axes, "kept": (0,), "training": training, "eps": eps, "axis_name": None}
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


@partial(jax.jit, static_argnames=("momentum", "axes", "kept", "training", "eps", "axis_name"), inline=True)
def _with_statistics(
    x: jax.Array,
    running_mean: jax.Array | None,
    running_var: jax.Array | None,
    weight: jax.Array | None,
    bias: jax.Array | None,
    moving: jax.Array | None,
    *,
    momentum: float | None,
    axes: tuple[int, ...],
    kept: tuple[int, ...],
    training: bool,
    eps: float,
    axis_name: Any,
) -> _Statistics:
    """Batch norm over `axes`, or instance norm, which keeps an axis of the batch apart."""
    dtype, acc = x.dtype, wide(x.dtype)
    x = x.astype(acc)
    others = tuple(sorted((*axes, *kept)))  # all but the channels
    devices = lax.psum(1, axis_name) if axis_name is not None and training else 1
    is_empty = any(isinstance(n, int) and n == 0 for n in (*x.shape, devices))
    if training and is_empty:
        var = jnp.ones((1,) * x.ndim, acc)  # nothing, and nothing to learn from it
    elif training:
        mean, var, x = _moments(x, axes, axis_name)
        if running_mean is not None and running_var is not None:
            share = jnp.asarray(momentum if moving is None else moving).astype(acc)
            count = math.prod(x.shape[a] for a in axes) * devices
            # A number may be too large for an integer of JAX; a symbolic size is one.
            count = jnp.asarray(float(count) if isinstance(count, int) else count).astype(acc)
            unbiased = var * (count / (count - 1))
            running_mean = _mixed(running_mean, mean, share, others, kept)
            running_var = _mixed(running_var, unbiased, share, others, kept)
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = (jnp.expand_dims(s.astype(acc), others) for s in (running_mean, running_var))
        x = x - mean
    # The few numbers are multiplied first, and the many once.
    y = x * _times(lax.rsqrt(var + eps), weight, others)
    return _plus(y, bias, others).astype(dtype), running_mean, running_var


@partial(jax.jit, static_argnames=("groups", "axis", "eps"), inline=True)
def _group(x, weight, bias, *, groups: int, axis: int, eps: float) -> jax.Array:
    shape, dtype = x.shape, x.dtype
    x = x.astype(wide(dtype))
    # The channels as (group, channel within it), the first of which is kept apart like the batch.
    x = x.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    x = _normalised(x, tuple(a for a in range(1, x.ndim) if a != axis), eps)
    others = tuple(a for a in range(len(shape)) if a != axis)
    return _plus(_times(x.reshape(shape), weight, others), bias, others).astype(dtype)


@partial(jax.jit, static_argnames=("axes", "eps"), inline=True)
def _layer(x, weight, bias, *, axes: tuple[int, ...], eps: float) -> jax.Array:
    y, others = _normalised(x.astype(wide(x.dtype)), axes, eps), tuple(range(x.ndim - len(axes)))
    return _plus(_times(y, weight, others), bias, others).astype(x.dtype)


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


def _mean(x: jax.Array, axes: tuple[int, ...], axis_name: Any = None) -> jax.Array:
    mean = x.mean(axes, keepdims=True)
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def _moments(x: jax.Array, axes: tuple[int, ...], axis_name: Any = None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, variance, and `x` without its mean.

    With r the mean of one part of n, say the first image, the mean of x - r is small, and so is its rounding: it is at
    most sqrt(n - 1) standard deviations, for n - 1 parts of mean a and one of mean r have at least the variance
    (n - 1) / n^2 (a - r)^2. The derivatives are those of the second mean: r is a constant to them, on which the result
    does not depend.
    """
    rough = lax.stop_gradient(_mean(lax.slice_in_dim(x, 0, 1, axis=axes[0]), axes, axis_name))
    x = x - rough
    rest = _mean(x, axes, axis_name)
    x = x - rest
    return rough + rest, _mean(x * x, axes, axis_name), x


def _normalised(x: jax.Array, axes: tuple[int, ...], eps: float) -> jax.Array:
    if 0 in x.shape:
        return x
    _, var, x = _moments(x, axes)
    return x * lax.rsqrt(var + eps)


def _times(x: jax.Array, weight: jax.Array | None, others: tuple[int, ...]) -> jax.Array:
    """`x` times a weight, in the dtype of `x`; `others` are the axes that the weight does not have."""
    return x if weight is None else x * jnp.expand_dims(weight.astype(x.dtype), others)


def _plus(x: jax.Array, bias: jax.Array | None, others: tuple[int, ...]) -> jax.Array:
    return x if bias is None else x + jnp.expand_dims(bias.astype(x.dtype), others)


def _mixed(running, batch, share, others: tuple[int, ...], kept: tuple[int, ...]) -> jax.Array:
    """Running statistics with those of a batch mixed in, on average over the axes that are kept apart."""
    batch = lax.stop_gradient(batch).mean(kept, keepdims=True) if kept else lax.stop_gradient(batch)
    batch = lax.squeeze(batch, others)
    mixed = (1 - share) * running.astype(batch.dtype) + share * batch
    return lax.stop_gradient(mixed).astype(running.dtype)
