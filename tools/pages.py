"""A hook of `make docs`: files that stand at the top of the repository are pages of the site, too."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# The page, and the file whose text it has.
PAGES = {"contribute.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page, with links that lead from there to where they led from the top."""
    file = PAGES.get(page.file.src_uri)
    if file is None:
        return markdown
    text = (ROOT / file).read_text()
    for name, other in PAGES.items():
        text = text.replace(f"]({other}", f"]({name}")
    return re.sub(r"\]\(docs/", "](", text)
