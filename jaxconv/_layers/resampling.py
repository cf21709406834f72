"""Resampling layers without a framework."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import jax

from jaxconv import functional
from jaxconv._layers.plain import Plain
from jaxconv._spec.resampling import InterpolateArguments, parse_factors


@dataclass(repr=False, eq=False)
class Upsampling(Plain):
    """What the layers begin with that give images another size; some of them have one mode alone."""

    size: int | Sequence[int] | None = None
    scale_factor: float | Sequence[float] | None = None

    def parse(self) -> None:
        # Factors are kept as floats, as PyTorch keeps them; a list could not be compared with another layer's.
        self._set("scale_factor", parse_factors(self.scale_factor))
        self._set("size", tuple(self.size) if isinstance(self.size, list) else self.size)

    def arguments(self) -> InterpolateArguments:
        """Those of `interpolate`."""
        raise NotImplementedError

    def compute(self, x: jax.Array) -> jax.Array:
        *arguments, data_format = self.arguments()
        return functional.interpolate(x, *arguments, data_format=data_format)

    def extra_repr(self) -> str:
        arguments = self.arguments()
        given = "size" if self.scale_factor is None else "scale_factor"
        last = f", data_format={arguments.data_format}" if arguments.data_format != "channels_first" else ""
        return f"{given}={getattr(self, given)!r}, mode={arguments.mode!r}{last}"


@dataclass(repr=False, eq=False)
class Upsample(Upsampling):
    """Images of another size, by any mode."""

    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None
    _: KW_ONLY
    data_format: str = "channels_first"

    def arguments(self) -> InterpolateArguments:
        sizes = (self.size, self.scale_factor)
        return InterpolateArguments(
            *sizes, self.mode, self.align_corners, self.recompute_scale_factor, False, self.data_format
        )


@dataclass(repr=False, eq=False)
class _OfOneMode(Upsampling):
    """Images of two axes."""

    mode: ClassVar[str]
    align_corners: ClassVar[bool | None] = None
    recompute_scale_factor: ClassVar[None] = None
    _: KW_ONLY
    data_format: str = "channels_first"

    def arguments(self) -> InterpolateArguments:
        sizes = (self.size, self.scale_factor)
        return InterpolateArguments(*sizes, self.mode, self.align_corners, data_format=self.data_format)


class UpsamplingNearest2d(_OfOneMode):
    """Images of another size, by their nearest neighbours."""

    mode = "nearest"


class UpsamplingBilinear2d(_OfOneMode):
    """Images of another size, linearly between aligned corners."""

    mode = "bilinear"
    align_corners = True


@dataclass(repr=False, eq=False)
class PixelShuffle(Plain):
    """Channels made positions."""

    upscale_factor: int
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> jax.Array:
        return functional.pixel_shuffle(x, self.upscale_factor, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("upscale_factor")


@dataclass(repr=False, eq=False)
class PixelUnshuffle(Plain):
    """Positions made channels."""

    downscale_factor: int
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> jax.Array:
        return functional.pixel_unshuffle(x, self.downscale_factor, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("downscale_factor")


@dataclass(repr=False, eq=False)
class ChannelShuffle(Plain):
    """Channels dealt out to groups."""

    groups: int
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> jax.Array:
        return functional.channel_shuffle(x, self.groups, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("groups")
