"""Algorithm `native`: compiled kernels for CPUs, called by the program through XLA's foreign function interface.

Arithmetic is float32; the arrays may hold 16-bit floats. The kernels pad, whatever the mode, and take both data
formats as they are, so each op is one call. Its memory for intermediate values is a second result of the call, which
XLA plans like any other of its buffers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import _native
from jaxconv._arrays import wide
from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.padding import PADDING_MODES


def output(
    x: jax.Array,
    w: jax.Array,
    spec: ConvSpec,
    precision: Any = None,
    preferred_element_type: Any = None,
    bias: jax.Array | None = None,
) -> jax.Array:
    """The convolution of batched images `x` with `w`, to which a bias is added while it is written."""
    size = spec.output_size([x.shape[a] for a in spec.spatial_axes], w.shape[2:])
    shapes = (x.shape, w.shape, _like_images(x.shape[0], w.shape[0], size, spec))
    arrays = (x, w) if bias is None else (x, w, bias)
    return _call("output", arrays, spec, preferred_element_type, shapes, shapes[2:], bias is not None)[0]


def input(
    w: jax.Array,
    y: jax.Array,
    spec: ConvSpec,
    x_shape: Sequence[int],
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """The transpose of `output` in x: the transposed convolution of `y` with `w`, an image of shape `x_shape`."""
    return _call("input", (w, y), spec, preferred_element_type, (x_shape, w.shape, y.shape), (x_shape,))[0]


def weight(
    x: jax.Array,
    y: jax.Array,
    spec: ConvSpec,
    w_shape: Sequence[int],
    precision: Any = None,
    preferred_element_type: Any = None,
    bias: bool = False,
) -> Any:
    """The transpose of `output` in w: the correlation of `x` with `y`, a weight of shape `w_shape`.

    With `bias` the transpose in (w, bias), a list of the two: the sums of `y` are taken from what is read anyway.
    """
    results = (w_shape, w_shape[:1]) if bias else (w_shape,)
    found = _call("weight", (x, y), spec, preferred_element_type, (x.shape, w_shape, y.shape), results, bias)
    return found if bias else found[0]


def _call(
    op: str,
    arrays: tuple[jax.Array, ...],
    spec: ConvSpec,
    dtype: Any,
    shapes: tuple[Sequence[int], ...],
    results: tuple[Sequence[int], ...],
    bias: bool = False,
) -> list[jax.Array]:
    """The results of `op`, of the shapes `results`; `shapes` are those of x, w and y, `bias` whether there is one."""
    own = arrays[0].dtype if dtype is None else jnp.dtype(dtype)
    # Where padding repeats pixels, what it received is added to them in a second step: not in 16 bits.
    through = wide(own) if op == "input" and spec.padding_mode != "zeros" else own
    low, high = zip(*spec.pads, strict=True)
    per_axis = {"strides": spec.strides, "low": low, "high": high, "dilations": spec.dilations}
    numbers = {
        "groups": spec.groups,
        "mode": PADDING_MODES.index(spec.padding_mode),
        "channels_last": int(spec.data_format == "channels_last"),
    }
    listed = [n for values in (*shapes, *per_axis.values()) for n in values]
    storage = _native.STORAGES.index(str(through))
    scratch = _native.scratch_bytes(op, spec.rank, [*listed, *numbers.values(), storage, int(bias)])
    like = [jax.ShapeDtypeStruct(tuple(shape), through) for shape in results]
    attributes = {name: np.asarray(values, np.int64) for name, values in per_axis.items()}
    attributes |= {name: np.int64(value) for name, value in numbers.items()}
    call = jax.ffi.ffi_call(_native.target(op), (*like, jax.ShapeDtypeStruct((scratch,), jnp.uint8)))
    *found, _ = call(*(a.astype(through) for a in arrays), **attributes)
    return [a.astype(own) for a in found]


def _like_images(batch: int, channels: int, size: Sequence[int], spec: ConvSpec) -> tuple[int, ...]:
    return (batch, channels, *size) if spec.channel_axis == 1 else (batch, *size, channels)
