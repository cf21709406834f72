"""Draws the pictures of docs/learn/ into docs/images/learn/, with the numbers of `jaxconv.explain` and the benchmarks.

    python tools/figures.py

They are SVG with colours for a light and for a dark page. One with words has a twin for the pages in Korean, which the
site shows there by itself. A test draws them anew and compares.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from itertools import product
from pathlib import Path

import jax
import numpy as np

import jaxconv
from jaxconv import init
from jaxconv._explain.axis import Axis
from jaxconv._explain.explanation import Explanation
from jaxconv._spec.padding import source_index

FOLDER = Path(__file__).parents[1] / "docs/images/learn"
BENCHMARKS = Path(__file__).parents[1] / "docs/benchmarks.md"
CELL, LETTER = 26, 6.3  # the side of a cell, and the width of a letter at most
Box = tuple[float, float, float, float]  # its left and upper ends, width and height
# Light, dark. The light ones are those of the pictures of jaxconv.explain.
COLOURS = {
    "page": ("#ffffff", "#1f2129"),
    "image": ("#f4f7fb", "#2b3442"),
    "padding": ("#c9ced6", "#555e6c"),
    "tap": ("#17406d", "#9cc7f7"),
    "edge": ("#9aa5b1", "#75808d"),
    "text": ("#27313c", "#e6ebf1"),
    "faint": ("#5c6773", "#b4bcc8"),
    "on-tap": ("#ffffff", "#10151c"),
    "next": ("#b85f00", "#ffb561"),
    "linked": ("#b9cbe0", "#3d5878"),
    "tint-00": ("#fdedbd", "#5b4e1e"),  # the corners of an image
    "tint-01": ("#bdebd1", "#1e5640"),
    "tint-10": ("#faccc7", "#6a3530"),
    "tint-11": ("#c2d6fa", "#2f4a7c"),
}
# What is written above the drawings, and the same in Korean.
KOREAN = {
    "input ": "입력 ",
    "output ": "출력 ",
    ", and its padding": ", 패딩 포함",
    ", and what is cut off": ", 잘리는 부분 포함",
    " positions: ": "칸: ",
    "weight (": "가중치 (",
    ": within ±": ": 구간 ±",
    "a layer's output and gradients: times the time that jaxconv takes": (
        "레이어 하나의 출력과 기울기: jaxconv가 걸리는 시간의 몇 배인가"
    ),
}


def style() -> str:
    """The colours of a page in either scheme, and what text looks like."""
    light, dark = ("".join(f"--{name}:{pair[i]};" for name, pair in COLOURS.items()) for i in range(2))
    return (
        f"<style>svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
        "text{font:11px system-ui,sans-serif;fill:var(--text);text-anchor:middle;dominant-baseline:central}"
        ".left{text-anchor:start}.faint{fill:var(--faint);font-size:9px}.on-tap{fill:var(--on-tap)}"
        "rect{stroke:var(--edge);stroke-width:.8}line{stroke:var(--edge)}</style>"
    )


class Drawing:
    """Marks on a sheet that grows with them."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.width = self.height = 0.0

    def cell(self, x: float, y: float, fill: str, label: str = "", tint: str = "", *, size: float = CELL) -> None:
        """A square whose upper left corner is given, what is written into it, and what colour is laid on it."""
        self._rectangle((x, y, size, size), f"fill:var(--{fill})")
        if tint and fill != "tap":
            edge = 4 if fill == "padding" else 0
            self._rectangle((x + edge, y + edge, size - 2 * edge, size - 2 * edge), f"fill:{tint};stroke:none")
        if label:
            kind = "on-tap" if fill == "tap" else ""
            self.marks.append(f'<text x="{x + size / 2:g}" y="{y + size / 2:g}" class="{kind}">{escape(label)}</text>')

    def text(self, x: float, y: float, words: str, kind: str = "left") -> None:
        """A line of text; `kind` is `"left"` for where it begins, or `"faint"` for the middle of small numbers."""
        self.marks.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>')
        self._grow(x + (LETTER * len(words) if kind == "left" else 6), y + 8)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float) -> None:
        """A line between two points."""
        ends = f'x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}"'
        self.marks.append(f'<line {ends} style="stroke:var(--{colour});stroke-width:{width:g}"/>')

    def outline(self, box: Box, colour: str, dashes: str = "none") -> None:
        """The outline of a box."""
        self._rectangle(box, f"fill:none;stroke:var(--{colour});stroke-width:1.8;stroke-dasharray:{dashes}")

    def bar(self, box: Box) -> None:
        """A bar of a histogram."""
        self._rectangle(box, "fill:var(--linked)")

    def svg(self) -> str:
        """The sheet, with a margin."""
        width, height = self.width + 12, self.height + 10
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}">{style()}<rect width="100%" height="100%" '
            'style="fill:var(--page);stroke:none"/>\n' + "\n".join(self.marks) + "\n</svg>\n"
        )

    def _rectangle(self, box: Box, look: str) -> None:
        x, y, width, height = box
        self.marks.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" style="{look}"/>')
        self._grow(x + width, y + height)

    def _grow(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)


