"""The devices of a run: one, several of this process, or those of several processes."""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from examples.trainer.config import Run, RunError
from examples.trainer.data import SIDE

# Turns off XLA's newer fusion of matrix products on CPUs. On two cores and with JAX 0.10 that makes a step of the
# classifier 1.06 times faster with channels of 16, 32, 64, and 1.29 times faster with twice as many.
TUNED_FOR_CPU: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": ""}


def connect(run: Run) -> None:
    """Sets the platform and joins the other processes, if any. Call it before anything uses a device."""
    if run.platform != "auto":
        jax.config.update("jax_platforms", run.platform)
    if run.distributed:
        try:
            jax.distributed.initialize(run.coordinator, run.processes, run.process)
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"--distributed: {str(error).splitlines()[0]} (--coordinator, --processes, --process)"
            ) from error
    check_platform(run.platform)


def check_platform(name: str) -> None:
    """Raises RunError if JAX has no device of the platform `name`."""
    if name == "auto":
        return
    try:
        jax.devices(name)
    except RuntimeError:
        jax.config.update("jax_platforms", None)
        found = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise RunError(f"platform {name!r} is not available here; JAX finds: {found}") from None


# The axes of a mesh, the outermost first, and what each divides.
AXES = {
    "data": "the batch",
    "fsdp": "the batch, and the parameters with all that the optimizer keeps of them",
    "height": "the rows of the images",
    "width": "the columns of the images",
}


def make_mesh(run: Run) -> Mesh:
    """The devices of a run: a mesh with those of AXES that `--mesh` names, or with `data` alone."""
    devices = jax.devices()
    counts = _parse_mesh(run.mesh) if run.mesh else {"data": len(devices) if run.distributed else 1}
    count, batch_size = math.prod(counts.values()), run.settings.train.batch_size
    if count > len(devices):
        raise RunError(f"--mesh {run.mesh}: that is {count} devices, and JAX finds {len(devices)}")
    if run.distributed and count != len(devices):
        raise RunError(f"--mesh {run.mesh}: with --distributed all {len(devices)} devices take part")
    for axis in ("height", "width"):
        if SIDE % counts.get(axis, 1):
            raise RunError(f"--mesh {run.mesh}: {counts[axis]} devices do not divide {AXES[axis]}, {SIDE} of them")
    mesh = Mesh(np.array(devices[:count]).reshape(list(counts.values())), tuple(counts))
    if batch_size % batch_parts(mesh):
        raise RunError(f"train.batch_size is {batch_size}: not a multiple of the {batch_parts(mesh)} devices")
    return mesh


def _parse_mesh(text: str) -> dict[str, int]:
    """How many devices there are along each axis, in the order of AXES."""
    pairs = [part.partition("=") for part in text.split(",")]
    counts = {name: int(number) for name, _, number in pairs if number.isdecimal() and int(number) > 0}
    if len(counts) != len(pairs) or not set(counts) <= set(AXES):
        raise RunError(
            f"--mesh {text}: give the number of devices along each axis, such as data=8 or data=2,height=2,width=2; "
            f"the axes are {', '.join(AXES)}"
        )
    return {axis: counts[axis] for axis in AXES if axis in counts}


def batch_parts(mesh: Mesh) -> int:
    """How many parts each batch is divided into."""
    return math.prod(mesh.shape.get(axis, 1) for axis in ("data", "fsdp"))


def share(mesh: Mesh) -> tuple[int, int]:
    """Which part of each batch the devices of this process have, and of how many: (0, 2) is the first half."""
    each = mesh.size // batch_parts(mesh)  # devices that divide the same images among them
    mine = [i // each for i, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    first, size = mine[0], mine[-1] - mine[0] + 1
    if batch_parts(mesh) % size or first % size:
        raise RunError(f"--mesh: {each} devices have the same images, and those of one process are no part of a batch")
    return first // size, batch_parts(mesh) // size


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding in which every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def of_batch(mesh: Mesh, axes: int) -> NamedSharding:
    """The sharding of a batch: of images of rows and columns, or with one axis of labels."""
    batch = tuple(axis for axis in ("data", "fsdp") if axis in mesh.shape)
    spatial = [axis if axis in mesh.shape else None for axis in ("height", "width")]
    return NamedSharding(mesh, PartitionSpec(batch, *spatial[: axes - 1]))


def of_state(mesh: Mesh, state: Any) -> Any:
    """The sharding of each array of a run's state: with an axis `fsdp` that divides arrays by their channels."""
    parts = mesh.shape.get("fsdp", 1)

    def of(array: jax.Array) -> NamedSharding:
        axis = next((axis for axis, n in enumerate(array.shape[:2]) if n % parts == 0), None)
        return (
            NamedSharding(mesh, PartitionSpec(*[None] * (axis or 0), "fsdp"))
            if parts > 1 and axis is not None
            else replicated(mesh)
        )

    return jax.tree.map(of, state)


def check_parameters(mesh: Mesh, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises RunError if the axis `fsdp` does not divide the channels of a weight; a bias may stay whole."""
    parts = mesh.shape.get("fsdp", 1)
    for name, shape in shapes.items():
        if len(shape) > 1 and all(n % parts for n in shape[:2]):
            raise RunError(
                f"--mesh: fsdp={parts} does not divide {name} of shape {shape} along either of its first axes"
            )


def divide(mesh: Mesh, arrays: Any) -> Any:
    """Divides a batch's arrays over the devices. Each process passes its share of the batch."""
    part, parts = share(mesh)

    def of(array: np.ndarray) -> jax.Array:
        first = part * len(array)
        shape = (len(array) * parts, *array.shape[1:])

        def block(index: Any) -> np.ndarray:
            rows = range(shape[0])[index[0]]
            return array[(slice(rows.start - first, rows.stop - first), *index[1:])]

        return jax.make_array_from_callback(shape, of_batch(mesh, array.ndim), block)

    return jax.tree.map(of, arrays)


def compiler_options(choice: str, platform: str) -> dict[str, str | bool]:
    """XLA's options for this run: on a CPU TUNED_FOR_CPU, if the installed XLA knows these options."""
    if choice == "plain" or platform != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=dict(TUNED_FOR_CPU))
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(TUNED_FOR_CPU)
