"""What the tests of explanations share: a machine that does not have to be measured."""

import pytest

from jaxconv._explain import machine


@pytest.fixture(autouse=True)
def known_machine(monkeypatch):
    """Ceilings that are the same on every machine."""
    monkeypatch.setattr(machine, "measured", lambda dtype: machine.Machine(4e11, 2e10))
