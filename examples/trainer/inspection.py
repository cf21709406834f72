"""Pictures of what the trained network does with the held-out images."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from examples.trainer.config import Config
from examples.trainer.data import CLASS_NAMES, Digits, normalise
from examples.trainer.model import Apply, Params
from examples.trainer.pictures import (
    draw_confusion,
    draw_feature_maps,
    draw_kernels,
    draw_mistakes,
    draw_reconstructions,
)

BATCH = 500
RECONSTRUCTED = 10  # images shown with their reconstruction by an autoencoder


def draw_network(config: Config, apply: Apply, params: Params, digits: Digits, out: Path) -> None:
    """Draws into `out` the first layer's kernels, the feature maps of an image, and the mistakes.

    An autoencoder makes no mistakes to draw: some images and their reconstructions take their place.
    """
    names = CLASS_NAMES[config.data.name]
    images, labels = digits.test_images, digits.test_labels
    chosen = len(labels) // 2
    maps = layer_outputs(apply, params, images[chosen])
    first = next(iter(maps))
    draw_kernels(np.asarray(params[first]["weight"])[:, 0], out / "kernels.png")
    title = f"Feature maps of a held-out image of class {names[labels[chosen]]}"
    draw_feature_maps(images[chosen], maps, title, out / "feature_maps.png")
    if config.model.network == "autoencoder":
        some = images[np.linspace(0, len(images) - 1, RECONSTRUCTED).astype(int)]
        scores = scores_of(apply, params, some)
        draw_reconstructions(some, 255 / (1 + np.exp(-scores[..., 0])), out / "reconstructions.png")
        return
    probabilities = np.asarray(jax.nn.softmax(scores_of(apply, params, images)))
    draw_confusion(labels, probabilities.argmax(1), names, out / "confusion.png")
    draw_mistakes(images, labels, probabilities, names, out / "mistakes.png")


def layer_outputs(apply: Apply, params: Params, image: np.ndarray) -> dict[str, np.ndarray]:
    """The output of each convolution for one image (height, width): (height, width, channels), from the input on."""
    outputs = jax.jit(apply, static_argnames="method")(params, normalise(jnp.asarray(image[None])), method="outputs")
    return {name: np.asarray(value[0], np.float32) for name, value in outputs.items() if value.ndim == 4}


def scores_of(apply: Apply, params: Params, images: np.ndarray) -> np.ndarray:
    """The network's scores for each image, computed in batches that fit into memory."""
    compiled = jax.jit(lambda params, images: apply(params, normalise(images)).astype(jnp.float32))
    parts = [compiled(params, images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return np.concatenate(jax.device_get(parts))
