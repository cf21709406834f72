"""Every function under every transformation of JAX: one table of functions and sample arguments drives them all."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import closeness
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_derivatives
from jax import export

import jaxconv

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")


@dataclass(frozen=True)
class Sample:
    """A function of arrays alone, with the shapes of its arguments.

    It is linear in each argument (or affine, in a bias) and has at most two that are multiplied with each other.
    """

    function: Callable
    shapes: tuple[tuple[int, ...], ...]

    def arrays(self, seed=0, leading=()):
        """They are NumPy's: taking a part of one compiles nothing."""
        rng = np.random.default_rng(seed)
        return [rng.standard_normal((*leading, *shape)) for shape in self.shapes]


def sample(function, *shapes, **arguments):
    return Sample(functools.partial(function, **arguments), shapes)


def input_of(function, size, *shapes, **arguments):
    return Sample(lambda w, y, **more: function(size, w, y, **arguments, **more), shapes)


def weight_of(function, size, *shapes, **arguments):
    return Sample(lambda x, y, **more: function(x, size, y, **arguments, **more), shapes)


SAMPLES = {
    "conv1d": sample(jaxconv.conv1d, (2, 4, 7), (6, 2, 3), (6,), stride=2, padding="causal", dilation=2, groups=2),
    "conv1d unbatched": sample(jaxconv.conv1d, (3, 6), (4, 3, 2), (4,), padding=((2, 1),), padding_mode="symmetric"),
    "conv2d": sample(jaxconv.conv2d, (2, 4, 5, 6), (6, 2, 3, 2), (6,), stride=(2, 1), padding=(1, 2), groups=2),
    "conv2d reflect": sample(
        jaxconv.conv2d,
        (2, 5, 4, 3),
        (4, 3, 2, 3),
        (4,),
        padding="same",
        padding_mode="reflect",
        data_format="channels_last",
    ),
    "conv2d depthwise": sample(
        jaxconv.conv2d, (2, 3, 4, 5), (6, 1, 2, 2), (6,), padding=1, groups=3, padding_mode="circular"
    ),
    "conv3d": sample(
        jaxconv.conv3d, (2, 2, 3, 4, 3), (3, 2, 2, 1, 3), (3,), padding=(0, 2, 1), padding_mode="replicate"
    ),
    "conv_transpose1d": sample(
        jaxconv.conv_transpose1d,
        (2, 4, 3),
        (4, 3, 2),
        (6,),
        stride=3,
        padding=1,
        output_padding=2,
        groups=2,
        dilation=2,
    ),
    "conv_transpose1d circular": sample(
        jaxconv.conv_transpose1d,
        (2, 2, 4),
        (2, 3, 3),
        (3,),
        stride=2,
        padding=1,
        output_padding=1,
        padding_mode="circular",
    ),
    "conv_transpose2d": sample(
        jaxconv.conv_transpose2d, (2, 3, 2, 4), (4, 3, 2, 3), (3,), stride=(1, 2), data_format="channels_last"
    ),
    "conv_transpose2d unbatched": sample(
        jaxconv.conv_transpose2d, (4, 2, 3), (4, 2, 2, 3), (4,), stride=2, groups=2, output_size=(4, 8)
    ),
    "conv_transpose3d": sample(jaxconv.conv_transpose3d, (1, 2, 2, 3, 2), (2, 3, 2, 1, 2), (3,), padding=(1, 0, 0)),
    "conv1d_input": input_of(jaxconv.conv1d_input, (2, 4, 7), (6, 2, 3), (2, 6, 4), stride=2, padding=1, groups=2),
    "conv2d_input": input_of(
        jaxconv.conv2d_input, (2, 3, 5, 4), (4, 3, 2, 3), (2, 4, 6, 4), padding=1, padding_mode="reflect"
    ),
    "conv3d_input": input_of(
        jaxconv.conv3d_input,
        (3, 4, 3, 2),
        (3, 2, 2, 1, 3),
        (4, 4, 1, 3),
        padding=(1, 0, 0),
        data_format="channels_last",
    ),
    "conv1d_weight": weight_of(jaxconv.conv1d_weight, (6, 2, 3), (2, 4, 7), (2, 6, 4), stride=2, padding=1, groups=2),
    "conv2d_weight": weight_of(
        jaxconv.conv2d_weight, (4, 3, 2, 3), (2, 3, 5, 4), (2, 4, 6, 4), padding=1, padding_mode="circular"
    ),
    "conv3d_weight": weight_of(
        jaxconv.conv3d_weight,
        (3, 2, 2, 1, 3),
        (3, 4, 3, 2),
        (4, 4, 1, 3),
        padding=(1, 0, 0),
        data_format="channels_last",
    ),
    "unfold": sample(jaxconv.unfold, (2, 3, 5, 4), kernel_size=(2, 3), dilation=(2, 1), padding=1, stride=(2, 1)),
    "unfold unbatched": sample(jaxconv.unfold, (3, 5, 4), kernel_size=2),
    "fold": sample(
        jaxconv.fold, (2, 18, 12), output_size=(5, 4), kernel_size=(2, 3), dilation=(2, 1), padding=1, stride=(2, 1)
    ),
    "fold unbatched": sample(jaxconv.fold, (12, 12), output_size=(5, 4), kernel_size=2),
    "max_unpool2d": sample(
        jaxconv.max_unpool2d, (2, 3, 2, 4), indices=np.arange(48).reshape(2, 3, 2, 4) * 7 % 48, kernel_size=(3, 2)
    ),
    "pad": sample(jaxconv.pad, (2, 3, 4), pad=(2, -1, 0, 3)),
    "pad reflect": sample(jaxconv.pad, (2, 3, 4, 5), pad=(2, 1, 0, 3), mode="reflect"),
    "pad replicate": sample(jaxconv.pad, (2, 4, 5), pad=(7, 1), mode="replicate"),
    "pad circular": sample(jaxconv.pad, (2, 3, 4, 6), pad=(2, -1, -1, 3), mode="circular"),
    "pad symmetric": sample(jaxconv.pad, (2, 3, 4, 5), pad=(5, -1, 0, 3), mode="symmetric"),
}
assert_close = functools.partial(closeness.assert_close, tolerance=3e-13, scale=1)
every_sample = pytest.mark.parametrize("name", SAMPLES)
CONVOLUTIONS = (
    "conv_general_dilated",
    "conv_output",
    "conv_output_bias",
    "conv_input",
    "conv_weight",
    "conv_weight_bias",
)


