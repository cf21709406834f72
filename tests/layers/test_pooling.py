"""The pooling layers that take or give where maxima are."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
import jaxconv.linen
import jaxconv.nnx

pytestmark = pytest.mark.usefixtures("quick_compile")

SIZES = {1: (9,), 2: (7, 9), 3: (5, 7, 6)}


def numbers(rank, data_format):
    shape = (2, 4, *SIZES[rank]) if data_format == "channels_first" else (2, *SIZES[rank], 4)
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def both(name, *args, **kwargs):
    """The layer in NNX and in Linen, as functions of its inputs."""
    linen = getattr(jaxconv.linen, name)(*args, **kwargs)
    return getattr(jaxconv.nnx, name)(*args, **kwargs), lambda *inputs: linen.apply({}, *inputs)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("rank", SIZES)
def test_indices_are_returned_and_taken(rank, data_format):
    x, options = numbers(rank, data_format), {"data_format": data_format}
    spatial = x.shape[2:] if data_format == "channels_first" else x.shape[1:-1]
    value, indices = getattr(jaxconv, f"max_pool{rank}d")(x, 2, return_indices=True, **options)
    image = getattr(jaxconv, f"max_unpool{rank}d")(value, indices, 2, output_size=spatial, **options)
    for pool, unpool in zip(
        both(f"MaxPool{rank}d", 2, None, 0, 1, True, **options), both(f"MaxUnpool{rank}d", 2, **options), strict=True
    ):
        y, places = pool(x)
        np.testing.assert_array_equal(y, value)
        np.testing.assert_array_equal(places, indices)
        np.testing.assert_array_equal(unpool(y, places, spatial), image)
    # Each maximum stands where it was, and nothing else does.
    kept = np.asarray(image) != 0
    np.testing.assert_array_equal(image[kept], x[kept])
    assert kept.sum() == value.size
    value, indices = getattr(jaxconv, f"adaptive_max_pool{rank}d")(x, 3, True, **options)
    for pool in both(f"AdaptiveMaxPool{rank}d", 3, True, **options):
        y, places = pool(x)
        np.testing.assert_array_equal(y, value)
        np.testing.assert_array_equal(places, indices)


def test_unpooling_refuses_a_wrong_argument_where_it_is_made():
    for shell in (jaxconv.nnx, jaxconv.linen):
        with pytest.raises(ValueError, match="kernel_size must be an int or a tuple of 2 ints"):
            shell.MaxUnpool2d((2, 2, 2))
