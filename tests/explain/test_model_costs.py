"""The costs of models against those that XLA, PyTorch and the definition count."""

import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx
from models import MODELS

import jaxconv
import jaxconv.linen
import jaxconv.nnx
from jaxconv.nnx import Conv1d, Conv2d, Conv3d, ConvTranspose2d, Flatten, Sequential

MACHINE = (4e11, 2e10)
pytestmark = pytest.mark.usefixtures("quick_compile")
LAYERS = range(1000) if "JAXCONV_ALL" in os.environ else range(60)


def explained(model, shape, **arguments):
    return jaxconv.explain(model, shape, machine=MACHINE, **arguments)


def sampled(seed):
    """A layer with parameters as a constructor without arguments, and the shape of an input that it takes."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    groups = int(rng.integers(1, 4))
    into, out = (groups * int(n) for n in rng.integers(1, 4, 2))
    kernel, stride, dilation = (tuple(int(n) for n in rng.integers(1, high, rank)) for high in (4, 4, 3))
    padding = tuple(int(n) for n in rng.integers(0, 3, rank))
    size = tuple(int(n) for n in rng.choice(np.arange(9, 16), rank, replace=False))
    last = bool(rng.integers(2))
    options = {
        "data_format": "channels_last" if last else "channels_first",
        "bias": bool(rng.integers(2)),
        "algorithm": ("auto", "xla", "taps")[rng.integers(3)],
    }
    kind = rng.integers(4)
    if kind == 0:
        moved = tuple(int(rng.integers(max(s, d))) for s, d in zip(stride, dilation, strict=True))
        arguments = (into, out, kernel, stride, padding, moved, groups)
        name, options = f"ConvTranspose{rank}d", {**options, "dilation": dilation}
        if set(stride) == {1}:  # which XLA's operation does not show
            options["algorithm"] = "auto"
    elif kind == 1:
        name, arguments = "Linear", (into, out)
        options, size, last = {"use_bias": options["bias"]}, size[: rank - 1], True
    else:
        mode = ("zeros", "reflect", "circular", "replicate", "symmetric")[rng.integers(5)]
        arguments = (into, out, kernel, stride, padding, dilation, groups)
        name, options = f"Conv{rank}d", {**options, "padding_mode": mode}
    batch = () if rng.integers(3) == 0 and name != "Linear" else (int(rng.integers(1, 4)),)
    cls = nnx.Linear if name == "Linear" else getattr(jaxconv.nnx, name)

    def make():
        return cls(*arguments, **options, rngs=nnx.Rngs(0))

    return make, (*batch, *size, into) if last else (*batch, into, *size)


def products_by_definition(layer, shape):
    """How many products the definition of a layer has, counted as the sum of its output where all factors are one."""
    if isinstance(layer, nnx.Linear):
        return math.prod(shape) * layer.out_features
    rank, last = layer.rank, layer.data_format == "channels_last"
    batch = shape[0] if len(shape) == rank + 2 else 1
    *size, channels = shape[-rank - 1 :] if last else (*shape[-rank:], shape[-rank - 1])
    weight = layer.weight.get_value().shape
    options = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    spans = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if layer.transposed:
        sheet = [(n - 1) * s + k for n, s, k in zip(size, layer.stride, spans, strict=True)]
        full = (batch, weight[1] * layer.groups, *sheet)
        return reference.conv_input(full, np.ones(weight), np.ones((batch, channels, *size)), **options).sum()
    padded = [n + 2 * p for n, p in zip(size, layer.padding, strict=True)]
    return reference.conv(np.ones((batch, channels, *padded)), np.ones(weight), **options).sum()


@pytest.mark.parametrize("seed", LAYERS)
def test_shape_parameters_and_products_of_a_sampled_layer(seed):
    make, shape = sampled(seed)
    layer = nnx.eval_shape(make)
    (row,) = explained(nnx.eval_shape(lambda: Sequential(make())), shape).rows
    assert row.output_shape == nnx.eval_shape(lambda: make()(jnp.zeros(shape))).shape
    assert row.parameters == sum(a.size for a in jax.tree.leaves(nnx.state(layer, nnx.Param)))
    assert row.multiply_accumulates == products_by_definition(layer, shape)
    assert row.bytes == 4 * (math.prod(shape) + math.prod(row.output_shape) + row.parameters)
    if not isinstance(layer, nnx.Linear):
        of_layer = explained(layer, shape)
        assert row.multiply_accumulates == of_layer.multiply_accumulates * of_layer.batch
        assert row.receptive_field == tuple(axis.receptive_field for axis in of_layer.axes) or layer.transposed
        assert [op.algorithm for op in row.ops] == [op.algorithm for op in of_layer.ops]


def flops_of_xla(model, shape):
    """What XLA's analysis counts of the program as it is handed over."""
    state = nnx.state(model)
    graph = nnx.graphdef(model)
    lowered = jax.jit(lambda state, x: nnx.merge(graph, state)(x)).lower(
        state, jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    return lowered.compile().cost_analysis()["flops"], lowered.cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("make", "shape", "more"),
    [
        (lambda: Conv1d(3, 5, 4, bias=False, algorithm="xla", rngs=nnx.Rngs(0)), (2, 3, 11), 0),
        (lambda: Conv2d(3, 5, (2, 3), 2, bias=False, algorithm="xla", rngs=nnx.Rngs(0)), (2, 3, 7, 10), 0),
        (lambda: Conv2d(4, 6, 3, groups=2, bias=False, algorithm="xla", rngs=nnx.Rngs(0)), (1, 4, 7, 9), 0),
        (lambda: Conv3d(2, 3, 2, dilation=2, bias=False, algorithm="xla", rngs=nnx.Rngs(0)), (1, 2, 5, 6, 7), 0),
        # One addition each for the bias and the ReLU.
        (
            lambda: Sequential(Conv2d(3, 5, 3, algorithm="xla", rngs=nnx.Rngs(0)), nnx.relu),
            (2, 3, 7, 10),
            2 * 2 * 5 * 5 * 8,
        ),
        (lambda: Sequential(Flatten(), nnx.Linear(12, 7, use_bias=False, rngs=nnx.Rngs(0))), (5, 3, 4), 0),
    ],
)
def test_products_are_those_that_xla_counts(make, shape, more):
    # XLA leaves out the products with padding, so there is none here.
    model = nnx.eval_shape(lambda: Sequential(make()))
    compiled, lowered = flops_of_xla(model, shape)
    count = 2 * explained(model, shape).multiply_accumulates + more
    assert lowered == count
    assert compiled == count


