"""PyTorch's weights in and out, with PyTorch as the judge of names, layouts and outputs."""

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import linen, nnx
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as torch_load_file
from torch import nn
from torch_side import to_numpy

import jaxconv.linen
from jaxconv.interop import (
    linen_from_state_dict,
    linen_state_dict,
    load_state_dict,
    save_safetensors,
    state_dict,
)
from jaxconv.nnx import Conv1d, Conv2d, ConvTranspose2d, Flatten, LazyConv2d, MaxPool2d

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture
def rngs():
    return nnx.Rngs(0)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def randomised(module):
    """The module with statistics that are not those of a fresh one."""
    for buffer in module.buffers():
        buffer.copy_(torch.rand_like(buffer) + 0.5 if buffer.is_floating_point() else torch.full_like(buffer, 3))
    return module.eval()


def there_and_back(theirs, ours):
    """PyTorch → ours → PyTorch: the same names in PyTorch's order of values, each bit the same."""
    state = theirs.state_dict()
    report = load_state_dict(ours, state)
    assert report.ok
    assert set(report.loaded) == set(state)
    back = state_dict(ours)
    assert list(back) == list(state) or set(back) == set(state)
    for name, tensor in state.items():
        assert back[name].dtype == to_numpy(tensor).dtype, name
        assert back[name].tobytes() == to_numpy(tensor).tobytes(), name
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    theirs.load_state_dict(other)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in back.items()}, strict=True)
    return back


