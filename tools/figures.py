"""Draws the pictures of docs/learn/ into docs/images/learn/, with the numbers that `jaxconv.explain` gives.

    python tools/figures.py

They are SVG with colours for a light and for a dark page. A test draws them anew and compares.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import jax
import numpy as np

import jaxconv
from jaxconv import init
from jaxconv._explain.axis import Axis
from jaxconv._explain.explanation import Explanation
from jaxconv._spec.padding import source_index

FOLDER = Path(__file__).parents[1] / "docs/images/learn"
CELL = 26
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


def style() -> str:
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
        self.marks.append(f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" fill="var(--{fill})"/>')
        if tint and fill != "tap":
            edge = 4 if fill == "padding" else 0
            place = f'x="{x + edge:g}" y="{y + edge:g}" width="{size - 2 * edge:g}" height="{size - 2 * edge:g}"'
            self.marks.append(f'<rect {place} style="fill:{tint};stroke:none"/>')
        if label:
            kind = ' class="on-tap"' if fill == "tap" else ""
            self.marks.append(f'<text x="{x + size / 2:g}" y="{y + size / 2:g}"{kind}>{escape(label)}</text>')
        self.grow(x + size, y + size)

    def text(self, x: float, y: float, words: str, kind: str = "left") -> None:
        """A line of text; `kind` is `"left"` for where it begins, or `"faint"`."""
        self.marks.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>')
        self.grow(x + (6.3 * len(words) if kind == "left" else 6), y + 8)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float) -> None:
        ends = f'x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}"'
        self.marks.append(f'<line {ends} style="stroke:var(--{colour});stroke-width:{width:g}"/>')

    def outline(self, x: float, y: float, width: float, height: float, colour: str, dashes: str = "") -> None:
        dashed = f";stroke-dasharray:{dashes}" if dashes else ""
        self.marks.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="none" '
            f'style="stroke:var(--{colour});stroke-width:1.8{dashed}"/>'
        )

    def grow(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)

    def svg(self) -> str:
        width, height = self.width + 12, self.height + 10
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}">{style()}<rect width="100%" height="100%" '
            'style="fill:var(--page);stroke:none"/>\n' + "\n".join(self.marks) + "\n</svg>\n"
        )


@dataclass(frozen=True)
class Side:
    """What is drawn along one axis: all positions of the side that has many, and how many the other side has."""

    axis: Axis
    writes: bool
    filled: str

    @property
    def kept(self) -> int:
        return self.axis.output_size if self.writes else self.axis.size

    @property
    def places(self) -> int:
        return self.axis.size if self.writes else self.axis.output_size

    @property
    def many(self) -> range:
        last = self.axis.taps(self.places - 1)[-1]
        end = max(self.kept + (0 if self.writes else self.axis.pads[1]), last + 1)
        return range(-self.axis.pads[0], end)

    def source(self, position: int) -> int | None:
        return source_index(self.filled, position, self.kept, self.axis.pads)


def sides(explanation: Explanation) -> list[Side]:
    return [Side(axis, explanation.writes, explanation.filled) for axis in explanation.axes]


def numbered(value: int) -> str:
    return str(value).replace("-", "−")


def strips(*rows: tuple[str, str, int], place: int = 1) -> Drawing:
    """Layers along one axis, each a caption, its text and the size of its input: who is connected with whom."""
    drawing, top = Drawing(), 14.0
    for caption, layer, size in rows:
        explanation = jaxconv.explain(layer, (1, 1, size))
        (side,) = sides(explanation)
        taps = side.axis.taps(place)
        drawing.text(12, top, f"{caption}: {explanation.arithmetic[0][1].replace('-', '−')}")
        upper, lower = top + 14, top + 14 + CELL * 2.4
        left = {position: 12 + CELL * i for i, position in enumerate(side.many)}
        shift = 12 + CELL * (len(side.many) - side.places) / 2
        many_y, one_y = (lower, upper) if side.writes else (upper, lower)
        for at in range(side.places):
            for position in side.axis.taps(at):
                x, y = left[position] + CELL / 2, shift + CELL * (at + 0.5)
                ends = [(x, many_y), (y, one_y)] if side.writes else [(x, many_y + CELL), (y, one_y)]
                if side.writes:
                    ends[1] = (y, one_y + CELL)
                drawing.line(*ends, *(("tap", 1.8) if at == place else ("edge", 0.6)))
        for position, x in left.items():
            kept, source = 0 <= position < side.kept, side.source(position)
            words = "0" if source is None and not side.writes else numbered(position if source is None else source)
            fill = "tap" if position in taps else "image" if kept else "padding"
            drawing.cell(x, many_y, fill, words if kept or not side.writes or source is not None else "")
        for at in range(side.places):
            drawing.cell(shift + CELL * at, one_y, "tap" if at == place else "image", str(at))
        top = lower + CELL + 26
    return drawing


def plane(layer: str, shape: tuple[int, ...], place: tuple[int, int] = (1, 1)) -> Drawing:
    """A layer along two axes: one position, the next one beside it (dashed), and what they are connected with."""
    explanation = jaxconv.explain(layer, shape)
    down, across = sides(explanation)
    drawing = Drawing()
    following = tuple(min(at + 1, side.places - 1) for at, side in zip(place, (down, across), strict=True))

    def many(left: float) -> None:
        grid(drawing, left, down.many, across.many, cell_of_many)
        drawing.outline(
            left + CELL * (0 - across.many[0]),
            40 + CELL * (0 - down.many[0]),
            CELL * across.kept,
            CELL * down.kept,
            "text",
        )
        if following != place:
            for r in down.axis.taps(following[0]):
                for c in across.axis.taps(following[1]):
                    x, y = left + CELL * (c - across.many[0]), 40 + CELL * (r - down.many[0])
                    drawing.outline(x + 4, y + 4, CELL - 8, CELL - 8, "next", "3 2")

    def cell_of_many(r: int, c: int) -> tuple[str, ...]:
        kept = 0 <= r < down.kept and 0 <= c < across.kept
        source = (down.source(r), across.source(c))
        fill = "image" if kept else "padding"
        if r in down.axis.taps(place[0]) and c in across.axis.taps(place[1]):
            fill = "tap"
        if explanation.filled != "zeros" and None not in source:
            return fill, f"{source[0]},{source[1]}", mixed(source, (down.kept, across.kept))
        return fill, "" if kept or explanation.writes else "0"

    def one(left: float) -> None:
        grid(
            drawing,
            left,
            range(down.places),
            range(across.places),
            lambda r, c: ("tap" if (r, c) == place else "image", ""),
        )
        if following != place:
            x, y = left + CELL * following[1], 40 + CELL * following[0]
            drawing.outline(x + 4, y + 4, CELL - 8, CELL - 8, "next", "3 2")

    sizes = ["{} × {}".format(*(getattr(a, name) for a in explanation.axes)) for name in ("size", "output_size")]
    padded = any(any(a.pads) for a in explanation.axes)
    titles = {
        False: (f"input {sizes[0]}" + ", and its padding" * padded, f"output {sizes[1]}"),
        True: (f"input {sizes[0]}", f"output {sizes[1]}" + ", and what is cut off" * padded),
    }[explanation.writes]
    first, second = (one, many) if explanation.writes else (many, one)
    columns = len(range(across.places)) if explanation.writes else len(across.many)
    middle = 30 + max(CELL * columns, 6.3 * len(titles[0])) + 40
    for left, title, draw in ((30, titles[0], first), (middle, titles[1], second)):
        drawing.text(left, 14, title)
        draw(left)
    return drawing


def mixed(place: tuple[int, ...], sizes: tuple[int, int]) -> str:
    """A colour by the place within the image: what padding repeats has the colour of what it repeats."""
    down, across = (round(100 * at / max(size - 1, 1)) for at, size in zip(place, sizes, strict=True))

    def mix(first: str, second: str, share: int) -> str:
        return f"color-mix(in srgb,{second} {share}%,{first})"

    ends = [mix(f"var(--tint-{y}0)", f"var(--tint-{y}1)", across) for y in range(2)]
    return mix(*ends, down)


def grid(
    drawing: Drawing, left: float, rows: Iterable[int], columns: Iterable[int], cell: Callable[[int, int], tuple]
) -> None:
    """Cells with the numbers of their rows and columns."""
    for x, c in enumerate(columns):
        drawing.text(left + CELL * (x + 0.5), 32, numbered(c), "faint")
    for y, r in enumerate(rows):
        drawing.text(left - 10, 40 + CELL * (y + 0.5), numbered(r), "faint")
        for x, c in enumerate(columns):
            drawing.cell(left + CELL * x, 40 + CELL * y, *cell(r, c))


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
        left += max(18 * ins, 6.3 * len(caption)) + 40
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
            height = round(360 * float(share), 1)
            if height:
                drawing.marks.append(
                    f'<rect x="{12 + 8 * i}" y="{top + 70 - height:g}" width="8" height="{height:g}" '
                    'fill="var(--linked)"/>'
                )
        drawing.line((12, top + 70), (12 + 8 * bars, top + 70), "text", 1)
        for value in (-0.3, 0, 0.3):
            drawing.text(12 + 8 * bars * (value + 0.36) / 0.72, top + 80, numbered(value), "faint")
        drawing.grow(12 + 8 * bars, top + 84)
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


def pictures() -> Iterator[tuple[str, Drawing]]:
    """The name of each picture, and the picture."""
    yield "home", plane("Conv2d(1, 1, 3, stride=2, padding=2, padding_mode='circular')", (1, 6, 7), (0, 0))
    yield "convolution", strips(("Conv1d(1, 1, 3)", "Conv1d(1, 1, 3)", 7))
    yield "convolution_plane", plane("Conv2d(1, 1, (2, 3))", (1, 5, 6))
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


def main(folder: Path = FOLDER) -> None:
    """Draws all of them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in pictures():
        (folder / f"{name}.svg").write_text(drawing.svg())


if __name__ == "__main__":
    main()
