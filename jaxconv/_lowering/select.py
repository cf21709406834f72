"""Which algorithm computes an op: one pure function of static facts, which gives its reason in words."""

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from jaxconv import _native
from jaxconv._lowering import native, taps, xla
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.shapes import is_static

FAMILIES: Mapping[str, ModuleType] = {"xla": xla, "native": native, "taps": taps}

# Which algorithm is faster shows in `python -m benchmarks.layers --ops`, where each stands beside the others; the rows
# that a comment names are those that it was judged by.

# A channel that meets few others gives XLA's CPU convolution a naive loop ("depthwise", "32 groups of 4").
FEW_CHANNELS = 8
# A kernel of more taps than this is not worth its compilation ("depthwise 31x31" has 961).
MOST_TAPS = 1024


def choose(
    op: str,
    spec: ConvSpec,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    dtype: Any,
    platform: str,
    *,
    portable: bool = False,
) -> tuple[str, str]:
    """The algorithm that computes `op` where none is asked for, and why.

    Args:
        op: `"output"`, `"input"` or `"weight"`.
        spec: the convolution that it is a derivative of.
        x_shape: the shape of the convolution's input, batched.
        w_shape: the shape of its weight.
        dtype: the dtype of all arrays.
        platform: where it is computed, by JAX's name.
        portable: whether the program must run without this package, as an exported one must.

    Returns:
        The algorithm's name, and the reason as a sentence without its full stop.
    """
    if platform != "cpu":
        return "xla", "XLA's own convolution: no measurement on this platform says otherwise"
    if not cannot("native", x_shape, dtype, portable=portable):
        return "native", f"{dtype} on a CPU: the package's compiled kernels"
    refusal = cannot("taps", x_shape, dtype)
    if refusal:
        return "xla", refusal
    if not np.issubdtype(dtype, np.floating) and str(dtype) != "bfloat16":
        return "xla", f"XLA's own convolution: for {dtype} no other algorithm was measured to be faster"
    per_group = w_shape[1]
    taps_of_kernel = math.prod(w_shape[2:])
    if taps_of_kernel > MOST_TAPS:
        return "xla", f"XLA's own convolution: to compile a sum of {taps_of_kernel} products takes longer than it saves"
    if spec.groups > 1 and per_group <= FEW_CHANNELS:
        return "taps", (
            f"{per_group} channel{'s' * (per_group > 1)} in each of {spec.groups} groups: XLA's CPU convolution takes "
            "a naive loop, and a sum of shifted products is many times faster"
        )
    if spec.groups > 1 and op == "weight":  # "8 groups of 16"
        return "taps", "groups: XLA's CPU convolution takes a naive loop for the weight's gradient"
    if spec.rank == 3:  # "3-D"
        return "taps", "three spatial axes: XLA's CPU convolution takes a loop that is slower than products of matrices"
    if str(dtype) == "float64" and (spec.groups > 1 or spec.rank == 1):
        return "taps", "float64: XLA's CPU convolution takes a naive loop for groups and for a single spatial axis"
    if taps_of_kernel == 1 and spec.groups == 1 and spec.data_format == "channels_last":
        return "taps", "a kernel of one position is a matrix product"
    return "xla", "XLA's own convolution: dense channels keep it busy"


def cannot(
    algorithm: str, x_shape: Sequence[int], dtype: Any, platform: str = "cpu", *, portable: bool = False
) -> str | None:
    """Why `algorithm` cannot serve a case, or None where it can; the arguments are those of `choose`."""
    if algorithm == "taps" and not is_static(x_shape[1:]):
        return "taps makes blocks of a size in numbers, and the image has a symbolic size"
    if algorithm == "native":
        if _native.unavailable:
            return _native.unavailable
        if str(dtype) not in _native.STORAGES:
            return f"native computes in float32, and the arrays are of dtype {dtype}"
        if platform != "cpu":
            return "native computes on CPUs, and the program is for another platform"
        if portable:
            return "native calls a library of this package, and an exported program must run without it"
        if not is_static(x_shape):
            return "native is called with sizes in numbers, and the image has a symbolic size"
        if len(x_shape) > 5:
            return f"native takes up to three spatial axes, and the image has shape {tuple(x_shape)}"
    return None


def algorithms() -> dict[str, str]:
    """What `algorithm` may name beside `"auto"`, and whether it works here.

    Returns:
        A mapping from each name to `"available"`, or to why it is not.

    Example:
        >>> import jaxconv
        >>> jaxconv.algorithms()
        {'xla': 'available', 'native': 'available', 'taps': 'available'}
    """
    return {name: (name == "native" and _native.unavailable) or "available" for name in FAMILIES}
