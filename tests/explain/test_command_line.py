"""`python -m jaxconv explain`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from explained import EXAMPLE, EXAMPLE_SHAPE
from flax import nnx

import jaxconv
from jaxconv.__main__ import main
from jaxconv._explain.model.importing import model_of_name

pytestmark = pytest.mark.usefixtures("quick_compile")

MODULE = r"""
from flax import linen as nn
from flax import nnx
import jax.numpy as jnp
from jaxconv.nnx import Conv2d, Sequential
import jaxconv.linen

class Model(nnx.Module):
    def __init__(self, width: int = 4, *, rngs: nnx.Rngs):
        self.conv = Conv2d(3, width, 3, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.conv(x))

class Two(nnx.Module):
    def __init__(self):
        self.embed = nnx.Embed(7, 3, rngs=nnx.Rngs(0))

    def __call__(self, tokens, x):
        return self.embed(tokens) + x

class Needs(nnx.Module):
    def __init__(self, width, rngs):
        pass

class Computes(nnx.Module):
    def __init__(self, rngs):
        self.rates = [float(r) for r in jnp.linspace(0, 0.1, 3)]
        self.linear = nnx.Linear(3, 4, rngs=rngs)

    def __call__(self, x):
        return self.linear(x) * self.rates[1]

class Linen(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x):
        return jaxconv.linen.Conv2d(3, self.width, 3)(x)

def make(rngs):
    return Model(5, rngs=rngs)

def make_linen():
    return Linen(5)

def fails():
    raise RuntimeError("no weights\nhere")

