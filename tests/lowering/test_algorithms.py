"""Every algorithm computes the same: each family of `_lowering` over the table of cases, and how one is chosen."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES, DATA_FORMATS, layout
from closeness import assert_all_close, assert_close
from derivatives import check_derivatives
from jax import export
from problems import three_ops

import jaxconv
from jaxconv import _trilinear
from jaxconv._lowering import family, select, taps, xla
from jaxconv._lowering.family import PLATFORMS, Problem, result_shape
from jaxconv._spec.convolution import ConvSpec

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

# The largest error of each family, relative to the largest number. What computes in float64 is compared in that, so
# that a tolerance of rounding says what a formula is.
TOLERANCES = dict.fromkeys(select.FAMILIES, 1e-12) | {"native": 1.4e-6}
FAMILIES = {name: family for name, family in select.FAMILIES.items() if name != "native"}

# Order-2 checks are run on these: each form of each algorithm, a stride whose phases differ, and a padding mode.
REPRESENTATIVE = (
    "1d_depthwise_multiplier",
    "2d_1x1_stride_pads",
    "2d_dilation_and_stride",
    "2d_groups_everything",
    "2d_depthwise",
    "2d_blocks_groups",
    "2d_reflect",
    "3d_everything",
)


OPS = ("output", "input", "weight", "output with a bias", "input beside a bias", "weight beside a bias", "bias")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_family_is_the_oracle(case):
    """All ops of all families in both formats, with a bias and without one, in one program."""
    arrays = case.arrays("float32")
    x, w, b, y = (a.astype("float64") for a in arrays)
    biased, dx, dw, db = case.oracle(x, w, b, y)
    plain = biased - b.reshape(-1, *(1,) * case.rank)
    ways = [(name, data_format) for name in select.FAMILIES for data_format in DATA_FORMATS]

    @jax.jit
    def compute(given):
        found = {}
        for name, data_format in ways:
            ops = partial(three_ops, select.FAMILIES[name], case.spec(data_format))
            x, w, b, y = given[name, data_format]
            results = zip(OPS, (*ops(x, w, y), *ops(x, w, y, b)), strict=True)
            found |= {f"{op}, {name}, {data_format}": result for op, result in results}
        return found

    given, expected, tolerances = {}, {}, {}
    for name, data_format in ways:
        dtype = "float32" if name == "native" else "float64"
        xf, yf, of_x, plain_y, biased_y = (layout(a, data_format) for a in (x, y, dx, plain, biased))
        given[name, data_format] = tuple(a.astype(dtype) for a in (xf, w, b, yf))
        for op, result in zip(OPS, (plain_y, of_x, dw, biased_y, of_x, dw, db), strict=True):
            expected[f"{op}, {name}, {data_format}"] = result.astype(dtype)
            tolerances[f"{op}, {name}, {data_format}"] = TOLERANCES[name]
    assert_all_close(compute(given), expected, tolerances)


@pytest.mark.parametrize("algorithm", FAMILIES)
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_derivatives_of_second_order(name, algorithm):
    case = next(case for case in CASES if case.name == name)
    x, w, _, _ = case.arrays()
    conv = getattr(jaxconv, f"conv{case.rank}d")
    f = partial(conv, **case.arguments("channels_last"), algorithm=algorithm)
    check_derivatives(f, (layout(x, "channels_last"), w))


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_xla_in_parts_is_the_oracle(monkeypatch, name):
    monkeypatch.setattr(xla, "_MOST_POSITIONS", 3)
    case = next(case for case in CASES if case.name == name)
    x, w, b, y = case.arrays()
    compute = jax.jit(partial(three_ops, xla, case.spec("channels_first")))
    found = dict(zip(OPS[3:], compute(x, w, y, b), strict=True))
    wanted = dict(zip(OPS[3:], case.oracle(x, w, b, y), strict=True))
    assert_all_close(found, wanted, dict.fromkeys(wanted, 1e-12))


def test_the_end_of_a_long_axis_is_computed():
    """Of so many positions XLA's CPU compiler leaves the last ones out."""
    x, w = np.zeros((1, 1, 2**24 + 5), "float32"), np.array([[[3, 5, 7]]], "float32")
    x[..., :3] = x[..., -3:] = [1, 2, 4]
    value = jaxconv.conv1d(x, w, padding=1, algorithm="xla")
    of_input = jaxconv.conv1d_input(x.shape, w, x, padding=1, algorithm="xla")
    for found, ends in ((value, ([19, 41, 26, 12], [7, 19, 41, 26])), (of_input, ([11, 29, 34, 28], [3, 11, 29, 34]))):
        assert found.shape == x.shape
        for part, numbers in zip((found[0, 0, :4], found[0, 0, -4:]), ends, strict=True):
            np.testing.assert_array_equal(part, numbers)


