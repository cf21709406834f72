"""Options of a call: checked where they enter, with the same outcome by every algorithm."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jaxconv
import jaxconv.linen
import jaxconv.nnx

pytestmark = pytest.mark.usefixtures("quick_compile")

ALGORITHMS = ("auto", *jaxconv.algorithms())
X, W = np.arange(2 * 4 * 7 * 5, dtype="float32").reshape(2, 4, 7, 5) / 100, np.ones((6, 2, 3, 2), "float32")

# What is given, the error, and words of its message.
ELEMENT_TYPES = {
    "64 bits": (jnp.float64, ValueError, ["preferred_element_type is float64", "jax_enable_x64", "use float32"]),
    "bool": (jnp.bool_, TypeError, ["preferred_element_type", "bool"]),
    "narrower": (jnp.bfloat16, TypeError, ["preferred_element_type", "as wide as", "float32", "got bfloat16"]),
    "float8": (jnp.float8_e4m3fn, TypeError, ["preferred_element_type", "got float8_e4m3fn"]),
    "of integers": (jnp.int32, TypeError, ["preferred_element_type", "of its kind", "got int32"]),
    "an unknown name": ("float33", TypeError, ["preferred_element_type", "'float33' of type str"]),
    "no dtype": (3, TypeError, ["preferred_element_type", "got 3 of type int"]),
    "structured": (np.dtype("f4,i4"), TypeError, ["preferred_element_type"]),
    "an array": (np.ones((2, 2), "f4"), TypeError, ["preferred_element_type must be a dtype", "of type ndarray"]),
    "a key": (jax.random.key(0), TypeError, ["preferred_element_type must be a dtype of numbers"]),
    "a long int": (10**5000, TypeError, ["preferred_element_type must be a dtype", "an int of 16610 bits"]),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ELEMENT_TYPES)
def test_an_element_type_that_cannot_be(name, algorithm):
    given, error, words = ELEMENT_TYPES[name]
    with pytest.raises(error) as caught:
        jaxconv.conv2d(X, W, groups=2, preferred_element_type=given, algorithm=algorithm)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("given", ["float32", np.float32, np.dtype("float32"), float])
def test_an_element_type_may_be_spelled_as_dtypes_are(given):
    y = jaxconv.conv2d(X.astype("float16"), W.astype("float16"), groups=2, preferred_element_type=given)
    assert y.dtype == "float32"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("given", "error"),
    [("hi", ValueError), (1, TypeError), (("high",), TypeError), (["high", "low"], ValueError), ({"high"}, TypeError)],
)
def test_a_precision_that_cannot_be(given, error, algorithm):
    with pytest.raises(error, match=r"precision must be None, 'default', 'high', 'highest'"):
        jaxconv.conv2d(X, W, groups=2, precision=given, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_spelling_of_a_precision(algorithm):
    wanted = jaxconv.conv2d(X, W, groups=2, algorithm=algorithm)
    for given in ("highest", jax.lax.Precision.HIGHEST, ["highest", "highest"], ("high", jax.lax.Precision.HIGHEST)):
        np.testing.assert_allclose(
            jaxconv.conv2d(X, W, groups=2, precision=given, algorithm=algorithm), wanted, rtol=1e-5
        )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jaxconv.conv2d(x, W),
        lambda x: jaxconv.pad(x, (1, 1)),
        lambda x: jaxconv.max_pool2d(x, 2),
        lambda x: jaxconv.adaptive_avg_pool2d(x, 2),
        lambda x: jaxconv.unfold(x, 2),
        lambda x: jaxconv.fold(x, 3, 2),
    ],
)
def test_what_is_no_array_of_numbers(function):
    keys, structures = jax.random.split(jax.random.key(0), (2, 4, 7, 5)), np.zeros((2, 4, 7, 5), "f4,i4")
    for array in (keys, structures, np.zeros((2, 4, 7, 5), np.longdouble), "text", [[1.0]]):
        with pytest.raises(TypeError, match="input must be an array"):
            function(array)


@pytest.mark.parametrize("shell", ["nnx", "linen"])
def test_an_input_of_a_dtype_that_is_not_promoted(shell):
    x = jnp.ones((2, 4, 7, 5), "int4")
    layer = jaxconv.nnx.Conv2d(4, 6, 3, rngs=nnx.Rngs(0))
    if shell == "linen":
        layer = partial(jaxconv.linen.Conv2d(4, 6, 3).init, jax.random.key(0))
    with pytest.raises(TypeError, match=r"input has dtype int4, weight has dtype float32.*no common dtype; give the"):
        layer(x)


def test_a_filler_that_does_not_fit_is_refused_whatever_it_is():
    x = np.zeros((1, 2), "int8")
    for value in (300, np.int64(300), np.array(300), jnp.asarray(300), -129):
        with pytest.raises(ValueError, match="value must be between -128 and 127"):
            jaxconv.pad(x, (0, 1), value=value)
    for value in (7, np.array(7), jnp.asarray(7), np.int8(7)):
        np.testing.assert_array_equal(jaxconv.pad(x, (0, 1), value=value), [[0, 0, 7]])
    np.testing.assert_array_equal(jax.jit(lambda v: jaxconv.pad(x, (0, 1), value=v))(jnp.int8(7)), [[0, 0, 7]])


def test_a_traced_filler_of_a_mode_that_has_none():
    with pytest.raises(ValueError, match="value is for mode='constant'"):
        jax.jit(lambda v: jaxconv.pad(X, (1, 1), "reflect", v))(0.0)


# --- layers ---------------------------------------------------------------------------------------------------

LAYER_OPTIONS = {
    "param_dtype, integers": ({"param_dtype": "int32"}, TypeError, "param_dtype must be a dtype of floats"),
    "param_dtype, bool": ({"param_dtype": bool}, TypeError, "param_dtype must be a dtype of numbers"),
    "param_dtype, 64 bits": ({"param_dtype": "float64"}, ValueError, "param_dtype is float64, and JAX has 64 bits"),
    "dtype, a word": ({"dtype": "half"}, None, None),
    "dtype, no word": ({"dtype": "halves"}, TypeError, "dtype must be a dtype of numbers, such as 'float32'"),
    "precision": ({"precision": "most"}, ValueError, "precision must be None"),
    "preferred_element_type": ({"preferred_element_type": "none"}, TypeError, "preferred_element_type must"),
    "bias, an array": ({"bias": np.ones(6)}, TypeError, "bias must be True or False, got .* of type ndarray"),
    "bias, NumPy's": ({"bias": np.bool_(True)}, None, None),
    "bias, an int": ({"bias": 1}, None, None),
    "weight_init": ({"weight_init": 0.5}, TypeError, "weight_init must be a function of a key, a shape and a dtype"),
    "weight_init's shape": (
        {"weight_init": lambda key, shape, dtype: jnp.ones(shape[::-1], dtype)},
        ValueError,
        r"weight_init must return an array of shape \(6, 4, 3, 2\), got one of shape \(2, 3, 4, 6\)",
    ),
    "bias_init's shape": (
        {"bias_init": lambda key, shape, dtype: jnp.ones((), dtype)},
        ValueError,
        r"bias_init must return an array of shape \(6,\), got one of shape \(\)",
    ),
    "device": ({"device": "cpu"}, TypeError, "'?device'?.*leave out device: .*jax.default_device"),
}


@pytest.mark.parametrize("shell", ["nnx", "linen"])
@pytest.mark.parametrize("name", LAYER_OPTIONS)
def test_options_of_layers(name, shell):
    arguments, error, words = LAYER_OPTIONS[name]

    def make():
        if shell == "nnx":
            return jaxconv.nnx.Conv2d(4, 6, (3, 2), **arguments, rngs=nnx.Rngs(0))
        layer = jaxconv.linen.Conv2d(4, 6, (3, 2), **arguments)
        return layer.init(jax.random.key(0), X)

    if error is None:
        make()
        return
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("given", [0, None, jax.random.key(0), {"params": 0}])
def test_what_is_no_rngs(given):
    with pytest.raises(TypeError, match=r"rngs must be an nnx.Rngs, got .*; for example rngs=nnx.Rngs\(0\)"):
        jaxconv.nnx.Conv2d(4, 6, 3, rngs=given)


def test_an_error_of_a_constructor_names_the_layer():
    for make in (
        lambda: jaxconv.nnx.Conv2d(4, 6, 3),
        lambda: jaxconv.nnx.Conv2d(4, 6, 3, 1, 0, 1, 1, True, "zeros", 9),
    ):
        with pytest.raises(TypeError, match=r"^Conv2d.__init__\(\) "):
            make()
    with pytest.raises(TypeError, match=r"^ConvTranspose1d.__init__\(\) missing .*'rngs'"):
        jaxconv.nnx.ConvTranspose1d(4, 6, 3)


def test_a_box_around_a_parameter_is_left_alone():
    layer = jaxconv.linen.Conv2d(4, 6, (3, 2), weight_init=nn.with_partitioning(nn.initializers.ones, (None,) * 4))
    assert isinstance(layer.init(jax.random.key(0), X)["params"]["weight"], nn.Partitioned)


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_a_weight_of_another_shape_is_called_the_weight(name):
    layer = getattr(jaxconv.nnx, name)(4, 6, 3, groups=2, rngs=nnx.Rngs(0))
    shape = layer.weight.shape
    layer.weight = nnx.Param(jnp.ones((2, 3, 3, 3) if name == "Conv2d" else (4, 2, 3, 3)))
    with pytest.raises(ValueError, match=rf"weight must have the layer's shape \({shape[0]}, {shape[1]}, 3, 3\), got"):
        layer(X)
    # Both together may be exchanged, as in PyTorch.
    new = (8, 2, 3, 3) if name == "Conv2d" else (4, 4, 3, 3)
    layer.weight, layer.bias = nnx.Param(jnp.ones(new)), nnx.Param(jnp.zeros(8))
    assert layer(X).shape[1] == 8
