"""The normalisations: how exact they are, what they do with statistics, with no values, and over several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv

pytestmark = pytest.mark.usefixtures("quick_compile")

F = jaxconv.functional
SHAPE = (6, 5, 7, 9)
STATISTICS = np.linspace(-1, 1, 5), np.linspace(1, 3, 5)
# Each as a function of input, weight and bias; over which axes its statistics are, as NumPy computes them.
NORMS = {
    "batch": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True)[0], (0, 2, 3)),
    "batch, channels last": (
        lambda x, w, b: jnp.moveaxis(
            F.batch_norm(jnp.moveaxis(x, 1, -1), None, None, w, b, True, data_format="channels_last")[0], -1, 1
        ),
        (0, 2, 3),
    ),
    "instance": (lambda x, w, b: F.instance_norm(x, None, None, w, b)[0], (2, 3)),
    "group": (lambda x, w, b: F.group_norm(x, 1, w, b), (1, 2, 3)),
    "layer": (lambda x, w, b: F.layer_norm(jnp.moveaxis(x, 1, -1), 5, w, b).transpose(0, 3, 1, 2), (1,)),
}
TORCH = {
    "batch": lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True),
    "batch, channels last": lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True),
    "instance": lambda F, x, w, b: F.instance_norm(x, None, None, w, b),
    "group": lambda F, x, w, b: F.group_norm(x, 1, w, b),
    "layer": lambda F, x, w, b: F.layer_norm(x.movedim(1, -1), (5,), w, b).movedim(-1, 1),
    # PyTorch takes no derivatives by running statistics.
    "batch, in evaluation": lambda F, x, w, b: F.batch_norm(x, *map(x.new_tensor, STATISTICS), b, w),
    "rms": lambda F, x, w, b: (F.rms_norm(x.movedim(1, -1), (5,), w) + b).movedim(-1, 1),
    "response": lambda F, x, w, b: F.local_response_norm(x, 4, 0.5, 0.7, 1.5) * w[:, None, None] + b[:, None, None],
}


def drawn(mean=0.0, shape=SHAPE, dtype="float32"):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) + mean).astype(dtype)
    return x, rng.standard_normal(5).astype(dtype), rng.standard_normal(5).astype(dtype), rng.standard_normal(shape)


@jax.jit
def with_gradients(x, w, b, g):
    """Value and gradients of each norm, as one program."""
    pulled = {name: jax.vjp(f, x, w, b) for name, (f, _) in NORMS.items()}
    return {name: (y, vjp(g)) for name, (y, vjp) in pulled.items()}


def by_definition(name, x, w, b, g):
    """Value and the gradient of the input, in float64 by NumPy from the formula of the derivative."""
    axes = NORMS[name][1]
    x, w, b = (np.asarray(a, np.float64) for a in (x, w, b))
    w, b = w[:, None, None], b[:, None, None]
    x = x - x.mean(axes, keepdims=True)
    scale = 1 / np.sqrt((x**2).mean(axes, keepdims=True) + 1e-5)
    y = x * scale
    gw = g * w
    return y * w + b, scale * (gw - gw.mean(axes, keepdims=True) - y * (gw * y).mean(axes, keepdims=True))


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e6])
def test_values_and_gradients_are_exact_far_from_zero(mean):
    """To a few digits of the last place whatever the mean; PyTorch's own error is allowed where it is larger."""
    torch = pytest.importorskip("torch")
    x, w, b, g = drawn(mean)

    for name, (value, gradients) in with_gradients(x, w, b, g.astype("float32")).items():
        ours, wanted = (value, gradients[0]), by_definition(name, x, w, b, g)
        t = torch.from_numpy(x).requires_grad_()
        y = TORCH[name](torch.nn.functional, t, torch.from_numpy(w), torch.from_numpy(b))
        y.backward(torch.from_numpy(g.astype("float32")))
        for our, their, exact in zip(ours, (y.detach(), t.grad), wanted, strict=True):
            error, allowed = np.abs(our - exact).max(), np.abs(their.numpy() - exact).max()
            assert error <= 1e-6 * np.abs(exact).max(), (name, error)
            assert error <= allowed + 4e-7 * np.abs(exact).max(), (name, error, allowed)


