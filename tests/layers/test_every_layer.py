"""The tests that every layer has to pass in both shells, over the table of layers."""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layer_cases import (
    CHANGED,
    LAYERS,
    OF_OTHERS,
    all_layers,
    apply_linen,
    images,
    layers_of_torch,
    linen_variables,
    make,
    make_linen,
    takes_rngs,
    variables,
)

import jaxconv.linen
import jaxconv.nnx

# These tests check values, not speed.
pytestmark = pytest.mark.usefixtures("quick_compile")


def test_the_table_holds_every_layer():
    named = {layer.name for layer in LAYERS}
    assert named | set(OF_OTHERS[:-1]) == set(jaxconv.linen.__all__)
    named |= set(OF_OTHERS)
    assert named | {n for n in jaxconv.nnx.__all__ if n.startswith("Lazy")} == set(jaxconv.nnx.__all__)


@all_layers
def test_both_shells_compute_what_the_function_does(layer):
    module, x = make(layer), images(layer)
    in_linen = linen_variables(module)
    expected = layer.function(x, variables(module))
    np.testing.assert_array_equal(layer.call(module, x), expected)

    np.testing.assert_array_equal(apply_linen(layer, in_linen, x), expected)
    # An input without a batch, and what jit makes of the layer.
    if layer.unbatched:
        np.testing.assert_allclose(layer.call(module, x[0]), expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(nnx.jit(layer.call)(module, x), expected, rtol=1e-5, atol=1e-5)


@all_layers
def test_split_and_merge_give_the_same_layer(layer):
    module, x = make(layer), images(layer)
    graphdef, state = nnx.split(module)
    np.testing.assert_array_equal(layer.call(nnx.merge(graphdef, state), x), layer.call(module, x))
    # Made again it is the same definition: nothing about a layer is compared by identity, so jit compiles it once.
    assert nnx.split(make(layer))[0] == graphdef
    assert hash(graphdef) == hash(nnx.split(make(layer))[0])


@all_layers
def test_channels_last_is_channels_first_with_its_axes_moved(layer):
    if not layer.formats:
        pytest.skip("PyTorch defines it on axes, not on images")
    x = images(layer)
    first, last = make(layer), make(layer, data_format="channels_last")
    y = layer.call(last, jnp.moveaxis(x, 1, -1))
    np.testing.assert_allclose(jnp.moveaxis(y, -1, 1), layer.call(first, x), rtol=1e-5, atol=1e-5)
    y = apply_linen(layer, linen_variables(last), jnp.moveaxis(x, 1, -1), data_format="channels_last")
    np.testing.assert_allclose(jnp.moveaxis(y, -1, 1), layer.call(first, x), rtol=1e-5, atol=1e-5)
    assert "data_format=channels_last" in repr(last)


@all_layers
def test_a_vmap_over_copies_of_a_layer_is_each_copy_alone(layer):
    x = images(layer)
    if not takes_rngs(layer):
        y = nnx.vmap(layer.call, in_axes=(None, 0))(make(layer), jnp.stack([x, -x]))
        alone = [layer.call(make(layer), x) for x in (x, -x)]
        np.testing.assert_allclose(y, jnp.stack(alone), rtol=1e-5, atol=1e-5)
        return
    several = nnx.vmap(lambda rngs: make(layer, rngs=rngs))(nnx.Rngs(0).split(3))
    together = nnx.vmap(layer.call, in_axes=(0, None))(several, x)
    graphdef, state = nnx.split(several)
    for i in range(3):
        alone = nnx.merge(graphdef, jax.tree.map(lambda a, i=i: a[i], state))
        np.testing.assert_allclose(together[i], layer.call(alone, x), rtol=1e-4, atol=1e-5)


@layers_of_torch
def test_the_layers_say_what_pytorchs_say(layer):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, layer.name)(*layer.args, **layer.kwargs)
    assert repr(make(layer)) == str(make(layer)) == repr(theirs)
    assert repr(make_linen(layer)) == repr(theirs)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
                 "output_padding", "padding_mode", "ceil_mode", "count_include_pad", "divisor_override", "value",
                 "output_size", "start_dim", "end_dim", "size", "scale_factor", "mode", "align_corners",
                 "recompute_scale_factor", "upscale_factor", "downscale_factor", "num_features", "eps", "momentum",
                 "affine", "track_running_stats", "num_groups", "num_channels", "normalized_shape",
                 "elementwise_affine", "alpha", "beta", "k", "num_parameters", "norm_type", "p",
                 "inplace"):  # fmt: skip
        if hasattr(theirs, name):
            assert getattr(make(layer), name) == getattr(theirs, name), name
            assert getattr(make_linen(layer), name) == getattr(theirs, name), name


