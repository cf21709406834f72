"""How far arrays are from what they should be, in words: one array, or all the results of a program at once."""

import numpy as np


def relative_error(actual, expected, scale=0) -> float:
    """The largest difference of two arrays of equal shape, relative to the largest number that is expected, or `scale`.

    Where nothing but zeros is expected and no scale is given, it is infinite for anything else.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.dtype.itemsize < 8:
        actual = actual.astype(np.complex128 if actual.dtype.kind == "c" else np.float64)
    assert actual.shape == expected.shape
    error, largest = np.abs(actual - expected).max(initial=0), np.abs(expected).max(initial=scale)
    if not largest:
        return float(np.inf if error else 0)
    return float(error / largest)


def difference(actual, expected, tolerance=1e-12, scale=0) -> str | None:
    """How two arrays differ in shape, in dtype, or by more than `tolerance` as a `relative_error`, or None."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    for what in ("shape", "dtype"):
        ours, theirs = getattr(actual, what), getattr(expected, what)
        if ours != theirs:
            return f"{what} {ours} where {theirs} is expected"
    error = relative_error(actual, expected, scale)
    # Written so that NaN is a difference.
    return None if error <= tolerance else f"off by {error:.3g} of the largest number, allowed are {tolerance:.3g}"


def assert_close(actual, expected, tolerance=1e-12, scale=0):
    """Equal shapes, dtypes, and values to `tolerance` of the largest of them, or of `scale`."""
    problem = difference(actual, expected, tolerance, scale)
    assert problem is None, problem


def assert_all_close(actual: dict, expected: dict, tolerances: dict | float = 1e-12, scale=0):
    """`assert_close` of each array by its name; all names that differ are told, and not the first alone."""
    assert actual.keys() == expected.keys()
    if not isinstance(tolerances, dict):
        tolerances = dict.fromkeys(expected, tolerances)
    problems = {name: difference(actual[name], expected[name], tolerances[name], scale) for name in expected}
    text = "\n".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
    assert not text, text
