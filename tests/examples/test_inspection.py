"""The pictures of what a trained network sees: the arrays that reach them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.trainer import inspection
from examples.trainer.config import Config, Data, Model
from examples.trainer.data import Digits, normalise
from examples.trainer.model import create

pytestmark = pytest.mark.usefixtures("quick_compile")

SMALL = Model(channels=(2, 3, 4))
SHAPES = {"conv1": (28, 28, 2), "conv2": (14, 14, 3), "conv3": (7, 7, 4)}


@pytest.fixture
def drawn(monkeypatch):
    """What each drawing function was given, by its name and the file's."""
    calls = {}
    for name in ("kernels", "feature_maps", "confusion", "mistakes", "reconstructions"):

        def record(*args, name=name):
            calls[name] = args[:-1]
            assert args[-1].name == f"{name}.png"

        monkeypatch.setattr(inspection, f"draw_{name}", record)
    return calls


def digits(count):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return Digits(images[:0], np.zeros(0, np.int32), images, rng.integers(0, 10, count, dtype=np.int32))


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (SMALL, SHAPES),
        (dataclasses.replace(SMALL, framework="linen"), SHAPES),
        (dataclasses.replace(SMALL, block="separable"), SHAPES),
        (
            Model(network="autoencoder", channels=(2, 3)),
            {"conv1": (14, 14, 2), "conv2": (7, 7, 3), "transposed1": (14, 14, 2), "transposed2": (28, 28, 1)},
        ),
    ],
    ids=["plain", "linen", "separable", "autoencoder"],
)
def test_the_outputs_of_each_layer(model, shapes):
    apply, params = create(Config(model=model), jax.random.key(0))
    image = digits(1).test_images[0]
    found = inspection.layer_outputs(apply, params, image)
    assert {name: value.shape for name, value in found.items()} == shapes
    assert list(found) == list(shapes)
    images = normalise(jnp.asarray(image[None]))
    # The first layer, from its weight alone; the last, as the network itself gives it.
    weight, bias = (np.asarray(params["conv1"][name], np.float64) for name in ("weight", "bias"))
    stride, start = (2, 0) if model.network == "autoencoder" else (1, 0)
    padded = np.pad(np.asarray(images[0, :, :, 0], np.float64), 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))[start::stride, start::stride]
    wanted = np.maximum(np.einsum("ijhw,ohw->ijo", windows, weight[:, 0]) + bias, 0)
    np.testing.assert_allclose(found["conv1"], wanted, atol=1e-4)
    last = apply(params, images, method="outputs")
    np.testing.assert_array_equal(last[list(last)[-1]], apply(params, images))


def test_a_classifier(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "BATCH", 4)
    config = Config(data=Data(name="fashion_mnist"), model=SMALL)
    apply, params = create(config, jax.random.key(0))
    given = digits(9)
    inspection.draw_network(config, apply, params, given, tmp_path)
    assert set(drawn) == {"kernels", "feature_maps", "confusion", "mistakes"}
    np.testing.assert_array_equal(drawn["kernels"][0], np.asarray(params["conv1"]["weight"])[:, 0])
    image, maps, title = drawn["feature_maps"]
    np.testing.assert_array_equal(image, given.test_images[4])
    assert list(maps) == list(SHAPES)
    names = drawn["mistakes"][3]
    assert title == f"Feature maps of a held-out image of class {names[given.test_labels[4]]}"
    assert names[9] == "ankle boot"
    images, labels, probabilities, _ = drawn["mistakes"]
    wanted = jax.nn.softmax(apply(params, normalise(jnp.asarray(given.test_images))))
    np.testing.assert_allclose(probabilities, wanted, atol=1e-5)
    np.testing.assert_array_equal(images, given.test_images)
    np.testing.assert_array_equal(labels, given.test_labels)
    np.testing.assert_array_equal(drawn["confusion"][1], np.argmax(wanted, 1))


def test_an_autoencoder(drawn, tmp_path):
    config = Config(model=Model(network="autoencoder", channels=(2, 3)))
    apply, params = create(config, jax.random.key(0))
    given = digits(19)
    inspection.draw_network(config, apply, params, given, tmp_path)
    assert set(drawn) == {"kernels", "feature_maps", "reconstructions"}
    images, found = drawn["reconstructions"]
    np.testing.assert_array_equal(images, given.test_images[::2])
    wanted = 255 * jax.nn.sigmoid(apply(params, normalise(jnp.asarray(images))))[..., 0]
    np.testing.assert_allclose(found, wanted, atol=1e-2)