def test_xla_leaves_out_what_meets_padding():
    model = nnx.eval_shape(
        lambda: Sequential(Conv1d(1, 1, 3, padding=1, bias=False, algorithm="xla", rngs=nnx.Rngs(0)))
    )
    assert explained(model, (1, 1, 5)).multiply_accumulates == 15
    assert flops_of_xla(model, (1, 1, 5))[1] == 2 * 13


@pytest.mark.parametrize("algorithm", ["xla", "auto", "taps"])
def test_an_algorithm_changes_no_count(algorithm):
    make = {
        "plain": lambda: Conv2d(
            4, 6, 3, 2, 1, padding_mode="circular", groups=2, algorithm=algorithm, rngs=nnx.Rngs(0)
        ),
        "transposed": lambda: ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, algorithm=algorithm, rngs=nnx.Rngs(0)),
        "around": lambda: ConvTranspose2d(
            4, 6, 3, 2, 1, 1, 2, padding_mode="circular", algorithm=algorithm, rngs=nnx.Rngs(0)
        ),
    }
    models = {name: nnx.eval_shape(lambda layer=layer: Sequential(layer())) for name, layer in make.items()}
    counts = {name: explained(model, (2, 4, 7, 9)).multiply_accumulates for name, model in models.items()}
    assert counts == {
        "plain": 2 * 4 * 5 * 6 * 2 * 9,
        "transposed": 2 * 7 * 9 * 4 * 3 * 9,
        "around": 2 * 7 * 9 * 4 * 3 * 9,
    }


def test_the_bytes_of_a_model_are_those_of_its_rows():
    explanation = explained(MODELS["compiled"].blank(), MODELS["compiled"].shape)
    conv, norm, relu = explanation.rows[:3]
    assert conv.bytes == 4 * (3 * 400 + 3 * 324 + 84)
    assert norm.bytes == 4 * (2 * 3 * 324 + 6)
    assert relu.bytes == 4 * 2 * 3 * 324
    assert explanation.bytes == sum(row.bytes for row in explanation.rows)


def test_what_no_program_shows_is_told():
    class Calls(nnx.Module):
        def __call__(self, x):
            return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    explanation = explained(Calls(), (2, 3))
    assert explanation.opaque == ("pure_callback",)
    assert "not counted: what pure_callback computes" in str(explanation)


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (lambda x: jnp.einsum("nchw,nchv->ncwv", x, x), 2 * 3 * 6 * 6 * 5),
        (lambda x: x.reshape(6, 30) @ jnp.ones((30, 4)), 6 * 30 * 4),
        (lambda x: jax.lax.scan(lambda c, _: (c @ jnp.ones((6, 6)), None), x, None, length=7)[0], 7 * 6 * 5 * 36),
        (lambda x: jax.vmap(lambda x: x @ jnp.ones((6, 2)))(x), 6 * 5 * 12),
        (lambda x: jax.lax.map(lambda x: x @ jnp.ones((6, 2)), x), 6 * 5 * 12),
        (lambda x: jax.lax.conv_general_dilated_patches(x, (2, 2), (1, 1), "VALID"), 2 * 12 * 4 * 5 * 4),
        (lambda x: jax.lax.conv_transpose(
            x, jnp.ones((2, 2, 3, 4)), (2, 2), "VALID", None, ("NCHW", "HWIO", "NCHW")
        ), 2 * 30 * 48),
        (lambda x: jaxconv.conv2d_weight(x, (4, 3, 2, 2), jnp.ones((2, 4, 4, 5))), 2 * 20 * 48),
        (lambda x: jnp.cumsum(jnp.sort(x)), 0),
    ],
)  # fmt: skip
def test_products_of_functions(function, products):
    assert explained(Sequential(function), (2, 3, 5, 6)).multiply_accumulates == products
