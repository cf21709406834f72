"""The arrays of a module against those of a state dict: reading them all, and finding what fits where."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv.interop.files import as_bfloat16
from jaxconv.interop.names import older_name
from jaxconv.interop.report import LoadReport
from jaxconv.interop.slots import ANY, Arrays, CannotHold, Entry, Place, Shape


def read_all(entries: Iterable[Entry]) -> dict[str, np.ndarray]:
    """The state dict of a module, in the order of its entries."""
    result = {}
    for entry in entries:
        arrays = entry.slot.to_torch({name: place.read() for name, place in entry.places.items()})
        for inner in entry.slot.torch:
            name = entry.name(inner)
            if name in result:
                raise ValueError(f"two arrays of the module would be named {name!r}; rename one of its attributes")
            # A copy: what a caller does to it stays with the caller.
            result[name] = np.array(arrays[inner], order="C")
    return result


def match(entries: Sequence[Entry], given: Mapping[str, Any]) -> tuple[LoadReport, list[tuple[Place, np.ndarray]]]:
    """What fits where, and what does not; nothing is written yet."""
    given = _by_newer_names(entries, given)
    loaded, missing, mismatched = [], [], []
    # By the identity of a place, which two entries may share: the place, its new value, and the first name of that.
    writes: dict[Hashable, tuple[Place, np.ndarray, str]] = {}
    absent: list[tuple[str, Entry]] = []
    for entry in entries:
        arrays, not_given, misfits = _gathered(entry, given)
        mismatched += misfits
        if not entry.slot.optional:
            absent += [(name, entry) for name in not_given]
        if not_given or misfits:
            continue
        names = [entry.name(inner) for inner in arrays]
        try:
            values = entry.slot.to_flax(arrays)
        except CannotHold as error:
            mismatched.append(f"{', '.join(names)}: {error}")
            continue
        for inner, value in values.items():
            place = entry.places[inner]
            # The memory of what was given may be written to later, and JAX would share it.
            value = np.array(value, place.dtype, order="C")
            _, first, first_name = writes.setdefault(place.identity, (place, value, names[0]))
            # Bit for bit, so that a NaN equals itself.
            if first is not value and first.tobytes() != value.tobytes():
                mismatched.append(f"{names[0]}: differs from {first_name}, which is the same array in the module")
        loaded += names
    # A shared array needs only one of its names.
    missing = [n for n, entry in absent if not all(place.identity in writes for place in entry.places.values())]
    known = {entry.name(inner) for entry in entries for inner in entry.slot.torch}
    unexpected = [name for name in given if name not in known]
    report = LoadReport(tuple(loaded), tuple(missing), tuple(unexpected), tuple(mismatched))
    return report, [(place, value) for place, value, _ in writes.values()]


def _by_newer_names(entries: Iterable[Entry], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, with PyTorch's present names in place of those that its older versions wrote."""
    given = dict(given)
    for name in (entry.name(inner) for entry in entries for inner in entry.slot.torch):
        older = older_name(name)
        if older is not None and older in given and name not in given:
            given[name] = given.pop(older)
    return given


def _gathered(entry: Entry, given: Mapping[str, Any]) -> tuple[Arrays, list[str], list[str]]:
    """The arrays of one slot that fit, the names that are not given, and a line for each array that does not fit."""
    arrays, not_given, misfits = {}, [], []
    dtype = next(iter(entry.places.values())).dtype if entry.places else np.dtype(np.int64)
    for inner, shape in entry.slot.torch.items():
        name = entry.name(inner)
        if name not in given:
            not_given.append(name)
            continue
        array, wrong = _fitting(given[name], shape, dtype)
        if array is None:
            misfits.append(f"{name}: {wrong}")
        else:
            arrays[inner] = array
    return arrays, not_given, misfits


def _fitting(given: Any, shape: Shape, dtype: np.dtype) -> tuple[np.ndarray | None, str]:
    """The array as the module wants it, or what is wrong with it."""
    try:
        array = _as_numpy(given)
    except Exception as error:
        return None, str(error)
    if not fits(array.shape, shape):
        sizes = ", ".join(sizes_of(shape)) + "," * (len(shape) == 1)
        return None, f"shape {array.shape} in the state dict, ({sizes}) in the module"
    if _kind(array.dtype) != _kind(dtype):
        return None, f"{array.dtype} in the state dict, {dtype} in the module; cast it if that is intended"
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    is_infinite = _kind(dtype) == "floating" and not np.array_equal(np.isinf(cast), np.isinf(array))
    if is_infinite or (_kind(dtype) == "integer" and not np.array_equal(cast, array)):
        return None, f"{array.dtype} in the state dict, with values too large for {dtype} in the module"
    return cast, ""


def sizes_of(shape: Shape) -> list[str]:
    """The sizes along the axes in words."""
    return ["any" if n == ANY else str(n) for n in shape]


def fits(given: Sequence[int], shape: Shape) -> bool:
    """Whether an array of this shape is one that the module wants."""
    return len(given) == len(shape) and all(n in (ANY, m) for m, n in zip(given, shape, strict=True))


def _as_numpy(value: Any) -> np.ndarray:
    """An array of any library, by the methods that its kind has."""
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu().resolve_conj().resolve_neg()
        if str(value.dtype) == "torch.bfloat16":
            # NumPy does not know the type. float32 holds every value of it exactly, so there and back is the same.
            return value.float().numpy().astype(jnp.bfloat16)
        return value.numpy()
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"not an array but {type(value).__name__}")
    return as_bfloat16(np.asarray(value))


def _kind(dtype: np.dtype) -> str:
    for kind in ("floating", "complexfloating", "integer", "bool_"):
        if jnp.issubdtype(dtype, getattr(jnp, kind)):
            return kind
    return str(dtype)
