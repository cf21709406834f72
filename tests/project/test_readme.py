"""The programs in README and docs run, and print what the text beside them says."""

import re
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

pytestmark = pytest.mark.usefixtures("quick_compile")

ROOT = Path(__file__).parents[2]
ALL_PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
# A page in Korean has the programs of the page that it is a translation of.
PAGES = [page for page in ALL_PAGES if not page.endswith(".ko.md")]
BENCHMARKS = (ROOT / "docs/benchmarks.md").read_text()
# A block may stand in a tab or a list, and is indented then.
FENCED = re.compile(r"^( *)```(\w*)[^\n`]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def fenced(path: str) -> list[tuple[str, str, bool]]:
    """The language of each block of a page, its text, and whether the block before it stands right above."""
    found, end, text = [], None, (ROOT / path).read_text()
    for block in FENCED.finditer(text):
        follows = end is not None and not text[end : block.start()].strip()
        found.append((block[2], textwrap.dedent(block[3]), follows))
        end = block.end()
    return found


def blocks(path: str) -> str:
    return "\n".join(text for language, text, _ in fenced(path) if language == "python")


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


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if any(b[0] == "python" for b in fenced(page))])
def test_the_programs_of_a_page_run_and_print_what_it_shows(page, capsys):
    names, printed = {"__name__": "__main__"}, None
    for language, text, follows in fenced(page):
        if language == "text" and follows and printed is not None:
            assert printed == text
        printed = None
        if language == "python":
            exec(compile(text, page, "exec"), names)
            printed = capsys.readouterr().out


@pytest.mark.parametrize("page", sorted(set(ALL_PAGES) - set(PAGES)))
def test_a_translation_has_the_programs_of_its_original(page):
    assert [b for b in fenced(page) if b[0]] == [b for b in fenced(page.replace(".ko.md", ".md")) if b[0]]


@pytest.mark.parametrize("page", ALL_PAGES)
def test_files_that_pages_name_exist(page):
    text = (ROOT / page).read_text()
    linked = [target for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in target]
    for target in linked:
        assert ((ROOT / page).parent / target).exists(), target
    for named in re.findall(r"`((?:jaxconv|tests|examples|configs|docs|benchmarks)/[\w./-]*)`", text):
        assert (ROOT / named).exists(), named


def test_the_first_page_says_what_was_measured():
    """Every layer of the benchmarks, with its gradients, takes less time than XLA's own convolution."""
    table = re.search(r"## Layers: output and both gradients\n(.*?)^Geometric", BENCHMARKS, re.MULTILINE | re.DOTALL)[1]
    head, _, *rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.startswith("|")]
    quotients = [float(row[head.index("lax / ours")]) for row in rows]
    assert len(quotients) > 20
    assert min(quotients) > 1
    grouped = [q for q, row in zip(quotients, rows, strict=True) if "depthwise" in row[1] or "groups" in row[1]]
    assert min(grouped) > max(set(quotients) - set(grouped))


def test_every_difference_from_pytorch_is_told():
    pytest.importorskip("torch")
    from differences import DIFFERENCES

    page = (ROOT / "docs/differences.md").read_text()
    for difference in DIFFERENCES:
        assert f"| {difference.name} | {difference.reason} |" in page
