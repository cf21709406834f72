"""Resampling: the tables against PyTorch's images, transformations, and what PyTorch's samples do not reach."""

import functools
import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from closeness import assert_all_close, assert_close
from derivatives import check_derivatives

import jaxconv
from jaxconv._lowering.resampling import make_table, resample
from jaxconv._spec.resampling import AxisSpec, InterpolateArguments, parse_interpolate

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")


def dense(table, n):
    """The matrix (outputs, inputs) that a table stands for."""
    places, weights, holds = table
    weights = np.ones(places.shape) if weights is None else weights
    weights = weights if holds is None else np.where(holds, weights, 0)
    matrix = np.zeros((places.shape[1], n), weights.dtype)
    for tap in range(len(places)):
        np.add.at(matrix, (np.arange(places.shape[1]), places[tap]), weights[tap])
    return matrix


# --- the tables, against PyTorch's answer to impulses ----------------------------------------------------------

# (spatial axes, mode, arguments, tolerance in float32): of two axes the last is looked at.
TABLES = {
    "nearest": (1, "nearest", {}, 0),
    "nearest of a small image": (2, "nearest", {}, 0),
    "nearest-exact": (1, "nearest-exact", {}, 0),
    "nearest-exact of a small image": (2, "nearest-exact", {}, 0),
    "linear": (1, "linear", {}, 4e-6),
    "linear, corners": (1, "linear", {"align_corners": True}, 4e-6),
    "bicubic": (2, "bicubic", {}, 1e-5),
    "bicubic, corners": (2, "bicubic", {"align_corners": True}, 1e-5),
    "bilinear, antialias": (2, "bilinear", {"antialias": True}, 1e-5),
    "bicubic, antialias": (2, "bicubic", {"antialias": True}, 1e-5),
    "lanczos": (2, "lanczos", {"antialias": True}, 1e-5),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_pytorchs_answer_to_impulses(name):
    """For a third of the pairs of sizes up to 40 and 80, some by a factor that rounds to the size; nothing compiled."""
    torch = pytest.importorskip("torch")
    rank, mode, arguments, tolerance = TABLES[name]
    rng = np.random.default_rng(len(name))
    taken, problems = 0, []
    for n, m in ((n, m) for n, m in itertools.product(range(1, 41), range(1, 81)) if (n + m) % 3 == 0):
        factor = None if rng.random() < 0.5 else round(float((m + rng.random()) / n), 3)
        m = m if factor is None else int(n * factor)
        if m == 0:
            continue
        dtype = ("float32", "float64")[taken % 2]
        shape, ones = (n, *(1,) * (rank - 1), n), (1,) * (rank - 1)
        size = {"size": (*ones, m)} if factor is None else {"scale_factor": (*(1.0,) * (rank - 1), factor)}
        x = np.eye(n, dtype=dtype).reshape(1, *shape)
        theirs = torch.nn.functional.interpolate(torch.from_numpy(x), mode=mode, **size, **arguments).numpy()
        spec = parse_interpolate(x.shape, x.dtype, InterpolateArguments(mode=mode, **size, **arguments)).axes[-1]
        ours = np.eye(n) if spec.is_identity else dense(make_table(spec, x.dtype), n)
        taken += 1
        error = np.abs(ours.T - theirs.reshape(n, m)).max()
        if not error <= (tolerance if dtype == "float32" else min(tolerance, 1e-12)):
            problems.append(f"{dtype} {n} to {m}, factor {factor}: off by {error:.3g}")
    assert not problems, "\n".join(problems)
    assert taken > 900


def test_bytes_are_pytorchs_with_any_number_of_channels():
    """Few channels have a kernel of their own in PyTorch; contrasts are such that cubic sums leave the range."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).choice([0, 3, 128, 250, 255], (2, 6, 9, 11)).astype(np.uint8)
    calls = [
        (channels, mode, antialias, size)
        for channels in (1, 6)
        for mode in ("bilinear", "bicubic")
        for antialias in (False, True)
        for size in ((4, 17), (23, 5))
    ]

    def all_of_them(x):
        return [jaxconv.interpolate(x[:, :c], size, mode=m, antialias=a) for c, m, a, size in calls]

    for (c, m, a, size), ours in zip(calls, jax.jit(all_of_them)(x), strict=True):
        image = torch.from_numpy(x[:, :c].copy())
        theirs = torch.nn.functional.interpolate(image, size, mode=m, antialias=a)
        np.testing.assert_array_equal(ours, theirs.numpy())


# --- derivatives and transformations ---------------------------------------------------------------------------

RESAMPLED = {
    "nearest": ((2, 3, 5), {"scale_factor": 1.7}),
    "linear": ((2, 3, 6), {"size": 11, "mode": "linear"}),
    "bicubic": ((2, 5, 4, 3), {"size": (3, 9), "mode": "bicubic", "data_format": "channels_last"}),
    "antialias": ((1, 2, 9, 4), {"scale_factor": (0.4, 1.3), "mode": "bilinear", "antialias": True}),
    "trilinear": ((1, 2, 3, 4, 2), {"scale_factor": (2, 0.5, 3), "mode": "trilinear", "align_corners": True}),
    "area": ((1, 2, 3, 4), {"size": (2, 3), "mode": "area"}),
}


@pytest.mark.parametrize("name", ["bicubic", "antialias"])
def test_derivatives(name):
    shape, arguments = RESAMPLED[name]
    check_derivatives(
        functools.partial(jaxconv.interpolate, **arguments), [np.random.default_rng(0).normal(size=shape)]
    )


def test_interpolate_under_vmap_and_its_gradient():
    """Mapped along the first axis, along the last, twice, and over nothing: each as the calls one by one."""
    rng = np.random.default_rng(0)
    images = {name: rng.normal(size=(3, *shape)) for name, (shape, _) in RESAMPLED.items()}

    def loss(x, arguments):
        return (jaxconv.interpolate(x, **arguments) ** 2).sum()

    def compute(images):
        found, wanted = {}, {}
        for name, x in images.items():
            arguments = RESAMPLED[name][1]
            f, g = (functools.partial(h, **k) for h, k in ((jaxconv.interpolate, arguments), (jax.grad(loss), {})))
            g = functools.partial(g, arguments=arguments)
            found[name] = jax.vmap(f, x.ndim - 1)(jnp.moveaxis(x, 0, -1)), jax.vmap(jax.vmap(g))(x[:, None])[:, 0]
            wanted[name] = jnp.stack([f(a) for a in x]), jnp.stack([g(a) for a in x])
            assert jax.vmap(g)(x[:0]).shape == x[:0].shape
        return found, wanted

    for found, wanted in zip(*(jax.tree.leaves(a) for a in jax.jit(compute)(images)), strict=True):
        assert_close(found, wanted, 1e-12)


def sampled(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    return jaxconv.grid_sample(x, grid, mode, padding_mode, align_corners)


def test_second_derivatives_of_grid_sample():
    """The gradient's own derivative in a direction, by differences, away from the kinks between two positions."""
    rng = np.random.default_rng(0)
    place = rng.integers(-2, 6, (1, 2, 3, 2)) + rng.uniform(0.2, 0.8, (1, 2, 3, 2))
    z = rng.normal(size=(1, 2, 4, 4)), place * (2 / 3) - 1
    t = tuple(rng.normal(size=a.shape) for a in z)

    gradients = jax.grad(lambda x, grid: (sampled(x, grid, "bilinear", "reflection", True) ** 2).sum(), (0, 1))

    def compute(z, t):
        moved = [[a + e * b for a, b in zip(z, t, strict=True)] for e in (1e-5, -1e-5)]
        return jax.jvp(gradients, z, t)[1], [gradients(*m) for m in moved]

    found, (after, before) = jax.jit(compute)(z, t)
    for ours, a, b in zip(found, after, before, strict=True):
        assert_close(ours, (a - b) / 2e-5, 1e-8)


def test_grid_sample_under_vmap():
    """Over the images, over the grids, over both, and over nothing."""
    rng = np.random.default_rng(0)
    x, grid = rng.normal(size=(3, 2, 4, 5, 6)), rng.uniform(-1.2, 1.2, (3, 2, 2, 3, 2))

    def compute(x, grid):
        found = [jax.vmap(sampled, axes)(x if axes[0] == 0 else x[0], grid if axes[1] == 0 else grid[0])
                 for axes in ((0, None), (None, 0), (0, 0))]  # fmt: skip
        pairs = [(x, [grid[0]] * 3), ([x[0]] * 3, grid), (x, grid)]
        assert jax.vmap(sampled, (None, 0))(x[0], grid[:0]).shape == (0, 2, 4, 2, 3)
        return found, [jnp.stack([sampled(*pair) for pair in zip(*both, strict=True)]) for both in pairs]

    for found, wanted in zip(*jax.jit(compute)(x, grid), strict=True):
        assert_close(found, wanted)


def test_long_tables_are_added_up_in_a_loop():
    """As many taps as an antialiased filter has that makes an image 40 times smaller; forward and transposed."""
    spec = AxisSpec(400, 10, "cubic", antialias=True)
    x, y = np.random.default_rng(0).normal(size=(3, 400, 2)), np.random.default_rng(1).normal(size=(3, 10, 2))
    matrix = dense(make_table(spec, np.dtype("float64")), 400)
    value, vjp = jax.vjp(jax.jit(lambda x: resample(x, 1, spec)), x)
    assert_close(value, np.einsum("oi,nic->noc", matrix, x), 1e-13)
    assert_close(vjp(jnp.asarray(y))[0], np.einsum("oi,noc->nic", matrix, y), 1e-13)
    large = AxisSpec(3, 100, "linear")  # an input is read by 67 outputs
    matrix = dense(make_table(large, np.dtype("float64")), 3)
    _, vjp = jax.vjp(lambda x: resample(x, 0, large), jnp.ones(3))
    y = np.random.default_rng(2).normal(size=100)
    assert_close(vjp(jnp.asarray(y))[0], matrix.T @ y, 1e-13)


def test_sixteen_bits_are_rounded_once():
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 7)).astype(ml_dtypes.bfloat16)
    grid = np.random.default_rng(1).uniform(-1, 1, (2, 4, 5, 2)).astype(ml_dtypes.bfloat16)
    theta = np.random.default_rng(2).normal(size=(2, 2, 3)).astype(ml_dtypes.bfloat16)
    functions = [
        lambda x, grid, theta: jaxconv.interpolate(x, 5, mode="bicubic"),
        lambda x, grid, theta: jaxconv.interpolate(x, (9, 4), mode="bilinear", antialias=True),
        lambda x, grid, theta: sampled(x, grid, "bicubic"),
        lambda x, grid, theta: jaxconv.affine_grid(theta, (2, 3, 4, 5)),
        lambda x, grid, theta: jax.grad(lambda x: jaxconv.interpolate(x, (9, 20), mode="bilinear").sum())(x),
        lambda x, grid, theta: jax.grad(lambda x: jaxconv.interpolate(x, (9, 20)).sum())(x),
    ]
    half, full = (
        jax.jit(lambda *a: [f(*a) for f in functions])(*(a.astype(t) for a in (x, grid, theta)))
        for t in (ml_dtypes.bfloat16, np.float32)
    )
    for ours, wanted in zip(half, full, strict=True):
        assert ours.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(ours, wanted.astype(ml_dtypes.bfloat16))


