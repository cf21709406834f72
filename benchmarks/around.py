"""What stands around a convolution: its bias, the norm and the pool after it, and the cost of calls not compiled.

    python -m benchmarks.around [--only TEXT ...] [--json FILE]

Pools, norms and layers with a bias are timed in a compiled step of output and gradients, as in `benchmarks.layers`. An
eager call is one that Python makes by itself, outside any `jax.jit`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv
import jaxconv.nnx
from benchmarks import measure
from benchmarks.layers import step
from benchmarks.measure import Results, Side, figure, quotient, torch

# Images (N, H, W, C), window, stride, padding.
POOLS = {
    "max-pool 2x2, 64, 56x56": ((8, 56, 56, 64), 2, 2, 0),
    "max-pool 2x2, 16, 28x28": ((64, 28, 28, 16), 2, 2, 0),
    "max-pool 3x3 stride 2, 64, 112x112": ((8, 112, 112, 64), 3, 2, 1),
    "max-pool 3x3 stride 1, 32, 28x28": ((16, 28, 28, 32), 3, 1, 1),
}
# Images, and what of them is normalised.
NORMS = {
    "batch norm, 64, 56x56": ((8, 56, 56, 64), "batch"),
    "batch norm, 256, 14x14": ((8, 14, 14, 256), "batch"),
    "batch norm, 32, 112x112": ((16, 112, 112, 32), "batch"),
    "batch norm, 960, 7x7": ((32, 7, 7, 960), "batch"),
    "group norm, 32 groups of 4, 28x28": ((16, 28, 28, 128), "group"),
    "layer norm, 384, 14x14": ((16, 14, 14, 384), "layer"),
}
GROUPS = 32
# Images, output channels, kernel, groups.
LAYERS = {
    "3x3, 16-32, 28x28": ((64, 28, 28, 16), 32, 3, 1),
    "1x1, 64-256, 28x28": ((8, 28, 28, 64), 256, 1, 1),
    "depthwise 7x7, 96, 28x28": ((8, 28, 28, 96), 96, 7, 96),
}
CALLS = 100  # eager calls of one run


def random(*shape: int) -> jax.Array:
    """An array of normal numbers, which are the same for the same shape."""
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def pool_sides(shape: Sequence[int], window: int, stride: int, padding: int) -> dict[str, Side]:
    """The largest of each window, and its gradient."""
    x = random(*shape)
    sizes, pads = (window, window), ((padding, padding),) * 2
    functions = {
        "jaxconv": lambda x: jaxconv.max_pool2d(x, window, stride, padding, data_format="channels_last"),
        "flax": lambda x: nnx.max_pool(x, sizes, (stride, stride), pads),
    }
    dy = random(*jax.eval_shape(functions["flax"], x).shape)

    def of(function):
        def run(x, dy):
            y, transpose = jax.vjp(function, x)
            return y, *transpose(dy)

        return measure.compiled(run, x, dy)

    made = {name: of(function) for name, function in functions.items()}
    if torch is not None:
        measure.set_up_torch()
        tx, ty = torch_images(x).requires_grad_(), torch_images(dy)

        def run():
            y = torch.nn.functional.max_pool2d(tx, window, stride, padding)
            return measure.finish_torch((y, *torch.autograd.grad(y, tx, ty)))

        made["torch"] = Side(run, lambda results: [torch_read(a) for a in results])
    return made


def norm_sides(shape: Sequence[int], kind: str) -> dict[str, Side]:
    """Images with their mean and variance taken out, in training: the output, and all gradients."""
    channels = shape[-1]
    # A gradient that is not the images: that of a norm is zero where the two are alike.
    x, dy, weights = random(*shape) + 2, random(*shape)[::-1], [random(channels), random(1, channels)[0]]

    def with_ours(x, weights):
        if kind == "batch":
            return jaxconv.batch_norm(x, None, None, *weights, training=True, data_format="channels_last")[0]
        if kind == "group":
            return jaxconv.group_norm(x, GROUPS, *weights, data_format="channels_last")
        return jaxconv.layer_norm(x, channels, *weights)

    options = {"epsilon": 1e-5, "rngs": nnx.Rngs(0)}
    layer = {
        "batch": lambda: nnx.BatchNorm(channels, **options),
        "group": lambda: nnx.GroupNorm(channels, GROUPS, **options),
        "layer": lambda: nnx.LayerNorm(channels, **options),
    }[kind]()
    graph, _, rest = nnx.split(layer, nnx.Param, ...)

    def with_flax(x, weights):
        state = nnx.State({name: nnx.Param(a) for name, a in zip(("scale", "bias"), weights, strict=True)})
        return nnx.merge(graph, state, rest, copy=True)(x)

    made = {
        name: measure.compiled(partial(step, function), x, weights, dy, read=jax.tree.leaves)
        for name, function in (("jaxconv", with_ours), ("flax", with_flax))
    }
    if torch is not None:
        measure.set_up_torch()
        tx, ty = torch_images(x).requires_grad_(), torch_images(dy)
        given = [torch.from_numpy(np.array(a)).to(measure.torch_device()).requires_grad_() for a in weights]

        def normalised():
            if kind == "batch":
                return torch.nn.functional.batch_norm(tx, None, None, *given, training=True)
            if kind == "group":
                return torch.nn.functional.group_norm(tx, GROUPS, *given)
            return torch.nn.functional.layer_norm(tx.permute(0, 2, 3, 1), (channels,), *given).permute(0, 3, 1, 2)

        def run():
            y = normalised()
            return measure.finish_torch((y, *torch.autograd.grad(y, (tx, *given), ty)))

        def read(results):
            y, dx, *gradients = results
            return [torch_read(y), torch_read(dx), *(a.cpu().numpy() for a in gradients)]

        made["torch"] = Side(run, read)
    return made


def layer_sides(shape: Sequence[int], out: int, kernel: int, groups: int, bias: bool) -> dict[str, Side]:
    """A layer with its bias or without one: the output and all gradients."""
    x, dy = random(*shape), random(*shape[:-1], out)
    weights = [random(out, shape[-1] // groups, kernel, kernel) / kernel, *[random(out)] * bias]
    layer = nnx.Conv(
        shape[-1],
        out,
        (kernel, kernel),
        padding=kernel // 2,
        feature_group_count=groups,
        use_bias=bias,
        rngs=nnx.Rngs(0),
    )
    graph, _ = nnx.split(layer)

    def with_flax(x, weights):
        given = [weights[0].transpose(2, 3, 1, 0), *weights[1:]]
        state = {name: nnx.Param(a) for name, a in zip(("kernel", "bias"), given, strict=False)}
        return nnx.merge(graph, nnx.State(state))(x)

    def with_ours(x, weights):
        return jaxconv.conv2d(x, *weights, padding=kernel // 2, groups=groups, data_format="channels_last")

    made = {
        name: measure.compiled(partial(step, function), x, weights, dy, read=jax.tree.leaves)
        for name, function in (("jaxconv", with_ours), ("flax", with_flax))
    }
    if torch is not None:
        measure.set_up_torch()
        tx, ty = torch_images(x).requires_grad_(), torch_images(dy)
        tw, *tb = (torch.from_numpy(np.array(a)).to(measure.torch_device()) for a in weights)
        given = [tw.contiguous(memory_format=torch.channels_last), *tb]
        for a in given:
            a.requires_grad_()

        def run():
            y = torch.nn.functional.conv2d(tx, *given, padding=kernel // 2, groups=groups)
            return measure.finish_torch((y, *torch.autograd.grad(y, (tx, *given), ty)))

        def read(results):
            y, dx, *gradients = results
            return [torch_read(y), torch_read(dx), *(a.cpu().numpy() for a in gradients)]

        made["torch"] = Side(run, read)
    return made


def torch_images(x: jax.Array) -> Any:
    """Images in PyTorch, channels last in memory."""
    return torch.from_numpy(np.array(x)).to(measure.torch_device()).permute(0, 3, 1, 2)


def torch_read(a: Any) -> np.ndarray:
    """The reverse."""
    return a.detach().cpu().numpy().transpose(0, 2, 3, 1)


EAGER = ("Conv2d(4, 8, 3), a layer", "conv2d, a function", "max_pool2d, a function")


def eager_sides(name: str) -> dict[str, Side]:
    """A small layer called many times, so small that what Python does is most of the time."""
    x, w = random(1, 8, 8, 4), random(8, 4, 3, 3)
    kernel = w.transpose(2, 3, 1, 0)
    ours = jaxconv.nnx.Conv2d(4, 8, 3, padding=1, data_format="channels_last", rngs=nnx.Rngs(0))
    flax = nnx.Conv(4, 8, (3, 3), padding=1, rngs=nnx.Rngs(0))
    ours.weight[...], flax.kernel[...], ours.bias[...] = w, kernel, flax.bias[...]
    layouts = ("NHWC", "HWIO", "NHWC")
    calls = {
        EAGER[0]: (lambda: ours(x), lambda: flax(x)),
        EAGER[1]: (
            lambda: jaxconv.conv2d(x, w, padding=1, data_format="channels_last"),
            lambda: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layouts),
        ),
        EAGER[2]: (
            lambda: jaxconv.max_pool2d(x, 2, data_format="channels_last"),
            lambda: nnx.max_pool(x, (2, 2), (2, 2)),
        ),
    }

    def repeated(call: Callable[[], jax.Array]) -> Side:
        def run():
            for _ in range(CALLS):
                y = call()
            return jax.block_until_ready(y)

        return Side(run, lambda y: [y])

    return {side: repeated(call) for side, call in zip(("jaxconv", "flax"), calls[name], strict=True)}


# ---------------------------------------------------------------------------------------------------------------
# The tables
# ---------------------------------------------------------------------------------------------------------------


def rows() -> dict[str, Callable[[], dict]]:
    """What measures each pool, layer and eager call."""
    makers = {name: partial(pool_sides, *numbers) for name, numbers in POOLS.items()}
    makers |= {name: partial(norm_sides, *numbers) for name, numbers in NORMS.items()}
    for name, numbers in LAYERS.items():
        for bias in (True, False):
            makers[f"{name}, {'with' if bias else 'without'} bias"] = partial(layer_sides, *numbers, bias)
    makers |= {f"eager {name}": partial(eager_sides, name) for name in EAGER}
    return {name: partial(_measure, make, CALLS if name.startswith("eager ") else 1) for name, make in makers.items()}


def _measure(make: Callable[[], dict[str, Side]], calls: int) -> dict[str, dict[str, float | None]]:
    figures = measure.measure(make(), 1e-4)
    for side in figures.values():
        side["ms"] /= calls
    return figures


def table(results: Results) -> str:
    """One line a row; above 1 a quotient says that jaxconv is the faster one."""
    columns = ("jaxconv", "flax", "torch")
    lines = []
    for name, figures in results.items():
        if not name.startswith("eager "):
            of = [figures.get(side, {}) for side in columns]
            ratios = [figure(quotient(figures, peer, "jaxconv")) for peer in ("flax", "torch")]
            memory = [figure(f.get("memory_mb"), 1) for f in of]
            lines.append([name, *(figure(f.get("ms")) for f in of), *ratios, *memory])
    header = ["step", *(f"{side} ms" for side in columns), "flax / ours", "torch / ours"]
    return measure.markdown([*header, *(f"{side} MB" for side in columns)], lines)


def eager_table(results: Results) -> str:
    """One line a call, in microseconds."""
    lines = []
    for name, figures in results.items():
        if name.startswith("eager "):
            us = [figure(1e3 * figures[side]["ms"], 1) for side in ("jaxconv", "flax")]
            lines.append([name.removeprefix("eager "), *us, figure(quotient(figures, "flax", "jaxconv"))])
    return measure.markdown(["eager call", "jaxconv us", "flax us", "flax / ours"], lines)


def main() -> None:
    """Measures and prints the tables."""
    arguments = measure.parser("Times what stands around a convolution against its peers.").parse_args()
    _, results = measure.run(rows(), arguments)
    print(f"{table(results)}\n\n{eager_table(results)}")


if __name__ == "__main__":
    main()
