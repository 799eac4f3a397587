"""Outlines of areas in a mask: closed rings of pixel corners, the same however the mask is cut into blocks.

Along a row of lattice points the first corner is joined to the second, the third to the fourth, and so on; likewise
down each column. So two sorts link all corners of a raster into rings, which compiled code then follows. What happens
where four pixels form a chequer decides whether areas that touch at a corner are one. About 10 ms per megapixel where
a tenth is road; memory is proportional to the number of corners.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from roadseg.progress import Advance
from roadseg.ragged import offsets, ranges
from roadseg.roads.areas.corners import (
    ALONG,
    CHEQUER,
    NORTH,
    WEST,
    BlockCorners,
    Bytes,
    Corners,
    Int32s,
    LabelUnion,
    Mask,
    find_corners,
)
from roadseg.roads.mask.components import label_pairs
from roadseg.roads.mask.passes import BlockOutput, BlockPass, Passes, Read
from roadseg.roads.mask.store import BlockGrid
from roadseg.roads.pixel_graph import Bools, Floats, Ints
from roadseg.windows import Window

LINK_AT = 1_000_000
"""Number of corners after which rings are closed: it decides the memory needed, not the result."""

Simplify = Callable[[Int32s, Ints], tuple[Floats, Ints]]
"""From (corners, 2) row, col and (rings + 1,) starts of rings to their vertices and starts."""


@dataclass(frozen=True)
class Rings:
    """Closed rings, road on the right hand, in the order of their first corners.

    Parameters
    ----------
    vertices
        (vertices, 2) float64 row, col of lattice points: pixel (row, col) reaches from there to (row + 1, col + 1).
    starts
        (rings + 1,) int64: ring ``i`` owns the vertices from ``starts[i]`` up to ``starts[i + 1]``.
    hole
        (rings,) bool: whether it goes round something that is not road.
    area
        (rings,) int64: the area it bounds.
    component
        (rings,) int64: areas that touch, even at a corner only, have the same number.
    """

    vertices: Floats
    starts: Ints
    hole: Bools
    area: Ints
    component: Ints


@dataclass(frozen=True)
class _BlockToTrace:
    """A block of a mask."""

    block: Window
    mask: Mask
    raster: Window


def find_corners_of(passes: Passes, mask: Mask, on_block: Advance) -> Iterator[BlockCorners]:
    """Return the corners in all blocks of a mask, row by row.

    Parameters
    ----------
    passes
        Passes over the blocks.
    mask
        The mask; with several workers it must be picklable.
    on_block
        Called with the number of megapixels finished since the last call.
    """
    tasks = [_BlockToTrace(block, mask, passes.grid.raster) for block in passes.grid.blocks()]
    return passes.results(CORNERS, tasks, on_block)


def trace_rings(found: Iterable[BlockCorners], grid: BlockGrid, simplify: Simplify, *, joined: bool) -> Rings:
    """Trace the outlines of all areas of a mask.

    Rings are simplified as soon as they are closed, which saves memory.

    Parameters
    ----------
    found, grid
        The corners in all blocks, and the blocks.
    simplify
        What is done to each ring.
    joined
        Whether pixels that touch at a corner are one area. Its outline then visits that corner twice, and passes
        itself without touching once corners are cut. Otherwise areas end there, a ring visits each point once,
        and rings are closed at the end only.
    """
    seams, closing = LabelUnion(grid.width), _RingCloser(grid.height, grid.width, simplify)
    for window, traced in zip(grid.blocks(), found, strict=True):
        closing.add(replace(traced.corners, label=traced.corners.label + np.int32(seams.count)))
        seams.unite(traced, window)
        if joined and window.col_stop == grid.width and closing.is_due():
            closing.close(lambda pairs: np.ones(len(pairs), dtype=np.bool_))
    area_of = seams.areas()
    closing.close(lambda pairs: (area_of[pairs[:, 0]] == area_of[pairs[:, 1]]) | joined)
    return closing.rings(area_of, joined=joined)


def _find(_: Read, task: _BlockToTrace) -> BlockOutput:
    return BlockOutput(find_corners(task.mask, task.block, task.raster.height, task.raster.width))


CORNERS = BlockPass("corners", _find, result=BlockCorners)
"""The last pass."""


@dataclass(frozen=True)
class _ClosedRings:
    """Rings that are closed: vertices, where each ring starts, its first corner, whether it is a hole, its label."""

    vertices: Floats
    starts: Ints
    first: Int32s
    hole: Bools
    label: Int32s


class _RingCloser:
    """Collects corners and closes rings: holds corners that wait for others, and the rings closed so far."""

    def __init__(self, height: int, width: int, simplify: Simplify) -> None:
        self._height, self._width, self._simplify = height, width, simplify
        self._parts: list[Corners] = []
        self._waiting = self._due = 0
        self._closed: list[_ClosedRings] = []
        self._touching = [np.zeros((0, 2), dtype=np.int64)]

    def add(self, corners: Corners) -> None:
        """Add the corners of a block."""
        self._parts.append(corners)
        self._waiting += len(corners.row)

    def is_due(self) -> bool:
        """Whether enough corners wait. Those of open rings are sorted again each time, so many of them delay it."""
        return self._waiting > max(LINK_AT, 2 * self._due)

    def close(self, is_one_area: Callable[[Ints], Bools]) -> None:
        """Close all rings that lie in complete rows of blocks.

        Parameters
        ----------
        is_one_area
            From (chequers, 2) the labels of both road pixels on a chequer to whether outlines join them there.
        """
        corners = _sorted(self._parts, self._width)
        chequer = np.flatnonzero(corners.bits & CHEQUER)
        pairs = corners.label[chequer].reshape(-1, 2).astype(np.int64)
        self._touching.append(np.unique(pairs, axis=0))
        bits = _resolved(corners.bits, chequer, np.repeat(is_one_area(pairs), 2))
        partner = _linked(replace(corners, bits=bits), self._height)
        order, starts, waiting = _walk((bits & ALONG) > 0, partner)
        places = np.stack([corners.row[order], corners.col[order]], axis=1)
        first = order[starts[:-1]]
        hole = _signed_areas(places, starts) < 0
        self._closed.append(
            _ClosedRings(*self._simplify(places, starts), places[starts[:-1]], hole, corners.label[first])
        )
        self._parts = [Corners(corners.row[waiting], corners.col[waiting], bits[waiting], corners.label[waiting])]
        self._waiting = self._due = len(waiting)

    def rings(self, area_of: Ints, *, joined: bool) -> Rings:
        """Return all rings, in the order of their first corners."""
        first, hole, label = (
            np.concatenate([getattr(part, name) for part in self._closed]) for name in ("first", "hole", "label")
        )
        vertices = np.concatenate([part.vertices for part in self._closed])
        size = np.concatenate([np.diff(part.starts) for part in self._closed])
        order = np.lexsort((first[:, 1], first[:, 0]))
        index = ranges(offsets(size)[order], size[order])
        area = area_of[label[order]]
        _, components = label_pairs(len(area_of), area_of[np.concatenate(self._touching)])
        component = components[area]
        return Rings(vertices[index], offsets(size[order]), hole[order], component if joined else area, component)


def _sorted(parts: list[Corners], width: int) -> Corners:
    """Join the corners of all blocks, row by row."""
    row, col, label = (
        np.concatenate([np.zeros(0, np.int32), *(getattr(part, name) for part in parts)])
        for name in ("row", "col", "label")
    )
    bits = np.concatenate([np.zeros(0, np.uint8), *(part.bits for part in parts)])
    order = np.argsort(row.astype(np.int64) * (width + 1) + col, kind="stable")
    return Corners(row[order], col[order], bits[order], label[order])


def _resolved(bits: Bytes, chequer: Ints, joined: Bools) -> Bytes:
    """Settle which of the two corners on each chequer has the edge to the north; then they are like any other."""
    #     chequer        apart         joined       The western corner of this chequer takes the edge to the north
    #       ▪ │           ▪ │           ▪ │         where the areas stay apart, the one to the south where they are
    #      ───┼───        ──╯╭──        ──╮╰──      joined. With road in the northeast and the southwest it is the
    #         │ ▪           │ ▪           │ ▪       other way round.
    theirs = bits[chequer]
    north = (((theirs & ALONG) > 0) != joined) == ((theirs & WEST) > 0)
    settled = bits.copy()
    settled[chequer] = (theirs & (WEST | ALONG)) + north * np.uint8(NORTH)
    return settled


def _linked(corners: Corners, height: int) -> Ints:
    """Return (corners,) the corner up or down its column that each is joined to, -1 if it is not there yet.

    In a column, corners whose edge goes south and corners whose edge goes north alternate.
    """
    north = (corners.bits & NORTH) > 0
    down = np.argsort((corners.col.astype(np.int64) * (height + 1) + corners.row) * 2 + ~north)
    upper = np.flatnonzero(~north[down[:-1]] & north[down[1:]])
    partner = np.full(len(down), -1, dtype=np.int64)
    partner[down[upper]], partner[down[upper + 1]] = down[upper + 1], down[upper]
    return partner


def _walk(leaves_along: Bools, partner: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the corners in the order of the closed rings, where rings start, and the corners of open rings.

    Parameters
    ----------
    leaves_along
        (corners,) whether the ring leaves a corner along its row, to corner ``i ^ 1``; it then arrives there.
    partner
        (corners,) the corner in the same column, where it leaves down or up the column; -1 if that is missing.
    """
    # Every second corner of a ring leaves along its row. From one to the next of these: i → i ^ 1 → partner[i ^ 1].
    leaving = np.flatnonzero(leaves_along)
    onward = partner[leaving ^ 1]
    number = np.cumsum(leaves_along) - 1
    following = np.where(onward >= 0, number[onward], np.arange(len(leaving)))
    ring = _cycles(following)
    is_open = np.zeros(len(leaving) + 1, dtype=np.bool_)
    is_open[ring[onward < 0]] = True
    closed = np.flatnonzero(~is_open[ring])
    waiting = leaving[is_open[ring]]
    order, starts = _path(ring[closed], (np.cumsum(~is_open[ring]) - 1)[following[closed]])
    start = leaving[closed[order]]
    return np.stack([start, start ^ 1], axis=1).ravel(), 2 * starts, np.sort(np.concatenate([waiting, waiting ^ 1]))


