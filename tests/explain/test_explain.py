"""`explain` in words, as a dictionary and as a picture, against what the layers do and against counting by hand."""

import itertools
import json
import math
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx

import jaxconv
import jaxconv.linen
import jaxconv.nnx
from jaxconv import _explain, _picture
from jaxconv.__main__ import main
from jaxconv._spec.convolution import ConvSpec

EXAMPLE = "Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))"
EXAMPLE_SHAPE = (20, 16, 50, 100)

# Sizes along the axes are distinct, so that no axis can be taken for another.
CONVOLUTIONS = [
    ("Conv1d(2, 4, 3)", (2, 2, 9)),
    ("Conv1d(2, 4, 3, padding='causal', dilation=2)", (2, 2, 9)),
    ("Conv1d(4, 4, 2, padding='same', groups=4, bias=False)", (4, 9)),
    ("Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2)", (2, 4, 7, 9)),
    ("Conv2d(3, 6, 3, padding=((1, 2), (0, 1)), groups=3, data_format='channels_last')", (2, 7, 9, 3)),
    ("Conv2d(3, 2, 3, padding=((-1, 2), (2, -1)), padding_mode='reflect')", (1, 3, 7, 9)),
    ("Conv2d(3, 2, (4, 3), padding='same', padding_mode='circular')", (1, 3, 7, 9)),
    ("Conv3d(2, 4, (1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1), padding_mode='replicate')", (1, 2, 4, 5, 6)),
    ("LazyConv1d(4, 3, groups=2)", (0, 2, 9)),
    ("LazyConv2d(4, 3)", (2, 3, 7, 9)),
    ("LazyConv3d(1, 2, padding_mode='symmetric', padding=1)", (2, 1, 4, 5, 6)),
    ("ConvTranspose1d(4, 2, 4, stride=3, padding=1)", (2, 4, 9)),
    ("ConvTranspose2d(4, 6, (3, 2), 2, (1, 0), (1, 0), groups=2)", (2, 4, 5, 6)),
    ("ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, padding_mode='circular')", (2, 4, 5, 6)),
    ("ConvTranspose3d(2, 2, (3, 1, 2), dilation=(2, 1, 3), bias=False)", (2, 3, 4, 5)),
    ("LazyConvTranspose1d(4, 3, stride=2, output_padding=1)", (2, 2, 9)),
    ("LazyConvTranspose2d(4, 3, data_format='channels_last')", (2, 5, 6, 3)),
    ("LazyConvTranspose3d(4, 2)", (2, 3, 2, 3, 4)),
]
OTHERS = [
    ("MaxPool1d(3)", (2, 4, 10)),
    ("MaxPool2d(3, 2, 1, ceil_mode=True)", (2, 4, 8, 10)),
    ("MaxPool2d(2, 4, 1, ceil_mode=True)", (2, 4, 9, 10)),  # a window would begin in the high padding
    ("MaxPool2d((3, 2), stride=(1, 3), padding=1, dilation=2, data_format='channels_last')", (2, 8, 9, 4)),
    ("MaxPool3d(2)", (4, 4, 6, 8)),
    ("AvgPool1d(3, 2, 1)", (2, 4, 10)),
    ("AvgPool2d(2, padding=1, count_include_pad=False, divisor_override=3)", (2, 4, 8, 10)),
    ("AvgPool3d(2, 1)", (2, 4, 3, 4, 5)),
    ("AdaptiveAvgPool1d(4)", (2, 4, 10)),
    ("AdaptiveAvgPool2d((3, None))", (2, 4, 7, 9)),
    ("AdaptiveAvgPool3d(2)", (2, 4, 3, 4, 5)),
    ("ZeroPad1d((1, 2))", (2, 4, 9)),
    ("ZeroPad2d((1, 2, 0, -1))", (2, 4, 7, 9)),
    ("ZeroPad3d(1)", (2, 4, 3, 4, 5)),
    ("ConstantPad1d(2, 3.5)", (2, 4, 9)),
    ("ConstantPad2d(1, 3.5)", (2, 4, 7, 9)),
    ("ConstantPad3d(1, 3.5)", (2, 4, 3, 4, 5)),
    ("ReflectionPad1d(2)", (4, 9)),
    ("ReflectionPad2d((1, 2, 0, 3), data_format='channels_last')", (2, 7, 9, 4)),
    ("ReflectionPad3d(1)", (2, 4, 3, 4, 5)),
    ("ReplicationPad1d(2)", (2, 4, 9)),
    ("ReplicationPad2d(2)", (2, 4, 7, 9)),
    ("ReplicationPad3d(2)", (2, 4, 3, 4, 5)),
    ("CircularPad1d(2)", (2, 4, 9)),
    ("CircularPad2d((3, 1, 2, 0))", (2, 4, 7, 9)),
    ("CircularPad3d(1)", (2, 4, 3, 4, 5)),
    ("Unfold((2, 3), dilation=(1, 2), padding=1, stride=2)", (2, 5, 6, 8)),
    ("Fold((6, 8), (2, 3), dilation=(1, 2), padding=1, stride=2)", (2, 30, 12)),
    ("Flatten()", (2, 4, 5, 6)),
]
LAYERS = CONVOLUTIONS + OTHERS
of_layers = pytest.mark.parametrize(("text", "shape"), LAYERS, ids=[text for text, _ in LAYERS])
of_convolutions = pytest.mark.parametrize(("text", "shape"), CONVOLUTIONS, ids=[text for text, _ in CONVOLUTIONS])


