"""Trains a small convolutional network on handwritten digits.

    python -m examples.train --config configs/mnist.toml --out runs/mnist

takes `--platform cpu|gpu|tpu`, and `--section.key VALUE` for any key of the config.
"""

import functools
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from examples.config import Config, Model, Run, RunError, parse_command_line
from examples.data import load_digits, move, normalise
from examples.model import Network
from examples.report import Report

TEST_BATCH = 500


class State(NamedTuple):
    """All that a training step reads and replaces."""

    step: jax.Array
    params: optax.Params
    optimizer: optax.OptState


def main(args: Sequence[str] | None = None) -> int:
    """Runs the program; what the user can put right becomes one line, and the exit status 2."""
    try:
        train(parse_command_line(args))
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def train(run: Run) -> None:
    """The whole run, from the digits to the pictures."""
    config = run.settings
    batch_size = config.train.batch_size
    select_platform(run.platform)
    digits = load_digits(config.data.path)
    steps_per_epoch = len(digits.train_labels) // batch_size
    if steps_per_epoch == 0:
        raise RunError(f"train.batch_size is {batch_size}: more than the {len(digits.train_labels)} digits")
    steps = config.train.epochs * steps_per_epoch

    state, step_fn, test_fn = build(config, steps)
    shapes = {name: value.shape for name, value in named(state.params).items()}
    with Report(run.out, steps, shapes) as report:
        report.say(f"device    {jax.devices()[0].platform} ({jax.devices()[0].device_kind})")
        report.say(f"digits    {len(digits.train_labels)} to train on, {len(digits.test_labels)} held out")
        report.say(f"network   {sum(leaf.size for leaf in jax.tree.leaves(state.params)):,} parameters")

        # Compiled ahead of the loop, so that the time of a step is never the time of a compilation.
        started = time.perf_counter()
        step_fn = step_fn.lower(state, digits.train_images[:batch_size], digits.train_labels[:batch_size]).compile()
        compile_seconds = time.perf_counter() - started

        step, train_seconds, recent = 0, 0.0, []
        for epoch in range(config.train.epochs):
            # The order depends on nothing but the seed and the epoch. The last, partial batch is left out.
            order = np.random.default_rng((config.train.seed, epoch)).permutation(len(digits.train_labels))
            started = time.perf_counter()
            seen = []
            for index in range(steps_per_epoch):
                batch = order[index * batch_size : (index + 1) * batch_size]
                state, metrics = step_fn(state, digits.train_images[batch], digits.train_labels[batch])
                recent.append(metrics)
                seen.append((metrics["loss"], metrics["accuracy"]))
                step += 1
                if step % config.train.log_every == 0 or step == steps:
                    # Reading the numbers waits for the device; between two records it runs on unattended.
                    report.record(step, mean(recent))
                    recent.clear()
                    report.advance(step, (index + 1) * batch_size / (time.perf_counter() - started))
            loss, accuracy = mean(seen)
            seconds = time.perf_counter() - started
            train_seconds += seconds

            test_loss, test_accuracy = evaluate(test_fn, state.params, digits.test_images, digits.test_labels)
            report.record(step, {"test_loss": test_loss, "test_accuracy": test_accuracy})
            report.say(
                f"epoch {epoch + 1:3d}   loss {loss:.4f}   accuracy {accuracy:7.2%}   "
                f"held out {test_accuracy:7.2%}   {steps_per_epoch * batch_size / seconds:,.0f} images/s"
            )

        report.finish()
        report.say(
            f"trained {steps} steps in {train_seconds:.1f} s ({steps * batch_size / train_seconds:,.0f} images/s), "
            f"compiled in {compile_seconds:.1f} s"
        )


def select_platform(name: str) -> None:
    """Has JAX run on `name`, "auto" leaving the choice to JAX. Must come before anything touches a device."""
    if name == "auto":
        return
    jax.config.update("jax_platforms", name)
    try:
        jax.devices(name)
    except RuntimeError:
        jax.config.update("jax_platforms", None)
        found = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise RunError(f"platform {name!r} is not available here; JAX finds: {found}") from None


def build(config: Config, steps: int) -> tuple[State, jax.stages.Wrapped, jax.stages.Wrapped]:
    """The state before the first step, the training step, and the function that tests."""
    # threefry is the generator that gives the same numbers on every platform.
    key = jax.random.key(config.train.seed, impl="threefry2x32")
    init_key, move_key = jax.random.split(key)
    network, params = nnx.split(create(config.model, init_key))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.optimizer.learning_rate, int(config.optimizer.warmup * steps), steps
    )
    optimizer = optax.adamw(schedule, weight_decay=config.optimizer.weight_decay)

    def judge(params, images, labels):
        scores = nnx.merge(network, params)(images)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels), scores.argmax(-1) == labels

    def loss_fn(params, images, labels):
        losses, right = judge(params, images, labels)
        return losses.mean(), right.mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def step_fn(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, dict]:
        images = normalise(move(images, config.data, jax.random.fold_in(move_key, state.step)))
        gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, accuracy), gradients = gradient_fn(state.params, images, labels)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        norms = {name: jnp.linalg.norm(gradient) for name, gradient in named(gradients).items()}
        metrics = {"loss": loss, "accuracy": accuracy, "gradient_norm": norms}
        return State(state.step + 1, params, optimizer_state), metrics

    @jax.jit
    def test_fn(params: optax.Params, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        losses, right = judge(params, normalise(images), labels)
        return losses.sum(), right.sum()

    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params)), step_fn, test_fn


@functools.partial(nnx.jit, static_argnums=0)  # one compilation, not one for each initial weight
def create(config: Model, key: jax.Array) -> Network:
    """The network with its initial weights."""
    return Network(config, rngs=nnx.Rngs(key))


def evaluate(
    test_fn: jax.stages.Wrapped, params: optax.Params, images: np.ndarray, labels: np.ndarray
) -> tuple[float, float]:
    """The loss and the accuracy over all the digits, which `test_fn` sees in batches."""
    batches = [slice(start, start + TEST_BATCH) for start in range(0, len(labels), TEST_BATCH)]
    sums = jax.device_get([test_fn(params, images[batch], labels[batch]) for batch in batches])
    losses, right = zip(*sums, strict=True)
    return float(sum(losses)) / len(labels), int(sum(right)) / len(labels)


def mean(metrics: list) -> Any:
    """The mean over a list of equal trees of scalars, on the host."""
    return jax.tree.map(lambda *values: float(np.mean(values)), *jax.device_get(metrics))


def named(params: Any) -> dict[str, jax.Array]:
    """The arrays of a network, or of its gradient, by name, such as `conv1.weight`."""
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(params)}


if __name__ == "__main__":
    sys.exit(main())
