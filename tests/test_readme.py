"""The programs in README and docs run, and do what the text beside them says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(path: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL))


def test_the_first_model_learns(capsys):
    names = {}
    exec(blocks("README.md"), names)
    first, last = (float(x) for x in capsys.readouterr().out.split("->"))
    assert last < first
    text = re.search(r"shows what PyTorch would: `(.*?)`", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    assert repr(names["model"].layers[0]) == " ".join(text.split())


def test_the_recipes_for_flax_run():
    exec(blocks("docs/flax.md"), {})


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_files_that_pages_name_exist(page):
    text = (ROOT / page).read_text()
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    for target in linked:
        assert ((ROOT / page).parent / target).exists(), target
    for named in re.findall(r"`((?:jaxconv|tests|examples|configs|docs|benchmarks)/[\w./-]*)`", text):
        assert (ROOT / named).exists(), named


def test_every_difference_from_pytorch_is_told():
    pytest.importorskip("torch")
    from differences import DIFFERENCES

    page = (ROOT / "docs/differences.md").read_text()
    for difference in DIFFERENCES:
        assert f"| {difference.name} | {difference.reason} |" in page
