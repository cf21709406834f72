"""One call in PyTorch and in jaxconv: both refuse it, or value, gradients, dtype and shape agree.

A function may have several outputs. All are compared, integers exactly, and the gradients are those with respect to
every array of floats through all the outputs that PyTorch differentiates.

A `Call` names a function and its arguments, which are PyTorch's; an array among them is an `Arr`, of which only shape
and dtype are written down: its numbers follow from the call's text. So a call is hashable, distinct calls can be
counted, and the text of a failing one is all that is needed to run it again.

Compiling is most of the work, so many calls are compiled as one program, values and gradients together.
"""

import functools
import inspect
import os
import pathlib
import re
import zlib
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F
import torch_side
from torch import nn
from torch_side import is_inexact, outputs_of

import jaxconv

REFUSALS = (TypeError, ValueError)
GRAD = tuple(f"conv{rank}d_{which}" for rank in (1, 2, 3) for which in ("input", "weight"))

# (value, gradients): the largest difference, relative to the largest element or to 1. The 16-bit types are those
# of one rounding of the result, and PyTorch rounds once more where it adds the bias.
TOLERANCES = {
    "float64": (1e-12, 1e-12),
    "complex128": (1e-12, 1e-12),
    "float32": (1e-5, 1e-4),
    "complex64": (1e-5, 1e-4),
    "float16": (2e-3, 4e-3),
    "bfloat16": (1.6e-2, 3.2e-2),
}


class Arr(NamedTuple):
    """An array argument; with `below` one of positions, from 0 to `below` - 1."""

    shape: tuple[int, ...]
    dtype: str = "float64"
    below: int | None = None

    def __repr__(self):
        below = "" if self.below is None else f"<{self.below}"
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{below}"


class Call(NamedTuple):
    """`name(*args, **kwargs)`; kwargs are pairs, which have a hash."""

    name: str
    args: tuple = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self):
        words = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs)]
        return f"{self.name}({', '.join(words)})"

    @property
    def placeholders(self) -> list[Arr]:
        return [a for a in (*self.args, *(v for _, v in self.kwargs)) if isinstance(a, Arr)]

    def bind(self, arrays) -> tuple[list, dict]:
        """The arguments, with `arrays` in the places of the placeholders."""
        arrays = iter(arrays)
        args = [next(arrays) if isinstance(a, Arr) else a for a in self.args]
        return args, {k: next(arrays) if isinstance(v, Arr) else v for k, v in self.kwargs}


def call(name, *args, **kwargs) -> Call:
    return Call(name, args, tuple(kwargs.items()))


