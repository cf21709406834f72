"""Which algorithm computes an op: one pure function of static facts, which gives its reason in words."""

import math
from collections.abc import Mapping

import numpy as np

from jaxconv._lowering import native, taps, xla
from jaxconv._lowering.family import HIDDEN, Family, Problem

FAMILIES: Mapping[str, Family] = {"xla": xla, "native": native, "taps": taps}
# What the argument `algorithm` may be.
ALGORITHMS = ("auto", *FAMILIES)

# Which algorithm is faster shows in `python -m benchmarks.layers --ops`, where each stands beside the others; the rows
# that a comment names are those that it was judged by.

# A channel that meets few others gives XLA's CPU convolution a naive loop ("depthwise", "32 groups of 4").
FEW_CHANNELS = 8
# A kernel of more taps than this is not worth its compilation ("depthwise 31x31" has 961).
MOST_TAPS = 1024

# What other platforms than CPUs take in place of `xla`: (platform, kind of layer, op, dtype) -> algorithm. An entry
# belongs here where the algorithm is at least 1.2 times as fast in every row of its kind; on a machine with such a
# device `python -m benchmarks.gpu --only ops kernels` prints the lines. It was run on none yet.
MEASURED: Mapping[tuple[str, str, str, str], str] = {}
# Kernels of more taps than this are a kind of their own among depthwise layers.
LARGE_KERNEL = 121


def kind(problem: Problem) -> str:
    """What kind of layer a problem is of, for `MEASURED`."""
    spec, per_group, taps_of_kernel = problem.spec, problem.w_shape[1], math.prod(problem.w_shape[2:])
    if spec.groups > 1 and per_group == 1 and problem.w_shape[0] == spec.groups:
        name = "depthwise, large kernel" if taps_of_kernel > LARGE_KERNEL else "depthwise"
    elif spec.groups > 1:
        name = "small groups" if per_group <= FEW_CHANNELS else "groups"
    elif taps_of_kernel == 1:
        name = "1x1"
    else:
        name = "strided" if max(spec.strides) > 1 else "dense"
    return (
        name if spec.rank == 2 and spec.data_format == "channels_last" else f"{name}, {spec.rank}-D {spec.data_format}"
    )


def choose(problem: Problem) -> tuple[str, str]:
    """The algorithm that computes a problem where none is asked for, and why.

    Returns:
        The algorithm's name, and the reason as a sentence without its full stop.
    """
    spec, dtype = problem.spec, problem.dtype
    if problem.platform != "cpu":
        measured = MEASURED.get((problem.platform, kind(problem), problem.op, str(dtype)))
        if measured is not None and not FAMILIES[measured].cannot(problem):
            return (
                measured,
                f"{kind(problem)}, {dtype}: measured on this platform to be faster than XLA's own convolution",
            )
        return "xla", "XLA's own convolution: no measurement on this platform says otherwise"
    if not native.cannot(problem):
        return "native", f"{dtype} on a CPU: the package's compiled kernels"
    if refusal := taps.cannot(problem):
        return "xla", refusal
    if not np.issubdtype(dtype, np.floating) and str(dtype) != "bfloat16":
        return "xla", f"XLA's own convolution: for {dtype} no other algorithm was measured to be faster"
    per_group = problem.w_shape[1]
    taps_of_kernel = math.prod(problem.w_shape[2:])
    if taps_of_kernel > MOST_TAPS:
        return "xla", f"XLA's own convolution: to compile a sum of {taps_of_kernel} products takes longer than it saves"
    if spec.groups > 1 and per_group <= FEW_CHANNELS:
        return "taps", (
            f"{per_group} channel{'s' * (per_group > 1)} in each of {spec.groups} groups: XLA's CPU convolution takes "
            "a naive loop, and a sum of shifted products is many times faster"
        )
    if spec.groups > 1 and problem.op == "weight":  # "8 groups of 16"
        return "taps", "groups: XLA's CPU convolution takes a naive loop for the weight's gradient"
    if spec.rank == 3:  # "3-D"
        return "taps", "three spatial axes: XLA's CPU convolution takes a loop that is slower than products of matrices"
    if str(dtype) == "float64" and (spec.groups > 1 or spec.rank == 1):
        return "taps", "float64: XLA's CPU convolution takes a naive loop for groups and for a single spatial axis"
    if taps_of_kernel == 1 and spec.groups == 1 and spec.data_format == "channels_last":
        return "taps", "a kernel of one position is a matrix product"
    return "xla", "XLA's own convolution: dense channels keep it busy"


def family_for(problem: Problem, algorithm: str) -> Family:
    """The family that computes a problem with `algorithm`.

    Raises:
        ValueError: it cannot serve the problem; the message says why.
    """
    check(problem, algorithm)
    name = choose(problem)[0] if algorithm == "auto" else algorithm
    # XLA's partitioner gives a multiple of a weight's gradient for images that a part of a mesh's axes divides. Where
    # the division is seen, `sharded.py` computes it in parts; where it is not, it is sums of products that XLA divides.
    is_misdivided = name == "xla" and problem.op == "weight" and problem.devices == HIDDEN
    return taps if is_misdivided and not taps.cannot(problem) else FAMILIES[name]


def check(problem: Problem, algorithm: str) -> None:
    """Refuses an algorithm that cannot serve a problem, as far as that is known."""
    if algorithm != "auto" and (refusal := FAMILIES[algorithm].cannot(problem)):
        raise ValueError(f"algorithm={algorithm!r} cannot serve this call: {refusal}; use algorithm='auto'")


def without_primitive(algorithm: str) -> Family | None:
    """The family of `algorithm` where its operations are to stand in the program in place of a primitive."""
    family = FAMILIES.get(algorithm)
    return family if family is not None and family.WITHOUT_PRIMITIVE else None


def algorithms() -> dict[str, str]:
    """What `algorithm` may name beside `"auto"`, and whether it works here.

    Returns:
        A mapping from each name to `"available"`, or to why it is not.

    Example:
        >>> import jaxconv
        >>> jaxconv.algorithms()
        {'xla': 'available', 'native': 'available', 'taps': 'available'}
    """
    return {name: family.missing() or "available" for name, family in FAMILIES.items()}
