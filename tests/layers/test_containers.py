"""`Sequential` against PyTorch's, in both shells: names, order, changes, what it prints and refuses."""

from collections import OrderedDict
from functools import partial
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from flax import nnx
from torch import nn as torch_nn
from weights import close, normal, there_and_back

import jaxconv.linen
from jaxconv.interop import linen_from_state_dict, linen_state_dict, state_dict
from jaxconv.nnx import Conv2d, Identity, MaxPool2d, Sequential

pytestmark = pytest.mark.usefixtures("quick_compile")


def both(seed=0):
    """The same network in PyTorch and here: numbers within names."""
    torch.manual_seed(seed)
    theirs = torch_nn.Sequential(
        OrderedDict(
            stem=torch_nn.Sequential(torch_nn.Conv2d(3, 4, 3), torch_nn.ReLU(), torch_nn.MaxPool2d(2)),
            nothing=torch_nn.Sequential(),
            keep=torch_nn.Identity(4),
            head=torch_nn.Conv2d(4, 2, (1, 2), bias=False),
        )
    )
    rngs = nnx.Rngs(seed)
    ours = Sequential(
        {
            "stem": Sequential(Conv2d(3, 4, 3, rngs=rngs), jax.nn.relu, MaxPool2d(2)),
            "nothing": Sequential(),
            "keep": Identity(4),
            "head": Conv2d(4, 2, (1, 2), bias=False, rngs=rngs),
        }
    )
    return theirs, ours


def in_linen():
    linen = jaxconv.linen
    return linen.Sequential(
        OrderedDict(
            stem=linen.Sequential(linen.Conv2d(3, 4, 3), jax.nn.relu, linen.MaxPool2d(2)),
            nothing=linen.Sequential(),
            keep=linen.Identity(4),
            head=linen.Conv2d(4, 2, (1, 2), bias=False),
        )
    )


def test_names_outputs_and_texts_are_pytorchs_in_both_shells():
    theirs, ours = both()
    there_and_back(theirs, ours)
    x = normal(2, 3, 7, 9)
    expected = theirs(torch.from_numpy(x))
    close(nnx.jit(lambda model, x: model(x))(ours, x), expected)
    linen = in_linen()
    variables = linen_from_state_dict(jax.eval_shape(linen.init, jax.random.key(0), x), theirs.state_dict())
    close(linen.apply(variables, x), expected)
    assert set(linen_state_dict(variables)) == set(theirs.state_dict())
    assert repr(ours) == str(ours) == repr(linen) == repr(theirs).replace("ReLU()", "relu")


def test_a_layer_is_found_by_number_by_slice_and_by_name():
    _, ours = both()
    assert len(ours) == 4
    assert list(ours) == [ours.stem, ours.nothing, ours.keep, ours.head]
    assert ours[0] is ours[-4] is ours.stem
    assert ours[0][1] is getattr(ours.stem, "1") is jax.nn.relu
    part = ours[::3]
    assert isinstance(part, Sequential)
    assert list(part) == [ours.stem, ours.head]
    assert part.head is ours.head
    linen = in_linen()
    assert len(linen) == 4
    assert linen[-1] is list(linen)[3]
    assert linen[1:3].names == ("nothing", "keep")


def changes(conv):
    """The changes that a Sequential is put through, as functions of it; `conv` makes a layer."""

    def by_attribute(model):
        model.first = conv()
        model.first = conv()

    return [
        lambda m: m.append(conv()).append(conv()),
        lambda m: m.extend([conv(), conv()]),
        lambda m: m.insert(1, conv()),
        lambda m: m.insert(-1, conv()),
        lambda m: m.insert(len(m), conv()),
        lambda m: m.add_module("last", conv()),
        by_attribute,
        lambda m: m.__setitem__(-1, conv()),
        lambda m: delattr(m, "last"),
        lambda m: m.__delitem__(slice(0, 2)),
        lambda m: m.__delitem__(0),
    ]


def test_changes_leave_the_names_and_the_order_that_pytorch_leaves():
    their_widths, our_widths = count(1), count(1)
    theirs, ours = torch_nn.Sequential(), Sequential()
    of_theirs = changes(lambda: torch_nn.Conv1d(1, next(their_widths), 1))
    of_ours = changes(lambda: Conv2d(1, next(our_widths), 1, rngs=nnx.Rngs(0)))
    for their, our in zip(of_theirs, of_ours, strict=True):
        their(theirs)
        our(ours)
        assert [name for name, _ in theirs.named_children()] == list(ours._names)
        assert [layer.out_channels for layer in theirs] == [layer.out_channels for layer in ours]
        assert set(state_dict(ours)) == set(theirs.state_dict())
        merged = nnx.merge(*nnx.split(ours))
        assert [layer.out_channels for layer in merged] == [layer.out_channels for layer in ours]
        assert nnx.split(merged)[0] == nnx.split(ours)[0]


