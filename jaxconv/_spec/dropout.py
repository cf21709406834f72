"""What the layers that drop parts of arrays take: probabilities, and the axes of what is dropped as a whole."""

from collections.abc import Sequence
from typing import Any

from jaxconv._spec.arguments import boolean, one_of
from jaxconv._spec.messages import show
from jaxconv._spec.shapes import Size

MODES = ("batch", "row")
_FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
# The images of each layer with one axis fewer: PyTorch's Dropout2d still takes (N, C, L) for three axes.
_SHAPES = {
    1: (("C", "L"), ("N", "C", "L")),
    2: (("N", "C", "L"), ("N", "C", "H", "W")),
    3: (("C", "D", "H", "W"), ("N", "C", "D", "H", "W")),
}


def parse_probability(value: object) -> float:
    """A probability, that of being dropped."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"p must be a number from 0 to 1, got {show(value)}")
    if not 0 <= value <= 1:
        raise ValueError(f"p must be a probability, from 0 to 1, got {show(value)}")
    return value


def check_inplace(value: object) -> None:
    """Refuses to work in place."""
    if boolean("inplace", value):
        raise ValueError("inplace must be False, got True; JAX's arrays are never changed in place: leave it out")


def parse_mode(value: object) -> str:
    """What is dropped as a whole: the batch, or each of its rows."""
    return one_of("mode", value, MODES)


def channel_axes(shape: Sequence[Size], rank: int, data_format: str) -> tuple[int, ...]:
    """The axes of `shape` along which is decided anew what is dropped: those of the batch and of the channels."""
    for letters in _SHAPES[rank]:
        if len(letters) == len(shape):
            batch = letters[0] == "N"
            channels = len(shape) - 1 if data_format == "channels_last" else int(batch)
            return (0, channels) if batch else (channels,)
    shown = [_formatted(letters, data_format) for letters in _SHAPES[rank]]
    raise ValueError(f"input of Dropout{rank}d must have shape {shown[1]} or {shown[0]}, got shape {tuple(shape)}")


def _formatted(letters: Sequence[str], data_format: str) -> str:
    if data_format == "channels_last":
        letters = [*(x for x in letters if x != "C"), "C"]
    return f"({', '.join(letters)})"


def row_axes(shape: Sequence[Size], mode: str) -> tuple[int, ...]:
    """The axes along which is decided anew what is dropped: the first for rows, none for the batch."""
    if mode == "batch":
        return ()
    if not shape:
        raise ValueError("input must have an axis of rows for mode 'row', got shape (); use mode 'batch'")
    return (0,)


def check_dropped_dtype(dtype: Any) -> None:
    """Refuses what cannot be scaled up for what is dropped."""
    if str(dtype) not in _FLOATS:
        raise TypeError(
            f"input has dtype {dtype}, and what is kept is scaled, which needs floating point numbers; convert it, for "
            "example input.astype('float32')"
        )


def check_seeds(there: bool, layer: str) -> None:
    """Refuses to draw from nothing."""
    if not there:
        raise ValueError(
            f"rngs must be given to {layer} when it is made or called, for example rngs=nnx.Rngs(0), since it is not "
            "deterministic; or switch it off by model.eval()"
        )
