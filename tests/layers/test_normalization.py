"""The normalisation layers: training and evaluation in both shells, statistics, dtypes."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tabulated import tabulate

import jaxconv.linen
import jaxconv.nnx
from jaxconv import functional
from jaxconv.nnx import BatchNorm1d, BatchNorm2d, Conv2d, GroupNorm, InstanceNorm1d, InstanceNorm2d, LayerNorm, RMSNorm

pytestmark = pytest.mark.usefixtures("quick_compile")

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape or (4, 3, 5, 7)) + 2, jnp.float32)


def statistics(layer):
    return [np.asarray(getattr(layer, name)[...]) for name in STATISTICS]


# --- beside PyTorch -------------------------------------------------------------------------------------------


@pytest.fixture
def double():
    """float64 for one test: that of conftest is for a module."""
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("double")
def test_ten_steps_of_a_network_are_pytorchs():
    """Every parameter and every statistic after ten steps in float64, and the evaluation after them."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sizes = {"eps": 1e-3}
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 6, 3),
        torch.nn.InstanceNorm2d(6, affine=True, track_running_stats=True, **sizes),
        torch.nn.GroupNorm(3, 6),
        torch.nn.BatchNorm2d(6, momentum=None),
        torch.nn.Flatten(),
        torch.nn.LayerNorm(6 * 12),
        torch.nn.RMSNorm(6 * 12),
        torch.nn.BatchNorm1d(6 * 12, affine=False),
    ).double()
    options = {"param_dtype": "float64", "rngs": nnx.Rngs(0)}
    ours = nnx.Sequential(
        Conv2d(2, 4, 3, padding=1, **options),
        BatchNorm2d(4, **options),
        nnx.relu,
        Conv2d(4, 6, 3, **options),
        InstanceNorm2d(6, affine=True, track_running_stats=True, **sizes, **options),
        GroupNorm(3, 6, **options),
        BatchNorm2d(6, momentum=None, **options),
        jaxconv.nnx.Flatten(),
        LayerNorm(6 * 12, **options),
        RMSNorm(6 * 12, **options),
        BatchNorm1d(6 * 12, affine=False, **options),
    )
    for i, layer in enumerate(theirs):
        for name, p in layer.named_parameters():
            getattr(ours.layers[i], name)[...] = jnp.asarray(p.detach().numpy())
    optimizer = nnx.Optimizer(ours, optax.sgd(0.05), wrt=nnx.Param)
    their_optimizer = torch.optim.SGD(theirs.parameters(), 0.05)

    @nnx.jit
    def step(model, optimizer, x):
        gradients = nnx.grad(lambda model: (model(x) ** 3).mean())(model)
        optimizer.update(model, gradients)

    for i in range(10):
        x = np.random.default_rng(i).normal(size=(5, 2, 5, 6)) + i
        step(ours, optimizer, x)
        their_optimizer.zero_grad()
        (theirs(torch.from_numpy(x)) ** 3).mean().backward()
        their_optimizer.step()
    theirs.eval(), ours.eval()
    for name, wanted in theirs.state_dict().items():
        i, name = name.split(".")
        found = getattr(ours.layers[int(i)], name)[...]
        assert (found.shape, str(found.dtype)) == (tuple(wanted.shape), str(wanted.dtype)[6:])
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-9, atol=1e-9, err_msg=f"{i}.{name}")
    assert int(ours.layers[6].num_batches_tracked[...]) == 10
    y = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x), y, rtol=1e-9, atol=1e-9)


def test_instance_norm_takes_any_channels_where_it_has_no_variables():
    layer, x = InstanceNorm2d(3), images(2, 4, 5, 7)
    with pytest.warns(UserWarning, match="num_features=3 channels, got 4"):
        y = layer(x)
    np.testing.assert_array_equal(y, functional.instance_norm(x)[0])
    with pytest.raises(ValueError, match="running_mean must have shape \\(4,\\)"):
        InstanceNorm2d(3, track_running_stats=True)(x)


# --- training and evaluation ----------------------------------------------------------------------------------


