"""The command line: `python -m jaxconv explain "Conv2d(16, 33, 3)" --input 20,16,50,100`."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from jaxconv._explain import explain


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in text.strip().removeprefix("(").removesuffix(")").rstrip(",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be sizes with commas between, such as 20,16,50,100, got {text!r}"
        ) from None


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line `argv`, by default that of the process; an error is one line and exit code 2."""
    parser = _Parser(prog="python -m jaxconv", description="Convolution for JAX with PyTorch's meaning.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "explain",
        help="say what a layer does to an input",
        description="Says what a layer does to an input: shapes, parameters, costs, and how it is computed here.",
    )
    command.add_argument("layer", help='the layer as a call, such as "Conv2d(16, 33, 3, stride=2)"')
    command.add_argument("--input", metavar="SIZES", type=_shape, required=True, help="its shape: 20,16,50,100")
    command.add_argument("--png", metavar="FILE", help="draw it, too")
    command.add_argument("--json", action="store_true", help="print JSON in place of text")
    arguments = parser.parse_args(argv)
    try:
        explanation = explain(arguments.layer, arguments.input)
        if arguments.png is not None:
            explanation.picture(arguments.png)
    except (TypeError, ValueError, ImportError, OSError) as error:
        command.error(str(error))
    print(json.dumps(explanation.as_dict(), indent=2) if arguments.json else explanation)


if __name__ == "__main__":
    sys.exit(main())
