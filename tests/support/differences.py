"""Where jaxconv differs from PyTorch on purpose: the one list, with an example of each that is run on both sides.

An example is a call in PyTorch's own words, with the arguments that jaxconv adds as they are. `ours` and `theirs` say
what each side does with it. `covers` recognises other calls that differ for the same reason, among sampled ones.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from side_by_side import GRAD, Arr, Call, call

RUNS, REFUSES = "runs", "refuses"
# PyTorch's own answer depends on the machine: on the kernels of oneDNN that its processor has.
VARIES = "varies"


class Difference(NamedTuple):
    name: str
    reason: str
    example: Call
    ours: str
    theirs: str
    covers: Callable[[Call, Exception | None], bool] | None = None  # of a call and PyTorch's refusal


def _values(call):
    return [*call.args, *dict(call.kwargs).values()]


INTEGERS = ("bool", "uint8", "int32", "int64")


def _says(words):
    return lambda call, theirs: theirs is not None and re.search(words, str(theirs)) is not None


def _overwraps(call, theirs):
    given = dict(zip(("input", "pad", "mode"), call.args, strict=False)) | dict(call.kwargs)
    if call.name != "pad" or given.get("mode") != "circular" or theirs is not None:
        return False
    low, high = given["pad"][::2], given["pad"][1::2]
    left = [n + min(a, 0) + min(b, 0) for n, a, b in zip(given["input"].shape[::-1], low, high, strict=False)]
    return any(max(a, b) > n for a, b, n in zip(low, high, left, strict=True))


def _no_result(call, theirs):
    return call.name.startswith("conv_transpose") and theirs is None


def _grad_with_bools(call, theirs):
    return call.name in GRAD and any(v is True or v == (True,) for v in _values(call))


def _later_in_a_tuple(call, theirs):
    return any(
        isinstance(v, tuple) and not isinstance(v, Arr) and any(isinstance(n, bool) for n in v[1:])
        for v in _values(call)
    )


def _odd_flags(call, theirs):
    names = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
    given = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
    flags = (given.get("recompute_scale_factor"), given.get("antialias", False))
    return call.name == "interpolate" and not (isinstance(flags[0], bool | None) and isinstance(flags[1], bool))


def _unpools_of_no_pool(call, theirs):
    """Whether it unpools by numbers that no pool takes: PyTorch's computes a size from whatever they are."""
    if not call.name.startswith("max_unpool") or theirs is not None:
        return False
    rank = int(call.name[-2])
    names = ("input", "indices", "kernel_size", "stride", "padding")
    given = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
    for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
        numbers = given.get(name, least)
        numbers = least if numbers is None and name == "stride" else numbers
        numbers = tuple(numbers) if isinstance(numbers, tuple | list) else (numbers,) * rank
        if len(numbers) != rank or any(isinstance(n, bool) or not isinstance(n, int) or n < least for n in numbers):
            return True
    return False


def _one_for_all(call, theirs):
    given = dict(zip(("input", "norm_type", "kernel_size"), call.args, strict=False)) | dict(call.kwargs)
    kernel = given.get("kernel_size")
    return call.name.startswith("lp_pool") and isinstance(kernel, tuple | list) and len(kernel) == 1


X, W = Arr((2, 4, 5, 6)), Arr((6, 4, 2, 3))