# --- what is not finite ----------------------------------------------------------------------------------------


def test_what_is_not_finite_stays_where_it_is_read():
    x = np.zeros((1, 1, 40))
    x[..., 20] = np.inf
    calls = [{"size": 90, "mode": "linear"}, {"scale_factor": 1.7}, {"size": 9, "mode": "area"}]
    for arguments in calls:
        y = np.asarray(jaxconv.interpolate(x, **arguments))[0, 0]
        (odd,) = (np.flatnonzero(~np.isfinite(y)),)
        middle = 20.5 / 40 * len(y)
        assert len(odd)
        assert np.abs(odd + 0.5 - middle).max() <= 1.5 * max(1, len(y) / 40)
    y = np.asarray(jaxconv.interpolate(x[:, :, None], (1, 8), mode="bicubic", antialias=True))[0, 0, 0]
    assert set(np.flatnonzero(~np.isfinite(y))) == {2, 3, 4, 5}


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_places_that_are_no_numbers_are_read_as_pytorch_reads_them(padding_mode):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    odd = np.array([np.nan, np.inf, -np.inf, 1e9, -1e30, 0.3])
    cases = []
    for rank, mode in ((2, "bilinear"), (2, "nearest"), (2, "bicubic"), (3, "bilinear")):
        x, grid = rng.normal(size=(1, 2, *(3, 4, 5)[:rank])), rng.choice(odd, (1, *(1,) * (rank - 2), 6, 5, rank))
        if rank == 3 and padding_mode == "reflection":  # PyTorch converts them to integers without a check
            grid = np.where(np.abs(grid) > 1e8, np.nan, grid)
        cases.append((mode, x, grid))
    ours = jax.jit(lambda cases: [sampled(x, g, mode, padding_mode) for mode, (x, g) in zip(modes, cases, strict=True)])
    modes = [mode for mode, _, _ in cases]
    for (mode, x, grid), found in zip(cases, ours([c[1:] for c in cases]), strict=True):
        theirs = torch.nn.functional.grid_sample(
            torch.from_numpy(x), torch.from_numpy(grid), mode, padding_mode, align_corners=False
        )
        np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-12, atol=1e-12, err_msg=f"{mode} of {x.ndim - 2}")


