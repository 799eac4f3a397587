"""Outlines of areas in a mask: closed rings of pixel corners, the same however the mask is cut into blocks.

Along a row of lattice points the first corner is joined to the second, the third to the fourth, and so on; the
same down each column. Two sorts link all corners of a raster into rings, which are then walked round in
compiled code. What happens where four pixels form a chequer decides whether areas that touch at a corner
are one. About 10 ms per megapixel where a tenth is road; memory is in proportion to the number of corners.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from roadseg.blocks import Window
from roadseg.network.corners import (
    ALONG,
    CHEQUER,
    NORTH,
    WEST,
    Corners,
    Int32s,
    Mask,
    Seams,
    Traced,
    trace_block,
    united,
)
from roadseg.network.graph import Bools, Ints


@dataclass(frozen=True)
class Rings:
    """Closed rings of pixel corners, road on the right hand; edges along rows and columns alternate.

    Parameters
    ----------
    places
        (corners, 2) int32 row, col of lattice points: pixel (row, col) reaches from there to (row + 1, col + 1).
    starts
        (rings + 1,) int64: ring ``i`` owns the corners from ``starts[i]`` up to ``starts[i + 1]``, none twice.
    hole
        (rings,) bool: whether the ring goes round something that is not road.
    area
        (rings,) int64: which area it bounds.
    component
        (rings,) int64: areas that touch, be it at a corner, have the same number.
    """

    places: Int32s
    starts: Ints
    hole: Bools
    area: Ints
    component: Ints


def trace_rings(
    mask: Mask,
    height: int,
    width: int,
    *,
    joined: bool,
    block_px: int = 4096,
    workers: int = 1,
    on_block: Callable[[Window], None] | None = None,
) -> Rings:
    """Trace the outlines of all areas of a mask.

    Parameters
    ----------
    mask
        What to trace.
    height, width
        Of the mask.
    joined
        Whether pixels that touch at a corner are one area. The two rings of corners that meet there pass each other
        without touching once corners are cut. Otherwise areas end there, and each ring visits a place once.
    block_px
        Side of the blocks in which the mask is read.
    workers
        How many processes trace blocks; more than one needs a mask that can be pickled.
    on_block
        Gets every block when it is done.
    """
    parts: list[Corners] = []
    seams = Seams(width)
    windows = list(_blocks(height, width, block_px))
    for window, traced in zip(windows, _trace_blocks(mask, windows, height, width, workers), strict=True):
        parts.append(replace(traced.corners, label=traced.corners.label + np.int32(seams.count)))
        seams.unite(traced, window)
        if on_block:
            on_block(window)
    return _link(_sorted(parts, width), seams.areas(), height, joined=joined)


def _blocks(height: int, width: int, block_px: int) -> Iterator[Window]:
    for row in range(0, height, block_px):
        for col in range(0, width, block_px):
            yield Window(row, col, min(block_px, height - row), min(block_px, width - col))


def _trace_blocks(mask: Mask, windows: list[Window], height: int, width: int, workers: int) -> Iterator[Traced]:
    if workers == 1:
        yield from (trace_block(mask, window, height, width) for window in windows)
        return
    count = len(windows)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(trace_block, [mask] * count, windows, [height] * count, [width] * count)


def _sorted(parts: list[Corners], width: int) -> Corners:
    """Join the corners of all blocks, row by row."""
    row, col, label = (
        np.concatenate([np.zeros(0, np.int32), *(getattr(part, name) for part in parts)])
        for name in ("row", "col", "label")
    )
    bits = np.concatenate([np.zeros(0, np.uint8), *(part.bits for part in parts)])
    order = np.argsort(row.astype(np.int64) * (width + 1) + col, kind="stable")
    return Corners(row[order], col[order], bits[order], label[order])


def _link(corners: Corners, area_of: Ints, height: int, *, joined: bool) -> Rings:
    """Walk round all rings at once."""
    chequer = np.flatnonzero(corners.bits & CHEQUER)
    west, east = area_of[corners.label[chequer]].reshape(-1, 2).T
    together = np.repeat((west == east) | joined, 2)
    leaves_along = (corners.bits & ALONG) > 0
    north = (corners.bits & NORTH) > 0
    north[chequer] = (leaves_along[chequer] != together) == ((corners.bits[chequer] & WEST) > 0)
    down = np.argsort((corners.col.astype(np.int64) * (height + 1) + corners.row) * 2 + ~north)
    partner = np.empty_like(down)
    partner[down[::2]], partner[down[1::2]] = down[1::2], down[::2]
    order, starts = _walk(leaves_along, partner)
    places = np.stack([corners.row[order], corners.col[order]], axis=1)
    area = area_of[corners.label[order[starts[:-1]]]]
    component = united(len(area_of), np.stack([west, east], axis=1))[area]
    return Rings(places, starts, _signed_areas(places, starts) < 0, component if joined else area, component)


def _walk(leaves_along: Bools, partner: Ints) -> tuple[Ints, Ints]:
    """Return the corners in the order of the rings, and where rings start.

    Along a row the partner of corner ``i`` is ``i ^ 1``. Every second corner of a ring leaves along the row; those are
    linked, the rings are cut open and joined to one path.
    """
    leaving = np.flatnonzero(leaves_along)
    count = len(leaving)
    if count == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    number = np.cumsum(leaves_along) - 1
    following = number[partner[leaving ^ 1]]
    ring = _cycles(following)
    _, first, sizes = np.unique(ring, return_index=True, return_counts=True)
    before = np.empty(count, dtype=np.int64)
    before[following] = np.arange(count)
    last = before[first]
    following[last] = np.roll(first, -1)
    path = breadth_first_order(_chain(following), first[0], return_predecessors=False)
    start = leaving[path]
    return np.stack([start, start ^ 1], axis=1).ravel(), 2 * np.concatenate([[0], np.cumsum(sizes)])


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
