"""Layers timed by themselves: each one's equations on arrays of random numbers, and their gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._explain.machine import median
from jaxconv._explain.model.program import Equation, Value
from jaxconv._explain.model.units import Unit

Times = tuple[float | None, float | None, float | None]


def times_of(units: Sequence[Unit | None]) -> list[Times | None]:
    """For each unit the seconds of its output, of its input's gradient and of its parameters'; None of an empty one.

    Units whose equations are the same are timed once.
    """
    known: dict[str, Times] = {}
    found: list[Times | None] = []
    for unit in units:
        if unit is None or not unit.steps or not unit.outputs:
            found.append(None)
            continue
        program = _Program(unit)
        key = str(jax.make_jaxpr(program.output)(*program.arguments))
        if key not in known:
            known[key] = program.times()
        found.append(tuple(t and t * program.turns for t in known[key]))  # type: ignore[arg-type]
    return found


class _Program:
    """A unit as functions of (its inputs, its parameters, what else it reads)."""

    def __init__(self, unit: Unit):
        self.equations: list[Equation] = list(dict.fromkeys(step.whole for step in unit.steps))
        self.turns = min(e.times for e in self.equations)
        made: set[Value] = set()
        read: dict[Value, None] = {}
        for equation in self.equations:  # one may hand on what it reads
            read |= dict.fromkeys(v for v in equation.inputs if v not in made and v.constant is None)
            made |= {v for v in equation.outputs if v not in read}
        self.inputs = [v for v in read if v.leaf is None and v.is_live and _is_float(v)]
        self.parameters = [v for v in read if v.is_parameter and _is_float(v)]
        self.rest = [v for v in read if v not in (*self.inputs, *self.parameters)]
        self.results = [v for v in unit.outputs if v in made]
        self.arguments = tuple([_random(v) for v in group] for group in (self.inputs, self.parameters, self.rest))

    def output(self, inputs: Any, parameters: Any, rest: Any) -> list[Any]:
        """What comes out."""
        groups = ((self.inputs, inputs), (self.parameters, parameters), (self.rest, rest))
        known = {v: a for values, arrays in groups for v, a in zip(values, arrays, strict=True)}
        for equation in self.equations:
            results = equation([known[v] if v.constant is None else v.constant for v in equation.inputs])
            known |= zip(equation.outputs, results, strict=True)
        return [known[v] for v in self.results]

    def times(self) -> Times:
        """How long the output and the two gradients take."""
        results = jax.eval_shape(self.output, *self.arguments)
        cotangents = [jnp.ones(r.shape, r.dtype) for r in results if jnp.issubdtype(r.dtype, jnp.floating)]
        return (
            median(jax.jit(self.output), *self.arguments),
            median(jax.jit(self._gradient(0)), cotangents, *self.arguments) if self.inputs and cotangents else None,
            median(jax.jit(self._gradient(1)), cotangents, *self.arguments) if self.parameters and cotangents else None,
        )

    def _gradient(self, which: int) -> Callable[..., Any]:
        """The gradient of one group of arguments."""

        def gradient(cotangents: Any, *arguments: Any) -> Any:
            def output(group: Any) -> Any:
                results = self.output(*arguments[:which], group, *arguments[which + 1 :])  # type: ignore[call-arg]
                return [r for r in results if jnp.issubdtype(r.dtype, jnp.floating)]

            return jax.vjp(output, arguments[which])[1](cotangents)

        return gradient


def _is_float(value: Value) -> bool:
    return jnp.issubdtype(value.dtype, jnp.floating)


def _random(value: Value) -> Any:
    """An array of such numbers as a square root takes, too; of integers, which may be indices, zeros."""
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), value.shape)
    if _is_float(value):
        return jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, value.shape), value.dtype)
    return jnp.zeros(value.shape, value.dtype)
