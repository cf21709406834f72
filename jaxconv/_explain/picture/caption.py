"""The arithmetic below the picture."""

from collections.abc import Sequence

from jaxconv._explain.picture.scene import Scene, picked_channel
from jaxconv._explain.picture.view import AxisView, axis_view


def caption(scene: Scene, views: Sequence[AxisView]) -> list[str]:
    """How the positions in the picture are computed, and the size of the output."""
    shown = {a.axis.name: a for a in views}
    texts = []
    side, verb = ("input", "writes to") if scene.writes else ("output", "reads")
    for axis in scene.axes:
        place = (shown.get(axis.name) or axis_view(axis, scene.writes)).chosen[0]
        reached = axis.taps(place)
        listed = _listed(reached)
        if axis.kernel is None:
            n, m = axis.size, axis.output_size
            how = f"floor({place} * {n} / {m}) to ceil({place + 1} * {n} / {m}) - 1"
        else:
            low = f"- {axis.pads[0]}" if axis.pads[0] >= 0 else f"+ {-axis.pads[0]}"
            how = f"{place} * {axis.stride} {low} + {axis.dilation} * ({_listed(range(axis.kernel))})"
        texts.append(f"{axis.name}: {side} {place} {verb} {how} = {listed}")
    ins, outs, groups = scene.channels
    picked, reads = picked_channel(scene), ins // groups
    first = picked // (outs // groups) * reads
    span = f"channels {first} to {first + reads - 1}" if reads > 1 else f"channel {first}"
    return [
        *texts,
        *(f"size of the output, {text}" for text in scene.sizes),
        f"channels: output channel {picked} reads input {span}",
    ]


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) > 8:
        return f"{numbers[0]}, {numbers[1]}, ..., {numbers[-1]}"
    return ", ".join(str(n) for n in numbers)