def test_a_place_between_two_positions_is_rounded_to_the_even_one():
    torch = pytest.importorskip("torch")
    x, k = np.arange(1.0, 25).reshape(1, 1, 4, 6), np.arange(-2, 14) / 2
    for corners in (True, False):
        places = [2 * k / (n - 1) - 1 if corners else (2 * k + 1) / n - 1 for n in (6, 4)]
        grid = np.stack(np.meshgrid(*places), -1)[None].astype(np.float32)
        ours = sampled(x.astype(np.float32), grid, "nearest", "border", corners)
        theirs = torch.nn.functional.grid_sample(
            *map(torch.from_numpy, (x.astype(np.float32), grid)), "nearest", "border", corners
        )
        np.testing.assert_array_equal(ours, theirs.numpy())


# --- where PyTorch's answer is a mistake -----------------------------------------------------------------------


def test_nothing_is_unshuffled_to_the_shape_of_something():
    """PyTorch returns an empty input as it is."""
    assert jaxconv.pixel_unshuffle(np.zeros((0, 3, 4, 6)), 2).shape == (0, 12, 2, 3)


def test_antialiased_rows_of_one_column_differ():
    """PyTorch gives each row the first one's value."""
    x = np.arange(35.0).reshape(1, 1, 7, 5) ** 2
    one = jaxconv.interpolate(x, (12, 1), mode="bilinear", antialias=True)
    rows = jaxconv.interpolate(x, (12, 5), mode="bilinear", antialias=True)
    assert_close(one, jaxconv.interpolate(rows, (12, 1), mode="bilinear", antialias=True), 1e-13)
    assert len(np.unique(one)) == 12


