"""A network that steps a field on a globe forward, on eight devices and on one.

    python -m examples.field --out runs/field

needs `pip install 'jaxconv[examples]'`. A tracer is carried by winds and spreads: a solver in NumPy makes pairs of the
field now and a while later, and a U-Net learns to tell the second from the first and the winds. The field is divided
among eight devices, two along the latitudes and four along the longitudes. Each convolution reads its neighbours'
borders: around the globe in longitude, and beyond the last latitudes what is on them. The program prints how far the
numbers of eight devices are from those of one, and draws the field, its error, and the error by longitude: at the
borders between devices it is what it is elsewhere, and not what it would be if each block were alone.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from matplotlib.figure import Figure

import jaxconv
import jaxconv.spatial
from jaxconv.nnx import Conv2d

FIELDS, WHOLE = PartitionSpec(None, None, "lat", "lon"), PartitionSpec()


# ---------------------------------------------------------------------------------------------------------------
# The solver
# ---------------------------------------------------------------------------------------------------------------


def slope(field: np.ndarray, axis: int) -> np.ndarray:
    """Half the difference of a position's neighbours: around the globe along axis -1, along -2 up to the last row."""
    ends = [(0, 0)] * field.ndim
    ends[axis] = (1, 1)
    padded = np.pad(field, ends, mode="wrap" if axis == -1 else "edge")
    before, after = np.split(padded, [2], axis)[1], np.split(padded, [-2], axis)[0]
    return (before - after) / 2


