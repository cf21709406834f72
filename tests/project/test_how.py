"""The tables of docs/how/: the rules and the thresholds that they state are those of the code."""

import re
from pathlib import Path

import numpy as np
import pytest

from jaxconv._lowering import select
from jaxconv._lowering.family import ONE, make_problem
from jaxconv._spec.convolution import ConvSpec

ROOT = Path(__file__).parents[2]
CHOOSING, WINOGRAD = ((ROOT / f"docs/how/{name}.md").read_text() for name in ("choosing", "winograd"))
# The number of each rule, what applies, and what is taken.
RULES = {int(n): (text, takes) for n, text, takes in re.findall(r"^\| (\d+) \| (.*?) \| `(\w+)` \|", CHOOSING, re.M)}


def problem(op="output", kernel=(3, 3), groups=1, channels=12, dtype="float32", stride=1, last=False, **facts):
    """A convolution of `channels` in each group; a portable one, which the native kernels leave over."""
    rank = len(kernel)
    data_format = "channels_last" if last else "channels_first"
    spec = ConvSpec((stride,) * rank, ((0, 0),) * rank, (1,) * rank, groups, "zeros", data_format)
    size = (40,) * rank
    x = spec.image_shape(2, channels * groups, size)
    w = (channels * groups, channels, *kernel)
    y = spec.image_shape(2, w[0], spec.output_size(size, kernel))
    arguments = {"output": (x, w, None), "input": (w, y, size), "weight": (x, y, kernel)}[op]
    return make_problem(op, spec, *arguments, np.dtype(dtype), **{"platform": "cpu", "portable": True, **facts})


DEPTHWISE = {"groups": 4, "channels": 1}
# For each rule a problem that it is the first to apply to, and another: a further one, or one beyond its threshold.
CASES = {
    1: [(problem(platform="cuda", **DEPTHWISE), "xla")],
    2: [(problem(portable=False, devices=ONE), "native")],
    3: [(problem("input", stride=17, **DEPTHWISE), "xla"), (problem("input", stride=16, **DEPTHWISE), "taps")],
    4: [(problem(dtype="int32", **DEPTHWISE), "xla"), (problem(dtype="complex64", **DEPTHWISE), "xla")],
    5: [(problem(kernel=(25, 41), **DEPTHWISE), "xla"), (problem(kernel=(32, 32), **DEPTHWISE), "taps")],
    6: [(problem(groups=4, channels=8), "taps"), (problem(groups=4, channels=9), "xla")],
    7: [(problem("weight", groups=4), "taps"), (problem("weight"), "xla")],
    8: [(problem(kernel=(3, 3, 3)), "taps")],
    9: [(problem(dtype="float64", groups=4), "taps"), (problem(dtype="float64", kernel=(3,)), "taps")],
    10: [(problem(kernel=(1, 1), last=True), "taps"), (problem(kernel=(1, 1)), "xla")],
    11: [(problem(), "xla"), (problem(dtype="float64"), "xla")],
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_of_the_choice_is_what_the_page_says(rule):
    assert CASES[rule][0][1] == RULES[rule][1]
    for of, taken in CASES[rule]:
        assert select.choose(of)[0] == taken


def test_all_rules_and_thresholds_of_the_choice_are_there():
    assert set(RULES) == set(CASES)
    assert f"{select.MOST_TAPS:,} taps" in RULES[5][0]
    assert f"at most {select.FEW_CHANNELS} input channels" in RULES[6][0]


def test_the_thresholds_of_winograds_tiles_are_those_of_the_kernels():
    header = (ROOT / "jaxconv/_native/tuning.h").read_text()
    value = {name: int(n) for name, n in re.findall(r"constexpr int64_t (k\w+) = (\d+);", header)}
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", WINOGRAD, re.M))
    channels = value["kWinogradChannels"]
    assert rows["channels"] == f"at least {channels} on either side, and {3 * channels} on both together"
    assert rows["tiles"].startswith(f"at least {value['kWinogradTiles']} in all images; ")
    of_one_block = value["kSlots"] * value["kWinogradTilesPerSlot"]
    block = value["kGradientChannels"]
    assert block == value["kTargetChannels"]
    assert f"gradient {of_one_block} where both sides have up to {block} channels" in rows["tiles"]
