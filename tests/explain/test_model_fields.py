"""Receptive fields of models against impulses that are sent through them, and of networks that are known."""

import os
import random
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from examples.ports.resnet import ResNet18
from jaxconv import nnx as ours
from jaxconv._explain.model.reach import Label, Reach, of_input, reshaped, transposed

SIZE = 40
MACHINE = (4e11, 2e10)


def conv(rng):
    k, s, d, p = rng.choice([1, 2, 3, 4]), rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2]), rng.choice([0, 1, 2])
    mode = rng.choice(["zeros", "reflect", "replicate"]) if p else "zeros"
    return ours.Conv1d(1, 1, k, s, p, d, bias=False, padding_mode=mode, rngs=nnx.Rngs(0))


def conv_transpose(rng):
    k, s, p = rng.choice([2, 3, 4]), rng.choice([1, 2, 3]), rng.choice([0, 1])
    return ours.ConvTranspose1d(1, 1, k, s, p, bias=False, rngs=nnx.Rngs(0))


def other(rng):
    layers = [
        ours.MaxPool1d(2),
        ours.MaxPool1d(3, 2, 1),
        ours.MaxPool1d(3, 1, dilation=2),
        ours.AvgPool1d(3, 1, 1),
        ours.ReflectionPad1d((1, 2)),
        ours.ReplicationPad1d(1),
        ours.ZeroPad1d((2, 0)),
        ours.Upsample(scale_factor=2),
        ours.Upsample(scale_factor=2, mode="linear"),
        ours.Upsample(scale_factor=1.5, mode="linear", align_corners=True),
        ours.AdaptiveAvgPool1d(8),
        ours.AdaptiveAvgPool1d(7),
    ]
    return rng.choice(layers)


def any_layer(rng):
    return rng.choice([conv, conv, conv_transpose, other])(rng)


class Joined(nnx.Module):
    """The sum, or the concatenation, of what two layers give, as far as both reach."""

    def __init__(self, a, b, concatenated):
        self.a, self.b, self.concatenated = a, b, concatenated

    def __call__(self, x):
        a, b = self.a(x), self.b(x)
        n = min(a.shape[-1], b.shape[-1])
        a, b = a[..., :n], b[..., :n]
        return jnp.concatenate([a, b], axis=1).sum(1, keepdims=True) if self.concatenated else a + b


def sampled(seed):
    """A network of a few layers, whether it has joins, and its output's shape; or None."""
    rng = random.Random(seed)
    layers = []
    for _ in range(rng.randint(2, 4)):
        is_join = rng.random() < 0.25
        layers.append(Joined(any_layer(rng), any_layer(rng), rng.random() < 0.5) if is_join else any_layer(rng))
    model = ours.Sequential(*layers)
    nnx.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    return model


def true_field(model):
    """The longest stretch of the input that one position of the output answers to, and whether it is cut by an end."""
    answers = np.asarray(model(jnp.concatenate([jnp.zeros((1, 1, SIZE)), jnp.eye(SIZE)[:, None]])))[:, 0]
    reads = (answers[1:] != answers[0]).T
    spans = [np.ptp(np.flatnonzero(row)) + 1 for row in reads if row.any()]
    return max(spans, default=0), bool(reads[:, 0].any() and reads[:, -1].any() and max(spans, default=0) >= SIZE - 2)


SEEDS = range(300) if "JAXCONV_ALL" in os.environ else range(6)


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_position_is_read_that_is_not_told(seed):
    model = sampled(seed)
    try:
        shape = jax.eval_shape(model, jax.ShapeDtypeStruct((1, 1, SIZE), jnp.float32)).shape
    except ValueError:
        return  # the image is too small for this network
    row = jaxconv.explain(model, (1, 1, SIZE), machine=MACHINE).rows[-1]
    assert row.output_shape == shape
    (told,) = row.receptive_field
    found, is_cut = true_field(model)
    assert told is None or told >= found
    kinds = {type(layer) for layer in model}
    if not is_cut and kinds <= {ours.Conv1d, ours.MaxPool1d, ours.AvgPool1d, ours.ZeroPad1d, ours.ReplicationPad1d}:
        assert told == found


