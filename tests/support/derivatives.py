"""Derivatives of every kind, of functions whose differences are their derivatives."""

import jax
import numpy as np
from closeness import assert_all_close


def check_derivatives(f, arrays, tolerance=2e-12):
    """Forward, backward, all of second order, and with rematerialisation, in one program.

    f must be a polynomial of degree two at most in all of its arguments together, as a convolution with a bias is, so
    that differences are derivatives: (f(z + t) - f(z - t)) / 2 is the first in direction t, and
    f(z + t + s) - f(z + t) - f(z + s) + f(z) the second in the directions t and s. A backward derivative is known by
    its products: <vjp(u), t> = <u, jvp(t)>, and <H t, s> for the second derivative H of <u, f>.
    """
    rng = np.random.default_rng(1)
    z = [np.asarray(a) for a in arrays]
    t, s = ([rng.standard_normal(a.shape) for a in z] for _ in range(2))
    one = jax.jit(f)

    def moved(a, b):
        return np.asarray(one(*(x + a * dx + b * dy for x, dx, dy in zip(z, t, s, strict=True))))

    def product(a, b):
        return sum(np.vdot(x, y) for x, y in zip(a, b, strict=True))

    @jax.jit
    def compute(z, t, s, u):
        def backward(*z):
            return jax.vjp(f, *z)[1](u)

        def forward(*z):
            return jax.jvp(f, z, t)[1]

        y, jvp = jax.jvp(f, z, t)
        return {
            "value": y,
            "forward": jvp,
            "backward": backward(*z),
            "rematerialised": jax.vjp(jax.checkpoint(f), *z)[1](u),
            "forward over forward": jax.jvp(forward, z, s)[1],
            "forward over backward": jax.jvp(backward, z, t)[1],
            "backward over forward": jax.vjp(forward, *z)[1](u),
            "backward over backward": jax.vjp(backward, *z)[1](t),
        }

    u = rng.standard_normal(moved(0, 0).shape)
    found = jax.tree.map(np.asarray, compute(tuple(z), tuple(t), tuple(s), u))
    second = moved(1, 1) - moved(1, 0) - moved(0, 1) + moved(0, 0)
    expected = {
        "value": moved(0, 0),
        "forward": (moved(1, 0) - moved(-1, 0)) / 2,
        "forward over forward": second,
        "<backward, t>": np.asarray(np.vdot(u, found["forward"])),
        "<forward over backward, s>": np.asarray(np.vdot(u, second)),
    }
    actual = {name: found[name] for name in ("value", "forward", "forward over forward")}
    actual["<backward, t>"] = np.asarray(product(found["backward"], t))
    actual["<forward over backward, s>"] = np.asarray(product(found["forward over backward"], s))
    # The same by another way.
    for name, other in (
        ("rematerialised", "backward"),
        ("backward over forward", "forward over backward"),
        ("backward over backward", "forward over backward"),
    ):
        for i, (a, b) in enumerate(zip(found[name], found[other], strict=True)):
            actual[f"{name} in argument {i}"], expected[f"{name} in argument {i}"] = a, b
    assert_all_close(actual, expected, tolerance, scale=1)
