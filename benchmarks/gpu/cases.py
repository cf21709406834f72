"""Calls of every public function, drawn from a seed: shapes, modes, formats, strides, dilations and groups.

Axis lengths differ from one another, so that no pair of axes can change places unseen.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

import jaxconv

SEED = 19
PAD_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
FORMATS = ("channels_first", "channels_last")


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        name: the public function.
        text: its arguments, in words.
        function: the call, of the arrays; a convolution takes keywords beside them.
        arrays: in float64; whoever computes the case rounds them.
        convolves: whether it is a convolution, and takes `preferred_element_type`.
    """

    name: str
    text: str
    function: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    convolves: bool = False


class Draw:
    """Random choices of one case."""

    def __init__(self, seed: Sequence[int], large: bool):
        self.rng, self.large = np.random.default_rng(seed), large

    def one(self, *choices: Any) -> Any:
        """One of these."""
        return choices[self.rng.integers(len(choices))]

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def numbers(self, rank: int, low: int, high: int) -> tuple[int, ...]:
        """One for each axis."""
        return tuple(self.number(low, high) for _ in range(rank))

    def sizes(self, rank: int, low: int = 6) -> tuple[int, ...]:
        """Axis lengths, all different."""
        high = (24 if rank < 3 else 12) if self.large else low + 4
        return tuple(int(n) for n in self.rng.choice(np.arange(low, high), rank, replace=False))

    def batch(self) -> int:
        """A number of images."""
        return self.number(2, 5 if self.large else 3)

    def channels(self) -> int:
        """A number of channels."""
        return self.number(3, 16 if self.large else 5)

    def normal(self, *shape: int) -> np.ndarray:
        """Normal numbers."""
        return self.rng.standard_normal(shape)

    def positive(self, *shape: int) -> np.ndarray:
        """Numbers from 1/2 to 3/2."""
        return self.rng.uniform(0.5, 1.5, shape)


def image(form: str, batch: int, channels: int, size: Sequence[int]) -> tuple[int, ...]:
    """The shape of images in a data format."""
    return (batch, *size, channels) if form == "channels_last" else (batch, channels, *size)


