"""What the public functions of one, two and three spatial axes differ in: names, docstrings and annotations.

Each family of functions has one body. Its docstring is a template, and the shapes of its arrays are annotated in the
notation of jaxtyping, with the letters of the docstring: those of an image are (N, C, H, W) or (N, H, W, C).
"""

from collections.abc import Callable
from typing import Any, TypeVar

from jax import Array
from jaxtyping import Num

_Function = TypeVar("_Function", bound=Callable)

AXES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}

RAISES = """\
        TypeError: an argument of a wrong kind, or arrays of different dtypes.
        ValueError: an invalid argument or shape; the message names it, its value and a fix."""


_BIAS: Any = Num[Array, "O"]
BIAS = _BIAS | None


def images(rank: int, channels: str = "C", after: str = "") -> Any:
    """The annotation of images in either data format, batched or not; `after` is put after the letters of sizes."""
    axes = " ".join(f"{axis}{after}" for axis in AXES[rank])
    return Num[Array, f"*N {channels} {axes}"] | Num[Array, f"*N {axes} {channels}"]


def kernels(rank: int, first: str, second: str) -> Any:
    """The annotation of a weight with these channels."""
    return Num[Array, f"{first} {second} " + " ".join(f"k{axis}" for axis in AXES[rank])]


def public(rank: int, name: str, template: str, annotations: dict[str, Any], **texts: str) -> Callable:
    """Makes a function the public one of a spatial rank: its name, its docstring and its annotations.

    Args:
        rank: the number of spatial axes.
        name: the function's name.
        template: its docstring, with fields in braces: `{rank}`, `{axes}` ("H, W"), `{kernel}` ("kH, kW"), `{out}`
            ("H', W'"), `{first}` ("H"), `{raises}`, and those of `texts`, which may hold such fields themselves.
        annotations: what the annotations of arrays are replaced by.
        texts: further fields.
    """
    axes = AXES[rank]
    fields = {
        **texts,
        "raises": RAISES,
        "name": name,
        "rank": rank,
        "axes": ", ".join(axes),
        "kernel": ", ".join(f"k{axis}" for axis in axes),
        "out": ", ".join(f"{axis}'" for axis in axes),
        "first": axes[0],
    }

    def decorate(function: _Function) -> _Function:
        document = template
        for field, text in fields.items():
            document = document.replace("{" + field + "}", str(text))
        function.__name__ = function.__qualname__ = name
        function.__doc__ = document
        function.__annotations__.update(annotations)
        return function

    return decorate