def test_statistics_are_exact_far_from_zero():
    torch = pytest.importorskip("torch")
    for mean in (1e3, 1e6):
        x = (np.random.default_rng(0).standard_normal((40, 3, 61)) + mean).astype("float32")
        _, m, v = jaxconv.batch_norm(x, np.zeros(3, "float32"), np.ones(3, "float32"), training=True, momentum=1)
        wanted = x.astype("float64").mean((0, 2)), x.astype("float64").var((0, 2), ddof=1)
        theirs = torch.zeros(3), torch.ones(3)
        torch.nn.functional.batch_norm(torch.from_numpy(x), *theirs, training=True, momentum=1)
        for ours, their, exact in zip((m, v), theirs, wanted, strict=True):
            assert np.abs(ours - exact).max() <= np.abs(their.numpy() - exact).max() + 1e-6 * np.abs(exact).max()


def test_a_first_part_unlike_all_others_costs_a_digit():
    """Of images, rows and channels, from which the mean is first estimated."""
    x, w, b, g = drawn()
    for part in (np.s_[:1], np.s_[:, :1], np.s_[:, :, :1]):
        far = x.copy()
        far[part] += 1e6

        for name, (y, _) in with_gradients(far, w, b, g.astype("float32")).items():
            exact = by_definition(name, far, w, b, g)[0]
            np.testing.assert_allclose(y, exact, atol=1e-5 * np.abs(exact).max(), err_msg=name)


@pytest.mark.parametrize("value", [0.0, 1449.33, 4e4, 1e7])
def test_equal_values_have_no_variance(value):
    """Whatever their mean is rounded to, what is left is the bias, and the gradients are finite."""
    x, w, b, _ = drawn()
    for name, (y, gradients) in with_gradients(np.full_like(x, value), w, b, np.ones_like(x)).items():
        np.testing.assert_allclose(y, np.broadcast_to(b[:, None, None], SHAPE), atol=1e-4, err_msg=name)
        assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_floats_are_computed_with_in_float32(dtype):
    """Squares and sums that 16 bits cannot hold, with parameters and statistics of either kind."""
    x, w, b, g = drawn(300.0 if dtype == "float16" else 3.0)
    x = jnp.asarray(x * 100 if dtype == "float16" else x, dtype)
    for kind in ("float32", dtype):
        parameters = [jnp.asarray(a, kind) for a in (w, b)]
        for name, (y, gradients) in with_gradients(x, *parameters, jnp.asarray(g, dtype)).items():
            exact, gradient = by_definition(name, x.astype("float32"), w, b, g)
            assert [y.dtype, *(a.dtype for a in gradients)] == [dtype, dtype, kind, kind]
            eps = float(jnp.finfo(dtype).eps)
            np.testing.assert_allclose(y.astype("float32"), exact, atol=4 * eps * np.abs(exact).max())
            scale = np.abs(gradient).max()
            np.testing.assert_allclose(gradients[0].astype("float32"), gradient, atol=8 * eps * scale)


def test_16_bit_images_with_a_variance_that_16_bits_cannot_hold():
    """A running variance of 70,000 is no infinity."""
    x = jnp.asarray([[512.0, 1.0], [-256.0, 2.0]], "float16")
    mean, var = jnp.zeros(2), jnp.asarray([7e4, 1.0])
    y, new_mean, new_var = jaxconv.batch_norm(x, mean, var)
    np.testing.assert_allclose(y[:, 0], np.asarray([512, -256]) / np.sqrt(7e4), rtol=2e-3)
    np.testing.assert_array_equal([new_mean, new_var], [mean, var])
    _, new_mean, new_var = jaxconv.batch_norm(x, mean, var, training=True, momentum=0.5)
    np.testing.assert_allclose(new_var, [(7e4 + 768**2 / 2) / 2, 0.75], rtol=1e-6)
    assert new_mean.dtype == "float32"


