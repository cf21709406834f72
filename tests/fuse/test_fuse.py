"""Models whose batch norms are folded give what the models give, and what is not folded is left and said."""

import copy
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ports import PORTS, network

import jaxconv
from jaxconv.nnx import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    GroupNorm,
    Identity,
    Sequential,
    weight_norm,
)

pytestmark = pytest.mark.usefixtures("quick_compile")


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), "float32")


def trained(model):
    """The model in evaluation, with statistics and parameters of norms as if of training."""
    rng = np.random.default_rng(3)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if variable.ndim == 1 and jnp.issubdtype(variable.dtype, jnp.floating):
            is_positive = path[-1] in ("running_var", "var", "weight", "scale")
            drawn = rng.uniform(0.3, 2, variable.shape) if is_positive else rng.normal(size=variable.shape)
            variable[...] = jnp.asarray(drawn, variable.dtype)
    model.eval()
    return model


def rngs():
    return nnx.Rngs(0)


def numbers(model):
    """Parameters and statistics, copied."""
    return [np.array(a) for a in jax.tree.leaves(nnx.state(model, (nnx.Param, nnx.BatchStat)))]


def same(model, *inputs):
    """The report on a model whose copy gives the same of inputs, and which is as it was."""
    before = numbers(model)
    fused, report = jaxconv.fuse(model, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs])
    for ours, wanted in zip(jax.tree.leaves(fused(*inputs)), jax.tree.leaves(model(*inputs)), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=2e-5 * float(jnp.abs(wanted).max()))
    for array, old in zip(numbers(model), before, strict=True):
        np.testing.assert_array_equal(array, old)
    norms = BatchNorm1d | BatchNorm2d | BatchNorm3d | nnx.BatchNorm
    assert sum(isinstance(m, norms) for _, m in nnx.iter_modules(fused)) == len(report.left)
    return report


# DenseNet's norms stand before convolutions mostly. With JAXCONV_ALL more ports are compared.
USUALLY = ("densenet", "mobilenet_v3")
MORE = ("resnet", "efficientnet", "deeplab", "xception") if "JAXCONV_ALL" in os.environ else ()


@pytest.mark.parametrize("name", [*USUALLY, *MORE])
def test_ports_give_the_same(name):
    port = PORTS[name]
    model = trained(network("examples.ports", port, rngs=rngs()))
    report = same(model, *[random(*shape) for shape in port.shapes])
    if name == "densenet":
        # Within a layer norm2 follows conv1 alone; norm1 reads what several layers gave.
        assert {norm.split(".")[-1] for norm, _ in report.folded} == {"norm0", "norm2"}
        assert all("not the output of a convolution" in why for _, why in report.left)
        assert min(len(report.folded), len(report.left)) >= 3
    else:
        assert len(report.folded) == sum(isinstance(m, BatchNorm2d) for _, m in nnx.iter_modules(model))


