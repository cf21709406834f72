"""The convolutions against the oracle: values, gradients, dtypes, and the mistakes that others have made."""

import contextlib
import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES, DATA_FORMATS, layout
from closeness import assert_all_close, assert_close
from derivatives import check_derivatives
from jax.test_util import check_grads

import jaxconv

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

CONV = {1: jaxconv.conv1d, 2: jaxconv.conv2d, 3: jaxconv.conv3d}
CONV_TRANSPOSE = {1: jaxconv.conv_transpose1d, 2: jaxconv.conv_transpose2d, 3: jaxconv.conv_transpose3d}
CONV_INPUT = {1: jaxconv.conv1d_input, 2: jaxconv.conv2d_input, 3: jaxconv.conv3d_input}
CONV_WEIGHT = {1: jaxconv.conv1d_weight, 2: jaxconv.conv2d_weight, 3: jaxconv.conv3d_weight}
MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")


def images(*arrays):
    """Arrays as batches of images of one channel, and weights from one channel to one."""
    return [jnp.asarray(a)[None, None] for a in arrays]


# --- every case against the oracle ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_the_oracles(case):
    x, w, b, cotangent = case.arrays()
    expected_y, expected_x, expected_w, expected_b = case.expected()
    # With the output's size it is the transpose; it has neither the other modes nor crops.
    transposed = case.padding_mode in ("zeros", "circular") and min(min(pair) for pair in case.pads) >= 0

    def results(data_format, x, cotangent, w, b):
        arguments = case.arguments(data_format)
        y, vjp = jax.vjp(lambda x, w, b: CONV[case.rank](x, w, b, **arguments), x, w, b)
        dx, dw, db = vjp(cotangent)
        found = {"value": y, "gradient of x": dx, "gradient of w": dw, "gradient of b": db}
        found["conv_input"] = CONV_INPUT[case.rank](x.shape, w, cotangent, **arguments)
        found["conv_weight"] = CONV_WEIGHT[case.rank](x, w.shape, cotangent, **arguments)
        if transposed:
            found["conv_transpose"] = CONV_TRANSPOSE[case.rank](cotangent, w, output_size=case.size, **arguments)
        return found

    @jax.jit  # one compilation for everything
    def compute(images, w, b):
        return {
            f"{name}, {data_format}": result
            for data_format, (x, cotangent) in images.items()
            for name, result in results(data_format, x, cotangent, w, b).items()
        }

    found = compute({f: (layout(x, f), layout(cotangent, f)) for f in DATA_FORMATS}, w, b)
    expected = {}
    for data_format in DATA_FORMATS:
        of_x = layout(expected_x, data_format)
        named = {"value": layout(expected_y, data_format), "gradient of x": of_x, "gradient of w": expected_w}
        named |= {"gradient of b": expected_b, "conv_input": of_x, "conv_weight": expected_w}
        if transposed:
            named["conv_transpose"] = of_x
        expected |= {f"{name}, {data_format}": array for name, array in named.items()}
    assert_all_close(found, expected)


# --- the transposed convolution ------------------------------------------------------------------------------

# (x's shape, w's shape, arguments). Output_padding reaches beyond stride where dilation allows it.
TRANSPOSED = {
    "1d": ((2, 3, 5), (3, 4, 2), {}),
    "1d_everything": (
        (2, 6, 5),
        (6, 2, 3),
        {"stride": 3, "padding": 2, "output_padding": 1, "groups": 3, "dilation": 2},
    ),
    "1d_output_padding_beyond_stride": ((1, 2, 4), (2, 3, 2), {"stride": 2, "output_padding": 4, "dilation": 5}),
    "1d_output_padding_beyond_padding": ((2, 2, 4), (2, 3, 3), {"stride": 4, "padding": 1, "output_padding": 3}),
    "1d_circular": ((2, 3, 6), (3, 4, 3), {"padding": 2, "padding_mode": "circular"}),
    "1d_circular_stride": (
        (2, 3, 5),
        (3, 4, 4),
        {"stride": 3, "padding": 2, "output_padding": 1, "padding_mode": "circular"},
    ),
    "1d_circular_one_more_step": (
        (2, 3, 5),
        (3, 2, 2),
        {"stride": 2, "padding": 1, "output_padding": 4, "dilation": 5, "padding_mode": "circular"},
    ),
    "2d": ((2, 3, 4, 5), (3, 6, 2, 3), {}),
    "2d_batch_0": ((0, 3, 4, 5), (3, 6, 2, 3), {"stride": 2, "output_padding": 1}),
    "2d_stride_beyond_kernel": ((2, 3, 3, 2), (3, 4, 2, 1), {"stride": (4, 3), "output_padding": (3, 0)}),
    "2d_padding_beyond_kernel": ((2, 2, 6, 7), (2, 3, 2, 3), {"padding": (2, 3), "dilation": (1, 2)}),
    "2d_1x1": ((2, 3, 4, 5), (3, 6, 1, 1), {"stride": (2, 1)}),
    "2d_groups": ((2, 4, 3, 5), (4, 3, 2, 3), {"groups": 2, "padding": (1, 0)}),
    "2d_depthwise": ((2, 3, 4, 5), (3, 1, 3, 2), {"groups": 3, "stride": 2, "padding": 1}),
    "2d_depthwise_multiplier": ((2, 3, 4, 2), (3, 2, 2, 3), {"groups": 3, "dilation": 2}),
    "2d_everything": (
        (2, 6, 4, 3),
        (6, 2, 3, 2),
        {"stride": (2, 3), "padding": (1, 2), "output_padding": (1, 0), "groups": 2, "dilation": (3, 2)},
    ),
    "2d_circular_everything": (
        (2, 4, 4, 5),
        (4, 3, 2, 3),
        {
            "stride": (1, 2),
            "padding": (1, 3),
            "output_padding": (0, 1),
            "groups": 2,
            "dilation": (3, 1),
            "padding_mode": "circular",
        },
    ),
    "3d": ((2, 3, 2, 4, 3), (3, 2, 3, 1, 2), {"stride": (1, 3, 2), "padding": (0, 0, 1), "output_padding": (0, 2, 1)}),
    "3d_everything": (
        (1, 4, 2, 3, 2),
        (4, 1, 2, 1, 3),
        {"stride": (2, 1, 3), "padding": (0, 0, 2), "output_padding": (1, 0, 2), "groups": 2, "dilation": (2, 1, 2)},
    ),
    "3d_circular": ((1, 2, 3, 2, 4), (2, 3, 2, 1, 3), {"padding": (1, 0, 2), "padding_mode": "circular"}),
}


