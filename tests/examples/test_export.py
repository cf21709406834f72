"""The network of a run in a file: as a function, and by the commands that write and run it."""

import dataclasses
import doctest
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small_run import records

from examples import export, predict
from examples.trainer.config import Config, Data, Model, Precision, read_config, write_config
from examples.trainer.data import CLASS_NAMES, load_digits, normalise
from examples.trainer.model import create

pytestmark = pytest.mark.usefixtures("quick_compile")

ROOT = Path(__file__).parents[2]
SMALL = Model(channels=(2, 3, 4))


@pytest.fixture
def run(finished, tmp_path):
    """The folder of a run of 3 epochs of 3 steps, which the test may change."""
    return shutil.copytree(finished[0], tmp_path / "run")


def exported(config):
    """The network as it is before and after it went through a file, with parameters of which none is zero."""
    apply, params = create(config, jax.random.key(1))
    params = jax.tree.map(lambda x: x + 0.01, params)
    return apply, params, jax.export.deserialize(export.export_network(config, params).serialize())


@pytest.fixture(scope="module")
def plain():
    return exported(Config(model=SMALL))


def images(count):
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_batch_of_any_size_gives_what_the_network_gives(plain, count):
    apply, params, network = plain
    found = predict.predict(network, images(count))
    scores = np.asarray(apply(params, normalise(jnp.asarray(images(count)))), np.float64)
    wanted = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert sorted(found) == sorted("0123456789")
    for label in range(10):
        np.testing.assert_allclose(found[str(label)], wanted[:, label], rtol=1e-4)


def test_it_is_for_three_platforms_and_calls_on_nothing_outside(plain):
    network = plain[2]
    assert network.platforms == ("cpu", "cuda", "tpu")
    assert str(network.in_avals) == "(ShapedArray(uint8[count,28,28]),)"
    # The one call there may be is of JAX itself, which checks the sizes.
    assert set(re.findall(r"custom_call @(\w+)", network.mlir_module())) <= {"shape_assertion"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "name"),
    [
        (Config(model=dataclasses.replace(SMALL, framework="linen")), "5"),
        (Config(data=Data(name="fashion_mnist"), model=dataclasses.replace(SMALL, block="separable")), "ankle boot"),
        (Config(model=SMALL, precision=Precision(compute="bfloat16")), "9"),
    ],
    ids=["linen", "separable", "bfloat16"],
)
def test_every_kind_of_classifier(config, name):
    apply, params, network = exported(config)
    label = CLASS_NAMES[config.data.name].index(name)
    scores = apply(params, normalise(jnp.asarray(images(2)))).astype(jnp.float32)
    wanted = jax.nn.softmax(scores)[:, label]
    # Fused or not, bfloat16 rounds in other places.
    tolerance = 0.05 if config.precision.compute == "bfloat16" else 1e-4
    np.testing.assert_allclose(predict.predict(network, images(2))[name], wanted, rtol=tolerance)


@pytest.mark.slow
def test_an_autoencoder_gives_images():
    config = Config(model=Model(network="autoencoder", channels=(2, 3)))
    apply, params, network = exported(config)
    found = network.call(images(2))
    wanted = 255 * jax.nn.sigmoid(apply(params, normalise(jnp.asarray(images(2)))))[..., 0]
    assert found.dtype == np.uint8
    np.testing.assert_allclose(np.asarray(found, np.float64), wanted, atol=0.51)


# The commands


def test_what_a_run_left_is_exported_and_says_what_it_sees(run, tmp_path, capsys):
    assert export.main([str(run)]) == 0
    file = run / "network.jax"
    tested = [record for record in records(run) if "test_accuracy" in record]
    best = max(record["test_accuracy"] for record in tested)
    out = capsys.readouterr().out
    assert out.startswith(f"{file}: the network after step ")
    assert out.endswith(f", {file.stat().st_size:,} bytes, for cpu, cuda, tpu\n")
    step = int(re.search(r"step (\d+)", out)[1])
    assert best in [record["test_accuracy"] for record in tested if record["step"] == step]

    # It reads the held-out images as the run's own test did.
    digits = load_digits(read_config(run / "config.toml").data)
    found = predict.predict(jax.export.deserialize(file.read_bytes()), digits.test_images)
    named = np.array([found[name] for name in "0123456789"]).argmax(0)
    assert (named == digits.test_labels).mean() == pytest.approx(best)

    Image.fromarray(digits.test_images[4]).resize((140, 140), Image.Resampling.NEAREST).save(tmp_path / "image.png")
    assert predict.main([str(file), str(tmp_path / "image.png")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][0] == str(named[4])
    assert sorted(row[0] for row in rows) == sorted("0123456789")
    assert sum(float(row[1].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.1)

    # As the page on training says it is used elsewhere.
    examples = doctest.DocTestParser().get_examples((ROOT / "docs/training.md").read_text())
    program = "".join(example.source for example in examples)
    assert "network.jax" in program
    names = {"images": images(3)}
    exec(program.replace("runs/mnist/network.jax", str(file)), names)
    assert {name: values.shape for name, values in names["probabilities"].items()} == dict.fromkeys("0123456789", (3,))

    file.unlink()
    file.mkdir()
    assert refused([run], capsys) == f"cannot write {file}: Is a directory"


def refused(arguments, capsys):
    assert export.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip()


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert (
        refused([tmp_path], capsys) == f"cannot read the config {tmp_path / 'config.toml'}: No such file or directory"
    )
    write_config(Config(), tmp_path)
    assert refused([tmp_path], capsys).startswith(f"{tmp_path} holds no checkpoint: ")
