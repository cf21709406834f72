"""Recurrent cells: the order of their gates, and their one or two biases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from weights import close, normal, step, there_and_back

import jaxconv.linen
import jaxconv.nnx
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


# --- layers of several cells ----------------------------------------------------------------------------------


def lstm(n, rngs):
    return nnx.RNN(nnx.OptimizedLSTMCell(n, 4, rngs=rngs))


def both_ways(n, rngs):
    return nnx.Bidirectional(lstm(n, rngs), lstm(n, rngs))


def simple(n, rngs):
    return nnx.RNN(nnx.SimpleCell(n, 4, rngs=rngs))


STACKS = {
    "both ways": (lambda: nn.LSTM(3, 4, batch_first=True, bidirectional=True), lambda r: both_ways(3, r)),
    "two, dropout between": (
        lambda: nn.LSTM(3, 4, 2, batch_first=True),
        lambda r: jaxconv.nnx.Sequential(lstm(3, r), nnx.Dropout(0.5, deterministic=True), lstm(4, r)),
    ),
    "three both ways": (
        lambda: nn.LSTM(3, 4, 3, batch_first=True, bidirectional=True),
        lambda r: jaxconv.nnx.Sequential({"a": both_ways(3, r), "b": both_ways(8, r), "c": both_ways(8, r)}),
    ),
    "two simple": (
        lambda: nn.RNN(3, 4, 2, batch_first=True),
        lambda r: nnx.Sequential(simple(3, r), simple(4, r)),
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_of_cells_is_one_layer_of_pytorch(name, rngs):
    theirs, ours = STACKS[name][0](), STACKS[name][1](rngs)
    load_state_dict(ours, theirs.state_dict())
    x = normal(2, 5, 3)
    expected = theirs(torch.from_numpy(x))[0]
    close(ours(x), expected)
    back = state_dict(ours)
    assert list(back) == list(theirs.state_dict())
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in back.items()}, strict=True)
    close(theirs(torch.from_numpy(x))[0].detach(), expected)


def test_a_cell_whose_weights_are_computed_is_refused(rngs):
    cell = nnx.OptimizedLSTMCell(3, 4, rngs=rngs)
    jaxconv.nnx.weight_norm(cell.dense_i)
    with pytest.raises(ValueError, match=r"module is a OptimizedLSTMCell whose dense_i computes its weight, .*remove_"):
        state_dict(cell)


def test_what_pytorch_cannot_stack_keeps_the_names_of_a_sequential(rngs):
    def rnn(*sizes, cell=nnx.OptimizedLSTMCell, **options):
        return nnx.RNN(cell(*sizes, rngs=rngs), **options)

    for layers in (
        (rnn(3, 4), rnn(4, 5)),  # of different widths
        (rnn(3, 4), rnn(4, 4, cell=nnx.SimpleCell)),
        (rnn(3, 4), rnn(4, 4, reverse=True)),
        (rnn(3, 4),),
        (rnn(3, 4), nnx.Linear(4, 4, rngs=rngs)),
    ):
        names = state_dict(nnx.Sequential(*layers))
        assert "0.weight_ih_l0" in names
        assert {name.partition(".")[0] for name in names} == {str(i) for i in range(len(layers))}
    unlike = nnx.Bidirectional(rnn(3, 4), rnn(3, 4, cell=nnx.SimpleCell))
    assert {"forward_rnn.weight_ih_l0", "backward_rnn.weight_ih_l0"} <= state_dict(unlike).keys()


class OfLinen(linen.Module):
    def setup(self):
        def rnn():
            return linen.RNN(linen.OptimizedLSTMCell(4))

        self.one = rnn()
        self.stack = linen.Sequential([linen.Bidirectional(rnn(), rnn()) for _ in range(2)])
        self.named = jaxconv.linen.Sequential(rnn(), linen.relu, rnn())

    def __call__(self, x):
        return self.named.layers[2](self.named.layers[0](self.stack(self.one(x))))


class OfPyTorch(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.LSTM(3, 4, batch_first=True)
        self.stack = nn.LSTM(4, 4, 2, batch_first=True, bidirectional=True)
        self.named = nn.LSTM(8, 4, 2, batch_first=True)

    def forward(self, x):
        return self.named(self.stack(self.one(x)[0])[0])[0]


def test_stacks_of_linen():
    theirs, ours, x = OfPyTorch(), OfLinen(), normal(2, 5, 3)
    variables = linen_from_state_dict(jax.eval_shape(ours.init, jax.random.key(0), x), theirs.state_dict())
    close(ours.apply(variables, x), theirs(torch.from_numpy(x)))
    assert set(linen_state_dict(variables)) == set(theirs.state_dict())
