"""What is connected with what along an axis, against impulses that are sent through the layer."""

import math

import numpy as np
import pytest
from explained import made

import jaxconv
import jaxconv.linen

FIELDS = [
    ("Conv1d(1, 1, 3, dilation=2, stride=2, padding=1, bias=False)", (23,)),
    ("Conv2d(1, 1, (3, 2), dilation=(1, 3), stride=(2, 1), bias=False)", (7, 9)),
    *(
        (f"ConvTranspose1d(1, 1, {k}, stride={s}, dilation={d}, padding=1, bias=False)", (11,))
        for k, s, d in [(4, 2, 1), (3, 2, 1), (3, 1, 2), (4, 3, 1), (5, 2, 3), (5, 6, 4), (2, 4, 2), (4, 2, 4)]
    ),
    ("ConvTranspose2d(1, 1, (2, 3), stride=(1, 2), bias=False)", (6, 7)),
    ("MaxPool1d(3, 2, 1, dilation=2)", (15,)),
    ("AvgPool2d((3, 2), 2)", (7, 8)),
    ("AdaptiveAvgPool1d(4)", (10,)),
    ("AdaptiveAvgPool2d((3, 2))", (7, 4)),
]


def connections(text, size):
    """For each input position the output positions that answer to an impulse there, as a boolean array."""
    impulses = np.eye(math.prod(size), dtype=np.float32).reshape(-1, 1, *size)
    parameters = {p.name: np.ones(p.shape, np.float32) for p in jaxconv.explain(text, (1, 1, *size)).parameters}
    answers = made(text, jaxconv.linen).apply({"params": parameters}, impulses)
    return np.asarray(answers)[:, 0] != 0


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize(("text", "size"), FIELDS, ids=[text for text, _ in FIELDS])
def test_the_receptive_field_is_what_impulses_show(text, size):
    explanation = jaxconv.explain(text, (1, 1, *size))
    reached = connections(text, size)
    rank = len(size)
    reached = reached.reshape(*size, *reached.shape[1:])
    for i, axis in enumerate(explanation.axes):
        others = tuple(k for k in range(2 * rank) if k not in (i, rank + i))
        pairs = reached.any(axis=others)  # (input position, output position) along this axis
        spans = [np.ptp(np.flatnonzero(column)) + 1 for column in pairs.T if column.any()]
        assert axis.receptive_field == max(spans)
        # The picture draws the same connections.
        drawn = np.zeros_like(pairs)
        for place in range(axis.size if explanation.writes else axis.output_size):
            for tap in axis.taps(place):
                a, b = (place, tap) if explanation.writes else (tap, place)
                if 0 <= a < pairs.shape[0] and 0 <= b < pairs.shape[1]:
                    drawn[a, b] = True
        np.testing.assert_array_equal(drawn, pairs)
