"""Whole networks at sizes that fill a GPU: a training step, and inference, against Flax and PyTorch.

python -m benchmarks.gpu --only networks
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax

from benchmarks import networks
from benchmarks.gpu import timing
from benchmarks.gpu.part import Part, main
from benchmarks.networks import Network

# Training steps first: those are what a target names.
NETWORKS = [
    Network("MobileNetV2-style, 224x224", networks.mobilenet, 128, 3, 224),
    Network("ConvNeXt-style, 224x224", networks.convnext, 64, 3, 224),
    Network("ResNet-18, 128x128", networks.resnet18, 64, 3, 128),
    Network("ResNeXt-style, 224x224", networks.resnext, 64, 3, 224),
    Network("U-Net, 224x224", networks.unet, 64, 3, 224),
]
DTYPES = ("bfloat16", "tf32")
COMPILER = "torch.compile"
OTHERS, COMPILED = ("jaxconv", "flax", "torch"), ("jaxconv", COMPILER)
PEERS = ("flax", "torch", COMPILER)
TOLERANCES = {"tf32": 2e-2, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Run:
    """A row: a network, whether it is trained a step, and which sides are timed."""

    network: Network
    train: bool
    sides: tuple[str, ...]

    @property
    def name(self) -> str:
        """The row's name, which ends in what is done."""
        beside = f", beside {COMPILER}" if COMPILER in self.sides else ""
        return f"{self.network.name}: {'training step' if self.train else 'inference'}{beside}"


def rows(tiny: bool) -> list[Run]:
    """PyTorch's compiler takes longer than all else: it has rows of its own, after the others."""
    if tiny:
        return [Run(Network("MNIST CNN, tf32", networks.digits, 2, 1, 28, dtype="tf32"), True, OTHERS)]
    on_cpu = jax.default_backend() == "cpu"
    some = [replace(n, batch=2, size=32) for n in NETWORKS] if on_cpu else NETWORKS
    each = [replace(n, name=f"{n.name}, {d}", dtype=d) for n in some for d in DTYPES]
    kinds = ((True, OTHERS), (True, COMPILED), (False, OTHERS), (False, COMPILED))
    return [Run(network, train, sides) for train, sides in kinds for network in each]


def measure_all(part: Part) -> None:
    """Each row as long as there is time."""
    found = part.results["rows"] = {}
    todo = rows(part.tiny)
    for index, run in enumerate(todo):
        if part.seconds_left <= 0:
            part.note(f"No time was left for {len(todo) - index} of {len(todo)} rows, from {run.name!r} on.")
            break
        try:
            made = networks.makers(run.network, run.train)
        except Exception as error:  # the network itself could not be made
            part.note(f"{run.name}: {error}")
            continue
        sides = {side: partial(queued, make, side == COMPILER) for side, make in made.items() if side in run.sides}
        found[run.name] = timing.compare(sides, TOLERANCES[run.network.dtype], 0.1 if part.tiny else 2.0)
        part.save()
        print(f"  {run.name}", flush=True)


def queued(make: Callable[[], networks.Side], quietly: bool) -> timing.Side:
    """A side of `benchmarks.networks`, whose steps are waited for one by one: each is long."""
    with timing.compiling() if quietly else contextlib.nullcontext():
        side = make()
    return timing.Side(side.run, lambda result: result, side.read, side.compile_seconds)


if __name__ == "__main__":
    main(measure_all)