def close(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


# --- layers -------------------------------------------------------------------------------------------------

MOVED = (0, 2, 3, 1)  # channels first → channels last

LAYERS = {
    "conv": (nn.Conv2d(4, 6, (3, 2), groups=2), lambda r: Conv2d(4, 6, (3, 2), groups=2, rngs=r), (2, 4, 7, 7), None),
    "conv without bias": (
        nn.Conv1d(4, 6, 3, bias=False),
        lambda r: Conv1d(4, 6, 3, bias=False, rngs=r),
        (2, 4, 9),
        None,
    ),
    "transposed": (
        nn.ConvTranspose2d(4, 6, 3, 2, groups=2),
        lambda r: ConvTranspose2d(4, 6, 3, 2, groups=2, rngs=r),
        (2, 4, 5, 5),
        None,
    ),
    "linear": (nn.Linear(5, 3), lambda r: nnx.Linear(5, 3, rngs=r), (2, 5), None),
    "linear without bias": (
        nn.Linear(5, 3, bias=False),
        lambda r: nnx.Linear(5, 3, use_bias=False, rngs=r),
        (2, 5),
        None,
    ),
    "flax conv": (
        nn.Conv2d(4, 6, (3, 2), groups=2),
        lambda r: nnx.Conv(4, 6, (3, 2), padding="VALID", feature_group_count=2, rngs=r),
        (2, 4, 7, 7),
        MOVED,
    ),
    "batch norm": (randomised(nn.BatchNorm2d(4)), lambda r: nnx.BatchNorm(4, axis=1, rngs=r), (2, 4, 3, 3), None),
    "batch norm, not affine": (
        randomised(nn.BatchNorm2d(4, affine=False)),
        lambda r: nnx.BatchNorm(4, axis=1, use_bias=False, use_scale=False, rngs=r),
        (2, 4, 3, 3),
        None,
    ),
    "layer norm": (nn.LayerNorm(5), lambda r: nnx.LayerNorm(5, epsilon=1e-5, rngs=r), (2, 3, 5), None),
    "rms norm": (nn.RMSNorm(5, eps=1e-6), lambda r: nnx.RMSNorm(5, rngs=r), (2, 3, 5), None),
    "group norm": (nn.GroupNorm(2, 4), lambda r: nnx.GroupNorm(4, 2, epsilon=1e-5, rngs=r), (2, 4, 3, 3), MOVED),
    "prelu": (nn.PReLU(), lambda r: nnx.PReLU(), (2, 5), None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_output_of_pytorchs_and_its_weights_return_bit_for_bit(name, rngs):
    theirs, make, shape, axes = LAYERS[name]
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours = make(rngs)
    there_and_back(theirs, ours)
    ours.eval()
    x = normal(*shape)
    given, expected = x, theirs.eval()(torch.from_numpy(x))
    if axes:
        given, expected = x.transpose(axes), expected.permute(axes)
    close(jax.jit(ours)(given), expected)


def test_an_embedding_and_its_use_as_a_linear_layer(rngs):
    theirs, ours = nn.Embedding(7, 4), nnx.Embed(7, 4, rngs=rngs)
    there_and_back(theirs, ours)
    close(ours(jnp.array([[1, 6]])), theirs(torch.tensor([[1, 6]])))


def test_linear_general_with_several_axes_flattens_them(rngs):
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(6, 20), nn.Unflatten(1, (4, 5)))
    ours = nnx.LinearGeneral((2, 3), (4, 5), axis=(1, 2), rngs=rngs)
    load_state_dict(ours, theirs.state_dict(), rename={"1": ""})
    x = normal(2, 2, 3)
    close(ours(x), theirs(torch.from_numpy(x)))
    assert {n: a.shape for n, a in state_dict(ours).items()} == {"weight": (20, 6), "bias": (20,)}
    with pytest.raises(ValueError, match="batch_axis, for which PyTorch has no layer"):
        state_dict(nnx.LinearGeneral(3, 4, batch_axis={0: 2}, rngs=rngs))


def test_training_moves_the_running_mean_as_pytorch_does_and_the_variance_by_the_biased_one(rngs):
    theirs, ours = nn.BatchNorm1d(3), nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
    load_state_dict(ours, theirs.state_dict())
    x = normal(5, 3)
    close(ours(x), theirs(torch.from_numpy(x)))
    close(ours.mean[...], theirs.running_mean)
    # PyTorch adds the variance with n - 1 below, Flax that with n.
    close(0.9 + (ours.var[...] - 0.9) * 5 / 4, theirs.running_var)


CELLS = {
    "LSTMCell": (nn.LSTMCell, nnx.LSTMCell),
    "OptimizedLSTMCell": (nn.LSTMCell, nnx.OptimizedLSTMCell),
    "GRUCell": (nn.GRUCell, nnx.GRUCell),
    "SimpleCell": (nn.RNNCell, nnx.SimpleCell),
}


def step(theirs, ours, x):
    """One step from the state of ones: the hidden state of both."""
    hidden = torch.ones(len(x), 4)
    if isinstance(theirs, nn.LSTMCell):
        return ours((jnp.ones((len(x), 4)),) * 2, x)[1], theirs(torch.from_numpy(x), (hidden, hidden))[0]
    return ours(jnp.ones((len(x), 4)), x)[1], theirs(torch.from_numpy(x), hidden)


@pytest.mark.parametrize("name", CELLS)
def test_the_gates_of_a_cell(name, rngs):
    make_theirs, make_ours = CELLS[name]
    theirs, ours = make_theirs(3, 4), make_ours(3, 4, rngs=rngs)
    state = theirs.state_dict()
    if name == "GRUCell":
        state["bias_hh"][8:] = 0  # what a bias inside the reset gate would add
    load_state_dict(ours, state)
    close(*step(theirs, ours, normal(2, 3)))
    # What comes out is the same cell to PyTorch, by other biases of the same sum.
    back = state_dict(ours)
    np.testing.assert_array_equal(back["weight_ih"], state["weight_ih"])
    np.testing.assert_array_equal(back["weight_hh"], state["weight_hh"])
    np.testing.assert_array_equal(back["bias_ih"] + back["bias_hh"], state["bias_ih"] + state["bias_hh"])
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in back.items()})
    close(*step(theirs, ours, normal(2, 3)))