@dataclass(frozen=True)
class Side:
    """A layer along one axis: one position of one side is connected with many of the other.

    Attributes:
        axis: its numbers.
        writes: whether the positions of the input write, as those of a transposed layer do.
        filled: what fills the padding.
    """

    axis: Axis
    writes: bool
    filled: str

    @property
    def kept(self) -> int:
        """How many positions the side with many has, without its padding or what is cut off."""
        return self.axis.output_size if self.writes else self.axis.size

    @property
    def places(self) -> int:
        """How many positions the other side has."""
        return self.axis.size if self.writes else self.axis.output_size

    @property
    def many(self) -> range:
        """The positions of the side with many, with its padding or what is cut off."""
        last = self.axis.taps(self.places - 1)[-1]
        return range(-self.axis.pads[0], max(self.kept + (0 if self.writes else self.axis.pads[1]), last + 1))

    def is_kept(self, position: int) -> bool:
        """Whether it lies neither in the padding nor in what is cut off."""
        return 0 <= position < self.kept

    def source(self, position: int) -> int | None:
        """The position that fills it."""
        return source_index(self.filled, position, self.kept, self.axis.pads)


def sides(explanation: Explanation) -> list[Side]:
    """Each axis of a layer."""
    return [Side(axis, explanation.writes, explanation.filled) for axis in explanation.axes]


def numbered(value: object) -> str:
    """A number, or numbers in a text, with the sign that is as wide as a plus."""
    return str(value).replace("-", "−")


def strips(*rows: tuple[str, str, int], place: int = 1) -> Drawing:
    """Layers along one axis, each a caption, its text and the size of its input: who is connected with whom."""
    drawing, top = Drawing(), 14.0
    for caption, layer, size in rows:
        explanation = jaxconv.explain(layer, (1, 1, size))
        drawing.text(12, top, f"{caption}: {numbered(explanation.arithmetic[0][1])}")
        strip(drawing, sides(explanation)[0], place, top + 14)
        top += 3.4 * CELL + 40
    return drawing


def strip(drawing: Drawing, side: Side, place: int, top: float) -> None:
    """One layer along one axis: the input above, the output below, and lines between them."""
    above, below = top, top + 2.4 * CELL
    many_y, one_y = (below, above) if side.writes else (above, below)
    many_x = {position: 12 + CELL * i for i, position in enumerate(side.many)}
    one_x = [12 + CELL * ((len(side.many) - side.places) / 2 + at) for at in range(side.places)]
    # From the lower ends of the cells above to the upper ends of those below.
    many_end, one_end = (many_y, one_y + CELL) if side.writes else (many_y + CELL, one_y)
    for at, x in enumerate(one_x):
        for position in side.axis.taps(at):
            look = ("tap", 1.8) if at == place else ("edge", 0.6)
            drawing.line((many_x[position] + CELL / 2, many_end), (x + CELL / 2, one_end), *look)
    for position, x in many_x.items():
        source = side.source(position)
        words = ("" if side.writes else "0") if source is None else numbered(source)
        fill = "tap" if position in side.axis.taps(place) else "image" if side.is_kept(position) else "padding"
        drawing.cell(x, many_y, fill, words)
    for at, x in enumerate(one_x):
        drawing.cell(x, one_y, "tap" if at == place else "image", str(at))