def jacobian_transpose(f, shape, cotangent):
    """The transpose of a linear f, one basis array after the other, since f is a function of NumPy."""
    result = np.zeros(shape)
    for i in np.ndindex(shape):
        basis = np.zeros(shape)
        basis[i] = 1
        result[i] = (f(basis) * cotangent).sum()
    return result


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_values_and_gradients_are_the_oracles(name):
    x_shape, w_shape, arguments = TRANSPOSED[name]
    rank = len(x_shape) - 2
    rng = np.random.default_rng(len(name))
    x, w, b = (rng.standard_normal(s) for s in (x_shape, w_shape, w_shape[1] * arguments.get("groups", 1)))
    value = reference.conv_transpose(x, w, b, **arguments)
    cotangent = rng.standard_normal(value.shape)
    # What is linear in one image is so in each image of the batch.
    one = np.stack(
        [
            jacobian_transpose(lambda x: reference.conv_transpose(x[None], w, **arguments)[0], x_shape[1:], c)
            for c in cotangent
        ]
        or [np.zeros(x_shape[1:])]
    )[: x_shape[0]]
    of_w = jacobian_transpose(lambda w: reference.conv_transpose(x, w, **arguments), w_shape, cotangent)

    @jax.jit
    def compute(images, w, b):
        found = {}
        for data_format, (x, cotangent) in images.items():
            f = functools.partial(CONV_TRANSPOSE[rank], data_format=data_format, **arguments)
            y, vjp = jax.vjp(f, x, w, b)
            found[data_format] = y, *vjp(cotangent)
        return found

    found = compute({f: (layout(x, f), layout(cotangent, f)) for f in DATA_FORMATS}, w, b)
    for data_format, (y, dx, dw, db) in found.items():
        assert_all_close(
            {"value": y, "gradient of x": dx, "gradient of w": dw, "gradient of b": db},
            {
                "value": layout(value, data_format),
                "gradient of x": layout(one, data_format),
                "gradient of w": of_w,
                "gradient of b": cotangent.sum(axis=(0, *range(2, rank + 2))),
            },
        )


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_every_output_size_is_the_transpose_from_that_size(mode):
    # Five sizes have three windows of stride 5: the transposed convolution can ask for each.
    weight, y = np.arange(1.0, 13).reshape(2, 2, 3), np.arange(1.0, 7).reshape(1, 2, 3)
    least = 2 * 5 + 3 - 2 * 1
    for size in range(least, least + 5):
        actual = jaxconv.conv_transpose1d(y, weight, stride=5, padding=1, output_size=(size,), padding_mode=mode)
        padding = size - least
        by_padding = jaxconv.conv_transpose1d(y, weight, stride=5, padding=1, output_padding=padding, padding_mode=mode)
        expected = reference.conv_transpose(y, weight, stride=5, padding=1, output_padding=padding, padding_mode=mode)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(by_padding, expected)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_output_size_of_all_axes_or_of_the_spatial_ones(data_format):
    x, w = layout(np.ones((2, 3, 4, 5)), data_format), np.ones((3, 7, 3, 2))
    shape = layout(np.ones((2, 7, 8, 11)), data_format).shape
    for batched, whole in ((x, shape), (x[0], shape[1:])):
        for output_size in ((8, 11), list(whole), whole):
            y = jaxconv.conv_transpose2d(
                batched, w, stride=2, padding=(1, 0), output_size=output_size, data_format=data_format
            )
            assert y.shape == whole


