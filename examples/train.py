"""Trains a small convolutional network on handwritten digits.

    python -m examples.train --config configs/mnist.toml --out runs/mnist

takes `--resume` to go on from the last checkpoint in that folder, `--platform cpu|gpu|tpu`, `--mesh data=8` to divide
each batch over devices, `--distributed` where several processes do so together, and `--section.key VALUE` for any key
of the config.
"""

import contextlib
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from examples.trainer.checkpoint import Checkpoints, identity, kept_records
from examples.trainer.config import Config, Run, RunError, parse_command_line, write_config
from examples.trainer.data import SIDE, Digits, load_digits
from examples.trainer.devices import compiler_options, connect, divide, make_mesh, replicated
from examples.trainer.input import batches
from examples.trainer.inspection import draw_network
from examples.trainer.model import Params
from examples.trainer.report import Report
from examples.trainer.step import State, build, named

TEST_BATCH = 500


def main(args: Sequence[str] | None = None) -> int:
    """Runs the program; what the user can put right becomes one line, and the exit status 2.

    Stopped by a signal, it saves first, and its status is the one that a shell gives to that signal: 130 or 143.
    """
    words = sys.argv[1:] if args is None else list(args)
    stop = Stop()
    try:
        run = parse_command_line(words)
        connect(run)
        with stop.listening():  # from here on: joining other processes takes over SIGTERM
            finished = train(run, stop)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # such as a disk that has become full
        print(f"error: {error.filename or 'writing the results'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted before it could save", file=sys.stderr)
        return 128 + signal.SIGINT
    if finished or stop.signal is None:
        return 0
    again = words if "--resume" in words else [*words, "--resume"]
    print(f"stopped, and saved; to go on: python -m examples.train {shlex.join(again)}", file=sys.stderr)
    return 128 + stop.signal


class Stop:
    """Notes the first Ctrl-C or SIGTERM, for the loop to end at a step's end; a second one ends the program at once."""

    signal: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listens until the block ends."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def agreed(self) -> bool:
        """Whether any process was told to stop: all of them must leave after the same step."""
        if jax.process_count() == 1:
            return self.signal is not None
        told = multihost_utils.process_allgather(np.array(self.signal or 0))
        self.signal = int(told.max()) or None
        return self.signal is not None


class Clock:
    """Adds up where the time of the loop goes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts the time until the block ends as that of `name`."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def shares(self) -> str:
        """Each name's share of the whole."""
        total = sum(self.seconds.values())
        return ", ".join(f"{name} {seconds / total:.1%}" for name, seconds in self.seconds.items())


class Parts(NamedTuple):
    """What the loop works with."""

    mesh: Mesh
    digits: Digits
    rows: Any
    step_fn: Callable[..., State]
    test_fn: Callable[..., tuple[jax.Array, jax.Array]]
    checkpoints: Checkpoints
    report: Report
    clock: Clock


def train(run: Run, stop: Stop) -> bool:
    """The whole run, from the digits to the pictures; whether it came to its end."""
    config = run.settings
    mesh = make_mesh(run)
    digits = load_digits(config.data)
    steps = config.train.epochs * steps_per_epoch(config, digits)
    program = build(config, steps, replicated(mesh))
    # By a compiled identity, which also reaches the devices of other processes.
    state = jax.jit(lambda state: state, out_shardings=replicated(mesh))(program.state)
    shapes = {name: value.shape for name, value in named(state.params).items()}
    rows = batches(digits, config.train.batch_size, config.train.seed, jax.process_index(), jax.process_count())

    about = identity(config, digits, state.params)
    with Checkpoints(run.out, config.checkpoint.keep, about, run.resume) as checkpoints:
        done, records = 0, []
        if checkpoints.latest is not None:
            done, state, position = checkpoints.restore(state)
            rows.set_state(position)
            records = kept_records(run.out, done)
        main = jax.process_index() == 0
        if main:
            write_config(config, run.out)
        with Report(run.out, steps, shapes, records, quiet=not main, tensorboard=run.tensorboard) as report:
            device, several = mesh.devices.flat[0], f" × {mesh.size}" if mesh.size > 1 else ""
            report.say(f"device    {device.platform} ({device.device_kind}){several}")
            report.say(f"digits    {len(digits.train_labels)} to train on, {len(digits.test_labels)} held out")
            report.say(f"network   {sum(leaf.size for leaf in jax.tree.leaves(state.params)):,} parameters")
            if run.resume:
                report.say(f"resumed   {f'after step {done} of {steps}' if done else 'nothing: no checkpoint yet'}")

            # Compiled ahead of the loop, so that the time of a step is never the time of a compilation.
            started = time.perf_counter()
            options = compiler_options(config.train.compiler, device.platform)
            step_fn = program.step_fn.lower(state, *like_batch(mesh, config.train.batch_size))
            test_fn = program.test_fn.lower(state.average, *like_batch(mesh, test_batch_size(mesh)))
            step_fn, test_fn = (lowered.compile(compiler_options=options) for lowered in (step_fn, test_fn))
            compile_seconds = time.perf_counter() - started

            clock = Clock()
            parts = Parts(mesh, digits, rows, step_fn, test_fn, checkpoints, report, clock)
            state, finished = loop(config, parts, state, done, steps, stop)
            if finished:
                report.finish()
                if main:
                    draw_network(config, program.apply, jax.device_get(state.average), digits, run.out)
                seconds, images = sum(clock.seconds.values()), (steps - done) * config.train.batch_size
                speed = f" ({images / seconds:,.0f} images/s)" if images else ""
                report.say(
                    f"trained {steps - done} steps in {seconds:.1f} s{speed}, compiled in {compile_seconds:.1f} s"
                )
                report.say(f"time      {clock.shares()}")
    return finished


