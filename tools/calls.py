"""The cases of the tests for a library that cannot be loaded here: calls recorded, and their results compared.

    python tools/calls.py record CALLS      what XLA would call the library with, in the form that call.cpp reads
    python tools/calls.py compare RESULTS   what call.cpp wrote, with the oracle of the tests

A call is what a program of JAX's is lowered to, so nothing here knows the handlers' attributes or scratch.
"""

import math
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from jaxlib.mlir import ir

import jaxconv

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import reference
from cases import CASES, DATA_FORMATS, Case, layout

# In XLA_FFI_DataType, and in bytes.
DTYPES = {"ui8": (6, 1), "f16": (10, 2), "f32": (11, 4), "bf16": (16, 2)}
# The largest error, as a part of the largest number of the result: in 16 bits that of the result's own rounding.
ERRORS = {"float32": 1.5e-6, "bfloat16": 2.0**-8, "float16": 2.0**-11}


@dataclass(frozen=True)
class Call:
    """A function that is lowered to one call, its arguments, and its results in float64."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]


def calls() -> Iterator[Call]:
    """Every case of the tests in both data formats and all dtypes."""
    for case in CASES:
        for data_format in DATA_FORMATS:
            for dtype in ERRORS:
                yield from ops(case, data_format, dtype)


def ops(case: Case, data_format: str, dtype: str) -> Iterator[Call]:
    """The three ops of a case, and the bias and its gradient with them."""
    conv = partial(getattr(jaxconv, f"conv{case.rank}d"), **case.arguments(data_format), algorithm="native")
    x, w, b, y = (a.astype(jnp.dtype(dtype)) for a in case.arrays())
    exact = tuple(a.astype("float64") for a in (x, w, b, y))
    x, y = layout(x, data_format), layout(y, data_format)
    options = case.reference_arguments()

    def input(w, y):
        return jax.vjp(lambda x: conv(x, w), jnp.zeros_like(x))[1](y)

    def weight(x, y):
        return jax.vjp(partial(conv, x), jnp.zeros_like(w), jnp.zeros_like(b))[1](y)

    name = f"{case}, {data_format}, {dtype}"
    result = layout(reference.conv(*exact[:3], **options), data_format)
    yield Call(f"output of {name}", conv, (x, w, b), (result,))
    if case.padding_mode == "zeros" or dtype == "float32":  # others are widened before the call
        result = layout(reference.conv_input(exact[0].shape, exact[1], exact[3], **options), data_format)
        yield Call(f"input of {name}", input, (w, y), (result,))
    kernel = reference.conv_weight(exact[0], w.shape, exact[3], **options)
    yield Call(f"weight of {name}", weight, (x, y), (kernel, exact[3].sum(axis=(0, *range(2, y.ndim)))))


def record(call: Call) -> bytes:
    """The call that the program ends with; before it stands what `jax.vjp` computes and does not use."""
    module = jax.jit(call.function, keep_unused=True).lower(*call.arguments).compiler_ir("stablehlo")
    found = []

    def visit(operation):
        if operation.name == "stablehlo.custom_call":
            found.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    operation = found[-1]
    attributes = sorted((a.name, a.attr) for a in operation.attributes["mhlo.backend_config"])
    parts = [text(operation.attributes["call_target_name"].value.encode()), number(len(attributes))]
    for name, value in attributes:
        is_list = not isinstance(value, ir.IntegerAttr)
        values = [int(n) for n in value] if is_list else [value.value]
        parts += [text(name.encode()), number(is_list, len(values), *values)]
    parts.append(number(len(operation.operands)))
    for operand in operation.operands:
        array = call.arguments[operand.arg_number]  # an argument of the program's own, as it is
        assert list(operand.type.shape) == list(array.shape)
        parts += [described(operand.type), text(array.tobytes())]
    parts.append(number(len(operation.results)))
    for result in operation.results:
        width = DTYPES[str(result.type.element_type)][1]
        parts += [described(result.type), number(width * math.prod(result.type.shape))]
    return b"".join(parts)


def number(*values: int) -> bytes:
    """Integers of 64 bits."""
    return struct.pack(f"<{len(values)}q", *values)


def text(value: bytes) -> bytes:
    """Bytes after their number, up to a whole integer."""
    return number(len(value)) + value + bytes(-len(value) % 8)


def described(array: Any) -> bytes:
    """The dtype, rank and dimensions of an MLIR type."""
    return number(DTYPES[str(array.element_type)][0], array.rank, *array.shape)


def compare(call: Call, results: BinaryIO) -> bool:
    """Whether the next results are those of `call`."""
    right = True
    dtype = call.arguments[0].dtype
    for expected in call.expected:
        found = np.frombuffer(results.read(expected.size * dtype.itemsize), dtype).astype("float64")
        error = np.abs(found - expected.ravel()).max(initial=0)
        if not error <= ERRORS[str(dtype)] * np.abs(expected).max(initial=0):
            print(f"{call.name}: off by {error:.2g} of {np.abs(expected).max():.2g}")
            right = False
    return right


def main() -> int:
    """Carries out the command; 1 where a result is not the oracle's."""
    command, path = sys.argv[1:]
    if command == "record":
        with open(path, "wb") as file:
            file.writelines(map(record, calls()))
        return 0
    with open(path, "rb") as file:
        right = [compare(call, file) for call in calls()]
        assert not file.read(), "more results than calls"
    print(f"{sum(right)} of {len(right)} calls are the oracle's")
    return not all(right)


if __name__ == "__main__":
    sys.exit(main())
