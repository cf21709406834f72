"""The record of what a model does to an input of a given shape, as text, as a dictionary and as a picture."""

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from os import PathLike
from typing import Any

from jaxconv._explain import machine, picture
from jaxconv._explain.explanation import MEASURED, Op
from jaxconv._explain.machine import Machine
from jaxconv._explain.model import measure, text
from jaxconv._explain.model.sent import KINDS, Sent, as_dict
from jaxconv._explain.model.units import Unit
from jaxconv._explain.picture.scene import Depth, ModelScene, Point


@dataclass(frozen=True)
class Row:
    """A layer, or what is computed between two layers.

    Attributes:
        name: its path in the model, as PyTorch writes it; of what is computed between layers, that of the module that
            computes it.
        kind: the name of its class, or those of the functions.
        layer: what a layer of this package prints; None of others.
        input_shapes: the shapes of the arrays that go in, but for those of the model.
        output_shape: the shape of what comes out, of several arrays the first; None of a layer that is not called.
        times: how often it is computed, by a loop.
        parameters: how many numbers of the model's parameters it reads that no row above has read.
        multiply_accumulates: their number.
        bytes: what is moved at least: what goes in, what comes out, and the parameters.
        receptive_field: along each axis of the input on which windows move, how many positions one position of the
            output depends on at most; None stands for all of them, or as many as nobody can tell.
        jump: along the same axes, how far apart those of two neighbours are; None where there are no neighbours.
        ops: how the three ops of its first convolution are computed.
        measured: seconds that its output, the gradient of its input and that of its parameters took; None where one
            was not measured, or there is none.
        sent: where devices divide the input, the bytes that each receives of others for the output and for the
            gradients: `"halos"` of images, what is `"gathered"`, and arrays that are `"summed"` over devices.
    """

    name: str
    kind: str
    layer: str | None = None
    input_shapes: tuple[tuple[int, ...], ...] = ()
    output_shape: tuple[int, ...] | None = None
    times: int = 1
    parameters: int = 0
    multiply_accumulates: int = 0
    bytes: int = 0
    receptive_field: tuple[int | None, ...] = ()
    jump: tuple[Fraction | None, ...] = ()
    ops: tuple[Op, ...] = ()
    measured: tuple[float | None, float | None, float | None] | None = None
    sent: Sent | None = None
    unit: Unit | None = field(default=None, repr=False, compare=False)

    @property
    def intensity(self) -> float:
        """Floating-point operations, two for each multiply-accumulate, for each byte that is moved."""
        return 2 * self.multiply_accumulates / self.bytes if self.bytes else 0.0


