"""The oracle against PyTorch in float64, over seeded samples of configurations, and against its own algebra.

Axis lengths are all distinct and nothing is symmetric that need not be, so that no transposed axis, swapped pair
or confused kernel can pass.
"""

import math

import numpy as np
import pytest
import reference

torch = pytest.importorskip("torch")
import torch_side  # noqa: E402 - it imports torch

RANKS = (1, 2, 3)
TORCH_MODES = ("zeros", "reflect", "replicate", "circular")
MODES = (*TORCH_MODES, "symmetric")
SAMPLE = 60  # configurations per rank and mode


def close(got, want, config):
    assert got.shape == want.shape, config
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12, err_msg=str(config))


def numbers(rng, *shape, dtype=np.float64):
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if dtype == np.complex128 else x.astype(dtype)


def axes(rng, rank, low, high):
    """Axis lengths in [low, high), all different."""
    return tuple(int(n) for n in rng.choice(np.arange(low, high), rank, replace=False))


def each(rng, rank, low, high):
    return tuple(int(n) for n in rng.integers(low, high, rank))


def draw_pads(rng, spatial, mode, most=3):
    """Pads that PyTorch admits, crops among them, with a result that is not empty.

    `reflect` and `replicate` admit a crop of more than there is, if the other side makes up for it.
    """
    least = {"zeros": 0, "circular": 1}.get(mode, -math.inf)  # what the crop must leave
    pads = []
    for n in spatial:
        while True:
            low, high = (int(p) for p in rng.integers(-3, most + 1, 2))
            left = n - max(-low, 0) - max(-high, 0)  # what the crop leaves
            limit = {"reflect": n - 1, "circular": left}.get(mode, math.inf)
            if max(low, high) <= limit and left >= least and n + low + high > 0:
                break
        pads.append((low, high))
    return tuple(pads)


def draw_conv(rng, rank, mode, pads=None, dtype=np.float64):
    """x, w, b and the keyword arguments of a convolution that fits."""
    while True:
        spatial = axes(rng, rank, 4, 10)
        groups = int(rng.integers(1, 4))
        config = {
            "stride": each(rng, rank, 1, 4),
            "pads": draw_pads(rng, spatial, mode) if pads is None else pads(rng, spatial),
            "dilation": each(rng, rank, 1, 4),
            "groups": groups,
            "padding_mode": mode,
        }
        kernel = each(rng, rank, 1, 4)
        reach = [d * (k - 1) + 1 for d, k in zip(config["dilation"], kernel, strict=True)]
        padded = [n + low + high for n, (low, high) in zip(spatial, config["pads"], strict=True)]
        if all(p >= r for p, r in zip(padded, reach, strict=True)):
            break
    per_in, per_out = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    x = numbers(rng, rng.integers(1, 4), groups * per_in, *spatial, dtype=dtype)
    w = numbers(rng, groups * per_out, per_in, *kernel, dtype=dtype)
    return x, w, numbers(rng, groups * per_out, dtype=dtype), config


def torch_conv(x, w, b, config, **more):
    config = dict(config)
    return torch_side.conv(x, w, b, padding=config.pop("pads"), **config, **more)


# --- padding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", TORCH_MODES)
@pytest.mark.parametrize("rank", RANKS)
def test_pad_is_pytorchs(rank, mode):
    rng = np.random.default_rng(rank)
    for _ in range(SAMPLE):
        spatial = axes(rng, rank, 2, 7)
        pads = draw_pads(rng, spatial, mode, most=6)
        x = numbers(rng, 2, 3, *spatial)
        value = 0.5 if mode == "zeros" else None
        y, _ = torch_side.pad(x, torch_side.flat_pads(pads), "constant" if mode == "zeros" else mode, value)
        assert np.array_equal(reference.pad(x, pads, mode, value or 0.0), y), (spatial, pads)


