"""A jaxpr read into a program.

Functions that are compiled or differentiated apart are written out where they are called; a loop keeps its body. Where
a layer begins and where it ends is told by names that the tracer has given to what goes into it and to what comes out,
by `jax.ad_checkpoint.checkpoint_name`, which computes nothing and which every transformation of JAX knows.
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxconv._explain.model.program import Body, Call, Equation, Program, Step, Value

_MARK = re.compile(r"jaxconv\.explain (\d+) (begin|end) (\d+)")
# Primitives that do nothing but call a function, by the parameter that holds it.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "core_closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "custom_vmap_call": "call",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "composite": "jaxpr",
}


def mark(array: Any, tracing: int, place: str, event: int) -> Any:
    """`array`, by a name that says that a call begins or ends with it."""
    return checkpoint_name(array, f"jaxconv.explain {tracing} {place} {event}")


def read_program(closed: Any, are_parameters: Sequence[bool], tracing: int) -> Program:
    """The program of a closed jaxpr whose first arguments are the arrays of the model, parameters or not.

    Names that another tracing has given are none: a compiled function may have kept them.
    """
    whole = Call()
    arguments = [_value(v.aval) for v in closed.jaxpr.invars]
    leaves = len(are_parameters)
    for i, value in enumerate(arguments):
        if i < leaves:
            value.leaf, value.is_parameter = i, are_parameters[i]
        else:
            value.is_live = True
    reader, steps = _Reader(whole, tracing), []
    outputs = reader.read(closed, arguments, steps, 1)
    whole.inputs, whole.outputs = arguments[leaves:], outputs
    return Program(arguments[:leaves], arguments[leaves:], steps, outputs, reader.calls)


def _value(aval: Any, **about: Any) -> Value:
    return Value(tuple(getattr(aval, "shape", ())), getattr(aval, "dtype", None), **about)


class _Reader:
    """Reads equations, and knows which calls are open."""

    def __init__(self, whole: Call, tracing: int):
        self.tracing = tracing
        self.calls = [whole]
        self.open = [whole]
        self.ended: set[Call] = set()  # whose other results may follow
        self.order = itertools.count()
        self.read_steps: list[Step] = []

    def read(self, closed: Any, arguments: Sequence[Value], steps: list[Step], times: int) -> list[Value]:
        """Appends the equations of a jaxpr to `steps`, and gives its results."""
        jaxpr, consts = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
        known = dict(zip(jaxpr.invars, arguments, strict=True))
        for v, const in zip(jaxpr.constvars, consts, strict=True):
            known[v] = _value(v.aval, constant=const)

        def value(v: Any) -> Value:
            return _value(v.aval, constant=v.val) if isinstance(v, Literal) else known[v]

        for eqn in jaxpr.eqns:
            inputs, name = [value(v) for v in eqn.invars], eqn.primitive.name
            if name == "name" and (found := _MARK.fullmatch(eqn.params["name"])):
                if int(found[1]) == self.tracing:
                    (self._begin if found[2] == "begin" else self._end)(int(found[3]), inputs[0], times)
                outputs = inputs
            else:
                self._close()
                read, before = len(self.read_steps), len(self.calls)
                if inner := eqn.params.get(_CALLS.get(name, "")):
                    outputs = self.read(inner, inputs, steps, times)
                else:
                    outputs = self._step(Equation(eqn, jaxpr, inputs, _results(eqn, inputs), times), steps)
                if len(self.calls) == before:  # no layer is called in it
                    self._is_one(Equation(eqn, jaxpr, inputs, outputs, times), self.read_steps[read:])
            known |= zip(eqn.outvars, outputs, strict=True)
        return [value(v) for v in jaxpr.outvars]

    def _begin(self, event: int, array: Value, times: int) -> None:
        self._close()
        if self.open[-1].event != event:
            self.open[-1].is_leaf = False
            self.open.append(Call(event, self.open[-1], times, order=next(self.order)))
            self.calls.append(self.open[-1])
        self.open[-1].inputs.append(array)

    def _end(self, event: int, array: Value, times: int) -> None:
        which = next((call for call in reversed(self.open) if call.event == event), None)
        if which is not None:
            which.outputs.append(array)
            self.ended.add(which)

    def _close(self) -> None:
        """Closes the calls whose last result has been passed, and those in them."""
        ended = [i for i, call in enumerate(self.open) if call in self.ended]
        if ended:
            del self.open[ended[0] :]
            self.ended.clear()

    def _is_one(self, whole: Equation, steps: Sequence[Step]) -> None:
        """Notes that equations are those of one, and the function's name if it calls one."""
        name = whole.eqn.params.get("name") if whole.eqn.primitive.name in _CALLS else None
        for step in steps:
            step.whole = whole
            if name and not name.startswith("<"):
                step.function = name.strip("_")

    def _step(self, whole: Equation, steps: list[Step]) -> list[Value]:
        eqn, inputs, outputs = whole.eqn, whole.inputs, whole.outputs
        for value, known in zip(outputs, folded(eqn, inputs), strict=False):
            value.constant = known
        step = Step(
            eqn.primitive.name, eqn.params, inputs, outputs, self.open[-1], whole.times, None, whole, next(self.order)
        )
        steps.append(step)
        self.read_steps.append(step)
        is_live = any(v.is_live for v in inputs)
        for inner, arguments, more in _programs(step):
            body = Body([_argument(v, outer, is_live) for v, outer in arguments], [], [])
            step.bodies.append(body)
            body.outputs = self.read(inner, body.inputs, body.steps, whole.times * more)
            self._close()
        return outputs


