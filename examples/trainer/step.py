"""The training step: the state of a run, and how one batch changes it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training.dynamic_scale import DynamicScale
from jax.sharding import Mesh

from examples.trainer.augment import move
from examples.trainer.config import Config
from examples.trainer.data import CLASSES, normalise
from examples.trainer.devices import of_state, replicated
from examples.trainer.model import Apply, Params, create


class State(NamedTuple):
    """Everything that a training step reads and replaces."""

    step: jax.Array
    key: jax.Array
    """of the random numbers; each step folds in its number"""
    params: Params
    average: Params
    """the moving average of the parameters, which is what is tested"""
    optimizer: optax.OptState
    scale: DynamicScale | None
    """the loss scale that keeps float16 gradients from underflow"""
    sums: dict[str, Any]
    """sums of the metrics over the steps since the last record"""


class Program(NamedTuple):
    """A run's first state, and its two compiled functions."""

    state: State
    step_fn: jax.stages.Wrapped
    """(state, images, labels) → the next state"""
    test_fn: jax.stages.Wrapped
    """(params, images, labels) → the sums of loss and accuracy over the images whose label is not -1"""
    apply: Apply
    """the network itself"""


def build(config: Config, steps: int, mesh: Mesh | None = None) -> Program:
    """The state before the first of `steps` steps, the training step, and the test function.

    On a mesh the states that the step gives are divided as `of_state` says; without one that is the compiler's choice.
    """
    # threefry gives the same numbers on every platform.
    init_key, key = jax.random.split(jax.random.key(config.train.seed, impl="threefry2x32"))
    apply, params = create(config, init_key)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.optimizer.learning_rate, int(config.optimizer.warmup * steps), steps
    )
    optimizer = optax.adamw(schedule, weight_decay=config.optimizer.weight_decay)
    state = State(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        average=jax.tree.map(jnp.copy, params),
        optimizer=optimizer.init(params),
        scale=DynamicScale() if config.precision.compute == "float16" else None,
        sums=zeros(params),
    )
    judge = judge_pixels if config.model.network == "autoencoder" else judge_classes

    def loss_fn(params: Params, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        if mesh is not None:  # gathered where they are used, so that their gradients are summed where they are kept
            params = jax.lax.with_sharding_constraint(params, replicated(mesh))
        scores = apply(params, normalise(images)).astype(jnp.float32)
        losses, right = judge(scores, images, labels, config.train.label_smoothing)
        return losses.mean(), right.mean()

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=mesh and of_state(mesh, state))
    def step_fn(state: State, images: jax.Array, labels: jax.Array) -> State:
        images = move(images, config.data, jax.random.fold_in(state.key, state.step))
        scale, finite, (loss, accuracy), gradients = differentiate(state.scale, loss_fn, state.params, images, labels)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        updated = (optax.apply_updates(state.params, updates), optimizer_state)
        # After an overflow only the scale changes.
        params, optimizer_state = jax.tree.map(
            functools.partial(jnp.where, finite), updated, (state.params, state.optimizer)
        )
        # The decay rises over the first steps, so that the average forgets the initial weights.
        decay = jnp.minimum(config.optimizer.average, (1 + state.step) / (10 + state.step))
        share = 1 - decay if config.optimizer.average else 1.0
        average: Any = optax.incremental_update(params, state.average, share)
        metrics = {"loss": loss, "accuracy": accuracy, "learning_rate": schedule(state.step), **describe(gradients)}
        fresh = state.step % config.train.log_every == 0  # the sums were recorded after the last step
        sums = jax.tree.map(lambda old, new: jnp.where(fresh, 0, old) + new, state.sums, metrics)
        return State(state.step + 1, state.key, params, average, optimizer_state, scale, sums)

    @functools.partial(jax.jit, out_shardings=mesh and replicated(mesh))
    def test_fn(params: Params, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = apply(params, normalise(images)).astype(jnp.float32)
        counts = labels >= 0
        losses, right = judge(scores, images, labels, 0.0)
        return (losses * counts).sum(), (right * counts).sum()

    return Program(state, step_fn, test_fn, apply)


def judge_classes(
    scores: jax.Array, images: jax.Array, labels: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """The cross-entropy of each image's scores, and 1 where the largest is that of its label."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), smoothing)
    return optax.softmax_cross_entropy(scores, targets), (scores.argmax(-1) == labels).astype(jnp.float32)


def judge_pixels(
    scores: jax.Array, images: jax.Array, labels: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """The cross-entropy of each reconstructed image, a mean over its pixels, and the share of right pixels."""
    white = images[..., None].astype(jnp.float32) / 255
    losses = optax.sigmoid_binary_cross_entropy(scores, white)
    right = (scores > 0) == (white > 0.5)
    return losses.mean((1, 2, 3)), right.astype(jnp.float32).mean((1, 2, 3))


def differentiate(scale: DynamicScale | None, loss_fn: Any, *args: Any) -> tuple[DynamicScale | None, Any, Any, Any]:
    """The next loss scale, whether the gradients are finite, loss and accuracy, and the gradients."""
    if scale is not None:
        scale, finite, value, gradients = scale.value_and_grad(loss_fn, has_aux=True)(*args)
        # A scale that is too large costs a step: its gradients count as zero in the records.
        return scale, finite, value, jax.tree.map(lambda gradient: jnp.where(finite, gradient, 0), gradients)
    value, gradients = jax.value_and_grad(loss_fn, has_aux=True)(*args)
    return None, True, value, gradients


def describe(gradients: Params) -> dict[str, dict[str, jax.Array]]:
    """Of each parameter's gradient: the norm, mean and largest absolute value, and the share that is exactly zero."""
    arrays = named(gradients)
    measures = {
        "gradient_norm": jnp.linalg.norm,
        "gradient_mean": lambda gradient: jnp.abs(gradient).mean(),
        "gradient_max": lambda gradient: jnp.abs(gradient).max(),
        "gradient_zero": lambda gradient: (gradient == 0).mean(),  # of a bias: the share of dead units
    }
    return {
        name: {parameter: measure(gradient) for parameter, gradient in arrays.items()}
        for name, measure in measures.items()
    }


def zeros(params: Params) -> dict[str, Any]:
    """The sums of the metrics before the first step."""
    metrics = {"loss": 0.0, "accuracy": 0.0, "learning_rate": 0.0, **describe(params)}
    return jax.tree.map(lambda _: jnp.zeros(()), metrics)


def named(params: Params) -> dict[str, jax.Array]:
    """The arrays of a network, or of its gradient, by names such as `conv1.weight`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
