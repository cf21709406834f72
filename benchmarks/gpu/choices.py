"""What follows from the times of `ops.py` and `kernels.py`: the lines that `select.py` should have for this platform.

An algorithm is worth its line where it is at least 1.2 times as fast as XLA's own convolution in every row of a kind of
layer, an op and a dtype. The lines name algorithms that the library has; a candidate that it does not have yet has to
be brought into it first, and the text says how.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from jaxconv._lowering import select

WINS = 1.2  # a choice is worth its line from here on
PARTS = ("ops", "kernels")
LAYER_NORM = "layer norm"  # a kind that `select.py` has no say in
Key = tuple[str, str, str, str]  # platform, kind of layer, op, dtype: as `select.MEASURED` has them
# How a candidate becomes an algorithm of the library.
BRINGS = {
    "pallas": (
        "`git mv benchmarks/gpu/depthwise.py jaxconv/_lowering/depthwise.py`, and in `FAMILIES` of "
        '`jaxconv/_lowering/select.py` the entry `"pallas": depthwise`'
    ),
    **dict.fromkeys(
        ("shifted", "product", "interior"),
        "a file beside `jaxconv/_lowering/taps.py` that implements `Family` by this function of "
        "`benchmarks/gpu/ops.py`, and an entry in `FAMILIES` of `jaxconv/_lowering/select.py`",
    ),
}
OF_NORMS = (
    "`git mv benchmarks/gpu/layer_norm.py jaxconv/_lowering/layer_norm.py`, and `_computed` of "
    "`jaxconv/_normalised.py` takes its kernels where the platform is `cuda`"
)


@dataclass(frozen=True)
class Winner:
    """What is faster than `xla` in rows of a key, and in how many of them.

    Attributes:
        key: platform, kind of layer, op and dtype.
        side: the algorithm or the candidate.
        ratios: the time of `xla` over its own, of each row that has both.
        rows: how many rows the key has where `xla` was timed.
    """

    key: Key
    side: str
    ratios: tuple[float, ...]
    rows: int

    @property
    def everywhere(self) -> bool:
        """Whether it wins in all rows."""
        return len(self.ratios) == self.rows and min(self.ratios) >= WINS

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios."""
        return geometric_mean(self.ratios)

    @property
    def text(self) -> str:
        """How it does."""
        low, high = min(self.ratios), max(self.ratios)
        times = f"{low:.2f}" if len(self.ratios) == 1 else f"{low:.2f} to {high:.2f}"
        return f"{times} times as fast as xla in {len(self.ratios)} of {self.rows} row{'s' * (self.rows > 1)}"


def winners(found: Mapping[str, Any]) -> list[Winner]:
    """Each side that is 1.2 times as fast in any row, the best of a key first; a CPU's are no matter of `MEASURED`."""
    every = [w for part in PARTS for w in _of_part(found.get(part, {}))]
    return sorted((w for w in every if max(w.ratios) >= WINS), key=lambda w: (w.key, not w.everywhere, -w.mean))


def _of_part(results: Mapping[str, Any]) -> Iterator[Winner]:
    rows: dict[Key, int] = {}
    ratios: dict[tuple[Key, str], list[float]] = {}
    for name, figures in results.get("rows", {}).items():
        of, times = results["about"][name], {side: f["ms"] for side, f in figures.items() if "ms" in f}
        key = (of["platform"], of["kind"], of["op"], of["dtype"])
        if "xla" not in times or of["platform"] == "cpu":
            continue
        rows[key] = rows.get(key, 0) + 1
        for side in times.keys() - {"xla"}:
            ratios.setdefault((key, side), []).append(times["xla"] / times[side])
    for (key, side), values in ratios.items():
        yield Winner(key, side, tuple(values), rows[key])


def best(found: Mapping[str, Any]) -> dict[Key, Winner]:
    """For each key the fastest of the library's algorithms that win everywhere."""
    of_library = [w for w in winners(found) if w.everywhere and w.side in select.FAMILIES and w.key[1] != LAYER_NORM]
    return {w.key: w for w in reversed(of_library)}


def text(found: Mapping[str, Any]) -> str:
    """The lines of `MEASURED`, and in words what else was found to be faster."""
    parts, chosen = [], best(found)
    if chosen:
        lines = "\n".join(f"    {_entry(w)},  # {w.text}" for _, w in sorted(chosen.items()))
        parts.append(f"Lines for `MEASURED` of `jaxconv/_lowering/select.py`:\n\n```\n{lines}\n```\n")
    for w in winners(found):
        if not w.everywhere:
            parts.append(f"- {_named(w)} is {w.text}: not in every row, so there is no line for it.")
        elif w.key[1] == LAYER_NORM:
            parts.append(f"- {_named(w)} is {w.text}. To bring it in: {OF_NORMS}.")
        elif w.side in BRINGS and (w.key not in chosen or w.mean > chosen[w.key].mean):
            parts.append(f"- {_named(w)} is {w.text}. To bring it in: {BRINGS[w.side]}; then the line `{_entry(w)},`.")
    return "\n".join(parts).strip() or f"No candidate is {WINS} times as fast as XLA here: nothing is to be changed."


def _entry(w: Winner) -> str:
    return f'({", ".join(repr(part).replace(chr(39), chr(34)) for part in w.key)}): "{w.side}"'


def _named(w: Winner) -> str:
    return f"`{w.side}`, {', '.join(w.key)},"
