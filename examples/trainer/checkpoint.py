"""Checkpoints: everything that a run resumes from, written by orbax, whole or not at all."""

import contextlib
import dataclasses
import json
import logging
import os
import re
import shutil
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from examples.trainer.config import Config, RunError
from examples.trainer.data import Digits
from examples.trainer.download import sha256
from examples.trainer.model import Params, create
from examples.trainer.step import named

# Orbax logs an error with its traceback before it raises it, and asyncio logs those of concurrent writes. This
# program reports an error once, as one line.
for name in ("absl", "asyncio"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)  # of abandoned writes

_report = sys.unraisablehook


def _report_but(unraisable: Any) -> None:
    # After a failed write, concurrent ones find orbax's event loop closed, some when the run has ended: that error adds
    # nothing.
    if str(unraisable.exc_value) != "Event loop is closed":
        _report(unraisable)


sys.unraisablehook = _report_but

FOLDER = "checkpoints"  # in a run's own
CHECKSUMS = "checksums.json"  # beside it
ITEMS = ("state", "about")


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Holds the run's folder `out`: of two runs that write into one, the second is refused."""
    if jax.process_index() > 0:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            out.mkdir(parents=True, exist_ok=True)
            held.enter_context(filelock.FileLock(out / ".lock", timeout=0))
        except filelock.Timeout:
            raise RunError(
                f"--out: another run writes into {out}; wait until it ends, or name another folder"
            ) from None
        except OSError as error:
            raise RunError(f"--out: cannot write into {out}: {error.strerror}") from error
        yield


class Checkpoints:
    """The checkpoints of one run: the latest `keep`, and the one with the best accuracy on the held-out images."""

    def __init__(self, out: Path, keep: int, identity: dict[str, Any], resume: bool):
        """Opens or creates those in the run's folder `out`. Without `resume`, those of an earlier run are removed."""
        self.folder = out.absolute() / FOLDER  # orbax requires an absolute path
        self.identity = identity
        self.latest: int | None = None
        try:
            if not resume and jax.process_index() == 0:
                shutil.rmtree(self.folder, ignore_errors=True)
            if jax.process_count() > 1:  # the others must not see what is being removed
                multihost_utils.sync_global_devices("checkpoints of an earlier run are removed")
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"--out: cannot write into {out}: {error.strerror}") from error
        policies = [LatestN(keep), BestN(get_metric_fn=_quality, n=1, keep_checkpoints_without_metrics=False)]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(policies),
            best_fn=_quality,
            cleanup_tmp_directories=True,  # of interrupted saves
        )
        with _one_line(f"cannot open the checkpoints in {self.folder}"):
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=ITEMS)
            self.latest = self._manager.latest_step()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):  # `save` or `wait` has reported it
            self._manager.close()

    def save(self, step: int, state: Any, position: dict[str, Any], accuracy: float | None) -> None:
        """Starts a write in the background. Raises RunError if it, or the previous one, fails.

        `position` is that of the input; `accuracy` is that on the held-out images, None if they were not tested.
        """
        self.wait()
        if self.latest == step:
            return
        about = {"identity": self.identity, "position": position}
        with self._saving():
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about)),
                metrics=None if accuracy is None else {"test_accuracy": accuracy},
            )

    def wait(self) -> None:
        """Waits until everything is written. Raises RunError if a write failed."""
        with self._saving():
            self._manager.wait_until_finished()
            self.latest = self._manager.latest_step()
            if jax.process_index() == 0:
                _write_checksums(self.folder, self._manager.all_steps())

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]]:
        """The latest checkpoint: its step, its state, with the structure and devices of `like`, the input's position.

        Raises:
            RunError: if it is of another run, or cannot be read.
        """
        if self.latest is None:
            raise RunError(f"no checkpoint in {self.folder}")
        folder = self.folder / str(self.latest)
        with _one_line(f"cannot read the checkpoint in {folder}"):
            _check_checksums(folder)
            about = self._manager.restore(self.latest, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
            check_identity(folder, about["identity"], self.identity)
            wanted = ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like))
            state = self._manager.restore(self.latest, args=ocp.args.Composite(state=wanted))["state"]
        return self.latest, state, about["position"]

    def _saving(self) -> contextlib.AbstractContextManager[None]:
        last = "there is none yet" if self.latest is None else f"the last good one is of step {self.latest}"
        return _one_line(f"cannot write a checkpoint into {self.folder} ({last})")


