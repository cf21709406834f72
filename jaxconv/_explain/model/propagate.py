"""What each array of a program reads of its inputs: the rules applied from the first equation to the last."""

from collections.abc import Sequence

from jaxconv._explain.model.program import Body, Program, Step, Value
from jaxconv._explain.model.reach import Label, Reach, all_along, everything, joined, of_input, reduced, spread
from jaxconv._explain.model.rules import results

# As often a loop's body is gone through; after a longer loop everything may be read.
_MOST_TURNS = 64

Reaches = dict[Value, Reach | None]


def propagate(program: Program) -> tuple[Reaches, set[Label]]:
    """What all arrays read, and along which axes of the inputs windows move."""
    reaches: Reaches = {value: of_input(i, value.shape) for i, value in enumerate(program.inputs)}
    slid: set[Label] = set()
    _go_through(program.steps, reaches, slid)
    return reaches, slid


def _go_through(steps: Sequence[Step], reaches: Reaches, slid: set[Label]) -> None:
    for step in steps:
        known = [reaches.get(v) for v in step.inputs]
        if step.name == "scan":
            found = _scan(step, known, reaches, slid)
        elif step.name == "cond":
            branches = [_body(body, known[1:], reaches, slid) for body in step.bodies]
            found = [
                everything([known[0], *of_branches], v.shape) if known[0] else joined(of_branches, v.shape)
                for v, of_branches in zip(step.outputs, zip(*branches, strict=True), strict=True)
            ]
        elif step.bodies:
            for body in step.bodies:
                _body(body, [everything(known, v.shape) for v in body.inputs], reaches, slid)
            found = [everything(known, v.shape) for v in step.outputs]
        else:
            found = results(step, known, slid)
        reaches |= zip(step.outputs, found, strict=True)


def _body(body: Body, known: Sequence[Reach | None], reaches: Reaches, slid: set[Label]) -> list[Reach | None]:
    reaches |= zip(body.inputs, known, strict=True)
    _go_through(body.steps, reaches, slid)
    return [reaches.get(v) for v in body.outputs]


def _scan(step: Step, known: Sequence[Reach | None], reaches: Reaches, slid: set[Label]) -> list[Reach | None]:
    """A loop, turn by turn: what is carried reads more after each. Of what it goes along it may read everything."""
    (body,) = step.bodies
    # What is gone along has an axis less in the body, and so has what is stacked.
    number = sum(v.shape == out.shape for v, out in zip(step.outputs, body.outputs, strict=True))
    consts = sum(v.shape == part.shape for v, part in zip(step.inputs, body.inputs, strict=True)) - number
    fixed, carried, along = known[:consts], list(known[consts : consts + number]), known[consts + number :]
    parts = [None if r is None else reduced(all_along(r, 0), (0,)) for r in along]
    length, found = step.params["length"], []
    for _ in range(min(length, _MOST_TURNS)):
        found = _body(body, [*fixed, *carried, *parts], reaches, slid)
        if found[:number] == carried:
            break
        carried = found[:number]
    else:
        if length > _MOST_TURNS:
            carried = [everything([r], v.shape) for r, v in zip(carried, step.outputs, strict=False)]
            found = _body(body, [*fixed, *carried, *parts], reaches, slid)
    stacked = step.outputs[number:]
    rows = [r and spread(r, v.shape, range(1, len(v.shape))) for r, v in zip(found[number:], stacked, strict=True)]
    return [*carried, *rows] if found else [everything(known, v.shape) for v in step.outputs]
