"""The page of what `python -m benchmarks.gpu` found."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.gpu import choices
from benchmarks.gpu.layers import DENSE
from benchmarks.gpu.layers import PEERS as LAYER_PEERS
from benchmarks.gpu.networks import PEERS as NETWORK_PEERS
from benchmarks.measure import figure, markdown, quotient

NONE = "no GPU was at hand"
Found = Mapping[str, Any]


# ---------------------------------------------------------------------------------------------------------------
# Targets
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What is asked for, and the values that it is asked of, each with the name of its row."""

    text: str
    least: float
    values: Callable[[Found], Iterator[tuple[str, float]]]
    share: bool = False


def _layer_ratios(found: Found, peer: str, grouped: bool, whats=("forward", "step")) -> Iterator[tuple[str, float]]:
    for name, row in found.get("layers", {}).get("rows", {}).items():
        for what in whats if row["groups"] > 1 or not grouped else ():
            ratio = quotient(row.get(what, {}), peer, "jaxconv")
            if ratio is not None:
                yield f"{name}, {what}", ratio


def _network_ratios(found: Found, peer: str) -> Iterator[tuple[str, float]]:
    for name, figures in found.get("networks", {}).get("rows", {}).items():
        ratio = quotient(figures, peer, "jaxconv") if ": training step" in name else None
        if ratio is not None:
            yield name, ratio


def shares(found: Found) -> dict[tuple[str, str], tuple[str, float]]:
    """Of each row and pass: the ceiling's name, and how much of it ours reaches."""
    rates = found.get("ceilings", {}).get("rates", {})
    made = {}
    for name, row in found.get("layers", {}).get("rows", {}).items():
        for what in ("forward", "step"):
            ms = row.get(what, {}).get("jaxconv", {}).get("ms")
            product = rates.get(f"{name.rpartition(', ')[2]} product", {}).get("tflops")
            copy = rates.get("copy", {}).get("gigabytes")
            if ms is not None and row["groups"] == 1 and product:
                made[name, what] = "product", row["flops"][what] / ms / 1e9 / product
            elif ms is not None and row["groups"] > 1 and copy:
                made[name, what] = "copy", row["bytes"][what] / ms / 1e6 / copy
    return made


def _depthwise_shares(found: Found) -> Iterator[tuple[str, float]]:
    rows = found.get("layers", {}).get("rows", {})
    for (name, what), (_, share) in shares(found).items():
        if rows[name]["groups"] == rows[name]["channels"]:
            yield f"{name}, {what}", share


def _dense_shares(found: Found) -> Iterator[tuple[str, float]]:
    for (name, what), (_, share) in shares(found).items():
        if name == DENSE:
            yield f"{name}, {what}", share


TARGETS = [
    Target("every row: `flax.nnx.Conv` ÷ ours", 0.98, lambda f: _layer_ratios(f, "flax", grouped=False)),
    Target(
        "depthwise and grouped rows, training step: PyTorch ÷ ours",
        1.5,
        lambda f: _layer_ratios(f, "torch", grouped=True, whats=("step",)),
    ),
    Target("networks, training step: PyTorch ÷ ours", 1.3, lambda f: _network_ratios(f, "torch")),
    Target("networks, training step: `torch.compile` ÷ ours", 1.0, lambda f: _network_ratios(f, "torch.compile")),
    Target("depthwise rows: share of the copy's rate", 0.6, _depthwise_shares, share=True),
    Target("3×3 dense bfloat16, 256 channels: share of the product's rate", 0.6, _dense_shares, share=True),
]


def has_gpu(found: Found, part: str | None = None) -> bool:
    """Whether a part, or any of them, ran on a GPU."""
    parts = found.values() if part is None else [found.get(part, {})]
    return any(results.get("where", {}).get("platform") == "gpu" for results in parts)