def restore_trained(out: Path, config: Config) -> tuple[int, Params]:
    """The step, and the averaged parameters, of the best checkpoint in a run's folder `out`.

    Raises:
        RunError: if there is none, or it is not of the network that `config` describes.
    """
    folder = out.absolute() / FOLDER
    if not folder.is_dir():
        raise RunError(f"{out} holds no checkpoint: run examples.train with --out {out} first")
    for path in folder.iterdir():  # which one is the best is read from all of them
        if path.name.isdigit():
            _check_checksums(path)
    options = ocp.CheckpointManagerOptions(best_fn=_quality, create=False)
    with (
        _one_line(f"cannot read the checkpoints in {folder}"),
        ocp.CheckpointManager(folder, options=options, item_names=ITEMS) as manager,
    ):
        step = manager.best_step()
        if step is None:
            raise RunError(f"{folder} holds no checkpoint that was tested: let the run come to an epoch's end")
        _, like = create(config, jax.random.key(0))
        about = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
        wanted = {**about["identity"], **_shapes(like)}
        check_identity(folder / str(step), about["identity"], wanted)
        tree = {"average": jax.tree.map(ocp.utils.to_shape_dtype_struct, like)}
        onto = ocp.checkpoint_utils.construct_restore_args(tree)
        wanted = ocp.args.PyTreeRestore(tree, restore_args=onto, partial_restore=True)
        return step, manager.restore(step, args=ocp.args.Composite(state=wanted))["state"]["average"]


def _write_checksums(folder: Path, steps: Sequence[int]) -> None:
    """Writes the checksum of each file of the checkpoints of `steps` beside them, once, and forgets those removed."""
    file = folder.with_name(CHECKSUMS)
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = {str(step): known.get(str(step)) or _checksums(folder / str(step)) for step in steps}
    if found != known:
        _exchange(file, json.dumps(found))


def _check_checksums(folder: Path) -> None:
    """Raises RunError that names the file, if one of a checkpoint's is not as it was written.

    Of a run that was killed before it wrote the checksums, nothing is known.
    """
    file = folder.parent.with_name(CHECKSUMS)
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        wanted = dict(known.get(folder.name, {}))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise RunError(f"{file} does not hold checksums; remove it to go on without them") from error
    found = _checksums(folder)
    for name in wanted:
        if found.get(name) != wanted[name]:
            raise RunError(
                f"{folder / name} is not as it was written: its checksum differs; remove {folder} to do without it"
            )


def _checksums(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def identity(config: Config, digits: Digits, params: Params) -> dict[str, Any]:
    """What must be equal in a checkpoint and in the run that resumes from it."""
    settings = dataclasses.asdict(config)
    # How often to save and where the images come from do not change the result; the images do, by their checksum.
    del settings["checkpoint"]
    for key in ("source", "name", "path"):
        del settings["data"][key]
    flat = {f"{section}.{key}": value for section, keys in settings.items() for key, value in keys.items()}
    checksum = zlib.crc32(digits.train_images.tobytes(), zlib.crc32(digits.train_labels.tobytes()))
    found = {**flat, "the checksum of the training images": checksum, **_shapes(params)}
    return json.loads(json.dumps(found))  # with lists for tuples, as it is read back


def check_identity(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises RunError that names the differences, if the checkpoint in `folder` is of another run."""
    differences = [
        f"{key} is {found.get(key, 'absent')} there and {wanted.get(key, 'absent')} here"
        for key in {**wanted, **found}
        if found.get(key) != wanted.get(key)
    ]
    if differences:
        raise RunError(f"{folder} is of another run: {'; '.join(differences[:4])}")


def kept_records(out: Path, step: int) -> list[dict]:
    """Truncates a run's metrics.jsonl after the records of `step`, and returns them."""
    file = out / "metrics.jsonl"
    kept, records = "", []
    try:
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            # The last line of a killed run can lack its end.
            if not line.endswith("\n") or (record := json.loads(line))["step"] > step:
                break
            kept += line
            records.append(record)
        if jax.process_index() == 0:
            _exchange(file, kept)
    except OSError as error:
        raise RunError(f"cannot go on with {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"cannot go on with {file}: line {len(records) + 1} is no record; remove it and those after it"
        ) from error
    return records


def _exchange(file: Path, text: str) -> None:
    """Writes `text` into `file`; a kill leaves the old file or the new one."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)


def _shapes(params: Params) -> dict[str, list[int]]:
    return {f"the shape of {name}": list(value.shape) for name, value in named(params).items()}


def _quality(metrics: dict[str, float]) -> float:
    return metrics["test_accuracy"]


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    # Errors of the file system reach here as various types of orbax and tensorstore, with long messages.
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        reason = os.strerror(int(code[1])) if code else str(error).partition("\n")[0] or type(error).__name__
        raise RunError(f"{what}: {reason}") from error