def _made(text, shell):
    names = {name: getattr(shell, name) for name in shell.__all__}
    with_rngs = text[:-1] + ", rngs=nnx.Rngs(0))" if "Conv" in text and shell is jaxconv.nnx else text
    return eval(with_rngs, names | {"nnx": nnx})


def made(text, shell=jaxconv.nnx):
    """The layer that a text makes by Python, with abstract parameters."""
    return _made(text, shell) if shell is jaxconv.linen else nnx.eval_shape(lambda: _made(text, shell))


def called(text, shape):
    """The layer after a call, and the shape of its output; nothing is compiled."""

    def call():
        layer = _made(text, jaxconv.nnx)
        return layer(jnp.zeros(shape)), layer

    output, layer = nnx.eval_shape(call)
    return layer, output.shape


# ---------------------------------------------------------------------------------------------------------------
# Numbers
# ---------------------------------------------------------------------------------------------------------------


def test_all_layers_are_tried():
    assert {text.split("(")[0] for text, _ in LAYERS} == set(jaxconv.nnx.__all__)


@of_layers
def test_the_output_shape_is_what_the_layer_gives(text, shape):
    explanation = jaxconv.explain(text, shape)
    assert explanation.output_shape == called(text, shape)[1]
    assert explanation.input_shape == shape


@of_layers
def test_the_arithmetic_is_right_as_it_stands(text, shape):
    explanation = jaxconv.explain(text, shape)
    sizes = dict(zip(explanation.layout, explanation.output_shape, strict=False))
    assert explanation.arithmetic
    for name, line in explanation.arithmetic:
        # "formula = value", or several equal things; words may stand around.
        *formulas, value = (part.split(",")[0].split(";")[0].strip() for part in line.split(" = "))
        for formula in formulas:
            if "for places" in formula:  # a fold computes the number of places, which the input has to have
                formula = formula.split("for places ")[1]
            if re.fullmatch(r"[\d+*/() -]|(floor|ceil)|" + r"[\d+*/() a-z-]+", formula) and "C" not in formula:
                assert eval(formula, {"floor": math.floor, "ceil": math.ceil}) == int(value)
        if name in sizes and "Fold" not in text:
            assert int(value) == sizes[name]


@of_convolutions
def test_multiply_accumulates_are_as_many_as_loops_count(text, shape):
    explanation = jaxconv.explain(text, shape)
    weight, *_ = (p.shape for p in explanation.parameters)
    places = math.prod(a.size if explanation.writes else a.output_size for a in explanation.axes)
    count = 0
    for _place in range(places):
        for _element in itertools.product(*map(range, weight)):  # each meets one position of each image
            count += 1
    assert explanation.multiply_accumulates == count
    # In a convolution of ones, every product adds one to the sum of what comes out.
    channels, _, groups = explanation.channels
    options = {"stride": [a.stride for a in explanation.axes], "dilation": [a.dilation for a in explanation.axes]}
    options["groups"] = groups
    if explanation.writes:
        sheet = [(a.size - 1) * a.stride + a.dilation * (a.kernel - 1) + 1 for a in explanation.axes]
        y = np.ones((1, channels, *(a.size for a in explanation.axes)))
        summed = reference.conv_input((1, weight[1] * groups, *sheet), np.ones(weight), y, **options).sum()
    else:
        padded = [a.size + sum(a.pads) for a in explanation.axes]
        summed = reference.conv(np.ones((1, channels, *padded)), np.ones(weight), **options).sum()
    assert summed == count
    numbers = explanation.formula.splitlines()[1]
    assert eval(numbers) == count
    of_batch = explanation.as_dict()["multiply_accumulates"]["batch"]
    assert of_batch == count * (shape[0] if len(shape) == len(explanation.axes) + 2 else 1)


@of_convolutions
def test_parameters_and_bytes_are_those_of_the_layer(text, shape):
    explanation = jaxconv.explain(text, shape)
    layer, output = called(text, shape)  # a lazy layer has its parameters then
    parameters = {name: getattr(layer, name) for name in ("weight", "bias")}
    counts = {name: math.prod(p.shape) for name, p in parameters.items() if p is not None}
    assert {p.name: p.count for p in explanation.parameters} == counts
    given = explanation.as_dict()
    assert given["parameters"]["total"] == sum(counts.values())
    numbers = {"input": math.prod(shape), "parameters": sum(counts.values()), "output": math.prod(output)}
    assert given["bytes"] == {"dtype": "float32"} | {name: 4 * n for name, n in numbers.items()}


