"""Recurrent cells: the order of their gates, and their one or two biases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from weights import close, normal, step, there_and_back

from jaxconv.interop import (
    linen_from_state_dict,
    linen_state_dict,
    load_state_dict,
    state_dict,
)

CELLS = {
    "LSTMCell": (nn.LSTMCell, nnx.LSTMCell),
    "OptimizedLSTMCell": (nn.LSTMCell, nnx.OptimizedLSTMCell),
    "GRUCell": (nn.GRUCell, nnx.GRUCell),
    "SimpleCell": (nn.RNNCell, nnx.SimpleCell),
}


@pytest.mark.parametrize("name", CELLS)
def test_the_gates_of_a_cell(name, rngs):
    make_theirs, make_ours = CELLS[name]
    theirs, ours = make_theirs(3, 4), make_ours(3, 4, rngs=rngs)
    state = theirs.state_dict()
    if name == "GRUCell":
        state["bias_hh"][8:] = 0  # what a bias inside the reset gate would add
    load_state_dict(ours, state)
    close(*step(theirs, ours, normal(2, 3)))
    # What comes out is the same cell to PyTorch, by other biases of the same sum.
    back = state_dict(ours)
    np.testing.assert_array_equal(back["weight_ih"], state["weight_ih"])
    np.testing.assert_array_equal(back["weight_hh"], state["weight_hh"])
    np.testing.assert_array_equal(back["bias_ih"] + back["bias_hh"], state["bias_ih"] + state["bias_hh"])
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in back.items()})
    close(*step(theirs, ours, normal(2, 3)))


@pytest.mark.parametrize(("name", "gates"), [("OptimizedLSTMCell", 4), ("GRUCell", 3), ("SimpleCell", 1)])
def test_a_cell_with_two_biases_keeps_both(name, gates, rngs):
    make_theirs, make_ours = CELLS[name]
    theirs, ours = make_theirs(3, 4), make_ours(3, 4, rngs=rngs)
    ours.dense_i = nnx.Linear(3, gates * 4, rngs=rngs)
    ours.dense_h = nnx.Linear(4, gates * 4, rngs=rngs)
    there_and_back(theirs, ours)
    close(*step(theirs, ours, normal(2, 3)))


def test_a_gru_cell_refuses_the_bias_it_cannot_hold_and_says_how_it_could(rngs):
    theirs, ours = nn.GRUCell(3, 4), nnx.GRUCell(3, 4, rngs=rngs)
    before = state_dict(ours)
    with pytest.raises(ValueError, match=r"bias_ih, bias_hh: gate 3 .*cell\.dense_h = nnx\.Linear\(4, 12, rngs=rngs\)"):
        load_state_dict(ours, theirs.state_dict())
    assert all((before[n] == a).all() for n, a in state_dict(ours).items())
    ours.dense_h = nnx.Linear(4, 12, rngs=rngs)
    load_state_dict(ours, theirs.state_dict())
    close(*step(theirs, ours, normal(2, 3)))


def test_an_rnn_of_a_cell_is_a_layer_of_pytorch(rngs):
    theirs, ours = nn.LSTM(3, 4, batch_first=True), nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=rngs), rngs=rngs)
    load_state_dict(ours, theirs.state_dict())
    x = normal(2, 5, 3)
    close(ours(x), theirs(torch.from_numpy(x))[0])
    assert set(state_dict(ours)) == set(theirs.state_dict())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (nn.LSTMCell(3, 4), linen.LSTMCell(4)),
        (nn.LSTMCell(3, 4), linen.OptimizedLSTMCell(4)),
        (nn.GRUCell(3, 4), linen.GRUCell(4)),
    ],
    ids=lambda m: type(m).__name__,
)
def test_the_cells_of_linen(theirs, ours):
    x = normal(2, 3)
    ones = (jnp.ones((2, 4)),) * 2 if isinstance(theirs, nn.LSTMCell) else jnp.ones((2, 4))
    variables = linen_from_state_dict(jax.eval_shape(ours.init, jax.random.key(0), ones, x), theirs.state_dict())
    close(*step(theirs, lambda carry, x: ours.apply(variables, carry, x), x))
    back = linen_state_dict(variables)
    np.testing.assert_array_equal(back["weight_hh"], theirs.weight_hh.detach())
