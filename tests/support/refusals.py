"""Every refusal: what provokes it, the error, and the words that its message must hold.

`tools/refusals.py` prints the table as a page of the documentation, under the headings that its comments are.
"""

from decimal import Decimal

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

import jaxconv
import jaxconv.nnx
import jaxconv.spatial
from jaxconv import init

# Nothing is computed here but shapes, so the arrays are of NumPy.
X1, W1 = np.ones((2, 4, 9), "float32"), np.ones((6, 2, 3), "float32")
X2, W2 = np.ones((2, 4, 9, 8), "float32"), np.ones((6, 2, 3, 2), "float32")
X3, W3 = np.ones((2, 4, 7, 9, 8), "float32"), np.ones((6, 2, 3, 2, 1), "float32")
T1 = np.ones((4, 3, 3), "float32")  # a transposed weight, of 4 channels in 2 groups to 6
T2 = np.ones((4, 3, 3, 2), "float32")
NORM4 = np.ones(4, "float32")
POOLED = np.zeros((2, 3, 8, 6), "float32")
PLACES = np.zeros((2, 3, 8, 6), "int32")


def conv1(**arguments):
    return lambda: jaxconv.conv1d(X1, W1, **{"groups": 2} | arguments)


def conv2(**arguments):
    return lambda: jaxconv.conv2d(X2, W2, **{"groups": 2} | arguments)


def transpose1(**arguments):
    return lambda: jaxconv.conv_transpose1d(X1, T1, **{"groups": 2} | arguments)


def transpose2(**arguments):
    return lambda: jaxconv.conv_transpose2d(X2, T2, **{"groups": 2} | arguments)


def pad(*amounts, x=X2, **arguments):
    return lambda: jaxconv.pad(x, amounts, **arguments)


def conv_layer(**options):
    return jaxconv.nnx.Conv1d(4, 6, 2, rngs=nnx.Rngs(0), **options)


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def symbolic(function, shape):
    """Traces a function of images whose sizes are symbols."""
    return jax.eval_shape(function, jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.float32))


def block(function, shape, axis_names=("h", None), *arguments, **keywords):
    """Traces a function of blocks of images whose rows 4 devices divide."""
    rows = PartitionSpec(None, None, "h")
    call = jax.shard_map(
        lambda x: getattr(jaxconv.spatial, function)(x, *arguments, axis_names=axis_names, **keywords),
        mesh=AbstractMesh((4, 2), ("h", "w"), axis_types=(AxisType.Auto,) * 2),
        in_specs=rows,
        out_specs=rows,
    )
    return lambda: jax.eval_shape(call, jax.ShapeDtypeStruct(shape, "float32"))


