"""How far the kernels' sums are off: taken in parts, a sum hardly loses digits with its length."""

import jax
import numpy as np
import pytest

import jaxconv
from jaxconv import _native

pytestmark = pytest.mark.skipif(_native.unavailable is not None, reason=str(_native.unavailable))

# Few channels of the target and many of the source, whose numbers are far from zero: no error cancels another. Shapes
# of x, w, and of how many axes.
LONG_SUMS = {
    "4 of 512, 3x3": ((2, 512, 14, 14), (4, 512, 3, 3)),
    "1 of 512, rows": ((1, 512, 12, 33), (1, 512, 3, 3)),
    "8 of 2048, 1x1": ((2, 2048, 7, 7), (8, 2048, 1, 1)),
    "2 groups of 256 to 2": ((2, 512, 14, 14), (4, 256, 3, 3)),
    "1-D": ((2, 512, 100), (4, 512, 3)),
    "3-D": ((1, 256, 6, 6, 6), (2, 256, 3, 3, 3)),
}


@pytest.mark.parametrize("op", ["output", "input"])
@pytest.mark.parametrize("name", LONG_SUMS)
def test_a_long_sum_is_off_by_a_few_roundings(name, op):
    x_shape, w_shape = LONG_SUMS[name]
    rng, rank = np.random.default_rng(0), len(x_shape) - 2
    groups = x_shape[1] // w_shape[1]
    x, w = (rng.standard_normal(shape).astype("float32") + 3 for shape in (x_shape, w_shape))
    conv, of_input = getattr(jaxconv, f"conv{rank}d"), getattr(jaxconv, f"conv{rank}d_input")
    if op == "input":  # the same sums, as the gradient of a convolution of few channels to many
        w = np.swapaxes(w.reshape(groups, -1, *w_shape[1:]), 1, 2).reshape(-1, w_shape[0] // groups, *w_shape[2:])
        result = (x_shape[0], w_shape[0], *(n + k - 1 for n, k in zip(x_shape[2:], w_shape[2:], strict=True)))

    def compute(x, w, algorithm):
        if op == "output":
            return conv(x, w, groups=groups, algorithm=algorithm)
        return of_input(result, w, x, groups=groups, algorithm=algorithm)

    with jax.enable_x64(True):
        exact = np.asarray(compute(x.astype("float64"), w.astype("float64"), "taps"))
    error = np.asarray(compute(x, w, "native"), "float64") - exact
    # It is at most 1.2 of them. As one sum of all products each of these was 4 to 10 off.
    assert np.sqrt(np.mean(error**2)) < 2 * np.finfo("float32").eps * np.sqrt(np.mean(exact**2))
