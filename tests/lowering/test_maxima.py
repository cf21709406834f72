"""The maxima of windows that overlap: by the kernels and in plain JAX, their derivatives, and where which is taken."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

import jaxconv
from jaxconv import _native
from jaxconv._lowering import pooling
from jaxconv._spec.pooling import Arguments, parse_pool

pytestmark = pytest.mark.usefixtures("quick_compile")

# Batch, channels and size; kernel, stride, padding, dilation and ceil_mode: rows that no vector divides and rows of
# several, windows that hang over the end or miss the image, phases of a stride with and without a tap, few channels,
# and planes that are cut into parts.
CASES = [
    ((2, 3, 19, 37), 3, 2, 1, 1, False),
    ((1, 70, 5, 7), (3, 2), (2, 1), (1, 0), 1, True),
    ((2, 17, 9, 11), 3, 1, 1, (2, 3), False),
    ((3, 1, 8, 70), (2, 4), (1, 3), (1, 2), 1, True),
    ((2, 5, 41), 5, 2, 2, 2, False),
    ((1, 2, 50), 4, 3, 2, 1, True),
    ((2, 2, 2), 2, 1, 1, 3, False),
    ((1, 18, 5, 6, 7), 2, 1, 1, 1, False),
    ((2, 3, 4, 9, 5), (3, 3, 1), (2, 1, 1), (1, 0, 0), (1, 2, 1), True),
    ((1, 1, 260, 130), 3, (1, 2), 1, 1, False),
]
FORMATS = ("channels_first", "channels_last")
DTYPES = ("float32", "bfloat16", "float16")


@pytest.fixture(autouse=True, scope="module")
def most_isa():
    """The instruction set is put back as it was found."""
    yield
    _native.use_isa(_native.isas()[-1])


def last(x, data_format):
    return np.moveaxis(x, 1, -1) if data_format == "channels_last" else x


def spec_of(case, data_format):
    (n, c, *size), *numbers = case
    shape = (n, c, *size) if data_format == "channels_first" else (n, *size, c)
    return parse_pool(len(size), shape, Arguments(*numbers, data_format))


def images(shape, seed, dtype):
    """Few different numbers, zeros of both signs among them, some that are not finite, and an image without others."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal(shape)) * rng.choice([1, -1], shape)
    for value, share in ((np.nan, 0.03), (np.inf, 0.05), (-np.inf, 0.3)):
        x = np.where(rng.random(shape) < share, value, x)
    x[0, 0] = -np.inf
    return np.asarray(jnp.asarray(x, dtype))


def by_definition(x, g, spec):
    """PyTorch's walk through the windows: maxima, the numbers of their taps, what g adds to x, and what x has there."""
    windows = spec.output_size(x.shape[2:])
    y, which = np.full((*x.shape[:2], *windows), -np.inf), np.zeros((*x.shape[:2], *windows), int)
    seen, where = np.zeros(windows, bool), {}
    for number, taps in enumerate(itertools.product(*map(range, spec.kernel))):
        numbers = zip(taps, windows, x.shape[2:], spec.strides, spec.dilations, spec.padding, strict=True)
        at = [(np.arange(m) * s + t * d - p, n) for t, m, n, s, d, p in numbers]
        inside = functools.reduce(np.logical_and, np.meshgrid(*((i >= 0) & (i < n) for i, n in at), indexing="ij"))
        where[number] = (slice(None), slice(None), *np.ix_(*(i.clip(0, n - 1) for i, n in at))), inside
        value = x[where[number][0]].astype(float)
        take = inside & ((value > y) | np.isnan(value) | ~seen)
        y, which = np.where(take, value, y), np.where(take, number, which)
        seen |= inside
    put, pick = np.zeros(x.shape), np.zeros(y.shape)
    for number, (index, inside) in where.items():
        np.add.at(put, index, np.where(inside & (which == number), g.astype(float), 0))
        pick = np.where(inside & (which == number), x[index].astype(float), pick)
    return y, which, put, pick, np.broadcast_to(seen, y.shape)


