"""The order of the images: grain shuffles them, by the seed and the epoch alone."""

from typing import Any

import grain
import numpy as np

from examples.trainer.data import Digits


def batches(digits: Digits, batch_size: int, seed: int, process: int = 0, processes: int = 1) -> Any:
    """An endless iterator over training (images, labels): this process's part of each batch of `batch_size`.

    Each epoch has an order of its own, and its last, partial batch is left out. The iterator's `get_state` and
    `set_state` save and restore its position, which is the same in every process.
    """
    part = batch_size // processes
    mine = slice(process * part, (process + 1) * part)

    def take(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return digits.train_images[rows[mine]], digits.train_labels[rows[mine]]

    # Grain shuffles row numbers: indexing by a batch of them is faster than stacking images.
    rows = grain.MapDataset.range(len(digits.train_labels))
    # Grain adds the epoch to the seed, so neighbouring seeds would share epochs: spread them first.
    (far,) = np.random.SeedSequence(seed).generate_state(1)
    rows = rows.shuffle(int(far)).batch(batch_size, drop_remainder=True, batch_fn=np.array)
    # A batch takes a millisecond: one thread that is a few batches ahead is enough.
    return iter(rows.repeat().map(take).to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))