def fields(model, *shapes):
    """The receptive field and the jump of each row."""
    explanation = jaxconv.explain(model, list(shapes), machine=MACHINE)
    return [(row.receptive_field, row.jump) for row in explanation.rows]


def test_a_residual_network_has_the_field_that_is_known():
    explanation = jaxconv.explain(
        nnx.eval_shape(lambda: ResNet18(width=4, rngs=nnx.Rngs(0))), (1, 3, 224, 192), machine=MACHINE
    )
    named = {row.name: row for row in explanation.rows}
    assert explanation.axes == ("H", "W")
    assert explanation.sizes == (224, 192)
    assert named["layer4.1.conv2"].receptive_field == (435, 435)
    assert named["layer4.1.conv2"].jump == (32, 32)
    assert named["layer3.0.downsample.0"].receptive_field == (99, 99)
    assert named["fc"].receptive_field == (None, None)


def flax(make):
    return nnx.eval_shape(lambda: make(nnx.Rngs(0)))


def test_layers_of_flax_and_functions():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 4, (3, 5), strides=(2, 1), rngs=rngs)
            self.up = nnx.ConvTranspose(4, 4, (2, 2), strides=(2, 2), rngs=rngs)

        def __call__(self, x):
            x = self.up(nnx.max_pool(self.conv(x), (2, 2), (2, 2)))
            return jaxconv.avg_pool2d(x, 3, 1, data_format="channels_last")

    (conv, pool, up, average) = fields(flax(Model), (1, 32, 36, 1))
    assert conv == ((3, 5), (2, 1))
    assert pool == ((5, 6), (4, 2))
    assert up == ((7, 7), (2, 1))  # at most: it is 5 x 6 where no two kernels overlap
    assert average == ((11, 9), (2, 1))


