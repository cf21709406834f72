"""The table of layers: one case of each in both shells, and how to make it, its input and its variables."""

import functools
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv.linen
import jaxconv.nnx
from jaxconv import functional

PAD_MODES = {"Zero": "constant", "Reflection": "reflect", "Replication": "replicate", "Circular": "circular"}
# Odd and all distinct, so that no axis can be taken for another.
SIZES = {1: (9,), 2: (7, 9), 3: (5, 7, 6)}


class Layer(NamedTuple):
    """A layer of both shells, and what it has to compute from its input and its parameters."""

    name: str
    args: tuple
    kwargs: dict[str, Any]
    shape: tuple[int, ...]  # of the input, batched, channels first
    function: Any  # (x, variables by their names) -> y, by the functional core alone
    in_linen: Mapping[str, Any] = MappingProxyType({})  # fields that it has in Linen alone: whether it is in training
    formats: bool = True  # whether it is one of images, with their channels first or last
    unbatched: bool = True  # whether it takes one image without an axis for the batch
    call: Any = lambda layer, x: layer(x)  # how it is called

    def __str__(self):
        return f"{self.name}{self.args}"


def _with_places(rank):
    return lambda layer, x: layer(x, places(x, rank))


def places(x, rank):
    """The middle of each window of 3 positions, every second, where the images `x` of 4 channels come from."""
    last = x.shape[-1] == 4
    size = x.shape[-rank - 1 : -1] if last else x.shape[-rank:]
    middle = np.ravel_multi_index(np.indices(size) * 2 + 1, [2 * n + 1 for n in size]).astype(np.int32)
    return np.broadcast_to(middle[..., None] if last else middle, x.shape)


def _layers():
    for rank, size in SIZES.items():
        conv, transposed = getattr(functional, f"conv{rank}d"), getattr(functional, f"conv_transpose{rank}d")
        options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
        yield Layer(
            f"Conv{rank}d",
            (4, 6, 3, 2, 1, 1, 2),
            {"padding_mode": "reflect"},
            (2, 4, *size),
            lambda x, v, f=conv, o=options: f(x, v["weight"], v["bias"], **o, padding_mode="reflect"),
        )
        yield Layer(
            f"ConvTranspose{rank}d",
            (4, 6, 3, 2, 1, 1, 2),
            {"bias": False},
            (2, 4, *size),
            lambda x, v, f=transposed, o=options: f(x, v["weight"], **o, output_padding=1),
        )
        amounts = (1, 2, 0, 3, 2, 1)[: 2 * rank]
        for prefix, mode in PAD_MODES.items():
            yield Layer(
                f"{prefix}Pad{rank}d",
                (amounts,),
                {},
                (2, 4, *size),
                lambda x, v, a=amounts, m=mode: functional.pad(x, a, m),
            )
        yield Layer(
            f"ConstantPad{rank}d",
            (amounts, 3.5),
            {},
            (2, 4, *size),
            lambda x, v, a=amounts: functional.pad(x, a, "constant", 3.5),
        )
        for kind, keywords in (
            ("Max", {"stride": 2, "padding": 1, "ceil_mode": True}),
            ("Avg", {"padding": 1, "count_include_pad": False}),
        ):
            pool = getattr(functional, f"{kind.lower()}_pool{rank}d")
            yield Layer(
                f"{kind}Pool{rank}d",
                (3,),
                keywords,
                (2, 4, *size),
                lambda x, v, f=pool, k=keywords: f(x, 3, **k),
            )
        for kind in ("Avg", "Max"):
            adaptive = getattr(functional, f"adaptive_{kind.lower()}_pool{rank}d")
            yield Layer(f"Adaptive{kind}Pool{rank}d", (4,), {}, (2, 4, *size), lambda x, v, f=adaptive: f(x, 4))
        norm = getattr(functional, f"lp_pool{rank}d")
        yield Layer(f"LPPool{rank}d", (4, 3, 2, True), {}, (2, 4, *size), lambda x, v, f=norm: f(x, 4, 3, 2, True))
        unpool = getattr(functional, f"max_unpool{rank}d")
        yield Layer(
            f"MaxUnpool{rank}d",
            (3, 2),
            {},
            (2, 4, *size),
            lambda x, v, f=unpool: f(x, places(x, x.ndim - 2), 3, 2),
            call=_with_places(rank),
        )
        # In training, which a new layer of NNX is in.
        yield Layer(
            f"BatchNorm{rank}d",
            (4, 1e-3, None),
            {},
            (2, 4, *size),
            lambda x, v: functional.batch_norm(x, None, None, v["weight"], v["bias"], True, eps=1e-3)[0],
            {"use_running_average": False},
            unbatched=False,
        )
        yield Layer(
            f"InstanceNorm{rank}d",
            (4, 1e-3, 0.2, True, True),
            {},
            (2, 4, *size),
            lambda x, v: functional.instance_norm(x, None, None, v["weight"], v["bias"], eps=1e-3)[0],
            {"use_running_average": False},
        )
    yield Layer(
        "GroupNorm",
        (2, 4, 1e-3),
        {"bias": False},
        (2, 4, 7, 9),
        lambda x, v: functional.group_norm(x, 2, v["weight"], eps=1e-3),
        unbatched=False,
    )
    yield Layer(
        "LocalResponseNorm",
        (3, 1e-2, 0.5, 2.0),
        {},
        (2, 4, 7, 9),
        lambda x, v: functional.local_response_norm(x, 3, 1e-2, 0.5, 2.0),
        unbatched=False,
    )
    axes = {"formats": False}  # PyTorch defines them on axes, not on images
    yield Layer(
        "Unfold",
        ((2, 3), 1, (1, 0), 2),
        {},
        (2, 4, 7, 9),
        lambda x, v: functional.unfold(x, (2, 3), 1, (1, 0), 2),
        **axes,
    )
    yield Layer(
        "LayerNorm",
        ((7, 9), 1e-3),
        {},
        (2, 4, 7, 9),
        lambda x, v: functional.layer_norm(x, (7, 9), v["weight"], v["bias"], 1e-3),
        **axes,
    )
    yield Layer("RMSNorm", (9,), {}, (2, 4, 7, 9), lambda x, v: functional.rms_norm(x, 9, v["weight"]), **axes)
    yield Layer("Fold", ((4, 5), (2, 3)), {}, (2, 12, 9), lambda x, v: functional.fold(x, (4, 5), (2, 3)), **axes)
    yield Layer("Flatten", (1, 2), {}, (2, 4, 7, 9), lambda x, v: x.reshape(2, 28, 9), **axes, unbatched=False)
    keywords = {"mode": "bicubic", "align_corners": True}
    yield Layer(
        "Upsample", (None, (2, 1.7)), keywords, (2, 4, 7, 9),
        lambda x, v: functional.interpolate(x, None, (2, 1.7), **keywords), unbatched=False,
    )  # fmt: skip
    for name, mode, corners in (("UpsamplingNearest2d", "nearest", None), ("UpsamplingBilinear2d", "bilinear", True)):
        yield Layer(
            name, ((10, 8),), {}, (2, 4, 7, 9),
            lambda x, v, m=mode, c=corners: functional.interpolate(x, (10, 8), None, m, c), unbatched=False,
        )  # fmt: skip
    yield Layer("PixelShuffle", (2,), {}, (2, 12, 7, 9), lambda x, v: functional.pixel_shuffle(x, 2))
    yield Layer("PixelUnshuffle", (3,), {}, (2, 4, 6, 9), lambda x, v: functional.pixel_unshuffle(x, 3))
    yield Layer(
        "ChannelShuffle", (3,), {}, (2, 6, 7, 9), lambda x, v: functional.channel_shuffle(x, 3), unbatched=False
    )
    yield Layer("Identity", (54,), {"unused": 0.1}, (2, 4, 7, 9), lambda x, v: x, **axes)
    slopes = {"unbatched": False}  # the second axis is the channels'
    yield Layer("PReLU", (4, 0.1), {}, (2, 4, 7, 9), lambda x, v: functional.prelu(x, v["weight"]), **slopes)
    yield Layer("Softmax2d", (), {}, (2, 4, 7, 9), lambda x, v: jax.nn.softmax(x, 1))
    # What they do at random, other tests look at.
    training = {"deterministic": False}
    for rank, size in SIZES.items():
        yield Layer(f"Dropout{rank}d", (0.0,), {}, (2, 4, *size), lambda x, v: x, training, unbatched=rank != 2)
    yield Layer("StochasticDepth", (1.0, "row"), {}, (2, 4, 7, 9), lambda x, v: 0 * x, training, **axes)


