"""The public functions: PyTorch's state dicts out of Flax modules, and into them.

A walk through a module lists its entries: arrays of PyTorch, the arrays of Flax that hold the same numbers, and where
those are. A state dict is read from the entries, or matched with them. PyTorch itself is never imported, and no pickle
is ever opened.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from flax.core import FrozenDict, freeze

from jaxconv.interop.files import arrays_of, write_safetensors
from jaxconv.interop.linen_variables import copied, linen_entries
from jaxconv.interop.matching import match, read_all
from jaxconv.interop.names import Rename, renamed
from jaxconv.interop.nnx_modules import nnx_entries
from jaxconv.interop.report import LoadReport, refuse
from jaxconv.interop.slots import Entry


def state_dict(module: nnx.Module, *, flattened: Mapping[str, Sequence[int]] | None = None) -> dict[str, np.ndarray]:
    """The parameters and buffers of an NNX module, named and laid out as `torch.nn.Module.state_dict` has them.

    The levels of `nnx.Sequential` and `nnx.List` read as PyTorch's do (`features.0.weight`). Layers of `jaxconv.nnx`
    go out as they are. These layers of Flax are converted, and whatever else is a variable or an array goes out by its
    own name:

    - `Linear`, `LinearGeneral` without batch axes, `Conv`, `Embed`, `PReLU`;
    - `BatchNorm`, `LayerNorm`, `GroupNorm`, `InstanceNorm`, `RMSNorm`;
    - `MultiHeadAttention` as wide within as its queries and its output: `torch.nn.MultiheadAttention`;
    - `LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, `SimpleCell`. An `RNN` of one of them is a `torch.nn.LSTM`, `GRU` or
      `RNN`, a `Bidirectional` of two such is one of both directions, and a Sequential of several of either, all alike,
      with dropout between them or not, is one of several layers. Flax's cells have one bias where PyTorch's have two:
      it goes out as one of the two, and the other is zero. To keep both apart, give the cell a second one:
      `cell.dense_i = nnx.Linear(...)`.

    Norms of `jaxconv.nnx` count batches as PyTorch's. For Flax's `BatchNorm` the count is kept as it was loaded, and is
    0 in a module that is new or comes from `nnx.merge`. The keys of random number generators, caches and intermediates
    are left out.

    Args:
        module: any NNX module.
        flattened: {path of a Linear: (channels, *spatial)} for each `Linear` behind a flatten of a channels last
            image. PyTorch flattens channels first: its columns stand in another order.

    Returns:
        {name: array}. The arrays are copies, with the dtypes of the module's.

    Raises:
        TypeError: `module` is not an NNX module.
        ValueError: a layer that has not yet found its `in_channels`, or that PyTorch cannot hold; or `flattened`
            names a layer that is not there.

    Example:
        >>> from flax import nnx
        >>> from jaxconv.interop import state_dict
        >>> from jaxconv.nnx import Conv2d
        >>> rngs = nnx.Rngs(0)
        >>> model = nnx.Sequential(Conv2d(3, 8, 3, rngs=rngs), nnx.relu, nnx.Linear(8, 2, rngs=rngs))
        >>> {name: array.shape for name, array in state_dict(model).items()}
        {'0.weight': (8, 3, 3, 3), '0.bias': (8,), '2.weight': (2, 8), '2.bias': (2,)}
    """
    return read_all(nnx_entries(module, flattened))


def load_state_dict(
    module: nnx.Module,
    state_dict: Mapping[str, Any] | str | os.PathLike[str],
    *,
    strict: bool = True,
    rename: Rename | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> LoadReport:
    """Puts PyTorch's weights into an NNX module, in place, as `torch.nn.Module.load_state_dict` does.

    All of it is checked before any of it is written: where this function raises, the module is as it was. The layers
    that are converted are those of `jaxconv.interop.state_dict`. Values are cast to the dtypes of the module, so a
    checkpoint in half precision fills a module in float32. Arrays that the module shares need only one of their
    names in the state dict, and must agree where there are several.

    A layer without `in_channels` that has not been called finds them in its weight. The names that PyTorch's older
    weight norm and spectral norm wrote (`weight_g`, `weight_v`, `weight_orig`, `weight_u`) are taken for those of
    today's. A checkpoint may lack the counts of batches, as those before PyTorch 0.4.1 do.

    Two biases of an LSTM cell become their sum where the cell has one. For a GRU cell that is impossible if the
    second bias of its third gate is not zero; the message says what to do.

    Args:
        module: any NNX module, also one made by `nnx.eval_shape`, which has shapes alone.
        state_dict: a mapping from names to arrays: NumPy's, JAX's, or PyTorch's tensors; or the path of a
            `.safetensors` or `.npz` file.
        strict: whether to raise where not everything fits. If not, what fits is loaded.
        rename: from a name of the state dict to that of the module: a function, or a mapping of whole names or of
            their beginnings up to a dot. None in place of a name leaves it out.
        flattened: {path of a Linear: (channels, *spatial)} for each `Linear` behind a flatten of a channels last
            image. PyTorch flattens channels first: its columns stand in another order.

    Returns:
        What was loaded, and what did not fit.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `module` is not an NNX module, or `state_dict` is neither a mapping nor a path.
        ValueError: something does not fit and `strict` is true: all of it is listed. Or a file that cannot be read.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from jaxconv.interop import load_state_dict
        >>> layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        >>> print(load_state_dict(layer, {"fc.weight": np.ones((2, 3)), "fc.bias": np.zeros(2)}, rename={"fc": ""}))
        loaded 2 arrays
        >>> layer.kernel[...].shape
        (3, 2)
    """
    given = renamed(arrays_of(state_dict), rename)
    return _load(nnx_entries(module, flattened, given), given, strict, type(module).__name__)


def save_safetensors(
    module: nnx.Module,
    path: str | os.PathLike[str],
    *,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Writes the state dict of an NNX module into a file that `safetensors.torch.load_file` reads.

    Args:
        module: any NNX module.
        path: where to, ending in `.safetensors`. A file that is there is replaced once the new one is complete.
        flattened: as of `jaxconv.interop.state_dict`.

    Returns:
        None.

    Raises:
        ImportError: the package safetensors is not installed.
        TypeError: `module` is not an NNX module.
        ValueError: `path` has another ending, or as of `jaxconv.interop.state_dict`.

    Example:
        >>> import tempfile
        >>> from flax import nnx
        >>> from jaxconv.interop import load_state_dict, save_safetensors
        >>> layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_safetensors(layer, f"{folder}/layer.safetensors")
        ...     load_state_dict(layer, f"{folder}/layer.safetensors").loaded
        ('weight', 'bias')
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {str(path)!r}")
    write_safetensors(state_dict(module, flattened=flattened), path)


def linen_state_dict(
    variables: Mapping[str, Any],
    *,
    rename: Rename | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, np.ndarray]:
    """The variables of a Linen module, named and laid out as `torch.nn.Module.state_dict` would have them.

    A Linen module is not needed: what a layer is shows in the names of its variables, in `params` and `batch_stats`.
    The layers that are converted are `Dense`, `Conv`, `Embed`, `PReLU`, `BatchNorm`, `LayerNorm`, `GroupNorm`,
    `MultiHeadDotProductAttention`, `LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, with `RNN` and `Bidirectional` of them
    as of `jaxconv.interop.state_dict`, and those of `jaxconv.linen`, which go out as they are. Paths are joined by
    dots. `blocks_0`, an entry of a list made in `setup`, is `blocks.0`, and the level `layers_0` of
    `nn.Sequential` is `0`; a name that Flax has made up, such as `Conv2d_0`, stays as it is: see `rename`. Since names
    are all there is, a `kernel` of three axes or more is taken for that of a `Conv`, not of a `DenseGeneral`.

    Args:
        variables: {"params": …, "batch_stats": …}, as `init` gives them.
        rename: from the names described above to those wanted: a function, or a mapping of whole names or of their
            beginnings up to a dot. None in place of a name leaves it out.
        flattened: as of `jaxconv.interop.state_dict`.

    Returns:
        {name: array}. The arrays are copies.

    Raises:
        TypeError: `variables` is not a mapping of collections.
        ValueError: two arrays of one name, or `flattened` names a layer that is not there.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv.interop import linen_state_dict
        >>> from jaxconv.linen import Conv2d
        >>> variables = Conv2d(3, 8, 3, bias=False).init(jax.random.key(0), jnp.ones((1, 3, 8, 8)))
        >>> {name: array.shape for name, array in linen_state_dict(variables).items()}
        {'weight': (8, 3, 3, 3)}
    """
    return renamed(read_all(linen_entries(copied(variables), flattened)), rename)


def linen_from_state_dict(
    variables: Mapping[str, Any],
    state_dict: Mapping[str, Any] | str | os.PathLike[str],
    *,
    strict: bool = True,
    rename: Rename | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """The variables of a Linen module with PyTorch's weights in place of their values.

    Names and layers are those of `jaxconv.interop.linen_state_dict`. Collections other than `params` and `batch_stats`
    are handed on. `variables` may be of `jax.eval_shape(module.init, key, x)`: only shapes and dtypes are looked at.

    Args:
        variables: {"params": …, "batch_stats": …}, as `init` gives them; not changed.
        state_dict: as of `jaxconv.interop.load_state_dict`.
        strict: whether to raise where not everything fits. If not, what fits is taken.
        rename: from a name of the state dict to that of the variables, as of `jaxconv.interop.load_state_dict`.
        flattened: as of `jaxconv.interop.state_dict`.

    Returns:
        New variables.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `variables` is not a mapping of collections, or `state_dict` is neither a mapping nor a path.
        ValueError: something does not fit and `strict` is true: all of it is listed. Or a file that cannot be read.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from jaxconv.interop import linen_from_state_dict
        >>> from jaxconv.linen import Conv2d
        >>> variables = Conv2d(3, 8, 3, bias=False).init(jax.random.key(0), jnp.ones((1, 3, 8, 8)))
        >>> new = linen_from_state_dict(variables, {"conv.weight": np.ones((8, 3, 3, 3))}, rename={"conv": ""})
        >>> float(new["params"]["weight"].sum())
        216.0
    """
    new = copied(variables)
    _load(linen_entries(new, flattened), renamed(arrays_of(state_dict), rename), strict, "the Linen module")
    return freeze(new) if isinstance(variables, FrozenDict) else new  # type: ignore[return-value]


def _load(entries: Sequence[Entry], given: Mapping[str, Any], strict: bool, whose: str) -> LoadReport:
    """Writes into the places of `entries` what fits them, or nothing where that is refused."""
    report, writes = match(entries, given)
    if strict:
        refuse(report, whose)
    # Every array is on its device before the first one is exchanged: running out of memory changes nothing either.
    placed = [(place, place.prepare(value)) for place, value in writes]
    for place, value in placed:
        place.write(value)
    return report
