"""Ports start, train and end as their twins in PyTorch do: scores, gradients, and every entry of the state dict."""

import copy
import os
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from jax.flatten_util import ravel_pytree
from ports import PORTS, as_ours, network
from safetensors.torch import save_file
from twins.digits import DigitsNetwork

from examples.ports import cli
from examples.trainer.config import Data, Model
from examples.trainer.data import load_digits
from examples.trainer.model import Classifier
from jaxconv.interop import load_state_dict, state_dict

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

STEPS = 10
SGD = {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-2}
# Of scores and gradients at the start; and of the state dict after training, and the scores that it gives.
TOLERANCES = {np.float64: (1e-9, 1e-9), np.float32: (1e-4, 1e-3)}

# Those trained in float32, too, by default. With JAXCONV_ALL all are.
USUALLY_IN_FLOAT32 = ("convnext", "vgg")
# Those that are trained by default, one of each kind of layer between them: to compile the steps of all takes minutes.
# The others are only started, and trained with JAXCONV_ALL in the environment.
USUALLY_TRAINED = ("convnext", "cyclegan", "esrgan", "hifigan", "mobilenet", "unet_bilinear")
TRAINED = tuple(PORTS) if "JAXCONV_ALL" in os.environ else USUALLY_TRAINED


def blank(port, dtype):
    """The port without values, all of which are to come from PyTorch; in float64 it is PyTorch's `model.double()`."""
    model = nnx.eval_shape(lambda: network("examples.ports", port, rngs=nnx.Rngs(0)))

    def cast(a):
        return jax.ShapeDtypeStruct(a.shape, dtype if jnp.issubdtype(a.dtype, jnp.floating) else a.dtype)

    nnx.update(model, jax.tree.map(cast, nnx.state(model, (nnx.Param, nnx.BatchStat))))
    for _, module in nnx.iter_modules(model):
        if getattr(module, "rngs", None) is not None:  # of dropout, which drops nothing here
            nnx.update(module.rngs, nnx.state(nnx.Rngs(0)["default"]))
        if dtype == np.float64 and hasattr(module, "algorithm"):
            module.algorithm = "xla"  # what "auto" takes in float64 is longer to compile
    return model


def flat(outputs):
    """A network's output, or all of them in one row."""
    rows = jax.tree.leaves(outputs)
    if len(rows) == 1:
        return rows[0]
    return (torch if isinstance(rows[0], torch.Tensor) else jnp).concatenate([row.reshape(-1) for row in rows])


class Trained(NamedTuple):
    """What is compared: scores before and after, the first gradients, and the state dict in the end."""

    before: np.ndarray
    after: np.ndarray
    gradients: dict
    state: dict


def scores_of(module, inputs):
    with torch.no_grad():
        return flat(module.eval()(*(torch.from_numpy(x[0]) for x in inputs))).numpy()


def theirs(module, inputs, target):
    """Ten steps of PyTorch. `inputs` have an axis of steps before their own; the scores are those of the first."""
    before, gradients = scores_of(module, inputs), {}
    module.train()
    optimiser = torch.optim.SGD(module.parameters(), **SGD)
    for i in range(STEPS):
        optimiser.zero_grad()
        scores = flat(module(*(torch.from_numpy(x[i]) for x in inputs)))
        torch.nn.functional.mse_loss(scores, torch.from_numpy(target)).backward()
        gradients = gradients or {name: p.grad.numpy().copy() for name, p in module.named_parameters()}
        optimiser.step()
    return Trained(before, scores_of(module, inputs), gradients, module.state_dict())


@jax.jit(static_argnums=0)
def evaluate(graph, state, inputs):
    return flat(nnx.merge(graph, state, copy=True)(*inputs))


