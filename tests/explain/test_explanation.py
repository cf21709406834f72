"""`explain` of every layer, as a record, in words and as a dictionary, against what the layers do."""

import json
import math
import re

import pytest
from explained import LAYERS, called, explained, of_layers
from layer_cases import OF_OTHERS

import jaxconv
import jaxconv.nnx


def test_all_layers_are_tried():
    assert {text.split("(")[0] for text, _ in LAYERS} == set(jaxconv.nnx.__all__) - set(OF_OTHERS)


@of_layers
def test_the_output_shape_is_what_the_layer_gives(text, shape):
    explanation = explained(text, shape)
    assert explanation.output_shape == called(text, shape)[1]
    assert explanation.input_shape == shape


@of_layers
def test_the_arithmetic_is_right_as_it_stands(text, shape):
    explanation = explained(text, shape)
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
        ("LPPool1d(2, 3)", (2, 4, 10), ["1-D norm of order 2 of each window"]),
        ("AdaptiveMaxPool1d(4, True)", (2, 4, 10), ["1-D maximum of windows that give a size, and where it is"]),
        (
            "MaxUnpool1d(5, 2, 1)",
            (2, 4, 10),
            [
                "maxima put back where they were, among zeros",
                "L: (10 - 1) * 2 - 2 * 1 + 5 = 21",
                "at most 3; one input position writes to one of 5",
                "L: 1 low, 1 high cut off the output",
            ],
        ),
        ("ConstantPad1d((-1, 2), 3.5)", (2, 4, 9), ["L: 9 - 1 + 2 = 10", "L: -1 low, 2 high", "filled with 3.5"]),
        (
            "Upsample(scale_factor=(2, 1.7), mode='bicubic')",
            (2, 4, 5, 6),
            [
                "H: 5 * 2 = 10",
                "W: floor(6 * 1.7) = 10",
                "H: at most 4: output i lies at (i + 0.5) * 1 / 2 - 0.5 of the",
            ],
        ),
        ("UpsamplingNearest2d((10, 3))", (2, 4, 5, 6), ["H: 10, as size says", "W: at most 1: output i lies at i * 6"]),
        ("UpsamplingBilinear2d((1, 3))", (2, 4, 5, 6), ["output i lies at 0 of", "i * 5 / 2 of", "aligned corners"]),
        ("Upsample(3, mode='area')", (2, 4, 7), ["L: at most 3: output i reads floor(i * 7 / 3) to ceil("]),
        ("PixelShuffle(2)", (3, 12, 5, 6), ["C: 12 / (2 * 2) = 3", "H: 5 * 2 = 10"]),
        ("ChannelShuffle(2)", (3, 6, 5), ["C: 2 * 3 = 6, channel i of group g becoming channel g of group i"]),
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
    said = str(explained(text, shape))
    assert said.isascii()
    assert said.replace("\n", "").isprintable()
    assert max(map(len, said.splitlines())) <= 100
    assert all(line == line.rstrip() for line in said.splitlines())


@of_layers
def test_the_dictionary_is_json(text, shape):
    explanation = explained(text, shape)
    given = explanation.as_dict()
    assert json.loads(json.dumps(given)) == given
    assert tuple(given["output_shape"]) == explanation.output_shape
    assert given["arithmetic"] == dict(explanation.arithmetic)
    assert {a["name"]: a["output_size"] for a in given["axes"]} == {a.name: a.output_size for a in explanation.axes}
    assert set(given["algorithms"]) == ({"output", "input", "weight"} if "Conv" in text else set())


def test_what_binds_a_layer():
    layer = "Conv1d(3, 2, 3, bias=False)"
    explanation = jaxconv.explain(layer, (5, 3, 9), machine=(100, 10))
    flop, moved = 2 * 5 * 7 * 18, 4 * (5 * 27 + 18 + 5 * 14)
    assert explanation.intensity == flop / moved
    assert explanation.ceiling == "memory"
    given = explanation.as_dict()
    assert given["arithmetic_intensity"] == flop / moved
    assert given["ceiling"] == "memory"
    assert given["seconds_at_least"] == moved / 10
    assert jaxconv.explain(layer, (5, 3, 9), machine=(10, 10)).ceiling == "arithmetic"
    assert jaxconv.explain("MaxPool1d(2)", (5, 3, 9), machine=(1, 1e9)).ceiling == "memory"  # it has no products
