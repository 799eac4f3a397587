"""Outlines of areas in a mask: closed rings of pixel corners, the same however the mask is cut into blocks.

Along a row of lattice points the first corner is joined to the second, the third to the fourth, and so on; the
same down each column. Two sorts link all corners of a raster into rings, which are then walked round in
compiled code. What happens where four pixels form a chequer decides whether areas that touch at a corner
are one. About 10 ms per megapixel where a tenth is road; memory is in proportion to the number of corners.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from roadseg.ragged import offsets, ranges
from roadseg.roads.areas.corners import (
    ALONG,
    CHEQUER,
    NORTH,
    WEST,
    Bytes,
    Corners,
    Int32s,
    LabelUnion,
    Mask,
    find_corners,
)
from roadseg.roads.mask.components import label_pairs
from roadseg.roads.mask.workers import WorkerPool
from roadseg.roads.pixel_graph import Bools, Floats, Ints
from roadseg.windows import Window

LINK_AT = 1_000_000
"""How many corners wait before rings are closed; memory goes with it, results do not."""

Shape = Callable[[Int32s, Ints], tuple[Floats, Ints]]
"""What becomes of rings: from (corners, 2) row, col and (rings + 1,) starts to vertices and starts."""


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
        (rings,) bool: whether the ring goes round something that is not road.
    area
        (rings,) int64: which area it bounds.
    component
        (rings,) int64: areas that touch, be it at a corner, have the same number.
    """

    vertices: Floats
    starts: Ints
    hole: Bools
    area: Ints
    component: Ints


@dataclass(frozen=True)
class TracingSettings:
    """How a mask is traced.

    Parameters
    ----------
    joined
        Whether pixels that touch at a corner are one area. The two rings of corners that meet there pass each other
        without touching once corners are cut. Otherwise areas end there, each ring visits a place once, and
        rings are closed at the end only.
    block_px
        Side of the blocks in which the mask is read.
    workers
        How many processes trace blocks; more than one needs a mask that can be pickled.
    on_block
        Gets every block when it is done.
    """

    joined: bool
    block_px: int = 4096
    workers: int = 1
    on_block: Callable[[Window], None] | None = None


def trace_rings(mask: Mask, height: int, width: int, shape: Shape, tracing: TracingSettings) -> Rings:
    """Trace the outlines of all areas of a mask of ``height`` × ``width`` px.

    Rings are shaped as soon as they are closed, which saves memory: of those only vertices remain.
    """
    seams, closing = LabelUnion(width), _RingCloser(height, width, shape)
    windows = list(_blocks(height, width, tracing.block_px))
    with WorkerPool(mask, tracing.workers) as pool:
        found = pool.map(partial(find_corners, height=height, width=width), windows)
        for window, traced in zip(windows, found, strict=True):
            closing.add(replace(traced.corners, label=traced.corners.label + np.int32(seams.count)))
            seams.unite(traced, window)
            if tracing.joined and window.col_stop == width and closing.is_due():
                closing.close(lambda pairs: np.ones(len(pairs), dtype=np.bool_))
            if tracing.on_block:
                tracing.on_block(window)
    area_of = seams.areas()
    closing.close(lambda pairs: (area_of[pairs[:, 0]] == area_of[pairs[:, 1]]) | tracing.joined)
    return closing.rings(area_of, joined=tracing.joined)


def _blocks(height: int, width: int, block_px: int) -> Iterator[Window]:
    for row in range(0, height, block_px):
        for col in range(0, width, block_px):
            yield Window(row, col, min(block_px, height - row), min(block_px, width - col))


@dataclass(frozen=True)
class _ClosedRings:
    """Rings that are closed: their vertices, where they start, their first corners, whether they are holes, labels."""

    vertices: Floats
    starts: Ints
    first: Int32s
    hole: Bools
    label: Int32s