FIELDS = [
    ("Conv1d(1, 1, 3, dilation=2, stride=2, padding=1, bias=False)", (23,)),
    ("Conv2d(1, 1, (3, 2), dilation=(1, 3), stride=(2, 1), bias=False)", (7, 9)),
    *(
        (f"ConvTranspose1d(1, 1, {k}, stride={s}, dilation={d}, padding=1, bias=False)", (11,))
        for k, s, d in [(4, 2, 1), (3, 2, 1), (3, 1, 2), (4, 3, 1), (5, 2, 3), (5, 6, 4), (2, 4, 2), (4, 2, 4)]
    ),
    ("ConvTranspose2d(1, 1, (2, 3), stride=(1, 2), bias=False)", (6, 7)),
    ("MaxPool1d(3, 2, 1, dilation=2)", (15,)),
    ("AvgPool2d((3, 2), 2)", (7, 8)),
    ("AdaptiveAvgPool1d(4)", (10,)),
    ("AdaptiveAvgPool2d((3, 2))", (7, 4)),
]


def connections(text, size):
    """For each input position the output positions that answer to an impulse there, as a boolean array."""
    impulses = np.eye(math.prod(size), dtype=np.float32).reshape(-1, 1, *size)
    parameters = {p.name: np.ones(p.shape, np.float32) for p in jaxconv.explain(text, (1, 1, *size)).parameters}
    answers = made(text, jaxconv.linen).apply({"params": parameters}, impulses)
    return np.asarray(answers)[:, 0] != 0


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize(("text", "size"), FIELDS, ids=[text for text, _ in FIELDS])
def test_the_receptive_field_is_what_impulses_show(text, size):
    explanation = jaxconv.explain(text, (1, 1, *size))
    reached = connections(text, size)
    rank = len(size)
    reached = reached.reshape(*size, *reached.shape[1:])
    for i, axis in enumerate(explanation.axes):
        others = tuple(k for k in range(2 * rank) if k not in (i, rank + i))
        pairs = reached.any(axis=others)  # (input position, output position) along this axis
        spans = [np.ptp(np.flatnonzero(column)) + 1 for column in pairs.T if column.any()]
        assert axis.receptive_field == max(spans)
        # The picture draws the same connections.
        drawn = np.zeros_like(pairs)
        for place in range(axis.size if explanation.writes else axis.output_size):
            for tap in _picture.taps(axis, place):
                a, b = (place, tap) if explanation.writes else (tap, place)
                if 0 <= a < pairs.shape[0] and 0 <= b < pairs.shape[1]:
                    drawn[a, b] = True
        np.testing.assert_array_equal(drawn, pairs)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "symmetric"])
@pytest.mark.parametrize("pads", [(3, 2), (0, 4), (-1, 3), (2, -2)])
def test_the_picture_fills_padding_from_where_the_layer_does(mode, pads):
    image = np.arange(5, dtype=np.float32)
    padded = np.asarray(jaxconv.pad(image[None], pads, mode))[0]
    assert [_picture.source(mode, i, 5, pads) for i in range(-pads[0], 5 + pads[1])] == padded.tolist()


def test_padding_with_a_constant_has_no_source():
    assert [_picture.source("zeros", i, 2, (1, 1)) for i in (-1, 0, 1, 2)] == [None, 0, 1, None]


@pytest.mark.parametrize(
    ("text", "channels", "grouping", "words"),
    [
        ("Conv2d(4, 6, 1)", 4, "dense", "1, dense: every output channel reads all 4 input channels"),
        ("Conv2d(1, 6, 1)", 1, "dense", "1, dense: every output channel reads the input channel"),
        ("Conv2d(4, 6, 1, groups=2)", 4, "grouped", "2: each block of 2 input channels makes 3 output channels"),
        (
            "Conv2d(4, 8, 1, groups=4)",
            4,
            "depthwise",
            "4, depthwise with multiplier 2: each input channel makes 2 output",
        ),
        ("Conv2d(4, 4, 1, groups=4)", 4, "depthwise", "multiplier 1: each input channel makes 1 output channel"),
    ],
)
def test_groups_are_described(text, channels, grouping, words):
    groups = jaxconv.explain(text, (1, channels, 2, 3)).as_dict()["groups"]
    assert groups["kind"] == grouping
    assert words in groups["description"]


# ---------------------------------------------------------------------------------------------------------------
# Which algorithm
# ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the selection is asked, with an answer that does not change."""
    questions = []

    def choose(problem):
        questions.append((problem.op, problem.spec, *map(problem.shape, "xwy"), problem.dtype, problem.platform))
        return "xla", "it is a test"

    monkeypatch.setattr(_explain, "choose", choose)
    return questions


