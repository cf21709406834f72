"""PyTorch's own samples: the calls that PyTorch tests its operators and its modules with, run on jaxconv and compared.

They come from `torch.testing._internal`: `op_db` for the functions, `module_db` for the layers. Of an array only shape
and dtype are taken, the numbers are ours; samples that are then the same call count once. Nothing is skipped silently:
what has no samples, and all that is left out, stands in the tables below with the reason.
"""

import functools
import inspect
import itertools
import os
import warnings

import jax
import numpy as np
import pytest
from flax import nnx

import jaxconv
import jaxconv.linen
import jaxconv.nnx

torch = pytest.importorskip("torch")
# These import torch, too.
import differences  # noqa: E402
import side_by_side  # noqa: E402
import torch_side  # noqa: E402
from layer_cases import AT_RANDOM, OF_OTHERS  # noqa: E402
from side_by_side import Arr, Call  # noqa: E402

pytestmark = pytest.mark.usefixtures("x64", "quick_compile")

DTYPES = ("float32", "float64", "complex128")

# --- what has no samples, and what is left out of them ---------------------------------------------------------

# Public names for which PyTorch has no samples.
NO_SAMPLES = {
    "fold": "op_db has none; sampled in test_torch_grid",
    **{
        f"conv{rank}d_{kind}": "torch.nn.grad is not in op_db; sampled in test_torch_grid"
        for rank in (1, 2, 3)
        for kind in ("input", "weight")
    },
    "affine_grid": "op_db has none; sampled in test_torch_grid",
    **dict.fromkeys(
        ("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle"),
        "module_db has none; OWN_SAMPLES has",
    ),
    **{f"lp_pool{rank}d": "op_db has none; sampled in test_torch_grid" for rank in (1, 2, 3)},
    **dict.fromkeys(("Flatten", "Fold", "Identity", "Unfold"), "module_db has none; OWN_SAMPLES has"),
    **{f"MaxUnpool{rank}d": "module_db has none; OWN_SAMPLES has" for rank in (1, 2, 3)},
}

# For these layers: the constructor's arguments and the shape of the input; of an unpooling, that of the indices too,
# and what they are below.
OWN_SAMPLES = {
    "ChannelShuffle": [((3,), (2, 6, 4, 5)), ((1,), (2, 3, 4)), ((2,), (0, 4, 3, 2, 2))],
    "Flatten": [((), (2, 3, 4, 5)), ((0,), (2, 3)), ((1, 2), (2, 3, 4, 5)), ((-2,), (2, 3, 4)), ((0, -1), ())],
    "Fold": [(((4, 5), (2, 3)), (2, 12, 9)), (((4, 5), (2, 3), 1, 1, 2), (12, 9)), ((4, 2, 2, 1, 1), (2, 8, 16))],
    "Identity": [((), (2, 3)), ((54,), ()), ((1, "a"), (2, 3, 4, 0, 5))],
    "PixelShuffle": [((2,), (2, 8, 3, 4)), ((3,), (9, 2, 3)), ((1,), (2, 3, 2, 4, 5))],
    "PixelUnshuffle": [((2,), (2, 3, 4, 6)), ((3,), (2, 3, 6)), ((1,), (2, 3, 2, 4, 5))],
    **{
        f"MaxUnpool{rank}d": [
            ((2,), (2, 3, *size), (2, 3, *size), 2**rank),
            ((3, 2, 1), (2, 3, *size), (2, 3, *size), 3),
            (((3,) * rank, (2,) * rank, 0), (3, *size), (3, *size), 7),
            ((1,), (2, 3, *size), (2, 3, *size), 2),
        ]
        for rank, size in ((1, (4,)), (2, (4, 3)), (3, (4, 3, 5)))
    },
    "Unfold": [((2,), (2, 3, 4, 5)), (((2, 3), 1, (1, 0), 2), (3, 4, 5)), ((2, (1, 2), 1), (2, 3, 4, 5))],
    "Upsample": [
        ((3,), (2, 3, 4, 5)),
        ((None, 2), (2, 3, 4)),
        (((5, 3), None, "bilinear", False), (2, 3, 4, 5)),
        ((None, (1.5, 0.6), "bicubic", True), (2, 3, 4, 5)),
        ((None, 1.7, "trilinear", None, True), (2, 3, 4, 5, 3)),
    ],
    "UpsamplingBilinear2d": [((1,), (2, 3, 4, 5)), ((7,), (2, 3, 4, 5)), ((None, (1.5, 2)), (2, 3, 4, 5))],
    "UpsamplingNearest2d": [(((2, 7),), (2, 3, 4, 5)), ((None, 1.7), (2, 3, 4, 5)), ((9,), (0, 3, 4, 5))],
}

