"""Words for error messages."""

from collections.abc import Iterable


def show(value: object) -> str:
    """`value` and its type in a message, cut where it is long."""
    text = repr(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return f"{text} of type {type(value).__name__}"


def listing(names: Iterable[str]) -> str:
    """The strings in quotation marks, with commas between."""
    return ", ".join(repr(n) for n in names)


def at_least(minimum: int) -> str:
    """The words after "must be" for a least value."""
    return {0: "zero or positive", 1: "positive"}.get(minimum, f"at least {minimum}")


def ints(rank: int) -> str:
    """How many ints."""
    return f"{rank} int" + "s" * (rank > 1)


def axes(rank: int) -> str:
    """How many spatial axes."""
    return "spatial axis" if rank == 1 else f"{rank} spatial axes"