class _RingCloser:
    """Corners that wait for others, and rings that are closed."""

    def __init__(self, height: int, width: int, shape: Shape) -> None:
        self._height, self._width, self._shape = height, width, shape
        self._parts: list[Corners] = []
        self._waiting = self._due = 0
        self._closed: list[_ClosedRings] = []
        self._touching = [np.zeros((0, 2), dtype=np.int64)]

    def add(self, corners: Corners) -> None:
        """Take the corners of a block."""
        self._parts.append(corners)
        self._waiting += len(corners.row)

    def is_due(self) -> bool:
        """Say whether enough corners wait; the open ones are gone through again, so more wait if many are open."""
        return self._waiting > max(LINK_AT, 2 * self._due)

    def close(self, together: Callable[[Ints], Bools]) -> None:
        """Close all rings that can be, in complete rows of blocks; chequers are told which labels they join."""
        corners = _sorted(self._parts, self._width)
        chequer = np.flatnonzero(corners.bits & CHEQUER)
        pairs = corners.label[chequer].reshape(-1, 2).astype(np.int64)
        self._touching.append(np.unique(pairs, axis=0))
        bits = _resolved(corners.bits, chequer, np.repeat(together(pairs), 2))
        partner = _linked(replace(corners, bits=bits), self._height)
        order, starts, still = _walk((bits & ALONG) > 0, partner)
        places = np.stack([corners.row[order], corners.col[order]], axis=1)
        first = order[starts[:-1]]
        hole = _signed_areas(places, starts) < 0
        self._closed.append(_ClosedRings(*self._shape(places, starts), places[starts[:-1]], hole, corners.label[first]))
        self._parts = [Corners(corners.row[still], corners.col[still], bits[still], corners.label[still])]
        self._waiting = self._due = len(still)

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


def _resolved(bits: Bytes, chequer: Ints, together: Bools) -> Bytes:
    """Settle for the corners on chequers which one has the edge to the north; then they are like any other."""
    theirs = bits[chequer]
    north = (((theirs & ALONG) > 0) != together) == ((theirs & WEST) > 0)
    settled = bits.copy()
    settled[chequer] = (theirs & (WEST | ALONG)) + north * np.uint8(NORTH)
    return settled


def _linked(corners: Corners, height: int) -> Ints:
    """Return for each corner the one down or up its column that it is joined to, -1 if that is still to come.

    In a column those whose edge goes south and those whose edge goes north alternate.
    """
    north = (corners.bits & NORTH) > 0
    down = np.argsort((corners.col.astype(np.int64) * (height + 1) + corners.row) * 2 + ~north)
    upper = np.flatnonzero(~north[down[:-1]] & north[down[1:]])
    partner = np.full(len(down), -1, dtype=np.int64)
    partner[down[upper]], partner[down[upper + 1]] = down[upper + 1], down[upper]
    return partner


def _walk(leaves_along: Bools, partner: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the corners in the order of the closed rings, where rings start, and the corners of open ones.

    Along a row the partner of corner ``i`` is ``i ^ 1``. Every second corner of a ring leaves along the row; those are
    linked, the rings are cut open and joined to one path.
    """
    leaving = np.flatnonzero(leaves_along)
    onward = partner[leaving ^ 1]
    number = np.cumsum(leaves_along) - 1
    following = np.where(onward >= 0, number[onward], np.arange(len(leaving)))
    ring = _cycles(following)
    is_open = np.zeros(len(leaving) + 1, dtype=np.bool_)
    is_open[ring[onward < 0]] = True
    closed = np.flatnonzero(~is_open[ring])
    still = leaving[is_open[ring]]
    order, starts = _path(ring[closed], (np.cumsum(~is_open[ring]) - 1)[following[closed]])
    start = leaving[closed[order]]
    return np.stack([start, start ^ 1], axis=1).ravel(), 2 * starts, np.sort(np.concatenate([still, still ^ 1]))


def _path(ring: Ints, following: Ints) -> tuple[Ints, Ints]:
    """Return the members of closed rings one after the other, and where each ring starts: at its least member."""
    count = len(ring)
    if count == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    _, first, sizes = np.unique(ring, return_index=True, return_counts=True)
    before = np.empty(count, dtype=np.int64)
    before[following] = np.arange(count)
    following[before[first]] = np.roll(first, -1)
    path = breadth_first_order(_chain(following), first[0], return_predecessors=False)
    return np.asarray(path, dtype=np.int64), np.concatenate([[0], np.cumsum(sizes)])


def _chain(following: Ints) -> csr_array:
    count = len(following)
    index = np.arange(count + 1)
    return csr_array((np.ones(count), following, index), shape=(count, count))


def _cycles(following: Ints) -> Ints:
    return np.asarray(connected_components(_chain(following), directed=False)[1], dtype=np.int64)


def _signed_areas(places: Int32s, starts: Ints) -> Ints:
    """Return the area of each ring, positive if it goes round road."""
    if len(places) == 0:
        return np.zeros(0, dtype=np.int64)
    along = places.reshape(-1, 2, 2).astype(np.int64)
    strips = (along[:, 0, 1] - along[:, 1, 1]) * along[:, 0, 0]
    return np.add.reduceat(strips, starts[:-1] // 2)
