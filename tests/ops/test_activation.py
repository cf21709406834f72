"""`prelu` beyond the samples: what is not finite, both formats, derivatives, symbolic sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads

import jaxconv

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_what_is_not_finite_stays_where_it_is():
    x = jnp.array([[np.inf, -np.inf, np.nan, 2.0], [1.0, -1.0, 0.0, -0.0]])
    w = jnp.array([0.5, 0.5, 0.5, np.inf])
    y, pull = jax.vjp(jaxconv.prelu, x, w)
    np.testing.assert_array_equal(y, [[np.inf, -np.inf, np.nan, 2], [1, -0.5, 0, np.nan]])
    dx, dw = pull(jnp.ones_like(y))
    np.testing.assert_array_equal(dx, [[1, 0.5, 0.5, 1], [1, 0.5, 0.5, np.inf]])
    np.testing.assert_array_equal(dw, [0, -np.inf, np.nan, 0])


def test_channels_last():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 4, 5)).astype("float32"), rng.standard_normal(3).astype("float32")
    wanted = np.where(x > 0, x, w[:, None, None] * x)
    np.testing.assert_array_equal(jaxconv.prelu(x, w), wanted)
    y = jaxconv.prelu(np.moveaxis(x, 1, -1), w, data_format="channels_last")
    np.testing.assert_array_equal(y, np.moveaxis(wanted, 1, -1))
    np.testing.assert_array_equal(jaxconv.prelu(x, w[:1]), np.where(x > 0, x, w[0] * x))
    np.testing.assert_array_equal(jaxconv.prelu(x, w[0]), np.where(x > 0, x, w[0] * x))


def test_derivatives_and_batches():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 4)), rng.standard_normal(3)
    with jax.enable_x64(True):
        check_grads(jax.jit(lambda x, w: jaxconv.prelu(x, w) ** 2), (x, w), order=2, modes=("fwd", "rev"))
        xs, ws = rng.standard_normal((5, 2, 3, 4)), rng.standard_normal((3, 5))
        y = jax.vmap(jaxconv.prelu, (0, 1))(xs, ws)
        np.testing.assert_array_equal(y, np.stack([jaxconv.prelu(x, w) for x, w in zip(xs, ws.T, strict=True)]))
        assert jax.vmap(jaxconv.prelu, (0, None))(xs[:0], ws[:, 0]).shape == (0, 2, 3, 4)


def test_gradients_of_16_bits_are_accumulated_in_float32():
    x, w = -jnp.ones((1, 1, 3000), "bfloat16"), jnp.ones(1, "bfloat16")
    gradient = jax.grad(lambda w: jaxconv.prelu(x, w).astype("float32").sum())(w)
    assert gradient.astype(float).tolist() == [-3008]  # 3000 in bfloat16; a sum in 16 bits ends at 256


def test_symbolic_sizes():
    n, c, length = export.symbolic_shape("n, c, l")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), "float32")
    w = jnp.array([0.5, 0.25, 2.0])
    gradient = jax.jit(lambda x, w: jax.grad(lambda x, w: (jaxconv.prelu(x, w) ** 2).sum(), (0, 1))(x, w))
    shapes = jax.ShapeDtypeStruct((n, c, length), "float32"), jax.ShapeDtypeStruct((c,), "float32")
    for got, wanted in zip(export.export(gradient)(*shapes).call(x, w), gradient(x, w), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
