"""Padding: the index map, against what padding an array of indices gives, and the pads that a word comes to."""

import ast
import functools
import math
import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxconv
from jaxconv._spec.padding import source_index


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "symmetric"])
@pytest.mark.parametrize("pads", [(3, 2), (0, 4), (-1, 3), (2, -2)])
def test_padding_is_filled_from_where_the_index_map_says(mode, pads):
    image = np.arange(5, dtype=np.float32)
    padded = np.asarray(jaxconv.pad(image[None], pads, mode))[0]
    assert [source_index(mode, i, 5, pads) for i in range(-pads[0], 5 + pads[1])] == padded.tolist()


def test_padding_with_a_constant_has_no_source():
    assert [source_index("zeros", i, 2, (1, 1)) for i in (-1, 0, 1, 2)] == [None, 0, 1, None]


@given(data=st.data(), rank=st.integers(1, 3))
@settings(max_examples=60)
def test_the_pads_named_for_same_with_a_stride_are_tensorflows(data, rank):
    def draw(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(rank))

    size, kernel, dilation = draw(5, 20), draw(1, 4), draw(1, 3)
    stride = tuple(s + (i == 0) for i, s in enumerate(draw(1, 4)))  # at least one above 1
    x, w = np.ones((1, 1, *size), "float32"), np.ones((1, 1, *kernel), "float32")
    conv = {1: jaxconv.conv1d, 2: jaxconv.conv2d, 3: jaxconv.conv3d}[rank]
    with pytest.raises(ValueError, match="padding='same' needs stride 1") as caught:
        conv(x, w, padding="same", stride=stride, dilation=dilation)
    pads = ast.literal_eval(re.search(r"SAME would be padding=(\(.*\)) for", str(caught.value)).group(1))
    # As TensorFlow's guide has it.
    for (low, high), n, k, d, s in zip(pads, size, kernel, dilation, stride, strict=True):
        span = (k - 1) * d + 1
        total = max(span - s, 0) if n % s == 0 else max(span - n % s, 0)
        assert (low, high) == (total // 2, total - total // 2)
    # The pads can be given as they stand there.
    y = jax.eval_shape(functools.partial(conv, padding=pads, stride=stride, dilation=dilation), x, w)
    assert y.shape == (1, 1, *(math.ceil(n / s) for n, s in zip(size, stride, strict=True)))
