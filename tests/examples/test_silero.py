"""Weights that others trained give their own package's probabilities, on sounds of all kinds."""

import re
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.torch import load_file

from examples.ports import silero
from jaxconv.interop import load_state_dict

FILE = silero.package() / "silero_vad_16k.safetensors"


@pytest.fixture(scope="module")
def model():
    return silero.load()


@pytest.fixture(scope="module")
def theirs():
    """The TorchScript model of the same package, whose weights are in a file of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch no longer recommends TorchScript
        return torch.jit.load(silero.package() / "silero_vad.jit", map_location="cpu")


def probabilities(theirs, sound):
    theirs.reset_states()
    chunks = torch.from_numpy(sound[: len(sound) // 512 * 512].reshape(-1, 1, 512))
    with torch.no_grad():
        return np.array([theirs(chunk, silero.RATE).item() for chunk in chunks])


NAMES = {
    "_model.stft.forward_basis_buffer": "stft_conv.weight",
    **{f"_model.encoder.{i}.reparam_conv": f"conv{i + 1}" for i in range(4)},
    "_model.decoder.rnn": "lstm_cell",
    "_model.decoder.decoder.2": "final_conv",
    "_model_8k": None,
}


def theirs_from(ours):
    """NAMES backwards: a name of the safetensors file as the TorchScript model has it."""
    return next(ours.replace(new, old, 1) for old, new in NAMES.items() if new and ours.startswith(new))


def check(model, theirs):
    sound, plan = silero.scene()
    ours = np.asarray(silero.listen(model, jnp.asarray(sound)))
    np.testing.assert_allclose(ours, probabilities(theirs, sound), rtol=1e-4, atol=5e-5)
    for name, start, end in plan:
        # A quarter of a second to make up its mind.
        heard = ours[int((start + 0.25) * 16_000) // 512 : int(end * 16_000) // 512]
        assert (np.median(heard) > 0.8) if name == "voice" else (np.median(heard) < 0.2), name


def test_the_weights_of_the_torchscript_model_give_its_own_outputs(theirs):
    model = nnx.eval_shape(lambda: silero.SileroVAD(rngs=nnx.Rngs(0)))
    assert load_state_dict(model, theirs.state_dict(), rename=NAMES).ok
    check(model, theirs)


@pytest.mark.slow
def test_the_weights_of_the_safetensors_file_do_too(model, theirs):
    # The file holds another training of the same network than the models beside it, so the package's TorchScript
    # program runs with the file's weights.
    other = {theirs_from(name): tensor for name, tensor in load_file(FILE).items()}
    own = theirs.state_dict()
    copied = {name: tensor.clone() for name, tensor in own.items()}
    assert set(other) < set(own)
    theirs.load_state_dict({**copied, **other})
    try:
        check(model, theirs)
    finally:
        theirs.load_state_dict(copied)


def test_the_program_prints_what_it_hears(monkeypatch, capsys, model):
    monkeypatch.setattr(silero, "load", lambda: model)
    silero.main()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(" 1.54 s  voice   ####") for line in lines)
    assert re.fullmatch(r"silence +\d+% taken for speech", lines[-1])


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="silero-vad is not installed: pip install --no-deps silero-vad"):
        silero.main()
