"""The Flax layers: one table of layers, and the tests that every layer has to pass in both shells."""

import inspect
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv.linen
import jaxconv.nnx
from jaxconv import functional

PAD_MODES = {"Zero": "constant", "Reflection": "reflect", "Replication": "replicate", "Circular": "circular"}
# Odd and all distinct, so that no axis can be taken for another.
SIZES = {1: (9,), 2: (7, 9), 3: (5, 7, 6)}


class Layer(NamedTuple):
    """A layer of both shells, and what it has to compute from its input and its parameters."""

    name: str
    args: tuple
    kwargs: dict[str, Any]
    shape: tuple[int, ...]  # of the input, batched, channels first
    function: Any  # (x, weight, bias) -> y, by the functional core alone

    def __str__(self):
        return f"{self.name}{self.args}"


def _layers():
    for rank, size in SIZES.items():
        conv, transposed = getattr(functional, f"conv{rank}d"), getattr(functional, f"conv_transpose{rank}d")
        options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
        yield Layer(
            f"Conv{rank}d",
            (4, 6, 3, 2, 1, 1, 2),
            {"padding_mode": "reflect"},
            (2, 4, *size),
            lambda x, w, b, f=conv, o=options: f(x, w, b, **o, padding_mode="reflect"),
        )
        yield Layer(
            f"ConvTranspose{rank}d",
            (4, 6, 3, 2, 1, 1, 2),
            {"bias": False},
            (2, 4, *size),
            lambda x, w, b, f=transposed, o=options: f(x, w, b, **o, output_padding=1),
        )
        amounts = (1, 2, 0, 3, 2, 1)[: 2 * rank]
        for prefix, mode in PAD_MODES.items():
            yield Layer(
                f"{prefix}Pad{rank}d",
                (amounts,),
                {},
                (2, 4, *size),
                lambda x, w, b, a=amounts, m=mode: functional.pad(x, a, m),
            )
        yield Layer(
            f"ConstantPad{rank}d",
            (amounts, 3.5),
            {},
            (2, 4, *size),
            lambda x, w, b, a=amounts: functional.pad(x, a, "constant", 3.5),
        )
        for kind, keywords in (
            ("Max", {"stride": 2, "padding": 1, "ceil_mode": True}),
            ("Avg", {"padding": 1, "count_include_pad": False}),
        ):
            pool = getattr(functional, f"{kind.lower()}_pool{rank}d")
            yield Layer(
                f"{kind}Pool{rank}d",
                (3,),
                keywords,
                (2, 4, *size),
                lambda x, w, b, f=pool, k=keywords: f(x, 3, **k),
            )
        adaptive = getattr(functional, f"adaptive_avg_pool{rank}d")
        yield Layer(f"AdaptiveAvgPool{rank}d", (4,), {}, (2, 4, *size), lambda x, w, b, f=adaptive: f(x, 4))
    yield Layer(
        "Unfold", ((2, 3), 1, (1, 0), 2), {}, (2, 4, 7, 9), lambda x, w, b: functional.unfold(x, (2, 3), 1, (1, 0), 2)
    )
    yield Layer("Fold", ((4, 5), (2, 3)), {}, (2, 12, 9), lambda x, w, b: functional.fold(x, (4, 5), (2, 3)))
    yield Layer("Flatten", (1, 2), {}, (2, 4, 7, 9), lambda x, w, b: x.reshape(2, 28, 9))


LAYERS = list(_layers())
HAVE_PARAMETERS = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
all_layers = pytest.mark.parametrize("layer", LAYERS, ids=str)
convolutions = pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.name in HAVE_PARAMETERS], ids=str)


def make(layer: Layer, seed=0, **more):
    """The layer in NNX."""
    more = {"rngs": nnx.Rngs(seed), **more} if layer.name in HAVE_PARAMETERS else more
    return getattr(jaxconv.nnx, layer.name)(*layer.args, **layer.kwargs, **more)


def make_linen(layer: Layer, **more):
    return getattr(jaxconv.linen, layer.name)(*layer.args, **layer.kwargs, **more)


def images(layer: Layer, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(3).normal(size=layer.shape), dtype)


def parameters(module):
    weight = getattr(module, "weight", None)
    bias = getattr(module, "bias", None)
    return None if weight is None else weight[...], None if bias is None else bias[...]


# --- every layer --------------------------------------------------------------------------------------------


