"""The roofline: how fast a layer can be, from how much it computes for each byte that it moves."""

import math
from collections.abc import Sequence
from typing import Any

from jaxconv._explain.picture.canvas import EDGE, FAINT, MONO, NEXT, SANS, TAP, TEXT, add_axes, write
from jaxconv._explain.picture.layout import Box
from jaxconv._explain.picture.scene import ModelScene, Point

_TOLD = 14  # points with a number, and a line in the table
_NAME = 30  # columns of a name in the table


def draw_roofline(figure: Any, box: Box, scene: ModelScene) -> None:
    """Two ceilings, a point for each layer, and a table of those with the most products."""
    axes, machine = add_axes(figure, box), scene.machine
    points = sorted(scene.points, key=lambda p: -p.share)
    told = sorted(points[:_TOLD], key=lambda p: p.intensity)
    measured = any(p.speed is not None for p in points)
    intensities = [*(p.intensity for p in points), machine.ridge]
    left, right = min(intensities) / 3, max(intensities) * 3
    speeds = [_height(p, scene) for p in points]
    lowest, top = min(*speeds, machine.bytes * left * 2), machine.flops * 3
    bottom = lowest / (top / lowest) ** 0.4  # with room for numbers below the lowest point
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    roof = [left, machine.ridge, right]
    axes.plot(roof, [machine.bytes * left, machine.flops, machine.flops], color=TEXT, linewidth=1.4, zorder=2)
    axes.fill_between(
        roof,
        [machine.bytes * left, machine.flops, machine.flops],
        bottom,
        color=EDGE,
        alpha=0.12,
        linewidth=0,
        zorder=0,
    )
    _label_ceilings(axes, box, scene, (left, right, bottom, top), intensities)
    for point in points:
        area = 20 + 900 * point.share
        axes.scatter(
            point.intensity, _height(point, scene), s=area, color=TAP if point in told else FAINT, alpha=0.55,
            edgecolor="white", linewidth=0.6, zorder=3,
        )  # fmt: skip
    _number(axes, box, [(math.log(p.intensity), math.log(_height(p, scene))) for p in told], (left, right, bottom, top))
    what = "as fast as measured" if measured else "as fast as its ceiling lets it be"
    axes.set_title(f"roofline: each layer {what}", fontsize=11, family=SANS, color=TEXT, loc="left", pad=8)
    axes.set_xlabel("arithmetic intensity, FLOP/byte", fontsize=9, color=TEXT)
    axes.set_ylabel("FLOP/s", fontsize=9, color=TEXT)
    axes.tick_params(which="both", length=0, labelsize=8, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(EDGE)
    _table(figure, box, scene, told, len(points))


def _height(point: Point, scene: ModelScene) -> float:
    reachable = min(scene.machine.flops, scene.machine.bytes * point.intensity)
    return reachable if point.speed is None else point.speed


def _label_ceilings(
    axes: Any, box: Box, scene: ModelScene, limits: tuple[float, float, float, float], intensities: Sequence[float]
) -> None:
    """The ceilings' speeds: of the flat one at its end, of the other one where it is furthest from all points."""
    left, right, bottom, top = limits
    machine = scene.machine
    style = {"fontsize": 9, "family": SANS, "color": TEXT, "textcoords": "offset points"}
    axes.annotate(
        f"arithmetic: {_si(machine.flops)}FLOP/s",
        (right, machine.flops),
        xytext=(-4, 11),
        ha="right",
        va="bottom",
        **style,
    )
    # On a page the slope is that of equal logarithms, by the inches that a factor takes along each axis.
    slope = (box.height / math.log(top / bottom)) / (box.width / math.log(right / left))
    angle = math.degrees(math.atan(slope))
    places = [left * (machine.ridge / left) ** (0.3 + 0.1 * i) for i in range(6)]
    where = max(places, key=lambda x: min(abs(math.log(x / other)) for other in intensities))
    axes.annotate(
        f"memory: {_si(machine.bytes)}B/s", (where, machine.bytes * where), xytext=(-5, 7), ha="center", va="bottom",
        rotation=angle, rotation_mode="anchor", **style,
    )  # fmt: skip


def _number(axes: Any, box: Box, places: list[tuple[float, float]], limits: tuple[float, float, float, float]) -> None:
    """The points' numbers below them, from left to right, each where there is room."""
    left, right, bottom, top = (math.log(n) for n in limits)
    inches = [((x - left) / (right - left) * box.width, (y - bottom) / (top - bottom) * box.height) for x, y in places]
    taken = list(inches)  # by points, and by numbers
    for number, ((x, y), (across, up)) in enumerate(zip(places, inches, strict=True), 1):
        down = 0.28
        while any(abs(across - a) < 0.24 and abs(up - down - b) < 0.17 for a, b in taken):
            down += 0.09
        taken.append((across, up - down))
        place = (math.exp(x), math.exp(y))
        below = {"xy": place, "xytext": (0, -72 * down), "textcoords": "offset points", "annotation_clip": False}
        line = {"arrowstyle": "-", "color": NEXT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", **below, arrowprops=line, zorder=3)  # all lines are below all numbers
        axes.annotate(
            str(number), **below, ha="center", va="center", fontsize=8.5, family=SANS, color=TEXT, zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _table(figure: Any, box: Box, scene: ModelScene, told: list[Point], number: int) -> None:
    x, y = box.x + box.width + 0.35, box.y + box.height
    lines = [f"{'':>2} {'layer':<{_NAME}} {'MACs':>6} {'FLOP/B':>7}"]
    for i, point in enumerate(told, 1):
        more = f" +{point.number - 1}" if point.number > 1 else ""
        room = _NAME - len(more)
        name = point.name if len(point.name) <= room else f"...{point.name[3 - room :]}"
        lines.append(f"{i:>2} {name + more:<{_NAME}} {100 * point.share:5.1f}% {point.intensity:7.1f}")
    for i, line in enumerate(lines):
        write(figure, line, x, y - 0.2 - 0.21 * i, size=8.5, family=MONO, color=FAINT if i == 0 else TEXT)
    notes = ["+n: n more rows that are like it"] * any(p.number > 1 for p in told)
    notes += [f"{number - len(told)} points with fewer products are grey"] * (number > len(told))
    notes += [f"{scene.others} rows have no products: bound by memory"] * bool(scene.others)
    for i, line in enumerate(notes):
        write(figure, line, x, y - 0.4 - 0.21 * len(lines) - 0.2 * i, size=8.5, color=FAINT)


def _si(number: float) -> str:
    """A number of three digits with its prefix."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g} "
