import itertools

import numpy as np
import pytest

from examples.trainer.data import Digits
from examples.trainer.input import batches

COUNT, BATCH = 26, 8
LABELS = np.arange(COUNT, dtype=np.int32)
IMAGES = np.broadcast_to(LABELS.astype(np.uint8)[:, None, None], (COUNT, 28, 28))
DIGITS = Digits(IMAGES, LABELS, IMAGES[:0], LABELS[:0])


def take(count, **options):
    """The labels of some batches, each checked to come with its images."""
    found = []
    for images, labels in itertools.islice(batches(DIGITS, BATCH, **{"seed": 0, **options}), count):
        np.testing.assert_array_equal(images, IMAGES[labels])
        found.append(labels)
    return np.array(found)


def test_every_epoch_has_another_order_and_no_digit_twice():
    epochs = take(12).reshape(4, 3 * BATCH)  # 26 digits make three batches of 8
    assert all(len(set(epoch)) == 3 * BATCH for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    # The two that are left out are not always the same.
    assert len({frozenset(range(COUNT)) - set(epoch) for epoch in epochs}) > 1


def test_the_order_depends_on_the_seed_alone():
    np.testing.assert_array_equal(take(7), take(7))
    # Not even an epoch of another seed is the same.
    epochs = {tuple(epoch) for seed in (0, 1) for epoch in take(9, seed=seed).reshape(3, -1)}
    assert len(epochs) == 6


def test_processes_divide_each_batch():
    parts = [take(7, process=process, processes=4) for process in range(4)]
    assert {part.shape for part in parts} == {(7, 2)}
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), take(7))


@pytest.mark.parametrize("done", [0, 2, 3, 5])
def test_a_position_is_where_it_goes_on(done):
    first = batches(DIGITS, BATCH, 0)
    for _ in range(done):
        next(first)
    position = first.get_state()
    second = batches(DIGITS, BATCH, 0)
    second.set_state(position)
    for _ in range(4):
        np.testing.assert_array_equal(next(first)[1], next(second)[1])
