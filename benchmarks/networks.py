"""Whole networks: a training step and inference, with layers of jaxconv, of Flax and of PyTorch, and by compilers.

    python -m benchmarks.networks [--only TEXT ...] [--json FILE]

Each network is written once, for any of three toolkits that make its layers. All sides start from PyTorch's weights (or
jaxconv's, where PyTorch is not installed) and take the same images, channels last in memory. A training step is
cross-entropy, its gradient, and stochastic gradient descent with momentum.

PyTorch's network is also taken by `torch.compile`, and for inference by ONNX Runtime and OpenVINO, which fold batch
norms; what `jaxconv.fuse` makes of ours stands beside these. Compilers of C++ take long: each of these peers has so
many seconds for all networks together, and those after that it goes without.
"""

import contextlib
import copy
import functools
import importlib.util
import io
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxconv.nnx
from benchmarks import measure
from benchmarks.measure import ON_GPU, Results, Side, figure, quotient, torch
from jaxconv import interop

CLASSES = 10
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
SIDES = ("jaxconv", "flax", "torch")
COMPILERS = ("torch.compile", "onnxruntime", "openvino")
# What each compiler may take to prepare networks, all of them together. max-autotune has no row: it takes minutes for
# one network.
COMPILER_SECONDS = 150.0
_spent: dict[str, float] = dict.fromkeys(COMPILERS, 0.0)


# ---------------------------------------------------------------------------------------------------------------
# Toolkits: what the layers are called in each library
# ---------------------------------------------------------------------------------------------------------------


class _Sum(nnx.Module):
    """The sum of what several branches make of one image."""

    def __init__(self, *branches):
        self.branches = nnx.List(branches)

    def __call__(self, x):
        first, *others = self.branches
        return sum((branch(x) for branch in others), start=first(x))


class _Product(nnx.Module):
    """The product of what several branches make of one image."""

    def __init__(self, *branches):
        self.branches = nnx.List(branches)

    def __call__(self, x):
        first, *others = self.branches
        return math.prod((branch(x) for branch in others), start=first(x))


class _Beside(nnx.Module):
    """The image and what a branch makes of it, side by side along the channels."""

    def __init__(self, branch):
        self.branch = branch

    def __call__(self, x):
        return jnp.concatenate([x, self.branch(x)], -1)


def padding(kernel, dilation=1):
    """What keeps the size of an image; an even kernel goes with a stride of its size."""
    return dilation * (kernel // 2) if kernel % 2 else 0


class _Flax:
    """Layers of Flax alone."""

    def __init__(self):
        self.rngs = nnx.Rngs(0)

    relu, relu6, silu, tanh = (staticmethod(f) for f in (nnx.relu, nnx.relu6, nnx.silu, jnp.tanh))
    sigmoid = staticmethod(nnx.sigmoid)
    gelu = staticmethod(partial(nnx.gelu, approximate=False))
    chain, add, multiply, beside = nnx.Sequential, _Sum, _Product, _Beside

    def conv(self, inputs, outputs, kernel, stride=1, groups=1, bias=True, dilation=1, rank=2):
        pads = [(padding(kernel, dilation),) * 2] * rank
        sizes = {"kernel_size": (kernel,) * rank, "strides": (stride,) * rank, "padding": pads}
        sizes["kernel_dilation"] = (dilation,) * rank
        return nnx.Conv(inputs, outputs, **sizes, feature_group_count=groups, use_bias=bias, rngs=self.rngs)

    def upsample(self, inputs, outputs, rank=2):
        return nnx.ConvTranspose(inputs, outputs, (2,) * rank, (2,) * rank, padding="VALID", rngs=self.rngs)

    def upsample4(self, inputs, outputs):
        # Padding 1 of a transposed convolution is one of 4 - 1 - 1 of the image between zeros.
        sizes = {"padding": [(2, 2)] * 2, "use_bias": False}
        return nnx.ConvTranspose(inputs, outputs, (4, 4), (2, 2), **sizes, rngs=self.rngs)

    def batch_norm(self, channels, rank=2):
        return nnx.BatchNorm(channels, momentum=0.9, use_fast_variance=False, rngs=self.rngs)

    def layer_norm(self, channels):
        return nnx.LayerNorm(channels, epsilon=1e-6, rngs=self.rngs)

    def linear(self, inputs, outputs):
        return nnx.Linear(inputs, outputs, rngs=self.rngs)

    def same(self):
        return lambda x: x

    def halve(self, rank=2):
        return lambda x: nnx.max_pool(x, (2,) * rank, (2,) * rank)

    def mean(self, keepdims=False):
        return lambda x: x.mean(tuple(range(1, x.ndim - 1)), keepdims=keepdims)

    def flatten(self):
        return lambda x: x.reshape(len(x), -1)


class _Ours(_Flax):
    """Layers of jaxconv, and Flax's for what it does not have."""

    def conv(self, inputs, outputs, kernel, stride=1, groups=1, bias=True, dilation=1, rank=2):
        where = {"data_format": "channels_last", "rngs": self.rngs}
        pads, of_rank = padding(kernel, dilation), getattr(jaxconv.nnx, f"Conv{rank}d")
        return of_rank(inputs, outputs, kernel, stride, pads, dilation, groups=groups, bias=bias, **where)

    def upsample(self, inputs, outputs, rank=2):
        of_rank = getattr(jaxconv.nnx, f"ConvTranspose{rank}d")
        return of_rank(inputs, outputs, 2, 2, data_format="channels_last", rngs=self.rngs)

    def upsample4(self, inputs, outputs):
        where = {"data_format": "channels_last", "rngs": self.rngs}
        return jaxconv.nnx.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False, **where)

    def batch_norm(self, channels, rank=2):
        return getattr(jaxconv.nnx, f"BatchNorm{rank}d")(channels, data_format="channels_last")

    def layer_norm(self, channels):
        return jaxconv.nnx.LayerNorm(channels, eps=1e-6)

    def halve(self, rank=2):
        return getattr(jaxconv.nnx, f"MaxPool{rank}d")(2, data_format="channels_last")


