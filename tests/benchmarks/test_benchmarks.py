"""The benchmarks' own arithmetic: what they refuse to time, what they count, and the page that they write."""

import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

pytest.importorskip("equinox", reason="the benchmarks need their extra")
pytest.importorskip("optax", reason="the benchmarks need their extra")

import jaxconv
from benchmarks import __main__, layers, measure, networks
from benchmarks.measure import Side

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]


def side(*milliseconds, compile_s=None):
    return {"ms": milliseconds[0], "compile_s": compile_s, "memory_mb": None}


def test_a_profile_names_what_the_time_goes_into():
    x, w = jnp.ones((2, 9, 7, 4)), jnp.ones((3, 4, 3, 2))
    conv = measure.compiled(lambda x, w: jaxconv.conv2d(x, w, data_format="channels_last").sort(), x, w)
    spent = measure.profile(conv, runs=2)
    assert {"ffi_call", "sort"} <= set(spent)
    assert all(0 <= ms < 1e3 for ms in spent.values())


def test_a_wrong_answer_is_not_timed():
    sides = {"right": Side(lambda: [np.ones(3)]), "wrong": Side(lambda: [np.array([1, 1, 1.01])])}
    with pytest.raises(AssertionError, match=r"wrong and right differ by 1\.0e-02 in value 0, over 1e-03"):
        measure.measure(sides, 1e-3)
    figures = measure.measure(sides, 2e-2)
    assert all(f["ms"] > 0 for f in figures.values())


def test_the_last_tolerance_is_for_all_further_values():
    sides = {"a": Side(lambda: [1.0, 1.0, 1.0]), "b": Side(lambda: [1.0, 1.05, 1.05])}
    measure.measure(sides, 1e-9, 0.1)
    with pytest.raises(AssertionError, match="in value 1"):
        measure.measure(sides, 1e-9, 0.01)


def test_the_flops_of_a_layer():
    rows = {row.name: row for row in layers.ROWS}
    assert rows["3x3 stride 2, 16-33"].flops == 2 * 20 * (24 * 49) * (9 * 16 * 33)
    assert rows["32 groups of 4, 3x3, 56x56"].flops == 2 * 8 * 56 * 56 * 9 * 4 * 128
    assert rows["transposed 4x4 stride 2, 64-32, 28x28"].flops == 2 * 8 * 28 * 28 * 16 * 64 * 32


def test_the_flops_of_a_network():
    digits = next(network for network in networks.NETWORKS if network.build is networks.digits)
    pairs = 28 * 28 * 9 * 1 * 16 + 14 * 14 * 9 * 16 * 32 + 7 * 7 * 9 * 32 * 32 + 7 * 7 * 32 * 10
    assert networks.flops(digits) == 2 * digits.batch * pairs


def test_weights_move_to_flax_and_back():
    def build(toolkit):
        norms = toolkit.batch_norm(4), toolkit.layer_norm(4)
        return toolkit.chain(toolkit.conv(2, 4, 3, groups=2), *norms, toolkit.upsample(4, 3))

    ours, flax = build(networks._Ours()), build(networks._Flax())
    kernels, given = networks.Kernels(flax), networks.flat(nnx.state(ours))
    moved = kernels.to_flax(given)
    nnx.update(flax, networks.filled(nnx.state(flax), moved, "float32"))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4, 2)), jnp.float32)
    np.testing.assert_allclose(ours(x), flax(x), atol=1e-5)
    back = kernels.from_flax(moved)
    assert given.keys() - back.keys() == {("layers", 1, "num_batches_tracked")}
    for path, array in back.items():
        np.testing.assert_array_equal(array, given[path])


def two_dimensions(t):
    """Each layer that is of images alone."""
    weighed = t.multiply(t.same(), t.chain(t.mean(True), t.conv(4, 4, 1), t.sigmoid))
    layers = [t.upsample4(2, 4), t.add(t.conv(4, 4, 3, dilation=2), t.conv(4, 4, 1)), t.batch_norm(4), t.silu]
    return t.chain(*layers, t.beside(weighed), t.halve(), t.mean(), t.linear(8, 10))


