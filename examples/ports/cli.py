"""The command line of the ported networks: weights in, scores out."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxconv.interop import load_state_dict


def main(
    build: Callable[[nnx.Rngs], Any], shape: tuple[int, ...], flattened: Mapping[str, Sequence[int]] | None = None
) -> None:
    """Loads the file that the command line names, and prints the network's scores for an image of zeros."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} WEIGHTS.safetensors")
    model = build(nnx.Rngs(0))
    print(load_state_dict(model, sys.argv[1], flattened=flattened))
    model.eval()
    print(nnx.jit(model)(jnp.zeros(shape)))
