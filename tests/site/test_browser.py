"""The site as a reader meets it, in Chromium: `make site`.

What is looked at: that pages load nothing from elsewhere and complain of nothing, that axe-core finds nothing that
would keep somebody out, that a phone is wide enough, and that a figure which is moved by the keyboard shows what
conv.js says.
"""

import functools
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

ROOT = Path(__file__).parents[2]
PAGES = (
    "",
    "learn/",
    "learn/output_size/",
    "learn/padding_mode/",
    "learn/transposed/",
    "api/init/",
    "contribute/",
    "ko/",
    "ko/learn/groups/",
    "ko/how/trilinear/",
)
# Of the rules of axe-core, WCAG's and those of good practice. The theme makes a landmark of each button that copies.
RULES = {"landmark-unique": {"enabled": False}}
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the site, built anew, is served."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """A function that opens a page and afterwards asks what went wrong on it."""
    contexts, complaints = [], []

    def open_page(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address + path)
        page.wait_for_load_state("networkidle")
        return page

    requested = []
    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
    assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_a_page_can_be_read_by_everybody(visit, path, scheme, size):
    page = visit(path, viewport=SIZES[size], color_scheme=scheme)
    assert page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    for image in page.locator("article img").all():
        assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
    for more in page.locator(".conv-figure details").all():
        more.evaluate("(details) => { details.open = true; }")
    found = Axe().run(page, options={"rules": RULES}).response["violations"]
    assert not [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found]


def press(page, name, key, times=1):
    """Moves a slider of the first figure, found by its label."""
    page.locator(".conv-figure").first.get_by_role("slider", name=name, exact=True).focus()
    for _ in range(times):
        page.keyboard.press(key)


def drawn(page):
    """What the first figure shows: its taps, the sources of its cells, the chosen position, its formula."""
    return page.evaluate(
        """() => {
          const root = document.querySelector(".conv-figure");
          const list = (selector) => [...root.querySelectorAll(selector)];
          return {
            taps: list(".conv-cell[data-at].conv-tap:not(.conv-place)").map((cell) => cell.dataset.at),
            sources: Object.fromEntries(list("[data-from]").map((cell) => [cell.dataset.at, cell.dataset.from])),
            places: list(".conv-place").map((cell) => cell.dataset.at),
            chosen: list(".conv-place[aria-selected=true]").map((cell) => cell.dataset.at),
            focused: document.activeElement.dataset.at,
            formula: root.querySelector(".conv-formula").innerText,
            error: root.querySelector(".conv-error").innerText,
          };
        }"""
    )


def computed(page, settings, place):
    """The same from conv.js."""
    return page.evaluate(
        """([settings, place]) => {
          const axes = conv.parse(settings);
          const [down, across] = axes.map((axis) => conv.view(axis, settings.paddingMode));
          const cross = (rows, columns) => rows.flatMap((row) => columns.map((column) => `${row},${column}`));
          const pairs = cross(down.many, across.many).map((at) => {
            const [row, column] = at.split(",").map(Number);
            return [at, [down.source(row), across.source(column)]];
          });
          return {
            taps: cross(down.taps(place[0]), across.taps(place[1])),
            sources: Object.fromEntries(pairs.filter(([, s]) => !s.includes(null)).map(([at, s]) => [at, s.join()])),
            places: cross(conv.range(down.places), conv.range(across.places)),
            formula: axes.map(conv.arithmetic),
          };
        }""",
        [settings, place],
    )


SETTINGS = {
    "size": [7, 8],
    "kernelSize": [3, 3],
    "stride": [2, 2],
    "padding": [0, 0],
    "dilation": [1, 1],
    "outputPadding": [0, 0],
    "inChannels": 1,
    "outChannels": 1,
    "groups": 1,
    "paddingMode": "zeros",
    "transposed": False,
}


def check(page, settings, place):
    shown, wanted = drawn(page), computed(page, settings, place)
    formula = wanted.pop("formula")
    assert {name: shown[name] for name in wanted} == wanted
    assert shown["chosen"] == [",".join(map(str, place))]
    for line in formula:
        assert line.replace("-", "−") in shown["formula"]


def test_a_figure_moved_by_the_keyboard_shows_what_is_computed(visit):
    page = visit("learn/stride/", viewport=SIZES["desktop"])
    check(page, SETTINGS, [1, 1])
    page.locator(".conv-figure summary").first.focus()
    page.keyboard.press("Enter")
    press(page, "padding", "ArrowRight", 2)
    press(page, "dilation", "ArrowRight")
    press(page, "kernel_size", "ArrowLeft")
    press(page, "input width", "ArrowLeft")
    page.locator(".conv-figure").first.get_by_label("padding_mode", exact=True).select_option("symmetric")
    settings = SETTINGS | {"size": [7, 7], "padding": [2, 2], "dilation": [2, 2], "kernelSize": [2, 2]}
    settings |= {"paddingMode": "symmetric"}
    check(page, settings, [1, 1])

    page.locator(".conv-place[tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "End", "ArrowRight"):
        page.keyboard.press(key)
    check(page, settings, [1, 4])
    assert drawn(page)["focused"] == "1,4"
    assert page.locator(".conv-figure [aria-live]").first.inner_text().startswith("Output (1, 4) reads rows 0, 2 and")


def test_a_transposed_figure_shows_what_is_computed(visit):
    page = visit("learn/transposed/", viewport=SIZES["phone"])
    settings = SETTINGS | {"size": [3, 4], "padding": [1, 1], "outputPadding": [1, 1], "transposed": True}
    check(page, settings, [1, 1])
    press(page, "stride", "ArrowRight")
    page.locator(".conv-figure").first.get_by_label("padding_mode", exact=True).select_option("circular")
    check(page, settings | {"stride": [3, 3], "paddingMode": "circular"}, [1, 1])


def test_a_figure_says_why_a_setting_is_refused(visit):
    page = visit("learn/padding_mode/", viewport=SIZES["desktop"])
    page.locator(".conv-figure").first.get_by_label("padding_mode", exact=True).select_option("reflect")
    press(page, "padding", "End")
    error = drawn(page)["error"]
    assert error.startswith("padding_mode='reflect' can pad at most 4 where the image has size 5, got padding (6, 6)")
    assert not page.locator(".conv-drawing").first.is_visible()
    press(page, "padding", "Home")
    assert page.locator(".conv-drawing").first.is_visible()
    assert drawn(page)["error"] == ""


def test_without_scripts_a_picture_is_shown(visit):
    page = visit("learn/dilation/", viewport=SIZES["phone"], java_script_enabled=False)
    picture = page.locator(".conv-figure img")
    assert picture.is_visible()
    assert len(picture.get_attribute("alt")) > 20


def test_the_search_finds_a_page(visit):
    page = visit("", viewport=SIZES["desktop"])
    page.locator(".md-search__input").click()
    page.keyboard.type("output_padding")
    page.locator(".md-search-result__link", has_text="Transposed convolution").first.click()
    page.wait_for_url("**/learn/transposed/**")


def test_the_language_and_the_colours_can_be_switched(visit):
    page = visit("learn/stride/", viewport=SIZES["desktop"])
    page.locator(".md-header .md-select").hover()
    page.get_by_role("link", name="한국어").click()
    page.wait_for_url("**/ko/learn/stride/")
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.locator(".conv-figure").first.get_by_role("slider", name="입력 높이", exact=True).is_visible()
    assert (
        page.locator(".conv-figure [aria-live]").first.inner_text().startswith("출력 (1, 1)에서는 입력의 2, 3, 4행과")
    )
    schemes = set()
    for _ in range(3):
        page.locator("label.md-header__button[for^=__palette]:visible").click()
        schemes.add(page.evaluate("document.body.dataset.mdColorScheme"))
    assert schemes == {"default", "slate"}