@functools.cache  # one function for all tests, so that it is compiled once
def with_algorithm(name, algorithm):
    """The sample with an algorithm of its own; only convolutions have several."""
    if algorithm == "auto":
        return SAMPLES[name]
    of = SAMPLES[name]
    return Sample(lambda *arrays: of.function(*arrays, algorithm=algorithm), of.shapes)


# "auto" has rules of ours for derivatives and batches, "xla" those of JAX.
every_algorithm = pytest.mark.parametrize(
    ("name", "algorithm"),
    [(n, a) for n in SAMPLES for a in (("auto", "xla") if n.startswith("conv") else ("auto",))],
)


def equations(jaxpr):
    """All equations of a program, those of its inner programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from equations(getattr(inner, "jaxpr", inner))


def primitives(f, *arguments):
    return [e.primitive.name for e in equations(jax.make_jaxpr(f)(*arguments).jaxpr)]


def test_loops_are_found_where_there_are_some():
    def f(x):
        return jax.jit(lambda x: jax.lax.scan(lambda c, _: (c + 1, None), x, None, 3)[0])(x)

    assert {"scan", "add"} <= set(primitives(f, 1.0))
    assert "while" in primitives(lambda x: jax.lax.fori_loop(0, x, lambda i, c: c + 1, 0), 3)


@every_algorithm
def test_vmap(name, algorithm):
    """Over each argument, over each pair, over all; each mapped along an axis of its own; without a loop."""
    function = with_algorithm(name, algorithm)
    f, shapes, arrays = function.function, function.shapes, function.arrays()
    stacked = function.arrays(seed=1, leading=(3,))
    one = jax.jit(f)
    count = len(arrays)
    subsets = [s for r in range(1, count + 1) for s in itertools.combinations(range(count), r)]
    mapped, expected = {}, {}
    for subset in subsets:
        # The second argument is mapped along its last axis, a third along its first.
        axes = [None if i not in subset else (0 if i != 1 else len(shapes[i])) for i in range(count)]
        given = [
            arrays[i] if axis is None else np.moveaxis(stacked[i], 0, axis)
            for i, axis in zip(range(count), axes, strict=True)
        ]
        mapped[subset] = jax.vmap(f, tuple(axes)), given
        expected[subset] = [one(*(stacked[j][i] if j in subset else arrays[j] for j in range(count))) for i in range(3)]

    results = jax.jit(lambda given: {s: mapped[s][0](*given[s]) for s in subsets})({s: mapped[s][1] for s in subsets})
    alone = primitives(f, *arrays)
    for subset in subsets:
        assert_close(results[subset], np.stack(expected[subset]))
        names = primitives(mapped[subset][0], *mapped[subset][1])
        assert not {"scan", "while", "fori_loop", "map", "pure_callback"} & set(names)
        # Neither is it three convolutions where one will do.
        assert sum(map(names.count, CONVOLUTIONS)) == sum(map(alone.count, CONVOLUTIONS))


@every_sample
def test_vmap_of_vmap(name):
    f, arrays = SAMPLES[name].function, SAMPLES[name].arrays(leading=(2, 3))
    results = np.asarray(jax.jit(jax.vmap(jax.vmap(f), 1, 1))(*arrays))
    one = jax.jit(f)
    for i, j in itertools.product(range(2), range(3)):
        assert_close(results[i, j], one(*(a[i, j] for a in arrays)))


@every_algorithm
def test_derivatives(name, algorithm):
    function = with_algorithm(name, algorithm)
    check_derivatives(function.function, function.arrays())


@pytest.mark.parametrize("which", [(1,), (2,), (2, 0, 1)], ids=str)
def test_derivatives_in_some_of_input_weight_and_bias(which):
    """Of order 2 and in each subset: a weight's gradient without its bias', and the other way round."""
    arrays = tuple(sample(jaxconv.conv2d, (2, 4, 5, 6), (6, 2, 3, 2), (6,)).arrays())

    def second(algorithm):
        def f(*arrays):
            return jaxconv.conv2d(
                *arrays, stride=(2, 1), padding=1, groups=2, padding_mode="circular", algorithm=algorithm
            )

        def of_gradients(*arrays):
            gradients = jax.grad(lambda *a: (f(*a) ** 3).sum(), which)(*arrays)
            return sum((g**2).sum() for g in gradients)

        forward = jax.jvp(lambda *a: jax.jvp(f, a, arrays)[1], arrays, arrays)
        alone = [lambda a, i=i: f(*arrays[:i], a, *arrays[i + 1 :]) for i in which]
        transposed = [jax.linear_transpose(g, arrays[i])(forward[0]) for g, i in zip(alone, which, strict=True)]
        return jax.grad(of_gradients, (0, 1, 2))(*arrays), forward, transposed

    jax.tree.map(assert_close, *(jax.jit(functools.partial(second, a))() for a in ("auto", "xla")))


@every_sample
def test_scan_over_stacked_arguments(name):
    f, stacked = SAMPLES[name].function, SAMPLES[name].arrays(leading=(3,))
    _, results = jax.jit(lambda stacked: jax.lax.scan(lambda _, a: (None, f(*a)), None, stacked))(tuple(stacked))
    one, results = jax.jit(f), np.asarray(results)
    for i in range(3):
        assert_close(results[i], one(*(a[i] for a in stacked)))


def test_scan_over_layers_and_its_gradient():
    """What a deep network does: the image is carried from one weight of a stack to the next."""
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((3, 3, 3, 3, 3)) / 3

    def layer(x, w):
        return jnp.tanh(jaxconv.conv2d(x, w, padding=1, padding_mode="circular"))

    def scanned(x, weights):
        return jax.lax.scan(lambda x, w: (jax.checkpoint(layer)(x, w), None), x, weights)[0].sum()

    def unrolled(x, weights):
        for w in weights:
            x = layer(x, w)
        return x.sum()

    for a, b in zip(
        jax.jit(jax.grad(scanned, (0, 1)))(x, weights), jax.jit(jax.grad(unrolled, (0, 1)))(x, weights), strict=True
    ):
        assert_close(a, b)


@every_sample
def test_shapes_without_computing(name):
    f, arrays = SAMPLES[name].function, SAMPLES[name].arrays()
    shape = jax.eval_shape(f, *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays))
    y = f(*arrays)
    assert (shape.shape, shape.dtype) == (y.shape, y.dtype)
    assert not y.weak_type


@every_sample
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_under_strict_promotion_of_dtypes_and_ranks(name, dtype):
    """Values and gradients, with float64 and without."""
    if dtype == "complex64" and name.startswith("max_"):
        pytest.skip("maxima are real numbers")
    f = SAMPLES[name].function
    for x64 in (False, True):
        with jax.enable_x64(x64), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):

            def value_and_gradients(*arrays):
                y, vjp = jax.vjp(f, *arrays)
                return y, *vjp(y)

            arrays = [jax.ShapeDtypeStruct(s, dtype) for s in SAMPLES[name].shapes]
            y, *gradients = jax.eval_shape(value_and_gradients, *arrays)
            assert y.dtype == dtype
            assert [(g.shape, g.dtype) for g in gradients] == [(a.shape, a.dtype) for a in arrays]


@every_sample
def test_under_a_trace_numpy_arrays_are_constants(name):
    f, arrays = SAMPLES[name].function, SAMPLES[name].arrays()

    @jax.jit  # all arguments but one are constants, then all of them
    def compute(traced):
        return [f(*arrays[:i], a, *arrays[i + 1 :]) for i, a in enumerate(traced)], f(*arrays)

    expected = f(*arrays)
    of_one, of_none = compute(arrays)
    for y in (*of_one, of_none):
        assert_close(y, expected)


# --- jax.export ----------------------------------------------------------------------------------------------

# Functions of an image and, where they have one, a weight: what depends on the image's size is computed from it.
# x has shape (b, 4, h, w) or with fewer or more spatial axes; `layout` says where its channels are.
EXPORTED = {
    "conv1d": (jaxconv.conv1d, (6, 2, 3), {"padding": "same", "dilation": 2, "groups": 2}),
    "conv1d causal": (jaxconv.conv1d, (6, 4, 3), {"padding": "causal", "stride": 2}),
    "conv2d": (jaxconv.conv2d, (6, 2, 3, 2), {"stride": (2, 1), "padding": (1, 2), "groups": 2}),
    "conv2d channels_last": (jaxconv.conv2d, (6, 4, 3, 2), {"stride": 2, "data_format": "channels_last"}),
    "conv2d reflect": (jaxconv.conv2d, (6, 4, 3, 2), {"padding": ((2, 1), (0, 3)), "padding_mode": "reflect"}),
    "conv2d replicate": (jaxconv.conv2d, (6, 4, 3, 2), {"padding": ((-1, 1), (9, 3)), "padding_mode": "replicate"}),
    "conv2d circular": (jaxconv.conv2d, (6, 4, 3, 2), {"padding": ((2, -1), (0, 3)), "padding_mode": "circular"}),
    "conv2d symmetric": (jaxconv.conv2d, (6, 4, 3, 2), {"padding": ((2, 1), (0, 3)), "padding_mode": "symmetric"}),
    "conv3d": (jaxconv.conv3d, (3, 4, 2, 1, 3), {"padding": "same", "padding_mode": "reflect"}),
    "conv_transpose1d": (jaxconv.conv_transpose1d, (4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "conv_transpose2d": (
        jaxconv.conv_transpose2d,
        (4, 3, 3, 2),
        {"stride": (2, 3), "padding": (2, 1), "output_padding": (1, 2), "groups": 2, "dilation": (1, 2)},
    ),
    "conv_transpose2d circular": (
        jaxconv.conv_transpose2d,
        (4, 3, 3, 2),
        {"stride": (2, 1), "padding": (2, 1), "output_padding": (1, 0), "padding_mode": "circular"},
    ),
    "conv_transpose3d": (jaxconv.conv_transpose3d, (4, 3, 2, 1, 2), {"stride": 2, "data_format": "channels_last"}),
    "unfold": (jaxconv.unfold, None, {"kernel_size": (2, 3), "padding": 1, "stride": (2, 1), "dilation": 2}),
    "pad": (jaxconv.pad, None, {"pad": (2, -1, 0, 3)}),
    "pad reflect": (jaxconv.pad, None, {"pad": (2, -1, 0, 3), "mode": "reflect"}),
    "pad replicate": (jaxconv.pad, None, {"pad": (12, -1, 0, 3), "mode": "replicate"}),
    "pad circular": (jaxconv.pad, None, {"pad": (2, -1, 0, 3), "mode": "circular"}),
    "pad symmetric": (jaxconv.pad, None, {"pad": (2, -1, 0, 3), "mode": "symmetric"}),
}
# These serve images of any size; the others need it to be at least that of a kernel or of what is wrapped or mirrored,
# which is to be said to `symbolic_shape`.
ANY_SIZE = {"conv1d", "conv1d causal", "conv2d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
ANY_SIZE |= {"pad", "pad replicate"}
# What JAX cannot infer of a product: that the number of patches, (w - 2) floor((h + 1) / 2), is not negative where it
# knows that w - 2 is not; without such a constraint it knows both, of max(w - 2, 0).
MORE = {"unfold": ["w*floordiv(h + 1, 2) - 2*floordiv(h + 1, 2) >= 0"]}
GRADIENTS = {jaxconv.conv1d: "conv1d", jaxconv.conv2d: "conv2d", jaxconv.conv3d: "conv3d"}


def exported_functions(name):
    """The function itself, the gradients of it that have names, and JAX's gradient of it."""
    f, w_shape, arguments = EXPORTED[name]
    if w_shape is None:
        return [lambda x: f(x, **arguments), lambda x: jax.grad(lambda x: (f(x, **arguments) ** 2).sum())(x)]
    functions = [
        lambda x, w: f(x, w, **arguments),
        lambda x, w: jax.grad(lambda x, w: (f(x, w, **arguments) ** 2).sum(), (0, 1))(x, w),
    ]
    if f in GRADIENTS:
        of_input = getattr(jaxconv, GRADIENTS[f] + "_input")
        of_weight = getattr(jaxconv, GRADIENTS[f] + "_weight")
        functions += [
            lambda x, w: of_input(x.shape, w, f(x, w, **arguments), **arguments),
            lambda x, w: of_weight(x, w.shape, f(x, w, **arguments), **arguments),
        ]
    return functions