def _convolution(draw: Draw, name: str, rank: int) -> Case:
    transposed, op = "transpose" in name, name.rpartition("_")[2]
    form, per_in, per_out = draw.one(*FORMATS), *(draw.numbers(2, 1, 6 if draw.large else 3))
    groups = draw.one(1, 1, 2, 3, 16 if draw.large else 4)
    if groups > 3:
        per_in, per_out = 1, draw.one(1, 1, 2)
    kernel, stride, dilation = draw.numbers(rank, 1, 4), draw.numbers(rank, 1, 3), draw.numbers(rank, 1, 2)
    size, batch = draw.sizes(rank, 7), draw.batch()
    padding = draw.numbers(rank, 0, 2)
    pair = (groups * per_in, per_out) if transposed else (groups * per_out, per_in)
    x = draw.normal(*image(form, batch, groups * per_in, size))
    w = draw.normal(*pair, *kernel) / math.sqrt(per_in * math.prod(kernel))
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups, "data_format": form}
    if transposed:
        mode = draw.one("zeros", "zeros", "circular")
        padding = tuple(min(p, d * (k - 1)) for p, d, k in zip(padding, dilation, kernel, strict=True))
        options["output_padding"] = tuple(draw.number(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
        if mode == "circular":  # its period is the image: nothing is left over
            options["output_padding"] = (0,) * rank
    else:
        mode = draw.one(*PAD_MODES)
        if draw.one(True, False, False):
            padding = tuple((p, draw.number(0, 2)) for p in padding)
    options |= {"padding": padding, "padding_mode": mode}
    call = getattr(jaxconv, name)
    text = f"x {x.shape}, w {w.shape}, " + ", ".join(f"{key} {value}" for key, value in options.items())
    if op in ("input", "weight"):
        forward = getattr(jaxconv, name.rpartition("_")[0])
        shape = jax.eval_shape(partial(forward, **options), *(jax.ShapeDtypeStruct(a.shape, "float32") for a in (x, w)))
        y = draw.normal(*shape.shape)
        given, arrays = ((x.shape, (w, y)), (w.shape, (x, y)))[op == "weight"]
        if op == "input":
            return Case(name, text, lambda w, y, **more: call(given, w, y, **options, **more), arrays, True)
        return Case(name, text, lambda x, y, **more: call(x, given, y, **options, **more), arrays, True)
    bias = draw.normal(pair[1] * groups if transposed else pair[0])
    return Case(name, text, partial(call, **options), (x, w, bias), True)


def _pool(draw: Draw, name: str, rank: int) -> Case:
    form = draw.one(*FORMATS)
    x = draw.normal(*image(form, draw.batch(), draw.channels(), draw.sizes(rank)))
    call, options = getattr(jaxconv, name), {"data_format": form}
    if name.startswith("adaptive"):
        positional = [draw.numbers(rank, 1, 4)]
    else:
        kernel = draw.numbers(rank, 1, 3)
        stride = draw.numbers(rank, 1, 3)
        positional = [kernel, stride]
        if name.startswith("lp"):
            positional = [2.0, kernel, stride]
        else:
            options["padding"] = tuple(draw.number(0, k // 2) for k in kernel)
        if name.startswith("max"):
            options["dilation"] = draw.numbers(rank, 1, 2)
        options["ceil_mode"] = draw.one(True, False)
        if name.startswith("avg"):
            options["count_include_pad"] = draw.one(True, False)
    text = f"x {x.shape}, {positional}, {options}"
    return Case(name, text, lambda x: call(x, *positional, **options), (x,))


def _unpool(draw: Draw, name: str, rank: int) -> Case:
    x, kernel = draw.normal(draw.batch(), draw.channels(), *draw.sizes(rank)), draw.numbers(rank, 2, 3)
    pool, unpool = getattr(jaxconv, name.replace("unpool", "pool")), getattr(jaxconv, name)

    def call(x):
        maxima, places = pool(x, kernel, return_indices=True)
        return unpool(maxima, places, kernel, output_size=x.shape[2:])

    return Case(name, f"x {x.shape}, {kernel}", call, (x,))


def _batch_statistics(draw: Draw, name: str) -> Case:
    form, rank, channels = draw.one(*FORMATS), draw.number(1, 3), draw.channels()
    x = draw.normal(*image(form, draw.batch(), channels, draw.sizes(rank))) + 2
    per_batch = draw.one(True, False)
    key = "training" if name == "batch_norm" else "use_input_stats"
    call, options = getattr(jaxconv, name), {key: per_batch, "data_format": form}
    arrays = (x, draw.normal(channels), draw.positive(channels), draw.positive(channels), draw.normal(channels))
    return Case(name, f"x {x.shape}, {options}", lambda *arrays: call(*arrays, **options), arrays)


def _group_norm(draw: Draw, name: str) -> Case:
    form, groups = draw.one(*FORMATS), draw.number(1, 3)
    channels = groups * draw.number(1, 4)
    x = draw.normal(*image(form, draw.batch(), channels, draw.sizes(draw.number(1, 3)))) + 2
    call = partial(jaxconv.group_norm, data_format=form)
    arrays = (x, draw.positive(channels), draw.normal(channels))
    return Case(name, f"x {x.shape}, {groups} groups, {form}", lambda x, w, b: call(x, groups, w, b), arrays)


def _last_axes_norm(draw: Draw, name: str) -> Case:
    x = draw.normal(draw.batch(), *draw.sizes(3)) + 2
    normalized = x.shape[-draw.number(1, 2) :]
    call = getattr(jaxconv, name)
    parameters = (draw.positive(*normalized), draw.normal(*normalized))[: 2 if name == "layer_norm" else 1]
    return Case(name, f"x {x.shape}, {normalized}", lambda x, *p: call(x, normalized, *p), (x, *parameters))


def _response(draw: Draw, name: str) -> Case:
    form, size = draw.one(*FORMATS), draw.number(2, 4)
    x = draw.normal(*image(form, draw.batch(), draw.channels() + 2, draw.sizes(2)))
    call = partial(jaxconv.local_response_norm, size=size, alpha=0.1, data_format=form)
    return Case(name, f"x {x.shape}, size {size}, {form}", call, (x,))


def _unfold(draw: Draw, name: str) -> Case:
    kernel, dilation, stride = draw.numbers(2, 1, 3), draw.numbers(2, 1, 2), draw.numbers(2, 1, 3)
    padding, size = draw.numbers(2, 0, 2), draw.sizes(2)
    x = draw.normal(draw.batch(), draw.channels(), *size)
    order = (kernel, dilation, padding, stride)
    text = f"x {x.shape}, {order}"
    if name == "unfold":
        return Case(name, text, lambda x: jaxconv.unfold(x, *order), (x,))
    columns = draw.normal(
        *jax.eval_shape(lambda x: jaxconv.unfold(x, *order), jax.ShapeDtypeStruct(x.shape, "float32")).shape
    )
    return Case(name, text, lambda c: jaxconv.fold(c, size, *order), (columns,))


def _pad(draw: Draw, name: str) -> Case:
    mode, axes = draw.one("constant", "reflect", "replicate", "circular", "symmetric"), draw.number(1, 3)
    x, amounts = draw.normal(draw.batch(), draw.channels(), *draw.sizes(axes)), draw.numbers(2 * axes, 0, 4)
    return Case(name, f"x {x.shape}, {amounts}, {mode}", lambda x: jaxconv.pad(x, amounts, mode), (x,))


def _interpolate(draw: Draw, name: str) -> Case:
    mode = draw.one("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")
    rank = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}.get(mode) or draw.number(1, 3)
    form, options = draw.one(*FORMATS), {}
    if mode in ("linear", "bilinear", "bicubic", "trilinear"):
        options["align_corners"] = draw.one(True, False)
    if mode in ("bilinear", "bicubic"):
        options["antialias"] = draw.one(True, False)
    if draw.one(True, False):
        options["size"] = draw.numbers(rank, 3, 15)
    else:
        options["scale_factor"] = tuple(draw.one(0.5, 1.5, 2.0) for _ in range(rank))
    x = draw.normal(*image(form, draw.batch(), draw.channels(), draw.sizes(rank)))
    call = partial(jaxconv.interpolate, mode=mode, data_format=form, **options)
    return Case(name, f"x {x.shape}, {mode}, {form}, {options}", call, (x,))


def _grid_sample(draw: Draw, name: str) -> Case:
    rank, batch = draw.number(2, 3), draw.batch()
    mode = draw.one("bilinear", "nearest", "bicubic") if rank == 2 else draw.one("bilinear", "nearest")
    options = {"padding_mode": draw.one("zeros", "border", "reflection"), "align_corners": draw.one(True, False)}
    size, out = draw.sizes(rank), draw.sizes(rank)
    x = draw.normal(batch, draw.channels(), *size)
    # The places are far from whole and half positions, where a rounded one would read another pixel.
    places = []
    for n in reversed(size):
        whole, part = draw.rng.integers(-1, n, (batch, *out)), draw.rng.uniform(0.15, 0.35, (batch, *out))
        place = whole + part + 0.5 * draw.rng.integers(0, 2, (batch, *out))
        places.append(2 * place / (n - 1) - 1 if options["align_corners"] else (2 * place + 1) / n - 1)
    call = partial(jaxconv.grid_sample, mode=mode, **options)
    return Case(name, f"x {x.shape}, grid {out}, {mode}, {options}", call, (x, np.stack(places, -1)))


def _affine_grid(draw: Draw, name: str) -> Case:
    rank, batch, corners = draw.number(2, 3), draw.batch(), draw.one(True, False)
    theta, size = draw.normal(batch, rank, rank + 1), (batch, 3, *draw.sizes(rank))
    call = partial(jaxconv.affine_grid, size=size, align_corners=corners)
    return Case(name, f"size {size}, align_corners {corners}", call, (theta,))


def _shuffle(draw: Draw, name: str) -> Case:
    form, r, c = draw.one(*FORMATS), draw.number(2, 3), draw.number(2, 4)
    h, w = draw.sizes(2)
    channels, size = {"pixel_shuffle": (c * r * r, (h, w)), "pixel_unshuffle": (c, (h * r, w * r))}.get(
        name, (c * r, (h, w))
    )
    x, call = draw.normal(*image(form, draw.batch(), channels, size)), getattr(jaxconv, name)
    return Case(name, f"x {x.shape}, {r}, {form}", lambda x: call(x, r, data_format=form), (x,))


def _prelu(draw: Draw, name: str) -> Case:
    form, channels = draw.one(*FORMATS), draw.channels()
    x = draw.normal(*image(form, draw.batch(), channels, draw.sizes(2)))
    call = partial(jaxconv.prelu, data_format=form)
    return Case(name, f"x {x.shape}, {form}", call, (x, draw.normal(channels)))


def _of_rank(family: Callable[..., Case], names: Sequence[str]) -> dict[str, Callable[..., Case]]:
    return {
        f"{name}{rank}d{end}": partial(family, rank=rank)
        for name, _, end in (n.partition("*") for n in names)
        for rank in (1, 2, 3)
    }


FUNCTIONS: dict[str, Callable[..., Case]] = {
    **_of_rank(_convolution, ["conv", "conv_transpose", "conv*_input", "conv*_weight"]),
    **_of_rank(_pool, ["max_pool", "avg_pool", "lp_pool", "adaptive_avg_pool", "adaptive_max_pool"]),
    **_of_rank(_unpool, ["max_unpool"]),
    "batch_norm": _batch_statistics,
    "instance_norm": _batch_statistics,
    "group_norm": _group_norm,
    "layer_norm": _last_axes_norm,
    "rms_norm": _last_axes_norm,
    "local_response_norm": _response,
    "unfold": _unfold,
    "fold": _unfold,
    "pad": _pad,
    "interpolate": _interpolate,
    "grid_sample": _grid_sample,
    "affine_grid": _affine_grid,
    "pixel_shuffle": _shuffle,
    "pixel_unshuffle": _shuffle,
    "channel_shuffle": _shuffle,
    "prelu": _prelu,
}


def draw_case(name: str, turn: int, large: bool) -> Case:
    """The call of a function that a turn of the sample has."""
    index = list(FUNCTIONS).index(name)
    return FUNCTIONS[name](Draw((SEED, turn, index), large), name)