def test_pads_of_a_transposed_convolution_per_end():
    # 1 10 100 through (1, 2, 3), stride 2: the sheet is 1 2 13 20 130 200 300.
    x, w = images([1.0, 10, 100], [1.0, 2, 3])
    y = jaxconv.conv_transpose1d(x, w, stride=2, padding=[(1, 3)])
    np.testing.assert_array_equal(y[0, 0], [2, 13, 20])


# --- what a convolution is, by hand --------------------------------------------------------------------------


def test_a_kernel_is_not_flipped():
    x, w = images([1.0, 2, 3, 4], [1.0, 10])
    np.testing.assert_array_equal(jaxconv.conv1d(x, w)[0, 0], [21, 32, 43])


def test_same_pads_the_odd_element_at_the_end():
    x, w = images([1.0, 2, 3, 4], [1.0, 10])
    np.testing.assert_array_equal(jaxconv.conv1d(x, w, padding="same")[0, 0], [21, 32, 43, 4])
    # A reach of 3 is 1 at the start and 2 at the end.
    np.testing.assert_array_equal(jaxconv.conv1d(x, w, padding="same", dilation=3)[0, 0], [30, 41, 2, 3])
    # In two dimensions, an even kernel along one axis and a dilated one along the other.
    ones = jnp.ones((1, 1, 3, 4))
    counts = jaxconv.conv2d(ones, jnp.ones((1, 1, 2, 2)), padding="same", dilation=(1, 3))[0, 0]
    np.testing.assert_array_equal(counts, [[2, 4, 2, 2], [2, 4, 2, 2], [1, 2, 1, 1]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kernel", "dilation"), [((4, 3), (1, 2)), ((2, 5), (3, 1)), ((1, 2), (7, 4))])
def test_same_keeps_the_size_in_every_mode(mode, kernel, dilation):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 9, 8)), rng.standard_normal((4, 3, *kernel))
    pads = tuple((d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) for k, d in zip(kernel, dilation, strict=True))
    y = jaxconv.conv2d(x, w, padding="same", dilation=dilation, padding_mode=mode)
    assert y.shape == (2, 4, 9, 8)
    assert_close(y, reference.conv(x, w, pads=pads, dilation=dilation, padding_mode=mode))


def test_valid_is_no_padding():
    x, w = images([1.0, 2, 3, 4], [1.0, 10])
    y = jaxconv.conv1d(x, w, padding="valid", stride=2, padding_mode="circular")
    np.testing.assert_array_equal(y[0, 0], [21, 43])


def test_causal_reads_the_past_alone():
    x, w = images([1.0, 2, 3, 4, 5], [1.0, 10])
    np.testing.assert_array_equal(jaxconv.conv1d(x, w, padding="causal")[0, 0], [10, 21, 32, 43, 54])
    np.testing.assert_array_equal(jaxconv.conv1d(x, w, padding="causal", dilation=2)[0, 0], [10, 20, 31, 42, 53])
    y = jaxconv.conv1d(x, w, padding="causal", dilation=3, stride=2)
    np.testing.assert_array_equal(y[0, 0], [10, 30, 52])
    y = jaxconv.conv1d(x, w, padding="causal", dilation=3, padding_mode="replicate")
    np.testing.assert_array_equal(y[0, 0], [11, 21, 31, 41, 52])


# --- circular padding, where PyTorch has been wrong ----------------------------------------------------------


def test_circular_padding_is_on_the_axis_that_was_asked_for():
    """pytorch#37844: padding=(0, 1) padded the rows."""
    x = jnp.array([[1.0, 2, 3], [4, 5, 6]])[None, None]
    y = jaxconv.conv2d(x, jnp.array([[1.0, 10]])[None, None], padding=(0, 1), padding_mode="circular")
    np.testing.assert_array_equal(y[0, 0], [[13, 21, 32, 13], [46, 54, 65, 46]])
    y = jaxconv.conv2d(x, jnp.array([[1.0], [10]])[None, None], padding=(1, 0), padding_mode="circular")
    np.testing.assert_array_equal(y[0, 0], [[14, 25, 36], [41, 52, 63], [14, 25, 36]])
    x, w = jnp.zeros((1, 6, 20, 10)), jnp.zeros((1, 6, 3, 3))
    assert jaxconv.conv2d(x, w, padding=(0, 1), padding_mode="circular").shape == (1, 1, 18, 10)
    assert jaxconv.conv2d(x, w, padding=(1, 0), padding_mode="circular").shape == (1, 1, 20, 8)


def test_circular_padding_has_the_size_of_any_other():
    """pytorch#20981: padding=1 with a 1x1 kernel padded nothing, and half of what was asked for else."""
    x = jnp.arange(1.0, 26).reshape(1, 1, 5, 5)
    y = jaxconv.conv2d(x, jnp.ones((1, 1, 1, 1)), padding=1, padding_mode="circular")
    assert y.shape == (1, 1, 7, 7)
    np.testing.assert_array_equal(y[0, 0, 0], [25, 21, 22, 23, 24, 25, 21])
    np.testing.assert_array_equal(y[0, 0, :, 0], [25, 5, 10, 15, 20, 25, 5])


