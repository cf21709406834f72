"""What tests of weights compare: layers of PyTorch and ours, and a module with a state dict that fits it."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn
from torch_side import to_numpy

from jaxconv.interop import load_state_dict, state_dict
from jaxconv.nnx import Conv2d

MOVED = (0, 2, 3, 1)  # channels first → channels last


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def randomised(module):
    """The module with statistics that are not those of a fresh one."""
    for buffer in module.buffers():
        buffer.copy_(torch.rand_like(buffer) + 0.5 if buffer.is_floating_point() else torch.full_like(buffer, 3))
    return module.eval()


def there_and_back(theirs, ours):
    """PyTorch → ours → PyTorch: the same names in PyTorch's order of values, each bit the same."""
    state = theirs.state_dict()
    report = load_state_dict(ours, state)
    assert report.ok
    assert set(report.loaded) == set(state)
    back = state_dict(ours)
    assert list(back) == list(state) or set(back) == set(state)
    for name, tensor in state.items():
        assert back[name].dtype == to_numpy(tensor).dtype, name
        assert back[name].tobytes() == to_numpy(tensor).tobytes(), name
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    theirs.load_state_dict(other)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in back.items()}, strict=True)
    return back


def close(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def step(theirs, ours, x):
    """One step from the state of ones: the hidden state of both."""
    hidden = torch.ones(len(x), 4)
    if isinstance(theirs, nn.LSTMCell):
        return ours((jnp.ones((len(x), 4)),) * 2, x)[1], theirs(torch.from_numpy(x), (hidden, hidden))[0]
    return ours(jnp.ones((len(x), 4)), x)[1], theirs(torch.from_numpy(x), hidden)


def module(rngs=None):
    rngs = rngs or nnx.Rngs(0)
    return nnx.Sequential(Conv2d(2, 3, 3, rngs=rngs), nnx.relu, nnx.Linear(3, 2, rngs=rngs))


def good():
    return {name: np.full_like(array, 0.5) for name, array in state_dict(module()).items()}


def unchanged(source, error, match, **arguments):
    """The error is raised, and the module is as it was."""
    ours = module()
    before = state_dict(ours)
    with pytest.raises(error, match=match):
        load_state_dict(ours, source, **arguments)
    after = state_dict(ours)
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())
