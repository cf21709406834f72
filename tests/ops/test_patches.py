"""Patches against the oracle, and `fold` as the exact transpose of `unfold`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import integers

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