def test_training_changes_the_statistics_in_place_and_evaluation_takes_them():
    layer, x = BatchNorm2d(3, momentum=0.25), images()
    variable, before = layer.running_mean, statistics(layer)
    y = layer(x)
    expected, mean, var = functional.batch_norm(x, before[0], before[1], training=True, momentum=0.25)
    np.testing.assert_array_equal(y, expected)
    assert layer.running_mean is variable
    for ours, wanted in zip(statistics(layer), (mean, var, 1), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    layer.eval()
    np.testing.assert_array_equal(layer(x), functional.batch_norm(x, mean, var)[0])
    np.testing.assert_array_equal(layer(x[:1, :, :1, :1]).shape, (1, 3, 1, 1))
    assert int(layer.num_batches_tracked[...]) == 1
    layer.train()
    layer(x)
    assert int(layer.num_batches_tracked[...]) == 2


def test_a_view_shares_the_variables():
    model, x = nnx.Sequential(BatchNorm2d(3), nnx.Dropout(0.5, rngs=nnx.Rngs(0))), images()
    view = nnx.view(model, use_running_average=True, deterministic=True)
    model(x)
    assert view.layers[0].running_mean is model.layers[0].running_mean
    mean, var, _ = statistics(model.layers[0])
    np.testing.assert_array_equal(view(x), functional.batch_norm(x, mean, var)[0])
    assert not model.layers[0].use_running_average


def test_without_running_statistics_those_of_the_batch_are_taken_in_evaluation_too():
    for layer in (BatchNorm2d(3, track_running_stats=False), InstanceNorm2d(3)):
        assert [getattr(layer, name) for name in STATISTICS] == [None] * 3
        assert not jax.tree.leaves(nnx.state(layer, nnx.BatchStat))
        y = layer(images())
        layer.eval()
        np.testing.assert_array_equal(layer(images()), y)


def test_a_cumulative_average_is_that_of_all_batches():
    layer = BatchNorm2d(3, momentum=None)
    batches = [images(seed=i) * (i + 1) for i in range(4)]
    for x in batches:
        nnx.jit(lambda m, x: m(x))(layer, x)
    mean, var, count = statistics(layer)
    np.testing.assert_allclose(mean, np.mean([x.mean((0, 2, 3)) for x in batches], 0), rtol=1e-5)
    np.testing.assert_allclose(var, np.mean([x.var((0, 2, 3), ddof=1) for x in batches], 0), rtol=1e-5)
    assert count == 4
    layer.eval()
    before = statistics(layer)
    layer(batches[0])
    for ours, wanted in zip(statistics(layer), before, strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_what_is_not_there_is_none():
    layer = BatchNorm2d(3, bias=False, track_running_stats=False)
    assert layer.bias is None
    assert layer.weight.shape == (3,)
    assert LayerNorm(3, elementwise_affine=False).weight is None
    assert not hasattr(RMSNorm(3), "bias")
    assert not hasattr(GroupNorm(1, 3), "running_mean")
    assert nnx.split(BatchNorm2d(3, affine=False))[1].keys() == set(STATISTICS)


def test_in_linen_init_leaves_the_statistics_and_training_changes_a_collection():
    layer, x = jaxconv.linen.BatchNorm2d(3, axis_name="devices"), images()
    variables = layer.init(jax.random.key(0), x[:1, :, :1, :1], use_running_average=False)
    wanted = {"running_mean": [0.0] * 3, "running_var": [1.0] * 3, "num_batches_tracked": 0}
    assert jax.tree.map(np.ndarray.tolist, jax.tree.map(np.asarray, variables["batch_stats"])) == wanted
    layer = layer.clone(axis_name=None)
    for more, call in (({"use_running_average": True}, {}), ({}, {"use_running_average": True})):
        evaluated = layer.clone(**more).apply(variables, x, **call)
        np.testing.assert_array_equal(evaluated, functional.batch_norm(x, np.zeros(3, "f4"), np.ones(3, "f4"))[0])
    _, changed = layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    twin = BatchNorm2d(3)
    twin(x)
    for name in STATISTICS:
        np.testing.assert_array_equal(changed["batch_stats"][name], getattr(twin, name)[...])
    with pytest.raises(ValueError, match="use_running_average"):
        layer.apply(variables, x)
    with pytest.raises(flax.errors.ModifyScopeVariableError, match="batch_stats"):
        layer.apply(variables, x, use_running_average=False)
    free = jaxconv.linen.InstanceNorm2d(3)
    assert free.init(jax.random.key(0), x) == {}
    np.testing.assert_array_equal(free.apply({}, x), functional.instance_norm(x)[0])


# --- dtypes ---------------------------------------------------------------------------------------------------


def test_dtypes():
    """16-bit floats stay what they are with variables of float32; else input and variables are promoted."""
    x = images()
    for given, options, wanted in (
        ("bfloat16", {}, "bfloat16"),
        ("float16", {}, "float16"),
        ("float32", {}, "float32"),
        ("float32", {"param_dtype": "bfloat16"}, "float32"),
        ("bfloat16", {"param_dtype": "bfloat16"}, "bfloat16"),
        ("float16", {"param_dtype": "bfloat16"}, "float32"),
        ("float32", {"dtype": "bfloat16"}, "bfloat16"),
        ("bfloat16", {"dtype": "float32"}, "float32"),
        ("int32", {}, "float32"),
        ("bfloat16", {"affine": False, "track_running_stats": False}, "bfloat16"),
        ("int32", {"affine": False, "track_running_stats": False}, "float32"),
    ):
        layer = BatchNorm2d(3, **options)
        x_given = x.astype(given)
        y = layer(x_given)
        assert y.dtype == wanted, (given, options)
        kind = options.get("param_dtype", "float32")
        for name in ("weight", "bias", *STATISTICS[:2]):
            if getattr(layer, name) is not None:
                assert getattr(layer, name)[...].dtype == kind
        exact = functional.batch_norm(x_given.astype("float32"), training=True)[0]
        rounding = float(jnp.finfo(wanted).eps)
        np.testing.assert_allclose(y.astype("float32"), exact, atol=8 * max(rounding, 1e-6))
    assert LayerNorm(7, dtype="bfloat16")(x).dtype == "bfloat16"
    assert RMSNorm(7)(x.astype("complex64")).dtype == "complex64"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda s: s.BatchNorm2d(-1), ValueError, "num_features must be zero or positive, got -1"),
        (lambda s: s.BatchNorm2d(4.0), TypeError, "num_features must be an integer, got 4.0"),
        (lambda s: s.BatchNorm2d(4, "1"), TypeError, "eps must be a real number"),
        (lambda s: s.BatchNorm2d(4, momentum="1"), TypeError, "momentum must be a real number"),
        (lambda s: s.BatchNorm2d(4, affine="no"), TypeError, "affine must be True or False, got 'no'"),
        (lambda s: s.BatchNorm2d(4, data_format="NCHW"), ValueError, "data_format must be one of"),
        (lambda s: s.BatchNorm2d(4, param_dtype="int32"), TypeError, "param_dtype must be a dtype of floats"),
        (lambda s: s.InstanceNorm2d(4, dtype="int8"), TypeError, "dtype must be a dtype of floats"),
        (lambda s: s.BatchNorm2d(4, device="cpu"), TypeError, "^BatchNorm2d: .*leave out device: .*jax.default_device"),
        (lambda s: s.BatchNorm2d(4, axis_name=0), TypeError, "axis_name must be the name of a mapped axis"),
        (lambda s: s.GroupNorm(4, 6), ValueError, "num_groups must divide num_channels.* 2 would divide them"),
        (lambda s: s.GroupNorm(0, 6), ValueError, "num_groups must be positive"),
        (lambda s: s.LayerNorm(()), ValueError, "normalized_shape must have at least one entry"),
        (lambda s: s.RMSNorm(4, eps="1"), TypeError, "eps must be a real number"),
        (lambda s: s.LocalResponseNorm(0), ValueError, "size must be positive"),
        (lambda s: s.LocalResponseNorm(2, k=None), TypeError, "k must be a real number"),
    ],
)
def test_a_mistake_fails_where_the_layer_is_made(make, error, words):
    for shell in (jaxconv.nnx, jaxconv.linen):
        with pytest.raises(error, match=words):
            make(shell)


