import dataclasses
import re
from pathlib import Path

import pytest

from examples.trainer.config import KEYS, SECTIONS, Config, RunError, parse_command_line, read_config, write_config

MNIST = Path(__file__).parents[2] / "configs" / "mnist.toml"
COMMAND = ["--config", str(MNIST), "--out", "somewhere"]

# A value for every key, other than the one in the file; and what it must become.
OVERRIDES = {
    "data.source": (["folder"], "folder"),
    "data.name": (["kmnist"], "kmnist"),
    "data.path": (["some/folder"], Path("some/folder")),
    "data.shift": (["1"], 1.0),
    "data.rotation": (["0"], 0.0),
    "data.scale": (["0.25"], 0.25),
    "data.elastic": (["1.5"], 1.5),
    "model.network": (["autoencoder"], "autoencoder"),
    "model.framework": (["linen"], "linen"),
    "model.block": (["separable"], "separable"),
    "model.channels": (["2", "3"], (2, 3)),
    "model.kernel_size": (["5"], 5),
    "model.dilation": (["2"], 2),
    "model.padding_mode": (["circular"], "circular"),
    "precision.compute": (["bfloat16"], "bfloat16"),
    "precision.products": (["highest"], "highest"),
    "optimizer.learning_rate": (["1e-5"], 1e-5),
    "optimizer.weight_decay": (["0"], 0.0),
    "optimizer.warmup": (["0.5"], 0.5),
    "optimizer.average": (["0.9"], 0.9),
    "train.seed": (["17"], 17),
    "train.epochs": (["3"], 3),
    "train.batch_size": (["7"], 7),
    "train.label_smoothing": (["0.25"], 0.25),
    "train.log_every": (["11"], 11),
    "train.compiler": (["plain"], "plain"),
    "checkpoint.every": (["7"], 7),
    "checkpoint.keep": (["4"], 4),
}

NUMBERS = (int, float, tuple)

OUT_OF_RANGE = [
    ("data.shift", "-0.5"),
    ("data.rotation", "-1"),
    ("data.scale", "1"),
    ("data.scale", "nan"),
    ("data.elastic", "-1"),
    ("model.kernel_size", "0"),
    ("model.dilation", "0"),
    ("train.epochs", str(10**24)),
    ("optimizer.learning_rate", "-0.001"),
    ("optimizer.learning_rate", "0"),
    ("optimizer.learning_rate", "inf"),
    ("optimizer.weight_decay", "-1"),
    ("optimizer.warmup", "1"),
    ("optimizer.average", "1"),
    ("train.seed", "-1"),
    ("train.seed", str(2**32)),
    ("train.epochs", "0"),
    ("train.batch_size", "0"),
    ("train.label_smoothing", "-0.1"),
    ("train.log_every", "0"),
    ("checkpoint.every", "0"),
    ("checkpoint.keep", "0"),
]


@pytest.fixture(scope="module")
def before():
    """The settings of the file, as they are read without any override."""
    return read_config(MNIST)


