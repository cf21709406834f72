"""`weight_norm` and `spectral_norm` against PyTorch's: values, gradients, names, training, and the way back."""

import copy
import pickle
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from closeness import assert_close, difference
from flax import linen as nn
from flax import nnx
from torch.nn.utils import parametrizations, parametrize
from torch_side import to_numpy
from weights import there_and_back

import jaxconv.linen
from jaxconv.interop import linen_from_state_dict, linen_state_dict, load_state_dict, state_dict
from jaxconv.nnx import (
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Sequential,
    remove_parametrizations,
    spectral_norm,
    weight_norm,
)

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")
DOUBLE = {"param_dtype": jnp.float64}
BOTH = {"weight_norm": weight_norm, "spectral_norm": spectral_norm}


def layer(kind):
    """A layer of PyTorch and the same here, with the shape of an input, channels first."""
    options = {"rngs": nnx.Rngs(0), **DOUBLE}
    if kind == "conv":
        return torch.nn.Conv2d(4, 6, (3, 2), groups=2), Conv2d(4, 6, (3, 2), groups=2, **options), (2, 4, 5, 7)
    if kind == "transposed":
        return torch.nn.ConvTranspose2d(4, 6, 3, 2), ConvTranspose2d(4, 6, 3, 2, **options), (2, 4, 3, 2)
    if kind == "linear":
        return torch.nn.Linear(5, 3), nnx.Linear(5, 3, **options), (2, 5)
    return torch.nn.Conv1d(4, 6, 3), nnx.Conv(4, 6, (3,), padding="VALID", **options), (2, 4, 7)


CASES = [
    ("conv", "weight_norm", {}),
    ("linear", "weight_norm", {"dim": None}),
    ("transposed", "weight_norm", {"dim": 1}),
    ("flax conv", "weight_norm", {"dim": -2}),
    ("conv", "weight_norm", {"name": "bias"}),
    ("conv", "spectral_norm", {"dim": 3, "n_power_iterations": 3, "eps": 0.1}),
    ("transposed", "spectral_norm", {}),
    ("flax conv", "spectral_norm", {"n_power_iterations": 2}),
    ("conv", "spectral_norm", {"name": "bias"}),
]


class Pair(NamedTuple):
    """A layer of both sides, an input of each, and what PyTorch's is trained by."""

    theirs: torch.nn.Module
    ours: nnx.Module
    their_x: torch.Tensor
    our_x: np.ndarray
    optimizer: torch.optim.Optimizer


def pair(kind, how, arguments):
    torch.manual_seed(0)
    theirs, ours, shape = layer(kind)
    theirs = getattr(parametrizations, how)(theirs.double(), **arguments)
    assert BOTH[how](ours, **arguments) is ours
    there_and_back(theirs, ours)
    x = np.random.default_rng(0).normal(size=shape)
    given = np.moveaxis(x, 1, -1) if kind == "flax conv" else x
    return Pair(theirs, ours, torch.from_numpy(x), given, torch.optim.SGD(theirs.parameters(), 0.1))


def test_three_steps_of_training_are_pytorchs_step_by_step():
    pairs = {str(case): pair(*case) for case in CASES}
    models, inputs = nnx.List([p.ours for p in pairs.values()]), [p.our_x for p in pairs.values()]

    @nnx.jit
    def step(models, inputs):  # of all of them, as one program
        losses = []
        for model, x in zip(models, inputs, strict=True):
            loss, gradients = nnx.value_and_grad(lambda model, x: (jnp.sin(model(x)) * (1 + x.sum())).sum())(model, x)
            nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, nnx.state(model, nnx.Param), gradients))
            losses.append(loss)
        return losses

    for _ in range(3):
        losses = step(models, inputs)
        for (name, (theirs, ours, x, _, optimizer)), loss in zip(pairs.items(), losses, strict=True):
            optimizer.zero_grad()
            their_loss = (torch.sin(theirs(x)) * (1 + x.sum())).sum()
            their_loss.backward()
            optimizer.step()
            found = {"loss": np.asarray(loss), **state_dict(ours)}
            wanted = {"loss": to_numpy(their_loss), **{n: to_numpy(t) for n, t in theirs.state_dict().items()}}
            problems = [difference(found[n], wanted[n], 1e-10, scale=1) for n in wanted]
            assert not any(problems), f"{name}: {dict(zip(wanted, problems, strict=True))}"
    models.eval()
    before = [state_dict(p.ours) for p in pairs.values()]
    outputs = nnx.jit(lambda models, inputs: [model(x) for model, x in zip(models, inputs, strict=True)])(
        models, inputs
    )
    for (name, (theirs, ours, x, _, _)), y, kept in zip(pairs.items(), outputs, before, strict=True):
        y = np.moveaxis(y, -1, 1) if "flax conv" in name else y
        assert difference(y, to_numpy(theirs.eval()(x)), 1e-10) is None, name
        assert all((kept[n] == array).all() for n, array in state_dict(ours).items())


