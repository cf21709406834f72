"""The layers that rearrange an array: what `Flatten` refuses."""

import jax.numpy as jnp
import pytest

import jaxconv.nnx


def test_flatten_takes_axes_of_the_input_in_their_order():
    with pytest.raises(ValueError, match="start_dim must not come after end_dim, got 2 and 1"):
        jaxconv.nnx.Flatten(2, 1)(jnp.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="start_dim must be an axis of the input, from -3 to 2, got 3"):
        jaxconv.nnx.Flatten(3)(jnp.ones((2, 3, 4)))