def test_a_convolution_asks_for_its_three_ops(asked):
    explanation = jaxconv.explain("Conv2d(4, 6, 3, stride=2, padding=1)", (2, 4, 7, 9))
    spec = ConvSpec((2, 2), ((1, 1), (1, 1)), (1, 1))
    facts = (spec, (2, 4, 7, 9), (6, 4, 3, 3), (2, 6, 4, 5), jnp.dtype("float32"), jax.default_backend())
    assert asked == [(op, *facts) for op in ("output", "input", "weight")]
    assert [(op.name, op.computes) for op in explanation.ops] == [
        ("output", "the output"),
        ("input", "the gradient of the input"),
        ("weight", "the gradient of the weight"),
    ]


def test_a_transposed_convolution_asks_for_those_of_the_convolution_that_it_transposes(asked):
    text = "ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, dtype='bfloat16')"
    explanation = jaxconv.explain(text, (4, 5, 6))
    spec = ConvSpec((2, 2), ((1, 0), (1, 0)), (1, 1))
    assert explanation.output_shape == (6, 10, 12)
    facts = (spec, (1, 6, 10, 12), (4, 6, 3, 3), jnp.dtype("bfloat16"), jax.default_backend())
    assert asked == [(op, *facts) for op in ("input", "output", "weight")]
    assert explanation.ops[0] == _explain.Op("input", "the output", "xla", "it is a test")


def test_an_algorithm_that_is_asked_for_is_not_chosen(asked):
    explanation = jaxconv.explain("Conv2d(1, 1, 1, algorithm='xla')", (1, 1, 1, 1))
    assert not asked
    assert {(op.algorithm, op.reason) for op in explanation.ops} == {("xla", "algorithm='xla' asks for it")}


def test_the_selection_names_what_is_available():
    available = jaxconv.algorithms()
    assert available["xla"] == "available"
    for op in jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE).ops:
        assert available[op.algorithm] == "available"
        assert op.reason


# ---------------------------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------------------------

GOLDEN = """\
Conv2d(16, 33, kernel_size=(3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))
2-D convolution

input                 (20, 16, 50, 100)   N, C, H, W
output                (20, 33, 26, 100)
                      H: floor((50 + 4 + 4 - 3 * (3 - 1) - 1) / 2) + 1 = 26
                      W: floor((100 + 2 + 2 - 1 * (5 - 1) - 1) / 1) + 1 = 100
parameters            weight   (33, 16, 3, 5)   7,920   out_channels, in_channels / groups, kH, kW
                      bias     (33,)               33   out_channels
                      total                     7,953
multiply-accumulates  out_channels * H' * W' * (in_channels / groups) * kH * kW
                      33 * 26 * 100 * (16 / 1) * 3 * 5 = 20,592,000 per image
                      20 * 20,592,000 = 411,840,000 for the batch
                      the same for each of the three ops
receptive field       H: 3 * (3 - 1) + 1 = 7
                      W: 1 * (5 - 1) + 1 = 5
padding               H: 4 low, 4 high; W: 2 low, 2 high
                      filled with zeros
groups                1, dense: every output channel reads all 16 input channels
memory (float32)      input        6,400,000   bytes   (6.1 MiB)
                      parameters      31,812   bytes   (31.1 KiB)
                      output       6,864,000   bytes   (6.5 MiB)
algorithms (cpu)      output   the output                   xla
                        it is a test
                      input    the gradient of the input    xla
                        it is a test
                      weight   the gradient of the weight   xla
                        it is a test"""


@pytest.mark.usefixtures("asked")
def test_the_text_of_the_documented_example(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert str(jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE)) == GOLDEN


