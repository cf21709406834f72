"""Calls with something wrong in them: of every public function and layer, with values that nobody should give it.

A call starts from one that works, and has one or two of its arguments exchanged for values that are drawn without a
look at what the argument means. Whatever comes of it, it has to be an answer, or an error that jaxconv itself raises.
Nothing is computed but shapes, so that an argument of 2**40 costs nothing.
"""

import ast
import collections
import decimal
import enum
import fractions
import functools
import inspect
import math
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from layer_cases import LAYERS, Layer

import jaxconv
import jaxconv.linen
import jaxconv.nnx

PACKAGE = Path(jaxconv.__file__).parent


class _Level(enum.IntEnum):
    TWO = 2


class _NoText:
    def __repr__(self):
        raise RuntimeError("a text that nobody can have")


def _odd_values() -> dict[str, Any]:
    """Values of all kinds, by a text."""
    numbers = [0, -1, -2, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, 2**63, 10**30, 10**5000, -(2**63)]
    numbers += [1.5, 2.0, float("nan"), float("inf"), -float("inf"), 1e308, 1j, True, False, None, ...]
    texts = ["2", "", "same", "SAME", "valid", "causal", "reflect", "nearest", "bilinear", "xla", "taps", "float32"]
    texts += ["float8_e4m3fn", "x" * 10_000, "\x00é", b"2", np.str_("same")]
    groups = [(), [], (1,), (1, 2), (2, 1), (1, 2, 3), (1,) * 7, (0, 1), (-1, 1), (2**40, 1), (None, 2), (True, 1)]
    groups += [(1.0, 2), ("1", 2), ((1, 2),), ((1, 2), (0, 1)), ((1, 2), 3), [[1]], {1, 2}, {"a": 1}, range(2)]
    groups += [(1,) * 5_000, functools.reduce(lambda a, _: (a,), range(50), ())]
    scalars = [np.int64(2), np.int8(-1), np.uint64(2**64 - 1), np.float32(2), np.float16(1), np.bool_(True)]
    scalars += [np.array(2), np.array([1, 2]), np.ones((2, 2)), np.array([]), np.array([1, "a", None], object)]
    scalars += [jnp.int32(2), jnp.ones(2), np.dtype("int8")]
    objects = [fractions.Fraction(2), decimal.Decimal(2), _Level.TWO, _NoText(), object()]
    objects += [lambda *a: a, slice(1), collections.UserList([1, 2]), iter((1, 2)), jax.random.key(0)]
    every = [*numbers, *texts, *groups, *scalars, *objects]
    return {f"{i}: {type(value).__name__}": value for i, value in enumerate(every)}


ODD_VALUES = _odd_values()
DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "complex64", "complex128", "bool", "object", "<U3", "datetime64[s]"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float8_e4m3fn", "int4", "longdouble"),
)


def _array_of(shape: list[int], dtype: Any) -> Any:
    """An array, or where it is large only its shape."""
    return np.zeros(shape, dtype) if math.prod(shape) <= 2**16 else jax.ShapeDtypeStruct(shape, dtype)


def _spoiled_array(rng: np.random.Generator, array: Any) -> Any:
    """An array of another shape or dtype, or none at all."""
    shape, how = list(array.shape), rng.integers(7)
    axis = int(rng.integers(max(len(shape), 1)))
    if how == 0:
        return list(ODD_VALUES.values())[rng.integers(len(ODD_VALUES))]
    if how == 1:
        name = DTYPES[rng.integers(len(DTYPES))]
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        return _array_of(shape, dtype)
    if how == 2 and shape:
        shape[axis] = (0, 1, shape[axis] + 1, 2**20, 2**31)[rng.integers(5)]
        return _array_of(shape, array.dtype)
    if how == 3 and shape:
        del shape[axis]
    elif how == 4:
        shape.insert(axis, int(rng.integers(4)))
    elif how == 5:
        shape = [1] * int(rng.integers(10))
    else:
        return np.zeros(2, [("a", "f4")])
    return _array_of(shape, array.dtype)