@functools.cache
def exported_program(name):
    """One program of them all, since it is the number of programs that costs."""
    return jax.jit(lambda *arrays: [f(*arrays) for f in exported_functions(name)])


def exported_arrays(name, batch, size):
    _, w_shape, arguments = EXPORTED[name]
    rank = len(w_shape) - 2 if w_shape else 2
    size = size[:rank]
    shape = (batch, *size, 4) if arguments.get("data_format") == "channels_last" else (batch, 4, *size)
    rng = np.random.default_rng(batch)
    x = rng.standard_normal(shape)
    return (x,) if w_shape is None else (x, rng.standard_normal(w_shape))


def symbolic(name, sizes):
    """The shape of x with letters in place of the batch, and with `sizes` of the spatial axes."""
    _, w_shape, arguments = EXPORTED[name]
    rank = len(w_shape) - 2 if w_shape else 2
    letters = ("h", "w", "d")[:rank] if sizes else tuple(map(str, (7, 8, 6)[:rank]))
    text = ("b", *letters, "4") if arguments.get("data_format") == "channels_last" else ("b", "4", *letters)
    least = [f"{n} >= 5" for n in letters] + MORE.get(name, []) if sizes and name not in ANY_SIZE else ()
    return export.symbolic_shape(", ".join(text), constraints=least)


