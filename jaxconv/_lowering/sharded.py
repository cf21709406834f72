"""Algorithm `native` in a program for several devices: each computes its part of the arrays.

XLA's partitioner knows nothing of the call, and would gather whole arrays on every device. So it is told the axes that
the arrays share, and how a part of the result follows from parts of the arguments. With the images (N, C, ...), the
weight (O, C / groups, ...) and the result of the convolution (N, O, ...) these are

    n       the images
    g       the groups, which channels and the weight's rows are divided into
    o, i    the channels of a single group; those of several are not divided further

and an op divided along the one of them that its result does not have ends with a sum over devices.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxconv._lowering import native, xla
from jaxconv._spec.convolution import ConvSpec

# The arguments of each op, and its results; b is a bias.
ARRAYS = {
    "output": ("xw", "y"),
    "output_bias": ("xwb", "y"),
    "input": ("wy", "x"),
    "weight": ("xy", "w"),
    "weight_bias": ("xy", "wb"),
}


def output(
    x: jax.Array,
    w: jax.Array,
    spec: ConvSpec,
    precision: Any = None,
    preferred_element_type: Any = None,
    bias: jax.Array | None = None,
) -> jax.Array:
    """The convolution of batched images `x` with `w`, and a bias added to it."""

    def part(x, w, b=None, *, spec, summed):
        if not summed:
            return native.output(x, w, spec, precision, preferred_element_type, b)
        # The channels of x are divided: the bias belongs to none of the parts, but to their sum.
        y = _total(native.output(x, w, spec, precision, preferred_element_type), summed)
        return y if b is None else xla.add_bias(y, b, spec)

    return _divided("output", part, (x, w), spec) if bias is None else _divided("output_bias", part, (x, w, bias), spec)


def input(
    w: jax.Array,
    y: jax.Array,
    spec: ConvSpec,
    x_shape: Sequence[int],
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """The transpose of `output` in x: the transposed convolution of `y` with `w`, an image of shape `x_shape`."""

    def part(w, y, spec, summed):
        shape = list(x_shape)
        shape[0], shape[spec.channel_axis] = y.shape[0], w.shape[1] * spec.groups
        return _total(native.input(w, y, spec, tuple(shape), precision, preferred_element_type), summed)

    return _divided("input", part, (w, y), spec)


def weight(
    x: jax.Array,
    y: jax.Array,
    spec: ConvSpec,
    w_shape: Sequence[int],
    precision: Any = None,
    preferred_element_type: Any = None,
    bias: bool = False,
) -> Any:
    """The transpose of `output` in w: the correlation of `x` with `y`, a weight of shape `w_shape`.

    With `bias` the transpose in (w, bias), a list of the two.
    """

    def part(x, y, spec, summed):
        c = spec.channel_axis
        shape = (y.shape[c], x.shape[c] // spec.groups, *w_shape[2:])
        return _total(native.weight(x, y, spec, shape, precision, preferred_element_type, bias), summed)

    return _divided("weight_bias" if bias else "weight", part, (x, y), spec)


def _total(parts: Any, summed: Sequence[str]) -> Any:
    """The sum of what each device has, over the axes of the mesh that are summed over."""
    return jax.lax.psum(parts, summed) if summed else parts


def spread(ctx: Any) -> tuple[Any, str]:
    """Over how many devices a program is spread: `"one"`, `"several"`, or `"unknown"` where it cannot be divided here.

    Args:
        ctx: the context of a lowering rule.

    Returns:
        The context to go on with, and the answer.
    """
    axes = ctx.module_context.axis_context
    manual = getattr(axes, "manual_axes", None)
    if manual is not None:  # within a shard_map: what is seen there is a part already, if it divides along all axes
        return ctx, "one" if set(manual) == set(axes.mesh.axis_names) else "unknown"
    count = getattr(axes, "num_devices", None)
    if count == 1:
        return ctx, "one"
    if count is None or not getattr(jax.config, "jax_use_shardy_partitioner", True):
        return ctx, "unknown"
    # `custom_partitioning` wants devices to name parts by, and JAX gives them to primitives of its own alone. Any do.
    devices = tuple(axes.device_assignment or jax.devices("cpu")[:count])
    if len(devices) != count:
        return ctx, "unknown"
    axes = replace(axes, device_assignment=devices, abstract_mesh=None)
    return ctx.replace(module_context=ctx.module_context.replace(axis_context=axes)), "several"


def _divided(op: str, part, arrays: tuple[jax.Array, ...], spec: ConvSpec) -> Any:
    """`part` of the arrays, computed in parts where they are divided among devices."""
    # Shardy's rule in words, each axis with a name: those that cannot be divided have names of their own.
    arguments, results = ARRAYS[op]
    axes = _axes(spec)
    names = {n: [axis or f"{n}{i}" for i, axis in enumerate(axes[n])] for n in axes}
    undivided = {f"{n}{i}" for n in axes for i, axis in enumerate(axes[n]) if axis is None}
    sizes: dict[str, Any] = {}
    if spec.groups > 1:
        # A channel is one of a group's: (g i) and (g o) in the notation of the rule, which knows no axis of size 1
        # within another, and wants the sizes of those that are nowhere alone.
        c = spec.channel_axis
        given = dict(zip(arguments, arrays, strict=True))
        per_in = given["w"].shape[1] if "w" in given else given["x"].shape[c] // spec.groups
        per_out = (given["w"].shape[0] if "w" in given else given["y"].shape[c]) // spec.groups
        names["x"][c] = "(g i)" if per_in > 1 else "g"
        names["w"][:2] = ["(g o)" if per_out > 1 else "g", "i"]
        names["y"][c] = names["b"][0] = names["w"][0]
        undivided |= {"i", "o"}
        sizes = {"o": per_out} if per_out > 1 else {}
        sizes |= {"g": spec.groups} if per_in > 1 and per_out > 1 else {}
    rule = " -> ".join(", ".join(" ".join(names[n]) for n in side) for side in (arguments, results))
    in_order = list(dict.fromkeys(re.findall(r"\w+", rule)))  # as Shardy wants them listed
    shared = {axis for n in arguments for axis in axes[n] if axis}
    summed = shared - set(axes[results[0]])

    divided = custom_partitioning(lambda *arrays: part(*arrays, spec=spec, summed=()))
    divided.def_partition(
        partial(_partition, op, part, spec),
        sharding_rule=rule,
        reduction_factors=tuple(f for f in in_order if f in summed),
        need_replication_factors=tuple(f for f in in_order if f in undivided),
        **sizes,
    )
    return divided(*arrays)


def _axes(spec: ConvSpec) -> Mapping[str, list[str | None]]:
    """What each axis of x, w, y and b is called that can be divided; None where it cannot."""
    grouped = spec.groups > 1
    images = [None] * (spec.rank + 2)
    x, y = ["n", *images[1:]], ["n", *images[1:]]
    x[spec.channel_axis], y[spec.channel_axis] = ("g", "g") if grouped else ("i", "o")
    w = ["g", None, *images[2:]] if grouped else ["o", "i", *images[2:]]
    return {"x": x, "w": w, "y": y, "b": w[:1]}


def _partition(op: str, part, spec: ConvSpec, mesh: Mesh, arguments, result):
    """What XLA's partitioner asks: the function of the parts, and which parts it takes and gives."""
    results = result if isinstance(result, Sequence) else (result,)
    order = "".join(ARRAYS[op])
    arrays = dict(zip(order, (*arguments, *results), strict=True))
    axes = _axes(spec)
    devices = list(results[0].sharding.devices_indices_map((0,) * len(results[0].shape)))  # in the program's order
    parts = {}
    for n in reversed(order):  # what the result asks for comes first
        found = _parts(arrays[n], devices)
        for axis, parts_of_axis in zip(axes[n], found, strict=True):
            size = spec.groups if axis == "g" else arrays[n].shape[axes[n].index(axis)]
            if axis and parts_of_axis is not None and size % (parts_of_axis.max() + 1) == 0:
                parts.setdefault(axis, parts_of_axis)
    mesh, of = _mesh(devices, parts)
    shardings = {
        n: NamedSharding(mesh, PartitionSpec(*(of.get(axis) if axis else None for axis in axes[n]))) for n in order
    }
    summed = [name for axis in of if axis not in axes[ARRAYS[op][1][0]] for name in of[axis]]
    own = replace(spec, groups=spec.groups // math.prod(mesh.shape[name] for name in of.get("g", ())))

    def of_one(*arrays):
        # The mesh that the program may have been written under is not this one: a sum that named it would be refused.
        with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
            return part(*arrays, spec=own, summed=summed)

    of_arguments, of_results = (tuple(shardings[n] for n in side) for side in ARRAYS[op])
    return mesh, of_one, jax.tree.unflatten(jax.tree.structure(result), of_results), of_arguments


def _parts(array: Any, devices: Sequence[Any]) -> list[np.ndarray | None]:
    """For each axis which part of it each device has; None where it is whole."""
    try:
        indices = array.sharding.devices_indices_map(array.shape)
    except ValueError:  # parts that differ in size
        return [None] * len(array.shape)
    found = []
    for axis, n in enumerate(array.shape):
        slices = [indices[device][axis].indices(n) for device in devices]
        length = slices[0][1] - slices[0][0]
        even = length and all(stop - start == length for start, stop, _ in slices)
        found.append(np.array([start // length for start, _, _ in slices]) if even and length < n else None)
    return found


def _mesh(devices: Sequence[Any], parts: Mapping[str, np.ndarray]) -> tuple[Mesh, dict[str, tuple[str, ...]]]:
    """A mesh of the devices in their order, and which of its axes divide what in `parts`.

    The program's own mesh is not known here, only which device has which part. A mesh with an axis for each prime
    factor of their number can say so, whatever the mesh was, but for the order of unequal factors: each is tried.
    """
    best: tuple[Mesh, dict[str, tuple[str, ...]]] | None = None
    for shape in sorted(set(itertools.permutations(_prime_factors(len(devices))))):
        names = tuple(f"d{i}" for i in range(len(shape)))
        digits = np.indices(shape).reshape(len(shape), len(devices))
        of, taken = {}, set()
        for what, part in parts.items():
            # How far the part moves where one digit of the device's number does.
            steps = [part[np.ravel_multi_index(unit, shape)] - part[0] for unit in np.eye(len(shape), dtype=int)]
            own = sorted((i for i in range(len(shape)) if steps[i]), key=lambda i: -steps[i])
            radix = np.ravel_multi_index([digits[i] for i in own], [shape[i] for i in own]) if own else None
            if radix is not None and np.array_equal(radix, part) and not taken & set(own):
                of[what] = tuple(names[i] for i in own)
                taken |= set(own)
        if best is None or len(of) > len(best[1]):
            best = Mesh(np.array(devices).reshape(shape), names), of
    assert best is not None
    return best


def _prime_factors(n: int) -> list[int]:
    factors, p = [], 2
    while n > 1:
        while n % p == 0:
            factors.append(p)
            n //= p
        p += 1
    return factors or [1]
