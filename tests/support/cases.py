"""The convolutions that every way of computing one is run over: one table, chosen by hand.

The sizes along the axes of a case differ from one another wherever the case allows it, so that axes that change
places are seen. The images are small, since compiling them is what takes the time; "blocks" are the exceptions.
"""

import math
import zlib
from dataclasses import dataclass

import numpy as np
import reference

from jaxconv._spec.convolution import ConvSpec

DATA_FORMATS = ("channels_first", "channels_last")


@dataclass(frozen=True)
class Case:
    """One convolution: its numbers, its arrays and its oracle.

    A number of `strides`, `pads`, `dilations` stands for all spatial axes; `pads` are otherwise (low, high) pairs.
    """

    name: str
    rank: int
    batch: int
    channels: int
    size: tuple[int, ...]
    out_channels: int
    kernel: tuple[int, ...]
    strides: int | tuple[int, ...] = 1
    pads: int | tuple[tuple[int, int], ...] = 0
    dilations: int | tuple[int, ...] = 1
    groups: int = 1
    padding_mode: str = "zeros"

    def __post_init__(self):
        for name in ("strides", "dilations"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) * self.rank if isinstance(value, int) else value)
        if isinstance(self.pads, int):
            object.__setattr__(self, "pads", ((self.pads, self.pads),) * self.rank)
        assert self.rank == len(self.size) == len(self.kernel) == len(self.pads)

    def __str__(self):
        return self.name

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Channels first, as everything here but what `layout` has touched."""
        return (self.batch, self.channels, *self.size)

    @property
    def w_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.channels // self.groups, *self.kernel)

    @property
    def y_shape(self) -> tuple[int, ...]:
        out = (
            math.floor((n + low + high - d * (k - 1) - 1) / s) + 1
            for n, (low, high), k, s, d in zip(
                self.size, self.pads, self.kernel, self.strides, self.dilations, strict=True
            )
        )
        return (self.batch, self.out_channels, *out)

    def spec(self, data_format: str = "channels_first") -> ConvSpec:
        return ConvSpec(self.strides, self.pads, self.dilations, self.groups, self.padding_mode, data_format)

    def arguments(self, data_format: str = "channels_first") -> dict:
        """The keyword arguments of the public functions."""
        return {
            "stride": self.strides,
            "padding": self.pads,
            "dilation": self.dilations,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
            "data_format": data_format,
        }

    def arrays(self, dtype="float64"):
        """x, w, b and a cotangent y of the output, channels first; the same at each call."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))

        def draw(shape):
            values = rng.standard_normal(shape)
            if np.issubdtype(dtype, np.complexfloating):
                values = values + 1j * rng.standard_normal(shape)
            return values.astype(dtype)

        return draw(self.x_shape), draw(self.w_shape), draw(self.out_channels), draw(self.y_shape)

    def reference_arguments(self) -> dict:
        """The keyword arguments of the oracle."""
        return {
            "stride": self.strides,
            "pads": self.pads,
            "dilation": self.dilations,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
        }

    def expected(self, dtype="float64"):
        """What the oracle says of `arrays`."""
        return self.oracle(*self.arrays(dtype))

    def oracle(self, x, w, b, y):
        """The output with its bias, and the cotangents of x, w and b where that of the output is y."""
        arguments = self.reference_arguments()
        return (
            reference.conv(x, w, b, **arguments),
            reference.conv_input(x.shape, w, y, **arguments),
            reference.conv_weight(x, w.shape, y, **arguments),
            y.sum(axis=(0, *range(2, y.ndim))),
        )


def layout(x: np.ndarray, data_format: str) -> np.ndarray:
    """Channels-first images in `data_format`."""
    return x if data_format == "channels_first" else reference.channels_last(x)


