"""What is taken as an argument: in which forms, and parsed how often."""

import jax
import numpy as np
import pytest

import jaxconv
from jaxconv._spec.convolution import Arguments, ConvSpec, parse_conv

# Nothing is computed here but shapes, so the arrays are of NumPy.
X1, W1 = np.ones((2, 4, 9), "float32"), np.ones((6, 2, 3), "float32")
X2, W2 = np.ones((2, 4, 9, 8), "float32"), np.ones((6, 2, 3, 2), "float32")
X3, W3 = np.ones((2, 4, 7, 9, 8), "float32"), np.ones((6, 2, 3, 2, 1), "float32")
T2 = np.ones((4, 3, 3, 2), "float32")


def shape_of(f, x, w, *args, **kwargs):
    return jax.eval_shape(lambda x, w: f(x, w, *args, **kwargs), x, w).shape


def test_lists_tuples_and_numpys_integers_are_the_same():
    expected = shape_of(jaxconv.conv2d, X2, W2, None, (2, 1), (1, 2), (1, 3), 2)
    assert expected == (2, 6, 5, 9)
    two, one, three = np.int64(2), np.int32(1), np.uint8(3)
    for arguments in (
        ([2, 1], [1, 2], [1, 3], 2),
        ((two, one), (one, two), (one, three), two),
        ((2, 1), [[1, 1], [2, 2]], [1, 3], 2),
        ((2, 1), ((one, 1), (two, two)), (1, 3), 2),
        ((2, 1), ([1, 1], (2, 2)), (1, 3), np.array(2)[()]),
    ):
        assert shape_of(jaxconv.conv2d, X2, W2, None, *arguments) == expected
    for output_padding in ((1, 0), [1, 0], (one, np.int64(0))):
        y = shape_of(jaxconv.conv_transpose2d, X2, T2, None, [2, 1], (1, 1), output_padding, two)
        assert y == (2, 6, 18, 7)


def test_a_sequence_of_one_stands_for_all_axes_as_in_pytorch():
    expected = shape_of(jaxconv.conv3d, X3, W3, None, 2, 1, 3, 2)
    assert shape_of(jaxconv.conv3d, X3, W3, None, (2,), [1], (3,), 2) == expected
    expected = shape_of(jaxconv.conv_transpose2d, X2, T2, None, 3, 1, 2, 2, 2)
    assert shape_of(jaxconv.conv_transpose2d, X2, T2, None, (3,), (1,), [2], 2, (2,)) == expected


def test_shapes_are_taken_as_lists_and_of_numpys_integers():
    y = np.ones((2, 6, 7), "float32")
    for size in ([2, 4, 9], tuple(np.array([2, 4, 9]))):
        assert shape_of(lambda w, y, size=size: jaxconv.conv1d_input(size, w, y, groups=2), W1, y) == (2, 4, 9)
    for size in ([6, 2, 3], tuple(np.array([6, 2, 3]))):
        assert shape_of(lambda x, y, size=size: jaxconv.conv1d_weight(x, size, y, groups=2), X1, y) == (6, 2, 3)


@pytest.mark.parametrize("first", [1, True, 1.0])
@pytest.mark.parametrize("name", ["stride", "padding", "dilation", "groups", "output_padding"])
def test_what_was_called_before_makes_no_difference(name, first):
    """To a dict 1, 1.0 and True are one key; they are not one argument."""
    # A length of its own, for the calls of other tests are remembered too.
    x = np.ones((1, 2, {int: 101, bool: 102, float: 103}[type(first)]), "float32")
    w = np.ones((2, 2, 3), "float32")
    f = jaxconv.conv_transpose1d if name == "output_padding" else jaxconv.conv1d
    for value in (first, 1, True, 1.0, 1, np.float32(1), np.int64(1), np.True_):
        ways = [value]
        if name != "groups":
            ways.append((value,))
        if name == "padding":
            ways.append(((value, value),))
        for way in ways:
            arguments = {"dilation": 2} | {name: way}
            if isinstance(value, int | np.integer) and not isinstance(value, bool):
                shape_of(f, x, w, **arguments)
            else:
                with pytest.raises(TypeError, match=name):
                    shape_of(f, x, w, **arguments)


def test_a_call_is_parsed_once():
    shapes = (2, 4, 9, 8), (6, 2, 3, 2), None
    before = parse_conv(2, shapes, Arguments(groups=2))
    again = parse_conv(2, shapes, Arguments((1, 1), [0, 0], [1], 2))
    assert again is before
    assert hash(again) == hash(ConvSpec((1, 1), ((0, 0), (0, 0)), (1, 1), 2))
    other = parse_conv(2, shapes, Arguments(groups=2, padding=1, padding_mode="reflect"))
    assert other != before
