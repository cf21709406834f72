"""What devices send each other, of a layer and of a model, against the arithmetic of halos and whole programs."""

import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv.__main__ import main
from jaxconv.nnx import BatchNorm2d, Conv2d, Flatten, MaxPool2d, Sequential

MACHINE = (4e11, 2e10)
MESH = {"h": 2, "w": 4}
pytestmark = [
    pytest.mark.usefixtures("quick_compile"),
    pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices"),
]


def divided(shape, *axes, kind=AxisType.Auto):
    """Images whose rows and columns these axes of a mesh divide."""
    mesh = jax.make_mesh(tuple(MESH.values()), tuple(MESH), axis_types=(kind,) * 2)
    return jax.ShapeDtypeStruct(shape, "float32", sharding=NamedSharding(mesh, PartitionSpec(None, None, *axes)))


def halo_bytes(shape, axes, kernel, stride, dilation):
    """What a device receives for the output: d (k - 1) + 1 - s slices of its block for each axis that is divided."""
    parts = [MESH.get(axis, 1) for axis in axes]
    block = [*shape[:2], *(n // p for n, p in zip(shape[2:], parts, strict=True))]
    total = 0
    for i, p in enumerate(parts, 2):
        slices = max(dilation * (kernel - 1) + 1 - stride, 0) if p > 1 else 0
        total += 4 * slices * math.prod(block[:i] + block[i + 1 :])
        block[i] += slices
    return total


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(
    ("axes", "kernel", "stride", "dilation", "mode"),
    [
        (("h", None), 3, 1, 1, "zeros"),
        (("h", "w"), 3, 1, 1, "circular"),
        (("h", "w"), 5, 2, 1, "zeros"),
        (("w", None), 3, 1, 2, "reflect"),
        ((None, "h"), 2, 2, 1, "zeros"),
    ],
)
def test_halos_of_a_convolution(axes, kernel, stride, dilation, mode, kind):
    shape, reach = (2, 3, 32, 64), dilation * (kernel - 1) + 1 - stride
    layer = Conv2d(3, 5, kernel, stride, -(-reach // 2), dilation, padding_mode=mode, rngs=nnx.Rngs(0))
    sent = jaxconv.explain(layer, divided(shape, *axes, kind=kind), machine=MACHINE).sent
    once = halo_bytes(shape, axes, kernel, stride, dilation)
    parameters = 4 * (5 * 3 * kernel**2 + 5)
    if reach % 2:  # the padding is a position more than the windows reach, which a neighbour may have
        assert sent["halos"][0] >= once
    elif mode != "reflect":
        assert sent["halos"] == (once, 2 * once)
    assert sent["summed"] == (0, parameters)
    assert sent["gathered"] == (0, 0)


def layers():
    rngs = nnx.Rngs(0)
    first, second = Conv2d(3, 8, 3, padding=1, rngs=rngs), Conv2d(8, 4, 5, padding=2, bias=False, rngs=rngs)
    return first, BatchNorm2d(8), nnx.relu, MaxPool2d(2), second


def test_a_models_rows_are_what_its_program_sends():
    model, x = Sequential(*layers()), divided((2, 3, 32, 64), "h", "w")
    explanation = jaxconv.explain(model, x, machine=MACHINE)
    sent = {row.name: row.sent for row in explanation.rows}
    convolutions = halo_bytes((2, 3, 32, 64), ("h", "w"), 3, 1, 1) + halo_bytes((2, 8, 16, 32), ("h", "w"), 5, 1, 1)
    assert sent["0"]["halos"][0] + sent["4"]["halos"][0] == convolutions
    assert sent["1"] == {"halos": (0, 0), "gathered": (0, 0), "summed": (0, 2 * 8 * 8)}
    assert sent["2"] == sent["3"] == {"halos": (0, 0), "gathered": (0, 0), "summed": (0, 0)}

    model.eval()
    graph, state = nnx.split(model)
    program = jax.jit(lambda s, x: nnx.merge(graph, s)(x)).lower(state, x).compile().as_text()
    moved = [
        4 * math.prod(map(int, sizes.split(",")))
        for sizes in re.findall(r"= f32\[([\d,]+)\]\S* collective-permute\(", program)
    ]
    assert sum(moved) == convolutions


def test_text_and_dictionary():
    explanation = jaxconv.explain(Sequential(*layers(), Flatten()), divided((2, 3, 32, 64), "h", None), machine=MACHINE)
    given = explanation.as_dict()
    assert json.loads(json.dumps(given)) == given
    totals = given["totals"]["sent"]
    for kind in ("halos", "gathered", "summed"):
        for what in ("output", "gradients"):
            assert totals[kind][what] == sum(row["sent"][kind][what] for row in given["rows"])
    text = str(explanation)
    assert re.search(r"^sent to a device +halos 11.3 kB / 22.5 kB, ", text, re.MULTILINE)
    assert "bytes that a device receives of others" in text
    layer = str(jaxconv.explain("Conv2d(3, 5, 3, padding=1)", divided((2, 3, 32, 64), "h", None), machine=MACHINE))
    assert re.search(r"bytes to a device +output +gradients\n +halos +3,072 +6,144\n +summed +0 +560", layer)


def test_of_one_device_nothing_is_told():
    layer = Conv2d(3, 5, 3, rngs=nnx.Rngs(0))
    of_shape, of_array = (jaxconv.explain(layer, x, machine=MACHINE) for x in ((2, 3, 9, 7), jnp.ones((2, 3, 9, 7))))
    assert of_shape == of_array
    assert of_shape.sent is None
    assert of_shape.as_dict()["sent"] is None
    assert "bytes to a device" not in str(of_shape)


def test_what_is_refused():
    layer = Conv2d(3, 5, 3, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=re.escape("of float32, got an array of int32; give its shape, (2, 3, 9, 7)")):
        jaxconv.explain(layer, np.ones((2, 3, 9, 7), "int32"))
    rows = NamedSharding(AbstractMesh((2,), ("h",)), PartitionSpec(None, None, "h"))
    with pytest.raises(ValueError, match=r"input_shape has a sharding over a mesh without devices, .* jax\.make_mesh"):
        jaxconv.explain(layer, jax.ShapeDtypeStruct((2, 3, 8, 6), "float32", sharding=rows))


def test_the_command_line(capsys):
    call = ["explain", "Conv2d(3, 5, 3, padding=1)", "--input", "2,3,32,64", "--json", "--divide"]
    main([*call, "1,1,2,4"])
    once = halo_bytes((2, 3, 32, 64), ("h", "w"), 3, 1, 1)
    assert json.loads(capsys.readouterr().out)["sent"]["halos"] == {"output": once, "gradients": 2 * once}
    for parts, words in (
        ("1,1,2", "--divide must have a divisor of each size of --input, (2, 3, 32, 64), got (1, 1, 2)"),
        ("1,1,3,1", "got (1, 1, 3, 1)"),
        ("1,1,16,4", "--divide needs 64 devices, and there are 8; on a CPU, set XLA_FLAGS=--xla_force_host"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*call, parts])
        assert words in capsys.readouterr().err
