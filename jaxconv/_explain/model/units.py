"""The rows of a model: its layers, and the equations between them, in the order in which they are computed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from jaxconv._explain.model.program import Call, Program, Step, Value

# What only lays numbers out otherwise, and is told of only where there is nothing else.
_HIDDEN = {
    "broadcast_in_dim", "convert_element_type", "squeeze", "expand_dims", "stop_gradient", "copy", "copy_p", "iota",
    "pvary", "reshard",
}  # fmt: skip
_SHOWN = 3  # names of functions that a row tells


@dataclass(eq=False)
class Unit:
    """A call of a layer that calls no other, or a run of equations between two such calls.

    Attributes:
        call: the layer's call; of a run the call that it belongs to.
        is_layer: whether it is a layer's.
        steps: its equations.
        inputs: the arrays that go in, those of the model aside.
        outputs: the arrays that come out.
        leaves: the arrays of the model that it reads, but for random keys.
    """

    call: Call
    is_layer: bool
    steps: list[Step] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    leaves: list[Value] = field(default_factory=list)

    @property
    def times(self) -> int:
        """How often its loops compute it."""
        return self.call.times if self.is_layer else self.steps[0].times

    def functions(self) -> str:
        """The names of what a run computes."""
        live = [step for step in self.steps if any(v.is_live for v in step.outputs)]
        names = dict.fromkeys(step.function or step.name for step in live or self.steps)
        shown = [name for name in names if name not in _HIDDEN] or list(names)
        more = f", {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        return ", ".join(shown[:_SHOWN]) + more


def make_units(program: Program) -> list[Unit]:
    """All units of a program in their order; equations that depend neither on an input nor on the model are in none."""
    calls = {call: Unit(call, True) for call in program.calls if call.is_leaf and call.event is not None}
    things: list[Step | Call] = sorted([*calls, *program.flat()], key=lambda thing: thing.order)
    units: list[Unit] = []
    for thing in things:
        if isinstance(thing, Call):
            units.append(calls[thing])
        elif thing.call in calls:
            calls[thing.call].steps.append(thing)
        else:
            is_next = bool(units) and not units[-1].is_layer and units[-1].call is thing.call
            if not is_next or units[-1].steps[0].times != thing.times:
                units.append(Unit(thing.call, False))
            units[-1].steps.append(thing)
    used = _used(program, units)
    for unit in units:
        _connect(unit, used)
    return [unit for unit in units if unit.is_layer or unit.leaves or any(v.is_live for v in unit.outputs)]


def _used(program: Program, units: Iterable[Unit]) -> dict[Value, set[Unit | None]]:
    """By which units each array is read; None stands for what is outside of all."""
    used: dict[Value, set[Unit | None]] = {}
    for unit in units:
        for step in unit.steps:
            for value in step.inputs:
                used.setdefault(value, set()).add(unit)
    outside = [*program.outputs]
    for step, body in program.bodies():
        outside += [*step.inputs, *body.outputs]
    for value in outside:
        used.setdefault(value, set()).add(None)
    return used


def _connect(unit: Unit, used: dict[Value, set[Unit | None]]) -> None:
    """Finds what goes into a unit and what comes out."""
    read = dict.fromkeys(v for step in unit.steps for v in step.inputs)
    made = dict.fromkeys(v for step in unit.steps for v in step.outputs)
    unit.leaves = [v for v in read if v.leaf is not None and not jnp.issubdtype(v.dtype, jax.dtypes.prng_key)]
    if unit.is_layer:
        unit.inputs = list(dict.fromkeys(v for v in unit.call.inputs if v.leaf is None))
        unit.outputs = list(dict.fromkeys(unit.call.outputs))
    else:
        unit.inputs = [v for v in read if v not in made and v.leaf is None and v.is_live]
        outputs = [v for v in made if used.get(v, set()) - {unit}]
        unit.outputs = [v for v in outputs if v.is_live] or outputs
