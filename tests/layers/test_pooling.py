"""The pooling layers: what they refuse when they are made."""

import pytest

import jaxconv.nnx


def test_indices_are_not_returned():
    with pytest.raises(ValueError, match="return_indices=True is not supported"):
        jaxconv.nnx.MaxPool2d(3, 2, 1, 1, True)
