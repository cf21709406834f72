"""`Identity`, explained."""

from typing import Any

from jaxconv._explain.common import plain, sizes_kept
from jaxconv._explain.explanation import Explanation


def explain_identity(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Explains Identity."""
    said = plain(layer, shape, 1, "the input, as it is")
    said["layout"] = tuple(f"axis {i}" for i in range(len(shape)))
    return Explanation(**said, arithmetic=sizes_kept(shape))