def loop(config: Config, parts: Parts, state: State, done: int, steps: int, stop: Stop) -> tuple[State, bool]:
    """Steps, with the records, tests and checkpoints that are due, until all are done or it is told to stop."""
    batch_size, log_every = config.train.batch_size, config.train.log_every
    clock, report, checkpoints, rows = parts.clock, parts.report, parts.checkpoints, parts.rows
    recorded = time.perf_counter()
    for step in range(done + 1, steps + 1):
        with clock("input"):
            batch = divide(parts.mesh, next(rows))
        with clock("step"):
            state = parts.step_fn(state, *batch)
        if step % log_every == 0 or step == steps:
            with clock("step"):  # which runs on unattended between two records
                sums = jax.device_get(state.sums)
            with clock("records"):
                count = (step - 1) % log_every + 1
                report.record(step, mean(sums, count))
                now = time.perf_counter()
                report.advance(step, count * batch_size / (now - recorded))
                recorded = now
        epoch, rest = divmod(step, steps_per_epoch(config, parts.digits))
        if rest == 0:
            with clock("step"):
                jax.block_until_ready(state)
            with clock("test"):
                test_loss, accuracy = evaluate(parts.test_fn, parts.mesh, state.average, parts.digits)
            with clock("records"):
                report.record(step, {"test_loss": test_loss, "test_accuracy": accuracy})
                report.epoch(epoch)
            if epoch % config.checkpoint.every == 0 or step == steps:
                with clock("checkpoints"):
                    checkpoints.save(step, state, rows.get_state(), accuracy)
        # Several processes have to ask each other, which takes too long to do at each step.
        if (jax.process_count() == 1 or step % log_every == 0) and stop.agreed():
            checkpoints.save(step, state, rows.get_state(), None)
            checkpoints.wait()
            return state, step == steps
    with clock("checkpoints"):
        checkpoints.wait()
    return state, True


def steps_per_epoch(config: Config, digits: Digits) -> int:
    """How many whole batches the training digits make."""
    count = len(digits.train_labels) // config.train.batch_size
    if count == 0:
        raise RunError(
            f"train.batch_size is {config.train.batch_size}: more than the {len(digits.train_labels)} digits"
        )
    return count


def evaluate(test_fn: Any, mesh: Mesh, params: Params, digits: Digits) -> tuple[float, float]:
    """The loss and the accuracy over all held-out digits, which `test_fn` sees in batches of one size."""
    size = test_batch_size(mesh)
    part = size // jax.process_count()
    mine = slice(jax.process_index() * part, (jax.process_index() + 1) * part)
    sums = []
    for start in range(0, len(digits.test_labels), size):
        images, labels = digits.test_images[start : start + size], digits.test_labels[start : start + size]
        short = size - len(labels)
        images = np.pad(images, ((0, short), (0, 0), (0, 0)))
        labels = np.pad(labels, (0, short), constant_values=-1)  # which do not count
        sums.append(test_fn(params, *divide(mesh, (images[mine], labels[mine]))))
    losses, right = zip(*jax.device_get(sums), strict=True)
    return float(sum(losses)) / len(digits.test_labels), float(sum(right)) / len(digits.test_labels)


def test_batch_size(mesh: Mesh) -> int:
    """The next multiple of the number of devices."""
    return -(-TEST_BATCH // mesh.size) * mesh.size


def like_batch(mesh: Mesh, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """What a batch looks like to the compiler."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return (
        jax.ShapeDtypeStruct((size, SIDE, SIDE), np.uint8, sharding=sharding),
        jax.ShapeDtypeStruct((size,), np.int32, sharding=sharding),
    )


def mean(sums: Any, count: int) -> Any:
    """Sums over `count` steps → means, as Python's numbers."""
    return jax.tree.map(lambda value: float(value) / count, sums)


if __name__ == "__main__":
    sys.exit(main())
