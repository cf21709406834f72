"""The layers that drop parts of an array: what is dropped as a whole, how often, and who switches it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv.linen
import jaxconv.nnx
from jaxconv.nnx import Dropout1d, Dropout2d, Dropout3d, StochasticDepth

pytestmark = pytest.mark.usefixtures("quick_compile")

# (layer, its arguments, the shape of the input, the axes along which is decided anew)
CASES = {
    "1d": ("Dropout1d", (0.25,), {}, (30, 40, 3), (0, 1)),
    "1d of one image": ("Dropout1d", (0.25,), {}, (1200, 3), (0,)),
    "1d, channels last": ("Dropout1d", (0.25,), {"data_format": "channels_last"}, (30, 3, 40), (0, 2)),
    "2d": ("Dropout2d", (0.5,), {}, (30, 40, 3, 2), (0, 1)),
    # PyTorch's takes three axes for (N, C, L).
    "2d of three axes": ("Dropout2d", (0.5,), {}, (30, 40, 3), (0, 1)),
    "2d of three axes, channels last": ("Dropout2d", (0.5,), {"data_format": "channels_last"}, (30, 3, 40), (0, 2)),
    "3d": ("Dropout3d", (0.75,), {}, (30, 40, 2, 1, 3), (0, 1)),
    "3d of one image": ("Dropout3d", (0.75,), {}, (1200, 2, 1, 3), (0,)),
    "3d of one image, channels last": ("Dropout3d", (0.1,), {"data_format": "channels_last"}, (2, 1, 3, 1200), (3,)),
    "rows": ("StochasticDepth", (0.25, "row"), {}, (1200, 3, 2), (0,)),
    "rows of numbers": ("StochasticDepth", (0.25, "row"), {}, (1200,), (0,)),
}


def in_linen(name, args, kwargs, x, seed=0):
    layer = getattr(jaxconv.linen, name)(*args, **kwargs)
    return layer.apply({}, x, deterministic=False, rngs={"dropout": jax.random.key(seed)})


def in_nnx(name, args, kwargs, x, seed=0):
    return getattr(jaxconv.nnx, name)(*args, **kwargs, rngs=nnx.Rngs(seed))(x)


@pytest.mark.parametrize("shell", [in_nnx, in_linen])
@pytest.mark.parametrize("name", CASES)
def test_parts_are_dropped_whole_and_the_others_scaled(name, shell):
    layer, args, kwargs, shape, axes = CASES[name]
    x = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    y = np.asarray(shell(layer, args, kwargs, x))
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - args[0]), rtol=1e-6)
    others = tuple(a for a in range(x.ndim) if a not in axes)
    assert np.array_equal(kept.all(others), kept.any(others))
    # 1200 decisions: the share of those that keep is normal, of standard deviation below 0.015.
    assert kept.any(others).size == 1200
    assert abs(kept.mean() - (1 - args[0])) < 0.06


def test_a_batch_is_dropped_or_kept_whole():
    x = np.ones((2, 3, 4), np.float32)
    draw = jax.jit(lambda key: in_linen_of(key, x))

    def in_linen_of(key, x):
        return jaxconv.linen.StochasticDepth(0.25, "batch").apply({}, x, deterministic=False, rngs={"dropout": key})

    y = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), 1000)))
    flat = y.reshape(1000, -1)
    assert (flat == flat[:, :1]).all()
    np.testing.assert_allclose(np.unique(flat), [0, 1 / 0.75], rtol=1e-6)
    assert abs(flat.mean() - 1) < 0.1  # the expectation is the input


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
def test_the_dtype_is_kept(dtype):
    x = jnp.ones((8, 16, 3), dtype)
    y = Dropout1d(0.5, rngs=nnx.Rngs(0))(x)
    assert y.dtype == dtype
    assert set(np.asarray(y).real.astype(float).ravel()) == {0.0, 2.0}


@pytest.mark.parametrize("p", [0, 0.0, 1, 1.0])
def test_the_ends_need_nothing_to_draw_from_and_have_finite_gradients(p):
    x = jnp.full((2, 3, 4), jnp.inf).at[0].set(2)
    for make in (lambda: Dropout1d(p), lambda: StochasticDepth(p, "row"), lambda: StochasticDepth(p, "batch")):
        layer = make()
        np.testing.assert_array_equal(layer(x), x if p == 0 else np.zeros_like(x))
        gradient = jax.grad(lambda x, layer=layer: layer(x).sum())(x)
        np.testing.assert_array_equal(gradient, np.full_like(x, 1 - p))


def test_gradients_go_where_the_input_was_kept():
    x = jnp.ones((30, 5, 2)).at[3].set(jnp.inf)
    y, pull = jax.vjp(lambda x: Dropout1d(0.5)(x, rngs=jax.random.key(3)), x)
    np.testing.assert_array_equal(pull(jnp.ones_like(y))[0], np.where(y == 0, 0, 2))
    assert not jnp.isnan(y).any()


def test_train_eval_and_views_switch_it():
    model = nnx.Sequential(Dropout2d(0.5, rngs=nnx.Rngs(0)), StochasticDepth(0.5, "row", rngs=nnx.Rngs(1)))
    x = jnp.ones((64, 8, 3, 2))
    assert (model(x) == 0).any()  # as PyTorch's a new layer is in training
    assert (model(x) != model(x)).any()
    model.eval()
    np.testing.assert_array_equal(model(x), x)
    model.train()
    assert (model(x) == 0).any()
    view = nnx.view(model, deterministic=True)
    np.testing.assert_array_equal(view(x), x)
    assert (model(x) == 0).any()
    layer = model.layers[0]
    np.testing.assert_array_equal(layer(x, deterministic=True), x)
    assert (layer(x, deterministic=False) == 0).any()
    assert layer.eval() is None or layer.deterministic
    # In evaluation everything but another number of axes is given back.
    np.testing.assert_array_equal(layer(jnp.ones((2, 3, 4, 5), int), deterministic=True), np.ones((2, 3, 4, 5)))
    with pytest.raises(ValueError, match=r"input of Dropout2d must have shape \(N, C, H, W\) or \(N, C, L\)"):
        layer(x[0, 0], deterministic=True)


def test_one_seed_gives_one_mask_and_other_seeds_others():
    x = jnp.ones((64, 8, 3))
    a, b, c = (Dropout1d(rngs=nnx.Rngs(seed)) for seed in (0, 0, 1))
    first = a(x)
    np.testing.assert_array_equal(first, b(x))
    assert (first != c(x)).any()
    # Of several streams it is the one called dropout, and each layer has its own.
    d, e = Dropout1d(rngs=nnx.Rngs(params=5, dropout=0)), Dropout1d(rngs=nnx.Rngs(params=6, dropout=0))
    np.testing.assert_array_equal(d(x), e(x))
    rngs = nnx.Rngs(0)
    assert (Dropout1d(rngs=rngs)(x) != Dropout1d(rngs=rngs)(x)).any()
    # A call's own seeds come first: as streams, or as a key.
    key = jax.random.key(7)
    np.testing.assert_array_equal(a(x, rngs=key), c(x, rngs=key))
    np.testing.assert_array_equal(a(x, rngs=nnx.Rngs(4)), c(x, rngs=nnx.Rngs(dropout=4)))
    np.testing.assert_array_equal(Dropout1d()(x, rngs=nnx.Rngs(4)["dropout"]), c(x, rngs=nnx.Rngs(4)))


def test_jit_vmap_and_scan_draw_anew():
    x = jnp.ones((64, 8, 3))
    layer, again = Dropout1d(rngs=nnx.Rngs(0)), Dropout1d(rngs=nnx.Rngs(0))
    compiled = nnx.jit(lambda layer, x: layer(x))
    masks = [compiled(layer, x) for _ in range(2)]
    np.testing.assert_array_equal(masks, [again(x) for _ in range(2)])
    assert (masks[0] != masks[1]).any()

    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=(nnx.StateAxes({nnx.RngState: 0, ...: None}), None))
    def several(layer, x):
        return layer(x)

    y = several(layer, x)
    assert (y[0] != y[1]).any()
    assert (y[1] != y[2]).any()

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
    def steps(layer, x):
        return layer, layer(x)

    _, y = steps(layer, jnp.stack([x, x]))
    assert (y[0] != y[1]).any()


def test_linen_is_told_once_whether_it_is_deterministic():
    x = jnp.ones((64, 8, 3))
    layer = jaxconv.linen.Dropout1d(0.5, deterministic=True)
    np.testing.assert_array_equal(layer.apply({}, x), x)
    with pytest.raises(ValueError, match="deterministic"):
        layer.apply({}, x, deterministic=False)
    with pytest.raises(ValueError, match="deterministic"):
        jaxconv.linen.Dropout1d(0.5).apply({}, x)
    model = nn.Sequential([jaxconv.linen.StochasticDepth(0.5, "row", deterministic=False)])
    y = model.apply({}, x, rngs={"dropout": jax.random.key(0)})
    assert (y == 0).any()
    assert not jaxconv.linen.Dropout3d().init(jax.random.key(0), jnp.ones((2, 3, 4, 5)), deterministic=True)


@pytest.mark.parametrize("layer", [Dropout1d, Dropout2d, Dropout3d])
def test_their_texts(layer):
    assert repr(layer(0.2)) == f"{layer.__name__}(p=0.2, inplace=False)"
    linen = getattr(jaxconv.linen, layer.__name__)
    assert repr(linen(0.2, data_format="channels_last")) == (
        f"{layer.__name__}(p=0.2, inplace=False, data_format=channels_last)"
    )


def test_the_text_of_stochastic_depth_is_torchvisions():
    assert repr(StochasticDepth(0.2, "row")) == "StochasticDepth(p=0.2, mode=row)"
    assert repr(jaxconv.linen.StochasticDepth(0.2, mode="batch")) == "StochasticDepth(p=0.2, mode=batch)"