# --- statistics -----------------------------------------------------------------------------------------------


def test_no_gradient_flows_through_the_new_statistics():
    x, w, b, _ = drawn()
    mean, var = np.zeros(5, "float32"), np.ones(5, "float32")

    def loss(x, mean, var):
        _, mean, var = jaxconv.batch_norm(x, mean, var, w, b, training=True)
        return (mean + var).sum()

    for gradient in jax.jit(jax.grad(loss, (0, 1, 2)))(x, mean, var):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_a_momentum_may_be_known_only_when_the_program_runs():
    x, mean, var = drawn()[0], np.zeros(5, "float32"), np.ones(5, "float32")
    compiled = jax.jit(lambda m: jaxconv.batch_norm(x, mean, var, training=True, momentum=m))
    for momentum in (0.0, 0.25, 1.0):
        for ours, wanted in zip(
            compiled(momentum), jaxconv.batch_norm(x, mean, var, training=True, momentum=momentum), strict=True
        ):
            np.testing.assert_allclose(ours, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 5, 7), (3, 5, 0), (0, 5), (3, 0, 7)])
def test_no_values_leave_the_statistics_as_they_are(shape):
    channels = shape[1]
    mean, var, w = (np.full(channels, n, "float32") for n in (2, 3, 4))
    with jax.debug_nans(True):
        for norm in (F.batch_norm, F.instance_norm)[: len(shape) - 1]:
            for flag in (True, False):
                y, *statistics = norm(np.zeros(shape, "float32"), mean, var, w, w, flag)
                assert y.shape == shape
                np.testing.assert_array_equal(statistics, [mean, var])
        gradient = jax.grad(lambda w: F.batch_norm(np.zeros(shape, "float32"), mean, var, w, w, True)[0].sum())(w)
        np.testing.assert_array_equal(gradient, np.zeros(channels))


# --- over several devices -------------------------------------------------------------------------------------


def everything(x, mean, var, w, b, **arguments):
    """Output, new statistics, and the gradients of a loss of the output."""

    def loss(x, w, b):
        y, *new = jaxconv.batch_norm(x, mean, var, w, b, True, **arguments)
        return (y**3).sum(), (y, *new)

    gradients, outputs = jax.grad(loss, (0, 1, 2), has_aux=True)(x, w, b)
    return *outputs, *gradients


def given():
    x, w, b, _ = drawn(50.0, (8, 5, 3, 2))
    return x, np.zeros(5, "float32"), np.ones(5, "float32"), w, b


needs_devices = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices")


