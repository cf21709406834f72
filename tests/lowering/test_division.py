"""Images that devices divide along their rows and columns: divided equals undivided, and nothing whole is gathered."""

import functools
import math
import os
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv._lowering.halo import Windows
from jaxconv._spec.padding import PADDING_MODES, TRANSPOSED_PADDING_MODES, source_index

pytestmark = [
    pytest.mark.usefixtures("quick_compile"),
    pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices"),
]

MESHES = {(8,): ("a",), (2, 4): ("a", "b"), (4, 2): ("a", "b"), (2, 2, 2): ("a", "b", "c")}
# The grid was computed whole once; `JAXCONV_ALL` does it again.
CASES = 500 if "JAXCONV_ALL" in os.environ else 14


# ---------------------------------------------------------------------------------------------------------------
# What is read of the neighbours
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "own", "pads", "offset", "step", "length"),
    [
        (8, 3, (1, 1), -1, 3, 5),  # a kernel of 3: a row of each neighbour
        (8, 2, (5, 4), -5, 2, 11),  # wider than two neighbours' parts
        (4, 5, (0, 0), 0, 4, 8),  # parts of a result that is shorter: each device begins elsewhere in its own
        (4, 3, (2, 7), -2, 5, 6),  # and of one that is longer
        (2, 6, (-1, -2), 1, 3, 2),  # cropped: all of it within its own part
        (4, 2, (3, 3), -3, 4, 4),  # the last window ends beyond the padding
    ],
)
@pytest.mark.parametrize("mode", PADDING_MODES)
def test_what_a_device_reads(mode, parts, own, pads, offset, step, length):
    size = parts * own
    windows = Windows(1, ("a",), parts, (("a",), tuple(range(parts))), size, pads, offset, step, length)
    x = np.arange(1.0, 2 * size + 1, dtype="float32").reshape(2, size)
    wanted = np.zeros((2, parts, length), "float32")
    for d in range(parts):
        for i in range(length):
            position = offset + d * step + i
            if -pads[0] <= position < size + pads[1]:
                source = source_index(mode, position, size, pads)
                wanted[:, d, i] = 0 if source is None else x[:, source]
    mesh = jax.make_mesh((parts,), ("a",), axis_types=(AxisType.Auto,), devices=jax.devices()[:parts])
    split = PartitionSpec(None, "a")
    read = jax.jit(jax.shard_map(lambda x: windows.read(x, mode), mesh=mesh, in_specs=split, out_specs=split))
    np.testing.assert_array_equal(read(x), wanted.reshape(2, -1))

    # Its transpose adds what was read of each position to it.
    g = np.random.default_rng(0).standard_normal(wanted.shape).astype("float32").reshape(2, -1)
    (back,) = jax.linear_transpose(read, x)(g)
    np.testing.assert_allclose((back * x).sum(), (g * wanted.reshape(2, -1)).sum(), rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------------
# A grid
# ---------------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A function of images and parameters, and how a mesh divides the images."""

    function: str
    arguments: dict
    shapes: tuple
    dtype: str
    mesh: tuple
    spec: PartitionSpec
    kind: AxisType


FUNCTIONS = (
    "conv",
    "conv",
    "conv",
    "conv_transpose",
    "conv_transpose",
    "max_pool",
    "avg_pool",
    "batch_norm",
    "group_norm",
)


def draw(seed: int) -> Case:
    """A call that is not refused, and a division of its images that can be."""
    rng = np.random.default_rng(seed)
    while True:
        case = drawn(rng)
        try:
            jax.eval_shape(run_of(case), *(jax.ShapeDtypeStruct(s, jnp.float32) for s in case.shapes))
        except ValueError:
            continue
        return case


def drawn(rng: np.random.Generator) -> Case:

    def some(*values):
        return values[rng.integers(len(values))]

    def each(*values):
        return tuple(some(*values) for _ in range(rank))

    rank, channels, per_group, groups = some(1, 2, 2, 2, 3), 4, 3, some(1, 1, 2)
    function = some(*FUNCTIONS)
    last = some(False, True)
    size = each(8, 16, 24, 12, 15) if rank < 3 else each(8, 4)
    x = (8, *size, channels) if last else (8, channels, *size)
    arguments: dict = {"data_format": "channels_last" if last else "channels_first"}
    shapes: tuple = (x,)
    if function.startswith("conv"):
        transposed = function == "conv_transpose"
        kernel = each(1, 2, 3, 4)
        w = (channels, per_group, *kernel) if transposed else (per_group * groups, channels // groups, *kernel)
        shapes = (x, w, (per_group * groups,))
        arguments |= {
            "stride": each(1, 1, 2, 3),
            "dilation": each(1, 1, 2),
            "padding": tuple((some(0, 1, 2), some(0, 1, 2)) for _ in range(rank)),
            "groups": groups,
            "padding_mode": some(*(TRANSPOSED_PADDING_MODES if transposed else PADDING_MODES)),
            "algorithm": some("auto", "auto", "auto", "xla", "taps"),
        }
        if not transposed and some(False, True):  # what keeps the size, or divides it by the stride
            reach = [d * (k - 1) for d, k in zip(arguments["dilation"], kernel, strict=True)]
            arguments["padding"] = tuple((r // 2, r - r // 2) for r in reach)
    elif function.endswith("norm"):
        shapes = (x, (channels,), (channels,))
    else:
        arguments |= {"kernel_size": each(2, 3), "stride": each(1, 2), "padding": 1}
    sizes = some(*MESHES)
    spec: list = [None] * (rank + 2)
    first = 1 if last else 2
    axes = [*range(first, first + rank)] * 2 + [0, rank + 1 if last else 1, None]
    of_mesh = dict(zip(MESHES[sizes], sizes, strict=True))
    for name, n in sorted(of_mesh.items(), reverse=some(False, True)):
        if (axis := some(*axes)) is None:
            continue
        taken = math.prod(of_mesh[other] for other in spec[axis] or ())
        if x[axis] % (taken * n) == 0:
            spec[axis] = (*(spec[axis] or ()), name)
    kind = some(AxisType.Auto, AxisType.Explicit)
    return Case(function, arguments, shapes, some("float32", "float64"), sizes, PartitionSpec(*spec), kind)


def run_of(case: Case):
    rank = len(case.shapes[0]) - 2
    if case.function == "batch_norm":
        return lambda x, w, b: jaxconv.batch_norm(x, None, None, w, b, training=True, **case.arguments)[0]
    if case.function == "group_norm":
        return lambda x, w, b: jaxconv.group_norm(x, 2, w, b, **case.arguments)
    f = getattr(jaxconv, f"{case.function}{rank}d")
    return functools.partial(f, **case.arguments)


def value_and_gradients(f, *arrays):
    y, transpose = jax.vjp(f, *arrays)
    return y, *transpose(jnp.cos(y))


def divided(case: Case, arrays):
    mesh = jax.make_mesh(case.mesh, MESHES[case.mesh], axis_types=(case.kind,) * len(case.mesh))
    spec = NamedSharding(mesh, case.spec)
    return mesh, (jax.device_put(arrays[0], spec), *arrays[1:])


def is_divided(case: Case, y: jax.Array) -> bool:
    """Whether each axis of the images that the mesh divides has a size in the result that it divides, too."""
    sizes = dict(zip(MESHES[case.mesh], case.mesh, strict=True))
    return all(
        n % math.prod(sizes[name] for name in names or ()) == 0 for n, names in zip(y.shape, case.spec, strict=True)
    )


def gathered(text: str) -> list[int]:
    """How many elements each all-gather of a compiled program results in."""
    shapes = re.findall(r"= \w+\[([\d,]*)\]\S* all-gather\(", text)
    return [math.prod(int(n) for n in shape.split(",") if n) for shape in shapes]


@pytest.mark.parametrize("seed", range(CASES))
def test_divided_equals_undivided(seed):
    case = draw(seed)
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        arrays = [rng.standard_normal(s).astype(case.dtype) for s in case.shapes]
        run = functools.partial(value_and_gradients, run_of(case))
        wanted = jax.jit(run)(*arrays)
        mesh, parts = divided(case, arrays)
        found = {}
        if case.kind == AxisType.Explicit:
            with jax.set_mesh(mesh):
                found["eager"], found["compiled"] = run(*parts), jax.jit(run)(*parts)
                text = jax.jit(run).lower(*parts).compile().as_text() or ""
        else:
            found["compiled"] = jax.jit(run)(*parts)
            text = jax.jit(run).lower(*parts).compile().as_text() or ""
        tolerance = 1e-13 if case.dtype == "float64" else 1e-6
        for how, results in found.items():
            for ours, expected in zip(results, wanted, strict=True):
                scale = np.abs(np.asarray(expected)).max()
                assert np.abs(np.asarray(ours) - np.asarray(expected)).max() <= 8 * tolerance * max(scale, 1), how
        on_channels = case.spec[-1 if "last" in case.arguments["data_format"] else 1]
        if is_divided(case, wanted[0]) and on_channels is None:
            assert all(n < arrays[0].size // 8 for n in gathered(text)), gathered(text)
        if case.kind == AxisType.Explicit:
            kept = tuple(jax.typeof(found["compiled"][0]).sharding.spec)
            if is_divided(case, wanted[0]) and on_channels is None:
                assert kept == tuple(case.spec)
            assert jax.typeof(found["eager"][0]) == jax.typeof(found["compiled"][0])


# ---------------------------------------------------------------------------------------------------------------
# Why
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
def test_xla_s_partitioner_is_wrong_about_a_weight(groups):
    """On the day that this fails, convolutions by `xla` need no division of ours: `sharded.py`, `family_for`, `_op`."""
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype("float32") for s in ((8, 4, 16, 7), (6, 4 // groups, 3, 3)))

    @jax.jit
    def gradient(x, w):
        numbers = {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": groups}
        return jax.grad(lambda w: (lax.conv_general_dilated(x, w, **numbers) ** 2).sum())(w)

    right = gradient(x, w)
    wrong = gradient(jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, None, "a"))), w)
    np.testing.assert_allclose(np.asarray(wrong) / np.asarray(right), 4, rtol=1e-3)
