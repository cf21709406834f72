"""The tables of docs/migration.md: every layer of torch.nn stands in them, and what they say is so."""

import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch import nn

import jaxconv.linen
import jaxconv.nnx
from jaxconv import init

PAGE = (Path(__file__).parents[2] / "docs/migration.md").read_text()
TORCH = {n for n, v in vars(nn).items() if inspect.isclass(v) and issubclass(v, nn.Module)}
WORDS = {"nnx": nnx, "jax": jax, "jnp": jnp, "optax": optax, "nn": nn}


def rows(heading):
    """The rows of the table under a heading, each a list of cells."""
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, heading
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def torch_names(cell):
    return re.findall(r"`nn\.(\w+)", cell)


SAME = rows("The same name in `jaxconv.nnx` and `jaxconv.linen`")
FUNCTIONS = [cells[:2] for cells in rows("Functions of an array")]
LOSSES = [cells[:2] for cells in rows("Losses")]
OTHERS = rows("In Flax, in other words, or not at all")


def test_every_layer_of_pytorch_has_its_row():
    named = [{name for cells in table for name in torch_names(cells[0])} for table in (SAME, FUNCTIONS, LOSSES, OTHERS)]
    assert set().union(*named) == TORCH
    assert sum(map(len, named)) == len(TORCH)  # and one alone


def test_the_layers_of_the_same_name_are_there():
    named = {name for cells in SAME for name in torch_names(cells[0])}
    assert named == TORCH & set(jaxconv.nnx.__all__)
    assert {name for name in named if not name.startswith("Lazy")} == TORCH & set(jaxconv.linen.__all__)


def test_what_other_cells_name_exists():
    for cells in OTHERS:
        for code in re.findall(r"`([^`]+)`", cells[1]):
            for word in re.findall(r"\b((?:nnx|jax|jnp|optax|nn)(?:\.\w+)+)|^(\w+)\b(?=\(|$)", code):
                path = word[0] or word[1]
                if path in ("Lazy", "num_features", "in_features", "padding_idx", "forward", "jnp"):
                    continue  # names of arguments, and of what is told
                found = WORDS.get(path.split(".")[0], jaxconv.nnx)
                for part in path.split(".")[1 if path.split(".")[0] in WORDS else 0 :]:
                    found = getattr(found, part)
    for name in re.findall(r"`jaxconv\.init`|`init\.(\w+)`", PAGE):
        assert not name or hasattr(init, name)


def first_code(cell):
    return re.match(r"`([^`]+)`", cell)[1]


@pytest.mark.parametrize(("theirs", "ours"), FUNCTIONS, ids=[first_code(cells[0]) for cells in FUNCTIONS])
def test_a_function_is_pytorchs(theirs, ours):
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32) * 4
    expected = eval(first_code(theirs), {"nn": nn}).eval()(torch.from_numpy(x))
    found = eval(first_code(ours), dict(WORDS))(jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def targets(name, rng):
    """A prediction and a target of a loss."""
    x, y = rng.normal(size=(2, 5, 4)).astype(np.float32)
    if name in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"):
        y = rng.integers(0, 4, 5)
    elif name in ("SoftMarginLoss", "HingeEmbeddingLoss"):
        y = np.sign(y)
    elif name.startswith(("BCE", "MultiLabel", "KLDiv")):
        y = (0.1 + rng.random((5, 4)) * 0.8).astype(np.float32)
        x = y[::-1].copy() if name == "BCELoss" else x
    return x, y


@pytest.mark.parametrize(("theirs", "ours"), LOSSES, ids=[first_code(cells[0]) for cells in LOSSES])
@pytest.mark.filterwarnings("ignore:reduction")  # PyTorch's, of the mean of KLDivLoss
def test_a_loss_is_pytorchs(theirs, ours):
    x, y = targets(torch_names(theirs)[0], np.random.default_rng(0))
    expected = eval(first_code(theirs), {"nn": nn})(torch.from_numpy(x), torch.from_numpy(y))
    found = eval(first_code(ours), {**WORDS, "x": jnp.asarray(x), "y": jnp.asarray(y)})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
