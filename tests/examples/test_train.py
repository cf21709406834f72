import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import Mesh
from small_run import batch, records, without_pictures

from examples import train
from examples.trainer import step
from examples.trainer.config import Config, Data, Model, Optimizer, Train
from examples.trainer.data import Digits

pytestmark = pytest.mark.usefixtures("quick_compile")

PLATFORM = jax.default_backend()
ROOT = Path(__file__).parents[2]
STILL = Data(shift=0, rotation=0, scale=0)
SMALL = Model(channels=(2, 3, 4))
LAYERS = {"conv1": "weight", "conv2": "weight", "conv3": "weight", "linear": "kernel"}
NAMES = [f"{layer}.{name}" for layer, weight in LAYERS.items() for name in ("bias", weight)]


@pytest.fixture(autouse=True)
def platforms_as_before():
    before = jax.config.jax_platforms
    yield
    jax.config.update("jax_platforms", before)


@pytest.fixture(scope="module")
def built():
    return step.build(Config(model=SMALL), steps=10)


# What a run leaves behind


def test_the_records(finished):
    found = records(finished[0])
    # 9 steps, one record for every two and one for the rest; a test after every third.
    assert [(record["step"], "test_loss" in record) for record in found] == [
        (2, False), (3, True), (4, False), (6, False), (6, True), (8, False), (9, False), (9, True),
    ]  # fmt: skip
    for record in found:
        if "test_loss" in record:
            assert set(record) == {"step", "test_loss", "test_accuracy"}
            assert record["test_accuracy"] * 10 == round(record["test_accuracy"] * 10)
        else:
            measures = {"gradient_norm", "gradient_mean", "gradient_max", "gradient_zero"}
            assert set(record) == {"step", "loss", "accuracy", "learning_rate"} | measures
            assert all(sorted(record[measure]) == NAMES for measure in measures)
            assert all(norm > 0 for norm in record["gradient_norm"].values())


def test_what_a_pipe_receives(finished):
    folder, out = finished
    assert "\x1b" not in out
    assert "\r" not in out
    lines = [line.rstrip() for line in out.splitlines()]
    device = jax.devices()[0]
    assert lines[0] == f"device    {device.platform} ({device.device_kind})"
    assert lines[1] == "digits    26 to train on, 10 held out"
    sizes = [2 * 1 * 9 + 2, 3 * 2 * 9 + 3, 4 * 3 * 9 + 4, 7 * 7 * 4 * 10 + 10]
    assert lines[2] == f"network   {sum(sizes):,} parameters"
    tests = [record["test_accuracy"] for record in records(folder) if "test_accuracy" in record]
    rows = [line.split() for line in lines[4:7]]
    assert lines[3].split()[0] == "epoch"
    assert [(row[0], row[3]) for row in rows] == [
        (str(epoch), f"{accuracy:.2%}") for epoch, accuracy in enumerate(tests, 1)
    ]
    assert f"held-out accuracy {tests[-1]:.2%}" in lines
    assert lines[-2].startswith("trained 9 steps in ")
    assert lines[-1].startswith("time ")
    shares = re.findall(r"(\w+) (\d+\.\d)%", lines[-1])
    assert {name for name, _ in shares} == {"input", "step", "records", "test", "checkpoints"}
    assert sum(float(share) for _, share in shares) == pytest.approx(100, abs=0.3)
    assert {"conv1", "conv2", "conv3", "linear"} <= {line.split()[0] for line in lines if line}


