"""Padding against the oracle: every mode, its transpose, crops, dtypes, and what the constant may be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import integers

import jaxconv

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

MODES = ("constant", "reflect", "replicate", "circular", "symmetric")
# The shape of an array and the amounts, the last axis first. Modes but "constant" leave the first one or two axes.
PADS = {
    "1d": ((2, 3, 7), (2, 3)),
    "1d start only": ((2, 3, 7), (4, 0)),
    "1d end only": ((2, 3, 7), (0, 5)),
    "1d unbatched": ((3, 7), (1, 2)),
    "1d crop": ((2, 3, 9), (-2, -3)),
    "1d crop and pad": ((2, 3, 9), (-2, 4)),
    "1d pad and crop": ((2, 3, 9), (5, -3)),
    "nothing": ((2, 3, 7), (0, 0)),
    "2d": ((2, 3, 5, 7), (3, 1, 2, 4)),
    "2d one axis": ((2, 3, 5, 7), (0, 0, 2, 4)),
    "2d unbatched": ((3, 5, 7), (3, 1, 2, 4)),
    "2d crop and pad": ((2, 3, 8, 9), (-2, 4, 3, -1)),
    "2d no images": ((0, 3, 5, 4), (3, 1, 2, 4)),
    "3d": ((2, 1, 4, 5, 3), (2, 1, 1, 3, 0, 3)),
    "3d crop and pad": ((2, 1, 6, 5, 7), (-1, 3, 2, -2, 1, 0)),
}


def pairs(pad):
    """The amounts as the oracle takes them: (low, high) pairs, the first axis first."""
    return list(zip(pad[::2], pad[1::2], strict=True))[::-1]


@pytest.mark.parametrize("name", PADS)
def test_pad_and_its_transpose_are_the_oracles(name):
    shape, pad = PADS[name]
    x = integers(shape)
    expected = {mode: reference.pad(x, pairs(pad), mode) for mode in MODES}
    y = integers(expected["constant"].shape, seed=1)

    @jax.jit  # one compilation for all modes
    def compute(x, y):
        results = {}
        for mode in MODES:
            padded, vjp = jax.vjp(lambda x, mode=mode: jaxconv.pad(x, pad, mode), x)
            results[mode] = padded, *vjp(y)
        return results

    for mode, (padded, transpose) in compute(x, y).items():
        np.testing.assert_array_equal(padded, expected[mode], err_msg=mode, strict=True)
        expected_transpose = reference.pad_adjoint(y, shape[-len(pad) // 2 :], pairs(pad), mode)
        np.testing.assert_array_equal(transpose, expected_transpose, err_msg=mode, strict=True)


@pytest.mark.parametrize("mode", MODES[1:])
def test_pad_at_its_largest(mode):
    amount = {"reflect": 3, "replicate": 9, "circular": 4, "symmetric": 4}[mode]
    x = jnp.arange(1.0, 5).reshape(1, 1, 4)
    expected = {
        "reflect": [4, 3, 2, 1, 2, 3, 4, 3, 2, 1],
        "replicate": [1] * 9 + [1, 2, 3, 4] + [4] * 9,
        "circular": [1, 2, 3, 4] * 3,
        "symmetric": [4, 3, 2, 1, 1, 2, 3, 4, 4, 3, 2, 1],
    }[mode]
    np.testing.assert_array_equal(jaxconv.pad(x, (amount, amount), mode)[0, 0], expected)


@pytest.mark.parametrize("mode", MODES[1:])
def test_corners_are_padded_along_both_axes(mode):
    x = jnp.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, None]
    corner = {"reflect": 5, "replicate": 1, "circular": 9, "symmetric": 1}[mode]
    padded = jaxconv.pad(x, (1, 0, 1, 0), mode)[0, 0]
    assert padded.shape == (4, 4)
    assert padded[0, 0] == corner


def test_the_last_axis_comes_first():
    assert jaxconv.pad(jnp.ones((2, 3, 5, 7)), (1, 2, 30, 40)).shape == (2, 3, 75, 10)


def test_a_constant_fills_any_number_of_axes():
    x = integers((2, 3))
    np.testing.assert_array_equal(
        jaxconv.pad(x, (1, 0, 0, 2), value=-7.5), np.pad(x, ((0, 2), (1, 0)), constant_values=-7.5), strict=True
    )
    np.testing.assert_array_equal(
        jaxconv.pad(x, (-1, 2, 1, -1), value=5), reference.pad(x, ((1, -1), (-1, 2)), "constant", 5), strict=True
    )
    np.testing.assert_array_equal(jaxconv.pad(x, ()), x)
    np.testing.assert_array_equal(jaxconv.pad(jnp.array(3.0), ()), 3)


@pytest.mark.parametrize("value", [0, 2, -1.5, jnp.float32(3), np.float64(4), None])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "complex64", "bool"])
def test_a_constant_has_the_dtype_of_the_array(dtype, value):
    x = jnp.ones((1, 2), dtype)
    padded = jaxconv.pad(x, (0, 1), "constant", value)
    assert padded.dtype == dtype
    expected = jnp.asarray(0 if value is None else value).astype(dtype)
    np.testing.assert_array_equal(padded, jnp.concatenate([x, jnp.full((1, 1), expected)], 1), strict=True)


def test_the_constant_may_be_traced():
    def total(x, value):
        return (jaxconv.pad(x, (1, 2), value=value) ** 2).sum()

    x = jnp.ones((2, 3))
    assert jax.jit(total)(x, 2.0) == 2 * 3 + 6 * 2.0**2
    of_x, of_value = jax.grad(total, (0, 1))(x, 2.0)
    np.testing.assert_array_equal(of_x, 2 * x)
    assert of_value == 6 * 2 * 2.0


@pytest.mark.parametrize("mode", MODES[1:])
def test_integers_are_padded_in_every_mode(mode):
    x = np.arange(12).reshape(1, 1, 3, 4).astype("int8")
    padded = jaxconv.pad(x, (2, 1, 0, 2), mode)
    np.testing.assert_array_equal(padded, reference.pad(x, [(0, 2), (2, 1)], mode), strict=True)


@pytest.mark.parametrize("mode", MODES)
def test_padding_needs_no_gather_and_its_gradient_no_scatter(mode):
    jaxpr = jax.make_jaxpr(lambda x, y: jax.vjp(lambda x: jaxconv.pad(x, (2, 1, 1, 2), mode), x)[1](y))(
        jnp.ones((1, 1, 3, 4)), jnp.ones((1, 1, 6, 7))
    )
    assert not any("gather" in str(e.primitive) or "scatter" in str(e.primitive) for e in jaxpr.eqns)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_gradient_of_an_edge_is_added_in_float32(dtype):
    """In 16 bits a sum of ones stops at 2048 or 256."""
    of_x = jax.grad(lambda x: jaxconv.pad(x, (0, 4095), "replicate").sum())(jnp.ones((1, 1, 1), dtype))
    assert (of_x.dtype, float(of_x[0, 0, 0])) == (dtype, 4096)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_an_array_of_integers_is_filled_with_what_it_can_hold(dtype):
    x, bounds = np.ones((2, 3), dtype), np.iinfo(dtype)
    for value in (int(bounds.min), int(bounds.max)):
        with jax.enable_x64(dtype.endswith("64")):
            assert int(jaxconv.pad(x, (1, 0), value=value)[0, 0]) == value
    for value in (int(bounds.min) - 1, int(bounds.max) + 1):
        with pytest.raises(ValueError, match=f"value must be between {bounds.min} and {bounds.max} where input has"):
            jaxconv.pad(x, (1, 0), value=value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"])
def test_an_array_of_floats_is_filled_with_its_largest_number_and_no_larger(dtype):
    x = jnp.ones((2, 3), dtype)
    largest = float(jnp.finfo(dtype).max)
    for value in (largest, -largest, np.inf):
        assert jaxconv.pad(x, (1, 0), value=value)[0, 0] == value
    if dtype not in ("float64", "complex128"):  # beyond which Python has no float
        for value in (1.01 * largest, -1.01 * largest):
            with pytest.raises(ValueError, match=r"value must be between -.* where input has dtype"):
                jaxconv.pad(x, (1, 0), value=value)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_an_array_of_integers_takes_the_value_of_each_narrower_dtype(dtype):
    x, own = np.ones((2, 3), dtype), np.iinfo(dtype)
    for other in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        value = jax.ShapeDtypeStruct((), other)  # of what is traced the dtype alone is known
        filled = functools.partial(jaxconv.pad, x, (1, 0), "constant")
        if own.min <= np.iinfo(other).min and np.iinfo(other).max <= own.max:
            assert jax.eval_shape(filled, value).dtype == dtype
        else:
            with pytest.raises(TypeError, match=f"value has dtype {other}, whose numbers do not all fit"):
                jax.eval_shape(filled, value)


def test_a_crop_of_one_more_than_there_is():
    with pytest.raises(ValueError, match=r"pad crops more than there is: \(-2, -1\) of axis 2, which has size 2"):
        jaxconv.pad(jnp.ones((1, 1, 2, 3)), (0, 0, -2, -1))