@dataclass(frozen=True)
class Grid:
    """Where the cells of an image stand on a drawing."""

    left: float
    rows: range
    columns: range
    top: float = 40.0

    def box(self, r: int, c: int, height: int = 1, width: int = 1, inset: float = 0) -> Box:
        """The box of so many cells, the first of which is given."""
        x, y = self.left + CELL * (c - self.columns[0]), self.top + CELL * (r - self.rows[0])
        return x + inset, y + inset, CELL * width - 2 * inset, CELL * height - 2 * inset

    def draw(self, drawing: Drawing, title: str, cell: Callable[[int, int], tuple[str, ...]]) -> None:
        """Draws the cells, of each of which `cell` says its looks, with the numbers of their rows and columns."""
        drawing.text(self.left, 14, title)
        for c in self.columns:
            drawing.text(self.box(0, c)[0] + CELL / 2, 32, numbered(c), "faint")
        for r in self.rows:
            drawing.text(self.left - 10, self.box(r, 0)[1] + CELL / 2, numbered(r), "faint")
            for c in self.columns:
                x, y, _, _ = self.box(r, c)
                drawing.cell(x, y, *cell(r, c))


def plane(layer: str, shape: tuple[int, ...], place: tuple[int, int] = (1, 1)) -> Drawing:
    """A layer along two axes: one position, the next one beside it (dashed), and what they are connected with."""
    explanation = jaxconv.explain(layer, shape)
    down, across = axes = sides(explanation)
    following = min(place[0] + 1, down.places - 1), min(place[1] + 1, across.places - 1)
    taps, next_taps = ([side.axis.taps(at) for at, side in zip(p, axes, strict=True)] for p in (place, following))

    def look_of_many(r: int, c: int) -> tuple[str, ...]:
        kept, row, column = down.is_kept(r) and across.is_kept(c), down.source(r), across.source(c)
        fill = "tap" if r in taps[0] and c in taps[1] else "image" if kept else "padding"
        if explanation.filled != "zeros" and row is not None and column is not None:
            return fill, f"{row},{column}", mixed((row, column), (down.kept, across.kept))
        return fill, "" if kept or explanation.writes else "0"

    def look_of_one(r: int, c: int) -> tuple[str, ...]:
        return ("tap" if (r, c) == place else "image",)

    drawing, titles = Drawing(), plane_titles(explanation)
    ranges = [(down.many, across.many), (range(down.places), range(across.places))]
    looks = [look_of_many, look_of_one]
    if explanation.writes:
        ranges, looks = ranges[::-1], looks[::-1]
    middle = 30 + max(CELL * len(ranges[0][1]), LETTER * len(titles[0])) + 40
    grids = [Grid(left, *each) for left, each in zip((30, middle), ranges, strict=True)]
    for grid, title, look in zip(grids, titles, looks, strict=True):
        grid.draw(drawing, title, look)
    many, one = grids[::-1] if explanation.writes else grids
    drawing.outline(many.box(0, 0, down.kept, across.kept), "text")
    for r, c in product(*next_taps):
        drawing.outline(many.box(r, c, inset=4), "next", "3 2")
    drawing.outline(one.box(*following, inset=4), "next", "3 2")
    return drawing


def plane_titles(explanation: Explanation) -> tuple[str, str]:
    """What stands above the input and above the output."""
    sizes = ["{} × {}".format(*(getattr(a, name) for a in explanation.axes)) for name in ("size", "output_size")]
    is_padded = any(any(a.pads) for a in explanation.axes)
    more = [", and its padding" * is_padded, ""]
    if explanation.writes:
        more = ["", ", and what is cut off" * is_padded]
    return f"input {sizes[0]}{more[0]}", f"output {sizes[1]}{more[1]}"


def mixed(place: tuple[int, ...], sizes: tuple[int, int]) -> str:
    """A colour by the place within the image: what padding repeats has the colour of what it repeats."""
    down, across = (round(100 * at / max(size - 1, 1)) for at, size in zip(place, sizes, strict=True))

    def mix(first: str, second: str, share: int) -> str:
        return f"color-mix(in srgb,{second} {share}%,{first})"

    ends = [mix(f"var(--tint-{y}0)", f"var(--tint-{y}1)", across) for y in range(2)]
    return mix(ends[0], ends[1], down)


