"""The pools against PyTorch over seeded samples of calls, against the oracle, and what PyTorch cannot say of them.

Axis lengths are all distinct, so that no transposed axis can pass.
"""

import functools
import inspect
import itertools
import math
import pickle
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import export, lax
from jax.test_util import check_grads
from pool_cases import CASES, KINDS, RANKS, cases

from jaxconv._ops import pooling

pytestmark = pytest.mark.usefixtures("quick_compile")


def function(kind, rank):
    return getattr(pooling, f"{kind}{rank}d")


@pytest.fixture(scope="module")
def torch_side():
    pytest.importorskip("torch")
    import torch_side

    return torch_side


def last(x, rank):
    return np.moveaxis(x, -rank - 1, -1)


def first_of(x, rank):
    return np.moveaxis(np.asarray(x), -1, -rank - 1)


def value_and_gradient(fn, x, cotangent_of):
    """`fn(x)` and its vector-Jacobian product, as one program; the cotangent is made for the value's shape."""
    x = jnp.asarray(x)
    shape = jax.eval_shape(fn, x)
    g = cotangent_of(shape.shape).astype(shape.dtype)

    def both(x, g):
        y, pull = jax.vjp(fn, x)
        return y, pull(g)[0]

    y, dx = jax.jit(both)(x, g)
    return np.asarray(y), g, np.asarray(dx)


# --- a sample of calls ---------------------------------------------------------------------------------------


def numbers(rng, shape, kind):
    """Normal numbers, or few different ones (so many ties), some of them not finite."""
    x = rng.standard_normal(shape)
    if rng.random() < 0.5:
        x = np.round(x)
    if rng.random() < 0.5:
        x = np.where(rng.random(shape) < 0.1, np.nan, x)
    if rng.random() < 0.3:
        x = np.where(rng.random(shape) < (0.7 if kind == "max_pool" else 0.1), -np.inf, x)
    return x


def test_the_sample_is_large_and_distinct():
    drawn = {str((kind, rank, {**call, "seed": 0})) for kind, rank, call in cases()}
    assert len(drawn) >= 300


CHUNK = 20  # calls to a program


def allclose(actual, expected, rtol, atol):
    return np.allclose(actual, expected, rtol, atol, equal_nan=True)


@pytest.mark.parametrize("first", range(0, CASES, CHUNK))
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_pytorch(torch_side, kind, rank, first):
    """Refusals, dtypes, shapes, values and gradients; every call that differs is told."""
    calls = [call for k, r, call in cases() if (k, r) == (kind, rank)][first : first + CHUNK]
    problems, programs, inputs, wanted = [], [], [], []
    for text, call in ((str(call), dict(call)) for call in calls):
        rng = np.random.default_rng(call.pop("seed"))
        x = numbers(rng, call.pop("shape"), kind).astype(np.float32)
        channels_last = call.pop("channels_last")
        theirs = functools.partial(getattr(torch_side, kind), rank=rank, **call)
        ours = functools.partial(
            function(kind, rank), **call, data_format="channels_last" if channels_last else "channels_first"
        )
        given = last(x, rank) if channels_last else x
        refused = torch_side.refusal(theirs, x) is not None
        try:
            shape = jax.eval_shape(ours, jax.ShapeDtypeStruct(given.shape, given.dtype))
        except (ValueError, TypeError) as error:
            problems += [] if refused else [f"{text}: refused: {error}"]
            continue
        if refused:
            problems.append(f"{text}: not refused")
            continue
        g = rng.standard_normal(shape.shape).astype(shape.dtype)
        programs.append(ours)
        inputs.append((given, g))
        if channels_last:
            g = first_of(g, rank)
        # Of an empty value of adaptive_avg_pool PyTorch cannot take the gradient.
        value, gradient = theirs(x, cotangent=g if g.size else None)
        wanted.append((text, channels_last, value, np.zeros_like(x) if gradient is None else gradient))

    def all_of_them(inputs):
        for ours, (x, g) in zip(programs, inputs, strict=True):
            y, pull = jax.vjp(ours, x)
            yield y, *pull(g)

    results = jax.jit(lambda inputs: list(all_of_them(inputs)))(inputs)
    for (text, channels_last, value, gradient), (y, dx) in zip(wanted, results, strict=True):
        y, dx = (first_of(a, rank) if channels_last else np.asarray(a) for a in (y, dx))
        if (y.dtype, y.shape) != (value.dtype, value.shape) or (dx.dtype, dx.shape) != (gradient.dtype, gradient.shape):
            problems.append(f"{text}: {y.dtype}{y.shape} and {dx.dtype}{dx.shape}, not {value.dtype}{value.shape}")
            continue
        if not (np.array_equal(y, value, True) if kind == "max_pool" else allclose(y, value, 1e-5, 1e-6)):
            problems.append(f"{text}: the value is not PyTorch's")
        if not allclose(dx, gradient, 1e-5, 1e-5):
            problems.append(f"{text}: the gradient is not PyTorch's")
    assert not problems, "\n".join(problems)