@pytest.mark.parametrize(("name", "gates"), [("OptimizedLSTMCell", 4), ("GRUCell", 3), ("SimpleCell", 1)])
def test_a_cell_with_two_biases_keeps_both(name, gates, rngs):
    make_theirs, make_ours = CELLS[name]
    theirs, ours = make_theirs(3, 4), make_ours(3, 4, rngs=rngs)
    ours.dense_i = nnx.Linear(3, gates * 4, rngs=rngs)
    ours.dense_h = nnx.Linear(4, gates * 4, rngs=rngs)
    there_and_back(theirs, ours)
    close(*step(theirs, ours, normal(2, 3)))


def test_a_gru_cell_refuses_the_bias_it_cannot_hold_and_says_how_it_could(rngs):
    theirs, ours = nn.GRUCell(3, 4), nnx.GRUCell(3, 4, rngs=rngs)
    before = state_dict(ours)
    with pytest.raises(ValueError, match=r"bias_ih, bias_hh: gate 3 .*cell\.dense_h = nnx\.Linear\(4, 12, rngs=rngs\)"):
        load_state_dict(ours, theirs.state_dict())
    assert all((before[n] == a).all() for n, a in state_dict(ours).items())
    ours.dense_h = nnx.Linear(4, 12, rngs=rngs)
    load_state_dict(ours, theirs.state_dict())
    close(*step(theirs, ours, normal(2, 3)))


def test_an_rnn_of_a_cell_is_a_layer_of_pytorch(rngs):
    theirs, ours = nn.LSTM(3, 4, batch_first=True), nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=rngs), rngs=rngs)
    load_state_dict(ours, theirs.state_dict())
    x = normal(2, 5, 3)
    close(ours(x), theirs(torch.from_numpy(x))[0])
    assert set(state_dict(ours)) == set(theirs.state_dict())


# --- whole modules ------------------------------------------------------------------------------------------


class TorchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(11)])
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2)})
        self.scale = nn.Parameter(torch.randn(4))
        self.register_buffer("mask", torch.arange(4))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Sequential(Conv2d(3, 4, 3, rngs=rngs), nnx.BatchNorm(4, axis=1, rngs=rngs), nnx.relu)
        self.blocks = nnx.List([nnx.Sequential(Conv2d(4, 4, 1, rngs=rngs), nnx.relu) for _ in range(11)])
        self.heads = nnx.Dict(a=nnx.Linear(4, 2, rngs=rngs))
        self.scale = nnx.Param(jnp.ones(4))
        self.mask = nnx.Variable(jnp.zeros(4, jnp.int32))
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.above = nnx.data([self])


def test_names_are_those_of_pytorch(rngs):
    theirs = randomised(TorchNet())
    theirs.mask = theirs.mask.int()
    back = there_and_back(theirs, Net(rngs))
    assert "blocks.10.0.weight" in back
    assert back["stem.1.num_batches_tracked"] == 3


def test_a_flatten_of_a_channels_last_image(rngs):
    theirs = nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 2 * 4, 5))
    last = {"data_format": "channels_last"}
    ours = nnx.Sequential(
        Conv2d(2, 3, 3, rngs=rngs, **last), MaxPool2d(2, **last), Flatten(), nnx.Linear(24, 5, rngs=rngs)
    )
    x, image = normal(2, 2, 6, 10), {"3": (3, 2, 4)}
    load_state_dict(ours, theirs.state_dict(), flattened=image)
    close(ours(x.transpose(MOVED)), theirs(torch.from_numpy(x)))
    for name, array in state_dict(ours, flattened=image).items():
        np.testing.assert_array_equal(array, theirs.state_dict()[name])
    with pytest.raises(ValueError, match=r"flattened names 2, but the Linear layers are: 3"):
        state_dict(ours, flattened={"2": (3, 2, 4)})
    with pytest.raises(ValueError, match=r"product of 24, the inputs of the layer; got \(3, 2, 5\)"):
        load_state_dict(ours, theirs.state_dict(), flattened={"3": (3, 2, 5)})


class Tied(nnx.Module):
    def __init__(self, rngs):
        self.first = Conv2d(2, 2, 1, rngs=rngs)
        self.second = self.first
        self.third = Conv2d(2, 2, 1, rngs=rngs)
        self.third.weight = self.first.weight


