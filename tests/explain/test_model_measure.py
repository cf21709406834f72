"""Layers timed by themselves, and the machine's ceilings."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from models import MODELS

import jaxconv
from jaxconv._explain import machine
from jaxconv._explain.machine import measured
from jaxconv._explain.model import measure
from jaxconv._explain.model.explanation import ModelExplanation
from jaxconv._explain.model.rerun import Rerun
from jaxconv.nnx import BatchNorm2d, Conv2d, MaxPool2d, Sequential

MACHINE = (4e11, 2e10)
pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture
def timed(monkeypatch):
    """What is timed, with the numbers 1, 2, 3 ... for times; the functions are traced and not compiled."""
    calls = []

    def median(function, *arguments):
        calls.append(jax.eval_shape(function, *arguments))
        return float(len(calls))

    monkeypatch.setattr(measure, "median", median)
    return calls


def shapes(tree):
    return [a.shape for a in jax.tree.leaves(tree)]


def test_each_layer_is_timed_with_its_gradients(timed):
    def make():
        rngs = nnx.Rngs(0)
        conv, again = (Conv2d(3, 3, 3, padding=1, rngs=rngs) for _ in range(2))
        return Sequential(conv, BatchNorm2d(3), nnx.relu, again, MaxPool2d(2), lambda x: x)

    explanation = jaxconv.explain(nnx.eval_shape(make), (2, 3, 8, 10), machine=MACHINE)
    assert explanation.measured() is None
    measured = explanation.measure()
    image, half, weights = (2, 3, 8, 10), (2, 3, 4, 5), [(3, 3, 3, 3), (3,)]
    found = [shapes(call) for call in timed]
    assert found[:1] == [[image]]
    assert found[1] == [image]
    assert sorted(found[2]) == sorted(weights)
    assert found[3:5] == [[image], [image]]
    assert found[5] == [(3,), (3,)]  # the running statistics are no parameters
    assert found[6:] == [[image], [image], [half], [image]]  # the second convolution is the first one again
    assert [row.measured for row in measured.rows] == [
        (1, 2, 3),
        (4, 5, 6),
        (7, 8, None),
        (1, 2, 3),
        (9, 10, None),
        None,
    ]
    assert explanation.rows == tuple(jaxconv.explain(nnx.eval_shape(make), image, machine=MACHINE).rows)
    given = measured.as_dict()
    assert json.loads(json.dumps(given)) == given
    assert given["rows"][0]["seconds_measured"] == {"output": 1, "input_gradient": 2, "parameters_gradient": 3}
    assert given["totals"]["seconds_measured"] == {"output": 22, "input_gradient": 27, "parameters_gradient": 12}
    text = str(measured)
    assert "22000 ms, gradients of the inputs 27000 ms, of the parameters 12000 ms" in text
    assert "d input" in text


@pytest.mark.parametrize("name", ["recurrent", "scanned", "rematerialised", "tied", "computed weight"])
def test_all_kinds_of_models_can_be_timed(name, timed):
    explanation = jaxconv.explain(MODELS[name].blank(), MODELS[name].shape, machine=MACHINE)
    for row in explanation.measure().rows:
        assert row.measured is None or row.measured[0] % row.times == 0


def test_what_is_timed_is_what_the_layer_computes():
    model = Sequential(Conv2d(3, 4, 3, rngs=nnx.Rngs(0)), nnx.silu, nnx.Linear(6, 5, rngs=nnx.Rngs(0)))
    explanation = jaxconv.explain(model, (2, 3, 7, 8), machine=MACHINE)
    x, rng = None, np.random.default_rng(0)
    for row, layer in zip(explanation.rows, model, strict=True):
        program = Rerun(row.unit)
        (value,), weights, others = program.groups
        x = jnp.asarray(rng.normal(size=value.shape), jnp.float32) if x is None else x
        state = nnx.state(layer) if isinstance(layer, nnx.Module) else {}
        by_shape = {a.shape: a for a in jax.tree.leaves(state)}
        parameters = [by_shape[v.shape] for v in weights]
        (y,) = program.output([x], parameters, [jnp.zeros(v.shape, v.dtype) for v in others])
        np.testing.assert_allclose(y, layer(x), rtol=1e-6)
        x = y


def test_times_are_times():
    measured = jaxconv.explain("Conv1d(3, 4, 3)", (2, 3, 9), machine=MACHINE).measure()
    assert len(measured.measured) == 3
    assert all(0 < t < 10 for t in measured.measured)
    assert "parameters gradient" in str(measured)
    given = measured.as_dict()["seconds_measured"]
    assert given == dict(zip(("output", "input_gradient", "parameters_gradient"), measured.measured, strict=True))
    pool = jaxconv.explain("MaxPool1d(2)", (2, 3, 9), machine=MACHINE).measure()
    assert pool.measured[2] is None
    assert "parameters gradient" not in str(pool)


def test_a_machine_is_measured_once(monkeypatch):
    monkeypatch.setattr(machine, "_SIDE", {"cpu": 64})
    monkeypatch.setattr(machine, "_COPIED", {"cpu": 1 << 12})
    monkeypatch.setattr(machine, "measured", measured)
    measured.cache_clear()
    first = measured("float32")
    assert measured("float32") is first
    assert 1e6 < first.flops < 1e15
    assert 1e6 < first.bytes < 1e15
    assert first.ridge == first.flops / first.bytes
    explanation = jaxconv.explain("Conv1d(3, 4, 3)", (2, 3, 9))
    assert explanation.machine is first
    model = jaxconv.explain(MODELS["one layer"].blank(), (2, 3))
    assert isinstance(model, ModelExplanation)
    assert model.machine is first
    measured.cache_clear()


def test_the_ceilings_of_a_machine():
    given = machine.Machine(100.0, 10.0)
    assert given.ridge == 10
    assert given.seconds(500, 10) == 10
    assert given.seconds(50, 1000) == 100
    assert given.ceiling(500, 10) == "arithmetic"
    assert given.ceiling(50, 10) == "memory"  # where both are as low
