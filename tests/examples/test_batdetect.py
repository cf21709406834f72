"""Weights that others trained, of a network with batch norm, give their own package's outputs."""

import importlib
import re
import sys
import types
from typing import NamedTuple

import numpy as np
import pytest
import torch
from flax import nnx

from examples.ports import batdetect
from jaxconv.interop import state_dict

FILE = batdetect.package() / "models" / "Net2DFast_UK_same.pth.tar"


class ModelOutput(NamedTuple):
    """`batdetect2.types.ModelOutput`. That module imports libraries for sound files, which nothing here needs."""

    pred_det: torch.Tensor
    pred_size: torch.Tensor
    pred_class: torch.Tensor
    pred_class_un_norm: torch.Tensor
    features: torch.Tensor


@pytest.fixture(scope="module")
def loaded():
    return batdetect.load()


@pytest.fixture(scope="module")
def theirs():
    """The package's own network with the package's own weights."""
    stub = types.ModuleType("batdetect2.types")
    stub.ModelOutput = ModelOutput
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "batdetect2.types", stub)
        network = importlib.import_module("batdetect2.detector.models").Net2DFast
    saved = torch.load(FILE, map_location="cpu", weights_only=True)
    params = saved["params"]
    module = network(params["num_filters"], len(params["class_names"]), params["emb_dim"], params["ip_height"])
    module.load_state_dict(saved["state_dict"], strict=True)
    return module.eval()


def test_the_package_s_weights_give_the_package_s_outputs(loaded, theirs):
    model, names = loaded
    image = batdetect.spectrogram(batdetect.scene())
    halved = torch.nn.functional.interpolate(
        torch.from_numpy(image), size=(128, image.shape[3] // 2), mode="bilinear", align_corners=False
    )
    noise = torch.from_numpy(np.random.default_rng(0).uniform(0, 3, size=halved.shape).astype(np.float32))
    images = torch.cat([halved, noise])
    with torch.no_grad():
        expected = theirs(images)
    classes, sizes = nnx.jit(model)(images.numpy())
    np.testing.assert_allclose(classes, expected.pred_class.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sizes, expected.pred_size.numpy(), rtol=1e-4, atol=1e-5)

    # The program resizes with ours, and hears what was called.
    bats = np.asarray(batdetect.detect(model, image))
    np.testing.assert_allclose(bats, expected.pred_class[0].amax(1).numpy(), rtol=1e-4, atol=1e-6)
    found = bats[: batdetect.SPECIES].max(1)
    assert names[found.argmax()] == "Pipistrellus pipistrellus"
    assert found.max() > 0.7


def test_what_comes_out_is_what_the_package_put_in(loaded, theirs):
    out = state_dict(loaded[0])
    own = theirs.state_dict()
    assert out.keys() == own.keys()
    for name, tensor in own.items():
        np.testing.assert_array_equal(out[name], tensor.numpy(), err_msg=name)
        assert out[name].dtype == tensor.numpy().dtype, name


def test_the_program_prints_what_it_hears(monkeypatch, capsys, loaded):
    monkeypatch.setattr(batdetect, "load", lambda: loaded)
    batdetect.main()
    lines = capsys.readouterr().out.splitlines()
    assert all(re.fullmatch(r"0\.\d{3} s  Pipistrellus pipistrellus  \d+%", line) for line in lines)
    np.testing.assert_allclose([float(line[:5]) for line in lines], [0.1, 0.2, 0.3], atol=0.003)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"batdetect2 is not installed: pip install --no-deps batdetect2==1\.3\.1"):
        batdetect.main()
