"""An op in a program for several devices: each computes its part of the arrays.

XLA's partitioner knows nothing of a call of the kernels, and would gather whole arrays on every device; and of its own
convolutions it gets some weight gradients wrong, those of images that a part of a mesh's axes divides. So it is told
the axes that the arrays share, and how a part of the result follows from parts of the arguments. With the images
(N, C, ...), the weight (O, C / groups, ...) and the result of the convolution (N, O, ...) these are

    n       the images
    g       the groups, which channels and the weight's rows are divided into
    o, i    the channels of a single group; those of several are not divided further
    s0, ... the spatial axes of images and results: a part of a result is made of the windows that it reads (`halo.py`)

and an op divided along the one of them that its result does not have ends with a sum over devices.
"""

import functools
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxconv._arrays import wide
from jaxconv._lowering import padding
from jaxconv._lowering.common import add_bias
from jaxconv._lowering.family import HIDDEN, ONE, SEVERAL, Problem
from jaxconv._lowering.halo import Windows, mesh_order
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.shapes import extent

# Computes the results of a problem from its arrays.
Compute = Callable[..., list[jax.Array]]


def spread(ctx: Any) -> tuple[Any, str]:
    """Over how many devices a program is spread: `ONE`, `SEVERAL`, or `HIDDEN` where it cannot be divided here.

    Args:
        ctx: the context of a lowering rule.

    Returns:
        The context to go on with, and the answer.
    """
    axes = ctx.module_context.axis_context
    manual = getattr(axes, "manual_axes", None)
    if manual is not None:  # within a shard_map: what is seen there is a part already, if it divides along all axes
        return ctx, ONE if set(manual) == set(axes.mesh.axis_names) else HIDDEN
    count = getattr(axes, "num_devices", None)
    if count == 1:
        return ctx, ONE
    # An exported program has no function to ask how it is divided: it may run where this package is not.
    portable = ctx.module_context.lowering_parameters.for_export
    if count is None or portable or not getattr(jax.config, "jax_use_shardy_partitioner", True):
        return ctx, HIDDEN
    # `custom_partitioning` names parts by devices, which JAX gives to primitives of its own alone; which ones they are
    # makes no difference.
    devices = tuple(axes.device_assignment or jax.devices()[:count])
    if len(devices) != count:
        return ctx, HIDDEN
    axes = replace(axes, device_assignment=devices, abstract_mesh=None)
    return ctx.replace(module_context=ctx.module_context.replace(axis_context=axes)), SEVERAL