@layers_of_torch
def test_the_arguments_stand_in_pytorchs_order(layer):
    torch = pytest.importorskip("torch")
    theirs = [
        p for p in inspect.signature(getattr(torch.nn, layer.name)).parameters.values()
        if p.name not in ("device", "dtype") and getattr(torch.nn, layer.name).__init__ is not torch.nn.Module.__init__
    ]  # fmt: skip
    by_name = [p for p in theirs if p.kind is p.KEYWORD_ONLY]
    in_order = [p.name for p in theirs if p not in by_name]
    for shell in (jaxconv.nnx, jaxconv.linen):
        constructor = inspect.signature(getattr(shell, layer.name).__init__)
        assert list(constructor.parameters)[1 : len(in_order) + 1] == in_order
        ours = [constructor.parameters[p.name] for p in theirs]
        assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(in_order) :])
        required = inspect.Parameter.empty
        for our, their in zip(ours, theirs, strict=True):
            # `return_indices` and `divisor_override` come with PyTorch's defaults too.
            assert (our.default is required) == (their.default is required), our.name
            if our.default is not required:
                assert our.default == their.default, our.name


@all_layers
def test_flax_captures_what_each_layer_gives(layer):
    # `nnx.capture` instruments the methods that stand in a class itself, not the inherited ones.
    model, x = nnx.Sequential(make(layer)), images(layer)
    y, captured = layer.call(nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate), x)
    (output,) = nnx.to_pure_dict(captured)["layers"][0]["__call__"]
    np.testing.assert_array_equal(output, y)
    assert "__call__" in vars(type(model.layers[0]))
    assert not hasattr(type(model.layers[0]).__call__, "_does_capturing")  # and leaves no trace

    linen = nn.Sequential([make_linen(layer)])
    given = {name: {"layers_0": state} for name, state in linen_variables(model.layers[0]).items()}
    options = {"capture_intermediates": True, "mutable": ["intermediates", *CHANGED]}
    y, state = layer.call(functools.partial(linen.apply, given, **options), x)
    (output,) = state["intermediates"]["layers_0"]["__call__"]
    np.testing.assert_array_equal(output, y)


def test_a_network_of_both_formats_gives_the_same_numbers():
    class Net(nnx.Module):
        def __init__(self, data_format, rngs):
            options = {"data_format": data_format, "rngs": rngs}
            axis = 1 if data_format == "channels_first" else -1
            self.stem = nnx.Sequential(
                jaxconv.nnx.Conv2d(1, 8, 3, padding="same", padding_mode="reflect", **options),
                nnx.BatchNorm(8, axis=axis, rngs=rngs),
                nnx.relu,
                jaxconv.nnx.MaxPool2d(2, data_format=data_format),
                nnx.Dropout(0.5, rngs=rngs),
                jaxconv.nnx.Conv2d(8, 6, (3, 5), padding=(1, 2), groups=2, **options),
                jaxconv.nnx.AdaptiveAvgPool2d(1, data_format=data_format),
            )

        def __call__(self, x):
            return self.stem(x)

    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 13, 11)), jnp.float32)
    first, last = Net("channels_first", nnx.Rngs(0)), Net("channels_last", nnx.Rngs(0))
    for model in (first, last):
        model.train()
    # Dropout draws a mask in the layout that it meets, so it is compared switched off.
    first.stem.layers[4].deterministic = last.stem.layers[4].deterministic = True
    y = first(x)
    assert y.shape == (4, 6, 1, 1)
    np.testing.assert_allclose(jnp.moveaxis(last(jnp.moveaxis(x, 1, -1)), -1, 1), y, rtol=1e-4, atol=1e-5)
    statistics = [np.asarray(m.stem.layers[1].mean[...]) for m in (first, last)]
    assert np.abs(statistics[0]).max() > 0
    np.testing.assert_allclose(*statistics, rtol=1e-5, atol=1e-6)
