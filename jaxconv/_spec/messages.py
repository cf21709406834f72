"""Words for error messages."""

from collections.abc import Iterable

# Of a value that is shown in a message.
_LONGEST = 80


def short(value: object) -> str:
    """`value` in a message, in one line, cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"  # Python refuses to write some of them out
    if isinstance(value, str | bytes):
        value = value[: _LONGEST + 1]
    try:
        text = repr(value)
    except Exception:  # of an object of the user's, or of a long int within a tuple
        text = "a value without a text"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def show(value: object) -> str:
    """`value` and its type in a message."""
    return f"{short(value)} of type {type(value).__name__}"


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