@functools.cache
def examples():
    """For each case and dtype the pool, x and g in its format, and what follows by the definition."""
    found = []
    for number, (case, dtype) in enumerate(itertools.product(CASES, DTYPES)):
        data_format = FORMATS[number % 2]  # of three dtypes: each case has both
        spec, x = spec_of(case, data_format), images(case[0], number, dtype)
        shape = (*case[0][:2], *spec.output_size(case[0][2:]))
        g = np.asarray(jnp.asarray(np.random.default_rng(number).standard_normal(shape), dtype))
        wanted = by_definition(x, g, spec)
        found.append((spec, *(last(a, data_format) for a in (x, g)), [last(a, data_format) for a in wanted]))
    return found


@pytest.mark.parametrize("isa", [*_native.isas(), None])
def test_the_maxima_are_those_of_the_definition(isa):
    """And so is what goes back: of the kernels of each instruction set, and in plain JAX."""
    native = isa is not None
    if native:
        _native.use_isa(isa)
    cases = examples()[:: 1 if native else 4]  # to compile the plain form takes longest, and it is one for all dtypes

    def run(arrays):
        for (spec, *_), (x, g) in zip(cases, arrays, strict=True):
            (alone,) = pooling.maxima(x, spec, False, native)
            y, which = pooling.maxima(x, spec, True, native)
            back = pooling.put(g, which, spec, tuple(pooling.size_of(x, spec)), native)
            yield alone, y, which, back, pooling.pick(x, which, spec)

    results = jax.jit(lambda arrays: list(run(arrays)))([(x, g) for _, x, g, _ in cases])
    for (spec, _, _, (y, which, put, pick, seen)), found in zip(cases, results, strict=True):
        alone, ours, taps, back, picked = (np.asarray(a) for a in found)
        for value in (alone, ours):
            np.testing.assert_array_equal(value.astype(float), y, str(spec))
            np.testing.assert_array_equal(np.signbit(value[y == 0]), np.signbit(y[y == 0]), str(spec))
        np.testing.assert_array_equal(taps[seen], which[seen], str(spec))
        np.testing.assert_array_equal(picked.astype(float), pick, str(spec))
        unit = float(jnp.finfo(back.dtype).eps)
        np.testing.assert_allclose(back.astype(float), put, rtol=unit, atol=2e-6, err_msg=str(spec))


def test_a_window_that_misses_the_image_sends_nothing_back():
    for data_format, shape in (("channels_first", (1, 2, 2)), ("channels_last", (1, 2, 2))):
        y, pull = jax.vjp(lambda x, f=data_format: jaxconv.max_pool1d(x, 2, 1, 1, 3, data_format=f), jnp.ones(shape))
        assert (y == -np.inf).all()
        assert (pull(jnp.ones_like(y))[0] == 0).all()


@pytest.mark.parametrize(
    ("rank", "data_format", "order"), [(1, "channels_last", 2), (2, "channels_first", 2), (3, "channels_last", 1)]
)
def test_derivatives_by_finite_differences(rank, data_format, order):
    pool = getattr(jaxconv, f"max_pool{rank}d")
    shape = (2, 3, 7, 4, 3)[: rank + 2]
    x = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) / 10.0
    with jax.enable_x64(True):
        f = jax.jit(lambda x: pool(x, 2, 1, 1, data_format=data_format) ** 2)
        check_grads(f, (jnp.asarray(x),), order, ("fwd", "rev"), eps=1e-3)