def get(config, key):
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def write(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_of_the_file_arrives(tmp_path):
    lines = []
    for section in SECTIONS:
        lines.append(f"[{section}]")
        for key, (words, _) in OVERRIDES.items():
            if key.startswith(f"{section}."):
                value = f"[{', '.join(words)}]" if len(words) > 1 else words[0]
                lines.append(
                    f"{key.partition('.')[2]} = {value if isinstance(OVERRIDES[key][1], NUMBERS) else repr(value)}"
                )
    config = read_config(write(tmp_path, "\n".join(lines)))
    assert {key: get(config, key) for key in KEYS} == {key: value for key, (_, value) in OVERRIDES.items()}


def test_what_a_run_writes_is_read_as_the_same(tmp_path):
    words = [word for key, (words, _) in OVERRIDES.items() for word in (f"--{key}", *words)]
    config = parse_command_line([*COMMAND, *words]).settings
    write_config(config, tmp_path)
    assert read_config(tmp_path / "config.toml") == config
    write_config(Config(), tmp_path)
    assert read_config(tmp_path / "config.toml") == Config()
    elsewhere = parse_command_line([*COMMAND, "--data.path", 'ziffern/"ä" \\ 𝟜'])
    write_config(elsewhere.settings, tmp_path)
    assert read_config(tmp_path / "config.toml") == elsewhere.settings
    with pytest.raises(RunError, match=r"^--out: cannot write into .*nowhere: No such file or directory$"):
        write_config(config, tmp_path / "nowhere")


def test_what_the_file_leaves_out_keeps_its_default(tmp_path):
    assert read_config(write(tmp_path, "")) == Config()
    config = read_config(write(tmp_path, "[train]\nepochs = 2\n"))
    assert config.train.epochs == 2
    assert dataclasses.replace(config, train=Config().train) == Config()


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("spelling", [str, lambda key: key.replace("_", "-")], ids=["underscore", "hyphen"])
def test_all_keys_can_be_overridden_together(before, spelling):
    words = [word for key, (words, _) in OVERRIDES.items() for word in (f"--{spelling(key)}", *words)]
    settings = parse_command_line([*COMMAND, *words]).settings
    for key in KEYS:
        value = OVERRIDES[key][1]
        assert get(settings, key) == value != get(before, key)
        assert type(get(settings, key)) is type(value) or key == "data.path"


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_every_key_can_be_overridden_alone(before, key):
    words, value = OVERRIDES[key]
    run = parse_command_line([*COMMAND, f"--{key}", *words])
    assert get(run.settings, key) == value
    others = [other for other in KEYS if other != key]
    assert [get(run.settings, other) for other in others] == [get(before, other) for other in others]
    assert (run.config, run.out, run.platform) == (MNIST, Path("somewhere"), "auto")


def test_the_shipped_config_states_its_command():
    header = MNIST.read_text(encoding="utf-8").partition("[")[0]
    command = re.search(r"python -m examples\.train (.*)", header)
    assert command
    run = parse_command_line(command[1].replace("configs/mnist.toml", str(MNIST)).split())
    assert run.settings == read_config(MNIST)
    assert run.settings.data.path is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optimizer]\nlearning_rat = 1.0", "unknown key 'optimizer.learning_rat'; the nearest valid key is "
         "'optimizer.learning_rate'"),
        ("[optimizer]\nlr = 1.0", "unknown key 'optimizer.lr'; the nearest valid key is 'optimizer.learning_rate'"),
        ("[optimiser]\n", "unknown key 'optimiser'; the nearest valid key is 'optimizer'"),
        ("epochs = 1", "unknown key 'epochs'; the nearest valid key is 'train.epochs'"),
        ("[train]\nlearning_rate = 1.0", "unknown key 'train.learning_rate'; the nearest valid key is "
         "'optimizer.learning_rate'"),
        ("[optimizer]\nlearning_rate = 'fast'", "Error parsing --optimizer.learning-rate: could not convert string "
         "to float: 'fast'"),
        ("[train]\nepochs = 1.5", "Error parsing --train.epochs: invalid literal for int() with base 10: '1.5'"),
        ("[train]\nepochs = true", "Error parsing --train.epochs: invalid literal for int() with base 10: 'True'"),
        ("[model]\nchannels = [2]", "model.channels must be two or more, each of them positive, and is (2,)"),
        ("[model]\nchannels = [1, 0]", "model.channels must be two or more, each of them positive, and is (1, 0)"),
        ("[model]\nblock = 'deep'", "invalid choice 'deep' for argument '--model.block'. Expected one of "
         "('plain', 'separable')."),
        ("[optimizer]\nlearning_rate = -1", "optimizer.learning_rate must be positive, and is -1.0"),
    ],
)  # fmt: skip
def test_an_error_in_the_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(RunError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(("key", "word"), OUT_OF_RANGE)
def test_a_value_out_of_range(key, word):
    with pytest.raises(RunError, match=rf"^{re.escape(key)} must be .*, and is {re.escape(word)}"):
        parse_command_line([*COMMAND, f"--{key}", word])


def test_every_number_has_a_range():
    numbers = {key for key, (_, value) in OVERRIDES.items() if isinstance(value, int | float)}
    assert {key for key, _ in OUT_OF_RANGE} == numbers


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--optimizer.lr", "1"], "unknown key 'optimizer.lr'; the nearest valid key is 'optimizer.learning_rate'"),
        (["--train.epoch=2"], "unknown key 'train.epoch'; the nearest valid key is 'train.epochs'"),
        (["--plattform", "cpu"], "unknown key 'plattform'; the nearest valid key is 'platform'"),
        (["again"], "unexpected argument 'again'"),
        (["--train.epochs", "many"], "Error parsing --train.epochs: invalid literal for int() with base 10: 'many'"),
        (["--platform", "npu"], "invalid choice 'npu' for argument '--platform'. Expected one of "
         "('auto', 'cpu', 'gpu', 'tpu')."),
    ],
)  # fmt: skip
def test_an_error_on_the_command_line(args, message):
    with pytest.raises(RunError) as caught:
        parse_command_line([*COMMAND, *args])
    assert str(caught.value) == message


@pytest.mark.parametrize("missing", ["--config", "--out"])
def test_a_required_argument(missing):
    at = COMMAND.index(missing)
    with pytest.raises(RunError, match=rf"^Missing .*{missing} PATH"):
        parse_command_line(COMMAND[:at] + COMMAND[at + 2 :])


def test_a_config_that_cannot_be_read(tmp_path):
    with pytest.raises(RunError, match=r"^cannot read the config .*none\.toml: No such file or directory$"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(RunError, match=r"^cannot read the config .*: Is a directory$"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"[train\nepochs = 2", b"\xff\xfe", b"a = " + b"[" * 100_000, b"a = " + b"9" * 10_000],
    ids=["no end", "no text", "a nest", "a long number"],
)
def test_a_config_that_is_not_toml(tmp_path, content):
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(RunError, match=r"^.*run\.toml is not a TOML file: .+$"):
        read_config(tmp_path / "run.toml")


def test_help_shows_the_values_of_the_file(tmp_path, capsys):
    path = write(tmp_path, "[train]\nepochs = 77\n")
    with pytest.raises(SystemExit) as caught:
        parse_command_line(["--config", str(path), "--help"])
    assert caught.value.code == 0
    assert re.search(r"--train\.epochs INT.*default: *77", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize("words", [["--out", ""], ["--out="]])
def test_an_empty_folder_is_not_the_current_one(words):
    with pytest.raises(RunError, match=r"--out is empty: name the folder that the run writes into, such as runs/mnist"):
        parse_command_line(["--config", str(MNIST), *words])
