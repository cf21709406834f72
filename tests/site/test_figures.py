"""The pictures of docs/learn/ are what tools/figures.py draws, and each is shown."""

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/images/learn"


def test_the_pictures_are_up_to_date(tmp_path):
    runpy.run_path(str(ROOT / "tools/figures.py"))["main"](tmp_path)
    drawn, stored = ({path.name: path.read_text() for path in folder.iterdir()} for folder in (tmp_path, FOLDER))
    assert drawn == stored, "python tools/figures.py draws them anew"


def test_the_pictures_are_drawn_within_their_sheets():
    for path in FOLDER.iterdir():
        sheet = ElementTree.fromstring(path.read_text())  # noqa: S314
        width, height = (float(sheet.get(name)) for name in ("width", "height"))
        for mark in sheet.iter("{http://www.w3.org/2000/svg}rect"):
            if mark.get("x"):
                x, y, w, h = (float(mark.get(name)) for name in ("x", "y", "width", "height"))
                assert x >= 0, path
                assert y >= 0, path
                assert x + w <= width, path
                assert y + h <= height, path


def test_each_picture_is_shown():
    pages = "".join(page.read_text() for page in (ROOT / "docs/index.md", *(ROOT / "docs/learn").glob("*.md")))
    # A page in Korean shows the picture with words in Korean where there is one, under the same name.
    names = {path.name.replace(".ko.svg", ".svg") for path in FOLDER.iterdir()}
    assert set(re.findall(r"images/learn/(\w+\.svg)", pages)) == names
