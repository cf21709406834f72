"""The command for a GPU, on a machine without one: what it samples, what it refuses to time, and what it says."""

import json
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

pytest.importorskip("optax", reason="the benchmarks need their extra")
pytest.importorskip("torch", reason="the benchmarks need their extra")

import torch

from benchmarks.gpu import __main__, cases, choices, kernels, layers, networks, ops, page, parity, timing
from benchmarks.layers import row
from jaxconv import functional

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]


# --- parity ---------------------------------------------------------------------------------------------------


def test_every_public_function_is_sampled():
    public = {n for n, f in vars(functional).items() if callable(f) and not n.startswith("_")} - {"algorithms"}
    assert set(cases.FUNCTIONS) == public


def test_a_case_is_the_same_again_and_another_in_another_turn():
    first, again, other = (cases.draw_case("conv2d", turn, large=True) for turn in (3, 3, 4))
    assert first.text == again.text != other.text
    np.testing.assert_array_equal(first.arrays[0], again.arrays[0])


def test_an_error_is_in_units_of_the_largest_number():
    wanted = [np.array([1.0, -4.0]), np.array([0.5])]
    assert parity.error([np.array([1.0, -4.0]), np.array([0.5])], wanted) == 0
    assert parity.error([np.array([1.2, -4.0]), np.array([0.51])], wanted) == pytest.approx(0.05)
    assert parity.error([np.array([1.2, np.nan]), np.array([0.5])], wanted) == np.inf
    with pytest.raises(ValueError, match=r"the shape is \(1,\), and should be \(2,\)"):
        parity.error([np.array([1.0]), np.array([0.5])], wanted)


@pytest.mark.parametrize(("name", "products"), [("conv2d", True), ("conv3d_weight", True), ("grid_sample", False)])
def test_what_has_products_that_a_device_may_round(name, products):
    case = cases.draw_case(name, 0, large=False)
    assert parity.Sides(case, (0,)).products == products


def test_parity_holds_and_a_wrong_function_is_found(monkeypatch):
    presets = [p for p in parity.PRESETS if p.name in ("highest", "bfloat16 to float32")]
    records = parity.compare("conv1d", 0, large=False, presets=presets)
    assert [r["preset"] for r in records] == ["highest", "bfloat16 to float32"]
    assert all(0 < max(r["value"], r["gradient"]) <= r["bound"] for r in records)
    assert records[1]["value"] < 1e-6 < records[1]["gradient"]  # the values are not rounded, the gradients are

    def rounds(self, preset):
        values, gradients = computed(self, preset)
        return values, [g + 1e-3 * abs(g).max() for g in gradients]

    computed = parity.Sides.computed
    monkeypatch.setattr(parity.Sides, "computed", rounds)
    (wrong,) = parity.compare("conv1d", 0, large=False, presets=presets[:1])
    assert wrong["gradient"] == pytest.approx(1e-3, rel=0.05)
    assert wrong["gradient"] > wrong["bound"]

    def fails(self, preset):
        raise RuntimeError("no algorithm\nof many")

    monkeypatch.setattr(parity.Sides, "computed", fails)
    (failed,) = parity.compare("conv1d", 0, large=False, presets=presets[:1])
    assert failed["failed"] == "RuntimeError: no algorithm"
    text = page.failures({"parity": {"records": [wrong, failed, records[0]]}})
    assert "conv1d" in text
    assert "bound 5e-06" in text
    assert text.endswith("RuntimeError: no algorithm")
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    ("platform", "preset", "products", "wanted"),
    [
        ("gpu", "default", True, parity.TF32),
        ("gpu", "default", False, parity.FLOAT32),
        ("gpu", "TF32", True, parity.TF32),
        ("gpu", "highest", True, parity.FLOAT32),
        ("gpu", "bfloat16", True, parity.BFLOAT16),
        ("cpu", "default", True, parity.FLOAT32),
        ("cpu", "TF32", True, parity.FLOAT32),
        ("tpu", "default", True, parity.BFLOAT16),
        ("tpu", "TF32", True, parity.TF32),
    ],
)
def test_the_bound_of_a_preset(platform, preset, products, wanted):
    (chosen,) = [p for p in parity.PRESETS if p.name == preset]
    assert parity.bound(chosen, platform, products) == wanted


