"""A model's program: the equations of its jaxpr in their order, each with the call of a layer that it belongs to."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun


@dataclass(eq=False)
class Value:
    """An array of the program.

    Attributes:
        shape: its shape.
        dtype: its dtype.
        leaf: which array of the model it is, or a part of, if it is one.
        is_parameter: whether that is a parameter.
        is_live: whether it depends on an input.
        constant: its value, where that is a number in the program.
    """

    shape: tuple[int, ...]
    dtype: Any
    leaf: int | None = None
    is_parameter: bool = False
    is_live: bool = False
    constant: Any = None

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return self.size * getattr(self.dtype, "itemsize", 0)


@dataclass(eq=False)
class Call:
    """A call of a layer, or of the whole model.

    Attributes:
        event: the number that the tracer gave it; None of the whole.
        parent: the call that it is made in.
        times: how often its loops make it.
        inputs: the arrays that go in.
        outputs: the arrays that come out.
        is_leaf: whether no other layer is called in it.
        order: its place among calls and equations.
    """

    event: int | None = None
    parent: "Call | None" = None
    times: int = 1
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    is_leaf: bool = True
    order: int = 0


@dataclass(eq=False)
class Body:
    """The program of a loop's body, or of a branch."""

    inputs: list[Value]
    steps: "list[Step]"
    outputs: list[Value]


@dataclass(frozen=True, eq=False)
class Equation:
    """An equation as it stands in a jaxpr, which may call a function, or be a loop.

    Attributes:
        eqn: the equation.
        jaxpr: the jaxpr.
        inputs: what it reads.
        outputs: what it computes.
        times: how often the loops around it compute it.
    """

    eqn: Any
    jaxpr: Any
    inputs: list[Value]
    outputs: list[Value]
    times: int

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """What it computes of arrays."""
        given = {v: a for v, a in zip(self.eqn.invars, arrays, strict=True) if not isinstance(v, Literal)}
        alone = self.jaxpr.replace(constvars=[], invars=list(given), outvars=self.eqn.outvars, eqns=[self.eqn])
        return jaxpr_as_fun(ClosedJaxpr(alone, []))(*given.values())


@dataclass(eq=False)
class Step:
    """An equation that calls nothing.

    Attributes:
        name: its primitive's name.
        params: the primitive's parameters.
        inputs: what it reads.
        outputs: what it computes.
        call: the innermost call that it belongs to.
        times: how often the loops around it compute it.
        function: the name of the outermost function that it is a part of and in which no layer is called.
        whole: the outermost equation that it is a part of and in which no layer is called; or it itself.
        order: its place among calls and equations.
        bodies: of a loop, and of what else holds programs.
    """

    name: str
    params: dict[str, Any]
    inputs: list[Value]
    outputs: list[Value]
    call: Call
    times: int
    function: str | None
    whole: Equation
    order: int
    bodies: list[Body] = field(default_factory=list)


@dataclass(eq=False)
class Program:
    """All of a model's program.

    Attributes:
        leaves: the arrays of the model.
        inputs: the arrays that it is called with.
        steps: its equations.
        outputs: the arrays that it gives.
        calls: the calls in their order, that of the whole first.
    """

    leaves: list[Value]
    inputs: list[Value]
    steps: list[Step]
    outputs: list[Value]
    calls: list[Call]

    def flat(self, steps: list[Step] | None = None) -> Iterator[Step]:
        """All equations; in place of one that holds programs those of these."""
        for step in self.steps if steps is None else steps:
            if not step.bodies:
                yield step
            for body in step.bodies:
                yield from self.flat(body.steps)

    def bodies(self, steps: list[Step] | None = None) -> Iterator[tuple[Step, Body]]:
        """All loops' bodies and branches, with the equations that hold them."""
        for step in self.steps if steps is None else steps:
            for body in step.bodies:
                yield step, body
                yield from self.bodies(body.steps)
