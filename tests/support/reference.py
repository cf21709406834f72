"""The oracle: every operation from its definition, in NumPy, as plainly as it can be said.

Nothing here comes from `jaxconv`, from JAX or from PyTorch, and nothing is fast. Arrays are float64,
complex128 or integer. They are batched and channels first: images (N, C, *spatial), weights
(O, C / groups, *kernel). The spatial axes are whatever is left after the first two, so one function serves
1-d, 2-d and 3-d.

Every product is bilinear: nothing is conjugated, so the adjoints are transposes, as a JAX vector-Jacobian
product is.

A number stands for the same number on every axis. `pads` is a number, or for each spatial axis a number or a
(low, high) pair, the first spatial axis first (PyTorch's `F.pad` lists them from the last).
"""

import itertools
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def _each(value, rank):
    """One number per spatial axis."""
    return (value,) * rank if np.ndim(value) == 0 else tuple(value)


def _pairs(pads, rank):
    """One (low, high) pair per spatial axis."""
    return tuple((p, p) if np.ndim(p) == 0 else tuple(p) for p in _each(pads, rank))


def channels_last(x):
    """(N, C, *spatial) -> (N, *spatial, C)."""
    return np.moveaxis(x, 1, -1)


def channels_first(x):
    """(N, *spatial, C) -> (N, C, *spatial)."""
    return np.moveaxis(x, -1, 1)


# --- padding -----------------------------------------------------------------------------------------------


def index_map(size, low, high, mode):
    """Where each position of one padded axis comes from: an index in [0, size), or -1 where there is none.

    Position j of the padded axis stands at s = j - low of the original axis, and

        zeros      s where 0 <= s < n, else none
        reflect    the walk 0 1 2 .. n-1 .. 2 1 0 ..   of period 2(n-1): the edge is not repeated
        symmetric  the walk 0 1 .. n-1 n-1 .. 1 0 0 .. of period 2n: the edge is repeated
        replicate  s clipped to [0, n-1]
        circular   s mod n

    A negative amount crops. What that means beside a positive amount on the other side was settled by asking
    PyTorch (`F.pad`): `reflect` and `replicate` read the original image, so what was cropped at one end can
    come back by reflection at the other; `circular` crops first and wraps what remains, so it cannot. (Where
    it would wrap more than what remains, PyTorch reads memory that nobody has written; here it goes on
    wrapping.) For zeros the two orders agree. `symmetric`, which PyTorch lacks, reads the original image, as
    `reflect` does.
    """
    s = np.arange(size + low + high) - low
    if len(s) and mode not in ("zeros", "constant"):
        left = size - max(-low, 0) - max(-high, 0) if mode == "circular" else size
        if left <= 0:
            raise ValueError(f"{mode} padding of an axis with nothing to read")
    if mode in ("zeros", "constant"):
        return np.where((s >= 0) & (s < size), s, -1)
    if mode == "replicate":
        return np.clip(s, 0, size - 1)
    if mode == "reflect":
        s = s % max(2 * (size - 1), 1)
        return np.where(s < size, s, 2 * (size - 1) - s)
    if mode == "symmetric":
        s = s % max(2 * size, 1)
        return np.where(s < size, s, 2 * size - 1 - s)
    if mode == "circular":
        first, last = max(-low, 0), size - max(-high, 0)  # what the crop leaves: [first, last)
        return first + (s - first) % max(last - first, 1)
    raise ValueError(f"unknown padding mode {mode!r}")


def _axis_maps(spatial, pads, mode):
    if any(n + low + high < 0 for n, (low, high) in zip(spatial, pads, strict=True)):
        raise ValueError(f"pads {pads} crop more than the image {tuple(spatial)} has")
    return [index_map(n, low, high, mode) for n, (low, high) in zip(spatial, pads, strict=True)]


def pad(x, pads, mode, value=0.0):
    """padded[.., i, j] = x[.., m(i), m'(j)], m and m' the axes' `index_map`s; `value` where either is none.

    `pads` holds one (low, high) pair for each of the trailing axes.
    """
    rank = len(pads)
    maps = _axis_maps(x.shape[x.ndim - rank :], pads, mode)
    for axis, m in enumerate(maps, start=x.ndim - rank):
        shape = [1] * x.ndim
        shape[axis] = len(m)
        if x.shape[axis]:
            x = np.where((m >= 0).reshape(shape), np.take(x, m, axis), np.asarray(value, x.dtype))
        else:  # nothing to take from
            x = np.full((*x.shape[:axis], len(m), *x.shape[axis + 1 :]), value, x.dtype)
    return x