@pytest.mark.parametrize(
    ("text", "shape", "lines"),
    [
        (
            "Conv2d(3, 2, (4, 3), padding='same')",
            (3, 7, 9),
            ["padding               'same' is H: 1 low, 2 high; W: 1 low, 1"],
        ),
        ("Conv1d(3, 2, 3, padding='causal')", (3, 7), ["'causal' is L: 2 low, 0 high"]),
        ("Conv1d(3, 2, 3, padding='valid')", (3, 7), ["'valid' is none"]),
        ("Conv1d(3, 2, 3)", (3, 7), ["padding               none", " per image\n                      the same"]),
        ("Conv1d(3, 2, 3, 1, 2, padding_mode='reflect')", (3, 7), ["mode reflect, the image mirrored at its border"]),
        (
            "ConvTranspose1d(4, 2, 4, 3, 1, 2, padding_mode='circular')",
            (2, 4, 9),
            [
                "L: (9 - 1) * 3 - 1 - 1 + 1 * (4 - 1) + 1 + 2 = 28",
                "in_channels * L * (out_channels / groups) * kL",
                "L: at most 2; one input position writes to a span of 1 * (4 - 1) + 1 = 4",
                "L: 1 low, 1 high cut off the output",
                "L: 2 more at the end of the output (output_padding)",
                "circular: what is cut off one end is added to the other",
            ],
        ),
        (
            "MaxPool2d(3, 2, 1, ceil_mode=True)",
            (2, 4, 8, 10),
            ["H: ceil((8 + 1 + 1 - 1 * (3 - 1) - 1) / 2) + 1 = 5", "inf"],
        ),
        ("MaxPool2d(2, 4, 1, ceil_mode=True)", (2, 4, 9, 10), ["H: floor((9 + 1 - 1) / 4) + 1 = 3", "after the image"]),
        ("AvgPool2d(2, None, 1, False, False, 3)", (2, 4, 8, 10), ["do not count in the divisor", "is divided by 3"]),
        ("AdaptiveAvgPool1d(4)", (2, 4, 10), ["L: 4, as output_size says", "3: output i reads floor(i * 10 / 4) to"]),
        ("ConstantPad1d((-1, 2), 3.5)", (2, 4, 9), ["L: 9 - 1 + 2 = 10", "L: -1 low, 2 high", "filled with 3.5"]),
        ("Unfold((2, 3))", (5, 6, 8), ["column: C * kH * kW = 5 * 2 * 3 = 30", "number: H' * W' = 5 * 6 = 30"]),
        ("Fold((6, 8), 2)", (2, 20, 35), ["N, C * kH * kW, H' * W'", "C: 20 / (2 * 2) = 5"]),
        (
            "Flatten(1, 2)",
            (2, 4, 5, 6),
            ["axis 1: 4 * 5 = 20", "parameters            none\nmultiply-accumulates  none"],
        ),
    ],
)
def test_the_text_says(text, shape, lines):
    said = str(jaxconv.explain(text, shape))
    if len(lines) > 2:
        said = " ".join(said.split())  # whatever the lines were wrapped at
    for line in lines:
        assert line in said


@of_layers
def test_the_text_is_plain_and_fits(text, shape):
    said = str(jaxconv.explain(text, shape))
    assert said.isascii()
    assert said.replace("\n", "").isprintable()
    assert max(map(len, said.splitlines())) <= 100
    assert all(line == line.rstrip() for line in said.splitlines())


@of_layers
def test_the_dictionary_is_json(text, shape):
    explanation = jaxconv.explain(text, shape)
    given = explanation.as_dict()
    assert json.loads(json.dumps(given)) == given
    assert tuple(given["output_shape"]) == explanation.output_shape
    assert given["arithmetic"] == dict(explanation.arithmetic)
    assert {a["name"]: a["output_size"] for a in given["axes"]} == {a.name: a.output_size for a in explanation.axes}
    assert set(given["algorithms"]) == ({"output", "input", "weight"} if "Conv" in text else set())


# ---------------------------------------------------------------------------------------------------------------
# Layers and their texts
# ---------------------------------------------------------------------------------------------------------------


@of_layers
def test_a_layer_of_either_shell_and_its_text_are_explained_alike(text, shape):
    explanation = jaxconv.explain(text, shape)
    layer = made(text)
    assert jaxconv.explain(layer, shape) == explanation
    if "Lazy" in text:  # its own text names no channels
        name, arguments = text.removeprefix("Lazy").split("(", 1)
        linen = made(f"{name}(None, {arguments}", jaxconv.linen)
        found = jaxconv.explain(linen, shape)
        assert (found.output_shape, found.parameters) == (explanation.output_shape, explanation.parameters)
    else:
        assert jaxconv.explain(made(text, jaxconv.linen), shape) == explanation
        assert str(layer) == explanation.layer
        if "divisor" not in text:  # PyTorch's layer does not print it
            assert jaxconv.explain(explanation.layer, shape) == explanation


@pytest.mark.parametrize(
    "text",
    [
        "nn.Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))",
        " torch.nn.Conv2d(16, 33, [3, 5], (2, 1), (4, 2), (3, 1))\n",
        "jaxconv.nnx.Conv2d(16, 33, (3, 5), (2, 1), (4, 2), (3, 1), padding_mode=zeros, rngs=nnx.Rngs(0))",
    ],
)
def test_texts_are_read_as_they_are_written(text):
    assert jaxconv.explain(text, EXAMPLE_SHAPE) == jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE)


def test_a_layer_of_torch_is_explained_by_what_it_prints():
    printed = (
        "Conv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), padding=same, groups=2, bias=False, padding_mode=circular)"
    )
    explanation = jaxconv.explain(printed, (2, 4, 7, 9))
    assert explanation == jaxconv.explain(
        "Conv2d(4, 6, 3, padding='same', groups=2, bias=False, padding_mode='circular')", (2, 4, 7, 9)
    )
    assert explanation.layer == printed


def test_a_layer_that_has_its_parameters_is_explained():
    layer = jaxconv.nnx.Conv1d(2, 3, 2, rngs=nnx.Rngs(0))
    assert jaxconv.explain(layer, [4, 2, np.int64(5)]) == jaxconv.explain("Conv1d(2, 3, 2)", (4, 2, 5))


# ---------------------------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------------------------