def test_an_input_of_numbers_that_jax_promotes_with_none_is_refused():
    x = jnp.ones((2, 4, 3, 5), "int4")
    words = "input has dtype int4, .*param_dtype has dtype float32, .*and JAX promotes these to no common dtype"
    with pytest.raises(TypeError, match=words.replace("param_dtype", "weight")):
        jaxconv.nnx.GroupNorm(2, 4, rngs=nnx.Rngs(0))(x)
    with pytest.raises(TypeError, match=words):
        jaxconv.linen.GroupNorm(2, 4, affine=False).apply({}, x)


# --- with the rest of Flax ------------------------------------------------------------------------------------


def test_jit_grad_split_and_eval_shape():
    x, layer, twin = images(), BatchNorm2d(3), BatchNorm2d(3)
    abstract = nnx.eval_shape(lambda: BatchNorm2d(3, rngs=nnx.Rngs(0)))
    assert isinstance(abstract.running_mean.get_value(), jax.ShapeDtypeStruct)
    assert repr(abstract) == repr(layer)

    @nnx.jit
    def step(layer, x):
        return nnx.grad(lambda layer: (layer(x) ** 3).sum())(layer)

    gradients = step(layer, x)
    twin(x)
    assert set(nnx.to_pure_dict(gradients)) == {"weight", "bias"}
    for ours, wanted in zip(statistics(layer), statistics(twin), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)
    graph, parameters, rest = nnx.split(layer, nnx.Param, nnx.BatchStat)
    y = nnx.merge(graph, parameters, rest)(x)
    np.testing.assert_allclose(y, layer(x), rtol=1e-5, atol=1e-5)