def targets_table(found: Found) -> str:
    """Each target with the least value of all its rows."""
    lines = []
    for target in TARGETS:
        wanted = f"≥ {target.least:.0%}" if target.share else f"≥ {target.least}"
        values = [(value, name) for name, value in target.values(found)] if has_gpu(found) else []
        if not has_gpu(found):
            lines.append([target.text, wanted, "", NONE])
        elif not values:
            lines.append([target.text, wanted, "", "not measured: see what was left out"])
        else:
            least, name = min(values)
            met = sum(value >= target.least for value, _ in values)
            text = f"{least:.0%}" if target.share else f"{least:.2f}"
            verdict = "met" if met == len(values) else f"missed: {met} of {len(values)} rows reach it"
            lines.append([target.text, wanted, f"{text} ({name})", verdict])
    return markdown(["", "target", "the least", ""], lines)


# ---------------------------------------------------------------------------------------------------------------
# The tables of the parts
# ---------------------------------------------------------------------------------------------------------------


def scientific(value: float) -> str:
    """An error in a table."""
    return f"{value:.1e}"


def parity_table(found: Found) -> str:
    """A line for each preset and kind of function."""
    lines = []
    for s in found["parity"]["summary"]:
        kind = "convolutions, matrix products" if s["products"] else "all else"
        if s["preset"] == "TF32" and not has_gpu(found, "parity"):
            lines.append([s["preset"], kind, "", "", "", "", "", "", NONE])
            continue
        errors = [scientific(s[key]) for key in ("median", "value", "gradient", "bound")]
        lines.append([s["preset"], kind, str(s["cases"]), *errors, str(s["over"]), f"`{s['worst']}`"])
    header = ["preset", "functions with", "cases", "median", "largest", "largest of gradients", "bound", "over it"]
    return markdown([*header, "farthest off"], lines)


def presets_table(found: Found) -> str:
    """How each preset is asked for."""
    return markdown(["preset", "how"], [[p["name"], p["how"]] for p in found["parity"]["presets"]])


def failures(found: Found) -> str:
    """The cases that could not be computed, or whose error is over the bound."""
    texts = []
    for r in found["parity"]["records"]:
        case = f"`{r['function']}`, {r['preset']} (turn {r['turn']}: {r['text']})"
        if "failed" in r:
            texts.append(f"- {case}: {r['failed']}")
        elif max(r["value"], r["gradient"]) > r["bound"]:
            texts.append(f"- {case}: value {r['value']:.1e}, gradients {r['gradient']:.1e}, bound {r['bound']:.0e}")
    shown = "\n".join(texts[:20])
    more = f"\n\nand {len(texts) - 20} more." if len(texts) > 20 else ""
    return shown + more if texts else "No case failed, and none is over its bound."


def ceilings_table(found: Found) -> str:
    """The rates."""
    rates = found["ceilings"]["rates"]
    lines = [
        [name, f"{rate['tflops']:.0f} TFLOP/s" if "tflops" in rate else f"{rate['gigabytes']:.0f} GB/s"]
        for name, rate in rates.items()
    ]
    return markdown(["", "rate"], lines)


def _times(figures: Mapping[str, Any], sides: tuple[str, ...]) -> list[str]:
    return [
        "failed" if "failed" in figures.get(side, {}) else figure(figures.get(side, {}).get("ms"), 3) for side in sides
    ]


def layers_table(found: Found) -> str:
    """Two lines a row."""
    lines, of = [], shares(found)
    for name, row in found["layers"]["rows"].items():
        for what in ("forward", "step"):
            figures = row.get(what, {})
            share = of.get((name, what))
            lines.append(
                [
                    f"{name}: {what}",
                    *_times(figures, ("jaxconv", *LAYER_PEERS)),
                    *(figure(quotient(figures, peer, "jaxconv")) for peer in LAYER_PEERS),
                    "" if share is None else f"{share[1]:.0%} of {share[0]}",
                ]
            )
    header = ["layer", *(f"{side} ms" for side in ("jaxconv", *LAYER_PEERS)), *(f"{p} / ours" for p in LAYER_PEERS)]
    return markdown([*header, "share"], lines)