def pad_adjoint(y, spatial, pads, mode):
    """The transpose of `pad` (with value 0): x[m(j)] += y[j] for every j that has a source."""
    rank = len(pads)
    maps = _axis_maps(spatial, pads, mode)
    for axis, (m, n) in enumerate(zip(maps, spatial, strict=True), start=y.ndim - rank):
        x = np.zeros((*y.shape[:axis], n, *y.shape[axis + 1 :]), y.dtype)
        into, of = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)  # views
        np.add.at(into, m[m >= 0], of[m >= 0])  # `add.at`, for indices repeat
        y = x
    return y


# --- convolution and its two adjoints ----------------------------------------------------------------------


def conv(x, w, b=None, *, stride=1, pads=0, dilation=1, groups=1, padding_mode="zeros"):
    """y[n, o, i] = b[o] + sum over c, t of w[o, c, t] * padded(x)[n, g(o) C/G + c, s i + d t].

    g(o) = floor(o / (O/G)) is the group of o. i and t run over spatial positions and kernel taps, axis by
    axis; i goes as far as the last tap stays inside: i <= (n + low + high - d (k - 1) - 1) / s.
    """
    rank = w.ndim - 2
    stride, dilation, pads = _each(stride, rank), _each(dilation, rank), _pairs(pads, rank)
    x = pad(x, pads, padding_mode)
    space = tuple(range(2, 2 + rank))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:], strict=True))
    windows = sliding_window_view(x, reach, axis=space)  # (N, C, *positions, *reach)
    windows = windows[(..., *(slice(None, None, s) for s in (*stride, *dilation)))]
    out, taps = "ijk"[:rank], "rst"[:rank]
    per_in, per_out = w.shape[1], w.shape[0] // groups
    y = [
        np.einsum(
            f"nc{out}{taps},oc{taps}->no{out}",
            windows[:, g * per_in : (g + 1) * per_in],
            w[g * per_out : (g + 1) * per_out],
            optimize=True,
        )
        for g in range(groups)
    ]
    y = np.concatenate(y, axis=1)
    return y if b is None else y + b.reshape(-1, *(1,) * rank)


def _tap_slices(kernel, stride, dilation, out):
    """For each tap t: its index, and the positions s i + d t that it reads in the padded image, as slices."""
    for t in itertools.product(*map(range, kernel)):
        starts = [d * k for d, k in zip(dilation, t, strict=True)]
        yield t, tuple(slice(a, a + s * n, s) for a, s, n in zip(starts, stride, out, strict=True))


def conv_input(x_shape, w, y, *, stride=1, pads=0, dilation=1, groups=1, padding_mode="zeros"):
    """The transpose of `conv` in x.

    padded[n, g(o) C/G + c, s i + d t] += w[o, c, t] * y[n, o, i] for all o, c, t, i; then `pad_adjoint`.

    <y, conv(x, w)> = <conv_input(x.shape, w, y), x>.
    """
    rank = w.ndim - 2
    stride, dilation, pads = _each(stride, rank), _each(dilation, rank), _pairs(pads, rank)
    padded_shape = [n + low + high for n, (low, high) in zip(x_shape[2:], pads, strict=True)]
    padded = np.zeros((*x_shape[:2], *padded_shape), np.result_type(w, y))
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for t, at in _tap_slices(w.shape[2:], stride, dilation, y.shape[2:]):
        for g in range(groups):
            ins, outs = slice(g * per_in, (g + 1) * per_in), slice(g * per_out, (g + 1) * per_out)
            padded[(slice(None), ins, *at)] += np.einsum("oc,no...->nc...", w[(outs, slice(None), *t)], y[:, outs])
    return pad_adjoint(padded, x_shape[2:], pads, padding_mode)