@pytest.mark.parametrize("far", [2**28, 2**31, 2**40])
@pytest.mark.parametrize("which", ["stride", "dilation"])
def test_windows_or_taps_that_lie_far_in_the_padding(which, far):
    """All of these but one miss the image: XLA's compiler leaves the one out, or ends the process."""
    rng = np.random.default_rng(0)
    shapes = ((2, 2, 7), (3, 2, 3), (2, 3, 3 if which == "stride" else 7))
    x, w, y = (rng.integers(-3, 4, shape).astype("float32") for shape in shapes)
    conv = partial(jaxconv.conv1d, padding=far, algorithm="xla", **{which: far})
    value, pull = jax.vjp(conv, x, w)
    dx, dw = pull(y)
    # The window, or the tap, in the middle.
    near_w, near_y = (w, y[..., 1:2]) if which == "stride" else (w[..., 1:2], y)
    wanted, wanted_dx, wanted_dw = np.zeros(y.shape), np.zeros(x.shape), np.zeros(w.shape)
    read = x[..., :3] if which == "stride" else x
    near = reference.conv(read, near_w), reference.conv_input(read.shape, near_w, near_y)
    near_dw = reference.conv_weight(read, near_w.shape, near_y)
    if which == "stride":
        wanted[..., 1:2], wanted_dx[..., :3], wanted_dw[:] = *near, near_dw
    else:
        wanted[:], wanted_dx[:], wanted_dw[..., 1:2] = *near, near_dw
    for found, expected in ((value, wanted), (dx, wanted_dx), (dw, wanted_dw)):
        np.testing.assert_array_equal(found, expected)


# Size, kernel, stride, padding, dilation of each axis, and which taps are at the image for some output.
OUTLYING = (
    ((7, 5), (3, 3), (1, 1), (9, 1), (9, 1), (slice(1, 2), slice(0, 3))),
    ((7, 5), (5, 2), (2, 3), (16, 6), (6, 4), (slice(1, 4), slice(0, 2))),
    ((4, 6), (4, 5), (1, 2), (25, 40), (12, 17), (slice(1, 3), slice(1, 4))),
    ((6, 3), (3, 4), (3, 1), (13, 8), (8, 5), (slice(0, 3), slice(1, 3))),
)


@pytest.mark.parametrize("algorithm", ["auto", *FAMILIES])
@pytest.mark.parametrize("case", OUTLYING)
def test_taps_that_are_in_the_padding_for_every_output_are_not_computed(case, algorithm):
    size, kernel, stride, padding, dilation, taps = case
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, *size)), rng.standard_normal((6, 2, *kernel))
    geometry = {"stride": stride, "dilation": dilation, "groups": 2}
    conv = partial(jaxconv.conv2d, padding=padding, algorithm=algorithm, **geometry)
    of_all = {**geometry, "pads": tuple((p, p) for p in padding)}
    y = rng.standard_normal(reference.conv(x, w, **of_all).shape)

    def three(x, w, y):
        value, pull = jax.vjp(conv, x, w)
        dx = jaxconv.conv2d_input(x.shape, w, y, padding=padding, algorithm=algorithm, **geometry)
        dw = jaxconv.conv2d_weight(x, w.shape, y, padding=padding, algorithm=algorithm, **geometry)
        return value, dx, dw, *pull(y)

    wanted = [reference.conv(x, w, **of_all), reference.conv_input(x.shape, w, y, **of_all)]
    wanted.append(reference.conv_weight(x, w.shape, y, **of_all))
    for found, expected in zip(jax.jit(three)(x, w, y), (*wanted, *wanted[1:]), strict=True):
        np.testing.assert_allclose(found, expected, 1e-12, 1e-12)
    # And by none of them is another tap multiplied.
    at_image = np.zeros(w.shape, bool)
    at_image[(..., *taps)] = True
    assert np.isfinite(conv(x, np.where(at_image, w, np.nan))).all()
    assert not wanted[2][~at_image].any()