class Subject(NamedTuple):
    """What is called, and by which arguments it works."""

    name: str
    call: Callable[..., Any]
    arguments: dict[str, Any]


def _array(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype)


_SIZES = {1: (9,), 2: (9, 8), 3: (7, 9, 8)}
_KERNELS = {1: (3,), 2: (3, 2), 3: (3, 2, 1)}


def _arguments(name: str) -> dict[str, Any]:
    """The arguments that a function cannot be called without."""
    of_rank = re.search(r"(\d)d", name)
    rank = int(of_rank[1]) if of_rank else 2
    size, kernel = _SIZES[rank], _KERNELS[rank]
    x, w = (2, 4, *size), (6, 4, *kernel)
    y = (2, 6, *(n - k + 1 for n, k in zip(size, kernel, strict=True)))
    kinds = {
        "conv_input": {"input_size": x, "weight": _array(*w), "grad_output": _array(*y)},
        "conv_weight": {"input": _array(*x), "weight_size": w, "grad_output": _array(*y)},
        "conv_transpose": {"input": _array(*x), "weight": _array(4, 6, *kernel)},
        "conv": {"input": _array(*x), "weight": _array(*w)},
        "max_pool": {"input": _array(*x), "kernel_size": 2},
        "avg_pool": {"input": _array(*x), "kernel_size": 2},
        "adaptive_avg_pool": {"input": _array(*x), "output_size": 3},
        "adaptive_max_pool": {"input": _array(*x), "output_size": 3},
        "lp_pool": {"input": _array(*x), "norm_type": 2.0, "kernel_size": 2},
        "max_unpool": {"input": _array(*x), "indices": np.zeros(x, "int32"), "kernel_size": 2},
        "batch_norm": {"input": _array(*x), "running_mean": _array(4), "running_var": _array(4)},
        "instance_norm": {"input": _array(*x), "weight": _array(4)},
        "group_norm": {"input": _array(*x), "num_groups": 2},
        "layer_norm": {"input": _array(*x), "normalized_shape": 8},
        "rms_norm": {"input": _array(*x), "normalized_shape": (9, 8)},
        "local_response_norm": {"input": _array(*x), "size": 3},
        "interpolate": {"input": _array(*x), "size": (5, 7)},
        "grid_sample": {"input": _array(*x), "grid": _array(2, 5, 7, 2)},
        "affine_grid": {"theta": _array(2, 2, 3), "size": (2, 3, 5, 7)},
        "pixel_shuffle": {"input": _array(*x), "upscale_factor": 2},
        "pixel_unshuffle": {"input": _array(2, 3, 8, 4), "downscale_factor": 2},
        "channel_shuffle": {"input": _array(*x), "groups": 2},
        "prelu": {"input": _array(*x), "weight": _array(4)},
        "unfold": {"input": _array(*x), "kernel_size": (3, 2)},
        "fold": {"input": _array(2, 12, 9), "output_size": (4, 5), "kernel_size": (2, 3)},
        "pad": {"input": _array(*x), "pad": (1, 2, 0, 1)},
    }
    return kinds[name.replace(f"{rank}d", "")]


# What is no function of arrays.
NOT_CALLED = ("explain", "algorithms", "fuse")


def _functions() -> list[Subject]:
    names = [n for n, value in vars(jaxconv).items() if inspect.isfunction(value) and n not in NOT_CALLED]
    return [Subject(n, getattr(jaxconv, n), _arguments(n)) for n in names]


def _layer(shell: Any, row: Layer, **arguments: Any) -> Any:
    """A layer made and called: in Linen with variables of its own."""
    x = arguments.pop("input")
    if shell is jaxconv.nnx:
        return row.call(getattr(shell, row.name)(**arguments), x)
    layer = getattr(shell, row.name)(**{**row.in_linen, **arguments})
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return row.call(functools.partial(layer.init_with_output, keys), x)