def test_shared_weights(rngs):
    ours = Tied(rngs)
    whole = state_dict(ours)
    assert set(whole) == {f"{n}.{p}" for n in ("first", "second", "third") for p in ("weight", "bias")}
    new = {name: np.full_like(array, 7) for name, array in whole.items()}
    assert load_state_dict(ours, new).ok
    assert ours.third.weight is ours.first.weight
    # One name is enough for what is one array here, as in files that hold no array twice.
    few = {name: array + 1 for name, array in new.items() if name in ("second.weight", "second.bias", "third.bias")}
    assert load_state_dict(ours, few).ok
    assert float(ours.third.weight[...].max()) == 8
    differing = dict(new, **{"third.weight": new["third.weight"] + 1})
    with pytest.raises(ValueError, match=r"third.weight: differs from first.weight, which is the same array"):
        load_state_dict(ours, differing)
    assert float(ours.third.weight[...].max()) == 8
    assert load_state_dict(ours, {"first.bias": new["first.bias"]}, strict=False).missing == (
        "first.weight",
        "second.weight",
        "third.weight",
        "third.bias",
    )


# --- where weights come from --------------------------------------------------------------------------------


def module(rngs=None):
    rngs = rngs or nnx.Rngs(0)
    return nnx.Sequential(Conv2d(2, 3, 3, rngs=rngs), nnx.relu, nnx.Linear(3, 2, rngs=rngs))


def good():
    return {name: np.full_like(array, 0.5) for name, array in state_dict(module()).items()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_checkpoint_of_another_precision(dtype, tmp_path):
    tensors = {name: torch.from_numpy(array + 1e-3).to(dtype) for name, array in good().items()}
    path = tmp_path / "half.safetensors"
    from safetensors.torch import save_file as torch_save_file

    torch_save_file(tensors, path)
    for source in (tensors, path):
        ours = module()
        assert load_state_dict(ours, source).ok
        for name, array in state_dict(ours).items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, tensors[name].float().numpy())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_module_in_half_precision_goes_through_both_kinds_of_file(dtype, tmp_path):
    ours = Conv1d(2, 3, 3, param_dtype=dtype, rngs=nnx.Rngs(0))
    whole = state_dict(ours)
    save_safetensors(ours, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **whole)
    assert torch_load_file(tmp_path / "a.safetensors")["weight"].dtype in (torch.bfloat16, torch.float16)
    for name in ("a.safetensors", "a.npz"):
        other = Conv1d(2, 3, 3, param_dtype=dtype, rngs=nnx.Rngs(1))
        assert load_state_dict(other, str(tmp_path / name)).ok
        assert other.weight.dtype == dtype
        np.testing.assert_array_equal(other.weight[...], ours.weight[...])


def test_parameters_that_require_gradients_and_arrays_of_jax():
    theirs = nn.Linear(3, 2)
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    assert load_state_dict(ours, dict(theirs.named_parameters())).ok
    assert load_state_dict(ours, {n: jnp.asarray(a) for n, a in state_dict(ours).items()}).ok
    np.testing.assert_array_equal(state_dict(ours)["weight"], theirs.weight.detach())


def test_nothing_is_shared_with_what_was_given_or_handed_out():
    tensors = {name: torch.from_numpy(array) for name, array in good().items()}
    ours = module()
    load_state_dict(ours, tensors)
    for array in (*tensors.values(), *state_dict(ours).values()):
        array[:] = 9
    assert all((array == 0.5).all() for array in state_dict(ours).values())


def test_a_module_of_shapes_alone_is_filled():
    ours = nnx.eval_shape(module)
    with pytest.raises(ValueError, match="shapes and no values: load a state dict"):
        state_dict(ours)
    assert load_state_dict(ours, good()).ok
    assert float(ours.layers[0].weight[...].sum()) == 27.0