class Inner:
    instance = Sequential(nnx.relu)

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of models, in a package, by the name `zoo.models`."""
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "models.py").write_text(MODULE)
    (tmp_path / "zoo" / "broken.py").write_text("import not_there_at_all")
    (tmp_path / "zoo" / "wrong.py").write_text("1 +")
    monkeypatch.syspath_prepend(tmp_path)
    yield "zoo.models"
    for name in [name for name in sys.modules if name.split(".")[0] == "zoo"]:
        del sys.modules[name]


def test_the_command_prints_the_text(capsys):
    main(["explain", EXAMPLE, "--input", "20,16,50,100"])
    out, err = capsys.readouterr()
    assert out == f"{jaxconv.explain(EXAMPLE, EXAMPLE_SHAPE)}\n"
    assert not err


def test_the_command_prints_json_and_draws(capsys, tmp_path):
    path = tmp_path / "layer.png"
    main(["explain", "Conv1d(2, 3, 2)", "--input", "(4, 2, 5)", "--json", "--png", str(path)])
    assert json.loads(capsys.readouterr().out) == jaxconv.explain("Conv1d(2, 3, 2)", (4, 2, 5)).as_dict()
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "python -m jaxconv: the following arguments are required: command"),
        (["explian"], "python -m jaxconv: argument command: invalid choice: 'explian'"),
        (["explain", "Conv2d(1, 1, 1)"], "python -m jaxconv explain: the following arguments are required: --input"),
        (
            ["explain", "Conv2d(1, 1, 1)", "--input", "a,b"],
            "must be sizes with commas between, such as 20,16,50,100, got 'a,b'",
        ),
        (["explain", "Conv2d(1, 1)", "--input", "1"], "missing 1 required positional argument: 'kernel_size'"),
        (["explain", "Conv9d(1, 1, 1)", "--input", "1"], "layer 'Conv9d' is not one of jaxconv.nnx; did you mean"),
        (["explain", "Conv2d(1, 1, 1)", "--input", "5,5"], "input of a 2-D convolution must have shape (N, C, H, W)"),
        (["explain", "Flatten()", "--input", "5,5", "--png", "x.png"], "has no picture: it has no windows"),
        (["explain", "MaxPool1d(1)", "--input", "5,5", "--png", "/nowhere/x.png"], "No such file or directory"),
    ],
)
def test_an_error_of_the_command_takes_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert not out
    assert message in err
    assert err.endswith("\n")
    assert err.count("\n") == 1


def test_the_module_runs():
    command = [sys.executable, "-m", "jaxconv", "explain", "nn.MaxPool1d(2)", "--input", "1,3,8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "L: floor((8 + 0 + 0 - 1 * (2 - 1) - 1) / 2) + 1 = 4" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize(
    ("name", "width"),
    [("Model", 4), ("make", 5), ("Linen", 4), ("make_linen", 5), ("Inner.instance", 0), ("Computes", 0)],
)
def test_a_model_is_found_by_its_name(name, width, module, capsys):
    shape = "1,3" if name == "Computes" else "1,3,8,9"
    main(["explain", f"{module}:{name}", "--input", shape])
    out, err = capsys.readouterr()
    assert not err
    if width:
        assert f"Conv2d  (1, {width}, 6, 7)" in out
        assert f"parameters             {28 * width:,}" in out


def test_a_model_is_made_without_values(module):
    model = model_of_name(f"{module}:Model")
    assert isinstance(model.conv.weight.get_value(), jax.ShapeDtypeStruct)
    model = model_of_name(f"{module}:Computes")  # whose constructor asks for values
    assert isinstance(model.linear.kernel.get_value(), jax.Array)


def test_a_model_of_several_inputs_and_dtypes(module, capsys):
    main(["explain", f"{module}:Two", "--input", "2,5:int32", "--input", "2,5,3", "--json"])
    given = json.loads(capsys.readouterr().out)
    inputs = [jax.ShapeDtypeStruct((2, 5), jnp.int32), (2, 5, 3)]
    model = nnx.eval_shape(sys.modules[module].Two)
    assert given == jaxconv.explain(model, inputs).as_dict()
    assert given["rows"][0]["kind"] == "Embed"
    assert given["machine"] == {"flops_per_second": 4e11, "bytes_per_second": 2e10, "ridge": 20}


def test_a_model_is_measured_and_drawn(module, capsys, tmp_path):
    path = tmp_path / "model.png"
    main(["explain", f"{module}:Model", "--input", "1,3,8,9", "--measure", "--png", str(path)])
    assert "measured" in capsys.readouterr().out
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("zoo.modells:Model", "1", "there is no module 'zoo.modells'; run this where `import zoo.modells` works"),
        ("zo.models:Model", "1", "there is no module 'zo'; run this where `import zo.models` works"),
        ("zoo.broken:Model", "1", "zoo.broken: No module named 'not_there_at_all'"),
        ("zoo.wrong:Model", "1", "zoo.wrong cannot be imported: SyntaxError: invalid syntax"),
        ("zoo.models:Modell", "1", "zoo.models has no 'Modell'; did you mean 'Model'?"),
        ("zoo.models:Inner.x", "1", "zoo.models.Inner has no 'x'; it has instance"),
        ("zoo.models:number", "1", "zoo.models:number must be a model of Flax, or what makes one, got int"),
        ("zoo.models:Inner", "1", "zoo.models:Inner must make a model of Flax, and makes a Inner"),
        ("zoo.models:fails", "1", "zoo.models:fails: no weights here; a model is made without arguments but rngs"),
        ("zoo.models:Needs", "1", "missing 1 required positional argument: 'width'; a model is made without arguments"),
        ("zoo.models:Model", "1,2,8,9", "conv: input has 2 channels, and a weight of shape (4, 3, 3, 3)"),
        ("zoo.models:Two", "1,2", "missing 1 required positional argument: 'x'"),
        ("zoo.models:Model", "1,3:flot", "must end in a dtype, such as 8,128:int32, got '1,3:flot'"),
        ("zoo.models:Model", "1,-3", "input_shape[1] must be zero or positive, got -3"),
        ("os:system", "1", "os:system: "),
        ("zoo.models:Model()", "1", "layer must be a call such as"),
    ],
)
def test_an_error_about_a_model_takes_one_line(name, shape, message, module, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", name, "--input", shape])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert not out
    assert message in err
    assert err.count("\n") == 1


def test_a_model_in_the_working_directory_is_found(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from jaxconv.linen import Conv1d, Sequential\nmodel = Sequential(Conv1d(1, 2, 3))"
    )
    command = [sys.executable, "-m", "jaxconv", "explain", "mine:model", "--input", "1,1,8"]
    environment = os.environ | {"PYTHONPATH": str(Path(jaxconv.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert "Conv1d  (1, 2, 6)" in done.stdout
    assert not done.stderr


def test_a_reader_who_has_enough_is_no_error(monkeypatch):
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        main(["explain", EXAMPLE, "--input", ",".join(map(str, EXAMPLE_SHAPE))])
        monkeypatch.undo()
