"""The ported networks give PyTorch's scores and gradients, before training and after it."""

import copy
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch_networks
from flax import nnx
from safetensors.torch import save_file

from examples.ports import cli, mobilenet, resnet, unet, vgg, xception
from examples.trainer.config import Data, Model
from examples.trainer.data import load_digits
from examples.trainer.model import Classifier
from jaxconv.interop import load_state_dict, state_dict

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

TOLERANCE = {np.float32: 1e-4, np.float64: 1e-10}
MOBILENET = {"setting": ((1, 4, 1, 1), (3, 4, 2, 2), (3, 6, 2, 1)), "stem": 4, "last": 12, "dropout": 0.0}
VGG = {"setting": (4, "M", 6, 6, "M"), "side": 3, "hidden": 8, "dropout": 0.0}
XCEPTION = {"stem": 4, "widths": (6, 8)}
UNET = {"widths": (4, 6, 8)}


class Port(NamedTuple):
    ours: type
    theirs: type
    arguments: dict
    shape: tuple
    flattened: dict | None = None


PORTS = {
    "resnet": Port(resnet.ResNet18, torch_networks.ResNet18, {"num_classes": 5, "width": 4}, (6, 3, 64, 48)),
    "mobilenet": Port(
        mobilenet.MobileNetV2, torch_networks.MobileNetV2, {"num_classes": 5, **MOBILENET}, (6, 3, 17, 16)
    ),
    "unet": Port(unet.UNet, torch_networks.UNet, {"in_channels": 2, "num_classes": 3, **UNET}, (2, 2, 13, 18)),
    "xception": Port(xception.Xception, torch_networks.Xception, {"num_classes": 5, **XCEPTION}, (6, 3, 29, 32)),
    "vgg": Port(vgg.VGG, torch_networks.VGG, {"num_classes": 5, **VGG}, (4, 3, 12, 16), {"classifier.0": (6, 3, 3)}),
}


def as_ours(port, x):
    """The image in the layout that the port takes."""
    return x.transpose(0, 2, 3, 1) if port.flattened else x


def blank(port, dtype):
    """The port without values, all of which are to come from PyTorch; in float64 it is PyTorch's `model.double()`."""
    model = nnx.eval_shape(lambda: port.ours(**port.arguments, rngs=nnx.Rngs(0)))
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    nnx.update(model, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), state))
    for rngs in (m.rngs for _, m in nnx.iter_modules(model) if isinstance(m, nnx.Dropout)):
        nnx.update(rngs, nnx.state(nnx.Rngs(0)["default"]))
    return model


def loss_of_theirs(model, x, y):
    """The mean cross entropy over images, or over pixels."""
    return torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))


def theirs(model, x, y):
    """Scores of the model as it is used; the loss and its gradients as it is trained."""
    model.eval()
    with torch.no_grad():
        scores = model(torch.from_numpy(x)).numpy()
    model.train()
    model.zero_grad()
    loss = loss_of_theirs(model, x, y)
    loss.backward()
    return scores, loss.item(), {name: p.grad.numpy().copy() for name, p in model.named_parameters()}


@nnx.jit
def ours(model, x, y):
    """The same of our model. The gradients are written into a model, so that they too go out by PyTorch's names."""

    def loss_fn(model):
        scores = model(x)
        scores = jnp.moveaxis(scores, 1, -1)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    model.eval()
    scores = model(x)
    model.train()
    loss, gradients = nnx.value_and_grad(loss_fn)(model)
    return scores, loss, gradients


def compare(port, module, model, x, y, tolerance):
    """Loads `module`'s weights into `model`; then all they compute agrees."""
    copied = copy.deepcopy(module)  # a forward pass in training mode moves the running statistics
    scores, loss, gradients = theirs(copied, x, y)
    assert load_state_dict(model, module.state_dict(), flattened=port.flattened).ok
    our_scores, our_loss, our_gradients = ours(model, as_ours(port, x), y)
    assert our_scores.dtype == x.dtype
    apart(our_scores, scores, tolerance, "scores")
    apart(our_loss, loss, tolerance, "loss")
    nnx.update(model, our_gradients)
    named = state_dict(model, flattened=port.flattened)
    largest = max(np.abs(g).max() for g in gradients.values())
    for name, gradient in gradients.items():
        # Of gradients that are zero but for rounding there is nothing to compare but that they are.
        apart(named[name], gradient, tolerance, name, floor=1e-2 * largest)


def apart(got, expected, tolerance, name, floor=0.0):
    got, expected = np.asarray(got), np.asarray(expected)
    difference = np.abs(got - expected).max() / max(np.abs(expected).max(), floor)
    assert difference < tolerance, f"{name} is {difference:.1e} apart"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PORTS)
def test_a_port_agrees_with_pytorch_before_and_after_training(name, dtype):
    port = PORTS[name]
    # A seed for which no activation lies so near a kink that float32 takes the other side of it: from one that does,
    # PyTorch's own float32 gradients are percents away from its float64 ones.
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    module = port.theirs(**port.arguments).to(torch.float64 if dtype is np.float64 else torch.float32)
    model = blank(port, dtype)
    x = rng.normal(size=port.shape).astype(dtype)
    y = rng.integers(0, 3, size=(len(x), *port.shape[2:]) if name == "unet" else len(x))
    compare(port, module, model, x, y, TOLERANCE[dtype])

    optimiser = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(10):
        optimiser.zero_grad()
        loss_of_theirs(module.train(), rng.normal(size=port.shape).astype(dtype), y).backward()
        optimiser.step()
    before = {n: p.clone() for n, p in module.state_dict().items()}
    compare(port, module, model, x, y, TOLERANCE[dtype])

    # And back: PyTorch takes what comes out, and it is what went in.
    load_state_dict(model, module.state_dict(), flattened=port.flattened)
    back = state_dict(model, flattened=port.flattened)
    module.load_state_dict({n: torch.from_numpy(a) for n, a in back.items()}, strict=True)
    for tensor_name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[tensor_name]), tensor_name


@pytest.mark.slow
def test_the_digits_network_trains_as_it_would_in_pytorch():
    torch.manual_seed(1)  # from seed 0 a rounding decides a maximum, and PyTorch leaves its own course in float64
    config = Model(channels=(16, 32, 64))
    module = torch_networks.DigitsNetwork(config.channels, config.kernel_size)
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
        loss = loss_of_theirs(module, images.transpose(0, 3, 1, 2).copy(), labels)
        loss.backward()
        theirs_sgd.step()
        curves.append((float(step(model, ours_sgd, images, labels)), loss.item()))
    ours_curve, theirs_curve = np.array(curves).T
    np.testing.assert_allclose(ours_curve, theirs_curve, rtol=1e-5)
    assert theirs_curve.min() < 0.8 * theirs_curve[0]


def test_a_port_runs_from_the_command_line(tmp_path, monkeypatch, capsys):
    port = PORTS["vgg"]
    path = tmp_path / "vgg.safetensors"
    save_file(port.theirs(**port.arguments).state_dict(), path)
    monkeypatch.setattr(sys, "argv", ["vgg", str(path)])
    cli.main(lambda rngs: port.ours(**port.arguments, rngs=rngs), (1, 12, 16, 3), flattened=port.flattened)
    out = capsys.readouterr().out
    assert out.startswith("loaded 12 arrays\n[[")
    monkeypatch.setattr(sys, "argv", ["vgg"])
    with pytest.raises(SystemExit, match=r"usage: vgg WEIGHTS\.safetensors"):
        cli.main(lambda rngs: None, (1, 3))