# --- the oracle ----------------------------------------------------------------------------------------------

ORACLE = [
    ("max_pool", {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool", {"kernel_size": 5, "stride": 1, "padding": 2, "dilation": 1, "ceil_mode": True}),
    ("max_pool", {"kernel_size": 4, "stride": 3, "padding": 2, "dilation": 2, "ceil_mode": True}),
    ("avg_pool", {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("avg_pool", {"kernel_size": 7, "stride": 3, "padding": 3, "ceil_mode": True}),
    ("avg_pool", {"kernel_size": 6, "padding": 3, "ceil_mode": True, "count_include_pad": False}),
    ("adaptive_avg_pool", {"output_size": 4}),
    ("adaptive_avg_pool", {"output_size": 11}),
]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("kind", "call"), ORACLE)
def test_equals_the_oracle_in_float64(kind, call, rank):
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 8, 10)[: 2 + rank])
    with jax.enable_x64(True):
        y = function(kind, rank)(x, **call)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, getattr(reference, kind)(x, **call), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [16, 17, 40, 61])
def test_long_windows(kernel):
    """Too long for a merge per tap."""
    x = np.round(np.random.default_rng(4).standard_normal((2, 1, 83)).astype(np.float32))
    for call in ({"stride": 1, "padding": kernel // 2}, {"stride": kernel}, {"stride": 5, "ceil_mode": True}):
        y = pooling.max_pool1d(x, kernel, **call)
        np.testing.assert_array_equal(y, reference.max_pool(x, kernel, **call))
        y = pooling.avg_pool1d(x, kernel, **call)
        np.testing.assert_allclose(y, reference.avg_pool(x, kernel, **call), atol=1e-6)
    primitives = jax.make_jaxpr(lambda x: pooling.max_pool1d(x, 1000, 1))(jnp.ones((1, 1, 2000))).eqns
    assert len(primitives) < 120


# --- the maximum: ties, NaN, minus infinity -------------------------------------------------------------------


def winners(fn, x, windows):
    """Where the gradients of the windows go, as one flat index each."""
    eye = np.eye(windows, dtype=np.float32).reshape(windows, *jax.eval_shape(fn, x).shape)
    rows = np.asarray(jax.jit(lambda x, eye: jax.vmap(jax.vjp(fn, x)[1])(eye)[0])(x, eye)).reshape(windows, -1)
    assert np.array_equal(np.sort(rows, 1)[:, -2:], [[0, 1]] * windows)
    return np.argmax(rows, 1).tolist()


@pytest.mark.parametrize("kernel", [(2, 3), (3, 5), (6, 7)])
def test_the_first_of_equal_maxima_gets_the_gradient(torch_side, kernel):
    x = jnp.zeros((1, 6, 7)).at[0, 1, 2].set(1).at[0, 1, 0].set(1).at[0, 0, 6].set(1).at[0, 5, 0].set(1)
    fn = functools.partial(pooling.max_pool2d, kernel_size=kernel, stride=1)
    shape = (1, 7 - kernel[0], 8 - kernel[1])
    for window, winner in enumerate(winners(fn, x, np.prod(shape))):
        g = np.zeros(shape, np.float32)
        g.reshape(-1)[window] = 1
        _, dx = torch_side.max_pool(np.asarray(x), kernel, 1, rank=2, cotangent=g)
        assert winner == dx.argmax()


def test_rules_of_the_winner():
    nan, inf = np.nan, np.inf
    box = jax.jit(jax.grad(lambda x: pooling.max_pool2d(x, 3)[0, 0, 0]))

    def winner(*rows):
        return box(jnp.asarray([rows], jnp.float32)).argmax()

    assert winner((7, 7, 7), (7, 7, 7), (7, 7, 7)) == 0
    assert winner((0, 1, 7), (7, 0, 0), (7, 7, 7)) == 2  # the first row, not the first column
    assert winner((nan, 1, 2), (3, nan, 5), (9, 9, 1)) == 4  # the last NaN
    assert winner((1, inf, 2), (inf, nan, 5), (9, 9, 1)) == 4
    assert winner((-inf, -inf, -inf), (-inf,) * 3, (-inf,) * 3) == 0
    for kernel in (3, 5, 9):  # a position of the padding loses against minus infinity
        fn = functools.partial(pooling.max_pool1d, kernel_size=kernel, stride=1, padding=kernel // 2)
        expected = [max(i - kernel // 2, 0) for i in range(11)]
        assert winners(fn, jnp.full((1, 11), -inf), 11) == expected


def test_a_window_in_the_padding_has_no_winner():
    """Both taps miss the image: PyTorch's backward pass writes beyond the end of its array."""
    y, pull = jax.vjp(lambda x: pooling.max_pool1d(x, 2, 1, 1, dilation=3), jnp.ones((1, 2)))
    assert y.tolist() == [[-np.inf]]
    assert pull(jnp.ones((1, 1)))[0].tolist() == [[0, 0]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32"])
def test_integers(torch_side, dtype):
    x = np.random.default_rng(5).integers(0, 100, (2, 7, 6)).astype(dtype)
    x = x if dtype[0] == "u" else x - 100  # the padding is below them too
    y = pooling.max_pool2d(x, 3, 2, 1)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, torch_side.max_pool(x, 3, 2, 1, rank=2)[0])
    np.testing.assert_array_equal(pooling.max_pool1d(x, 5, 1, 2)[0, :, 2:-2], reference.max_pool(x, 5, 1)[0])


# --- where the maxima are -------------------------------------------------------------------------------------

INDEXED = [
    *(
        ("max_pool", call)
        for call in (
            ((3, 4), (1, 2), (1, 2), 1, False),
            ((2, 3), None, 0, 1, True),  # side by side
            ((6, 5), 1, (3, 2), 1, True),  # long ones
            ((3, 2), 2, 1, (2, 3), True),
            ((7, 4), (7, 4), 0, 1, False),  # side by side, of more taps than are merged one by one
            (1, 2, 0, 1, False),
        )
    ),
    *(("adaptive_max_pool", (sizes,)) for sizes in ((1, 1), (2, 3), (5, 11), (4, 2), (8, None), (3, 0))),
]


def many_ties(seed):
    """Images of few different numbers, of minus infinity in large parts or wholly, and with NaN."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal((4, 2, 8, 9)))
    x[1][rng.random(x[1].shape) < 0.3] = np.nan
    x[2][rng.random(x[2].shape) < 0.9] = -np.inf
    x[3] = -np.inf
    return x.astype(np.float32)


@pytest.mark.parametrize("x64", [False, True])
def test_indices_are_pytorchs(torch_side, x64):
    """Those of the first of equal maxima and of the last NaN, and never one of the padding."""
    x = many_ties(0)
    cases = [x, *(np.nan_to_num(x).clip(-3, 3).astype(d) for d in ("int32", "int8")), (x[:3] > 0).astype("uint8") * 255]
    cases[2][...] = -128  # which is the padding's number, too
    programs, wanted = [], []
    for number, given in enumerate(cases):
        for kind, call in INDEXED:
            if kind.startswith("adaptive") and number:
                continue  # PyTorch has no kernel for it
            theirs = getattr(torch_side.F, f"{kind}2d")
            wanted.append(torch_side.run(lambda x, f=theirs, c=call: f(x, *c, return_indices=True), [given]).value)
            programs.append(functools.partial(function(kind, 2), return_indices=True))
            programs[-1] = lambda xs, f=programs[-1], c=call, n=number: f(xs[n], *c)
    with jax.enable_x64(x64):
        results = jax.jit(lambda xs: [run(xs) for run in programs])(cases)
    for (kind, call), got, want in zip([*INDEXED, *INDEXED[:6] * 3], results, wanted, strict=True):
        np.testing.assert_array_equal(got[0], want[0], str((kind, call)))
        np.testing.assert_array_equal(got[1], want[1], str((kind, call)))
        assert got[1].dtype == ("int64" if x64 else "int32")


def test_the_maxima_are_the_same_without_their_indices_and_so_are_their_gradients():
    x = jnp.asarray(distinct((2, 3, 9, 8)), jnp.float32)

    def both(x):
        for kind, call in INDEXED:
            f = function(kind, 2)
            alone, pull = jax.vjp(lambda x, f=f, call=call: f(x, *call), x)
            value, pull_too, indices = jax.vjp(
                lambda x, f=f, call=call: f(x, *call, return_indices=True), x, has_aux=True
            )
            g = jnp.cos(alone)
            yield (alone, *pull(g)), (value, *pull_too(g)), indices

    for alone, with_indices, indices in jax.jit(lambda x: list(both(x)))(x):
        np.testing.assert_array_equal(alone[0], with_indices[0])
        # What several windows send to a position is added in another order.
        np.testing.assert_allclose(alone[1], with_indices[1], rtol=1e-6)
        taken = np.take_along_axis(np.asarray(x).reshape(2, 3, 72), np.asarray(indices).reshape(2, 3, -1), -1)
        np.testing.assert_array_equal(taken.reshape(indices.shape), alone[0])


def test_the_index_of_a_window_in_the_padding_is_no_position_of_the_image():
    value, index = pooling.max_pool1d(jnp.ones((1, 2)), 2, 1, 1, 3, False, True)
    assert value.tolist() == [[-np.inf]]
    assert index.tolist() == [[2]]  # PyTorch's


def test_planes_of_more_than_32_bits_are_counted_in_64():
    sizes = jax.ShapeDtypeStruct((1, 2**16, 2**16), jnp.uint8)
    pool = functools.partial(pooling.max_pool2d, kernel_size=2, return_indices=True)
    with pytest.raises(ValueError, match="return_indices=True needs 64 bits"):
        jax.eval_shape(pool, sizes)
    assert jax.eval_shape(functools.partial(pooling.max_pool2d, kernel_size=2), sizes).shape == (1, 2**15, 2**15)
    with jax.enable_x64(True):
        assert jax.eval_shape(pool, sizes)[1].dtype == "int64"
        assert "i32[" not in str(jax.make_jaxpr(pool)(sizes))


# --- unpooling -----------------------------------------------------------------------------------------------


def test_an_index_that_stands_twice(torch_side):
    """The last in row order holds, and each of them gets the gradient."""
    x, places = np.arange(1.0, 7).astype(np.float32).reshape(1, 6), np.array([[3, 1, 3, 0, 1, 3]])
    g = np.arange(12.0, dtype=np.float32).reshape(1, 12)
    theirs = torch_side.run(lambda x, i: torch_side.F.max_unpool1d(x, i, 2), [x, places], cotangent=g)
    y, pull = jax.vjp(lambda x: pooling.max_unpool1d(x, places, 2), x)
    np.testing.assert_array_equal(y, theirs.value)
    np.testing.assert_array_equal(pull(g)[0], theirs.gradients[0])


def test_an_index_outside_of_the_plane(torch_side):
    x = jnp.ones((1, 3))
    for places in (np.array([[0, 6, 2]]), np.array([[0, -1, 2]])):
        theirs = functools.partial(torch_side.F.max_unpool1d, torch_side.to_torch(x), torch_side.to_torch(places), 2)
        assert torch_side.refuses(theirs)
        for given in (places, jnp.asarray(places)):
            with pytest.raises(ValueError, match="indices must be positions in planes of shape"):
                pooling.max_unpool1d(x, given, 2)
            with pytest.raises(ValueError, match="indices must be positions"):  # which is known here, too
                jax.grad(lambda x, given=given: pooling.max_unpool1d(x, given, 2).sum())(x)
        # Where it cannot be looked at it writes nothing: not before the plane's end either.
        y, pull = jax.vjp(lambda x, p=places: jax.jit(pooling.max_unpool1d, static_argnums=2)(x, p, 2), x)
        assert y.tolist() == [[1, 0, 1, 0, 0, 0]]
        assert pull(jnp.ones((1, 6)))[0].tolist() == [[1, 0, 1]]


def test_unpooling_undoes_a_pool():
    x = jnp.asarray(distinct((2, 3, 9, 8)), jnp.float32)
    for call in ((2,), ((3, 2), (2, 3)), (3, 2, 1)):
        value, indices = pooling.max_pool2d(x, *call, return_indices=True)
        back = pooling.max_unpool2d(value, indices, *call, output_size=x.shape)
        np.testing.assert_array_equal(back, np.where(np.isin(x, value), x, 0))
        again = pooling.max_pool2d(back, *call)
        np.testing.assert_array_equal(again, value)


def test_the_sizes_that_unpooling_refuses():
    """PyTorch's, of 5 positions and a stride of 3, are from 13 to 17; and no window is empty."""
    x, places = np.ones((2, 5), "float32"), np.tile(np.arange(5), (2, 1))
    for size in (13, 17):
        assert pooling.max_unpool1d(x, places, 3, output_size=(size,)).shape == (2, size)
    for size in (12, 18):
        with pytest.raises(ValueError, match=r"output_size\[0\] must be from 13 to 17"):
            pooling.max_unpool1d(x, places, 3, output_size=(size,))
    with pytest.raises(ValueError, match="kernel_size must be positive, got 0"):
        pooling.max_unpool1d(x, places, 0)


def test_dtypes_of_unpooling():
    for dtype in ("int8", "uint8", "int32", "float16", "bfloat16"):
        y = pooling.max_unpool1d(jnp.ones((1, 3), dtype), np.array([[0, 2, 5]], np.int32), 2)
        assert y.dtype == dtype
        assert y.astype(int).tolist() == [[1, 0, 1, 0, 0, 1]]


# --- norms ---------------------------------------------------------------------------------------------------


def test_a_sum_of_zero_gives_no_gradient(torch_side):
    x = np.array([[0, 0, 3, 4, 0, 0, 1, -1]], np.float32)
    for power in (1, 2, 0.5, 3, np.inf):
        theirs = torch_side.run(lambda x, p=power: torch_side.F.lp_pool1d(x, p, 2), [np.abs(x)], cotangent=True)
        with jax.debug_nans(power >= 1):
            y, pull = jax.vjp(lambda x, p=power: pooling.lp_pool1d(x, p, 2), jnp.abs(x))
            np.testing.assert_allclose(y, theirs.value, rtol=1e-6)
            np.testing.assert_allclose(pull(jnp.ones_like(y))[0], theirs.gradients[0], rtol=1e-5)
    assert np.isnan(pooling.lp_pool1d(jnp.array([[-1.0, -2]]), 3, 2)).all()  # the third root of a negative number


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_16_bits_are_computed_in_float32(dtype):
    x = jnp.asarray([[300, 400, 1, 2]], dtype)  # whose squares are beyond float16
    y = pooling.lp_pool1d(x, 2, 2)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype(float), [[500, 5**0.5]], rtol=4e-3)


# --- the average ---------------------------------------------------------------------------------------------


def test_int64_is_truncated(torch_side):
    x = np.arange(-10, 25).reshape(1, 5, 7)
    with jax.enable_x64(True):
        for divisor in (None, -3):
            y = np.asarray(pooling.avg_pool2d(x, 2, 2, 1, divisor_override=divisor))
            assert y.dtype == np.int64
            np.testing.assert_array_equal(y, torch_side.avg_pool(x, 2, 2, 1, False, True, divisor, rank=2)[0])


def test_complex_numbers():
    x = np.random.default_rng(6).standard_normal((2, 2, 3, 9, 7)).astype(np.float32)
    for fn in (lambda x: pooling.avg_pool2d(x, 3, 2, 1), lambda x: pooling.adaptive_avg_pool2d(x, (2, 7))):
        np.testing.assert_allclose(fn(x[0] + 1j * x[1]), fn(x[0]) + 1j * fn(x[1]), rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_stays_in_its_windows():
    x = np.ones((1, 1, 10), np.float32)
    x[..., 4] = np.nan
    assert np.isnan(pooling.adaptive_avg_pool1d(x, 7)).sum() == np.isnan(reference.adaptive_avg_pool(x, 7)).sum() == 2
    assert np.isnan(pooling.avg_pool1d(x, 4, 1)).tolist() == [[[False] + [True] * 4 + [False] * 2]]


# --- 16-bit floats -------------------------------------------------------------------------------------------

HALF = [
    ("max_pool", {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("avg_pool", {"kernel_size": 5, "stride": 2, "padding": 2, "ceil_mode": True, "count_include_pad": False}),
    ("adaptive_avg_pool", {"output_size": (5, 7)}),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("kind", "call"), HALF)
def test_half_types_are_accumulated_in_float32(torch_side, kind, call, dtype):
    rng = np.random.default_rng(7)
    x = np.asarray(jnp.asarray(rng.standard_normal((2, 3, 9, 14)), dtype))
    y, g, dx = value_and_gradient(functools.partial(function(kind, 2), **call), x, rng.standard_normal)
    assert y.dtype == dx.dtype == dtype
    value, _ = getattr(torch_side, kind)(x, rank=2, **call)
    assert value.dtype == dtype
    unit = float(jnp.finfo(dtype).eps)
    # PyTorch adds some gradients up in 16 bits; the gradient here is the float64 one, rounded.
    wide, exact = getattr(torch_side, kind)(x.astype(np.float64), rank=2, cotangent=g.astype(np.float64), **call)
    for got, want, few in ((y, value, unit), (y, wide, unit / 2), (dx, exact, unit / 2)):
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=1.01 * few, atol=1e-6)


# --- transformations -----------------------------------------------------------------------------------------


def _indices(value_and_indices):
    """Both as one array, of which the gradient is that of the first."""
    value, indices = value_and_indices
    return value + indices.astype(value.dtype)


CALLS = [
    lambda x: _indices(pooling.max_pool2d(x, (3, 2), (2, 1), 1, return_indices=True)),
    lambda x: _indices(pooling.max_pool2d(x, 2, return_indices=True)),
    lambda x: _indices(pooling.adaptive_max_pool2d(x, (3, 4), True)),
    lambda x: pooling.lp_pool2d(x, 2, (3, 2), 1),
    lambda x: pooling.max_pool2d(x, (3, 2), (2, 1), 1),
    lambda x: pooling.max_pool2d(x, (5, 4), 1, (2, 1), 1, True),
    lambda x: pooling.avg_pool2d(x, (3, 2), 2, 1, True, False),
    lambda x: pooling.adaptive_avg_pool2d(x, (3, 4)),
]


def unpool(x):
    return pooling.max_unpool2d(*pooling.max_pool2d(x, 2, return_indices=True), 2, output_size=(7, 6))


def distinct(shape):
    """Numbers that are far from each other for a difference quotient."""
    return np.random.default_rng(8).permutation(np.prod(shape)).reshape(shape) / 10.0


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: pooling.max_pool1d(x, 3, 2, 1),
        lambda x: pooling.max_pool1d(x, 7, 1, 3),
        lambda x: pooling.max_pool2d(x[..., None], (2, 1))[..., 0],
        lambda x: pooling.avg_pool1d(x, 4, 3, 2, True, False),
        lambda x: pooling.adaptive_avg_pool1d(x, 4),
        lambda x: pooling.adaptive_max_pool1d(x, 4),
        lambda x: pooling.adaptive_max_pool1d(x, 1),
        lambda x: pooling.lp_pool1d(x + 1, 2.5, 3, 2, True),
        lambda x: pooling.max_unpool1d(*pooling.max_pool1d(x, 2, return_indices=True), 2),
    ],
)
def test_gradients_of_order_two(fn):
    with jax.enable_x64(True):
        x = jnp.asarray(distinct((1, 2, 10)))
        check_grads(jax.jit(lambda x: fn(x) ** 2), (x,), order=2, modes=("fwd", "rev"), eps=1e-3)


@pytest.mark.parametrize("fn", [*CALLS, unpool])
def test_vmap_jit_and_scan(fn):
    x = distinct((3, 2, 4, 7, 6)).astype(np.float32)
    each = np.stack([fn(image) for image in x])
    for axis in (0, 2):
        moved = jax.jit(jax.vmap(fn, in_axes=axis, out_axes=axis))(np.moveaxis(x, 0, axis))
        np.testing.assert_allclose(moved, np.moveaxis(each, 0, axis), rtol=1e-6)
    scanned = jax.jit(lambda x: lax.scan(lambda _, image: (None, fn(image)), None, x)[1])(x)
    np.testing.assert_allclose(scanned, each, rtol=1e-6)
    np.testing.assert_allclose(fn(x[0, 0]), each[0, 0], rtol=1e-6)  # without a batch


@pytest.mark.parametrize("fn", CALLS)
def test_no_loop_and_no_call_is_left_in_a_program(fn):
    program = jax.make_jaxpr(jax.grad(lambda x: fn(x).sum()))(jnp.ones((2, 3, 7, 6)))
    names = {equation.primitive.name for equation in program.eqns}
    assert not names & {
        "while",
        "scan",
        "custom_jvp_call",
        "custom_vjp_call",
        "reduce_window",
        "select_and_scatter_add",
    }


SYMBOLIC = [
    *CALLS[4:7],
    lambda x: _indices(
        pooling.max_pool2d(x, 3, 2, 1, ceil_mode=True, data_format="channels_last", return_indices=True)
    ),
    lambda x: _indices(pooling.max_pool2d(x, 2, return_indices=True)),
    lambda x: _indices(pooling.adaptive_max_pool2d(x, (3, 11), True)),
    lambda x: _indices(pooling.adaptive_max_pool2d(x, (None, 1), True)),
    lambda x: pooling.lp_pool2d(x, 2, 3, 2, True),
    lambda x: pooling.max_unpool2d(*pooling.max_pool2d(x, 2, return_indices=True), 2),
    lambda x: pooling.max_pool2d(x, 3, 2, 1, ceil_mode=True, data_format="channels_last"),
    lambda x: pooling.avg_pool2d(x, 6, 2, 3),
    lambda x: pooling.adaptive_avg_pool2d(x, (None, 1)),
    lambda x: pooling.adaptive_avg_pool2d(x, (3, 11)),
    lambda x: pooling.max_pool2d(x, (2, 6), 1, (1, 0), (3, 1), data_format="channels_last"),
    lambda x: pooling.adaptive_avg_pool2d(pooling.max_pool2d(pooling.max_pool2d(x, 2), 3, 2, 1), 2),
]


@pytest.mark.parametrize("fn", SYMBOLIC)
def test_symbolic_sizes(fn):
    sizes = export.symbolic_shape("n, h, w")
    shape = jax.ShapeDtypeStruct((sizes[0], *sizes[1:], 8), jnp.float32)
    gradient = jax.grad(lambda x: (fn(x) ** 2).sum())
    both = jax.jit(lambda x: (fn(x), gradient(x)))
    program = export.export(both)(shape)
    x = jnp.asarray(distinct((2, 9, 7, 8)), jnp.float32)
    for got, want in zip(jax.jit(program.call)(x), jax.jit(both)(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_symbolic_batch_serves_every_pool():
    (batch,) = export.symbolic_shape("n")
    for fn in (*CALLS, unpool):
        program = export.export(jax.jit(fn))(jax.ShapeDtypeStruct((batch, 2, 7, 6), jnp.float32))
        x = jnp.asarray(distinct((5, 2, 7, 6)), jnp.float32)
        np.testing.assert_allclose(jax.jit(program.call)(x), fn(x), rtol=1e-5)


def test_many_windows_are_computed_by_the_program(monkeypatch):
    monkeypatch.setattr(pooling, "_LISTED", 0)
    rng = np.random.default_rng(0)
    for _ in range(8):
        # Of most of these 32 bits do not hold the product.
        n, m = (int(rng.integers(2**15, 2**bits)) for bits in (31, 18))
        n, m = n // math.gcd(n, m), m // math.gcd(n, m)
        start, end = jax.jit(pooling._adaptive_windows, static_argnums=(0, 1))(n, m)
        i = np.arange(m)
        np.testing.assert_array_equal(start, i * n // m)
        np.testing.assert_array_equal(end, -(-(i + 1) * n // m))
    # Windows that both ends cut, in shapes of no other test: what is compiled already is not traced again.
    for n, k, s, p, ceil in itertools.product((11, 12), (4, 13), (1, 3), (2,), (False, True)):
        x = rng.standard_normal((1, 29, n))
        wanted = reference.avg_pool(x, k, s, p, ceil, count_include_pad=False)
        found = pooling.avg_pool1d(x.astype("float32"), k, s, p, ceil, count_include_pad=False)
        np.testing.assert_allclose(found, wanted, 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("fn", "size"),
    [
        (lambda x: pooling.adaptive_avg_pool1d(x, 2**28 + 1), 7),
        (lambda x: pooling.adaptive_max_pool1d(x, 2**28 + 1, return_indices=True)[0], 7),
        (lambda x: pooling.avg_pool1d(x, 3, 1, 1, count_include_pad=False), 2**28 + 1),
        (lambda x: pooling.avg_pool1d(x, 4, 1, 2, ceil_mode=True), 2**28),
    ],
)
def test_the_shape_of_many_windows_takes_no_array_of_them(fn, size):
    tracemalloc.start()
    try:
        assert jax.eval_shape(fn, jax.ShapeDtypeStruct((1, 1, size), jnp.float32)).shape == (1, 1, 2**28 + 1)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_zero_batch():
    for fn in (*CALLS, unpool):
        y, _, dx = value_and_gradient(fn, np.ones((0, 3, 7, 6), np.float32), np.ones)
        assert y.shape == (0, *jax.eval_shape(fn, jnp.ones((3, 7, 6))).shape)
        assert dx.shape == (0, 3, 7, 6)


# --- what is refused -----------------------------------------------------------------------------------------

WINDOWS = [
    *({"kernel_size": k} for k in (0, -1, 7, 2.0, True, "2", None, (), (2, 2, 2, 2), (2.0,))),
    *({"kernel_size": 2, "stride": s} for s in (0, -1, 1.5, True, "1", (1, 1, 1, 1), (0,))),
    *({"kernel_size": 2, "padding": p} for p in (-1, 2, 0.5, True, "same", (), (1, 1, 1, 1), None)),
    {"kernel_size": 3, "padding": 2},
    {"kernel_size": 9, "stride": 2, "ceil_mode": True},
    *({"kernel_size": 2, "ceil_mode": c} for c in (1, None, "no")),
]
MAX = [
    *({"kernel_size": 3, "dilation": d} for d in (0, -1, 4, True, (), (1, 1, 1, 1), 1.0)),
    {"kernel_size": 3, "dilation": 2, "padding": 2},
]
AVG = [
    *({"kernel_size": 2, "count_include_pad": c} for c in (1, None, "no")),
    *({"kernel_size": 2, "divisor_override": d} for d in (0, 2.5, True, "2")),
]
OUTPUT_SIZES = [{"output_size": m} for m in (-1, None, 2.0, True, "2", (), (2, 2, 2, 2), (2.0,), (-1,))]
REFUSED = [
    *(("max_pool", rank, call) for rank in RANKS for call in (*WINDOWS, *MAX)),
    *(("avg_pool", rank, call) for rank in RANKS for call in (*WINDOWS, *AVG)),
    *(("adaptive_avg_pool", rank, call) for rank in RANKS for call in OUTPUT_SIZES),
    ("avg_pool", 3, {"kernel_size": 7, "padding": 1}),
    ("avg_pool", 3, {"kernel_size": 7, "ceil_mode": True}),
    ("adaptive_avg_pool", 1, {"output_size": (None,)}),
    ("adaptive_avg_pool", 2, {"output_size": (2,)}),
]


@pytest.mark.parametrize(("kind", "rank", "call"), REFUSED)
def test_refuses_what_pytorch_refuses(torch_side, kind, rank, call):
    x = np.zeros((2, 3, 6, 6, 6)[: 2 + rank], np.float32)
    theirs = getattr(torch_side.F, f"{kind}{rank}d")
    assert torch_side.refuses(theirs, torch_side.to_torch(x), **call)
    with pytest.raises((ValueError, TypeError)):
        function(kind, rank)(x, **call)


SHAPES = [(6,), (2, 2, 3, 6), (0, 3, 6), (2, 0, 6), (2, 3, 0), (0, 0, 6), (0, 6), (3, 0), (3, 6), (0, 3, 0)]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", KINDS)
def test_accepts_the_shapes_that_pytorch_accepts(torch_side, kind, rank):
    for shape in SHAPES:
        x = np.zeros((*shape, *(6,) * (rank - 1)), np.float32)
        theirs = getattr(torch_side.F, f"{kind}{rank}d")
        ours = functools.partial(jax.eval_shape, lambda x: function(kind, rank)(x, 2), x)
        if (kind, rank, shape[1:]) == ("adaptive_avg_pool", 3, (0, 6)):
            assert ours().shape == (shape[0], 0, 2, 2, 2)  # which PyTorch accepts in one and two dimensions only
        elif torch_side.refuses(theirs, torch_side.to_torch(x), 2):
            with pytest.raises(ValueError, match=r"input .* got shape"):
                ours()
        else:
            assert ours().shape == tuple(theirs(torch_side.to_torch(x), 2).shape)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes(torch_side, kind, rank):
    """PyTorch's, and where only its kernels on a CPU leave one out, that one too."""
    more = {
        ("max_pool", 1): {"int8", "int16", "int32", "int64", "uint8"},  # its max_pool2d takes them
        ("avg_pool", 3): {"float16", "bfloat16"},  # on a GPU it takes them
    }.get((kind, rank), set())
    if kind == "avg_pool":
        more |= {"complex64", "complex128"}  # as its adaptive_avg_pool does
    torch = torch_side.torch
    with jax.enable_x64(True):
        for name in (
            *("float16", "bfloat16", "float32", "float64", "bool", "complex64", "complex128"),
            *("int8", "int16", "int32", "int64", "uint8"),
        ):
            x = torch.zeros((3, *(4,) * rank), dtype=getattr(torch, name))
            theirs = getattr(torch.nn.functional, f"{kind}{rank}d")
            ours = functools.partial(
                jax.eval_shape, lambda x: function(kind, rank)(x, 1), jax.ShapeDtypeStruct(x.shape, name)
            )
            if name in more or not torch_side.refuses(theirs, x, 1):
                assert ours().dtype == name
            else:
                with pytest.raises(TypeError, match=rf"input has dtype {name}, .*; convert it, for example input\."):
                    ours()


# --- the interface -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", [*KINDS, "adaptive_max_pool", "lp_pool", "max_unpool"])
def test_interface(kind, rank):
    fn, name = function(kind, rank), f"{kind}{rank}d"
    assert (fn.__name__, fn.__qualname__, fn.__module__) == (name, name, "jaxconv._ops.pooling")
    assert pickle.loads(pickle.dumps(fn)) is fn
    window = ["kernel_size", "stride=None", "padding=0"]
    arguments = {
        "max_pool": [*window, "dilation=1", "ceil_mode=False", "return_indices=False"],
        "avg_pool": [*window, "ceil_mode=False", "count_include_pad=True", *["divisor_override=None"] * (rank > 1)],
        "adaptive_avg_pool": ["output_size"],
        "adaptive_max_pool": ["output_size", "return_indices=False"],
        "lp_pool": ["norm_type", "kernel_size", "stride=None", "ceil_mode=False"],
        "max_unpool": ["indices", *window, "output_size=None"],
    }[kind]
    signature = inspect.signature(fn)
    shown = str(signature.replace(parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()]))
    assert shown.startswith(f"({', '.join(['input', *arguments])}, *, data_format='channels_first')")
    assert fn.__doc__ is not None
    assert "{" not in fn.__doc__
    assert "@" not in fn.__doc__
    for parameter in signature.parameters:
        assert f"\n        {parameter}: " in fn.__doc__