@pytest.mark.parametrize("sizes", [False, True], ids=["batch", "batch and sizes"])
@pytest.mark.parametrize("name", EXPORTED)
def test_export_with_symbolic_sizes(name, sizes):
    """Exported once, serialised, read back, and called with arrays of two sizes."""
    shape = symbolic(name, sizes)
    arrays = exported_arrays(name, 2, (7, 8, 6))

    program = exported_program(name)
    specs = [jax.ShapeDtypeStruct(s, "float64") for s in (shape, *(a.shape for a in arrays[1:]))]
    written = export.export(program)(*specs).serialize()
    read = export.deserialize(written)
    for batch, size in ((2, (7, 8, 6)), (3, (9, 7, 8) if sizes else (7, 8, 6))):
        arrays = exported_arrays(name, batch, size)
        jax.tree.map(assert_close, read.call(*arrays), program(*arrays))


def test_export_of_fold():
    """The image's size is symbolic, and so is the number of columns."""
    arguments = {"kernel_size": (2, 3), "padding": 1, "stride": (2, 1)}

    def program(x):
        return jaxconv.fold(jaxconv.unfold(x, **arguments), x.shape[2:], **arguments)

    for shape in ("b, 4, 7, 8", "b, 4, h, w"):
        x = jax.ShapeDtypeStruct(export.symbolic_shape(shape), "float64")
        read = export.deserialize(export.export(jax.jit(program))(x).serialize())
        for size in ((2, 4, 7, 8), (3, 4, 9, 7) if "h" in shape else (3, 4, 7, 8)):
            x = np.random.default_rng(0).standard_normal(size)
            assert_close(read.call(x), program(x))


