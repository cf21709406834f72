"""A layer from its text, such as "nn.Conv2d(16, 33, 3)"."""

import ast
import difflib
import inspect
from collections.abc import Sequence
from typing import Any

EXAMPLE = "'Conv2d(16, 33, 3, stride=2)'"


def layer_of_text(text: str) -> Any:
    """The layer that a text such as "nn.Conv2d(16, 33, 3)" makes, with abstract parameters; nothing is evaluated."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    function = call.func if isinstance(call, ast.Call) else call
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name is None or not isinstance(call, ast.Call):
        raise ValueError(f"layer must be a call such as {EXAMPLE}, got {_short(text)!r}")

    from jaxconv import nnx as ours  # only here: `import jaxconv` brings in no Flax

    layers = [n for n in ours.__all__ if inspect.isclass(getattr(ours, n)) and n != "Sequential"]  # it has no text
    if name not in layers:
        raise ValueError(_unknown(name, layers))
    positional = [_literal(name, str(i + 1), node) for i, node in enumerate(call.args)]
    given = [k for k in call.keywords if k.arg != "rngs"]
    keywords = {k.arg or "**": _literal(name, k.arg or "**", k.value if k.arg else k) for k in given}
    if len(keywords) < len(given):
        raise ValueError(f"layer {name} has an argument twice, got {_short(text)!r}")
    cls = getattr(ours, name)
    parameters = inspect.signature(cls.__init__).parameters
    # Some layers print what all of their class have and none is told: the mode of UpsamplingNearest2d.
    keywords = {k: v for k, v in keywords.items() if k in parameters or getattr(cls, k, None) != v}
    if "rngs" not in parameters:
        return cls(*positional, **keywords)

    from flax import nnx

    return nnx.eval_shape(lambda: cls(*positional, **keywords, rngs=nnx.Rngs(0)))


def _literal(layer: str, argument: str, node: ast.expr | ast.keyword) -> Any:
    """The value of an argument; a bare word stands for its text, since layers print `padding_mode=circular`."""
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)  # type: ignore[arg-type]  # a `**` is no literal either
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(
            f"argument {argument} of {layer} must be a literal (a number, a tuple, True, None or a string), "
            f"got {_short(ast.unparse(node))}"
        ) from None


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _unknown(name: str, known: Sequence[str]) -> str:
    lower = {k.lower(): k for k in known}
    nearest = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    if nearest:
        return f"layer {name!r} is not one of jaxconv.nnx; did you mean {lower[nearest[0]]!r}?"
    families = sorted({k[:-2] + "*d" if k[-2:] in ("1d", "2d", "3d") else k for k in known})
    return f"layer {name!r} is not one of jaxconv.nnx, which are {', '.join(families)}"