def torch_toolkit() -> Any:
    """Layers of PyTorch; what it has no layer for is made one here."""
    nn = torch.nn

    class Function(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    class _Sum(nn.Module):
        def __init__(self, *branches):
            super().__init__()
            self.branches = nn.ModuleList(branches)

        def forward(self, x):
            first, *others = self.branches
            return sum((branch(x) for branch in others), start=first(x))

    class _Product(nn.Module):
        def __init__(self, *branches):
            super().__init__()
            self.branches = nn.ModuleList(branches)

        def forward(self, x):
            first, *others = self.branches
            return math.prod((branch(x) for branch in others), start=first(x))

    class _Beside(nn.Module):
        def __init__(self, branch):
            super().__init__()
            self.branch = branch

        def forward(self, x):
            return torch.cat([x, self.branch(x)], 1)

    class LayerNorm(nn.LayerNorm):  # over the channels, which are last in memory
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    class Torch:
        add, multiply, beside, relu, relu6, gelu = _Sum, _Product, _Beside, nn.ReLU(), nn.ReLU6(), nn.GELU()
        silu, tanh, sigmoid = nn.SiLU(), nn.Tanh(), nn.Sigmoid()
        chain, linear, same = nn.Sequential, nn.Linear, nn.Identity

        def conv(self, inputs, outputs, kernel, stride=1, groups=1, bias=True, dilation=1, rank=2):
            of_rank = getattr(nn, f"Conv{rank}d")
            return of_rank(inputs, outputs, kernel, stride, padding(kernel, dilation), dilation, groups, bias)

        def upsample(self, inputs, outputs, rank=2):
            return getattr(nn, f"ConvTranspose{rank}d")(inputs, outputs, 2, 2)

        def upsample4(self, inputs, outputs):
            return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)

        def batch_norm(self, channels, rank=2):
            return getattr(nn, f"BatchNorm{rank}d")(channels)

        def layer_norm(self, channels):
            return LayerNorm(channels, eps=1e-6)

        def halve(self, rank=2):
            return getattr(nn, f"MaxPool{rank}d")(2)

        def mean(self, keepdims=False):
            return Function(lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=keepdims))

        def flatten(self):
            # In the order of the channels last, as the other sides have it.
            return Function(lambda x: x.permute(0, 2, 3, 1).flatten(1))

    return Torch()


# ---------------------------------------------------------------------------------------------------------------
# Networks
# ---------------------------------------------------------------------------------------------------------------


def digits(t):
    """The CNN of the training program."""
    layers = [t.conv(1, 16, 3), t.relu, t.halve(), t.conv(16, 32, 3), t.relu, t.halve(), t.conv(32, 32, 3), t.relu]
    return t.chain(*layers, t.flatten(), t.linear(7 * 7 * 32, CLASSES))


