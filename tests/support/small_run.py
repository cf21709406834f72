"""Digits so few, and settings so small, that a whole run of the training program takes seconds."""

import contextlib
import gzip
import json
import struct

import numpy as np
import pytest


def write_digits(folder, train=26, test=10):
    """IDX files of noise with a bright bar where the label says."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] = 255
        images_file = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + images.tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images_file)
        labels_file = struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes()
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels_file))


def write_settings(file, digits):
    """3 epochs of 3 steps, and a checkpoint after each epoch."""
    file.write_text(
        f"""
        [data]
        path = "{digits}"
        [model]
        channels = [2, 3, 4]
        [train]
        epochs = 3
        batch_size = 8
        log_every = 2
        [checkpoint]
        every = 1
        """
    )


@contextlib.contextmanager
def without_pictures():
    """Within it, runs draw nothing: the pictures take longer than the few steps of a small run."""
    from examples import train
    from examples.trainer import report

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((report, "draw_curves"), (report, "draw_gradient_flow"), (train, "draw_network")):
            patch.setattr(module, name, lambda *_: None)
        yield


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def batch(count=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.int32)
