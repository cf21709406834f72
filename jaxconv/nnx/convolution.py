"""Convolution layers for Flax NNX; their parameters are `nnx.Param`s named `weight` and `bias`, in PyTorch's shapes."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import reprlib

from jaxconv._layers import convolution as _layer
from jaxconv._layers.plain import hint
from jaxconv._spec.arguments import IntOrInts, truth
from jaxconv._spec.messages import show
from jaxconv._spec.padding import Padding

_Init = TypeVar("_Init", bound=Callable[..., None])


def _sets_up(init: _Init) -> _Init:
    """`init`, a constructor that only declares its arguments, which sets the layer up from them."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def __init__(self: _Convolution, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)  # Python's own error where an argument is missing or unknown
        except TypeError as error:
            words = str(error).replace(init.__qualname__, f"{type(self).__name__}.__init__")
            raise TypeError(words + hint(kwargs)) from None
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *arguments = bound.arguments.items()
        self._set_up(**dict(arguments))

    return cast(_Init, __init__)


class _Convolution(_layer.Convolution, nnx.Module):
    """What all convolution layers share: their attributes, their parameters and their text.

    Each public layer names its `__call__` anew: `nnx.capture` instruments the methods that stand in a class itself.
    """

    weight: Any  # an nnx.Param, or None where in_channels is still to be found
    bias: Any  # an nnx.Param, or None
    _weight_key: Any  # what the parameters are to be made from, until they are
    _bias_key: Any

    def _set_up(self, rngs: nnx.Rngs, bias: bool, **arguments: Any) -> None:
        """Keeps the arguments as attributes and makes the parameters, or what makes them at the first call."""
        for name, value in arguments.items():
            setattr(self, name, value)
        for name, value in _layer.check(self).items():
            setattr(self, name, value)
        if not isinstance(rngs, nnx.Rngs):
            raise TypeError(f"rngs must be an nnx.Rngs, got {show(rngs)}; for example rngs=nnx.Rngs(0)")
        weight_key, bias_key = rngs.params(), rngs.params() if truth("bias", bias) else None
        if self.in_channels is None:
            self.weight = self.bias = nnx.data(None)
            self._weight_key = nnx.data(nnx.RngKey(weight_key, tag="params"))
            self._bias_key = nnx.data(None if bias_key is None else nnx.RngKey(bias_key, tag="params"))
        else:
            self._make_parameters(self.in_channels, weight_key, bias_key)

    def _make_parameters(self, in_channels: int, weight_key: jax.Array, bias_key: jax.Array | None) -> None:
        shape = _layer.weight_shape(self, in_channels)
        weight_init, bias_init = _layer.initialisers(self, shape)
        self.weight = nnx.Param(self._drawn(weight_init, weight_key, shape))
        self.bias = nnx.data(
            None if bias_key is None else nnx.Param(self._drawn(bias_init, bias_key, (self.out_channels,)))
        )

    def _drawn(self, init: Any, key: Any, shape: tuple[int, ...]) -> Any:
        def make(key: Any) -> Any:
            return init(key, shape, self.param_dtype)

        # A lazy layer of shapes alone, of `nnx.eval_shape`, has no key to draw with.
        return jax.eval_shape(make, key) if isinstance(key, jax.ShapeDtypeStruct) else make(key)

    def set_in_channels(self, in_channels: int) -> None:
        """Makes the parameters of a layer without `in_channels`, as its first call does."""
        keys = (None if k is None else k.get_value() for k in (self._weight_key, self._bias_key))
        self._make_parameters(in_channels, *keys)  # type: ignore[arg-type]
        self.in_channels, self._weight_key, self._bias_key = in_channels, None, None

    def _apply(self, x: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        if self.in_channels is None:
            self.set_in_channels(_layer.channels_of(self, x))
        return _layer.call(self, x, self.weight[...], None if self.bias is None else self.bias[...], output_size)

    def __nnx_repr__(self):
        yield reprlib.Object(type(self), kv_sep="", same_line=True)
        has_bias = self.bias is not None or getattr(self, "_bias_key", None) is not None
        yield reprlib.Attr("", _layer.extra_repr(self, has_bias), use_raw_key=True, use_raw_value=True)


class _Conv(_Convolution):
    transposed = False

    @_sets_up
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        data_format: str = "channels_first",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
        weight_init: Any = None,
        bias_init: Any = None,
        rngs: nnx.Rngs,
    ):
        """`Conv2d` describes the arguments."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of `x`; shapes and errors as of `jaxconv.conv1d`, `conv2d` and `conv3d`."""
        return self._apply(x)