def _path(ring: Ints, following: Ints) -> tuple[Ints, Ints]:
    """Return the members of closed rings one ring after the other, and where each starts: at its lowest member."""
    count = len(ring)
    if count == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    _, first, sizes = np.unique(ring, return_index=True, return_counts=True)
    # Each ring is cut open before its lowest member and tied to the lowest member of the next one. So all rings are
    # one cycle, and a single graph search in compiled code visits them in order.
    before = np.empty(count, dtype=np.int64)
    before[following] = np.arange(count)
    following[before[first]] = np.roll(first, -1)
    path = breadth_first_order(_successor_graph(following), first[0], return_predecessors=False)
    return np.asarray(path, dtype=np.int64), offsets(sizes)


def _successor_graph(following: Ints) -> csr_array:
    """Return a graph with an edge from each member to the one that follows it."""
    count = len(following)
    index = np.arange(count + 1)
    return csr_array((np.ones(count), following, index), shape=(count, count))


def _cycles(following: Ints) -> Ints:
    """Return the cycle that each member is in."""
    return np.asarray(connected_components(_successor_graph(following), directed=False)[1], dtype=np.int64)


def _signed_areas(places: Int32s, starts: Ints) -> Ints:
    """Return (rings,) the area inside, positive if the ring goes round road."""
    if len(places) == 0:
        return np.zeros(0, dtype=np.int64)
    along = places.reshape(-1, 2, 2).astype(np.int64)
    strips = (along[:, 0, 1] - along[:, 1, 1]) * along[:, 0, 0]
    return np.add.reduceat(strips, starts[:-1] // 2)