@pytest.mark.parametrize("mode", MODES)
def test_pad_is_numpys_at_any_amount(mode):
    """NumPy knows no negative amounts, but goes on reflecting, wrapping and mirroring beyond one image."""
    numpys = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(mode, mode)
    for n in (1, 2, 3, 5):
        x = np.arange(1.0, 1.0 + n)
        for low in range(3 * n):
            for high in range(3 * n):
                got = reference.pad(x, [(low, high)], mode)
                assert np.array_equal(got, np.pad(x, (low, high), mode=numpys)), (n, low, high)


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        ("zeros", [2, 3, 9, 9, 9]),
        ("reflect", [2, 3, 2, 1, 0]),  # 1 and 0 were cropped, and come back
        ("replicate", [2, 3, 3, 3, 3]),
        ("circular", [2, 3, 2, 3, 2]),  # 0 and 1 were cropped, and stay away
        ("symmetric", [2, 3, 3, 2, 1]),
    ],
)
def test_a_crop_beside_a_positive_amount(mode, want):
    assert reference.pad(np.arange(4), [(-2, 3)], mode, 9).tolist() == want


def test_padding_of_nothing():
    assert reference.pad(np.zeros((2, 0)), [(1, 2)], "zeros", 7.0).tolist() == [[7.0] * 3] * 2
    for mode in MODES[1:]:
        assert reference.pad(np.zeros((2, 0)), [(0, 0)], mode).shape == (2, 0)
        with pytest.raises(ValueError, match="nothing to read"):
            reference.pad(np.zeros((2, 0)), [(1, 2)], mode)
    with pytest.raises(ValueError, match="nothing to read"):
        reference.pad(np.zeros(3), [(-3, 2)], "circular")
    with pytest.raises(ValueError, match="crop more"):
        reference.pad(np.zeros(3), [(-4, 0)], "zeros")
    with pytest.raises(ValueError, match="unknown padding mode 'wrap'"):
        reference.pad(np.zeros(3), [(0, 0)], "wrap")


# --- convolution -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", TORCH_MODES)
@pytest.mark.parametrize("rank", RANKS)
def test_conv_and_its_adjoints_are_pytorchs(rank, mode):
    rng = np.random.default_rng(10 + rank)
    for _ in range(SAMPLE):
        x, w, b, config = draw_conv(rng, rank, mode)
        y = reference.conv(x, w, b, **config)
        g = numbers(rng, *y.shape)
        want = torch_conv(x, w, b, config, cotangent=g)
        close(y, want[0], config)
        close(reference.conv_input(x.shape, w, g, **config), want[1], config)
        close(reference.conv_weight(x, w.shape, g, **config), want[2], config)
        close(g.sum(axis=(0, *range(2, g.ndim))), want[3], config)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", RANKS)
def test_adjoint_identities(rank, mode):
    """<y, conv(x, w)> = <conv_input(w, y), x> = <conv_weight(x, y), w>, without conjugation."""
    rng = np.random.default_rng(20 + rank)
    for i in range(SAMPLE):
        x, w, _, config = draw_conv(rng, rank, mode, dtype=np.complex128 if i % 4 == 0 else np.float64)
        form = reference.conv(x, w, **config)
        y = numbers(rng, *form.shape, dtype=form.dtype)
        form = (y * form).sum()
        close((reference.conv_input(x.shape, w, y, **config) * x).sum(), form, config)
        close((reference.conv_weight(x, w.shape, y, **config) * w).sum(), form, config)


@pytest.mark.parametrize("rank", RANKS)
def test_complex_conv_and_its_adjoints_are_pytorchs(rank):
    rng = np.random.default_rng(30 + rank)
    for _ in range(10):
        x, w, b, config = draw_conv(rng, rank, "zeros", dtype=np.complex128)
        y = reference.conv(x, w, b, **config)
        g = numbers(rng, *y.shape, dtype=np.complex128)
        want = torch_conv(x, w, b, config, cotangent=g)
        close(y, want[0], config)
        close(reference.conv_input(x.shape, w, g, **config), want[1], config)
        close(reference.conv_weight(x, w.shape, g, **config), want[2], config)
        close(g.sum(axis=(0, *range(2, g.ndim))), want[3], config)


@pytest.mark.parametrize("rank", RANKS)
def test_integer_conv_is_pytorchs(rank):
    rng = np.random.default_rng(40 + rank)
    for _ in range(10):
        x, w, b, config = draw_conv(rng, rank, "circular")
        x, w, b = (np.rint(9 * a).astype(np.int64) for a in (x, w, b))
        y = reference.conv(x, w, b, **config)
        assert y.dtype == np.int64
        assert np.array_equal(y, torch_conv(x, w, b, config)[0])