def channels(*layers: tuple[str, str, tuple[int, ...]]) -> Drawing:
    """Which input channels, across, each output channel, down, reads."""
    drawing, left = Drawing(), 30.0
    for caption, layer, shape in layers:
        ins, outs, groups = jaxconv.explain(layer, shape).channels
        drawing.text(left, 14, caption)
        for c in range(ins):
            drawing.text(left + 18 * (c + 0.5), 32, str(c), "faint")
        for o in range(outs):
            drawing.text(left - 10, 40 + 18 * (o + 0.5), str(o), "faint")
            for c in range(ins):
                linked = o // (outs // groups) == c // (ins // groups)
                drawing.cell(left + 18 * c, 40 + 18 * o, "linked" if linked else "image", size=18)
        left += max(18 * ins, LETTER * len(caption)) + 40
    return drawing


def histograms(*shapes: tuple[int, ...]) -> Drawing:
    """How often each value is drawn for a weight of each shape, between -1/3 and 1/3."""
    drawing, top, bars = Drawing(), 14.0, 48
    for shape in shapes:
        fan = int(np.prod(shape[1:]))
        drawing.text(12, top, f"weight {shape}: within ±1/√{fan} = ±{fan**-0.5:.3f}")
        values = np.asarray(init.conv_weight_init(jax.random.key(0), (4000, *shape[1:])))
        shares = np.histogram(values, np.linspace(-0.36, 0.36, bars + 1))[0] / values.size
        for i, share in enumerate(shares):
            height = round(600 * float(share))  # one draw more or less is not seen
            if height:
                drawing.bar((12 + 8 * i, top + 70 - height, 8, height))
        drawing.line((12, top + 70), (12 + 8 * bars, top + 70), "text", 1)
        for value in (-0.3, 0, 0.3):
            drawing.text(12 + 8 * bars * (value + 0.36) / 0.72, top + 80, numbered(value), "faint")
        top += 112
    return drawing


def memory() -> Drawing:
    """The order in which the numbers of an image with two channels and 2 × 3 positions lie, in both data formats."""
    drawing, top = Drawing(), 14.0
    names = np.array([[[f"{c}{h}{w}" for w in range(3)] for h in range(2)] for c in "ab"])
    for caption, array in (("channels_first: C, H, W", names), ("channels_last: H, W, C", names.transpose(1, 2, 0))):
        drawing.text(12, top, caption)
        for i, name in enumerate(array.ravel()):
            drawing.cell(12 + CELL * i, top + 12, "linked" if name[0] == "a" else "image", name)
        top += CELL + 40
    return drawing


def speed() -> Drawing:
    """How many times jaxconv's time the others take for a training step of a layer, as docs/benchmarks.md has it."""
    table = BENCHMARKS.read_text().split("## Layers: output and both gradients")[1].split("\n## ")[0]
    names, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in re.findall(r"^\|.*$", table, re.M))
    of_row = [dict(zip(names, row, strict=True)) for row in rows]
    shown = [row for row in of_row if row["flax ms"] and row["torch ms"]]
    ours, left, step = "jaxconv ms", 210.0, 110.0
    drawing = Drawing()

    def place(times: float) -> float:
        return left + step * float(np.log10(times))

    drawing.text(12, 14, "a layer's output and gradients: times the time that jaxconv takes")
    for x, look, name in ((left, "tap", "PyTorch"), (left + 90, "linked", "Flax")):
        drawing.cell(x, 30, look, size=9)
        drawing.text(x + 16, 35, name)
    end = 62 + 18 * len(shown)
    for times in (1, 10, 100, 1000):
        look = ("text", 1.4) if times == 1 else ("edge", 0.6)
        drawing.line((place(times), 52), (place(times), end), *look)
        drawing.text(place(times), end + 10, f"{times:,}", "faint")
    for i, row in enumerate(sorted(shown, key=lambda row: float(row["flax ms"]) / float(row[ours]))):
        y = 56 + 18 * i
        drawing.text(12, y + 5, row["layer"])
        for peer, look in (("flax ms", "linked"), ("torch ms", "tap")):
            drawing.cell(place(float(row[peer]) / float(row[ours])) - 4.5, y, look, size=9)
    return drawing