def integers(shape, seed=0):
    """Whole numbers in float64: their sums are exact, so that equal means equal."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


CASES = (
    # One dimension.
    Case("1d", 1, 3, 4, (9,), 5, (2,)),
    Case("1d_single_channel", 1, 2, 1, (7,), 1, (3,), pads=1),
    Case("1d_stride_beyond_kernel", 1, 2, 3, (11,), 4, (2,), strides=4),
    Case("1d_stride_leaves_remainder", 1, 2, 3, (12,), 4, (3,), strides=4, pads=((1, 0),)),
    Case("1d_dilation_even_kernel", 1, 2, 3, (13,), 5, (4,), pads=((4, 5),), dilations=3),
    Case("1d_causal", 1, 2, 3, (7,), 4, (3,), pads=((4, 0),), dilations=2),
    Case("1d_pads_beyond_kernel", 1, 2, 3, (4,), 5, (2,), pads=((5, 3),)),
    Case("1d_depthwise_multiplier", 1, 2, 3, (8,), 6, (4,), strides=2, pads=2, groups=3),
    Case("1d_kernel_is_image", 1, 3, 2, (5,), 4, (5,)),
    Case("1d_circular_once_around", 1, 2, 3, (5,), 4, (3,), pads=((5, 5),), padding_mode="circular"),
    Case("1d_replicate_beyond_image", 1, 2, 3, (4,), 5, (3,), pads=((6, 9),), padding_mode="replicate"),
    Case("1d_one_position", 1, 2, 3, (1,), 4, (2,), pads=((1, 2),), padding_mode="replicate"),
    # Two dimensions.
    Case("2d", 2, 2, 3, (5, 7), 4, (3, 2)),
    Case("2d_batch_1_single_channel", 2, 1, 1, (5, 4), 1, (3, 2)),
    Case("2d_to_one_channel", 2, 3, 2, (6, 5), 1, (2, 3), pads=1),
    Case("2d_batch_0", 2, 0, 3, (5, 6), 4, (2, 3), pads=1),
    Case("2d_batch_0_reflect", 2, 0, 4, (5, 6), 6, (2, 3), pads=1, groups=2, padding_mode="reflect"),
    Case("2d_1x1", 2, 2, 3, (5, 4), 6, (1, 1)),
    Case("2d_1x1_stride_pads", 2, 2, 3, (6, 5), 4, (1, 1), strides=(2, 3), pads=((1, 0), (0, 2))),
    Case("2d_1xk", 2, 2, 3, (4, 8), 5, (1, 6), pads=((0, 0), (3, 2))),
    Case("2d_kx1", 2, 2, 3, (8, 4), 5, (6, 1), pads=((2, 3), (0, 0)), strides=(2, 1)),
    Case("2d_kernel_is_image", 2, 3, 4, (6, 5), 2, (6, 5)),
    Case("2d_kernel_beyond_image", 2, 2, 3, (2, 4), 5, (5, 3), pads=((2, 3), (1, 1))),
    Case("2d_same_even_kernel", 2, 2, 3, (6, 5), 4, (4, 2), pads=((1, 2), (0, 1))),
    Case("2d_stride_remainder_per_axis", 2, 2, 3, (9, 8), 4, (2, 3), strides=(3, 2), pads=((0, 1), (2, 0))),
    Case("2d_stride_beyond_kernel", 2, 2, 3, (11, 10), 4, (2, 1), strides=(5, 3), pads=1),
    Case("2d_dilation_per_axis", 2, 2, 3, (11, 9), 4, (3, 2), dilations=(2, 5), pads=((3, 1), (0, 2))),
    Case("2d_dilation_and_stride", 2, 2, 3, (10, 12), 5, (3, 2), strides=(2, 3), dilations=(3, 2), pads=2),
    Case("2d_groups", 2, 2, 6, (5, 4), 9, (2, 3), groups=3, pads=((1, 0), (1, 1))),
    Case("2d_groups_everything", 2, 3, 4, (9, 10), 6, (3, 2), (2, 3), ((2, 1), (0, 3)), (2, 1), 2),
    Case("2d_depthwise", 2, 2, 5, (6, 7), 5, (3, 3), groups=5, pads=1),
    Case("2d_depthwise_multiplier", 2, 2, 3, (7, 6), 6, (2, 4), groups=3, strides=(1, 2), dilations=(2, 1)),
    Case("2d_reflect", 2, 2, 3, (5, 6), 4, (3, 2), pads=((4, 2), (1, 5)), padding_mode="reflect"),
    Case("2d_reflect_crop", 2, 2, 3, (7, 6), 4, (2, 3), pads=((-2, 3), (4, -1)), padding_mode="reflect"),
    Case("2d_replicate", 2, 2, 3, (4, 5), 5, (3, 2), (2, 1), ((5, 1), (0, 2)), padding_mode="replicate"),
    Case("2d_replicate_crop", 2, 2, 3, (6, 5), 4, (2, 3), pads=((-1, -2), (7, -1)), padding_mode="replicate"),
    # Nothing of the image is left, but for what its edge is repeated as.
    Case("2d_replicate_crop_all", 2, 2, 3, (3, 4), 4, (2, 2), 2, ((-5, 7), (7, -6)), padding_mode="replicate"),
    Case("2d_circular", 2, 2, 4, (4, 5), 6, (3, 2), pads=((4, 1), (2, 5)), groups=2, padding_mode="circular"),
    Case("2d_circular_crop", 2, 2, 3, (8, 7), 4, (3, 2), pads=((-2, 4), (3, -1)), padding_mode="circular"),
    Case("2d_circular_one_axis", 2, 2, 3, (4, 6), 5, (3, 2), pads=((0, 0), (1, 2)), padding_mode="circular"),
    Case("2d_symmetric", 2, 2, 3, (3, 4), 5, (2, 3), (1, 2), ((3, 1), (2, 4)), (2, 1), padding_mode="symmetric"),
    Case("2d_symmetric_crop", 2, 2, 3, (6, 5), 4, (2, 2), pads=((-3, 2), (5, -2)), padding_mode="symmetric"),
    Case("2d_blocks", 2, 2, 16, (14, 13), 24, (3, 3), pads=1),
    Case("2d_blocks_groups", 2, 3, 24, (15, 14), 32, (3, 5), (2, 1), ((1, 1), (2, 2)), groups=8),
    # Three dimensions.
    Case("3d", 3, 2, 3, (4, 6, 5), 7, (2, 3, 1)),
    Case("3d_everything", 3, 2, 4, (6, 7, 5), 6, (2, 1, 3), (3, 2, 1), ((1, 2), (0, 1), (3, 0)), (2, 1, 2), 2),
    Case("3d_depthwise", 3, 2, 3, (4, 3, 5), 6, (2, 3, 2), groups=3, pads=1),
    Case("3d_reflect", 3, 1, 2, (4, 3, 5), 4, (1, 3, 2), pads=((3, 0), (1, 2), (-1, 4)), padding_mode="reflect"),
    Case("3d_circular", 3, 1, 2, (3, 4, 2), 3, (3, 2, 1), pads=((2, 1), (1, 3), (2, 0)), padding_mode="circular"),
)