@jax.jit(static_argnums=0)
def train(graph, parameters, rest, inputs, target):
    """The same ten steps, as one program. The parameters are one row, whose update is compiled once."""
    decay = optax.add_decayed_weights(SGD["weight_decay"])
    optimiser = optax.chain(decay, optax.sgd(SGD["lr"], momentum=SGD["momentum"]))
    row, as_parameters = ravel_pytree(parameters)

    def loss_fn(row, rest, batch):
        model = nnx.merge(graph, as_parameters(row), rest, copy=True)
        scores = flat(model(*batch))
        return jnp.mean((scores - target) ** 2), nnx.state(model, nnx.Not(nnx.Param))

    def step(carry, batch):
        row, rest, momentum = carry
        gradient, rest = jax.grad(loss_fn, has_aux=True)(row, rest, batch)
        updates, momentum = optimiser.update(gradient, momentum, row)
        return (optax.apply_updates(row, updates), rest, momentum), gradient

    (row, rest, _), gradients = jax.lax.scan(step, (row, rest, optimiser.init(row)), inputs)
    return (as_parameters(row), rest), as_parameters(gradients[0])


def ours(port, model, inputs, target):
    """Ten steps of a port, and its gradients by PyTorch's names."""
    inputs = [as_ours(port, x) for x in inputs]
    first = [x[0] for x in inputs]
    model.eval()
    graph, state = nnx.split(model)
    before = evaluate(graph, state, first)
    model.train()
    trained, gradients = train(*nnx.split(model, nnx.Param, ...), inputs, target)
    nnx.update(model, gradients)
    named = state_dict(model, flattened=port.flattened)
    nnx.update(model, *trained)
    model.eval()
    after = evaluate(graph, nnx.state(model), first)
    return Trained(before, after, named, state_dict(model, flattened=port.flattened))


def as_float64(trained):
    return jax.tree.map(
        lambda a: np.asarray(a, np.float64) if np.issubdtype(np.asarray(a).dtype, np.floating) else a, trained
    )


def apart(got, expected, floor=0.0):
    got, expected = np.asarray(got), np.asarray(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    return np.abs(got - expected).max() / max(np.abs(expected).max(), floor)


@pytest.mark.parametrize("name", [name for name in PORTS if name not in TRAINED])
def test_a_port_starts_as_in_pytorch(name):
    """What is given back is what was loaded, and scores are the twin's."""
    port = PORTS[name]
    torch.manual_seed(0)
    module, model = network("twins", port).double(), blank(port, np.float64)
    assert load_state_dict(model, module.state_dict(), flattened=port.flattened).ok
    inputs = [np.random.default_rng(0).normal(size=(1, *shape)) for shape in port.shapes]
    model.eval()
    scores = evaluate(*nnx.split(model), [as_ours(port, x)[0] for x in inputs])
    assert apart(scores, scores_of(module, inputs)) < TOLERANCES[np.float64][0]
    found = state_dict(model, flattened=port.flattened)
    module.load_state_dict({key: torch.from_numpy(a) for key, a in found.items()}, strict=True)


def distances(got, expected, dtype):
    """How far what has come out is from what should have, and how far it may be."""
    start, end = TOLERANCES[dtype]
    found = {"scores at the start": (apart(got.before, expected.before), start)}
    # Of gradients that are zero but for rounding there is nothing to compare but that they are.
    floor = 1e-2 * max(np.abs(g).max() for g in expected.gradients.values())
    for key, gradient in expected.gradients.items():
        found[f"the gradient of {key}"] = apart(got.gradients[key], gradient, floor), start
    assert got.state.keys() == expected.state.keys()
    for key, value in expected.state.items():
        found[key] = apart(got.state[key], value, 1e-3), end
    found["scores at the end"] = apart(got.after, expected.after), end
    return found


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, np.float64) for name in TRAINED]
    + [(name, np.float32) for name in (TRAINED if "JAXCONV_ALL" in os.environ else USUALLY_IN_FLOAT32)],
)
def test_a_port_trains_as_in_pytorch(name, dtype):
    port = PORTS[name]
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    module = network("twins", port).to(torch.float64 if dtype is np.float64 else torch.float32)
    exact = copy.deepcopy(module).double()
    model = blank(port, dtype)
    assert load_state_dict(model, module.state_dict(), flattened=port.flattened).ok
    inputs = [rng.normal(size=(STEPS, *shape)).astype(dtype) for shape in port.shapes]
    target = rng.normal(size=scores_of(module, inputs).shape).astype(dtype)
    got, expected = ours(port, model, inputs, target), theirs(module, inputs, target)

    found = distances(got, expected, dtype)
    assert found["scores at the start"][0] < found["scores at the start"][1]
    wrong = {key: f"{distance:.1e}" for key, (distance, tolerance) in found.items() if not distance < tolerance}
    if wrong and dtype is np.float32:
        # With a ReLU after batch norm over few pixels a rounding of a number that is nearly zero decides, and percents
        # follow: in PyTorch, too. Then the exact course decides, and ours must be as near to it as PyTorch's.
        exactly = theirs(exact, [x.astype(np.float64) for x in inputs], target.astype(np.float64))
        own, others = (
            max(distance for distance, _ in distances(as_float64(course), exactly, np.float64).values())
            for course in (got, expected)
        )
        assert own < 2 * others, (own, others, wrong)
        wrong = {}
    assert not wrong

    # And back: PyTorch takes what comes out, and computes what the port does.
    module.load_state_dict({key: torch.from_numpy(a) for key, a in got.state.items()}, strict=True)
    assert apart(got.after, scores_of(module, inputs)) < TOLERANCES[dtype][0]