@pytest.mark.parametrize("rank", RANKS)
def test_adjoints_are_torch_nn_grads(rank):
    rng = np.random.default_rng(50 + rank)
    for _ in range(10):
        pads = each(rng, rank, 0, 3)
        x, w, _, config = draw_conv(rng, rank, "zeros", pads=lambda *_, p=pads: tuple((n, n) for n in p))
        g = numbers(rng, *reference.conv(x, w, **config).shape)
        words = {k: config[k] for k in ("stride", "dilation", "groups")}
        dx = torch_side.conv_input(x.shape, w, g, padding=pads, **words)
        close(reference.conv_input(x.shape, w, g, **config), dx, config)
        dw = torch_side.conv_weight(x, w.shape, g, padding=pads, **words)
        close(reference.conv_weight(x, w.shape, g, **config), dw, config)


def test_conv_of_an_empty_batch():
    y = reference.conv(np.zeros((0, 2, 5, 6)), np.zeros((3, 2, 2, 3)), np.ones(3), pads=((1, 0), (0, 2)))
    assert y.shape == (0, 3, 5, 6)
    assert reference.conv_input((0, 2, 5, 6), np.ones((3, 2, 2, 3)), y, pads=((1, 0), (0, 2))).shape[0] == 0
    dw = reference.conv_weight(np.zeros((0, 2, 5, 6)), (3, 2, 2, 3), y, pads=((1, 0), (0, 2)))
    assert np.array_equal(dw, np.zeros((3, 2, 2, 3)))


# --- transposed convolution --------------------------------------------------------------------------------


def draw_transposed(rng, rank):
    """x, w, b, keyword arguments: every legal output_padding, below the stride or below the dilation."""
    while True:
        spatial, kernel = axes(rng, rank, 2, 7), each(rng, rank, 1, 4)
        groups = int(rng.integers(1, 4))
        stride, dilation = each(rng, rank, 1, 4), each(rng, rank, 1, 4)
        config = {
            "stride": stride,
            "padding": each(rng, rank, 0, 4),
            "output_padding": tuple(int(rng.integers(max(p))) for p in zip(stride, dilation, strict=True)),
            "dilation": dilation,
            "groups": groups,
        }
        if all(n > 0 for n in transposed_size(spatial, kernel, config)):
            break
    per_in, per_out = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    x = numbers(rng, rng.integers(1, 4), groups * per_in, *spatial)
    w = numbers(rng, groups * per_in, per_out, *kernel)
    return x, w, numbers(rng, groups * per_out), config


def transposed_size(spatial, kernel, config):
    """(n - 1) s - 2 p + d (k - 1) + 1 + output_padding."""
    numbers = (config[k] for k in ("stride", "padding", "output_padding", "dilation"))
    return [
        (n - 1) * s - 2 * p + d * (k - 1) + 1 + o for n, k, s, p, o, d in zip(spatial, kernel, *numbers, strict=True)
    ]


@pytest.mark.parametrize("rank", RANKS)
def test_conv_transpose_is_pytorchs(rank):
    rng = np.random.default_rng(60 + rank)
    beyond = 0
    for _ in range(3 * SAMPLE):
        x, w, b, config = draw_transposed(rng, rank)
        beyond += any(o >= s for o, s in zip(config["output_padding"], config["stride"], strict=True))
        close(reference.conv_transpose(x, w, b, **config), torch_side.conv_transpose(x, w, b, **config)[0], config)
    assert beyond  # the sample holds the rare output_padding that is not below the stride


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("rank", RANKS)
def test_conv_transpose_is_the_adjoint_of_the_padded_convolution(rank, mode):
    """In every mode that it has, with PyTorch's own gradient as the adjoint.

    The convolution is the one with the same padding p on both sides, from L positions to n. Where output_padding is
    at least the stride it can have more than n; those more take no part.
    """
    rng = np.random.default_rng(70 + rank)
    count = 0
    while count < SAMPLE:
        x, w, _, config = draw_transposed(rng, rank)
        size = transposed_size(x.shape[2:], w.shape[2:], config)
        if any(p > n for p, n in zip(config["padding"], size, strict=True)):
            continue  # PyTorch wraps once at most
        count += 1
        words = {k: config[k] for k in ("stride", "padding", "dilation", "groups")}
        image = np.zeros((x.shape[0], config["groups"] * w.shape[1], *size))
        shape = torch_side.conv(image, w, padding_mode=mode, **words)[0].shape
        g = np.zeros(shape)
        g[tuple(slice(n) for n in x.shape)] = x
        want = torch_side.conv(image, w, padding_mode=mode, cotangent=g, **words)[1]
        close(reference.conv_transpose(x, w, padding_mode=mode, **config), want, config)