# Each kind of layer with a norm of its own, with and without a bias and in groups, and the input.
KINDS = {
    "1-D": (lambda: Sequential(Conv1d(4, 6, 3, groups=2, rngs=rngs()), BatchNorm1d(6)), (2, 4, 9)),
    "2-D, channels last": (
        lambda: Sequential(
            Conv2d(3, 5, (3, 2), padding_mode="reflect", padding=1, data_format="channels_last", rngs=rngs()),
            BatchNorm2d(5, data_format="channels_last"),
        ),
        (2, 7, 6, 3),
    ),
    "3-D": (
        lambda: Sequential(Conv3d(2, 3, 2, bias=False, rngs=rngs()), BatchNorm3d(3, affine=False)),
        (1, 2, 4, 5, 3),
    ),
    "transposed 1-D": (lambda: Sequential(ConvTranspose1d(4, 5, 3, rngs=rngs()), BatchNorm1d(5)), (2, 4, 7)),
    "transposed in groups": (
        lambda: Sequential(ConvTranspose2d(4, 6, 3, 2, groups=2, rngs=rngs()), BatchNorm2d(6)),
        (2, 4, 5, 6),
    ),
    "transposed 3-D": (lambda: Sequential(ConvTranspose3d(2, 3, 2, rngs=rngs()), BatchNorm3d(3)), (1, 2, 3, 2, 4)),
    "linear": (lambda: Sequential(nnx.Linear(5, 7, use_bias=False, rngs=rngs()), BatchNorm1d(7)), (3, 5)),
    "Flax's": (
        lambda: nnx.Sequential(
            nnx.Conv(4, 6, (3, 3), feature_group_count=2, use_bias=False, rngs=rngs()),
            nnx.BatchNorm(6, epsilon=1e-3, rngs=rngs()),
            nnx.ConvTranspose(6, 5, (2, 2), rngs=rngs()),
            nnx.BatchNorm(5, use_bias=False, rngs=rngs()),
            nnx.Linear(5, 3, rngs=rngs()),
            nnx.BatchNorm(3, use_scale=False, rngs=rngs()),
        ),
        (2, 5, 6, 4),
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_layer_takes_a_norm(name):
    build, shape = KINDS[name]
    report = same(trained(build()), random(*shape))
    assert report.folded
    assert not report.left


class Odd(nnx.Module):
    """A convolution and a norm, in a way that keeps one from taking the other."""

    def __init__(self, how):
        self.conv, self.norm = Conv2d(3, 4, 3, padding=1, rngs=rngs()), BatchNorm2d(4)
        self.how = how
        if how == "axes":
            self.conv = Conv2d(3, 4, 3, padding=1, data_format="channels_last", rngs=rngs())
        if how == "statistics":
            self.norm = BatchNorm2d(4, track_running_stats=False)
        if how == "weight":
            self.conv = weight_norm(self.conv)

    def __call__(self, x):
        if self.how == "axes":  # four rows, so that the norm takes them for channels
            return self.norm(self.conv(x))
        y = self.conv(x)
        if self.how == "residual":
            return self.norm(y) + y
        if self.how == "result":
            return self.norm(y), y
        if self.how == "convolution twice":
            return self.norm(y) + self.conv(2 * x)
        if self.how == "norm twice":
            return self.norm(y) + self.norm(2 * y)
        if self.how == "between":
            return self.norm(nnx.relu(y))
        if self.how == "loop":
            return jax.lax.fori_loop(0, 2, lambda _, a: self.norm(a), y)
        return self.norm(y)


REASONS = {
    "residual": "the output of conv, which it follows, is read elsewhere too",
    "result": "the output of conv, which it follows, is read elsewhere too",
    "convolution twice": "conv, which it follows, is called 2 times",
    "norm twice": "it is called 2 times",
    "between": "its input is not the output of a convolution or a linear layer",
    "statistics": "it has no running statistics, and takes those of each batch",
    "weight": "the weight of conv, which it follows, is computed of other arrays",
    "axes": "conv, which it follows, has its channels along another axis",
}


@pytest.mark.parametrize("how", REASONS)
def test_what_cannot_be_folded_is_left(how):
    x = random(2, 4, 6, 3) if how == "axes" else random(2, 3, 5, 6)
    report = same(trained(Odd(how)), x)
    assert report.left == (("norm", REASONS[how]),)
    assert str(report) == f"folded 0 of 1 batch norms\n    norm is left: {REASONS[how]}"


def test_a_norm_in_two_places_leaves_both():
    class Shared(nnx.Module):
        def __init__(self):
            self.conv, self.norm = Conv2d(3, 4, 3, rngs=rngs()), BatchNorm2d(4)
            self.layers = nnx.List([self.conv, self.norm])

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    model = trained(Shared())
    assert not same(model, random(2, 3, 5, 6)).left
    fused, _ = jaxconv.fuse(model, (2, 3, 5, 6))
    assert isinstance(fused.norm, Identity)
    assert isinstance(fused.layers[1], Identity)


def test_layers_that_share_a_weight_get_their_own():
    class Tied(nnx.Module):
        def __init__(self):
            self.first, self.second = (Conv2d(3, 3, 3, padding=1, rngs=rngs()) for _ in range(2))
            self.second.weight = self.first.weight
            self.norm = BatchNorm2d(3)

        def __call__(self, x):
            return self.second(self.norm(self.first(x)))

    assert same(trained(Tied()), random(2, 3, 5, 6)).folded == (("norm", "first"),)


def test_other_norms_and_what_is_around_stay():
    model = Sequential(
        Conv2d(3, 4, 3, rngs=rngs()), BatchNorm2d(4), nnx.relu, Conv2d(4, 4, 3, rngs=rngs()), GroupNorm(2, 4)
    )
    fused, report = jaxconv.fuse(trained(model), (1, 3, 9, 8))
    assert report.folded == (("1", "0"),)
    assert [type(layer).__name__ for layer in fused][3:] == ["Conv2d", "GroupNorm"]
    # It is compiled, and differentiated, as any model is.
    x = random(1, 3, 9, 8)
    np.testing.assert_allclose(nnx.jit(fused)(x), model(x), rtol=1e-4, atol=1e-5)


def test_16_bit_floats_are_folded_in_double_precision():
    model = Sequential(Conv2d(3, 8, 3, param_dtype="bfloat16", rngs=rngs()), BatchNorm2d(8, param_dtype="bfloat16"))
    fused, report = jaxconv.fuse(trained(model), jax.ShapeDtypeStruct((1, 3, 6, 5), "bfloat16"))
    assert report.folded
    assert fused[0].weight.dtype == fused[0].bias.dtype == "bfloat16"
    w, var, scale = (np.asarray(a[...], "float64") for a in (model[0].weight, model[1].running_var, model[1].weight))
    wanted = w * (scale / np.sqrt(var + 1e-5))[:, None, None, None]
    np.testing.assert_allclose(np.asarray(fused[0].weight[...], "float64"), wanted, rtol=2**-8)


def test_refusals():
    model = Sequential(Conv2d(3, 4, 3, rngs=rngs()), BatchNorm2d(4))
    with pytest.raises(ValueError, match=r"model is in training: the norm '1' takes .* call model.eval\(\) first"):
        jaxconv.fuse(model, (1, 3, 9, 8))
    model.eval()
    with pytest.raises(ValueError, match="0: input"):
        jaxconv.fuse(model, (1, 5, 9, 8))
    with pytest.raises(TypeError, match="input_shape must be a shape"):
        jaxconv.fuse(model, 9)
    with pytest.raises(
        TypeError, match=r"model must be a module of Flax NNX.*, got the class Sequential; make a model"
    ):
        jaxconv.fuse(Sequential, (1, 3, 9, 8))
    with pytest.raises(TypeError, match=r"model must be a module of Flax NNX.*, got function"):
        jaxconv.fuse(copy.copy, (1, 3, 9, 8))
