"""Padding: the index map, against what padding an array of indices gives."""

import numpy as np
import pytest

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