# What is called, the error, and the words that its message must hold: the argument's name, what was given, a fix.
REFUSALS = {
    # Names.
    "mode, wrong kind": (
        conv1(padding_mode=3),
        TypeError,
        ["padding_mode", "'zeros'", "'symmetric'", "got 3 of type int"],
    ),
    "mode, unknown": (conv1(padding_mode="mirror"), ValueError, ["padding_mode", "'reflect'", "got 'mirror'"]),
    "mode, mistyped": (conv1(padding_mode="refelct"), ValueError, ["got 'refelct'", "did you mean 'reflect'?"]),
    "mode, capitals": (conv1(padding_mode="Circular"), ValueError, ["did you mean 'circular'?"]),
    "format, mistyped": (
        conv2(data_format="chanels_last"),
        ValueError,
        ["data_format", "did you mean 'channels_last'?"],
    ),
    "format, TensorFlow's": (
        conv2(data_format="NHWC"),
        ValueError,
        ["data_format", "'channels_first', 'channels_last'"],
    ),
    "algorithm": (conv2(algorithm="xal"), ValueError, ["algorithm", "'auto'", "did you mean 'xla'?"]),
    "algorithm, transposed": (transpose2(algorithm="fft"), ValueError, ["algorithm", "'auto'", "got 'fft'"]),
    "padding, mistyped": (conv2(padding="SAME"), ValueError, ["padding", "got 'SAME'", "did you mean 'same'?"]),
    "padding, unknown": (conv1(padding="full"), ValueError, ["padding", "'same', 'valid', 'causal'", "got 'full'"]),
    "causal in 2-D": (conv2(padding="causal"), ValueError, ["padding='causal'", "conv1d", "padding=((2, 0), (1, 1))"]),
    # Containers.
    "a list of layers": (
        lambda: jaxconv.nnx.Sequential([abs]),
        TypeError,
        ["layer '0' must be callable", "got a list", "give its layers one by one: *layers"],
    ),
    "a layer, a class": (
        lambda: jaxconv.nnx.Sequential({"conv": jaxconv.nnx.Conv2d}),
        TypeError,
        ["layer 'conv' must be a layer", "got the class Conv2d", "make a layer of it"],
    ),
    "a layer, a number": (
        lambda: jaxconv.nnx.Sequential(abs).append(3),
        TypeError,
        ["layer '1' must be callable, a layer or a function", "got 3 of type int"],
    ),
    "the name of a layer, a number": (
        lambda: jaxconv.nnx.Sequential({3: abs}),
        TypeError,
        ["the name of a layer must be a string", "got 3 of type int"],
    ),
    "the name of a layer, with a dot": (
        lambda: jaxconv.nnx.Sequential({"a.b": abs}),
        ValueError,
        ["the name of a layer must not be empty and must have no dot", "got 'a.b'"],
    ),
    "the name of a layer, taken": (
        lambda: jaxconv.nnx.Sequential({"train": abs}),
        ValueError,
        ["the name of a layer must not be that of an attribute of Sequential", "got 'train'"],
    ),
    "the index of a layer, a word": (
        lambda: jaxconv.nnx.Sequential(abs)["0"],
        TypeError,
        ["the index of a layer must be an integer or a slice", "got '0' of type str"],
    ),
    "the index of a layer, past the end": (
        lambda: jaxconv.nnx.Sequential(abs, abs)[2],
        IndexError,
        ["the index of a layer must be from -2 to 1", "got 2"],
    ),
    "an argument that no layer has": (
        lambda: jaxconv.nnx.Sequential(lambda x, scale: x)(X1, scales=2),
        TypeError,
        ["none of the layers has an argument 'scales'", "did you mean 'scale'?"],
    ),
    # Initial distributions.
    "bounds of a distribution": (
        lambda: init.uniform(1, -1),
        ValueError,
        ["b must be at least a", "got a=1.0 and b=-1.0"],
    ),
    "deviation, negative": (lambda: init.normal(std=-1), ValueError, ["std must be zero or positive", "got -1.0"]),
    "deviation, zero": (lambda: init.trunc_normal(std=0), ValueError, ["std must be positive and finite", "got 0.0"]),
    "an orthogonal bias": (
        lambda: init.orthogonal()(None, (3,)),
        ValueError,
        ["orthogonal makes weights of 2 axes or more", "got shape (3,)"],
    ),
    "an empty kernel of one": (
        lambda: init.dirac()(None, (3, 3, 0)),
        ValueError,
        ["dirac makes weights of kernels that are not empty", "got shape (3, 3, 0)"],
    ),
    "groups of a kernel of one": (
        lambda: init.dirac(2)(None, (3, 3, 5)),
        ValueError,
        ["groups must divide the 3 output channels", "got 2"],
    ),
    # Parametrisations.
    "dim of a weight norm": (
        lambda: jaxconv.nnx.weight_norm(conv_layer(), dim=3),
        ValueError,
        ["dim must be an axis of the weight, from -3 to 2", "got 3"],
    ),
    "a weight norm of complex numbers": (
        lambda: jaxconv.nnx.weight_norm(conv_layer(param_dtype="complex64")),
        TypeError,
        ["weight_norm is defined for real weights", "got complex64", "use spectral_norm"],
    ),
    "eps of a spectral norm, a word": (
        lambda: jaxconv.nnx.spectral_norm(conv_layer(), eps="1e-12"),
        TypeError,
        ["eps must be a real number", "got '1e-12' of type str"],
    ),
    "eps of a spectral norm, negative": (
        lambda: jaxconv.nnx.spectral_norm(conv_layer(), eps=float("nan")),
        ValueError,
        ["eps must be zero or positive and finite", "got nan"],
    ),
    "iterations of a spectral norm": (
        lambda: jaxconv.nnx.spectral_norm(conv_layer(), n_power_iterations=0),
        ValueError,
        ["n_power_iterations must be positive", "got 0"],
    ),
    "name of a parameter, a number": (
        lambda: jaxconv.nnx.weight_norm(conv_layer(), 3),
        TypeError,
        ["name must be a string", "got 3 of type int"],
    ),
    "name of a parameter, unknown": (
        lambda: jaxconv.nnx.weight_norm(conv_layer(), "kernel"),
        ValueError,
        ["Conv1d has no parameter 'kernel'", "it has 'weight', 'bias'"],
    ),
    "a parameter that is not there yet": (
        lambda: jaxconv.nnx.weight_norm(jaxconv.nnx.LazyConv1d(3, 2, rngs=nnx.Rngs(0))),
        ValueError,
        ["weight of LazyConv1d is None", "call a layer that finds its in_channels once before"],
    ),
    "a parameter that is computed": (
        lambda: jaxconv.nnx.spectral_norm(jaxconv.nnx.weight_norm(conv_layer())),
        ValueError,
        ["weight of ParametrizedConv1d is computed from others already", "remove_parametrizations undoes that"],
    ),
    "a weight norm of no layer": (
        lambda: jaxconv.nnx.weight_norm(jaxconv.nnx.Conv1d),
        TypeError,
        ["layer must be an nnx.Module", "got the class Conv1d", "make a layer of it"],
    ),
    "a value of another shape for a parameter that is computed": (
        lambda: setattr(jaxconv.nnx.weight_norm(conv_layer()), "weight", zeros(2, 3)),
        ValueError,
        ["weight must have shape (6, 4, 2)", "got shape (2, 3)"],
    ),
    "leave_parametrized, a number": (
        lambda: jaxconv.nnx.remove_parametrizations(jaxconv.nnx.weight_norm(conv_layer()), "weight", 1),
        TypeError,
        ["leave_parametrized must be True or False", "got 1 of type int"],
    ),
    "the original of a weight norm": (
        lambda: jaxconv.nnx.remove_parametrizations(jaxconv.nnx.weight_norm(conv_layer()), "weight", False),
        ValueError,
        ["weight is computed from 2 arrays", "only leave_parametrized=True can remove that"],
    ),
    "removing what is not there": (
        lambda: jaxconv.nnx.remove_parametrizations(jaxconv.nnx.weight_norm(conv_layer()), "bias"),
        ValueError,
        ["ParametrizedConv1d computes 'weight' of its parameters", "got 'bias' of type str"],
    ),
    # Integers.
    "groups, a float": (conv1(groups=2.0), TypeError, ["groups must be an integer", "2.0 of type float"]),
    "groups, a bool": (conv1(groups=True), TypeError, ["groups must be an integer", "True of type bool"]),
    "groups, zero": (conv1(groups=0), ValueError, ["groups must be positive", "got 0"]),
    "groups, NumPy's bool": (conv1(groups=np.True_), TypeError, ["groups must be an integer", "type bool"]),
    "stride, a string": (
        conv2(stride="2"),
        TypeError,
        ["stride must be an int or a tuple of 2 ints", "'2' of type str"],
    ),
    "stride, a float": (
        conv2(stride=1.5),
        TypeError,
        ["stride must be an int or a tuple of 2 ints", "1.5 of type float"],
    ),
    "stride, None": (
        conv1(stride=None),
        TypeError,
        ["stride must be an int or a tuple of 1 int,", "None of type NoneType"],
    ),
    "stride, a set": (conv2(stride={1, 2}), TypeError, ["stride must be", "{1, 2} of type set"]),
    "stride, of one axis": (conv2(stride=(1, 2.0)), TypeError, ["stride[1] must be an integer", "2.0 of type float"]),
    "stride, zero": (conv2(stride=0), ValueError, ["stride must be positive", "got 0"]),
    "stride, one negative": (
        conv2(stride=[1, -2]),
        ValueError,
        ["stride must be positive along each axis", "[1, -2] of type list"],
    ),
    "stride, too many": (
        conv2(stride=(1, 2, 3)),
        ValueError,
        ["stride", "a tuple of 2 ints", "(1, 2, 3) of type tuple"],
    ),
    "stride, none at all": (conv2(stride=()), ValueError, ["stride", "a tuple of 2 ints", "() of type tuple"]),
    "dilation": (conv1(dilation=0), ValueError, ["dilation must be positive", "got 0"]),
    "output_padding": (
        transpose1(output_padding=-1),
        ValueError,
        ["output_padding must be zero or positive", "got -1"],
    ),
    "a long value is cut": (conv2(stride=tuple(range(100))), ValueError, ["(0, 1, 2, 3", "... of type tuple"]),
    # Padding.
    "padding, a float": (
        conv2(padding=0.5),
        TypeError,
        ["padding must be an int, a tuple of 2 ints, (low, high) pairs, 'same' or 'valid'", "0.5 of type float"],
    ),
    "padding, too many": (conv2(padding=(1, 2, 3)), ValueError, ["padding", "2 ints", "(1, 2, 3)"]),
    "padding, one pair": (
        conv2(padding=[(1, 2)]),
        ValueError,
        ["padding as (low, high) pairs", "2 spatial axes", "[(1, 2)]"],
    ),
    "padding, a pair in 1-D": (conv1(padding=((1, 2), (3, 4))), ValueError, ["one pair for each of the spatial axis"]),
    "padding, pairs and ints": (
        conv2(padding=((1, 2), 3)),
        ValueError,
        ["padding as (low, high) pairs", "((1, 2), 3)"],
    ),
    "padding, a pair of three": (
        conv1(padding=((1, 2, 3),)),
        ValueError,
        ["padding as (low, high) pairs", "((1, 2, 3),)"],
    ),
    "padding, a pair of floats": (
        conv1(padding=((1, 0.5),)),
        TypeError,
        ["padding must be an integer", "0.5 of type float"],
    ),
    "padding, negative": (
        conv1(padding=-1),
        ValueError,
        ["padding must not be negative", "((-1, -1),)", "crop the input"],
    ),
    "same with a stride": (
        conv2(padding="same", stride=(1, 2)),
        ValueError,
        ["padding='same'", "stride 1", "got stride (1, 2)", "TensorFlow", "padding=((1, 1), (0, 0))", "size (9, 8)"],
    ),
    "reflect": (
        conv1(padding=9, padding_mode="reflect"),
        ValueError,
        ["padding_mode='reflect'", "at most 8", "size 9", "(9, 9)", "at least 10"],
    ),
    "circular": (
        conv2(padding=((0, 0), (1, 9)), padding_mode="circular"),
        ValueError,
        ["padding_mode='circular'", "at most 8", "(1, 9)", "spatial axis 1", "at least 9"],
    ),
    "circular, cropped": (
        conv1(padding=((-2, 8),), padding_mode="circular"),
        ValueError,
        ["at most 7", "size 9", "(-2, 8)", "at least 10"],
    ),
    "symmetric": (
        conv1(padding=((10, 0),), padding_mode="symmetric"),
        ValueError,
        ["padding_mode='symmetric'", "at most 9", "less padding", "at least 10"],
    ),
    # Arrays.
    "input, a list": (
        lambda: jaxconv.conv1d([[1.0]], W1),
        TypeError,
        ["input must be an array", "list", "jnp.asarray(input)"],
    ),
    "weight, a float": (lambda: jaxconv.conv1d(X1, 1.0), TypeError, ["weight must be an array", "float"]),
    "bias, a float": (lambda: jaxconv.conv1d(X1, W1, 0.0), TypeError, ["bias must be an array", "float"]),
    "input, of words": (lambda: jaxconv.conv1d(np.array([["a"]]), W1), TypeError, ["input must be an array", "<U1"]),
    "input, of bools": (
        lambda: jaxconv.conv1d(X1 > 0, W1),
        TypeError,
        ["input has dtype bool", "input.astype('float32')"],
    ),
    "dtypes differ": (
        lambda: jaxconv.conv1d(X1, W1.astype("float16"), groups=2),
        TypeError,
        ["weight has dtype float16", "input has float32", "weight.astype('float32')"],
    ),
    "dtypes differ, bias": (
        lambda: jaxconv.conv1d(X1, W1, zeros(6, dtype=ml_dtypes.bfloat16), groups=2),
        TypeError,
        ["bias has dtype bfloat16", "bias.astype('float32')"],
    ),
    "input, axes": (
        lambda: jaxconv.conv2d(X1[0], W2),
        ValueError,
        ["input of a 2-D convolution", "(N, C, H, W) or (C, H, W)", "(4, 9)"],
    ),
    "input, axes, 1-D last": (
        lambda: jaxconv.conv1d(X2, W1, data_format="channels_last"),
        ValueError,
        ["input of a 1-D", "(N, L, C) or (L, C)", "(2, 4, 9, 8)"],
    ),
    "input, axes, 3-D": (lambda: jaxconv.conv3d(X1, W3), ValueError, ["input of a 3-D", "(N, C, D, H, W)"]),
    "input, empty": (
        lambda: jaxconv.conv2d(X2[:, :, :0], W2, groups=2),
        ValueError,
        ["input must not be empty", "(2, 4, 0, 8)", "channels_first", "only the batch may have size 0"],
    ),
    "input, channels": (
        lambda: jaxconv.conv2d(X2, W2),
        ValueError,
        ["input has 4 channels", "(6, 2, 3, 2)", "groups=1", "2 * 1 = 2", "(2, 4, 9, 8)", "channels_first"],
    ),
    "input, channels last": (
        lambda: jaxconv.conv2d(X2, W2, groups=2, data_format="channels_last"),
        ValueError,
        ["input has 8 channels", "data_format='channels_last'"],
    ),
    "weight, axes": (
        lambda: jaxconv.conv2d(X2, W1),
        ValueError,
        [
            "weight of a 2-D convolution must have 4 axes",
            "(out_channels, in_channels / groups, *kernel_size)",
            "(6, 2, 3)",
        ],
    ),
    "weight, axes, transposed": (
        lambda: jaxconv.conv_transpose2d(X2, T1),
        ValueError,
        ["4 axes", "(in_channels, out_channels / groups, *kernel_size)", "(4, 3, 3)"],
    ),
    "weight, empty": (lambda: jaxconv.conv1d(X1, W1[:0]), ValueError, ["weight must not be empty", "(0, 2, 3)"]),
    "weight, groups": (
        conv1(groups=4),
        ValueError,
        ["groups must divide out_channels", "groups=4", "out_channels=6", "3 would divide it"],
    ),
    "weight, groups, transposed": (
        transpose1(groups=3),
        ValueError,
        ["groups must divide in_channels", "groups=3", "in_channels=4"],
    ),
    "weight, channels, transposed": (
        lambda: jaxconv.conv_transpose1d(X1, W1),
        ValueError,
        ["input has 4 channels", "(6, 2, 3)", "needs 6", "(2, 4, 9)", "channels_first"],
    ),
    "bias": (
        lambda: jaxconv.conv1d(X1, W1, zeros(2), groups=2),
        ValueError,
        ["bias must have shape (6,)", "got shape (2,)"],
    ),
    "bias, transposed": (
        lambda: jaxconv.conv_transpose1d(X1, T1, zeros(3), groups=2),
        ValueError,
        ["bias must have shape (6,)", "got shape (3,)"],
    ),
    "bias, two axes": (
        lambda: jaxconv.conv1d(X1, W1, zeros(6, 1), groups=2),
        ValueError,
        ["bias must have shape (6,)", "(6, 1)"],
    ),
    "the kernel does not fit": (
        conv1(dilation=6, padding=1),
        ValueError,
        ["kernel_size (3,)", "dilation (6,)", "spans 13", "spatial axis 0", "9 + 1 + 1 = 11", "more padding"],
    ),
    "the kernel does not fit, second axis": (
        lambda: jaxconv.conv2d(X2, zeros(6, 4, 1, 9)),
        ValueError,
        ["spans 9", "spatial axis 1", "8 + 0 + 0 = 8"],
    ),
    # Gradients by name.
    "grad_output of input": (
        lambda: jaxconv.conv1d_input((2, 4, 9), W1, zeros(2, 6, 8), groups=2),
        ValueError,
        ["grad_output", "(2, 6, 7)", "(2, 4, 9)", "(6, 2, 3)", "got shape (2, 6, 8)"],
    ),
    "grad_output of weight": (
        lambda: jaxconv.conv1d_weight(X1[0], (6, 2, 3), zeros(2, 6, 7), groups=2),
        ValueError,
        ["grad_output", "(6, 7)", "(2, 6, 7)"],
    ),
    "grad_output, channels last": (
        lambda: jaxconv.conv1d_input((2, 9, 4), W1, zeros(2, 6, 7), groups=2, data_format="channels_last"),
        ValueError,
        ["grad_output", "(2, 7, 6)", "(2, 6, 7)"],
    ),
    "grad_output, dtype": (
        lambda: jaxconv.conv1d_input((2, 4, 9), W1, zeros(2, 6, 7, dtype="int32"), groups=2),
        TypeError,
        ["grad_output has dtype int32", "weight has float32"],
    ),
    "input_size, an int": (
        lambda: jaxconv.conv1d_input(9, W1, zeros(2, 6, 7)),
        TypeError,
        ["input_size must be a tuple of ints", "9 of type int"],
    ),
    "input_size, a float": (
        lambda: jaxconv.conv1d_input((2, 4, 9.0), W1, zeros(2, 6, 7)),
        TypeError,
        ["input_size[2] must be an integer", "9.0"],
    ),
    "input_size, negative": (
        lambda: jaxconv.conv1d_input((2, -4, 9), W1, zeros(2, 6, 7)),
        ValueError,
        ["input_size[1] must be zero or positive", "-4"],
    ),
    "weight_size, a string": (
        lambda: jaxconv.conv1d_weight(X1, "623", zeros(2, 6, 7)),
        TypeError,
        ["weight_size must be a tuple of ints", "'623' of type str"],
    ),
    "weight_size, axes": (
        lambda: jaxconv.conv1d_weight(X1, (6, 2), zeros(2, 6, 7)),
        ValueError,
        ["weight of a 1-D", "3 axes", "(6, 2)"],
    ),
    # Transposed.
    "transposed, same": (
        transpose2(padding="same"),
        TypeError,
        ["padding of a transposed convolution", "2 ints", "'same'", "output_size"],
    ),
    "transposed, negative": (
        transpose2(padding=(0, -1)),
        ValueError,
        ["padding must not be negative", "((0, 0), (-1, -1))", "output_padding"],
    ),
    "transposed, mode": (
        transpose2(padding_mode="reflect"),
        ValueError,
        ["padding_mode", "'zeros', 'circular'", "'reflect'"],
    ),
    "transposed, output_padding": (
        transpose2(stride=2, output_padding=(1, 2)),
        ValueError,
        ["output_padding", "smaller than stride or dilation", "(1, 2)", "stride (2, 2)", "dilation (1, 1)"],
    ),
    "transposed, nothing left": (
        transpose1(padding=6),
        ValueError,
        ["padding ((6, 6),)", "(-1,)", "(11,)", "size (9,)", "size (3,)", "less padding"],
    ),
    "transposed, circular": (
        transpose1(padding=4, padding_mode="circular"),
        ValueError,
        ["padding_mode='circular'", "at most 3", "size 3", "(4, 4)"],
    ),
    "output_size, an int": (
        transpose1(output_size=11),
        TypeError,
        ["output_size must be a tuple of ints", "11 of type int"],
    ),
    "output_size, a float": (transpose1(output_size=(11.0,)), TypeError, ["output_size must be an integer", "11.0"]),
    "output_size, length": (
        transpose2(output_size=(1, 2, 3)),
        ValueError,
        ["output_size must have 2 entries", "or 4", "(1, 2, 3)"],
    ),
    "output_size, length, unbatched": (
        lambda: jaxconv.conv_transpose1d(X1[0], T1, groups=2, output_size=(2, 6, 11)),
        ValueError,
        ["output_size must have 1 entries", "or 2", "(2, 6, 11)"],
    ),
    "output_size, too small": (
        transpose2(stride=2, output_size=(18, 16)),
        ValueError,
        ["output_size must lie between (19, 16) and (20, 17)", "(18, 16)"],
    ),
    "output_size, too large": (
        transpose2(stride=2, output_size=(2, 6, 19, 18)),
        ValueError,
        ["between (19, 16) and (20, 17)", "(19, 18)"],
    ),
    # Patches.
    "unfold, axes": (lambda: jaxconv.unfold(X1[0], 2), ValueError, ["input", "(N, C, H, W) or (C, H, W)", "(4, 9)"]),
    "unfold, no channels": (
        lambda: jaxconv.unfold(X2[:, :0], 2),
        ValueError,
        ["input must have channels", "(2, 0, 9, 8)"],
    ),
    "unfold, integers": (
        lambda: jaxconv.unfold(X2.astype("int32"), 2),
        TypeError,
        ["input must be of floats", "int32", "astype('float32')"],
    ),
    "unfold, kernel": (lambda: jaxconv.unfold(X2, (2,)), ValueError, ["kernel_size", "2 ints", "(2,)"]),
    "unfold, kernel does not fit": (
        lambda: jaxconv.unfold(X2, (10, 1)),
        ValueError,
        ["kernel_size (10, 1)", "spans 10", "9 + 0 + 0 = 9"],
    ),
    "unfold, padding": (
        lambda: jaxconv.unfold(X2, 2, padding=-1),
        ValueError,
        ["padding must be zero or positive", "-1"],
    ),
    "fold, no channels": (lambda: jaxconv.fold(zeros(2, 0, 6), (3, 4), 2), ValueError, ["input", "(2, 0, 6)"]),
    "fold, a patch that is not square": (
        lambda: jaxconv.fold(zeros(2, 12, 5), (3, 4), (1, 2)),
        ValueError,
        ["patches of 1 x 2 positions at 3 x 3 places", "(2, 12, 5)"],
    ),
    "fold, columns": (
        lambda: jaxconv.fold(zeros(2, 12, 5), (3, 4), 2),
        ValueError,
        ["input must have shape (N, C * 4, 6)", "2 x 2 positions", "2 x 3 places", "(2, 12, 5)"],
    ),
    "fold, channels": (lambda: jaxconv.fold(zeros(2, 10, 6), (3, 4), 2), ValueError, ["(N, C * 4, 6)", "(2, 10, 6)"]),
    "fold, axes": (lambda: jaxconv.fold(zeros(12), (3, 4), 2), ValueError, ["(N, C * 4, 6) or without N", "(12,)"]),
    "fold, output_size": (
        lambda: jaxconv.fold(zeros(2, 12, 6), (3, 4, 5), 2),
        ValueError,
        ["output_size", "2 ints", "(3, 4, 5)"],
    ),
    "fold, kernel does not fit": (
        lambda: jaxconv.fold(zeros(2, 12, 6), (3, 4), 5),
        ValueError,
        ["kernel_size (5, 5)", "spans 5", "3 + 0 + 0 = 3"],
    ),
    # Pad.
    "pad, an int": (
        lambda: jaxconv.pad(X2, 1),
        TypeError,
        ["pad must be a tuple of ints", "last axis first", "1 of type int"],
    ),
    "pad, a float": (pad(1, 1.0), TypeError, ["pad[1] must be an integer", "1.0"]),
    "pad, odd": (pad(1, 2, 3), ValueError, ["pad must hold a (low, high) pair", "at most 4 axes", "got 3 numbers"]),
    "pad, too many": (pad(*range(10)), ValueError, ["pad", "at most 4 axes", "got 10 numbers"]),
    "pad, mode": (pad(1, 1, mode="zeros"), ValueError, ["mode must be one of 'constant'", "'zeros'"]),
    "pad, mode mistyped": (pad(1, 1, mode="reflected"), ValueError, ["did you mean 'reflect'?"]),
    "pad, value and mode": (
        pad(1, 1, mode="reflect", value=1.0),
        ValueError,
        ["value is for mode='constant'", "value=1.0", "mode='reflect'", "leave it out"],
    ),
    "pad, a tuple to pad with": (pad(1, 1, value=(1,)), TypeError, ["value must be a number", "(1,)", "tuple"]),
    "pad, complex": (pad(1, 1, value=1j), TypeError, ["value must be real", "float32", "1j"]),
    "pad, value": (
        pad(1, 1, x=X2.astype("int8"), value=128),
        ValueError,
        ["value must be between -128 and 127", "int8", "got 128"],
    ),
    "pad, crops too much": (pad(-5, -4), ValueError, ["pad crops more than there is", "(-5, -4) of axis 3", "size 8"]),
    "pad, mode's axes": (
        pad(1, 1, mode="reflect"),
        ValueError,
        ["mode='reflect'", "1 to 3 axes", "1 padded axes", "(2, 4, 9, 8)", "reshape"],
    ),
    "pad, mode's amount": (
        pad(1, 1, 1, 9, mode="reflect"),
        ValueError,
        [": mode='reflect' can pad at most 8", "size 9", "(1, 9)"],
    ),
    "pad, mode, nothing left": (
        pad(-4, -5, x=X1, mode="reflect"),
        ValueError,
        ["pad leaves nothing of axis 2", "(-4, -5) of size 9", "crop less"],
    ),
    "pad, mode, empty": (
        pad(0, 1, x=X1[:, :, :0], mode="replicate"),
        ValueError,
        ["input must not be empty", "mode='replicate'", "(2, 4, 0)"],
    ),
    "pad, mode, bools": (
        pad(1, 1, x=X1 > 0, mode="reflect"),
        TypeError,
        ["mode='reflect'", "needs numbers", "bool", "astype('uint8')"],
    ),
    # Pools.
    "return_indices": (
        lambda: jaxconv.max_pool2d(POOLED, 2, return_indices=1),
        TypeError,
        ["return_indices must be True or False", "1 of type int"],
    ),
    "indices beyond 32 bits": (
        lambda: jaxconv.max_pool1d(
            np.lib.stride_tricks.as_strided(POOLED, (1, 2**31 + 1), (0, 0)), 2, 2, 0, 1, False, True
        ),
        ValueError,
        ["return_indices=True needs 64 bits", "(2147483649,)", "jax_enable_x64"],
    ),
    "unpool, indices of floats": (
        lambda: jaxconv.max_unpool2d(POOLED, POOLED, 2),
        TypeError,
        ["indices has dtype float32", "int64 or int32", "indices.astype('int32')"],
    ),
    "unpool, shapes": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES[:, :2], 2),
        ValueError,
        ["indices must have the shape of input, (2, 3, 8, 6), got (2, 2, 8, 6)", "return_indices=True"],
    ),
    "unpool, no channels": (
        lambda: jaxconv.max_unpool2d(POOLED[:, :0], PLACES[:, :0], 2),
        ValueError,
        ["at least one channel", "(2, 0, 8, 6)"],
    ),
    "unpool, kernel_size": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES, (2,)),
        ValueError,
        ["kernel_size must be an int or a tuple of 2 ints", "(2,)"],
    ),
    "unpool, axes of output_size": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES, 2, output_size=(2, 3, 4)),
        ValueError,
        ["output_size must hold 2 ints, or 4 with the batch and the channels", "(2, 3, 4)"],
    ),
    "unpool, output_size": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES, 3, 2, output_size=(17, 11)),
        ValueError,
        ["output_size[1] must be from 12 to 14", "less than a stride away from 13", "(17, 11)"],
    ),
    "unpool, negative": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES, 1, 1, 5),
        ValueError,
        ["would be negative, (-2, -4)", "padding (5, 5)", "those of the pool"],
    ),
    "unpool, indices beyond": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES + 192, 2),
        ValueError,
        ["indices must be positions in planes of shape (16, 12), from 0 to 191, got 192", "output_size of the pool"],
    ),
    "unpool, negative indices": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES - 1, 2),
        ValueError,
        ["from 0 to 191, got -1"],
    ),
    "unpool, too large": (
        lambda: jaxconv.max_unpool2d(POOLED, PLACES, 2, 2**31),
        ValueError,
        ["the result", "2**59 numbers or more", "smaller stride"],
    ),
    "norm_type, a string": (
        lambda: jaxconv.lp_pool2d(POOLED, "2", 2),
        TypeError,
        ["norm_type must be a number", "'2'"],
    ),
    "norm_type, a bool": (
        lambda: jaxconv.lp_pool2d(POOLED, True, 2),
        TypeError,
        ["norm_type must be a number", "True"],
    ),
    "norm_type, zero": (lambda: jaxconv.lp_pool2d(POOLED, 0, 2), ValueError, ["norm_type", "other than 0", "use 2"]),
    "norm_type, no float": (lambda: jaxconv.lp_pool2d(POOLED, 10**400, 2), ValueError, ["norm_type", "1329 bits"]),
    "norm of integers": (
        lambda: jaxconv.lp_pool2d(POOLED.astype(int), 2, 2),
        TypeError,
        ["a norm needs floating point numbers", "input.astype('float32')"],
    ),
    "norm of complex numbers": (lambda: jaxconv.lp_pool2d(POOLED + 0j, 2, 2), TypeError, ["complex64", "abs(input)"]),
    "adaptive maximum, no channels": (
        lambda: jaxconv.adaptive_max_pool2d(POOLED[:, :0], 2),
        ValueError,
        ["at least one channel", "(2, 0, 8, 6)"],
    ),
    # Slopes and probabilities.
    "prelu, integers": (
        lambda: jaxconv.prelu(POOLED.astype(int), zeros(1)),
        TypeError,
        ["input has dtype int32", "prelu needs floating point", "input.astype('float32')"],
    ),
    "prelu, dtypes": (
        lambda: jaxconv.prelu(POOLED, zeros(1, dtype="float16")),
        TypeError,
        ["weight has dtype float16 where input has float32", "weight.astype('float32')"],
    ),
    "prelu, axes of the weight": (
        lambda: jaxconv.prelu(POOLED, zeros(3, 1)),
        ValueError,
        ["weight must be a number or have one axis", "(3, 1)"],
    ),
    "prelu, slopes": (
        lambda: jaxconv.prelu(POOLED, zeros(6)),
        ValueError,
        ["one slope, or one for each of the 3 channels", "(2, 3, 8, 6)", "'channels_first'", "got 6"],
    ),
    "prelu, init": (lambda: jaxconv.nnx.PReLU(init=None), TypeError, ["init must be a number", "None"]),
    "softmax, axes": (
        lambda: jaxconv.nnx.Softmax2d()(POOLED[0, 0]),
        ValueError,
        ["input must have shape (N, C, H, W) or (C, H, W)", "(8, 6)"],
    ),
    "softmax, axes, channels last": (
        lambda: jaxconv.nnx.Softmax2d(data_format="channels_last")(POOLED[0, 0]),
        ValueError,
        ["(N, H, W, C) or (H, W, C)"],
    ),
    "softmax, integers": (
        lambda: jaxconv.nnx.Softmax2d()(POOLED.astype(int)),
        TypeError,
        ["a softmax needs floating point", "input.astype('float32')"],
    ),
    "p, a string": (lambda: jaxconv.nnx.Dropout2d("0.5"), TypeError, ["p must be a number from 0 to 1", "'0.5'"]),
    "p, beyond": (lambda: jaxconv.nnx.Dropout2d(1.5), ValueError, ["p must be a probability, from 0 to 1", "1.5"]),
    "p, NaN": (
        lambda: jaxconv.nnx.StochasticDepth(float("nan"), "row"),
        ValueError,
        ["p must be a probability", "nan"],
    ),
    "inplace": (
        lambda: jaxconv.nnx.Dropout2d(0.5, True),
        ValueError,
        ["inplace must be False, got True", "never changed in place"],
    ),
    "mode of stochastic depth": (
        lambda: jaxconv.nnx.StochasticDepth(0.5, "rows"),
        ValueError,
        ["mode must be one of 'batch', 'row'", "did you mean 'row'?"],
    ),
    "dropout, axes": (
        lambda: jaxconv.nnx.Dropout1d(rngs=nnx.Rngs(0))(POOLED),
        ValueError,
        ["input of Dropout1d must have shape (N, C, L) or (C, L)", "(2, 3, 8, 6)"],
    ),
    "dropout, axes, channels last": (
        lambda: jaxconv.nnx.Dropout3d(rngs=nnx.Rngs(0), data_format="channels_last")(POOLED[0]),
        ValueError,
        ["(N, D, H, W, C) or (D, H, W, C)"],
    ),
    "dropout of integers": (
        lambda: jaxconv.nnx.Dropout2d(rngs=nnx.Rngs(0))(POOLED.astype(int)),
        TypeError,
        ["input has dtype int32", "what is kept is scaled", "input.astype('float32')"],
    ),
    "no rows": (
        lambda: jaxconv.nnx.StochasticDepth(0.5, "row", rngs=nnx.Rngs(0))(zeros()),
        ValueError,
        ["an axis of rows", "use mode 'batch'"],
    ),
    "nothing to draw from": (
        lambda: jaxconv.nnx.Dropout2d()(POOLED),
        ValueError,
        ["rngs must be given to Dropout2d", "rngs=nnx.Rngs(0)", "model.eval()"],
    ),
    "pool, a list": (lambda: jaxconv.max_pool2d([1.0], 2), TypeError, ["input", "list", "jnp.asarray(input)"]),
    "pool, bools": (lambda: jaxconv.max_pool2d(POOLED > 0, 2), TypeError, ["bool", "input.astype('float32')"]),
    "pool, complex": (lambda: jaxconv.max_pool2d(POOLED + 0j, 2), TypeError, ["complex64", "input.real"]),
    "pool, integers": (
        lambda: jaxconv.avg_pool2d(POOLED.astype(int), 2),
        TypeError,
        ["int", "input.astype('float32')"],
    ),
    "kernel_size, zero": (lambda: jaxconv.max_pool2d(POOLED, 0), ValueError, ["kernel_size", "positive", "0"]),
    "kernel_size, a float": (
        lambda: jaxconv.max_pool2d(POOLED, (2, 2.5)),
        TypeError,
        ["kernel_size[1]", "integer", "2.5"],
    ),
    "pool, stride": (lambda: jaxconv.max_pool2d(POOLED, 2, (0, 1)), ValueError, ["stride", "positive", "(0, 1)"]),
    "pool, padding by a word": (
        lambda: jaxconv.max_pool2d(POOLED, 2, padding="same"),
        TypeError,
        ["padding", "2 ints", "'same'"],
    ),
    "pool, padding beyond half of one axis": (
        lambda: jaxconv.max_pool2d(POOLED, 3, padding=(1, 2)),
        ValueError,
        ["padding (1, 2)", "kernel_size (3, 3)", "axis 1"],
    ),
    "pool, padding beyond half": (
        lambda: jaxconv.max_pool2d(POOLED, 3, padding=(1, 2)),
        ValueError,
        ["at most 1", "pad the input first"],
    ),
    "pool, kernel does not fit": (
        lambda: jaxconv.max_pool2d(POOLED, 7),
        ValueError,
        ["kernel_size (7, 7)", "axis 1", "6 + 2 * 0 = 6", "smaller"],
    ),
    "pool, dilation": (
        lambda: jaxconv.max_pool2d(POOLED, 3, dilation=4),
        ValueError,
        ["dilation (4, 4)", "spans 9", "axis 0"],
    ),
    "ceil_mode": (
        lambda: jaxconv.max_pool2d(POOLED, 2, ceil_mode=1),
        TypeError,
        ["ceil_mode", "True or False", "1 of type int"],
    ),
    "pool, axes": (
        lambda: jaxconv.max_pool2d(POOLED[0, 0], 2),
        ValueError,
        ["2-D pool", "(N, C, H, W) or (C, H, W)", "(8, 6)"],
    ),
    "pool, axes, 3-D": (
        lambda: jaxconv.max_pool3d(POOLED[0], 2, data_format="channels_last"),
        ValueError,
        ["(D, H, W, C)", "(3, 8, 6)"],
    ),
    "pool, empty": (
        lambda: jaxconv.max_pool2d(POOLED[:, :, :0], 1),
        ValueError,
        ["empty", "(2, 3, 0, 6)", "only the batch"],
    ),
    "pool, no channels": (
        lambda: jaxconv.avg_pool2d(POOLED[:, :0], 1),
        ValueError,
        ["at least one channel", "(2, 0, 8, 6)"],
    ),
    "pool, data_format": (
        lambda: jaxconv.avg_pool2d(POOLED, 1, data_format="NHWC"),
        ValueError,
        ["data_format", "'channels_last'", "'NHWC'"],
    ),
    "divisor_override, zero": (
        lambda: jaxconv.avg_pool2d(POOLED, 2, divisor_override=0),
        ValueError,
        ["divisor_override", "zero", "use 1"],
    ),
    "divisor_override, a float": (
        lambda: jaxconv.avg_pool2d(POOLED, 2, divisor_override=2.0),
        TypeError,
        ["divisor_override", "integer", "2.0"],
    ),
    "count_include_pad": (
        lambda: jaxconv.avg_pool2d(POOLED, 2, count_include_pad=1),
        TypeError,
        ["count_include_pad", "True or False"],
    ),
    "pool, kernel beyond the image in 3-D": (
        lambda: jaxconv.avg_pool3d(POOLED, (2, 2, 7), padding=1),
        ValueError,
        ["avg_pool3d", "only 6", "7", "pad the input"],
    ),
    "output_size of a pool, too few": (
        lambda: jaxconv.adaptive_avg_pool2d(POOLED, (2,)),
        ValueError,
        ["output_size", "2 ints", "None", "(2,)"],
    ),
    "output_size of a pool, None": (
        lambda: jaxconv.adaptive_avg_pool2d(POOLED, None),
        TypeError,
        ["output_size", "2 ints", "None"],
    ),
    "output_size of a pool, negative": (
        lambda: jaxconv.adaptive_avg_pool2d(POOLED, (2, -1)),
        ValueError,
        ["output_size[1]", "-1"],
    ),
    # Normalisations.
    "batch norm, a list": (lambda: jaxconv.batch_norm([[1.0]]), TypeError, ["input must be an array", "list"]),
    "batch norm, integers": (
        lambda: jaxconv.batch_norm(X1.astype(int), training=True),
        TypeError,
        ["input has dtype int", "a batch norm needs real floating point numbers", "input.astype('float32')"],
    ),
    "batch norm, complex": (
        lambda: jaxconv.batch_norm(X1 + 0j, training=True),
        TypeError,
        ["input has dtype complex64", "input.real"],
    ),
    "batch norm, axes": (
        lambda: jaxconv.batch_norm(X1[0, 0], training=True),
        ValueError,
        ["input of a batch norm must have 2 axes or more", "(9,)", "input[None]"],
    ),
    "batch norm, one value": (
        lambda: jaxconv.batch_norm(X1[:1, :, :1], training=True),
        ValueError,
        ["more than one value per channel", "(1, 4, 1)", "training=False"],
    ),
    "batch norm, eps": (
        lambda: jaxconv.batch_norm(X1, training=True, eps=0),
        ValueError,
        ["eps of a batch norm must be positive with training=True, got 0.0"],
    ),
    "batch norm, eps in evaluation": (
        lambda: jaxconv.batch_norm(X1, NORM4, NORM4, eps=-1),
        ValueError,
        ["eps of a batch norm must be zero or positive with training=False, got -1.0"],
    ),
    "eps, a string": (
        lambda: jaxconv.batch_norm(X1, training=True, eps="1e-5"),
        TypeError,
        [": eps must be a real number", "'1e-5' of type str"],
    ),
    "eps, too large": (
        lambda: jaxconv.layer_norm(X1, 9, eps=10**400),
        ValueError,
        [": eps must be a number that a float can hold", "an int of 1329 bits"],
    ),
    "eps, traced": (
        lambda: jax.jit(lambda eps: jaxconv.group_norm(X1, 2, eps=eps))(1e-5),
        TypeError,
        [": eps must be a real number, known when the call is made"],
    ),
    "momentum, None": (
        lambda: jaxconv.batch_norm(X1, NORM4, NORM4, training=True, momentum=None),
        TypeError,
        ["momentum must be a real number", "None of type NoneType"],
    ),
    "momentum, integers": (
        lambda: jaxconv.instance_norm(X1, NORM4, NORM4, momentum=np.array(1)),
        TypeError,
        ["momentum must be a float", "an array of dtype int64"],
    ),
    "training": (
        lambda: jaxconv.batch_norm(X1, training=1),
        TypeError,
        ["training must be True or False", "1 of type int"],
    ),
    "batch norm, no statistics": (
        lambda: jaxconv.batch_norm(X1, NORM4),
        ValueError,
        ["training=False needs running_mean and running_var, got None for running_var"],
    ),
    "instance norm, no statistics": (
        lambda: jaxconv.instance_norm(X1, use_input_stats=False),
        ValueError,
        ["use_input_stats=False needs running_mean and running_var", "None for running_mean and running_var"],
    ),
    "batch norm, half of the statistics": (
        lambda: jaxconv.batch_norm(X1, None, NORM4, training=True),
        ValueError,
        ["must be given together, got None for running_mean"],
    ),
    "batch norm, shape of a parameter": (
        lambda: jaxconv.batch_norm(X1, weight=zeros(9), training=True),
        ValueError,
        ["weight must have shape (4,)", "(2, 4, 9)", "got shape (9,)"],
    ),
    "batch norm, shape of statistics, channels last": (
        lambda: jaxconv.batch_norm(X1, NORM4, NORM4, data_format="channels_last"),
        ValueError,
        ["running_mean must have shape (9,)", "got shape (4,)"],
    ),
    "batch norm, dtype of a parameter": (
        lambda: jaxconv.batch_norm(X1, weight=NORM4.astype("float16"), training=True),
        TypeError,
        ["weight has dtype float16", "input has float32", "weight.astype('float32')"],
    ),
    "batch norm, parameters of two dtypes": (
        lambda: jaxconv.batch_norm(X1.astype("float16"), None, None, NORM4, NORM4.astype("float16"), True),
        TypeError,
        ["bias has dtype float16", "weight has float32", "bias.astype('float32')"],
    ),
    "instance norm, dtype of statistics": (
        lambda: jaxconv.instance_norm(X1, NORM4.astype(int), NORM4),
        TypeError,
        ["running_mean has dtype int", "an instance norm needs", "running_mean.astype('float32')"],
    ),
    "instance norm, one position": (
        lambda: jaxconv.instance_norm(X1[:, :, :1]),
        ValueError,
        ["more than one position", "(2, 4, 1)", "batch_norm", "use_input_stats=False"],
    ),
    "num_groups": (lambda: jaxconv.group_norm(X1, 0), ValueError, ["num_groups must be positive", "got 0"]),
    "num_groups, a bool": (lambda: jaxconv.group_norm(X1, True), TypeError, ["num_groups must be an integer"]),
    "num_groups, no divisor": (
        lambda: jaxconv.group_norm(X1, 6),
        ValueError,
        ["num_groups must divide the channels of the input", "num_groups=6 and 4 channels; 2 would divide them"],
    ),
    "group norm, one value": (
        lambda: jaxconv.group_norm(X1[:1, :, :1], 4),
        ValueError,
        ["more than one value per group", "(1, 4, 1)", "num_groups=4", "fewer groups"],
    ),
    "normalized_shape": (
        lambda: jaxconv.layer_norm(X1, (4, 8)),
        ValueError,
        ["normalized_shape must be that of the last axes", "got (4, 8)", "(2, 4, 9)"],
    ),
    "normalized_shape, none": (
        lambda: jaxconv.rms_norm(X1, ()),
        ValueError,
        ["normalized_shape must have at least one entry", "() of type tuple"],
    ),
    "normalized_shape, a float": (
        lambda: jaxconv.layer_norm(X1, 9.0),
        TypeError,
        ["normalized_shape must be an int or a tuple of ints", "9.0 of type float"],
    ),
    "normalized_shape, a bool in it": (
        lambda: jaxconv.layer_norm(X1[..., :1], (True,)),
        TypeError,
        ["normalized_shape[0] must be an integer", "True"],
    ),
    "layer norm, shape of a parameter": (
        lambda: jaxconv.layer_norm(X1, (4, 9), None, NORM4),
        ValueError,
        ["bias must have the shape of normalized_shape, (4, 9)", "got shape (4,)"],
    ),
    "rms norm, a complex weight": (
        lambda: jaxconv.rms_norm(X1, 9, zeros(9) + 0j),
        TypeError,
        ["weight has dtype complex64", "an RMS norm needs real floating point numbers", "weight.real"],
    ),
    "size of a local response norm": (
        lambda: jaxconv.local_response_norm(X1, 0),
        ValueError,
        ["size must be positive", "got 0"],
    ),
    "local response norm, axes": (
        lambda: jaxconv.local_response_norm(X1[0], 2),
        ValueError,
        ["a local response norm must have 3 axes or more", "(4, 9)"],
    ),
    "layers of norms, axes": (
        lambda: jaxconv.nnx.BatchNorm2d(4)(X1),
        ValueError,
        ["input of a batch norm of 2-D images must have shape (N, C, H, W)", "got shape (2, 4, 9)"],
    ),
    "layers of norms, axes, 1-D": (
        lambda: jaxconv.nnx.BatchNorm1d(4, data_format="channels_last")(X2),
        ValueError,
        ["of 1-D images must have shape (N, L, C) or (N, C), got shape (2, 4, 9, 8)"],
    ),
    "layers of norms, channels": (
        lambda: jaxconv.nnx.InstanceNorm1d(5, affine=True)(X1),
        ValueError,
        ["input must have num_features=5 channels, got 4", "make the layer with num_features=4"],
    ),
    # Resampling.
    "interpolate, neither": (
        lambda: jaxconv.interpolate(X2),
        ValueError,
        ["either size or scale_factor", "got neither", "size=(7, 7)"],
    ),
    "interpolate, both": (
        lambda: jaxconv.interpolate(X2, 3, 2.0),
        ValueError,
        ["either size or scale_factor", "got 3 and 2.0"],
    ),
    "interpolate, recomputed from a size": (
        lambda: jaxconv.interpolate(X2, 3, recompute_scale_factor=True),
        ValueError,
        ["recompute_scale_factor=True has no meaning beside size", "leave it out"],
    ),
    "interpolate, recomputed by 1": (
        lambda: jaxconv.interpolate(X2, scale_factor=2, recompute_scale_factor=1),
        TypeError,
        ["recompute_scale_factor must be True or False", "got 1 of type int"],
    ),
    "interpolate, an image without a batch": (
        lambda: jaxconv.interpolate(X2[0, 0], 3),
        ValueError,
        ["input must have shape (N, C, L), (N, C, H, W)", "(9, 8)", "input[None]"],
    ),
    "interpolate, a mode of other axes": (
        lambda: jaxconv.interpolate(X2, 3, mode="trilinear"),
        ValueError,
        ["mode 'trilinear' is for 3 spatial axes", "(2, 4, 9, 8) has 2", "'bilinear'"],
    ),
    "interpolate, corners of neighbours": (
        lambda: jaxconv.interpolate(X2, 3, align_corners=False),
        ValueError,
        ["align_corners must be None with mode 'nearest'", "got False", "leave it out"],
    ),
    "interpolate, antialias of neighbours": (
        lambda: jaxconv.interpolate(X2, 3, antialias=True),
        ValueError,
        ["antialias=True is for mode 'bilinear', 'bicubic', 'lanczos'", "got mode 'nearest'"],
    ),
    "interpolate, lanczos without antialias": (
        lambda: jaxconv.interpolate(X2, 3, mode="lanczos"),
        ValueError,
        ["mode 'lanczos' must have antialias=True", "got antialias=False"],
    ),
    "interpolate, integers": (
        lambda: jaxconv.interpolate(X2.astype("int32"), 3),
        TypeError,
        ["input has dtype int32", "floating point numbers or bytes", "input.astype('float32')"],
    ),
    "interpolate, no channels": (
        lambda: jaxconv.interpolate(zeros(2, 0, 9), 3),
        ValueError,
        ["at least one channel", "(2, 0, 9)", "only the batch"],
    ),
    "interpolate, a factor too small": (
        lambda: jaxconv.interpolate(X2, scale_factor=0.1),
        ValueError,
        ["scale_factor must leave at least one position", "got 0.1", "(0, 0)", "larger scale_factor"],
    ),
    "interpolate, a size too small": (
        lambda: jaxconv.interpolate(X2, (3, 0)),
        ValueError,
        ["size must leave at least one position", "got (3, 0)", "larger size"],
    ),
    "interpolate, a size too large": (
        lambda: jaxconv.interpolate(X1, 2**31),
        ValueError,
        ["images must have fewer than 2**31 positions along each axis", "(2147483648,)"],
    ),
    "interpolate, a factor too large": (
        lambda: jaxconv.interpolate(X1, scale_factor=1e308),
        ValueError,
        ["images must have fewer than 2**31 positions"],
    ),
    "interpolate, a result of too many numbers": (
        lambda: jaxconv.interpolate(X2, 2**30),
        ValueError,
        ["the result would have the shape (2, 4, 1073741824, 1073741824)", "use a smaller size or scale_factor"],
    ),
    "interpolate, factors too few": (
        lambda: jaxconv.interpolate(X2, scale_factor=(2.0,)),
        ValueError,
        ["scale_factor must be a number or a tuple of 2", "(2.0,)"],
    ),
    "interpolate, sizes too many": (
        lambda: jaxconv.interpolate(X2, (1, 2, 3)),
        ValueError,
        ["size must be an int or a tuple of 2 ints", "(1, 2, 3)"],
    ),
    "interpolate, a size that is a fraction": (
        lambda: jaxconv.interpolate(X2, 3.0),
        TypeError,
        ["size[0] must be an integer", "3.0 of type float"],
    ),
    "interpolate, a factor that is a text": (
        lambda: jaxconv.interpolate(X2, scale_factor=(2, "2")),
        TypeError,
        ["scale_factor[1] must be a number", "'2' of type str"],
    ),
    "interpolate, a negative factor": (
        lambda: jaxconv.interpolate(X2, scale_factor=-2.0),
        ValueError,
        ["scale_factor must be positive and finite", "got -2.0", "0.5"],
    ),
    "interpolate, a factor beyond floats": (
        lambda: jaxconv.interpolate(X2, scale_factor=10**400),
        ValueError,
        ["scale_factor must be positive and finite", "bits"],
    ),
    "interpolate, an odd factor of a symbolic size": (
        lambda: symbolic(lambda x: jaxconv.interpolate(x, scale_factor=1.7), "2, 4, n"),
        ValueError,
        ["scale_factor must be a fraction of small numbers", "symbolic size n", "got 1.7", "give size"],
    ),
    "interpolate, area of a symbolic size": (
        lambda: symbolic(lambda x: jaxconv.interpolate(x, scale_factor=2, mode="area"), "2, 4, n"),
        ValueError,
        ["mode 'area' needs the size of the result in numbers", "(2*n,)", "give size as ints"],
    ),
    "interpolate, antialias of a symbolic size": (
        lambda: symbolic(lambda x: jaxconv.interpolate(x, 5, mode="bilinear", antialias=True), "2, 4, n, 7"),
        ValueError,
        ["antialias=True needs the sizes of its images in numbers", "(n, 7)", "give ints"],
    ),
    "grid_sample, an image too large": (
        lambda: jaxconv.grid_sample(np.broadcast_to(X2[:1, :1, :1, :1], (1, 1, 2**16, 2**15)), zeros(1, 1, 1, 2)),
        ValueError,
        ["images must have fewer than 2**31 positions", "(1, 1, 65536, 32768)", "cut it up"],
    ),
    "grid_sample, a mode of two axes": (
        lambda: jaxconv.grid_sample(X3, zeros(2, 1, 1, 1, 3), "bicubic"),
        ValueError,
        ["mode 'bicubic' is for 2 spatial axes", "(2, 4, 7, 9, 8)", "'bilinear'"],
    ),
    "grid_sample, an image of one axis": (
        lambda: jaxconv.grid_sample(X1, zeros(2, 3, 1)),
        ValueError,
        ["input must have shape (N, C, H, W) or (N, C, D, H, W)", "(2, 4, 9)"],
    ),
    "grid_sample, a grid of other places": (
        lambda: jaxconv.grid_sample(X2, zeros(2, 5, 6, 3)),
        ValueError,
        ["grid must have shape (N, H', W', 2)", "(2, 5, 6, 3)"],
    ),
    "grid_sample, another batch": (
        lambda: jaxconv.grid_sample(X2, zeros(1, 5, 6, 2)),
        ValueError,
        ["grid must have the batch size of input, 2", "(1, 5, 6, 2)", "broadcast_to"],
    ),
    "grid_sample, integers": (
        lambda: jaxconv.grid_sample(X2.astype("int32"), zeros(2, 5, 6, 2)),
        TypeError,
        ["input has dtype int32", "input.astype('float32')"],
    ),
    "grid_sample, two dtypes": (
        lambda: jaxconv.grid_sample(X2, zeros(2, 5, 6, 2, dtype="float16")),
        TypeError,
        ["grid has dtype float16 where input has float32", "grid.astype('float32')"],
    ),
    "affine_grid, integers": (
        lambda: jaxconv.affine_grid(zeros(2, 2, 3, dtype="int32"), (2, 3, 4, 5)),
        TypeError,
        ["theta has dtype int32", "theta.astype('float32')"],
    ),
    "affine_grid, a size of one axis": (
        lambda: jaxconv.affine_grid(zeros(2, 2, 3), (2, 3, 4)),
        ValueError,
        ["size must be (N, C, H, W) or (N, C, D, H, W)", "(2, 3, 4)"],
    ),
    "affine_grid, an empty size": (
        lambda: jaxconv.affine_grid(zeros(2, 2, 3), (2, 3, 4, 0)),
        ValueError,
        ["size must be positive along each axis", "(2, 3, 4, 0)"],
    ),
    "affine_grid, maps of three axes": (
        lambda: jaxconv.affine_grid(zeros(2, 3, 4), (2, 3, 4, 5)),
        ValueError,
        ["theta must have shape (N, 2, 3)", "(2, 3, 4)"],
    ),
    "affine_grid, another batch": (
        lambda: jaxconv.affine_grid(zeros(1, 2, 3), (2, 3, 4, 5)),
        ValueError,
        ["size must have the batch size of theta, 1", "(2, 3, 4, 5)"],
    ),
    "pixel_shuffle, two axes": (
        lambda: jaxconv.pixel_shuffle(zeros(4, 4), 2),
        ValueError,
        ["input must have three axes or more, (*, C, H, W)", "(4, 4)"],
    ),
    "pixel_shuffle, an odd number of channels": (
        lambda: jaxconv.pixel_shuffle(X2, 3),
        ValueError,
        ["the number of channels must be divisible by upscale_factor squared, 9", "has 4 channels"],
    ),
    "pixel_unshuffle, an odd height": (
        lambda: jaxconv.pixel_unshuffle(X2, 2),
        ValueError,
        ["the number of rows must be divisible by downscale_factor", "has 9 rows"],
    ),
    "channel_shuffle, two axes": (
        lambda: jaxconv.channel_shuffle(zeros(4, 4), 2),
        ValueError,
        ["input must have three axes or more, (N, C, *)", "(4, 4)"],
    ),
    "channel_shuffle, groups that do not divide": (
        lambda: jaxconv.channel_shuffle(X2, 3),
        ValueError,
        ["groups must divide the number of channels", "groups=3", "has 4"],
    ),
    # Numbers that nothing can count.
    "an int of 64 bits": (conv1(stride=2**63), ValueError, ["stride must be below 2**63", "got 9223372036854775808"]),
    "an int of thousands of digits": (conv1(dilation=10**5000), ValueError, ["dilation", "an int of 16610 bits"]),
    "a negative one of as many": (conv1(groups=-(10**5000)), ValueError, ["groups must be positive", "16610 bits"]),
    "a name of a million letters": (
        conv1(padding_mode="x" * 10**6),
        ValueError,
        ["padding_mode must be one of 'zeros'", "got 'xxx", "..."],
    ),
    "a result of too many numbers": (
        pad(*(2**31,) * 4),
        ValueError,
        ["the result would have the shape (2, 4, 4294967305, 4294967304)", "2**59 numbers or more; pad less"],
    ),
    "a result that no machine holds": (
        lambda: jaxconv.conv_transpose1d(X1, T1, stride=2**40, output_padding=2**39),
        ValueError,
        [
            "the result would have the shape (2, 3, 9345848836099) and take 208896 GiB",
            "more than twice the memory of this machine; use a smaller stride or dilation, or ask jax.eval_shape",
        ],
    ),
    "padding that no machine holds": (
        conv1(padding=2**38),
        ValueError,
        ["the result would have the shape (2, 6, 549755813895)", "twice the memory of this machine; use less padding"],
    ),
    "an output_size of too many windows": (
        lambda: jaxconv.adaptive_avg_pool2d(POOLED, 2**40),
        ValueError,
        ["output_size must be below 2**31 along each axis, got 1099511627776 of type int"],
    ),
    "an output_size of too many numbers": (
        lambda: jaxconv.adaptive_avg_pool2d(POOLED, 2**30),
        ValueError,
        ["the result would have the shape (2, 3, 1073741824, 1073741824)", "use a smaller output_size"],
    ),
    "a transposed result of too many numbers": (
        lambda: jaxconv.conv_transpose2d(zeros(1, 1, 4, 5), zeros(1, 1, 3, 2), stride=2**31),
        ValueError,
        ["the result would have the shape", "use a smaller stride or dilation"],
    ),
    "value, an array of another kind": (
        lambda: jax.eval_shape(lambda v: jaxconv.pad(zeros(2, 3, dtype="int8"), (1, 1), value=v), jnp.float32(1)),
        TypeError,
        ["value has dtype float32", "an input of dtype int8", "value.astype('int8')"],
    ),
    "value, of a kind that no array has": (pad(1, 1, value=Decimal(2)), TypeError, ["value must be a number, got Dec"]),
    "value, a structure": (
        pad(1, 1, value=np.zeros((), "f4,i4")),
        TypeError,
        ["value has dtype", "an input of dtype float32"],
    ),
    "bias, a text": (
        lambda: jaxconv.nnx.Conv1d(4, 6, 3, 1, 0, 1, 1, "reflect", rngs=nnx.Rngs(0)),
        TypeError,
        ["bias must be True or False, got 'reflect' of type str"],
    ),
    "axis_name, no name": (
        lambda: jaxconv.batch_norm(X2, training=True, axis_name=(1, 2)),
        TypeError,
        ["axis_name must be the name of a mapped axis", "got (1, 2) of type tuple"],
    ),
    "axis_name, unknown": (
        lambda: jaxconv.batch_norm(X2, training=True, axis_name="batch"),
        ValueError,
        ["axis_name is ('batch',), and no axis of that name is mapped here", "same axis_name"],
    ),
    "eps, a text": (
        lambda: jaxconv.batch_norm(X2, training=True, eps=np.str_("much")),
        TypeError,
        ["eps must be a real number", "got 'much' of type str_"],
    ),
    "output_size of a pool, one None": (
        lambda: jaxconv.adaptive_avg_pool1d(POOLED[0], (None,)),
        TypeError,
        ["output_size[0]", "integer", "None"],
    ),
    # Blocks of images.
    "axis_names, a name": (
        block("conv2d", (2, 4, 8, 9), "h", W2, groups=2),
        TypeError,
        [
            "axis_names must be a tuple with an entry for each of the 2 spatial axes",
            "got 'h' of type str",
            "('h', None)",
        ],
    ),
    "axis_names, too few": (
        block("conv2d", (2, 4, 8, 9), ("h",), W2, groups=2),
        ValueError,
        ["axis_names must have an entry for each of the 2 spatial axes", "got ('h',)", "None stands for an axis"],
    ),
    "axis_names, a number": (
        block("max_pool2d", (2, 4, 8, 9), (0, None), 2),
        TypeError,
        ["axis_names[0] must be a name, a tuple of names or None, got 0 of type int"],
    ),
    "axis_names, unknown": (
        block("max_pool2d", (2, 4, 8, 9), ("H", None), 2),
        ValueError,
        ["axis_names[0] names 'H'", "divides along, 'h', 'w'", "did you mean 'h'?"],
    ),
    "axis_names, outside of a shard_map": (
        lambda: jaxconv.spatial.max_pool2d(X2, 2, axis_names=("h", None)),
        ValueError,
        ["axis_names[0] names 'h'", "no axis of a mesh is manual here", "within a jax.shard_map"],
    ),
    "axis_names, twice": (
        block("max_pool2d", (2, 4, 8, 9), ("h", ("w", "h")), 2),
        ValueError,
        ["axis_names names 'h' twice", "divides one axis of the image"],
    ),
    "a result that is not divided": (
        block("conv2d", (2, 4, 8, 9), ("h", None), W2, groups=2, stride=(2, 1), padding=(2, 0)),
        ValueError,
        [
            "result would have 5 positions along spatial axis 0",
            "which the 4 devices along axis_names[0]='h' do not divide",
            "use 6 positions of padding more",
        ],
    ),
    "a transposed result that is not divided": (
        block("conv_transpose1d", (2, 4, 8), ("h",), T1, stride=2, groups=2),
        ValueError,
        ["result would have 17 positions", "padding that cuts 1 position more off it, or 3 fewer"],
    ),
    "a pooled result that is not divided": (
        block("avg_pool2d", (2, 4, 28, 9), ("h", None), 2),
        ValueError,
        ["result would have 14 positions", "blocks of 6 or 8 positions there in place of 7, or the whole of the axis"],
    ),
    "a block of an image that is too small": (
        block("conv1d", (2, 4, 8), ("h",), W1, groups=2, padding=8, padding_mode="reflect"),
        ValueError,
        ["padding_mode='reflect' can pad at most 7 where the image has size 8", "of the whole image is (2, 4, 8)"],
    ),
    "a halo, a text": (
        block("halo", (2, 4, 8), ("h",), widths="1"),
        TypeError,
        ["widths must be an int, a tuple of 1 int, or of (low, high) pairs", "got '1' of type str"],
    ),
    "a halo, too many": (
        block("halo", (2, 4, 8), ("h",), widths=(1, 2)),
        ValueError,
        ["widths must have as many entries as axis_names has, 1", "got (1, 2) of type tuple"],
    ),
    "a halo, negative": (
        block("halo", (2, 4, 8), ("h",), widths=((1, -2),)),
        ValueError,
        ["widths[0] must be zero or positive, got -2"],
    ),
    "a halo, a mode": (
        block("halo", (2, 4, 8), ("h",), widths=1, padding_mode="wrap"),
        ValueError,
        ["padding_mode must be one of", "got 'wrap'"],
    ),
}