def test_float64_keeps_every_digit_of_the_running_statistics():
    with jax.enable_x64(True):
        theirs = randomised(nn.BatchNorm1d(3).double())
        ours = nnx.BatchNorm(3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        there_and_back(theirs, ours)


def test_a_loaded_array_lies_where_the_old_one_lay():
    ours = module()
    device = jax.devices()[3]
    ours.layers[0].weight.set_value(jax.device_put(ours.layers[0].weight[...], device))
    load_state_dict(ours, good())
    assert ours.layers[0].weight[...].devices() == {device}


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_the_two_lines_that_convert_a_pickle_convert_it(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    tied = torch.ones(3)
    torch.save({"a": tied, "b": tied, "c": torch.randn(3, 2).T}, path)
    with pytest.raises(ValueError, match="is a pickle, which can run any program") as refusal:
        load_state_dict(module(), path)
    lines = [line.strip() for line in str(refusal.value).splitlines()[1:]]
    assert len(lines) == 2
    exec("\n".join(lines), {})
    assert set(load_file(tmp_path / "weights.safetensors")) == {"a", "b", "c"}


def test_rename_by_function_and_by_mapping():
    data = {f"module.{name}": array for name, array in good().items()} | {"module.extra": np.ones(1)}
    by_mapping = {"module": "", "module.extra": None}
    for rename in (by_mapping, lambda n: None if "extra" in n else n.removeprefix("module.")):
        assert load_state_dict(module(), data, rename=rename).ok
    with pytest.raises(ValueError, match=r"rename gives 'x' for both 'module.0.weight' and 'module.0.bias'"):
        load_state_dict(module(), data, rename=lambda name: "x")
    with pytest.raises(TypeError, match=r"rename must give a string or None, got 3 for 'module.0.weight'"):
        load_state_dict(module(), data, rename=lambda name: 3)
    with pytest.raises(TypeError, match="rename must be a function or a mapping of names, got int"):
        load_state_dict(module(), data, rename=3)


def test_without_pytorch_and_without_safetensors(tmp_path):
    program = f"""
import sys
from pathlib import Path
sys.modules["torch"] = sys.modules["safetensors"] = None
import numpy as np
from flax import nnx
from jaxconv.interop import load_state_dict, state_dict
layer = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
np.savez({str(tmp_path / "a.npz")!r}, **state_dict(layer))
print(load_state_dict(layer, {str(tmp_path / "a.npz")!r}))
open({str(tmp_path / "a.safetensors")!r}, "w").write("x")
try:
    load_state_dict(layer, {str(tmp_path / "a.safetensors")!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "loaded 2 arrays",
        'a .safetensors file needs the package safetensors, which is not installed: pip install "jaxconv[interop]"',
    ]


# --- what does not fit --------------------------------------------------------------------------------------


def unchanged(source, error, match, **arguments):
    """The error is raised, and the module is as it was."""
    ours = module()
    before = state_dict(ours)
    with pytest.raises(error, match=match):
        load_state_dict(ours, source, **arguments)
    after = state_dict(ours)
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())


def test_all_that_does_not_fit_is_listed_at_once():
    wrong = good()
    del wrong["0.bias"]
    wrong |= {"extra": np.ones(1), "more": np.ones(1), "2.weight": np.ones((3, 2)), "2.bias": np.ones(2, int)}
    text = """\
the state dict does not fit Sequential, and nothing was loaded
missing (1):
    0.bias
unexpected (2):
    extra
    more
mismatched (2):
    2.weight: shape (3, 2) in the state dict, (2, 3) in the module
    2.bias: int64 in the state dict, float32 in the module; cast it if that is intended
rename= maps its names to those of the module; strict=False loads what fits"""
    unchanged(wrong, ValueError, f"^{re.escape(text)}$")

    ours = module()
    report = load_state_dict(ours, wrong, strict=False)
    assert not report.ok
    assert report.loaded == ("0.weight",)
    assert (report.missing, report.unexpected) == (("0.bias",), ("extra", "more"))
    assert [line.split(":")[0] for line in report.mismatched] == ["2.weight", "2.bias"]
    assert str(report).startswith("loaded 1 arrays\nmissing (1):\n    0.bias\n")
    assert (state_dict(ours)["0.weight"] == 0.5).all()
    assert not (state_dict(ours)["2.weight"] == 1).any()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([0.5, 0.5], "not an array but list"),
        (None, "not an array but NoneType"),
        ("text", "not an array but str"),
        (np.ones(2, bool), "bool in the state dict, float32"),
        (np.ones(2, complex), "complex128 in the state dict, float32"),
        (np.array(["a", "b"]), "<U1 in the state dict, float32"),
        (np.array([{}, {}]), "object in the state dict, float32"),
        (np.full(2, 1e300), "float64 in the state dict, with values too large for float32"),
        (torch.ones(2).to_sparse(), "2.bias: .*[Ss]parse"),
        (torch.ones(2, device="meta"), "2.bias: .*meta"),
        (np.ones(()), r"shape \(\) in the state dict, \(2,\) in the module"),
    ],
)
def test_a_value_that_is_no_such_array(value, why):
    unchanged(good() | {"2.bias": value}, ValueError, rf"mismatched \(1\):\n    2.bias: .*{why}|{why}")


def test_another_checkpoint_needs_no_other_compilation():
    ours, traces = nnx.BatchNorm(2, use_running_average=True, rngs=nnx.Rngs(0)), []

    @nnx.jit
    def run(model, x):
        traces.append(1)
        return model(x)

    data = state_dict(ours)
    for count in (3, 4):
        load_state_dict(ours, data | {"num_batches_tracked": np.array(count)})
        run(ours, jnp.ones((1, 2)))
        assert state_dict(ours)["num_batches_tracked"] == count
    assert len(traces) == 1


def test_infinities_and_nans_are_values_like_others():
    data = good() | {"2.bias": np.array([np.inf, np.nan])}
    ours = module()
    assert load_state_dict(ours, data).ok
    np.testing.assert_array_equal(ours.layers[2].bias[...], data["2.bias"])


def safetensors_bytes(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(start, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def whole_file(tmp_path):
    save_file(good(), tmp_path / "whole.safetensors")
    return (tmp_path / "whole.safetensors").read_bytes()


HOSTILE = {
    "header longer than the file": safetensors_bytes({}, length=1 << 20),
    "header of 2**63 bytes": safetensors_bytes({}, length=1 << 63),
    "header longer than any": safetensors_bytes({}, length=2**64 - 1),
    "seven bytes": b"\x00" * 7,
    "no JSON": safetensors_bytes(b"{not json"),
    "no UTF-8": safetensors_bytes(b"\xff\xfe\xfd\xfc"),
    "a list": safetensors_bytes([1, 2]),
    "offsets past the end": safetensors_bytes({"2.bias": tensor(0, 8)}, b"\x00" * 4),
    "offsets overlap": safetensors_bytes({"2.bias": tensor(0, 8), "0.bias": tensor(4, 12)}, b"\x00" * 12),
    "offsets reversed": safetensors_bytes({"2.bias": tensor(8, 0)}, b"\x00" * 8),
    "a hole": safetensors_bytes({"2.bias": tensor(0, 8), "0.bias": tensor(12, 20)}, b"\x00" * 20),
    "shape and offsets disagree": safetensors_bytes({"2.bias": tensor(0, 8, (3,))}, b"\x00" * 8),
    "shape overflows": safetensors_bytes({"2.bias": tensor(0, 8, (1 << 62, 1 << 62))}, b"\x00" * 8),
    "negative size": safetensors_bytes({"2.bias": tensor(0, 8, (-2,))}, b"\x00" * 8),
    "unknown dtype": safetensors_bytes({"2.bias": tensor(0, 8, (2,), "X32")}, b"\x00" * 8),
    "bytes left over": safetensors_bytes({"2.bias": tensor(0, 8)}, b"\x00" * 99),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_safetensors_file(name, tmp_path):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    unchanged(path, ValueError, rf"{re.escape(str(path))} is not a valid safetensors file \(.+\); it may be cut short")


def test_a_truncated_file_at_every_length(tmp_path):
    whole = whole_file(tmp_path)
    path = tmp_path / "cut.safetensors"
    ours = module()
    before = state_dict(ours)
    for length in range(1, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a valid safetensors file"):
            load_state_dict(ours, path)
    assert all((state_dict(ours)[n] == a).all() for n, a in before.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_an_empty_file_a_directory_and_none_at_all(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    unchanged(path, FileNotFoundError, "there is no file .*a")
    path.write_bytes(b"")
    unchanged(path, ValueError, f"{re.escape(str(path))} is empty: it holds 0 bytes")
    path.unlink()
    path.mkdir()
    unchanged(str(path), ValueError, f"{re.escape(str(path))} is a directory; give the path of a file in it")


def test_an_npz_with_a_pickle_inside_a_broken_one_and_another_ending(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **{"2.bias": np.array([{}, {}])})
    unchanged(path, ValueError, r"not a valid \.npz file of plain arrays \(.*allow_pickle")
    np.savez(path, **good())
    path.write_bytes(path.read_bytes()[:-40])
    unchanged(path, ValueError, r"not a valid \.npz file of plain arrays")
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    unchanged(path, ValueError, r"not a valid \.npz file of plain arrays")
    unchanged(tmp_path / "a.h5", ValueError, r"must be the path of a \.safetensors or \.npz file, got '.*a\.h5'")


def test_arguments_of_a_wrong_kind(tmp_path):
    unchanged(3, TypeError, "state_dict must be a mapping from names to arrays, or the path .* got int")
    unchanged({3: np.ones(2)}, TypeError, "state_dict must have strings as keys, got 3")
    with pytest.raises(
        TypeError, match=r"module must be an nnx.Module, got Conv2d \(for Linen there is linen_state_dict"
    ):
        state_dict(jaxconv.linen.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match=r"module must be an nnx.Module, got dict$"):
        load_state_dict({}, {})
    with pytest.raises(ValueError, match=r"path must end in \.safetensors, got 'a\.bin'"):
        save_safetensors(module(), "a.bin")
    with pytest.raises(TypeError, match=r"variables must be a mapping of collections, such as \{'params'.*got int"):
        linen_state_dict(3)
    with pytest.raises(TypeError, match=r"must hold 'params' or 'batch_stats', got \['kernel'\]"):
        linen_state_dict({"kernel": {}})


def test_layers_that_cannot_be(rngs):
    with pytest.raises(ValueError, match="0 is a LazyConv2d that has not found its in_channels; call the model once"):
        load_state_dict(nnx.Sequential(LazyConv2d(3, 3, rngs=rngs)), {})
    with pytest.raises(ValueError, match=r"Flax's ConvTranspose, whose kernel is not converted; use jaxconv\.nnx"):
        state_dict(nnx.ConvTranspose(2, 2, (3,), rngs=rngs))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_safetensors(module(), path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_safetensors(module(nnx.Rngs(1)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert json.loads(before[8 : 8 + struct.unpack("<Q", before[:8])[0]])["__metadata__"] == {"format": "pt"}


# --- Linen --------------------------------------------------------------------------------------------------


class LinenNet(linen.Module):
    def setup(self):
        self.stem = linen.Sequential([jaxconv.linen.Conv2d(3, 4, 3), linen.BatchNorm(True, axis=1), linen.relu])
        self.blocks = [jaxconv.linen.Conv2d(4, 4, 1) for _ in range(2)]
        self.head = linen.Dense(5)

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.reshape(len(x), -1))


class TorchLinenNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(2)])
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.flatten(1))


def test_a_linen_module_gives_pytorchs_output_and_its_weights_return():
    theirs, ours, x = randomised(TorchLinenNet()), LinenNet(), normal(2, 3, 4, 4)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), x)
    variables = linen_from_state_dict(shapes, theirs.state_dict())
    close(ours.apply(variables, x), theirs(torch.from_numpy(x)))
    back = linen_state_dict(variables)
    assert set(back) == set(theirs.state_dict())
    for name, array in back.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(array, theirs.state_dict()[name])
    renamed = linen_state_dict(variables, rename={"head": "fc"})
    assert "fc.weight" in renamed
    assert linen_state_dict(linen_from_state_dict(variables, renamed, rename={"fc": "head"})).keys() == back.keys()


def test_a_state_dict_that_does_not_fit_a_linen_module():
    variables = {"params": {"Conv2d_0": {"weight": jnp.ones((2, 2, 1, 1))}}, "cache": {"x": jnp.ones(1)}}
    with pytest.raises(ValueError, match=r"(?s)missing \(1\):\n    Conv2d_0.weight\nunexpected \(1\):\n    other"):
        linen_from_state_dict(variables, {"other": np.ones(1)})
    assert linen_from_state_dict(variables, {"other": np.ones(1)}, strict=False) == variables
    assert float(variables["params"]["Conv2d_0"]["weight"].sum()) == 4.0


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (nn.LSTMCell(3, 4), linen.LSTMCell(4)),
        (nn.LSTMCell(3, 4), linen.OptimizedLSTMCell(4)),
        (nn.GRUCell(3, 4), linen.GRUCell(4)),
    ],
    ids=lambda m: type(m).__name__,
)
def test_the_cells_of_linen(theirs, ours):
    x = normal(2, 3)
    ones = (jnp.ones((2, 4)),) * 2 if isinstance(theirs, nn.LSTMCell) else jnp.ones((2, 4))
    variables = linen_from_state_dict(jax.eval_shape(ours.init, jax.random.key(0), ones, x), theirs.state_dict())
    close(*step(theirs, lambda carry, x: ours.apply(variables, carry, x), x))
    back = linen_state_dict(variables)
    np.testing.assert_array_equal(back["weight_hh"], theirs.weight_hh.detach())


def test_other_layers_of_linen():
    cases = [
        (nn.Embedding(7, 4), linen.Embed(7, 4), jnp.array([1, 2]), torch.tensor([1, 2])),
        (nn.LayerNorm(5), linen.LayerNorm(epsilon=1e-5), normal(2, 5), torch.from_numpy(normal(2, 5))),
        (nn.PReLU(), linen.PReLU(), normal(2, 5), torch.from_numpy(normal(2, 5))),
        (
            nn.Conv1d(5, 4, 3),
            linen.Conv(4, (3,), padding="VALID"),
            normal(2, 6, 5),
            torch.from_numpy(normal(2, 6, 5)).mT,
        ),
    ]
    for theirs, ours, x, their_x in cases:
        variables = linen_from_state_dict(jax.eval_shape(ours.init, jax.random.key(0), x), theirs.state_dict())
        expected = theirs(their_x)
        close(ours.apply(variables, x), expected.mT if isinstance(theirs, nn.Conv1d) else expected)


def test_partitioned_and_frozen_variables_stay_so():
    from flax.core import FrozenDict, freeze

    ours = linen.Dense(2, kernel_init=linen.with_partitioning(linen.initializers.ones, ("a", None)))
    variables = freeze(ours.init(jax.random.key(0), jnp.ones((1, 3))))
    new = linen_from_state_dict(variables, {"weight": np.zeros((2, 3)), "bias": np.ones(2, ml_dtypes.bfloat16)})
    assert isinstance(new, FrozenDict)
    assert isinstance(new["params"]["kernel"], linen.Partitioned)
    assert linen_state_dict(new)["weight"].shape == (2, 3)
    assert float(linen_state_dict(new)["weight"].sum()) == 0


# --- the page about it --------------------------------------------------------------------------------------


def test_the_migration_page_runs(capsys):
    page = (Path(__file__).parents[2] / "docs/migration.md").read_text()
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), {})
    assert capsys.readouterr().out == "loaded 9 arrays\n"
