"""All benchmarks, each in a process of its own, and the page that they fill.

python -m benchmarks [--out docs/benchmarks.md] [--json FOLDER] [--from FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import around, layers, measure, networks

COMMANDS = {
    "layers": ["benchmarks.layers"],
    "sample": ["benchmarks.layers", "--sample"],
    "ops": ["benchmarks.layers", "--ops", "--main"],
    "networks": ["benchmarks.networks"],
    "around": ["benchmarks.around"],
}

PAGE = """# Benchmarks

Written by `make bench` on {date}; nothing here is edited by hand.

| | |
| --- | --- |
| machine | {machine} |
| versions | {versions} |
| a large float32 matrix product | {matrix product} |

The peers compute the same thing in the same process, in turn: `flax.nnx.Conv` and `equinox.nn.Conv`, which both call
`lax.conv_general_dilated`; that function itself (`lax`), with the layout of the images that the row names; and PyTorch,
with its images channels last in memory and as many threads. Before anything is timed, each side's results are compared
with jaxconv's. A time is the median of at least 5 runs, of 2 where one takes more than a second; each timed run follows
an untimed one of the same side. Compilation is timed apart. Memory is how far one run raises that of the process, its
results included. A quotient such as `lax / ours` is above 1 where jaxconv is the faster one. Times of one run of this
page and of another differ by some 10 %, so look at the quotients.

## Layers: output and both gradients

{layers}

{summary}

## Layers drawn at random

{sampled} layers from a stored seed, none of them known when the kernels were tuned: one to three dimensions, kernels of
1 to 7, strides, dilations, groups and both formats. Output and both gradients. `lax` takes those that are not in
groups.

{sample}

## Layers: each op by itself

`auto` is what jaxconv chooses, beside each algorithm that can be asked for. The share is that of the matrix product's
rate which `auto` reaches, counting the multiplications of the plain sum; it is given for dense float32 layers, and can
exceed 100% where fewer multiplications give the same (kernels of 3x3, see [the native kernels](native.md)).

{ops}

## Networks

A training step is cross-entropy, its gradient and stochastic gradient descent with momentum. All sides start from the
same weights, and loss and gradients are compared before. The share is what the convolutions and matrix products alone
would need at the rate of the large matrix product, of the time of the whole.

{networks}

The same networks, with PyTorch's weights, by compilers: `torch.compile` in its default mode, and in inference ONNX
Runtime and OpenVINO, which fold batch norms into convolutions, all with as many threads. `fused` is what
`jaxconv.fuse` makes of jaxconv's network; in inference the quotients are over that. What a compiler prepares is bounded
in time, and a network after that has no figure.

{compilers}

Where the time of jaxconv's training steps goes, as XLA's profiler has it, in milliseconds of all threads together: the
package's own kernels, and the operations that XLA compiles (normalisation, activations, pools, the optimiser), by the
names that XLA gives them.

{profile}

## Pools, norms, and the bias

Output and all gradients of one layer; of a norm in training. `flax` pools with `lax.reduce_window`.

{around}

## Eager calls

{eager}
"""


def main() -> None:
    """Measures everything, or reads what was measured, and writes the page."""
    parser = argparse.ArgumentParser(description="Runs all benchmarks and writes the page of their tables.")
    parser.add_argument("--out", default="docs/benchmarks.md", help="the page")
    parser.add_argument("--json", default=None, metavar="FOLDER", help="keep the figures here")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="rows whose names contain one of these")
    parser.add_argument("--from", dest="given", default=None, metavar="FOLDER", help="read figures, measure nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.given or arguments.json or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.given is None:
            for name, command in COMMANDS.items():
                only = ["--only", *arguments.only] if arguments.only else []
                file = folder / f"{name}.json"
                subprocess.run([sys.executable, "-m", *command, "--json", str(file), *only], check=True)
        figures = {name: json.loads((folder / f"{name}.json").read_text()) for name in COMMANDS}
    Path(arguments.out).write_text(page(figures))


def page(figures: dict[str, Any]) -> str:
    """The page, from what the benchmarks wrote."""
    rows = {name: found["rows"] for name, found in figures.items()}
    ceiling = {name: measure.ceiling(found["where"]) for name, found in figures.items()}
    texts = {
        "layers": layers.table(rows["layers"]),
        "summary": layers.summary(rows["layers"]),
        "sample": layers.distribution(rows["sample"]),
        "sampled": len(rows["sample"]),
        "compilers": networks.compilers_table(rows["networks"]),
        "ops": layers.ops_table(rows["ops"], ceiling["ops"]),
        "networks": networks.table(rows["networks"], ceiling["networks"]),
        "profile": networks.profile_table(rows["networks"]),
        "around": around.table(rows["around"]),
        "eager": around.eager_table(rows["around"]),
    }
    return PAGE.format(**figures["layers"]["where"], **texts)


if __name__ == "__main__":
    main()
