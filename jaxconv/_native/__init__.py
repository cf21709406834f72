"""The compiled kernels: the library is found and loaded, and its handlers are made known to XLA, or it is said why not.

Nothing is compiled here. `native.so` lies beside this file where the package was installed with a C++ compiler, and
`unavailable.txt` where it was not.
"""

import ctypes
import os
import re
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

OPS = ("output", "input", "weight")
NORMS = ("moments", "products", "blend", "layer", "layer_back")
POOLS = ("maxima", "put")
STORAGES = ("float32", "bfloat16", "float16")

_FOLDER = Path(__file__).parent


def target(op: str) -> str:
    """The name that XLA calls the handler of an op by."""
    return f"jaxconv_{op}"


# A call in numbers, for the two functions below: the shapes of x, w and y; the strides, the low pads, the high pads and
# the dilations, one number per spatial axis each; then the groups, the padding mode's index in `PADDING_MODES`, whether
# the channels come last, the dtype's index in `STORAGES`, and whether there is a bias. `parse` in check.h reads them.


def scratch_bytes(op: str, rank: int, numbers: Sequence[int]) -> int:
    """How many bytes of scratch a call of `op` must bring.

    Raises:
        ValueError: if the kernels refuse the call, with the reason that `refusal` gives.
    """
    assert kernels is not None
    reason = refusal(op, rank, numbers)
    if reason:
        raise ValueError(reason)
    array = np.asarray(numbers, np.int64)
    return kernels.jaxconv_scratch_bytes(OPS.index(op), rank, array.ctypes.data, array.size)


def refusal(op: str, rank: int, numbers: Sequence[int]) -> str | None:
    """Why the kernels refuse a call of `op`, or None where they compute it.

    It takes shapes and no arrays, so that another algorithm is chosen before there are any: a size may be beyond what
    the kernels count.

    Example:
        >>> refusal("output", 1, [1, 1, 9, 1, 1, 1, 1, 1, 1, 2**31, 0, 0, 1, 1, 0, 0, 0, 0])
        'the native kernels refuse the call: a stride of 2147483648 on spatial axis 0'
    """
    assert kernels is not None
    try:
        array = np.asarray(numbers, np.int64)
    except OverflowError:
        return f"the native kernels refuse the call: {max(numbers, key=abs)} does not fit into 64 bits"
    text = ctypes.create_string_buffer(1024)
    length = kernels.jaxconv_refusal(OPS.index(op), rank, array.ctypes.data, array.size, text, len(text))
    return f"the native kernels refuse the call: {text.value.decode()}" if length else None


def isas() -> list[str]:
    """The instruction sets that there are kernels for and that this machine has, from the least to the most."""
    return [name for name, supported in _isas(kernels).items() if supported] if kernels else []


def isa() -> str:
    """The instruction set whose kernels are in use."""
    assert kernels is not None
    return kernels.jaxconv_isa_in_use().decode()


def use_isa(name: str) -> None:
    """Takes the kernels of one of `isas()` from now on, in programs that are compiled already too. For tests."""
    assert kernels is not None
    if not kernels.jaxconv_use_isa(list(_isas(kernels)).index(name)):
        raise ValueError(f"this machine does not have the instruction set {name!r}, only {', '.join(isas())}")


def _isas(library: ctypes.CDLL) -> dict[str, bool]:
    """All instruction sets that there are kernels for, and whether this machine has each."""
    found, i = {}, 0
    while name := library.jaxconv_isa(i):
        found[name.decode()] = library.jaxconv_isa_supported(i)
        i += 1
    return found


def _declare(library: ctypes.CDLL) -> None:
    """Tells ctypes the types of the library's functions."""
    library.jaxconv_scratch_bytes.restype = ctypes.c_int64
    call = (ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)  # op, rank, numbers and their count
    library.jaxconv_scratch_bytes.argtypes = call
    library.jaxconv_refusal.restype = ctypes.c_int64
    library.jaxconv_refusal.argtypes = (*call, ctypes.c_char_p, ctypes.c_int64)
    for name in (library.jaxconv_op_name, library.jaxconv_storage_name, library.jaxconv_mode_name):
        name.restype = ctypes.c_char_p
        name.argtypes = (ctypes.c_int64,)
    library.jaxconv_use_hints.restype = None
    library.jaxconv_use_hints.argtypes = (ctypes.c_bool,)
    library.jaxconv_hints_in_use.restype = ctypes.c_bool
    library.jaxconv_hints_in_use.argtypes = ()
    library.jaxconv_isa.restype = ctypes.c_char_p
    library.jaxconv_isa.argtypes = (ctypes.c_int64,)
    library.jaxconv_isa_in_use.restype = ctypes.c_char_p
    library.jaxconv_isa_in_use.argtypes = ()
    for function in (library.jaxconv_xla_major, library.jaxconv_xla_minor):
        function.restype = ctypes.c_int64
        function.argtypes = ()
    for function in (library.jaxconv_isa_supported, library.jaxconv_use_isa):
        function.restype = ctypes.c_bool
        function.argtypes = (ctypes.c_int64,)


def _xla_version() -> tuple[int, int] | None:
    """The version of XLA's foreign function interface here, from the header that jaxlib brings; None without one."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h")
    text = header.read_text() if header.exists() else ""
    numbers = [re.search(rf"^#define XLA_FFI_API_{part} (\d+)$", text, re.MULTILINE) for part in ("MAJOR", "MINOR")]
    major, minor = (int(number[1]) if number else None for number in numbers)
    return None if major is None or minor is None else (major, minor)


def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or why there is none."""
    file = _FOLDER / "native.so"
    if not file.exists():
        note = _FOLDER / "unavailable.txt"
        reason = note.read_text().strip() if note.exists() else "the package was not installed but only copied"
        return None, f"there is no compiled library: {reason}"
    try:
        library = ctypes.CDLL(str(file))
    except OSError as error:
        return None, f"the compiled library cannot be loaded: {error}"
    try:
        _declare(library)
        handlers = {target(op): getattr(library, target(op)) for op in (*OPS, *NORMS, *POOLS)}
    except AttributeError as error:
        return None, f"the compiled library is not of this version of the package, install it again: {error}"

    known = _isas(library)
    names = [name for name, supported in known.items() if supported]
    wanted = os.environ.get("JAXCONV_ISA") or names[-1]
    if wanted not in known:
        return None, f"JAXCONV_ISA must be one of {', '.join(known)}, got {wanted!r}"
    if wanted not in names:
        return None, f"JAXCONV_ISA={wanted!r} is not what this machine has: {', '.join(names)}"
    library.jaxconv_use_isa(list(known).index(wanted))
    hints = os.environ.get("JAXCONV_NATIVE_HINTS") or "1"
    if hints not in ("0", "1"):
        return None, f"JAXCONV_NATIVE_HINTS must be 0 or 1, got {hints!r}"
    library.jaxconv_use_hints(hints == "1")
    made_with, here = (library.jaxconv_xla_major(), library.jaxconv_xla_minor()), _xla_version()
    # XLA takes handlers of earlier versions. Of a later one it takes none, and then it does not start at all.
    if here is None or made_with[0] != here[0] or made_with[1] > here[1]:
        return None, (
            f"the compiled library was made for version {made_with} of XLA's interface, and that of this jaxlib is "
            f"{here}; install jaxconv again"
        )
    for name, handler in handlers.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
    return library, None


kernels, unavailable = _load()
