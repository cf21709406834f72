"""Which algorithm computes an op: one pure function of static facts, which gives its reason in words."""

from collections.abc import Sequence
from typing import Any

from jaxconv._lowering import xla
from jaxconv._spec import ConvSpec

FAMILIES = {"xla": xla}


def choose(
    op: str, spec: ConvSpec, x_shape: Sequence[int], w_shape: Sequence[int], dtype: Any, platform: str
) -> tuple[str, str]:
    """The algorithm that computes `op` where none is asked for, and why.

    Args:
        op: `"output"`, `"input"` or `"weight"`.
        spec: the convolution that it is a derivative of.
        x_shape: the shape of the convolution's input, batched.
        w_shape: the shape of its weight.
        dtype: the dtype of all arrays.
        platform: where it is computed, by JAX's name.

    Returns:
        The algorithm's name, and the reason as a sentence without its full stop.
    """
    return "xla", "no other algorithm is there: XLA's own convolution"


def algorithms() -> dict[str, str]:
    """What `algorithm` may name, and whether it works here.

    Returns:
        A mapping from each name to `"available"`, or to why it is not.

    Example:
        >>> import jaxconv
        >>> jaxconv.algorithms()["xla"]
        'available'
    """
    return {"xla": "available"}