def test_the_table_holds_every_layer():
    named = {layer.name for layer in LAYERS}
    assert named == set(jaxconv.linen.__all__)
    assert named | {n for n in jaxconv.nnx.__all__ if n.startswith("Lazy")} == set(jaxconv.nnx.__all__)


@all_layers
def test_both_shells_compute_what_the_function_does(layer):
    module, x = make(layer), images(layer)
    weight, bias = parameters(module)
    expected = layer.function(x, weight, bias)
    np.testing.assert_array_equal(module(x), expected)

    variables = {"params": {k: v for k, v in (("weight", weight), ("bias", bias)) if v is not None}}
    np.testing.assert_array_equal(make_linen(layer).apply(variables if weight is not None else {}, x), expected)
    # An input without a batch, and what jit makes of the layer.
    if layer.name != "Flatten":
        np.testing.assert_allclose(module(x[0]), expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(nnx.jit(lambda m, x: m(x))(module, x), expected, rtol=1e-5, atol=1e-5)


@all_layers
def test_split_and_merge_give_the_same_layer(layer):
    module, x = make(layer), images(layer)
    graphdef, state = nnx.split(module)
    np.testing.assert_array_equal(nnx.merge(graphdef, state)(x), module(x))
    # Made again it is the same definition: nothing about a layer is compared by identity, so jit compiles it once.
    assert nnx.split(make(layer))[0] == graphdef
    assert hash(graphdef) == hash(nnx.split(make(layer))[0])


@all_layers
def test_channels_last_is_channels_first_with_its_axes_moved(layer):
    if layer.name in ("Unfold", "Fold", "Flatten"):
        pytest.skip("PyTorch defines it on axes, not on images")
    x = images(layer)
    first, last = make(layer), make(layer, data_format="channels_last")
    y = last(jnp.moveaxis(x, 1, -1))
    np.testing.assert_allclose(jnp.moveaxis(y, -1, 1), first(x), rtol=1e-5, atol=1e-5)
    y = make_linen(layer, data_format="channels_last").apply(linen_variables(last), jnp.moveaxis(x, 1, -1))
    np.testing.assert_allclose(jnp.moveaxis(y, -1, 1), first(x), rtol=1e-5, atol=1e-5)
    assert "data_format=channels_last" in repr(last)


def linen_variables(module):
    weight, bias = parameters(module)
    params = {k: v for k, v in (("weight", weight), ("bias", bias)) if v is not None}
    return {"params": params} if params else {}


@all_layers
def test_a_vmap_over_copies_of_a_layer_is_each_copy_alone(layer):
    x = images(layer)
    if layer.name not in HAVE_PARAMETERS:
        y = nnx.vmap(lambda m, x: m(x), in_axes=(None, 0))(make(layer), jnp.stack([x, -x]))
        np.testing.assert_allclose(y, jnp.stack([make(layer)(x), make(layer)(-x)]), rtol=1e-5, atol=1e-5)
        return
    several = nnx.vmap(lambda rngs: make(layer, rngs=rngs))(nnx.Rngs(0).split(3))
    together = nnx.vmap(lambda m, x: m(x), in_axes=(0, None))(several, x)
    graphdef, state = nnx.split(several)
    for i in range(3):
        alone = nnx.merge(graphdef, jax.tree.map(lambda a, i=i: a[i], state))
        np.testing.assert_allclose(together[i], alone(x), rtol=1e-4, atol=1e-5)


@all_layers
def test_the_layers_say_what_pytorchs_say(layer):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, layer.name)(*layer.args, **layer.kwargs) if layer.name != "ConvTranspose1d" else None
    theirs = theirs or torch.nn.ConvTranspose1d(*layer.args, **layer.kwargs)
    assert repr(make(layer)) == str(make(layer)) == repr(theirs)
    assert repr(make_linen(layer)) == repr(theirs)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
                 "output_padding", "padding_mode", "ceil_mode", "count_include_pad", "divisor_override", "value",
                 "output_size", "start_dim", "end_dim"):  # fmt: skip
        if hasattr(theirs, name):
            assert getattr(make(layer), name) == getattr(theirs, name), name
            assert getattr(make_linen(layer), name) == getattr(theirs, name), name


