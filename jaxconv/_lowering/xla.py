"""Algorithm `xla`: plain `lax` operations. It serves every case on every platform."""

import jax
from jax import lax

from jaxconv import _padding
from jaxconv._spec import ConvSpec


def output(x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, preferred_element_type=None) -> jax.Array:
    """The convolution of batched images `x` with `w`, as `lax.conv_general_dilated` computes it.

    Zeros are padded by the convolution itself; every other mode pads a copy of the image first.
    """
    pads = spec.pads
    if spec.padding_mode != "zeros":
        widths = [(0, 0)] * x.ndim
        for axis, pair in zip(spec.spatial_axes, pads, strict=True):
            widths[axis] = pair
        x = _padding.pad(x, widths, spec.padding_mode)
        pads = ((0, 0),) * spec.rank
    # lax's own notation of a layout: batch, channels, then the spatial axes, each given by where it stands.
    images = (0, spec.channel_axis, *spec.spatial_axes)
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=spec.strides,
        padding=pads,
        rhs_dilation=spec.dilations,
        dimension_numbers=lax.ConvDimensionNumbers(images, tuple(range(w.ndim)), images),
        feature_group_count=spec.groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
