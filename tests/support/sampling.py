"""Seeded samples of calls in PyTorch's words, about a quarter of them with an argument that might be refused.

Axis lengths differ from one another, so that no pair of axes can change places unseen. The images are tiny: what a
call costs is its compilation.
"""

import numpy as np
from side_by_side import Arr, call

# What is given in place of a number or of one number per axis. Some of these PyTorch takes.
ODD_NUMBERS = (
    0,
    -1,
    -2,
    2.0,
    1.5,
    True,
    False,
    "2",
    None,
    np.int64(2),
    np.float64(2.0),
    (),
    [2],
    (2,),
    (1.0,),
    (True,),
)
DTYPES = ("float64",) * 14 + ("float32", "float16", "bfloat16", "complex64", "complex128", "int64")
ODD_DTYPES = ("float32", "float32", "float32", "bfloat16", "complex128", "int64", "int32", "uint8", "bool")


def one_in(rng, n):
    return rng.integers(n) == 0


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


def ints(rng, rank, low, high):
    """One int for all axes or one per axis, each in [low, high)."""
    if one_in(rng, 3):
        return int(rng.integers(low, high))
    return tuple(int(n) for n in rng.integers(low, high, rank))


def each(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def sizes(rng, rank, low=3, high=8):
    """Axis lengths in [low, high), all different."""
    return tuple(int(n) for n in rng.choice(np.arange(low, high), rank, replace=False))


def odd_number(rng, rank):
    """Something else than a positive int per axis."""
    if one_in(rng, 3):
        return (*(int(n) for n in rng.integers(1, 3, rank + pick(rng, (-1, 1)))),)
    if one_in(rng, 3):
        number = pick(rng, ODD_NUMBERS)
        place = int(rng.integers(rank))
        return tuple(number if i == place else 1 for i in range(rank))
    return pick(rng, ODD_NUMBERS)


def odd_shape(rng, shape):
    """A shape with an axis more or less, or with another size along one axis, 0 among them."""
    shape = list(shape)
    axis = int(rng.integers(len(shape)))
    how = rng.integers(4)
    if how == 0:
        del shape[axis]
    elif how == 1:
        shape.insert(axis, int(rng.integers(1, 4)))
    elif how == 2:
        shape[axis] = 0
    else:
        shape[axis] += 1
    return tuple(shape)


def odd_array(rng, array):
    if one_in(rng, 2):
        return Arr(array.shape, pick(rng, ODD_DTYPES))
    return Arr(odd_shape(rng, array.shape), array.dtype)


def written(rng, name, arguments, required):
    """The call, its arguments in order or by name; by name some are left out where they have PyTorch's default."""
    if one_in(rng, 2):
        return call(name, *arguments.values())
    named = list(arguments.items())
    kept = dict(item for i, item in enumerate(named) if i < required or item[1] is not None)
    if one_in(rng, 2):
        return call(name, **kept)
    order = rng.permutation(len(kept))
    return call(name, **{list(kept)[i]: list(kept.values())[i] for i in order})


def _batched(rng):
    return () if one_in(rng, 4) else (int(rng.integers(1, 3)),)


def _channels(rng):
    """Channels in and out, and groups, depthwise among them."""
    groups = pick(rng, (1, 1, 1, 2, 3))
    return groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3)), groups


