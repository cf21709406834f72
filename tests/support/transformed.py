"""A call under a transformation of JAX, and the same numbers from PyTorch.

What is compared is one of: value and gradients, as `side_by_side` does; the value without `jit`; the value from an
exported program; `vmap` over some of the arrays, against one call of PyTorch for each element; a directional
derivative, against PyTorch's; the gradient of a gradient, against PyTorch's double backward.
"""

import warnings
from typing import NamedTuple

import differences
import jax
import jax.numpy as jnp
import numpy as np
import sampling
import torch
import torch_side
from jax import export
from side_by_side import (
    REFUSALS,
    TOLERANCES,
    Call,
    arrays_of,
    compare,
    disagreement,
    numbers,
    our_function,
    our_refusal,
    rng_of,
    torch_function,
)


class Case(NamedTuple):
    """A call, how it is transformed, and what is given to it beside its arrays."""

    call: Call
    kind: str
    seed: int

    def __str__(self):
        return f"{self.call} under {self.kind}"


def draw(number: int) -> Case:
    """The call of this number, of any function, and how it is transformed."""
    rng = np.random.default_rng([1, number])
    family, rank, _ = sampling.pick(rng, sampling.FAMILIES)
    call = family(rng) if rank is None else family(rng, rank)
    return Case(call, sampling.pick(rng, ("plain", *KINDS)), number)


def problem(case: Case) -> str | None:
    """How the two sides differ, in words. None where they agree, or where both of them refuse the call."""
    if case.kind == "plain":
        return "; ".join(compare([case.call], differences.covered)) or None
    arrays = arrays_of(case.call)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if torch_side.refusal(torch_function(case.call), *map(torch_side.to_torch, arrays)) is not None:
            return None
        try:
            shape = our_refusal(case.call, arrays)[1]
        except REFUSALS:
            return None
        if not hasattr(shape, "shape") or not arrays:  # several results, which are compared without a transformation
            return None
        # Of 16 bits PyTorch rounds in between, and of complex numbers its derivatives are conjugated.
        smooth = all(str(a.dtype) in ("float32", "float64") for a in arrays)
        smooth = smooth and torch_side.differentiates(torch_function(case.call), arrays) == (True,)
        kind = case.kind if smooth or case.kind not in ("forward", "second") else "eager"
        try:
            ours, theirs = KINDS[kind](case, arrays)
        except RuntimeError as error:
            if kind not in ("forward", "second") or isinstance(error, jax.errors.JaxRuntimeError):
                raise
            # PyTorch's own: some of its functions have no second derivative, or none of an empty array.
            ours, theirs = _eager(case, arrays)
    for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        tolerance = TOLERANCES.get(str(their.dtype), (0, 0))[1]
        if text := disagreement(f"output {i}", np.asarray(our), their, tolerance):
            return f"{case}: {text}"
    return None


def _eager(case, arrays):
    value = our_function(case.call)(*map(jnp.asarray, arrays))
    return [value], [torch_side.run(torch_function(case.call), arrays).value]


def _export(case, arrays):
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    exported = export.export(jax.jit(our_function(case.call)))(*shapes)
    again = export.deserialize(exported.serialize())
    return [again.call(*arrays)], [torch_side.run(torch_function(case.call), arrays).value]


def _vmap(case, arrays):
    rng = rng_of(case)
    mapped = [bool(rng.integers(2)) for _ in arrays]
    mapped[int(rng.integers(len(arrays)))] = True

    def other(a):  # integers may be places, of which not all are right
        return numbers(rng, a.shape, str(a.dtype)) if torch_side.is_inexact(a.dtype) else a

    several = [[a, other(a)] if m else a for a, m in zip(arrays, mapped, strict=True)]
    axes = [0 if m else None for m in mapped]
    stacked = [np.stack(a) if m else a for a, m in zip(several, mapped, strict=True)]
    value = jax.jit(jax.vmap(our_function(case.call), axes))(*stacked)
    each = [[a[i] if m else a for a, m in zip(several, mapped, strict=True)] for i in range(2)]
    return [value], [np.stack([torch_side.run(torch_function(case.call), one).value for one in each])]


def _forward(case, arrays):
    """J t, which in PyTorch is the derivative of J^T u by u: not all of its functions have a forward mode."""
    rng = rng_of(case)
    tangents = [numbers(rng, a.shape, str(a.dtype)) for a in arrays]
    value, tangent = jax.jit(lambda a, t: jax.jvp(our_function(case.call), a, t))(arrays, tangents)
    x = [torch_side.to_torch(a).requires_grad_(True) for a in arrays]
    y = torch_function(case.call)(*x)
    u = torch.zeros_like(y, requires_grad=True)
    vjp = torch.autograd.grad(y, x, u, create_graph=True, allow_unused=True, materialize_grads=True)
    total = sum((g * torch_side.to_torch(t)).sum() for g, t in zip(vjp, tangents, strict=True))
    (jvp,) = torch.autograd.grad(total, u, allow_unused=True, materialize_grads=True)
    return [value, tangent], [torch_side.to_numpy(y), torch_side.to_numpy(jvp)]


def _second(case, arrays):
    """The gradient of <J^T u, t> by the arrays and by u, where u is a cotangent and t a tangent."""
    rng = rng_of(case)
    tangents = [numbers(rng, a.shape, str(a.dtype)) for a in arrays]
    x = [torch_side.to_torch(a).requires_grad_(True) for a in arrays]
    y = torch_function(case.call)(*x)
    cotangent = numbers(rng, tuple(y.shape), str(arrays[0].dtype))
    u = torch_side.to_torch(cotangent).requires_grad_(True)
    vjp = torch.autograd.grad(y, x, u, create_graph=True, allow_unused=True, materialize_grads=True)
    total = sum((g * torch_side.to_torch(t)).sum() for g, t in zip(vjp, tangents, strict=True))
    theirs = torch.autograd.grad(total, [*x, u], allow_unused=True, materialize_grads=True)

    def product(arrays, cotangent):
        vjp = jax.vjp(our_function(case.call), *arrays)[1](cotangent)
        return sum(jnp.vdot(g, t) for g, t in zip(vjp, tangents, strict=True))

    ours, by_cotangent = jax.jit(jax.grad(product, (0, 1)))(arrays, cotangent)
    return [*ours, by_cotangent], [torch_side.to_numpy(g) for g in theirs]


KINDS = {"eager": _eager, "export": _export, "vmap": _vmap, "forward": _forward, "second": _second}