def test_export_with_a_symbolic_output_size():
    def program(y, w, like):
        return jaxconv.conv_transpose2d(y, w, stride=2, padding=1, output_size=like.shape[2:])

    scope = export.SymbolicScope()
    y, like = (export.symbolic_shape(s, scope=scope) for s in ("b, 4, h, w", "b, 3, 2*h, 2*w-1"))
    shapes = (y, (4, 3, 3, 3), like)
    read = export.deserialize(
        export.export(jax.jit(program))(*(jax.ShapeDtypeStruct(s, "float64") for s in shapes)).serialize()
    )
    rng = np.random.default_rng(0)
    for b, h, w in ((2, 3, 4), (1, 5, 3)):
        arrays = [rng.standard_normal(s) for s in ((b, 4, h, w), (4, 3, 3, 3), (b, 3, 2 * h, 2 * w - 1))]
        assert_close(read.call(*arrays), program(*arrays))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_gradients_are_lowered_for_platforms_that_are_not_here(platform):
    x, w, b = (jax.ShapeDtypeStruct(s, "float32") for s in ((2, 4, 6, 5), (6, 2, 3, 3), (6,)))

    def loss(x, w, b):
        y = jaxconv.conv2d(x, w, b, padding=1, groups=2, padding_mode="reflect")
        return (jaxconv.conv_transpose2d(y, w, stride=2, output_padding=1) ** 2).sum()

    exported = export.export(jax.jit(jax.grad(loss, (0, 1, 2))), platforms=[platform])(x, w, b)
    assert exported.platforms == (platform,)


