"""The sums of normalisation: by the kernels and in plain JAX, their derivatives, and where which is taken."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jaxconv import _moments, _native
from jaxconv._lowering import reductions

pytestmark = pytest.mark.usefixtures("quick_compile")

# (K0, A, K1, B): rows and columns, short and long, more than a block and a job, and none that a vector divides.
SHAPES = (
    (1, 7, 5, 1), (1, 300, 67, 1), (1, 9, 3, 49), (1, 8, 13, 13), (4, 1, 3, 777), (50, 1, 1, 96), (3, 20, 4, 5),
    (1, 1, 1, 5), (2, 1, 1, 1), (1, 40, 1, 3000), (5, 100, 64, 1), (1, 3, 2, 16), (3, 5, 1, 17), (90, 1, 1, 3),
    (1, 2000, 11, 1), (1, 1, 1, 30001),
)  # fmt: skip
MEANS = (0.0, 1000.0, 1e6)
DTYPES = ("float32", "bfloat16", "float16")


@pytest.fixture(autouse=True, scope="module")
def most_isa():
    """The instruction set is put back as it was found."""
    yield
    _native.use_isa(_native.isas()[-1])


def arrays():
    """x and g of each shape, mean and dtype; 16-bit floats hold no deviation beside a mean that is large."""
    rng = np.random.default_rng(0)
    for shape, mean, dtype in itertools.product(SHAPES, MEANS, DTYPES):
        if dtype == "float32" or mean == 0:
            yield tuple(jnp.asarray(rng.normal(size=shape) + m, dtype) for m in (mean, 0.0))


@pytest.mark.parametrize("isa", [*_native.isas(), None])
def test_the_sums_are_those_of_double_precision(isa):
    """Of the kernels of each instruction set, and in plain JAX."""
    native = isa is not None
    if native:
        _native.use_isa(isa)
    cases = list(arrays())

    def sums(x, g):
        m, rest, var = reductions.moments(x, native)
        return m, rest, var, *reductions.products(x, m, g, native)

    together = jax.jit(lambda cases: [sums(*case) for case in cases])
    for (x, g), found in zip(cases, together(cases), strict=True):
        m, rest, var, of_g, of_products = (np.asarray(a, "float64") for a in found)
        x, g = np.asarray(x, "float64"), np.asarray(g, "float64")
        what, n = f"{x.shape}, mean {x.mean()}", x.shape[1] * x.shape[3]
        np.testing.assert_allclose(m + rest, x.mean((1, 3)), rtol=1e-10, atol=5e-7, err_msg=what)
        np.testing.assert_allclose(var, x.var((1, 3)), rtol=3e-6, atol=1e-12, err_msg=what)
        np.testing.assert_allclose(of_g, g.sum((1, 3)), atol=2e-6 * n**0.5, err_msg=what)
        products = (g * (x - m[:, None, :, None])).sum((1, 3))
        np.testing.assert_allclose(of_products, products, rtol=2e-6, atol=4e-6 * n**0.5, err_msg=what)


def normalised(x, c, b):
    """What every norm is made of."""
    m, rest, var = _moments.moments(x)
    v = c / jnp.sqrt(var + 1e-5)
    return _moments.spread(b - v * rest, v, x, m, x.dtype)


def by_definition(x, c, b):
    mean, var = x.mean((1, 3), keepdims=True), x.var((1, 3), keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5) * c[:, None, :, None] + b[:, None, :, None]


def example(shape, dtype):
    rng = np.random.default_rng(1)
    kept = shape[0], shape[2]
    return tuple(jnp.asarray(rng.normal(size=s), dtype) for s in (shape, kept, kept))


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 7, 2, 1)])
def test_derivatives_to_second_order(shape):
    with jax.enable_x64(True):
        check_grads(jax.jit(normalised), example(shape, "float64"), 2, ("fwd", "rev"), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 5, 3, 40), (1, 70, 5, 1)])
def test_the_kernels_derivatives_are_those_of_the_definition(shape):
    x, c, b = example(shape, "float32")

    def everything(f):
        def scalar(*arrays):
            return jnp.sin(f(*arrays)).sum()

        gradient = jax.grad(scalar, (0, 1, 2))
        forward = jax.jvp(f, (x, c, b), (b[:, None, :, None] * jnp.cos(x), b, c))
        second = jax.grad(lambda *a: sum(jnp.vdot(g, g) for g in gradient(*a)), (0, 1, 2))
        return forward, gradient(x, c, b), second(x, c, b)

    ours, theirs = jax.jit(lambda: [everything(f) for f in (normalised, by_definition)])()
    for our, their in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(our, their, rtol=2e-4, atol=2e-5 * np.abs(their).max())


def test_a_mapped_axis_is_kept():
    x, c, b = example((2, 5, 3, 4), "float32")
    several = jnp.stack([x, 2 * x, -x], 1)
    together = jax.jit(jax.vmap(normalised, (1, None, None)))(several, c, b)
    for i, factor in enumerate((1, 2, -1)):
        np.testing.assert_allclose(together[i], normalised(factor * x, c, b), rtol=1e-5, atol=1e-6)
    gradient = jax.vmap(jax.grad(lambda x: jnp.sin(normalised(x, c, b)).sum()), 1, 1)(several)
    assert gradient.shape == several.shape
    assert jax.vmap(normalised, (0, None, None))(jnp.zeros((0, *x.shape)), c, b).shape == (0, *x.shape)


def calls(compiled):
    return compiled.as_text().count("jaxconv_moments")


def test_where_the_kernels_are_called():
    x, c, b = example((4, 6, 3, 5), "float32")
    assert calls(jax.jit(normalised).lower(x, c, b).compile()) == 1
    with jax.enable_x64(True):
        wide = example((4, 6, 3, 5), "float64")
        assert calls(jax.jit(normalised).lower(*wide).compile()) == 0

    # What is exported runs without the library, on every platform.
    exported = export.export(jax.jit(normalised), platforms=("cpu", "cuda", "tpu"))(x, c, b)
    assert "jaxconv" not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(x, c, b), normalised(x, c, b), rtol=1e-5, atol=1e-6)
    (n,) = export.symbolic_shape("n")
    symbolic = export.export(jax.jit(normalised))(jax.ShapeDtypeStruct((4, n, 3, 5), "float32"), c, b)
    np.testing.assert_allclose(symbolic.call(x, c, b), normalised(x, c, b), rtol=1e-5, atol=1e-6)


def test_arrays_that_devices_share():
    """Where XLA divides the array, it divides the sums too; within a shard_map each device sums its own."""
    x, c, b = example((4, 6, 3, 5), "float32")
    wanted = normalised(x, c, b)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    for spec in (PartitionSpec("d"), PartitionSpec(None, "d")):
        placed = jax.device_put(x, NamedSharding(mesh, spec))
        program = jax.jit(normalised).lower(placed, c, b).compile()
        assert calls(program) == 0
        assert "all-gather" not in program.as_text()
        np.testing.assert_allclose(program(placed, c, b), wanted, rtol=1e-5, atol=1e-6)

    parts = jax.shard_map(normalised, mesh=mesh, in_specs=(PartitionSpec("d"),) * 3, out_specs=PartitionSpec("d"))
    assert calls(jax.jit(parts).lower(x, c, b).compile()) == 1
    np.testing.assert_allclose(jax.jit(parts)(x, c, b), wanted, rtol=1e-5, atol=1e-6)

    def loss(x, c, b):
        own = jax.shard_map(
            normalised, mesh=mesh, in_specs=(PartitionSpec("d"), *(PartitionSpec(),) * 2), out_specs=PartitionSpec("d")
        )
        return jnp.sin(own(x, c[:2], b[:2])).sum()

    def whole(x, c, b):
        return jnp.sin(normalised(x, jnp.tile(c[:2], (2, 1)), jnp.tile(b[:2], (2, 1)))).sum()

    for ours, theirs in zip(jax.grad(loss, (0, 1, 2))(x, c, b), jax.grad(whole, (0, 1, 2))(x, c, b), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_bits_are_the_same_again():
    """What the threads do in which order is not told; the sums do not depend on it."""
    x, g = jnp.asarray(np.random.default_rng(2).normal(size=(2, 1, 500, 33, 7)), "float32")
    sums = jax.jit(lambda x, g: _moments.moments(x) + _moments.products(x, x[:, 0, :, 0], g))
    first = sums(x, g)
    for _ in range(5):
        for a, b in zip(first, sums(x, g), strict=True):
            np.testing.assert_array_equal(a, b)
