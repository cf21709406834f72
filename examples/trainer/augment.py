"""Random changes to the training images, computed on the device as a part of the training step."""

import math

import jax
import jax.numpy as jnp

from examples.trainer.config import Data

GRID = 7  # points along a side where random displacements are drawn; in between they are interpolated


def move(images: jax.Array, data: Data, key: jax.Array) -> jax.Array:
    """Shifts, rotates, resizes and bends each of the images (count, side, side) by its own random amount.

    Returns float32 images of the same shape; what comes from outside an image is black.
    """
    move_key, bend_key = jax.random.split(key)
    amounts = jax.random.uniform(move_key, (4, len(images)), minval=-1, maxval=1)
    limits = jnp.array([data.shift, data.shift, math.radians(data.rotation), data.scale])
    bends = None
    if data.elastic:
        side = images.shape[-1]
        points = data.elastic * jax.random.normal(bend_key, (len(images), 2, GRID, GRID))
        bends = jax.image.resize(points, (len(images), 2, side, side), "cubic")
    down, right, angle, growth = limits[:, None] * amounts
    return jax.vmap(_resample)(images.astype(jnp.float32), down, right, angle, growth, bends)


def _resample(
    image: jax.Array, down: jax.Array, right: jax.Array, angle: jax.Array, growth: jax.Array, bend: jax.Array | None
) -> jax.Array:
    side = image.shape[-1]
    centre = (side - 1) / 2
    row, column = jnp.mgrid[:side, :side] - centre
    # The place in the image that each pixel of the result comes from: the inverse of the movement.
    sine, cosine = jnp.sin(angle) / (1 + growth), jnp.cos(angle) / (1 + growth)
    row, column = row - down, column - right
    source = jnp.stack([cosine * row - sine * column, sine * row + cosine * column]) + centre
    return jax.scipy.ndimage.map_coordinates(image, list(source if bend is None else source + bend), order=1)