def test_the_gradient_of_nearest_is_that_of_its_value():
    """PyTorch's gradient finds the neighbours anew, by another rule than the value where there are not two axes."""
    x = np.arange(5.0).reshape(1, 1, 5)
    f = functools.partial(jaxconv.interpolate, scale_factor=1.1)
    read = np.asarray(f(x))[0, 0].astype(int)
    assert list(read) == [0, 0, 1, 2, 3]
    gradient = jax.grad(lambda x: (f(x) * np.arange(1.0, 6)).sum())(x)
    wanted = np.zeros(5)
    np.add.at(wanted, read, np.arange(1.0, 6))
    np.testing.assert_array_equal(gradient[0, 0], wanted)


# --- symbolic sizes --------------------------------------------------------------------------------------------

SYMBOLIC = {
    "nearest": ("b, 2, h, w", {"scale_factor": 2}),
    "nearest-exact": ("b, 2, h", {"size": 7, "mode": "nearest-exact"}),
    "bilinear": ("b, h, w, 2", {"scale_factor": (1.5, 2), "mode": "bilinear", "data_format": "channels_last"}),
    "bilinear, corners": ("b, 2, h, 5", {"size": (9, 8), "mode": "bilinear", "align_corners": True}),
    "bicubic": ("b, 2, h, w", {"scale_factor": 0.5, "mode": "bicubic", "recompute_scale_factor": True}),
    "antialias": ("b, 2, 6, 8", {"scale_factor": 0.5, "mode": "bicubic", "antialias": True}),
    "area": ("b, 2, h, w", {"size": 3, "mode": "area"}),
}


def test_symbolic_sizes():
    """Exported once, two of them with gradients, and called with images of two sizes."""

    def functions(arrays):
        found = {}
        for name, (_, arguments) in SYMBOLIC.items():
            f = functools.partial(jaxconv.interpolate, **arguments)
            found[name] = f(arrays[name])
            if name in ("nearest", "bilinear"):
                found[f"gradient of {name}"] = jax.grad(lambda x, f=f: (f(x) ** 2).sum())(arrays[name])
        x = arrays["nearest"]
        theta = x[:, :1, :2, :3].reshape(x.shape[0], 2, 3)
        grid = jaxconv.affine_grid(theta, x.shape)
        found["grid_sample"] = jaxconv.grid_sample(x, grid, padding_mode="reflection")
        found["shuffles"] = jaxconv.channel_shuffle(jaxconv.pixel_unshuffle(jaxconv.pixel_shuffle(
            jnp.concatenate([x, x], 1), 2), 2), 2)  # fmt: skip
        return found

    scope = jax.export.SymbolicScope(["h >= 4", "w >= 4"])
    shapes = {n: jax.export.symbolic_shape(text, scope=scope) for n, (text, _) in SYMBOLIC.items()}
    exported = jax.export.export(jax.jit(functions))({n: jax.ShapeDtypeStruct(s, "float64") for n, s in shapes.items()})
    rng = np.random.default_rng(0)
    for sizes in ({"b": 2, "h": 5, "w": 6}, {"b": 1, "h": 8, "w": 4}):
        arrays = {
            n: rng.normal(size=[sizes.get(letter) or int(letter) for letter in text.split(", ")])
            for n, (text, _) in SYMBOLIC.items()
        }
        assert_all_close(exported.call(arrays), functions(arrays), 1e-6)