@pytest.mark.parametrize("data_format", FORMATS)
def test_gradients_of_gradients_are_pytorchs(data_format):
    torch = pytest.importorskip("torch")
    x, v = (np.random.default_rng(i).standard_normal((2, 5, 9, 14)).astype("float32") for i in range(2))

    def pool(x):
        return jaxconv.max_pool2d(x, 3, 2, 1, ceil_mode=True, data_format=data_format)

    def gradient(x):
        return jax.grad(lambda x: jnp.sin(pool(x)).sum())(x)

    def everything(x, v):
        _, forward = jax.jvp(pool, (x,), (v,))
        return forward, gradient(x), jax.grad(lambda x: jnp.vdot(gradient(x), v))(x)

    tx, tv = torch.tensor(x, requires_grad=True), torch.tensor(v)
    y, indices = torch.nn.functional.max_pool2d(tx, 3, 2, 1, ceil_mode=True, return_indices=True)
    (first,) = torch.autograd.grad(y.sin().sum(), tx, create_graph=True)
    (second,) = torch.autograd.grad((first * tv).sum(), tx)
    picked = tv.flatten(2).gather(2, indices.flatten(2)).reshape(y.shape)
    ours = jax.jit(everything)(last(x, data_format), last(v, data_format))
    for our, their in zip(ours, (picked, first, second), strict=True):
        np.testing.assert_allclose(our, last(their.detach().numpy(), data_format), rtol=1e-5, atol=1e-6)


def pool(x):
    return jaxconv.max_pool2d(x, (3, 2), (2, 1), 1)


def loss(x):
    return jnp.sin(pool(x)).sum()


def example(*shape):
    return jnp.asarray(np.random.default_rng(3).standard_normal(shape), jnp.float32)


def test_a_mapped_axis_is_a_part_of_the_batch():
    x = example(3, 2, 5, 7, 6)
    np.testing.assert_array_equal(jax.vmap(pool, 1, 1)(x), pool(x.reshape(6, 5, 7, 6)).reshape(3, 2, 5, 4, 7))
    g = example(3, 4, 2, 5, 4, 7)
    _, pull = jax.vjp(pool, x[:, 0])
    pulled = jax.vmap(pull, 1)(g[:, :, 0])[0]  # the taps are those of all
    for i in range(4):
        np.testing.assert_allclose(pulled[i], pull(g[:, i, 0])[0], rtol=1e-6)
    assert jax.vmap(jax.grad(loss))(jnp.zeros((0, 2, 5, 7, 6))).shape == (0, 2, 5, 7, 6)
    assert jax.grad(loss)(jnp.zeros((0, 5, 7, 6))).shape == (0, 5, 7, 6)


def calls(compiled):
    text = compiled.as_text()
    return text.count('custom_call_target="jaxconv_maxima"'), text.count('custom_call_target="jaxconv_put"')


def test_where_the_kernels_are_called():
    x = example(2, 5, 7, 6)
    assert calls(jax.jit(pool).lower(x).compile()) == (1, 0)
    assert calls(jax.jit(jax.grad(loss)).lower(x).compile()) == (1, 1)
    with jax.enable_x64(True):
        assert calls(jax.jit(jax.grad(loss)).lower(x.astype("float64")).compile()) == (0, 0)
    ints = jax.jit(pool)(x.astype(int))
    np.testing.assert_array_equal(ints, pool(x.astype(int).astype(float)))
    # Numbers that the kernels do not count with.
    far = jax.jit(lambda x: jaxconv.max_pool2d(x, (2, 1), 1, (1, 0), (2**31, 1), ceil_mode=True))
    with pytest.raises(ValueError, match="there is no window"):
        far(x)
    assert not pooling.fits(spec_of(((1, 1, 9), 2, 1, 0, 1, False), "channels_first"), (2**31,))

    # What is exported runs without the library, on every platform.
    both = jax.jit(lambda x: (pool(x), jax.grad(loss)(x)))
    exported = export.export(both, platforms=("cpu", "cuda", "tpu"))(x)
    assert "jaxconv" not in exported.mlir_module()
    (n,) = export.symbolic_shape("n")
    symbolic = export.export(both)(jax.ShapeDtypeStruct((n, 5, 7, 6), "float32"))
    for program in (exported, symbolic):
        for ours, wanted in zip(program.call(x), both(x), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-6, atol=1e-6)