def networks_table(found: Found) -> str:
    """A line a network."""
    lines = [
        [
            name,
            *_times(figures, ("jaxconv", *NETWORK_PEERS)),
            *(figure(quotient(figures, peer, "jaxconv")) for peer in NETWORK_PEERS),
            figure(figures.get("jaxconv", {}).get("compile_s")),
        ]
        for name, figures in found["networks"]["rows"].items()
    ]
    header = [
        "network",
        *(f"{side} ms" for side in ("jaxconv", *NETWORK_PEERS)),
        *(f"{p} / ours" for p in NETWORK_PEERS),
    ]
    return markdown([*header, "compile s"], lines)


def ops_table(found: Found, part: str = "ops") -> str:
    """A line an op."""
    rows = found[part]["rows"]
    sides = tuple(dict.fromkeys(side for figures in rows.values() for side in figures))
    return markdown(["op", *(f"{side} ms" for side in sides)], [[n, *_times(f, sides)] for n, f in rows.items()])


def mnist_text(found: Found) -> str:
    """What the run reached."""
    run = found["mnist"]
    if "test_accuracy" not in run:
        return "The training program did not run to its end: see what was left out."
    pictures = ", ".join(f"`{name}`" for name in run["pictures"])
    return (
        f"{run['steps']} steps in {run['seconds']:.0f} s, with compilation and pictures: {run['test_accuracy']:.1%} of "
        f"the held-out digits. Beside the figures lie {pictures}."
    )


# Part -> heading, its words, what makes its table, and whether it says something on a CPU.
SECTIONS: dict[str, tuple[str, Callable[[Found], str], bool]] = {
    "ceilings": ("Ceilings", ceilings_table, False),
    "layers": ("Layers", layers_table, False),
    "networks": ("Networks", networks_table, False),
    "ops": ("Each op by itself", ops_table, False),
    "kernels": ("Kernels that are written with Pallas", partial(ops_table, part="kernels"), False),
    "mnist": ("Handwritten digits", mnist_text, False),
}

HEAD = """# On a GPU

Written by `python -m benchmarks.gpu` on {date}; nothing here is edited by hand.

{statement}

{where}

## Targets

{targets}

## Parity

{parity}
"""

PARITY = """How far values and gradients lie from the CPU's float64, in units of the largest number of each array:
{cases} cases of {functions} functions, drawn from seed {seed} (whole turns through all of them: {turns}), on
{device}. Both sides compute with the same rounded arrays, so an error is that of the arithmetic.

{presets}

{table}

{failures}
"""

NO_GPU = """**No GPU was at hand: no figure on this page was taken on one.** The command was run on a CPU instead, on
small sizes, where it measures the parity of the same functions; there all presets of float32 mean the same, and TF32
is left to a GPU. Its times say nothing of a GPU and are left out."""

HOW = """## How to run it

From the root of the sources, on a machine with an NVIDIA GPU:

```
PYTHONPATH=. python -m benchmarks.gpu --out docs/gpu.md
```

It needs Python 3.11 or later, JAX with CUDA, Flax and optax; PyTorch with CUDA for its columns, and the extra
`examples` for the digits. It needs no network, no installation of this package and no compiled kernels. It ends within
8 minutes, writes its figures under `runs/gpu`, and prints the targets and the lines that the table `MEASURED` of
`jaxconv/_lowering/select.py` should have for the device: what is 1.2 times as fast as XLA's own convolution in every
row of a kind. `--only ops kernels --minutes 20` measures that alone, and with time for all rows. Timed beside XLA's
convolution are

{candidates}

A candidate that fails is told of, and the others go on. The Pallas kernels are compared with PyTorch in Pallas's
interpreter, and lowered for CUDA, by `tests/benchmarks/test_kernels.py`. JAX 0.11 deprecates Pallas on Triton.

Users of JAX report that gradients of grouped convolutions
[take as long](https://github.com/jax-ml/jax/issues/13800) on a GPU as those of dense ones, and that depthwise ones
[get slower](https://github.com/jax-ml/jax/issues/26266) with their dilation. Neither has the time of a sum of shifted
products, so no default was changed for it."""

