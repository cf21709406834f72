"""How far each function of the library is from the CPU's float64, value and gradients, for each preset of precision.

    python -m benchmarks.gpu --only parity

A case is drawn (`cases.py`), its arrays are rounded to the preset's dtype, and both sides compute with the rounded
numbers: what is measured is the arithmetic, and not the rounding of what was given. An error is the largest
difference of an array in units of that array's largest number.
"""

import contextlib
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu import cases
from benchmarks.gpu.cases import Case
from benchmarks.gpu.part import Part, first_line, main


@dataclass(frozen=True)
class Preset:
    """A precision that a user can ask for.

    Attributes:
        name: its name.
        how: how it is asked for.
        dtype: of the arrays.
        matmul: `jax.default_matmul_precision`, or None where that is left alone.
        result: `preferred_element_type`, where it is given; then the preset is for convolutions alone.
    """

    name: str
    how: str
    dtype: str = "float32"
    matmul: str | None = None
    result: str | None = None


PRESETS = (
    Preset("default", "float32 arrays, and nothing said"),
    Preset(
        "TF32",
        'float32 arrays, `precision="high"` or `jax.default_matmul_precision("tensorfloat32")`',
        matmul="tensorfloat32",
    ),
    Preset(
        "highest",
        'float32 arrays, `precision="highest"` or `jax.default_matmul_precision("highest")`',
        matmul="highest",
    ),
    Preset("bfloat16", "bfloat16 arrays: sums in float32, rounded once to bfloat16", dtype="bfloat16"),
    Preset(
        "bfloat16 to float32",
        'bfloat16 arrays, `preferred_element_type="float32"`: sums in float32, which are the result',
        dtype="bfloat16",
        result="float32",
    ),
)

# How far an error may go: of a function with products of a convolution or of a matrix, and of one without.
FLOAT32, TF32, BFLOAT16 = 5e-6, 2e-3, 2e-2
# What JAX makes of "nothing said", by platform: a GPU rounds factors to TF32, a TPU to bfloat16.
DEFAULT = {"cpu": FLOAT32, "gpu": TF32, "tpu": BFLOAT16}
TINY = ("conv2d", "conv_transpose1d", "conv2d_weight", "max_pool2d", "batch_norm", "grid_sample")


def bound(preset: Preset, platform: str, products: bool) -> float:
    """How large an error of a preset may be."""
    if preset.dtype == "bfloat16":
        return BFLOAT16
    if not products or preset.name == "highest" or platform == "cpu":
        return FLOAT32
    return DEFAULT.get(platform, TF32) if preset.name == "default" else TF32


def everything(case: Case, options: dict[str, Any], cotangents: Sequence[np.ndarray] | None) -> Callable[..., Any]:
    """A function of the arrays that gives the results and, where there are cotangents, the gradients."""

    def results(*arrays):
        return [
            leaf
            for leaf in jax.tree.leaves(case.function(*arrays, **options))
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        ]

    if cotangents is None:
        return results

    def run(arrays, cotangents):
        values, transpose = jax.vjp(results, *arrays)
        return values, transpose([c.astype(v.dtype) for c, v in zip(cotangents, values, strict=True)])

    return run


class Sides:
    """A case on the CPU in float64, and on the device in each preset."""

    def __init__(self, case: Case, seed: Sequence[int]):
        self.case = case
        shapes = jax.eval_shape(
            everything(case, {}, None), *(jax.ShapeDtypeStruct(a.shape, "float32") for a in case.arrays)
        )
        rng = np.random.default_rng(seed)
        # More of them are positive: the gradient of a bias may be a single number, and should not cancel.
        self.cotangents = [rng.uniform(-0.5, 1.5, s.shape) for s in shapes]
        self.run = jax.jit(everything(case, {}, self.cotangents))
        text = str(jax.make_jaxpr(self.run)(*self.rounded("float32", jnp.float32)))
        self.products = "dot_general" in text or "conv_" in text

    def rounded(self, dtype: str, given: Any) -> tuple[list, list]:
        """The arrays and the cotangents, rounded to `dtype` and given as `given`."""

        def of(arrays):
            return [np.asarray(a).astype(jnp.dtype(dtype)).astype(given) for a in arrays]

        return of(self.case.arrays), of(self.cotangents)

    def reference(self, dtype: str) -> tuple[list, list]:
        """Results and gradients in float64, of arrays that are rounded to `dtype`."""
        with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
            return _numpy(self.run(*self.rounded(dtype, np.float64)))

    def computed(self, preset: Preset) -> tuple[list, list]:
        """Results and gradients on the device."""
        run = self.run
        if preset.result is not None:
            run = jax.jit(everything(self.case, {"preferred_element_type": preset.result}, self.cotangents))
        said = contextlib.nullcontext() if preset.matmul is None else jax.default_matmul_precision(preset.matmul)
        with said:
            return _numpy(run(*self.rounded(preset.dtype, jnp.dtype(preset.dtype))))


