"""The programs that a GPU and a TPU are given, made on a machine that has neither."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jaxconv
from benchmarks.gpu import cases

PLATFORMS = ("cuda", "tpu")


def program(function, *arrays, platform):
    """The text of the module that is exported for a platform."""
    exported = export.export(jax.jit(function), platforms=[platform])(*arrays)
    assert exported.platforms == (platform,)
    return exported.mlir_module()


def counted(text):
    """How many operations of each kind a module has, those of functions that it calls included."""
    names = re.findall(r"(?:stablehlo|mhlo|chlo)\.(\w+)", text)
    return {name: names.count(name) for name in set(names)}


@pytest.mark.parametrize("name", cases.FUNCTIONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_function_and_its_gradients_are_lowered(name, platform):
    case = cases.draw_case(name, 0, large=False)

    def everything(*arrays):
        def results(*arrays):
            return [r for r in jax.tree.leaves(case.function(*arrays)) if jnp.issubdtype(r.dtype, jnp.inexact)]

        values, transpose = jax.vjp(results, *arrays)
        return values, transpose(values)

    arrays = [jax.ShapeDtypeStruct(a.shape, "bfloat16" if case.convolves else "float32") for a in case.arrays]
    text = program(everything, *arrays, platform=platform)
    # A call of the package's own kernels, or back into Python, would be a program that only this machine can run.
    assert "custom_call" not in text


# Kernel, stride, padding, dilation, groups of 6 channels.
LAYERS = {
    "plain": ((3, 5), 1, (1, 2), 1, 1),
    "strided": ((3, 2), (2, 3), 1, 1, 1),
    "dilated": (3, 1, 2, (2, 1), 1),
    "grouped": (3, 2, 1, 1, 3),
    "depthwise": (3, 1, 1, 1, 6),
    "1x1": (1, 1, 0, 1, 1),
}


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_op_is_one_convolution_of_the_images_as_they_lie(layer, data_format, platform):
    kernel, stride, padding, dilation, groups = LAYERS[layer]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "data_format": data_format}
    shape = (2, 11, 9, 6) if data_format == "channels_last" else (2, 6, 11, 9)
    x = jax.ShapeDtypeStruct(shape, "float32")
    w = jax.ShapeDtypeStruct((12, 6 // groups, *np.broadcast_to(kernel, 2)), "float32")

    def conv(x, w):
        return jaxconv.conv2d(x, w, **options)

    y = jax.eval_shape(conv, x, w)
    ops = {
        "output": (conv, x, w),
        "input": (lambda w, y: jaxconv.conv2d_input(x.shape, w, y, **options), w, y),
        "weight": (lambda x, y: jaxconv.conv2d_weight(x, w.shape, y, **options), x, y),
    }
    images = {tuple(x.shape), tuple(y.shape)}
    for op, (function, *arrays) in ops.items():
        text = program(function, *arrays, platform=platform)
        counts = counted(text)
        assert counts.get("convolution") == 1, op
        assert not counts.keys() & {"gather", "scatter", "while", "dot_general"}, op
        for line in text.splitlines():
            if "stablehlo.transpose" in line:  # of the weight alone, whose channels change places under groups
                moved = tuple(int(n) for n in re.findall(r"tensor<([\dx]+)xf32>", line)[0].split("x"))
                assert sorted(moved) not in [sorted(i) for i in images], op
    step = counted(program(lambda x, w: jax.vjp(conv, x, w)[1](jnp.ones(y.shape)), x, w, platform=platform))
    assert step["convolution"] == 2


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "symmetric"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_border_is_made_of_slices(mode, platform):
    """A gather, and a scatter for its gradient, would read and write position by position."""
    x = jax.ShapeDtypeStruct((2, 9, 7, 3), "float32")
    w = jax.ShapeDtypeStruct((4, 3, 3, 5), "float32")

    def loss(x, w):
        options = {"padding": (1, 2), "padding_mode": mode, "data_format": "channels_last"}
        return (jaxconv.conv2d(x, w, **options) ** 2).sum()

    counts = counted(program(jax.value_and_grad(loss, (0, 1)), x, w, platform=platform))
    assert counts["convolution"] == 3
    assert not counts.keys() & {"gather", "scatter", "dynamic_update_slice"}


# Of images of 6 channels, 12x9: a function, the shapes of its other arguments, and what a step holds of `COUNTED`.
AROUND = {
    "conv_transpose2d": (
        partial(jaxconv.conv_transpose2d, stride=(2, 3), padding=1, output_padding=(0, 1)),
        [(6, 4, 3, 4)],
        {"convolution": 3, "transpose": 1},
    ),
    "conv_transpose2d, groups": (
        partial(jaxconv.conv_transpose2d, stride=2, padding=1, groups=3),
        [(6, 4, 3, 4)],
        {"convolution": 3, "transpose": 1},
    ),
    "max_pool2d": (partial(jaxconv.max_pool2d, kernel_size=(3, 2), stride=(2, 1), padding=1), [], {}),
    "avg_pool2d": (partial(jaxconv.avg_pool2d, kernel_size=(3, 2), stride=(2, 1), padding=1), [], {}),
    "lp_pool2d": (partial(jaxconv.lp_pool2d, norm_type=2.0, kernel_size=(3, 2)), [], {}),
    "adaptive_avg_pool2d": (partial(jaxconv.adaptive_avg_pool2d, output_size=(4, 3)), [], {"reduce": 2}),
    "adaptive_max_pool2d": (partial(jaxconv.adaptive_max_pool2d, output_size=(4, 3)), [], {}),
    "batch_norm": (
        lambda x, c, b, **form: jaxconv.batch_norm(x, None, None, c, b, True, **form)[0],
        [(6,)] * 2,
        {"reduce": 7},
    ),
    "instance_norm": (
        lambda x, c, b, **form: jaxconv.instance_norm(x, None, None, c, b, **form)[0],
        [(6,)] * 2,
        {"reduce": 7},
    ),
    "group_norm": (lambda x, c, b, **form: jaxconv.group_norm(x, 3, c, b, **form), [(6,)] * 2, {"reduce": 9}),
    "layer_norm": (lambda x, c, b, **_: jaxconv.layer_norm(x, c.shape, c, b), [None] * 2, {"reduce": 9}),
    "rms_norm": (lambda x, c, **_: jaxconv.rms_norm(x, c.shape, c), [None], {"reduce": 5}),
}
# What a device computes with its matrix unit, what moves numbers about, and what goes through them one by one.
COUNTED = ("convolution", "dot_general", "reduce", "transpose", "gather", "scatter", "while", "sort")


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("name", AROUND)
def test_a_step_of_what_stands_around_convolutions_is_the_same_for_both(name, data_format):
    """Transposed layers, pools and norms: slices, sums and elementwise functions, of the images as they lie."""
    function, others, holds = AROUND[name]
    shape = (2, 12, 9, 6) if data_format == "channels_last" else (2, 6, 12, 9)
    arrays = [jax.ShapeDtypeStruct(s or shape[-1:], "float32") for s in (shape, *others)]

    def step(*arrays):
        y, pull = jax.vjp(partial(function, data_format=data_format), *arrays)
        return y, pull(y)

    programs = [counted(program(step, *arrays, platform=platform)) for platform in PLATFORMS]
    first, second = ({op: counts[op] for op in COUNTED if op in counts} for counts in programs)
    assert first == second == holds


PRESETS = {
    "nothing said": ({}, None, []),
    "high": ({"precision": "high"}, None, ["HIGH"] * 2),
    "highest": ({"precision": "highest"}, None, ["HIGHEST"] * 2),
    "tensorfloat32 of all": ({}, "tensorfloat32", ["HIGH"] * 2),
    "highest of all": ({}, "highest", ["HIGHEST"] * 2),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_reaches_all_convolutions_of_a_step(preset):
    options, said, wanted = PRESETS[preset]
    x, w = (jax.ShapeDtypeStruct(s, "float32") for s in ((2, 4, 9, 7), (6, 4, 3, 3)))

    def loss(x, w):
        return (jaxconv.conv2d(x, w, **options) ** 2).sum()

    with jax.default_matmul_precision(said):
        text = program(jax.grad(loss, (0, 1)), x, w, platform="cuda")
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(lines) == 3
    for line in lines:
        assert re.findall(r"#stablehlo<precision (\w+)>", line) == wanted


def test_sums_of_bfloat16_are_asked_for_in_float32():
    x, w = (jax.ShapeDtypeStruct(s, "bfloat16") for s in ((2, 4, 9, 7), (6, 4, 3, 3)))

    def conv(x, w):
        return jaxconv.conv2d(x, w, preferred_element_type="float32")

    text = program(conv, x, w, platform="cuda")
    (line,) = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert re.search(r"\(tensor<2x4x9x7xbf16>, tensor<6x4x3x3xbf16>\) -> tensor<2x6x7x5xf32>", line)
