"""The field that eight devices step forward is that of one, without a seam."""

import jax
import numpy as np
import pytest

from examples import field

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices")
def test_eight_devices_and_one(tmp_path, capsys):
    report = field.main(tmp_path, rows=8, columns=16, width=3, steps=6, count=8)
    assert report["eight devices and one, largest difference of the field"] < 1e-5
    assert report["eight devices and one, largest of the first losses"] < 1e-5
    assert len(capsys.readouterr().out.splitlines()) == len(report)
    assert (tmp_path / "field.png").stat().st_size > 10_000


def test_the_solver():
    """A field that is even stays; one that is not is carried where the wind goes, and what it is turned by, too."""
    x, later = field.make_data(3, 2, 8, 12, 5)
    tracer, stream = x[:, 0].astype("float64"), x[:, 1].astype("float64")
    assert later.shape == (2, 1, 8, 12)
    assert np.array_equal(field.change(np.ones((8, 12)), stream[0]), np.zeros((8, 12)))
    turned = field.change(np.roll(tracer, 5, -1), np.roll(stream, 5, -1))
    np.testing.assert_allclose(turned, np.roll(field.change(tracer, stream), 5, -1), atol=1e-12)
    # A wind of one position in a unit of time along the longitudes: ψ falls by one from row to row.
    wave = np.sin(2 * np.pi * np.arange(12) / 12)
    steady = -np.arange(8.0)[:, None] + np.zeros((8, 12))
    carried = (
        field.change(wave + np.zeros((8, 12)), steady)[1:-1] - field.change(wave + np.zeros((8, 12)), 0 * steady)[1:-1]
    )
    slope = np.cos(2 * np.pi * np.arange(12) / 12) * np.sin(2 * np.pi / 12)  # of central differences
    np.testing.assert_allclose(carried, np.broadcast_to(-slope, (6, 12)), atol=1e-12)
