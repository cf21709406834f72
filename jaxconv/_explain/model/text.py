"""A model's explanation in words and numbers: a line a row, and the totals."""

import textwrap
from collections.abc import Sequence
from typing import Any

from jaxconv._explain.tables import milliseconds, readable, table

_WIDTH = 100  # of the notes
_LONGEST = 40  # of a name and of a kind, in columns


def text_of(explanation: Any) -> str:
    """The text of a `ModelExplanation`."""
    shapes = ", ".join(map(str, explanation.input_shapes))
    called = [row for row in explanation.rows if row.output_shape is not None]
    lines = [f"{explanation.model}, of {shapes}", f"{len(called)} rows, in the order of the computation", ""]
    lines += _rows(explanation, called)
    missing = [row for row in explanation.rows if row.output_shape is None]
    if missing:
        lines += ["", "not called"]
        lines += ["  " + line for line in table([[r.name, r.kind, f"{r.parameters:,}"] for r in missing], right=(2,))]
    return "\n".join(line.rstrip() for line in [*lines, "", *_totals(explanation), "", *_notes(explanation, called)])


def _rows(explanation: Any, rows: Sequence[Any]) -> list[str]:
    titles = ["layer", "kind", "output", "parameters", "%", "MACs", "%", "moved", "FLOP/B", "bound by"]
    titles += ["field", "jump"] * bool(explanation.axes) + ["algorithms"]
    right = list(range(3, 9))
    of_times = explanation.measured() is not None
    if of_times:
        right += range(len(titles), len(titles) + 4)
        titles += ["at least", "output", "d input", "d param."]
    exchanges = [name for name, pair in (explanation.sent or {}).items() if any(pair)]
    right += range(len(titles), len(titles) + len(exchanges))
    titles += exchanges
    lines = [titles]
    for row in rows:
        line = [
            _short(row.name),
            _short(row.kind if row.times == 1 else f"{row.kind}, {row.times} times"),
            str(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            _percent(row.parameters, explanation.parameters),
            _si(row.multiply_accumulates) if row.multiply_accumulates else "",
            _percent(row.multiply_accumulates, explanation.multiply_accumulates),
            _si(row.bytes, "B"),
            f"{row.intensity:.1f}" if row.multiply_accumulates else "",
            explanation.machine.ceiling(row.multiply_accumulates, row.bytes),
        ]
        if explanation.axes:
            line += [joined(row.receptive_field, "all"), joined(row.jump, "")]
        line.append("/".join(_algorithms(row)))
        if of_times:
            least = explanation.machine.seconds(row.multiply_accumulates, row.bytes)
            line += [milliseconds(least), *(milliseconds(t) for t in row.measured or (None,) * 3)]
        line += [pair_text(row.sent[name]) if row.sent else "" for name in exchanges]
        lines.append(line)
    return table(lines, "  ", right)


def _algorithms(row: Any) -> list[str]:
    """The algorithms of the three ops, or the one of all."""
    names = [op.algorithm for op in row.ops]
    return names[:1] if len(set(names)) == 1 else names


def _totals(explanation: Any) -> list[str]:
    macs, moved, machine = explanation.multiply_accumulates, explanation.bytes, explanation.machine
    lines = [
        ["parameters", f"{explanation.parameters:,}"],
        ["multiply-accumulates", f"{macs:,}, {_si(2 * macs)}FLOP"],
        ["moved", f"{moved:,} bytes {readable(moved)}".rstrip()],
        ["at least", f"{milliseconds(explanation.seconds)} ms here, each row as long as what binds it says"],
    ]
    measured = explanation.measured()
    if measured is not None:
        output, inputs, parameters = (milliseconds(t) for t in measured.values())
        lines.append(
            ["measured", f"{output} ms, gradients of the inputs {inputs} ms, of the parameters {parameters} ms"]
        )
    if explanation.sent is not None:
        parts = [f"{name} {pair_text(pair)}" for name, pair in explanation.sent.items() if any(pair)]
        lines.append(["sent to a device", ", ".join(parts) or "nothing"])
    speeds = f"products {_si(machine.flops)}FLOP/s, copies {_si(machine.bytes)}B/s"
    lines.append(
        [f"{explanation.platform}, {explanation.dtype}", f"{speeds}: they meet at {machine.ridge:.1f} FLOP/byte"]
    )
    return table(lines)


def _notes(explanation: Any, rows: Sequence[Any]) -> list[str]:
    lines = ["MACs and bytes are those of the output. A parameter counts in the first row that has it."]
    if explanation.axes:
        lines.append(
            f"field: positions of the input along {', '.join(explanation.axes)} that one of the output depends on, at "
            "most; where branches join, what any of them reads. jump: how far apart two neighbours' are."
        )
    if any(len(_algorithms(row)) > 1 for row in rows):
        lines.append("algorithms: of the output, of the input's gradient and of the weight's.")
    if explanation.sent is not None:
        lines.append(
            "halos, gathered, summed: bytes that a device receives of others for the output / for the gradients, of "
            "each row compiled by itself."
        )
    if explanation.opaque:
        lines.append(f"not counted: what {', '.join(explanation.opaque)} computes, which no jaxpr shows.")
    return [part for line in lines for part in textwrap.wrap(line, _WIDTH)]


def joined(numbers: Sequence[Any], none: str) -> str:
    """Numbers of all axes, or one where they are the same."""
    texts = [none if n is None else str(n) for n in numbers]
    return texts[0] if texts and len(set(texts)) == 1 else " x ".join(text or "-" for text in texts)


def share(part: int, whole: int) -> float:
    """A part of a whole; 0 of nothing."""
    return part / whole if whole else 0.0


def pair_text(pair: tuple[int, int]) -> str:
    """Bytes for the output and for the gradients; nothing where there are none."""
    return " / ".join(_si(n, "B") if n else "0" for n in pair) if any(pair) else ""


def _percent(part: int, whole: int) -> str:
    return f"{100 * share(part, whole):.1f}" if part else ""


def _si(number: float, unit: str = "") -> str:
    """A number of three digits with its prefix."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size * 0.9995:
            scaled = number / size
            digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{number:.0f} {unit}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"
