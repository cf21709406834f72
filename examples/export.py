"""Writes the network of a finished run into one file, for cpu, cuda and tpu.

    python -m examples.export runs/mnist

The file is a serialised `jax.export.Exported`: a function of bytes (count, 28, 28), light on dark, for any count. It
returns {name of class: probabilities (count,)}; an autoencoder returns the reconstructed images, as bytes. The file
holds the parameters and needs nothing of this repository; `examples.predict` runs it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp

from examples.trainer.checkpoint import restore_trained
from examples.trainer.config import Config, RunError, read_config
from examples.trainer.data import CLASS_NAMES, SIDE, normalise
from examples.trainer.model import Params, create

PLATFORMS = ("cpu", "cuda", "tpu")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the program. An error that the user can fix is shown as one line, and the exit status is 2."""
    parser = argparse.ArgumentParser(prog="examples.export", description="Writes a trained network into one file.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that examples.train wrote")
    options = parser.parse_args(args)
    try:
        config = read_config(options.run / "config.toml")
        step, params = restore_trained(options.run, config)
        content = export_network(config, params).serialize()
        file = options.run / "network.jax"
        try:
            file.write_bytes(content)
        except OSError as error:
            raise RunError(f"cannot write {file}: {error.strerror}") from error
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{file}: the network after step {step}, {len(content):,} bytes, for {', '.join(PLATFORMS)}")
    return 0


def export_network(config: Config, params: Params) -> jax.export.Exported:
    """The trained network as the function that the file holds, for a batch of any size."""
    apply, _ = create(config, jax.random.key(0))

    @jax.jit
    def network(images: jax.Array) -> dict[str, jax.Array] | jax.Array:
        scores = apply(params, normalise(images)).astype(jnp.float32)
        if config.model.network == "autoencoder":
            return jnp.round(255 * jax.nn.sigmoid(scores[..., 0])).astype(jnp.uint8)
        return dict(zip(CLASS_NAMES[config.data.name], jax.nn.softmax(scores).T, strict=True))

    (count,) = jax.export.symbolic_shape("count")
    images = jax.ShapeDtypeStruct((count, SIDE, SIDE), jnp.uint8)
    return jax.export.export(network, platforms=PLATFORMS)(images)


if __name__ == "__main__":
    sys.exit(main())
