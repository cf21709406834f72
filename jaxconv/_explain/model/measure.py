"""Layers timed by themselves: each one's equations on arrays of random numbers, and their gradients."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._explain.machine import median
from jaxconv._explain.model.program import Value
from jaxconv._explain.model.rerun import Rerun
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
        program = Rerun(unit)
        arguments = tuple([_random(v) for v in group] for group in program.groups)
        key = str(jax.make_jaxpr(program.output)(*arguments))
        if key not in known:
            known[key] = _times(program, arguments)
        found.append(tuple(t and t * program.turns for t in known[key]))  # type: ignore[arg-type]
    return found


def _times(program: Rerun, arguments: Sequence[Any]) -> Times:
    """How long the output and the two gradients take."""
    results = jax.eval_shape(program.output, *arguments)
    cotangents = [jnp.ones(r.shape, r.dtype) for r in results if jnp.issubdtype(r.dtype, jnp.floating)]
    gradients = (
        median(jax.jit(program.gradient(i)), cotangents, *arguments) if program.groups[i] and cotangents else None
        for i in (0, 1)
    )
    return (median(jax.jit(program.output), *arguments), *gradients)  # type: ignore[return-value]


def _random(value: Value) -> Any:
    """An array of such numbers as a square root takes, too; of integers, which may be indices, zeros."""
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), value.shape)
    if jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, value.shape), value.dtype)
    return jnp.zeros(value.shape, value.dtype)
