"""Numbers and tables as text."""

from collections.abc import Sequence


def milliseconds(seconds: float | None) -> str:
    """A time in milliseconds, to three digits; "" of none."""
    return "" if seconds is None else f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:.0f}"


def readable(number: int) -> str:
    """A number of bytes in a unit that leaves at most four digits."""
    size, units = float(number), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return "" if units[0] == "bytes" else f"({size:.1f} {units[0]})"


def table(rows: Sequence[Sequence[str]], gap: str = "   ", right: Sequence[int] = ()) -> list[str]:
    """The rows with their columns aligned, those in `right` at their ends."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        gap.join(t.rjust(w) if i in right else t.ljust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def hang(text: str) -> int:
    """How far the last column of a line of a table is from its start."""
    parts = text.rstrip().rsplit("   ", 1)
    return len(parts[0]) + 3 if len(parts) == 2 else (text.index(": ") + 2 if ": " in text[:10] else 0)
