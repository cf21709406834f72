"""Whole modules of NNX: names, shared arrays, and where a loaded array lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn
from weights import close, good, module, randomised, there_and_back

import jaxconv.nnx
from jaxconv.interop import (
    load_state_dict,
    state_dict,
)
from jaxconv.nnx import Conv2d, LazyConv2d, LazyConvTranspose1d


class TorchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(11)])
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2)})
        self.scale = nn.Parameter(torch.randn(4))
        self.register_buffer("mask", torch.arange(4))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Sequential(Conv2d(3, 4, 3, rngs=rngs), nnx.BatchNorm(4, axis=1, rngs=rngs), nnx.relu)
        self.blocks = nnx.List([nnx.Sequential(Conv2d(4, 4, 1, rngs=rngs), nnx.relu) for _ in range(11)])
        self.heads = nnx.Dict(a=nnx.Linear(4, 2, rngs=rngs))
        self.scale = nnx.Param(jnp.ones(4))
        self.mask = nnx.Variable(jnp.zeros(4, jnp.int32))
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.above = nnx.data([self])


def test_names_are_those_of_pytorch(rngs):
    theirs = randomised(TorchNet())
    theirs.mask = theirs.mask.int()
    back = there_and_back(theirs, Net(rngs))
    assert "blocks.10.0.weight" in back
    assert back["stem.1.num_batches_tracked"] == 3


class Tied(nnx.Module):
    def __init__(self, rngs):
        self.first = Conv2d(2, 2, 1, rngs=rngs)
        self.second = self.first
        self.third = Conv2d(2, 2, 1, rngs=rngs)
        self.third.weight = self.first.weight


def test_shared_weights(rngs):
    ours = Tied(rngs)
    whole = state_dict(ours)
    assert set(whole) == {f"{n}.{p}" for n in ("first", "second", "third") for p in ("weight", "bias")}
    new = {name: np.full_like(array, 7) for name, array in whole.items()}
    assert load_state_dict(ours, new).ok
    assert ours.third.weight is ours.first.weight
    # One name is enough for what is one array here, as in files that hold no array twice.
    few = {name: array + 1 for name, array in new.items() if name in ("second.weight", "second.bias", "third.bias")}
    assert load_state_dict(ours, few).ok
    assert float(ours.third.weight[...].max()) == 8
    differing = dict(new, **{"third.weight": new["third.weight"] + 1})
    with pytest.raises(ValueError, match=r"third.weight: differs from first.weight, which is the same array"):
        load_state_dict(ours, differing)
    assert float(ours.third.weight[...].max()) == 8
    assert load_state_dict(ours, {"first.bias": new["first.bias"]}, strict=False).missing == (
        "first.weight",
        "second.weight",
        "third.weight",
        "third.bias",
    )


def test_a_module_of_shapes_alone_is_filled():
    ours = nnx.eval_shape(module)
    with pytest.raises(ValueError, match="shapes and no values: load a state dict"):
        state_dict(ours)
    assert load_state_dict(ours, good()).ok
    assert float(ours.layers[0].weight[...].sum()) == 27.0


def test_a_loaded_array_lies_where_the_old_one_lay():
    ours = module()
    device = jax.devices()[3]
    ours.layers[0].weight.set_value(jax.device_put(ours.layers[0].weight[...], device))
    load_state_dict(ours, good())
    assert ours.layers[0].weight[...].devices() == {device}


def test_nothing_is_shared_with_what_was_given_or_handed_out():
    tensors = {name: torch.from_numpy(array) for name, array in good().items()}
    ours = module()
    load_state_dict(ours, tensors)
    for array in (*tensors.values(), *state_dict(ours).values()):
        array[:] = 9
    assert all((array == 0.5).all() for array in state_dict(ours).values())


def test_another_checkpoint_needs_no_other_compilation():
    ours, traces = nnx.BatchNorm(2, use_running_average=True, rngs=nnx.Rngs(0)), []

    @nnx.jit
    def run(model, x):
        traces.append(1)
        return model(x)

    data = state_dict(ours)
    for count in (3, 4):
        load_state_dict(ours, data | {"num_batches_tracked": np.array(count)})
        run(ours, jnp.ones((1, 2)))
        assert state_dict(ours)["num_batches_tracked"] == count
    assert len(traces) == 1


def test_layers_that_cannot_be(rngs):
    with pytest.raises(ValueError, match="0 is a LazyConv2d that has not found its in_channels; call the model once"):
        state_dict(nnx.Sequential(LazyConv2d(3, 3, rngs=rngs)))
    with pytest.raises(ValueError, match=r"Flax's ConvTranspose, whose kernel is not converted; use jaxconv\.nnx"):
        state_dict(nnx.ConvTranspose(2, 2, (3,), rngs=rngs))


# --- lazy layers ----------------------------------------------------------------------------------------------


def lazy(seed=0, bias=True):
    options = {"groups": 2, "rngs": nnx.Rngs(seed), "bias": bias}
    return jaxconv.nnx.Sequential(LazyConv2d(4, (3, 2), **options), LazyConvTranspose1d(6, 2, **options))


@pytest.mark.parametrize("of_shapes_alone", [False, True])
def test_a_lazy_layer_takes_its_size_from_the_weight_that_is_loaded(of_shapes_alone):
    theirs = nn.Sequential(nn.Conv2d(8, 4, (3, 2), groups=2), nn.ConvTranspose1d(10, 6, 2, groups=2))
    ours = nnx.eval_shape(lazy) if of_shapes_alone else lazy()
    there_and_back(theirs, ours)
    assert [layer.in_channels for layer in ours] == [8, 10]
    x = np.random.default_rng(0).normal(size=(2, 8, 5, 4)).astype(np.float32)
    close(ours[0](x), theirs[0](torch.from_numpy(x)))
    # PyTorch's own lazy layer takes what comes out.
    again = nn.LazyConv2d(4, (3, 2), groups=2)
    again.load_state_dict({name: torch.from_numpy(a) for name, a in state_dict(ours[0]).items()}, strict=True)
    assert again.in_channels in (0, 8)
    assert again.weight.shape == (4, 4, 3, 2)


def test_a_lazy_layer_says_what_weight_would_fit_and_stays_as_it_is():
    ours = lazy()
    wrong = {
        "0.weight": np.ones((4, 3, 2, 2)), "0.bias": np.ones(4), "1.weight": np.ones((5, 3, 2)), "1.bias": np.ones(6),
    }  # fmt: skip
    with pytest.raises(ValueError, match="nothing was loaded") as error:
        load_state_dict(ours, wrong)
    for line in (
        "0.weight: shape (4, 3, 2, 2) in the state dict, (4, any, 3, 2) in the module",
        "0.bias: the layer has not found its in_channels, which a weight would tell that fits (4, any, 3, 2)",
        "1.weight: the layer has not found its in_channels, which a weight would tell that fits (any, 3, 2)",
    ):
        assert f"    {line}\n" in str(error.value)
    assert load_state_dict(ours, {"1.bias": np.ones(6)}, strict=False).loaded == ()
    assert [layer.in_channels for layer in ours] == [None, None]
    assert ours[0].weight is None
    # The bias is drawn as at a first call where only the weight is loaded.
    assert load_state_dict(ours, {"0.weight": np.ones((4, 3, 3, 2))}, strict=False).loaded == ("0.weight",)
    called = lazy()
    called[0](jnp.ones((1, 6, 4, 4)))
    np.testing.assert_array_equal(ours[0].bias[...], called[0].bias[...])
    assert load_state_dict(jaxconv.nnx.Sequential(lazy(bias=False)[0]), {"0.weight": np.ones((4, 3, 3, 2))}).ok


# --- nothing is lost ------------------------------------------------------------------------------------------


class Holder(nnx.Module):
    """Variables and arrays in each kind of container."""

    def __init__(self, value):
        def param(n):
            return nnx.Param(jnp.full(n, value))

        rngs = nnx.Rngs(0)
        self.inner = nnx.data({"p": param(2), "list": [param(3), nnx.Linear(2, 4, rngs=rngs)], "array": param(5)[...]})
        self.pair = nnx.data((param(6),))
        self.layers = nnx.List([param(7), nnx.Linear(2, 3, rngs=rngs)])
        self.named = nnx.Dict(q=param(8))
        self.over = nnx.Param(jnp.zeros(9))
        self.over = jnp.full(9, value)  # where a parameter was
        self.key = nnx.data(jax.random.key(0))  # of no concern to PyTorch


def test_variables_in_containers_and_arrays_alone_go_out_and_in():
    ones = state_dict(Holder(1.0))
    sizes = {name: array.size for name, array in ones.items() if not name.endswith(("weight", "bias"))}
    wanted = {"over": 9, "inner.p": 2, "inner.list.0": 3, "inner.array": 5, "pair.0": 6, "layers.0": 7, "named.q": 8}
    assert sizes == wanted
    assert {"inner.list.1.weight", "layers.1.bias"} <= ones.keys()
    model = Holder(0.0)
    assert load_state_dict(model, ones).ok
    back = state_dict(model)
    assert back.keys() == ones.keys()
    for name in ones:
        np.testing.assert_array_equal(back[name], ones[name], strict=True)


def test_an_array_in_a_tuple_cannot_be_exchanged_and_nothing_is_written():
    model = Holder(0.0)
    model.pair = nnx.data((jnp.zeros(6),))
    with pytest.raises(ValueError, match="holds an array of shape \\(6,\\) in a tuple, where it cannot be exchanged"):
        load_state_dict(model, state_dict(Holder(1.0)))
    assert not model.named["q"][...].any()


def test_what_wraps_a_layer_keeps_its_statistics():
    def make(seed):
        rngs = nnx.Rngs(seed)
        return nnx.List(
            [
                nnx.SpectralNorm(nnx.Conv(3, 4, (3, 2), rngs=rngs), rngs=rngs),
                nnx.WeightNorm(nnx.Linear(3, 5, rngs=rngs), rngs=rngs),
            ]
        )

    class Model(nnx.Module):
        def __init__(self, seed):
            self.all = make(seed)

    model = Model(0)
    model.all[0](jnp.ones((1, 8, 7, 3)), update_stats=True)
    model.all[1].scales = {("kernel",): jnp.arange(5.0)}
    found = state_dict(model)
    assert {"all.0.batch_stats.kernel.u", "all.0.batch_stats.kernel.sigma", "all.1.scales.kernel"} <= found.keys()
    other = Model(1)
    assert load_state_dict(other, found).ok
    x = jnp.ones((1, 8, 7, 3))
    np.testing.assert_array_equal(other.all[0](x, update_stats=False), model.all[0](x, update_stats=False))
    np.testing.assert_array_equal(other.all[1](jnp.ones((2, 3))), model.all[1](jnp.ones((2, 3))))


def test_a_class_derived_from_a_layer_of_flax_keeps_its_own_arrays():
    def make(seed):
        return nnx.LoRALinear(3, 4, lora_rank=2, rngs=nnx.Rngs(seed))

    found = state_dict(make(0))
    assert {n: a.shape for n, a in found.items()} == {
        "weight": (4, 3), "bias": (4,), "lora.lora_a": (3, 2), "lora.lora_b": (2, 4),
    }  # fmt: skip
    other = make(1)
    load_state_dict(other, found)
    np.testing.assert_array_equal(other(jnp.ones((2, 3))), make(0)(jnp.ones((2, 3))))