def change(tracer: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """The rate of change of a tracer in the wind (-dψ/dlat, dψ/dlon) of a stream function ψ, with some diffusion."""
    carried = -slope(stream, -2) * slope(tracer, -1) + slope(stream, -1) * slope(tracer, -2)
    return 0.1 * sum(slope(slope(tracer, axis), axis) for axis in (-1, -2)) - carried


def smooth_noise(rng: np.random.Generator, count: int, rows: int, columns: int, waves: int) -> np.ndarray:
    """Random fields of few waves, around the globe and between its last latitudes."""
    lat, lon = (np.arange(n) + 0.5 for n in (rows, columns))
    fields = np.zeros((count, rows, columns))
    for i in range(1, waves + 1):
        for j in range(waves + 1):
            amplitude, phase = rng.standard_normal((count, 1, 1)) / (i + j), rng.uniform(0, 2 * np.pi, (count, 1, 1))
            around = np.cos(2 * np.pi * j * lon / columns + phase)
            fields += amplitude * np.sin(np.pi * i * lat / rows)[:, None] * around
    return fields


def make_data(seed: int, count: int, rows: int, columns: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 2, rows, columns) tracers and stream functions, and (count, 1, rows, columns) tracers after `steps`."""
    rng = np.random.default_rng(seed)
    tracer, stream = smooth_noise(rng, count, rows, columns, 5), 3 * smooth_noise(rng, count, rows, columns, 3)
    later = tracer
    for _ in range(steps):  # Runge and Kutta's of second order, a quarter of a time unit each
        middle = later + 0.125 * change(later, stream)
        later = later + 0.25 * change(middle, stream)
    return np.stack([tracer, stream], 1).astype("float32"), later[:, None].astype("float32")


# ---------------------------------------------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------------------------------------------


class GlobeConv(nnx.Module):
    """A 3 × 3 convolution of a block of the globe: circular in longitude, and in latitude the last row repeated."""

    def __init__(self, before: int, after: int, rngs: nnx.Rngs):
        self.conv = Conv2d(before, after, 3, rngs=rngs)

    def __call__(self, block: jax.Array, names: tuple[str | None, str | None]) -> jax.Array:
        """The block of the result; `names` are the axes of the mesh that divide latitudes and longitudes."""
        lat, lon = names
        block = jaxconv.spatial.halo(block, (0, 1), (None, lon), "circular")
        return self.conv(jaxconv.spatial.halo(block, (1, 0), (lat, None), "replicate"))


class UNet(nnx.Module):
    """The tracer a while later, from the tracer and the stream function: what is added to it."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        conv = partial(GlobeConv, rngs=rngs)
        self.down1, self.down2, self.bottom = conv(2, width), conv(width, 2 * width), conv(2 * width, 2 * width)
        self.up2, self.up1, self.last = conv(4 * width, width), conv(2 * width, width), conv(width, 1)

    def __call__(self, x: jax.Array, names: tuple[str | None, str | None]) -> jax.Array:
        """(count, 2, rows, columns) → (count, 1, rows, columns), blocks of them."""
        # Windows side by side, and whole copies, read nothing of a neighbour where a block's size is even.
        halve, double = partial(jaxconv.avg_pool2d, kernel_size=2), partial(jaxconv.interpolate, scale_factor=2)
        fine = nnx.gelu(self.down1(x, names))
        middle = nnx.gelu(self.down2(halve(fine), names))
        coarse = nnx.gelu(self.bottom(halve(middle), names))
        middle = nnx.gelu(self.up2(jnp.concatenate([double(coarse), middle], 1), names))
        fine = nnx.gelu(self.up1(jnp.concatenate([double(middle), fine], 1), names))
        return x[:, :1] + self.last(fine, names)


def make_mesh(rows: int, columns: int) -> Mesh:
    """`rows` times `columns` devices, which divide the latitudes and the longitudes."""
    return Mesh(np.array(jax.devices()[: rows * columns]).reshape(rows, columns), ("lat", "lon"))


def predict(mesh: Mesh, graph: Any, params: Any, inputs: np.ndarray, *, alone: bool = False) -> np.ndarray:
    """The network's result; with `alone` each device takes its block for a globe."""
    names = (None, None) if alone else ("lat", "lon")
    run = jax.shard_map(
        lambda params, x: nnx.merge(graph, params)(x, names), mesh=mesh, in_specs=(WHOLE, FIELDS), out_specs=FIELDS
    )
    return np.asarray(jax.jit(run)(params, inputs))


def train(
    mesh: Mesh, data: tuple[np.ndarray, np.ndarray], width: int, steps: int, stop: int
) -> tuple[Any, Any, list[float]]:
    """The network, its parameters after the first `stop` of `steps` steps, and the losses: the mean squared errors."""
    graph, params = nnx.split(UNet(width, nnx.Rngs(0)))
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        squares = (nnx.merge(graph, params)(x, ("lat", "lon")) - y) ** 2
        return jax.lax.pmean(squares.mean(), ("lat", "lon"))  # and so are the gradients those of all blocks

    # Parameters are whole on each device: JAX knows that they do not vary, and sums their gradients.
    gradient = jax.shard_map(
        jax.value_and_grad(loss_fn), mesh=mesh, in_specs=(WHOLE, FIELDS, FIELDS), out_specs=(WHOLE, WHOLE)
    )

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, gradients = gradient(params, x, y)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, loss

    state, losses, rng = optimizer.init(params), [], np.random.default_rng(0)
    for _ in range(stop):
        batch = rng.choice(len(data[0]), 8, replace=False)
        params, state, loss = step(params, state, data[0][batch], data[1][batch])
        losses.append(float(loss))
    return graph, jax.device_get(params), losses


# ---------------------------------------------------------------------------------------------------------------
# The program
# ---------------------------------------------------------------------------------------------------------------


def draw(path: Path, before, after, found, alone, blocks: tuple[int, int]) -> None:
    """Draws one field with its error, and the root mean square of the error of all fields at each longitude."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    grid = figure.subplot_mosaic("bae;sss", height_ratios=[3, 4])
    rows, columns = after.shape[2:]
    most = np.abs(after[0]).max()
    pictures = {
        "b": (before[0, 0], "The tracer"),
        "a": (after[0, 0], "A while later"),
        "e": (found[0, 0] - after[0, 0], "Error of the network"),
    }
    for letter, (picture, title) in pictures.items():
        axes, limit = grid[letter], np.abs(picture).max() if letter == "e" else most
        image = axes.imshow(picture, origin="lower", cmap="PuOr", vmin=-limit, vmax=limit)
        for i in range(1, blocks[0]):
            axes.axhline(i * rows / blocks[0] - 0.5, color="black", linewidth=0.6, linestyle=":")
        for j in range(1, blocks[1]):
            axes.axvline(j * columns / blocks[1] - 0.5, color="black", linewidth=0.6, linestyle=":")
        axes.set(title=title, xlabel="longitude", ylabel="latitude")
        figure.colorbar(image, ax=axes, shrink=0.75)
    axes = grid["s"]
    lines = (("with halos", found, "-", "#0b2a4a"), ("each block alone", alone, "--", "#c2501f"))
    for label, result, style, color in lines:
        axes.plot(np.sqrt(((result - after) ** 2).mean((0, 1, 2))), style, color=color, label=label)
    for j in range(blocks[1] + 1):
        axes.axvline(j * columns / blocks[1] - 0.5, color="black", linewidth=0.6, linestyle=":")
    axes.set(title="Error by longitude; dotted: borders between devices", xlabel="longitude", ylabel="rms error")
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(0, None))
    axes.legend(loc="center", bbox_to_anchor=(0.37, 0.78))
    figure.savefig(path, dpi=110)


def main(out: Path, rows: int = 32, columns: int = 64, width: int = 16, steps: int = 400, count: int = 128) -> dict:
    """Trains on eight devices and on one, prints and draws how they compare, and returns what it prints."""
    blocks = (2, 4)
    data, (x, y) = make_data(0, count, rows, columns, 16), make_data(1, 32, rows, columns, 16)
    graph, params, losses = train(make_mesh(*blocks), data, width, steps, steps)
    _, _, of_one = train(make_mesh(1, 1), data, width, steps, min(steps, 20))
    found, whole = (predict(make_mesh(*mesh), graph, params, x) for mesh in (blocks, (1, 1)))
    alone = predict(make_mesh(*blocks), graph, params, x, alone=True)
    error = np.sqrt(((found - y) ** 2).mean((0, 1, 2)))
    at_border = np.isin(np.arange(columns) % (columns // blocks[1]), (0, columns // blocks[1] - 1))
    report = {
        "rms error of the network": np.sqrt(((found - y) ** 2).mean()),
        "rms error of no change": np.sqrt(((x[:, :1] - y) ** 2).mean()),
        "rms error beside the borders": np.sqrt((error[at_border] ** 2).mean()),
        "rms error elsewhere": np.sqrt((error[~at_border] ** 2).mean()),
        "eight devices and one, largest difference of the field": np.abs(found - whole).max(),
        "eight devices and one, largest of the first losses": max(
            abs(a / b - 1) for a, b in zip(losses, of_one, strict=False)
        ),
    }
    for name, value in report.items():
        print(f"{name:56} {value:.2g}")
    out.mkdir(parents=True, exist_ok=True)
    draw(out / "field.png", x, y, found, alone, blocks)
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the picture")
    parser.add_argument("--steps", type=int, default=400, help="training steps")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)
    main(arguments.out, steps=arguments.steps)