def test_channels_last_and_no_batch():
    model = nnx.eval_shape(
        lambda: ours.Sequential(
            ours.Conv2d(3, 4, (3, 1), 2, data_format="channels_last", rngs=nnx.Rngs(0)),
            ours.MaxPool2d(2, data_format="channels_last"),
        )
    )
    assert fields(model, (20, 21, 3)) == [((3, 1), (2, 2)), ((5, 3), (4, 4))]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x + x.mean((2, 3), keepdims=True), (None, None)),
        (lambda x: x * nnx.softmax(x, axis=3), (3, None)),
        (lambda x: jnp.flip(x, 2), (3, 3)),
        (lambda x: jnp.cumsum(x, 3), (3, None)),
        (lambda x: jnp.sort(x, 2), (None, None)),  # nothing is known of a sort
        (lambda x: x[:, :, 4], (3, 3)),
        (lambda x: x[:, :, ::2, 1:], (3, 3)),
        (lambda x: jax.lax.dynamic_slice_in_dim(x, 3, 5, axis=2), (3, 3)),
        (lambda x: jax.lax.dynamic_slice_in_dim(x, x.argmax(), 5, axis=2), (None, None)),
        (lambda x: jnp.take(x, jnp.arange(0, 12, 3), axis=2), (3, 3)),
        (lambda x: x[:, :, jnp.array([0, 1, 3])], (3, 3)),  # half a step away from a line
        (lambda x: x[:, :, jnp.array([0, 5, 3])], (6, 3)),  # and more than that
        (lambda x: x[..., 1:] - x[..., :-1], (3, 4)),
        (lambda x: jnp.concatenate([x[:, :, :1], x, x[:, :, -1:]], 2), (3, 3)),
        (lambda x: jnp.stack([x, x]), (3, 3)),
        (lambda x: jnp.einsum("nchw,dc->ndhw", x, jnp.ones((5, 4))), (3, 3)),
        (lambda x: jnp.einsum("nchw,nchv->ncwv", x, x), (None, None)),
        (lambda x: x.reshape(1, 4, 3, 4, 14).max(3), (6, 3)),
        (lambda x: x.reshape(1, 4, -1), (3, 3)),
        (lambda x: jax.lax.scan(lambda c, _: (jaxconv.avg_pool2d(c, 3, 1, 1), None), x, None, length=4)[0], (11, 11)),
        (
            lambda x: jax.lax.scan(lambda c, _: (jaxconv.avg_pool2d(c, 3, 1, 1), None), x, None, length=99)[0],
            (None, None),
        ),
        (lambda x: jax.lax.scan(lambda c, _: (c * 2, None), x, None, length=99)[0], (3, 3)),
        (lambda x: jax.lax.scan(lambda c, y: (c + y, c), x[..., 0], jnp.moveaxis(x, 3, 0))[1], (3, None)),
        (lambda x: jax.lax.while_loop(lambda c: c.sum() < 1, lambda c: c + 1, x), (None, None)),
        (lambda x: jax.lax.cond(True, lambda x: x, lambda x: x[..., ::-1], x), (3, None)),
        (lambda x: jaxconv.pad(x, (1, 2, 3, 1), mode="circular"), (3, 3)),
        (lambda x: jaxconv.interpolate(x, (24, 7), mode="area"), (3, 4)),
        (lambda x: jaxconv.adaptive_max_pool2d(x, (5, 1)), (7, None)),
        (lambda x: jnp.stack(jnp.unstack(x, axis=1), axis=3), (3, 3)),
        (lambda x: jaxconv.pixel_shuffle(x, 2), (3, 3)),
        (lambda x: jaxconv.lp_pool2d(x, 2, (2, 3), 1), (4, 5)),
        (lambda x: jax.vmap(lambda x: x[..., 1:] + x[..., :-1])(x), (3, 4)),
        (lambda x: jnp.linalg.norm(x, axis=1), (3, 3)),
        (lambda x: jnp.fft.fft(x).real, (None, None)),
    ],
)
def test_what_functions_read(function, expected):
    def make():
        return ours.Sequential(ours.Conv2d(3, 4, 3, rngs=nnx.Rngs(0)), function)

    assert fields(nnx.eval_shape(make), (1, 3, 14, 16))[-1][0] == expected


def test_a_path_past_others_is_told_by_its_own_input():
    class Two(nnx.Module):
        def __init__(self):
            self.a = ours.Conv1d(1, 2, 5, rngs=nnx.Rngs(0))
            self.b = ours.Conv1d(1, 2, 3, stride=2, rngs=nnx.Rngs(0))

        def __call__(self, x, y):
            return self.a(x), self.b(y)

    assert fields(nnx.eval_shape(Two), (1, 1, 20), (1, 1, 30)) == [((5,), (1,)), ((3,), (2,))]


def test_merged_axes_are_split_again():
    whole = of_input(0, (2, 6, 10))
    merged = reshaped(whole, (2, 60))
    assert merged.factors == ((2,), (6, 10))
    assert reshaped(merged, (2, 6, 10)) == whole
    halves = reshaped(whole, (2, 3, 2, 10))
    assert halves.fields[Label(0, 1, 6)].steps == ((0,), (2,), (1,), (0,))
    assert transposed(transposed(halves, (0, 2, 1, 3)), (0, 2, 1, 3)) == halves
    across = reshaped(whole, (2, 4, 15))  # no axis is whole in it
    assert isinstance(across, Reach)
    assert {f.size for f in across.fields.values()} == {None}


def test_a_jump_is_a_fraction_after_a_transposed_convolution():
    model = nnx.eval_shape(lambda: ours.Sequential(ours.ConvTranspose1d(1, 1, 4, stride=3, rngs=nnx.Rngs(0))))
    assert fields(model, (1, 1, 9)) == [((2,), (Fraction(1, 3),))]
