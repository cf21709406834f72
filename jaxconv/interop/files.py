"""State dicts in files: `.safetensors` and `.npz`, and never a pickle."""

import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv._spec.messages import short

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def arrays_of(source: Any) -> Mapping[str, Any]:
    """The mapping that is given, or that the file at a path holds."""
    if isinstance(source, Mapping):
        if odd := [name for name in source if not isinstance(name, str)]:
            raise TypeError(f"state_dict must have strings as keys, got {odd[0]!r}")
        return source
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            "state_dict must be a mapping from names to arrays, or the path of a .safetensors or .npz file; "
            f"got {type(source).__name__}"
        )
    path, given = Path(source), os.fspath(source)
    ending = path.suffix.lower()
    if ending in _PICKLES:
        raise ValueError(
            f"{given} is a pickle, which can run any program when it is opened, so jaxconv does not open it; convert "
            "it with PyTorch:\n"
            "    import torch, safetensors.torch\n"
            "    safetensors.torch.save_file({k: v.clone().contiguous() for k, v in "
            f"torch.load({given!r}, 'cpu', weights_only=True).items()}}, {str(path.with_suffix('.safetensors'))!r})"
        )
    if ending not in (".safetensors", ".npz"):
        raise ValueError(f"state_dict must be the path of a .safetensors or .npz file, got {given!r}")
    if path.is_dir():
        raise ValueError(f"{given} is a directory; give the path of a file in it")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {given}")
    read = _read_safetensors if ending == ".safetensors" else _read_npz
    if path.stat().st_size == 0:
        raise ValueError(f"{given} is empty: it holds 0 bytes")
    return read(path, given)


def write_safetensors(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes `arrays` into a file that is complete or not there at all."""
    # "format" is what readers ask for to know whose layouts these are.
    data = _safetensors().save(dict(arrays), metadata={"format": "pt"})
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            'a .safetensors file needs the package safetensors, which is not installed: pip install "jaxconv[interop]"'
        ) from None
    return safetensors.numpy


def _read_safetensors(path: Path, given: Any) -> Mapping[str, Any]:
    library = _safetensors()
    from safetensors import SafetensorError

    try:
        return library.load_file(path)
    except (SafetensorError, AttributeError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        if unknown := _of_unknown_dtype(path):
            raise ValueError(
                f"{given} holds {', '.join(unknown)}, numbers that NumPy does not have; convert them before the file "
                "is written, in PyTorch by tensor.to(torch.float32)"
            ) from None
        raise ValueError(
            f"{given} is not a valid safetensors file ({error}); it may be cut short, so compare its size with that of "
            "the original"
        ) from error


# Floats of 8 bits and fewer.
_UNKNOWN_DTYPES = re.compile("F(4$|[468]_)")


def _of_unknown_dtype(path: Path) -> list[str]:
    """The first arrays of a safetensors file of a dtype that cannot be read, in words; none of one that is broken."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), path.stat().st_size)))
        odd = [(n, a["dtype"]) for n, a in header.items() if _UNKNOWN_DTYPES.match(a.get("dtype", ""))]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []
    return [f"{short(name)} in {short(dtype)}" for name, dtype in odd[:3]] + ["more"] * (len(odd) > 3)


# What NumPy and zipfile raise between them, the last two for a lone array and for an archive that is encrypted.
_BROKEN_NPZ = (ValueError, AttributeError, EOFError, KeyError, OSError, MemoryError, zipfile.BadZipFile, zlib.error)
_BROKEN_NPZ += (TypeError, RuntimeError)


def _read_npz(path: Path, given: Any) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            _check_size(arrays.zip.infolist(), path.stat().st_size)
            found = {name: as_bfloat16(arrays[name]) for name in arrays.files}
    except _BROKEN_NPZ as error:
        raise ValueError(
            f"{given} is not a valid .npz file of plain arrays ({error}); write it with numpy.savez(path, **state_dict)"
        ) from error
    if odd := [name for name, array in found.items() if array.dtype.type is np.void]:
        raise ValueError(
            f"{given} holds {short(odd[0])} in a dtype that NumPy's files have no word for, such as float8; convert it "
            "before the file is written, by .astype('float32')"
        )
    return found


# How many times its size an archive may unpack to, and what needs no asking.
_MOST_TIMES, _SMALL = 100, 2**26


def _check_size(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Refuses an archive that unpacks to many times its size: weights have noise in them, which no zip removes."""
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(_MOST_TIMES * size, _SMALL):
        raise ValueError(f"its {size} bytes promise to unpack to {unpacked}")


def as_bfloat16(array: np.ndarray) -> np.ndarray:
    """`array`, with two bytes of no meaning read as bfloat16: NumPy's files have no word for that dtype."""
    return array.view(jnp.bfloat16) if array.dtype == np.dtype("V2") else array