# Ops with hundreds of samples, the products of a few values of each argument. What comes out of each is compared, and
# the numbers of every so many-th: the steps share no factor with how many values an argument takes.
THINNED = ("max_pool1d", "max_pool2d", "max_pool3d")
STEPS = {"float64": 11, "float32": 19, "complex128": 1}
# The same of the other ops, of which there are more than a few samples: most of the time is that of compiling them.
FEW, STEPS_OF_OTHERS = 12, {"float64": 2, "float32": 1, "complex128": 1}
# The samples of another dtype are those of float64 again, but for what the dtype lacks: by default so many-th of them.
OF_ANOTHER_DTYPE = 1 if "JAXCONV_ALL" in os.environ else 3
# Fewer, of which the gradients take long to compile; those of an unpooling are made from a pool's, and differ in sizes
# alone. A pool takes no complex numbers.
UNPOOLED = ("max_unpool1d", "max_unpool2d", "max_unpool3d")
EVERY = {"interpolate": 7, "grid_sample": 7, **dict.fromkeys(UNPOOLED, 5)}
PARTS = 3  # of the samples of such an op

NOT_OF_ARRAYS = ("algorithms", "explain", "fuse")
FUNCTIONS = [n for n, f in vars(jaxconv).items() if inspect.isfunction(f) and n not in NOT_OF_ARRAYS]
LAYERS = [name for name in jaxconv.nnx.__all__ if name not in (*OF_OTHERS, *AT_RANDOM)]

# Names that PyTorch has besides, and what they are of ours.
ALIASES = {
    "upsample_nearest": ("interpolate", {"mode": "nearest"}),
    "upsample_bilinear": ("interpolate", {"mode": "bilinear", "align_corners": True}),
}


def ours(op):
    """The function of ours that an op of `torch.nn.functional` is."""
    return ALIASES.get(op.name[14:], (op.name[14:],))[0]


