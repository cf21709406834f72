"""The programs in README and docs run, and do what the text beside them says."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

pytestmark = pytest.mark.usefixtures("quick_compile")

ROOT = Path(__file__).parents[2]


def blocks(path: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL))


def test_the_first_model_learns(capsys):
    names = {}
    exec(blocks("README.md"), names)
    first, last = (float(x) for x in capsys.readouterr().out.split("->"))
    assert last < first
    text = re.search(r"shows what PyTorch would: `(.*?)`", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    assert repr(names["model"].layers[0]) == " ".join(text.split())


def test_the_first_model_is_the_same_with_the_channels_last():
    program = blocks("README.md").split("optimizer =")[0]
    first, last = {}, {}
    exec(program, first)
    option = 'data_format="channels_last"'
    program, convolutions = re.subn(r"(Conv2d\(.*?), rngs=rngs\)", rf"\1, rngs=rngs, {option})", program)
    program, pools = re.subn(r"(MaxPool2d\(2|AdaptiveAvgPool2d\(1)\)", rf"\1, {option})", program)
    assert (convolutions, pools) == (2, 2)
    exec(program, last)
    images = np.random.default_rng(0).normal(size=(4, 1, 27, 22)).astype(np.float32)
    expected = first["model"](images)
    actual = last["model"](np.moveaxis(images, 1, -1))
    jax.tree.map(np.testing.assert_array_equal, *(nnx.to_pure_dict(nnx.state(m["model"])) for m in (first, last)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(expected) > 0


@pytest.mark.slow
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