def test_arrays_that_devices_share():
    """Where XLA divides the array, it divides the maxima too; within a shard_map each device takes its own."""
    x = example(4, 5, 7, 6)
    both = jax.jit(lambda x: (pool(x), jax.grad(loss)(x)))
    wanted = both(x)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec("d")))
    program = both.lower(placed).compile()
    assert calls(program) == (0, 0)
    assert "all-gather" not in program.as_text()

    own = jax.jit(jax.shard_map(pool, mesh=mesh, in_specs=PartitionSpec("d"), out_specs=PartitionSpec("d")))
    parts = jax.jit(lambda x: (own(x), jax.grad(lambda x: jnp.sin(own(x)).sum())(x)))
    assert calls(parts.lower(placed).compile()) != (0, 0)

    explicit = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(explicit):
        typed = both(jax.device_put(x, NamedSharding(explicit, PartitionSpec("d"))))
    assert all(str(jax.typeof(a)).startswith("float32[4@d,5,") for a in typed)
    for results in (program(placed), parts(placed), typed):
        for ours, expected in zip(results, wanted, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


# --- what the kernels refuse ----------------------------------------------------------------------------------

FITS = {"kernel": (3,), "strides": (2,), "low": (1,), "dilations": (1,), "channels_last": 0}


def raw(x, y, dtype="float32", which="uint8", op="maxima", **attributes):
    """A call as a program has it, with nothing checked before."""
    given = {**FITS, **attributes}
    given = {k: np.asarray(v, np.int64) if isinstance(v, tuple) else np.int64(v) for k, v in given.items()}
    if op == "put":
        return jax.ffi.ffi_call("jaxconv_put", jax.ShapeDtypeStruct(x, dtype))(
            jnp.zeros(y, which), jnp.ones(y, dtype), **given
        )
    like = [jax.ShapeDtypeStruct(y, dtype), jax.ShapeDtypeStruct(y, which)]
    return jax.ffi.ffi_call("jaxconv_maxima", like)(jnp.ones(x, dtype), **given)


def test_a_call_that_fits_is_computed():
    assert raw((2, 3, 9), (2, 3, 5))[1][0, 0].tolist() == [1, 0, 0, 0, 0]
    assert raw((1, 1, 9), (1, 1, 5), op="put")[0, 0].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert raw((0, 3, 9), (0, 3, 5))[0].shape == (0, 3, 5)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("one dtype, float32, bfloat16 or float16", {"dtype": "int32"}),
        ("a byte for each window", {"which": "int8"}),
        ("a byte for each window", {"which": "int32", "op": "put"}),
        ("a kernel of 0 axes", {"kernel": ()}),
        ("one number per spatial axis", {"low": (0, 0)}),
        ("channels_last 2", {"channels_last": 2}),
        ("an array of shape \\(2, 3, 9, 1\\)", {"x": (2, 3, 9, 1)}),
        ("differ in batch or channels", {"y": (2, 4, 5)}),
        ("a number of 0 on spatial axis 0", {"x": (2, 3, 0), "op": "maxima"}),
        ("a number of 0 on spatial axis 0", {"strides": (0,)}),
        ("a number of -1 on spatial axis 0", {"dilations": (-1,)}),
        (f"a number of {2**31} on spatial axis 0", {"strides": (2**31,)}),
        ("a window of more than 255 taps", {"kernel": (256,), "x": (2, 3, 900)}),
        ("a pad of 2 for 3 taps", {"low": (2,)}),
        ("a pad of -1 for 3 taps", {"low": (-1,)}),
        ("a window outside of the image", {"y": (2, 3, 6)}),
        ("a window outside of the image", {"dilations": (2**31 - 1,)}),
    ],
)
@pytest.mark.parametrize("op", ["maxima", "put"])
def test_what_does_not_fit_is_refused(words, arguments, op):
    with pytest.raises(jax.errors.JaxRuntimeError, match=words):
        raw(**{"x": (2, 3, 9), "y": (2, 3, 5), "op": op, **arguments})
