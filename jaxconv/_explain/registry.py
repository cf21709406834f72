"""`explain`, and the table that names the function for each kind of layer."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxconv._explain.activation import explain_prelu, explain_softmax, is_prelu
from jaxconv._explain.containers import explain_identity
from jaxconv._explain.convolution import explain_convolution, is_convolution
from jaxconv._explain.dropout import explain_dropout
from jaxconv._explain.explanation import Explanation
from jaxconv._explain.normalization import explain_norm, explain_response_norm
from jaxconv._explain.padding import explain_pad
from jaxconv._explain.parser import EXAMPLE, layer_of_text
from jaxconv._explain.patches import explain_flatten, explain_patches
from jaxconv._explain.pooling import explain_adaptive_pool, explain_pool, explain_unpool
from jaxconv._explain.resampling import explain_channel_shuffle, explain_pixel_shuffle, explain_upsampling
from jaxconv._layers.activation import Softmax2d
from jaxconv._layers.containers import Identity
from jaxconv._layers.dropout import Dropout, StochasticDepth
from jaxconv._layers.normalization import LocalResponseNorm, Norm
from jaxconv._layers.padding import Pad
from jaxconv._layers.patches import Flatten, Fold, Unfold
from jaxconv._layers.pooling import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, LPPool, MaxPool, MaxUnpool
from jaxconv._layers.resampling import ChannelShuffle, PixelShuffle, PixelUnshuffle, Upsampling
from jaxconv._spec.arguments import parse_shape
from jaxconv._spec.shapes import is_static


def explain(layer: Any, input_shape: Sequence[int]) -> Explanation:
    """What `layer` does to an input of `input_shape`, without computing it.

    Args:
        layer: a layer of `jaxconv.nnx` or `jaxconv.linen`, or its text, which is a call with literal arguments, such
            as `"Conv2d(16, 33, 3, stride=2)"`; prefixes such as `torch.nn.` and the argument `rngs` are ignored.
        input_shape: the shape of the input, batched or not.

    Returns:
        An `Explanation`, to be printed, or taken as a dictionary or as a picture.

    Raises:
        TypeError: `layer` is not a layer, or an argument is of a wrong kind.
        ValueError: the text names no layer of ours, or the layer cannot take such an input: the layer's own error.

    Example:
        >>> import jaxconv
        >>> layer = "Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))"
        >>> explanation = jaxconv.explain(layer, (20, 16, 50, 100))
        >>> for axis, arithmetic in explanation.arithmetic:
        ...     print(axis, arithmetic, sep=": ")
        H: floor((50 + 4 + 4 - 3 * (3 - 1) - 1) / 2) + 1 = 26
        W: floor((100 + 2 + 2 - 1 * (5 - 1) - 1) / 1) + 1 = 100
        >>> explanation.multiply_accumulates
        20592000
    """
    shape = parse_shape("input_shape", input_shape)
    if not is_static(shape):
        raise ValueError(f"input_shape must be of numbers, got {shape}; choose a number for each symbolic size")
    if isinstance(layer, str):
        layer = layer_of_text(layer)
    for is_kind, explain_kind in _KINDS:
        if is_kind(layer):
            return explain_kind(layer, shape)
    what = f"the class {layer.__name__}; make a layer of it" if isinstance(layer, type) else type(layer).__name__
    raise TypeError(
        f"layer must be a layer of jaxconv.nnx or jaxconv.linen, or its text such as {EXAMPLE}, got {what}"
        + ("" if isinstance(layer, type) else "; of another framework's layer, try str(layer)")
    )


def _is(*classes: type) -> Callable[[Any], bool]:
    return lambda layer: isinstance(layer, classes)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, tuple[int, ...]], Explanation]], ...] = (
    (is_convolution, explain_convolution),
    (_is(Norm), explain_norm),
    (_is(LocalResponseNorm), explain_response_norm),
    (_is(Pad), explain_pad),
    (_is(MaxPool, AvgPool, LPPool), explain_pool),
    (_is(AdaptiveAvgPool, AdaptiveMaxPool), explain_adaptive_pool),
    (_is(MaxUnpool), explain_unpool),
    (_is(Unfold, Fold), explain_patches),
    (_is(Flatten), explain_flatten),
    (_is(Upsampling), explain_upsampling),
    (_is(PixelShuffle, PixelUnshuffle), explain_pixel_shuffle),
    (_is(ChannelShuffle), explain_channel_shuffle),
    (is_prelu, explain_prelu),
    (_is(Softmax2d), explain_softmax),
    (_is(Dropout, StochasticDepth), explain_dropout),
    (_is(Identity), explain_identity),
)
