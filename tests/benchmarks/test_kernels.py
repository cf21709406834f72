"""Candidates that are written with Pallas, without a GPU: their values, and that they are lowered for one."""

import contextlib
import os
import warnings
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, use_abstract_mesh

import jaxconv
from benchmarks.gpu import depthwise, kernels, layer_norm, ops
from jaxconv._lowering import select
from jaxconv._lowering.family import make_problem
from jaxconv._spec.convolution import ConvSpec

pytestmark = pytest.mark.usefixtures("quick_compile")

# Sums are taken in float32 and rounded once, to half a step of the dtype.
ROUNDING = {"float32": 0, "bfloat16": 2**-8, "float16": 2**-11}


def rounded(rng, *shape, dtype="float32"):
    """Normal numbers that `dtype` has."""
    return jnp.asarray(rng.standard_normal(shape), dtype)


def doubles(array):
    return torch.from_numpy(np.asarray(array, np.float64))


def assert_near(got, wanted, dtype, scale=1):
    assert str(got.dtype) == dtype
    wanted = wanted.detach().numpy()
    atol = 3e-6 * max(abs(wanted).max(), 1)
    np.testing.assert_allclose(np.asarray(got, np.float64), wanted, rtol=1.01 * ROUNDING[dtype], atol=scale * atol)


# --- depthwise ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A depthwise convolution of (batch, *size, channels)."""

    shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    dtype: str = "float32"

    @property
    def spec(self):
        return ConvSpec(self.stride, self.pads, self.dilation, self.shape[3], data_format="channels_last")

    def arrays(self, seed=0):
        rng = np.random.default_rng(seed)
        y = (self.shape[0], *self.spec.output_size(self.shape[1:3], self.kernel), self.shape[3])
        shapes = (self.shape, (self.shape[3], 1, *self.kernel), y)
        return [rounded(rng, *shape, dtype=self.dtype) for shape in shapes]

    def problems(self, **facts):
        x, w, y = (a.shape for a in self.arrays())
        given = {"output": (x, w, ()), "input": (w, y, x[1:3]), "weight": (x, y, w[2:])}
        return {op: make_problem(op, self.spec, *g, self.dtype, **facts) for op, g in given.items()}

    def computed(self, x, w, y):
        """Output, input's gradient and weight's gradient by the kernels, which Pallas interprets."""
        problems = self.problems(platform="cpu")
        assert not any(map(depthwise.cannot, problems.values()))
        given = {"output": (x, w), "input": (w, y), "weight": (x, y)}
        return [jax.jit(partial(getattr(depthwise, op), problems[op]))(*given[op]) for op in given]


# More rows and columns than a tile has, phases that differ in their taps, more columns than a step of the weight's
# gradient has, shares of it with a row too many.
CASES = {
    "asymmetric pads": Case((2, 9, 8, 5), (3, 2), (2, 1), ((1, 2), (0, 1))),
    "phases": Case((1, 9, 31, 3), (5, 4), (2, 3), ((2, 1), (3, 0)), dtype="bfloat16"),
    "cropped": Case((2, 9, 11, 3), (3, 2), (2, 1), ((-1, 2), (3, -2))),
    "a kernel beyond the image, in a loop": Case((1, 4, 13, 2), (7, 9), (1, 2), ((5, 4), (4, 5))),
    "channels of two programs": Case((1, 5, 10, 70), (2, 3), (1, 1), ((1, 0), (1, 1))),
    "dilated beside a stride": Case((2, 9, 11, 3), (3, 2), (1, 2), ((1, 2), (2, 2)), (2, 1)),
}
MORE = {
    "float16": Case((2, 12, 9, 3), (3, 3), (1, 2), ((1, 1), (1, 1)), dtype="float16"),
    "positions that no window reads": Case((3, 6, 40, 1), (2, 3), (4, 5), ((0, 0), (1, 1))),
    "one position": Case((1, 1, 1, 4), (1, 1), (3, 2)),
    "31x31": Case((1, 12, 9, 2), (31, 31), (1, 1), ((15, 15), (15, 15))),
    "31x31, stride 2": Case((1, 12, 9, 2), (31, 31), (2, 2), ((15, 15), (15, 15)), dtype="bfloat16"),
}


