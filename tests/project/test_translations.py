"""The pages in Korean have what those in English have, and say it as Korean does."""

import re
import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# What a newcomer reads first is all translated; test_readme.py compares the programs.
TRANSLATED = ["index.md", *sorted(f"learn/{p.name}" for p in (DOCS / "learn").glob("*.md") if p.suffixes == [".md"])]
# A particle has one form behind a vowel and another behind a consonant.
PARTICLES = "은|는|이|가|을|를|과|와|으로|로|이고|이나|나"
HOOKS = runpy.run_path(str(ROOT / "tools/pages.py"))
FIGURE = (DOCS / "assets/figure.js").read_text()


def without_programs(path):
    return re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchor(heading):
    """What a link to a heading ends with: what stands behind it, or its words."""
    given = re.search(r"{ #(.*) }$", heading)
    return given[1] if given else re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).lower())


def outline(path):
    """What a page has, whatever its language."""
    text = without_programs(path)
    return {
        "headings": [(len(m), anchor(words)) for m, words in re.findall(r"^(#+) (.*)", text, re.MULTILINE)],
        "figures": re.findall(r"<div class=\"conv-figure\".*", text),
        "pictures": re.findall(r"!\[[^\]]+\]\((.*?)\)", text),
        "links": Counter(re.findall(r"(?<!!)\[[^\]]+\]\((.*?)\)", text)),
        "formulas": [re.findall(r"\d+", formula) for formula in re.findall(r"<div class=\"formula\">.*", text)],
        "rows": [line.count(" | ") for line in text.splitlines() if line.startswith("|")],
        "mistakes": len(re.findall(r"\n\n\*\*", text)),
    }


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_page_in_korean_has_what_the_page_in_english_has(page):
    assert outline((DOCS / page).with_suffix(".ko.md")) == outline(DOCS / page)


def test_every_translation_has_an_original():
    assert len(TRANSLATED) > 10
    for page in DOCS.rglob("*.ko.md"):
        assert page.with_name(page.name.replace(".ko.md", ".md")).exists()


@pytest.mark.parametrize("page", TRANSLATED)
def test_the_pages_in_korean_are_polite_throughout(page):
    """A sentence ends with -니다 or -세요. What stands for a picture may be plain."""
    prose = re.sub(r"!\[[^\]]*\]", "", without_programs((DOCS / page).with_suffix(".ko.md")))
    assert re.findall(r"\S+(?<!니)다\.", prose) == []
    assert len(re.findall(r"니다\.|세요\.", prose)) > 5


def texts(language):
    """The words of the figures, by name, and the numbers that each takes."""
    (block,) = re.findall(rf"^    {language}: {{\n(.*?)^    }},$", FIGURE, re.MULTILINE | re.DOTALL)
    return {
        name: (numbers, words)
        for name, numbers, words in re.findall(r"^      (\w+): (?:\((.*?)\) => )?(.*),$", block, re.M)
    }


def test_the_figures_have_each_of_their_words_in_korean():
    english, korean = texts("en"), texts("ko")
    assert len(english) > 20
    assert {name: numbers for name, (numbers, _) in korean.items()} == {
        n: numbers for n, (numbers, _) in english.items()
    }
    for numbers, words in korean.values():
        assert re.search("[가-힣]", re.sub(r"\$\{.*?\}", "", words))
        assert set(re.findall(r"\$\{(\w+)\}", words)) == set(re.findall(r"\w+", numbers))
        assert not re.search(rf"\}}(?:{PARTICLES})(?![가-힣])", words), "no particle fits every number"


def test_the_pictures_have_no_words_of_english_in_korean():
    pictures = list((DOCS / "images/learn").glob("*.ko.svg"))
    assert len(pictures) > 5
    for picture in pictures:
        assert re.findall(r">[^<]*\b(?:input|output|its|cut|positions|within)\b[^<]*<", picture.read_text()) == []


def shown(output, language, written):
    page, config = SimpleNamespace(file=SimpleNamespace(locale=written)), SimpleNamespace(theme={"language": language})
    return HOOKS["on_post_page"](output, page=page, config=config)


def test_no_line_of_korean_begins_with_a_particle():
    """Which a browser would do behind a bracket or a program."""
    page = "<p><code>stride=(2, 2)</code>이고 (N, C)를 <a>층</a>에서 k<sub>W</sub>개 ⌊ ⌋는 (a) b</p>"
    joined = "<p><code>stride=(2, 2)</code>|이고 (N, C)|를 <a>층</a>|에서 k<sub>W</sub>|개 ⌊ ⌋|는 (a) b</p>"
    assert shown(page, "ko", "ko") == joined.replace("|", "\N{WORD JOINER}")


def test_a_page_without_a_translation_says_in_which_language_it_is():
    page = '<article class="md-typeset">\n<h1>Weights</h1>\n</article>'
    assert shown(page, "en", "en") == shown(page, "ko", "ko") == page
    told = r'<article class="md-typeset" lang="en"><p class="untranslated" lang="ko">.*영어.*</p>\n<h1>'
    assert re.match(told, shown(page, "ko", "en"))