# --- times ----------------------------------------------------------------------------------------------------


def test_a_side_that_fails_or_errs_is_told_of_and_the_others_are_timed():
    def fails():
        raise MemoryError("of the device\nis full")

    def of(*values):
        return lambda: timing.Side(lambda: np.array(values), lambda r: r, lambda r: [r])

    sides = {"ours": of(1.0, 2.0), "full": fails, "wrong": of(1.0, 2.1), "near": of(1.0, 2.001)}
    figures = timing.compare(sides, 1e-2, seconds=0.01)
    assert figures["full"] == {"failed": "MemoryError: of the device"}
    assert figures["wrong"]["failed"] == "AssertionError: value 0 differs by 5.0e-02, over 1e-02: not timed"
    assert {name for name, f in figures.items() if "ms" in f} == {"ours", "near"}


ROWS = {
    "shifted": row("", 2, 5, (11, 8), 5, (3, 2), (2, 3), (2, 1), (1, 2), groups=5),
    "shifted, plain": row("", 2, 3, (7, 9), 3, (2, 4), 1, (0, 1), groups=3),
    "product": row("", 2, 5, (6, 9), 4, 1),
    "interior": row("", 2, 6, (12, 9), 4, (3, 2), (2, 3), (1, 2), (2, 1), groups=2),
    "taps": row("", 2, 6, (12, 9), 6, (3, 2), (2, 3), (1, 2), (2, 1), groups=3),
    "xla": row("", 2, 6, (12, 9), 6, (3, 2), (2, 3), (1, 2), (2, 1), groups=3),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_candidate_computes_what_pytorch_does(name):
    r = ROWS[name]
    x, w, dy = (np.asarray(a) for a in layers.arrays(r))
    tx, tw = (torch.from_numpy(a.copy()).requires_grad_() for a in (x, w))
    ty = torch.nn.functional.conv2d(tx, tw, None, r.stride, r.padding, r.dilation, r.groups)
    gradients = torch.autograd.grad(ty, (tx, tw), torch.from_numpy(dy.copy()))
    wanted = [ty.detach().numpy(), *(g.numpy() for g in gradients)]
    given = [x.transpose(0, 2, 3, 1), w, dy.transpose(0, 2, 3, 1)]
    served = ops.CANDIDATES[name.partition(",")[0]](r)
    assert any(served)
    for index, function in enumerate(served):
        if function is not None:
            got = np.asarray(jax.jit(function)(*given))
            got = got if index == 2 else got.transpose(0, 3, 1, 2)
            np.testing.assert_allclose(got, wanted[index], atol=2e-5 * abs(wanted[index]).max())


def test_a_candidate_is_offered_only_what_it_computes():
    dense, strided = row("", 2, 6, (9, 9), 6, 3), row("", 2, 6, (9, 9), 6, 1, 2)
    assert ops.shifted(dense) == ops.product(dense) == ops.interior(dense) == ops.product(strided) == (None,) * 3
    assert ops.shifted(replace(dense, groups=6, out=12)) == (None,) * 3
    depthwise = replace(dense, groups=6, out=6)
    served = [[f is not None for f in ops.shifted(replace(depthwise, kernel=k))] for k in ((5, 5), (7, 7), (7, 8))]
    assert served == [[True] * 3, [True, True, False], [False] * 3]


def test_a_transposed_layer_is_an_op_of_a_convolution():
    transposed = row("T", 2, 6, (5, 4), 4, (3, 2), (2, 3), (1, 0), groups=2, transposed=True)
    r = ops.plain(transposed)
    assert (r.channels, r.out, r.size, r.transposed) == (4, 6, (9, 11), False)
    x, w, dy = layers.arrays(r)
    tx, _, _ = layers.arrays(transposed)
    assert dy.shape == tx.shape
    wanted = torch.nn.functional.conv_transpose2d(
        *(torch.from_numpy(np.asarray(a).copy()) for a in (dy, w)), None, r.stride, r.padding, groups=2
    )
    for candidate in ("xla", "interior"):
        got = ops.CANDIDATES[candidate](r)[1](x.transpose(0, 2, 3, 1), w, dy.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(got.transpose(0, 3, 1, 2), wanted, atol=2e-5)


def test_a_candidate_that_fails_ends_no_other(monkeypatch):
    """Not even where its file cannot be read, as without the part of JAX that it is written for."""

    def load(name):
        raise ImportError(f"no {name}\nor so")

    monkeypatch.setattr(kernels, "load", load)
    r = replace(ROWS["shifted"], data_format="channels_last")
    figures = timing.compare(ops.makers(r, 1, kernels.CANDIDATES), 1e-4, 0.01)
    assert figures["pallas"] == {"failed": "ImportError: no benchmarks.gpu.depthwise"}
    assert figures["xla"]["ms"] > 0
    figures = timing.compare(kernels.norm_makers((9, 5), "float32", "step"), 1e-4, 0.01)
    assert figures["pallas"] == {"failed": "ImportError: no benchmarks.gpu.layer_norm"}
    assert figures["xla"]["ms"] > 0


def timed(**milliseconds):
    return {side: {"ms": ms} if ms else {"failed": "X: y"} for side, ms in milliseconds.items()}


def of(kind, op="output", platform="cuda"):
    return {"platform": platform, "kind": kind, "op": op, "dtype": "bfloat16"}


def test_the_lines_that_follow_from_the_times():
    found = {
        "ops": {
            "rows": {
                "A": timed(xla=3.0, taps=2.0, shifted=1.5),
                "B": timed(xla=3.0, taps=1.0, shifted=2.6),
                "C": timed(xla=3.0, taps=None, interior=2.0),
                "D": timed(xla=None, taps=1.0),
                "E": timed(xla=9.0, taps=1.0),
            },
            "about": {
                "A": of("depthwise"),
                "B": of("depthwise"),
                "C": of("strided", "input"),
                "D": of("1x1"),
                "E": of("depthwise", platform="cpu"),
            },
        },
        "kernels": {
            "rows": {"A": timed(xla=3.0, pallas=0.6), "B": timed(xla=3.1, pallas=1.0), "N": timed(xla=1.3, pallas=1.0)},
            "about": {"A": of("depthwise"), "B": of("depthwise"), "N": of("layer norm", "step")},
        },
    }
    assert choices.text(found).splitlines() == [
        "Lines for `MEASURED` of `jaxconv/_lowering/select.py`:",
        "",
        "```",
        '    ("cuda", "depthwise", "output", "bfloat16"): "taps",  # 1.50 to 3.00 times as fast as xla in 2 of 2 rows',
        "```",
        "",
        "- `pallas`, cuda, depthwise, output, bfloat16, is 3.10 to 5.00 times as fast as xla in 2 of 2 rows. To bring "
        f'it in: {choices.BRINGS["pallas"]}; then the line `("cuda", "depthwise", "output", "bfloat16"): "pallas",`.',
        "- `shifted`, cuda, depthwise, output, bfloat16, is 1.15 to 2.00 times as fast as xla in 2 of 2 rows: not in "
        "every row, so there is no line for it.",
        "- `pallas`, cuda, layer norm, step, bfloat16, is 1.30 times as fast as xla in 1 of 1 row. To bring it in: "
        f"{choices.OF_NORMS}.",
        "- `interior`, cuda, strided, input, bfloat16, is 1.50 times as fast as xla in 1 of 1 row. To bring it in: "
        f'{choices.BRINGS["interior"]}; then the line `("cuda", "strided", "input", "bfloat16"): "interior",`.',
    ]
    assert choices.text({}) == "No candidate is 1.2 times as fast as XLA here: nothing is to be changed."
    where = {"where": GPU, "notes": []}
    text = page.page({part: results | where for part, results in found.items()})
    assert choices.text(found) in text
    assert "| A   | 3.00   |         |            |             |" not in text
    assert "- C, taps: X: y" in text


def test_what_pytorchs_compiler_warns_of_is_no_error(monkeypatch):
    """Under this project's tests warnings are raised."""
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: warns)

    def warns(*arrays):
        warnings.warn("torch.jit.script_method is deprecated", DeprecationWarning, stacklevel=2)
        return torch.nn.functional.conv2d(*arrays)

    r = row("", 2, 4, (6, 9), 3, 1)
    with pytest.raises(DeprecationWarning):
        warns(*(torch.ones(s) for s in layers.shapes(r)[:2]))
    layers.of_torch(r, layers.arrays(r), train=True, compiled=True)


def test_the_rows_of_the_networks():
    todo = networks.rows(tiny=False)
    assert len({run.name for run in todo}) == len(todo) == 4 * len(networks.NETWORKS) * len(networks.DTYPES)
    first, compiled = todo[0], todo[len(networks.NETWORKS) * len(networks.DTYPES)]
    assert first.name == "MobileNetV2-style, 224x224, bfloat16: training step"
    assert compiled.name == f"{first.name}, beside torch.compile"
    (tiny,) = networks.rows(tiny=True)
    assert tiny.network.dtype == "tf32"
    found = {"networks": {"rows": {compiled.name: {"jaxconv": {"ms": 2.0}, "torch.compile": {"ms": 3.0}}}}}
    (target,) = [t for t in page.TARGETS if "torch.compile" in t.text]
    assert list(target.values(found)) == [(compiled.name, 1.5)]


def test_what_a_layer_moves():
    depthwise = row("", 2, 6, (9, 7), 6, 3, 2, 1, groups=6, dtype="bfloat16")
    once = 2 * (2 * 6 * 9 * 7 + 6 * 9 + 2 * 6 * 5 * 4)
    assert layers.moved(depthwise) == {"forward": once, "step": 3 * once}


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_from_end_to_end(tmp_path, capfd):
    assert __main__.main(["--tiny", "--only", "ceilings", "--json", str(tmp_path), "--minutes", "1"]) == 0
    results = json.loads((tmp_path / "ceilings.json").read_text())
    assert results["rates"]["bfloat16 product"]["tflops"] > 0
    assert results["rates"]["copy"]["gigabytes"] > 0
    text = (tmp_path / "gpu.md").read_text()
    assert "No GPU was at hand: no figure on this page was taken on one." in text
    assert text.count(f"| {page.NONE}") == len(page.TARGETS)
    assert "## Ceilings" not in text  # a CPU's rates are not what the page is about
    assert all(f"| `{name}`" in text for name in {*ops.CANDIDATES, *kernels.CANDIDATES} - {"xla"})


def test_what_a_cpu_says_of_tf32_is_left_out():
    line = {"products": True, "cases": 3, "median": 1e-8, "value": 2e-8, "gradient": 3e-8, "bound": 5e-6, "over": 0}
    summary = [line | {"preset": preset, "worst": "conv1d"} for preset in ("default", "TF32")]
    found = {"parity": {"summary": summary, "where": {"platform": "cpu"}}}
    default, tf32 = page.parity_table(found).splitlines()[2:]
    assert "2.0e-08" in default
    assert "2.0e-08" not in tf32
    assert tf32.endswith(f"| {page.NONE} |")
    found["parity"]["where"]["platform"] = "gpu"
    assert page.NONE not in page.parity_table(found)


def a_part(folder, body):
    package = folder / "benchmarks" / "gpu"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").touch()
    (package / "part.py").write_text(f"import os, pathlib, sys, time\n{body}")


WRITES = 'pathlib.Path(sys.argv[2]).write_text(\'{"notes": [], "rows": 3}\')\n'


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (WRITES + "os.abort()", "The part ended with signal SIGABRT."),
        (WRITES + "raise SystemExit('the library is not there')", "The part ended with status 1."),
        (WRITES + "time.sleep(60)", "The part was stopped 1 s after its time of 1 s."),
    ],
)
def test_what_a_part_wrote_stays_whatever_ends_it(tmp_path, monkeypatch, body, note):
    a_part(tmp_path, body)
    monkeypatch.setattr(__main__, "ROOT", tmp_path)
    monkeypatch.setattr(__main__, "GRACE", 1)
    results = __main__.run_part("part", tmp_path, 1.0, tiny=True)
    assert results["rows"] == 3
    assert results["notes"] == [note]
    assert ("the library is not there" in results.get("said", "")) == ("status" in note)