def numbers(rng, shape, dtype, below=None):
    """Numbers of a dtype, none of which a mistake would leave as it is; with `below` from 0 to that."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    if below is not None:
        return rng.integers(0, below, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        return rng.integers(0 if dtype.kind == "u" else -5, 6, shape).astype(dtype)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if dtype.kind == "c" else x).astype(dtype)


def rng_of(text):
    return np.random.default_rng(zlib.crc32(str(text).encode()))


def arrays_of(call: Call) -> list[np.ndarray]:
    rng = rng_of(call)
    return [numbers(rng, *a) for a in call.placeholders]


# --- PyTorch ---------------------------------------------------------------------------------------------------


def torch_function(call: Call):
    """The call as a function of its arrays."""

    def run(*arrays):
        args, kwargs = call.bind(arrays)
        if kwargs.pop("data_format", "channels_first") == "channels_last":
            return _channels_last(call.name, args, kwargs)
        return _channels_first(call.name, args, kwargs)

    return run


def _channels_first(name, args, kwargs):
    if name in ("batch_norm", "instance_norm"):
        return _with_statistics(name, *args, **kwargs)
    if name.startswith("conv") and ("padding_mode" in kwargs or "output_size" in kwargs):
        return _of_layer(name, *args, **kwargs)
    return getattr(torch.nn.grad if name in GRAD else F, name)(*args, **kwargs)


def _with_statistics(name, input, running_mean=None, running_var=None, *args, **kwargs):
    """The statistics are outputs, where PyTorch writes them into its arguments."""
    statistics = [None if s is None else s.clone() for s in (running_mean, running_var)]
    return getattr(F, name)(input, *statistics, *args, **kwargs), *statistics


_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def _of_layer(name, *args, padding_mode="zeros", output_size=None, **kwargs):
    """What only PyTorch's layers have: a padding mode, an output_size."""
    rank = int(name.split("d")[0][-1])
    if name.startswith("conv_transpose"):
        names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
        kwargs.update(zip(names, args, strict=False))
        x, w, b = kwargs.pop("input"), kwargs.pop("weight"), kwargs.pop("bias", None)
        channels = w.shape[0], w.shape[1] * kwargs.get("groups", 1)
        layer = getattr(nn, f"ConvTranspose{rank}d")(*channels, tuple(w.shape[2:]), **kwargs, bias=b is not None)
        return _with(layer, w, b, x, list(output_size))
    kind = name.partition("_")[2]
    names = ("stride", "padding", "dilation", "groups")
    first = {"": ("input", "weight", "bias"), "input": ("input_size", "weight", "grad_output")}
    kwargs.update(zip((*first.get(kind, ("input", "weight_size", "grad_output")), *names), args, strict=False))
    shape = kwargs.pop("weight_size") if kind == "weight" else tuple(kwargs["weight"].shape)
    b = kwargs.pop("bias", None)
    padding = kwargs.get("padding", 0)
    if isinstance(padding, tuple) and any(isinstance(p, tuple) for p in padding):
        # Pairs are jaxconv's alone: what PyTorch's layer does with the pads that it resolves its padding to.
        kwargs["padding"] = 0
        padding_mode, pads = "zeros", (torch_side.flat_pads(padding), _PAD_MODES[padding_mode])
    else:
        pads = None
    geometry = {k: v for k, v in kwargs.items() if k in names}
    channels = shape[1] * geometry.get("groups", 1), shape[0]
    layer = getattr(nn, f"Conv{rank}d")(
        *channels, tuple(shape[2:]), **geometry, bias=b is not None, padding_mode=padding_mode
    )
    if not kind:
        x = kwargs["input"] if pads is None else F.pad(kwargs["input"], *pads)
        return _with(layer, kwargs["weight"], b, x)
    # The gradient as a function of its own: linear, so the point that it is taken at is of no account. It is the
    # transpose, not the adjoint: for complex numbers autograd's is conjugated.
    g = kwargs["grad_output"]
    given = kwargs["weight" if kind == "input" else "input"]
    at = torch.zeros(kwargs["input_size"] if kind == "input" else shape, dtype=g.dtype, requires_grad=True)
    y = _with(layer, given, None, at) if kind == "input" else _with(layer, at, None, given)
    return torch.autograd.grad(y, at, g.conj(), create_graph=True)[0].conj()


def _with(layer, w, b, *inputs):
    """`layer` with this weight and bias in place of its own, and nothing converted."""
    parameters = {"weight": w} if b is None else {"weight": w, "bias": b}
    return torch.func.functional_call(layer, parameters, inputs)


def _channels_last(name, args, kwargs):
    """PyTorch has its channels first: the images are turned on their way in and out."""
    ranked = re.search(r"(\d)d", name)
    axis = -int(ranked[1]) - 1 if ranked else -3 if name.startswith("pixel") else 1
    kind = name.partition("_")[2] if name in GRAD else ""
    turned = {"input": (2,), "weight": (0, 2)}.get(kind, (0, 1) if name.startswith("max_unpool") else (0,))
    args = [torch.movedim(a, -1, axis) if i in turned else a for i, a in enumerate(args)]
    if kind == "input":
        *batch, channels = args[0][:axis], args[0][-1]
        args[0] = (*batch[0], channels, *args[0][axis:-1])
    images = args[turned[0]].ndim
    y = _channels_first(name, args, kwargs)
    if kind == "weight":
        return y
    # Running statistics are no images.
    outputs = tuple(_last(a, axis) if a is not None and a.ndim == images else a for a in outputs_of(y))
    return outputs if isinstance(y, tuple) else outputs[0]


def _last(y, axis):
    """The channels moved to the end, with a gradient whose numbers lie in the order of its axes.

    Of one image with permuted axes PyTorch's instance norm gets it wrong; `torch.autograd.gradcheck` says so, too.
    """
    return torch.movedim(y.flatten().view(y.shape), axis, -1)


# --- jaxconv ---------------------------------------------------------------------------------------------------


def our_function(call: Call):
    """The call as a function of its arrays."""

    def run(*arrays):
        args, kwargs = call.bind(arrays)
        return getattr(jaxconv, call.name)(*args, **kwargs)

    return run


