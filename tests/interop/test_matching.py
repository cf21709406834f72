"""What fits where, what does not, and the names that `rename` gives."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn
from weights import good, module, unchanged

import jaxconv.linen
from jaxconv.interop import (
    linen_state_dict,
    load_state_dict,
    save_safetensors,
    state_dict,
)


def test_parameters_that_require_gradients_and_arrays_of_jax():
    theirs = nn.Linear(3, 2)
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    assert load_state_dict(ours, dict(theirs.named_parameters())).ok
    assert load_state_dict(ours, {n: jnp.asarray(a) for n, a in state_dict(ours).items()}).ok
    np.testing.assert_array_equal(state_dict(ours)["weight"], theirs.weight.detach())


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


def test_infinities_and_nans_are_values_like_others():
    data = good() | {"2.bias": np.array([np.inf, np.nan])}
    ours = module()
    assert load_state_dict(ours, data).ok
    np.testing.assert_array_equal(ours.layers[2].bias[...], data["2.bias"])


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