def _names(layer: type) -> list[str]:
    """The arguments of a layer's constructor that are not Flax's."""
    names = inspect.signature(layer.__init__).parameters
    return [n for n in names if n not in ("self", "parent", "name")]


def _layers() -> list[Subject]:
    subjects = []
    for shell in (jaxconv.nnx, jaxconv.linen):
        for row in LAYERS:
            cls = getattr(shell, row.name)
            names = _names(cls)
            bound = {**dict(zip(names, row.args, strict=False)), **row.kwargs}
            arguments = {"input": _array(*row.shape), **bound}
            if "rngs" in names:
                arguments["rngs"] = nnx.Rngs(0)
            call = functools.partial(_layer, shell, row)
            subjects.append(Subject(f"{shell.__name__.split('.')[1]}.{row.name}", call, arguments))
    return subjects


SUBJECTS = [*_functions(), *_layers()]


def _parameters(subject: Subject) -> list[str]:
    """All arguments that a subject takes."""
    if not isinstance(subject.call, functools.partial):
        return list(inspect.signature(subject.call).parameters)
    shell, row = subject.call.args
    # What is called with more than an input has it made of a good one.
    beside = ["input"] if row.call is Layer._field_defaults["call"] else []
    return [*beside, *_names(getattr(shell, row.name))]


class Spoiled(NamedTuple):
    """A call with something wrong in it."""

    subject: Subject
    arguments: dict[str, Any]
    text: str


def draw(seed: int) -> Spoiled:
    """The call of this number."""
    rng = np.random.default_rng(seed)
    subject = SUBJECTS[rng.integers(len(SUBJECTS))]
    arguments, names, words = dict(subject.arguments), _parameters(subject), []
    for _ in range(rng.integers(1, 3)):
        name = names[rng.integers(len(names))]
        given = arguments.get(name)
        if isinstance(given, np.ndarray | jax.ShapeDtypeStruct):
            arguments[name] = _spoiled_array(rng, given)
            words.append(f"{name} in place of an array")
        else:
            text = list(ODD_VALUES)[rng.integers(len(ODD_VALUES))]
            arguments[name] = ODD_VALUES[text]
            words.append(f"{name}={text}")
    return Spoiled(subject, arguments, f"{seed}: {subject.name}({', '.join(words)})")


def outcome(spoiled: Spoiled) -> str:
    """`"answers"`, `"refuses"` or, of an error that is not jaxconv's own, its text."""
    try:
        # An `nnx.Rngs` draws under a trace only if it was made there.
        arguments, late, large = dict(spoiled.arguments), {}, {}
        for name, value in spoiled.arguments.items():
            if isinstance(value, nnx.Rngs):
                late[name] = arguments.pop(name)
            elif isinstance(value, jax.ShapeDtypeStruct):
                large[name] = arguments.pop(name)

        def call(large):
            found = spoiled.subject.call(**arguments, **{k: nnx.Rngs(0) for k in late}, **large)
            return [a for a in jax.tree.leaves(found) if isinstance(a, jax.Array)]  # Identity gives what it gets

        jax.eval_shape(call, large)
    except (TypeError, ValueError) as error:
        return "refuses" if _is_ours(error) else _foreign(error)
    except Exception as error:
        return _foreign(error)
    return "answers"


def _foreign(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.filename}:{frame.lineno}: {str(error)[:200]}"


@functools.cache
def _raises(file: str) -> list[tuple[int, int]]:
    """The lines of the statements of a file that raise an error."""
    nodes = ast.walk(ast.parse(Path(file).read_text()))
    return [(n.lineno, n.end_lineno or n.lineno) for n in nodes if isinstance(n, ast.Raise)]


def _is_ours(error: Exception) -> bool:
    """Whether the error was raised by a statement of the package, with a message of one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if not Path(frame.filename).is_relative_to(PACKAGE) or frame.lineno is None:
        return False
    message = str(error)
    readable = 10 < len(message) < 600 and "\n" not in message
    return readable and any(first <= frame.lineno <= last for first, last in _raises(frame.filename))