LAYERS = list(_layers())
# What is made of other layers, and what changes one; the last in NNX alone.
OF_OTHERS = ("Sequential", "weight_norm", "spectral_norm", "remove_parametrizations")
# What drops at random, and what PyTorch's torchvision has, not its torch.nn.
AT_RANDOM = ("Dropout1d", "Dropout2d", "Dropout3d", "StochasticDepth")
OF_TORCHVISION = ("StochasticDepth",)
all_layers = pytest.mark.parametrize("layer", LAYERS, ids=str)
layers_of_torch = pytest.mark.parametrize(
    "layer", [layer for layer in LAYERS if layer.name not in OF_TORCHVISION], ids=str
)
convolutions = pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.name.startswith("Conv")], ids=str)


def takes_rngs(layer: Layer):
    """Whether the layer in NNX is made with random keys."""
    return "rngs" in inspect.signature(getattr(jaxconv.nnx, layer.name).__init__).parameters


def make(layer: Layer, seed=0, **more):
    """The layer in NNX."""
    more = {"rngs": nnx.Rngs(seed), **more} if takes_rngs(layer) else more
    return getattr(jaxconv.nnx, layer.name)(*layer.args, **layer.kwargs, **more)


def make_linen(layer: Layer, **more):
    """The layer in Linen."""
    return getattr(jaxconv.linen, layer.name)(*layer.args, **layer.kwargs, **layer.in_linen, **more)


def images(layer: Layer, dtype=np.float32):
    """An input of the layer."""
    return jnp.asarray(np.random.default_rng(3).normal(size=layer.shape), dtype)


# Where Linen keeps what NNX has in variables of a kind, and what a call may change.
COLLECTIONS = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
CHANGED = ["batch_stats"]


def linen_variables(module):
    """The variables of an NNX layer as Linen takes them."""
    collections = {name: nnx.to_pure_dict(nnx.state(module, kind)) for name, kind in COLLECTIONS.items()}
    # Copies, since a later call of the layer changes its own.
    return {name: jax.tree.map(jnp.array, state) for name, state in collections.items() if state}


def variables(module):
    """The variables of an NNX layer by their names; those within another layer are a dictionary of their own."""
    return {name: value for state in linen_variables(module).values() for name, value in state.items()}


def apply_linen(layer: Layer, variables, x, **more):
    """What the layer in Linen gives for `x`, made with further arguments."""
    y, _ = layer.call(functools.partial(make_linen(layer, **more).apply, variables, mutable=CHANGED), x)
    return y
