"""The README's program with an installed jaxconv: `python -I tools/try_wheel.py` runs it, far from the sources."""

import re
from pathlib import Path

import jaxconv
from jaxconv import _native

ROOT = Path(__file__).resolve().parents[1]

assert not Path(jaxconv.__file__).is_relative_to(ROOT), f"{jaxconv.__file__} is not an installed package"
assert jaxconv.algorithms()["native"] == "available", jaxconv.algorithms()
cpu = Path("/proc/cpuinfo")
flags = set(re.findall(r"\w+", cpu.read_text())) if cpu.exists() else set()
best = "avx2" if "avx2" in flags else "baseline"
if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
    best = "avx512"
assert _native.isa() == best, f"{_native.isa()} is in use, and this machine has {best}"
names = {}
exec("\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)), names)
assert names["losses"][-1] < names["losses"][0]
