"""Convolutions explained: their products counted by hand, their parameters, their groups and their algorithms."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from explained import EXAMPLE, EXAMPLE_SHAPE, called, explained, of_convolutions

import jaxconv
from jaxconv._explain import convolution
from jaxconv._explain.explanation import Op
from jaxconv._lowering.family import Problem
from jaxconv._spec.convolution import ConvSpec


@of_convolutions
def test_multiply_accumulates_are_as_many_as_loops_count(text, shape):
    explanation = explained(text, shape)
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
    explanation = explained(text, shape)
    layer, output = called(text, shape)  # a lazy layer has its parameters then
    parameters = {name: getattr(layer, name) for name in ("weight", "bias")}
    counts = {name: math.prod(p.shape) for name, p in parameters.items() if p is not None}
    assert {p.name: p.count for p in explanation.parameters} == counts
    given = explanation.as_dict()
    assert given["parameters"]["total"] == sum(counts.values())
    numbers = {"input": math.prod(shape), "parameters": sum(counts.values()), "output": math.prod(output)}
    assert given["bytes"] == {"dtype": "float32"} | {name: 4 * n for name, n in numbers.items()}


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


@pytest.fixture
def asked(monkeypatch):
    """What the selection is asked, with an answer that does not change."""
    problems = []

    def choose(problem):
        problems.append(problem)
        return "xla", "it is a test"

    monkeypatch.setattr(convolution, "choose", choose)
    return problems


def test_a_convolution_asks_for_its_three_ops(asked):
    explanation = jaxconv.explain("Conv2d(4, 6, 3, stride=2, padding=1)", (2, 4, 7, 9))
    spec = ConvSpec((2, 2), ((1, 1), (1, 1)), (1, 1))
    facts = (spec, (2, 4, 7, 9), (6, 4, 3, 3), (2, 6, 4, 5), jnp.dtype("float32"))
    platform = jax.default_backend()
    assert asked == [Problem(op, *facts, platform=platform) for op in ("output", "input", "weight")]
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
    facts = (spec, (1, 6, 10, 12), (4, 6, 3, 3), (1, 4, 5, 6), jnp.dtype("bfloat16"))
    platform = jax.default_backend()
    assert asked == [Problem(op, *facts, platform=platform) for op in ("input", "output", "weight")]
    assert explanation.ops[0] == Op("input", "the output", "xla", "it is a test")


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
arithmetic intensity  823,680,000 / 13,295,812 = 62.0 FLOP/byte
                      bound by arithmetic: the ceilings of this machine meet at 20.0 FLOP/byte
algorithms (cpu)      output   the output                   xla
                        it is a test
                      input    the gradient of the input    xla
                        it is a test
                      weight   the gradient of the weight   xla
                        it is a test"""


@pytest.mark.usefixtures("asked")
def test_the_text_of_the_documented_example(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert str(jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE, machine=(4e11, 2e10))) == GOLDEN
