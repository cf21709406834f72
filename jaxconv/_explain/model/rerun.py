"""A row of a model as a function of its own: its equations, to be run or compiled again, and their gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._explain.model.program import Equation, Value
from jaxconv._explain.model.units import Unit


class Rerun:
    """A unit as functions of (its inputs, its parameters, what else it reads).

    Attributes:
        equations: its equations.
        turns: how often its loops compute each of them at least.
        groups: the values of the three arguments.
        results: those that come out.
    """

    def __init__(self, unit: Unit):
        self.equations: list[Equation] = list(dict.fromkeys(step.whole for step in unit.steps))
        self.turns = min(e.times for e in self.equations)
        made: set[Value] = set()
        read: dict[Value, None] = {}
        for equation in self.equations:  # one may hand on what it reads
            read |= dict.fromkeys(v for v in equation.inputs if v not in made and v.constant is None)
            made |= {v for v in equation.outputs if v not in read}
        inputs = [v for v in read if v.leaf is None and v.is_live and _is_float(v)]
        parameters = [v for v in read if v.is_parameter and _is_float(v)]
        self.groups = (inputs, parameters, [v for v in read if v not in (*inputs, *parameters)])
        self.results = [v for v in unit.outputs if v in made]

    def output(self, *arguments: Sequence[Any]) -> list[Any]:
        """What comes out."""
        known: dict[Value, Any] = {}
        for group, arrays in zip(self.groups, arguments, strict=True):
            known |= zip(group, arrays, strict=True)
        for equation in self.equations:
            results = equation([known[v] if v.constant is None else v.constant for v in equation.inputs])
            known |= zip(equation.outputs, results, strict=True)
        return [known[v] for v in self.results]

    def gradient(self, *which: int) -> Callable[..., Any]:
        """The gradients of some of the arguments: a function of cotangents, of the floats that come out, and of all."""

        def gradient(cotangents: Any, *arguments: Any) -> Any:
            def output(*groups: Any) -> Any:
                given = list(arguments)
                for i, group in zip(which, groups, strict=True):
                    given[i] = group
                return [r for r in self.output(*given) if jnp.issubdtype(r.dtype, jnp.floating)]

            return jax.vjp(output, *(arguments[i] for i in which))[1](cotangents)

        return gradient


def _is_float(value: Value) -> bool:
    return jnp.issubdtype(value.dtype, jnp.floating)
