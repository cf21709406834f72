"""Trains a small convolutional network on handwritten digits.

    python -m examples.train --config configs/mnist.toml --out runs/mnist

reads top to bottom: `main` is the command line, `train` sets a run up, `loop` runs it. Its parts stand in
`examples/trainer/`. The program takes `--resume` to go on from the last checkpoint in that folder, `--platform
cpu|gpu|tpu`, `--mesh data=2,height=2,width=2` to divide each batch and its images over devices, `--distributed` for
several processes that divide them, and `--section.key VALUE` for any key of the config.
"""

import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from examples.trainer.checkpoint import Checkpoints, alone, identity, kept_records
from examples.trainer.clock import Clock
from examples.trainer.config import Config, Run, RunError, parse_command_line, write_config
from examples.trainer.data import SIDE, Digits, load_digits
from examples.trainer.devices import (
    check_parameters,
    compiler_options,
    connect,
    divide,
    make_mesh,
    of_batch,
    of_state,
    replicated,
    share,
)
from examples.trainer.input import batches
from examples.trainer.inspection import draw_network
from examples.trainer.model import Params
from examples.trainer.report import Report
from examples.trainer.step import State, build, named
from examples.trainer.stop import Stop

TEST_BATCH = 500


def main(args: Sequence[str] | None = None) -> int:
    """Runs the program. An error that the user can fix is shown as one line, and the exit status is 2.

    A signal lets the run save first; the exit status is then the shell's for that signal, 130 or 143.
    """
    words = sys.argv[1:] if args is None else list(args)
    stop = Stop()
    try:
        run = parse_command_line(words)
        connect(run)
        with stop.listening():  # after `connect`: JAX handles SIGTERM itself once it joins other processes
            finished = train(run, stop)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, for one
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
    """Sets up a run, loops, and draws the pictures. True unless it was stopped before its last step."""
    config = run.settings
    mesh = make_mesh(run)
    digits = load_digits(config.data)
    steps = config.train.epochs * steps_per_epoch(config, digits)
    if steps >= 2**31:
        raise RunError(f"train.epochs is {config.train.epochs}: {steps} steps, and optimisers count fewer than 2**31")
    program = build(config, steps, mesh)
    shapes = {name: value.shape for name, value in named(program.state.params).items()}
    check_parameters(mesh, shapes)
    # A compiled identity copies the state to the devices, those of other processes included.
    state = jax.jit(lambda state: state, out_shardings=of_state(mesh, program.state))(program.state)
    rows = batches(digits, config.train.batch_size, config.train.seed, *share(mesh))

    about = identity(config, digits, state.params)
    with alone(run.out), Checkpoints(run.out, config.checkpoint.keep, about, run.resume) as checkpoints:
        done, records = 0, []
        if checkpoints.latest is not None:
            done, state, position = checkpoints.restore(state)
            rows.set_state(position)
            records = kept_records(run.out, done)
        first_process = jax.process_index() == 0
        if first_process:
            write_config(config, run.out)
        with Report(run.out, steps, shapes, records, quiet=not first_process, tensorboard=run.tensorboard) as report:
            device, several = mesh.devices.flat[0], f" × {mesh.size}" if mesh.size > 1 else ""
            report.say(f"device    {device.platform} ({device.device_kind}){several}")
            report.say(f"digits    {len(digits.train_labels)} to train on, {len(digits.test_labels)} held out")
            report.say(f"network   {sum(leaf.size for leaf in jax.tree.leaves(state.params)):,} parameters")
            if run.resume:
                report.say(f"resumed   {f'after step {done} of {steps}' if done else 'nothing: no checkpoint yet'}")

            # Compile before the loop, so that no step's time includes a compilation.
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
                average = jax.jit(lambda params: params, out_shardings=replicated(mesh))(state.average)
                if first_process:
                    draw_network(config, program.apply, jax.device_get(average), digits, run.out)
                seconds, images = sum(clock.seconds.values()), (steps - done) * config.train.batch_size
                speed = f" ({images / seconds:,.0f} images/s)" if images else ""
                report.say(
                    f"trained {steps - done} steps in {seconds:.1f} s{speed}, compiled in {compile_seconds:.1f} s"
                )
                report.say(f"time      {clock.shares()}")
    return finished


def loop(config: Config, parts: Parts, state: State, done: int, steps: int, stop: Stop) -> tuple[State, bool]:
    """Runs the steps `done` + 1 to `steps`, with records, tests and checkpoints when they are due.

    Returns the state, and False if it was told to stop before the last step.
    """
    batch_size, log_every = config.train.batch_size, config.train.log_every
    clock, report, checkpoints, rows = parts.clock, parts.report, parts.checkpoints, parts.rows
    recorded = time.perf_counter()
    for step in range(done + 1, steps + 1):
        with clock("input"):
            batch = divide(parts.mesh, next(rows))
        with clock("step"):
            state = parts.step_fn(state, *batch)
        if step % log_every == 0 or step == steps:
            with clock("step"):  # steps are dispatched asynchronously: this waits for them
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
        # Several processes agree by a collective, which is too slow for every step.
        if (jax.process_count() == 1 or step % log_every == 0) and stop.agreed():
            checkpoints.save(step, state, rows.get_state(), None)
            checkpoints.wait()
            return state, step == steps
    with clock("checkpoints"):
        checkpoints.wait()
    return state, True


def steps_per_epoch(config: Config, digits: Digits) -> int:
    """The number of whole batches in the training digits."""
    count = len(digits.train_labels) // config.train.batch_size
    if count == 0:
        raise RunError(
            f"train.batch_size is {config.train.batch_size}: more than the {len(digits.train_labels)} digits"
        )
    return count


def evaluate(test_fn: Any, mesh: Mesh, params: Params, digits: Digits) -> tuple[float, float]:
    """The loss and the accuracy over all held-out digits. `test_fn` gets batches of one size; the last is padded."""
    size = test_batch_size(mesh)
    number, parts = share(mesh)
    mine = slice(number * size // parts, (number + 1) * size // parts)
    sums = []
    for start in range(0, len(digits.test_labels), size):
        images, labels = digits.test_images[start : start + size], digits.test_labels[start : start + size]
        short = size - len(labels)
        images = np.pad(images, ((0, short), (0, 0), (0, 0)))
        labels = np.pad(labels, (0, short), constant_values=-1)  # a label of -1 does not count
        sums.append(test_fn(params, *divide(mesh, (images[mine], labels[mine]))))
    losses, right = zip(*jax.device_get(sums), strict=True)
    return float(sum(losses)) / len(digits.test_labels), float(sum(right)) / len(digits.test_labels)


def test_batch_size(mesh: Mesh) -> int:
    """TEST_BATCH, rounded up to a multiple of the number of devices."""
    return -(-TEST_BATCH // mesh.size) * mesh.size


def like_batch(mesh: Mesh, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Shape, dtype and sharding of a batch of `size` digits, to compile for."""
    return (
        jax.ShapeDtypeStruct((size, SIDE, SIDE), np.uint8, sharding=of_batch(mesh, 3)),
        jax.ShapeDtypeStruct((size,), np.int32, sharding=of_batch(mesh, 1)),
    )


def mean(sums: Any, count: int) -> Any:
    """Turns sums over `count` steps into means, as Python floats."""
    return jax.tree.map(lambda value: float(value) / count, sums)


if __name__ == "__main__":
    sys.exit(main())
