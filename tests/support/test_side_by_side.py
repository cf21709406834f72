"""The comparison of a call in PyTorch and here tells every difference, of functions with several outputs too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv

torch = pytest.importorskip("torch")
# They import torch, too.
import side_by_side  # noqa: E402
import torch_side  # noqa: E402
from side_by_side import Arr, call  # noqa: E402

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")


@pytest.fixture
def told(monkeypatch):
    """What is told of a function against another one of PyTorch, both called `f`."""

    def compare(ours, theirs, *arrays, **kwargs):
        monkeypatch.setattr(jaxconv, "f", ours, raising=False)
        monkeypatch.setattr(torch.nn.functional, "f", theirs, raising=False)
        return side_by_side.compare([call("f", *arrays, **kwargs)])

    return compare


X = Arr((3, 4))


def largest(x, scale):
    value, index = torch.max(x * scale, 1)
    return value, index, x.detach().sum()


def ours(x, scale, *, at=0, dtype="int64", slope=1.0, total=1.0):
    y = x * scale
    index = jnp.argmax(y, 1)
    value = jnp.take_along_axis(y, index[:, None], 1)[:, 0]
    return value + (slope - 1) * (x - jax.lax.stop_gradient(x)).sum(1), (index + at).astype(dtype), x.sum() * total


def test_every_output_is_compared_and_so_are_the_gradients(told):
    assert told(ours, largest, X, X) == []
    for wrong, words in (
        ({"at": 1}, "output 1 differs"),
        ({"dtype": "int32"}, "'int32'"),
        ({"total": 1.1}, "output 2 is off"),
    ):
        (line,) = told(lambda x, s, wrong=wrong: ours(x, s, **wrong), largest, X, X)
        assert words in line
    # The same numbers with other gradients, which are of the outputs that PyTorch differentiates, and of no others.
    (line,) = told(lambda x, s: ours(x, s, slope=2.0), largest, X, X)
    assert "gradient of array 0" in line


@pytest.mark.parametrize(
    "fewer", [lambda x, s: ours(x, s)[:2], lambda x, s: ours(x, s)[0], lambda x, s: ours(x, s)[:1]]
)
def test_the_number_of_outputs_is_compared(told, fewer):
    (line,) = told(fewer, largest, X, X)
    assert "in place of PyTorch's" in line
    (line,) = told(fewer, lambda x, s: (*largest(x, s)[:2], None), X, X)
    assert "in place of PyTorch's" in line


def test_an_output_may_be_none(told):
    assert told(lambda x: (x + x, None), lambda x: (2 * x, None), X) == []


def test_integers_among_the_arrays_have_no_gradient(told):
    positions = Arr((3, 2), "int64", below=4)
    assert all(0 <= n < 4 for n in side_by_side.arrays_of(call("f", positions))[0].ravel())
    gather = lambda x, i: jnp.take_along_axis(x, i, 1)  # noqa: E731
    assert told(gather, lambda x, i: torch.gather(x, 1, i), X, positions) == []
    (line,) = told(lambda x, i: 2 * gather(x, i), lambda x, i: torch.gather(x, 1, i), X, positions)
    assert "value is off" in line


def test_an_array_without_a_part_in_the_outputs_has_a_gradient_of_zeros(told):
    assert told(lambda x, y: x + 0 * y, lambda x, y: 1 * x, X, X) == []
    (line,) = told(lambda x, y: x + y - y.sum() + 1, lambda x, y: x + y.detach() - y.detach().sum() + 1, X, X)
    assert "gradient of array 1" in line


def test_what_pytorch_writes_in_place_is_an_output_and_has_no_gradient(told):
    def norm(x, running_mean):
        mean = x.mean(0)
        return x - mean, running_mean + mean

    def theirs(x, running_mean):
        running_mean = running_mean.clone()
        assert not running_mean.requires_grad
        running_mean += x.detach().mean(0)
        return x - x.mean(0), running_mean

    assert told(norm, theirs, X, Arr((4,))) == []


def test_torch_side_returns_the_statistics():
    arrays = [np.arange(12.0).reshape(4, 3), np.zeros(3), np.ones(3)]
    fn = side_by_side.torch_function(call("batch_norm", *(Arr(a.shape) for a in arrays), training=True))
    y, mean, var = torch_side.run(fn, arrays).value
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(mean, 0.1 * arrays[0].mean(0))
    np.testing.assert_allclose(var, 0.9 + 0.1 * arrays[0].var(0, ddof=1))
    fn = side_by_side.torch_function(call("instance_norm", Arr((2, 3, 4))))
    y, mean, var = torch_side.run(fn, [np.eye(6, 12).reshape(2, 3, 12)]).value
    assert y.shape == (2, 3, 12)
    assert mean is var is None


def test_torch_side_differentiates_through_several_outputs():
    x = np.arange(6.0).reshape(2, 3)
    fn = lambda x, i: (x * x, i + 1, 3 * x.sum())  # noqa: E731
    assert torch_side.differentiates(fn, [x, np.arange(2)]) == (True, False, True)
    value, (dx, di) = torch_side.run(fn, [x, np.arange(2)], cotangent=(np.ones_like(x), None, np.ones(())))
    assert [y.dtype.kind for y in value] == ["f", "i", "f"]
    np.testing.assert_array_equal(dx, 2 * x + 3)
    assert di is None