CANDIDATES = (
    ("taps", "every op", "the library's sums of shifted or of matrix products"),
    ("shifted", "depthwise layers", "shifted products, written out"),
    ("product", "kernels of one position", "a matrix product"),
    (
        "interior",
        "the input's gradient under a stride, transposed layers",
        "zeros between positions, and no `lhs_dilation`",
    ),
    ("pallas", "depthwise layers, layer norms", "kernels of Triton, written with Pallas"),
)

TPU = """## On a TPU

Nothing was run on one. The [guide](https://cloud.google.com/tpu/docs/performance-guide) says that memory is tiled by
8 × 128 and that XLA pads what does not fill a tile. It asks for a batch that is a multiple of 8 for each core with
channels that are a multiple of 128, or for a batch that is a multiple of 128 with channels that are a multiple of 8.
XLA chooses which axes lie along a tile. What the library does for that:

- It leaves the choice to XLA: programs say nothing of how an array lies in memory, and hold no transpose of an image in
  either data format and no padding of channels.
- Each op of a convolution is one convolution, and a border, a pool and a norm are slices, sums and elementwise
  functions. An adaptive pool is an exception where its size does not divide the image's: it gathers, and its gradient
  scatters.
- Sizes are the user's: for the numbers of the guide, choose channels and batch by it.

`tests/lowering/test_platforms.py` exports every public function with its gradients for `tpu` as for `cuda`, and counts
what the programs hold: it is the same for both. There is no Pallas kernel for a TPU: no measurement and no published
cost model was found that says that one would win."""


def page(found: Found) -> str:
    """The page, from the results of the parts."""
    first = next((results["where"] for results in found.values() if "where" in results), {})
    facts = [["device", first.get("device", "")], ["versions", first.get("versions", "")]]
    facts += [["PyTorch", first["torch"]]] if "torch" in first else []
    text = HEAD.format(
        date=first.get("date", ""),
        statement="" if has_gpu(found) else NO_GPU,
        where=markdown(["", ""], facts),
        targets=targets_table(found),
        parity=_parity(found),
    )
    for part, (heading, make, on_cpu) in SECTIONS.items():
        if part in found and (has_gpu(found, part) or on_cpu):
            has = {"ceilings": "rates", "mnist": None}.get(part, "rows")
            body = make(found) if has is None or has in found[part] else "Nothing was measured."
            text += f"\n## {heading}\n\n{body}\n"
    if any(has_gpu(found, part) and found[part].get("rows") for part in choices.PARTS):
        text += f"\n## What the library should choose here\n\n{choices.text(found)}\n"
    candidates = markdown(["candidate", "for", "what it is"], [[f"`{name}`", *rest] for name, *rest in CANDIDATES])
    text += f"\n{HOW.format(candidates=candidates)}\n\n{TPU}\n"
    notes = [f"- {part}: {note}" for part, results in found.items() for note in results["notes"]]
    sides = [
        f"- {name}, {side}: {figures['failed']}"
        for name, row in _all_rows(found)
        for side, figures in row.items()
        if isinstance(figures, dict) and "failed" in figures
    ]
    if (notes or sides) and has_gpu(found):
        text += "\n## What was left out\n\n" + "\n".join(notes + sides) + "\n"
    return text


def _all_rows(found: Found) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in ("layers", "networks", *choices.PARTS):
        for name, row in found.get(part, {}).get("rows", {}).items():
            if part == "layers":
                yield from ((f"{name}, {what}", row[what]) for what in ("forward", "step") if what in row)
            else:
                yield name, row


def _parity(found: Found) -> str:
    results = found.get("parity", {})
    if not results.get("summary"):
        return "Nothing was compared."
    return PARITY.format(
        cases=len({(r["function"], r["turn"]) for r in results["records"]}),
        functions=len({r["function"] for r in results["records"]}),
        seed=results["seed"],
        turns=results["turns"],
        device=results["where"]["device"],
        presets=presets_table(found),
        table=parity_table(found),
        failures=failures(found),
    ).strip()
