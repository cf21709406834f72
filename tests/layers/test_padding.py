"""The padding layers: what they refuse when they are made."""

import pytest

import jaxconv.linen


def test_there_are_two_amounts_for_each_axis():
    with pytest.raises(ValueError, match="padding must be an int or a tuple of 4 ints"):
        jaxconv.linen.ReflectionPad2d((1, 2))
