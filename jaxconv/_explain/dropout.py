"""Layers that drop parts of an array, explained."""

from typing import Any

from jaxconv._explain.common import plain, sizes_kept
from jaxconv._explain.explanation import Explanation
from jaxconv._layers.dropout import Dropout


def explain_dropout(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains Dropout1d to Dropout3d, and StochasticDepth."""
    what = "each channel" if isinstance(layer, Dropout) else "each row" if layer.mode == "row" else "the batch"
    kind = f"{what} dropped with probability {layer.p} in training, the input as it is in evaluation"
    said = plain(layer, shape, 1, kind)
    said["layout"] = tuple(f"axis {i}" for i in range(len(shape)))
    return Explanation(**said, arithmetic=sizes_kept(shape))