CALL = "layer must be a call such as 'Conv2d(16, 33, 3, stride=2)', got "
LITERAL = "must be a literal (a number, a tuple, True, None or a string), got "


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, CALL + "''"),
        ("Conv2d", ValueError, CALL + "'Conv2d'"),
        ("Conv2d(1, 2", ValueError, CALL + "'Conv2d(1, 2'"),
        ("3 + 4", ValueError, CALL + "'3 + 4'"),
        ("Conv2d(1, 2, 3)(x)", ValueError, CALL + "'Conv2d(1, 2, 3)(x)'"),
        ("Conv2d(1, 2, 3)\0", ValueError, CALL),
        ("-" * 100_000 + "1", ValueError, CALL + repr("-" * 77 + "...")),
        ("Conv4d(1, 2, 3)", ValueError, "layer 'Conv4d' is not one of jaxconv.nnx; did you mean 'Conv3d'?"),
        ("nn.conv2D(1, 2, 3)", ValueError, "layer 'conv2D' is not one of jaxconv.nnx; did you mean 'Conv2d'?"),
        ("AvgPooling2d(2)", ValueError, "did you mean 'AvgPool2d'?"),
        (
            "Linear(3, 4)",
            ValueError,
            "layer 'Linear' is not one of jaxconv.nnx, which are AdaptiveAvgPool*d, AvgPool*d,",
        ),
        ("__import__('os').system('true')", ValueError, "layer 'system' is not one of jaxconv.nnx, which are"),
        ("Conv2d(1, 2, print(3))", ValueError, "argument 3 of Conv2d " + LITERAL + "print(3)"),
        ("Conv2d(1, 2, 3, dtype=jnp.float16)", ValueError, "argument dtype of Conv2d " + LITERAL + "jnp.float16"),
        ("Conv2d(*x)", ValueError, "argument 1 of Conv2d " + LITERAL + "*x"),
        ("Conv2d(1, 2, **x)", ValueError, "argument ** of Conv2d " + LITERAL + "**x"),
        ("Conv2d(1, 2, 3, bias=True, bias=False)", ValueError, "layer Conv2d has an argument twice, got 'Conv2d("),
        ("Conv2d(1, 2)", TypeError, "missing 1 required positional argument: 'kernel_size'"),
        ("Conv2d(1, 2, kernel=3)", TypeError, "unexpected keyword argument 'kernel'"),
        (
            "Conv2d(1, 2, 3, groups=2)",
            ValueError,
            "groups must divide in_channels, got groups=2 and in_channels=1; 1 would",
        ),
        ("Conv2d(1, 2, 3, padding_mode=mirror)", ValueError, "padding_mode must be one of 'zeros', 'reflect',"),
        ("Conv2d(c, 2, 3)", TypeError, "in_channels must be an integer, got 'c' of type str"),
        ("MaxPool2d(3, return_indices=True)", ValueError, "return_indices=True is not supported; leave it out"),
    ],
)
def test_a_text_that_makes_no_layer_is_refused(text, error, message):
    with pytest.raises(error) as refused:
        jaxconv.explain(text, (1, 1, 5, 5))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (3, "layer must be a layer of jaxconv.nnx or jaxconv.linen, or its text such as 'Conv2d(16, 33, 3, stride=2)'"),
        (3, "got int; of another framework's layer, try str(layer)"),
        (jaxconv.linen.Conv2d, "got the class Conv2d; make a layer of it"),
        (nnx.Dropout(0.5), "got Dropout; of another framework's layer, try str(layer)"),
    ],
)
def test_what_is_no_layer_is_refused(layer, message):
    with pytest.raises(TypeError) as refused:
        jaxconv.explain(layer, (1, 1, 5, 5))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ("1,2", TypeError, "input_shape must be a tuple of ints, got '1,2' of type str"),
        (5, TypeError, "input_shape must be a tuple of ints, got 5 of type int"),
        ((1, 1, 5.0, 5), TypeError, "input_shape[2] must be an integer, got 5.0 of type float"),
        ((1, 1, -5, 5), ValueError, "input_shape[2] must be zero or positive, got -5"),
    ],
)
def test_what_is_no_shape_is_refused(shape, error, message):
    with pytest.raises(error) as refused:
        jaxconv.explain("Conv2d(1, 1, 3)", shape)
    assert message in str(refused.value)


