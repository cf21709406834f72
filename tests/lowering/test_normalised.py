"""What norms make of each number: by the kernels and in plain JAX, and the derivatives of whole norms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jaxconv import _native, _normalised
from jaxconv._lowering import reductions

pytestmark = pytest.mark.usefixtures("quick_compile")

# (K0, A, K1, B): rows of one column and of many, runs of many positions and of few, none that a vector divides; the
# last is large enough to be stored past the caches.
SHAPES = (
    (1, 7, 5, 1), (1, 300, 67, 1), (1, 9, 3, 49), (2, 8, 13, 13), (4, 1, 3, 777), (3, 20, 4, 5), (1, 1, 1, 5),
    (1, 2000, 11, 1), (1, 1, 1, 30001), (2, 70, 96, 1), (1, 40000, 64, 1), (1, 8, 10, 30000),
)  # fmt: skip
# (K0, R, C): rows that one block holds and rows of several, fewer than are computed at once and more.
LAYERS = ((1, 7, 5), (1, 100, 96), (2, 9, 130), (3, 3, 2049), (1, 37, 5000), (1, 1, 1), (1, 6, 17), (1, 2000, 33))
DTYPES = {"float32": 2e-6, "bfloat16": 5e-3, "float16": 8e-4}


@pytest.fixture(autouse=True, scope="module")
def most_isa():
    """The instruction set is put back as it was found."""
    yield
    _native.use_isa(_native.isas()[-1])


def numbers(*shapes, dtype="float32", mean=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(s, "float32") + np.float32(mean), dtype) for s in shapes]


def wide(*arrays):
    return [np.asarray(a, "float64") for a in arrays]


@pytest.mark.parametrize("isa", [*_native.isas(), None])
def test_blends_are_those_of_double_precision(isa):
    native = isa is not None
    if native:
        _native.use_isa(isa)
    for shape, dtype in itertools.product(SHAPES if native else SHAPES[:3], DTYPES):
        if np.prod(shape) > 10**6 and (dtype != "float32" or isa != _native.isas()[-1]):
            continue
        kept = shape[0], shape[2]
        mean = 1000.0 if dtype == "float32" else 0.0
        x, g = (numbers(shape, dtype=dtype, mean=m, seed=i)[0] for i, m in enumerate((mean, 0.0)))
        u, v, w = numbers(kept, kept, kept, seed=2)
        (m,) = numbers(kept, mean=mean, seed=3)
        own = reductions.blend(u, v, x, m, w, g, native)
        x, g, *others = wide(x, g, u, v, m, w)
        u, v, m, w = (a[:, None, :, None] for a in others)
        assert own.dtype == dtype
        right, size = u + v * (x - m) + w * g, abs(u) + abs(v * (x - m)) + abs(w * g) + 1e-3
        assert (np.abs(np.asarray(own, "float64") - right) / size).max() <= DTYPES[dtype], f"{shape}, {dtype}"


def layer_by_definition(x, c, b, eps):
    y = (x - x.mean(2, keepdims=True)) / (x.var(2, keepdims=True) + eps) ** 0.5
    return y * c[:, None] + b[:, None]


@pytest.mark.parametrize("isa", [*_native.isas(), None])
def test_layers_are_those_of_double_precision(isa):
    """The result and what goes back through it, about a mean that is large beside the deviation, too."""
    if isa is not None:
        _native.use_isa(isa)
    for shape, dtype, mean in itertools.product(LAYERS if isa else LAYERS[1:3], DTYPES, (0.0, 1e4)):
        if dtype != "float32" and mean:
            continue
        x, g = (numbers(shape, dtype=dtype, mean=m, seed=i)[0] for i, m in enumerate((mean, 0.0)))
        c, b = numbers(*[(shape[0], shape[2])] * 2, seed=2)
        forward, back = (reductions.layer, reductions.layer_back) if isa else (_plain, _normalised._layer_back)
        y, *moments = forward(x, c, b, eps=1e-3)
        found = back(x, *moments, c, g, eps=1e-3)
        x, g, c, b = wide(x, g, c, b)
        factor = 1 / np.sqrt(x.var(2, keepdims=True) + 1e-3)
        normal, h = (x - x.mean(2, keepdims=True)) * factor, c[:, None] * g
        dx = factor * (h - h.mean(2, keepdims=True) - normal * (h * normal).mean(2, keepdims=True))
        near = DTYPES[dtype] + (1e-3 * mean / 1e4 if mean else 1e-5)
        what = f"{shape}, {dtype}, mean {mean}"
        for own, right in ((y, layer_by_definition(x, c, b, 1e-3)), (found[0], dx)):
            np.testing.assert_allclose(np.asarray(own, "float64"), right, rtol=near, atol=near * 6, err_msg=what)
        for own, right in zip(found[1:], ((g * normal).sum(1), g.sum(1)), strict=True):
            np.testing.assert_allclose(own, right, atol=(near + 1e-6) * 6 * shape[1] ** 0.5, rtol=1e-5, err_msg=what)


def _plain(x, c, b, eps):
    x, c, b = (jnp.asarray(a) for a in (x, c, b))
    exported = export.export(jax.jit(lambda x, c, b: _normalised.layer(x, c, b, eps)))(x, c, b)
    assert "jaxconv" not in exported.mlir_module()
    return exported.call(x, c, b)


def channels(x, c, b, groups):
    return _normalised.channels(x, c, b, groups, 1e-5)[0]


def channels_by_definition(x, c, b, groups):
    images, places, count, following = x.shape
    of_groups = x.reshape(images, places, groups, count // groups, following)
    mean, var = (f((1, 3, 4), keepdims=True) for f in (of_groups.mean, of_groups.var))
    normal = ((of_groups - mean) / jnp.sqrt(var + 1e-5)).reshape(x.shape)
    return normal * c[:, None, :, None] + b[:, None, :, None]


NORMS = {
    "each channel": (lambda *a: channels(*a, 6), lambda *a: channels_by_definition(*a, 6), (2, 5, 6, 7), (2, 6)),
    "groups": (lambda *a: channels(*a, 2), lambda *a: channels_by_definition(*a, 2), (3, 35, 6, 1), (3, 6)),
    "layer": (
        lambda x, c, b: _normalised.layer(x, c, b, 1e-5)[0], lambda *a: layer_by_definition(*a, 1e-5),
        (2, 9, 21), (2, 21),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_derivatives_to_second_order(name):
    ours, _, shape, kept = NORMS[name]
    with jax.enable_x64(True):
        arrays = [a.astype("float64") for a in numbers(shape, kept, kept)]
        check_grads(jax.jit(ours), arrays, 2, ("fwd", "rev"), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_the_kernels_derivatives_are_those_of_the_definition(name):
    """Of all arrays together and of each alone, forward and back, and of the moments that come with the result."""
    ours, definition, shape, kept = NORMS[name]
    x, c, b, g = numbers(shape, kept, kept, shape, seed=4)

    def everything(f):
        def scalar(*arrays):
            return (jnp.sin(f(*arrays)) * g).sum()

        gradient = jax.grad(scalar, (0, 1, 2))
        alone = [jax.grad(scalar, i)(x, c, b) for i in range(3)]
        forward = [
            jax.jvp(f, (x, c, b), (jnp.cos(x), b, c)),
            jax.jvp(lambda c, b: f(x, c, b), (c, b), (b, c)),
        ]
        second = jax.grad(lambda *a: sum(jnp.vdot(t, t) for t in gradient(*a)), (0, 1, 2))
        return gradient(x, c, b), alone, forward, second(x, c, b)

    found, wanted = (jax.tree.leaves(jax.jit(lambda f=f: everything(f))()) for f in (ours, definition))
    for own, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, right, rtol=2e-4, atol=3e-5 * np.abs(right).max())


@pytest.mark.parametrize("name", NORMS)
def test_a_mapped_axis_is_kept(name):
    ours, _, shape, kept = NORMS[name]
    x, c, b = numbers((shape[0], 3, *shape[1:]), kept, (3, *kept), seed=5)
    gradient_of = jax.value_and_grad(lambda x, b: jnp.sin(ours(x, c, b)).sum())
    values, gradients = jax.jit(jax.vmap(gradient_of, (1, 0), (0, 1)))(x, b)
    for i in range(3):
        value, gradient = gradient_of(x[:, i], b[i])
        np.testing.assert_allclose(values[i], value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(gradients[:, i], gradient, rtol=1e-4, atol=1e-5)


def calls(f, *arrays):
    text = jax.jit(f).lower(*arrays).compile().as_text()
    return [text.count(f'"jaxconv_{name}"') for name in ("moments", "products", "blend", "layer", "layer_back")]


def test_where_the_kernels_are_called():
    """A gradient of a norm over channels is a call for its sums and one for the rest; a layer norm's is one call."""
    counts = {"each channel": [1, 1, 1, 0, 0], "groups": [1, 1, 1, 0, 0], "layer": [0, 0, 0, 1, 1]}
    for name, (ours, _, shape, kept) in NORMS.items():
        x, c, b = numbers(shape, kept, kept)

        def both(x, c, b, g, ours=ours):
            y, back = jax.vjp(ours, x, c, b)
            return y, back(g)

        assert calls(both, x, c, b, x) == counts[name], name
        halves = [a.astype("bfloat16") for a in (x, x)]
        assert calls(both, halves[0], c, b, halves[1]) == counts[name], name
        with jax.enable_x64(True):
            assert not any(calls(both, *(a.astype("float64") for a in (x, c, b, x)))), name
    # Rows that would leave the cache between their sums and their results are taken apart, as channels are.
    (x,), (c,) = numbers((1, 2, 70000)), numbers((1, 70000))
    assert calls(NORMS["layer"][0], x, c, c) == [1, 0, 0, 0, 0]


