"""The shapes that the public functions are annotated with are those of their arrays."""

import itertools
import typing

import jax.numpy as jnp
import pytest

import jaxconv
from jaxconv import functional

FUNCTIONS = sorted(name for name in vars(functional) if not name.startswith("_") and name != "algorithms")
IMAGE = {1: (11,), 2: (11, 8), 3: (11, 8, 9)}
KERNEL = {1: (3,), 2: (3, 2), 3: (3, 2, 4)}


def matches(array, annotation) -> bool:
    return any(isinstance(array, one) for one in typing.get_args(annotation) or (annotation,))


def parts(annotation):
    """What an annotation is a union or a tuple of, down to single types."""
    inner = typing.get_args(annotation)
    return [part for one in inner for part in parts(one)] if inner else [annotation]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_array_has_a_shape(name):
    hints = getattr(jaxconv, name).__annotations__
    arrays = [hints[a] for a in ("input", "weight", "bias", "grad_output", "return") if a in hints]
    assert arrays
    for hint in arrays:
        for one in parts(hint):
            assert one is type(None) or getattr(one, "dims", None) is not None, f"{name}: {one}"


@pytest.mark.parametrize(("rank", "data_format", "batch"), list(itertools.product((1, 2, 3), (0, 1), ((), (2,)))))
def test_a_convolutions_annotations_hold(rank, data_format, batch):
    data_format = ("channels_first", "channels_last")[data_format]

    def image(channels, size):
        return jnp.zeros((*batch, channels, *size) if data_format == "channels_first" else (*batch, *size, channels))

    x, w, b = image(6, IMAGE[rank]), jnp.zeros((10, 3, *KERNEL[rank])), jnp.zeros(10)
    conv = getattr(jaxconv, f"conv{rank}d")
    y = conv(x, w, b, groups=2, data_format=data_format)
    hints = conv.__annotations__
    assert matches(x, hints["input"])
    assert matches(w, hints["weight"])
    assert matches(b, hints["bias"])
    assert matches(y, hints["return"])
    assert not matches(w[0, 0], hints["weight"])
    assert not matches(jnp.zeros((1,) * (rank + 3))[0, 0, 0], hints["input"])