def test_a_symbolic_shape_is_refused():
    shape = (*jax.export.symbolic_shape("b"), 1, 5, 5)
    with pytest.raises(ValueError, match=r"input_shape must be of numbers, got \(b, 1, 5, 5\); choose a number"):
        jaxconv.explain("Conv2d(1, 1, 3)", shape)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("Conv2d(1, 2, 3)", (1, 3, 5, 5)),
        ("Conv2d(1, 2, 3)", (5, 5)),
        ("Conv2d(1, 2, 3)", (1, 1, 2, 5)),
        ("Conv2d(1, 2, 3)", (1, 1, 0, 5)),
        ("Conv2d(1, 2, 3, padding=5, padding_mode='reflect')", (1, 1, 5, 5)),
        ("LazyConv2d(4, 3, groups=2)", (1, 3, 5, 5)),
        ("LazyConv2d(4, 3, groups=2)", (5, 5)),
        ("ConvTranspose2d(2, 2, 3)", (1, 3, 5, 5)),
        ("ConvTranspose2d(2, 2, 1, padding=3)", (1, 2, 5, 5)),
        ("MaxPool2d(3)", (1, 2, 2, 2)),
        ("AvgPool3d(3)", (1, 2, 2, 2)),
        ("AvgPool3d(4, padding=2)", (1, 2, 3, 5, 5)),
        ("AdaptiveAvgPool2d(3)", (2, 2)),
        ("ReflectionPad1d(5)", (2, 3, 5)),
        ("ZeroPad2d(-3)", (2, 3, 5, 5)),
        ("Unfold(3)", (2, 2, 2)),
        ("Fold(5, 3)", (1, 9, 2)),
        ("Flatten(3)", (1, 9)),
    ],
)
def test_a_wrong_shape_is_refused_as_by_the_layer(text, shape):
    with pytest.raises(ValueError, match=r"\w") as by_layer:
        called(text, shape)
    with pytest.raises(ValueError, match=r"\w") as by_explain:
        jaxconv.explain(text, shape)
    assert str(by_explain.value) == str(by_layer.value)


# ---------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------