def test_conv_transpose_has_no_other_padding_mode():
    with pytest.raises(ValueError, match="no padding mode 'reflect'"):
        reference.conv_transpose(np.zeros((1, 1, 3)), np.zeros((1, 1, 2)), padding_mode="reflect")


# --- patches -----------------------------------------------------------------------------------------------


def test_unfold_and_fold_are_pytorchs():
    rng = np.random.default_rng(80)
    for _ in range(200):
        while True:
            spatial, kernel = axes(rng, 2, 3, 9), each(rng, 2, 1, 4)
            dilation, padding, stride = each(rng, 2, 1, 4), each(rng, 2, 0, 3), each(rng, 2, 1, 4)
            parts = zip(spatial, padding, dilation, kernel, strict=True)
            if all(n + 2 * p > d * (k - 1) for n, p, d, k in parts):
                break
        words = (kernel, dilation, padding, stride)
        x = numbers(rng, 2, 3, *spatial)
        columns = reference.unfold(x, *words)
        close(columns, torch_side.unfold(x, *words)[0], (spatial, words))
        columns = numbers(rng, *columns.shape)
        close(
            reference.fold(columns, spatial, *words),
            torch_side.fold(columns, spatial, *words)[0],
            (spatial, words),
        )


# --- pooling -----------------------------------------------------------------------------------------------


