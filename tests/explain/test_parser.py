"""Layers and their texts, and what is refused."""

import jax
import numpy as np
import pytest
import torch
from explained import EXAMPLE, EXAMPLE_SHAPE, called, explained, made, of_layers
from flax import nnx

import jaxconv
import jaxconv.linen
import jaxconv.nnx


@of_layers
def test_a_layer_of_either_shell_and_its_text_are_explained_alike(text, shape):
    explanation = explained(text, shape)
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
        if not any(word in text for word in ("divisor", "corners", "return_indices")):  # PyTorch's do not print them
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
            "layer 'Linear' is not one of jaxconv.nnx, which are AdaptiveAvgPool*d, AdaptiveMaxPool*d,",
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
        (3, "or a model of Flax, got int; of another framework's layer, try str(layer)"),
        (jaxconv.linen.Conv2d, "got the class Conv2d; make a layer of it"),
        (torch.nn.Dropout(0.5), "got Dropout; of another framework's layer, try str(layer)"),
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
