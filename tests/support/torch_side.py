"""PyTorch's side of the side by side tests: NumPy arrays and jaxconv's words in, NumPy arrays out.

`run` does for any PyTorch callable what is the same for all of them: arrays in, value, gradients, arrays out; the
value of a callable with several outputs is a tuple.
The rest says only how a call in jaxconv's words is written in PyTorch. The spatial rank is that of the
weight, or is given; batched or unbatched is whatever the input is. Images are channels first.

`cotangent` asks for gradients: an array shaped like the value, or True for ones. Without it they are None.
For a tuple it is a tuple, with None for each output that is not differentiated.
"""

import warnings
from typing import NamedTuple

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

torch.set_num_threads(1)

# NotImplementedError is a RuntimeError; a group norm of no groups divides by zero.
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError)


class Outcome(NamedTuple):
    """A value, and the vector-Jacobian product for each argument: None where none was asked for."""

    value: np.ndarray | tuple[np.ndarray, ...]
    gradients: tuple[np.ndarray | None, ...]


def to_torch(array):
    """A tensor with its own memory. NumPy has no bfloat16: ml_dtypes' travels by its bits."""
    array = np.array(array, order="C")  # a copy
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_numpy(tensor):
    """The array of a tensor, lazy conjugation done, bfloat16 as ml_dtypes'."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def outputs_of(value):
    """The outputs of a function that may have several, None for one that is not there: a tuple of them."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def is_inexact(dtype):
    """Whether a dtype has derivatives: floats, ml_dtypes' among them, and complex numbers."""
    return dtype.kind not in "iub"


def _tensors(arrays, constant):
    """The tensors of arrays, those that have derivatives tracked; None stays None."""
    tensors = [None if a is None else to_torch(a) for a in arrays]
    for i, t in enumerate(tensors):
        if t is not None and i not in constant and (t.is_floating_point() or t.is_complex()):
            t.requires_grad_(True)
    return tensors


def run(fn, arrays, cotangent=None, constant=()):
    """`fn(*arrays)` in PyTorch, and where a cotangent is given the gradient with respect to every array.

    An array may be None: it is handed on as None, and so is its gradient. Integers, and the arrays whose numbers are
    in `constant`, have None for a gradient, too.

    For complex numbers PyTorch's backward gives conj(J)^T g, where a JAX vector-Jacobian product is J^T g.
    Conjugating what goes in and what comes out turns the one into the other: conj(conj(J)^T conj(g)) = J^T g.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if cotangent is None:
            value = fn(*(None if a is None else to_torch(a) for a in arrays))
            return Outcome(_as_arrays(value), tuple(None for _ in arrays))
        tensors = _tensors(arrays, constant)
        value = fn(*tensors)
        outputs = outputs_of(value)
        if cotangent is True:
            cotangents = [torch.ones_like(y) if _is_tracked(y) else None for y in outputs]
        else:
            cotangents = [None if g is None else to_torch(g) for g in outputs_of(cotangent)]
        pairs = [(y, g.to(y.dtype)) for y, g in zip(outputs, cotangents, strict=True) if g is not None]
        torch.autograd.backward([y for y, _ in pairs], [g.conj().resolve_conj() for _, g in pairs])
    return Outcome(
        _as_arrays(value),
        tuple(None if t is None or t.grad is None else to_numpy(t.grad.conj()) for t in tensors),
    )


def _is_tracked(tensor):
    return tensor is not None and tensor.requires_grad


def _as_arrays(value):
    arrays = tuple(None if y is None else to_numpy(y) for y in outputs_of(value))
    return arrays if isinstance(value, tuple | list) else arrays[0]


def differentiates(fn, arrays, constant=()):
    """Of each output of `fn`, whether PyTorch takes its derivatives with respect to any of the arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(map(_is_tracked, outputs_of(fn(*_tensors(arrays, constant)))))