def test_what_a_terminal_receives_and_one_seed_gives_identical_metrics(
    finished, arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    with without_pictures():
        assert train.main([*arguments, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "metrics.jsonl").read_bytes() == (finished[0] / "metrics.jsonl").read_bytes()
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b[" in out
    assert "9/9" in out
    final = [record for record in records(tmp_path) if "loss" in record][-1]
    assert f"loss {final['loss']:.3f}" in out


@pytest.mark.slow
def test_another_seed_gives_other_metrics(finished, arguments, tmp_path):
    with without_pictures():
        assert train.main([*arguments, "--out", str(tmp_path), "--train.seed", "1", "--platform", PLATFORM]) == 0
    ours, theirs = ([record for record in records(out) if "loss" in record] for out in (finished[0], tmp_path))
    assert [record["step"] for record in ours] == [record["step"] for record in theirs]
    assert all(one["loss"] != other["loss"] for one, other in zip(ours, theirs, strict=True))


def test_the_pictures_are_written(finished):
    assert {path.name for path in finished[0].iterdir()} == {
        "metrics.jsonl", "checkpoints", "checksums.json", ".lock", "config.toml", "curves.png", "gradient_flow.png",
        "kernels.png", "feature_maps.png", "confusion.png", "mistakes.png",
    }  # fmt: skip


# The training step


class TorchNetwork(torch.nn.Module):
    def __init__(self, params, kernel_size):
        super().__init__()
        first, second, third = (len(params[f"conv{number}.weight"]) for number in (1, 2, 3))
        self.conv1 = torch.nn.Conv2d(1, first, kernel_size, padding="same")
        self.conv2 = torch.nn.Conv2d(first, second, kernel_size, padding="same")
        self.conv3 = torch.nn.Conv2d(second, third, kernel_size, padding="same")
        self.linear = torch.nn.Linear(49 * third, 10)
        state = {name.replace("kernel", "weight"): torch.tensor(value) for name, value in params.items()}
        state["linear.weight"] = state["linear.weight"].T
        self.load_state_dict(state)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = torch.nn.functional.max_pool2d(torch.relu(conv(x)), 2)
        x = torch.relu(self.conv3(x))
        return self.linear(x.permute(0, 2, 3, 1).flatten(1))


@pytest.mark.slow
def test_two_steps_against_torch():
    config = Config(
        STILL,
        Model(channels=(3, 4, 5), kernel_size=5),
        optimizer=Optimizer(0.01, 0.1, warmup=0),
        train=Train(log_every=1, label_smoothing=0.1),
    )
    state, step_fn, test_fn, _ = step.build(config, steps=2)
    network = TorchNetwork({name: np.asarray(value) for name, value in step.named(state.params).items()}, 5)
    adam = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    for seed, factor in ((0, 1.0), (1, 0.5)):  # half a cosine over two steps: the whole rate, then half of it
        images, labels = batch(seed=seed)
        test_loss, test_right = test_fn(state.params, images, labels)
        state = step_fn(state, images, labels)
        metrics = state.sums
        adam.param_groups[0]["lr"] = 0.01 * factor
        scores = network(torch.tensor((images[:, None] / 255 - 0.1307) / 0.3081, dtype=torch.float32))
        targets = torch.tensor(labels, dtype=torch.long)
        loss = torch.nn.functional.cross_entropy(scores, targets, label_smoothing=0.1)
        adam.zero_grad()
        loss.backward()
        adam.step()
        right = (scores.argmax(1).numpy() == labels).sum()
        assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-5)
        assert float(metrics["accuracy"]) == right / 8
        assert float(metrics["learning_rate"]) == pytest.approx(0.01 * factor)
        assert float(test_loss) == pytest.approx(
            8 * torch.nn.functional.cross_entropy(scores, targets).item(), rel=1e-5
        )
        assert test_right == right
        for name, parameter in network.named_parameters():
            ours = name if name != "linear.weight" else "linear.kernel"
            gradient = parameter.grad.numpy()
            for measure, value in (
                ("norm", np.linalg.norm(gradient)),
                ("mean", np.abs(gradient).mean()),
                ("max", np.abs(gradient).max()),
                ("zero", (gradient == 0).mean()),
            ):
                assert float(metrics[f"gradient_{measure}"][ours]) == pytest.approx(value, rel=1e-4), (name, measure)
            value = np.asarray(step.named(state.params)[ours])
            wanted = parameter.detach().numpy()
            # Adam divides by the gradient's size, so a gradient near zero amplifies rounding.
            np.testing.assert_allclose(value, wanted.T if name == "linear.weight" else wanted, atol=1e-4)
    assert int(state.step) == 2


@pytest.mark.slow
def test_chance_follows_the_step_and_the_step_learns():
    config = Config(model=Model(channels=(4, 6, 8)), optimizer=Optimizer(0.01), train=Train(seed=3, log_every=1))
    state, step_fn, *_ = step.build(config, steps=60)
    images, labels = batch(16)
    images //= 8
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4 : 2 * label + 6] = 255

    def loss_at(number):  # with the initial weights, so that only chance changes it
        copy = jax.tree.map(jnp.copy, state)._replace(step=jnp.int32(number))
        return float(step_fn(copy, images, labels).sums["loss"])

    first = [loss_at(number) for number in range(4)]
    assert len(set(first)) == 4
    assert [loss_at(number) for number in range(4)] == first

    for _ in range(60):
        state = step_fn(state, images, labels)
    assert float(state.sums["loss"]) < 0.5 * np.mean(first)


def test_the_sums_are_over_the_steps_since_the_last_record():
    config = Config(STILL, SMALL, train=Train(log_every=3))
    state, step_fn, *_ = step.build(config, steps=10)
    losses, norms = [], []
    for number in range(1, 6):
        before = 0.0 if number % 3 == 1 else float(state.sums["loss"])
        state = step_fn(state, *batch(seed=number))
        losses.append(float(state.sums["loss"]) - before)
        norms.append(float(state.sums["learning_rate"]))
    assert all(1 < loss < 6 for loss in losses)
    assert norms[3] < norms[4] < norms[2] + 4e-3


@pytest.mark.slow
def test_the_average_of_the_parameters():
    config = Config(STILL, SMALL, optimizer=Optimizer(0.01, warmup=0, average=0.15))
    state, step_fn, *_ = step.build(config, steps=10)
    wanted = np.asarray(state.params["conv2"]["weight"])
    for number in range(3):
        state = step_fn(state, *batch(seed=number))
        decay = min(0.15, (1 + number) / (10 + number))
        wanted = decay * wanted + (1 - decay) * np.asarray(state.params["conv2"]["weight"])
        np.testing.assert_allclose(state.average["conv2"]["weight"], wanted, rtol=1e-5, atol=1e-7)
    assert not np.allclose(wanted, state.params["conv2"]["weight"])


@pytest.mark.slow
def test_the_step_lowers_for_every_platform_and_the_cpu_one_runs(built):
    state, step_fn, *_ = built
    images, labels = batch()
    state = state._replace(key=jax.random.key_data(state.key))  # a key has no serialised form
    leaves, tree = jax.tree.flatten(state)

    # Plain arrays in and out: the containers of optax have no serialised form.
    @jax.jit
    def plain(leaves, images, labels):
        state = jax.tree.unflatten(tree, leaves)
        state = step_fn(state._replace(key=jax.random.wrap_key_data(state.key)), images, labels)
        return jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))

    platforms = ("cpu", "cuda", "rocm", "tpu")
    exported = jax.export.export(plain, platforms=platforms)(leaves, images, labels)
    assert exported.platforms == platforms
    # Three forward; the gradients of three weights and, but for the digits themselves, of two inputs.
    assert exported.mlir_module().count("stablehlo.convolution") >= 8
    found = jax.export.deserialize(exported.serialize()).call(leaves, images, labels)
    wanted = plain(leaves, images, labels)
    assert len(found) == len(wanted) > 30
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_evaluate_pads_the_last_batch_with_images_that_do_not_count(built, monkeypatch):
    monkeypatch.setattr(train, "TEST_BATCH", 4)
    state, _, test_fn, _ = built
    images, labels = batch(9)
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    loss, accuracy = train.evaluate(test_fn, mesh, state.params, Digits(images, labels, images, labels))
    parts = [test_fn(state.params, images[i : i + 1], labels[i : i + 1]) for i in range(9)]
    assert loss == pytest.approx(np.mean([part[0] for part in parts]), rel=1e-5)
    assert accuracy == pytest.approx(np.mean([part[1] for part in parts]))


