"""Under a mesh with explicit axes: the types of results say how they are divided, as those of `lax` do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
import jaxconv.nnx

pytestmark = [
    pytest.mark.usefixtures("quick_compile"),
    pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices"),
]

# (function of images and a weight, shape of the images, shape of the weight, type of the result) where the images are
# divided along their batch over 4 devices, and the weight along its first axis over 2.
CASES = {
    "conv2d": (jaxconv.conv2d, (8, 4, 7, 5), (6, 4, 3, 2), "float32[8@n,6@c,5,4]"),
    "conv2d, channels last": (
        lambda x, w: jaxconv.conv2d(x, w, groups=2, data_format="channels_last", padding_mode="circular", padding=1),
        (8, 7, 5, 4),
        (6, 2, 3, 2),
        "float32[8@n,7,6,6@c]",
    ),
    "conv1d of one image": (jaxconv.conv1d, (4, 7), (6, 4, 3), "float32[6@c,5]"),
    "conv_transpose2d": (
        lambda x, w: jaxconv.conv_transpose2d(x, w, stride=2),
        (8, 4, 5, 3),
        (4, 6, 3, 2),
        "float32[8@n,6,11,6]",
    ),
    "conv2d_input": (
        lambda y, w: jaxconv.conv2d_input((8, 4, 7, 5), w, y),
        (8, 6, 5, 4),
        (6, 4, 3, 2),
        "float32[8@n,4,7,5]",
    ),
    "conv1d_weight": (
        lambda x, w: jaxconv.conv1d_weight(x, (6, 4, 3), jnp.ones((8, 6, 5)) * w.sum()),
        (8, 4, 7),
        (6, 4, 3),
        "float32[6,4,3]",
    ),
    "max_pool2d": (lambda x, w: jaxconv.max_pool2d(x, 2), (8, 4, 7, 6), (2,), "float32[8@n,4,3,3]"),
    "max_pool2d, overlapping": (lambda x, w: jaxconv.max_pool2d(x, 3, 2, 1), (8, 4, 7, 6), (2,), "float32[8@n,4,4,3]"),
    "max_pool2d with indices": (
        lambda x, w: sum(a.astype("float32") for a in jaxconv.max_pool2d(x, 3, 2, 1, return_indices=True)),
        (8, 4, 7, 6),
        (2,),
        "float32[8@n,4,4,3]",
    ),
    "adaptive_max_pool1d": (lambda x, w: jaxconv.adaptive_max_pool1d(x, 3), (8, 4, 7), (2,), "float32[8@n,4,3]"),
    "max_unpool1d": (
        lambda x, w: jaxconv.max_unpool1d(x, jnp.zeros_like(x, int) + jnp.arange(7), 2),
        (8, 4, 7),
        (2,),
        "float32[8@n,4,14]",
    ),
    "lp_pool2d": (lambda x, w: jaxconv.lp_pool2d(x, 2, 2), (8, 4, 7, 6), (2,), "float32[8@n,4,3,3]"),
    "prelu": (lambda x, w: jaxconv.prelu(x, w), (8, 4, 7), (4,), "float32[8@n,4,7]"),
    "softmax over channels": (lambda x, w: jaxconv.nnx.Softmax2d()(x), (8, 4, 7, 6), (2,), "float32[8@n,4,7,6]"),
    "dropout": (
        lambda x, w: jaxconv.nnx.Dropout2d(0.5)(x, rngs=jax.random.key(0)),
        (8, 4, 7, 6),
        (2,),
        "float32[8@n,4,7,6]",
    ),
    "avg_pool1d": (lambda x, w: jaxconv.avg_pool1d(x, 3, 1, 1), (8, 4, 7), (2,), "float32[8@n,4,7]"),
    "adaptive_avg_pool2d": (
        lambda x, w: jaxconv.adaptive_avg_pool2d(x, (2, 3)),
        (8, 4, 7, 5),
        (2,),
        "float32[8@n,4,2,3]",
    ),
    "unfold": (lambda x, w: jaxconv.unfold(x, 3), (8, 4, 7, 5), (2,), "float32[8@n,36,15]"),
    "fold": (lambda x, w: jaxconv.fold(x, (7, 5), 3), (8, 36, 15), (2,), "float32[8@n,4,7,5]"),
    "interpolate": (
        lambda x, w: jaxconv.interpolate(x, (9, 8), mode="bicubic", data_format="channels_last"),
        (8, 7, 5, 4),
        (2,),
        "float32[8@n,9,8,4]",
    ),
    "grid_sample": (
        lambda x, w: jaxconv.grid_sample(
            x, jaxconv.affine_grid(jnp.ones((8, 2, 3)) * w.sum() / 7, (8, 4, 3, 6)), "nearest"
        ),
        (8, 4, 7, 5),
        (2,),
        "float32[8@n,4,3,6]",
    ),
    "shuffles": (
        lambda x, w: jaxconv.pixel_unshuffle(jaxconv.pixel_shuffle(jaxconv.channel_shuffle(x, 2), 2), 3),
        (8, 4, 3, 6),
        (2,),
        "float32[8@n,9,2,4]",
    ),
    "pad": (lambda x, w: jaxconv.pad(x, (1, 2), "reflect"), (8, 4, 7), (2,), "float32[8@n,4,10]"),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_type_of_a_result_and_of_gradients(name, compiled):
    function, x_shape, w_shape, wanted = CASES[name]
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype("float32") for s in (x_shape, w_shape))

    def gradients(x, w):
        return jax.grad(lambda x, w: (function(x, w) ** 2).sum(), (0, 1))(x, w)

    alone = [function(x, w), *gradients(x, w)]
    mesh = jax.make_mesh((4, 2), ("n", "c"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        n, c = (jax.device_put(a, NamedSharding(mesh, PartitionSpec(axis))) for a, axis in ((x, "n"), (w, "c")))
        value, grad = (jax.jit(f) if compiled else f for f in (function, gradients))
        results = [value(n, c), *grad(n, c)]
        types = [str(jax.typeof(a)) for a in results]
    assert types == [wanted, str(jax.typeof(n)), str(jax.typeof(c))]
    for ours, expected in zip(results, alone, strict=True):
        assert_close(ours, expected, 1e-4)


def test_nothing_is_gathered_after_it():
    mesh = jax.make_mesh((8,), ("n",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = jax.device_put(np.ones((8, 4, 7, 5), "float32"), NamedSharding(mesh, PartitionSpec("n")))
        compiled = jax.jit(lambda x: jax.nn.relu(jaxconv.conv2d(x, jnp.ones((6, 4, 3, 2))))).lower(x).compile()
    assert "all-gather" not in compiled.as_text()


@pytest.mark.parametrize(
    "function", [jaxconv.conv2d, lambda x, w: jaxconv.group_norm(x, 2) * w.sum()], ids=["conv2d", "group_norm"]
)
def test_the_gradient_of_arrays_that_no_mesh_has(function):
    """Made before the mesh was set: what goes back to them without jit can be computed with."""
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(s), "float32") for s in ((2, 4, 7, 5), (6, 4, 3, 2)))

    def gradients(x, w):
        found = jax.grad(lambda x, w: (function(x, w) ** 3).sum(), (0, 1))(x, w)
        return [a - 1 for a in found]

    alone = gradients(x, w)
    with jax.set_mesh(jax.make_mesh((4, 2), ("n", "c"), axis_types=(AxisType.Explicit,) * 2)):
        for ours, expected in zip(gradients(x, w), alone, strict=True):
            assert_close(ours, expected, 1e-5)


def test_a_shard_map_along_some_axes_leaves_the_others_in_the_types():
    mesh = jax.make_mesh((4, 2), ("n", "c"), axis_types=(AxisType.Explicit,) * 2)
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(s), "float32") for s in ((8, 4, 6, 5), (6, 4, 3, 2)))
    split, whole = PartitionSpec("n"), PartitionSpec()
    alone = jaxconv.conv2d(x, w, padding=((1, 1), (0, 1)))
    with jax.set_mesh(mesh):
        conv = jax.shard_map(
            lambda x, w: jaxconv.conv2d(x, w, padding=((1, 1), (0, 1))),
            in_specs=(split, whole),
            out_specs=split,
            axis_names={"n"},
        )
        y = jax.jit(conv)(
            jax.device_put(x, NamedSharding(mesh, PartitionSpec("n", None, "c"))),
            jax.device_put(w, NamedSharding(mesh, whole)),
        )
        assert str(jax.typeof(y)) == "float32[8@n,6,6@c,5]"
    assert_close(y, alone, 1e-5)


@pytest.mark.parametrize("algorithm", ["auto", "taps", "xla"])
def test_the_gradient_through_a_shard_map_along_some_axes(algorithm):
    """What is kept of the images has the types of outside, and their gradients are computed within the op."""

    def conv(x, w):
        return jaxconv.conv2d(
            x, w, w[:, 0, 0, 0], padding=((1, 0), (2, 1)), padding_mode="circular", algorithm=algorithm
        )

    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype("float32") for s in ((4, 4, 8, 5), (6, 4, 2, 3)))
    alone = jax.grad(lambda x, w: (conv(x, w) ** 2).sum(), (0, 1))(x, w)
    mesh = jax.make_mesh((2, 4), ("n", "h"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        images = jax.device_put(x, NamedSharding(mesh, PartitionSpec("n", None, "h")))
        batch, whole = PartitionSpec("n"), PartitionSpec()
        of_parts = jax.shard_map(conv, in_specs=(batch, whole), out_specs=batch, axis_names={"n"})
        found = jax.jit(jax.grad(lambda x, w: (of_parts(x, w) ** 2).sum(), (0, 1)))(images, jnp.asarray(w))
        assert [tuple(jax.typeof(a).sharding.spec) for a in found] == [("n", None, "h", None), (None,) * 4]
    for ours, expected in zip(found, alone, strict=True):
        assert_close(ours, expected, 1e-5)


def test_the_day_on_which_jax_takes_that_of_a_norm():
    """The guide to several devices says how to do without."""
    mesh = jax.make_mesh((2, 4), ("n", "h"), axis_types=(AxisType.Explicit,) * 2)
    batch = PartitionSpec("n")
    with jax.set_mesh(mesh):
        x = jax.device_put(np.ones((4, 4, 8, 5), "float32"), NamedSharding(mesh, PartitionSpec("n", None, "h")))
        of_parts = jax.shard_map(lambda x: jaxconv.group_norm(x, 2), in_specs=batch, out_specs=batch, axis_names={"n"})
        with pytest.raises((NotImplementedError, ValueError), match=r"Closing over inputs|context mesh"):
            jax.jit(jax.grad(lambda x: (of_parts(x) ** 2).sum()))(x)


WITHOUT_A_MESH = {
    "conv2d": lambda x: jaxconv.conv2d(x, jnp.linspace(-1, 1, 5 * 27).reshape(5, 3, 3, 3), jnp.ones(5), padding=1),
    "conv_transpose2d": lambda x: jaxconv.conv_transpose2d(x, jnp.linspace(-1, 1, 48).reshape(3, 4, 2, 2), stride=2),
    "batch_norm": lambda x: jaxconv.batch_norm(x, None, None, jnp.arange(3.0), jnp.ones(3), training=True)[0],
    "batch_norm, running": lambda x: jaxconv.batch_norm(x, jnp.ones(3), jnp.arange(1.0, 4))[0],
    "group_norm": lambda x: jaxconv.group_norm(x, 3),
    "max_pool2d": lambda x: jaxconv.max_pool2d(x, 3, 1, 1),
    "pad": lambda x: jaxconv.pad(x, (4, 4, 1, 1), "reflect"),
    "interpolate": lambda x: jaxconv.interpolate(x, scale_factor=2),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", WITHOUT_A_MESH)
def test_without_a_mesh_that_is_set_it_is_that_of_the_arrays(name, compiled):
    function = WITHOUT_A_MESH[name]
    mesh = jax.make_mesh((2, 4), ("h", "w"), axis_types=(AxisType.Explicit,) * 2)
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype("float32")
    divided = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, None, "h", "w")))
    y = (jax.jit(function) if compiled else function)(divided)
    assert tuple(jax.typeof(y).sharding.spec) == (None, None, "h", "w")
    np.testing.assert_allclose(y, function(x), rtol=1e-5, atol=1e-5)
