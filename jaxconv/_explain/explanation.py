"""What a layer does to an input of a given shape: in words, as a dictionary, and as a picture."""

import ast
import difflib
import inspect
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import _picture
from jaxconv._layers import convolution as _layer
from jaxconv._lowering.family import Problem, result_shape
from jaxconv._lowering.select import choose
from jaxconv._picture import Axis
from jaxconv._spec.arguments import axis_number, parse_shape
from jaxconv._spec.convolution import (
    Arguments,
    ConvSpec,
    Shapes,
    TransposedArguments,
    TransposedSpec,
    check_groups,
    multiply_accumulates,
    parse_conv,
    parse_conv_transpose,
)
from jaxconv._spec.padding import resolve_pads
from jaxconv._spec.patches import parse_fold, parse_unfold
from jaxconv._spec.pooling import Arguments as PoolArguments
from jaxconv._spec.pooling import adaptive_window, parse_adaptive, parse_pool
from jaxconv._spec.shapes import is_static, split_shape

_WIDTH = 100  # of the text, in columns
_INDENT = 22
_FLOAT = 4  # bytes
_SPATIAL = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}
_EXAMPLE = "'Conv2d(16, 33, 3, stride=2)'"

# What each of the three ops is to a layer: design, "The one idea".
_OPS = {
    False: {
        "output": "the output",
        "input": "the gradient of the input",
        "weight": "the gradient of the weight",
    },
    True: {
        "input": "the output",
        "output": "the gradient of the input",
        "weight": "the gradient of the weight",
    },
}
_FILLED = {
    "reflect": "reflect, the image mirrored at its border, which is not repeated",
    "symmetric": "symmetric, the image mirrored, its border repeated",
    "replicate": "replicate, the border repeated",
    "circular": "circular, the other end of the image",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a layer.

    Attributes:
        name: its name in the layer.
        shape: its shape.
        layout: what its axes are, in words.
    """

    name: str
    shape: tuple[int, ...]
    layout: str

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Op:
    """One of the three derivatives of the trilinear form, and how it is computed.

    Attributes:
        name: `"output"`, `"input"` or `"weight"`.
        computes: what it is to the layer.
        algorithm: the name of what computes it.
        reason: why that one does.
    """

    name: str
    computes: str
    algorithm: str
    reason: str


@dataclass(frozen=True)
class Explanation:
    """What a layer does to an input of a given shape; `print` it, or see `as_dict` and `picture`.

    Attributes:
        layer: the layer's text.
        kind: what kind of layer it is.
        input_shape: the shape of its input.
        output_shape: the shape of its output.
        layout: the letters of the axes of both, `("N", "C", "H", "W")`.
        arithmetic: for each axis whose size is computed its name and the computation, numbers filled in.
        axes: the numbers of the layer along each spatial axis.
        writes: whether each input position writes to a window of the output (a transposed convolution), rather than
            each output position reads a window of the input.
        sides: what the positions of input and output are called.
        fields: for each spatial axis its name and how its receptive field is computed.
        padding: what is padded, in words.
        filled: the padding mode, or what fills the padding.
        parameters: the layer's parameters.
        multiply_accumulates: their number for one image; 0 for a layer without a weight.
        formula: two lines, what they are the product of in names and in numbers; "" for a layer without a weight.
        channels: numbers of input and of output channels, and of the groups that they are divided into.
        grouping: `"dense"`, `"grouped"` or `"depthwise"`, and the same in words.
        platform: where the layer is computed, by JAX's name.
        ops: how each of the three ops is computed, for a convolution.

    Example:
        >>> import jaxconv
        >>> explanation = jaxconv.explain("ConvTranspose2d(8, 4, 3, stride=2, padding=1)", (1, 8, 7, 7))
        >>> dict(explanation.arithmetic)["H"]
        '(7 - 1) * 2 - 1 - 1 + 1 * (3 - 1) + 1 + 0 = 13'
        >>> explanation.as_dict()["output_shape"]
        [1, 4, 13, 13]
    """

    layer: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    layout: tuple[str, ...]
    arithmetic: tuple[tuple[str, str], ...]
    axes: tuple[Axis, ...] = ()
    writes: bool = False
    sides: tuple[str, str] = ("input", "output")
    fields: tuple[tuple[str, str], ...] = ()
    padding: tuple[str, ...] = ()
    filled: str = "zeros"
    parameters: tuple[Parameter, ...] = ()
    multiply_accumulates: int = 0
    formula: str = ""
    channels: tuple[int, int, int] = (1, 1, 1)
    grouping: tuple[str, str] = ("", "")
    platform: str = ""
    ops: tuple[Op, ...] = ()

    @property
    def batch(self) -> int:
        """How many images there are; 1 where the input has no axis for them."""
        return self.input_shape[0] if self.layout[:1] == ("N",) else 1

    def _bytes(self) -> dict[str, int]:
        parameters = sum(p.count for p in self.parameters)
        numbers = {"input": math.prod(self.input_shape), "parameters": parameters}
        return {name: _FLOAT * n for name, n in (numbers | {"output": math.prod(self.output_shape)}).items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it as dictionaries, lists, numbers and strings, ready for `json.dumps`.

        Returns:
            A dictionary of the attributes, with what follows from them; None stands for what the layer has not.
        """
        parameters = {p.name: {"shape": list(p.shape), "count": p.count} for p in self.parameters}
        return {
            "layer": self.layer,
            "kind": self.kind,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "layout": list(self.layout),
            "arithmetic": dict(self.arithmetic),
            "axes": [
                {
                    "name": a.name,
                    "input_size": a.size,
                    "output_size": a.output_size,
                    "kernel_size": a.kernel,
                    "stride": a.stride,
                    "dilation": a.dilation,
                    "pads": list(a.pads),
                    "receptive_field": a.receptive_field,
                }
                for a in self.axes
            ],
            "padding_mode": self.filled if any(any(a.pads) for a in self.axes) else None,
            "parameters": {
                "weight": parameters.get("weight"),
                "bias": parameters.get("bias"),
                "total": sum(p.count for p in self.parameters),
            },
            "multiply_accumulates": {
                "per_image": self.multiply_accumulates,
                "batch": self.batch * self.multiply_accumulates,
            },
            "groups": {"number": self.channels[2], "kind": self.grouping[0], "description": self.grouping[1]},
            "bytes": {"dtype": "float32", **self._bytes()},
            "platform": self.platform or None,
            "algorithms": {
                op.name: {"computes": op.computes, "algorithm": op.algorithm, "reason": op.reason} for op in self.ops
            },
        }

    def __str__(self) -> str:
        lines = textwrap.wrap(self.layer, _WIDTH, subsequent_indent=" " * 4, break_long_words=False)
        lines += [self.kind, ""]
        for title, texts in self._sections():
            for text in texts:
                # Columns are aligned by runs of spaces, which a wrapped line keeps as its indent.
                hang = " " * (_INDENT + _hang(text))
                lines += textwrap.wrap(
                    text,
                    _WIDTH,
                    initial_indent=title.ljust(_INDENT),
                    subsequent_indent=hang,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                title = ""
        return "\n".join(lines)

    def _sections(self) -> list[tuple[str, Sequence[str]]]:
        shapes = _table([[str(self.input_shape), ", ".join(self.layout)], [str(self.output_shape), ""]])
        sections: list[tuple[str, Sequence[str]]] = [
            ("input", shapes[:1]),
            ("output", [*shapes[1:], *_table([[f"{name}:", text] for name, text in self.arithmetic], " ")]),
        ]
        if self.parameters:
            total = sum(p.count for p in self.parameters)
            rows = [[p.name, str(p.shape), f"{p.count:,}", p.layout] for p in self.parameters]
            rows = [*rows, ["total", "", f"{total:,}", ""]]
            sections.append(("parameters", _table(rows, right=(2,))))
        else:
            sections.append(("parameters", ["none"]))
        if self.formula:
            names, numbers = self.formula.splitlines()
            count = self.multiply_accumulates
            lines = [names, f"{numbers} = {count:,} per image"]
            if self.layout[0] == "N":
                lines.append(f"{self.batch:,} * {count:,} = {self.batch * count:,} for the batch")
            sections.append(("multiply-accumulates", [*lines, "the same for each of the three ops"]))
        else:
            sections.append(("multiply-accumulates", ["none"]))
        if self.fields:
            sections.append(("receptive field", _table([[f"{name}:", text] for name, text in self.fields], " ")))
        if self.padding:
            sections.append(("padding", self.padding))
        if self.grouping[1]:
            sections.append(("groups", [self.grouping[1]]))
        rows = [[name, f"{n:,}", "bytes", _readable(n)] for name, n in self._bytes().items()]
        sections.append(("memory (float32)", _table(rows, right=(1,))))
        if self.ops:
            rows = _table([[op.name, op.computes, op.algorithm] for op in self.ops])
            lines = [line for row, op in zip(rows, self.ops, strict=True) for line in (row, f"  {op.reason}")]
            sections.append((f"algorithms ({self.platform})", lines))
        return sections

    def picture(self, path: str | PathLike) -> None:
        """Writes a PNG: which input positions one output position depends on, and which channels feed which.

        Args:
            path: the file to write.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: there is nothing to draw: the layer has no spatial axes, or the output is empty.
            OSError: the file cannot be written.
        """
        if not self.axes:
            raise ValueError(f"{self.layer} has no picture: it only renumbers positions")
        if 0 in (n for a in self.axes for n in (a.size, a.output_size)):
            raise ValueError(f"{self.layer} has no picture: its output is empty, of shape {self.output_shape}")
        scene = _picture.Scene(
            title=self.layer,
            subtitle=f"{self.kind}: {self.input_shape} to {self.output_shape}",
            axes=self.axes,
            writes=self.writes,
            filled=self.filled,
            channels=self.channels,
            grouping=self.grouping[0],
            sides=self.sides,
            sizes=tuple(f"{name}: {text}" for name, text in self.arithmetic),
        )
        _picture.save(scene, path, description=str(self))


def explain(layer: Any, input_shape: Sequence[int]) -> Explanation:
    """What `layer` does to an input of `input_shape`, without computing it.

    Args:
        layer: a layer of `jaxconv.nnx` or `jaxconv.linen`, or its text, which is a call with literal arguments, such
            as `"Conv2d(16, 33, 3, stride=2)"`; prefixes such as `torch.nn.` and the argument `rngs` are passed over.
        input_shape: the shape of the input, batched or not.

    Returns:
        An `Explanation`, to be printed, or taken as a dictionary or as a picture.

    Raises:
        TypeError: `layer` is no layer, or an argument is of a wrong kind.
        ValueError: the text names no layer of ours, or the layer cannot take such an input: the layer's own error.

    Example:
        >>> import jaxconv
        >>> layer = "Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))"
        >>> explanation = jaxconv.explain(layer, (20, 16, 50, 100))
        >>> for axis, arithmetic in explanation.arithmetic:
        ...     print(axis, arithmetic, sep=": ")
        H: floor((50 + 4 + 4 - 3 * (3 - 1) - 1) / 2) + 1 = 26
        W: floor((100 + 2 + 2 - 1 * (5 - 1) - 1) / 1) + 1 = 100
        >>> explanation.multiply_accumulates
        20592000
    """
    shape = parse_shape("input_shape", input_shape)
    if not is_static(shape):
        raise ValueError(f"input_shape must be of numbers, got {shape}; choose a number for each symbolic size")
    if isinstance(layer, str):
        layer = _layer_of_text(layer)
    for kind, of_kind in _PLAIN.items():
        if isinstance(layer, kind):
            return of_kind(layer, shape)
    # What marks a convolution layer of either shell; their classes would bring in Flax.
    if not isinstance(layer, type) and hasattr(layer, "transposed") and hasattr(layer, "rank"):
        return (_transposed if layer.transposed else _convolution)(layer, shape)
    what = f"the class {layer.__name__}; make a layer of it" if isinstance(layer, type) else type(layer).__name__
    raise TypeError(
        f"layer must be a layer of jaxconv.nnx or jaxconv.linen, or its text such as {_EXAMPLE}, got {what}"
        + ("" if isinstance(layer, type) else "; of another framework's layer, try str(layer)")
    )


# ---------------------------------------------------------------------------------------------------------------
# A layer from its text
# ---------------------------------------------------------------------------------------------------------------


def _layer_of_text(text: str) -> Any:
    """The layer that a text such as "nn.Conv2d(16, 33, 3)" makes, with abstract parameters; nothing is evaluated."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    function = call.func if isinstance(call, ast.Call) else call
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name is None or not isinstance(call, ast.Call):
        raise ValueError(f"layer must be a call such as {_EXAMPLE}, got {_short(text)!r}")

    from jaxconv import nnx as ours  # only here: `import jaxconv` brings in no Flax

    if name not in ours.__all__:
        raise ValueError(_unknown(name, ours.__all__))
    positional = [_literal(name, str(i + 1), node) for i, node in enumerate(call.args)]
    given = [k for k in call.keywords if k.arg != "rngs"]
    keywords = {k.arg or "**": _literal(name, k.arg or "**", k.value if k.arg else k) for k in given}
    if len(keywords) < len(given):
        raise ValueError(f"layer {name} has an argument twice, got {_short(text)!r}")
    cls = getattr(ours, name)
    if "rngs" not in inspect.signature(cls.__init__).parameters:
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


# ---------------------------------------------------------------------------------------------------------------
# Convolutions
# ---------------------------------------------------------------------------------------------------------------


def _convolution(layer: Any, shape: tuple[int, ...]) -> Explanation:
    rank, given = layer.rank, _layer.check(layer)
    in_channels, w_shape, bias_shape = _parameter_shapes(layer, shape)
    arguments = Arguments(
        given.stride, given.padding, given.dilation, given.groups, given.padding_mode, given.data_format
    )
    spec = parse_conv(rank, Shapes(shape, w_shape, bias_shape), arguments)
    _, size = split_shape("input", shape, rank, spec.data_format)
    out = spec.output_size(size, given.kernel_size)
    names = _SPATIAL[rank]
    numbers = list(zip(names, size, spec.pads, given.kernel_size, spec.strides, spec.dilations, out, strict=True))
    axes = tuple(
        Axis(name, n, m, k, s, d, pads, field)
        for (name, n, pads, k, s, d, m), field in zip(numbers, spec.receptive_field(given.kernel_size), strict=True)
    )
    said = [_pads_in_words(axes)]
    if isinstance(given.padding, str):
        said[0] = f"{given.padding!r} is {said[0]}"
    if any(any(pads) for pads in spec.pads):
        said.append(f"{_filled(spec.padding_mode)}")
    return Explanation(
        kind=f"{rank}-D convolution",
        output_shape=_with(shape, layer.out_channels, out, spec.data_format),
        arithmetic=tuple(
            (name, f"floor(({n}{_plus(pads)} - {d} * ({k} - 1) - 1) / {s}) + 1 = {m}")
            for name, n, pads, k, s, d, m in numbers
        ),
        axes=axes,
        fields=tuple((a.name, f"{a.dilation} * ({a.kernel} - 1) + 1 = {a.receptive_field}") for a in axes),
        padding=tuple(said),
        filled=spec.padding_mode,
        multiply_accumulates=multiply_accumulates(w_shape, out),
        formula=_product(
            ("out_channels", *(n + "'" for n in names), "(in_channels / groups)", *("k" + n for n in names)),
            (layer.out_channels, *out, f"({in_channels} / {given.groups})", *given.kernel_size),
        ),
        ops=_ops(layer, spec, _batched(shape, rank), w_shape),
        **_common(layer, shape, in_channels, w_shape, bias_shape),
    )


def _transposed(layer: Any, shape: tuple[int, ...]) -> Explanation:
    rank, given = layer.rank, _layer.check(layer)
    in_channels, w_shape, bias_shape = _parameter_shapes(layer, shape)
    arguments = TransposedArguments(
        given.stride,
        given.padding,
        given.output_padding,
        given.groups,
        given.dilation,
        padding_mode=given.padding_mode,
        data_format=given.data_format,
    )
    parsed = parse_conv_transpose(rank, Shapes(shape, w_shape, bias_shape), arguments)
    _, size = split_shape("input", shape, rank, given.data_format)
    pads = resolve_pads(given.padding, given.kernel_size, given.dilation)
    out, names = parsed.size, _SPATIAL[rank]
    fields, spans = parsed.receptive_field(given.kernel_size), parsed.spec.receptive_field(given.kernel_size)
    columns = (names, size, out, given.kernel_size, given.stride, given.dilation, pads, fields)
    axes = tuple(Axis(*numbers) for numbers in zip(*columns, strict=True))
    said = [_pads_in_words(axes) + (" cut off the output" if any(any(p) for p in pads) else "")]
    if any(given.output_padding):
        more = ", ".join(f"{name}: {p}" for name, p in zip(names, given.output_padding, strict=True))
        said.append(f"{more} more at the end of the output (output_padding)")
    if given.padding_mode == "circular" and any(any(p) for p in pads):
        said.append("circular: what is cut off one end is added to the other")
    output_shape = _with(shape, layer.out_channels, out, given.data_format)
    return Explanation(
        kind=f"{rank}-D transposed convolution",
        output_shape=output_shape,
        arithmetic=tuple(
            (
                a.name,
                f"({a.size} - 1) * {a.stride} - {a.pads[0]} - {a.pads[1]} + {a.dilation} * ({a.kernel} - 1) + 1 + {p} "
                f"= {a.output_size}",
            )
            for a, p in zip(axes, given.output_padding, strict=True)
        ),
        axes=axes,
        writes=True,
        fields=tuple(
            (
                a.name,
                f"at most {a.receptive_field}; one input position writes to a span of {a.dilation} * ({a.kernel} - 1) "
                f"+ 1 = {span}",
            )
            for a, span in zip(axes, spans, strict=True)
        ),
        padding=tuple(said),
        filled=given.padding_mode,
        multiply_accumulates=multiply_accumulates(w_shape, size),
        formula=_product(
            ("in_channels", *names, "(out_channels / groups)", *("k" + n for n in names)),
            (in_channels, *size, f"({layer.out_channels} / {given.groups})", *given.kernel_size),
        ),
        # The output of this layer is the input of the convolution that it is the transpose of.
        ops=_ops(layer, parsed.spec, _batched(output_shape, rank), w_shape),
        **_common(layer, shape, in_channels, w_shape, bias_shape),
    )


def _parameter_shapes(layer: Any, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...] | None]:
    """The number of input channels, and the shapes of weight and bias."""
    channels = layer.in_channels
    if channels is None:
        channels, _ = split_shape("input", shape, layer.rank, layer.data_format)
        check_groups(layer.groups, in_channels=channels)
    # Linen keeps the argument; NNX the parameter, or what makes it.
    bias = layer.bias
    has_bias = bias if isinstance(bias, bool) else bias is not None or getattr(layer, "_bias_key", None) is not None
    return channels, _layer.weight_shape(layer, channels), (layer.out_channels,) if has_bias else None


def _common(layer: Any, shape: tuple[int, ...], in_channels: int, w_shape: tuple[int, ...], bias_shape) -> dict:
    """What is said of plain and of transposed convolutions alike."""
    kernel = ", ".join("k" + n for n in _SPATIAL[layer.rank])
    order = "in_channels, out_channels / groups" if layer.transposed else "out_channels, in_channels / groups"
    parameters = [Parameter("weight", w_shape, f"{order}, {kernel}")]
    if bias_shape is not None:
        parameters.append(Parameter("bias", bias_shape, "out_channels"))
    return {
        "layer": f"{type(layer).__name__}({_layer.extra_repr(layer, bias_shape is not None)})",
        "input_shape": shape,
        "layout": _letters(shape, layer.rank, layer.data_format),
        "parameters": tuple(parameters),
        "channels": (in_channels, layer.out_channels, layer.groups),
        "grouping": _grouping(in_channels, layer.out_channels, layer.groups),
        "platform": jax.default_backend(),
    }


def _grouping(in_channels: int, out_channels: int, groups: int) -> tuple[str, str]:
    def channels(n: int, what: str) -> str:
        return f"{n} {what} channel{'s' * (n != 1)}"

    reads, makes = in_channels // groups, out_channels // groups
    if groups == 1:
        whom = f"all {channels(reads, 'input')}" if reads != 1 else "the input channel"
        return "dense", f"1, dense: every output channel reads {whom}"
    if reads == 1:
        return "depthwise", (
            f"{groups}, depthwise with multiplier {makes}: each input channel makes {channels(makes, 'output')}"
        )
    return "grouped", f"{groups}: each block of {channels(reads, 'input')} makes {channels(makes, 'output')} alone"


def _ops(layer: Any, spec: ConvSpec, x_shape, w_shape) -> tuple[Op, ...]:
    """How each op is computed here. The order is the layer's: its output first."""
    dtype = jnp.dtype(layer.param_dtype if layer.dtype is None else layer.dtype)
    y_shape = result_shape("output", x_shape, w_shape, spec, None)
    ops = []
    for name, computes in _OPS[layer.transposed].items():
        if layer.algorithm == "auto":
            problem = Problem(name, spec, x_shape, w_shape, y_shape, dtype, platform=jax.default_backend())
            algorithm, reason = choose(problem)
        else:
            algorithm, reason = layer.algorithm, f"algorithm={layer.algorithm!r} asks for it"
        ops.append(Op(name, computes, algorithm, reason))
    return tuple(ops)


# ---------------------------------------------------------------------------------------------------------------
# Layers without parameters
# ---------------------------------------------------------------------------------------------------------------


def _plain(layer: Any, shape: tuple[int, ...], rank: int, kind: str) -> dict:
    """What is said of all of them. Tracing the layer gives the shape, and the layer's own error where it cannot be."""
    result = jax.eval_shape(layer.compute, jax.ShapeDtypeStruct(shape, jnp.float32))
    data_format = getattr(layer, "data_format", "channels_first")
    return {
        "layer": f"{type(layer).__name__}({layer.extra_repr()})",
        "kind": kind,
        "input_shape": shape,
        "output_shape": result.shape,
        "layout": _letters(shape, rank, data_format),
        "platform": jax.default_backend(),
    }


def _each_apart(shape: tuple[int, ...], rank: int, data_format: str) -> dict:
    channels, _ = split_shape("input", shape, rank, data_format)
    return {"channels": (channels, channels, channels), "grouping": ("each apart", "none: each channel apart")}


def _pad(layer: Any, shape: tuple[int, ...]) -> Explanation:
    rank = layer.rank
    said = _plain(layer, shape, rank, f"{rank}-D padding")
    _, size = split_shape("input", shape, rank, layer.data_format)
    pairs = list(zip(layer.padding[::2], layer.padding[1::2], strict=True))[::-1]  # kept with the last axis first
    columns = zip(_SPATIAL[rank], size, pairs, strict=True)
    axes = tuple(Axis(name, n, n + sum(pair), 1, 1, 1, pair, 1) for name, n, pair in columns)
    filled = f"{layer.value:g}" if layer.mode == "constant" else layer.mode
    filled = "zeros" if filled == "0" else filled
    return Explanation(
        **said,
        arithmetic=tuple((a.name, f"{a.size}{_plus(a.pads)} = {a.output_size}") for a in axes),
        axes=axes,
        fields=tuple((a.name, "1") for a in axes),
        padding=(_pads_in_words(axes), _filled(filled)),
        filled=filled,
        **_each_apart(shape, rank, layer.data_format),
    )


def _pool(layer: Any, shape: tuple[int, ...]) -> Explanation:
    rank, is_max = layer.rank, isinstance(layer, _layer.MaxPool)
    said = _plain(layer, shape, rank, f"{rank}-D {'maximum' if is_max else 'average'} of each window")
    dilation = layer.dilation if is_max else 1
    arguments = PoolArguments(
        layer.kernel_size, layer.stride, layer.padding, dilation, layer.ceil_mode, layer.data_format
    )
    spec = parse_pool(rank, shape, arguments)
    _, size = split_shape("input", shape, rank, spec.data_format)
    columns = (size, spec.output_size(size), spec.kernel, spec.strides, spec.dilations, spec.padding)
    axes, arithmetic = [], []
    for name, field, *numbers in zip(_SPATIAL[rank], spec.receptive_field(), *columns, strict=True):
        n, m, k, s, d, p = numbers
        axes.append(Axis(name, n, m, k, s, d, (p, p), field))
        room = f"{n}{_plus((p, p))} - {d} * ({k} - 1) - 1"
        if not spec.ceil_mode:
            text = f"floor(({room}) / {s}) + 1 = {m}"
        elif -(-(n + 2 * p - field) // s) + 1 == m:
            text = f"ceil(({room}) / {s}) + 1 = {m}"
        else:
            text = f"floor(({n} + {p} - 1) / {s}) + 1 = {m}; a window more would begin after the image"
        arithmetic.append((name, text))
    padding = [_pads_in_words(axes)]
    if any(spec.padding):
        padding.append("filled with minus infinity" if is_max else "filled with zeros")
        if not is_max and not layer.count_include_pad:
            padding[-1] += ", which do not count in the divisor"
    if not is_max and getattr(layer, "divisor_override", None) is not None:
        padding.append(f"each sum is divided by {layer.divisor_override}")
    return Explanation(
        **said,
        arithmetic=tuple(arithmetic),
        axes=tuple(axes),
        fields=tuple((a.name, f"{a.dilation} * ({a.kernel} - 1) + 1 = {a.receptive_field}") for a in axes),
        padding=tuple(padding),
        filled="-inf" if is_max else "zeros",
        **_each_apart(shape, rank, spec.data_format),
    )


def _adaptive_pool(layer: Any, shape: tuple[int, ...]) -> Explanation:
    rank = layer.rank
    said = _plain(layer, shape, rank, f"{rank}-D average of windows that give a size")
    sizes = parse_adaptive(rank, shape, layer.output_size, layer.data_format)
    _, size = split_shape("input", shape, rank, layer.data_format)
    axes, fields = [], []
    for name, n, wanted in zip(_SPATIAL[rank], size, sizes, strict=True):
        m = n if wanted is None else wanted
        lengths = sorted({len(adaptive_window(n, m, i)) for i in range(m)}) or [0]
        axes.append(Axis(name, n, m, None, None, None, (0, 0), lengths[-1]))
        between = " to ".join(str(k) for k in dict.fromkeys((lengths[0], lengths[-1])))
        fields.append((name, f"{between}: output i reads floor(i * {n} / {m}) to ceil((i + 1) * {n} / {m}) - 1"))
    return Explanation(
        **said,
        arithmetic=tuple((a.name, f"{a.output_size}, as output_size says") for a in axes),
        axes=tuple(axes),
        fields=tuple(fields),
        **_each_apart(shape, rank, layer.data_format),
    )


def _patches(layer: Any, shape: tuple[int, ...]) -> Explanation:
    """Unfold, and Fold, its transpose."""
    folds = isinstance(layer, _layer.Fold)
    kind = "patches added up into 2-D images" if folds else "patches of 2-D images, as columns"
    said = _plain(layer, shape, 2, kind)
    dtype, numbers = jnp.dtype("float32"), (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    if folds:
        spec, size, kernel = parse_fold(shape, dtype, layer.output_size, *numbers)
        said["layout"] = ("N", "C * kH * kW", "H' * W'")[-len(shape) :]
        channels = shape[-2] // math.prod(kernel)
    else:
        spec, kernel = parse_unfold(shape, dtype, *numbers)
        channels, size = split_shape("input", shape, 2, "channels_first")
    places = spec.output_size(size, kernel)
    sizes = (places, size) if folds else (size, places)
    fields = spec.receptive_field(kernel)
    if folds:
        transposed = TransposedSpec(spec, size, (0, 0))
        fields = transposed.receptive_field(kernel)
    columns = (_SPATIAL[2], *sizes, kernel, spec.strides, spec.dilations, spec.pads, fields)
    axes = tuple(Axis(*each) for each in zip(*columns, strict=True))
    arithmetic = []
    for a, n, m in zip(axes, size, places, strict=True):
        places_text = f"floor(({n}{_plus(a.pads)} - {a.dilation} * ({a.kernel} - 1) - 1) / {a.stride}) + 1 = {m}"
        arithmetic.append(
            (a.name if folds else a.name + "'", f"{n} for places {places_text}" if folds else places_text)
        )
    per_patch = " * ".join(str(n) for n in (channels, *kernel))
    if folds:
        arithmetic = [("C", f"{shape[-2]} / ({kernel[0]} * {kernel[1]}) = {channels}"), *arithmetic]
    else:
        arithmetic += [("column", f"C * kH * kW = {per_patch} = {channels * math.prod(kernel)}")]
        arithmetic += [("number", f"H' * W' = {places[0]} * {places[1]} = {math.prod(places)}")]
    rows = channels * math.prod(kernel)
    return Explanation(
        **said,
        arithmetic=tuple(arithmetic),
        axes=axes,
        writes=folds,
        sides=("places of the columns", "output") if folds else ("input", "places of the columns"),
        fields=tuple((a.name, str(a.receptive_field)) for a in axes),
        padding=(_pads_in_words(axes), "cut off the images" if folds else "filled with zeros"),
        channels=(rows, channels, channels) if folds else (channels, rows, channels),
        grouping=("each apart", "none: each channel apart"),
    )


def _flatten(layer: Any, shape: tuple[int, ...]) -> Explanation:
    said = _plain(layer, shape, 1, "several axes made one")
    first, last = (axis_number("dim", dim, len(shape)) for dim in (layer.start_dim, layer.end_dim))
    said["layout"] = tuple(f"axis {i}" for i in range(len(shape)))
    product = " * ".join(str(n) for n in shape[first : last + 1])
    return Explanation(**said, arithmetic=((f"axis {first}", f"{product} = {said['output_shape'][first]}"),))


_PLAIN = {
    _layer.Pad: _pad,
    _layer.MaxPool: _pool,
    _layer.AvgPool: _pool,
    _layer.AdaptiveAvgPool: _adaptive_pool,
    _layer.Unfold: _patches,
    _layer.Fold: _patches,
    _layer.Flatten: _flatten,
}


# ---------------------------------------------------------------------------------------------------------------
# Shapes and words
# ---------------------------------------------------------------------------------------------------------------


def _letters(shape: tuple[int, ...], rank: int, data_format: str) -> tuple[str, ...]:
    inner = ("C", *_SPATIAL[rank]) if data_format == "channels_first" else (*_SPATIAL[rank], "C")
    return ("N", *inner) if len(shape) == rank + 2 else inner


def _with(shape: tuple[int, ...], channels: int, size: Sequence[int], data_format: str) -> tuple[int, ...]:
    """`shape` with other channels and spatial sizes."""
    inner = (channels, *size) if data_format == "channels_first" else (*size, channels)
    return (*shape[: len(shape) - len(inner)], *inner)


def _batched(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return shape if len(shape) == rank + 2 else (1, *shape)


def _plus(pads: tuple[int, int]) -> str:
    return "".join(f" + {p}" if p >= 0 else f" - {-p}" for p in pads)


def _pads_in_words(axes: Sequence[Axis]) -> str:
    if not any(any(a.pads) for a in axes):
        return "none"
    return "; ".join(f"{a.name}: {a.pads[0]} low, {a.pads[1]} high" for a in axes)


def _filled(how: str) -> str:
    return f"mode {_FILLED[how]}" if how in _FILLED else f"filled with {how}"


def _product(names: Sequence[str], numbers: Sequence[object]) -> str:
    return " * ".join(names) + "\n" + " * ".join(str(n) for n in numbers)


def _readable(number: int) -> str:
    """A number of bytes in a unit that leaves at most four digits."""
    size, units = float(number), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return "" if units[0] == "bytes" else f"({size:.1f} {units[0]})"


def _table(rows: Sequence[Sequence[str]], gap: str = "   ", right: Sequence[int] = ()) -> list[str]:
    """The rows with their columns aligned, those in `right` at their ends."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        gap.join(t.rjust(w) if i in right else t.ljust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def _hang(text: str) -> int:
    """How far the last column of a line of a table is from its start."""
    parts = text.rstrip().rsplit("   ", 1)
    return len(parts[0]) + 3 if len(parts) == 2 else (text.index(": ") + 2 if ": " in text[:10] else 0)