def _results(eqn: Any, inputs: Sequence[Value]) -> list[Value]:
    """New values for the results of an equation."""
    is_live = any(v.is_live for v in inputs)
    return [_value(v.aval, is_live=is_live) for v in eqn.outvars]


_FOLDED = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    "lt": np.less, "ge": np.greater_equal, "select_n": lambda which, no, yes: np.where(which, yes, no),
}  # fmt: skip
_MOST_FOLDED = 1 << 16
# Primitives whose programs are of single numbers, or of another kind.
_WITHOUT_PROGRAMS = ("reduce", "scatter", "select_and", "cum", "sort", "pallas_call")


def folded(eqn: Any, inputs: Sequence[Value]) -> list[Any]:
    """The result of an equation of few numbers that are known: an index is computed of such."""
    known = [v.constant for v in inputs]
    name, out = eqn.primitive.name, eqn.outvars[0].aval
    if any(k is None for k in known) or math.prod(getattr(out, "shape", ())) > _MOST_FOLDED:
        return []
    if name == "iota":
        along = [-1 if a == eqn.params["dimension"] else 1 for a in range(len(out.shape))]
        return [np.broadcast_to(np.arange(out.shape[eqn.params["dimension"]]).reshape(along), out.shape)]
    if name in _FOLDED:
        return [_FOLDED[name](*map(np.asarray, known))]
    if name == "convert_element_type" and np.dtype(out.dtype).kind in "iub":
        return [np.asarray(known[0]).astype(out.dtype)]
    if name == "reshape":
        return [np.asarray(known[0]).reshape(out.shape)]
    if name == "broadcast_in_dim":
        places = eqn.params["broadcast_dimensions"]
        shape = [inputs[0].shape[places.index(a)] if a in places else 1 for a in range(len(out.shape))]
        return [np.broadcast_to(np.asarray(known[0]).reshape(shape), out.shape)]
    return []


def _programs(step: Step) -> Iterator[tuple[Any, list[tuple[Any, Value | None]], int]]:
    """The programs that an equation holds, their arguments beside those of the equation, and how often each is run."""
    p, inputs = step.params, step.inputs
    if step.name == "scan":
        yield p["jaxpr"], list(zip(p["jaxpr"].jaxpr.invars, inputs, strict=True)), p["length"]
    elif step.name == "while":  # how often nobody knows
        after = inputs[p["cond_nconsts"] :]
        yield p["body_jaxpr"], list(zip(p["body_jaxpr"].jaxpr.invars, after, strict=True)), 1
    elif step.name == "cond":
        for branch in p["branches"]:
            yield branch, list(zip(branch.jaxpr.invars, inputs[1:], strict=True)), 1
    elif step.name == "shard_map":
        yield p["jaxpr"], list(zip(p["jaxpr"].invars, inputs, strict=True)), p["mesh"].size
    elif not step.name.startswith(_WITHOUT_PROGRAMS):
        for each in p.values():
            for inner in each if isinstance(each, tuple | list) else (each,):
                if isinstance(inner, ClosedJaxpr | Jaxpr):
                    jaxpr = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
                    yield inner, [(v, None) for v in jaxpr.invars], 1


def _argument(v: Any, outer: Value | None, is_live: bool) -> Value:
    """An argument of a body, which is one of the equation's, or a part of it, or what a loop makes of it."""
    if outer is None:
        return _value(v.aval, is_live=is_live)
    if outer.shape == tuple(v.aval.shape) and outer.leaf is not None and not outer.is_live:
        return outer
    return _value(
        v.aval,
        leaf=outer.leaf,
        is_parameter=outer.is_parameter,
        is_live=outer.is_live or (is_live and outer.leaf is None),
    )