def test_a_part_that_dies_at_once_is_run_without_pytorch(tmp_path, monkeypatch):
    body = "if '--without-torch' not in sys.argv: os.abort()\n" + WRITES
    a_part(tmp_path, body)
    monkeypatch.setattr(__main__, "ROOT", tmp_path)
    monkeypatch.setattr(__main__, "PARTS", {"part": 1})
    found = __main__.run(["part"], tmp_path, minutes=0.5, tiny=True)
    assert found["part"]["rows"] == 3
    assert found["part"]["notes"] == ["With PyTorch in its process the part ended with signal SIGABRT."]


def test_both_libraries_share_the_device(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    made = __main__.environment()
    assert made["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert made["JAX_PLATFORMS"] == "cuda,cpu"
    assert "NVIDIA_TF32_OVERRIDE" not in made


def figures(**milliseconds):
    return {name.replace("_", "."): {"ms": ms} for name, ms in milliseconds.items()}


GPU = {"platform": "gpu", "device": "a chip", "versions": "V", "date": "2000-01-01"}
FOUND = {
    "ceilings": {
        "where": GPU,
        "notes": [],
        "rates": {"bfloat16 product": {"tflops": 700.0}, "tf32 product": {"tflops": 300.0}, "copy": {"gigabytes": 4e3}},
    },
    "layers": {
        "where": GPU,
        "notes": ["No time was left for 1 of 3 rows, from 'last' on."],
        "rows": {
            layers.DENSE: {
                "groups": 1,
                "channels": 256,
                "flops": {"forward": 490e9, "step": 1470e9},
                "bytes": {"forward": 1, "step": 3},
                "forward": figures(jaxconv=1.0, flax=0.99, torch=2.0),
                "step": figures(jaxconv=4.2, flax=4.2, torch=4.2) | {"torch.compile": {"failed": "X: no compiler"}},
            },
            "depthwise, tf32": {
                "groups": 96,
                "channels": 96,
                "flops": {"forward": 1, "step": 3},
                "bytes": {"forward": 2.8e9, "step": 8.4e9},
                "forward": figures(jaxconv=1.0, flax=0.9),
                "step": figures(jaxconv=6.0, flax=6.0, torch=8.4),
            },
        },
    },
    "networks": {
        "where": GPU,
        "notes": [],
        "rows": {
            "A: training step": figures(jaxconv=2.0, torch=2.7, torch_compile=1.9),
            "A: inference": figures(jaxconv=2.0, torch=1.0, torch_compile=1.0),
        },
    },
}


def test_the_targets_of_a_run_on_a_gpu():
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in page.targets_table(FOUND).splitlines()[2:]]
    assert [line[2:] for line in lines] == [
        ["0.90 (depthwise, tf32, forward)", "missed: 3 of 4 rows reach it"],
        ["1.40 (depthwise, tf32, step)", "missed: 0 of 1 rows reach it"],
        ["1.35 (A: training step)", "met"],
        ["0.95 (A: training step)", "missed: 0 of 1 rows reach it"],
        ["35% (depthwise, tf32, step)", "missed: 1 of 2 rows reach it"],
        ["50% (3x3, 256-256, 28x28, bfloat16, step)", "missed: 1 of 2 rows reach it"],
    ]


def test_the_page_of_a_run_on_a_gpu_says_what_is_missing():
    text = page.page(FOUND)
    assert "No GPU" not in text
    assert "a chip" in text
    assert "- layers: No time was left for 1 of 3 rows, from 'last' on." in text
    assert f"- {layers.DENSE}, step, torch.compile: X: no compiler" in text
    assert "70% of product" in text
    assert "70% of copy" in text
    assert "Nothing was compared." in text
