import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from examples.trainer import augment
from examples.trainer.config import Data


@pytest.mark.parametrize(
    ("down", "right", "degrees", "growth"),
    [(0, 0, 0, 0), (3, -2, 0, 0), (0, 0, 90, 0), (0, 0, 0, 0.5), (1.3, -0.7, 12, -0.2)],
)
def test_resample_against_scipy(down, right, degrees, growth):
    image = np.random.default_rng(1).uniform(0, 255, (28, 28))
    found = augment._resample(jnp.float32(image), *map(jnp.float32, (down, right, np.radians(degrees), growth)), None)
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
    found = augment._resample(jnp.asarray(image), *map(jnp.float32, (2, 1, 0, 0)), None)
    np.testing.assert_allclose(found[2:, 1:], image[:-2, :-1], rtol=1e-5)
    np.testing.assert_array_equal(found[:2], 0)
    np.testing.assert_array_equal(found[:, :1], 0)


def test_each_image_moves_by_its_own_amount_within_the_limits():
    images = np.zeros((64, 28, 28), np.uint8)
    images[:, 13:15, 13:15] = 200  # a square whose centre of mass is easy to follow
    moved = np.asarray(augment.move(jnp.asarray(images), Data(shift=3.0, rotation=0, scale=0), jax.random.key(0)))
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

    turned = np.asarray(augment.move(jnp.asarray(images), Data(shift=0, rotation=10, scale=0), jax.random.key(0)))
    across, along = ((turned * moment).sum((1, 2)) for moment in (np.outer(place, place), place**2))
    down = (turned * place[:, None] ** 2).sum((1, 2))
    angles = np.degrees(np.arctan2(2 * across, along - down) / 2)
    assert np.abs(angles).max() <= 10.1
    assert angles.min() < -8 < 8 < angles.max()

    resized = np.asarray(augment.move(jnp.asarray(images), Data(shift=0, rotation=0, scale=0.2), jax.random.key(0)))
    growth = np.sqrt(resized.sum((1, 2)) / images[0].sum()) - 1
    assert np.abs(growth).max() <= 0.21
    assert growth.min() < -0.15 < 0.15 < growth.max()


def test_moving_depends_on_the_key_alone():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8))
    first = augment.move(images, Data(), jax.random.key(7))
    np.testing.assert_array_equal(first, augment.move(images, Data(), jax.random.key(7)))
    assert not np.allclose(first, augment.move(images, Data(), jax.random.key(8)))
    still = augment.move(images, Data(shift=0, rotation=0, scale=0), jax.random.key(7))
    np.testing.assert_allclose(still, images, atol=1e-2)


def test_bending_moves_each_pixel_by_about_its_deviation_and_neighbours_alike():
    # Pixels that say where they are: what comes back is where each was taken from.
    still = Data(shift=0, rotation=0, scale=0, elastic=0.8)
    rows = np.broadcast_to(np.arange(28, dtype=np.float32)[:, None], (200, 28, 28))
    key = jax.random.key(0)
    down = np.asarray(augment.move(jnp.asarray(rows), still, key))[:, 6:22, 6:22] - rows[:, 6:22, 6:22]
    right = np.asarray(augment.move(jnp.asarray(rows.swapaxes(1, 2)), still, key))[:, 6:22, 6:22]
    right = right - rows.swapaxes(1, 2)[:, 6:22, 6:22]
    for distances in (down, right):
        assert 0.5 < distances.std() < 0.9  # between the points that were drawn it is somewhat less
        assert abs(distances.mean()) < 0.05
        assert np.abs(np.diff(distances, axis=1)).mean() < 0.6 * np.abs(distances).mean()  # 1.4 if independent
    assert abs(np.corrcoef(down.ravel(), right.ravel())[0, 1]) < 0.1
    assert np.std([one.mean() for one in down]) > 0.1  # each image by its own
