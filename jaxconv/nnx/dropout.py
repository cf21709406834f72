"""Layers for Flax NNX that drop parts of an array at random."""

from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

import jax
from flax import nnx

from jaxconv._layers import dropout as _layer
from jaxconv._spec.arguments import truth
from jaxconv._spec.dropout import check_seeds
from jaxconv._spec.messages import show
from jaxconv.nnx.plain import Plain

_Seeds = nnx.Rngs | nnx.RngStream


@dataclass(repr=False, eq=False)
class _Random(Plain):
    """A layer that draws from a stream of keys; it stands before one of the dataclasses of `jaxconv._layers`.

    A new one is in training; `train`, `eval` and `nnx.view` switch it.
    """

    _: KW_ONLY
    deterministic: bool = False
    rngs: InitVar[_Seeds | None] = None

    def __post_init__(self, rngs: _Seeds | None) -> None:  # type: ignore[override]
        layer: Any = self  # a name of an argument alone, too, in the eyes of a type checker
        layer.parse()
        # A stream of its own, as `nnx.Dropout` has.
        stream = rngs["dropout"] if isinstance(rngs, nnx.Rngs) else rngs
        if not isinstance(stream, nnx.RngStream | None):
            raise TypeError(f"rngs must be an nnx.Rngs, got {show(rngs)}; for example rngs=nnx.Rngs(0)")
        layer.rngs = nnx.data(None) if stream is None else stream.fork()

    def __call__(
        self,
        x: jax.Array,
        *,
        deterministic: bool | None = None,
        rngs: _Seeds | jax.Array | None = None,
    ) -> jax.Array:
        """`x` with parts of it dropped, or as it is where `deterministic`, here or in the layer."""
        layer: Any = self
        deterministic = truth("deterministic", _layer.chosen(deterministic, self.deterministic))
        key = None
        if layer.draws and not deterministic:
            seeds = _layer.chosen(rngs, layer.rngs)
            check_seeds(seeds is not None, type(self).__name__)
            stream = seeds["dropout"] if isinstance(seeds, nnx.Rngs) else seeds
            key = stream() if isinstance(stream, nnx.RngStream) else stream
        return layer.compute(x, key, deterministic)

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view` calls: whether the layer is in evaluation."""
        if deterministic is not None:
            self.deterministic = deterministic


@dataclass(repr=False, eq=False)
class _Dropout(_Random, _layer.Dropout):
    pass


class Dropout1d(_Dropout):
    """As `Dropout2d`, of (N, C, L) or (C, L): `torch.nn.Dropout1d`."""

    rank = 1
    __call__ = _Random.__call__


class Dropout2d(_Dropout):
    """In training whole channels are zeros with the probability `p`, the others scaled: `torch.nn.Dropout2d`.

    A channel of one image is dropped by itself; what is kept is divided by 1 - p. In evaluation the input is given back
    as it is. `train()` and `eval()` of a model switch it, and so do `nnx.view`, the attribute `deterministic` and that
    argument of a call. A new layer is in training.

    Shapes: (N, C, H, W), kept. As in PyTorch three axes are (N, C, L).

    Args:
        p: the probability of being dropped.
        inplace: only False; JAX's arrays are never changed in place.
        data_format: `"channels_first"` or `"channels_last"`.
        deterministic: whether the layer is in evaluation.
        rngs: what is drawn from, its stream `dropout`; a call may be given another, or a key. Not needed where `p` is
            0 or 1.

    Raises:
        TypeError: an argument of a wrong kind; at a call in training, numbers other than floats.
        ValueError: an invalid argument; at a call, another number of axes, or nothing to draw from.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import Dropout2d
        >>> layer = Dropout2d(0.5, rngs=nnx.Rngs(0))
        >>> y = layer(jnp.ones((8, 16, 5, 7)))
        >>> sorted(set(y.ravel().tolist()))
        [0.0, 2.0]
        >>> layer.eval()
        >>> bool((layer(y) == y).all())
        True
    """

    rank = 2
    __call__ = _Random.__call__


class Dropout3d(_Dropout):
    """As `Dropout2d`, of (N, C, D, H, W) or (C, D, H, W): `torch.nn.Dropout3d`."""

    rank = 3
    __call__ = _Random.__call__


@dataclass(repr=False, eq=False)
class StochasticDepth(_Random, _layer.StochasticDepth):
    """In training a branch is dropped whole with the probability `p`: `torchvision.ops.StochasticDepth`.

    What is kept is divided by 1 - p. `train`, `eval`, `nnx.view` and the arguments of a call as of `Dropout2d`.

    Shapes: (N, C, ...) or any other, kept.

    Args:
        p: the probability of being dropped.
        mode: `"row"`, in which each image of the batch is dropped by itself, or `"batch"`, all of them or none.
        deterministic: whether the layer is in evaluation.
        rngs: what is drawn from, its stream `dropout`.

    Raises:
        TypeError: an argument of a wrong kind; at a call in training, numbers other than floats.
        ValueError: an invalid argument; at a call, no axis of rows, or nothing to draw from.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxconv.nnx import StochasticDepth
        >>> branch = StochasticDepth(0.25, "row", rngs=nnx.Rngs(0))
        >>> branch(jnp.ones((8, 3, 5, 7))).shape
        (8, 3, 5, 7)
    """

    __call__ = _Random.__call__