@pytest.mark.parametrize("how", BOTH)
def test_the_layer_starts_as_it_was_and_says_what_pytorchs_says(how):
    theirs = getattr(parametrizations, how)(torch.nn.Conv2d(4, 6, (3, 2), groups=2))
    for kind in ("conv", "transposed", "linear", "flax conv"):
        _, ours, _ = layer(kind)
        before = np.array(ours.kernel if hasattr(ours, "kernel") else ours.weight)
        BOTH[how](ours)
        ours.eval()
        after = ours.kernel if hasattr(ours, "kernel") else ours.weight
        if how == "weight_norm":
            assert_close(after, before, 1e-15)
        else:
            # 15 iterations find the largest singular value to a percent or so.
            matrix = np.moveaxis(before, {"transposed": 1, "conv": 0}.get(kind, -1), 0)
            largest = np.linalg.svd(matrix.reshape(len(matrix), -1), compute_uv=False)[0]
            assert_close(after, before / largest, 0.05)
        if kind == "conv":
            assert repr(ours) == str(ours) == repr(theirs)
    linen = getattr(jaxconv.linen, how)(jaxconv.linen.Conv2d(4, 6, (3, 2), groups=2))
    assert repr(linen) == repr(theirs)
    both = weight_norm(weight_norm(Conv2d(4, 6, (3, 2), groups=2, rngs=nnx.Rngs(0))), "bias")
    assert repr(both) == repr(parametrizations.weight_norm(parametrizations.weight_norm(
        torch.nn.Conv2d(4, 6, (3, 2), groups=2)), "bias"))  # fmt: skip


