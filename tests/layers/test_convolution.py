"""The convolution layers: parameters, dtypes, `in_channels` found at the first call, and what Flax does with them."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layer_cases import apply_linen, convolutions, images, linen_variables, make, make_linen, variables
from tabulated import tabulate

import jaxconv.linen
import jaxconv.nnx
from jaxconv import functional

# These tests check values, not speed.
pytestmark = pytest.mark.usefixtures("quick_compile")


@convolutions
def test_parameters_have_pytorchs_names_and_shapes(layer):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, layer.name)(*layer.args, **layer.kwargs)
    shapes = {name: tuple(p.shape) for name, p in theirs.named_parameters()}
    state = nnx.to_pure_dict(nnx.state(make(layer), nnx.Param))
    assert {name: p.shape for name, p in state.items()} == shapes
    variables = make_linen(layer).init(jax.random.key(0), images(layer))
    assert {name: p.shape for name, p in variables["params"].items()} == shapes


@convolutions
def test_gradients_reach_the_parameters(layer):
    module, x = make(layer), images(layer)
    given = variables(module)
    gradients = nnx.grad(lambda m: (m(x) ** 2).sum())(module)
    expected = jax.grad(lambda v: (layer.function(x, v) ** 2).sum())(given)
    np.testing.assert_allclose(gradients["weight"][...], expected["weight"], rtol=1e-5, atol=1e-5)
    if "bias" in given:
        y = layer.function(x, given)
        np.testing.assert_allclose(gradients["bias"][...], 2 * y.sum((0, *range(2, y.ndim))), rtol=1e-4, atol=1e-4)


@convolutions
def test_eval_shape_makes_no_arrays(layer):
    abstract = nnx.eval_shape(lambda: make(layer))
    assert isinstance(abstract.weight.get_value(), jax.ShapeDtypeStruct)
    assert abstract.weight.get_value().shape == make(layer).weight[...].shape
    assert repr(abstract) == repr(make(layer))


@convolutions
def test_tabulate_lists_the_parameters(layer):
    module, x = make(layer), images(layer)
    text = tabulate(module, x)
    count = sum(p.size for p in variables(module).values())
    assert layer.name in text
    assert f"{count}" in text.replace(",", "")
    assert "weight: float32" in text
    text = make_linen(layer).tabulate(jax.random.key(0), x, console_kwargs={"width": 200, "force_terminal": False})
    assert "weight: float32" in text
    assert f"{count}" in text.replace(",", "")


@convolutions
def test_scan_over_stacked_layers_applies_them_in_turn(layer):
    transposed = "Transpose" in layer.name
    rank = int(layer.name[-2])
    x = images(layer)
    cls = getattr(jaxconv.nnx, layer.name)
    keywords = {"padding": 1} if transposed else {"padding": "same"}

    @nnx.vmap
    def several(rngs):
        return cls(4, 4, 3, rngs=rngs, **keywords)

    layers = several(nnx.Rngs(0).split(3))

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def apply(x, layer):
        return layer(x)

    y = apply(x, layers)
    expected = x
    function = getattr(functional, f"conv_transpose{rank}d" if transposed else f"conv{rank}d")
    for i in range(3):
        expected = function(expected, layers.weight[i], layers.bias[i], **keywords)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@convolutions
def test_linen_scan_and_remat(layer):
    rank = int(layer.name[-2])
    cls = getattr(jaxconv.linen, layer.name)
    keywords = {"padding": 1}
    x = images(layer)

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return cls(None, 4, 3, **keywords)(x), None

    stack = nn.scan(nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
    variables = stack.init(jax.random.key(0), x, None)
    params = next(iter(variables["params"].values()))
    assert params["weight"].shape == (3, 4, 4, *(3,) * rank)
    y, _ = stack.apply(variables, x, None)
    function = getattr(functional, f"conv_transpose{rank}d" if "Transpose" in layer.name else f"conv{rank}d")
    expected = x
    for i in range(3):
        expected = function(expected, params["weight"][i], params["bias"][i], **keywords)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@convolutions
def test_dtype_and_param_dtype_mean_what_flax_means(layer):
    x = images(layer)
    module = make(layer, dtype=jnp.bfloat16)
    assert module.weight[...].dtype == jnp.float32
    y = module(x)
    assert y.dtype == jnp.bfloat16
    # In the given dtype whatever the input's: the numbers are those of converted arguments.
    half = {name: p.astype(jnp.bfloat16) for name, p in variables(module).items()}
    np.testing.assert_array_equal(y, layer.function(x.astype(jnp.bfloat16), half))

    half = make(layer, param_dtype=jnp.bfloat16)
    assert half.weight[...].dtype == jnp.bfloat16
    assert half(x).dtype == jnp.float32  # promoted
    assert half(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert make(layer)(jnp.ones(layer.shape, jnp.uint8)).dtype == jnp.float32
    assert make(layer, dtype=jnp.bfloat16, preferred_element_type=jnp.float32)(x).dtype == jnp.float32
    assert apply_linen(layer, linen_variables(module), x, dtype=jnp.bfloat16).dtype == jnp.bfloat16


@convolutions
def test_a_mistake_fails_where_the_layer_is_made(layer):
    for shell, extra in ((jaxconv.nnx, {"rngs": nnx.Rngs(0)}), (jaxconv.linen, {})):
        cls = getattr(shell, layer.name)
        with pytest.raises(
            ValueError, match=r"groups must divide in_channels, got groups=3 and in_channels=4; 2 would divide it"
        ):
            cls(4, 6, 3, groups=3, **extra)
        with pytest.raises(ValueError, match="groups must divide out_channels"):
            cls(4, 7, 3, groups=2, **extra)
        with pytest.raises(ValueError, match="in_channels must be positive, got 0"):
            cls(0, 6, 3, **extra)
        with pytest.raises(TypeError, match=r"out_channels must be an integer, got 2\.0"):
            cls(4, 2.0, 3, **extra)
        with pytest.raises(ValueError, match="kernel_size must be positive, got 0"):
            cls(4, 6, 0, **extra)
        with pytest.raises(ValueError, match=r"padding_mode must be one of .* got 'circulr'; did you mean 'circular'"):
            cls(4, 6, 3, padding_mode="circulr", **extra)
        with pytest.raises(ValueError, match="algorithm must be one of 'auto'"):
            cls(4, 6, 3, algorithm="fastest", **extra)
        with pytest.raises(ValueError, match="padding must not be negative"):
            cls(4, 6, 3, padding=-1, **extra)


def test_a_mistake_only_one_kind_can_make():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match=r"padding='same' needs stride 1.*padding=\(\(0, 1\), \(0, 1\)\)"):
        jaxconv.nnx.Conv2d(4, 6, 3, stride=2, padding="same", rngs=rngs)
    with pytest.raises(TypeError, match=r"padding of a transposed convolution .* got 'same'.*output_size"):
        jaxconv.nnx.ConvTranspose2d(4, 6, 3, padding="same", rngs=rngs)
    with pytest.raises(ValueError, match="output_padding must be smaller than stride or dilation"):
        jaxconv.nnx.ConvTranspose2d(4, 6, 3, stride=2, output_padding=2, rngs=rngs)
    with pytest.raises(ValueError, match=r"output_size must lie between \(13, 17\) and \(14, 18\)"):
        jaxconv.nnx.ConvTranspose2d(4, 6, 3, stride=2, padding=1, rngs=rngs)(jnp.ones((1, 4, 7, 9)), (15, 18))
    with pytest.raises(TypeError, match=r"input must be an array, got list; convert it with jnp.asarray"):
        jaxconv.nnx.Conv1d(1, 1, 1, rngs=rngs)([[1.0]])


@convolutions
def test_sharding_metadata_of_an_initialiser_reaches_the_parameters(layer):
    if not layer.kwargs.get("bias", True):
        layer = layer._replace(kwargs={})
    rank = int(layer.name[-2])
    names = ("out", *(None,) * (rank + 1))
    with jax.set_mesh(jax.make_mesh((2,), ("out",), axis_types=(jax.sharding.AxisType.Auto,))):
        module = make(
            layer,
            weight_init=nnx.with_partitioning(nnx.initializers.ones_init(), names),
            bias_init=nnx.with_partitioning(nnx.initializers.zeros_init(), ("out",)),
        )
    assert module.weight.get_metadata()["out_sharding"] == names
    assert module.bias.get_metadata()["out_sharding"] == ("out",)
    spec = nnx.get_partition_spec(nnx.state(module))
    assert spec["weight"].get_value() == jax.sharding.PartitionSpec(*names)
    assert module.weight[...].sharding.spec == jax.sharding.PartitionSpec(*names)

    linen = make_linen(layer, weight_init=nn.with_partitioning(nn.initializers.ones_init(), names))
    variables = linen.init(jax.random.key(0), images(layer))
    assert variables["params"]["weight"].names == names
    assert linen.apply(variables, images(layer)).shape == module(images(layer)).shape


# --- in_channels found at the first call --------------------------------------------------------------------


@convolutions
@pytest.mark.parametrize("compiled", [False, True])
def test_a_lazy_layer_becomes_the_plain_one(layer, compiled):
    x = images(layer)
    lazy = getattr(jaxconv.nnx, f"Lazy{layer.name}")(*layer.args[1:], **layer.kwargs, rngs=nnx.Rngs(0))
    plain = make(layer)
    assert lazy.weight is None
    assert repr(lazy) == f"Lazy{plain!r}".replace("(4, ", "(0, ", 1)
    assert not jax.tree.leaves(nnx.state(lazy, nnx.Param))
    y = nnx.jit(lambda m, x: m(x))(lazy, x) if compiled else lazy(x)
    np.testing.assert_allclose(y, plain(x), rtol=1e-5, atol=1e-5)
    assert lazy.in_channels == 4
    assert repr(lazy) == f"Lazy{plain!r}"
    ours, theirs = (nnx.to_pure_dict(nnx.state(m)) for m in (lazy, plain))
    # And no key is left behind. XLA may round the random numbers otherwise where it compiles them with their use.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)
    with pytest.raises(ValueError, match="input has 2 channels"):
        lazy(x[:, :2])


@convolutions
def test_linen_finds_in_channels(layer):
    x = images(layer)
    named = make_linen(layer)
    inferred = getattr(jaxconv.linen, layer.name)(None, *layer.args[1:], **layer.kwargs)
    key = jax.random.key(0)
    jax.tree.map(np.testing.assert_array_equal, named.init(key, x), inferred.init(key, x))


def test_a_lazy_layer_checks_the_channels_that_it_finds():
    lazy = jaxconv.nnx.LazyConv2d(6, 3, groups=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="groups must divide in_channels, got groups=2 and in_channels=3"):
        lazy(jnp.ones((1, 3, 7, 9)))
    assert lazy.weight is None


# --- with the rest of Flax ----------------------------------------------------------------------------------


def test_weight_norm_divides_each_output_channel_by_its_norm():
    rngs = nnx.Rngs(0)
    conv = jaxconv.nnx.Conv2d(3, 4, (3, 2), rngs=rngs)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 7, 5)), jnp.float32)
    weight, bias = conv.weight[...], conv.bias[...]
    normed = nnx.WeightNorm(
        conv, feature_axes=0, variable_filter=nnx.PathContains("weight"), use_scale=False, rngs=rngs
    )
    norm = np.sqrt((np.asarray(weight) ** 2).sum((1, 2, 3), keepdims=True))
    np.testing.assert_allclose(normed(x), functional.conv2d(x, weight / norm, bias), rtol=1e-4, atol=1e-5)


def test_spectral_norm_divides_by_the_largest_singular_value():
    rngs = nnx.Rngs(0)
    conv = jaxconv.nnx.Conv2d(3, 4, (3, 2), rngs=rngs)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 7, 5)), jnp.float32)
    weight, bias = conv.weight[...], conv.bias[...]
    # Flax's power iteration sees the weight as (everything else, last axis).
    largest = np.linalg.svd(np.asarray(weight).reshape(-1, 2), compute_uv=False)[0]
    normed = nnx.SpectralNorm(conv, n_steps=50, rngs=rngs)
    y = normed(x, update_stats=True)
    np.testing.assert_allclose(y, functional.conv2d(x, weight / largest, bias), rtol=1e-3, atol=1e-4)


def test_linen_weight_norm_and_spectral_norm():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 7, 5)), jnp.float32)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(
                jaxconv.linen.Conv2d(3, 4, (3, 2), name="conv"), feature_axes=0, variable_filter={"weight"},
                use_scale=False,
            )(x)  # fmt: skip

    variables = Net().init(jax.random.key(0), x)
    params = flax.traverse_util.flatten_dict(variables["params"])
    weight = next(v for k, v in params.items() if k[-1] == "weight")
    bias = next(v for k, v in params.items() if k[-1] == "bias")
    norm = np.sqrt((np.asarray(weight) ** 2).sum((1, 2, 3), keepdims=True))
    expected = functional.conv2d(x, weight / norm, bias)
    np.testing.assert_allclose(Net().apply(variables, x), expected, rtol=1e-4, atol=1e-5)