def resnet18(t):
    """ResNet-18 as it is used on 32×32 images: its first convolution is 3×3, and nothing is pooled after it."""

    def block(inputs, outputs, stride):
        across = t.same()
        if stride > 1 or inputs != outputs:
            across = t.chain(t.conv(inputs, outputs, 1, stride, bias=False), t.batch_norm(outputs))
        first = [t.conv(inputs, outputs, 3, stride, bias=False), t.batch_norm(outputs), t.relu]
        return [t.add(t.chain(*first, t.conv(outputs, outputs, 3, bias=False), t.batch_norm(outputs)), across), t.relu]

    layers, channels = [t.conv(3, 64, 3, bias=False), t.batch_norm(64), t.relu], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += block(channels, outputs, stride) + block(outputs, outputs, 1)
        channels = outputs
    return t.chain(*layers, t.mean(), t.linear(channels, CLASSES))


def mobilenet(t):
    """MobileNetV2's blocks, wide and depthwise between narrow ends, in a small number."""

    def convolved(inputs, outputs, kernel, stride=1, groups=1):
        return [t.conv(inputs, outputs, kernel, stride, groups, bias=False), t.batch_norm(outputs)]

    layers, channels = [*convolved(3, 32, 3, 2), t.relu6], 32
    for wide, outputs, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2), (6, 64, 2, 1)):
        for index in range(count):
            step, hidden = stride if index == 0 else 1, channels * wide
            block = [*convolved(channels, hidden, 1), t.relu6] if wide > 1 else []
            block += [*convolved(hidden, hidden, 3, step, hidden), t.relu6, *convolved(hidden, outputs, 1)]
            is_residual = step == 1 and channels == outputs
            layers.append(t.add(t.chain(*block), t.same()) if is_residual else t.chain(*block))
            channels = outputs
    return t.chain(*layers, *convolved(channels, 256, 1), t.relu6, t.mean(), t.linear(256, CLASSES))