def of_rank(rank):
    def build(t):
        layers = [t.conv(2, 4, 3, rank=rank), t.batch_norm(4, rank), t.relu, t.upsample(4, 3, rank), t.halve(rank)]
        return t.chain(*layers, t.tanh, t.conv(3, 10, 1, rank=rank))

    return build


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # PyTorch's exporter asks a program about the machine
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("rank", "build"), [(1, of_rank(1)), (2, two_dimensions), (3, of_rank(3))])
def test_a_network_is_the_same_on_all_sides(rank, build, train, monkeypatch):
    pytest.importorskip("torch")
    # To be compiled takes it half a minute.
    monkeypatch.setitem(networks._spent, "torch.compile", networks.COMPILER_SECONDS)
    sides = networks.sides(networks.Network("tiny", build, 3, 2, 6, rank), train)
    compiled = set() if train else {"fused", *(n for n in ("onnxruntime", "openvino") if importlib.util.find_spec(n))}
    assert set(sides) == {"jaxconv", "flax", "torch"} | compiled
    for _ in range(2):  # a second step goes on from the first
        first, *others = ([np.asarray(v) for v in side.read(side.run())] for side in sides.values())
        assert len(first) == (2 if train else 1)
        assert np.abs(first[-1]).max() > 1e-3
        for values in others:
            for a, b in zip(first, values, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_compiler_that_fails_or_is_late_is_left_out(monkeypatch, capsys):
    network = networks.Network("tiny", two_dimensions, 3, 2, 6)

    def fails():
        raise NotImplementedError("no such layer\nand more")

    monkeypatch.setitem(networks._spent, "torch.compile", 0.0)
    assert networks.within_seconds("torch.compile", network, fails) is None
    assert "tiny: no torch.compile: NotImplementedError: no such layer\n" in capsys.readouterr().out
    assert networks._spent["torch.compile"] > 0
    monkeypatch.setitem(networks._spent, "torch.compile", networks.COMPILER_SECONDS + 1)
    assert networks.within_seconds("torch.compile", network, fails) is None
    assert "tiny: no torch.compile, whose 150 seconds are spent" in capsys.readouterr().out


def test_a_sample_of_layers_is_the_same_again():
    rows = layers.sampled()
    assert rows == layers.sampled()
    assert len({row.name for row in rows}) == len(rows) == 60
    assert rows[:5] != layers.sampled(5, seed=1)
    assert {row.rank for row in rows} == {1, 2, 3}
    assert {row.data_format for row in rows} == {"channels_first", "channels_last"}
    assert all(layers.LEAST_FLOPS <= row.flops <= layers.MOST_FLOPS for row in rows)
    assert any(row.groups > 1 for row in rows)
    assert any(row.dilation[0] > 1 for row in rows)
    # The smallest of them is computed on all sides and compared.
    least = min(rows, key=lambda row: row.flops)
    assert set(layers._measure_sampled(least)) <= {"jaxconv", "torch", "lax"}


def test_how_a_sample_is_distributed():
    ratios = [0.5, *[1.0] * 3, *[2.0] * 4, *[4.0] * 2]
    results = {f"row {i}": {"jaxconv": side(1.0), "torch": side(ratio)} for i, ratio in enumerate(ratios)}
    results["row 9"]["lax"] = side(8.0)
    text = layers.distribution(results).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text[2:]]
    # 2^(-1 + 4 + 4) is 2^7, and its tenth root 1.62; a tenth of the way from the least to the next is 0.95.
    assert cells[0] == ["torch / ours", "10", "1.62", "0.95", "1", "row 0 (0.50), row 1 (1.00), row 2 (1.00)"]
    assert cells[1] == ["lax / ours", "1", "8.00", "8.00", "0", "row 9 (8.00)"]


def test_the_page_has_a_line_for_every_row_and_leaves_a_missing_peer_empty():
    where = {"date": "2000-01-01", "machine": "M", "versions": "V", "matrix product": "100 GFLOP/s"}
    first, second = "3x3, 64-64, 56x56", "1x1, 256-64, 56x56"
    figures = {
        "layers": {
            first: {"jaxconv": side(2.0, compile_s=0.1), "lax": side(8.0, compile_s=0.1), "torch": side(1.0)},
            second: {"jaxconv": side(1.0, compile_s=0.1), "lax": side(1.0, compile_s=0.1)},
        },
        "ops": {f"{first}: output": {"auto": side(20.0, compile_s=0.1), "xla": side(60.0), "torch": side(10.0)}},
        "networks": {
            "N: inference": {
                "jaxconv": side(4.0, compile_s=1.5) | {"gflop": 0.1, "profile": {"ffi_call": 4.0}},
                "flax": side(6.0, compile_s=1.0),
                "fused": side(2.0),
                "onnxruntime": side(3.0),
            },
            "N: training step": {
                "jaxconv": side(9.0) | {"gflop": 0.3, "profile": {"copy": 0.5, "ffi_call": 5.0, "add_fusion": 2.0}}
            },
        },
        "sample": {"S": {"jaxconv": side(2.0), "torch": side(5.0)}},
        "around": {
            "max-pool": {"jaxconv": side(1.0), "flax": side(3.0)},
            "eager call of it": {"jaxconv": side(0.01), "flax": side(0.02)},
        },
    }
    page = __main__.page({name: {"where": where, "rows": rows} for name, rows in figures.items()})
    lines = {
        cells[0]: cells[1:] for line in page.splitlines() if len(cells := [c.strip() for c in line.split("|")[1:-1]])
    }
    assert lines[first][:7] == ["2.00", "8.00", "", "", "1.00", "4.00", "0.50"]
    assert lines[second][5:7] == ["1.00", ""]
    assert "Geometric mean over 2 rows: lax / ours 2.00, torch / ours 0.50." in page
    assert "The least lax / ours of all 2 rows is 1.00 (1x1, 256-64, 56x56)." in page
    # 2 * 8 * 56 * 56 * 9 * 64 * 64 operations in 20 ms are 92.5 GFLOP/s.
    assert lines[f"{first}: output"] == ["20.0", "60.0", "10.0", "3.00", "0.50", "92%", "0.10"]
    assert "| torch / ours | 1      | 2.50           |" in page
    of_inference = [line.split("|")[2:-1] for line in page.splitlines() if line.startswith("| N: inference")]
    whole, by_compilers = ([cell.strip() for cell in cells] for cells in of_inference)
    assert by_compilers == ["4.00", "2.00", "", "3.00", "", "", "1.50", ""]
    assert whole[3:9] == ["1.50", "", "25%", "1.50", "1.00", "1.50"]
    of_step = [line for line in page.splitlines() if line.startswith("| N: training step")]
    assert of_step[1].split("|")[2:-1] == [" 5.00            ", " 2.50        ", " add_fusion 2.00, copy 0.50 "]
    assert lines["max-pool"][3:5] == ["3.00", ""]
    assert lines["call of it"] == ["10.0", "20.0", "2.00"]
