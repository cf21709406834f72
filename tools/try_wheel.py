"""The README's program with an installed jaxconv: `python -I tools/try_wheel.py` runs it, far from the sources."""

import re
from pathlib import Path

import jaxconv

ROOT = Path(__file__).resolve().parents[1]

assert not Path(jaxconv.__file__).is_relative_to(ROOT), f"{jaxconv.__file__} is not an installed package"
assert jaxconv.algorithms()["native"] == "available", jaxconv.algorithms()
names = {}
exec("\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)), names)
assert names["losses"][-1] < names["losses"][0]
