"""State dicts in files: precisions, pickles, and files that are hostile, truncated or not there."""

import json
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as torch_load_file
from weights import good, module, unchanged

from jaxconv.interop import (
    load_state_dict,
    save_safetensors,
    state_dict,
)
from jaxconv.nnx import Conv1d


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_checkpoint_of_another_precision(dtype, tmp_path):
    tensors = {name: torch.from_numpy(array + 1e-3).to(dtype) for name, array in good().items()}
    path = tmp_path / "half.safetensors"
    from safetensors.torch import save_file as torch_save_file

    torch_save_file(tensors, path)
    for source in (tensors, path):
        ours = module()
        assert load_state_dict(ours, source).ok
        for name, array in state_dict(ours).items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, tensors[name].float().numpy())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_module_in_half_precision_goes_through_both_kinds_of_file(dtype, tmp_path):
    ours = Conv1d(2, 3, 3, param_dtype=dtype, rngs=nnx.Rngs(0))
    whole = state_dict(ours)
    save_safetensors(ours, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **whole)
    assert torch_load_file(tmp_path / "a.safetensors")["weight"].dtype in (torch.bfloat16, torch.float16)
    for name in ("a.safetensors", "a.npz"):
        other = Conv1d(2, 3, 3, param_dtype=dtype, rngs=nnx.Rngs(1))
        assert load_state_dict(other, str(tmp_path / name)).ok
        assert other.weight.dtype == dtype
        np.testing.assert_array_equal(other.weight[...], ours.weight[...])


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_the_two_lines_that_convert_a_pickle_convert_it(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    tied = torch.ones(3)
    torch.save({"a": tied, "b": tied, "c": torch.randn(3, 2).T}, path)
    with pytest.raises(ValueError, match="is a pickle, which can run any program") as refusal:
        load_state_dict(module(), path)
    lines = [line.strip() for line in str(refusal.value).splitlines()[1:]]
    assert len(lines) == 2
    exec("\n".join(lines), {})
    assert set(load_file(tmp_path / "weights.safetensors")) == {"a", "b", "c"}


def test_without_pytorch_and_without_safetensors(tmp_path):
    program = f"""
import sys
from pathlib import Path
sys.modules["torch"] = sys.modules["safetensors"] = None
import numpy as np
from flax import nnx
from jaxconv.interop import load_state_dict, state_dict
layer = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
np.savez({str(tmp_path / "a.npz")!r}, **state_dict(layer))
print(load_state_dict(layer, {str(tmp_path / "a.npz")!r}))
open({str(tmp_path / "a.safetensors")!r}, "w").write("x")
try:
    load_state_dict(layer, {str(tmp_path / "a.safetensors")!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "loaded 2 arrays",
        'a .safetensors file needs the package safetensors, which is not installed: pip install "jaxconv[interop]"',
    ]


def safetensors_bytes(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(start, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def whole_file(tmp_path):
    save_file(good(), tmp_path / "whole.safetensors")
    return (tmp_path / "whole.safetensors").read_bytes()


HOSTILE = {
    "header longer than the file": safetensors_bytes({}, length=1 << 20),
    "header of 2**63 bytes": safetensors_bytes({}, length=1 << 63),
    "header longer than any": safetensors_bytes({}, length=2**64 - 1),
    "seven bytes": b"\x00" * 7,
    "no JSON": safetensors_bytes(b"{not json"),
    "no UTF-8": safetensors_bytes(b"\xff\xfe\xfd\xfc"),
    "a list": safetensors_bytes([1, 2]),
    "offsets past the end": safetensors_bytes({"2.bias": tensor(0, 8)}, b"\x00" * 4),
    "offsets overlap": safetensors_bytes({"2.bias": tensor(0, 8), "0.bias": tensor(4, 12)}, b"\x00" * 12),
    "offsets reversed": safetensors_bytes({"2.bias": tensor(8, 0)}, b"\x00" * 8),
    "a hole": safetensors_bytes({"2.bias": tensor(0, 8), "0.bias": tensor(12, 20)}, b"\x00" * 20),
    "shape and offsets disagree": safetensors_bytes({"2.bias": tensor(0, 8, (3,))}, b"\x00" * 8),
    "shape overflows": safetensors_bytes({"2.bias": tensor(0, 8, (1 << 62, 1 << 62))}, b"\x00" * 8),
    "negative size": safetensors_bytes({"2.bias": tensor(0, 8, (-2,))}, b"\x00" * 8),
    "unknown dtype": safetensors_bytes({"2.bias": tensor(0, 8, (2,), "X32")}, b"\x00" * 8),
    "bytes left over": safetensors_bytes({"2.bias": tensor(0, 8)}, b"\x00" * 99),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_safetensors_file(name, tmp_path):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    unchanged(path, ValueError, rf"{re.escape(str(path))} is not a valid safetensors file \(.+\); it may be cut short")


def test_a_truncated_file_at_every_length(tmp_path):
    whole = whole_file(tmp_path)
    path = tmp_path / "cut.safetensors"
    ours = module()
    before = state_dict(ours)
    for length in range(1, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a valid safetensors file"):
            load_state_dict(ours, path)
    assert all((state_dict(ours)[n] == a).all() for n, a in before.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_an_empty_file_a_directory_and_none_at_all(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    unchanged(path, FileNotFoundError, "there is no file .*a")
    path.write_bytes(b"")
    unchanged(path, ValueError, f"{re.escape(str(path))} is empty: it holds 0 bytes")
    path.unlink()
    path.mkdir()
    unchanged(str(path), ValueError, f"{re.escape(str(path))} is a directory; give the path of a file in it")


def test_an_npz_with_a_pickle_inside_a_broken_one_and_another_ending(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **{"2.bias": np.array([{}, {}])})
    unchanged(path, ValueError, r"not a valid \.npz file of plain arrays \(.*allow_pickle")
    np.savez(path, **good())
    path.write_bytes(path.read_bytes()[:-40])
    unchanged(path, ValueError, r"not a valid \.npz file of plain arrays")
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    unchanged(path, ValueError, r"not a valid \.npz file of plain arrays")
    unchanged(tmp_path / "a.h5", ValueError, r"must be the path of a \.safetensors or \.npz file, got '.*a\.h5'")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_safetensors(module(), path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_safetensors(module(nnx.Rngs(1)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert json.loads(before[8 : 8 + struct.unpack("<Q", before[:8])[0]])["__metadata__"] == {"format": "pt"}


def test_the_migration_page_runs(capsys):
    page = (Path(__file__).parents[2] / "docs/migration.md").read_text()
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), {})
    assert capsys.readouterr().out == "loaded 9 arrays\n"


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F4"])
def test_floats_of_few_bits_are_refused_by_name(dtype, tmp_path):
    path = tmp_path / "few.safetensors"
    header = json.dumps({"head.weight": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match=rf"holds 'head.weight' in '{dtype}', .*tensor.to\(torch.float32\)"):
        load_state_dict(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), path, strict=False)


def test_a_dtype_that_an_npz_cannot_name(tmp_path):
    np.savez(tmp_path / "few.npz", weight=np.zeros((2, 2), jnp.float8_e4m3fn))
    with pytest.raises(ValueError, match=r"few.npz holds 'weight' in a dtype .*\.astype\('float32'\)"):
        load_state_dict(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), tmp_path / "few.npz", strict=False)


def test_a_header_that_lies_is_no_reason_to_read_more_than_there_is(tmp_path):
    path = tmp_path / "liar.safetensors"
    for header in (b"\xff" * 8, struct.pack("<Q", 2**40) + b"{}", struct.pack("<Q", 10**5) + b"[" * 10**5, b"\0\0"):
        path.write_bytes(header)
        with pytest.raises(ValueError, match="is not a valid safetensors file"):
            load_state_dict(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), path)


def test_an_archive_that_unpacks_to_much_more_than_it_is(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, kernel=np.zeros(2**25, "f4"))
    assert path.stat().st_size < 2**18
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"bomb\.npz is not a valid .*its \d+ bytes promise to unpack to 134217856"):
        load_state_dict(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), path)
    most, _ = tracemalloc.get_traced_memory()[1], tracemalloc.stop()
    assert most < 2**22


def test_a_message_has_the_path_as_it_was_given(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^there is no file \./a//b\.npz$"):
        load_state_dict(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), "./a//b.npz")