def test_circular_padding_pads():
    """pytorch#29712: with padding=1 and a 3x3 kernel the image shrank as without padding."""
    x = jnp.arange(1.0, 10).reshape(1, 1, 3, 3)
    w = jnp.zeros((1, 1, 3, 3)).at[0, 0, 0, 2].set(1)  # what stands one up and one to the right
    y = jaxconv.conv2d(x, w, padding=1, padding_mode="circular")
    np.testing.assert_array_equal(y[0, 0], [[8, 9, 7], [2, 3, 1], [5, 6, 4]])


@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_circular_convolution_commutes_with_rolling(data_format):
    x, w = np.arange(60.0).reshape(1, 3, 4, 5), np.arange(54.0).reshape(2, 3, 3, 3)
    x = layout(x, data_format)
    axes = (2, 3) if data_format == "channels_first" else (1, 2)

    def conv(x):
        return jaxconv.conv2d(x, w, padding=1, padding_mode="circular", data_format=data_format)

    np.testing.assert_array_equal(conv(np.roll(x, (3, 1), axes)), np.roll(conv(x), (3, 1), axes))


# --- transposed convolution, where others are unlike PyTorch -------------------------------------------------


def test_a_pixel_stamps_the_kernel_as_it_is():
    """equinox#574: there the kernel has to be flipped first to give what PyTorch gives."""
    w = jnp.arange(1.0, 7).reshape(1, 1, 2, 3)
    y = jaxconv.conv_transpose2d(jnp.full((1, 1, 1, 1), 2.0), w)
    np.testing.assert_array_equal(y[0, 0], [[2, 4, 6], [8, 10, 12]])


def test_a_kernel_as_wide_as_the_stride_makes_tiles():
    """jax#11252: with kernel 4 and stride 4 each pixel makes a tile; there it was another way round."""
    x, w = images([[1.0, 10], [100, 1000]], [[1.0, 2], [3, 4]])
    y = jaxconv.conv_transpose2d(x, w, stride=2)
    np.testing.assert_array_equal(
        y[0, 0], [[1, 2, 10, 20], [3, 4, 30, 40], [100, 200, 1000, 2000], [300, 400, 3000, 4000]]
    )


def test_transposed_weights_have_the_input_channels_first():
    """flax#3137: what is (out, in) there is (in, out) in PyTorch, and so it is here."""
    x, w = jnp.array([1.0, 10]).reshape(1, 2, 1), jnp.arange(1.0, 7).reshape(2, 3, 1)
    y = jaxconv.conv_transpose1d(x, w)
    np.testing.assert_array_equal(y[0, :, 0], [1 + 40, 2 + 50, 3 + 60])


def test_padding_of_a_transposed_convolution_crops():
    """jax#11252, flax#3137: elsewhere `padding` is that of the dilated image, and makes the output larger."""
    # The sheet is 1 2 13 20 30.
    x, w = images([1.0, 10], [1.0, 2, 3])
    np.testing.assert_array_equal(jaxconv.conv_transpose1d(x, w, stride=2)[0, 0], [1, 2, 13, 20, 30])
    np.testing.assert_array_equal(jaxconv.conv_transpose1d(x, w, stride=2, padding=1)[0, 0], [2, 13, 20])
    y = jaxconv.conv_transpose1d(x, w, stride=2, padding=1, output_padding=1)
    np.testing.assert_array_equal(y[0, 0], [2, 13, 20, 30])  # the output is padded by what was cut off
    y = jaxconv.conv_transpose1d(x, w, stride=2, output_padding=1)
    np.testing.assert_array_equal(y[0, 0], [1, 2, 13, 20, 30, 0])


def test_a_circular_transposed_convolution_adds_what_it_cuts_off_to_the_other_end():
    x, w = images([1.0, 10, 100], [1.0, 2, 3])
    y = jaxconv.conv_transpose1d(x, w, padding=1, padding_mode="circular")  # the sheet is 1 12 123 230 300
    np.testing.assert_array_equal(y[0, 0], [12 + 300, 123, 230 + 1])


def test_groups_of_a_transposed_convolution_keep_their_channels():
    """A reshape in the wrong order permutes the weight's channels where groups and in / groups are both above 1."""
    x = jnp.array([1.0, 10, 100, 1000, 1e4, 1e5]).reshape(1, 6, 1)
    w = jnp.arange(1.0, 13).reshape(6, 2, 1)  # two groups of three channels, to two channels each
    y = jaxconv.conv_transpose1d(x, w, groups=2)
    np.testing.assert_array_equal(y[0, :, 0], [531, 642, 1197000, 1308000])


def test_groups_keep_their_channels():
    x = jnp.array([1.0, 10, 100, 1000]).reshape(1, 4, 1)
    w = jnp.arange(1.0, 13).reshape(6, 2, 1)
    y = jaxconv.conv1d(x, w, groups=2)
    np.testing.assert_array_equal(y[0, :, 0], [21, 43, 65, 8700, 10900, 13100])