@dataclass(frozen=True)
class ModelExplanation:
    """What a model does to an input of a given shape, layer by layer; `print` it, or see `as_dict` and `picture`.

    Attributes:
        model: the name of the model's class.
        input_shapes: the shapes of its inputs.
        rows: its layers, and what is computed between them, in the order of the computation; a layer that is called
            twice is there twice. Layers that are not called are the last.
        axes: the letters of the axes along which receptive fields are told.
        sizes: the sizes of the input along them.
        dtype: what most products are computed in.
        platform: where the model is computed, by JAX's name.
        given: the ceilings, where they were given.
        opaque: operations of which it is not known what they cost.

    Example:
        >>> from flax import nnx
        >>> import jaxconv
        >>> from jaxconv.nnx import Conv2d, Flatten, MaxPool2d, Sequential
        >>> rngs = nnx.Rngs(0)
        >>> model = Sequential(Conv2d(1, 8, 3, rngs=rngs), nnx.relu, MaxPool2d(2), Flatten())
        >>> explanation = jaxconv.explain(model, (1, 1, 28, 28))
        >>> for row in explanation.rows:
        ...     print(row.name, row.kind, row.output_shape, row.parameters, row.receptive_field)
        0 Conv2d (1, 8, 26, 26) 80 (3, 3)
        1 relu (1, 8, 26, 26) 0 (3, 3)
        2 MaxPool2d (1, 8, 13, 13) 0 (4, 4)
        3 Flatten (1, 1352) 0 (4, 4)
    """

    model: str
    input_shapes: tuple[tuple[int, ...], ...]
    rows: tuple[Row, ...]
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    dtype: str
    platform: str
    given: Machine | None = None
    opaque: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """The number of the model's parameters, each counted once."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_accumulates(self) -> int:
        """The number of all multiply-accumulates."""
        return sum(row.multiply_accumulates for row in self.rows)

    @property
    def bytes(self) -> int:
        """What all rows move; what one hands to the next counts for both."""
        return sum(row.bytes for row in self.rows)

    @property
    def sent(self) -> Sent | None:
        """The sums of what devices send each other; None where no device divides the input."""
        found = [row.sent for row in self.rows if row.sent is not None]
        if not found:
            return None
        return {name: (sum(each[name][0] for each in found), sum(each[name][1] for each in found)) for name in KINDS}

    @property
    def machine(self) -> Machine:
        """The ceilings: those that were given, or those of this machine, which are measured once in a process."""
        return self.given or machine.measured(self.dtype)

    @property
    def seconds(self) -> float:
        """How long the model takes at least: each row as long as its ceiling says."""
        return sum(self.machine.seconds(row.multiply_accumulates, row.bytes) for row in self.rows)

    def measure(self) -> "ModelExplanation":
        """Times each row by itself, on arrays of random numbers.

        Returns:
            The same with the rows' attribute `measured`: the median of several times, each until the result is there.
        """
        times = measure.times_of([row.unit for row in self.rows])
        return replace(self, rows=tuple(replace(row, measured=t) for row, t in zip(self.rows, times, strict=True)))

    def as_dict(self) -> dict[str, Any]:
        """All of it as dictionaries, lists, numbers and strings, ready for `json.dumps`.

        Returns:
            A dictionary of the attributes, with what follows from them; None stands for what a row has not.
        """
        return {
            "model": self.model,
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "platform": self.platform,
            "dtype": self.dtype,
            "machine": {
                "flops_per_second": self.machine.flops,
                "bytes_per_second": self.machine.bytes,
                "ridge": self.machine.ridge,
            },
            "rows": [self._row_as_dict(row) for row in self.rows],
            "totals": {
                "parameters": self.parameters,
                "multiply_accumulates": self.multiply_accumulates,
                "bytes": self.bytes,
                "seconds_at_least": self.seconds,
                "seconds_measured": self.measured(),
                "sent": as_dict(self.sent),
            },
            "not_counted": list(self.opaque),
        }

    def _row_as_dict(self, row: Row) -> dict[str, Any]:
        is_called = row.output_shape is not None
        return {
            "name": row.name,
            "kind": row.kind,
            "layer": row.layer,
            "called": is_called,
            "times": row.times if is_called else 0,
            "input_shapes": [list(shape) for shape in row.input_shapes],
            "output_shape": None if row.output_shape is None else list(row.output_shape),
            "parameters": row.parameters,
            "parameters_share": text.share(row.parameters, self.parameters),
            "multiply_accumulates": row.multiply_accumulates,
            "multiply_accumulates_share": text.share(row.multiply_accumulates, self.multiply_accumulates),
            "bytes": row.bytes,
            "arithmetic_intensity": row.intensity,
            "ceiling": self.machine.ceiling(row.multiply_accumulates, row.bytes) if is_called else None,
            "seconds_at_least": self.machine.seconds(row.multiply_accumulates, row.bytes),
            "seconds_measured": None if row.measured is None else dict(zip(MEASURED, row.measured, strict=True)),
            "receptive_field": {
                axis: "all" if size is None else size
                for axis, size in zip(self.axes, row.receptive_field, strict=False)
            },
            "jump": {
                axis: None if step is None else float(step) for axis, step in zip(self.axes, row.jump, strict=False)
            },
            "sent": as_dict(row.sent),
            "algorithms": {
                op.name: {"computes": op.computes, "algorithm": op.algorithm, "reason": op.reason} for op in row.ops
            },
        }

    def measured(self) -> dict[str, float] | None:
        """The sums of the rows' times, by what was computed; None where nothing was measured."""
        found = [row.measured for row in self.rows if row.measured is not None]
        if not found:
            return None
        sums = [math.fsum(t for t in column if t is not None) for column in zip(*found, strict=True)]
        return dict(zip(MEASURED, sums, strict=True))

    def __str__(self) -> str:
        return text.text_of(self)

    def picture(self, path: str | PathLike) -> None:
        """Writes a PNG: how receptive fields grow, and how near to which ceiling each row is.

        Args:
            path: the file to write.

        Raises:
            ImportError: matplotlib is not installed.
            OSError: the file cannot be written.
        """
        picture.save(self._scene(), path, description=str(self))

    def _scene(self) -> ModelScene:
        rows = [row for row in self.rows if row.output_shape is not None]
        along = [row for row in rows if len(row.receptive_field) == len(self.axes)]
        depths = [
            Depth(
                axis,
                self.sizes[i],
                [row.receptive_field[i] for row in along],
                [row.jump[i] for row in along],
            )
            for i, axis in enumerate(self.axes)
        ]
        alike: dict[tuple[float, int], list[Row]] = {}
        for row in rows:
            if row.multiply_accumulates:
                alike.setdefault((row.intensity, row.multiply_accumulates), []).append(row)
        points = []
        for (intensity, macs), group in alike.items():
            times = [row.measured[0] for row in group if row.measured is not None and row.measured[0]]
            speed = 2 * macs * len(times) / math.fsum(times) if times else None
            part = text.share(macs * len(group), self.multiply_accumulates)
            points.append(Point(group[0].name or group[0].kind, len(group), intensity, speed, part))
        return ModelScene(
            title=self.model,
            subtitle=(
                f"{', '.join(map(str, self.input_shapes))}   |   {self.parameters:,} parameters   |   "
                f"{self.multiply_accumulates:,} multiply-accumulates   |   on {self.platform}, {self.dtype}"
            ),
            names=[row.name for row in along],
            depths=depths if along else [],
            points=points,
            machine=self.machine,
            others=sum(not row.multiply_accumulates for row in rows),
        )
