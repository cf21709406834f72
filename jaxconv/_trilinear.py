"""The one idea as JAX primitives: three, and two companions for a bias.

A `ConvSpec` fixes a scalar form, linear in three arrays,

    T(x, w, y) = <y, conv(x, w)>

and each primitive is one of its partial derivatives: `output` (in y), `input` (in x), `weight` (in w). Each is linear
in the two arrays that are left, and the transpose of each in one of them is another of the three, with the same spec.
So forward mode, reverse mode and every higher order follow from three lines that name each other; and since the
padding is part of the spec, the adjoint of a reflected or wrapped convolution is exact by construction. Nothing is
conjugated: for complex numbers these are transposes, as JAX's are.

A bias makes the weight a pair (w, b), and adds <y, b> to the form, b at every position. So `output` and `weight` have
a companion each, which an algorithm may compute in one go: conv(x, w) + b, linear in the pair, and its transpose in the
pair.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxconv._arrays import refuse_for_room
from jaxconv._lowering import select, sharded
from jaxconv._lowering.common import add_bias, sum_to_bias
from jaxconv._lowering.family import ONE, SEVERAL, Problem, make_problem
from jaxconv._lowering.family import names as array_names
from jaxconv._lowering.primitives import as_here, bind, no_tangent, place, register
from jaxconv._spec.convolution import LESS, SMALLER, ConvSpec
from jaxconv._spec.shapes import Size, extent, is_static

# The parameters of each primitive, all static:
#   spec       the ConvSpec
#   size       spatial size of the result of `input`, kernel size of the result of `weight`; None for `output`
#   dtype      that of the result
#   precision  as lax has it
#   algorithm  a name, or "auto"
output_p = Primitive("conv_output")
input_p = Primitive("conv_input")
weight_p = Primitive("conv_weight")
output_bias_p = Primitive("conv_output_bias")  # (x, w, b) -> y
weight_bias_p = Primitive("conv_weight_bias")  # (x, y) -> (w, b)
weight_bias_p.multiple_results = True

# Which op each is, and whether with a bias.
_OPS: dict[Primitive, tuple[str, bool]] = {
    output_p: ("output", False),
    input_p: ("input", False),
    weight_p: ("weight", False),
    output_bias_p: ("output", True),
    weight_bias_p: ("weight", True),
}


class Options(NamedTuple):
    """How an op is to be computed; never what."""

    precision: Any
    preferred_element_type: Any
    algorithm: str


def output(x: jax.Array, w: jax.Array, b: jax.Array | None, spec: ConvSpec, options: Options) -> jax.Array:
    """The derivative of T in y: the convolution of batched images, and a bias where there is one."""
    if read := _what_is_read(spec, spec.size_of(x.shape), w.shape[2:]):
        x, w, spec = _cut(x, spec.spatial_axes, read.image), _cut(w, range(2, w.ndim), read.taps), read.spec
    if b is None:
        return _op(output_p, (x, w), spec, None, options)
    return _op(output_bias_p, (x, w, b), spec, None, options)


def input(w: jax.Array, y: jax.Array, spec: ConvSpec, size: tuple[Size, ...], options: Options) -> jax.Array:
    """The derivative of T in x: the transposed convolution of `y`, images of spatial size `size`."""
    if read := _what_is_read(spec, size, w.shape[2:]):
        w, own = _cut(w, range(2, w.ndim), read.taps), tuple(end - first for first, end in read.image)
        return _uncut(_op(input_p, (w, y), read.spec, own, options), spec.spatial_axes, read.image, size)
    return _op(input_p, (w, y), spec, size, options)


def weight(x: jax.Array, y: jax.Array, spec: ConvSpec, kernel: tuple[int, ...], options: Options) -> jax.Array:
    """The derivative of T in w: the correlation of `x` with `y`, a weight of kernel size `kernel`."""
    if read := _what_is_read(spec, spec.size_of(x.shape), kernel):
        x, own = _cut(x, spec.spatial_axes, read.image), tuple(end - first for first, end in read.taps)
        return _uncut(_op(weight_p, (x, y), read.spec, own, options), range(2, x.ndim), read.taps, kernel)
    return _op(weight_p, (x, y), spec, kernel, options)


class _Read(NamedTuple):
    """What a convolution reads of an image and of a kernel along each spatial axis, and what it is of that alone."""

    image: tuple[tuple[int, int], ...]
    taps: tuple[tuple[int, int], ...]
    spec: ConvSpec


def _what_is_read(spec: ConvSpec, size: Sequence[Size], kernel: Sequence[int]) -> _Read | None:
    """What is left where a kernel is so dilated that some of its taps are in the padding for every output.

    It is what has to be computed: an algorithm that walks through the padding would take the square of its time. None
    where each tap meets the image, or none does.
    """
    if spec.padding_mode != "zeros" or max(spec.dilations) == 1 or not is_static(size):
        return None
    image, taps, pads, dilations = [], [], [], []
    numbers = zip(size, spec.output_size(size, kernel), kernel, spec.strides, spec.dilations, spec.pads, strict=True)
    for n, m, k, s, d, (low, high) in numbers:
        # Tap t is at t d - low for the first output, and (m - 1) s further for the last.
        first, end = max(0, -(((m - 1) * s - low) // d)), min(k, (n - 1 + low) // d + 1)
        if first >= end:
            return None
        before = low - first * d
        after = extent(m, end - first, s, d) - before - n if end - first < k else high
        taps.append((first, end))
        image.append((max(-before, 0), n - max(-after, 0)))
        pads.append((max(before, 0), max(after, 0)))
        dilations.append(d if end - first > 1 else 1)
    if all(end - first == k for (first, end), k in zip(taps, kernel, strict=True)):
        return None
    return _Read(tuple(image), tuple(taps), replace(spec, pads=tuple(pads), dilations=tuple(dilations)))


def _cut(array: jax.Array, axes: Iterable[int], stretches: Sequence[tuple[int, int]]) -> jax.Array:
    """A stretch of some of the axes."""
    for axis, (first, end) in zip(axes, stretches, strict=True):
        array = lax.slice_in_dim(array, first, end, axis=axis)
    return array


def _uncut(
    array: jax.Array, axes: Iterable[int], stretches: Sequence[tuple[int, int]], size: Sequence[int]
) -> jax.Array:
    """The transpose of `_cut`, from arrays of that size along these axes."""
    around = [(0, 0, 0)] * array.ndim
    for axis, (first, end), n in zip(axes, stretches, size, strict=True):
        around[axis] = (first, n - end, 0)
    return lax.pad(array, jnp.zeros((), array.dtype), around)


def _op(primitive: Primitive, arrays: tuple[jax.Array, ...], spec: ConvSpec, size: Any, options: Options) -> Any:
    precision, preferred_element_type, algorithm = options
    dtype = jnp.dtype(arrays[0].dtype if preferred_element_type is None else preferred_element_type)
    params = {"spec": spec, "size": size, "dtype": dtype, "precision": precision, "algorithm": algorithm}
    # Where there are several devices, `lax` alone would leave the division to XLA's partitioner: see `sharded.py`.
    if (family := select.without_primitive(algorithm)) and jax.device_count() == 1:
        problem = _problem(primitive, *arrays[:2], **params)
        return getattr(family, problem.op)(problem, *arrays)
    return bind(primitive, *arrays, **params)


def _problem(primitive: Primitive, a, b, *, spec, size, dtype, precision, algorithm, **facts) -> Problem:
    """What a primitive computes of arrays like a and b."""
    op, bias = _OPS[primitive]
    return make_problem(op, spec, a.shape, b.shape, size, dtype, bias=bias, precision=precision, **facts)


# ---------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------


def _abstract(a, b, *_, primitive: Primitive, **params):
    problem = _problem(primitive, a, b, **params)
    results = [ShapedArray(problem.shape(array), params["dtype"], **place(a)) for array in problem.results]
    return results if primitive.multiple_results else results[0]


for _p in _OPS:
    _p.def_abstract_eval(partial(_abstract, primitive=_p))


# ---------------------------------------------------------------------------------------------------------------
# Derivatives: the transpose of each primitive in each argument is one of the other two
# ---------------------------------------------------------------------------------------------------------------


def _transpose(primitive: Primitive, cotangent, other, linear, cotangent_first: bool, params: dict) -> Any:
    """`primitive` of the cotangent and the other argument, a result like `linear`.

    The two differ in dtype where `preferred_element_type` was given: then the narrower one is widened.
    """
    both = jnp.promote_types(cotangent.dtype, other.dtype)
    pair = (cotangent.astype(both), as_here(other).astype(both))
    shape, size = linear.aval.shape, None
    if primitive is input_p:
        size = params["spec"].size_of(shape)
    elif primitive in (weight_p, weight_bias_p):
        size = shape[2:]
    changed = {"size": size, "dtype": linear.aval.dtype}
    return bind(primitive, *(pair if cotangent_first else pair[::-1]), **{**params, **changed})


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


# With a bias, what is linear is the pair: (w, b) -> conv(x, w) + b has a transpose, y -> (weight(x, y), the sums of y),
# which has the first as its own in y. In x the two are linear but for a constant, so their derivative in x has no bias.


def _output_bias_jvp(primals, tangents, **params):
    """conv(x, w) + b moves by conv(x, dw) + db, and by conv(dx, w)."""
    (x, w, b), (dx, dw, db) = primals, tangents
    y = output_bias_p.bind(x, w, b, **params)
    parts = []
    if type(dx) is not ad.Zero:
        parts.append(output_p.bind(dx, w, **params))
    if type(dw) is not ad.Zero and type(db) is not ad.Zero:
        parts.append(output_bias_p.bind(x, dw, db, **params))
    elif type(dw) is not ad.Zero:
        parts.append(output_p.bind(x, dw, **params))
    elif type(db) is not ad.Zero:
        parts.append(_spread(db, jax.typeof(y), params["spec"]))
    return y, sum(parts[1:], parts[0]) if parts else no_tangent(y)


def _spread(b, y, spec: ConvSpec) -> jax.Array:
    """The bias at every position of an array like y."""
    return add_bias(jnp.zeros(y.shape, y.dtype), b, spec)


def _output_bias_transpose(cotangent, x, w, b, **params):
    """In (w, b); or, as JAX transposes a sum one of whose terms is a constant, in x, w or b alone."""
    if type(cotangent) is ad.Zero:
        return [ad.Zero(a.aval) if ad.is_undefined_primal(a) else None for a in (x, w, b)]
    if ad.is_undefined_primal(x):
        return [_transpose(input_p, cotangent, w, x, False, params), None, None]
    if not ad.is_undefined_primal(b):
        return [None, _transpose(weight_p, cotangent, x, w, False, params), None]
    if not ad.is_undefined_primal(w):
        return [None, None, sum_to_bias(cotangent, params["spec"]).astype(b.aval.dtype)]
    return [None, *_transpose(weight_bias_p, cotangent, x, w, False, params)]


def _weight_bias_jvp(primals, tangents, **params):
    """(weight(x, y), the sums of y) moves by the same of (x, dy), and by (weight(dx, y), 0)."""
    (x, y), (dx, dy) = primals, tangents
    results = weight_bias_p.bind(x, y, **params)
    moves = [no_tangent(a) for a in results]
    if type(dy) is not ad.Zero:
        moves = weight_bias_p.bind(x, dy, **params)
    if type(dx) is not ad.Zero:
        moves = [ad.add_tangents(moves[0], weight_p.bind(dx, y, **params)), moves[1]]
    return results, moves


def _weight_bias_transpose(cotangents, x, y, **params):
    """In y: the pair makes an output again."""
    of_w, of_b = cotangents
    params = {**params, "size": None, "dtype": y.aval.dtype}
    if type(of_w) is ad.Zero:
        zero = type(of_b) is ad.Zero
        return [None, ad.Zero(y.aval) if zero else _spread(of_b, y.aval, params["spec"])]
    both = jnp.promote_types(of_w.dtype, x.dtype)
    arguments = [x.astype(both), of_w.astype(both)]
    if type(of_b) is ad.Zero:
        return [None, bind(output_p, *arguments, **params)]
    return [None, bind(output_bias_p, *arguments, of_b.astype(both), **params)]


ad.primitive_jvps[output_bias_p] = _output_bias_jvp
ad.primitive_transposes[output_bias_p] = _output_bias_transpose
ad.primitive_jvps[weight_bias_p] = _weight_bias_jvp
ad.primitive_transposes[weight_bias_p] = _weight_bias_transpose


# ---------------------------------------------------------------------------------------------------------------
# Batching: a mapped axis goes into an axis that the arrays that have it share, so one convolution stays one
# ---------------------------------------------------------------------------------------------------------------


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


def _batch_nothing(arguments, dims, **params):
    """Over an axis of size 0, which no axis can be divided by: over one of size 1, of which nothing is kept."""
    one = [
        a if d is None else lax.pad(a, jnp.zeros((), a.dtype), [(0, int(axis == d), 0) for axis in range(a.ndim)])
        for a, d in zip(arguments, dims, strict=True)
    ]
    found, places = _batch(one, dims, **params)
    if not isinstance(found, list):
        return lax.slice_in_dim(found, 0, 0, axis=places), places
    return [a if d is None else lax.slice_in_dim(a, 0, 0, axis=d) for a, d in zip(found, places, strict=True)], places


def _batch(arguments, dims, *, primitive: Primitive, spec: ConvSpec, **params):
    names, results = array_names(*_OPS[primitive])
    result = results[0]
    mapped = next(a.shape[d] for a, d in zip(arguments, dims, strict=True) if d is not None)
    if isinstance(mapped, int) and mapped == 0:
        return _batch_nothing(arguments, dims, primitive=primitive, spec=spec, **params)
    having = {n for n, d in zip(names, dims, strict=True) if d is not None}
    if having == {"x", "b"}:  # the batch holds the one and the output channels the other, so b is added afterwards
        y, _ = _batch(arguments[:2], dims[:2], primitive=output_p, spec=spec, **params)
        return jax.vmap(partial(add_bias, spec=spec), (0, dims[2]))(y, arguments[2]), 0
    if "b" in names and having & {"w", "b"}:  # what one of the pair has, both have
        x, *pair = zip(arguments, dims, strict=True)
        pair = [(jnp.broadcast_to(a, (mapped, *a.shape)), 0) if d is None else (a, d) for a, d in pair]
        arguments, dims = zip(x, *pair, strict=True)
        having |= {"w"}
    having = having - {"b"} | {result}  # the result always has it
    c, groups = spec.channel_axis, spec.groups
    if having == {"x", "y"}:  # the batch
        places = {"x": (0, 1), "y": (0, 1)}
    elif having == {"w", "y"}:  # the output channels of each group
        places = {"w": (0, groups), "y": (c, groups), "b": (0, groups)}
    elif having == {"x", "w"}:  # the input channels of each group
        places = {"x": (c, groups), "w": (1, 1)}
    else:  # the groups
        places = {"x": (c, 1), "w": (0, 1), "y": (c, 1), "b": (0, 1)}
        spec = replace(spec, groups=groups * mapped)
    folded = [
        a if d is None else _fold(jnp.moveaxis(a, d, 0), *places[name])
        for name, a, d in zip(names, arguments, dims, strict=True)
    ]
    found = primitive.bind(*folded, spec=spec, **params)
    if not primitive.multiple_results:
        return _unfold(found, *places[result], mapped), 0
    unfolded = [_unfold(a, *places[n], mapped) if n in places else a for n, a in zip(results, found, strict=True)]
    return unfolded, [0 if n in places else None for n in results]


for _p in _OPS:
    batching.primitive_batchers[_p] = partial(_batch, primitive=_p)


# ---------------------------------------------------------------------------------------------------------------
# Lowering: the algorithm is chosen where the platform is known
# ---------------------------------------------------------------------------------------------------------------


def _compute(*arrays, primitive: Primitive, facts: dict[str, Any], dtype, algorithm, **params):
    # A result narrower than the arguments, as the transpose of a widening one has, is rounded at the end.
    through = jnp.promote_types(arrays[0].dtype, dtype)
    problem = _problem(primitive, *arrays[:2], dtype=through, algorithm=algorithm, **params, **facts)
    select.check(problem, algorithm)
    if problem.platform == "cpu" and problem.devices == ONE and not problem.portable:  # compiled to run here
        refuse_for_room(problem.shape(problem.results[0]), dtype, SMALLER if problem.op == "input" else LESS)

    def results(problem: Problem, *arrays) -> list[jax.Array]:
        found = getattr(select.family_for(problem, algorithm), problem.op)(problem, *arrays)
        return list(found) if primitive.multiple_results else [found]

    in_parts = problem.devices == SEVERAL
    found = sharded.divided(problem, results, arrays) if in_parts else results(problem, *arrays)
    found = [a.astype(dtype) for a in found]
    return found if primitive.multiple_results else found[0]


for _p in _OPS:
    register(_p, partial(_compute, primitive=_p), ("spec", "size", "dtype", "precision", "algorithm"))
