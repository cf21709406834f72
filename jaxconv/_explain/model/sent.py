"""What devices send each other where they divide a model's input: each row compiled for it, and its program read."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jaxconv._explain.model.program import Value
from jaxconv._explain.model.rerun import Rerun
from jaxconv._explain.model.units import Unit

# What each kind of exchange is to a model. Where one is begun and waited for later, the wait has its result.
_OF_EXCHANGE = {
    "collective-permute": "halos",
    "all-to-all": "halos",
    "all-gather": "gathered",
    "all-reduce": "summed",
    "reduce-scatter": "summed",
}
_EXCHANGE = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(_OF_EXCHANGE)})(?:-done)?\(")
KINDS = tuple(dict.fromkeys(_OF_EXCHANGE.values()))
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")

Sent = Mapping[str, tuple[int, int]]


def sent_by(units: Sequence[Unit | None], division: Mapping[Value, NamedSharding]) -> list[Sent | None]:
    """For each unit the bytes that a device receives, by what they are, for its output and for all of its gradients.

    What comes out of one unit goes into the next as it is divided; parameters are whole on every device.

    Args:
        units: the rows; None is one that is not called.
        division: how the model's inputs are divided, over one mesh of automatic axes.
    """
    known: dict[Value, Any] = dict(division)
    whole = NamedSharding(next(iter(division.values())).mesh, PartitionSpec())
    found: list[Sent | None] = []
    for unit in units:
        if unit is None or not unit.steps or not unit.outputs:
            found.append(None)
            continue
        program = Rerun(unit)
        arguments = [[_struct(v, known.get(v, whole)) for v in group] for group in program.groups]
        compiled = jax.jit(program.output).lower(*arguments).compile()
        known |= zip(program.results, compiled.output_shardings, strict=True)
        there, back = received(compiled.as_text() or ""), Counter()
        cotangents = [_struct(v, known[v]) for v in program.results if jnp.issubdtype(v.dtype, jnp.floating)]
        if cotangents and any(program.groups[:2]):
            gradients = jax.jit(program.gradient(0, 1)).lower(cotangents, *arguments).compile()
            back = received(gradients.as_text() or "")
        found.append({name: (there[name] * program.turns, back[name] * program.turns) for name in KINDS})
    return found


def as_dict(sent: Sent | None) -> dict[str, dict[str, int]] | None:
    """The same ready for `json.dumps`."""
    if sent is None:
        return None
    return {name: {"output": there, "gradients": back} for name, (there, back) in sent.items()}


def received(program: str) -> Counter[str]:
    """The bytes of the results of a compiled program's exchanges on one device, by what they are."""
    found: Counter[str] = Counter()
    for results, kind in _EXCHANGE.findall(program):
        for letters, bits, sizes in _ARRAY.findall(results):
            size = math.prod(int(n) for n in sizes.split(",") if n)
            found[_OF_EXCHANGE[kind]] += size * max(int(bits or 8) if letters != "pred" else 8, 8) // 8
    return found


def _struct(value: Value, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding)
