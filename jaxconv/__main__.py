"""The command line: `python -m jaxconv explain "Conv2d(16, 33, 3)" --input 20,16,50,100`, or of a whole model."""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv._explain import explain
from jaxconv._explain.model.importing import is_name, model_of_name


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def _input(text: str) -> Any:
    """A shape, or where a dtype follows an array of that."""
    sizes, _, dtype = text.partition(":")
    try:
        shape = tuple(int(n) for n in sizes.strip().removeprefix("(").removesuffix(")").rstrip(",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be sizes with commas between, such as 20,16,50,100, got {text!r}"
        ) from None
    if not dtype:
        return shape
    try:
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype.strip()))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"must end in a dtype, such as 8,128:int32, got {text!r}") from None


def _divided(given: Any, parts: Any) -> jax.ShapeDtypeStruct:
    """An input that as many devices divide along each axis."""
    shape, dtype = getattr(given, "shape", given), getattr(given, "dtype", jnp.float32)
    count = math.prod(parts) if isinstance(parts, tuple) else 0
    if count < 1 or len(parts) != len(shape) or any(n % p for n, p in zip(shape, parts, strict=True)):
        raise ValueError(f"--divide must have a divisor of each size of --input, {shape}, got {parts}")
    if count > jax.device_count():
        raise ValueError(
            f"--divide needs {count} devices, and there are {jax.device_count()}; on a CPU, set "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        )
    names = tuple(f"axis_{i}" for i in range(len(parts)))
    mesh = jax.make_mesh(parts, names, devices=jax.devices()[:count], axis_types=(AxisType.Auto,) * len(names))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*names)))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line `argv`, by default that of the process; an error is one line and exit code 2."""
    parser = _Parser(prog="python -m jaxconv", description="Convolution for JAX with PyTorch's meaning.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "explain",
        help="say what a layer or a model does to an input",
        description="Says what a layer or a model does to an input: shapes, parameters, costs, and how it is computed.",
    )
    command.add_argument(
        "layer",
        help='the layer as a call, such as "Conv2d(16, 33, 3, stride=2)"; or a model by its name, '
        "package.module:Model, which is one, or a class or a function that makes one",
    )
    command.add_argument(
        "--input",
        metavar="SIZES",
        type=_input,
        required=True,
        action="append",
        help="its shape: 20,16,50,100; of a model also with a dtype, 8,128:int32, and once for each input",
    )
    command.add_argument(
        "--divide",
        metavar="PARTS",
        type=_input,
        help="into how many parts devices divide each axis of the first input, such as 1,1,2,4; says what they send",
    )
    command.add_argument("--measure", action="store_true", help="time it, too, and the gradients")
    command.add_argument("--png", metavar="FILE", help="draw it, too")
    command.add_argument("--json", action="store_true", help="print JSON in place of text")
    arguments = parser.parse_args(argv)
    try:
        layer, inputs = arguments.layer, arguments.input
        if is_name(layer):
            layer = model_of_name(layer)
        if arguments.divide is not None:
            inputs[0] = _divided(inputs[0], arguments.divide)
        explanation = explain(layer, inputs if len(inputs) > 1 else inputs[0])
        if arguments.measure:
            explanation = explanation.measure()
        if arguments.png is not None:
            explanation.picture(arguments.png)
    except (TypeError, ValueError, ImportError, OSError) as error:
        command.error(str(error))
    try:
        print(json.dumps(explanation.as_dict(), indent=2) if arguments.json else explanation, flush=True)
    except BrokenPipeError:  # who reads has enough, as `head` after ten lines; nothing is left to write at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
