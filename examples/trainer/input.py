"""The order in which the images come: grain decides it, from the seed and the epoch alone."""

from typing import Any

import grain
import numpy as np

from examples.trainer.data import Digits


def batches(digits: Digits, batch_size: int, seed: int, process: int = 0, processes: int = 1) -> Any:
    """An endless iterator over training (images, labels): what this process gives to each batch of `batch_size`.

    Each epoch is shuffled anew and its last, partial batch left out. `get_state` and `set_state` of what comes back
    save and restore the position, which is the same in every process.
    """
    part = batch_size // processes
    mine = slice(process * part, (process + 1) * part)

    def take(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return digits.train_images[rows[mine]], digits.train_labels[rows[mine]]

    # Grain orders row numbers, not images: one indexing then makes the batch, which costs less than stacking images.
    rows = grain.MapDataset.range(len(digits.train_labels))
    # Grain counts up from the seed with each epoch: near seeds have to be made far ones, or they share epochs.
    (far,) = np.random.SeedSequence(seed).generate_state(1)
    rows = rows.shuffle(int(far)).batch(batch_size, drop_remainder=True, batch_fn=np.array)
    # One thread, a few batches ahead: the device never waits for what takes a millisecond.
    return iter(rows.repeat().map(take).to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))