def test_statistics_over_a_mapped_axis():
    """Of the parts of a batch, two of them of one value per channel each, as of the whole batch."""
    x, *others = given()
    together = everything(x, *others)
    for parts in (4, 8):
        split = x.reshape(parts, 8 // parts, *x.shape[1:])
        apart = jax.jit(jax.vmap(functools.partial(everything, axis_name="n"), (0, *[None] * 4), axis_name="n"))
        y, mean, var, dx, dw, db = apart(split, *others)
        for ours, wanted in zip((y, dx), (together[0], together[3]), strict=True):
            np.testing.assert_allclose(ours.reshape(x.shape), wanted, rtol=1e-4, atol=1e-4)
        for ours, wanted in zip((mean, var), together[1:3], strict=True):
            np.testing.assert_allclose(ours, np.broadcast_to(wanted, ours.shape), rtol=1e-5, atol=1e-5)
        for ours, wanted in zip((dw, db), together[4:], strict=True):
            np.testing.assert_allclose(ours.sum(0), wanted, rtol=1e-4, atol=1e-3)
    single = x[:2, :, :1, 0].reshape(2, 1, 5, 1)
    y, _, var = jax.vmap(
        lambda x: jaxconv.batch_norm(x, *others[:2], training=True, momentum=1, axis_name="n"), axis_name="n"
    )(single)
    np.testing.assert_allclose(var[0], single.var((0, 1, 3), ddof=1), rtol=1e-4)
    with pytest.raises(ValueError, match="more than one value per channel"):
        jax.vmap(lambda x: jaxconv.batch_norm(x, training=True, axis_name="n"), axis_name="n")(single[:1])


@needs_devices
def test_statistics_over_devices_in_shard_map():
    x, *others = given()
    mesh = jax.make_mesh((4,), ("n",), axis_types=(AxisType.Auto,))
    whole, part = PartitionSpec(), PartitionSpec("n")

    def step(x, mean, var, w, b):
        def loss(x, w, b):
            y, *new = jaxconv.batch_norm(x, mean, var, w, b, True, axis_name="n")
            return jax.lax.psum((y**3).sum(), "n"), (y, *new)

        gradients, outputs = jax.grad(loss, (0, 1, 2), has_aux=True)(x, w, b)
        return *outputs, *gradients

    run = jax.jit(
        jax.shard_map(
            step, mesh=mesh, in_specs=(part, *[whole] * 4), out_specs=(part, whole, whole, part, whole, whole)
        )
    )
    for ours, wanted in zip(run(x, *others), everything(x, *others), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-3)


@needs_devices
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_divided_batch_gives_what_the_whole_one_does(kind):
    """And under explicit axes the types say how the results are divided."""
    x, *others = given()
    mesh = jax.make_mesh((4, 2), ("n", "h"), axis_types=(kind, kind))
    alone = everything(x, *others), [f(x, *others[2:]) for f, _ in NORMS.values()]
    with jax.set_mesh(mesh):
        divided = jax.device_put(x, NamedSharding(mesh, PartitionSpec("n")))
        placed = [jax.device_put(a, NamedSharding(mesh, PartitionSpec())) for a in others]

        @jax.jit
        def run(x, *others):
            results = everything(x, *others), [f(x, *others[2:]) for f, _ in NORMS.values()]
            if kind == AxisType.Explicit:
                assert [str(jax.typeof(a)) for a in results[0][:2]] == ["float32[8@n,5,3,2]", "float32[5]"]
                assert all(str(jax.typeof(y)).startswith("float32[8@n,") for y in results[1])
            return results

        results = run(divided, *placed)
    for ours, wanted in zip(jax.tree.leaves(results), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-3)


def per_channel(x):
    return x[None, :, None, None]


# --- JAX's transformations ------------------------------------------------------------------------------------

OTHERS = {
    "batch, in evaluation": lambda x, w, b: F.batch_norm(x, *STATISTICS, b, w)[0],
    "rms": lambda x, w, b: jnp.moveaxis(F.rms_norm(jnp.moveaxis(x, 1, -1), 5, w) + b[None, None, None], -1, 1),
    "response": lambda x, w, b: (
        F.local_response_norm(x, 4, 0.5, 0.7, 1.5) * w[None, :, None, None] + b[None, :, None, None]
    ),
}
FUNCTIONS = {**{name: f for name, (f, _) in NORMS.items()}, **OTHERS}


@pytest.fixture
def double():
    """float64 for one test: that of conftest is for a module."""
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("double")
class TestTransforms:
    def test_derivatives_of_first_and_second_order(self):
        """As PyTorch's: with L = <u, f> the first is dL, the second d<dL, t>; and forward derivatives as backward."""
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(1)
        shapes = (2, 5, 3, 2), (5,), (5,)
        arrays, t = ([rng.standard_normal(s) for s in shapes] for _ in range(2))
        u = rng.standard_normal(shapes[0])

        def first(f, *arrays):
            return jax.vjp(f, *arrays)[1](u)

        def second(f, *arrays):
            return jax.vjp(lambda *a: first(f, *a), *arrays)[1](tuple(t))

        @jax.jit
        def all_of_them(*arrays):
            return {
                name: {
                    "first": first(f, *arrays),
                    "second": second(f, *arrays),
                    "forward over backward": jax.jvp(lambda *a, f=f: first(f, *a), arrays, tuple(t))[1],
                    "forward": jax.jvp(f, arrays, tuple(t))[1],
                }
                for name, f in FUNCTIONS.items()
            }

        for name, ours in all_of_them(*arrays).items():
            leaves = [torch.from_numpy(a).requires_grad_() for a in arrays]
            y = TORCH[name](torch.nn.functional, *leaves)
            got = torch.autograd.grad(y, leaves, torch.from_numpy(u), create_graph=True)
            # That of the bias is u, and has no derivative.
            along = [(g, torch.from_numpy(a)) for g, a in zip(got, t, strict=True) if g.requires_grad]
            again = torch.autograd.grad([g for g, _ in along], leaves, [a for _, a in along], materialize_grads=True)
            wanted = {"first": got, "second": again, "forward over backward": again}
            for order, theirs in wanted.items():
                for our, their in zip(ours[order], theirs, strict=True):
                    assert_close(our, their.detach().numpy(), 1e-11, scale=1)
            product = sum(np.vdot(a, b) for a, b in zip(ours["first"], t, strict=True))
            assert_close(np.vdot(u, ours["forward"]), product, 1e-11)

    def test_vmap_and_jit_and_strict_modes(self):
        rng = np.random.default_rng(1)
        x, w, b = (rng.standard_normal((3, *s)) for s in ((2, 5, 3, 2), (5,), (5,)))

        def all_of_them(x, w, b):
            return [f(x, w, b) for f in FUNCTIONS.values()]

        with (
            jax.numpy_rank_promotion("raise"),
            jax.numpy_dtype_promotion("strict"),
            jax.debug_nans(True),
            jax.check_tracer_leaks(True),
        ):
            together = jax.jit(jax.vmap(all_of_them))(x, w, b)
            nothing = jax.jit(jax.vmap(all_of_them))(x[:0], w[:0], b[:0])
        assert [y.shape for y in nothing] == [(0, *y.shape[1:]) for y in together]
        for i in range(3):
            for y, alone in zip(together, all_of_them(x[i], w[i], b[i]), strict=True):
                np.testing.assert_allclose(y[i], alone, rtol=1e-12, atol=1e-12)

    def test_nothing_is_transferred(self):
        x, w, b = (jnp.ones(s, "float32") for s in ((2, 5, 3, 2), (5,), (5,)))
        with jax.transfer_guard("disallow"):
            F.batch_norm(x, w, b, w, b, True)
            F.batch_norm(x, w, b, w, b)
            F.instance_norm(x, w, b, w, b)
            F.group_norm(x, 1, w, b)
            F.layer_norm(x, 2)
            F.rms_norm(x, 2)
            F.local_response_norm(x, 3)

    def test_export_with_symbolic_sizes(self):
        def all_of_them(x, w, b):
            return [f(x, w, b) for f in FUNCTIONS.values()] + list(F.batch_norm(x, w, b, w, b, True))

        shape = export.symbolic_shape("n, 5, h, w")
        specs = [jax.ShapeDtypeStruct(s, "float64") for s in (shape, (5,), (5,))]
        read = export.deserialize(export.export(jax.jit(all_of_them))(*specs).serialize())
        rng = np.random.default_rng(1)
        for size in ((2, 3, 4), (3, 5, 2)):
            arrays = [rng.standard_normal(s) for s in ((size[0], 5, *size[1:]), (5,), (5,))]
            for ours, wanted in zip(read.call(*arrays), all_of_them(*arrays), strict=True):
                np.testing.assert_allclose(ours, wanted, rtol=1e-11, atol=1e-11)


def test_a_response_norm_over_more_channels_than_there_are():
    """Beyond all channels there are zeros, however far it reaches."""
    x = drawn()[0]
    wanted = x / (1 + 1e-4 * (x.astype("float64") ** 2).sum(1, keepdims=True) / 2**31) ** 0.75
    np.testing.assert_allclose(jaxconv.local_response_norm(x, 2**31), wanted, rtol=1e-6)
