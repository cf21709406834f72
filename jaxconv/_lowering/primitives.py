"""What all primitives of this library share: how they are bound, placed and made known to JAX's compiler."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir
from jax.sharding import AxisType, ManualAxisType, NamedSharding, PartitionSpec

from jaxconv import _native
from jaxconv._lowering import sharded
from jaxconv._lowering.family import ONE, PLATFORMS
from jaxconv._spec.shapes import is_static


def bind(primitive: Primitive, *arrays: jax.Array, **params: Any) -> Any:
    """`primitive` of arrays, which may vary over different axes of a `shard_map`'s mesh.

    As with JAX's own primitives, an array that does not vary over an axis is marked as if it did where another does.
    The transpose of the mark is a sum over that axis: so the weight of divided images gets its whole gradient.
    """
    arrays = tuple(map(as_here, arrays))
    varying = [jax.typeof(a).mat.varying for a in arrays]
    everywhere = frozenset().union(*varying)
    marked = (lax.pcast(a, tuple(everywhere - own), to="varying") for a, own in zip(arrays, varying, strict=True))
    return primitive.bind(*marked, **params)


def as_here(a: Any) -> Any:
    """An array with the mesh as it is here in its type.

    Within an op explicit axes are automatic, and so they are where its transpose is taken; but what was kept for that
    has the types of outside, with which JAX refuses to compute where other axes are manual.
    """
    own, here = jax.typeof(a).sharding.mesh, jax.sharding.get_abstract_mesh()
    if here.empty or own == here or AxisType.Explicit not in own.axis_types:
        return a
    return jax.sharding.reshard(a, NamedSharding(here, PartitionSpec()))


def place(a: Any) -> dict[str, Any]:
    """What a result has of the type of an argument, beside shape and dtype: its mesh, and over which axes it varies."""
    mesh = jax.sharding.get_abstract_mesh()
    mesh = a.sharding.mesh if mesh.empty else mesh
    if mesh.empty:
        return {}
    sharding = NamedSharding(mesh, PartitionSpec())
    return {"sharding": sharding, "manual_axis_type": ManualAxisType(varying=a.mat.varying)}  # as do others, by `bind`


def no_tangent(a: Any) -> ad.Zero:
    """The tangent of an array that does not move."""
    return ad.Zero(jax.typeof(a).to_tangent_aval())


def batch(arguments, dims, *, primitive: Primitive, **params):
    """The batching rule of a primitive whose arrays all have an axis of images first: a mapped axis is a part of it."""
    mapped = next(a.shape[d] for a, d in zip(arguments, dims, strict=True) if d is not None)
    whole = [
        jnp.broadcast_to(a, (mapped, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(arguments, dims, strict=True)
    ]
    first = whole[0].shape[1]
    found = bind(primitive, *(a.reshape(mapped * first, *a.shape[2:]) for a in whole), **params)
    unfolded = jax.tree.map(lambda a: a.reshape(mapped, first, *a.shape[1:]), found)
    return unfolded, [0] * len(found) if primitive.multiple_results else 0


def register(primitive: Primitive, compute: Callable[..., Any], static: tuple[str, ...]) -> None:
    """Has `primitive` compiled to what `compute` makes of its arrays, on every platform, and when called eagerly.

    Args:
        primitive: one whose abstract evaluation is defined.
        compute: `compute(*arrays, facts=..., **params)`, where the facts are the platform, whether the program is to be
            portable, and over how many devices it is spread.
        static: the names of its parameters.
    """
    compiled = jax.jit(primitive.bind, static_argnames=static)
    primitive.def_impl(partial(_run, compiled=compiled))
    rule = partial(_lower, primitive=primitive, compute=compute)
    mlir.register_lowering(primitive, partial(rule, platform="another platform"))
    for platform in PLATFORMS:
        mlir.register_lowering(primitive, partial(rule, platform=platform), platform=platform)


def is_native(x: jax.Array, *, platform: str, portable: bool, devices: str = ONE) -> bool:
    """Whether the kernels take `x`, of which each device of a program has a part of its own."""
    of_kernels = _native.unavailable is None and str(x.dtype) in _native.STORAGES
    return of_kernels and platform == "cpu" and not portable and devices == ONE and is_static(x.shape) and x.size > 0


def _run(*arrays, compiled, **params):
    with jax.disable_jit(False):  # else there would be no end: without jit, this is what `bind` comes to
        return compiled(*arrays, **params)


def _lower(ctx, *arrays, primitive: Primitive, compute: Callable[..., Any], platform: str, **params):
    """The lowering rule of all of them."""
    facts = {"platform": platform, "portable": ctx.module_context.lowering_parameters.for_export}
    ctx, facts["devices"] = sharded.spread(ctx)
    # Nothing is moved between devices, and the zeros that a loop starts from vary over no axis of a shard_map: so the
    # arguments are seen as if they did not, either.
    ctx = ctx.replace(avals_in=[_as_seen(aval) for aval in ctx.avals_in])
    computed = partial(compute, facts=facts)
    return mlir.lower_fun(computed, multiple_results=primitive.multiple_results)(ctx, *arrays, **params)


def _as_seen(aval: Any) -> Any:
    aval = aval.update(manual_axis_type=ManualAxisType())
    if AxisType.Explicit not in aval.sharding.mesh.axis_types:
        return aval
    # What one part of an op leaves to another that is called later, as to its gradient, has the type that it had
    # between them, and not the one that it has within the op: see `divided` of `_ops/meshes.py`.
    return aval.update(sharding=NamedSharding(jax.sharding.get_abstract_mesh(), PartitionSpec()))
