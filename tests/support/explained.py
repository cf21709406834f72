"""The layers that explanations are tried on, by their texts, with the shapes of their inputs."""

import functools
import inspect

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxconv
import jaxconv.linen
import jaxconv.nnx

EXAMPLE = "Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))"
EXAMPLE_SHAPE = (20, 16, 50, 100)

# Sizes along the axes are distinct, so that no axis can be taken for another.
CONVOLUTIONS = [
    ("Conv1d(2, 4, 3)", (2, 2, 9)),
    ("Conv1d(2, 4, 3, padding='causal', dilation=2)", (2, 2, 9)),
    ("Conv1d(4, 4, 2, padding='same', groups=4, bias=False)", (4, 9)),
    ("Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2)", (2, 4, 7, 9)),
    ("Conv2d(3, 6, 3, padding=((1, 2), (0, 1)), groups=3, data_format='channels_last')", (2, 7, 9, 3)),
    ("Conv2d(3, 2, 3, padding=((-1, 2), (2, -1)), padding_mode='reflect')", (1, 3, 7, 9)),
    ("Conv2d(3, 2, (4, 3), padding='same', padding_mode='circular')", (1, 3, 7, 9)),
    ("Conv3d(2, 4, (1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1), padding_mode='replicate')", (1, 2, 4, 5, 6)),
    ("LazyConv1d(4, 3, groups=2)", (0, 2, 9)),
    ("LazyConv2d(4, 3)", (2, 3, 7, 9)),
    ("LazyConv3d(1, 2, padding_mode='symmetric', padding=1)", (2, 1, 4, 5, 6)),
    ("ConvTranspose1d(4, 2, 4, stride=3, padding=1)", (2, 4, 9)),
    ("ConvTranspose2d(4, 6, (3, 2), 2, (1, 0), (1, 0), groups=2)", (2, 4, 5, 6)),
    ("ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, padding_mode='circular')", (2, 4, 5, 6)),
    ("ConvTranspose3d(2, 2, (3, 1, 2), dilation=(2, 1, 3), bias=False)", (2, 3, 4, 5)),
    ("LazyConvTranspose1d(4, 3, stride=2, output_padding=1)", (2, 2, 9)),
    ("LazyConvTranspose2d(4, 3, data_format='channels_last')", (2, 5, 6, 3)),
    ("LazyConvTranspose3d(4, 2)", (2, 3, 2, 3, 4)),
]
OTHERS = [
    ("MaxPool1d(3)", (2, 4, 10)),
    ("MaxPool2d(3, 2, 1, ceil_mode=True)", (2, 4, 8, 10)),
    ("MaxPool2d(2, 4, 1, ceil_mode=True)", (2, 4, 9, 10)),  # a window would begin in the high padding
    ("MaxPool2d((3, 2), stride=(1, 3), padding=1, dilation=2, data_format='channels_last')", (2, 8, 9, 4)),
    ("MaxPool3d(2, return_indices=True)", (4, 4, 6, 8)),
    ("AvgPool1d(3, 2, 1)", (2, 4, 10)),
    ("AvgPool2d(2, padding=1, count_include_pad=False, divisor_override=3)", (2, 4, 8, 10)),
    ("AvgPool3d(2, 1)", (2, 4, 3, 4, 5)),
    ("LPPool1d(2, 3)", (2, 4, 10)),
    ("LPPool2d(3.5, (3, 2), 2, True)", (4, 8, 11)),
    ("LPPool3d(1, 2, data_format='channels_last')", (2, 4, 5, 6, 3)),
    ("MaxUnpool1d(3)", (2, 4, 10)),
    ("MaxUnpool2d((3, 2), (2, 1), 1)", (2, 4, 7, 9)),
    ("MaxUnpool3d(2, 1, data_format='channels_last')", (2, 4, 5, 6, 3)),
    ("AdaptiveMaxPool1d(4)", (2, 4, 10)),
    ("AdaptiveMaxPool2d((3, None), return_indices=True)", (2, 4, 7, 9)),
    ("AdaptiveMaxPool3d(2)", (2, 4, 3, 4, 5)),
    ("AdaptiveAvgPool1d(4)", (2, 4, 10)),
    ("AdaptiveAvgPool2d((3, None))", (2, 4, 7, 9)),
    ("AdaptiveAvgPool3d(2)", (2, 4, 3, 4, 5)),
    ("ZeroPad1d((1, 2))", (2, 4, 9)),
    ("ZeroPad2d((1, 2, 0, -1))", (2, 4, 7, 9)),
    ("ZeroPad3d(1)", (2, 4, 3, 4, 5)),
    ("ConstantPad1d(2, 3.5)", (2, 4, 9)),
    ("ConstantPad2d(1, 3.5)", (2, 4, 7, 9)),
    ("ConstantPad3d(1, 3.5)", (2, 4, 3, 4, 5)),
    ("ReflectionPad1d(2)", (4, 9)),
    ("ReflectionPad2d((1, 2, 0, 3), data_format='channels_last')", (2, 7, 9, 4)),
    ("ReflectionPad3d(1)", (2, 4, 3, 4, 5)),
    ("ReplicationPad1d(2)", (2, 4, 9)),
    ("ReplicationPad2d(2)", (2, 4, 7, 9)),
    ("ReplicationPad3d(2)", (2, 4, 3, 4, 5)),
    ("CircularPad1d(2)", (2, 4, 9)),
    ("CircularPad2d((3, 1, 2, 0))", (2, 4, 7, 9)),
    ("CircularPad3d(1)", (2, 4, 3, 4, 5)),
    ("BatchNorm1d(4)", (5, 4)),
    ("BatchNorm1d(4, momentum=None, bias=False)", (2, 4, 9)),
    ("BatchNorm2d(4, affine=False, data_format='channels_last')", (2, 7, 9, 4)),
    ("BatchNorm3d(4)", (2, 4, 3, 5, 6)),
    ("InstanceNorm1d(4)", (4, 9)),
    ("InstanceNorm2d(4, affine=True)", (2, 4, 7, 9)),
    ("InstanceNorm3d(4, track_running_stats=True)", (2, 4, 3, 5, 6)),
    ("GroupNorm(2, 6)", (3, 6, 7, 9)),
    ("GroupNorm(3, 6, affine=False)", (3, 6)),
    ("LayerNorm((7, 9), bias=False)", (2, 4, 7, 9)),
    ("RMSNorm(9)", (2, 4, 7, 9)),
    ("RMSNorm(9, eps=1e-3, elementwise_affine=False)", (9,)),
    ("LocalResponseNorm(4, alpha=1e-3)", (2, 5, 7, 9)),
    ("LocalResponseNorm(3, data_format='channels_last')", (2, 3, 4, 5, 6, 5)),
    ("Unfold((2, 3), dilation=(1, 2), padding=1, stride=2)", (2, 5, 6, 8)),
    ("Fold((6, 8), (2, 3), dilation=(1, 2), padding=1, stride=2)", (2, 30, 12)),
    ("Flatten()", (2, 4, 5, 6)),
    ("Upsample((7, 11))", (2, 4, 5, 6)),
    ("Upsample(scale_factor=2, mode='linear', data_format='channels_last')", (2, 5, 4)),
    ("Upsample(scale_factor=(2, 1.7), mode='bicubic')", (2, 4, 5, 6)),
    ("Upsample(scale_factor=1.5, mode='trilinear', align_corners=True)", (2, 4, 3, 5, 6)),
    ("Upsample(3, mode='area')", (2, 4, 5, 6)),
    ("UpsamplingNearest2d(scale_factor=2)", (2, 4, 5, 6)),
    ("UpsamplingBilinear2d((1, 8))", (2, 4, 5, 6)),
    ("PixelShuffle(2)", (3, 12, 5, 6)),
    ("PixelUnshuffle(2, data_format='channels_last')", (4, 6, 5)),
    ("ChannelShuffle(2)", (3, 6, 5)),
    ("Identity()", (2, 4, 5)),
    ("PReLU()", (2, 4, 5)),
    ("PReLU(4, 0.1, data_format='channels_last')", (2, 5, 6, 4)),
    ("Softmax2d()", (4, 5, 6)),
    ("Dropout1d()", (4, 5)),
    ("Dropout2d(0.1)", (2, 4, 5, 6)),
    ("Dropout3d(0.1, data_format='channels_last')", (2, 5, 6, 7, 4)),
    ("StochasticDepth(0.1, 'row')", (2, 4, 5)),
]
LAYERS = CONVOLUTIONS + OTHERS
of_layers = pytest.mark.parametrize(("text", "shape"), LAYERS, ids=[text for text, _ in LAYERS])
of_convolutions = pytest.mark.parametrize(("text", "shape"), CONVOLUTIONS, ids=[text for text, _ in CONVOLUTIONS])


def _made(text, shell):
    names = {name: getattr(shell, name) for name in shell.__all__}
    takes_rngs = "rngs" in inspect.signature(names[text.split("(")[0]].__init__).parameters
    with_rngs = text.replace("()", "(rngs=nnx.Rngs(0))") if "()" in text else text[:-1] + ", rngs=nnx.Rngs(0))"
    text = with_rngs if takes_rngs else text
    return eval(text, names | {"nnx": nnx})


def made(text, shell=jaxconv.nnx):
    """The layer that a text makes by Python, with abstract parameters."""
    return _made(text, shell) if shell is jaxconv.linen else nnx.eval_shape(lambda: _made(text, shell))


@functools.cache
def explained(text, shape):
    """The explanation of a layer by its text, made once for all tests that read it."""
    return jaxconv.explain(text, shape)


@functools.cache
def called(text, shape):
    """The layer after a call, and the shape of its output; nothing is compiled."""

    def call():
        layer = _made(text, jaxconv.nnx)
        indices = [jnp.zeros(shape, jnp.int32)] * ("Unpool" in text)
        return layer(jnp.zeros(shape), *indices), layer

    output, layer = nnx.eval_shape(call)
    return layer, jax.tree.leaves(output)[0].shape