def divided(problem: Problem, compute: Compute, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """The results of a problem, computed in parts where its arrays are divided among devices.

    Args:
        problem: the whole op.
        compute: computes the results of a problem from its arrays: `compute(problem, *arrays)`.
        arrays: the arguments of the op.
    """
    # Shardy's rule in words, each axis with a name: those that cannot be divided have names of their own.
    spec, arguments, results = problem.spec, problem.arguments, problem.results
    axes = _axes(spec)
    names = {n: [axis or f"{n}{i}" for i, axis in enumerate(axes[n])] for n in axes}
    undivided = {f"{n}{i}" for n in axes for i, axis in enumerate(axes[n]) if axis is None}
    sizes: dict[str, Any] = {}
    if spec.groups > 1:
        # A channel is one of a group's: (g i) and (g o) in the notation of the rule, which knows no axis of size 1
        # within another, and wants the sizes of those that are nowhere alone.
        c = spec.channel_axis
        per_in, per_out = problem.w_shape[1], problem.w_shape[0] // spec.groups
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

    in_parts = custom_partitioning(partial(compute, problem))
    in_parts.def_partition(
        partial(_partition, problem, compute, jax.config.read("jax_enable_x64")),
        sharding_rule=rule,
        reduction_factors=tuple(f for f in in_order if f in summed),
        need_replication_factors=tuple(f for f in in_order if f in undivided),
        **sizes,
    )
    return in_parts(*arrays)


def _axes(spec: ConvSpec) -> Mapping[str, list[str | None]]:
    """What each axis of x, w, y and b is called that can be divided; None where it cannot."""
    grouped = spec.groups > 1
    x: list[str | None] = ["n"] * (spec.rank + 2)
    for i, axis in enumerate(spec.spatial_axes):
        x[axis] = f"s{i}"
    y = list(x)
    x[spec.channel_axis], y[spec.channel_axis] = ("g", "g") if grouped else ("i", "o")
    kernel = [None] * spec.rank
    w = ["g", None, *kernel] if grouped else ["o", "i", *kernel]
    return {"x": x, "w": w, "y": y, "b": w[:1]}


def _partition(problem: Problem, compute: Compute, x64: bool, mesh: Mesh, arguments, results):
    """What XLA's partitioner asks: the function of the parts, and which parts it takes and gives."""
    spec, order = problem.spec, problem.arguments + problem.results
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

    def count(axis: str | None) -> int:
        return math.prod(mesh.shape[name] for name in of.get(axis or "", ()))

    # Of x and y one may have a size along a spatial axis that the devices do not divide: it is whole on each of them.
    shardings = {
        n: NamedSharding(
            mesh,
            PartitionSpec(
                *(
                    of.get(axis) if axis and (axis == "g" or size % count(axis) == 0) else None
                    for axis, size in zip(axes[n], arrays[n].shape, strict=True)
                )
            ),
        )
        for n in order
    }
    along = [_Along.of(problem, i, of[f"s{i}"], mesh) for i in range(spec.rank) if count(f"s{i}") > 1]
    summed = [name for axis in of if axis not in axes[problem.results[0]] for name in of[axis]]
    own = replace(spec, groups=spec.groups // count("g"))

    def of_one(*arrays):
        # The mesh that the program may have been written under is not this one: a sum that named it would be refused.
        # And this runs where XLA does, where a `with jax.enable_x64` around the program does not reach.
        with jax.enable_x64(x64), jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
            return _part(problem, own, compute, arrays, summed, along)

    of_arguments, of_results = ([shardings[n] for n in side] for side in (problem.arguments, problem.results))
    return mesh, of_one, of_results, tuple(of_arguments)


@dataclass(frozen=True)
class _Along:
    """A spatial axis that devices divide.

    Each computes `m` positions of y, or is given them, from a window of x. Along this axis x and y are in parts where
    the devices divide their size, and else whole on every device. Then a device takes its window, or its m positions
    (zeros beyond the last), from the whole, and what it computes is put together again.

    Attributes:
        windows: what each device's positions of y read of x.
        y_size: positions of the whole y.
        m: positions of y that are a device's.
    """

    windows: Windows
    y_size: int
    m: int

    @classmethod
    def of(cls, problem: Problem, i: int, names: tuple[str, ...], mesh: Mesh) -> "_Along":
        """For the spatial axis `i`, which the devices along the mesh's axes `names` divide."""
        spec = problem.spec
        axis, s, d, pads = spec.spatial_axes[i], spec.strides[i], spec.dilations[i], spec.pads[i]
        size, y_size, k = problem.x_shape[axis], problem.y_shape[axis], problem.w_shape[2 + i]
        parts = math.prod(mesh.shape[name] for name in names)
        m = -(-y_size // parts)
        length, in_order = extent(m, k, s, d), mesh_order(names, mesh.shape)
        windows = Windows(axis, names, parts, in_order, size, pads, offset=-pads[0], step=m * s, length=length)
        return cls(windows, y_size, m)

    @property
    def x_divided(self) -> bool:
        return self.windows.size % self.windows.parts == 0

    @property
    def y_divided(self) -> bool:
        return self.y_size % self.windows.parts == 0

    def read_x(self, x: jax.Array, mode: str) -> jax.Array:
        """A device's windows of x."""
        if self.x_divided:
            return self.windows.read(x, mode)
        each = self.windows
        widths = [(0, 0)] * x.ndim
        widths[each.axis] = each.pads
        x = padding.pad(x, widths, mode)
        # Room for the last device's window, which may end beyond the padding or before it.
        end = each.step * (each.parts - 1) + each.length
        widths[each.axis] = (0, max(end - x.shape[each.axis], 0))
        return self._own(padding.pad(x, widths, "zeros"), each.step, each.length)

    def read_y(self, y: jax.Array) -> jax.Array:
        """A device's positions of y."""
        if self.y_divided:
            return y
        widths = [(0, 0)] * y.ndim
        widths[self.windows.axis] = (0, self.m * self.windows.parts - self.y_size)
        return self._own(padding.pad(y, widths, "zeros"), self.m, self.m)

    def whole_y(self, y: jax.Array) -> jax.Array:
        """y from the positions that each device has of it, whole where it is not in parts."""
        if self.y_divided:
            return y
        axis = self.windows.axis
        y = jax.lax.all_gather(y, self.windows.names, axis=axis, tiled=True)
        return jax.lax.slice_in_dim(y, 0, self.y_size, axis=axis)

    def _own(self, a: jax.Array, step: int, length: int) -> jax.Array:
        start = jax.lax.axis_index(self.windows.names) * step
        return jax.lax.dynamic_slice_in_dim(a, start, length, self.windows.axis)


def _part(
    problem: Problem,
    spec: ConvSpec,
    compute: Compute,
    arrays: Sequence[jax.Array],
    summed: Sequence[str],
    along: Sequence[_Along],
) -> list[jax.Array]:
    """What one device has of the results: computed from its part of the arrays, summed over axes of the mesh."""
    mode = spec.padding_mode
    pads, size = list(spec.pads), list(problem.size)
    for each in along:  # a window has its padding
        i = spec.spatial_axes.index(each.windows.axis)
        pads[i] = (0, 0)
        if problem.op == "input":
            size[i] = each.windows.length
    spec = replace(spec, pads=tuple(pads))

    def read_x(x):
        return functools.reduce(lambda x, each: each.read_x(x, mode), along, x)

    of = dict(zip(problem.arguments, arrays, strict=True))
    if "x" in of:
        of["x"] = read_x(of["x"])
    if "y" in of:
        of["y"] = functools.reduce(lambda y, each: each.read_y(y), along, of["y"])
    first, second, *_ = of.values()
    own = problem.part(first.shape, second.shape, spec=spec, size=tuple(size), devices=ONE)
    if summed or (problem.op == "input" and along):  # what is still to be added up is not rounded to 16 bits before
        own = replace(own, dtype=jnp.dtype(wide(own.dtype)))
    bias = of.get("b") if summed else None
    if bias is not None:  # the channels of x are divided: it belongs to none of the parts, but to their sum
        del of["b"]
        own = replace(own, bias=False)
    results = compute(own, *of.values())
    results = jax.lax.psum(results, summed) if summed else results
    if bias is not None:
        results = [add_bias(results[0], bias, spec)]
    if problem.op == "input" and along:
        (x,) = results
        shape = list(x.shape)
        for each in along:
            windows = each.windows
            shape[windows.axis] = windows.size // windows.parts if each.x_divided else windows.size
        (x,) = jax.linear_transpose(read_x, jax.ShapeDtypeStruct(shape, x.dtype))(x)
        whole = [name for each in along if not each.x_divided for name in each.windows.names]
        results = [jax.lax.psum(x, whole) if whole else x]
    results = [a.astype(problem.dtype) for a in results]
    if problem.op == "output":
        return [functools.reduce(lambda y, each: each.whole_y(y), along, y) for y in results]
    return results


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