@pytest.mark.parametrize("how", BOTH)
def test_the_names_that_pytorch_wrote_before(how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its old functions
        theirs = torch.nn.Sequential(getattr(torch.nn.utils, how)(torch.nn.Conv2d(3, 4, 2))).double()
    ours = Sequential(BOTH[how](Conv2d(3, 4, 2, rngs=nnx.Rngs(0), **DOUBLE)))
    older = theirs.state_dict()
    assert "0.weight_v" in older
    assert load_state_dict(ours, older).loaded == tuple(state_dict(ours))
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    theirs.eval()
    ours.eval()
    assert_close(ours(x), to_numpy(theirs(torch.from_numpy(x))))
    linen = jaxconv.linen.Sequential(getattr(jaxconv.linen, how)(jaxconv.linen.Conv2d(3, 4, 2, **DOUBLE)))
    flags = {"deterministic": True} if how == "spectral_norm" else {}
    variables = linen_from_state_dict(linen.init(jax.random.key(0), x, **flags), older)
    assert_close(linen.apply(variables, x, **flags), ours(x))
    # Both of a pair, or none: as in PyTorch.
    del older["0.weight_v"]
    with pytest.raises(ValueError, match=r"missing \(1\):\n    0.parametrizations.weight.(original1|0._v)\n"):
        load_state_dict(ours, older)


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize("leave", [True, False])
def test_what_removing_leaves(how, leave):
    theirs = getattr(parametrizations, how)(torch.nn.Conv2d(3, 4, 2).double())
    ours = BOTH[how](Conv2d(3, 4, 2, rngs=nnx.Rngs(0), **DOUBLE))
    load_state_dict(ours, theirs.state_dict())
    if how == "weight_norm" and not leave:
        with pytest.raises(ValueError, match="weight is computed from 2 arrays; only leave_parametrized=True"):
            remove_parametrizations(ours, "weight", leave)
        return
    assert remove_parametrizations(ours, "weight", leave) is ours
    parametrize.remove_parametrizations(theirs, "weight", leave)
    assert type(ours) is Conv2d
    assert isinstance(ours.weight, nnx.Param)
    assert_close(ours.weight[...], to_numpy(theirs.weight), 1e-14)
    assert set(state_dict(ours)) == {"weight", "bias"}
    assert nnx.split(ours)[0] == nnx.split(Conv2d(3, 4, 2, rngs=nnx.Rngs(0), **DOUBLE))[0]


def test_one_of_two_is_removed_and_axes_are_moved_back():
    ours = nnx.Linear(3, 4, bias_init=nnx.initializers.ones, rngs=nnx.Rngs(0), **DOUBLE)
    weight_norm(weight_norm(ours), "bias")
    kernel, bias = np.array(ours.kernel), np.array(ours.bias)
    remove_parametrizations(ours, "weight")
    assert_close(ours.kernel[...], kernel, 1e-15)
    assert set(state_dict(ours)) == {"weight", "parametrizations.bias.original0", "parametrizations.bias.original1"}
    remove_parametrizations(ours, "bias")
    assert type(ours) is nnx.Linear
    assert_close(ours.bias[...], bias, 1e-15)


def test_a_value_is_assigned_to_what_is_computed():
    new = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    ours = weight_norm(Conv2d(3, 4, 2, rngs=nnx.Rngs(0), **DOUBLE))
    ours.weight = nnx.Param(jnp.asarray(new))
    assert_close(ours.weight, new, 1e-15)
    assert_close(ours.parametrizations.weight.original0[...].ravel(), np.sqrt((new**2).sum((1, 2, 3))), 1e-14)
    linear = spectral_norm(nnx.Linear(3, 4, rngs=nnx.Rngs(0), **DOUBLE))
    linear.kernel = new[0, :, :, 0].repeat(2, 1)
    assert_close(linear.parametrizations.weight.original[...], new[0, :, :, 0].repeat(2, 1).T)
    linear.in_features = 3  # other attributes are as ever
    with pytest.raises(ValueError, match=r"kernel must have shape \(4, 3\), got shape \(3, 3\)"):
        linear.kernel = jnp.ones((3, 3))


@pytest.mark.parametrize("how", BOTH)
def test_copies_transforms_and_captures(how):
    def make(rngs):
        return BOTH[how](Conv2d(3, 4, 2, rngs=rngs, **DOUBLE))

    ours, x = make(nnx.Rngs(0)), np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    assert nnx.split(ours)[0] == nnx.split(make(nnx.Rngs(1)))[0]  # and so it is compiled once
    ours.eval()
    y = ours(x)
    for other in (nnx.merge(*nnx.split(ours)), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert_close(other(x), y)
    several = nnx.vmap(make)(nnx.Rngs(0).split(2))
    several.eval()
    together = nnx.vmap(lambda model, x: model(x), in_axes=(0, None))(several, x)
    graphdef, state = nnx.split(several)
    assert_close(together[1], nnx.merge(graphdef, jax.tree.map(lambda a: a[1], state))(x))
    _, captured = nnx.capture(Sequential(ours), nnx.Intermediate, method_outputs=nnx.Intermediate)(x)
    assert_close(nnx.to_pure_dict(captured)["0"]["__call__"][0], y)
    training = nnx.view(ours, deterministic=False) if how == "spectral_norm" else ours

    @nnx.jit
    def twice(model, x):  # as a discriminator is called: of real images and of made ones
        return nnx.grad(lambda model: (model(x) ** 2).sum() - (model(-2 * x) ** 3).sum())(model)

    with jax.checking_leaks():
        gradients = twice(training, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_halves_and_complex_numbers():
    half = weight_norm(Conv1d(64, 2, 32, param_dtype=jnp.float16, rngs=nnx.Rngs(0)))
    theirs = parametrizations.weight_norm(torch.nn.Conv1d(64, 2, 32).half())
    load_state_dict(half, theirs.state_dict())
    assert half.weight.dtype == jnp.float16
    assert_close(half.weight, to_numpy(theirs.weight), 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complex modules are new
        theirs = parametrizations.spectral_norm(torch.nn.Conv1d(3, 4, 2).to(torch.complex128))
    ours = spectral_norm(Conv1d(3, 4, 2, param_dtype=jnp.complex128, rngs=nnx.Rngs(0)))
    there_and_back(theirs, ours)
    assert_close(ours.weight, to_numpy(theirs.weight))
    assert_close(ours.parametrizations.weight.__dict__["0"]._u[...], to_numpy(theirs.parametrizations.weight[0]._u))


def test_a_weight_of_zeros_has_pytorchs_value_and_slope():
    theirs, ours = torch.nn.LayerNorm(3).double(), nnx.LayerNorm(3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    ours.scale.set_value(jnp.zeros(3))
    theirs.weight.data.zero_()
    parametrizations.spectral_norm(theirs)
    spectral_norm(ours, "scale")
    theirs.weight.sum().backward()
    gradient = nnx.grad(lambda model: model.scale.sum())(ours)
    assert_close(
        gradient["parametrizations"]["scale"]["original"][...],
        to_numpy(theirs.parametrizations.weight.original.grad),
    )
    # 0 / 0: what PyTorch's weight norm makes of such a weight, too.
    theirs, ours = torch.nn.Linear(2, 1), nnx.Linear(2, 1, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))
    theirs.weight.data.zero_()
    assert parametrizations.weight_norm(theirs).weight.isnan().all()
    assert jnp.isnan(weight_norm(ours).kernel).all()


def test_first_vectors_may_come_from_a_stream_of_keys():
    def first(rngs):
        layer = spectral_norm(Conv1d(9, 8, 7, rngs=nnx.Rngs(0)), rngs=rngs)
        return state_dict(layer)["parametrizations.weight.0._u"]

    assert (first(None) == first(None)).all()
    assert (first(nnx.Rngs(1)) != first(None)).any()


class Discriminator(nn.Module):
    """Linen: layers that are made in a compact method, with names and without."""

    @nn.compact
    def __call__(self, x, training):
        linen = jaxconv.linen
        x = linen.weight_norm(linen.Conv2d(None, 4, 2, name="first", **DOUBLE))(x)
        x = linen.spectral_norm(linen.ConvTranspose2d(4, 3, 2, 2, **DOUBLE), deterministic=not training)(x, (9, 7))
        return linen.spectral_norm(linen.Conv2d(3, 2, 2, bias=False, **DOUBLE))(x, deterministic=not training)


def test_linen_computes_what_nnx_does():
    model = Discriminator()
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    variables = model.init(jax.random.key(0), x, training=True)
    rngs = nnx.Rngs(0)
    ours = Sequential(
        {
            "first": weight_norm(Conv2d(3, 4, 2, rngs=rngs, **DOUBLE)),
            "ConvTranspose2d_0": spectral_norm(ConvTranspose2d(4, 3, 2, 2, rngs=rngs, **DOUBLE)),
            "Conv2d_0": spectral_norm(Conv2d(3, 2, 2, bias=False, rngs=rngs, **DOUBLE)),
        }
    )
    load_state_dict(ours, linen_state_dict(variables))

    def wanted(x):
        return ours[2](ours[1](ours[0](x), (9, 7)))

    for _ in range(2):
        y, changed = model.apply(variables, x, training=True, mutable=["batch_stats"])
        assert_close(y, wanted(x))
        variables |= changed
    found = linen_state_dict(variables)
    assert found.keys() == state_dict(ours).keys()
    for name, array in state_dict(ours).items():
        assert_close(found[name], array)
    ours.eval()
    assert_close(model.apply(variables, x, training=False), wanted(x))
    layer = jaxconv.linen.weight_norm(jaxconv.linen.Conv2d(3, 4, 2))
    assert layer == layer.copy() == jaxconv.linen.weight_norm(jaxconv.linen.Conv2d(3, 4, 2))


def test_linen_keeps_how_a_weight_is_divided():
    init = nn.with_partitioning(nn.initializers.ones, ("out", None, None))
    layer = jaxconv.linen.weight_norm(jaxconv.linen.Conv1d(3, 4, 2, weight_init=init))
    variables = layer.init(jax.random.key(0), jnp.ones((1, 3, 5)))
    assert isinstance(variables["params"]["parametrizations"]["weight"]["original1"], nn.Partitioned)
    assert layer.apply(variables, jnp.ones((1, 3, 5))).shape == (1, 4, 4)