def resnext(t):
    """ResNeXt's blocks: the 3×3 convolution in the middle has 32 groups of 4 channels."""

    def block(inputs, outputs, stride):
        hidden = outputs // 2
        path = []
        for a, b, kernel, step, groups in ((inputs, hidden, 1, 1, 1), (hidden, hidden, 3, stride, hidden // 4)):
            path += [t.conv(a, b, kernel, step, groups, bias=False), t.batch_norm(b), t.relu]
        path += [t.conv(hidden, outputs, 1, bias=False), t.batch_norm(outputs)]
        across = t.same()
        if stride > 1 or inputs != outputs:
            across = t.chain(t.conv(inputs, outputs, 1, stride, bias=False), t.batch_norm(outputs))
        return [t.add(t.chain(*path), across), t.relu]

    layers = [t.conv(3, 64, 3, 2, bias=False), t.batch_norm(64), t.relu, t.halve()]
    layers += block(64, 256, 1) + block(256, 256, 1) + block(256, 256, 2)
    return t.chain(*layers, t.mean(), t.linear(256, CLASSES))


def convnext(t):
    """ConvNeXt's blocks: a depthwise 7×7 convolution, a norm over the channels, and two linear maps of them."""

    def block(channels):
        path = [t.conv(channels, channels, 7, groups=channels), t.layer_norm(channels)]
        path += [t.conv(channels, 4 * channels, 1), t.gelu, t.conv(4 * channels, channels, 1)]
        return t.add(t.chain(*path), t.same())

    layers = [t.conv(3, 64, 4, 4), t.layer_norm(64), block(64), block(64)]
    layers += [t.layer_norm(64), t.conv(64, 128, 2, 2), block(128), block(128)]
    return t.chain(*layers, t.mean(), t.linear(128, CLASSES))


def unet(t):
    """A U-Net, which names the class of every pixel: down by pools, up by transposed convolutions, and across."""

    def pair(inputs, outputs):
        return [t.conv(inputs, outputs, 3), t.relu, t.conv(outputs, outputs, 3), t.relu]

    def level(channels, below):
        lower = t.chain(t.halve(), *below, t.upsample(2 * channels, channels))
        return [t.beside(lower), *pair(2 * channels, channels)]

    inner = level(64, pair(64, 128))
    middle = level(32, [*pair(32, 64), *inner])
    return t.chain(*pair(3, 32), *middle, t.conv(32, CLASSES, 1))


def resnet50(t):
    """ResNet-50's bottlenecks, one or two to a stage where it has three to six."""

    def block(inputs, hidden, stride):
        outputs, path = 4 * hidden, []
        for a, b, kernel, step in ((inputs, hidden, 1, 1), (hidden, hidden, 3, stride)):
            path += [t.conv(a, b, kernel, step, bias=False), t.batch_norm(b), t.relu]
        path += [t.conv(hidden, outputs, 1, bias=False), t.batch_norm(outputs)]
        across = t.same()
        if inputs != outputs:
            across = t.chain(t.conv(inputs, outputs, 1, stride, bias=False), t.batch_norm(outputs))
        return [t.add(t.chain(*path), across), t.relu]

    layers = [t.conv(3, 64, 7, 2, bias=False), t.batch_norm(64), t.relu, t.halve()]
    layers += block(64, 64, 1) + block(256, 64, 1) + block(256, 128, 2) + block(512, 256, 2) + block(1024, 512, 2)
    return t.chain(*layers, t.mean(), t.linear(2048, CLASSES))


def densenet(t):
    """DenseNet's layers: norm, rectifier, convolution, and what they make beside what they were given."""

    def normed(channels):
        return [t.batch_norm(channels), t.relu]

    layers, channels, growth = [t.conv(3, 64, 3, 2, bias=False), *normed(64)], 64, 32
    for last in (False, True):
        for _ in range(4):
            path = [*normed(channels), t.conv(channels, 4 * growth, 1, bias=False)]
            path += [*normed(4 * growth), t.conv(4 * growth, growth, 3, bias=False)]
            layers.append(t.beside(t.chain(*path)))
            channels += growth
        layers += normed(channels)
        if not last:
            layers += [t.conv(channels, channels // 2, 1, bias=False), t.halve()]
            channels //= 2
    return t.chain(*layers, t.mean(), t.linear(channels, CLASSES))


def efficientnet(t):
    """EfficientNet's blocks: wide, depthwise, weighed by what the whole image says of each channel, and narrow."""

    def convolved(inputs, outputs, kernel, stride=1, groups=1):
        return [t.conv(inputs, outputs, kernel, stride, groups, bias=False), t.batch_norm(outputs)]

    layers, channels = [*convolved(3, 32, 3, 2), t.silu], 32
    for wide, outputs, kernel, count, stride in (
        (1, 16, 3, 1, 1),
        (6, 24, 3, 2, 2),
        (6, 40, 5, 2, 2),
        (6, 80, 3, 1, 2),
    ):
        for index in range(count):
            step, hidden, few = stride if index == 0 else 1, channels * wide, max(channels // 4, 1)
            block = [*convolved(channels, hidden, 1), t.silu] if wide > 1 else []
            block += [*convolved(hidden, hidden, kernel, step, hidden), t.silu]
            weighed = [t.mean(True), t.conv(hidden, few, 1), t.silu, t.conv(few, hidden, 1), t.sigmoid]
            block += [t.multiply(t.same(), t.chain(*weighed)), *convolved(hidden, outputs, 1)]
            is_residual = step == 1 and channels == outputs
            layers.append(t.add(t.chain(*block), t.same()) if is_residual else t.chain(*block))
            channels = outputs
    return t.chain(*layers, *convolved(channels, 320, 1), t.silu, t.mean(), t.linear(320, CLASSES))


def dcgan(t):
    """DCGAN's generator: images from small ones by transposed convolutions of 4 x 4; here its pixels have classes."""
    layers, channels = [], 128
    for outputs in (64, 32, 16):
        layers += [t.upsample4(channels, outputs), t.batch_norm(outputs), t.relu]
        channels = outputs
    return t.chain(*layers, t.conv(channels, CLASSES, 3), t.tanh)


def wavenet(t):
    """WaveNet's residual blocks along time: dilations that double, and a gate."""

    def gated(channels, dilation):
        halves = (t.conv(channels, channels, 3, dilation=dilation, rank=1) for _ in range(2))
        both = (t.chain(half, f) for half, f in zip(halves, (t.tanh, t.sigmoid), strict=True))
        return t.add(t.chain(t.multiply(*both), t.conv(channels, channels, 1, rank=1)), t.same())

    layers = [t.conv(1, 32, 3, rank=1), *(gated(32, 2**i) for i in range(8))]
    return t.chain(*layers, t.relu, t.conv(32, CLASSES, 1, rank=1))


def deeplab(t):
    """DeepLab's head on a short trunk: dilated branches side by side, and a class for each pixel of a smaller image."""

    def convolved(inputs, outputs, kernel, stride=1, dilation=1):
        return [t.conv(inputs, outputs, kernel, stride, bias=False, dilation=dilation), t.batch_norm(outputs), t.relu]

    trunk = [*convolved(3, 32, 3, 2), *convolved(32, 64, 3, 2), *convolved(64, 128, 3, dilation=2)]
    branches = [t.chain(*convolved(128, 64, 1)), *(t.chain(*convolved(128, 64, 3, dilation=d)) for d in (3, 6, 9))]
    return t.chain(*trunk, t.add(*branches), *convolved(64, 64, 3), t.conv(64, CLASSES, 1))


def unet3d(t):
    """A U-Net of volumes."""

    def pair(inputs, outputs):
        layers = []
        for a in (inputs, outputs):
            layers += [t.conv(a, outputs, 3, bias=False, rank=3), t.batch_norm(outputs, 3), t.relu]
        return layers

    lower = t.chain(t.halve(3), *pair(16, 32), t.upsample(32, 16, 3))
    return t.chain(*pair(1, 16), t.beside(lower), *pair(32, 16), t.conv(16, CLASSES, 1, rank=3))


@dataclass(frozen=True)
class Network:
    """A network and the images that it takes."""

    name: str
    build: Callable[[Any], Any]
    batch: int
    channels: int
    size: int  # of each spatial axis
    rank: int = 2
    dtype: str = "float32"  # or "tf32": float32 whose products a GPU may round


NETWORKS = [
    Network("MNIST CNN, 28x28", digits, 64, 1, 28),
    Network("ResNet-18, 32x32", resnet18, 8, 3, 32),
    Network("MobileNetV2-style, 64x64", mobilenet, 16, 3, 64),
    Network("ResNeXt-style, 64x64", resnext, 8, 3, 64),
    Network("ConvNeXt-style, 64x64", convnext, 16, 3, 64),
    Network("U-Net, 64x64", unet, 4, 3, 64),
    Network("ResNet-50-style, 64x64", resnet50, 8, 3, 64),
    Network("DenseNet-style, 64x64", densenet, 8, 3, 64),
    Network("EfficientNet-style, 64x64", efficientnet, 8, 3, 64),
    Network("DCGAN-style, 8x8 to 64x64", dcgan, 8, 128, 8),
    Network("WaveNet-style, 4096", wavenet, 4, 1, 4096, rank=1),
    Network("DeepLab-style, 96x96", deeplab, 4, 3, 96),
    Network("3-D U-Net, 24x24x24", unet3d, 2, 1, 24, rank=3),
]
if ON_GPU:
    NETWORKS += [replace(n, name=f"{n.name}, {d}", dtype=d) for d in ("tf32", "bfloat16") for n in NETWORKS]


# ---------------------------------------------------------------------------------------------------------------
# Sides
# ---------------------------------------------------------------------------------------------------------------


def batch_of(network: Network) -> np.ndarray:
    """Images, channels last."""
    shape = (network.batch, *(network.size,) * network.rank, network.channels)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def labels_of(scores_shape: Sequence[int]) -> np.ndarray:
    """A class for each image, or for each pixel of one."""
    return np.random.default_rng(1).integers(0, CLASSES, scores_shape[:-1])


# What Flax's norms call their arrays, by PyTorch's names for them; it does not count batches.
NORMS = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


class Kernels:
    """Flax's kernels and norms among the arrays of a network, and how each lies and is called elsewhere."""

    def __init__(self, model: nnx.Module):
        norms = [path for path, layer in nnx.iter_modules(model) if isinstance(layer, nnx.BatchNorm | nnx.LayerNorm)]
        self.renamed = {(*path, ours): (*path, flax) for path in norms for ours, flax in NORMS.items()}
        self.transposed = {
            path: isinstance(layer, nnx.ConvTranspose)
            for path, layer in nnx.iter_modules(model)
            if isinstance(layer, nnx.Conv | nnx.ConvTranspose)
        }

    def to_flax(self, flat: dict[tuple, Any]) -> dict[tuple, Any]:
        """Arrays by their paths in jaxconv's network: by their paths in Flax's."""
        given = {self.renamed.get(path, path): a for path, a in flat.items() if path[-1] != "num_batches_tracked"}
        for path, transposed in self.transposed.items():
            w = given.pop((*path, "weight"))  # (out, in, ...), transposed (in, out, ...)
            places = tuple(range(2, w.ndim))
            given[*path, "kernel"] = (
                np.flip(w, places).transpose(*places, 0, 1) if transposed else w.transpose(*places, 1, 0)
            )
        return given

    def from_flax(self, flat: dict[tuple, Any]) -> dict[tuple, Any]:
        """The other way."""
        back = {flax: ours for ours, flax in self.renamed.items()}
        given = {back.get(path, path): array for path, array in flat.items()}
        for path, transposed in self.transposed.items():
            kernel = given.pop((*path, "kernel"))
            places, (last, end) = tuple(range(kernel.ndim - 2)), (kernel.ndim - 2, kernel.ndim - 1)
            turned = np.flip(kernel, places).transpose(last, end, *places)
            given[*path, "weight"] = turned if transposed else kernel.transpose(end, last, *places)
        return given


def flat(state: Any) -> dict[tuple, np.ndarray]:
    """The arrays of a network's state by their paths."""
    return {path: np.asarray(leaf.get_value(), np.float32) for path, leaf in nnx.to_flat_state(state)}


def filled(state: Any, values: dict[tuple, Any], dtype: str) -> Any:
    """`state` with other values; counts stay integers."""

    def of(path, leaf):
        kind = dtype if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.dtype
        return path, leaf.replace(jnp.asarray(values[path], kind)) if path in values else leaf

    return nnx.from_flat_state([of(path, leaf) for path, leaf in nnx.to_flat_state(state)])


def array_dtype(network: Network) -> str:
    """The dtype of parameters and images."""
    return "float32" if network.dtype == "tf32" else network.dtype


def joined(network: Network, gradients: Callable[[], Iterable[np.ndarray]]) -> list[np.ndarray]:
    """The whole gradient as one vector; nothing where it was rounded so much that it cannot be compared."""
    return [np.concatenate([a.ravel() for a in gradients()])] if network.dtype == "float32" else []


def jax_side(network: Network, model: nnx.Module, train: bool, in_torch: Callable[[dict], list]) -> Side:
    """A network on JAX. `in_torch` gives the gradients by path in PyTorch's order and layout."""
    images = jnp.asarray(batch_of(network), array_dtype(network))
    model.train() if train else model.eval()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)

    def infer(params, rest, images):
        return nnx.merge(graph, params, rest)(images)

    def step(params, rest, state, images, labels):
        def loss_of(params):
            model = nnx.merge(graph, params, rest, copy=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
            return losses.mean(), nnx.split(model, nnx.Param, ...)[2]

        (loss, rest), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), rest, state, loss

    # On a GPU JAX rounds float32 to TF32 unless it is told not to.
    with jax.default_matmul_precision("highest" if ON_GPU and network.dtype == "float32" else "default"):
        if not train:
            return measure.compiled(infer, params, rest, images, read=lambda scores: [np.asarray(scores, np.float32)])
        scores = jax.eval_shape(infer, params, rest, images)
        labels = jnp.asarray(labels_of(scores.shape))
        # Every step takes the place of the one before, as in training, so its arrays are given away. They are copied
        # first: both sides start from the same ones.
        state = [*jax.tree.map(jnp.copy, (params, rest)), optimizer.init(params)]
        start = time.perf_counter()
        executable = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*state, images, labels).compile()
        seconds = time.perf_counter() - start

    def run():
        *state[:], loss = jax.block_until_ready(executable(*state, images, labels))
        return loss, state[2]

    def read(result):
        loss, (trace, *_) = result
        # After one step from rest the momentum is the gradient.
        return [np.asarray(loss, np.float32), *joined(network, lambda: in_torch(flat(trace.trace)))]

    return Side(run, read, seconds, temporary_bytes=measure.temporaries(executable))


def torch_images(network: Network, **place: Any) -> Any:
    """Images in PyTorch, channels last in memory."""
    images = torch.from_numpy(batch_of(network)).to(**place)
    return images.permute(0, images.ndim - 1, *range(1, images.ndim - 1))


def channels_last(scores: np.ndarray) -> np.ndarray:
    """What a network in PyTorch gives, as the others give it."""
    return scores if scores.ndim == 2 else np.moveaxis(scores, 1, -1)


def torch_side(network: Network, model: Any, train: bool, compiler: Callable[[Any], Any] | None = None) -> Side:
    """A network in PyTorch, or what a compiler makes of it."""
    measure.set_up_torch(network.dtype == "tf32")
    place = {"device": measure.torch_device(), "dtype": getattr(torch, array_dtype(network))}
    layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
    model = model.to(**place).to(memory_format=layouts.get(network.rank, torch.preserve_format)).train(train)
    images = torch_images(network, **place)
    call = model if compiler is None else compiler(model)

    def infer():
        with torch.inference_mode():
            return measure.finish_torch(call(images))

    if not train:
        if compiler is not None:  # it compiles in the first call
            infer()
        return Side(infer, lambda scores: [channels_last(scores.float().cpu().numpy())])
    with torch.no_grad():
        shape = list(model.eval()(images).shape)  # in training mode this would change the running statistics
    labels = torch.from_numpy(labels_of([shape[0], *shape[2:], CLASSES])).to(place["device"])
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM)

    def run():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(call(images), labels)
        loss.backward()
        optimizer.step()
        return measure.finish_torch(loss)

    if compiler is not None:  # it compiles in the first step, from which the first that counts does not go on
        start = copy.deepcopy(model.state_dict())
        run()
        model.load_state_dict(start)
        optimizer.state.clear()

    def read(loss):
        buffers = (optimizer.state[p]["momentum_buffer"].cpu().numpy() for p in model.parameters())
        return [loss.detach().float().cpu().numpy(), *joined(network, lambda: buffers)]

    return Side(run, read)


def compiled_torch(network: Network, model: Any, train: bool) -> Side:
    """By `torch.compile`, in its default mode, which compiles at the first call."""
    # In this process: its workers would be forked from one with the threads of JAX.
    torch._inductor.config.compile_threads = 1
    return torch_side(network, model, train, torch.compile)


@functools.cache
def exported(network: Network, model: Any) -> bytes:
    """A network in PyTorch as an ONNX file."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(model, (torch_images(network).contiguous(),), dynamo=True, verbose=False)
    return program.model_proto.SerializeToString()


def onnx_side(network: Network, model: Any) -> Side:
    """Inference by ONNX Runtime, with as many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = measure.CORES
    session = onnxruntime.InferenceSession(exported(network, model), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: torch_images(network).contiguous().numpy()}
    return Side(lambda: session.run(None, given), lambda found: [channels_last(found[0])])


def openvino_side(network: Network, model: Any) -> Side:
    """Inference by OpenVINO, in float32 and with as many threads."""
    import openvino

    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": measure.CORES, "INFERENCE_PRECISION_HINT": "f32"})
    call = core.compile_model(core.read_model(io.BytesIO(exported(network, model))), "CPU")
    images = torch_images(network).contiguous().numpy()
    return Side(lambda: call(images)[0], lambda scores: [channels_last(np.array(scores))])


def within_seconds(name: str, network: Network, make: Callable[[], Side]) -> Side | None:
    """The network by a compiler, which has compiled it; none where it has no seconds left, or cannot take it."""
    if _spent[name] >= COMPILER_SECONDS:
        print(f"  {network.name}: no {name}, whose {COMPILER_SECONDS:.0f} seconds are spent")
        return None
    start = time.perf_counter()
    try:
        return make()
    except Exception as error:
        first, *_ = *str(error).splitlines(), ""
        print(f"  {network.name}: no {name}: {type(error).__name__}: {first}")
        return None
    finally:
        _spent[name] += time.perf_counter() - start


def makers(network: Network, train: bool) -> dict[str, Callable[[], Side]]:
    """What makes the network with the layers of each library, and by each compiler, all with the same weights."""
    dtype = array_dtype(network)
    ours, flax = network.build(_Ours()), network.build(_Flax())
    twin = None
    if torch is not None:
        torch.manual_seed(0)
        twin = network.build(torch_toolkit())
        interop.load_state_dict(ours, twin.state_dict())
    names = list(interop.state_dict(ours)) if twin is None else [name for name, _ in twin.named_parameters()]
    kernels = Kernels(flax)
    nnx.update(ours, filled(nnx.state(ours), flat(nnx.state(ours)), dtype))
    nnx.update(flax, filled(nnx.state(flax), kernels.to_flax(flat(nnx.state(ours))), dtype))
    holder = nnx.clone(ours)

    def in_torch(gradients):
        nnx.update(holder, filled(nnx.state(holder), gradients, "float32"))
        values = interop.state_dict(holder)
        return [values[name] for name in names]

    made: dict[str, Callable[[], Side]] = {
        "jaxconv": partial(jax_side, network, ours, train, in_torch),
        "flax": partial(jax_side, network, flax, train, lambda gradients: in_torch(kernels.from_flax(gradients))),
    }
    if not train and network.dtype == "float32":
        ours.eval()
        fused, _ = jaxconv.fuse(ours, batch_of(network))
        made["fused"] = partial(jax_side, network, fused, train, in_torch)
    if twin is not None:
        made["torch"] = lambda: torch_side(network, copy.deepcopy(twin), train)
        made["torch.compile"] = lambda: compiled_torch(network, copy.deepcopy(twin), train)
        if not train and network.dtype == "float32" and not ON_GPU:
            engines = {"onnxruntime": onnx_side, "openvino": openvino_side}
            here = {name: make for name, make in engines.items() if importlib.util.find_spec(name) is not None}
            made |= {name: partial(make, network, twin.eval()) for name, make in here.items()}
    return made


def sides(network: Network, train: bool) -> dict[str, Side]:
    """What `makers` makes, as far as the compilers get; they are for float32 on a CPU."""
    made: dict[str, Side | None] = {}
    for name, make in makers(network, train).items():
        if name not in COMPILERS:
            made[name] = make()
        elif network.dtype == "float32" and not ON_GPU:
            made[name] = within_seconds(name, network, make)
    return {name: side for name, side in made.items() if side is not None}


# ---------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------

# Of the loss or the scores.
_TOLERANCES = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 5e-2}
# Of the gradient, in units of its largest element: where the input of a rectifier is zero but for rounding, one side
# passes the gradient on and another does not.
_GRADIENT_TOLERANCE = 2e-2


def flops(network: Network) -> int:
    """Of one inference: two for each multiply-accumulate of its convolutions and matrix products."""
    model = network.build(_Ours())
    model.eval()
    jaxpr = jax.make_jaxpr(model)(jnp.asarray(batch_of(network)))

    def count(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            name, given = equation.primitive.name, [v.aval for v in equation.invars]
            if name in ("conv_output", "conv_output_bias"):
                total += 2 * equation.outvars[0].aval.size * math.prod(given[1].shape[1:])
            elif name == "conv_input":
                total += 2 * given[1].size * math.prod(given[0].shape[1:])
            elif name == "dot_general":
                contracted = equation.params["dimension_numbers"][0][0]
                total += 2 * equation.outvars[0].aval.size * math.prod(given[0].shape[a] for a in contracted)
            total += sum(count(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params))
        return total

    return count(jaxpr.jaxpr)


def rows() -> dict[str, Callable[[], dict]]:
    """What measures each network; a name is `network: what it does`."""
    return {
        f"{network.name}: {'training step' if train else 'inference'}": partial(_measure, network, train)
        for network in NETWORKS
        for train in (True, False)
    }


def _measure(network: Network, train: bool) -> dict[str, dict[str, Any]]:
    compared = sides(network, train)
    figures: dict[str, dict[str, Any]] = measure.measure(compared, _TOLERANCES[network.dtype], _GRADIENT_TOLERANCE)
    figures["jaxconv"]["profile"] = measure.profile(compared["jaxconv"])
    # A gradient costs what inference does, once for the parameters and once for the activations.
    figures["jaxconv"]["gflop"] = flops(network) * (3 if train else 1) / 1e9
    return figures


def table(results: Results, ceiling: float) -> str:
    """One line a network; above 1 a quotient of times says that jaxconv is the faster one."""
    header = ["network", *(f"{side} ms" for side in SIDES), "flax / ours", "torch / ours", "share"]
    header += ["compile s", "flax compile s", "compile, ours / flax", *(f"{side} MB" for side in SIDES)]
    lines = []
    for name, figures in results.items():
        of = {side: figures.get(side, {}) for side in SIDES}
        ours = of["jaxconv"]
        lines.append(
            [
                name,
                *(figure(of[side].get("ms")) for side in SIDES),
                *(figure(quotient(figures, peer, "jaxconv")) for peer in ("flax", "torch")),
                f"{ours['gflop'] / ours['ms'] * 1e3 / ceiling:.0%}",
                *(figure(of[side].get("compile_s")) for side in ("jaxconv", "flax")),
                figure(quotient(figures, "jaxconv", "flax", "compile_s")),
                *(figure(of[side].get("memory_mb"), 0) for side in SIDES),
            ]
        )
    return measure.markdown(header, lines)


def compilers_table(results: Results) -> str:
    """One line a network that a compiler took; in inference the quotients are over what `jaxconv.fuse` makes."""
    header = ["network", "jaxconv ms", "fused ms", *(f"{name} ms" for name in COMPILERS)]
    header += [f"{name} / ours" for name in COMPILERS]
    lines = []
    for name, figures in results.items():
        if any(peer in figures for peer in COMPILERS):
            ours = "fused" if "fused" in figures else "jaxconv"
            times = [figure(figures.get(side, {}).get("ms")) for side in ("jaxconv", "fused", *COMPILERS)]
            lines.append([name, *times, *(figure(quotient(figures, peer, ours)) for peer in COMPILERS)])
    return measure.markdown(header, lines)


def profile_table(results: Results) -> str:
    """What the time of each of jaxconv's training steps goes into."""
    lines = []
    for name, figures in results.items():
        spent = dict(figures["jaxconv"]["profile"])
        if not name.endswith("training step") or not spent:
            continue
        convolutions = spent.pop("ffi_call", 0)
        longest = sorted(spent, key=lambda kind: -spent[kind])[:4]
        named = ", ".join(f"{kind} {figure(spent[kind])}" for kind in longest)
        lines.append([name, figure(convolutions), figure(sum(spent.values())), named])
    return measure.markdown(["step", "convolutions ms", "all else ms", "the longest of that"], lines)


def main() -> None:
    """Measures and prints the tables."""
    arguments = measure.parser("Times whole networks against their peers.").parse_args()
    where, results = measure.run(rows(), arguments)
    print(table(results, measure.ceiling(where)), compilers_table(results), profile_table(results), sep="\n\n")


if __name__ == "__main__":
    main()