def test_a_kernel_that_reaches_beyond_its_image_has_the_steps_of_what_is_read():
    """The work of a call does not grow with its dilation, as it did with the square."""
    (x, w), far = (np.ones(shape, "float32") for shape in ((1, 2, 8, 9), (3, 2, 3, 3))), 2**11
    spec, options = ConvSpec((1, 1), ((far, far),) * 2, (far, far)), _trilinear.Options(None, None, "auto")
    program = jax.make_jaxpr(lambda x, w: _trilinear.output(x, w, None, spec, options))(x, w)
    (eqn,) = [eqn for eqn in program.eqns if "spec" in eqn.params]
    assert eqn.params["spec"] == ConvSpec((1, 1), ((0, 0), (0, 0)), (1, 1))
    assert eqn.invars[1].aval.shape == (3, 2, 1, 1)


# Size of x, kernel, stride, pads, dilation, groups: of more than 8 phases, none of whose stamps meets another.
APART = (
    ((29,), (3,), (9,), ((1, 2),), (1,), 1),
    ((13, 11), (3, 2), (3, 5), ((0, 1), (2, 0)), (1, 1), 2),
    ((11, 17), (1, 4), (2, 5), ((1, 1), (0, 3)), (7, 1), 1),
    ((7, 6, 9), (2, 1, 3), (3, 2, 4), ((1, 0), (0, 0), (1, 1)), (1, 1, 1), 2),
)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("case", APART)
def test_stamps_with_room_between_are_one_product_by_native(case, data_format):
    size, kernel, stride, pads, dilation, groups = case
    rank, rng = len(size), np.random.default_rng(0)
    x_shape, w = (2, 3 * groups, *size), rng.standard_normal((2 * groups, 3, *kernel)).astype("float32")
    geometry = {"stride": stride, "dilation": dilation, "groups": groups}
    y_shape = reference.conv(np.zeros(x_shape), w, pads=pads, **geometry).shape
    y = rng.standard_normal(y_shape).astype("float32")
    wanted = reference.conv_input(x_shape, w.astype("float64"), y.astype("float64"), pads=pads, **geometry)
    run = partial(
        getattr(jaxconv, f"conv{rank}d_input"),
        layout(np.zeros(x_shape), data_format).shape,
        padding=pads,
        data_format=data_format,
        algorithm="native",
        **geometry,
    )
    given = w, layout(y, data_format)
    assert_close(run(*given), layout(wanted, data_format).astype("float32"), TOLERANCES["native"])
    # The kernels' pass over the phases is not taken: what they are called for is a convolution.
    program = jax.jit(run).lower(*given).as_text()
    assert "jaxconv_output" in program
    assert "jaxconv_input" not in program


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex128", "int32"])
@pytest.mark.parametrize("algorithm", FAMILIES)
def test_other_dtypes(algorithm, dtype):
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.integers(-3, 4, shape), dtype) for shape in ((2, 6, 7, 5), (9, 2, 3, 2)))
    if dtype == "complex128":
        x, w = x * (1 + 2j), w * (3 - 1j)
    y = jaxconv.conv2d(x, w, stride=2, padding=1, groups=3, algorithm=algorithm)
    wide = "complex128" if dtype == "complex128" else "float64"
    expected = jaxconv.conv2d(x.astype(wide), w.astype(wide), stride=2, padding=1, groups=3, algorithm="xla")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(wide), expected)  # small whole numbers are exact in all of them


# --- the choice ---------------------------------------------------------------------------------------------


def spec_of(rank=2, groups=1, data_format="channels_last"):
    return ConvSpec((1,) * rank, ((1, 1),) * rank, (1,) * rank, groups, "zeros", data_format)


def problem(op, spec, x_shape, w_shape, dtype="float32", platform="cpu", **facts):
    y_shape = result_shape("output", x_shape, w_shape, spec, None)
    return Problem(op, spec, x_shape, w_shape, y_shape, np.dtype(dtype), platform=platform, **facts)


def test_only_cpus_take_another_algorithm_than_xlas():
    call = (spec_of(groups=96), (8, 56, 56, 96), (96, 1, 3, 3))
    for op in ("output", "input", "weight"):
        assert select.choose(problem(op, *call))[0] == "native"
        assert select.choose(problem(op, *call, "float64"))[0] == "taps"
        for platform in ("cuda", "rocm", "tpu"):
            algorithm, reason = select.choose(problem(op, *call, platform=platform))
            assert algorithm == "xla"
            assert "no measurement on this platform" in reason


