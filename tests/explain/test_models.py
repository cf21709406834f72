"""Whole models explained: their rows and totals, that they stay as they are, and what they refuse."""

import contextlib
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from models import MODELS, Compiled, Shared, TwoInputs
from tabulated import tabulate

import jaxconv
from jaxconv.nnx import BatchNorm2d, Conv1d, Conv2d, Flatten, MaxPool2d, Sequential

MACHINE = (4e11, 2e10)
pytestmark = pytest.mark.usefixtures("quick_compile")
of_models = pytest.mark.parametrize("name", MODELS)


@functools.cache
def explained(name):
    case = MODELS[name]
    return jaxconv.explain(case.blank(), case.shape, machine=MACHINE)


@of_models
def test_rows_and_totals(name):
    case, explanation = MODELS[name], explained(name)
    rows = [f"{row.name} {row.kind if row.output_shape is not None else 'not called'}" for row in explanation.rows]
    assert rows == case.rows
    assert explanation.parameters == case.parameters
    assert explanation.multiply_accumulates == case.products
    assert explanation.opaque == ()


@of_models
def test_text_and_dictionary(name):
    explanation = explained(name)
    given = explanation.as_dict()
    assert json.loads(json.dumps(given)) == given
    assert sum(row["parameters"] for row in given["rows"]) == given["totals"]["parameters"]
    for key, whole in (
        ("parameters", explanation.parameters),
        ("multiply_accumulates", explanation.multiply_accumulates),
    ):
        assert sum(row[f"{key}_share"] for row in given["rows"]) == pytest.approx(float(whole > 0))
    text = str(explanation)
    assert text.isascii()
    for row in explanation.rows:
        assert row.kind in text
    assert f"{explanation.parameters:,}" in text


@pytest.mark.parametrize("name", [n for n, case in MODELS.items() if not n.endswith("linen")])
def test_the_parameters_are_those_that_flax_counts(name):
    case = MODELS[name]
    model = case.blank()
    if name == "lazy":

        def called():
            model = case.make()
            model(jnp.ones(case.shape))
            return model

        model = nnx.eval_shape(called)
    assert explained(name).parameters == sum(a.size for a in jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_a_table_of_flax_has_the_same_parameters():
    model = nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0)))
    text = tabulate(model, jnp.ones((2, 9, 8, 3)))
    assert "120 (480 B)" in text.split("Total")[1]
    assert jaxconv.explain(model, (2, 9, 8, 3), machine=MACHINE).parameters == 120


def test_a_model_stays_as_it_is():
    model = Compiled()
    classes = [type(module) for _, module in nnx.iter_modules(model)]
    attributes = [sorted(vars(module)) for _, module in nnx.iter_modules(model)]
    calls = [cls.__call__ for cls in classes]
    before = jax.tree.map(np.asarray, nnx.state(model))
    x = jnp.ones((1, 3, 20, 20))
    model(x)
    jaxconv.explain(model, x.shape)
    with pytest.raises(ValueError, match=re.escape("part.conv: input has 2 channels")):
        jaxconv.explain(model, (1, 2, 20, 20))
    assert [type(module) for _, module in nnx.iter_modules(model)] == classes
    assert [sorted(vars(module)) for _, module in nnx.iter_modules(model)] == attributes
    assert [cls.__call__ for cls in classes] == calls
    assert model.part.norm.use_running_average is False
    assert int(model.part.norm.num_batches_tracked[...]) == 2  # of the call, and none of the explanations
    assert jax.tree.structure(before) == jax.tree.structure(nnx.state(model))
    assert str(jaxconv.explain(model, x.shape, machine=MACHINE)) == str(
        jaxconv.explain(model, x.shape, machine=MACHINE)
    )


