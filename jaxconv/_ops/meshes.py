"""Arrays whose types say how they are divided: under a mesh with explicit axes a result's type says so, too.

What the ops are made of, reshapes among it, would have to be told at each step how its result is divided. So within an
op the axes are automatic, as they are without such types, and XLA's partitioner finds the parts; and what comes out is
divided as the axes are that it has from its arguments.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

_Places = Sequence[tuple[int, int] | None]


def divided(
    run: Callable[..., Any], arrays: Sequence[Any], places: _Places | tuple[_Places | None, ...], **static: Any
) -> Any:
    """`run(*arrays, **static)`, typed.

    Args:
        run: an op of the arrays.
        arrays: its arguments; None for a bias that is not there.
        places: for each axis of the result (which array, which of its axes) it is divided like; None where it is whole.
            So is one whose size the mesh does not divide, and a mesh axis that is named twice is the first one's. Of
            several results it may be a tuple of such lists, None where one is missing.
        static: what else `run` takes; nothing that is traced.
    """
    mesh = jax.sharding.get_abstract_mesh()
    is_set = not mesh.empty
    if not is_set:  # that of the arrays, as JAX's own operations have it
        meshes = (jax.typeof(a).sharding.mesh for a in arrays if a is not None)
        mesh = next((own for own in meshes if not own.empty), mesh)
    explicit = tuple(n for n, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit)
    if not explicit:
        return run(*arrays, **static)
    with jax.sharding.use_abstract_mesh(mesh):
        # Without devices, which only a mesh that is set has, nothing is moved but by a compiled program.
        return _divided(run, [_of_the_mesh(a) for a in arrays] if is_set else arrays, places, static, explicit)


def _divided(run, arrays, places, static, explicit: tuple[str, ...]) -> Any:
    fixed = tuple(static.items())
    found = jax.eval_shape(_typed(run, fixed, explicit, PartitionSpec()), *arrays)
    specs = [() if a is None else tuple(jax.typeof(a).sharding.spec) for a in arrays]
    if isinstance(places, tuple):
        pairs = zip(places, found, strict=True)
        result = tuple(None if each is None else _spec_of(each, specs, a.shape) for each, a in pairs)
    else:
        like: Any = places
        result = jax.tree.map(lambda a: _spec_of(like, specs, a.shape), found)
    return _typed(run, fixed, explicit, result)(*arrays)


def _of_the_mesh(a: Any) -> Any:
    """An array with the mesh in its type. Of one without, a gradient would have the mesh as it is within an op."""
    is_plain = a is not None and jnp.issubdtype(a.dtype, jnp.inexact) and jax.typeof(a).sharding.mesh.empty
    return jax.sharding.reshard(a, PartitionSpec()) if is_plain else a


def may_be_divided(x: jax.Array) -> bool:
    """Whether the type of an array has a mesh of several devices that divide it in ways that are not seen here."""
    mesh = jax.typeof(x).sharding.mesh
    return any(n > 1 and kind != AxisType.Manual for n, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True))


def _spec_of(places: Any, specs: Sequence[tuple[Any, ...]], shape: Sequence[int]) -> PartitionSpec:
    sizes = jax.sharding.get_abstract_mesh().shape
    entries: list[Any] = []
    taken: set[Any] = set()
    for place, size in zip(places, shape, strict=True):
        entry = specs[place[0]][place[1]] if place is not None else None
        names = {entry} if isinstance(entry, str) else set(entry or ())
        if names & taken or size % math.prod(sizes[name] for name in names):
            entry, names = None, set()
        entries.append(entry)
        taken |= names
    return PartitionSpec(*entries)


@functools.lru_cache
def _typed(run: Callable[..., Any], static: tuple[tuple[str, Any], ...], explicit: tuple[str, ...], result: Any) -> Any:
    # Compiled as a whole: one by one, the arrays in between would have the types that XLA's partitioner finds for them.
    whole = jax.sharding.auto_axes(functools.partial(run, **dict(static)), axes=explicit, out_sharding=result)
    return jax.jit(lambda *arrays: whole(*map(_of_the_mesh, arrays)))


def images(ndim: int, rank: int, data_format: str, channels: tuple[int, int] | None = (0, 0)) -> list[Any]:
    """The places of images like the first array, of which `ndim` and `rank` are.

    Args:
        ndim: how many axes they have, the batch among them or not.
        rank: how many of these are spatial.
        data_format: where the channels stand.
        channels: where those come from, (which array, which axis); (0, 0) for the images' own, None for nowhere.
    """
    places: list[Any] = [(0, axis) for axis in range(ndim)]
    axis = ndim - rank - 1 if data_format == "channels_first" else ndim - 1
    places[axis] = (0, axis) if channels == (0, 0) else channels
    return places