DIFFERENCES = (
    # Additions: PyTorch has no such argument, or refuses this value of it.
    Difference(
        "pairs as padding",
        "each side of an axis can be padded by itself, without a call of pad",
        call("conv2d", X, W, padding=((1, 0), (0, 2))),
        RUNS,
        REFUSES,
    ),
    Difference(
        "pairs as padding of a transposed convolution",
        "each side of the result can be cut by itself",
        call("conv_transpose2d", X, Arr((4, 6, 2, 3)), padding=((1, 0), (0, 2))),
        RUNS,
        REFUSES,
    ),
    Difference(
        "causal padding",
        "the padding of sequence models, all of it at the start",
        call("conv1d", Arr((2, 4, 5)), Arr((6, 4, 3)), padding="causal", dilation=2),
        RUNS,
        REFUSES,
    ),
    Difference(
        "padding_mode of a function",
        "PyTorch's layers have it, its functions do not; with 'zeros' it is compared with the functions, with the "
        "other modes with the layers",
        call("conv2d", X, W, padding=1, padding_mode="reflect"),
        RUNS,
        REFUSES,
    ),
    Difference(
        "symmetric padding",
        "the mirror that repeats the border, as NumPy and TensorFlow have it",
        call("pad", Arr((2, 4, 6)), (1, 2), "symmetric"),
        RUNS,
        REFUSES,
    ),
    Difference(
        "circular transposed convolution",
        "the exact transpose of a circular convolution; PyTorch's transposed layers know zeros alone",
        call("conv_transpose2d", X, Arr((4, 6, 2, 3)), padding=1, padding_mode="circular"),
        RUNS,
        REFUSES,
    ),
    Difference(
        "data_format",
        "images with their channels last are taken and given back as they are",
        call("conv2d", Arr((2, 5, 6, 4)), W, data_format="channels_last"),
        RUNS,
        REFUSES,
    ),
    Difference(
        "output_size of a function",
        "PyTorch's transposed layers have it, its functions do not",
        call("conv_transpose2d", X, Arr((4, 6, 2, 3)), stride=2, output_size=(11, 13)),
        RUNS,
        REFUSES,
    ),
    Difference(
        "words as padding of the two gradients",
        "PyTorch's torch.nn.grad takes numbers alone",
        call("conv2d_input", (2, 4, 5, 6), W, Arr((2, 6, 5, 6)), padding="same"),
        RUNS,
        REFUSES,
        lambda call, theirs: call.name in GRAD and any(v in ("same", "valid") for v in _values(call)),
    ),
    Difference(
        "the two gradients without a batch",
        "PyTorch's torch.nn.grad takes batches alone",
        call("conv2d_weight", Arr((4, 5, 6)), (6, 4, 2, 3), Arr((6, 4, 4))),
        RUNS,
        REFUSES,
    ),
    Difference(
        "the two gradients of complex numbers",
        "PyTorch's torch.nn.grad has kernels for some geometries alone; its conv2d differentiates them in all",
        call("conv2d_input", (2, 4, 5, 6), W._replace(dtype="complex128"), Arr((2, 6, 4, 4), "complex128")),
        RUNS,
        REFUSES,
    ),
    Difference(
        "kernels that PyTorch lacks on the CPU",
        "a dtype that PyTorch's words admit and its CPU does not compute, such as averages of complex numbers, or in "
        "3-D of 16-bit floats, and maxima of integers in 1-D",
        call("avg_pool2d", X._replace(dtype="complex64"), 2),
        RUNS,
        REFUSES,
        _says("not implemented for '"),
    ),
    Difference(
        "NumPy's integers as output_size",
        "taken by PyTorch wherever else a number is asked for",
        call("adaptive_avg_pool2d", X, np.int64(2)),
        RUNS,
        REFUSES,
        _says("'numpy.int64' has no len"),
    ),
    Difference(
        "a sequence of one as the kernel of lp_pool",
        "PyTorch multiplies by it as it is; its other pools take it",
        call("lp_pool1d", Arr((2, 4, 5)), 2, (3,)),
        RUNS,
        REFUSES,
        _one_for_all,
    ),
    Difference(
        "32-bit indices",
        "what JAX has where its 64 bits are switched off",
        call("max_unpool1d", Arr((2, 4, 5)), Arr((2, 4, 5), "int32", 10), 2),
        RUNS,
        REFUSES,
        _says("elements in indices should be type int64"),
    ),
    Difference(
        "NumPy's integers in an unpooling",
        "taken by PyTorch wherever else a number is asked for",
        call("max_unpool1d", Arr((2, 4, 5)), Arr((2, 4, 5), "int64", 10), np.int64(2)),
        RUNS,
        REFUSES,
        _says("cond must be a bool, but got <class 'numpy.bool'>"),
    ),
    Difference(
        "a complex value to pad with",
        "PyTorch pads complex arrays with real numbers alone",
        call("pad", X._replace(dtype="complex64"), (1, 2), "constant", 1j),
        RUNS,
        REFUSES,
        _says("'value' .* must be float, not complex"),
    ),
    Difference(
        "an int as normalized_shape of a function",
        "PyTorch's layers take it, its functions do not",
        call("layer_norm", X, 6),
        RUNS,
        REFUSES,
        _says("'normalized_shape' .* must be tuple of ints, not"),
    ),
    Difference(
        "an instance norm of 16-bit floats with a bias of float32 alone",
        "PyTorch takes it with a weight of float32, too, and without running statistics",
        call("instance_norm", Arr((2, 4, 5), "float16"), *[Arr((4,), "float32")] * 2, None, Arr((4,), "float32")),
        RUNS,
        REFUSES,
        lambda call, theirs: call.name == "instance_norm" and "expect parameter to have scalar type" in str(theirs),
    ),
    # Refusals: PyTorch runs it, to no good end.
    Difference(
        "no input channels",
        "PyTorch returns an array of the wrong shape",
        call("conv2d", Arr((2, 0, 5, 6)), Arr((6, 0, 2, 3))),
        REFUSES,
        RUNS,
    ),
    Difference(
        "a circular padding longer than the image",
        "PyTorch allows amounts up to the size of the image before it was cropped, and reads memory that it has not "
        "written",
        call("pad", Arr((2, 4, 6)), (6, -1), "circular"),
        REFUSES,
        RUNS,
        _overwraps,
    ),
    Difference(
        "a transposed convolution without a result",
        "PyTorch refuses it in float64, and in bfloat16 and float32 some processors get an empty array from it",
        call("conv_transpose1d", Arr((2, 1, 2), "bfloat16"), Arr((1, 1, 1), "bfloat16"), padding=1),
        REFUSES,
        VARIES,
        _no_result,
    ),
    Difference(
        "True for a number in the two gradients",
        "PyTorch takes a bool for a number in torch.nn.grad, and nowhere else",
        call("conv2d_input", (2, 4, 5, 6), W, Arr((2, 6, 4, 4)), groups=True),
        REFUSES,
        RUNS,
        _grad_with_bools,
    ),
    Difference(
        "True for a number behind the first of a tuple",
        "PyTorch looks at the kind of the first alone",
        call("conv2d", X, W, stride=(1, True)),
        REFUSES,
        RUNS,
        _later_in_a_tuple,
    ),
    Difference(
        "a bias of another dtype",
        "with padding='same' PyTorch does not compare the two, and some of its kernels convert; it refuses all others",
        call("conv3d", Arr((1, 5, 4, 3)), Arr((1, 1, 2, 2, 1)), Arr((1,), "bool"), padding="same", dilation=2),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name.startswith("conv") and len({a.dtype for a in call.placeholders[:2]}) == 1,
    ),
    Difference(
        "flags of interpolate that are no bools",
        "PyTorch asks antialias and recompute_scale_factor for their truth, whatever they are",
        call("interpolate", X, scale_factor=2, recompute_scale_factor=1),
        REFUSES,
        RUNS,
        _odd_flags,
    ),
    Difference(
        "unpooling by what is no pool's",
        "PyTorch computes a size from kernels, strides and paddings of any number and kind",
        call("max_unpool1d", Arr((2, 4, 5)), Arr((2, 4, 5), "int64", 2), 2, 0),
        REFUSES,
        RUNS,
        _unpools_of_no_pool,
    ),
    Difference(
        "norms of integers",
        "PyTorch truncates the average of their powers, and returns float32",
        call("lp_pool2d", X._replace(dtype="int64"), 2, 2),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name.startswith("lp_pool") and call.placeholders[0].dtype.startswith(("int", "uint")),
    ),
    Difference(
        "return_indices that is no bool",
        "PyTorch takes whatever is true",
        call("max_pool2d", X, 2, return_indices=1),
        REFUSES,
        RUNS,
    ),
    Difference(
        "the average of nothing",
        "PyTorch returns NaN in 1-D and refuses in 2-D and 3-D",
        call("adaptive_avg_pool1d", Arr((2, 2, 0)), 1),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name == "adaptive_avg_pool1d" and 0 in call.placeholders[0].shape,
    ),
    Difference(
        "a normalisation of nothing",
        "PyTorch gives an input without values back before it looks at its axes, its dtype, or the other arguments",
        call("batch_norm", Arr((0,)), Arr((0,)), Arr((0,)), training=True),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name.endswith("_norm") and 0 in (*call.args, dict(call.kwargs).get("input"))[0].shape,
    ),
    Difference(
        "running statistics of integers",
        "PyTorch's instance norm converts them, and writes what is cut to an integer",
        call("instance_norm", X, Arr((4,), "int64"), Arr((4,), "int64")),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name == "instance_norm" and any(a.dtype in INTEGERS for a in call.placeholders),
    ),
    Difference(
        "integers in a local response norm",
        "PyTorch takes int64 alone, and truncates the means of their squares",
        call("local_response_norm", Arr((2, 4, 5), "int64"), 3),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name == "local_response_norm" and call.placeholders[0].dtype == "int64",
    ),
    Difference(
        "complex arguments of a local response norm",
        "PyTorch makes complex numbers of its input, and takes no complex input",
        call("local_response_norm", X, 3, 1j),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name == "local_response_norm" and 1j in _values(call),
    ),
    Difference(
        "a complex weight of real numbers in an RMS norm",
        "PyTorch drops the imaginary part of the result",
        call("rms_norm", X, (6,), Arr((6,), "complex128")),
        REFUSES,
        RUNS,
        lambda call, theirs: call.name == "rms_norm" and [a.dtype[:7] for a in call.placeholders][1:] == ["complex"],
    ),
)


def covered(call: Call, ours_refused: Exception | None, theirs_refused: Exception | None) -> str | None:
    """The name of the difference that explains why one side refuses a call and the other does not."""
    for d in DIFFERENCES:
        sides = (REFUSES if ours_refused else RUNS, REFUSES if theirs_refused else RUNS)
        alike = sides[0] == d.ours and d.theirs in (sides[1], VARIES)
        if d.covers is not None and alike and d.covers(call, theirs_refused):
            return d.name
    return None
