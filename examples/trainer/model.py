"""The networks, as they would be written for `torch.nn`: a classifier in NNX and in Linen, and an autoencoder."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

import jaxconv.linen
from examples.trainer.config import Config, Model, RunError
from examples.trainer.data import CLASSES, SIDE
from jaxconv.nnx import Conv2d, ConvTranspose2d, MaxPool2d

Params = dict[str, Any]
"""The arrays of a network by layer and name: {"conv1": {"weight": …, "bias": …}, …}."""
Apply = Callable[..., Any]
"""A network as a function of its parameters and of images (count, 28, 28, 1); `method` names a method of it."""


class Classifier(nnx.Module):
    """(count, 28, 28, 1) → a score for each of the ten classes, (count, 10)."""

    def __init__(self, config: Model, options: dict[str, Any], *, rngs: nnx.Rngs):
        block = Separable if config.block == "separable" else Conv2d
        self.convs = len(config.channels)
        self.halve = MaxPool2d(2, data_format="channels_last")
        for number, (before, after) in enumerate(itertools.pairwise((1, *config.channels)), 1):
            # The first convolution has one input channel: there is nothing to separate.
            layer = block if number > 1 else Conv2d
            setattr(self, f"conv{number}", layer(before, after, **geometry(config), **options, rngs=rngs))
        numbers = {name: value for name, value in options.items() if name != "data_format"}
        self.linear = nnx.Linear((SIDE // 4) ** 2 * config.channels[-1], CLASSES, **numbers, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores, of which the largest names the class."""
        return self.outputs(x)["linear"]

    def outputs(self, x: jax.Array) -> dict[str, jax.Array]:
        """The output of each layer, after its ReLU."""
        found = {}
        for number in range(1, self.convs + 1):
            x = found[f"conv{number}"] = nnx.relu(getattr(self, f"conv{number}")(x))
            x = self.halve(x) if number <= 2 else x
        return {**found, "linear": self.linear(x.reshape(x.shape[0], -1))}


class Separable(nnx.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, before: int, after: int, kernel_size: int, *, rngs: nnx.Rngs, **options: Any):
        pixelwise = {name: options[name] for name in ("data_format", "dtype", "precision")}
        self.depthwise = Conv2d(before, before, kernel_size, groups=before, bias=False, **options, rngs=rngs)
        self.pointwise = Conv2d(before, after, 1, **pixelwise, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(count, height, width, before) → (count, height, width, after)."""
        return self.pointwise(self.depthwise(x))


class LinenClassifier(linen.Module):
    """The same network as `Classifier`, its plain block, with the same names for the same parameters."""

    config: Model
    options: dict[str, Any]

    def __call__(self, x: jax.Array) -> jax.Array:
        """(count, 28, 28, 1) → scores, (count, 10)."""
        return self.outputs(x)["linear"]

    @linen.compact
    def outputs(self, x: jax.Array) -> dict[str, jax.Array]:
        """The output of each layer, after its ReLU."""
        found = {}
        for number, channels in enumerate(self.config.channels, 1):
            conv = jaxconv.linen.Conv2d(None, channels, **geometry(self.config), **self.options, name=f"conv{number}")
            x = found[f"conv{number}"] = linen.relu(conv(x))
            x = jaxconv.linen.MaxPool2d(2, data_format="channels_last")(x) if number <= 2 else x
        numbers = {name: value for name, value in self.options.items() if name != "data_format"}
        return {**found, "linear": linen.Dense(CLASSES, **numbers, name="linear")(x.reshape(x.shape[0], -1))}


class Autoencoder(nnx.Module):
    """(count, 28, 28, 1) → the same through 7 × 7 × `channels[-1]` numbers, as logits of the pixels."""

    def __init__(self, config: Model, options: dict[str, Any], *, rngs: nnx.Rngs):
        size = config.kernel_size
        halving = {"kernel_size": size, "stride": 2, "padding": (size - 1) // 2, **options, "rngs": rngs}
        first, second = config.channels
        self.conv1 = Conv2d(1, first, **halving)
        self.conv2 = Conv2d(first, second, **halving)
        # With an odd kernel two sizes are halved to the same one; the output padding picks the even one.
        self.transposed1 = ConvTranspose2d(second, first, output_padding=size % 2, **halving)
        self.transposed2 = ConvTranspose2d(first, 1, output_padding=size % 2, **halving)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of the pixels: above zero where a pixel is more white than black."""
        return self.outputs(x)["transposed2"]

    def outputs(self, x: jax.Array) -> dict[str, jax.Array]:
        """The output of each layer, after its ReLU."""
        conv1 = nnx.relu(self.conv1(x))
        conv2 = nnx.relu(self.conv2(conv1))
        transposed1 = nnx.relu(self.transposed1(conv2))
        transposed2 = self.transposed2(transposed1)
        return {"conv1": conv1, "conv2": conv2, "transposed1": transposed1, "transposed2": transposed2}


def create(config: Config, key: jax.Array) -> tuple[Apply, Params]:
    """The network as a function of its parameters and of images (count, 28, 28, 1), and its initial parameters."""
    model, precision = config.model, config.precision
    options = {
        "data_format": "channels_last",  # XLA's fastest layout on a CPU
        "dtype": jnp.dtype(precision.compute),
        "precision": None if precision.products == "default" else precision.products,
    }
    if model.framework == "linen":
        if (model.network, model.block) != ("classifier", "plain"):
            raise RunError("model.framework is 'linen': that is written for the plain classifier alone; take 'nnx'")
        network: Any = LinenClassifier(model, options)
        params = jax.jit(network.init)(key, jnp.zeros((1, SIDE, SIDE, 1)))["params"]

        def apply(params: Params, images: jax.Array, method: str = "__call__") -> Any:
            return network.apply({"params": params}, images, method=method)

        return apply, params
    if model.network == "autoencoder" and (
        len(model.channels) != 2 or (model.block, model.dilation, model.padding_mode) != ("plain", 1, "zeros")
    ):
        raise RunError(
            "model.network is 'autoencoder': model.channels must be two, and block, dilation and "
            "padding_mode as they are by default"
        )

    @nnx.jit  # one compilation, not one for each initial weight
    def initial(key: jax.Array) -> nnx.Module:
        kind = Autoencoder if model.network == "autoencoder" else Classifier
        return kind(model, options, rngs=nnx.Rngs(key))

    network, params = nnx.split(initial(key))

    def apply(params: Params, images: jax.Array, method: str = "__call__") -> Any:
        return getattr(nnx.merge(network, params), method)(images)

    return apply, nnx.to_pure_dict(params)


def geometry(config: Model) -> dict[str, Any]:
    """The arguments that all convolutions of the classifier share."""
    return {
        "kernel_size": config.kernel_size,
        "padding": "same",
        "dilation": config.dilation,
        "padding_mode": config.padding_mode,
    }
