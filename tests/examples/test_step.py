"""What the training step computes beside `test_train.py`'s network: precisions, other networks, compiler options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.training.dynamic_scale import DynamicScale
from small_run import batch

from examples.trainer import devices, step
from examples.trainer.config import Config, Data, Model, Precision, RunError, Train
from examples.trainer.model import create

pytestmark = pytest.mark.usefixtures("quick_compile")

STILL = Data(shift=0, rotation=0, scale=0)
SMALL = Model(channels=(3, 4, 5))


def built(model=SMALL, **sections):
    return step.build(Config(STILL, model, **{"train": Train(log_every=1), **sections}), steps=10)


def stablehlo(program, platform):
    """The step as it is compiled for a platform that need not be here."""
    images, labels = batch()
    return program.step_fn.trace(program.state, images, labels).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.slow
@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_half_precision_computes_in_half_and_keeps_float32(compute):
    whole, half = built(), built(precision=Precision(compute))
    text = stablehlo(half, "cuda")
    kind = {"bfloat16": "bf16", "float16": "f16"}[compute]
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    # Three forward; the gradients of three weights and, but for the images themselves, of two inputs.
    assert len(convolutions) == 8
    assert all(f"x{kind}>" in line for line in convolutions)
    found, wanted = (program.step_fn(program.state, *batch()) for program in (half, whole))
    for params in (found.params, found.average, found.optimizer):
        assert all(leaf.dtype in (jnp.float32, jnp.int32) for leaf in jax.tree.leaves(params))
    assert found.sums["loss"] != wanted.sums["loss"]
    assert float(found.sums["loss"]) == pytest.approx(float(wanted.sums["loss"]), rel=1e-2)
    # Taken together: rounding moves some of the pools' largest pixels, which the first layer's gradient feels.
    ours, theirs = (np.linalg.norm(list(map(float, state.sums["gradient_norm"].values()))) for state in (found, wanted))
    assert ours == pytest.approx(theirs, rel=2e-2)


@pytest.mark.slow
def test_a_loss_scale_that_is_too_large_costs_a_step_and_is_halved():
    program = built(precision=Precision("float16"))
    state, step_fn = program.state, program.step_fn
    params = jax.tree.map(np.asarray, state.params)
    state = step_fn(state._replace(scale=DynamicScale(scale=jnp.float32(2.0**40))), *batch())
    assert float(state.scale.scale) == 2.0**39
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    assert int(state.step) == 1
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(state.sums))
    state = step_fn(state._replace(scale=DynamicScale(scale=jnp.float32(2.0**8))), *batch())
    assert float(state.scale.scale) == 2.0**8
    assert not np.array_equal(state.params["conv1"]["weight"], params["conv1"]["weight"])


@pytest.mark.slow
@pytest.mark.parametrize(("products", "word"), [("default", "DEFAULT"), ("high", "HIGH"), ("highest", "HIGHEST")])
@pytest.mark.parametrize("model", [SMALL, Model(framework="linen", channels=(3, 4))], ids=["nnx", "linen"])
def test_products_sets_the_precision_of_every_product(model, products, word):
    text = stablehlo(built(model, precision=Precision(products=products)), "cuda")
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line or "stablehlo.dot_general" in line]
    ours = [line for line in lines if "28x28xf32" not in line or "convolution" in line]
    assert len(ours) >= 5
    if products == "default":
        assert not any("HIGH" in line for line in ours)
    else:
        assert all(f"{word}, {word}" in line or f"precision {word}>" in line for line in ours)


def test_linen_and_nnx_are_the_same_network():
    image = jax.random.normal(jax.random.key(1), (2, 28, 28, 1))
    for model in (SMALL, Model(channels=(2, 3), kernel_size=5, dilation=2, padding_mode="circular")):
        (nnx_apply, params), (linen_apply, other) = (
            create(Config(model=Model(**{**vars(model), "framework": framework})), jax.random.key(0))
            for framework in ("nnx", "linen")
        )
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, other)
        np.testing.assert_allclose(linen_apply(params, image), nnx_apply(params, image), rtol=1e-5, atol=1e-6)


def test_separable_blocks_against_torch():
    apply, params = create(Config(model=Model(channels=(3, 4), block="separable")), jax.random.key(0))
    assert params["conv2"]["depthwise"]["weight"].shape == (3, 1, 3, 3)
    assert params["conv2"]["pointwise"]["weight"].shape == (4, 3, 1, 1)
    image = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype(np.float32)
    array = {name: torch.tensor(np.asarray(value)) for name, value in step.named(params).items()}
    conv2d, halve = torch.nn.functional.conv2d, torch.nn.MaxPool2d(2)
    x = torch.tensor(image).permute(0, 3, 1, 2)
    x = halve(torch.relu(conv2d(x, array["conv1.weight"], array["conv1.bias"], padding="same")))
    x = conv2d(x, array["conv2.depthwise.weight"], padding="same", groups=3)
    x = halve(torch.relu(conv2d(x, array["conv2.pointwise.weight"], array["conv2.pointwise.bias"])))
    wanted = x.permute(0, 2, 3, 1).flatten(1) @ array["linear.kernel"] + array["linear.bias"]
    np.testing.assert_allclose(apply(params, image), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [3, *(pytest.param(size, marks=pytest.mark.slow) for size in (2, 4, 5))])
def test_the_autoencoder_against_torch(kernel_size):
    config = Config(STILL, Model(network="autoencoder", channels=(4, 2), kernel_size=kernel_size))
    _, params = create(config, jax.random.key(0))
    images, labels = batch(3)
    array = {name: torch.tensor(np.asarray(value)) for name, value in step.named(params).items()}
    functions = {"conv": torch.nn.functional.conv2d, "transposed": torch.nn.functional.conv_transpose2d}
    x = torch.tensor((images[:, None] / 255 - 0.1307) / 0.3081, dtype=torch.float32)
    for number, name in enumerate(("conv1", "conv2", "transposed1", "transposed2")):
        options = {} if name.startswith("conv") else {"output_padding": kernel_size % 2}
        x = functions[name[:-1]](
            x, array[f"{name}.weight"], array[f"{name}.bias"], stride=2, padding=(kernel_size - 1) // 2, **options
        )
        x = torch.relu(x) if number < 3 else x
    assert x.shape == (3, 1, 28, 28)
    white = torch.tensor(images[:, None] / 255, dtype=torch.float32)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(x, white)
    loss, right = step.build(config, steps=2).test_fn(params, images, labels)
    assert float(loss) / 3 == pytest.approx(wanted.item(), rel=1e-5)
    assert float(right) / 3 == pytest.approx(((x > 0) == (white > 0.5)).float().mean().item(), rel=1e-5)


def test_networks_that_are_not_written():
    for model, message in (
        (Model(framework="linen", block="separable"), "model.framework is 'linen': that is written for the plain "),
        (Model(network="autoencoder"), "model.network is 'autoencoder': model.channels must be two, and block, "),
        (Model(network="autoencoder", channels=(4, 2), dilation=2), "model.network is 'autoencoder': "),
    ):
        with pytest.raises(RunError) as caught:
            create(Config(model=model), jax.random.key(0))
        assert str(caught.value).startswith(message)


def test_compiler_options_are_for_cpus_and_for_an_xla_that_knows_them(monkeypatch):
    assert devices.compiler_options("plain", "cpu") == {}
    assert devices.compiler_options("tuned", "gpu") == {}
    monkeypatch.setattr(devices, "TUNED_FOR_CPU", {"xla_cpu_enable_fast_math": False})
    assert devices.compiler_options("tuned", "cpu") == {"xla_cpu_enable_fast_math": False}
    monkeypatch.setattr(devices, "TUNED_FOR_CPU", {"xla_of_another_time": "1"})
    assert devices.compiler_options("tuned", "cpu") == {}
