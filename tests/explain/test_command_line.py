"""`python -m jaxconv explain`."""

import json
import subprocess
import sys

import pytest
from explained import EXAMPLE, EXAMPLE_SHAPE

import jaxconv
from jaxconv.__main__ import main


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
