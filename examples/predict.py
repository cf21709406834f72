"""Says what an exported network sees in a picture.

    python -m examples.predict runs/mnist/network.jax digit.png

The file holds the whole network: this program needs JAX, flatbuffers, NumPy and Pillow, but neither jaxconv nor Flax
nor the code that trained it.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.export  # `import jax` alone does not import it
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def main(args: Sequence[str] | None = None) -> int:
    """Prints the classes with their probabilities, the likeliest first. Returns 2 if a file cannot be used."""
    parser = argparse.ArgumentParser(prog="examples.predict", description="Says what a network sees in a picture.")
    parser.add_argument("file", type=Path, metavar="FILE", help="network that examples.export wrote")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="picture of any size, such as a PNG")
    options = parser.parse_args(args)
    try:
        network = load(options.file)
        height, width = network.in_avals[0].shape[1:]
        image, inverted = read_image(options.image, (width, height))
        probabilities = predict(network, image[None])
        if not isinstance(probabilities, dict):
            raise ValueError(f"{options.file} names no classes: its network draws the picture again")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if inverted:
        print(f"{options.image}: dark on light, so taken as its negative: the network knows light on dark")
    ranked = sorted(probabilities.items(), key=lambda item: -item[1][0])
    longest = max(map(len, probabilities))
    for name, probability in ranked:
        print(f"{name:{longest}}  {probability[0]:7.2%}")
    return 0


def load(file: Path) -> jax.export.Exported:
    """The network in a file.

    Raises:
        ValueError: if `examples.export` did not write the file.
    """
    content = file.read_bytes()
    try:
        return jax.export.deserialize(bytearray(content))
    except Exception as error:  # flatbuffers raises errors of any type
        raise ValueError(f"{file} is not a network that examples.export wrote") from error


def predict(network: jax.export.Exported, images: np.ndarray) -> dict[str, np.ndarray]:
    """The probability of each class for each of the images (count, height, width) of bytes, light on dark."""
    return jax.device_get(network.call(images))


def _grey(picture: Image.Image) -> Image.Image:
    """8 bits a pixel, what is transparent on white."""
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip to 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("L")


def read_image(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """A picture as `size` = (width, height) grey pixels, light on dark, and whether it was dark on light.

    It keeps its proportions: its background fills the rest of a network's image of other proportions.

    Raises:
        OSError: if the file cannot be read as a picture.
    """
    with warnings.catch_warnings():
        # A small file can promise any number of pixels.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as picture:
                grey = _grey(picture)
        except (FileNotFoundError, UnidentifiedImageError):
            raise  # their messages name the file
        except Exception as error:  # Pillow raises errors of many types of a file that is broken within
            raise OSError(f"{path} cannot be read as a picture: {error}") from error
    pixels = np.asarray(grey)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = int(np.median(border))
    grey = ImageOps.pad(grey, size, Image.Resampling.BILINEAR, color=background)
    inverted = background > 127
    return np.asarray(ImageOps.invert(grey) if inverted else grey), inverted


if __name__ == "__main__":
    sys.exit(main())
