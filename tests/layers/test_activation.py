"""The activation layers: their parameter, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv.linen
import jaxconv.nnx

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_slopes_are_a_parameter_in_both_shells():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), jnp.float32)
    layer = jaxconv.nnx.PReLU(3, 0.5)
    assert layer.weight.shape == (3,)
    assert isinstance(layer.weight, nnx.Param)
    assert (layer.num_parameters, layer.init) == (3, 0.5)
    np.testing.assert_allclose(layer(x), np.where(x > 0, x, 0.5 * x))
    linen = jaxconv.linen.PReLU(3, init=0.5)
    variables = linen.init(jax.random.key(0), x)
    np.testing.assert_array_equal(variables["params"]["weight"], [0.5] * 3)
    np.testing.assert_array_equal(linen.apply(variables, x), layer(x))
    # What a copy is made of has Linen's names, of which `init` is none.
    assert repr(linen.clone(num_parameters=1)) == "PReLU(num_parameters=1)"
    assert linen.clone().slope == linen.slope == 0.5
    assert linen.copy(name="slopes").name == "slopes"
    gradient = nnx.grad(lambda layer: layer(x).sum())(layer)
    np.testing.assert_allclose(gradient["weight"][...], np.minimum(x, 0).sum((0, 2)), rtol=1e-5)


@pytest.mark.parametrize("shell", [jaxconv.nnx, jaxconv.linen])
def test_dtypes_are_flaxs(shell):
    def applied(x, **more):
        layer = shell.PReLU(**more)
        if shell is jaxconv.nnx:
            return layer(x), layer.weight[...]
        variables = layer.init(jax.random.key(0), x)
        return layer.apply(variables, x), variables["params"]["weight"]

    y, weight = applied(jnp.ones(3, "bfloat16"), param_dtype="bfloat16")
    assert y.dtype == weight.dtype == "bfloat16"
    y, weight = applied(jnp.ones(3, "bfloat16"))
    assert y.dtype == weight.dtype == "float32"
    assert applied(jnp.ones(3), dtype="float16")[0].dtype == "float16"


@pytest.mark.parametrize("shell", [jaxconv.nnx, jaxconv.linen])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_parameters": 0}, ValueError, "num_parameters must be positive, got 0"),
        ({"num_parameters": 2.0}, TypeError, "num_parameters must be an integer"),
        ({"init": "a"}, TypeError, "init must be a number, got 'a'"),
        ({"init": True}, TypeError, "init must be a number, got True"),
        ({"data_format": "NCHW"}, ValueError, "data_format must be one of"),
        ({"dtype": int}, TypeError, "dtype must be a dtype of floats"),
        ({"param_dtype": "int8"}, TypeError, "param_dtype must be a dtype of floats"),
        ({"device": None}, TypeError, "unexpected keyword argument 'device'"),
    ],
)
def test_arguments_are_refused_where_it_is_made(shell, arguments, error, words):
    with pytest.raises(error, match=words):
        shell.PReLU(**arguments)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_softmax_over_the_channels(data_format):
    axis = 1 if data_format == "channels_first" else 3
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    layer = jaxconv.nnx.Softmax2d(data_format=data_format)
    wanted = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-5)
    np.testing.assert_allclose(layer(x[0]), wanted[0], rtol=1e-5)
    for half in ("float16", "bfloat16"):
        y = layer(jnp.asarray(x, half))
        assert y.dtype == half
        np.testing.assert_allclose(y.astype(np.float32), wanted, rtol=0.02)
