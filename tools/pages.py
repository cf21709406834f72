"""Hooks of `make docs`: two files at the top of the repository are pages, too, and the theme's pages are mended."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# The page, and the file whose text it has.
PAGES = {"contribute.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
# What a page says that is shown in English among those of another language.
UNTRANSLATED = {"ko": "이 페이지는 영어로만 있습니다."}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page; links lead from there to where they led from the top."""
    file = PAGES.get(page.file.src_uri)
    if file is None:
        return markdown
    text = (ROOT / file).read_text()
    for name, other in PAGES.items():
        text = text.replace(f"]({other}", f"]({name}")
    return re.sub(r"\]\(docs/", "](", text)


def on_page_content(html: str, **_: Any) -> str:
    """A table's corner without words is no heading: a screen reader would announce it as one."""
    return html.replace("<th></th>", "<td></td>")


def on_post_page(output: str, page: Any, config: Any, **_: Any) -> str:
    """What a browser would complain of, a screen reader could not name, or a reader of Korean would stumble over."""
    language, written = config.theme["language"], page.file.locale
    if language != written:
        note = f'<p class="untranslated" lang="{language}">{UNTRANSLATED[language]}</p>'
        output = re.sub(r"<article ([^>]*)>", rf'<article \1 lang="{written}">{note}', output)
    # The theme asks each of these for a sitemap beside it, where none is. The menu of languages does without them.
    output = re.sub(r'<link rel="alternate" href="[^"]*" hreflang="\w+">', "", output)
    # A particle of Korean belongs to the word before it, a bracket or a program, too: no line begins with one.
    output = re.sub(r"([)\]’”'…⌋]|</(?:a|code|sub)>)(?=[가-힣])", "\\1\N{WORD JOINER}", output)
    words = re.search(r'class="md-search__input"[^>]* placeholder="([^"]+)"', output)
    name = f' aria-label="{words[1]}"' if words else ""
    return output.replace('data-md-component="search" role="dialog"', f'data-md-component="search" role="dialog"{name}')