def conv(rng, rank):
    spoil = (
        pick(rng, ("stride", "padding", "dilation", "groups", "array", "array", "kernel", "mode"))
        if one_in(rng, 3)
        else ""
    )
    inner, out, groups = _channels(rng)
    size = sizes(rng, rank, 3, 8 if rank < 3 else 6)
    kernel = tuple(int(n) for n in rng.integers(1, 4, rank))
    stride, dilation = ints(rng, rank, 1, 3), ints(rng, rank, 1, 3)
    padding = ints(rng, rank, 0, 3)
    if one_in(rng, 8):
        padding, stride = "same", 1
    elif one_in(rng, 12):
        padding = "valid"
    if spoil == "padding":
        padding = pick(rng, ("same", "valid", "sane", "SAME", -1, (-1,) * rank, odd_number(rng, rank)))
    if spoil == "kernel":
        kernel = tuple(int(n) for n in rng.integers(3, 8, rank))
    if spoil == "stride":
        stride = odd_number(rng, rank)
    if spoil == "dilation":
        dilation = odd_number(rng, rank)
    if spoil == "groups":
        groups = pick(rng, (*ODD_NUMBERS, 4, 5))
    dtype = pick(rng, DTYPES)
    divisor = groups if type(groups) is int and groups > 0 else 1
    arguments = {
        "input": Arr((*_batched(rng), inner, *size), dtype),
        "weight": Arr((out, max(inner // divisor, 1), *kernel), dtype),
        "bias": Arr((out,), dtype) if one_in(rng, 2) else None,
    }
    if spoil == "array":
        which = pick(rng, [k for k, v in arguments.items() if v is not None])
        arguments[which] = odd_array(rng, arguments[which])
    arguments.update(stride=stride, padding=padding, dilation=dilation, groups=groups)
    c = written(rng, f"conv{rank}d", arguments, 2)
    if one_in(rng, 3) or spoil == "mode":
        mode = pick(rng, ("reflect", "replicate", "circular", "zeros"))
        if spoil == "mode" and one_in(rng, 2):
            mode = pick(rng, ("mirror", "Zeros", "constant", None, 1))
        elif spoil == "mode":  # just within or beyond what an image of this size can supply
            arguments["padding"] = tuple(n + int(rng.integers(-1, 2)) if one_in(rng, 2) else 1 for n in size)
            c = written(rng, f"conv{rank}d", arguments, 2)
        c = c._replace(kwargs=(*c.kwargs, ("padding_mode", mode)))
    if c.args and not spoil and one_in(rng, 4):
        x = arguments["input"]
        lead = len(x.shape) - rank - 1
        x = Arr((*x.shape[:lead], *x.shape[lead + 1 :], x.shape[lead]), x.dtype)
        c = c._replace(args=(x, *c.args[1:]), kwargs=(*c.kwargs, ("data_format", "channels_last")))
    return c


def conv_transpose(rng, rank):
    spoils = ("stride", "padding", "output_padding", "dilation", "groups", "array", "array", "output_size")
    spoil = pick(rng, spoils) if one_in(rng, 3) else ""
    inner, out, groups = _channels(rng)
    size = sizes(rng, rank, 2, 6)
    kernel = tuple(int(n) for n in rng.integers(1, 4, rank))
    stride, dilation = ints(rng, rank, 1, 4), ints(rng, rank, 1, 4)
    padding = ints(rng, rank, 0, 3)
    most = [max(s, d) for s, d in zip(each(stride, rank), each(dilation, rank), strict=True)]
    output_padding = tuple(int(rng.integers(m)) for m in most) if one_in(rng, 2) else 0
    if spoil == "stride":
        stride = odd_number(rng, rank)
    if spoil == "padding":
        padding = pick(rng, ("same", "valid", -1, (4,) * rank, odd_number(rng, rank), odd_number(rng, rank)))
    if spoil == "output_padding":
        output_padding = pick(rng, (tuple(most), 1, 2, odd_number(rng, rank), odd_number(rng, rank)))
    if spoil == "dilation":
        dilation = odd_number(rng, rank)
    if spoil == "groups":
        groups = pick(rng, (*ODD_NUMBERS, 4, 5))
    dtype = pick(rng, DTYPES)
    divisor = groups if type(groups) is int and groups > 0 else 1
    per_group = max(out // divisor, 1)
    outs = per_group * divisor
    arguments = {
        "input": Arr((*_batched(rng), inner, *size), dtype),
        "weight": Arr((inner, per_group, *kernel), dtype),
        "bias": Arr((outs,), dtype) if one_in(rng, 2) else None,
    }
    if spoil == "array":
        which = pick(rng, [k for k, v in arguments.items() if v is not None])
        arguments[which] = odd_array(rng, arguments[which])
    arguments.update(stride=stride, padding=padding, output_padding=output_padding, groups=groups, dilation=dilation)
    c = written(rng, f"conv_transpose{rank}d", arguments, 2)
    if (spoil == "output_size" or (not spoil and one_in(rng, 6))) and output_padding == 0:
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                size, each(stride, rank), each(padding, rank), each(dilation, rank), kernel, strict=True
            )
        ]
        wanted = [int(rng.integers(n, n + s)) for n, s in zip(least, each(stride, rank), strict=True)]
        if spoil:
            axis = int(rng.integers(rank))  # just within or beyond what a stride leaves open
            wanted[axis] = least[axis] + pick(rng, (-1, each(stride, rank)[axis] - 1, each(stride, rank)[axis]))
            wanted += [1] * pick(rng, (0, 0, 0, 1, 3))
        elif one_in(rng, 3):
            wanted = [*arguments["input"].shape[:-rank], *wanted]
        c = c._replace(kwargs=(*c.kwargs, ("output_size", tuple(wanted))))
    elif c.args and not spoil and one_in(rng, 4):
        x = arguments["input"]
        lead = len(x.shape) - rank - 1
        x = Arr((*x.shape[:lead], *x.shape[lead + 1 :], x.shape[lead]), x.dtype)
        c = c._replace(args=(x, *c.args[1:]), kwargs=(*c.kwargs, ("data_format", "channels_last")))
    return c


def _positions(size, kernel, stride, padding, dilation):
    rank = len(size)
    s, p, d = (each(v, rank) for v in (stride, padding, dilation))
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, s, p, d, strict=True))


