"""Calls with something wrong in them: whatever is given, there is an answer or an error of jaxconv's own.

`python tools/fuzz.py spoiled` makes thousands of these, each in reach of a time limit.
"""

import inspect
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
import spoiled
from layer_cases import OF_OTHERS

import jaxconv
import jaxconv.linen
import jaxconv.nnx

# Flax warns of arguments that are no data.
pytestmark = pytest.mark.filterwarnings("ignore")

CALLS, PARTS = 400, 4


def test_every_function_and_layer_is_called():
    functions = {name for name, value in vars(jaxconv).items() if inspect.isfunction(value)} - set(spoiled.NOT_CALLED)
    layers = {f"nnx.{n}" for n in jaxconv.nnx.__all__} | {f"linen.{n}" for n in jaxconv.linen.__all__}
    # What is made of another layer, and what becomes one.
    others = {name for name in layers if ".Lazy" in name or name.split(".")[1] in OF_OTHERS}
    assert {subject.name for subject in spoiled.SUBJECTS} == functions | (layers - others)


@pytest.mark.parametrize("subject", spoiled.SUBJECTS, ids=lambda s: s.name)
def test_without_a_fault_each_of_them_answers(subject):
    assert spoiled.outcome(spoiled.Spoiled(subject, subject.arguments, "")) == "answers"


@pytest.mark.parametrize("part", range(PARTS))
def test_a_spoiled_call_is_answered_or_refused_by_us(part):
    outcomes = {}
    for seed in range(part, CALLS, PARTS):
        call = spoiled.draw(seed)
        outcomes[call.text] = spoiled.outcome(call)
    foreign = [f"{text} -> {what}" for text, what in outcomes.items() if what not in ("answers", "refuses")]
    assert not foreign, "\n".join(foreign)
    counts = Counter(outcomes.values())
    assert counts["refuses"] > 50
    assert counts["answers"] > 3


@pytest.mark.parametrize(
    "fails",
    [
        lambda: jnp.ones(2) + jnp.ones(3),
        lambda: jaxconv.conv1d(*(1,) * 9, 10, 11),
        lambda: np.zeros(2).reshape(3),
    ],
)
def test_an_error_of_another_library_is_told_apart(fails):
    subject = spoiled.Subject("fails", fails, {})
    assert spoiled.outcome(spoiled.Spoiled(subject, {}, "")).split()[0] in ("TypeError", "ValueError")
