"""The check of derivatives itself: it finds a wrong one of each order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_derivatives

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

ARRAYS = np.arange(1.0, 4), np.arange(2.0, 5)


def product(of_x, of_w):
    """x w, with the derivatives in x and w multiplied by what is given."""
    f = jax.custom_jvp(lambda x, w: x * w)
    f.defjvp(lambda z, t: (z[0] * z[1], of_x(z[0]) * z[1] * t[0] + of_w(z[0]) * z[0] * t[1]))
    return f


def test_right_derivatives_pass():
    check_derivatives(product(lambda _: 1, lambda _: 1), ARRAYS)


@pytest.mark.parametrize("wrong", [lambda _: 1 + 1e-9, lambda x: 1 + 1e-9 * jnp.sin(x)])
def test_wrong_derivatives_are_found(wrong):
    with pytest.raises(AssertionError, match=r"forward: off by"):
        check_derivatives(product(wrong, lambda _: 1), ARRAYS)
    with pytest.raises(AssertionError, match=r"forward over forward: off by"):
        check_derivatives(product(lambda _: 1, wrong), ARRAYS)


def test_a_wrong_transpose_is_found():
    def twice(x):
        return jax.custom_derivatives.linear_call(lambda _, x: 2 * x, lambda _, u: 2.000001 * u, (), x)

    with pytest.raises(AssertionError, match=r"<backward, t>: off by"):
        check_derivatives(twice, ARRAYS[:1])