@all_layers
def test_the_arguments_stand_in_pytorchs_order(layer):
    torch = pytest.importorskip("torch")
    theirs = [
        p for p in inspect.signature(getattr(torch.nn, layer.name)).parameters.values()
        if p.name not in ("device", "dtype")
    ]  # fmt: skip
    for shell in (jaxconv.nnx, jaxconv.linen):
        constructor = inspect.signature(getattr(shell, layer.name).__init__)
        ours = list(constructor.parameters.values())[1 : len(theirs) + 1]
        assert [p.name for p in ours] == [p.name for p in theirs]
        required = inspect.Parameter.empty
        for our, their in zip(ours, theirs, strict=True):
            # `return_indices` and `divisor_override` come with PyTorch's defaults too.
            assert (our.default is required) == (their.default is required), our.name
            if our.default is not required:
                assert our.default == their.default, our.name


# --- layers with parameters ---------------------------------------------------------------------------------


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
    weight, bias = parameters(module)
    gradients = nnx.grad(lambda m: (m(x) ** 2).sum())(module)
    expected = jax.grad(lambda w: (layer.function(x, w, bias) ** 2).sum())(weight)
    np.testing.assert_allclose(gradients["weight"][...], expected, rtol=1e-5, atol=1e-5)
    if bias is not None:
        y = layer.function(x, weight, bias)
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
    text = nnx.tabulate(module, x, console_kwargs={"width": 200, "force_terminal": False})
    count = sum(p.size for p in parameters(module) if p is not None)
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
    weight, bias = (None if p is None else p.astype(jnp.bfloat16) for p in parameters(module))
    np.testing.assert_array_equal(y, layer.function(x.astype(jnp.bfloat16), weight, bias))

    half = make(layer, param_dtype=jnp.bfloat16)
    assert half.weight[...].dtype == jnp.bfloat16
    assert half(x).dtype == jnp.float32  # promoted
    assert half(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert make(layer)(jnp.ones(layer.shape, jnp.uint8)).dtype == jnp.float32
    assert make(layer, dtype=jnp.bfloat16, preferred_element_type=jnp.float32)(x).dtype == jnp.float32
    assert make_linen(layer, dtype=jnp.bfloat16).apply(linen_variables(module), x).dtype == jnp.bfloat16


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
    with pytest.raises(ValueError, match="return_indices=True is not supported"):
        jaxconv.nnx.MaxPool2d(3, 2, 1, 1, True)
    with pytest.raises(ValueError, match="padding must be an int or a tuple of 4 ints"):
        jaxconv.linen.ReflectionPad2d((1, 2))
    with pytest.raises(ValueError, match="start_dim must not come after end_dim, got 2 and 1"):
        jaxconv.nnx.Flatten(2, 1)(jnp.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="start_dim must be an axis of the input, from -3 to 2, got 3"):
        jaxconv.nnx.Flatten(3)(jnp.ones((2, 3, 4)))
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


def test_a_network_of_both_formats_gives_the_same_numbers():
    class Net(nnx.Module):
        def __init__(self, data_format, rngs):
            options = {"data_format": data_format, "rngs": rngs}
            axis = 1 if data_format == "channels_first" else -1
            self.stem = nnx.Sequential(
                jaxconv.nnx.Conv2d(1, 8, 3, padding="same", padding_mode="reflect", **options),
                nnx.BatchNorm(8, axis=axis, rngs=rngs),
                nnx.relu,
                jaxconv.nnx.MaxPool2d(2, data_format=data_format),
                nnx.Dropout(0.5, rngs=rngs),
                jaxconv.nnx.Conv2d(8, 6, (3, 5), padding=(1, 2), groups=2, **options),
                jaxconv.nnx.AdaptiveAvgPool2d(1, data_format=data_format),
            )

        def __call__(self, x):
            return self.stem(x)

    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 13, 11)), jnp.float32)
    first, last = Net("channels_first", nnx.Rngs(0)), Net("channels_last", nnx.Rngs(0))
    for model in (first, last):
        model.train()
    # Dropout draws a mask in the layout that it meets, so it is compared switched off.
    first.stem.layers[4].deterministic = last.stem.layers[4].deterministic = True
    y = first(x)
    assert y.shape == (4, 6, 1, 1)
    np.testing.assert_allclose(jnp.moveaxis(last(jnp.moveaxis(x, 1, -1)), -1, 1), y, rtol=1e-4, atol=1e-5)
    statistics = [np.asarray(m.stem.layers[1].mean[...]) for m in (first, last)]
    assert np.abs(statistics[0]).max() > 0
    np.testing.assert_allclose(*statistics, rtol=1e-5, atol=1e-6)


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
