"""The table of layers: one case of each in both shells, and how to make it, its input and its parameters."""

from typing import Any, NamedTuple

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
    function: Any  # (x, weight, bias) -> y, by the functional core alone

    def __str__(self):
        return f"{self.name}{self.args}"


def _layers():
    for rank, size in SIZES.items():
        conv, transposed = getattr(functional, f"conv{rank}d"), getattr(functional, f"conv_transpose{rank}d")
        options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
        yield Layer(
            f"Conv{rank}d",
            (4, 6, 3, 2, 1, 1, 2),
            {"padding_mode": "reflect"},
            (2, 4, *size),
            lambda x, w, b, f=conv, o=options: f(x, w, b, **o, padding_mode="reflect"),
        )
        yield Layer(
            f"ConvTranspose{rank}d",
            (4, 6, 3, 2, 1, 1, 2),
            {"bias": False},
            (2, 4, *size),
            lambda x, w, b, f=transposed, o=options: f(x, w, b, **o, output_padding=1),
        )
        amounts = (1, 2, 0, 3, 2, 1)[: 2 * rank]
        for prefix, mode in PAD_MODES.items():
            yield Layer(
                f"{prefix}Pad{rank}d",
                (amounts,),
                {},
                (2, 4, *size),
                lambda x, w, b, a=amounts, m=mode: functional.pad(x, a, m),
            )
        yield Layer(
            f"ConstantPad{rank}d",
            (amounts, 3.5),
            {},
            (2, 4, *size),
            lambda x, w, b, a=amounts: functional.pad(x, a, "constant", 3.5),
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
                lambda x, w, b, f=pool, k=keywords: f(x, 3, **k),
            )
        adaptive = getattr(functional, f"adaptive_avg_pool{rank}d")
        yield Layer(f"AdaptiveAvgPool{rank}d", (4,), {}, (2, 4, *size), lambda x, w, b, f=adaptive: f(x, 4))
    yield Layer(
        "Unfold", ((2, 3), 1, (1, 0), 2), {}, (2, 4, 7, 9), lambda x, w, b: functional.unfold(x, (2, 3), 1, (1, 0), 2)
    )
    yield Layer("Fold", ((4, 5), (2, 3)), {}, (2, 12, 9), lambda x, w, b: functional.fold(x, (4, 5), (2, 3)))
    yield Layer("Flatten", (1, 2), {}, (2, 4, 7, 9), lambda x, w, b: x.reshape(2, 28, 9))


LAYERS = list(_layers())
HAVE_PARAMETERS = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
all_layers = pytest.mark.parametrize("layer", LAYERS, ids=str)
convolutions = pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.name in HAVE_PARAMETERS], ids=str)


def make(layer: Layer, seed=0, **more):
    """The layer in NNX."""
    more = {"rngs": nnx.Rngs(seed), **more} if layer.name in HAVE_PARAMETERS else more
    return getattr(jaxconv.nnx, layer.name)(*layer.args, **layer.kwargs, **more)


def make_linen(layer: Layer, **more):
    """The layer in Linen."""
    return getattr(jaxconv.linen, layer.name)(*layer.args, **layer.kwargs, **more)


def images(layer: Layer, dtype=np.float32):
    """An input of the layer."""
    return jnp.asarray(np.random.default_rng(3).normal(size=layer.shape), dtype)


def parameters(module):
    """Weight and bias of an NNX layer, None where it has none."""
    weight = getattr(module, "weight", None)
    bias = getattr(module, "bias", None)
    return None if weight is None else weight[...], None if bias is None else bias[...]


def linen_variables(module):
    """The parameters of an NNX layer as Linen takes them."""
    weight, bias = parameters(module)
    params = {k: v for k, v in (("weight", weight), ("bias", bias)) if v is not None}
    return {"params": params} if params else {}
