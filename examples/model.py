"""The network: three convolutions, as it would be written for `torch.nn`."""

import functools

import jax
from flax import nnx

from examples.config import Model
from examples.data import CLASSES, SIDE
from jaxconv.nnx import Conv2d


class Network(nnx.Module):
    """(count, 28, 28, 1) → a score for each of the ten digits, (count, 10)."""

    def __init__(self, config: Model, *, rngs: nnx.Rngs):
        # Channels last is the layout in which XLA convolves fastest on a CPU.
        conv = functools.partial(
            Conv2d, kernel_size=config.kernel_size, padding="same", data_format="channels_last", rngs=rngs
        )
        first, second, third = config.channels
        self.conv1 = conv(1, first)
        self.conv2 = conv(first, second)
        self.conv3 = conv(second, third)
        self.linear = nnx.Linear((SIDE // 4) ** 2 * third, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the digit."""
        x = halve(nnx.relu(self.conv1(x)))
        x = halve(nnx.relu(self.conv2(x)))
        x = nnx.relu(self.conv3(x))
        return self.linear(x.reshape(len(x), -1))


def halve(x: jax.Array) -> jax.Array:
    """The largest of every 2×2 pixels. By reshape, whose gradient XLA computes faster than a window's."""
    count, height, width, channels = x.shape
    return x.reshape(count, height // 2, 2, width // 2, 2, channels).max((2, 4))
