"""The record of what a layer does to an input of a given shape, as text, as a dictionary and as a picture."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

from jaxconv._explain import machine, picture
from jaxconv._explain.axis import Axis
from jaxconv._explain.machine import Machine
from jaxconv._explain.model.sent import Sent, as_dict
from jaxconv._explain.picture.scene import Scene
from jaxconv._explain.tables import hang, milliseconds, readable, table

_WIDTH = 100  # of the text, in columns
_INDENT = 22
_FLOAT = 4  # bytes
# What is timed.
MEASURED = ("output", "input_gradient", "parameters_gradient")


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
        given: the ceilings of the machine, where they were given.
        measured: seconds that the output, the gradient of the input and that of the parameters took, after `measure`;
            None of one that there is not.
        sent: where devices divide the input, the bytes that each receives of others for the output and for the
            gradients: `"halos"` of images, what is `"gathered"`, and arrays that are `"summed"` over devices.

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
    given: Machine | None = None
    measured: tuple[float | None, ...] = ()
    sent: Sent | None = None
    timed: Callable[[], tuple[float | None, ...]] | None = field(default=None, repr=False, compare=False)

    def measure(self) -> "Explanation":
        """Times the layer on arrays of random numbers.

        Returns:
            The same with `measured`: the median of several times, each until the result is there.
        """
        return self if self.timed is None else replace(self, measured=self.timed())

    @property
    def machine(self) -> Machine:
        """The ceilings: those that were given, or those of this machine, which are measured once in a process."""
        return self.given or machine.measured("float32")

    @property
    def intensity(self) -> float:
        """Floating-point operations of a batch, two for each multiply-accumulate, for each byte that is moved."""
        moved = sum(self._bytes().values())
        return 2 * self.batch * self.multiply_accumulates / moved if moved else 0.0

    @property
    def ceiling(self) -> str:
        """What binds the layer: `"arithmetic"` or `"memory"`."""
        return self.machine.ceiling(self.batch * self.multiply_accumulates, sum(self._bytes().values()))

    @property
    def batch(self) -> int:
        """How many images there are; 1 where the input has no axis for them."""
        return self.input_shape[0] if self.layout[:1] == ("N",) else 1

    def _bytes(self) -> dict[str, int]:
        parameters = sum(p.count for p in self.parameters)
        numbers = {"input": math.prod(self.input_shape), "parameters": parameters}
        return {name: _FLOAT * n for name, n in (numbers | {"output": math.prod(self.output_shape)}).items()}

    def _seconds(self) -> float:
        return self.machine.seconds(self.batch * self.multiply_accumulates, sum(self._bytes().values()))

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
            "arithmetic_intensity": self.intensity,
            "ceiling": self.ceiling,
            "seconds_at_least": self._seconds(),
            "seconds_measured": dict(zip(MEASURED, self.measured, strict=True)) if self.measured else None,
            "sent": as_dict(self.sent),
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
                indent = " " * (_INDENT + hang(text))
                lines += textwrap.wrap(
                    text,
                    _WIDTH,
                    initial_indent=title.ljust(_INDENT),
                    subsequent_indent=indent,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                title = ""
        return "\n".join(lines)

    def _sections(self) -> list[tuple[str, Sequence[str]]]:
        shapes = table([[str(self.input_shape), ", ".join(self.layout)], [str(self.output_shape), ""]])
        sections: list[tuple[str, Sequence[str]]] = [
            ("input", shapes[:1]),
            ("output", [*shapes[1:], *table([[f"{name}:", text] for name, text in self.arithmetic], " ")]),
        ]
        if self.parameters:
            total = sum(p.count for p in self.parameters)
            rows = [[p.name, str(p.shape), f"{p.count:,}", p.layout] for p in self.parameters]
            rows = [*rows, ["total", "", f"{total:,}", ""]]
            sections.append(("parameters", table(rows, right=(2,))))
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
            sections.append(("receptive field", table([[f"{name}:", text] for name, text in self.fields], " ")))
        if self.padding:
            sections.append(("padding", self.padding))
        if self.grouping[1]:
            sections.append(("groups", [self.grouping[1]]))
        rows = [[name, f"{n:,}", "bytes", readable(n)] for name, n in self._bytes().items()]
        sections.append(("memory (float32)", table(rows, right=(1,))))
        flop, moved = 2 * self.batch * self.multiply_accumulates, sum(self._bytes().values())
        sections.append(
            (
                "arithmetic intensity",
                [
                    f"{flop:,} / {moved:,} = {self.intensity:.1f} FLOP/byte",
                    f"bound by {self.ceiling}: the ceilings of this machine meet at {self.machine.ridge:.1f} FLOP/byte",
                ],
            )
        )
        if self.measured:
            rows = [[name.replace("_", " "), milliseconds(t)] for name, t in zip(MEASURED, self.measured, strict=True)]
            rows = [["at least", milliseconds(self._seconds())], *(row for row in rows if row[1])]
            sections.append(("milliseconds", table(rows, right=(1,))))
        if self.sent is not None:
            rows = [[name, *(f"{n:,}" for n in pair)] for name, pair in self.sent.items() if any(pair)]
            rows = [["", "output", "gradients"], *rows] if rows else [["nothing"]]
            sections.append(("bytes to a device", table(rows, right=(1, 2))))
        if self.ops:
            rows = table([[op.name, op.computes, op.algorithm] for op in self.ops])
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