# --- a mapped axis of size 0 ----------------------------------------------------------------------------------

NOTHING = {
    "conv2d": lambda x, w, b: jaxconv.conv2d(x, w, b, groups=2, padding=1),
    "conv_transpose2d": lambda x, w, b: jaxconv.conv_transpose2d(x, w.reshape(4, 4, 3, 2), b, stride=2, groups=2),
    "conv2d_input": lambda y, w, b: jaxconv.conv2d_input((2, 4, 9, 6), w, y.repeat(2, 1), groups=2) + b.sum(),
    "conv2d_weight": lambda x, w, b: (
        jaxconv.conv2d_weight(x, (8, 2, 3, 2), x[..., :5, :4].repeat(2, 1), groups=2) + w * b[0]
    ),
    "pools": lambda x, w, b: jaxconv.max_pool2d(jaxconv.avg_pool2d(jaxconv.adaptive_avg_pool2d(x, (6, 4)), 3, 1, 1), 2),
    "patches": lambda x, w, b: jaxconv.fold(jaxconv.unfold(jaxconv.pad(x, (1, 1), value=3), 2), (7, 7), 2),
}


@pytest.mark.parametrize(
    ("name", "mapped"),
    [(n, m) for n in NOTHING for m in (("x",) if n in ("pools", "patches") else ("x", "w", "b", "wb", "xwb"))],
)
def test_a_mapped_axis_of_size_0(name, mapped):
    """Gives what has size 0 along it, and is otherwise as what an axis of size 3 gives."""
    f = NOTHING[name]
    shapes = {"x": (2, 4, 7, 5), "w": (8, 2, 3, 2), "b": (8,)}
    axes = [0 if n in mapped else None for n in shapes]

    def loss(x, w, b):
        return (f(x, w, b) ** 2).sum()

    def everything(*arrays):
        functions = (f, jax.grad(loss, (0, 1, 2)), jax.jacrev(f, 2), jax.hessian(loss, 2))
        return [jax.vmap(function, axes)(*arrays) for function in functions]

    def of(size):
        return [np.ones((size, *s) if n in mapped else s) for n, s in shapes.items()]

    wanted = [(0, *a.shape[1:]) for a in jax.tree.leaves(jax.eval_shape(everything, *of(3)))]
    assert [a.shape for a in jax.tree.leaves(jax.jit(everything)(*of(0)))] == wanted


