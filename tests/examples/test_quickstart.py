"""The plain loop learns to read digits."""

import re
import runpy

import pytest


@pytest.mark.slow
def test_the_plain_loop_reads_nineteen_of_twenty_digits(capsys):
    runpy.run_module("examples.quickstart")
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"epoch (\d+)  loss (\d\.\d{4})  test accuracy (\d+\.\d)%", line) for line in lines]
    epochs, losses, accuracies = zip(*(map(float, match.groups()) for match in found), strict=True)
    assert epochs == (1, 2, 3, 4, 5)
    assert losses[-1] < 0.1 < losses[0]
    assert accuracies[-1] > 95