def conv_gradient(rng, rank, kind):
    """`conv*_input` or `conv*_weight`. A spoilt geometry is one that a right `grad_output` was made for before."""
    spoil = (
        pick(rng, ("stride", "padding", "dilation", "groups", "array", "array", "grad_output"))
        if one_in(rng, 3)
        else ""
    )
    inner, out, groups = _channels(rng)
    size = sizes(rng, rank, 4, 8)
    kernel = tuple(int(n) for n in rng.integers(1, 4, rank))
    stride, padding, dilation = ints(rng, rank, 1, 3), ints(rng, rank, 0, 3), ints(rng, rank, 1, 3)
    if one_in(rng, 10) and not spoil:
        padding, stride = "same", 1
    while not isinstance(padding, str) and min(_positions(size, kernel, stride, padding, dilation)) < 1:
        kernel = tuple(max(k - 1, 1) for k in kernel)
        dilation = 1
    batch = _batched(rng) if not spoil else (2,)
    x = (*batch, inner, *size)
    w = (out, inner // groups, *kernel)
    y = (*batch, out, *(size if padding == "same" else _positions(size, kernel, stride, padding, dilation)))
    if spoil == "stride":
        stride = odd_number(rng, rank)
    if spoil == "padding":
        padding = pick(rng, ("valid", "sane", -1, odd_number(rng, rank)))
    if spoil == "dilation":
        dilation = odd_number(rng, rank)
    if spoil == "groups":
        groups = pick(rng, (*ODD_NUMBERS, 4, 5))
    dtype = pick(rng, DTYPES[:-1]) if not spoil else "float64"
    given, gradient = Arr(w if kind == "input" else x, dtype), Arr(y, dtype)
    if spoil == "array":
        given = odd_array(rng, given)
    if spoil == "grad_output":
        gradient = odd_array(rng, gradient)
    arguments = (
        {"input_size": x, "weight": given, "grad_output": gradient}
        if kind == "input"
        else {"input": given, "weight_size": w, "grad_output": gradient}
    )
    arguments.update(stride=stride, padding=padding, dilation=dilation, groups=groups)
    c = written(rng, f"conv{rank}d_{kind}", arguments, 3)
    if not spoil and (one_in(rng, 3) or not batch or padding == "same" or dtype.startswith("complex")):
        # What `torch.nn.grad` does not take is compared with the gradient of PyTorch's layer.
        c = c._replace(kwargs=(*c.kwargs, ("padding_mode", pick(rng, ("zeros", "reflect", "replicate", "circular")))))
    return c


def conv_input(rng, rank):
    return conv_gradient(rng, rank, "input")


def conv_weight(rng, rank):
    return conv_gradient(rng, rank, "weight")


PATCH_DTYPES = (*DTYPES[:-1], "bool")


def unfold(rng):
    spoil = pick(rng, ("kernel_size", "dilation", "padding", "stride", "array", "kernel")) if one_in(rng, 3) else ""
    x = Arr((*_batched(rng), int(rng.integers(1, 4)), *sizes(rng, 2)), pick(rng, PATCH_DTYPES))
    arguments = {
        "input": x,
        "kernel_size": ints(rng, 2, 1, 4),
        "dilation": ints(rng, 2, 1, 3),
        "padding": ints(rng, 2, 0, 3),
        "stride": ints(rng, 2, 1, 4),
    }
    _spoil(rng, arguments, spoil)
    return written(rng, "unfold", arguments, 2)


def fold(rng):
    spoils = ("output_size", "kernel_size", "dilation", "padding", "stride", "array", "kernel")
    spoil = pick(rng, spoils) if one_in(rng, 3) else ""
    size, kernel = sizes(rng, 2), tuple(int(n) for n in rng.integers(1, 4, 2))
    stride, padding, dilation = ints(rng, 2, 1, 4), ints(rng, 2, 0, 3), ints(rng, 2, 1, 3)
    places = int(np.prod([max(n, 1) for n in _positions(size, kernel, stride, padding, dilation)]))
    x = Arr((*_batched(rng), int(rng.integers(1, 4)) * kernel[0] * kernel[1], places), pick(rng, PATCH_DTYPES))
    arguments = {
        "input": x,
        "output_size": size,
        "kernel_size": kernel,
        "dilation": dilation,
        "padding": padding,
        "stride": stride,
    }
    _spoil(rng, arguments, spoil)
    return written(rng, "fold", arguments, 3)


def _spoil(rng, arguments, spoil):
    rank = 2
    if spoil == "array":
        arguments["input"] = odd_array(rng, arguments["input"])
    elif spoil == "kernel":
        arguments["kernel_size"] = tuple(int(n) for n in rng.integers(3, 9, rank))
    elif spoil:
        arguments[spoil] = pick(rng, (-1, (-1, 1), odd_number(rng, rank), odd_number(rng, rank)))


PAD_DTYPES = (*DTYPES, "bool", "int32", "uint8")


def pad(rng):
    mode = pick(rng, ("constant", "reflect", "replicate", "circular"))
    rank = int(rng.integers(1, 4))
    axes = rank if mode != "constant" else int(rng.integers(1, rank + 3))
    lead = int(rng.integers(1, 3))
    shape = (*(int(n) for n in rng.integers(1, 4, lead)), *sizes(rng, rank))
    axes = min(axes, len(shape))
    amounts = []
    for n in shape[::-1][:axes]:
        most = {"constant": 4, "replicate": 2 * n, "reflect": n, "circular": n + 1}[mode] + one_in(rng, 8)
        low, high = (int(rng.integers(-2, most)) for _ in range(2))
        amounts += [low, high]
    dtype = pick(rng, PAD_DTYPES)
    value = None
    if mode == "constant" and one_in(rng, 2):
        value = pick(rng, (0.0, 1.5, -2, 3))
    arguments = {"input": Arr(shape, dtype), "pad": tuple(amounts), "mode": mode, "value": value}
    if one_in(rng, 4):
        spoil = pick(rng, ("input", "pad", "pad", "mode", "value"))
        if spoil == "input":
            arguments["input"] = odd_array(rng, arguments["input"])
        elif spoil == "pad":
            i = int(rng.integers(len(amounts)))
            odd = pick(rng, (-9, 9, 1.0, "1", None, True, np.int64(1), amounts[i] + 2, -4))
            choices = (amounts[:-1], [*amounts, 1, 1], [*amounts, *([1] * 9)], 2, "12", None, ())
            arguments["pad"] = pick(rng, ((*amounts[:i], odd, *amounts[i + 1 :]), *map(_frozen, choices)))
        elif spoil == "mode":
            arguments["mode"] = pick(rng, ("zeros", "edge", "Constant", None, 1))
        else:
            arguments["value"] = pick(rng, (1.5, 0, 0.0, "1", True, 2j, (1,), -1))
    return written(rng, "pad", arguments, 2)


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value


def pool(rng, kind, rank):
    parameters = {
        "max_pool": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
        "avg_pool": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
        "adaptive_avg_pool": ("output_size",),
        "adaptive_max_pool": ("output_size", "return_indices"),
        "lp_pool": ("norm_type", "kernel_size", "stride", "ceil_mode"),
    }[kind]
    if kind == "avg_pool" and rank == 1:
        parameters = parameters[:-1]
    draw = {
        # A tuple of one is no kernel of an lp_pool1d.
        "kernel_size": lambda: ints(rng, rank, 1, 4) if (kind, rank) != ("lp_pool", 1) else int(rng.integers(1, 4)),
        "stride": lambda: None if one_in(rng, 3) else ints(rng, rank, 1, 4),
        "padding": lambda: ints(rng, rank, 0, 2),
        "dilation": lambda: ints(rng, rank, 1, 3),
        "ceil_mode": lambda: bool(one_in(rng, 2)),
        "count_include_pad": lambda: bool(one_in(rng, 2)),
        "divisor_override": lambda: pick(rng, (None, None, 3, -2)),
        "return_indices": lambda: bool(one_in(rng, 2)),
        "norm_type": lambda: pick(rng, (1, 2, 2.0, 3, 2.5, 0.5, -1, -2.0, float("inf"), -float("inf"))),
        "output_size": lambda: ints(rng, rank, 1, 7) if one_in(rng, 2) else _some_none(rng, rank),
    }
    # What PyTorch's CPU has kernels for.
    dtypes = {
        "max_pool": DTYPES[:17],
        "avg_pool": DTYPES[: 17 if rank < 3 else 15],
        "adaptive_avg_pool": DTYPES[:19],
        "adaptive_max_pool": DTYPES[:17],
        "lp_pool": DTYPES[:15],  # in 16 bits PyTorch rounds each of its steps
    }[kind]
    dtypes = (*dtypes, "int64") if kind in ("max_pool", "avg_pool") and rank > 1 else dtypes
    x = Arr((*_batched(rng), int(rng.integers(1, 3)), *sizes(rng, rank)), pick(rng, dtypes))
    arguments = {"input": x, **{name: draw[name]() for name in parameters}}
    if "padding" in arguments and not one_in(rng, 3):
        arguments["padding"] = tuple(
            min(p, k // 2)
            for p, k in zip(each(arguments["padding"], rank), each(arguments["kernel_size"], rank), strict=True)
        )
    if one_in(rng, 2):  # calls without a fault are sampled with the pools' own tests
        spoil = pick(rng, [p for p in ("input", *parameters) if p not in ("return_indices", "norm_type")])
        if spoil == "input":
            arguments["input"] = odd_array(rng, arguments["input"])
        elif spoil in ("ceil_mode", "count_include_pad"):
            arguments[spoil] = pick(rng, (0, 1, None, "True", 1.0))
        else:
            arguments[spoil] = odd_number(rng, rank)
    return written(rng, f"{kind}{rank}d", arguments, 2)


def _some_none(rng, rank):
    return tuple(None if one_in(rng, 3) and rank > 1 else int(rng.integers(1, 7)) for _ in range(rank))


def max_pool(rng, rank):
    return pool(rng, "max_pool", rank)


def avg_pool(rng, rank):
    return pool(rng, "avg_pool", rank)


def adaptive_avg_pool(rng, rank):
    return pool(rng, "adaptive_avg_pool", rank)


def _of_some_rank(kind):
    def draw(rng):
        return pool(rng, kind, int(rng.integers(1, 4)))

    draw.__name__ = kind
    return draw


adaptive_max_pool = _of_some_rank("adaptive_max_pool")
lp_pool = _of_some_rank("lp_pool")


def max_unpool(rng):
    rank = int(rng.integers(1, 4))
    kernel, padding = ints(rng, rank, 1, 4), ints(rng, rank, 0, 2)
    stride = None if one_in(rng, 3) else ints(rng, rank, 1, 4)
    x = Arr((*_batched(rng), int(rng.integers(1, 3)), *sizes(rng, rank, 2, 6)), pick(rng, DTYPES[:15]))
    steps = each(kernel if stride is None else stride, rank)
    numbers = zip(x.shape[-rank:], each(kernel, rank), steps, each(padding, rank), strict=True)
    out = [(n - 1) * s + k - 2 * p for n, k, s, p in numbers]
    size = None
    if one_in(rng, 2):
        out = [n + int(rng.integers(1 - s, s)) for n, s in zip(out, steps, strict=True)]
        size = tuple(out) if one_in(rng, 2) else (2, 3, *out)
    places = Arr(x.shape, "int64", max(int(np.prod(out)) if min(out) > 0 else 1, 1))
    arguments = {"input": x, "indices": places, "kernel_size": kernel, "stride": stride, "padding": padding}
    arguments["output_size"] = size
    if one_in(rng, 2):
        spoil = pick(rng, list(arguments))
        if spoil in ("input", "indices"):
            arguments[spoil] = odd_array(rng, arguments[spoil])._replace(below=arguments[spoil].below)
        elif spoil == "output_size":
            arguments[spoil] = pick(
                rng, ((1,) * (rank + 1), tuple(n + s for n, s in zip(out, steps, strict=True)), "2")
            )
        else:
            arguments[spoil] = odd_number(rng, rank)
    return written(rng, f"max_unpool{rank}d", arguments, 3)


def prelu(rng):
    shape = (*_batched(rng), int(rng.integers(1, 4)), *sizes(rng, int(rng.integers(0, 3))))
    x = Arr(() if one_in(rng, 10) else shape, pick(rng, DTYPES[:17]))
    slopes = x.shape[1:2] or (1,)
    weight = Arr(pick(rng, ((), (1,), slopes, slopes, slopes)), x.dtype)
    arguments = {"input": x, "weight": weight}
    if one_in(rng, 3):
        spoil = pick(rng, list(arguments))
        odd = Arr((2, *arguments[spoil].shape), x.dtype), Arr(arguments[spoil].shape, pick(rng, ODD_DTYPES))
        arguments[spoil] = pick(rng, odd)
    return written(rng, "prelu", arguments, 2)


# --- resampling ------------------------------------------------------------------------------------------------

_MODES = {
    1: ("nearest", "nearest-exact", "linear", "linear", "area"),
    2: ("nearest", "nearest-exact", "bilinear", "bilinear", "bicubic", "bicubic", "lanczos", "area"),
    3: ("nearest", "nearest-exact", "trilinear", "trilinear", "area"),
}
FLOATS = ("float64",) * 9 + ("float32", "float32", "float16", "bfloat16")


def interpolate(rng, rank):
    spoils = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias", "both")
    spoil = pick(rng, spoils) if one_in(rng, 3) else ""
    mode = pick(rng, _MODES[rank])
    by_factor = spoil == "scale_factor" or (spoil not in ("size", "both") and one_in(rng, 2))
    antialias = mode == "lanczos" or (mode in ("bilinear", "bicubic") and bool(one_in(rng, 2)))
    x = Arr((int(rng.integers(1, 3)), int(rng.integers(1, 6)), *sizes(rng, rank)), pick(rng, (*FLOATS, "uint8")))
    arguments = {
        "input": x,
        "size": None if by_factor else ints(rng, rank, 1, 13),
        "scale_factor": _factors(rng, rank, antialias or (rank != 2 and "nearest" in mode)) if by_factor else None,
        "mode": mode,
        "align_corners": pick(rng, (None, True, False)) if mode.endswith(("linear", "cubic")) else None,
        "recompute_scale_factor": pick(rng, (None, True, False)) if by_factor else None,
        "antialias": antialias,
    }
    if arguments["antialias"] and not by_factor:  # of one column PyTorch's antialiased rows are all alike
        arguments["size"] = ints(rng, rank, 2, 13)
    if spoil == "input":
        arguments["input"] = odd_array(rng, x)
    elif spoil == "size":
        arguments["size"] = odd_number(rng, rank)
    elif spoil == "scale_factor":
        arguments["scale_factor"] = pick(rng, (0.01, -1.5, odd_number(rng, rank), odd_number(rng, rank)))
    elif spoil == "mode":
        arguments["mode"] = pick(rng, ("linear", "bilinear", "trilinear", "bicubic", "cubic", "Nearest", None, 1))
    elif spoil == "both":
        arguments.update(pick(rng, ({"size": None}, {"scale_factor": 2.0})))
    elif spoil:
        arguments[spoil] = pick(rng, (True, False, 1, None, "True"))
    c = written(rng, "interpolate", arguments, 1)
    if c.args and not spoil and one_in(rng, 3):
        last = Arr((x.shape[0], *x.shape[2:], x.shape[1]), x.dtype)
        c = c._replace(args=(last, *c.args[1:]), kwargs=(*c.kwargs, ("data_format", "channels_last")))
    return c


def _factors(rng, rank, whole):
    """One factor for all axes or one per axis, `whole` ones and 0.75 alone or others too.

    By others PyTorch's gradient is not that of its value: of the nearest neighbour where there are not two axes, of an
    antialiased image where an axis stays as long as it is.
    """
    factors = tuple(
        pick(rng, (2, 3, 0.75) if whole else (2, 3, 0.5, round(float(rng.uniform(0.4, 2.5)), 3))) for _ in range(rank)
    )
    return factors[0] if one_in(rng, 3) else factors


def grid_sample(rng, rank):
    spoil = pick(rng, ("input", "grid", "mode", "padding_mode", "align_corners")) if one_in(rng, 3) else ""
    n, dtype = int(rng.integers(1, 3)), pick(rng, FLOATS[:-2])  # PyTorch computes places of 16 bits in 16 bits
    arguments = {
        "input": Arr((n, int(rng.integers(1, 4)), *sizes(rng, rank, 1, 6)), dtype),
        "grid": Arr((n, *sizes(rng, rank, 1, 6), rank), dtype),
        "mode": pick(rng, ("bilinear", "bilinear", "bilinear", "nearest", "nearest", "bicubic")),
        "padding_mode": pick(rng, ("zeros", "border", "reflection")),
        "align_corners": pick(rng, (None, True, False)),
    }
    if spoil in ("input", "grid"):
        arguments[spoil] = odd_array(rng, arguments[spoil])
    elif spoil:
        arguments[spoil] = pick(rng, ("linear", "zero", None, 1, "True", True))
    return written(rng, "grid_sample", arguments, 2)


def affine_grid(rng):
    rank = int(rng.integers(2, 4))
    size = (int(rng.integers(1, 3)), int(rng.integers(1, 4)), *sizes(rng, rank, 1, 6))
    arguments = {
        "theta": Arr((size[0], rank, rank + 1), pick(rng, FLOATS)),
        "size": size,
        "align_corners": pick(rng, (None, True, False)),
    }
    if one_in(rng, 2):
        spoil = pick(rng, list(arguments))
        if spoil == "theta":
            arguments["theta"] = odd_array(rng, arguments["theta"])
        elif spoil == "size":
            arguments["size"] = pick(rng, (size[:-1], (*size, 3), (0, *size[1:]), (*size[:-1], -1), 3, None, "2345"))
        else:
            arguments["align_corners"] = pick(rng, (0, 1, "True"))
    return written(rng, "affine_grid", arguments, 2)


def shuffle(rng):
    """All three of them."""
    name = pick(rng, ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"))
    factor, (c, h, w) = int(rng.integers(1, 4)), sizes(rng, 3, 1, 5)
    scaled = {"pixel_shuffle": (c * factor**2, h, w), "pixel_unshuffle": (c, h * factor, w * factor)}
    x = Arr((*_batched(rng), *scaled.get(name, (c * factor, h, w))), pick(rng, PAD_DTYPES))
    if name == "channel_shuffle" and len(x.shape) == 3:
        x = Arr((2, *x.shape[:2]), x.dtype)
    last = one_in(rng, 3)
    if last:
        axis = 1 if name == "channel_shuffle" else len(x.shape) - 3
        x = Arr((*x.shape[:axis], *x.shape[axis + 1 :], x.shape[axis]), x.dtype)
    elif one_in(rng, 2):
        x, factor = pick(rng, ((odd_array(rng, x), factor), (x, pick(rng, ODD_NUMBERS)), (x, factor + 1)))
        if 0 in x.shape and name == "pixel_unshuffle":  # of nothing PyTorch's has the shape of its input
            name = "pixel_shuffle"
    c = call(name, x, factor)
    return c._replace(kwargs=(("data_format", "channels_last"),)) if last else c


# --- normalisation ---------------------------------------------------------------------------------------------

NORM_DTYPES = ("float64",) * 10 + ("float32", "float16", "float16", "bfloat16", "bfloat16")


def _statistics_and_parameters(rng, channels, dtype):
    """Running statistics, both or none of them, and parameters, of a 16-bit input some of float32."""
    kind = "float32" if dtype in ("float16", "bfloat16") and one_in(rng, 2) else dtype
    statistics, array = not one_in(rng, 3), Arr((channels,), kind)
    return {
        "running_mean": array if statistics else None,
        "running_var": array if statistics else None,
        "weight": None if one_in(rng, 3) else array,
        "bias": None if one_in(rng, 3) else array,
    }


def _norm_input(rng, least=2):
    """A batch, which may be empty, of up to three spatial axes."""
    rank = int(rng.integers(least - 2, 4))
    batch = pick(rng, (0, 1, 2, 2, 3))
    return Arr((batch, int(rng.integers(1, 4)) * 2, *sizes(rng, rank, 1, 5)), pick(rng, NORM_DTYPES))


def _spoilt_norm(rng, name, arguments, numbers, required):
    """The call, in a third of all cases with an argument that might be refused, in a fourth with the channels last."""
    arrays = [k for k, v in arguments.items() if isinstance(v, Arr)]
    spoil = one_in(rng, 3)
    if spoil and one_in(rng, 2):
        which = pick(rng, arrays)
        arguments[which] = odd_array(rng, arguments[which])
    elif spoil and one_in(rng, 3) and "running_mean" in arguments:
        arguments[pick(rng, ("running_mean", "running_var"))] = None
    elif spoil:
        arguments[pick(rng, numbers)] = pick(rng, (0, -1, 2.5, True, None, "1", 1j, np.float64(0.3), (1,)))
    c = written(rng, name, arguments, required)
    last = name in ("batch_norm", "instance_norm", "group_norm", "local_response_norm")
    if last and c.args and not spoil and one_in(rng, 3):
        x = arguments["input"]
        c = c._replace(
            args=(Arr((x.shape[0], *x.shape[2:], x.shape[1]), x.dtype), *c.args[1:]),
            kwargs=(*c.kwargs, ("data_format", "channels_last")),
        )
    return c


def batch_norm(rng):
    x = _norm_input(rng)
    arguments = {
        "input": x,
        **_statistics_and_parameters(rng, x.shape[1], x.dtype),
        "training": not one_in(rng, 4),
        "momentum": pick(rng, (0.1, 0.3, 1, 0.0, 1.5, True)),
        "eps": pick(rng, (1e-3, 0.1, 1, 0.5)),
    }
    return _spoilt_norm(rng, "batch_norm", arguments, ("training", "momentum", "eps"), 5)


def instance_norm(rng):
    x = _norm_input(rng, 3)
    x = x._replace(shape=(max(x.shape[0], 1), *x.shape[1:]))  # PyTorch's statistics of no image are NaN
    arguments = {
        "input": x,
        **_statistics_and_parameters(rng, x.shape[1], x.dtype),
        "use_input_stats": not one_in(rng, 4),
        "momentum": pick(rng, (0.1, 0.3, 1, 0.0, 1.5)),
        "eps": pick(rng, (1e-3, 0.1, 1, 0.5)),
    }
    return _spoilt_norm(rng, "instance_norm", arguments, ("use_input_stats", "momentum", "eps"), 5)


def group_norm(rng):
    x = _norm_input(rng)
    parameters = _statistics_and_parameters(rng, x.shape[1], x.dtype)
    arguments = {
        "input": x,
        "num_groups": pick(rng, (1, 2, x.shape[1], 3)),
        "weight": parameters["weight"],
        "bias": parameters["bias"] if parameters["weight"] else None,  # alone PyTorch cannot differentiate it
        "eps": pick(rng, (1e-3, 0.1, 1, 0.5)),
    }
    return _spoilt_norm(rng, "group_norm", arguments, ("num_groups", "eps"), 2)


def _last_axes(rng, name):
    x = _norm_input(rng)
    shape = x.shape[-int(rng.integers(1, len(x.shape) + 1)) :]
    kind = "float32" if x.dtype in ("float16", "bfloat16") and one_in(rng, 2) else x.dtype
    arguments = {"input": x, "normalized_shape": pick(rng, (shape, shape, shape, (*shape, 2), shape[0]))}
    for parameter in ("weight", "bias")[: 2 if name == "layer_norm" else 1]:
        arguments[parameter] = None if one_in(rng, 3) else Arr(shape, kind)
    arguments["eps"] = pick(rng, (1e-3, 0.1, 1, 0.5) if name == "layer_norm" else (None, 1e-3, 1, 0.5))
    return _spoilt_norm(rng, name, arguments, ("normalized_shape", "eps"), 2)


def layer_norm(rng):
    return _last_axes(rng, "layer_norm")


def rms_norm(rng):
    return _last_axes(rng, "rms_norm")


def local_response_norm(rng):
    arguments = {
        "input": _norm_input(rng, 3),
        "size": int(rng.integers(1, 8)),
        "alpha": pick(rng, (1e-4, 1, 0.3)),
        "beta": pick(rng, (0.75, 0.5, 2, -1)),
        "k": pick(rng, (1.0, 2, 0.5)),
    }
    return _spoilt_norm(rng, "local_response_norm", arguments, ("size", "alpha", "beta", "k"), 2)


# (how they are drawn, the spatial rank, how many)
FAMILIES = (
    *((draw, rank, 125) for draw in (conv, conv_transpose) for rank in (1, 2, 3)),
    *((draw, rank, 75) for draw in (conv_input, conv_weight) for rank in (1, 2, 3)),
    (unfold, None, 100),
    (fold, None, 100),
    (pad, None, 200),
    (adaptive_max_pool, None, 50),
    (lp_pool, None, 50),
    (max_unpool, None, 50),
    (prelu, None, 50),
    *(
        (draw, None, 25)
        for draw in (
            batch_norm,
            instance_norm,
            group_norm,
            layer_norm,
            rms_norm,
            local_response_norm,
        )
    ),
    *((draw, rank, 50) for draw in (max_pool, avg_pool, adaptive_avg_pool) for rank in (1, 2, 3)),
    *((interpolate, rank, number) for rank, number in ((1, 50), (2, 125), (3, 50))),
    *((grid_sample, rank, 25) for rank in (2, 3)),
    (affine_grid, None, 25),
    (shuffle, None, 75),
)
