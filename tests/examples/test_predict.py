"""A network in a file, asked about pictures by a program that has no jaxconv."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from examples import predict

ROOT = Path(__file__).parents[2]
NAMES = ["left", "right side"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A network that tells on which side of a 6 × 4 picture the light is."""

    def network(images):
        halves = jnp.stack([images[..., :3], images[..., 3:]]).astype(jnp.float32).mean((-1, -2))
        return dict(zip(NAMES, jax.nn.softmax(halves / 50, axis=0), strict=True))

    count = jax.export.symbolic_shape("count")
    exported = jax.export.export(jax.jit(network))(jax.ShapeDtypeStruct((*count, 4, 6), jnp.uint8))
    file = tmp_path_factory.mktemp("exported") / "network.jax"
    file.write_bytes(exported.serialize())
    return file


def half(width=6, height=4, ground=0, ink=200, mode="L"):
    """A picture whose second quarter from the left has ink."""
    pixels = np.full((height, width), ground, np.uint8)
    pixels[:, width // 6 : width // 2] = ink
    pixels[[0, -1]] = ground
    return Image.fromarray(pixels).convert(mode)


def test_the_classes_come_with_their_probabilities(file, tmp_path, capsys):
    half().save(tmp_path / "picture.png")
    assert predict.main([str(file), str(tmp_path / "picture.png")]) == 0
    # 2 of 3 columns and 2 of 4 rows of one half: a mean of 200/3.
    left = 1 / (1 + np.exp(-200 / 3 / 50))
    assert capsys.readouterr().out == f"left        {left:7.2%}\nright side  {1 - left:7.2%}\n"


def test_a_dark_picture_on_light_ground_is_taken_as_its_negative(file, tmp_path, capsys):
    half(ground=255, ink=55).save(tmp_path / "picture.png")
    half().save(tmp_path / "negative.png")
    assert predict.main([str(file), str(tmp_path / "picture.png")]) == 0
    note, *rest = capsys.readouterr().out.splitlines()
    assert note == (
        f"{tmp_path / 'picture.png'}: dark on light, so taken as its negative: the network knows light on dark"
    )
    assert predict.main([str(file), str(tmp_path / "negative.png")]) == 0
    assert capsys.readouterr().out.splitlines() == rest


def read(path, picture, size=(6, 4)):
    picture.save(path / "picture.png")
    return predict.read_image(path / "picture.png", size)


def test_a_picture_of_the_right_size_is_not_altered(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 0
    found, inverted = read(tmp_path, Image.fromarray(pixels), (28, 28))
    np.testing.assert_array_equal(found, pixels)
    assert not inverted
    found, inverted = read(tmp_path, Image.fromarray(255 - pixels), (28, 28))
    np.testing.assert_array_equal(found, pixels)
    assert inverted


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_kind_of_png(tmp_path, mode):
    picture = half(ink=255)
    expected = np.asarray(picture)
    wide = Image.fromarray(expected.astype(np.uint16) * 257)
    picture = wide if mode == "I;16" else picture.convert(mode)
    assert picture.mode == mode
    found, inverted = read(tmp_path, picture)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, inverted) == (np.uint8, False)


def test_what_is_transparent_counts_as_white_paper(tmp_path):
    ink = np.asarray(half(ink=255))
    picture = Image.merge("LA", [Image.new("L", (6, 4), 0), Image.fromarray(ink)])
    found, inverted = read(tmp_path, picture)
    np.testing.assert_array_equal(found, ink)
    assert inverted


@pytest.mark.parametrize("factor", [3, 40])
def test_a_larger_picture_is_averaged(tmp_path, factor):
    found, _ = read(tmp_path, half(6 * factor, 4 * factor))
    assert found.shape == (4, 6)
    assert found[1:3, :3].mean() > 100 > found[:, 3:].mean() + 90


def test_a_picture_keeps_its_proportions_on_its_own_ground(tmp_path):
    pixels = np.full((40, 40), 30, np.uint8)
    pixels[10:30, 10:30] = 230
    found, _ = read(tmp_path, Image.fromarray(pixels), (80, 40))
    np.testing.assert_array_equal(found[:, 20:60], pixels)
    assert (found[:, :20] == 30).all()
    assert (found[:, 60:] == 30).all()


def refused(args, capsys):
    assert predict.main([str(arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip()


def test_files_that_cannot_be_used(file, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    half().save(picture)
    nowhere = tmp_path / "nowhere"
    assert refused([nowhere, picture], capsys) == f"[Errno 2] No such file or directory: '{nowhere}'"
    assert refused([file, nowhere], capsys) == f"[Errno 2] No such file or directory: '{nowhere}'"
    assert refused([picture, picture], capsys) == f"{picture} is not a network that examples.export wrote"
    assert str(file) in refused([file, file], capsys)  # some versions of Pillow take it for a picture that is broken
    for content in (b"", b"\0" * 100, file.read_bytes()[:500]):
        (tmp_path / "spoilt").write_bytes(content)
        assert refused([tmp_path / "spoilt", picture], capsys).endswith("is not a network that examples.export wrote")


def test_a_picture_that_is_broken_or_too_large(file, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.arange(40 * 30, dtype=np.uint8).reshape(40, 30)).save(picture)
    whole = picture.read_bytes()
    for cut in range(8, len(whole), 16):
        for content in (whole[:cut], whole[:cut] + bytes([255 - whole[cut]]) + whole[cut + 1 :]):
            picture.write_bytes(content)
            outcome = predict.main([str(file), str(picture)])
            err = capsys.readouterr().err
            # What is beside the pixels may be wrong and the picture still be one.
            assert (outcome, err) == (0, "") or (outcome == 2 and str(picture) in err and err.count("\n") == 1)
    for side in (10**4, 10**5):  # a header that promises as many pixels a side, and as good as nothing after it
        header = b"IHDR" + struct.pack(">II", side, side) + whole[24:29]
        picture.write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
        assert f"cannot be read as a picture: Image size ({side**2} pixels) exceeds" in refused([file, picture], capsys)


def test_a_network_that_names_no_classes(tmp_path, capsys):
    exported = jax.export.export(jax.jit(lambda images: 255 - images))(jax.ShapeDtypeStruct((1, 4, 6), jnp.uint8))
    (tmp_path / "network.jax").write_bytes(exported.serialize())
    half().save(tmp_path / "picture.png")
    message = refused([tmp_path / "network.jax", tmp_path / "picture.png"], capsys)
    assert message == f"{tmp_path / 'network.jax'} names no classes: its network draws the picture again"


@pytest.mark.slow
def test_the_program_needs_no_jaxconv(file, tmp_path):
    """In a process of its own, in which the libraries that only training needs cannot be imported."""
    half().save(tmp_path / "picture.png")
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in 'jaxconv flax optax orbax grain matplotlib rich tyro'.split():\n"
        "            raise ModuleNotFoundError(f'{name} is not installed')\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "check": False}
    blocked = subprocess.run([sys.executable, "-c", "import jaxconv"], **options)
    assert "jaxconv is not installed" in blocked.stderr
    command = [sys.executable, "-m", "examples.predict", str(file), str(tmp_path / "picture.png")]
    done = subprocess.run(command, **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("left ")
