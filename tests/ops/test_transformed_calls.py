"""Sampled calls under JAX's transformations, against PyTorch; `python tools/fuzz.py agreement` makes thousands."""

import jax
import pytest

pytest.importorskip("torch")
import transformed
from side_by_side import Arr, call

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

CASES, PARTS = 80, 4


@pytest.mark.parametrize("part", range(PARTS))
def test_a_transformed_call_is_pytorchs(part):
    problems = [transformed.problem(transformed.draw(number)) for number in range(part, CASES, PARTS)]
    assert not any(problems), "\n".join(filter(None, problems))


@pytest.mark.parametrize("number", [783, 1314, 3378])
def test_where_pytorch_fails_at_a_derivative_the_value_is_compared(number):
    """Of an empty `pixel_shuffle`, of a layer norm with a bias alone, of an average of no windows."""
    case = transformed.draw(number)
    assert case.kind in ("forward", "second")
    assert transformed.problem(case) is None


def test_a_failure_of_jaxs_is_not_taken_for_pytorchs(monkeypatch):
    def fails(case, arrays):
        raise jax.errors.JaxRuntimeError("INTERNAL: of XLA")

    monkeypatch.setitem(transformed.KINDS, "second", fails)
    case = transformed.Case(call("conv2d", Arr((2, 4, 6, 5)), Arr((6, 2, 3, 2)), groups=2), "second", 0)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: of XLA"):
        transformed.problem(case)


def test_every_transformation_is_drawn():
    assert {transformed.draw(number).kind for number in range(CASES)} == {"plain", *transformed.KINDS}


def test_a_difference_is_seen(monkeypatch):
    case = transformed.Case(call("conv2d", Arr((2, 4, 6, 5)), Arr((6, 2, 3, 2)), groups=2), "vmap", 0)
    assert transformed.problem(case) is None
    monkeypatch.setitem(transformed.KINDS, "vmap", lambda case, arrays: ([arrays[0] + 1], [arrays[0]]))
    assert "output 0 is off by 1" in transformed.problem(case)