def our_refusal(call: Call, arrays=None):
    """What jaxconv raises, or the shapes and dtypes of what it returns. An error of another kind is raised."""
    arrays = arrays_of(call) if arrays is None else arrays
    try:
        return None, jax.eval_shape(our_function(call), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays))
    except REFUSALS as error:
        frame = error.__traceback__
        while frame.tb_next:
            frame = frame.tb_next
        file = pathlib.Path(frame.tb_frame.f_code.co_filename)
        # An error of JAX would be one that our checks have missed, and would not speak of our arguments.
        if file.parent.name != "_spec" and file.name != "_arrays.py":
            raise AssertionError(f"refused by {file}: {error}") from error
        return error, None


# --- side by side ----------------------------------------------------------------------------------------------


# Arguments that PyTorch takes no gradients of, since it writes into them.
WRITTEN = ("running_mean", "running_var")


def constant_of(call: Call) -> tuple[int, ...]:
    """The numbers of the arrays that PyTorch does not differentiate by, although they are of floats."""
    names = [*list(inspect.signature(getattr(jaxconv, call.name)).parameters)[: len(call.args)], *dict(call.kwargs)]
    arrays = [n for n, v in zip(names, [*call.args, *dict(call.kwargs).values()], strict=True) if isinstance(v, Arr)]
    return tuple(i for i, name in enumerate(arrays) if name in WRITTEN)


def moving_of(arrays, constant=()) -> list[int]:
    """The numbers of the arrays that gradients are taken of."""
    return [i for i, a in enumerate(arrays) if is_inexact(a.dtype) and i not in constant]


def value_and_gradients(fn, arrays, cotangents, moving):
    """`fn(*arrays)`, and the vector-Jacobian product for the arrays `moving`, as a compiled function may compute it.

    Of the cotangents, one for each output, None stands for nothing; without any, there are no gradients.
    """
    if cotangents is None:
        return fn(*arrays), ()

    def of_moving(*some):
        them = dict(zip(moving, some, strict=True))
        return fn(*(them.get(i, a) for i, a in enumerate(arrays)))

    value, vjp = jax.vjp(of_moving, *(arrays[i] for i in moving))
    filled = [
        g if g is not None else np.zeros(y.shape, y.dtype if is_inexact(y.dtype) else jax.dtypes.float0)
        for y, g in zip(outputs_of(value), cotangents, strict=True)
        if y is not None
    ]
    return value, vjp(jax.tree.unflatten(jax.tree.structure(value), filled))


def disagreement(what, ours, theirs, tolerance):
    """How two arrays differ, in words, or None."""
    if ours.dtype != theirs.dtype:
        return f"{what} has dtype {ours.dtype}, PyTorch's has {theirs.dtype}"
    if ours.shape != theirs.shape:
        return f"{what} has shape {ours.shape}, PyTorch's has {theirs.shape}"
    if ours.dtype.kind in "iub":
        return None if np.array_equal(ours, theirs) else f"{what} differs: {ours.ravel()[:8]}, {theirs.ravel()[:8]}"
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    ours, theirs = ours.astype(wide), theirs.astype(wide)
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
        return f"{what} differs where PyTorch's is not finite"
    error = np.abs(ours - theirs)[finite].max(initial=0)
    allowed = tolerance * max(1, np.abs(theirs)[finite].max(initial=0))
    return None if error <= allowed else f"{what} is off by {error:.3g}, allowed are {allowed:.3g}"


class _Pending(NamedTuple):
    call: Call
    arrays: list
    moving: list
    cotangents: Any
    theirs: torch_side.Outcome