# --- gradients to second order -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_second_order_gradients_in_each_mode(mode):
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 2)), rng.standard_normal(2)
    check_derivatives(lambda x, w, b: jaxconv.conv1d(x, w, b, 2, [(2, 3)], 2, padding_mode=mode), (x, w, b))


@pytest.mark.parametrize("f", [jaxconv.conv1d, jaxconv.conv_transpose1d])
def test_gradients_are_what_finite_differences_come_to(f):
    """JAX's own check, to second order."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 3, 2))
    f = jax.jit(functools.partial(f, padding=1, padding_mode="circular"))
    check_grads(f, (x, w), order=2, modes=("fwd", "rev"), rtol=1e-4, atol=1e-4)


SECOND_ORDER = {
    "groups": (lambda x, w: jaxconv.conv2d(x, w, stride=(2, 1), padding=1, groups=2), (1, 4, 4, 3), (6, 2, 2, 3)),
    "channels_last": (
        lambda x, w: jaxconv.conv2d(x, w, padding="same", padding_mode="reflect", data_format="channels_last"),
        (1, 4, 3, 2),
        (3, 2, 2, 3),
    ),
    "3d": (lambda x, w: jaxconv.conv3d(x, w, padding=(0, 1, 0)), (1, 2, 2, 3, 2), (2, 2, 1, 2, 2)),
    "unbatched": (lambda x, w: jaxconv.conv2d(x, w, dilation=(1, 2)), (2, 3, 4), (2, 2, 2, 2)),
    "transposed": (
        lambda x, w: jaxconv.conv_transpose2d(x, w, None, 2, 1, 1, 2, (2, 1)),
        (1, 4, 2, 3),
        (4, 2, 2, 3),
    ),
    "transposed_circular": (
        lambda x, w: jaxconv.conv_transpose1d(x, w, stride=2, padding=2, output_padding=1, padding_mode="circular"),
        (2, 2, 3),
        (2, 3, 4),
    ),
    "input": (
        lambda w, y: jaxconv.conv2d_input((1, 2, 5, 4), w, y, 2, 1, padding_mode="reflect"),
        (3, 2, 2, 3),
        (1, 3, 3, 2),
    ),
    "weight": (
        lambda x, y: jaxconv.conv2d_weight(x, (3, 2, 2, 3), y, 2, 1, padding_mode="symmetric"),
        (1, 2, 5, 4),
        (1, 3, 3, 2),
    ),
}


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_second_order_gradients(name):
    f, *shapes = SECOND_ORDER[name]
    rng = np.random.default_rng(0)
    check_derivatives(f, [rng.standard_normal(s) for s in shapes])


# --- dtypes --------------------------------------------------------------------------------------------------

HALF_TYPES = ("float16", "bfloat16")
# In 16 bits a sum of ones stops at 2048 (float16) or 256 (bfloat16); 4096 is a number of both.
MANY = 4096


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_half_types_accumulate_in_float32(dtype, data_format):
    """Value and input gradient sum over channels, weight and bias gradients over images and positions."""

    @jax.jit
    def compute(x, w, b):
        y, vjp = jax.vjp(lambda x, w, b: jaxconv.conv1d(x, w, b, data_format=data_format), x, w, b)
        return y, *vjp(jnp.ones_like(y))

    def run(batch, channels, length, out_channels):
        x = layout(np.ones((batch, channels, length)), data_format)
        arrays = (jnp.asarray(a, dtype) for a in (x, np.ones((out_channels, channels, 1)), np.zeros(out_channels)))
        results = compute(*arrays)
        assert all(a.dtype == dtype for a in results)
        return results

    y, _, _, _ = run(1, MANY, 2, 3)
    np.testing.assert_array_equal(y.astype("float32"), MANY)
    _, dx, _, _ = run(1, 3, 2, MANY)
    np.testing.assert_array_equal(dx.astype("float32"), MANY)
    _, _, dw, db = run(16, 3, MANY // 16, 2)
    np.testing.assert_array_equal(dw.astype("float32"), MANY)
    np.testing.assert_array_equal(db.astype("float32"), MANY)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_half_types_accumulate_in_float32_under_every_name(dtype):
    ones = lambda *shape: jnp.ones(shape, dtype)  # noqa: E731
    results = [
        jaxconv.conv_transpose1d(ones(1, MANY, 2), ones(MANY, 3, 1)),
        jaxconv.conv1d_input((1, 3, 2), ones(MANY, 3, 1), ones(1, MANY, 2)),
        jaxconv.conv1d_weight(ones(16, 2, MANY // 16), (3, 2, 1), ones(16, 3, MANY // 16)),
        jax.grad(lambda b: jaxconv.conv_transpose1d(ones(16, 2, MANY // 16), ones(2, 3, 1), b).sum())(
            jnp.zeros(3, dtype)
        ),
        # A sum over taps rather than channels.
        jaxconv.conv2d(ones(1, 1, 64, 64), ones(1, 1, 64, 64)),
    ]
    for result in results:
        assert result.dtype == dtype
        np.testing.assert_array_equal(result.astype("float32"), MANY)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_half_types_are_float32_rounded_once(dtype, mode):
    rng = np.random.default_rng(0)
    x, w, b = (jnp.asarray(rng.standard_normal(s), dtype) for s in ((2, 3, 5, 6), (4, 3, 3, 2), 4))
    arguments = {"padding": 1, "padding_mode": mode}
    y = jaxconv.conv2d(x, w, b, **arguments)
    exact = reference.conv(*(np.asarray(a, "float64") for a in (x, w, b)), pads=1, padding_mode=mode)
    # Half a unit in the last place of the product, and half a unit of the sum with the bias.
    assert y.dtype == dtype
    bound = jnp.finfo(dtype).eps * (np.abs(exact) + np.abs(np.asarray(b, "float64")).max()) + 1e-6
    assert (np.abs(np.asarray(y, "float64") - exact) <= bound).all()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_complex_numbers_and_their_transposes(dtype, mode):
    case = next(c for c in CASES if c.name == "2d_groups_everything")
    x, w, b, cotangent = case.arrays("complex128")
    arguments = {**case.reference_arguments(), "padding_mode": mode}
    expected = (
        reference.conv(x, w, b, **arguments),
        reference.conv_input(x.shape, w, cotangent, **arguments),
        reference.conv_weight(x, w.shape, cotangent, **arguments),
        cotangent.sum(axis=(0, 2, 3)),
    )
    x, w, b, cotangent = (a.astype(dtype) for a in (x, w, b, cotangent))

    @jax.jit
    def compute(x, w, b, cotangent):
        arguments = case.arguments() | {"padding_mode": mode}
        y, vjp = jax.vjp(lambda x, w, b: jaxconv.conv2d(x, w, b, **arguments), x, w, b)
        transposed = jaxconv.conv_transpose2d(cotangent, w, output_size=case.size, **arguments)
        return (y, *vjp(cotangent), transposed)

    for actual, wanted in zip(compute(x, w, b, cotangent), (*expected, expected[1]), strict=True):
        assert_close(actual, wanted.astype(dtype), 1e-5 if dtype == "complex64" else 1e-12)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_integers(dtype):
    x, w = np.arange(24).reshape(1, 2, 3, 4).astype(dtype), np.ones((3, 2, 2, 2), dtype)
    b = np.array([0, 1, 2], dtype)
    y = jaxconv.conv2d(x, w, b, padding=((1, 0), (0, 1)), padding_mode="circular")
    expected = reference.conv(x, w, b, pads=((1, 0), (0, 1)), padding_mode="circular")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected.astype(dtype))
    y = jaxconv.conv_transpose2d(x, np.ones((2, 3, 2, 2), dtype), b, stride=2)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, reference.conv_transpose(x, np.ones((2, 3, 2, 2), dtype), b, stride=2))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_preferred_element_type_is_that_of_the_output_and_the_gradients_keep_their_own(dtype):
    wide = "float64" if dtype == "float32" else "float32"
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(s), dtype) for s in ((2, 3, 5), (4, 3, 2)))
    cotangent = rng.standard_normal((2, 4, 4)).astype(wide)

    @jax.jit
    def compute(x, w):
        y, vjp = jax.vjp(lambda x, w: jaxconv.conv1d(x, w, preferred_element_type=wide), x, w)
        t, vjp_t = jax.vjp(lambda y, w: jaxconv.conv_transpose1d(y, w, preferred_element_type=wide), x[:, :2], w[:2])
        return y, *vjp(cotangent), t, *vjp_t(jnp.ones_like(t))

    y, dx, dw, t, dx_t, dw_t = compute(x, w)
    assert (y.dtype, dx.dtype, dw.dtype) == (wide, dtype, dtype)
    assert (t.dtype, dx_t.dtype, dw_t.dtype) == (wide, dtype, dtype)
    exact_x, exact_w = np.asarray(x, "float64"), np.asarray(w, "float64")
    assert_close(y, reference.conv(exact_x, exact_w).astype(wide), 1e-6)
    tolerance = float(jnp.finfo(dtype).eps) * 4
    expected_x = reference.conv_input(x.shape, exact_w, cotangent)
    expected_w = reference.conv_weight(exact_x, w.shape, cotangent)
    np.testing.assert_allclose(np.asarray(dx, "float64"), expected_x, rtol=0, atol=tolerance * abs(expected_x).max())
    np.testing.assert_allclose(np.asarray(dw, "float64"), expected_w, rtol=0, atol=tolerance * abs(expected_w).max())


def test_a_wide_cotangent_is_not_narrowed_before_it_is_summed():
    """1 + 1/1024 is 1 in bfloat16: what is left of it once 1 is taken away is seen only where it is kept."""
    x, w = jnp.ones((1, 1, 2), "bfloat16"), jnp.ones((1, 1, 1), "bfloat16")
    cotangent = jnp.array([[[1 + 2.0**-10, -1]]], "float32")
    for f in (jaxconv.conv1d, jaxconv.conv_transpose1d):
        of_w = jax.vjp(lambda w, f=f: f(x, w, preferred_element_type="float32"), w)[1](cotangent)[0]
        assert (of_w.dtype, float(of_w[0, 0, 0])) == ("bfloat16", 2.0**-10)
    x, w = jnp.ones((1, 1, 1), "bfloat16"), jnp.ones((2, 1, 1), "bfloat16")
    of_x = jax.vjp(lambda x: jaxconv.conv1d(x, w, preferred_element_type="float32"), x)[1](cotangent.reshape(1, 2, 1))[
        0
    ]
    assert (of_x.dtype, float(of_x[0, 0, 0])) == ("bfloat16", 2.0**-10)


def test_preferred_element_type_under_every_name():
    x, w, y = jnp.ones((1, 2, 3), "bfloat16"), jnp.ones((4, 2, 1), "bfloat16"), jnp.ones((1, 4, 3), "bfloat16")
    arguments = {"preferred_element_type": "float32"}
    assert jaxconv.conv1d(x, w, jnp.ones(4, "bfloat16"), **arguments).dtype == "float32"
    assert jaxconv.conv_transpose1d(y, w, **arguments).dtype == "float32"
    assert jaxconv.conv1d_input(x.shape, w, y, **arguments).dtype == "float32"
    assert jaxconv.conv1d_weight(x, w.shape, y, **arguments).dtype == "float32"
    assert jaxconv.conv1d(x.astype("int8"), w.astype("int8"), preferred_element_type=jnp.int32).dtype == "int32"


@pytest.mark.parametrize("precision", ["highest", jax.lax.Precision.HIGH, ("default", "highest"), None])
def test_precision_reaches_every_convolution(precision):
    x, w, y = jnp.ones((1, 2, 3)), jnp.ones((4, 2, 1)), jnp.ones((1, 4, 3))

    def written(f):
        return re.findall(r"precision_config = \[(.*?)\]", jax.jit(f).lower(x, w, y).as_text())

    wanted = written(lambda x, w, y: jax.lax.conv(x, w, (1,), "VALID", precision))
    assert len(wanted) == 1
    arguments = {"precision": precision, "algorithm": "xla"}
    assert written(lambda x, w, y: jaxconv.conv1d(x, w, **arguments)) == wanted
    assert written(lambda x, w, y: jaxconv.conv_transpose1d(y, w, **arguments)) == wanted
    assert written(lambda x, w, y: jaxconv.conv1d_input(x.shape, w, y, **arguments)) == wanted
    assert written(lambda x, w, y: jaxconv.conv1d_weight(x, w.shape, y, **arguments)) == wanted
    of_weight = written(lambda x, w, y: jax.grad(lambda w: jaxconv.conv1d(x, w, **arguments).sum())(w))
    assert len(of_weight) == 1
    assert ("HIGH" in of_weight[0]) == ("HIGH" in wanted[0])


# --- calls ---------------------------------------------------------------------------------------------------


def test_numpy_arrays_and_jax_arrays_are_the_same():
    case = next(c for c in CASES if c.name == "2d_groups_everything")
    x, w, b, y = case.arrays()
    for f, arrays in (
        (jaxconv.conv2d, (x, w, b)),
        (jaxconv.conv_transpose2d, (y, w)),
        (lambda *a, **kw: jaxconv.conv2d_input(x.shape, *a, **kw), (w, y)),
        (lambda x, y, **kw: jaxconv.conv2d_weight(x, w.shape, y, **kw), (x, y)),
    ):
        from_numpy = f(*arrays, **case.arguments())
        assert isinstance(from_numpy, jax.Array)
        np.testing.assert_array_equal(from_numpy, f(*map(jnp.asarray, arrays), **case.arguments()))


def test_float64_is_float32_where_jax_has_no_float64():
    with jax.enable_x64(False):
        assert jaxconv.conv1d(np.ones((1, 1, 3)), np.ones((1, 1, 2))).dtype == "float32"


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unbatched_is_the_only_one_of_a_batch(rank, data_format):
    name = {1: "1d_depthwise_multiplier", 2: "2d_groups_everything", 3: "3d_everything"}[rank]
    case = next(c for c in CASES if c.name == name)
    arguments = case.arguments(data_format)
    x, w, b, y = case.arrays()
    x, y = layout(x, data_format), layout(y, data_format)

    @jax.jit
    def compute(x, w, b, y):
        return (
            CONV[rank](x, w, b, **arguments),
            CONV_INPUT[rank](x.shape, w, y, **arguments),
            CONV_WEIGHT[rank](x, w.shape, y, **arguments),
            CONV_TRANSPOSE[rank](y, w, output_size=case.size, **arguments),
        )

    single, batch = compute(x[0], w, b, y[0]), compute(x[:1], w, b, y[:1])
    for i in (0, 1, 3):
        np.testing.assert_array_equal(single[i], batch[i][0])
    np.testing.assert_array_equal(single[2], batch[2])


def test_arguments_by_position_are_in_pytorchs_order():
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 4, 9)), rng.standard_normal((6, 2, 2)), rng.standard_normal(6)
    y = reference.conv(x, w, b, stride=2, pads=3, dilation=4, groups=2)
    assert_close(jaxconv.conv1d(x, w, b, 2, 3, 4, 2), y)
    assert_close(
        jaxconv.conv1d_input(x.shape, w, y, 2, 3, 4, 2),
        reference.conv_input(x.shape, w, y, stride=2, pads=3, dilation=4, groups=2),
    )
    assert_close(
        jaxconv.conv1d_weight(x, w.shape, y, 2, 3, 4, 2),
        reference.conv_weight(x, w.shape, y, stride=2, pads=3, dilation=4, groups=2),
    )
    w = rng.standard_normal((4, 3, 2))
    expected = reference.conv_transpose(x, w, b, stride=3, padding=2, output_padding=1, groups=2, dilation=4)
    assert_close(jaxconv.conv_transpose1d(x, w, b, 3, 2, 1, 2, 4), expected)


COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compilations():
    """The list of the compilations that XLA was asked for within."""
    seen = []

    def listen(event, duration, **_):
        if event == COMPILED:
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


MIRROR = {"padding": 3, "padding_mode": "reflect"}
EAGER = {
    "conv1d": lambda x, w, y, b, **more: jaxconv.conv1d(x, w, b, **MIRROR, **more),
    "conv1d unbatched": lambda x, w, y, b, **more: jaxconv.conv1d(x[0], w, b, **MIRROR, **more),
    "conv1d_input": lambda x, w, y, b, **more: jaxconv.conv1d_input((len(y), 3, 7), w, y, **MIRROR, **more),
    "conv1d_weight": lambda x, w, y, b, **more: jaxconv.conv1d_weight(x, (5, 3, 2), y, **MIRROR, **more),
    "conv_transpose1d": lambda x, w, y, b, **more: jaxconv.conv_transpose1d(
        y, w, b[:3], padding=3, output_padding=1, stride=2, padding_mode="circular", **more
    ),
}


@pytest.mark.parametrize("name", EAGER)
def test_an_eager_call_is_one_compiled_call(name):
    rng = np.random.default_rng(0)
    # NumPy arrays: indexing one compiles nothing.
    # A batch of 13 is compiled for no other test.
    arrays = [rng.standard_normal(s) for s in ((13, 3, 7), (5, 3, 2), (13, 5, 12), 5)]
    with compilations() as first:
        EAGER[name](*arrays)
    assert len(first) == 1
    with compilations() as second:
        EAGER[name](*(a + 1 for a in arrays))
    assert len(second) == 0


def operations(f, *arrays):
    """The names of a program's operations. JAX 0.12 writes an inlined function as one until it is lowered."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("jit", "pjit"):
                yield from walk(equation.params["jaxpr"].jaxpr)
            else:
                yield equation.primitive.name

    # Nothing is called by the program that XLA is given.
    assert jax.jit(f).lower(*arrays).as_text().count("func.func") == 1
    return list(walk(jax.make_jaxpr(f)(*arrays).jaxpr))


