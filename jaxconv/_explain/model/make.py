"""A model explained: from its trace to the record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from jaxconv._explain.common import SPATIAL
from jaxconv._explain.machine import Machine
from jaxconv._explain.model.cost import OPAQUE, ops, products
from jaxconv._explain.model.explanation import ModelExplanation, Row
from jaxconv._explain.model.propagate import Reaches, propagate
from jaxconv._explain.model.reach import Label, Reach
from jaxconv._explain.model.sent import sent_by
from jaxconv._explain.model.trace import Leaf, Trace
from jaxconv._explain.model.units import Unit, make_units


def explain_trace(
    trace: Trace, machine: Machine | None, shardings: Sequence[NamedSharding | None] = ()
) -> ModelExplanation:
    """The explanation of a model from its trace, and from how devices divide each of its inputs, if they do."""
    units = make_units(trace.program)
    division = {v: s for v, s in zip(trace.program.inputs, shardings, strict=False) if s is not None}
    sent = sent_by(units, division) if division else [None] * len(units)
    reaches, slid = propagate(trace.program)
    owned = _owned(trace, units)
    labels = _labels(units, reaches, slid)
    told = labels[min(labels)] if labels else []
    rows = [
        replace(_row(trace, unit, owned[unit], _reach(unit, reaches), labels), sent=each)
        for unit, each in zip(units, sent, strict=True)
    ]
    macs: Counter[str] = Counter()
    for unit in units:
        for step in unit.steps:
            macs[str(np.dtype(step.outputs[0].dtype)) if products(step) else ""] += products(step) * step.times
    macs.pop("", None)
    floats = [str(v.dtype) for v in trace.program.inputs if jax.numpy.issubdtype(v.dtype, jax.numpy.floating)]
    dtype = macs.most_common(1)[0][0] if macs else (floats or ["float32"])[0]
    opaque = {step.name for unit in units for step in unit.steps if step.name in OPAQUE}
    return ModelExplanation(
        model=trace.model,
        input_shapes=tuple(v.shape for v in trace.program.inputs),
        rows=(*rows, *_not_called(trace, owned[None])),
        axes=_letters(len(told)),
        sizes=tuple(label.size for label in told),
        dtype=dtype,
        platform=jax.default_backend(),
        given=machine,
        opaque=tuple(sorted(opaque)),
    )


def _row(trace: Trace, unit: Unit, parameters: Sequence[int], reach: Reach | None, labels: Mapping[int, Any]) -> Row:
    layer = trace.layers[unit.call.event or 0]
    moved = {v: v.bytes for v in (*unit.inputs, *unit.outputs)}
    moved |= {v: v.bytes for v in unit.leaves if v.is_parameter}
    found = next((each for step in unit.steps if (each := ops(step))), ())
    seen = _seen(reach, labels)
    return Row(
        name=layer.name,
        kind=layer.kind if unit.is_layer else unit.functions(),
        layer=layer.text if unit.is_layer else None,
        input_shapes=tuple(v.shape for v in unit.inputs),
        output_shape=unit.outputs[0].shape if unit.outputs else (),
        times=unit.times,
        parameters=sum(trace.program.leaves[i].size for i in parameters),
        multiply_accumulates=sum(products(step) * step.times for step in unit.steps),
        bytes=unit.times * sum(moved.values()),
        receptive_field=tuple(size for size, _ in seen),
        jump=tuple(step for _, step in seen),
        ops=found,
        unit=unit,
    )


def _owned(trace: Trace, units: Sequence[Unit]) -> dict[Unit | None, list[int]]:
    """The parameters of each unit: each belongs to one of those that read it, to the layer that holds it if that does.

    None has those that nothing reads.
    """
    owned: dict[Unit | None, list[int]] = {unit: [] for unit in (*units, None)}
    readers: dict[int, list[Unit]] = {}
    for unit in units:
        for value in unit.leaves:
            readers.setdefault(value.leaf or 0, []).append(unit)
    for i, leaf in enumerate(trace.leaves):
        if leaf.is_parameter:
            owned[min(readers.get(i, ()), key=lambda unit: -_nearness(trace, unit, leaf), default=None)].append(i)
    return owned


def _nearness(trace: Trace, unit: Unit, leaf: Leaf) -> int:
    """How near a unit's layer is to the module that holds an array: how much of its path, if the module is in it."""
    name = trace.layers[unit.call.event or 0].name
    return len(name) + 1 if f"{leaf.module}.".startswith(f"{name}." if name else "") else 0


def _not_called(trace: Trace, unread: Sequence[int]) -> list[Row]:
    """Layers that are not called, and modules whose parameters nothing reads."""
    called = {layer.name for layer in trace.layers.values()}
    within = {".".join(name.split(".")[:n]) for name in called for n in range(1, name.count(".") + 2)}
    ends = {trace.layers[c.event].name for c in trace.program.calls if c.event is not None and c.is_leaf}
    kinds = {
        name: kind
        for name, kind in trace.modules.items()
        if name not in within and not any(name.startswith(f"{end}.") for end in ends if end)
    }
    # Of a module with others inside these are told.
    kinds = {n: k for n, k in kinds.items() if not any(other.startswith(f"{n}.") for other in trace.modules)}
    read = {value.leaf for step in trace.program.flat() for value in step.inputs}
    held = {leaf.module for i, leaf in enumerate(trace.leaves) if i in read}
    counts = Counter({name: 0 for name in kinds if name not in held})
    for i in unread:
        leaf = trace.leaves[i]
        kinds.setdefault(leaf.module, leaf.kind)
        counts[leaf.module] += trace.program.leaves[i].size
    return [Row(name, kinds[name], parameters=count) for name, count in counts.items()]


# ---------------------------------------------------------------------------------------------------------------
# Receptive fields
# ---------------------------------------------------------------------------------------------------------------


def _reach(unit: Unit, reaches: Reaches) -> Reach | None:
    """What a unit's output reads of the inputs; of several the first that does."""
    return next((r for v in unit.outputs if (r := reaches.get(v)) is not None), None)


def _labels(units: Sequence[Unit], reaches: Reaches, slid: set[Label]) -> dict[int, list[Label]]:
    """The axes of each input along which something reads several positions, and not all."""
    found = set(slid)
    for unit in units:
        reach = _reach(unit, reaches)
        found |= {k for k, f in (reach.fields if reach else {}).items() if f.size not in (None, 1)}
    return {number: sorted(label for label in found if label.number == number) for number, _, _ in found}


def _seen(reach: Reach | None, labels: Mapping[int, Sequence[Label]]) -> list[tuple[int | None, Fraction | None]]:
    """Receptive field and jump along the axes of the first input that is read and whose axes windows move along."""
    numbers = sorted({label.number for label in reach.fields} & labels.keys()) if reach else []
    if not numbers or reach is None:
        return []
    seen: list[tuple[int | None, Fraction | None]] = []
    for label in labels[numbers[0]]:
        field = reach.fields[label]
        step = min((abs(s) for each in field.steps for s in each if s), default=None)
        is_all = step is None and field.size is not None and field.size >= label.size
        seen.append((None if is_all else field.size, step))
    return seen


def _letters(number: int) -> tuple[str, ...]:
    """The letters of so many spatial axes."""
    return SPATIAL.get(number, tuple(f"axis {i}" for i in range(number)))
