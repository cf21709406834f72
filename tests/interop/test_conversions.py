"""Each kind of layer, with PyTorch as the judge of names, layouts and outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from weights import MOVED, close, normal, randomised, there_and_back

import jaxconv.linen
import jaxconv.nnx
from jaxconv.interop import (
    conversions,
    linen_from_state_dict,
    linen_state_dict,
    load_state_dict,
    slots,
    state_dict,
)
from jaxconv.nnx import (
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    MaxPool2d,
    PReLU,
    RMSNorm,
)

LAYERS = {
    "conv": (nn.Conv2d(4, 6, (3, 2), groups=2), lambda r: Conv2d(4, 6, (3, 2), groups=2, rngs=r), (2, 4, 7, 7), None),
    "conv without bias": (
        nn.Conv1d(4, 6, 3, bias=False),
        lambda r: Conv1d(4, 6, 3, bias=False, rngs=r),
        (2, 4, 9),
        None,
    ),
    "transposed": (
        nn.ConvTranspose2d(4, 6, 3, 2, groups=2),
        lambda r: ConvTranspose2d(4, 6, 3, 2, groups=2, rngs=r),
        (2, 4, 5, 5),
        None,
    ),
    "linear": (nn.Linear(5, 3), lambda r: nnx.Linear(5, 3, rngs=r), (2, 5), None),
    "linear without bias": (
        nn.Linear(5, 3, bias=False),
        lambda r: nnx.Linear(5, 3, use_bias=False, rngs=r),
        (2, 5),
        None,
    ),
    "flax conv": (
        nn.Conv2d(4, 6, (3, 2), groups=2),
        lambda r: nnx.Conv(4, 6, (3, 2), padding="VALID", feature_group_count=2, rngs=r),
        (2, 4, 7, 7),
        MOVED,
    ),
    "batch norm": (randomised(nn.BatchNorm2d(4)), lambda r: nnx.BatchNorm(4, axis=1, rngs=r), (2, 4, 3, 3), None),
    "batch norm, not affine": (
        randomised(nn.BatchNorm2d(4, affine=False)),
        lambda r: nnx.BatchNorm(4, axis=1, use_bias=False, use_scale=False, rngs=r),
        (2, 4, 3, 3),
        None,
    ),
    "layer norm": (nn.LayerNorm(5), lambda r: nnx.LayerNorm(5, epsilon=1e-5, rngs=r), (2, 3, 5), None),
    "rms norm": (nn.RMSNorm(5, eps=1e-6), lambda r: nnx.RMSNorm(5, rngs=r), (2, 3, 5), None),
    "group norm": (nn.GroupNorm(2, 4), lambda r: nnx.GroupNorm(4, 2, epsilon=1e-5, rngs=r), (2, 4, 3, 3), MOVED),
    "prelu": (nn.PReLU(), lambda r: nnx.PReLU(), (2, 5), None),
    "our prelu": (nn.PReLU(4), lambda r: PReLU(4), (2, 4, 3, 3), None),
    "our batch norm": (randomised(nn.BatchNorm2d(4)), lambda r: BatchNorm2d(4), (2, 4, 3, 3), None),
    "our instance norm": (
        randomised(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        lambda r: InstanceNorm2d(4, affine=True, track_running_stats=True),
        (2, 4, 3, 3),
        None,
    ),
    "our batch norm without statistics": (
        nn.BatchNorm1d(4, track_running_stats=False),
        lambda r: BatchNorm1d(4, track_running_stats=False),
        (5, 4),
        None,
    ),
    "our group norm": (nn.GroupNorm(2, 4), lambda r: GroupNorm(2, 4), (2, 4, 3, 3), None),
    "our layer norm": (nn.LayerNorm((3, 5), bias=False), lambda r: LayerNorm((3, 5), bias=False), (2, 3, 5), None),
    "our rms norm": (nn.RMSNorm(5), lambda r: RMSNorm(5), (2, 3, 5), None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_output_of_pytorchs_and_its_weights_return_bit_for_bit(name, rngs):
    theirs, make, shape, axes = LAYERS[name]
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours = make(rngs)
    there_and_back(theirs, ours)
    ours.eval()
    x = normal(*shape)
    given, expected = x, theirs.eval()(torch.from_numpy(x))
    if axes:
        given, expected = x.transpose(axes), expected.permute(axes)
    close(jax.jit(ours)(given), expected)


def test_an_embedding_and_its_use_as_a_linear_layer(rngs):
    theirs, ours = nn.Embedding(7, 4), nnx.Embed(7, 4, rngs=rngs)
    there_and_back(theirs, ours)
    close(ours(jnp.array([[1, 6]])), theirs(torch.tensor([[1, 6]])))


def flax_prelu(rngs):
    layer = nnx.PReLU()
    layer.negative_slope = nnx.Param(jnp.ones(5))
    return layer


def test_a_slope_for_each_channel(rngs):
    theirs = nn.PReLU(5)
    nn.init.normal_(theirs.weight)
    ours = flax_prelu(rngs)
    there_and_back(theirs, ours)
    close(ours(normal(2, 5)), theirs(torch.from_numpy(normal(2, 5))))


ATTENTION = {
    "alike": ({}, {}),
    "without biases": ({"bias": False}, {"use_bias": False}),
    "keys of another width": ({"kdim": 5, "vdim": 5}, {"in_kv_features": 5}),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_with_several_heads(name, rngs):
    options, ours_options = ATTENTION[name]
    theirs = nn.MultiheadAttention(6, 2, batch_first=True, **options)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours = nnx.MultiHeadAttention(2, 6, **ours_options, decode=False, rngs=rngs)
    there_and_back(theirs, ours)
    query, key = normal(3, 4, 6), normal(3, 7, options.get("kdim", 6))
    expected = theirs(*map(torch.from_numpy, (query, key, key)), need_weights=False)[0]
    close(ours(query, key), expected)
    if "kdim" not in options:
        ours = linen.MultiHeadDotProductAttention(2, use_bias="bias" not in options)
        shapes = jax.eval_shape(ours.init, jax.random.key(0), query, key)
        variables = linen_from_state_dict(shapes, theirs.state_dict())
        close(ours.apply(variables, query, key), expected)
        assert set(linen_state_dict(variables)) == set(theirs.state_dict())


def test_attention_that_pytorch_has_not_keeps_flaxs_names(rngs):
    for options in ({"qkv_features": 8}, {"num_kv_heads": 1}, {"out_features": 3}, {"normalize_qk": True}):
        names = state_dict(nnx.MultiHeadAttention(2, 6, **options, rngs=rngs))
        assert {"query.weight", "key.weight", "value.bias", "out.bias"} <= names.keys()


def test_linear_general_with_several_axes_flattens_them(rngs):
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(6, 20), nn.Unflatten(1, (4, 5)))
    ours = nnx.LinearGeneral((2, 3), (4, 5), axis=(1, 2), rngs=rngs)
    load_state_dict(ours, theirs.state_dict(), rename={"1": ""})
    x = normal(2, 2, 3)
    close(ours(x), theirs(torch.from_numpy(x)))
    assert {n: a.shape for n, a in state_dict(ours).items()} == {"weight": (20, 6), "bias": (20,)}
    with pytest.raises(ValueError, match="batch_axis, for which PyTorch has no layer"):
        state_dict(nnx.LinearGeneral(3, 4, batch_axis={0: 2}, rngs=rngs))


def test_a_flatten_of_a_channels_last_image(rngs):
    theirs = nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 2 * 4, 5))
    last = {"data_format": "channels_last"}
    ours = nnx.Sequential(
        Conv2d(2, 3, 3, rngs=rngs, **last), MaxPool2d(2, **last), Flatten(), nnx.Linear(24, 5, rngs=rngs)
    )
    x, image = normal(2, 2, 6, 10), {"3": (3, 2, 4)}
    load_state_dict(ours, theirs.state_dict(), flattened=image)
    close(ours(x.transpose(MOVED)), theirs(torch.from_numpy(x)))
    for name, array in state_dict(ours, flattened=image).items():
        np.testing.assert_array_equal(array, theirs.state_dict()[name])
    with pytest.raises(ValueError, match=r"flattened names 2, but the Linear layers are: 3"):
        state_dict(ours, flattened={"2": (3, 2, 4)})
    with pytest.raises(ValueError, match=r"product of 24, the inputs of the layer; got \(3, 2, 5\)"):
        load_state_dict(ours, theirs.state_dict(), flattened={"3": (3, 2, 5)})


def test_how_many_batches_a_norm_has_seen():
    theirs, ours = nn.Sequential(nn.BatchNorm1d(3)), jaxconv.nnx.Sequential(BatchNorm1d(3))
    load_state_dict(ours, theirs.state_dict())
    for model in (theirs, ours):
        for _ in range(2):
            model(torch.ones(2, 3) if model is theirs else jnp.ones((2, 3)))
    count = state_dict(ours)["0.num_batches_tracked"]
    assert (count, count.dtype) == (2, np.int64)
    # Checkpoints older than PyTorch 0.4.1 have none, and PyTorch goes on from where it is.
    older = {name: array for name, array in theirs.state_dict().items() if "batches" not in name}
    assert load_state_dict(ours, older).ok
    assert state_dict(ours)["0.num_batches_tracked"] == 2
    many = older | {"0.num_batches_tracked": np.array(2**40)}
    with pytest.raises(ValueError, match=r"num_batches_tracked: int64 .*, with values too large for int32 in the mod"):
        load_state_dict(ours, many)

    linen = jaxconv.linen.Sequential(jaxconv.linen.BatchNorm1d(3))
    variables = linen.init(jax.random.key(0), jnp.ones((2, 3)), use_running_average=True)
    new = linen_from_state_dict(variables, theirs.state_dict())
    assert jax.tree.map(lambda a: a.dtype, new) == jax.tree.map(lambda a: a.dtype, variables)
    back = linen_state_dict(new)
    assert set(back) == set(theirs.state_dict())
    assert (back["0.num_batches_tracked"], back["0.num_batches_tracked"].dtype) == (2, np.int64)


def test_training_moves_the_running_mean_as_pytorch_does_and_the_variance_by_the_biased_one(rngs):
    theirs, ours = nn.BatchNorm1d(3), nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
    load_state_dict(ours, theirs.state_dict())
    x = normal(5, 3)
    close(ours(x), theirs(torch.from_numpy(x)))
    close(ours.mean[...], theirs.running_mean)
    # PyTorch adds the variance with n - 1 below, Flax that with n.
    close(0.9 + (ours.var[...] - 0.9) * 5 / 4, theirs.running_var)


def test_float64_keeps_every_digit_of_the_running_statistics():
    with jax.enable_x64(True):
        theirs = randomised(nn.BatchNorm1d(3).double())
        ours = nnx.BatchNorm(3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        there_and_back(theirs, ours)


def test_a_new_kind_of_layer_is_one_row(monkeypatch):
    class Scale(nnx.Module):
        def __init__(self):
            self.factor = nnx.Param(jnp.ones((1, 2)))

    row = conversions.Kind(
        (Scale,),
        lambda layer: [slots.reshaped("weight", (2,), "factor", layer.shapes["factor"])],
        lambda shapes, inside: "factor" in shapes,
    )
    monkeypatch.setattr(conversions, "KINDS", (*conversions.KINDS, row))
    new = {"0.weight": np.array([3.0, 4.0], np.float32)}
    ours = nnx.Sequential(Scale())
    load_state_dict(ours, new)
    np.testing.assert_array_equal(ours.layers[0].factor[...], [[3.0, 4.0]])
    variables = linen_from_state_dict({"params": {"layers_0": {"factor": jnp.ones((1, 2))}}}, new)
    for back in (state_dict(ours), linen_state_dict(variables)):
        assert list(back) == ["0.weight"]
        np.testing.assert_array_equal(back["0.weight"], new["0.weight"])