def draw_pool(rng, rank, dilated):
    """Image size and window: PyTorch takes padding up to half of the kernel size."""
    while True:
        spatial, kernel = axes(rng, rank, 3, 9), each(rng, rank, 1, 5)
        stride = kernel if rng.integers(3) == 0 else each(rng, rank, 1, 5)
        padding = tuple(int(rng.integers(k // 2 + 1)) for k in kernel)
        dilation = each(rng, rank, 1, 4) if dilated else (1,) * rank
        ceil_mode = bool(rng.integers(2))
        sizes = [
            reference.pooled_size(*args, ceil_mode)
            for args in zip(spatial, kernel, stride, padding, dilation, strict=True)
        ]
        if all(n > 0 for n in sizes):
            return spatial, kernel, stride, padding, dilation, ceil_mode


def last_window_dropped(spatial, kernel, stride, padding, dilation, ceil_mode):
    """Whether the rule bites that a window starts inside the image or its low padding."""
    return ceil_mode and any(
        reference.pooled_size(n, k, s, p, d, True) <= -(-(n + 2 * p - d * (k - 1) - 1) // s)
        for n, k, s, p, d in zip(spatial, kernel, stride, padding, dilation, strict=True)
    )


@pytest.mark.parametrize("rank", RANKS)
def test_max_pool_is_pytorchs(rank):
    rng = np.random.default_rng(90 + rank)
    dropped = 0
    for i in range(100):
        spatial, kernel, stride, padding, dilation, ceil_mode = config = draw_pool(rng, rank, dilated=True)
        dropped += last_window_dropped(*config)
        x = numbers(rng, 2, 3, *spatial)
        if i % 5 == 0:
            x[rng.random(x.shape) < 0.1] = np.nan
            x[rng.random(x.shape) < 0.5] = -np.inf
        elif rank > 1 and i % 5 == 1:  # PyTorch's 1-d takes no integers
            x = np.rint(9 * x).astype(np.int64) - 100  # all negative: padding with 0 would show
        got = reference.max_pool(x, kernel, stride, padding, dilation, ceil_mode)
        close(got, torch_side.max_pool(x, kernel, stride, padding, dilation, ceil_mode, rank=rank)[0], config)
    assert dropped


@pytest.mark.parametrize("rank", RANKS)
def test_avg_pool_is_pytorchs(rank):
    rng = np.random.default_rng(100 + rank)
    dropped = 0
    for _ in range(100):
        spatial, kernel, stride, padding, _, ceil_mode = config = draw_pool(rng, rank, dilated=False)
        if rank == 3 and any(k > n for k, n in zip(kernel, spatial, strict=True)):
            continue  # PyTorch's 3-d alone refuses a window larger than the image before padding
        dropped += last_window_dropped(*config)
        x = numbers(rng, 2, 3, *spatial)
        for counted in (True, False):
            for divisor in (None,) if rank == 1 else (None, 7, -2):
                got = reference.avg_pool(x, kernel, stride, padding, ceil_mode, counted, divisor)
                want = torch_side.avg_pool(x, kernel, stride, padding, ceil_mode, counted, divisor, rank=rank)[0]
                close(got, want, (config, counted, divisor))
    assert dropped


@pytest.mark.parametrize("rank", RANKS)
def test_adaptive_avg_pool_is_pytorchs(rank):
    rng = np.random.default_rng(110 + rank)
    for _ in range(100):
        x = numbers(rng, 2, 3, *axes(rng, rank, 2, 9))
        size = each(rng, rank, 1, 11)
        if rank > 1 and rng.integers(4) == 0:
            size = (None, *size[1:])
        close(reference.adaptive_avg_pool(x, size), torch_side.adaptive_avg_pool(x, size, rank=rank)[0], size)


def test_channels_last_and_back():
    x = np.zeros((2, 3, 4, 5))
    assert reference.channels_last(x).shape == (2, 4, 5, 3)
    assert reference.channels_first(reference.channels_last(x)).shape == x.shape


# --- PyTorch's side itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["same", "valid", 1, (2, 0, 1), "odd"])
@pytest.mark.parametrize("mode", TORCH_MODES)
@pytest.mark.parametrize("rank", RANKS)
def test_torch_side_pads_as_the_layers_do(rank, mode, padding):
    """`conv` reproduces `nn.Conv`, with even kernels too, where "same" cannot be symmetric; and unbatched."""
    rng = np.random.default_rng(120)
    spatial, kernel, dilation = (7, 6, 5)[:rank], (2, 3, 4)[:rank], (3, 2, 1)[:rank]
    padding = {"odd": (0, 1, 2)[:rank]}.get(padding, padding[:rank] if isinstance(padding, tuple) else padding)
    x, w, b = numbers(rng, 2, 4, *spatial), numbers(rng, 6, 2, *kernel), numbers(rng, 6)
    words = {"padding": padding, "dilation": dilation, "groups": 2, "padding_mode": mode}
    want = torch_side.layer_conv(x, w, b, cotangent=True, **words)
    for got, expected in zip(torch_side.conv(x, w, b, cotangent=True, **words), want, strict=True):
        close(got, expected, words)
    pads = torch_side.layer_pads(padding, kernel, dilation)
    config = {"pads": pads, "dilation": dilation, "groups": 2, "padding_mode": mode}
    close(reference.conv(x, w, b, **config), want[0], words)
    close(torch_side.layer_conv(x[0], w, b, **words)[0], want[0][0], words)
    assert torch_side.conv(x, w, None, cotangent=True, **words)[3] is None


def test_torch_side_carries_every_dtype():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (ml_dtypes.bfloat16, np.float16, np.float32, np.float64, np.complex64, np.complex128):
        x, w, b = np.arange(12).reshape(1, 1, 12).astype(dtype), np.ones((2, 1, 3), dtype), np.ones(2, dtype)
        for array in torch_side.conv(x, w, b, cotangent=True):
            assert array.dtype == dtype
        y, dx, _, _ = torch_side.conv(x, w, b, cotangent=True)
        assert np.array_equal(y[0, 1].astype(complex), 3 * np.arange(1, 11) + 1)
        assert np.array_equal(dx[0, 0].astype(complex), [2, 4, *[6] * 8, 4, 2])


@pytest.mark.parametrize("rank", RANKS)
def test_torch_side_takes_an_output_size(rank):
    x, w = np.ones((2, 3, *(4, 5, 6)[:rank])), np.ones((3, 2, *(3,) * rank))
    y = torch_side.conv_transpose(x, w, stride=2, output_size=(10, 12, 14)[:rank], cotangent=True)
    want = torch_side.conv_transpose(x, w, stride=2, output_padding=1, cotangent=True)
    for a, b in zip(y[:3], want[:3], strict=True):
        close(a, b, rank)


def test_torch_side_tells_refusals_from_mistakes():
    x, w = np.zeros((1, 2, 5)), np.zeros((3, 2, 3))
    assert not torch_side.refuses(torch_side.conv, x, w)
    assert torch_side.refuses(torch_side.conv, x, w, padding=-1)
    assert "negative padding" in str(torch_side.refusal(torch_side.conv, x, w, padding=-1))
    with pytest.raises(KeyError):
        torch_side.refuses(lambda: {}[0])