def conv_weight(x, w_shape, y, *, stride=1, pads=0, dilation=1, groups=1, padding_mode="zeros"):
    """The transpose of `conv` in w.

    w[o, c, t] = sum over n, i of y[n, o, i] * padded(x)[n, g(o) C/G + c, s i + d t]

    <y, conv(x, w)> = <conv_weight(x, w.shape, y), w>.
    """
    rank = len(w_shape) - 2
    stride, dilation, pads = _each(stride, rank), _each(dilation, rank), _pairs(pads, rank)
    x = pad(x, pads, padding_mode)
    w, out = np.zeros(w_shape, np.result_type(x, y)), "ijk"[:rank]
    per_in, per_out = w_shape[1], w_shape[0] // groups
    for t, at in _tap_slices(w_shape[2:], stride, dilation, y.shape[2:]):
        for g in range(groups):
            ins, outs = slice(g * per_in, (g + 1) * per_in), slice(g * per_out, (g + 1) * per_out)
            w[(outs, slice(None), *t)] = np.einsum(f"no{out},nc{out}->oc", y[:, outs], x[(slice(None), ins, *at)])
    return w


def conv_transpose(x, w, b=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1, padding_mode="zeros"):
    """y[n, o, s i + d t - p] += w[c, o, t] * x[n, c, i]: each input pixel stamps its kernel onto the output.

    w is (in, out / groups, *kernel). The output has L = (n - 1) s - 2 p + d (k - 1) + 1 + output_padding
    positions. "zeros": what falls outside [0, L) is dropped. "circular": positions are taken modulo L, which
    makes this the transpose of the circularly padded convolution with the same padding, from L positions to
    n (to its first n, where output_padding >= stride gives it more).
    """
    if padding_mode not in ("zeros", "circular"):
        raise ValueError(f"a transposed convolution has no padding mode {padding_mode!r}")
    rank = w.ndim - 2
    stride, dilation = _each(stride, rank), _each(dilation, rank)
    padding, output_padding = _each(padding, rank), _each(output_padding, rank)
    per_in, per_out = w.shape[0] // groups, w.shape[1]
    sheet = [
        (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(x.shape[2:], stride, dilation, w.shape[2:], strict=True)
    ]
    y = np.zeros((x.shape[0], groups * per_out, *sheet), np.result_type(x, w))
    for t, at in _tap_slices(w.shape[2:], stride, dilation, x.shape[2:]):
        for g in range(groups):
            ins, outs = slice(g * per_in, (g + 1) * per_in), slice(g * per_out, (g + 1) * per_out)
            y[(slice(None), outs, *at)] += np.einsum("co,nc...->no...", w[(ins, slice(None), *t)], x[:, ins])
    for axis, (n, p, extra) in enumerate(zip(sheet, padding, output_padding, strict=True), start=2):
        size = n - 2 * p + extra
        to = np.arange(n) - p
        if padding_mode == "circular":
            to %= size
        kept = (to >= 0) & (to < size)
        out = np.zeros((*y.shape[:axis], size, *y.shape[axis + 1 :]), y.dtype)
        np.add.at(np.moveaxis(out, axis, 0), to[kept], np.moveaxis(y, axis, 0)[kept])
        y = out
    return y if b is None else y + b.reshape(-1, *(1,) * rank)


# --- patches -----------------------------------------------------------------------------------------------


def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """(N, C, H, W) -> (N, C kh kw, L): column l is the l-th window, positions in row order.

    Row order of the result is (c, tap row, tap column), the channel slowest.
    """
    rank = x.ndim - 2
    kernel, stride, dilation = _each(kernel_size, rank), _each(stride, rank), _each(dilation, rank)
    x = pad(x, _pairs(padding, rank), "zeros")
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    windows = sliding_window_view(x, reach, axis=tuple(range(2, 2 + rank)))
    windows = windows[(..., *(slice(None, None, s) for s in (*stride, *dilation)))]  # (N, C, *out, *kernel)
    out = windows.shape[2 : 2 + rank]
    taps_first = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    return windows.transpose(taps_first).reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(out))