def test_mean():
    assert train.mean({"a": jnp.float32(3), "b": {"c": np.float32(13)}}, 2) == {"a": 1.5, "b": {"c": 6.5}}


# What the user can put right


def refused(args, capsys):
    """The line that `main` shows for wrong arguments."""
    assert train.main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def test_a_wrong_key(arguments, tmp_path, capsys):
    line = refused([*arguments, "--out", str(tmp_path / "run"), "--optimizer.lr", "1"], capsys)
    assert line == "error: unknown key 'optimizer.lr'; the nearest valid key is 'optimizer.learning_rate'\n"
    assert not (tmp_path / "run").exists()


def test_a_missing_data_folder(arguments, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text("an earlier run\n")
    nowhere = tmp_path / "nowhere"
    line = refused([*arguments, "--out", str(tmp_path), "--data.path", str(nowhere)], capsys)
    assert line == f"error: data.path: there is no folder {nowhere}\n"
    assert (tmp_path / "metrics.jsonl").read_text() == "an earlier run\n"


def test_an_absent_platform(arguments, tmp_path, capsys):
    present = {device.platform for device in jax.devices()}
    absent = "tpu" if "tpu" not in present else "gpu"
    line = refused([*arguments, "--out", str(tmp_path), "--platform", absent], capsys)
    found = ", ".join(sorted(present))
    assert line == f"error: platform '{absent}' is not available here; JAX finds: {found}\n"


def test_a_batch_larger_than_the_data(arguments, tmp_path, capsys):
    line = refused([*arguments, "--out", str(tmp_path), "--train.batch-size", "27"], capsys)
    assert line == "error: train.batch_size is 27: more than the 26 digits\n"


def test_a_folder_that_cannot_be_written(arguments, tmp_path, capsys):
    (tmp_path / "file").touch()
    line = refused([*arguments, "--out", str(tmp_path / "file" / "run")], capsys)
    assert line == f"error: --out: cannot write into {tmp_path / 'file' / 'run'}: Not a directory\n"


@pytest.mark.slow
def test_a_run_that_diverges(arguments, tmp_path, capsys):
    rate = ["--optimizer.learning-rate", "1e30", "--optimizer.warmup", "0"]
    assert train.main([*arguments, "--out", str(tmp_path), *rate]) == 2
    err = capsys.readouterr().err
    assert err == "error: training diverged by step 2: lower optimizer.learning_rate\n"
    assert records(tmp_path) == []


@pytest.mark.slow
def test_the_program_itself(folder, arguments, tmp_path):
    """Exit status and output of the command, in a process of its own."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes()[: 1000 if "train-images" in path.name else None])
    command = [sys.executable, "-m", "examples.train", *arguments, "--out", str(tmp_path / "run")]
    options = {"cwd": ROOT, "env": os.environ | {"JAX_PLATFORMS": "cpu"}, "capture_output": True, "text": True}
    failed = subprocess.run([*command, "--data.path", str(broken)], check=False, **options)
    file = broken / "train-images-idx3-ubyte"
    message = f"error: {file}: truncated: 1000 bytes, where the header promises {16 + 26 * 784}\n"
    assert (failed.returncode, failed.stdout, failed.stderr) == (2, "", message)
