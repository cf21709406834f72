"""Every refusal, read as its user would."""

import ast
import traceback
from pathlib import Path

import pytest
from refusals import REFUSALS

from jaxconv import _spec
from tools import refusals as catalogue


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_what_was_wrong_and_what_would_work(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    (message,) = caught.value.args
    for word in words:
        assert word in f": {message}"  # after a colon: at the beginning of the message


# The errors of other layers, and those that the constructors of layers raise, are tested beside them.
ELSEWHERE = {
    "check_whole_kernel",
    "axis_number",
}


def raises_in_spec():
    """The files and lines of `_spec` where an error is raised with a message, and the function that each is in."""
    lines = {}
    for file in Path(_spec.__file__).parent.glob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                        lines[file.name, node.lineno] = (function.name, node.end_lineno)
    return lines


def test_every_refusal_is_among_these():
    reached = set()
    for call, error, _ in REFUSALS.values():
        with pytest.raises(error) as caught:
            call()
        frame = traceback.extract_tb(caught.value.__traceback__)[-1]
        reached.add((Path(frame.filename).name, frame.lineno))
    for (file, line), (function, end) in raises_in_spec().items():
        if function not in ELSEWHERE:
            # Python reports a line within a call of several lines.
            assert any(file == f and line <= r <= end for f, r in reached), f"no test reaches {file}:{line}, {function}"


def test_the_documentation_prints_them():
    """`python -m tools.refusals` writes the page anew."""
    assert catalogue.PAGE.read_text(encoding="utf-8") == catalogue.page()
