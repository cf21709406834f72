"""Patches and padding against the oracle, and `fold` as the exact transpose of `unfold`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import jaxconv

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

# The image's channels and size, and the arguments of a patch.
PATCHES = {
    "plain": (3, (5, 7), {"kernel_size": (2, 3)}),
    "an int for both axes": (2, (6, 5), {"kernel_size": 2, "stride": 3, "padding": 1, "dilation": 2}),
    "each axis its own": (
        2,
        (9, 8),
        {"kernel_size": (3, 2), "dilation": (2, 3), "padding": (1, 2), "stride": (1, 2)},
    ),
    "a remainder": (3, (8, 7), {"kernel_size": (2, 1), "stride": (3, 4)}),
    "padding beyond the kernel": (1, (3, 2), {"kernel_size": (2, 1), "padding": (3, 2)}),
    "one patch": (4, (3, 5), {"kernel_size": (3, 5)}),
    "one position": (3, (4, 5), {"kernel_size": 1, "stride": 2}),
    "a row": (2, (3, 9), {"kernel_size": (1, 4), "dilation": (5, 2)}),
    "no images": (2, (4, 5), {"kernel_size": (3, 2), "padding": 1}),
}


def integers(shape, seed=0):
    """Whole numbers in float64: their sums are exact, so that equal means equal."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


@pytest.mark.parametrize("name", PATCHES)
def test_unfold_and_fold_are_the_oracles_and_each_others_transpose(name):
    channels, size, arguments = PATCHES[name]
    x = integers((0 if name == "no images" else 2, channels, *size))
    expected = reference.unfold(x, **arguments)
    columns = integers(expected.shape, seed=1)
    expected_fold = reference.fold(columns, size, **arguments)

    @jax.jit
    def compute(x, columns):
        unfolded, unfold_vjp = jax.vjp(lambda x: jaxconv.unfold(x, **arguments), x)
        folded, fold_vjp = jax.vjp(lambda c: jaxconv.fold(c, size, **arguments), columns)
        return unfolded, folded, *unfold_vjp(columns), *fold_vjp(x)

    unfolded, folded, unfold_transpose, fold_transpose = compute(x, columns)
    np.testing.assert_array_equal(unfolded, expected, strict=True)
    np.testing.assert_array_equal(folded, expected_fold, strict=True)
    # <fold(c), x> = <c, unfold(x)> for all c and x: not by a tolerance, but as functions.
    np.testing.assert_array_equal(unfold_transpose, folded, strict=True)
    np.testing.assert_array_equal(fold_transpose, unfolded, strict=True)
    assert (np.asarray(folded) * x).sum() == (columns * np.asarray(unfolded)).sum()


def test_columns_have_pytorchs_order():
    """The channel slowest, then the rows of the patch, then its columns; the patches in the order of rows."""
    x = jnp.arange(2 * 2 * 3.0).reshape(1, 2, 2, 3)  # 0 1 2 / 3 4 5 and 6 7 8 / 9 10 11
    columns = jaxconv.unfold(x, (2, 2))
    np.testing.assert_array_equal(columns[0].T, [[0, 1, 3, 4, 6, 7, 9, 10], [1, 2, 4, 5, 7, 8, 10, 11]])


@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_a_convolution_is_its_weight_times_the_patches(stride):
    arguments = {"dilation": (2, 1), "padding": (2, 1), "stride": stride}
    x, w = integers((2, 3, 7, 8)), integers((5, 3, 2, 3), seed=1)
    y = jaxconv.conv2d(x, w, **arguments)
    product = w.reshape(5, -1) @ jaxconv.unfold(x, (2, 3), **arguments)
    np.testing.assert_array_equal(product.reshape(y.shape), y)
    # And its transpose the fold of the transposed product.
    transposed = jaxconv.conv2d_input(x.shape, w, y, **arguments)
    columns = w.reshape(5, -1).T @ np.asarray(y).reshape(2, 5, -1)
    np.testing.assert_array_equal(jaxconv.fold(columns, (7, 8), (2, 3), **arguments), transposed)


def test_fold_of_unfold_counts_how_often_a_position_is_read():
    counts = jaxconv.fold(jaxconv.unfold(jnp.ones((1, 1, 3, 4)), 2), (3, 4), 2)
    np.testing.assert_array_equal(counts[0, 0], [[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]])


def test_unbatched_patches():
    x = integers((3, 4, 5))
    columns = jaxconv.unfold(x, (2, 3))
    np.testing.assert_array_equal(columns, reference.unfold(x[None], (2, 3))[0], strict=True)
    np.testing.assert_array_equal(
        jaxconv.fold(columns, (4, 5), (2, 3)), reference.fold(np.asarray(columns)[None], (4, 5), (2, 3))[0], strict=True
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
def test_patches_keep_their_dtype(dtype):
    columns = jaxconv.unfold(jnp.ones((1, 2, 3, 4), dtype), 2)
    assert columns.dtype == dtype
    assert jaxconv.fold(columns, (3, 4), 2).dtype == dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("axis", [0, 1])
def test_fold_adds_half_types_in_float32(dtype, axis):
    """A large number and ten ones on one position: one after another in 16 bits none of the ones would count."""
    kernel = [1, 1]
    kernel[axis] = 11
    size = (11, 2) if axis == 0 else (2, 11)
    large = 2048 if dtype == "float16" else 256
    x = np.ones(size)
    # Eleven overlapping patches: the middle position is read by tap t of patch 10 - t.
    positions = tuple(n + 2 * p - k + 1 for n, p, k in zip(size, [10 * (k > 1) for k in kernel], kernel, strict=True))
    columns = np.zeros((1, *kernel, *positions))
    columns[:] = 1
    columns[(0, 0, 0)] = large
    padding = tuple(10 * (k > 1) for k in kernel)
    folded = jaxconv.fold(jnp.asarray(columns.reshape(1, 11, -1), dtype), size, tuple(kernel), padding=padding)
    np.testing.assert_array_equal(folded[0, 0].astype("float32"), x * (large + 10))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_gradient_of_an_edge_is_added_in_float32(dtype):
    """In 16 bits a sum of ones stops at 2048 or 256."""
    of_x = jax.grad(lambda x: jaxconv.pad(x, (0, 4095), "replicate").sum())(jnp.ones((1, 1, 1), dtype))
    assert (of_x.dtype, float(of_x[0, 0, 0])) == (dtype, 4096)


# --- pad -----------------------------------------------------------------------------------------------------

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