def test_what_a_subclass_assigns_is_a_layer_functions_too():
    class Transition(Sequential):
        def __init__(self, rngs):
            super().__init__()
            self.kind, self.rngs = Conv2d, rngs  # a class and a source of keys are none
            self.scale = nnx.Param(jnp.ones(()))
            self.double = lambda x: 2 * x
            self.conv = Conv2d(2, 1, 1, rngs=rngs)

    model = Transition(nnx.Rngs(0))
    assert model._names == ("double", "conv")
    x = normal(1, 2, 3, 4)
    np.testing.assert_array_equal(model(x), model.conv(2 * x))


def test_twelve_layers_keep_their_order():
    model = nnx.merge(*nnx.split(Sequential(*(partial(jnp.add, i) for i in range(12)))))
    assert [layer.args[0] for layer in model] == list(range(12))


def test_what_is_given_by_name_reaches_the_layers_that_know_it():
    x = jnp.ones((4, 5))
    model = Sequential(nnx.Dropout(0.5), Sequential(nnx.relu, nnx.Dropout(0.5)))
    model.train()
    dropped = model(x, rngs=nnx.Rngs(dropout=0))
    assert set(np.unique(dropped)) == {0.0, 2.0, 4.0} or set(np.unique(dropped)) == {0.0, 4.0}
    np.testing.assert_array_equal(model(x, deterministic=True), x)
    model.eval()
    np.testing.assert_array_equal(model(x), x)
    with pytest.raises(TypeError, match="none of the layers has an argument 'determnistic'; did you mean 'determin"):
        model(x, determnistic=True)
    with pytest.raises(TypeError, match="none of the layers has an argument 'rngs'; they have none"):
        Sequential(jnp.tanh, max)(x, rngs=nnx.Rngs(0))

    linen = jaxconv.linen.Sequential(nn.Dropout(0.5), jaxconv.linen.Sequential(nn.Dropout(0.5)))
    np.testing.assert_array_equal(linen.apply({}, x, deterministic=True), x)
    assert linen.apply({}, x, deterministic=False, rngs={"dropout": jax.random.key(0)}).max() == 4


def test_a_tuple_is_handed_on_as_it_is():
    x = jnp.arange(3.0)
    assert Sequential(lambda x: (x, 2 * x), lambda pair: pair[1].sum())(x) == 6
    assert Sequential()(x) is x


def test_gradients_and_copies_of_a_sequential():
    theirs, ours = both()
    there_and_back(theirs, ours)
    x = normal(2, 3, 7, 9)
    theirs(torch.from_numpy(x)).square().sum().backward()
    gradients = nnx.jit(nnx.grad(lambda model, x: (model(x) ** 2).sum()))(ours, x)
    close(gradients["stem"]["0"]["weight"][...], theirs.stem[0].weight.grad, 1e-4)
    close(gradients["head"]["weight"][...], theirs.head.weight.grad, 1e-4)
    several = nnx.vmap(lambda rngs: Sequential(Conv2d(3, 2, 1, rngs=rngs), nnx.relu))(nnx.Rngs(0).split(3))
    together = nnx.vmap(lambda model, x: model(x), in_axes=(0, None))(several, x)
    assert together.shape == (3, 2, 2, 7, 9)


class InSetup(nn.Module):
    """Linen: layers that are made in `setup`, one of them twice."""

    def setup(self):
        conv = jaxconv.linen.Conv2d(3, 3, 1)
        self.body = jaxconv.linen.Sequential(conv, nn.relu, jaxconv.linen.Sequential(conv))

    def __call__(self, x):
        return self.body[2:](self.body[:2](x))


class InACompactMethod(nn.Module):
    @nn.compact
    def __call__(self, x):
        linen = jaxconv.linen
        x = linen.Sequential(linen.Conv2d(3, 4, 1, parent=None), nn.relu)(x)
        return linen.Sequential(linen.Conv2d(4, 2, 1), nn.relu)(x)


class Block(jaxconv.linen.Sequential):
    """A class of one's own, without a constructor."""


def test_a_class_derived_from_one_of_linen_is_made_as_that_is():
    linen, x = jaxconv.linen, normal(2, 3, 5, 4)
    block = Block(linen.Conv2d(3, 2, 1), Block({"act": nn.relu}))
    y, variables = block.init_with_output(jax.random.key(0), x)
    assert y.shape == (2, 2, 5, 4)
    assert set(linen_state_dict(variables)) == {"0.weight", "0.bias"}

    class Nothing(linen.Identity):
        pass

    assert Nothing(54, unused=0.1).apply({}, x) is x


def test_where_linen_puts_the_variables():
    x = normal(2, 3, 5, 4)
    for model, names in (
        (InSetup(), {"body.0.weight", "body.0.bias"}),
        (InACompactMethod(), {"Sequential_0.0.weight", "Sequential_0.0.bias", "Conv2d_0.weight", "Conv2d_0.bias"}),
    ):
        variables = model.init(jax.random.key(0), x)
        assert set(linen_state_dict(variables)) == names
        model.apply(variables, x)
    _, state = in_linen().init_with_output(jax.random.key(0), normal(2, 3, 7, 9), capture_intermediates=True)
    assert set(state["intermediates"]["stem"]) == {"0", "2", "__call__"}
    assert in_linen().copy() == in_linen()
