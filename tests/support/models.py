"""Small models of all kinds that summaries of models are known to get wrong, with inputs and what is true of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

import jaxconv.linen as in_linen
from jaxconv.nnx import BatchNorm2d, Conv1d, Conv2d, Flatten, LazyConv2d, MaxPool2d, Sequential, weight_norm


def rngs():
    return nnx.Rngs(0)


class Shared(nnx.Module):
    """A layer under three names that is called three times, and two layers that are not called."""

    def __init__(self):
        self.a = Conv2d(3, 3, 3, padding=1, rngs=rngs())
        self.b = self.a
        self.c = nnx.List([self.a, nnx.relu])
        self.unused = Conv2d(3, 5, 3, rngs=rngs())
        self.pool = MaxPool2d(2)

    def __call__(self, x):
        x = self.b(self.a(x))
        for layer in self.c:
            x = layer(x)
        return x


class TakesADictionary(nnx.Module):
    def __init__(self):
        self.a = nnx.Linear(4, 5, rngs=rngs())

    def __call__(self, inputs):
        return {"y": self.a(inputs["x"]) + inputs["more"]}


class TwoInputs(nnx.Module):
    def __init__(self):
        self.a = Conv1d(4, 5, 3, rngs=rngs())
        self.b = Conv1d(2, 5, 3, stride=2, rngs=rngs())

    def __call__(self, x, y):
        return self.a(x) + self.b(y)


class Tied(nnx.Module):
    """An embedding that is called, and whose array is multiplied with by a method of another name."""

    def __init__(self):
        self.embed = nnx.Embed(100, 8, rngs=rngs())
        self.inner = nnx.Linear(8, 8, rngs=rngs())

    def __call__(self, tokens):
        return self.embed.attend(self.inner(self.embed(tokens)))


class OtherMethod(nnx.Module):
    """Layers in a module that is not called by `__call__`."""

    class Encoder(nnx.Module):
        def __init__(self):
            self.conv = Conv1d(3, 3, 3, rngs=rngs())

        def encode(self, x):
            return self.conv(x) * 2

    def __init__(self):
        self.encoder = self.Encoder()

    def __call__(self, x):
        return self.encoder.encode(x)


class OwnParameters(nnx.Module):
    """Parameters that belong to no layer: one scales, one is forgotten."""

    def __init__(self):
        self.conv = Conv1d(3, 4, 3, rngs=rngs())
        self.scale = nnx.Param(jnp.ones((4, 1)))
        self.forgotten = nnx.Param(jnp.ones((7,)))

    def __call__(self, x):
        return self.conv(x) * self.scale[...]


class Block(nnx.Module):
    def __init__(self):
        self.conv = Conv2d(3, 3, 3, rngs=rngs())
        self.norm = BatchNorm2d(3)

    def __call__(self, x):
        return nnx.relu(self.norm(self.conv(x)))


class Compiled(nnx.Module):
    """A part that is compiled by itself, called twice."""

    class Part(Block):
        @nnx.jit
        def __call__(self, x):
            return nnx.relu(self.norm(self.conv(x)))

    def __init__(self):
        self.part = self.Part()

    def __call__(self, x):
        return self.part(self.part(x))


class Rematerialised(nnx.Module):
    def __init__(self):
        self.block = Block()

    def __call__(self, x):
        return nnx.remat(lambda block, x: block(x))(self.block, x)


class Scanned(nnx.Module):
    """Five layers as one, whose arrays have an axis for them."""

    def __init__(self):
        @nnx.vmap(in_axes=0, out_axes=0)
        def make(key):
            return Conv2d(3, 3, 3, padding=1, rngs=nnx.Rngs(key))

        self.layers = make(jax.random.split(jax.random.key(0), 5))

    def __call__(self, x):
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def forward(layer, x):
            return nnx.relu(layer(x))

        return forward(self.layers, x)


class Mapped(nnx.Module):
    def __init__(self):
        self.conv = Conv2d(3, 4, 3, rngs=rngs())

    def __call__(self, x):
        return jax.vmap(self.conv)(x)


class Recurrent(nnx.Module):
    def __init__(self):
        self.rnn = nnx.RNN(nnx.LSTMCell(4, 6, rngs=rngs()))
        self.head = nnx.Linear(6, 2, rngs=rngs())

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])


class Attentive(nnx.Module):
    """Patches, and a token that stands for all of them."""

    def __init__(self):
        self.patches = Conv2d(3, 16, 4, stride=4, rngs=rngs())
        self.token = nnx.Param(jnp.zeros((1, 1, 16)))
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs())
        self.head = nnx.Linear(16, 10, rngs=rngs())

    def __call__(self, x):
        x = self.patches(x)
        x = x.reshape(*x.shape[:2], -1).transpose(0, 2, 1)
        x = jnp.concatenate([jnp.broadcast_to(self.token[...], (x.shape[0], 1, 16)), x], axis=1)
        return self.head((x + self.attention(x))[:, 0])


class Random(nnx.Module):
    def __init__(self):
        self.conv = Conv1d(3, 3, 3, rngs=rngs())
        self.dropout = nnx.Dropout(0.5, rngs=rngs())
        self.rngs = rngs()

    def __call__(self, x):
        return self.dropout(self.conv(x)) + self.rngs.normal((1,))


class Branching(nnx.Module):
    def __init__(self):
        self.conv = Conv1d(3, 3, 3, padding=1, rngs=rngs())

    def __call__(self, x):
        x = jax.lax.while_loop(lambda x: x.sum() < 3, lambda x: x + 1, x)
        return jax.lax.cond(x.sum() > 0, self.conv, lambda x: x, x)


class InLinen(nn.Module):
    """Layers made in `setup` and in the call, a list of them, functions, and a flag that has to be given."""

    def setup(self):
        self.stem = in_linen.Sequential(in_linen.Conv2d(3, 8, 3), nn.relu)
        self.blocks = [InLinenBlock() for _ in range(2)]
        self.again = nn.remat(InLinenBlock)()
        self.head = nn.Sequential([nn.Dense(10), nn.relu, nn.Dense(3)])

    def __call__(self, x, train: bool):
        x = self.stem(x)
        for block in (*self.blocks, self.blocks[0]):
            x = block(x)
        return self.head(self.again(x).mean((2, 3)))


class InLinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.relu(in_linen.BatchNorm2d(8)(in_linen.Conv2d(8, 8, 3, padding=1)(x)))
        return x + nn.Dropout(0.1)(y)


class InLinenScanned(nn.Module):
    class Body(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return in_linen.Conv2d(3, 3, 3, padding=1)(x), None

    @nn.compact
    def __call__(self, x):
        scanned = nn.scan(self.Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
        return scanned()(x, None)[0]


class Model(NamedTuple):
    """A model.

    Attributes:
        make: makes it.
        shape: the argument `input_shape`.
        parameters: how many it has.
        products: how many multiply-accumulates it takes, counted by hand.
        rows: names and kinds of its rows.
    """

    make: Any
    shape: Any
    parameters: int
    products: int
    rows: list

    def blank(self):
        """The model without values."""
        is_linen = isinstance(self.make, type) and issubclass(self.make, nn.Module)
        return self.make() if is_linen else nnx.eval_shape(self.make)


def _gate(of_input, of_state, functions):
    """The rows of a gate of an LSTM's cell."""
    return [f"rnn.cell.{of_input} Linear", f"rnn.cell.{of_state} Linear", f"rnn.cell {functions}"]


