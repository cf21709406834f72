"""Problems for the families of algorithms, from arrays."""

import jax.numpy as jnp

from jaxconv._lowering.family import make_problem


def output(family, spec, x, w, b=None):
    """A family's convolution of arrays."""
    problem = make_problem("output", spec, x.shape, w.shape, None, x.dtype, bias=b is not None)
    return family.output(problem, x, w, b)


def three_ops(family, spec, x, w, y, b=None):
    """What a family computes of x, w and y: the output, the input's gradient and the weight's.

    With a bias it is added to the output, and its gradient comes last.
    """
    bias = b is not None
    of_input = make_problem("input", spec, w.shape, y.shape, spec.size_of(x.shape), jnp.dtype(x.dtype))
    of_weight = make_problem("weight", spec, x.shape, y.shape, w.shape[2:], jnp.dtype(x.dtype), bias=bias)
    weight = family.weight(of_weight, x, y)
    return output(family, spec, x, w, b), family.input(of_input, w, y), *(weight if bias else (weight,))