def test_a_vocoder_takes_the_names_that_its_checkpoints_have():
    port = PORTS["hifigan"]
    new = network("twins", port).state_dict()
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in new.items()
    }
    assert "ups.1.weight_g" in old
    model = blank(port, np.float32)
    assert load_state_dict(model, old).ok
    for name, array in state_dict(model).items():
        np.testing.assert_array_equal(array, new[name].numpy(), err_msg=name)


def test_the_digits_network_trains_as_it_would_in_pytorch():
    torch.manual_seed(1)  # from seed 0 a rounding decides a maximum, and PyTorch leaves its own course in float64
    config = Model(channels=(16, 32, 64))
    module = DigitsNetwork(config.channels, config.kernel_size)
    model = Classifier(config, {"data_format": "channels_last"}, rngs=nnx.Rngs(0))
    load_state_dict(model, module.state_dict(), flattened={"linear": (config.channels[-1], 7, 7)})
    digits = load_digits(Data())
    order = np.random.default_rng(0).permutation(len(digits.train_labels))
    theirs_sgd = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    ours_sgd = nnx.Optimizer(model, optax.sgd(0.05, momentum=0.9), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, images, labels):
        def loss_fn(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

        loss, gradients = nnx.value_and_grad(loss_fn)(model)
        optimizer.update(model, gradients)
        return loss

    curves = []
    for number in range(20):
        batch = order[number * 32 : (number + 1) * 32]
        images = np.asarray(digits.train_images[batch], np.float32).reshape(-1, 28, 28, 1) / 128 - 0.5
        labels = np.asarray(digits.train_labels[batch]).astype(np.int64)
        theirs_sgd.zero_grad()
        scores = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels))
        loss.backward()
        theirs_sgd.step()
        curves.append((float(step(model, ours_sgd, images, labels)), loss.item()))
    ours_curve, theirs_curve = np.array(curves).T
    np.testing.assert_allclose(ours_curve, theirs_curve, rtol=1e-5)
    assert theirs_curve.min() < 0.8 * theirs_curve[0]


def test_a_port_runs_from_the_command_line(tmp_path, monkeypatch, capsys):
    port = PORTS["vgg"]
    path = tmp_path / "vgg.safetensors"
    save_file(network("twins", port).state_dict(), path)
    monkeypatch.setattr(sys, "argv", ["vgg", str(path)])
    cli.main(lambda rngs: network("examples.ports", port, rngs=rngs), (1, 12, 16, 3), flattened=port.flattened)
    out = capsys.readouterr().out
    assert out.startswith("loaded 12 arrays\n[[")
    monkeypatch.setattr(sys, "argv", ["vgg"])
    with pytest.raises(SystemExit, match=r"usage: vgg WEIGHTS\.safetensors"):
        cli.main(lambda rngs: None, (1, 3))