def compare(calls, covered=lambda call, ours_refused, theirs_refused: None, gradients=True, step=1) -> list[str]:
    """Runs the calls on both sides; a line of text for every call whose outcomes differ.

    `covered` says whether it is known that one side refuses the call. The numbers of every `step`-th call are
    compared, and of each whether it is refused, and the shape and dtype of what comes out. With JAXCONV_ALL in the
    environment the numbers of each call are.
    """
    step = 1 if "JAXCONV_ALL" in os.environ else step
    failures, pending = [], []
    for i, each in enumerate(calls):
        arrays = arrays_of(each)
        theirs_refused = torch_side.refusal(torch_function(each), *map(torch_side.to_torch, arrays))
        try:
            ours_refused, shape = our_refusal(each, arrays)
        except Exception as error:
            failures.append(f"{each}: no TypeError or ValueError of jaxconv's own but {type(error).__name__}: {error}")
            continue
        if theirs_refused is not None or ours_refused is not None:
            if (theirs_refused is None) != (ours_refused is None) and covered(each, ours_refused, theirs_refused):
                continue
            if theirs_refused is None:
                failures.append(f"{each}: PyTorch runs it, jaxconv refuses: {ours_refused}")
            if ours_refused is None:
                failures.append(f"{each}: jaxconv runs it, PyTorch refuses: {theirs_refused}")
            continue
        value = torch_side.run(torch_function(each), arrays).value
        if _kinds(shape) != _kinds(value):
            failures.append(f"{each}: {_kinds(shape)} in place of PyTorch's {_kinds(value)}")
            continue
        if i % step:
            continue
        constant = constant_of(each)
        moving = moving_of(arrays, constant)
        cotangents = cotangents_of(each, torch_function(each), arrays, constant) if gradients else None
        theirs = _their_outcome(each, arrays, cotangents, constant)
        pending.append(_Pending(each, arrays, moving, cotangents, theirs))
    for each, result in zip(pending, _results(pending), strict=True):
        problem = result if isinstance(result, str) else _first_problem(each, *result)
        if problem:
            failures.append(f"{each.call}: {problem}")
    return failures


def _kinds(value):
    """What can be told of outputs without their numbers; a tuple of one is no single output."""
    kinds = [None if y is None else (tuple(y.shape), str(y.dtype)) for y in outputs_of(value)]
    return kinds if isinstance(value, tuple) else kinds[0]


def cotangents_of(text, fn, arrays, constant=()):
    """Numbers for each output of PyTorch's `fn` that it differentiates, None for the others.

    None where it differentiates none of them. The numbers follow from the text.
    """
    differentiated = torch_side.differentiates(fn, arrays, constant)
    if not any(differentiated):
        return None
    rng = rng_of(text)
    return tuple(
        numbers(rng, y.shape, str(y.dtype)) if is_differentiated else None
        for y, is_differentiated in zip(outputs_of(torch_side.run(fn, arrays).value), differentiated, strict=True)
    )


def _their_outcome(call, arrays, cotangents, constant):
    if cotangents is None or any(g is not None and g.size for g in cotangents):
        return torch_side.run(torch_function(call), arrays, cotangents, constant)
    # Nothing has no effect on anything; some of PyTorch's backward passes refuse to say so, some return memory that
    # they have not written.
    value = torch_side.run(torch_function(call), arrays).value
    return torch_side.Outcome(value, tuple(np.zeros_like(a) for a in arrays))


def problems_of(theirs: torch_side.Outcome, value, gradients, arrays, moving):
    """How outputs, and the gradients of the arrays `moving`, differ from PyTorch's: words, or None, of each."""
    if _kinds(value) != _kinds(theirs.value):
        yield f"{_kinds(value)} in place of PyTorch's {_kinds(theirs.value)}"
        return
    outputs, wanted = ([y for y in outputs_of(v) if y is not None] for v in (value, theirs.value))
    allowed = [TOLERANCES.get(str(y.dtype), (0, 0)) for y in wanted]
    for i, (ours, their, (for_value, _)) in enumerate(zip(outputs, wanted, allowed, strict=True)):
        yield disagreement(f"output {i}" if isinstance(value, tuple) else "value", ours, their, for_value)
    for i, ours in zip(moving if gradients else (), gradients, strict=True):
        their = theirs.gradients[i]
        # PyTorch has none for an array that has no part in the outputs.
        their = np.zeros_like(arrays[i]) if their is None else their
        yield disagreement(f"gradient of array {i}", ours, their, max(for_gradients for _, for_gradients in allowed))


def _first_problem(pending: _Pending, value, gradients):
    return next(filter(None, problems_of(pending.theirs, value, gradients, pending.arrays, pending.moving)), None)


def _results(pending):
    """(value, gradients) of each call, from one program; where that fails from one each, an error being its text."""
    programs = [functools.partial(value_and_gradients, our_function(p.call), moving=p.moving) for p in pending]
    arguments = [(p.arrays, p.cotangents) for p in pending]
    try:
        together = jax.jit(lambda arguments: [run(*a) for run, a in zip(programs, arguments, strict=True)])
        return jax.tree.map(np.asarray, together(arguments))
    except Exception:
        results = []
        for run, argument in zip(programs, arguments, strict=True):
            try:
                results.append(jax.tree.map(np.asarray, jax.jit(run)(*argument)))
            except Exception as error:
                results.append(f"fails when compiled or run: {type(error).__name__}: {error}")
        return results