def test_what_was_measured_elsewhere_is_a_line_of_a_table(monkeypatch):
    call = (spec_of(groups=96), (8, 56, 56, 96), (96, 1, 3, 3))
    monkeypatch.setattr(select, "MEASURED", {("cuda", "depthwise", "output", "float32"): "taps"})
    algorithm, reason = select.choose(problem("output", *call, platform="cuda"))
    assert algorithm == "taps"
    assert reason.startswith("depthwise, float32: measured on this platform to be faster")
    others = [
        problem("input", *call, platform="cuda"),
        problem("output", *call, "bfloat16", platform="cuda"),
        problem("output", *call, platform="tpu"),
        problem("output", spec_of(groups=96, data_format="channels_first"), (8, 96, 56, 56), call[2], platform="cuda"),
    ]
    assert {select.choose(other)[0] for other in others} == {"xla"}
    x, w = (jax.ShapeDtypeStruct(s, "float32") for s in call[1:])
    conv = jax.jit(partial(jaxconv.conv2d, padding=1, groups=96, data_format="channels_last"))
    texts = {p: conv.trace(x, w).lower(lowering_platforms=(p,)).as_text() for p in ("cuda", "tpu")}
    assert "stablehlo.convolution" in texts["tpu"]
    assert "stablehlo.convolution" not in texts["cuda"]
    monkeypatch.setattr(taps, "cannot", lambda problem: "it is a test")
    assert select.choose(problem("output", *call, platform="cuda"))[0] == "xla"


@pytest.mark.parametrize(
    ("name", "groups", "w_shape", "stride", "data_format"),
    [
        ("depthwise", 12, (12, 1, 11, 11), 2, "channels_last"),
        ("depthwise, large kernel", 12, (12, 1, 11, 13), 1, "channels_last"),
        ("small groups", 12, (24, 1, 3, 3), 1, "channels_last"),
        ("small groups", 3, (6, 4, 1, 1), 1, "channels_last"),
        ("groups", 4, (8, 9, 3, 3), 2, "channels_last"),
        ("1x1", 1, (5, 12, 1, 1), 2, "channels_last"),
        ("strided", 1, (5, 12, 3, 3), 2, "channels_last"),
        ("dense", 1, (5, 12, 3, 3), 1, "channels_last"),
        ("dense, 2-D channels_first", 1, (5, 12, 3, 3), 1, "channels_first"),
        ("depthwise, 1-D channels_last", 12, (12, 1, 3), 1, "channels_last"),
    ],
)
def test_the_kinds_of_layers(name, groups, w_shape, stride, data_format):
    rank = len(w_shape) - 2
    spec = replace(spec_of(rank, groups, data_format), strides=(stride,) * rank)
    x_shape = spec.image_shape(2, groups * w_shape[1], (40,) * rank)
    assert select.kind(problem("weight", spec, x_shape, w_shape)) == name


def test_the_platform_of_programs(monkeypatch):
    assert family.default_platform() == jax.default_backend()
    for version, name in (("PJRT C API\ncuda 12090", "cuda"), ("PJRT C API\nrocm 70000", "rocm")):
        backend = SimpleNamespace(platform="gpu", platform_version=version)
        monkeypatch.setattr(jax.extend.backend, "get_backend", lambda backend=backend: backend)
        assert family.default_platform() == name


def test_reasons_are_words():
    call = (spec_of(), (8, 56, 56, 64), (64, 64, 3, 3))
    dense = select.choose(problem("output", *call))
    anywhere = select.choose(problem("output", *call, portable=True))
    few = select.choose(problem("weight", spec_of(groups=32), (8, 56, 56, 128), (128, 4, 3, 3), "float64"))
    assert dense[0] == "native"
    assert "compiled kernels" in dense[1]
    assert anywhere[0] == "xla"
    assert few[0] == "taps"
    assert "4 channels in each of 32 groups" in few[1]


def test_algorithms_can_be_asked_for():
    assert set(jaxconv.algorithms()) == set(select.FAMILIES)
    assert set(select.ALGORITHMS) == {"auto", *select.FAMILIES}


