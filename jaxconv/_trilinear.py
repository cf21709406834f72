"""The one idea as three JAX primitives.

A `ConvSpec` fixes a scalar form, linear in three arrays,

    T(x, w, y) = <y, conv(x, w)>

and each primitive is one of its partial derivatives: `output` (in y), `input` (in x), `weight` (in w). Each is linear
in the two arrays that are left, and the transpose of each in one of them is another of the three, with the same spec.
So forward mode, reverse mode and every higher order follow from three lines that name each other; and since the
padding is part of the spec, the adjoint of a reflected or wrapped convolution is exact by construction. Nothing is
conjugated: for complex numbers these are transposes, as JAX's are.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import ManualAxisType, NamedSharding, PartitionSpec

from jaxconv._lowering import select, sharded, xla
from jaxconv._spec import ConvSpec, Size

# The parameters of each primitive, all static:
#   spec       the ConvSpec
#   size       spatial size of the result of `input`, kernel size of the result of `weight`; None for `output`
#   dtype      that of the result
#   precision  as lax has it
#   algorithm  a name, or "auto"
output_p = Primitive("conv_output")
input_p = Primitive("conv_input")
weight_p = Primitive("conv_weight")


class Options(NamedTuple):
    """How an op is to be computed; never what."""

    precision: Any
    preferred_element_type: Any
    algorithm: str


def output(x: jax.Array, w: jax.Array, spec: ConvSpec, options: Options) -> jax.Array:
    """The derivative of T in y: the convolution of batched images."""
    if options.algorithm == "xla":  # nothing of ours in the jaxpr
        return xla.output(x, w, spec, *options[:2])
    return _bind(output_p, x, w, **_parameters(x, spec, None, options))


def input(w: jax.Array, y: jax.Array, spec: ConvSpec, x_shape: Sequence[Size], options: Options) -> jax.Array:
    """The derivative of T in x: the transposed convolution of `y`."""
    if options.algorithm == "xla":
        return xla.input(w, y, spec, x_shape, *options[:2])
    return _bind(input_p, w, y, **_parameters(y, spec, _size(x_shape, spec), options))


def weight(x: jax.Array, y: jax.Array, spec: ConvSpec, w_shape: Sequence[int], options: Options) -> jax.Array:
    """The derivative of T in w: the correlation of `x` with `y`."""
    if options.algorithm == "xla":
        return xla.weight(x, y, spec, w_shape, *options[:2])
    return _bind(weight_p, x, y, **_parameters(x, spec, tuple(w_shape[2:]), options))


def _bind(primitive: Primitive, a: jax.Array, b: jax.Array, **params) -> jax.Array:
    """`primitive` of two arrays, which may vary over different axes of a `shard_map`'s mesh.

    As with JAX's own primitives, an array that does not vary over an axis is marked as if it did where the other does.
    The transpose of the mark is a sum over that axis: so the weight of divided images gets its whole gradient.
    """
    in_a, in_b = jax.typeof(a).mat.varying, jax.typeof(b).mat.varying
    a = lax.pcast(a, tuple(in_b - in_a), to="varying")
    b = lax.pcast(b, tuple(in_a - in_b), to="varying")
    return primitive.bind(a, b, **params)


def _parameters(array: jax.Array, spec: ConvSpec, size: Any, options: Options) -> dict[str, Any]:
    precision, preferred_element_type, algorithm = options
    dtype = jnp.dtype(array.dtype if preferred_element_type is None else preferred_element_type)
    return {"spec": spec, "size": size, "dtype": dtype, "precision": precision, "algorithm": algorithm}


# ---------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------


def _images(batch: Size, channels: int, size: Sequence[Size], spec: ConvSpec) -> tuple[Size, ...]:
    return (batch, channels, *size) if spec.channel_axis == 1 else (batch, *size, channels)


def _size(shape: Sequence[Size], spec: ConvSpec) -> tuple[Size, ...]:
    return tuple(shape[a] for a in spec.spatial_axes)


def _output_shape(x, w, spec: ConvSpec, size) -> tuple[Size, ...]:
    return _images(x.shape[0], w.shape[0], spec.output_size(_size(x.shape, spec), w.shape[2:]), spec)


def _input_shape(w, y, spec: ConvSpec, size) -> tuple[Size, ...]:
    return _images(y.shape[0], w.shape[1] * spec.groups, size, spec)


def _weight_shape(x, y, spec: ConvSpec, size) -> tuple[int, ...]:
    c = spec.channel_axis
    return (y.shape[c], x.shape[c] // spec.groups, *size)


_SHAPES: dict[Primitive, Callable] = {output_p: _output_shape, input_p: _input_shape, weight_p: _weight_shape}

for _p, _shape in _SHAPES.items():

    def _abstract(a, b, *, spec, size, dtype, precision, algorithm, shape=_shape):
        place: dict[str, Any] = {}
        if varying := a.mat.varying:  # and so does b, after `_bind`
            place["sharding"] = NamedSharding(a.sharding.mesh, PartitionSpec())
            place["manual_axis_type"] = ManualAxisType(varying=varying)
        return ShapedArray(shape(a, b, spec, size), dtype, **place)

    _p.def_abstract_eval(_abstract)


# ---------------------------------------------------------------------------------------------------------------
# Derivatives: the transpose of each primitive in each argument is one of the other two
# ---------------------------------------------------------------------------------------------------------------


def _transpose(primitive: Primitive, cotangent, other, linear, cotangent_first: bool, params: dict) -> jax.Array:
    """`primitive` of the cotangent and the other argument, a result like `linear`.

    The two differ in dtype where `preferred_element_type` was given: then the narrower one is widened.
    """
    wide = jnp.promote_types(cotangent.dtype, other.dtype)
    pair = (cotangent.astype(wide), other.astype(wide))
    shape, size = linear.aval.shape, None
    if primitive is input_p:
        size = _size(shape, params["spec"])
    elif primitive is weight_p:
        size = shape[2:]
    changed = {"size": size, "dtype": linear.aval.dtype}
    return _bind(primitive, *(pair if cotangent_first else pair[::-1]), **{**params, **changed})


# Primitive(a, b), then for a and for b: which primitive its transpose is, and whether the cotangent comes first in it.
_TRANSPOSES = {
    output_p: ((input_p, False), (weight_p, False)),  # of (x, w), given y: (w, y) -> x, (x, y) -> w
    input_p: ((weight_p, True), (output_p, True)),  # of (w, y), given x: (x, y) -> w, (x, w) -> y
    weight_p: ((input_p, True), (output_p, False)),  # of (x, y), given w: (w, y) -> x, (x, w) -> y
}

for _p, ((_of_a, _a_first), (_of_b, _b_first)) in _TRANSPOSES.items():

    def _in_a(cotangent, a, b, primitive=_of_a, first=_a_first, **params):
        return _transpose(primitive, cotangent, b, a, first, params)

    def _in_b(cotangent, a, b, primitive=_of_b, first=_b_first, **params):
        return _transpose(primitive, cotangent, a, b, first, params)

    ad.defbilinear(_p, _in_a, _in_b)


# ---------------------------------------------------------------------------------------------------------------
# Batching: a mapped axis goes into an axis that the arrays that have it share, so one convolution stays one
# ---------------------------------------------------------------------------------------------------------------

# The names of a primitive's arguments and of its result.
_ARRAYS = {output_p: "xwy", input_p: "wyx", weight_p: "xyw"}


def _fold(array: jax.Array, axis: int, groups: int) -> jax.Array:
    """(B, ..., groups * c, ...) -> (..., groups * B * c, ...): the mapped axis within each group of an axis."""
    shape = array.shape[1:]
    split = array.reshape(array.shape[0], *shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    moved = jnp.moveaxis(split, 0, axis + 1)
    return moved.reshape(*shape[:axis], shape[axis] * array.shape[0], *shape[axis + 1 :])


def _unfold(array: jax.Array, axis: int, groups: int, mapped: Size) -> jax.Array:
    """The inverse of `_fold`."""
    shape = array.shape
    each = shape[axis] // (mapped * groups)
    split = array.reshape(*shape[:axis], groups, mapped, each, *shape[axis + 1 :])
    return jnp.moveaxis(split, axis + 1, 0).reshape(mapped, *shape[:axis], groups * each, *shape[axis + 1 :])


def _batch(arguments, dims, *, primitive: Primitive, spec: ConvSpec, **params):
    names = _ARRAYS[primitive]
    mapped = next(a.shape[d] for a, d in zip(arguments, dims, strict=True) if d is not None)
    having = {n for n, d in zip(names, dims, strict=False) if d is not None} | {names[2]}  # the result always has it
    c, groups = spec.channel_axis, spec.groups
    if having == {"x", "y"}:  # the batch
        places = {"x": (0, 1), "y": (0, 1)}
    elif having == {"w", "y"}:  # the output channels of each group
        places = {"w": (0, groups), "y": (c, groups)}
    elif having == {"x", "w"}:  # the input channels of each group
        places = {"x": (c, groups), "w": (1, 1)}
    else:  # the groups
        places = {"x": (c, 1), "w": (0, 1), "y": (c, 1)}
        spec = ConvSpec(spec.strides, spec.pads, spec.dilations, groups * mapped, spec.padding_mode, spec.data_format)
    folded = [
        a if d is None else _fold(jnp.moveaxis(a, d, 0), *places[name])
        for name, a, d in zip(names, arguments, dims, strict=False)
    ]
    return _unfold(primitive.bind(*folded, spec=spec, **params), *places[names[2]], mapped), 0


for _p in _ARRAYS:
    batching.primitive_batchers[_p] = partial(_batch, primitive=_p)


# ---------------------------------------------------------------------------------------------------------------
# Lowering: the algorithm is chosen where the platform is known
# ---------------------------------------------------------------------------------------------------------------


def _compute(
    a, b, *, primitive: Primitive, platform: str, portable: bool, divided: bool, spec, size, dtype, precision, algorithm
):
    x_shape, w_shape = {
        output_p: lambda: (a.shape, b.shape),
        input_p: lambda: (_input_shape(a, b, spec, size), a.shape),
        weight_p: lambda: (a.shape, _weight_shape(a, b, spec, size)),
    }[primitive]()
    op = {output_p: "output", input_p: "input", weight_p: "weight"}[primitive]
    # A result narrower than the arguments, as the transpose of a widening one has, is rounded at the end.
    wide = jnp.promote_types(a.dtype, dtype)
    if algorithm == "auto":
        algorithm, _ = select.choose(op, spec, x_shape, w_shape, wide, platform, portable=portable)
    elif refusal := select.cannot(algorithm, x_shape, wide, platform, portable=portable):
        raise ValueError(f"algorithm={algorithm!r} cannot serve this call: {refusal}; use algorithm='auto'")
    family = sharded if algorithm == "native" and divided else select.FAMILIES[algorithm]
    options = (precision, wide if wide != a.dtype else None)
    if primitive is output_p:
        result = family.output(a, b, spec, *options)
    elif primitive is input_p:
        result = family.input(a, b, spec, x_shape, *options)
    else:
        result = family.weight(a, b, spec, w_shape, *options)
    return result.astype(dtype)


def _lower(ctx, a, b, *, primitive: Primitive, platform: str, **params):
    """The lowering rule of all three."""
    portable, divided = ctx.module_context.lowering_parameters.for_export, False
    if platform == "cpu" and not portable:
        ctx, devices = sharded.spread(ctx)
        portable, divided = devices == "unknown", devices == "several"
    # No algorithm moves anything between devices, and the zeros that a loop starts from vary over no axis of a
    # shard_map: so the arguments are seen as if they did not, either.
    ctx = ctx.replace(avals_in=[aval.update(manual_axis_type=ManualAxisType()) for aval in ctx.avals_in])
    compute = partial(_compute, primitive=primitive, platform=platform, portable=portable, divided=divided)
    return mlir.lower_fun(compute, multiple_results=False)(ctx, a, b, **params)


def _run(a, b, *, compiled, **params):
    with jax.disable_jit(False):  # else there would be no end: without jit, this is what `bind` comes to
        return compiled(a, b, **params)


for _p in _ARRAYS:
    _compiled = jax.jit(_p.bind, static_argnames=("spec", "size", "dtype", "precision", "algorithm"))
    _p.def_impl(partial(_run, compiled=_compiled))
    for _platform in (None, "cpu"):
        _rule = partial(_lower, primitive=_p, platform=_platform or "other")
        mlir.register_lowering(_p, _rule, platform=_platform)
