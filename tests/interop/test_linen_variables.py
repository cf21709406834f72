"""The variables of Linen modules, with PyTorch as the judge."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn
from weights import close, normal, randomised

import jaxconv.linen
from jaxconv.interop import (
    linen_from_state_dict,
    linen_state_dict,
)


class LinenNet(linen.Module):
    def setup(self):
        self.stem = linen.Sequential([jaxconv.linen.Conv2d(3, 4, 3), linen.BatchNorm(True, axis=1), linen.relu])
        self.blocks = [jaxconv.linen.Conv2d(4, 4, 1) for _ in range(2)]
        self.head = linen.Dense(5)

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.reshape(len(x), -1))


class TorchLinenNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(2)])
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.flatten(1))


def test_a_linen_module_gives_pytorchs_output_and_its_weights_return():
    theirs, ours, x = randomised(TorchLinenNet()), LinenNet(), normal(2, 3, 4, 4)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), x)
    variables = linen_from_state_dict(shapes, theirs.state_dict())
    close(ours.apply(variables, x), theirs(torch.from_numpy(x)))
    back = linen_state_dict(variables)
    assert set(back) == set(theirs.state_dict())
    for name, array in back.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(array, theirs.state_dict()[name])
    renamed = linen_state_dict(variables, rename={"head": "fc"})
    assert "fc.weight" in renamed
    assert linen_state_dict(linen_from_state_dict(variables, renamed, rename={"fc": "head"})).keys() == back.keys()


def test_a_state_dict_that_does_not_fit_a_linen_module():
    variables = {"params": {"Conv2d_0": {"weight": jnp.ones((2, 2, 1, 1))}}, "cache": {"x": jnp.ones(1)}}
    with pytest.raises(ValueError, match=r"(?s)missing \(1\):\n    Conv2d_0.weight\nunexpected \(1\):\n    other"):
        linen_from_state_dict(variables, {"other": np.ones(1)})
    assert linen_from_state_dict(variables, {"other": np.ones(1)}, strict=False) == variables
    assert float(variables["params"]["Conv2d_0"]["weight"].sum()) == 4.0


def test_other_layers_of_linen():
    cases = [
        (nn.Embedding(7, 4), linen.Embed(7, 4), jnp.array([1, 2]), torch.tensor([1, 2])),
        (nn.LayerNorm(5), linen.LayerNorm(epsilon=1e-5), normal(2, 5), torch.from_numpy(normal(2, 5))),
        (nn.PReLU(), linen.PReLU(), normal(2, 5), torch.from_numpy(normal(2, 5))),
        (
            nn.Conv1d(5, 4, 3),
            linen.Conv(4, (3,), padding="VALID"),
            normal(2, 6, 5),
            torch.from_numpy(normal(2, 6, 5)).mT,
        ),
    ]
    for theirs, ours, x, their_x in cases:
        variables = linen_from_state_dict(jax.eval_shape(ours.init, jax.random.key(0), x), theirs.state_dict())
        expected = theirs(their_x)
        close(ours.apply(variables, x), expected.mT if isinstance(theirs, nn.Conv1d) else expected)


def test_partitioned_and_frozen_variables_stay_so():
    from flax.core import FrozenDict, freeze

    ours = linen.Dense(2, kernel_init=linen.with_partitioning(linen.initializers.ones, ("a", None)))
    variables = freeze(ours.init(jax.random.key(0), jnp.ones((1, 3))))
    new = linen_from_state_dict(variables, {"weight": np.zeros((2, 3)), "bias": np.ones(2, ml_dtypes.bfloat16)})
    assert isinstance(new, FrozenDict)
    assert isinstance(new["params"]["kernel"], linen.Partitioned)
    assert linen_state_dict(new)["weight"].shape == (2, 3)
    assert float(linen_state_dict(new)["weight"].sum()) == 0