class Toy:
    """A family that computes as XLA's does, and says that it was asked."""

    WITHOUT_PRIMITIVE = False

    def __init__(self):
        self.asked = []

    def missing(self):
        return None

    def cannot(self, problem):
        return "toy has two spatial axes" if problem.spec.rank != 2 else None

    def output(self, problem, x, w, b=None):
        self.asked.append(problem)
        return xla.output(problem, x, w, b)

    def input(self, problem, w, y):
        self.asked.append(problem)
        return xla.input(problem, w, y)

    def weight(self, problem, x, y):
        self.asked.append(problem)
        return xla.weight(problem, x, y)


def test_a_new_family_is_an_entry_of_the_table(monkeypatch):
    """A file that implements `Family` and a line in `FAMILIES` are all there is to it."""
    toy = Toy()
    table = {**select.FAMILIES, "toy": toy}
    monkeypatch.setattr(select, "FAMILIES", table)
    monkeypatch.setattr(select, "ALGORITHMS", ("auto", *table))
    assert select.algorithms()["toy"] == "available"
    x, w, b, _ = next(case for case in CASES if case.name == "2d_reflect").arrays()
    arguments = next(case for case in CASES if case.name == "2d_reflect").arguments()

    def loss(x, w, b, algorithm):
        return (jaxconv.conv2d(x, w, b, **arguments, algorithm=algorithm) ** 2).sum()

    found = jax.grad(loss, (0, 1, 2))(x, w, b, "toy")
    assert {(p.op, p.bias, p.platform, p.portable) for p in toy.asked} == {
        ("output", True, "cpu", False),
        ("input", False, "cpu", False),
        ("weight", True, "cpu", False),
    }
    for a, e in zip(found, jax.grad(loss, (0, 1, 2))(x, w, b, "xla"), strict=True):
        assert_close(a, e)
    with pytest.raises(ValueError, match="algorithm='toy' cannot serve this call: toy has two spatial axes"):
        jaxconv.conv1d(jnp.ones((2, 3, 7)), jnp.ones((5, 3, 2)), algorithm="toy")


def test_each_platform_has_a_lowering_of_its_own():
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "choose", lambda problem: (asked.append(problem.platform), ("xla", "a test"))[1])
        f = jax.jit(lambda x, w: jaxconv.conv1d(x, w))
        arguments = jax.ShapeDtypeStruct((2, 3, 7), jnp.float32), jax.ShapeDtypeStruct((5, 3, 2), jnp.float32)
        f.trace(*arguments).lower(lowering_platforms=PLATFORMS)
    assert sorted(asked) == sorted(PLATFORMS)


def test_an_algorithm_that_cannot_serve_says_why():
    batch, height = export.symbolic_shape("b, h", constraints=["h >= 3"])
    f = jax.jit(lambda x, w: jaxconv.conv2d(x, w, algorithm="taps"))
    image = jax.ShapeDtypeStruct((batch, 4, height, 7), jnp.float32)
    with pytest.raises(ValueError, match=r"algorithm='taps' cannot serve this call: .* symbolic size; use .*'auto'"):
        export.export(f)(image, jax.ShapeDtypeStruct((6, 4, 3, 3), jnp.float32))