def test_a_derivative_of_nothing_in_every_direction():
    """`jacrev` maps over as many directions as the result has numbers."""
    f, x = NOTHING["conv2d"], np.ones((0, 4, 7, 5))
    w, b = np.ones((8, 2, 3, 2)), np.ones(8)
    assert [a.shape for a in jax.jacrev(f, (0, 1, 2))(x, w, b)] == [(0, 8, 7, 6, *a.shape) for a in (x, w, b)]


# --- strict modes of JAX --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strict",
    [
        lambda: jax.numpy_rank_promotion("raise"),
        lambda: jax.numpy_dtype_promotion("strict"),
        lambda: jax.debug_nans(True),
        lambda: jax.check_tracer_leaks(True),
        lambda: jax.transfer_guard("disallow"),
    ],
    ids=["rank", "dtype", "nans", "leaks", "transfers"],
)
def test_strict_modes(strict):
    """Each op by each algorithm, with its gradients."""
    x, w, b, maps = (jnp.ones(s, "float32") for s in ((2, 8, 9, 7), (8, 2, 3, 3), (8,), (2, 2, 3)))

    def convolutions(x, w, b, algorithm):
        y = jaxconv.conv2d(x, w, b, groups=4, padding=1, padding_mode="reflect", algorithm=algorithm)
        y = jaxconv.conv_transpose2d(y, w, b[:8], stride=2, groups=4, algorithm=algorithm)
        return (y**2).sum()

    def others(x):
        y = jaxconv.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)
        y = jaxconv.adaptive_avg_pool2d(jaxconv.max_pool2d(y, 2, 1), (7, 5))
        for mode in ("nearest", "bicubic"):
            y = jaxconv.interpolate(y, scale_factor=1.4, mode=mode)
        y = jaxconv.grid_sample(y, jaxconv.affine_grid(y[:, 0, :2, :3], (2, 8, 7, 5)), padding_mode="reflection")
        y = jaxconv.pixel_unshuffle(jaxconv.pixel_shuffle(jaxconv.channel_shuffle(y, 4), 2), 2)
        return (jaxconv.fold(jaxconv.unfold(jaxconv.pad(y, (1, 2), value=3), 2), (7, 8), 2) ** 2).sum()

    values = []
    with strict():
        for algorithm in jaxconv.algorithms():
            f = functools.partial(convolutions, algorithm=algorithm)
            values.append(jax.jit(jax.value_and_grad(f, (0, 1, 2)))(x, w, b)[0])
        values.append(jax.jit(jax.value_and_grad(others))(x)[0])
        # And not compiled as a whole.
        jaxconv.conv2d(x, w, b, groups=4, padding=1, padding_mode="circular")
        jaxconv.fold(jaxconv.unfold(jaxconv.pad(jaxconv.avg_pool2d(x, 3, 1, 1), (1, 2)), 2), (9, 10), 2)
        jaxconv.adaptive_avg_pool2d(jaxconv.max_pool2d(x, 2, 1), (7, 5))
        jaxconv.grid_sample(jaxconv.interpolate(x, 5), jaxconv.affine_grid(maps, (2, 8, 7, 6)))
        jaxconv.channel_shuffle(jaxconv.pixel_shuffle(x, 2), 2)
    assert np.isfinite(values).all()