# Title of the left and of the right grid, labels of the columns of both, and the title of the channels.
PICTURES = {
    EXAMPLE: (
        EXAMPLE_SHAPE,
        ("input 50 x 100, and its padding", "output 26 x 100", "channels: dense"),
        ("W  (−2 to 12 shown, of 0 to 99)", "W  (0 to 10 shown, of 0 to 99)"),
    ),
    "Conv2d(32, 64, 3, padding='same', groups=32)": (
        (8, 32, 28, 28),
        ("input 28 x 28, and its padding", "output 28 x 28", "channels: depthwise"),
        ("W  (−1 to 13 shown, of 0 to 27)", "W  (0 to 10 shown, of 0 to 27)"),
    ),
    "Conv2d(3, 8, 3, padding=2, padding_mode='circular')": (
        (1, 3, 6, 7),
        ("input 6 x 7, and its padding", "output 8 x 9", "channels: dense"),
        ("W", "W"),
    ),
    "ConvTranspose2d(16, 8, 4, stride=2, padding=1, groups=4)": (
        (4, 16, 7, 9),
        ("input 7 x 9", "output 14 x 18, and what is cut off", "channels: grouped"),
        ("W", "W  (−1 to 13 shown, of 0 to 17)"),
    ),
    "ConvTranspose2d(2, 2, 3, 2, 1, 1, padding_mode='circular')": (
        (2, 4, 5),
        ("input 4 x 5", "output 8 x 10, and what is cut off", "channels: dense"),
        ("W", "W"),
    ),
    "Conv1d(16, 32, 3, padding='causal', dilation=4)": (
        (20, 16, 50),
        ("input 50, and its padding", "output 50", "channels: dense"),
        ("L  (−8 to 17 shown, of 0 to 49)", "L  (0 to 25 shown, of 0 to 49)"),
    ),
    "Conv3d(16, 33, (3, 5, 2), stride=(2, 1, 1), padding=(4, 2, 0))": (
        (2, 16, 10, 50, 100),
        ("input 50 x 100, and its padding", "output 50 x 99", "channels: dense"),
        ("W  (0 to 14 shown, of 0 to 99)", "W  (0 to 10 shown, of 0 to 98)"),
    ),
    "Conv2d(8, 8, 3, padding=12, dilation=12)": (  # too wide to be drawn whole
        (8, 33, 33),
        ("input 33 x 33, and its padding", "output 33 x 33", "channels: dense"),
        ("W  (−12 to 19 shown, of 0 to 32)", "W  (0 to 10 shown, of 0 to 32)"),
    ),
    "AdaptiveAvgPool2d((2, 3))": (
        (4, 7, 8),
        ("input 7 x 8", "output 2 x 3", "channels: each apart"),
        ("W", "W"),
    ),
    "Fold((6, 7), 3, padding=1)": (
        (45, 42),
        ("places of the columns 6 x 7", "output 6 x 7, and what is cut off", "channels: each apart"),
        ("W", "W"),
    ),
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, beside what becomes of them."""
    figures, draw = [], _picture.draw
    monkeypatch.setattr(_picture, "draw", lambda scene: figures.append(draw(scene)) or figures[-1])
    return figures


@pytest.mark.parametrize("text", PICTURES)
def test_a_picture_has_its_titles_and_nothing_overlaps(text, tmp_path, drawn):
    shape, titles, labels = PICTURES[text]
    path = tmp_path / "layer.png"
    explanation = jaxconv.explain(text, shape)
    explanation.picture(path)
    (figure,) = drawn
    assert tuple(axes.get_title("left") for axes in figure.axes) == titles
    assert tuple(axes.get_xlabel() for axes in figure.axes[:2]) == labels
    words = " ".join(t.get_text() for t in figure.texts)
    for _, line in explanation.arithmetic:
        assert line in words
    assert ("drawn: the last two axes, H and W; D is like them" in words) == (len(explanation.axes) == 3)

    boxes = [t.get_window_extent() for t in figure.texts] + [figure.legends[0].get_window_extent()]
    for axes in figure.axes:
        parts = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        parts += [*axes.xaxis.get_ticklabels(), *axes.yaxis.get_ticklabels()]
        boxes += [part.get_window_extent() for part in parts if part.get_text()]
        boxes.append(axes.patch.get_window_extent())
    boxes = [box for box in boxes if box.width > 0]
    for a, b in itertools.combinations(boxes, 2):
        assert not a.padded(-1).overlaps(b.padded(-1))
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height

    image = pytest.importorskip("PIL.Image")
    with image.open(path) as png:
        png.load()
        assert png.format == "PNG"
        assert png.size == (width, height)
        assert png.text["Title"] == explanation.layer
        assert png.text["Description"] == str(explanation)


def test_a_place_is_chosen_that_reads_padding_and_image():
    axis = _picture.Axis("W", 50, 26, 3, 2, 3, (4, 4), 7)
    line = _picture.line(axis, writes=False)
    assert line.chosen == (1, 2)
    assert [list(t) for t in line.taps] == [[-2, 1, 4], [0, 3, 6]]
    assert line.shown == tuple(range(-4, 11))


def test_a_long_view_is_broken_and_keeps_taps_and_border():
    axis = _picture.Axis("L", 16000, 16000, 2, 1, 64, (64, 0), 65)
    line = _picture.line(axis, writes=False, flat=True)
    assert line.shown == (-64, -63, -62, -61, -60, -59, -58, None, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7)
    wide = _picture.line(_picture.Axis("W", 512, 513, 10**9, 1, 1, (5 * 10**8,) * 2, 10**9), writes=False)
    assert len(wide.shown) < 50
    assert wide.taps[0][0] in wide.shown
    assert wide.taps[0][-1] in wide.shown


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("Flatten()", (2, 3, 4), "Flatten(start_dim=1, end_dim=-1) has no picture: it only renumbers positions"),
        ("AdaptiveAvgPool1d(0)", (2, 3, 4), "has no picture: its output is empty, of shape (2, 3, 0)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(text, shape, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        jaxconv.explain(text, shape).picture(tmp_path / "layer.png")


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    wanted = "pip install matplotlib, or pip install 'jaxconv[examples]'"
    with pytest.raises(ImportError, match=re.escape(wanted)):
        jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE).picture(tmp_path / "layer.png")


# ---------------------------------------------------------------------------------------------------------------
# The command line
# ---------------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_text(capsys):
    main(["explain", EXAMPLE, "--input", "20,16,50,100"])
    out, err = capsys.readouterr()
    assert out == f"{jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE)}\n"
    assert not err


def test_the_command_prints_json_and_draws(capsys, tmp_path):
    path = tmp_path / "layer.png"
    main(["explain", "Conv1d(2, 3, 2)", "--input", "(4, 2, 5)", "--json", "--png", str(path)])
    assert json.loads(capsys.readouterr().out) == jaxconv.explain("Conv1d(2, 3, 2)", (4, 2, 5)).as_dict()
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "python -m jaxconv: the following arguments are required: command"),
        (["explian"], "python -m jaxconv: argument command: invalid choice: 'explian'"),
        (["explain", "Conv2d(1, 1, 1)"], "python -m jaxconv explain: the following arguments are required: --input"),
        (
            ["explain", "Conv2d(1, 1, 1)", "--input", "a,b"],
            "must be sizes with commas between, such as 20,16,50,100, got 'a,b'",
        ),
        (["explain", "Conv2d(1, 1)", "--input", "1"], "missing 1 required positional argument: 'kernel_size'"),
        (["explain", "Conv9d(1, 1, 1)", "--input", "1"], "layer 'Conv9d' is not one of jaxconv.nnx; did you mean"),
        (["explain", "Conv2d(1, 1, 1)", "--input", "5,5"], "input of a 2-D convolution must have shape (N, C, H, W)"),
        (["explain", "Flatten()", "--input", "5,5", "--png", "x.png"], "has no picture: it only renumbers positions"),
        (["explain", "MaxPool1d(1)", "--input", "5,5", "--png", "/nowhere/x.png"], "No such file or directory"),
    ],
)
def test_an_error_of_the_command_takes_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert not out
    assert message in err
    assert err.endswith("\n")
    assert err.count("\n") == 1


def test_the_module_runs():
    command = [sys.executable, "-m", "jaxconv", "explain", "nn.MaxPool1d(2)", "--input", "1,3,8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "L: floor((8 + 0 + 0 - 1 * (2 - 1) - 1) / 2) + 1 = 4" in done.stdout
    assert not done.stderr
