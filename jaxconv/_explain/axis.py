"""A layer along one spatial axis."""

from dataclasses import dataclass

from jaxconv._spec.pooling import adaptive_window


@dataclass(frozen=True)
class Axis:
    """A layer along one spatial axis.

    Attributes:
        name: its letter.
        size: positions of the input.
        output_size: positions of the output.
        kernel: taps of the window; None, as the next two, where the windows are those of an adaptive pool.
        stride: step between two windows.
        dilation: step between two taps of a window.
        pads: positions added to the input, or cut off the output of a layer that writes, (low, high).
        receptive_field: span of the input positions that one output position depends on, at most.
    """

    name: str
    size: int
    output_size: int
    kernel: int | None
    stride: int | None
    dilation: int | None
    pads: tuple[int, int]
    receptive_field: int

    def taps(self, place: int) -> range:
        """The positions that `place` is connected with: 0 is the image's first, and padding comes before it."""
        if self.kernel is None or self.stride is None or self.dilation is None:
            return adaptive_window(self.size, self.output_size, place)
        first = place * self.stride - self.pads[0]
        return range(first, first + self.kernel * self.dilation, self.dilation)