@pytest.mark.parametrize("name", CASES | (MORE if "JAXCONV_ALL" in os.environ else {}))
def test_a_depthwise_kernel_computes_what_pytorch_does(name, monkeypatch):
    monkeypatch.setattr(depthwise, "_WEIGHT_PROGRAMS", 3)  # so that a share has several rows, and the last one fewer
    case = (CASES | MORE)[name]
    x, w, dy = case.arrays()
    tx, tw = (doubles(a).requires_grad_() for a in (x, w))
    (top, bottom), (left, right) = case.pads
    padded = torch.nn.functional.pad(tx.permute(0, 3, 1, 2), (left, right, top, bottom))
    ty = torch.nn.functional.conv2d(padded, tw, None, case.stride, 0, case.dilation, len(w)).permute(0, 2, 3, 1)
    wanted = [ty, *torch.autograd.grad(ty, (tx, tw), doubles(dy))]
    for got, of_torch in zip(case.computed(x, w, dy), wanted, strict=True):
        assert_near(got, of_torch, case.dtype)


def test_what_no_window_reads_is_not_read():
    case = Case((2, 9, 11, 3), (1, 2), (2, 3))
    x, w, dy = case.arrays()
    unread = np.ones(x.shape, bool)
    for a in range(dy.shape[1]):
        for b in range(dy.shape[2]):
            unread[:, 2 * a, 3 * b : 3 * b + 2] = False
    assert unread.any()
    expected = case.computed(x, w, dy)
    found = case.computed(jnp.where(unread, jnp.nan, x), w, dy)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_kernels_are_a_family_of_the_library(monkeypatch):
    """With an entry of `FAMILIES` they are an algorithm, whose ops are each other's derivatives."""
    table = {**select.FAMILIES, "pallas": depthwise}
    monkeypatch.setattr(select, "FAMILIES", table)
    monkeypatch.setattr(select, "ALGORITHMS", ("auto", *table))
    x, w, _ = Case((2, 7, 9, 3), (3, 2)).arrays()
    b = jnp.arange(3.0)

    def loss(x, w, b, algorithm):
        options = {"stride": (2, 1), "padding": (1, 0), "groups": 3, "data_format": "channels_last"}
        return (jaxconv.conv2d(x, w, b, **options, algorithm=algorithm) ** 2).sum()

    found, wanted = (jax.grad(loss, (0, 1, 2))(x, w, b, name) for name in ("pallas", "xla"))
    for got, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * abs(expected).max())


@pytest.mark.parametrize(
    ("case", "facts", "message"),
    [
        (Case((2, 9, 8, 5), (3, 3)), {"platform": "tpu"}, "the platform is tpu"),
        (Case((2, 9, 8, 5), (3, 3)), {"portable": True}, "not exported"),
        (Case((2, 9, 8, 5), (3, 3)), {"devices": "several"}, "for one device"),
        (Case((2, 9, 8, 5), (3, 3), (2, 1), dilation=(2, 1)), {}, "a stride or a dilation along an axis, not both"),
        (Case((2, 9, 8, 5), (3, 3), dtype="int8"), {}, "the dtype is int8"),
        (Case((0, 9, 8, 5), (3, 3)), {}, "arrays that are not empty"),
        (Case((2, 2, 8, 5), (3, 3)), {}, "arrays that are not empty"),
        (Case((2, 9, 8, 5), (1, 1), (300, 300)), {}, "CUDA takes fewer"),
    ],
)
def test_what_the_kernels_refuse(case, facts, message):
    for problem in case.problems(**facts).values():
        assert message in depthwise.cannot(problem)