def pictures() -> Iterator[tuple[str, Drawing]]:
    """The name of each picture, and the picture."""
    yield "home", plane("Conv2d(1, 1, 3, stride=2, padding=2, padding_mode='circular')", (1, 6, 7), (0, 0))
    yield "convolution", strips(("Conv1d(1, 1, 3)", "Conv1d(1, 1, 3)", 7))
    yield "convolution_plane", plane("Conv2d(1, 1, (2, 3))", (1, 5, 6))
    yield "square_plane", plane("Conv2d(1, 1, 3)", (1, 5, 6))
    yield (
        "kernel_size",
        strips(
            ("kernel_size=1", "Conv1d(1, 1, 1)", 8),
            ("kernel_size=3", "Conv1d(1, 1, 3)", 8),
            ("kernel_size=5", "Conv1d(1, 1, 5)", 8),
        ),
    )
    yield "kernel_size_plane", plane("Conv2d(1, 1, (2, 4))", (1, 5, 7))
    yield (
        "stride",
        strips(
            ("stride=1", "Conv1d(1, 1, 3)", 8),
            ("stride=2", "Conv1d(1, 1, 3, stride=2)", 8),
            ("stride=3", "Conv1d(1, 1, 3, stride=3)", 8),
        ),
    )
    yield "stride_plane", plane("Conv2d(1, 1, 3, stride=2)", (1, 7, 8))
    yield (
        "padding",
        strips(
            ("padding=0", "Conv1d(1, 1, 3)", 6),
            ("padding=1", "Conv1d(1, 1, 3, padding=1)", 6),
            ("padding=2", "Conv1d(1, 1, 3, padding=2)", 6),
        ),
    )
    yield "padding_plane", plane("Conv2d(1, 1, 3, padding=1)", (1, 5, 6), (0, 0))
    yield (
        "output_size",
        strips(
            ("7 positions", "Conv1d(1, 1, 3, stride=2)", 7),
            ("8 positions", "Conv1d(1, 1, 3, stride=2)", 8),
            place=2,
        ),
    )
    yield "output_size_plane", plane("Conv2d(1, 1, 3, stride=2, padding=1)", (1, 6, 7))
    yield (
        "dilation",
        strips(
            ("dilation=1", "Conv1d(1, 1, 3)", 9),
            ("dilation=2", "Conv1d(1, 1, 3, dilation=2)", 9),
            ("dilation=3", "Conv1d(1, 1, 3, dilation=3)", 9),
        ),
    )
    yield "dilation_plane", plane("Conv2d(1, 1, 3, dilation=2)", (1, 7, 8))
    yield (
        "groups",
        channels(
            ("groups=1", "Conv2d(6, 6, 3, groups=1)", (6, 5, 5)),
            ("groups=2", "Conv2d(6, 6, 3, groups=2)", (6, 5, 5)),
            ("groups=in_channels", "Conv2d(6, 6, 3, groups=6)", (6, 5, 5)),
        ),
    )
    modes = ("zeros", "reflect", "replicate", "circular", "symmetric")
    rows = [(mode, f"Conv1d(1, 1, 3, padding=2, padding_mode={mode!r})", 5) for mode in modes]
    yield "padding_mode", strips(*rows, place=0)
    yield "padding_mode_plane", plane("Conv2d(1, 1, 3, padding=2, padding_mode='circular')", (1, 5, 6), (0, 0))
    yield "bias", histograms((8, 1, 3, 3), (8, 16, 3, 3))
    yield (
        "transposed",
        strips(
            ("stride=2", "ConvTranspose1d(1, 1, 3, stride=2)", 4),
            ("padding=1", "ConvTranspose1d(1, 1, 3, stride=2, padding=1)", 4),
            ("output_padding=1", "ConvTranspose1d(1, 1, 3, stride=2, padding=1, output_padding=1)", 4),
        ),
    )
    yield "transposed_plane", plane("ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1)", (1, 3, 4))
    yield "data_format", memory()
    yield "speed", speed()


def main(folder: Path = FOLDER) -> None:
    """Draws all of them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in pictures():
        english = korean = drawing.svg()
        (folder / f"{name}.svg").write_text(english)
        for words, translated in KOREAN.items():
            korean = korean.replace(words, translated)
        if korean != english:
            (folder / f"{name}.ko.svg").write_text(korean)


if __name__ == "__main__":
    main()