def fold(columns, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The transpose of `unfold`: (N, C kh kw, L) -> (N, C, H, W), the windows added where they overlap."""
    rank = len(output_size)
    kernel, stride, dilation = _each(kernel_size, rank), _each(stride, rank), _each(dilation, rank)
    pads = _pairs(padding, rank)
    padded = [n + low + high for n, (low, high) in zip(output_size, pads, strict=True)]
    out = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(padded, dilation, kernel, stride, strict=True)]
    channels = columns.shape[1] // math.prod(kernel)
    columns = columns.reshape(columns.shape[0], channels, *kernel, *out)
    x = np.zeros((columns.shape[0], channels, *padded), columns.dtype)
    for t, at in _tap_slices(kernel, stride, dilation, out):
        x[(..., *at)] += columns[(slice(None), slice(None), *t)]
    return pad_adjoint(x, output_size, pads, "zeros")


# --- pooling -----------------------------------------------------------------------------------------------


def pooled_size(size, kernel, stride, padding, dilation, ceil_mode):
    """floor or ceil of (n + 2 p - d (k - 1) - 1) / s, plus 1.

    With `ceil_mode`, one less where the last window would start in the high padding, at or beyond n: a window
    must start inside the input or the low padding.
    """
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


def _windows(x, kernel, stride, padding, dilation, ceil_mode):
    """The output's size, and for each output position its index and, per axis, where its taps fall."""
    sizes = [pooled_size(*args, ceil_mode) for args in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)]

    def walk():
        for i in itertools.product(*map(range, sizes)):
            starts = [n * s - p for n, s, p in zip(i, stride, padding, strict=True)]
            yield i, [a + d * np.arange(k) for a, d, k in zip(starts, dilation, kernel, strict=True)]

    return sizes, walk()


def _inside(taps, spatial):
    """The taps of a window that fall on the image, as an index of the trailing axes."""
    return np.ix_(*(t[(t >= 0) & (t < n)] for t, n in zip(taps, spatial, strict=True)))


def max_pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """y[n, c, i] = max over taps t of x[n, c, s i + d t - p], taps outside the image being minus infinity."""
    rank = x.ndim - 2
    kernel, padding, dilation = _each(kernel_size, rank), _each(padding, rank), _each(dilation, rank)
    stride = kernel if stride is None else _each(stride, rank)
    lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
    sizes, windows = _windows(x, kernel, stride, padding, dilation, ceil_mode)
    y = np.zeros((*x.shape[:2], *sizes), x.dtype)
    for i, taps in windows:
        window = x[(slice(None), slice(None), *_inside(taps, x.shape[2:]))]
        y[(..., *i)] = window.max(axis=tuple(range(2, 2 + rank)), initial=lowest)  # NaN wins, as in PyTorch
    return y


def avg_pool(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """y[n, c, i] = (sum of the taps of window i inside the image) / divisor.

    The divisor is `divisor_override` where given. Else, with `count_include_pad`, it is the number of taps
    inside the padded image [-p, n + p), which is less than the kernel's size where `ceil_mode` lets a window
    hang over. Else it is the number of taps inside the image.
    """
    rank = x.ndim - 2
    kernel, padding = _each(kernel_size, rank), _each(padding, rank)
    stride = kernel if stride is None else _each(stride, rank)
    sizes, windows = _windows(x, kernel, stride, padding, (1,) * rank, ceil_mode)
    y = np.zeros((*x.shape[:2], *sizes), x.dtype)
    for i, taps in windows:
        window = x[(slice(None), slice(None), *_inside(taps, x.shape[2:]))]
        if divisor_override is not None:
            divisor = divisor_override
        elif count_include_pad:
            divisor = math.prod(int((t < n + p).sum()) for t, n, p in zip(taps, x.shape[2:], padding, strict=True))
        else:
            divisor = math.prod(window.shape[2:])
        y[(..., *i)] = window.sum(axis=tuple(range(2, 2 + rank))) / divisor
    return y


def adaptive_avg_pool(x, output_size):
    """y[n, c, i] = mean of x over [floor(i n / m), ceil((i + 1) n / m)), m the output size; None keeps n."""
    rank = x.ndim - 2
    output_size = _each(output_size, rank)
    for axis, m in enumerate(output_size, start=2):
        n = x.shape[axis]
        m = n if m is None else m
        bounds = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        means = [np.moveaxis(x, axis, 0)[a:z].mean(axis=0) for a, z in bounds]
        # The mean over a box is the mean of means: every slice of the box has the same number of elements.
        x = np.stack(means, axis) if means else np.zeros((*x.shape[:axis], 0, *x.shape[axis + 1 :]), x.dtype)
    return x
