"""Pooling layers without a framework."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import jax

from jaxconv import functional
from jaxconv._layers.plain import Plain
from jaxconv._spec.arguments import IntOrInts, per_axis

_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVG_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_LP_POOL = {1: functional.lp_pool1d, 2: functional.lp_pool2d, 3: functional.lp_pool3d}
_ADAPTIVE = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
_ADAPTIVE_MAX = {
    1: functional.adaptive_max_pool1d,
    2: functional.adaptive_max_pool2d,
    3: functional.adaptive_max_pool3d,
}
_MAX_UNPOOL = {1: functional.max_unpool1d, 2: functional.max_unpool2d, 3: functional.max_unpool3d}


@dataclass(repr=False, eq=False)
class _Pool(Plain):
    """What both pools begin with."""

    rank: ClassVar[int]

    kernel_size: IntOrInts
    stride: IntOrInts | None = None
    padding: IntOrInts = 0

    def parse(self) -> None:
        per_axis("kernel_size", self.kernel_size, self.rank, 1)  # it may be the stride, too, and is kept as one
        self._set("stride", self.kernel_size if self.stride is None else self.stride)


@dataclass(repr=False, eq=False)
class MaxPool(_Pool):
    """The maximum of each window; with `return_indices` a pair, where each was being the second."""

    dilation: IntOrInts = 1
    return_indices: bool = False
    ceil_mode: bool = False
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> Any:
        window = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return _MAX_POOL[self.rank](x, *window, self.return_indices, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("kernel_size", "stride", "padding", "dilation", "ceil_mode")


@dataclass(repr=False, eq=False)
class AvgPool(_Pool):
    """The mean of each window; in one dimension PyTorch has no `divisor_override`."""

    ceil_mode: bool = False
    count_include_pad: bool = True
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        super().parse()
        if self.rank == 1:  # as PyTorch keeps them, in this one layer
            for name in ("kernel_size", "stride", "padding"):
                self._set(name, per_axis(name, getattr(self, name), 1))

    def compute(self, x: jax.Array) -> jax.Array:
        arguments = [self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad]
        if self.rank > 1:
            arguments.append(getattr(self, "divisor_override", None))
        return _AVG_POOL[self.rank](x, *arguments, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("kernel_size", "stride", "padding")


@dataclass(repr=False, eq=False)
class AvgPoolWithDivisor(AvgPool):
    """The mean of each window, or its sum divided by `divisor_override`."""

    divisor_override: int | None = None


@dataclass(repr=False, eq=False)
class AdaptiveAvgPool(Plain):
    """The means of windows chosen so that the output has a given size."""

    rank: ClassVar[int]

    output_size: int | Sequence[int | None] | None
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> jax.Array:
        return _ADAPTIVE[self.rank](x, self.output_size, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("output_size")


@dataclass(repr=False, eq=False)
class AdaptiveMaxPool(Plain):
    """The maxima of windows chosen so that the output has a given size; with `return_indices` where they were, too."""

    rank: ClassVar[int]

    output_size: int | Sequence[int | None] | None
    return_indices: bool = False
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> Any:
        return _ADAPTIVE_MAX[self.rank](x, self.output_size, self.return_indices, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("output_size")


@dataclass(repr=False, eq=False)
class LPPool(Plain):
    """The norm of each window."""

    rank: ClassVar[int]

    norm_type: float
    kernel_size: IntOrInts
    stride: IntOrInts | None = None
    ceil_mode: bool = False
    _: KW_ONLY
    data_format: str = "channels_first"

    def compute(self, x: jax.Array) -> jax.Array:
        arguments = (self.norm_type, self.kernel_size, self.stride, self.ceil_mode)
        return _LP_POOL[self.rank](x, *arguments, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("norm_type", "kernel_size", "stride", "ceil_mode")


@dataclass(repr=False, eq=False)
class MaxUnpool(Plain):
    """Maxima put back where they were."""

    rank: ClassVar[int]

    kernel_size: IntOrInts
    stride: IntOrInts | None = None
    padding: IntOrInts = 0
    _: KW_ONLY
    data_format: str = "channels_first"

    def parse(self) -> None:
        self._set("stride", self.kernel_size if self.stride is None else self.stride)
        for name in ("kernel_size", "stride", "padding"):  # as PyTorch keeps them
            self._set(name, per_axis(name, getattr(self, name), self.rank))

    def compute(  # type: ignore[override]  # of two arrays
        self, x: jax.Array, indices: jax.Array, output_size: Sequence[int] | None = None
    ) -> jax.Array:
        arguments = (self.kernel_size, self.stride, self.padding, output_size)
        return _MAX_UNPOOL[self.rank](x, indices, *arguments, data_format=self.data_format)

    def extra_repr(self) -> str:
        return self._named("kernel_size", "stride", "padding")
