"""A run over several devices, or several processes, takes the same course as on one device."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from flax import nnx
from jax.sharding import AxisType, PartitionSpec
from small_run import records, write_digits, write_settings

import jaxconv
import jaxconv.linen
import jaxconv.nnx
from examples import train

pytestmark = pytest.mark.usefixtures("quick_compile", "no_pictures")
eight_devices = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices")

ROOT = Path(__file__).parents[2]
EPOCHS, STEPS = 6, 30


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder, train=40)
    write_settings(folder / "small.toml", folder)
    # Five steps an epoch; batches of 8 are one digit for each of 8 devices.
    return ["--config", str(folder / "small.toml"), "--train.epochs", str(EPOCHS), "--train.log-every", "1",
            "--checkpoint.every", str(EPOCHS)]  # fmt: skip


@pytest.fixture(scope="module")
def one_device(arguments, tmp_path_factory, quick_compile, no_pictures):
    out = tmp_path_factory.mktemp("runs") / "one"
    assert train.main([*arguments, "--out", str(out)]) == 0
    return records(out)


def check_same_course(found, wanted):
    assert [record["step"] for record in found] == [record["step"] for record in wanted]
    for key in ("loss", "test_loss"):
        ours, theirs = ([record[key] for record in run if key in record] for run in (found, wanted))
        assert len(theirs) == (STEPS if key == "loss" else EPOCHS)
        assert max(theirs) > 1.2 * min(theirs)  # it learns, so that there is something to agree on
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


OF_DEVICES = ["data=2,height=2,width=2", "height=2,fsdp=2,data=2", "data=8"][: 3 if "JAXCONV_ALL" in os.environ else 2]


@pytest.mark.slow
@eight_devices
@pytest.mark.parametrize("mesh", OF_DEVICES)
def test_eight_devices(arguments, one_device, tmp_path, capsys, mesh):
    # Twice halved, 28 rows are 7, which two devices do not divide: these are whole on each.
    assert train.main([*arguments, "--out", str(tmp_path), "--mesh", mesh]) == 0
    device = jax.devices()[0]
    assert f"device    {device.platform} ({device.device_kind}) × 8\n" in capsys.readouterr().out
    check_same_course(records(tmp_path), one_device)


# What is divided between the processes: the rows of each image, or each batch and the parameters.
OF_PROCESSES = ["height=4,width=2", "fsdp=2,height=2,width=2"][: 2 if "JAXCONV_ALL" in os.environ else 1]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", OF_PROCESSES)
def test_two_processes_of_four_devices(arguments, one_device, tmp_path, mesh):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {
        "XLA_FLAGS": re.sub("device_count=[0-9]+", "device_count=4", os.environ["XLA_FLAGS"]),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    command = [sys.executable, "-m", "examples.train", *arguments, "--out", str(tmp_path), "--distributed",
               "--mesh", mesh, "--coordinator", address, "--processes", "2", "--process"]  # fmt: skip
    processes = [
        subprocess.Popen(
            [*command, str(number)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        (first, first_err), (second, second_err) = (process.communicate(timeout=300) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], first_err + second_err
    assert "device    cpu (cpu) × 8\n" in first
    assert "device" not in second  # the first one reports for both
    assert (first_err, second_err) == ("", "")
    check_same_course(records(tmp_path), one_device)
    assert (tmp_path / "checkpoints" / str(STEPS)).is_dir()


def test_a_mesh_that_cannot_be(arguments, tmp_path, capsys):
    count = len(jax.devices())
    shape = (
        "give the number of devices along each axis, such as data=8 or data=2,height=2,width=2; the axes are data, "
        "fsdp, height, width"
    )
    for mesh, message in (
        ("model=2", f"--mesh model=2: {shape}"),
        ("data=two", f"--mesh data=two: {shape}"),
        ("data=2,data=2", f"--mesh data=2,data=2: {shape}"),
        ("data=0", f"--mesh data=0: {shape}"),
        (f"data={count + 1}", f"--mesh data={count + 1}: that is {count + 1} devices, and JAX finds {count}"),
    ):
        assert train.main([*arguments, "--out", str(tmp_path), "--mesh", mesh]) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


@eight_devices
@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("data=3", "train.batch_size is 8: not a multiple of the 3 devices"),
        ("data=2,fsdp=3", "train.batch_size is 8: not a multiple of the 6 devices"),
        ("width=8", "--mesh width=8: 8 devices do not divide the columns of the images, 28 of them"),
        ("fsdp=8", "--mesh: fsdp=8 does not divide conv1.weight of shape (2, 1, 3, 3) along either of its first axes"),
    ],
)
def test_what_cannot_be_divided(arguments, tmp_path, capsys, mesh, message):
    assert train.main([*arguments, "--out", str(tmp_path), "--mesh", mesh]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


# ---------------------------------------------------------------------------------------------------------------
# Under a mesh whose axes are part of the arrays' types
# ---------------------------------------------------------------------------------------------------------------


@eight_devices
@pytest.mark.parametrize("compiled", [False, True])
def test_a_mesh_with_explicit_axes(compiled):
    x, w, y = arrays((16, 6, 5, 7), (10, 6, 3, 4), (16, 10, 3, 4))

    def gradient(x, w, y):
        return jax.grad(lambda w: jnp.sum(jaxconv.conv2d(x, w) * y))(w)

    wanted = gradient(x, w, y)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    x, y = (jax.device_put(a, jax.NamedSharding(mesh, PartitionSpec("data"))) for a in (x, y))

    with jax.set_mesh(mesh):
        close((jax.jit(gradient) if compiled else gradient)(x, jnp.asarray(w), y), wanted)


@eight_devices
@pytest.mark.parametrize("names", [("h", "w"), ("w", "h")])
def test_rows_divided_along_two_axes_of_a_mesh(names):
    """In whatever order: `lax.ppermute` counts the devices in that of the mesh, and all else in that of the names."""
    x, w = arrays((2, 3, 24, 5), (4, 3, 4, 2))

    def conv(x, w):
        return jaxconv.conv2d(x, w, None, (1, 2), ((2, 1), (1, 0)), padding_mode="circular")

    rows = jax.NamedSharding(mesh_of(h=2, w=4), PartitionSpec(None, None, names))
    divided = jax.jit(lambda *a: value_and_gradients(conv, *a))(jax.device_put(x, rows), w)
    close(divided, value_and_gradients(conv, x, w))


# ---------------------------------------------------------------------------------------------------------------
# Within a shard_map, which checks what varies over the devices
# ---------------------------------------------------------------------------------------------------------------

ALGORITHMS = [name for name, state in jaxconv.algorithms().items() if state == "available"] + ["auto"]


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype("float32") for shape in shapes]


def mesh_of(**axes):
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def close(found, wanted):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert_close(ours, theirs, 1e-5)


def value_and_gradients(f, *arguments):
    """What `f` comes to, and the gradients in all arguments of a sum over its elements that weighs each differently."""
    y, transpose = jax.vjp(f, *arguments)
    return y, transpose(jnp.cos(y))


def check_divided(f, images, *parameters):
    """`f` of images that eight devices divide, its parameters whole on each: the same as on one device.

    The gradients are taken through the `shard_map`, and within it, where a parameter's must come out summed.
    """
    split, whole = PartitionSpec("data"), PartitionSpec()
    specs = (split, *[whole] * len(parameters))
    wanted = value_and_gradients(f, images, *parameters)
    mesh = mesh_of(data=8)
    divided = jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=split)
    close(jax.jit(lambda *a: value_and_gradients(divided, *a))(images, *parameters), wanted)
    within = jax.shard_map(lambda *a: value_and_gradients(f, *a), mesh=mesh, in_specs=specs, out_specs=(split, specs))
    close(jax.jit(within)(images, *parameters), wanted)


@eight_devices
@pytest.mark.parametrize(
    ("algorithm", "padding_mode"),
    [(name, "reflect") for name in ALGORITHMS]
    + [("auto", mode) for mode in ("zeros", "replicate", "circular", "symmetric")],
)
def test_a_convolution_within_a_shard_map(algorithm, padding_mode):
    def f(x, w, b):
        return jaxconv.conv2d(x, w, b, (2, 1), (1, 2), 1, 2, padding_mode=padding_mode, algorithm=algorithm)

    check_divided(f, *arrays((16, 6, 5, 7), (10, 3, 3, 4), 10))


DIVIDED = {
    "transposed": (lambda x, w: jaxconv.conv_transpose2d(x, w, None, 2, 1, 1), (6, 5, 3, 4)),
    "vmap": (lambda x, ws: jax.vmap(lambda w: jaxconv.conv2d(x, w), out_axes=1)(ws), (2, 5, 6, 3, 4)),
    "scan": (
        lambda x, w: jax.lax.scan(lambda x, _: (jnp.tanh(jaxconv.conv2d(x, w, None, 1, 1)), None), x, None, 3)[0],
        (6, 6, 3, 3),
    ),
    "second order": (
        lambda x, w: jax.grad(lambda x: (jaxconv.conv2d(x, w, padding_mode="circular") ** 3).sum())(x),
        (5, 6, 3, 4),
    ),
    "max pool": (lambda x: jaxconv.max_pool2d(x, 2),),
    "max pool, windows that overlap": (lambda x: jaxconv.max_pool2d(x, 3, 2, 1),),
    "average pool": (lambda x: jaxconv.avg_pool2d(x, 3, 2, 1, True, False),),
    "adaptive pool": (lambda x: jaxconv.adaptive_avg_pool2d(x, (2, 3)),),
    "fold": (lambda x: jaxconv.fold(jaxconv.unfold(x, (2, 3)) ** 2, (5, 7), (2, 3)),),
}


@eight_devices
@pytest.mark.parametrize("name", DIVIDED)
def test_a_function_within_a_shard_map(name):
    f, *shapes = DIVIDED[name]
    check_divided(f, *arrays((16, 6, 5, 7), *shapes))


@eight_devices
def test_a_convolution_within_a_shard_map_without_jit():
    x, w = arrays((16, 6, 5, 7), (10, 3, 3, 4))
    split = PartitionSpec("data")
    f = jax.shard_map(
        lambda x, w: jaxconv.conv2d(x, w, groups=2),
        mesh=mesh_of(data=8),
        in_specs=(split, PartitionSpec()),
        out_specs=split,
    )
    close(f(x, w), jaxconv.conv2d(x, w, groups=2))


@eight_devices
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_channels_divided_within_a_shard_map(algorithm):
    """Two layers: the channels between them are divided, so each device has a term of the sum that the second makes."""

    def hidden(x, first, bias):
        return jnp.tanh(jaxconv.conv2d(x, first, bias, 1, 1, padding_mode="circular", algorithm=algorithm))

    def whole(x, first, bias, second):
        return jaxconv.conv2d(hidden(x, first, bias), second, algorithm=algorithm)

    def part(x, first, bias, second):
        return jax.lax.psum(whole(x, first, bias, second), "model")

    x, *parameters = arrays((6, 3, 5, 7), (20, 3, 3, 3), 20, (7, 20, 3, 2))
    images, rows, columns = PartitionSpec("data"), PartitionSpec("model"), PartitionSpec(None, "model")
    specs, mesh = (images, rows, rows, columns), mesh_of(data=2, model=4)
    wanted = value_and_gradients(whole, x, *parameters)
    divided = jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=images)
    close(jax.jit(lambda *a: value_and_gradients(divided, *a))(x, *parameters), wanted)
    within = jax.shard_map(
        lambda *a: value_and_gradients(part, *a), mesh=mesh, in_specs=specs, out_specs=(images, specs)
    )
    close(jax.jit(within)(x, *parameters), wanted)


@eight_devices
def test_a_shard_map_along_some_axes_of_its_mesh():
    x, w, b = arrays((6, 3, 5, 7), (4, 3, 3, 2), 4)
    split, whole = PartitionSpec("data"), PartitionSpec()

    def divided(algorithm):
        return jax.jit(
            jax.shard_map(
                lambda x, w, b: jaxconv.conv2d(x, w, b, algorithm=algorithm),
                mesh=mesh_of(data=2, model=4),
                in_specs=(split, whole, whole),
                out_specs=split,
                axis_names={"data"},
            )
        )

    close(divided("auto")(x, w, b), jaxconv.conv2d(x, w, b))
    with pytest.raises(ValueError, match=r"along some axes of its mesh only; use algorithm='auto'"):
        divided("native")(x, w, b)


@eight_devices
def test_layers_within_a_shard_map():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        jaxconv.nnx.Conv2d(3, 10, 3, padding="same", padding_mode="reflect", rngs=rngs),
        nnx.relu,
        jaxconv.nnx.MaxPool2d(2),
        jaxconv.nnx.ConvTranspose2d(10, 7, 3, 2, rngs=rngs),
    )
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(state)
    (x,) = arrays((16, 3, 5, 7))
    check_divided(lambda x, *leaves: nnx.merge(graph, jax.tree.unflatten(tree, leaves))(x), x, *leaves)

    layer = jaxconv.linen.Conv2d(3, 10, 3, padding=1, padding_mode="circular")
    leaves, variables = jax.tree.flatten(layer.init(jax.random.key(0), x))
    check_divided(lambda x, *leaves: layer.apply(jax.tree.unflatten(variables, leaves), x), x, *leaves)


@eight_devices
def test_a_shard_map_knows_what_varies():
    x, w = arrays((16, 6, 5, 7), (10, 6, 3, 4))
    split, whole = PartitionSpec("data"), PartitionSpec()

    def divided(images, result):
        conv = jax.shard_map(jaxconv.conv2d, mesh=mesh_of(data=8), in_specs=(images, whole), out_specs=result)
        return jax.jit(conv)

    close(divided(whole, whole)(x, w), jaxconv.conv2d(x, w))
    with pytest.raises(ValueError, match="out_specs which require replication"):  # each device has another result
        divided(split, whole)(x, w)