class _ConvTranspose(_Convolution):
    transposed = True

    @_sets_up
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: IntOrInts | Sequence[tuple[int, int]] = 0,
        output_padding: IntOrInts = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrInts = 1,
        padding_mode: str = "zeros",
        *,
        data_format: str = "channels_first",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        algorithm: str = "auto",
        weight_init: Any = None,
        bias_init: Any = None,
        rngs: nnx.Rngs,
    ):
        """`ConvTranspose2d` describes the arguments."""

    def __call__(self, x: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        """The transposed convolution of `x`; shapes and errors as of `jaxconv.conv_transpose1d` to `3d`."""
        return self._apply(x, output_size)


class Conv1d(_Conv):
    """As `Conv2d`, from (N, C, L) to (N, out_channels, L'): `torch.nn.Conv1d`.

    `padding` may also be `"causal"`: all of it at the start, so that no output depends on what comes after it.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv1d
        >>> Conv1d(16, 33, 3, padding="causal", dilation=4, rngs=nnx.Rngs(0))(jnp.ones((20, 16, 50))).shape
        (20, 33, 50)
    """

    rank = 1
    __call__ = _Conv.__call__


class Conv2d(_Conv):
    """2-D convolution with the meaning of `torch.nn.Conv2d`.

    Shapes, from (N, C, H, W) to (N, out_channels, H', W'), and the errors of a call as `jaxconv.conv2d`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int, or one per spatial axis.
        stride: step between two output positions; an int, or one per spatial axis.
        padding: an int, or one per spatial axis, `"same"`, `"valid"`, or a (low, high) pair per spatial axis.
        dilation: step between two taps of the kernel; an int, or one per spatial axis.
        groups: number of blocks of channels convolved apart; `groups=in_channels` is the depthwise convolution.
        bias: whether a learnable bias is added.
        padding_mode: `"zeros"`, `"reflect"`, `"replicate"`, `"circular"` or `"symmetric"`.
        data_format: `"channels_first"` or `"channels_last"`, of input and output; the weight's shape is the same.
        dtype: what input and parameters are converted to; by default they are promoted to their common dtype.
        param_dtype: the dtype that the parameters are made in.
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return.
        algorithm: how to compute it, as in `jaxconv.conv2d`.
        weight_init: initialiser of the weight; by default PyTorch's, `jaxconv.init.conv_weight_init`.
        bias_init: initialiser of the bias; by default PyTorch's, `jaxconv.init.conv_bias_init`.
        rngs: where the keys of the initial parameters come from.

    Attributes:
        weight: `nnx.Param` of shape (out_channels, in_channels / groups, *kernel_size).
        bias: `nnx.Param` of shape (out_channels,), or None.

    Raises:
        TypeError: an argument of a wrong kind.
        ValueError: an invalid argument; the message names it and its value, and suggests a fix.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Conv2d
        >>> layer = Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1), rngs=nnx.Rngs(0))
        >>> layer
        Conv2d(16, 33, kernel_size=(3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))
        >>> layer(jnp.ones((20, 16, 50, 100))).shape
        (20, 33, 26, 100)
    """

    rank = 2
    __call__ = _Conv.__call__


class Conv3d(_Conv):
    """As `Conv2d`, from (N, C, D, H, W) to (N, out_channels, D', H', W'): `torch.nn.Conv3d`."""

    rank = 3
    __call__ = _Conv.__call__


class ConvTranspose1d(_ConvTranspose):
    """As `ConvTranspose2d`, from (N, C, L) to (N, out_channels, L'): `torch.nn.ConvTranspose1d`."""

    rank = 1
    __call__ = _ConvTranspose.__call__


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution with the meaning of `torch.nn.ConvTranspose2d`.

    It is called as `layer(x)` or `layer(x, output_size)`; `output_size` takes the place of `output_padding`. Shapes,
    from (N, C, H, W) to (N, out_channels, H', W'), and the errors of a call as `jaxconv.conv_transpose2d`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int, or one per spatial axis.
        stride: step between the kernels of two input positions; an int, or one per spatial axis.
        padding: what is cut off both ends of the output; an int, one per spatial axis, or (low, high) pairs.
        output_padding: positions added at the end of the output, fewer than stride or than dilation.
        groups: number of blocks of channels convolved apart.
        bias: whether a learnable bias is added.
        dilation: step between two taps of the kernel; an int, or one per spatial axis.
        padding_mode: `"zeros"`, or `"circular"`, which adds what is cut off one end to the other.
        data_format: `"channels_first"` or `"channels_last"`, of input and output; the weight's shape is the same.
        dtype: what input and parameters are converted to; by default they are promoted to their common dtype.
        param_dtype: the dtype that the parameters are made in.
        precision: as in `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype to accumulate in and to return.
        algorithm: how to compute it, as in `jaxconv.conv_transpose2d`.
        weight_init: initialiser of the weight; by default PyTorch's, `jaxconv.init.conv_weight_init`.
        bias_init: initialiser of the bias; by default PyTorch's, `jaxconv.init.conv_bias_init`.
        rngs: where the keys of the initial parameters come from.

    Attributes:
        weight: `nnx.Param` of shape (in_channels, out_channels / groups, *kernel_size).
        bias: `nnx.Param` of shape (out_channels,), or None.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import ConvTranspose2d
        >>> layer = ConvTranspose2d(16, 33, 3, stride=2, padding=1, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((20, 16, 6, 7)), output_size=(12, 13)).shape
        (20, 33, 12, 13)
    """

    rank = 2
    __call__ = _ConvTranspose.__call__


class ConvTranspose3d(_ConvTranspose):
    """As `ConvTranspose2d`, from (N, C, D, H, W) to (N, out_channels, D', H', W'): `torch.nn.ConvTranspose3d`."""

    rank = 3
    __call__ = _ConvTranspose.__call__


class _LazyConv(_Conv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: Padding = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        sizes = (out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(cast(int, None), *sizes, rngs=rngs, **options)  # in_channels: found at the first call


class _LazyConvTranspose(_ConvTranspose):
    def __init__(
        self,
        out_channels: int,
        kernel_size: IntOrInts,
        stride: IntOrInts = 1,
        padding: IntOrInts | Sequence[tuple[int, int]] = 0,
        output_padding: IntOrInts = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrInts = 1,
        padding_mode: str = "zeros",
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        sizes = (out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode)
        super().__init__(cast(int, None), *sizes, rngs=rngs, **options)  # in_channels: found at the first call


class LazyConv1d(_LazyConv):
    """As `LazyConv2d`, of `Conv1d` and (N, C, L): `torch.nn.LazyConv1d`."""

    rank = 1
    __call__ = _LazyConv.__call__


class LazyConv2d(_LazyConv):
    """`Conv2d` without `in_channels`, which it finds at its first call, of (N, C, H, W): `torch.nn.LazyConv2d`.

    Until then `weight` is None: call the model once before an optimiser is made of its parameters. The parameters are
    those of a `Conv2d` made with the same `rngs` at the same place.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import LazyConv2d
        >>> layer = LazyConv2d(33, 3, stride=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((20, 16, 50, 100))).shape, layer.in_channels
        ((20, 33, 24, 49), 16)
    """

    rank = 2
    __call__ = _LazyConv.__call__


class LazyConv3d(_LazyConv):
    """As `LazyConv2d`, of `Conv3d` and (N, C, D, H, W): `torch.nn.LazyConv3d`."""

    rank = 3
    __call__ = _LazyConv.__call__


class LazyConvTranspose1d(_LazyConvTranspose):
    """As `LazyConv2d`, of `ConvTranspose1d` and (N, C, L): `torch.nn.LazyConvTranspose1d`."""

    rank = 1
    __call__ = _LazyConvTranspose.__call__


class LazyConvTranspose2d(_LazyConvTranspose):
    """As `LazyConv2d`, of `ConvTranspose2d` and (N, C, H, W): `torch.nn.LazyConvTranspose2d`."""

    rank = 2
    __call__ = _LazyConvTranspose.__call__


class LazyConvTranspose3d(_LazyConvTranspose):
    """As `LazyConv2d`, of `ConvTranspose3d` and (N, C, D, H, W): `torch.nn.LazyConvTranspose3d`."""

    rank = 3
    __call__ = _LazyConvTranspose.__call__