def refusal(fn, *args, **kwargs):
    """What PyTorch raises for this call, or None where it accepts it. An error of another kind is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fn(*args, **kwargs)
        except REFUSALS as error:
            return error
    return None


def refuses(fn, *args, **kwargs):
    """Whether PyTorch raises for this call."""
    return refusal(fn, *args, **kwargs) is not None


def _each(value, rank):
    return (value,) * rank if np.ndim(value) == 0 else tuple(value)


def _of_rank(name, rank):
    return getattr(F, f"{name}{rank}d")


# --- padding -----------------------------------------------------------------------------------------------


def flat_pads(pads):
    """(low, high) pairs, first axis first, as `F.pad` takes them: one list, last axis first."""
    return [amount for pair in reversed(pads) for amount in pair]


def pad(x, amounts, mode="constant", value=None, *, cotangent=None):
    """`F.pad`, in its own words: `amounts` is the flat list, last axis first. Returns (y, dx)."""
    y, (dx,) = run(lambda x: F.pad(x, list(amounts), mode=mode, value=value), [x], cotangent)
    return y, dx


# --- convolution -------------------------------------------------------------------------------------------


def _is_pairs(padding):
    return not isinstance(padding, str) and np.ndim(padding) == 2


def layer_pads(padding, kernel, dilation):
    """The (low, high) pads that an `nn.Conv` layer with a padding mode gives to `F.pad`.

    For "same" they are floor and ceiling of half of d (k - 1): the odd one goes to the high side.
    """
    rank = len(kernel)
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(_each(dilation, rank), kernel, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    if _is_pairs(padding):
        return [tuple(p) for p in padding]
    return [(p, p) for p in _each(padding, rank)]


def conv(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", cotangent=None):
    """`F.conv{1,2,3}d`, or what `nn.Conv{1,2,3}d` computes with this padding mode. Returns (y, dx, dw, db).

    (low, high) pairs, which PyTorch's convolutions do not take, and modes other than zeros go through
    `F.pad`; numbers and words in mode "zeros" go to PyTorch as they are.
    """
    rank = np.ndim(w) - 2

    def call(x, w, b):
        amount = padding
        if padding_mode != "zeros" or _is_pairs(padding):
            mode = "constant" if padding_mode == "zeros" else padding_mode
            x = F.pad(x, flat_pads(layer_pads(padding, w.shape[2:], dilation)), mode=mode)
            amount = 0
        return _of_rank("conv", rank)(x, w, b, stride, amount, dilation, groups)

    y, grads = run(call, [x, w, b], cotangent)
    return (y, *grads)


def layer_conv(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", cotangent=None):
    """The same through a real `nn.Conv{1,2,3}d` that carries w and b: its checks of its own arguments."""

    def call(x, w, b):
        sizes = (w.shape[1] * groups, w.shape[0], tuple(w.shape[2:]))
        layer = getattr(nn, f"Conv{w.ndim - 2}d")(
            *sizes, stride, padding, dilation, groups, bias=b is not None, padding_mode=padding_mode
        )
        return functional_call(layer, _parameters(w, b), (x,))

    y, grads = run(call, [x, w, b], cotangent)
    return (y, *grads)


def _parameters(w, b):
    return {"weight": w} if b is None else {"weight": w, "bias": b}


def conv_transpose(
    x,
    w,
    b=None,
    *,
    stride=1,
    padding=0,
    output_padding=0,
    groups=1,
    dilation=1,
    output_size=None,
    cotangent=None,
):
    """`F.conv_transpose{1,2,3}d`, or with `output_size` the layer, which alone takes one.

    Returns (y, dx, dw, db).
    """

    def call(x, w, b):
        rank = w.ndim - 2
        if output_size is None:
            return _of_rank("conv_transpose", rank)(x, w, b, stride, padding, output_padding, groups, dilation)
        sizes = (w.shape[0], w.shape[1] * groups, tuple(w.shape[2:]))
        layer = getattr(nn, f"ConvTranspose{rank}d")(
            *sizes, stride, padding, output_padding, groups, bias=b is not None, dilation=dilation
        )
        return functional_call(layer, _parameters(w, b), (x, output_size))

    y, grads = run(call, [x, w, b], cotangent)
    return (y, *grads)


def conv_input(input_size, w, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    """`torch.nn.grad.conv{1,2,3}d_input`."""
    fn = getattr(torch.nn.grad, f"conv{np.ndim(w) - 2}d_input")
    return run(lambda w, g: fn(input_size, w, g, stride, padding, dilation, groups), [w, grad_output]).value


def conv_weight(x, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    """`torch.nn.grad.conv{1,2,3}d_weight`."""
    fn = getattr(torch.nn.grad, f"conv{len(weight_size) - 2}d_weight")
    return run(lambda x, g: fn(x, weight_size, g, stride, padding, dilation, groups), [x, grad_output]).value


# --- patches and pools: each returns (y, dx) ----------------------------------------------------------------


def _one(fn, x, cotangent):
    y, (dx,) = run(fn, [x], cotangent)
    return y, dx


def unfold(x, kernel_size, dilation=1, padding=0, stride=1, *, cotangent=None):
    return _one(lambda x: F.unfold(x, kernel_size, dilation, padding, stride), x, cotangent)


def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1, *, cotangent=None):
    return _one(lambda x: F.fold(x, output_size, kernel_size, dilation, padding, stride), x, cotangent)


def max_pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, *, rank, cotangent=None):
    fn = _of_rank("max_pool", rank)
    return _one(lambda x: fn(x, kernel_size, stride, padding, dilation, ceil_mode), x, cotangent)


def avg_pool(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
    *,
    rank,
    cotangent=None,
):
    fn = _of_rank("avg_pool", rank)
    more = () if rank == 1 else (divisor_override,)  # PyTorch's 1-d has none
    return _one(lambda x: fn(x, kernel_size, stride, padding, ceil_mode, count_include_pad, *more), x, cotangent)


def adaptive_avg_pool(x, output_size, *, rank, cotangent=None):
    return _one(lambda x: _of_rank("adaptive_avg_pool", rank)(x, output_size), x, cotangent)