def test_arrays_that_devices_share():
    """XLA divides them itself, and no device gets the whole."""
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    for name, (ours, _, shape, kept) in NORMS.items():
        x, c, b = numbers((4, *shape[1:]), (4, *kept[1:]), (4, *kept[1:]))

        def gradient(x, c, b, ours=ours):
            return jax.grad(lambda *a: jnp.sin(ours(*a)).sum(), (0, 1, 2))(x, c, b)

        placed = jax.device_put((x, c, b), NamedSharding(mesh, PartitionSpec("d")))
        program = jax.jit(gradient).lower(*placed).compile()
        assert "jaxconv" not in program.as_text(), name
        assert "all-gather" not in program.as_text(), name
        for own, right in zip(program(*placed), gradient(x, c, b), strict=True):
            np.testing.assert_allclose(own, right, rtol=1e-4, atol=1e-4)
        parts = jax.shard_map(gradient, mesh=mesh, in_specs=PartitionSpec("d"), out_specs=PartitionSpec("d"))
        for own, right in zip(jax.jit(parts)(x, c, b), gradient(x, c, b), strict=True):
            np.testing.assert_allclose(own, right, rtol=1e-4, atol=1e-4)


def test_the_bits_are_the_same_again():
    x, c, g = numbers((1, 3000, 33), (1, 33), (1, 3000, 33))
    back = jax.jit(lambda x, c, g: jax.vjp(lambda *a: _normalised.layer(*a, 1e-5)[0], x, c, c)[1](g))
    first = back(x, c, g)
    for _ in range(5):
        for a, b in zip(first, back(x, c, g), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_kernels_refuse_what_does_not_fit_together():
    """Numbers that are checked where a call comes in, whatever Python asked for."""
    x, c = numbers((2, 3, 4), (2, 4))
    like = jax.ShapeDtypeStruct(x.shape, x.dtype), *[jax.ShapeDtypeStruct((2, 3), "float32")] * 3
    layer = jax.ffi.ffi_call(_native.target("layer"), like)
    with pytest.raises(jax.errors.JaxRuntimeError, match="float32 numbers are needed, 8 of them"):
        layer(x, c[:, :3], c, eps=np.float32(0))
    with pytest.raises(jax.errors.JaxRuntimeError, match="x must have 3 axes"):
        layer(x[None], c, c, eps=np.float32(0))
    blend = jax.ffi.ffi_call(_native.target("blend"), jax.ShapeDtypeStruct((1, 2, 3, 4), "float32"))
    (y,), (u,) = numbers((1, 2, 3, 4)), numbers((1, 3))
    with pytest.raises(jax.errors.JaxRuntimeError, match="an array must be like x"):
        blend(u, u, y, u, u, y[:, :1])
    with pytest.raises(jax.errors.JaxRuntimeError, match="5 arguments and 1 results of a norm"):
        blend(u, u, y, u, u)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a norm takes numbers of float32, bfloat16 or float16"):
        blend(u, u, y.astype("int32"), u, u, y)
