"""Images in parts: what a device's part of a result reads of the parts of its neighbours.

Along an axis of n positions that D devices divide evenly, device d has those from d m on, m = n / D. The windows of its
part of the result lie from `offset + d step` on, `length` positions of the padded image. What is outside its own part
it gets from the devices that have it, by one exchange per distance, and only that: the rows beside its own, its halo.
At the border of the image the halo is what `padding_mode` says, and its positions may be on any device: on the first
device for a wrapped right end, on the same one for a mirror, further away where a halo is wider than a part.

All of this is linear in the image. So its transpose, which adds what was read of each position to where it came from,
exchanges the same rows the other way, and is found by JAX.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._spec.padding import filler


def mesh_order(names: Sequence[str], mesh: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Some axes of a mesh in its own order, and the place in that order of each device along them.

    `lax.ppermute` counts devices in the order of the mesh, where `lax.axis_index` and the parts of arrays are counted
    along the names, the outermost first. Names in another order than the mesh's JAX refuses from 0.12 on, and counted
    as if they were in the mesh's before.

    Args:
        names: axes of the mesh.
        mesh: its axes in their order, and their sizes.
    """
    in_order = [name for name in mesh if name in names]
    grid = np.arange(math.prod(mesh[name] for name in in_order)).reshape([mesh[name] for name in in_order])
    return tuple(in_order), tuple(grid.transpose([in_order.index(name) for name in names]).ravel().tolist())


@dataclass(frozen=True)
class Windows:
    """What each device reads along an axis that devices divide: `length` positions from `offset + d * step` on.

    Positions are counted from the image's first. Those beyond the padding are zero, and read by no result.

    Attributes:
        axis: the axis of the image.
        names: the axes of the mesh that divide it, the outermost first.
        parts: how many devices these are.
        in_order: these axes, and the places of the devices, in the order of the mesh.
        size: positions of the whole image.
        pads: (low, high) amounts of padding.
        offset: the first position that the first device reads.
        step: how much further the next device begins.
        length: how many positions each reads.
    """

    axis: int
    names: tuple[str, ...]
    parts: int
    in_order: tuple[tuple[str, ...], tuple[int, ...]]
    size: int
    pads: tuple[int, int]
    offset: int
    step: int
    length: int

    def read(self, part: jax.Array, mode: str) -> jax.Array:
        """The windows of each device, from what it has of the image; where mesh axes of these names are manual."""
        own = self.size // self.parts
        devices = np.arange(self.parts)
        # Enough on both sides of its own part for the device that needs the most there.
        before = max(int((devices * (own - self.step)).max()) - self.offset, 0)
        after = max(int((devices * (self.step - own)).max()) + self.offset + self.length - own, 0)
        sides = [self._side(part, mode, np.arange(-before, 0)), part, self._side(part, mode, own + np.arange(after))]
        extended = lax.concatenate([side for side in sides if side.shape[self.axis]], self.axis)
        if self.step == own:
            return lax.slice_in_dim(extended, before + self.offset, before + self.offset + self.length, axis=self.axis)
        start = before + self.offset + lax.axis_index(self.names) * (self.step - own)
        return lax.dynamic_slice_in_dim(extended, start, self.length, self.axis)

    def _side(self, part: jax.Array, mode: str, places: np.ndarray) -> jax.Array:
        """What is at `places` of every device's window, counted from the first position of its own part."""
        own, axis = self.size // self.parts, self.axis
        devices = np.arange(self.parts)[:, None]
        positions = devices * own + places
        first = self.offset + devices * self.step
        sources = np.where((first <= positions) & (positions < first + self.length), self._sources(mode, positions), -1)
        hops = np.where(sources < 0, -1, (sources // own - devices) % self.parts)
        pieces, table, filled, hop = [], np.full(sources.shape, -1), 0, 0
        for hop in np.unique(hops[hops >= 0]):
            asked = hops == hop
            local = sources[asked] % own
            low, high = int(local.min()), int(local.max()) + 1
            piece = lax.slice_in_dim(part, low, high, axis=axis)
            receivers = np.flatnonzero(asked.any(1))
            if hop:
                names, order = self.in_order
                pairs = [(order[(d + hop) % self.parts], order[d]) for d in receivers.tolist()]
                piece = lax.ppermute(piece, names, pairs)
            pieces.append(piece)
            table[asked] = filled + local - low
            filled += high - low
        # A device to which nothing is sent receives zeros. So one piece, read in order or not at all, is the answer.
        read = table[(table >= 0).any(1)]
        if len(pieces) == 1 and hop and filled == len(places) and np.array_equal(read, read * 0 + np.arange(filled)):
            return pieces[0]
        zeros = (*part.shape[:axis], 1, *part.shape[axis + 1 :])
        pool = lax.concatenate([*pieces, jnp.zeros(zeros, part.dtype)], axis)
        rows = jnp.asarray(np.where(table < 0, filled, table).astype(np.int32))
        return jnp.take(pool, rows[lax.axis_index(self.names)], axis, mode="clip")

    def _sources(self, mode: str, positions: np.ndarray) -> np.ndarray:
        """Which positions of the image fill those of the padded one; -1 where zeros do, and beyond the padding."""
        # Circular padding wraps what cropping leaves, as `source_index` has it.
        low, high = self.pads
        first, end = (max(-low, 0), self.size + min(high, 0)) if mode == "circular" else (0, self.size)
        inside = (first <= positions) & (positions < end)
        sources = np.where(inside, positions, -1)
        if mode != "zeros":
            for at_start, outside, beyond in (
                (True, (positions < first) & (positions >= -low), first - 1 - positions),
                (False, (positions >= end) & (positions < self.size + high), positions - end),
            ):
                sources = np.where(outside, first + filler(mode, beyond, end - first, at_start=at_start), sources)
        return sources


def read_all(part: jax.Array, windows: Sequence[Windows], mode: str) -> jax.Array:
    """The windows along several axes: the corners come with the second exchange."""
    for each in windows:
        part = each.read(part, mode)
    return part
