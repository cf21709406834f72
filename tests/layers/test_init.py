"""The initial distributions against PyTorch's definition and against samples that PyTorch draws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import jaxconv.linen
import jaxconv.nnx
from jaxconv import init

pytestmark = pytest.mark.usefixtures("quick_compile")

# Probability that a correct sample fails. The seeds are fixed, so each test passes always or never.
LEVEL = 1e-3


def assert_uniform(sample, bound):
    """The sample fills (-bound, bound) evenly, and nothing lies outside."""
    sample = np.asarray(sample, np.float64).ravel()
    assert np.abs(sample).max() <= bound
    assert stats.kstest(sample, stats.uniform(-bound, 2 * bound).cdf).pvalue > LEVEL


def test_the_test_of_uniformity_tells_distributions_apart():
    rng = np.random.default_rng(0)
    assert_uniform(rng.uniform(-0.2, 0.2, 4000), 0.2)
    for other in (rng.uniform(-0.18, 0.18, 4000), rng.uniform(-0.22, 0.22, 4000), rng.uniform(0, 0.2, 4000)):
        with pytest.raises(AssertionError):
            assert_uniform(other, 0.2)


# (arguments of the layer, fan_in). PyTorch counts axis 1 of the weight, for transposed weights too: there it is the
# output's channels per group, not the input's.
CASES = {
    "Conv1d": ((24, 40, 7), {"groups": 4}, 24 // 4 * 7),
    "Conv2d": ((16, 33, (3, 5)), {}, 16 * 3 * 5),
    "Conv3d": ((6, 20, (3, 2, 4)), {"groups": 2}, 6 // 2 * 3 * 2 * 4),
    "ConvTranspose1d": ((24, 40, 7), {"groups": 4}, 40 // 4 * 7),
    "ConvTranspose2d": ((16, 33, (3, 5)), {}, 33 * 3 * 5),
    "ConvTranspose3d": ((6, 20, (3, 2, 4)), {"groups": 2}, 20 // 2 * 3 * 2 * 4),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shell", ["nnx", "linen"])
def test_layers_start_as_pytorchs_do(name, shell):
    args, kwargs, fan = CASES[name]
    rank = int(name[-2])
    if shell == "nnx":
        layers = [getattr(jaxconv.nnx, name)(*args, **kwargs, rngs=nnx.Rngs(seed)) for seed in range(40)]
        weights, biases = [m.weight[...] for m in layers[:1]], [m.bias[...] for m in layers]
    else:
        layer = getattr(jaxconv.linen, name)(*args, **kwargs)
        x = jnp.ones((1, args[0], *(9,) * rank))
        params = [layer.init(jax.random.key(seed), x)["params"] for seed in range(12)]
        weights, biases = [p["weight"] for p in params[:1]], [p["bias"] for p in params]
    assert_uniform(np.concatenate([np.ravel(w) for w in weights]), 1 / math.sqrt(fan))
    assert_uniform(np.concatenate(biases), 1 / math.sqrt(fan))


@pytest.mark.parametrize("name", CASES)
def test_layers_are_drawn_from_the_distribution_that_pytorch_draws_from(name):
    torch = pytest.importorskip("torch")
    args, kwargs, _ = CASES[name]
    torch.manual_seed(0)
    theirs = [getattr(torch.nn, name)(*args, **kwargs) for _ in range(40)]
    ours = [getattr(jaxconv.nnx, name)(*args, **kwargs, rngs=nnx.Rngs(seed)) for seed in range(40)]
    for parameter, count in (("weight", 1), ("bias", 40)):
        a = np.concatenate([np.ravel(getattr(m, parameter).detach()) for m in theirs[:count]])
        b = np.concatenate([np.ravel(getattr(m, parameter)[...]) for m in ours[:count]])
        assert a.shape == b.shape
        assert stats.ks_2samp(a, b).pvalue > LEVEL


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_asked_for_is_made(dtype):
    assert init.conv_weight_init(jax.random.key(0), (8, 4, 3, 3), dtype).dtype == dtype
    assert init.conv_bias_init(jax.random.key(0), (8,), dtype, weight_shape=(8, 4, 3, 3)).dtype == dtype


def test_weight_and_bias_of_a_layer_are_drawn_apart():
    layer = jaxconv.nnx.Conv2d(1, 9, (1, 1), rngs=nnx.Rngs(0))
    assert np.abs(np.ravel(layer.weight[...]) - layer.bias[...]).min() > 0


# name, arguments, and the standard deviation that PyTorch's functions of the same name define
SCHEMES = [
    (init.kaiming_uniform(), lambda fi, fo: math.sqrt(2 / fi)),
    (init.kaiming_uniform(a=math.sqrt(5)), lambda fi, fo: math.sqrt(1 / (3 * fi))),
    (init.kaiming_uniform(mode="fan_out", nonlinearity="relu"), lambda fi, fo: math.sqrt(2 / fo)),
    (init.kaiming_uniform(nonlinearity="tanh"), lambda fi, fo: 5 / 3 / math.sqrt(fi)),
    (init.kaiming_normal(nonlinearity="selu"), lambda fi, fo: 0.75 / math.sqrt(fi)),
    (init.kaiming_normal(a=0.3, mode="fan_out"), lambda fi, fo: math.sqrt(2 / (1 + 0.09) / fo)),
    (init.xavier_uniform(gain=2.0), lambda fi, fo: 2 * math.sqrt(2 / (fi + fo))),
    (init.xavier_normal(), lambda fi, fo: math.sqrt(2 / (fi + fo))),
]


@pytest.mark.parametrize("index", range(len(SCHEMES)))
def test_schemes_have_their_distributions(index):
    scheme, deviation = SCHEMES[index]
    shape = (30, 12, 5, 3)
    sample = np.asarray(scheme(jax.random.key(index), shape, jnp.float32), np.float64).ravel()
    sigma = deviation(12 * 15, 30 * 15)
    if index in (4, 5, 7):
        assert stats.kstest(sample, stats.norm(0, sigma).cdf).pvalue > LEVEL
    else:
        assert_uniform(sample, math.sqrt(3) * sigma)


TRUNCATED = [(0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (0.5, 2.0, -1.0, 0.75), (-3.0, 1.0, -2.0, 0.0)]


@pytest.mark.parametrize("arguments", TRUNCATED)
def test_a_truncated_normal_is_cut_where_pytorchs_is(arguments):
    torch = pytest.importorskip("torch")
    mean, std, a, b = arguments
    sample = np.asarray(init.trunc_normal(*arguments)(jax.random.key(0), (40, 100)), np.float64).ravel()
    assert a <= sample.min()
    assert sample.max() <= b
    assert stats.kstest(sample, stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std).cdf).pvalue > LEVEL
    torch.manual_seed(0)
    theirs = torch.nn.init.trunc_normal_(torch.empty(40, 100), *arguments).numpy().ravel()
    assert stats.ks_2samp(sample, theirs).pvalue > LEVEL


def test_plain_distributions_are_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for ours, theirs in (
        (init.uniform(-0.25, 1.5), lambda t: torch.nn.init.uniform_(t, -0.25, 1.5)),
        (init.normal(1.0, 0.25), lambda t: torch.nn.init.normal_(t, 1.0, 0.25)),
    ):
        drawn = [np.ravel(ours(jax.random.key(1), (40, 100))), theirs(torch.empty(40, 100)).numpy().ravel()]
        assert stats.ks_2samp(*drawn).pvalue > LEVEL
    np.testing.assert_array_equal(init.normal(2.0, 0.0)(jax.random.key(0), (3,)), [2.0] * 3)
    np.testing.assert_array_equal(init.constant(0.5)(jax.random.key(0), (2, 3), jnp.bfloat16), np.full((2, 3), 0.5))
    drawn = init.uniform(1, 2)(jax.random.key(0), (9,), jnp.complex64)
    assert drawn.real.min() >= 1 <= drawn.imag.min()


@pytest.mark.parametrize("shape", [(4, 3, 5), (20, 3, 2), (6, 6), (3, 0)])
def test_an_orthogonal_weight_is_one_over_pytorchs_matrix(shape):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.orthogonal_(torch.empty(*shape), 2.0).numpy()
    for dtype in ("float32", "float16", "complex64"):
        ours = init.orthogonal(2.0)(jax.random.key(0), shape, dtype)
        assert (ours.shape, ours.dtype) == (theirs.shape, dtype)
        products = []
        for weight in (np.asarray(ours, np.complex128), theirs):
            matrix = weight.reshape(len(weight), -1) if weight.size else np.zeros((1, 1))
            products.append(matrix @ matrix.conj().T if len(matrix) <= matrix.shape[1] else matrix.conj().T @ matrix)
        np.testing.assert_allclose(*products, atol=2e-2 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize(("shape", "groups"), [((3, 3, 5), 1), ((4, 2, 2, 4), 2), ((6, 3, 1, 3, 2), 3), ((2, 5, 3), 1)])
def test_a_kernel_of_one_is_pytorchs(shape, groups):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.dirac_(torch.empty(*shape), groups).numpy()
    np.testing.assert_array_equal(init.dirac(groups)(jax.random.key(0), shape), theirs)


def test_the_initialisers_fill_layers_of_flax_and_ours():
    weight_init, rngs = init.trunc_normal(std=0.02), nnx.Rngs(0)
    layer = jaxconv.nnx.Conv1d(3, 4, 2, weight_init=weight_init, bias_init=init.constant(0), rngs=rngs)
    linear = nnx.Linear(3, 4, kernel_init=weight_init, rngs=rngs)
    assert 0 < float(jnp.abs(layer.weight[...]).max()) < 0.2
    assert 0 < float(jnp.abs(linear.kernel[...]).max()) < 0.2
    assert not layer.bias[...].any()


@pytest.mark.parametrize(
    ("nonlinearity", "param"),
    [("linear", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("selu", None), ("leaky_relu", None),
     ("leaky_relu", 0.2)],
)  # fmt: skip
def test_gains_are_pytorchs(nonlinearity, param):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(nonlinearity, param) == torch.nn.init.calculate_gain(nonlinearity, param)


def test_names_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"nonlinearity must be one of .* got 'leaky'; did you mean 'leaky_relu'"):
        init.kaiming_uniform(nonlinearity="leaky")
    with pytest.raises(ValueError, match="mode must be one of 'fan_in', 'fan_out', got 'fan_it'; did you mean"):
        init.kaiming_normal(mode="fan_it")


def test_a_users_initialiser_is_used():
    layer = jaxconv.nnx.Conv2d(
        4, 8, 3, weight_init=init.xavier_normal(), bias_init=nnx.initializers.constant(0.5), rngs=nnx.Rngs(0)
    )
    np.testing.assert_array_equal(layer.bias[...], np.full(8, 0.5))
    expected = init.xavier_normal()(nnx.Rngs(0).params(), (8, 4, 3, 3), jnp.float32)
    np.testing.assert_array_equal(layer.weight[...], expected)