@pytest.fixture
def the_only_device(monkeypatch):
    """JAX as it is where there is one device, for batches that no other test traces."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)


@pytest.mark.parametrize("name", EAGER)
def test_with_algorithm_xla_a_program_holds_only_operations_of_lax(name, the_only_device):
    """So that tools which read programs see the convolution."""
    arrays = [jnp.ones(s) for s in ((17, 3, 7), (5, 3, 2), (17, 5, 12), 5)]
    names = operations(lambda *arrays: EAGER[name](*arrays, algorithm="xla"), *arrays)
    assert names.count("conv_general_dilated") == 1
    plain = {"slice", "rev", "concatenate", "pad", "add", "reshape", "broadcast_in_dim", "transpose", "squeeze"}
    assert set(names) <= plain | {"conv_general_dilated"}


def test_a_plain_call_is_one_operation(the_only_device):
    x, w = jnp.ones((19, 2, 3)), jnp.ones((4, 2, 1))
    assert len(operations(jaxconv.conv1d, x, w)) == 1
    assert operations(lambda x, w: jaxconv.conv1d(x, w, algorithm="xla"), x, w) == ["conv_general_dilated"]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_sizes_along_each_axis_are_their_own(rank):
    """Every axis of a rank takes its own stride, pads and dilation: the shapes say so, over all their orders."""
    size, kernel = (11, 13, 17)[:rank], (2, 3, 4)[:rank]
    for strides in itertools.permutations((1, 2, 3)[:rank]):
        for pads in itertools.permutations(((0, 1), (2, 3), (4, 0))[:rank]):
            x, w = jax.ShapeDtypeStruct((2, 3, *size), "float32"), jax.ShapeDtypeStruct((5, 3, *kernel), "float32")
            arguments = {"stride": strides, "padding": pads, "dilation": strides[::-1]}
            y = jax.eval_shape(lambda x, w, arguments=arguments: CONV[rank](x, w, **arguments), x, w)
            expected = tuple(
                math.floor((n + sum(p) - d * (k - 1) - 1) / s) + 1
                for n, p, d, k, s in zip(size, pads, strides[::-1], kernel, strides, strict=True)
            )
            assert y.shape == (2, 5, *expected)
