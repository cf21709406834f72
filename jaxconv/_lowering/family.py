"""What a way of computing a convolution is: the problem that it is given, and what it has to implement.

With T(x, w, y) = <y, conv(x, w)> the scalar form that a `ConvSpec` fixes, an op is one of its derivatives:

    output   x, w -> y   the derivative of T in y: the convolution
    input    w, y -> x   the derivative of T in x: the transposed convolution
    weight   x, y -> w   the derivative of T in w: the weight's gradient

A bias makes the weight a pair (w, b): then `output` adds b at every position, and `weight` gives the pair.

A family of algorithms is a module that implements `Family`. A new one is one file beside this one, and one line in the
table of `select.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.extend.backend
import numpy as np

from jaxconv._spec.convolution import ConvSpec
from jaxconv._spec.shapes import Size

# JAX's names of the platforms that programs are lowered for.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
# A fact that is settled only where the program is lowered, asked for before that.
NOT_KNOWN = "not known yet"

# Over how many devices a program is spread; HIDDEN where the division is not seen where the op is lowered.
ONE, SEVERAL, HIDDEN = "one", "several", "hidden"


def default_platform() -> str:
    """The platform that programs run on here, where nothing else is said; one of `PLATFORMS`, or another's name."""
    backend = jax.extend.backend.get_backend()
    if backend.platform == "gpu":  # JAX's word for both kinds
        return "rocm" if "rocm" in backend.platform_version.lower() else "cuda"
    return backend.platform


_ARRAYS = {"output": ("xw", "y"), "input": ("wy", "x"), "weight": ("xy", "w")}


def names(op: str, bias: bool) -> tuple[str, str]:
    """The arguments and the results of an op, a letter each; b is a bias or its gradient."""
    arguments, results = _ARRAYS[op]
    return arguments + "b" * (bias and op == "output"), results + "b" * (bias and op == "weight")


def result_shape(op: str, first: Sequence[Size], second: Sequence[Size], spec: ConvSpec, size: Any) -> tuple[Size, ...]:
    """The shape of an op's result, from those of its two arguments.

    Args:
        op: `"output"`, `"input"` or `"weight"`.
        first: the shape of its first argument, in the order of `names`; images are batched.
        second: the shape of its second argument.
        spec: the convolution.
        size: what the arguments leave open: the spatial size of x for `input`, the kernel's size for `weight`.
    """
    c = spec.channel_axis
    if op == "output":
        return spec.image_shape(first[0], second[0], spec.output_size(spec.size_of(first), second[2:]))
    if op == "input":
        return spec.image_shape(second[0], first[1] * spec.groups, size)
    return (second[c], first[c] // spec.groups, *size)


@dataclass(frozen=True)
class Problem:
    """One op with everything that is known of it where an algorithm is chosen.

    Attributes:
        op: `"output"`, `"input"` or `"weight"`.
        spec: the convolution that it is a derivative of.
        x_shape: the shape of the convolution's input, batched.
        w_shape: the shape of its weight.
        y_shape: the shape of its output.
        dtype: the dtype of the result; the arrays have it or a narrower one.
        bias: whether a bias is added to the output, or its gradient found beside the weight's.
        precision: as `lax` has it.
        platform: one of `PLATFORMS`, another platform's name, or `NOT_KNOWN`.
        portable: whether the program must run without this package, as an exported one must.
        devices: `ONE`, `SEVERAL`, `HIDDEN` or `NOT_KNOWN`.
    """

    op: str
    spec: ConvSpec
    x_shape: tuple[Size, ...]
    w_shape: tuple[int, ...]
    y_shape: tuple[Size, ...]
    dtype: np.dtype
    bias: bool = False
    precision: Any = None
    platform: str = NOT_KNOWN
    portable: bool = False
    devices: str = NOT_KNOWN

    @property
    def arguments(self) -> str:
        """The names of the op's arguments."""
        return names(self.op, self.bias)[0]

    @property
    def results(self) -> str:
        """The names of the op's results."""
        return names(self.op, self.bias)[1]

    def shape(self, array: str) -> tuple[Size, ...]:
        """The shape of one of x, w, y and b."""
        return self.w_shape[:1] if array == "b" else getattr(self, f"{array}_shape")

    @property
    def size(self) -> tuple[Size, ...]:
        """What the shapes of the arguments leave open: see `result_shape`."""
        return {"output": (), "input": self.spec.size_of(self.x_shape), "weight": self.w_shape[2:]}[self.op]

    def part(
        self, first: Sequence[Size], second: Sequence[Size], *, spec: ConvSpec, size: Any, **facts: Any
    ) -> "Problem":
        """The same op of parts of the arguments, as `make_problem` has them; `facts` are what else differs."""
        return replace(self, spec=spec, **_shapes(self.op, first, second, spec, size), **facts)


def make_problem(
    op: str, spec: ConvSpec, first: Sequence[Size], second: Sequence[Size], size: Any, dtype: Any, **facts: Any
) -> Problem:
    """The problem of an op from the shapes of its two arguments and `size`, as of `result_shape`."""
    return Problem(op, spec, dtype=np.dtype(dtype), **_shapes(op, first, second, spec, size), **facts)


def _shapes(op: str, first, second, spec: ConvSpec, size) -> dict[str, Any]:
    shapes = (tuple(first), tuple(second), result_shape(op, first, second, spec, size))
    return {f"{array}_shape": shape for array, shape in zip("".join(_ARRAYS[op]), shapes, strict=True)}


class Family(Protocol):
    """A family of algorithms that computes all three ops, with a bias where the problem has one.

    The arrays are batched, of one dtype, and may be narrower than `problem.dtype`: sums are taken and returned in that.
    """

    @property
    def WITHOUT_PRIMITIVE(self) -> bool:
        """Whether its operations are traced where an op is called, and no primitive of this package stands for them."""
        ...

    def missing(self) -> str | None:
        """What this machine lacks for the family, or None where it is there."""
        ...

    def cannot(self, problem: Problem) -> str | None:
        """Why the family cannot serve a problem, or None where it can. A fact that is not known yet speaks for it."""
        ...

    def output(self, problem: Problem, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
        """The convolution of `x` with `w`, and `b` added where it is given."""
        ...

    def input(self, problem: Problem, w: jax.Array, y: jax.Array) -> jax.Array:
        """The transpose of `output` in x: an image of `problem.x_shape`."""
        ...

    def weight(self, problem: Problem, x: jax.Array, y: jax.Array) -> Any:
        """The transpose of `output` in w: a weight of `problem.w_shape`; of a problem with a bias the pair (w, b)."""
        ...