_CONV = 3 * 3 * 9  # products of a layer of 3 channels at each position
MODELS = {
    "shared": Model(
        Shared,
        (1, 3, 9, 11),
        84 + 140,
        3 * 99 * _CONV,
        ["a Conv2d", "a Conv2d", "a Conv2d", " relu", "pool not called", "unused not called"],
    ),
    "a dictionary": Model(TakesADictionary, {"x": (2, 4), "more": (2, 5)}, 25, 40, ["a Linear", " add"]),
    "two inputs": Model(TwoInputs, [(2, 4, 7), (2, 2, 11)], 100, 900, ["a Conv1d", "b Conv1d", " add"]),
    "tied": Model(
        Tied,
        jax.ShapeDtypeStruct((2, 6), jnp.int32),
        800 + 72,
        12 * 64 + 12 * 800,
        ["embed Embed", "inner Linear", " dot_general"],
    ),
    "another method": Model(OtherMethod, (2, 3, 8), 30, 2 * 6 * 27, ["encoder.conv Conv1d", " mul"]),
    "own parameters": Model(OwnParameters, (2, 3, 8), 40 + 4 + 7, 2 * 6 * 36, ["conv Conv1d", " mul", " not called"]),
    "compiled": Model(
        Compiled,
        (1, 3, 20, 20),
        90,
        (18 * 18 + 16 * 16) * _CONV,
        ["part.conv Conv2d", "part.norm BatchNorm2d", "part relu"] * 2,
    ),
    "rematerialised": Model(
        Rematerialised,
        (1, 3, 20, 20),
        90,
        18 * 18 * _CONV,
        ["block.conv Conv2d", "block.norm BatchNorm2d", "block relu"],
    ),
    "scanned": Model(Scanned, (1, 3, 20, 20), 5 * 84, 5 * 400 * _CONV, ["layers Conv2d", " relu"]),
    "mapped": Model(Mapped, (5, 3, 20, 20), 112, 5 * 324 * 108, ["conv Conv2d"]),
    "recurrent": Model(
        Recurrent,
        (2, 9, 4),
        4 * (24 + 36 + 6) + 14,
        9 * 2 * 4 * (24 + 36) + 24,
        [
            "rnn transpose",
            *_gate("ii", "hi", "add, logistic"),
            *_gate("if_", "hf", "add, logistic"),
            *_gate("ig", "hg", "add, tanh"),
            *_gate("io", "ho", "add, logistic, mul, 1 more"),
            "rnn transpose",
            " slice",
            "head Linear",
        ],
    ),
    "attentive": Model(
        Attentive,
        (2, 3, 16, 24),
        784 + 16 + 4 * 272 + 170,
        2 * 24 * 16 * 48 + 2 * 25 * 4 * 256 + 2 * 2 * 25 * 25 * 16 + 320,
        [
            "patches Conv2d",
            " reshape, transpose, concatenate",
            *(f"attention.{name} LinearGeneral" for name in ("query", "key", "value")),
            "attention reshape, dot_general, mul, 7 more",
            "attention.out LinearGeneral",
            " add, slice",
            "head Linear",
        ],
    ),
    "random": Model(Random, (2, 3, 8), 30, 2 * 6 * 27, ["conv Conv1d", "dropout Dropout", " add"]),
    "branching": Model(Branching, (2, 3, 8), 30, 2 * 8 * 27, [" add, reduce_sum, gt", "conv Conv1d"]),
    "functions": Model(
        lambda: Sequential(
            Conv2d(3, 4, 3, rngs=rngs()),
            nnx.relu,
            lambda x: x.mean((2, 3)),
            jax.nn.silu,
            nnx.Linear(4, 2, rngs=rngs()),
        ),
        (2, 3, 9, 8),
        122,
        2 * 42 * 108 + 16,
        ["0 Conv2d", "1 relu", "2 function", "3 silu", "4 Linear"],
    ),
    "flax": Model(
        lambda: nnx.Sequential(
            nnx.Conv(3, 4, (3, 3), rngs=rngs()),
            nnx.relu,
            nnx.BatchNorm(4, rngs=rngs()),
            lambda x: x.mean((1, 2)),
            nnx.Dropout(0.5, rngs=rngs()),
            nnx.Linear(4, 2, rngs=rngs()),
        ),
        (2, 9, 8, 3),
        112 + 8 + 10,
        2 * 72 * 108 + 16,
        ["0 Conv", "1 relu", "2 BatchNorm", "3 function", "4 Dropout", "5 Linear"],
    ),
    "no parameters": Model(
        lambda: Sequential(MaxPool2d(2), Flatten()), (2, 3, 8, 6), 0, 0, ["0 MaxPool2d", "1 Flatten"]
    ),
    "lazy": Model(lambda: Sequential(LazyConv2d(4, 3, rngs=rngs())), (2, 3, 8, 6), 112, 2 * 24 * 108, ["0 LazyConv2d"]),
    "computed weight": Model(
        lambda: Sequential(weight_norm(Conv1d(3, 4, 3, rngs=rngs()))),
        (2, 3, 8),
        36 + 4 + 4,
        2 * 6 * 36,
        ["0 ParametrizedConv1d"],
    ),
    "one layer": Model(lambda: nnx.Linear(3, 4, rngs=rngs()), (2, 3), 16, 24, [" Linear"]),
    "nothing": Model(Sequential, (2, 3), 0, 0, [" Sequential"]),
    "linen": Model(
        InLinen,
        (1, 3, 12, 11),
        224 + 3 * (584 + 16) + 90 + 33,
        90 * 216 + 4 * 90 * 576 + 80 + 30,
        ["stem.0 Conv2d", "stem relu"]
        + [
            row
            for name in ("blocks.0", "blocks.1", "blocks.0", "again")
            for row in (
                f"{name}.Conv2d_0 Conv2d",
                f"{name}.BatchNorm2d_0 BatchNorm2d",
                f"{name} relu",
                f"{name}.Dropout_0 Dropout",
                f"{name} add",
            )
        ]
        + [" reduce_sum, div", "head.0 Dense", "head relu", "head.2 Dense"],
    ),
    "scanned in linen": Model(InLinenScanned, (1, 3, 9, 8), 4 * 84, 4 * 72 * _CONV, ["ScanBody_0.Conv2d_0 Conv2d"]),
}
