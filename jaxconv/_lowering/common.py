"""What several families do alike: a bias in a step of its own, a weight with its channels exchanged."""

import jax
import jax.numpy as jnp

from jaxconv._arrays import wide
from jaxconv._spec.convolution import ConvSpec


def add_bias(y: jax.Array, b: jax.Array, spec: ConvSpec) -> jax.Array:
    """`y` + `b` along the channels. The gradient of b is a long sum, so 16-bit floats are widened for it."""
    shape = [1] * y.ndim
    shape[spec.channel_axis] = b.size
    return (y.astype(wide(y.dtype)) + b.astype(wide(y.dtype)).reshape(shape)).astype(y.dtype)


def sum_to_bias(y: jax.Array, spec: ConvSpec) -> jax.Array:
    """The transpose of `add_bias` in b: the sums of `y` over all but the channels, not in 16 bits."""
    return jnp.sum(y.astype(wide(y.dtype)), [axis for axis in range(y.ndim) if axis != spec.channel_axis])


def exchange_channels(w: jax.Array, groups: int) -> jax.Array:
    """A weight with output and input channels exchanged within each group: (G O', I', *k) -> (G I', O', *k)."""
    grouped = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
    return grouped.reshape(-1, grouped.shape[2], *w.shape[2:])