def test_positions_that_32_bits_do_not_count_are_refused():
    problem = Case((2, 9, 8, 5), (3, 3)).problems()["output"]
    x_shape, y_shape = (2**13, 2**9 + 2, 2**9, 5), (2**13, 2**9, 2**9, 5)
    assert "in 32 bits" in depthwise.cannot(replace(problem, x_shape=x_shape, y_shape=y_shape))
    assert depthwise.cannot(replace(problem, x_shape=(2**12, *x_shape[1:]), y_shape=(2**12, *y_shape[1:]))) is None


# --- layer norm -----------------------------------------------------------------------------------------------

# Columns that are no power of two, where those beside them would count in a variance; more rows than a block has.
NORMS = [
    ((7, 5), "float32"),
    ((1300, 3), "float32"),
    ((13, 127), "bfloat16"),
    ((2, 3, 33), "float16"),
    ((1, 1), "float32"),
]


@pytest.mark.parametrize(("shape", "dtype"), NORMS)
def test_a_layer_norm_computes_what_pytorch_does(shape, dtype, monkeypatch):
    monkeypatch.setattr(layer_norm, "_SHARES", 2)  # so that a share has several blocks
    rng = np.random.default_rng(0)
    x = rounded(rng, *shape, dtype=dtype) + jnp.asarray(3, dtype)
    c, b, g = (rounded(rng, *s, dtype=dtype) for s in (shape[-1:], shape[-1:], shape))
    assert layer_norm.cannot(x) is None

    @jax.jit
    def step(x, c, b, g):
        y, pull = jax.vjp(partial(layer_norm.layer_norm, eps=1e-3, platform="cpu"), x, c, b)
        return y, *pull(g)

    given = [doubles(a).requires_grad_() for a in (x, c, b)]
    ty = torch.nn.functional.layer_norm(given[0], shape[-1:], given[1], given[2], eps=1e-3)
    for got, wanted in zip(step(x, c, b, g), (ty, *torch.autograd.grad(ty, given, doubles(g))), strict=True):
        # The gradient of x is a small difference where a row has few numbers.
        assert_near(got, wanted, dtype, scale=8 if shape[-1] < 4 else 1)


def test_what_the_layer_norm_refuses():
    assert "nothing empty" in layer_norm.cannot(jnp.zeros((0, 5)))
    assert "nothing empty" in layer_norm.cannot(jnp.zeros((5, 0)))
    assert "the dtype is int32" in layer_norm.cannot(jnp.zeros((5, 3), "int32"))


# --- on a GPU -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def beside_a_gpu():
    """A GPU that is not there, which later versions of JAX want to know; they also deprecate Pallas on Triton."""
    device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    mesh = AbstractMesh((1,), ("d",), (AxisType.Auto,), abstract_device=device)
    with use_abstract_mesh(mesh), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated", DeprecationWarning)
        yield


def lowered(function, *shapes, dtype):
    """The text of a program for CUDA."""
    with beside_a_gpu():
        given = (jax.ShapeDtypeStruct(s, dtype) for s in shapes)
        return jax.jit(function).trace(*given).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("row", kernels.ROWS, ids=lambda r: r.name)
def test_depthwise_kernels_are_lowered_for_a_gpu(row, dtype, monkeypatch):
    """At the sizes that the command has: one kernel of Triton, and no convolution."""
    monkeypatch.setattr(ops, "default_platform", lambda: "cuda")
    r = replace(row, dtype=dtype)
    for index, function in enumerate(kernels.kernels(r)):
        problem = ops.problem(r, index)
        text = lowered(function, problem.x_shape, problem.w_shape, problem.y_shape, dtype=dtype)
        assert text.count("custom_call @__gpu$xla.gpu.triton") == 1
        assert "stablehlo.convolution" not in text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [*kernels.NORMS.values(), (7, 5), (3, 8192)])
def test_a_layer_norm_is_lowered_for_a_gpu(shape, dtype):
    def step(x, c, b, g):
        y, pull = jax.vjp(partial(layer_norm.layer_norm, platform="cuda"), x, c, b)
        return y, pull(g)

    text = lowered(step, shape, shape[1:], shape[1:], shape, dtype=dtype)
    assert text.count("custom_call @__gpu$xla.gpu.triton") == 2
