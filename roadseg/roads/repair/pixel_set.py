"""Sets of pixels near some places: which are in one, what a ray meets first, and what a graph has there.

One bit per pixel, in cells of 32 × 32 pixels that exist only near the places of interest: memory follows the
roads, not the raster.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import ranges, reduce_ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import CHUNK, chunks, places_at
from roadseg.roads.repair.pixel_lines import line_pixels

_CELL = 5
"""Binary logarithm of the side of a cell, in pixels."""

_CELL_BYTES = 7
"""Binary logarithm of the bytes of a cell: 32 rows of 4."""

_BIT = np.left_shift(1, np.arange(8)).astype(np.uint8)
_RAYS_AT_ONCE, _STEPS_AT_ONCE = 8192, 16


class PixelSet:
    """A set of pixels near some places.

    Cells lie in a table around these places. Each has a page of 128 bytes, or none yet::

        row, col ──▶ cell of the table ──▶ page ──▶ byte (row & 31) × 4 + (col >> 3 & 3), bit col & 7

    Page 0 stays empty. It stands for all cells without a page, so that looking one up needs no test.

    Parameters
    ----------
    near
        (n, 2) row, col of the places.
    reach
        Pixels farther than this from all of them may be forgotten.
    """

    def __init__(self, near: NDArray[Any], reach: float) -> None:
        self.reach = reach
        cells = near >> _CELL
        around = int(reach) // (1 << _CELL) + 1
        # One cell more on each side stays out of reach: everything beyond the table is looked up there.
        self._low = (cells.min(axis=0, initial=2**20) - around - 1).astype(np.int32)
        span = np.maximum(cells.max(axis=0, initial=-(2**20)) - self._low + 2 + around, 1)
        within = np.zeros(span, dtype=np.uint8)
        within[tuple((cells - self._low).T)] = 1
        self._within_reach = cv2.dilate(within, np.ones((2 * around + 1, 2 * around + 1), dtype=np.uint8))
        self._page = np.zeros(span, dtype=np.int32)
        self._pages = 1
        self._bits = np.zeros(2 << _CELL_BYTES, dtype=np.uint8)

    def add(self, pixels: NDArray[Any]) -> None:
        """Add (n, 2) pixels; those out of reach are forgotten."""
        for first in range(0, len(pixels), CHUNK):
            rows, cols = pixels[first : first + CHUNK].T
            cell = self._cell(rows, cols)
            page = self._page.ravel().take(cell)
            if self._add_pages(cell[page == 0]):
                page = self._page.ravel().take(cell)
            inside = np.flatnonzero(page)
            byte = _byte(page[inside], rows[inside], cols[inside])
            np.bitwise_or.at(self._bits, byte, _BIT[cols[inside] & 7])

    def contains(self, rows: NDArray[Any], cols: NDArray[Any]) -> Bools:
        """Return which pixels are in the set."""
        byte = _byte(self._page.ravel().take(self._cell(rows, cols)), rows, cols)
        found: Bools = (self._bits.take(byte) & _BIT[cols & 7]) != 0
        return found

    def _cell(self, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[Any]:
        """Return the cells of pixels, those beyond the table moved to its edge."""
        tall, wide = self._page.shape
        down = np.clip((rows >> _CELL) - self._low[0], 0, tall - 1)
        across = np.clip((cols >> _CELL) - self._low[1], 0, wide - 1)
        cell: NDArray[Any] = down * wide + across
        return cell

    def _add_pages(self, cells: NDArray[Any]) -> bool:
        """Make pages for those of some cells that are within reach; return whether there were any."""
        is_new = np.ones(len(cells), dtype=bool)
        is_new[1:] = cells[1:] != cells[:-1]  # pixels come along lines: this leaves few to sort
        cells = cells[is_new]
        cells = np.unique(cells[self._within_reach.ravel().take(cells) > 0])
        self._page.ravel()[cells] = self._pages + np.arange(len(cells))
        self._pages += len(cells)
        missing = (self._pages << _CELL_BYTES) - len(self._bits)
        if missing > 0:
            self._bits = np.concatenate([self._bits, np.zeros(max(missing, len(self._bits)), dtype=np.uint8)])
        return len(cells) > 0


def _byte(page: NDArray[np.int32], rows: NDArray[Any], cols: NDArray[Any]) -> Ints:
    """Return which byte holds each pixel."""
    byte = page.astype(np.int64)
    byte <<= _CELL_BYTES
    byte += ((rows & 31) << 2) | ((cols >> 3) & 3)
    return byte


def first_hit(obstacles: PixelSet, start: Ints, far: Floats, *, skip: int) -> Ints:
    """Walk straight from some pixels until an obstacle is met.

    Parameters
    ----------
    obstacles
        Pixels that end a walk.
    start
        (n, 2) row, col.
    far
        (n, 2) where each walk ends, relative to its start.
    skip
        Steps at the start that do not count.

    Returns
    -------
    (n, 2) row, col of the first obstacle, -1 where there is none.
    """
    size = np.abs(far)
    steps = size.sum(axis=1)
    share_down = np.divide(size[:, 0], steps, out=np.zeros(len(steps)), where=steps > 0).astype(np.float32)
    sign, start = np.sign(far).astype(np.int32), start.astype(np.int32)
    hit = np.full((len(start), 2), -1)
    # All rays take 16 steps at a time, as rows of a small table; those that hit something drop out.
    for first in range(0, len(start), _RAYS_AT_ONCE):
        rays = np.arange(first, min(first + _RAYS_AT_ONCE, len(start)))
        for begin in range(skip + 1, int(steps.max(initial=0)) + 1, _STEPS_AT_ONCE):
            rays = rays[steps[rays] >= begin]
            step = np.arange(begin, begin + _STEPS_AT_ONCE, dtype=np.int32)
            down = (share_down[rays, None] * step + np.float32(0.5)).astype(np.int32)
            rows = start[rays, :1] + sign[rays, :1] * down
            cols = start[rays, 1:] + sign[rays, 1:] * (step - down)
            is_hit = obstacles.contains(rows, cols) & (step <= steps[rays, None])
            when, any_hit = is_hit.argmax(axis=1), is_hit.any(axis=1)
            which = np.flatnonzero(any_hit)
            hit[rays[which]] = np.stack([rows[which, when[which]], cols[which, when[which]]], axis=1)
            rays = rays[~any_hit]
    return hit


def graph_pixels(graph: PixelGraph, near: NDArray[Any], reach: float) -> PixelSet:
    """Return the pixels of a graph near some places, those between nodes and their nearest vertices included."""
    pixels = PixelSet(near, reach)
    pixels.add(graph.places)
    add_nodes(pixels, graph)
    return pixels


def add_nodes(pixels: PixelSet, graph: PixelGraph) -> None:
    """Add the nodes of a graph, and what lies between them and vertices that do not touch them."""
    for places, _ in _nodes_and_links(graph):
        pixels.add(places)


def owners(graph: PixelGraph, pixels: Ints) -> Ints:
    """Return (n,) what of a graph lies on each pixel: a vertex, or -2 - node; -1 where there is nothing."""
    wanted = PixelSet(pixels, 0)
    wanted.add(pixels)
    keys, owner = [], []
    for places, owned_by in [*_nodes_and_links(graph), *_vertices_near(graph, pixels)]:
        here = np.flatnonzero(wanted.contains(places[:, 0], places[:, 1]))
        keys.append(_keys(places[here]))
        owner.append(owned_by[here])
    key, owner_of_key = np.concatenate(keys), np.concatenate(owner)
    found = np.full(len(pixels), -1)
    if len(key):
        order = np.argsort(key, kind="stable")
        at = np.minimum(np.searchsorted(key[order], _keys(pixels)), len(key) - 1)
        hit = key[order][at] == _keys(pixels)
        found[hit] = owner_of_key[order][at[hit]]
    return found


def _nodes_and_links(graph: PixelGraph) -> list[tuple[NDArray[Any], Ints]]:
    """Return pixels and their owners: nodes, and the links between them and vertices that do not touch them."""
    nodes = np.rint(graph.nodes).astype(np.int64)
    some = np.flatnonzero(np.diff(graph.starts) > 0)
    vertex = np.concatenate([graph.starts[some], graph.starts[some + 1] - 1])
    node = nodes[np.concatenate([graph.ends[some, 0], graph.ends[some, 1]])]
    place = graph.places[vertex].astype(np.int64)
    apart = np.flatnonzero(np.abs(node - place).max(axis=1, initial=0) > 1)
    links = line_pixels(node[apart], place[apart], four_connected=False)
    return [(nodes, -2 - np.arange(len(nodes))), (links.pixels, vertex[apart][links.line])]


def _vertices_near(graph: PixelGraph, pixels: Ints) -> Iterator[tuple[NDArray[Any], Ints]]:
    """Yield the vertices, with their numbers, of all edges whose bounding boxes touch a cell with some pixel in it."""
    low, high = _bounding_boxes(graph)
    cells = pixels >> _CELL
    corner = cells.min(axis=0, initial=2**20)
    # A summed-area table: the number of occupied cells in any rectangle is a sum of four of its values.
    table = np.zeros(np.maximum(cells.max(axis=0, initial=-1) - corner + 2, 1), dtype=np.int32)
    table[tuple((cells - corner + 1).T)] = 1
    table = table.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    limit = np.array(table.shape) - 1
    top, left = np.clip((low >> _CELL) - corner, 0, limit).T
    bottom, right = np.clip((high >> _CELL) - corner + 1, 0, limit).T
    inside = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    counts = np.diff(graph.starts)
    edges = np.flatnonzero((inside > 0) & (counts > 0))
    for part in chunks(np.cumsum(counts[edges])):
        at = ranges(graph.starts[edges[part]], counts[edges[part]])
        yield places_at(graph, at), at


def _bounding_boxes(graph: PixelGraph) -> tuple[Ints, Ints]:
    """Return (edges, 2) the lowest and highest row and column of the vertices of each edge."""
    first, counts = graph.starts[:-1], np.diff(graph.starts)
    low, high = (
        np.stack([reduce_ranges(operation, graph.places[:, axis], first, counts) for axis in (0, 1)], axis=1)
        for operation in (np.minimum, np.maximum)
    )
    return low.astype(np.int64), high.astype(np.int64)


def _keys(pixels: NDArray[Any]) -> Ints:
    """Return one number per pixel."""
    keys: Ints = (pixels[:, 0].astype(np.int64) << 32) + pixels[:, 1]
    return keys