def test_scan_over_stacked_layers_keeps_statistics_of_each():
    @nnx.vmap
    def several(rngs):
        return BatchNorm2d(3, rngs=rngs)

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def through(x, layer):
        return jnp.sin(layer(x))

    layers, x = several(nnx.Rngs(0).split(3)), images()
    y, expected = through(x, layers), x
    for i in range(3):
        alone = BatchNorm2d(3)
        expected = jnp.sin(alone(expected))
        for ours, wanted in zip(statistics(layers), statistics(alone), strict=True):
            np.testing.assert_allclose(ours[i], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_steps_in_a_scan_update_the_statistics():
    layer, twin, batches = BatchNorm1d(3), BatchNorm1d(3), images(4, 5, 3)

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def steps(layer, x):
        layer(x)
        return layer

    layer = steps(layer, batches)
    for x in batches:
        twin(x)
    for ours, wanted in zip(statistics(layer), statistics(twin), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_statistics_over_a_mapped_axis():
    layer, twin, x = BatchNorm2d(3, axis_name="n"), BatchNorm2d(3), images(6, 3, 5, 7)
    state_axes = nnx.StateAxes({...: None})
    y = nnx.vmap(lambda m, x: m(x), in_axes=(state_axes, 0), axis_name="n")(layer, x.reshape(3, 2, 3, 5, 7))
    np.testing.assert_allclose(y.reshape(x.shape), twin(x), rtol=1e-4, atol=1e-5)
    for ours, wanted in zip(statistics(layer), statistics(twin), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_tabulate_lists_the_variables():
    text = tabulate(BatchNorm2d(3), images())
    for name in ("weight: float32[3]", "running_var: float32[3]", "num_batches_tracked: int32[]"):
        assert name in text


def test_an_unbatched_image_of_an_instance_norm_is_a_batch_of_one():
    for layer, x in ((InstanceNorm1d(3, track_running_stats=True), images(3, 7)), (InstanceNorm2d(3), images(3, 5, 7))):
        y = layer(x)
        np.testing.assert_allclose(y, functional.instance_norm(x[None])[0][0], rtol=1e-6)
