"""Single arguments: each is checked where it enters, and the error names the argument, its value and a fix."""

import difflib
import functools
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any

from jaxconv._spec.messages import at_least, ints, listing, short, show
from jaxconv._spec.shapes import Size, is_static, is_symbolic

# Parsed calls that are remembered; a network has a few hundred distinct ones.
_CACHE_SIZE = 4096
IntOrInts = int | Sequence[int]
# PyTorch and XLA count in 64 bits.
LARGEST = 2**63 - 1


def remembered(parse: Callable[[int, Any, Any], Any]) -> Callable[[int, Any, Any], Any]:
    """`parse` of (rank, the shapes of the arrays, the arguments), which it gets `checked`; its results are remembered.

    Symbolic sizes are left out: they cannot be compared with those of another program, as looking one up would.
    """
    cached = functools.lru_cache(_CACHE_SIZE)(parse)

    @functools.wraps(parse)
    def call(rank: int, shapes: Any, arguments: Any):
        return (cached if is_static(*shapes) else parse)(rank, shapes, arguments.checked(rank))

    return call


def one_of(name: str, value: object, valid: Sequence[str]) -> str:
    """`value`, checked to be one of the strings in `valid`; the error names the nearest of them."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {listing(valid)}, got {show(value)}")
    if value not in valid:
        nearest = difflib.get_close_matches(value[:100].lower(), valid, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"{name} must be one of {listing(valid)}, got {short(value)}{hint}")
    return value


def integer(name: str, value: object, minimum: int | None = None) -> int:
    """`value` as an int, at least `minimum`. As in PyTorch neither a bool nor a float counts as an integer."""
    if type(value) is not int:
        try:
            if isinstance(value, bool):
                raise TypeError
            value = operator.index(value)  # type: ignore[arg-type]  # numpy's integers, and whatever else is one
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {show(value)}") from None
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be {at_least(minimum)}, got {short(value)}")
    if abs(value) > LARGEST:
        raise ValueError(f"{name} must be below 2**63, got {short(value)}; positions are counted in 64 bits")
    return value


def per_axis(
    name: str, value: object, rank: int, minimum: int | None = None, *, one_for_all: bool = True
) -> tuple[int, ...]:
    """`value` as `rank` ints: an int stands for all axes, and so does a sequence of one unless `one_for_all` is off.

    PyTorch takes a sequence of one for the arguments of a convolution, but not for the size of a kernel.
    """
    if type(value) is int:
        return (integer(name, value, minimum),) * rank
    if isinstance(value, str) or not isinstance(value, Sequence):
        try:
            return (integer(name, value, minimum),) * rank
        except TypeError:
            raise TypeError(f"{name} must be an int or a tuple of {ints(rank)}, got {show(value)}") from None
    if len(value) != rank and not (one_for_all and len(value) == 1):
        raise ValueError(f"{name} must be an int or a tuple of {ints(rank)}, got {show(value)}")
    numbers = tuple(integer(f"{name}[{i}]", v) for i, v in enumerate(value))
    if minimum is not None and min(numbers) < minimum:
        raise ValueError(f"{name} must be {at_least(minimum)} along each axis, got {show(value)}")
    return numbers * rank if len(numbers) == 1 else numbers


def boolean(name: str, value: object) -> bool:
    """`value`, checked to be True or False, as PyTorch does."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {show(value)}")
    return value


def truth(name: str, value: object) -> bool:
    """`value` of a layer's switch, of which PyTorch asks only whether it is true: True or False, 1 or 0, or None.

    A text or an array in its place is an argument that was meant for another parameter.
    """
    of_numpy = type(value).__name__ in ("bool", "bool_")
    if not (value is None or of_numpy or (isinstance(value, int) and value in (0, 1))):
        raise TypeError(f"{name} must be True or False, got {show(value)}")
    return bool(value)


def number(name: str, value: Any) -> float:
    """`value` as a float; as in PyTorch a bool is a number here, and so is an array of one."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    is_real = isinstance(value, numbers.Real) or (getattr(value, "shape", None) == () and kind in tuple("biufV"))
    try:
        if not is_real:
            raise TypeError
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number that a float can hold, got {short(value)}") from None
    except (TypeError, ValueError):  # JAX's own, of a number that is known only when the program runs, among them
        raise TypeError(f"{name} must be a real number, known when the call is made, got {show(value)}") from None


def axis_number(name: str, value: object, ndim: int) -> int:
    """The number of an axis, which may be counted from the end."""
    number = integer(name, value)
    if not -ndim <= number < ndim:
        raise ValueError(f"{name} must be an axis of the input, from {-ndim} to {ndim - 1}, got {number}")
    return number % ndim


def parse_shape(name: str, shape: object) -> tuple[Size, ...]:
    """A shape given as an argument."""
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TypeError(f"{name} must be a tuple of ints, got {show(shape)}")
    return tuple(n if is_symbolic(n) else integer(f"{name}[{i}]", n, 0) for i, n in enumerate(shape))


def parse_output_size(output_size: object) -> tuple[Size, ...] | None:
    """`output_size` as a tuple."""
    if output_size is None:
        return None
    if isinstance(output_size, str) or not isinstance(output_size, Sequence):
        raise TypeError(f"output_size must be a tuple of ints, got {show(output_size)}")
    return tuple(n if is_symbolic(n) else integer("output_size", n) for n in output_size)


def check_dtypes(**dtypes: Any) -> None:
    """Refuses arrays of different dtypes, and of dtypes that convolution is not defined for."""
    (first, dtype), *rest = ((name, d) for name, d in dtypes.items() if d is not None)
    if getattr(dtype, "kind", "") not in tuple("iufcV"):  # V: the extended floats, bfloat16 among them
        raise TypeError(
            f"{first} has dtype {dtype}, and a convolution needs numbers; convert it, for example "
            f"{first}.astype('float32')"
        )
    for name, other in rest:
        if other != dtype:
            raise TypeError(
                f"{name} has dtype {other} where {first} has {dtype}; a convolution does not mix dtypes: convert "
                f"one, for example {name}.astype({str(dtype)!r})"
            )
