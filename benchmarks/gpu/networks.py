"""Whole networks at sizes that fill a GPU: a training step, and inference, against Flax and PyTorch.

python -m benchmarks.gpu --only networks
"""

from dataclasses import replace
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
PEERS = ("flax", "torch", "torch.compile")
TOLERANCES = {"tf32": 2e-2, "bfloat16": 5e-2}


def rows(tiny: bool) -> list[tuple[Network, bool]]:
    """Networks, and whether a step of training is asked for."""
    if tiny:
        return [(Network("MNIST CNN, tf32", networks.digits, 2, 1, 28, "tf32"), True)]
    on_cpu = jax.default_backend() == "cpu"
    some = [replace(n, batch=2, size=32) for n in NETWORKS] if on_cpu else NETWORKS
    return [
        (replace(n, name=f"{n.name}, {d}", dtype=d), train) for train in (True, False) for n in some for d in DTYPES
    ]


def measure_all(part: Part) -> None:
    """Each row as long as there is time."""
    found = part.results["rows"] = {}
    todo = rows(part.tiny)
    for index, (network, train) in enumerate(todo):
        name = f"{network.name}: {'training step' if train else 'inference'}"
        if part.seconds_left <= 0:
            part.note(f"No time was left for {len(todo) - index} of {len(todo)} rows, from {name!r} on.")
            break
        try:
            sides = networks.makers(network, train)
        except Exception as error:  # the network itself could not be made
            part.note(f"{name}: {error}")
            continue
        if part.tiny:  # PyTorch's compiler takes longer than all else
            sides.pop("torch.compile", None)
        made = {side: partial(queued, make) for side, make in sides.items()}
        found[name] = timing.compare(made, TOLERANCES[network.dtype], 0.1 if part.tiny else 2.0)
        part.save()
        print(f"  {name}", flush=True)


def queued(make):
    """A side of `benchmarks.networks`, whose steps are waited for one by one: each is long."""
    side = make()
    return timing.Side(side.run, lambda result: result, side.read, side.compile_seconds)


if __name__ == "__main__":
    main(measure_all)
