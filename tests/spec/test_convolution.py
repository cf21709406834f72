"""The arithmetic of a convolution's sizes, against counting."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxconv._spec.convolution import (
    ConvSpec,
    Shapes,
    TransposedArguments,
    check_groups,
    multiply_accumulates,
    parse_conv_transpose,
)
from jaxconv._spec.shapes import DATA_FORMATS

AXIS = st.tuples(
    st.integers(1, 12),  # size
    st.integers(-3, 5),  # low
    st.integers(-3, 5),  # high
    st.integers(1, 4),  # kernel
    st.integers(1, 4),  # stride
    st.integers(1, 3),  # dilation
)


@given(st.lists(AXIS, min_size=1, max_size=3))
@settings(max_examples=200)
def test_the_output_has_as_many_positions_as_windows_fit(axes):
    size, low, high, kernel, strides, dilations = zip(*axes, strict=True)
    spec = ConvSpec(strides, tuple(zip(low, high, strict=True)), dilations)
    for out, (n, a, b, k, s, d) in zip(spec.output_size(size, kernel), axes, strict=True):
        fits = sum(p * s + (k - 1) * d < n + a + b for p in range(100))
        if n + a + b >= (k - 1) * d + 1:
            assert out == fits
        else:
            assert out <= fits == 0


def transposed(n, k, s, d, low, high, **more):
    """The size along one axis that a transposed convolution of these numbers makes."""
    arguments = TransposedArguments(stride=s, padding=[(low, high)], dilation=d, **more)
    (size,) = parse_conv_transpose(1, ((1, 1, n), (1, 1, k), None), arguments).size
    return size


@given(
    n=st.integers(1, 6),
    k=st.integers(1, 4),
    s=st.integers(1, 4),
    d=st.integers(1, 3),
    low=st.integers(0, 3),
    high=st.integers(0, 3),
    mode=st.sampled_from(["zeros", "circular"]),
)
@settings(max_examples=60)
def test_the_output_sizes_of_a_transposed_convolution_are_those_that_it_is_the_transpose_from(
    n, k, s, d, low, high, mode
):
    spec = ConvSpec((s,), ((low, high),), (d,), 1, mode)
    for size in range(1, 40):
        is_transpose = size + low + high >= d * (k - 1) + 1 and spec.output_size((size,), (k,)) == (n,)
        # PyTorch's circular padding wraps around at most once.
        possible = mode == "zeros" or max(low, high) <= size
        arguments = {"output_size": (size,), "padding_mode": mode}
        if is_transpose and possible:
            assert transposed(n, k, s, d, low, high, **arguments) == size
        elif not is_transpose:
            with pytest.raises(ValueError, match=r"output_size|padding"):
                transposed(n, k, s, d, low, high, **arguments)


@given(
    n=st.integers(1, 6),
    k=st.integers(1, 4),
    s=st.integers(1, 4),
    d=st.integers(1, 4),
    padding=st.integers(0, 2),
    extra=st.integers(0, 3),
)
@settings(max_examples=100)
def test_the_size_of_a_transposed_convolution_is_that_of_what_it_stamps(n, k, s, d, padding, extra):
    sheet = max(i * s + t * d for i in range(n) for t in range(k)) + 1
    size = sheet - 2 * padding + extra
    if size < 1 or extra >= max(s, d):
        with pytest.raises(ValueError, match="padding"):
            transposed(n, k, s, d, padding, padding, output_padding=extra)
    else:
        assert transposed(n, k, s, d, padding, padding, output_padding=extra) == size


@given(k=st.integers(1, 5), s=st.integers(1, 6), d=st.integers(1, 6))
@settings(max_examples=100)
def test_receptive_fields_are_as_wide_as_what_is_read(k, s, d):
    spec = ConvSpec((s,), ((0, 0),), (d,))
    taps = [t * d for t in range(k)]
    assert spec.receptive_field((k,)) == (max(taps) - min(taps) + 1,)
    # Positions well inside of a long image, so that none of what they read lies outside of it.
    widths = []
    for q in range(60, 60 + s):
        read = [(q - t * d) // s for t in range(k) if (q - t * d) % s == 0]
        widths += [max(read) - min(read) + 1] if read else []
    shapes = (1, 1, 99), (1, 1, k), None
    transposed_spec = parse_conv_transpose(1, shapes, TransposedArguments(stride=s, dilation=d))
    assert transposed_spec.receptive_field((k,)) == (max(widths),)


def test_multiply_accumulates_are_the_terms_of_the_sum():
    # 5 x 7 positions of 6 channels, each the sum over 2 channels and 3 x 2 taps.
    assert multiply_accumulates((6, 2, 3, 2), (5, 7)) == (5 * 7 * 6) * (2 * 3 * 2)


def test_a_spec_says_where_the_axes_stand():
    first, last = (ConvSpec((1, 1), ((0, 0),) * 2, (1, 1), data_format=f) for f in DATA_FORMATS)
    assert (first.rank, first.channel_axis, first.spatial_axes) == (2, 1, (2, 3))
    assert (last.rank, last.channel_axis, last.spatial_axes) == (2, 3, (1, 2))


def test_the_divisor_named_is_the_nearest_and_is_found_at_once():
    for number in range(1, 60):
        divisors = [g for g in range(1, number + 1) if number % g == 0]
        for groups in range(1, 70):
            if number % groups:
                nearest = min(divisors, key=lambda g: abs(g - groups))
                with pytest.raises(ValueError, match=rf"and channels={number}; {nearest} would divide it"):
                    check_groups(groups, channels=number)
    with pytest.raises(ValueError, match="; 2 would divide it"):
        check_groups(3, channels=2**40)
    with pytest.raises(ValueError, match="; 1 would divide it"):  # a prime number
        check_groups(2**60, channels=2**61 - 1)


@pytest.mark.parametrize("output_padding", [0, 1, 3])
def test_only_a_circular_transposed_convolution_is_extended(output_padding):
    shapes = Shapes((2, 3, 5, 7), (3, 4, 2, 3))
    arguments = TransposedArguments(stride=(4, 5), padding=1, output_padding=output_padding)
    assert parse_conv_transpose(2, shapes, arguments).extension == (0, 0)
