"""The record of what a layer does to an input of a given shape, as text, as a dictionary and as a picture."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from jaxconv._explain import picture
from jaxconv._explain.axis import Axis
from jaxconv._explain.picture.scene import Scene

_WIDTH = 100  # of the text, in columns
_INDENT = 22
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Parameter:
    """A parameter of a layer.

    Attributes:
        name: its name in the layer.
        shape: its shape.
        layout: what its axes are, in words.
    """

    name: str
    shape: tuple[int, ...]
    layout: str

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Op:
    """One of the three derivatives of the trilinear form, and how it is computed.

    Attributes:
        name: `"output"`, `"input"` or `"weight"`.
        computes: what it is to the layer.
        algorithm: the name of what computes it.
        reason: why that one does.
    """

    name: str
    computes: str
    algorithm: str
    reason: str


@dataclass(frozen=True)
class Explanation:
    """What a layer does to an input of a given shape; `print` it, or see `as_dict` and `picture`.

    Attributes:
        layer: the layer's text.
        kind: what kind of layer it is.
        input_shape: the shape of its input.
        output_shape: the shape of its output.
        layout: the letters of the axes of both, `("N", "C", "H", "W")`.
        arithmetic: for each axis whose size is computed its name and the computation, numbers filled in.
        axes: the numbers of the layer along each spatial axis.
        writes: whether each input position writes to a window of the output (a transposed convolution), rather than
            each output position reads a window of the input.
        sides: what the positions of input and output are called.
        fields: for each spatial axis its name and how its receptive field is computed.
        padding: what is padded, in words.
        filled: the padding mode, or what fills the padding.
        parameters: the layer's parameters.
        multiply_accumulates: their number for one image; 0 for a layer without a weight.
        formula: two lines, what they are the product of in names and in numbers; "" for a layer without a weight.
        channels: numbers of input and of output channels, and of the groups that they are divided into.
        grouping: `"dense"`, `"grouped"` or `"depthwise"`, and the same in words.
        platform: where the layer is computed, by JAX's name.
        ops: how each of the three ops is computed, for a convolution.

    Example:
        >>> import jaxconv
        >>> explanation = jaxconv.explain("ConvTranspose2d(8, 4, 3, stride=2, padding=1)", (1, 8, 7, 7))
        >>> dict(explanation.arithmetic)["H"]
        '(7 - 1) * 2 - 1 - 1 + 1 * (3 - 1) + 1 + 0 = 13'
        >>> explanation.as_dict()["output_shape"]
        [1, 4, 13, 13]
    """

    layer: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    layout: tuple[str, ...]
    arithmetic: tuple[tuple[str, str], ...]
    axes: tuple[Axis, ...] = ()
    writes: bool = False
    sides: tuple[str, str] = ("input", "output")
    fields: tuple[tuple[str, str], ...] = ()
    padding: tuple[str, ...] = ()
    filled: str = "zeros"
    parameters: tuple[Parameter, ...] = ()
    multiply_accumulates: int = 0
    formula: str = ""
    channels: tuple[int, int, int] = (1, 1, 1)
    grouping: tuple[str, str] = ("", "")
    platform: str = ""
    ops: tuple[Op, ...] = ()

    @property
    def batch(self) -> int:
        """How many images there are; 1 where the input has no axis for them."""
        return self.input_shape[0] if self.layout[:1] == ("N",) else 1

    def _bytes(self) -> dict[str, int]:
        parameters = sum(p.count for p in self.parameters)
        numbers = {"input": math.prod(self.input_shape), "parameters": parameters}
        return {name: _FLOAT * n for name, n in (numbers | {"output": math.prod(self.output_shape)}).items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it as dictionaries, lists, numbers and strings, ready for `json.dumps`.

        Returns:
            A dictionary of the attributes, with what follows from them; None stands for what the layer has not.
        """
        parameters = {p.name: {"shape": list(p.shape), "count": p.count} for p in self.parameters}
        return {
            "layer": self.layer,
            "kind": self.kind,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "layout": list(self.layout),
            "arithmetic": dict(self.arithmetic),
            "axes": [
                {
                    "name": a.name,
                    "input_size": a.size,
                    "output_size": a.output_size,
                    "kernel_size": a.kernel,
                    "stride": a.stride,
                    "dilation": a.dilation,
                    "pads": list(a.pads),
                    "receptive_field": a.receptive_field,
                }
                for a in self.axes
            ],
            "padding_mode": self.filled if any(any(a.pads) for a in self.axes) else None,
            "parameters": {
                "weight": parameters.get("weight"),
                "bias": parameters.get("bias"),
                "total": sum(p.count for p in self.parameters),
            },
            "multiply_accumulates": {
                "per_image": self.multiply_accumulates,
                "batch": self.batch * self.multiply_accumulates,
            },
            "groups": {"number": self.channels[2], "kind": self.grouping[0], "description": self.grouping[1]},
            "bytes": {"dtype": "float32", **self._bytes()},
            "platform": self.platform or None,
            "algorithms": {
                op.name: {"computes": op.computes, "algorithm": op.algorithm, "reason": op.reason} for op in self.ops
            },
        }

    def __str__(self) -> str:
        lines = textwrap.wrap(self.layer, _WIDTH, subsequent_indent=" " * 4, break_long_words=False)
        lines += [self.kind, ""]
        for title, texts in self._sections():
            for text in texts:
                # Columns are aligned by runs of spaces, which a wrapped line keeps as its indent.
                hang = " " * (_INDENT + _hang(text))
                lines += textwrap.wrap(
                    text,
                    _WIDTH,
                    initial_indent=title.ljust(_INDENT),
                    subsequent_indent=hang,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                title = ""
        return "\n".join(lines)

    def _sections(self) -> list[tuple[str, Sequence[str]]]:
        shapes = _table([[str(self.input_shape), ", ".join(self.layout)], [str(self.output_shape), ""]])
        sections: list[tuple[str, Sequence[str]]] = [
            ("input", shapes[:1]),
            ("output", [*shapes[1:], *_table([[f"{name}:", text] for name, text in self.arithmetic], " ")]),
        ]
        if self.parameters:
            total = sum(p.count for p in self.parameters)
            rows = [[p.name, str(p.shape), f"{p.count:,}", p.layout] for p in self.parameters]
            rows = [*rows, ["total", "", f"{total:,}", ""]]
            sections.append(("parameters", _table(rows, right=(2,))))
        else:
            sections.append(("parameters", ["none"]))
        if self.formula:
            names, numbers = self.formula.splitlines()
            count = self.multiply_accumulates
            lines = [names, f"{numbers} = {count:,} per image"]
            if self.layout[0] == "N":
                lines.append(f"{self.batch:,} * {count:,} = {self.batch * count:,} for the batch")
            sections.append(("multiply-accumulates", [*lines, "the same for each of the three ops"]))
        else:
            sections.append(("multiply-accumulates", ["none"]))
        if self.fields:
            sections.append(("receptive field", _table([[f"{name}:", text] for name, text in self.fields], " ")))
        if self.padding:
            sections.append(("padding", self.padding))
        if self.grouping[1]:
            sections.append(("groups", [self.grouping[1]]))
        rows = [[name, f"{n:,}", "bytes", _readable(n)] for name, n in self._bytes().items()]
        sections.append(("memory (float32)", _table(rows, right=(1,))))
        if self.ops:
            rows = _table([[op.name, op.computes, op.algorithm] for op in self.ops])
            lines = [line for row, op in zip(rows, self.ops, strict=True) for line in (row, f"  {op.reason}")]
            sections.append((f"algorithms ({self.platform})", lines))
        return sections

    def picture(self, path: str | PathLike) -> None:
        """Writes a PNG: which input positions one output position depends on, and which channels feed which.

        Args:
            path: the file to write.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: there is nothing to draw: the layer has no spatial axes, or the output is empty.
            OSError: the file cannot be written.
        """
        if not self.axes:
            raise ValueError(f"{self.layer} has no picture: it has no windows")
        if 0 in (n for a in self.axes for n in (a.size, a.output_size)):
            raise ValueError(f"{self.layer} has no picture: its output is empty, of shape {self.output_shape}")
        scene = Scene(
            title=self.layer,
            subtitle=f"{self.kind}: {self.input_shape} to {self.output_shape}",
            axes=self.axes,
            writes=self.writes,
            filled=self.filled,
            channels=self.channels,
            grouping=self.grouping[0],
            sides=self.sides,
            sizes=tuple(f"{name}: {text}" for name, text in self.arithmetic),
        )
        picture.save(scene, path, description=str(self))


def _readable(number: int) -> str:
    """A number of bytes in a unit that leaves at most four digits."""
    size, units = float(number), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return "" if units[0] == "bytes" else f"({size:.1f} {units[0]})"


def _table(rows: Sequence[Sequence[str]], gap: str = "   ", right: Sequence[int] = ()) -> list[str]:
    """The rows with their columns aligned, those in `right` at their ends."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        gap.join(t.rjust(w) if i in right else t.ljust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def _hang(text: str) -> int:
    """How far the last column of a line of a table is from its start."""
    parts = text.rstrip().rsplit("   ", 1)
    return len(parts[0]) + 3 if len(parts) == 2 else (text.index(": ") + 2 if ": " in text[:10] else 0)
