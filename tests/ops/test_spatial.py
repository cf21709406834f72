"""Functions of blocks of images within a shard_map: what they compute is that of the whole images, gradients too."""

import os
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from jax.sharding import AxisType, PartitionSpec

import jaxconv
import jaxconv.spatial

pytestmark = [
    pytest.mark.usefixtures("quick_compile", "x64"),
    pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices"),
]

TOLERANCES = {"float64": 1e-13, "float32": 1e-6, "bfloat16": 2e-2}


def mesh_of(**axes):
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def arrays(dtype, *shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def value_and_gradients(f, g, *arguments):
    """What `f` comes to, and what goes back to all arguments where `g` comes back to it."""
    y, transpose = jax.vjp(f, *arguments)
    return y, transpose(g)


def specs(names, data_format, batch=None):
    spatial = (*names, None) if data_format == "channels_last" else (None, *names)
    return PartitionSpec(batch, *spatial)


def check(name, axis_names, mesh, size, *args, batch=None, channels=4, params=(), dtype="float64", **kwargs):
    """`jaxconv.spatial`'s function of that name, of images of `size` that the mesh divides, against `jaxconv`'s.

    Gradients are taken within the `shard_map`, where a parameter's must come out summed, and through it.
    """
    data_format = kwargs.setdefault("data_format", "channels_first")
    plain = partial(getattr(jaxconv, name), **kwargs)
    ours = partial(getattr(jaxconv.spatial, name), axis_names=axis_names, **kwargs)
    images = (4, *size, channels) if data_format == "channels_last" else (4, channels, *size)
    x, *weights = arrays(dtype, images, *params)
    # Of 32 bits in 64, so that it is the errors of one of them that are seen, and not their difference.
    exact = [a.astype("float64") if dtype == "float32" else a for a in (x, *weights)]
    (g,) = arrays(exact[0].dtype, plain(x, *weights, *args).shape)
    wanted = value_and_gradients(lambda x, *w: plain(x, *w, *args), g, *exact)
    images = specs(axis_names, data_format, batch)
    given = (images, *[PartitionSpec()] * len(params))

    def block(x, *w):
        return ours(x, *w, *args)

    within = jax.shard_map(
        partial(value_and_gradients, block), mesh=mesh, in_specs=(images, *given), out_specs=(images, given)
    )
    through = jax.shard_map(block, mesh=mesh, in_specs=given, out_specs=images, check_vma=False)
    for f in (within, partial(value_and_gradients, through)):
        found = jax.jit(f)(g.astype(dtype), x, *weights)
        for one, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert_close(one, theirs.astype(dtype), TOLERANCES[dtype])


# Where others' halo exchanges have broken: even kernels, strides that skip positions, windows wider than the next
# device's block, corners, crops, several axes of the mesh in another order than its own.
CASES = {
    "conv2d": ("conv2d", ("h", "w"), {"d": 2, "h": 2, "w": 2}, (8, 6), (1, ((2, 1), (0, 4)), (1, 2), 2), {
        "padding_mode": "reflect", "batch": "d", "params": ((6, 2, 4, 3), (6,))}),
    "conv2d, a halo of three blocks": ("conv2d", ("h", None), {"h": 8}, (16, 5), ((2, 1), ((5, 4), (1, 1)), (2, 1)), {
        "padding_mode": "symmetric", "data_format": "channels_last", "params": ((3, 4, 6, 2), (3,))}),
    "conv1d, same": ("conv1d", (("w", "h"),), {"h": 2, "w": 4}, (24,), (1, "same", 3), {
        "padding_mode": "circular", "dtype": "float32", "params": ((3, 4, 4), (3,))}),
    "conv1d, causal": ("conv1d", ("h",), {"h": 4, "d": 2}, (12,), (1, "causal", 2), {
        "batch": "d", "params": ((3, 4, 3), (3,))}),
    "conv1d, a stride that skips": ("conv1d", ("h",), {"h": 4}, (24,), (3, ((-1, 0),)), {
        "padding_mode": "replicate", "params": ((3, 4, 2), (3,))}),
    "conv1d, cropped and wrapped": ("conv1d", ("h",), {"h": 4}, (16,), (1, ((-2, 5),)), {
        "padding_mode": "circular", "params": ((3, 4, 4), (3,))}),
    "conv3d": ("conv3d", (None, "w", "h"), {"h": 2, "w": 4}, (3, 8, 6), ((1, 2, 1), ((1, 0), (1, 2), (1, 1))), {
        "dtype": "float32", "params": ((3, 4, 2, 4, 3), (3,))}),
    "conv2d in 16 bits": ("conv2d", ("h", None), {"h": 8}, (8, 5), (1, 1), {
        "dtype": "bfloat16", "params": ((3, 4, 3, 3), (3,))}),
    "conv_transpose2d": ("conv_transpose2d", ("h", "w"), {"d": 2, "h": 2, "w": 2}, (6, 4), (
        2, 1, 1, 2, (1, 2), ), {"batch": "d", "params": ((4, 3, 3, 2), (6,))}),
    "conv_transpose1d, wrapped": ("conv_transpose1d", ("h",), {"h": 4}, (12,), (2, ((1, 2),), 1), {
        "padding_mode": "circular", "dtype": "float32", "params": ((4, 3, 4), (3,))}),
    "conv_transpose1d in 16 bits": ("conv_transpose1d", ("h",), {"h": 8}, (8,), (2, 1), {
        "dtype": "bfloat16", "params": ((4, 3, 4), (3,))}),
    "max_pool2d": ("max_pool2d", ("h", "w"), {"h": 4, "w": 2}, (16, 12), ((3, 2), 2, (1, 0)), {
        "data_format": "channels_last"}),
    "max_pool1d, over the end": ("max_pool1d", ("h",), {"h": 4}, (24,), (5, 3, 2, 2, True), {"dtype": "float32"}),
    "avg_pool2d, what is counted": ("avg_pool2d", ("h", None), {"h": 4}, (16, 7), (
        (4, 3), (2, 1), (1, 1), True, False), {}),
    "avg_pool1d in 16 bits": ("avg_pool1d", ("h",), {"h": 8}, (16,), (3, 2, 1), {"dtype": "bfloat16"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_divided_is_undivided(case):
    name, axis_names, axes, size, args, kwargs = CASES[case]
    check(name, axis_names, mesh_of(**axes), size, *args, **kwargs)


def sampled(seed):
    """A case of the grid, as `check` takes it; None where it cannot be, or the devices do not divide its result."""
    rng = np.random.default_rng(seed)
    axes = MESHES[seed % len(MESHES)]
    rank, kind = int(rng.integers(1, 4)), ("conv", "conv", "conv_transpose", "max_pool", "avg_pool")[rng.integers(5)]
    free = [name for name in axes if name != "d"]
    rng.shuffle(free)
    names = [None] * rank
    if len(free) > rank or (len(free) == 2 and rng.integers(2)):
        names[rng.integers(rank)] = tuple(free)
    else:
        for name, place in zip(free, rng.permutation(rank), strict=False):
            names[place] = name
    parts = [int(np.prod([axes[n] for n in ((name,) if isinstance(name, str) else name or ())])) for name in names]
    size = tuple(int(rng.integers(1, 5)) * p if p > 1 else int(rng.integers(3, 8)) for p in parts)
    kernel, stride, dilation = (tuple(rng.integers(1, most, rank).tolist()) for most in (5, 4, 3))
    groups = int(rng.integers(1, 3))
    options = {
        "data_format": ("channels_first", "channels_last")[rng.integers(2)],
        "dtype": ("float64", "float32")[rng.integers(2)],
        "batch": "d" if axes.get("d", 8) <= 4 else None,
    }
    if kind == "conv":
        mode = ("zeros", "reflect", "replicate", "circular", "symmetric")[rng.integers(5)]
        pads = tuple(map(tuple, rng.integers(0 if mode == "zeros" else -1, 7, (rank, 2)).tolist()))
        same = not rng.integers(4)
        args = ((1,) * rank if same else stride, "same" if same else pads, dilation, groups)
        options |= {"padding_mode": mode, "params": ((6, 4 // groups, *kernel), (6,))}
    elif kind == "conv_transpose":
        pads = tuple(map(tuple, rng.integers(0, 4, (rank, 2)).tolist()))
        more = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
        args = (stride, pads, more, groups, dilation)
        options |= {"padding_mode": ("zeros", "circular")[rng.integers(2)]}
        options |= {"params": ((4, 3, *kernel), (3 * groups,))}
    else:
        padding, over = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel), bool(rng.integers(2))
        last = (dilation, over) if kind == "max_pool" else (over, bool(rng.integers(2)))
        args = (kernel, stride, padding, *last)
    case = (f"{kind}{rank}d", tuple(names), axes, size, args, options)
    return case if is_valid(*case) else None


MESHES = ({"d": 1, "h": 8}, {"d": 2, "h": 4}, {"d": 2, "h": 2, "w": 2}, {"h": 4, "w": 2}, {"d": 4, "w": 2}, {"h": 8})


def is_valid(name, axis_names, axes, size, args, options):
    """Whether a call can be, and its result can be divided: by the sizes that the plain function gives."""
    last = options["data_format"] == "channels_last"
    shapes = ((4, *size, 4) if last else (4, 4, *size), *options.get("params", ()))
    keywords = {key: options[key] for key in ("data_format", "padding_mode") if key in options}
    f = partial(getattr(jaxconv, name), **keywords)
    try:
        result = jax.eval_shape(lambda *a: f(*a, *args), *(jax.ShapeDtypeStruct(s, "float32") for s in shapes))
    except ValueError:
        return False
    spatial = result.shape[1:-1] if last else result.shape[2:]
    parts = [np.prod([axes[n] for n in ((name,) if isinstance(name, str) else name or ())]) for name in axis_names]
    return all(n % p == 0 for n, p in zip(spatial, parts, strict=True))


# About 150 of these can be, and are divided.
SAMPLES = range(500) if "JAXCONV_ALL" in os.environ else (3, 8)


@pytest.mark.parametrize("seed", SAMPLES)
def test_divided_is_undivided_wherever_it_can_be(seed):
    if (case := sampled(seed)) is None:
        pytest.skip("no such call, or no such division")
    name, axis_names, axes, size, args, options = case
    check(name, axis_names, mesh_of(**axes), size, *args, **options)


# ---------------------------------------------------------------------------------------------------------------
# Transformations, types and kinds of meshes
# ---------------------------------------------------------------------------------------------------------------

ROWS = PartitionSpec(None, None, "h")


def rows(f, mesh, *, weights=0, **options):
    """`f` of blocks of rows, and of weights that are whole on each device."""
    given = (ROWS, *[PartitionSpec()] * weights)
    return jax.shard_map(f, mesh=mesh, in_specs=given, out_specs=ROWS, **options)


def test_without_jit():
    x, w = arrays("float64", (2, 3, 8, 5), (4, 3, 3, 3))

    def f(x, w):
        return jaxconv.spatial.conv2d(x, w, None, 1, 1, axis_names=("h", None), padding_mode="circular")

    found = rows(f, mesh_of(h=4), weights=1)(x, w)
    assert_close(found, jaxconv.conv2d(x, w, None, 1, 1, padding_mode="circular"))


def test_second_order_and_vmap():
    x, w = arrays("float64", (2, 3, 8, 5), (4, 3, 4, 3))

    def gradient(conv):
        """In the weight, of how large the gradient in the images is, for two weights at once."""

        def size(w, x):
            return (jax.grad(lambda x: (conv(x, w) ** 3).sum())(x) ** 2).sum()

        return lambda x, w: jax.vmap(jax.grad(size), (0, None))(jnp.stack([w, 2 * w]), x)

    plain = partial(jaxconv.conv2d, padding=((2, 1), (1, 1)), padding_mode="reflect")
    ours = partial(jaxconv.spatial.conv2d, padding=((2, 1), (1, 1)), padding_mode="reflect", axis_names=("h", None))
    f = jax.shard_map(gradient(ours), mesh=mesh_of(h=4), in_specs=(ROWS, PartitionSpec()), out_specs=PartitionSpec())
    assert_close(jax.jit(f)(x, w), gradient(plain)(x, w), 1e-12)


def test_a_shard_map_along_some_axes_of_its_mesh():
    x, w = arrays("float32", (4, 3, 8, 5), (6, 3, 3, 3))
    mesh = mesh_of(d=2, h=4)

    def f(x, w):
        y = jaxconv.spatial.conv2d(x, w, None, 1, 1, axis_names=("h", None), padding_mode="replicate")
        return jaxconv.spatial.max_pool2d(y, (2, 1), axis_names=("h", None))

    divided = jax.device_put(x, jax.NamedSharding(mesh, PartitionSpec("d", None, "h")))
    found = jax.jit(rows(f, mesh, weights=1, axis_names={"h"}))(divided, w)
    wanted = jaxconv.max_pool2d(jaxconv.conv2d(x, w, None, 1, 1, padding_mode="replicate"), (2, 1))
    assert_close(found, wanted, 1e-5)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16"])
def test_maxima_of_other_types(dtype):
    x = jnp.asarray(np.random.default_rng(0).integers(-9 if dtype[0] != "u" else 0, 9, (2, 3, 8, 5)), dtype)
    pool = partial(jaxconv.spatial.max_pool2d, kernel_size=3, stride=1, padding=1, axis_names=("h", None))
    assert_close(jax.jit(rows(pool, mesh_of(h=8)))(x), jaxconv.max_pool2d(x, 3, 1, 1), 0)


def test_averages_of_integers_are_truncated():
    x = jnp.asarray(np.random.default_rng(0).integers(-9, 9, (2, 3, 8)), "int64")
    pool = partial(jaxconv.spatial.avg_pool1d, kernel_size=3, stride=1, padding=1, axis_names=("h",))
    assert_close(jax.jit(rows(pool, mesh_of(h=8)))(x), jaxconv.avg_pool1d(x, 3, 1, 1), 0)


def test_an_image_that_is_the_same_on_all_devices():
    """As zeros made within the `shard_map` are: each device has a block of the same image, tiled."""
    (x,) = arrays("float64", (2, 3, 2))
    w = jnp.ones((4, 3, 3))

    def f(_):
        block = jnp.asarray(x)
        return jaxconv.spatial.conv1d(block, w, None, 1, 1, axis_names=("h",), padding_mode="circular")

    found = jax.jit(rows(f, mesh_of(h=4)))(jnp.zeros((2, 3, 8)))
    assert_close(found, jaxconv.conv1d(jnp.tile(x, 4), w, None, 1, 1, padding_mode="circular"))


@pytest.mark.parametrize(
    ("axis_names", "widths", "mode"),
    [
        (("h", "w"), ((3, 0), (1, 2)), "zeros"),
        (("h", "w"), 1, "symmetric"),
        ((("h", "w"), None), (5, 2), "circular"),
        ((None, "w"), ((0, 2), (7, 7)), "reflect"),
        (("w", None), ((9, 1), (0, 0)), "replicate"),
    ],
)
def test_a_halo_is_what_the_neighbours_have(axis_names, widths, mode):
    x = np.random.default_rng(0).integers(0, 99, (3, 16, 8))  # no batch, and of integers
    axes = {"h": 2, "w": 4}
    pairs = [(n, n) if isinstance(n, int) else n for n in ([widths] * 2 if isinstance(widths, int) else widths)]
    kind = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(mode, mode)
    padded = np.pad(x, [(0, 0), *pairs], mode=kind)
    parts = [int(np.prod([axes[n] for n in ((name,) if isinstance(name, str) else name or ())])) for name in axis_names]
    wanted = np.concatenate(
        [
            np.concatenate(
                [
                    padded[
                        :,
                        i * 16 // parts[0] : (i + 1) * 16 // parts[0] + sum(pairs[0]),
                        j * 8 // parts[1] : (j + 1) * 8 // parts[1] + sum(pairs[1]),
                    ]
                    for j in range(parts[1])
                ],
                axis=2,
            )
            for i in range(parts[0])
        ],
        axis=1,
    )
    spec = PartitionSpec(None, *axis_names)
    f = jax.shard_map(
        lambda x: jaxconv.spatial.halo(x, widths, axis_names, mode), mesh=mesh_of(**axes), in_specs=spec, out_specs=spec
    )
    assert np.array_equal(jax.jit(f)(x), wanted)


def test_only_the_halo_is_moved():
    x, w = arrays("float32", (2, 3, 32, 5), (4, 3, 3, 3))

    def f(x, w):
        return jaxconv.spatial.conv2d(x, w, None, 1, 1, axis_names=("h", None))

    text = jax.jit(rows(f, mesh_of(h=8), weights=1)).lower(x, w).compile().as_text()
    moved = re.findall(r"= (\S+?)\{.* collective-permute\(", text)
    assert moved == ["f32[2,3,1,5]"] * 2
    assert "all-gather" not in text


# ---------------------------------------------------------------------------------------------------------------
# Refusals of what the functions do themselves; the others are among all refusals
# ---------------------------------------------------------------------------------------------------------------


def test_a_refusal_of_the_whole_image_says_so():
    def f(x):
        return jaxconv.spatial.conv1d(x, jnp.ones((4, 3, 3)), None, 1, 9, axis_names=("h",), padding_mode="reflect")

    with pytest.raises(
        ValueError, match=r"at most 7 where the image has size 8.* a block of shape \(2, 3, 2\)"
    ) as error:
        jax.eval_shape(rows(f, mesh_of(h=4)), jnp.zeros((2, 3, 8)))
    assert "that of the whole image is (2, 3, 8)" in str(error.value)


def test_the_sizes_that_are_proposed_are_divided():
    """And no block nearer than these."""
    calls = [(2, 1, 0), (2, 3, 1), (3, 2, 0), (5, 3, 1)]
    seen = 0
    for (kernel, stride, padding), parts, block in [(c, p, b) for c in calls for p in (2, 4) for b in (3, 6)]:
        w = jax.ShapeDtypeStruct((4, 3, kernel), "float32")

        def divides(block, padding, w=w, stride=stride, parts=parts):
            f = partial(jaxconv.spatial.conv1d, stride=stride, padding=padding, axis_names=("h",))
            x = jax.ShapeDtypeStruct((2, 3, block * parts), "float32")
            try:
                jax.eval_shape(rows(f, mesh_of(h=parts), weights=1), x, w)
            except ValueError as error:
                return str(error)
            return True

        message = divides(block, padding)
        if message is True:
            continue
        more = re.search(r"(\d+) positions? of padding more", message)
        assert divides(block, ((padding, padding + int(more[1])),)) is True
        proposed = re.search(r"blocks of (\d+)(?: or (\d+))? positions", message)
        proposed = [int(b) for b in proposed.groups() if b] if proposed else []
        for b in range(max(block - 3, 1), block + 4):
            size = (b * parts + 2 * padding - kernel) // stride + 1
            between = all(abs(b - block) < abs(p - block) for p in proposed if (p < block) == (b < block))
            if b in proposed:
                assert divides(b, padding) is True
            elif between and size > 0 and abs(b - block) < stride:
                assert divides(b, padding) is not True
        seen += 1
    assert seen > 6