def _numpy(results: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a).astype(np.float64), results)


def error(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest error of any of the arrays; what is not finite is infinitely far off."""
    worst = 0.0
    for a, b in zip(got, wanted, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"the shape is {a.shape}, and should be {b.shape}")
        if a.size:
            off = np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
            worst = max(worst, float(off) if np.isfinite(off) else float("inf"))
    return worst


def compare(name: str, turn: int, large: bool, presets: Sequence[Preset] = PRESETS) -> list[dict[str, Any]]:
    """One case in all presets: a record each, with the two errors and their bound, or with what was raised."""
    case = cases.draw_case(name, turn, large)
    platform, records, references = jax.default_backend(), [], {}
    sides = Sides(case, (cases.SEED, turn))
    for preset in presets:
        if preset.result is not None and not case.convolves:
            continue
        record = {"function": name, "turn": turn, "preset": preset.name, "text": case.text}
        records.append(record)
        try:
            if preset.dtype not in references:
                references[preset.dtype] = sides.reference(preset.dtype)
            values, gradients = references[preset.dtype]
            got, got_gradients = sides.computed(preset)
            record |= {
                "value": error(got, values),
                "gradient": error(got_gradients, gradients),
                "bound": bound(preset, platform, sides.products),
                "products": sides.products,
            }
        except Exception as failure:  # one program that a compiler cannot make does not end the others
            record["failed"] = first_line(failure)
    return records


def measure(part: Part) -> None:
    """Takes one case of each function in turn, until the time is up."""
    part.results |= {
        "seed": cases.SEED,
        "presets": [{"name": p.name, "how": p.how} for p in PRESETS],
        "records": [],
        "turns": 0,
    }
    on_cpu = jax.default_backend() == "cpu"
    names = TINY if part.tiny else tuple(cases.FUNCTIONS)
    turn = 0
    # Compiling is most of the work, and a compiler works beside others.
    with ThreadPoolExecutor(2 if on_cpu else 8) as pool:
        while part.seconds_left > 0:

            def one(name: str, turn: int = turn) -> list[dict[str, Any]]:
                return compare(name, turn, large=not on_cpu) if part.seconds_left > 0 else []

            found = list(pool.map(one, names))
            part.results["records"] += [record for records in found for record in records]
            if all(found):
                part.results["turns"] = turn + 1
            turn += 1
            part.results["summary"] = summary(part.results["records"])
            part.save()
            if part.tiny:
                break


def summary(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each preset: how many cases, and the errors of those that were computed."""
    lines = []
    for preset in PRESETS:
        own = [r for r in records if r["preset"] == preset.name]
        done = [r for r in own if "failed" not in r]
        for products in (True, False):
            some = [r for r in done if r["products"] == products]
            if not some:
                continue
            worst = max(some, key=lambda r: max(r["value"], r["gradient"]))
            lines.append(
                {
                    "preset": preset.name,
                    "products": products,
                    "cases": len(some),
                    "median": statistics.median(r["value"] for r in some),
                    "value": max(r["value"] for r in some),
                    "gradient": max(r["gradient"] for r in some),
                    "bound": max(r["bound"] for r in some),
                    "worst": worst["function"],
                    "over": sum(max(r["value"], r["gradient"]) > r["bound"] for r in some),
                }
            )
    return lines


if __name__ == "__main__":
    main(measure)
