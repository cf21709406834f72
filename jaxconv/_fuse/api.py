"""`fuse`: which models it takes. What it does with them needs Flax, which who made the model has imported."""

from typing import Any, TypeVar

from jaxconv._explain.model.inputs import parse_inputs
from jaxconv._fuse.report import FuseReport

_Model = TypeVar("_Model")


def fuse(model: _Model, input_shape: Any, **arguments: Any) -> tuple[_Model, FuseReport]:
    """A copy of a Flax NNX model in evaluation, with its batch norms folded into the layers before them.

    In evaluation a batch norm multiplies each channel by a number and adds another. Where its input is the output of a
    convolution, a transposed convolution or a linear layer, and nothing else reads that, the layer's weight and bias
    take these in, and an `Identity` takes the norm's place: an array less is read and written for each. The outputs are
    the same up to rounding. Which norm follows which layer is read from the program of a call, which is traced and not
    computed; a norm that cannot be folded stays as it is, and the report says why. `model` itself is not changed.

    The copy is for inference: in training its norms would be missing.

    Args:
        model: a model of NNX in evaluation, with layers of `jaxconv.nnx` or of Flax.
        input_shape: what the model is called with, as `jaxconv.explain` takes it: the shape of an input of float32, an
            array or a `jax.ShapeDtypeStruct`, or a list of such for several inputs.
        **arguments: what else the model is called with, by name.

    Returns:
        The copy, and a report to be printed: `folded` has pairs of a norm and the layer that took it in, and `left`
        pairs of a norm that stays and the reason.

    Raises:
        TypeError: `model` is no module of NNX, or an argument is of a wrong kind.
        ValueError: the model is in training, or refuses such an input: its own error, with the layer's path in front.

    Example:
        >>> import jax.numpy as jnp, jaxconv
        >>> from flax import nnx
        >>> from jaxconv.nnx import BatchNorm2d, Conv2d, Sequential
        >>> model = Sequential(Conv2d(3, 8, 3, rngs=nnx.Rngs(0)), BatchNorm2d(8))
        >>> model.eval()
        >>> fused, report = jaxconv.fuse(model, (1, 3, 9, 9))
        >>> print(report)
        folded 1 of 1 batch norms
            1 into 0
        >>> fused[1]
        Identity()
    """
    if isinstance(model, type) or "flax.nnx.module" not in {base.__module__ for base in type(model).__mro__}:
        what = f"the class {model.__name__}; make a model of it" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"model must be a module of Flax NNX, whose layers can be exchanged, got {what}")
    from jaxconv._fuse.of_nnx import fuse_nnx

    return fuse_nnx(model, parse_inputs(input_shape), arguments)
