"""docs/api/ has a page a topic, and every public name stands on one of them."""

import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGES = {page.stem: page.read_text() for page in (ROOT / "docs/api").glob("*.md")}
MODULES = ("jaxconv", "jaxconv.init", "jaxconv.nnx", "jaxconv.linen", "jaxconv.interop", "jaxconv.spatial")


def public_names():
    for name in MODULES:
        module = importlib.import_module(name)
        for inner, value in vars(module).items():
            listed = getattr(module, "__all__", None)
            if (inner in listed if listed else not inner.startswith("_")) and not inspect.ismodule(value):
                yield f"{name}.{inner}"


def test_every_public_name_stands_on_one_page():
    stands = Counter(name for text in PAGES.values() for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    assert stands == Counter(set(public_names()))


def test_a_topic_has_the_same_name_everywhere():
    for folder in ("_spec", "_ops", "_layers", "nnx", "linen"):
        files = {file.stem for file in (ROOT / "jaxconv" / folder).glob("*.py")}
        topics = {"convolution", "normalization", "padding", "patches", "pooling", "resampling"}
        assert topics <= files & set(PAGES), folder


def titles(navigation):
    """The titles of the pages and sections of the navigation."""
    for entry in navigation:
        for title, below in entry.items():
            yield title
            if isinstance(below, list):
                yield from titles(below)


def test_the_navigation_is_translated():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    (i18n,) = (plugin["i18n"] for plugin in settings["plugins"] if "i18n" in plugin)
    for language in i18n["languages"]:
        if not language.get("default"):
            assert set(language["nav_translations"]) == set(titles(settings["nav"]))


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert f" {name.replace('.ko.md', '.md')}\n" in navigation