@pytest.mark.parametrize("groups", [1, 8])
def test_a_batch_split_over_devices_stays_split(groups):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    x = jax.ShapeDtypeStruct((16, 9, 10, 8), jnp.float32, sharding=split)
    w = jax.ShapeDtypeStruct((8, 8 // groups, 3, 3), jnp.float32, sharding=whole)

    @jax.jit
    def step(x, w):
        y, transpose = jax.vjp(
            lambda x, w: jaxconv.conv2d(x, w, None, 1, 1, 1, groups, data_format="channels_last"), x, w
        )
        return y, *transpose(y)

    compiled = step.lower(x, w).compile()
    assert "all-gather" not in compiled.as_text()
    y, dx, _ = compiled.output_shardings
    for sharding in (y, dx):
        assert sharding.shard_shape((16, 9, 10, 8))[0] == 2


@pytest.mark.parametrize("groups", [1, 8])
def test_a_weight_split_over_devices_gathers_nothing(groups):
    """Output channels split over four devices, the batch over two: sums cross them, images and weights do not."""
    mesh = jax.make_mesh((2, 4), ("batch", "channels"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def split(*axes):
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))

    x = jax.ShapeDtypeStruct((16, 9, 10, 8), jnp.float32, sharding=split("batch"))
    w = jax.ShapeDtypeStruct((16, 8 // groups, 3, 3), jnp.float32, sharding=split("channels"))

    @jax.jit
    def step(x, w):
        y, transpose = jax.vjp(
            lambda x, w: jaxconv.conv2d(x, w, None, 1, 1, 1, groups, data_format="channels_last"), x, w
        )
        return y, *transpose(y)

    compiled = step.lower(x, w).compile()
    program = compiled.as_text()
    assert "all-gather" not in program
    assert "all-to-all" not in program
    y, dx, _ = compiled.output_shardings
    assert y.shard_shape((16, 9, 10, 16)) == (8, 9, 10, 4)
    assert dx.shard_shape((16, 9, 10, 8))[0] == 8


def test_an_exported_program_holds_nothing_of_ours():
    f = jax.jit(lambda x, w: jaxconv.conv2d(x, w, groups=4, data_format="channels_last"))
    arguments = (jax.ShapeDtypeStruct((2, 7, 5, 4), jnp.float32), jax.ShapeDtypeStruct((4, 1, 3, 3), jnp.float32))
    text = export.export(f, platforms=("cpu", "cuda", "rocm", "tpu"))(*arguments).mlir_module()
    assert "custom_call" not in text.replace("custom_call @Sharding", "")


@pytest.mark.parametrize("algorithm", select.FAMILIES)
@pytest.mark.parametrize(("groups", "per_in", "per_out"), [(4, 1, 1), (4, 1, 3), (2, 7, 9), (8, 5, 3), (3, 17, 33)])
def test_what_is_not_finite_stays_in_its_group(algorithm, groups, per_in, per_out):
    rng = np.random.default_rng(groups)
    x = rng.standard_normal((2, groups * per_in, 7, 5)).astype("float32")
    w = rng.standard_normal((groups * per_out, per_in, 3, 2)).astype("float32")
    y = rng.standard_normal((2, groups * per_out, 5, 4)).astype("float32")
    apart = {"x": (1, per_in), "w": (0, per_out), "y": (1, per_out)}

    @jax.jit
    def ops(x, w, y):
        value, vjp = jax.vjp(lambda x, w: jaxconv.conv2d(x, w, groups=groups, algorithm=algorithm), x, w)
        of_x, of_w = vjp(y)
        return {"y": value, "x": of_x, "w": of_w}

    for which, number in (("x", np.inf), ("w", np.nan), ("y", -np.inf)):
        arrays = {"x": x.copy(), "w": w.copy(), "y": y.copy()}
        arrays[which][:1, :1] = number  # of the first group
        for name, result in ops(**arrays).items():
            if (algorithm, which, name) == ("xla", "y", "w"):  # XLA's own on a CPU: docs/differences.md
                continue
            axis, first = apart[name]
            others = np.moveaxis(np.asarray(result), axis, 0)[first:]
            assert np.isfinite(others).all(), f"{number} in {which} is in {name} of another group"
            assert not np.isfinite(result).all() or name == which


@pytest.mark.parametrize("stride", [2**31, 2**40, 2**62])
def test_a_stride_beyond_32_bits_is_computed_or_refused_in_words(stride):
    x, w = np.arange(1.0, 49).reshape(1, 4, 12), np.ones((4, 4, 3))

    def gradients(algorithm):
        return jax.vjp(lambda x, w: jaxconv.conv1d(x, w, stride=stride, algorithm=algorithm), x, w)[1](
            np.ones((1, 4, 1))
        )

    with pytest.raises(ValueError, match="algorithm='taps' cannot serve this call: taps counts positions in 32 bits"):
        gradients("taps")
    for algorithm in ("auto", "xla"):
        of_x, of_w = gradients(algorithm)
        np.testing.assert_array_equal(of_x, np.where(np.arange(12) < 3, 4.0, 0) * np.ones((1, 4, 1)))
        np.testing.assert_array_equal(of_w, np.broadcast_to(x[:, :, :3], (4, 4, 3)))


def test_a_stride_of_many_phases():
    x, w = jnp.ones((1, 2, 1001)), jnp.ones((2, 2, 3))

    def gradient(algorithm):
        return jax.grad(lambda x: jaxconv.conv1d(x, w, stride=257, algorithm=algorithm).sum())(x)

    with pytest.raises(
        ValueError, match=r"taps makes a convolution for each phase of stride \(257,\), and for at most 256"
    ):
        gradient("taps")
    np.testing.assert_array_equal(gradient("auto"), gradient("xla"))
