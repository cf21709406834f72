"""What the tests of weights share."""

import pytest
import torch
from flax import nnx


@pytest.fixture(autouse=True)
def _quick(quick_compile):
    """Values are tested here, and not how fast they are computed."""


@pytest.fixture
def rngs():
    return nnx.Rngs(0)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