@functools.cache
def databases():
    """PyTorch's descriptions of its ops and modules, of those that are here too. Importing them takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
        from torch.testing._internal.common_modules import module_db
    ops = [op for op in op_db if op.name.startswith("nn.functional.") and ours(op) in FUNCTIONS]
    of_torch = [m for m in module_db if m.module_cls.__module__.startswith("torch.nn")]
    return ops, [m for m in of_torch if m.module_cls.__name__ in LAYERS]


def test_all_names_have_samples_or_a_reason():
    ops, modules = databases()
    sampled = {ours(op) for op in ops} | {m.module_cls.__name__ for m in modules}
    assert {*FUNCTIONS, *LAYERS} - sampled == set(NO_SAMPLES)
    assert {*OWN_SAMPLES, *(m.module_cls.__name__ for m in modules)} == set(LAYERS)


# --- functions ------------------------------------------------------------------------------------------------


def as_call(op, sample) -> Call:
    """The call that a sample is."""

    def plain(value):
        if isinstance(value, torch.Tensor):
            return Arr(tuple(value.shape), str(value.dtype)[6:])
        if isinstance(value, list | tuple):
            return tuple(map(plain, value))
        return value

    kwargs = {k: plain(v) for k, v in sample.kwargs.items()}
    kwargs |= ALIASES.get(op.name[14:], ("", {}))[1]
    name, args = ours(op), [plain(sample.input), *map(plain, sample.args)]
    if name.startswith("max_unpool"):  # the indices are positions, in what comes out where the call is not in error
        places = sample.args[0]
        args[1] = args[1]._replace(below=max(int(places.max()) + 1 if places.numel() else 1, 1))
    return Call(name, tuple(args), tuple(kwargs.items()))


@functools.cache
def samples(name, dtype):
    """The different calls among the samples of an op in all its variants."""
    calls = {}
    for op in databases()[0]:
        if ours(op) == name:
            torch.manual_seed(0)
            # Not `op.sample_inputs`, which looks through the stack for each of them.
            for each in op.sample_inputs_func(op, "cpu", getattr(torch, dtype), requires_grad=False):
                found = as_call(op, each)
                calls.setdefault(str(found), found)
    return list(calls.values())


SAMPLED = [
    pytest.param(name, dtype, part, id=f"{name}-{dtype}-{part}")
    for name in FUNCTIONS
    if name not in NO_SAMPLES
    for dtype in (DTYPES if name not in UNPOOLED else DTYPES[:2])
    for part in range(PARTS if name in THINNED else 1)
]


@pytest.mark.parametrize(("name", "dtype", "part"), SAMPLED)
def test_functions(name, dtype, part):
    calls = samples(name, dtype)[:: 1 if dtype == "float64" or name in THINNED else OF_ANOTHER_DTYPE]
    step = EVERY.get(name) or (1 if len(calls) <= FEW else STEPS_OF_OTHERS[dtype])
    if name in THINNED:
        size = -(-len(calls) // PARTS)
        calls, step = calls[part * size :][:size], STEPS[dtype]
    failures = side_by_side.compare(calls, differences.covered, gradients=dtype == "float64", step=step)
    assert not failures, "\n".join(failures)


def test_only_ops_of_many_samples_are_thinned():
    many = {name for name in FUNCTIONS if len(samples(name, "float64")) > 250}
    assert many == set(THINNED)


def test_every_pair_of_arguments_is_among_those_of_which_the_numbers_are_compared():
    for name in THINNED:
        calls = [(str(c.args[0].shape), *map(str, c.kwargs)) for c in samples(name, "float64")]
        for a, b in itertools.combinations(range(len(calls[0])), 2):
            assert {(c[a], c[b]) for c in calls} == {(c[a], c[b]) for c in calls[:: STEPS["float64"]]}


def test_errors_of_functions():
    failures, seen = [], 0
    for op in databases()[0]:
        if op.error_inputs_func is None:
            continue
        for error in op.error_inputs_func(op, "cpu"):
            each, seen = as_call(op, error.sample_input), seen + 1
            if side_by_side.our_refusal(each)[0] is None:
                failures.append(f"{each}: PyTorch's error is {error.error_regex}")
    assert not failures, "\n".join(failures)
    assert seen > 80


# --- layers ---------------------------------------------------------------------------------------------------


def inputs(cls, dtype):
    """(constructor's arguments, by position and by name, input) of each sample of a module."""
    for args, shape, *places in OWN_SAMPLES.get(cls.__name__, ()):
        rng = np.random.default_rng(0)
        given = [side_by_side.numbers(rng, places[0], "int64", places[1])] if places else []
        yield args, {}, torch.ones(shape, dtype=getattr(torch, dtype)), *map(torch.from_numpy, given)
    for info in databases()[1]:
        if info.module_cls is cls:
            for each in info.module_inputs_func(info, "cpu", getattr(torch, dtype), requires_grad=False, training=True):
                (x,) = each.forward_input.args
                assert not each.forward_input.kwargs
                yield each.constructor_input.args, each.constructor_input.kwargs, x


def their_layer(cls, args, kwargs, dtype, x):
    """A module of PyTorch, and its parameters and its statistics by their names."""
    layer = cls(*args, **kwargs)
    if cls.__name__.startswith("Lazy"):
        layer(x.to(torch.float32))
    layer = layer.to(getattr(torch, dtype))
    statistics = {}
    for name, buffer in layer.named_buffers():
        # As if there had been batches before; a variance is positive.
        drawn = side_by_side.numbers(side_by_side.rng_of(name), tuple(buffer.shape), str(buffer.dtype)[6:])
        statistics[name] = np.asarray(abs(drawn) if name != "running_mean" else drawn)
    return layer, {n: torch_side.to_numpy(p) for n, p in layer.named_parameters()}, statistics


def nnx_layer(name, args, kwargs, dtype, x, parameters=(), statistics=(), training=True, places=()):
    """The layer as a function of its input, its parameters and its statistics; its own where no names are given."""
    cls = getattr(jaxconv.nnx, name)
    if "rngs" in inspect.signature(cls.__init__).parameters:
        kwargs = {**kwargs, "rngs": nnx.Rngs(0), "param_dtype": dtype}
    layer = cls(*args, **kwargs)
    if name.startswith("Lazy"):
        layer(x)
    graph, state = nnx.split(layer)

    def apply(x, *arrays):
        new = {k: state[k].replace(p) for k, p in zip((*parameters, *statistics), arrays, strict=True)}
        made = nnx.merge(graph, nnx.State(new) if new else state)
        made.train() if training else made.eval()
        return *torch_side.outputs_of(made(x, *places)), *(getattr(made, name)[...] for name in statistics)

    return apply


def linen_layer(name, args, kwargs, dtype, x, parameters=(), statistics=(), training=True, places=()):
    if name.startswith("Lazy"):
        name, args = name.removeprefix("Lazy"), (None, *args)
    cls = getattr(jaxconv.linen, name)
    fields = inspect.signature(cls).parameters
    if "param_dtype" in fields:
        kwargs = {**kwargs, "param_dtype": dtype}
    if "use_running_average" in fields:
        kwargs = {**kwargs, "use_running_average": not training}
    layer = cls(*args, **kwargs)

    def apply(x, *arrays):
        given = iter(arrays)
        names = {"params": parameters, "batch_stats": statistics}
        variables = {key: {n: next(given) for n in some} for key, some in names.items()}
        if not arrays:
            variables = layer.init(jax.random.key(0), x, *places)
        y, changed = layer.apply(variables, x, *places, mutable=["batch_stats"])
        return *torch_side.outputs_of(y), *(changed["batch_stats"][name] for name in statistics)

    return apply


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of lazy layers and of complex numbers
def test_layers(name):
    """Both shells in one program, since they come to the same instructions, which are then compiled once."""
    cls, programs, given_to, wanted = getattr(torch.nn, name), [], [], []
    for dtype in DTYPES:
        samples = itertools.islice(inputs(cls, dtype), None, None, 1 if dtype == "float64" else OF_ANOTHER_DTYPE)
        for (args, kwargs, given, *places), training in itertools.product(samples, (True, False)):
            text = f"{name}{args}{kwargs} of {dtype}{tuple(given.shape)}{'' if training else ' in evaluation'}"
            layer, parameters, statistics = their_layer(cls, args, kwargs, dtype, given)
            if not training and (not statistics or dtype != "float64"):
                continue  # the same again
            if given.is_complex() and given.numel() == 0 and name.startswith("BatchNorm"):
                continue  # PyTorch refuses complex numbers where there are some: see `differences`

            layer.train(training)

            def theirs(x, *arrays, layer=layer, names=(*parameters, *statistics), places=places):
                state = dict(zip(names, arrays, strict=True))
                y = torch.func.functional_call(layer, state, (x, *places))
                written = [state[name] for name, _ in layer.named_buffers()]
                return *torch_side.outputs_of(y), *written

            arrays = [torch_side.to_numpy(given), *parameters.values(), *statistics.values()]
            refused = torch_side.refusal(theirs, *map(torch_side.to_torch, arrays))
            if refused is not None:
                assert "not implemented for 'Complex" in str(refused), f"{text}: {refused}"
                continue
            constant = tuple(range(1 + len(parameters), len(arrays)))
            g = side_by_side.cotangents_of(text, theirs, arrays, constant)
            outcome = torch_side.run(theirs, arrays, g, constant)
            for shell in (nnx_layer, linen_layer):
                moving = side_by_side.moving_of(arrays, constant)
                wanted.append((f"{shell.__name__} {text}", outcome, arrays, moving))
                more = parameters, statistics, training, [torch_side.to_numpy(each) for each in places]
                programs.append(shell(name, args, kwargs, dtype, arrays[0], *more))
                given_to.append((arrays, g))
    assert len(wanted) >= 6

    def all_of_them(inputs):
        for apply, (arrays, g), (*_, moving) in zip(programs, inputs, wanted, strict=True):
            yield side_by_side.value_and_gradients(apply, arrays, g, moving)

    results = jax.tree.map(np.asarray, jax.jit(lambda inputs: list(all_of_them(inputs)))(given_to))
    problems = []
    for (text, theirs, arrays, moving), (value, gradients) in zip(wanted, results, strict=True):
        told = side_by_side.problems_of(theirs, value, gradients, arrays, moving)
        problems += [f"{text}: {problem}" for problem in told if problem]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("shell", [nnx_layer, linen_layer])
def test_errors_of_layers(shell):
    seen = 0
    for info in databases()[1]:
        if info.module_error_inputs_func is None:
            continue
        for error in info.module_error_inputs_func(info, "cpu", torch.float64, False, True):
            made, given = error.module_error_input.constructor_input, error.module_error_input.forward_input
            x = torch_side.to_numpy(given.args[0]) if given.args else None  # refused when it is made
            with pytest.raises(side_by_side.REFUSALS):
                shell(info.module_cls.__name__, made.args, made.kwargs, "float64", x)(x)
            seen += 1
    assert seen >= 6