def test_keys_are_not_drawn():
    model = Sequential(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    jaxconv.explain(model, (2, 3))
    assert int(model[0].rngs.count[...]) == 0


def test_nothing_is_computed(monkeypatch):
    model = nnx.eval_shape(lambda: Sequential(*(Conv2d(4096, 4096, 3, padding=1, rngs=nnx.Rngs(0)) for _ in range(20))))
    monkeypatch.setattr(jax, "jit", lambda *args, **kwargs: pytest.fail("something is compiled"))
    explanation = jaxconv.explain(model, (256, 4096, 128, 128), machine=MACHINE)
    assert explanation.parameters == 20 * (4096 * 4096 * 9 + 4096)
    assert explanation.multiply_accumulates == 20 * 256 * 128 * 128 * 4096 * 4096 * 9


def test_a_model_is_explained_in_evaluation():
    # In training it would refuse a single value per channel.
    model = nnx.eval_shape(lambda: Sequential(Conv2d(3, 4, 3, rngs=nnx.Rngs(0)), BatchNorm2d(4)))
    assert jaxconv.explain(model, (1, 3, 3, 3), machine=MACHINE).rows[1].output_shape == (1, 4, 1, 1)


def test_a_row_has_its_own_numbers():
    explanation = jaxconv.explain(nnx.eval_shape(Shared), (1, 3, 9, 11), machine=(1e9, 1e9))
    first, second = explanation.rows[:2]
    assert first.layer == "Conv2d(3, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"
    assert (first.parameters, second.parameters) == (84, 0)
    assert (first.receptive_field, second.receptive_field) == ((3, 3), (5, 5))
    assert first.bytes == 4 * (297 + 297 + 84)
    assert first.intensity == 2 * 8019 / first.bytes
    row = explanation.as_dict()["rows"][0]
    assert row["ceiling"] == "arithmetic"
    assert row["seconds_at_least"] == pytest.approx(2 * 8019 / 1e9)
    of_layer = jaxconv.explain(first.layer, (1, 3, 9, 11), machine=(1e9, 1e9))
    assert first.ops == of_layer.ops
    assert first.intensity == of_layer.intensity
    assert of_layer.ceiling == "arithmetic"


def test_dtypes_count_their_bytes():
    model = nnx.eval_shape(lambda: Sequential(Conv1d(3, 4, 3, dtype="bfloat16", bias=False, rngs=nnx.Rngs(0))))
    explanation = jaxconv.explain(model, jax.ShapeDtypeStruct((2, 3, 8), jnp.float16), machine=MACHINE)
    assert explanation.rows[0].bytes == 2 * 48 + 2 * 48 + 4 * 36
    assert explanation.dtype == "bfloat16"


def test_an_empty_batch_costs_nothing():
    def make():
        rngs = nnx.Rngs(0)
        return Sequential(Conv2d(3, 4, 3, rngs=rngs), nnx.relu, MaxPool2d(2), Flatten(), nnx.Linear(48, 2, rngs=rngs))

    explanation = jaxconv.explain(nnx.eval_shape(make), (0, 3, 8, 10), machine=MACHINE)
    assert explanation.multiply_accumulates == 0
    assert [row.output_shape for row in explanation.rows][2:] == [(0, 4, 3, 4), (0, 48), (0, 2)]
    assert "0 FLOP" in str(explanation)


def test_a_call_takes_more_arguments():
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x, *, scale):
            return nn.Dense(3)(x) * scale

    assert jaxconv.explain(Scaled(), (2, 4), machine=MACHINE, scale=2.0).multiply_accumulates == 24
    with pytest.raises(TypeError, match=re.escape("missing 1 required keyword-only argument: 'scale'")):
        jaxconv.explain(Scaled(), (2, 4))
    with pytest.raises(TypeError, match=re.escape("takes no argument 'scale' for a layer, only for a model")):
        jaxconv.explain("Conv1d(1, 1, 1)", (1, 1, 1), scale=2.0)


class Failing(nnx.Module):
    """What one of its layers raises it lets pass; then it raises something else."""

    def __init__(self):
        self.linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))

    def __call__(self, x):
        with contextlib.suppress(TypeError):
            self.linear(x)
        raise KeyError("mine")


@pytest.mark.parametrize(
    ("model", "shape", "error", "message"),
    [
        (
            lambda: nnx.eval_shape(
                lambda: Sequential(Conv2d(3, 4, 3, rngs=nnx.Rngs(0)), Sequential(Conv2d(5, 4, 3, rngs=nnx.Rngs(0))))
            ),
            (2, 3, 8, 6),
            ValueError,
            "1.0: input has 4 channels, and a weight of shape (4, 5, 3, 3)",
        ),
        (Failing, (2, 5), ValueError, "Failing: KeyError: 'mine'"),
        (
            lambda: nnx.eval_shape(TwoInputs),
            (2, 3),
            TypeError,
            "TwoInputs: TwoInputs.__call__() missing 1 required positional argument: 'y'",
        ),
        (lambda: nn.Conv(3, 4), 3, TypeError, "input_shape must be a shape such as (1, 3, 224, 224), an array or"),
        (lambda: nnx.eval_shape(Shared), (2, "3"), TypeError, "input_shape[1] must be an integer, got '3' of type str"),
        (lambda: nnx.eval_shape(Shared), [(2, 3), "3"], TypeError, "input_shape[1] must be a shape"),
        (
            lambda: nnx.eval_shape(Shared),
            {"x": (2, -3)},
            ValueError,
            "input_shape['x'][1] must be zero or positive, got -3",
        ),
        (lambda: nn.Dense(-1), (2, 3), TypeError, "Dense: Only non-negative indices are allowed"),
    ],
)
def test_what_a_model_refuses_has_its_path_in_front(model, shape, error, message):
    with pytest.raises(error) as refused:
        jaxconv.explain(model(), shape)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("machine", "error", "message"),
    [
        (3, TypeError, "machine must be FLOP/s and bytes/s, such as (4e11, 2e10), got 3 of type int"),
        ((1, "2"), TypeError, "machine must be FLOP/s and bytes/s"),
        ((1, 0), ValueError, "machine must be two positive numbers, such as (4e11, 2e10), got (1, 0)"),
    ],
)
def test_a_machine_that_is_none_is_refused(machine, error, message):
    for layer in ("Conv1d(1, 1, 1)", nn.Dense(3)):
        with pytest.raises(error) as refused:
            jaxconv.explain(layer, (1, 1, 1), machine=machine)
        assert message in str(refused.value)
