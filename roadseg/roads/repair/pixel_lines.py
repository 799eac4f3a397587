"""Straight lines of pixels, and what lies on them.

A line for crossing tests goes from pixel to pixel through common sides, so that no 8-connected edge
can slip through it. Which pixels are taken is one bit each, in cells of 32 × 32 that exist only
near the places of interest: memory follows the roads, not the raster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import CHUNK, chunks, places_at, reduce_slices

_CELL = 5
_CELL_BITS = 7
_CHUNK, _STRETCH = 8192, 16
_BIT = np.left_shift(1, np.arange(8)).astype(np.uint8)


@dataclass(frozen=True)
class PixelLines:
    """PixelLines of pixels, one after the other.

    Parameters
    ----------
    places
        (pixels, 2) int64 row, col.
    line
        (pixels,) which line each belongs to.
    step
        (pixels,) its number along that line, from 0.
    starts
        (lines + 1,) line ``i`` owns the pixels from ``starts[i]`` up to ``starts[i + 1]``.
    """

    places: Ints
    line: Ints
    step: Ints
    starts: Ints


def line_pixels(start: Ints, stop: Ints, *, thick: bool) -> PixelLines:
    """Draw straight lines between pixels, both ends included.

    Parameters
    ----------
    start, stop
        (lines, 2) row, col.
    thick
        Whether pixels that follow each other share a side; otherwise they may touch at a corner.
    """
    size = np.abs(stop - start)
    steps = size.sum(axis=1) if thick else size.max(axis=1, initial=0)
    line = np.repeat(np.arange(len(steps)), steps + 1)
    step = ranges(0, steps + 1)
    whole = np.maximum(steps, 1)[line]
    across = (2 * step * size[line, 1] + whole) // (2 * whole)
    down = step - across if thick else (2 * step * size[line, 0] + whole) // (2 * whole)
    places = start[line] + np.sign(stop - start)[line] * np.stack([down, across], axis=1)
    return PixelLines(places, line, step, np.concatenate([[0], np.cumsum(steps + 1)]))


def first_hit(marks: "PixelSet", start: Ints, far: Floats, *, skip: int) -> Ints:
    """Walk straight from some pixels until a marked one is met.

    Parameters
    ----------
    marks
        The marked pixels.
    start
        (n, 2) row, col.
    far
        (n, 2) where each walk ends, relative to its start.
    skip
        Steps at the start that do not count.

    Returns
    -------
    (n, 2) row, col of the first marked pixel, -1 where there is none.
    """
    size = np.abs(far)
    steps = size.sum(axis=1)
    share = np.divide(size[:, 0], steps, out=np.zeros(len(steps)), where=steps > 0).astype(np.float32)
    sign, start = np.sign(far).astype(np.int32), start.astype(np.int32)
    met = np.full((len(start), 2), -1)
    for first in range(0, len(start), _CHUNK):
        going = np.arange(first, min(first + _CHUNK, len(start)))
        for begin in range(skip + 1, int(steps.max(initial=0)) + 1, _STRETCH):
            going = going[steps[going] >= begin]
            step = np.arange(begin, begin + _STRETCH, dtype=np.int32)
            down = (share[going, None] * step + np.float32(0.5)).astype(np.int32)
            rows = start[going, :1] + sign[going, :1] * down
            cols = start[going, 1:] + sign[going, 1:] * (step - down)
            hit = marks.at(rows, cols) & (step <= steps[going, None])
            when, there = hit.argmax(axis=1), hit.any(axis=1)
            which = np.flatnonzero(there)
            met[going[which]] = np.stack([rows[which, when[which]], cols[which, when[which]]], axis=1)
            going = going[~there]
    return met


class PixelSet:
    """A set of pixels near some places.

    Parameters
    ----------
    near
        (n, 2) row, col.
    reach
        Pixels farther than this from all of them may be forgotten.
    """

    def __init__(self, near: NDArray[Any], reach: float) -> None:
        self.reach = reach
        cells = near >> _CELL
        around = int(reach) // (1 << _CELL) + 1
        self._low = (cells.min(axis=0, initial=2**20) - around - 1).astype(np.int32)
        span = np.maximum(cells.max(axis=0, initial=-(2**20)) - self._low + 2 + around, 1)
        wanted = np.zeros(span, dtype=np.uint8)
        wanted[tuple((cells - self._low).T)] = 1
        self._wanted = cv2.dilate(wanted, np.ones((2 * around + 1, 2 * around + 1), dtype=np.uint8))
        self._page = np.zeros(span, dtype=np.int32)
        self._pages = 1
        self._bits = np.zeros(2 << _CELL_BITS, dtype=np.uint8)

    def add(self, places: NDArray[Any]) -> None:
        """Mark (n, 2) pixels; those out of reach are forgotten."""
        for first in range(0, len(places), CHUNK):
            rows, cols = places[first : first + CHUNK].T
            cell = self._cell(rows, cols)
            page = self._page.ravel().take(cell)
            if self._grown(cell[page == 0]):
                page = self._page.ravel().take(cell)
            inside = np.flatnonzero(page)
            byte = _byte(page[inside], rows[inside], cols[inside])
            np.bitwise_or.at(self._bits, byte, _BIT[cols[inside] & 7])

    def at(self, rows: NDArray[Any], cols: NDArray[Any]) -> Bools:
        """Say which pixels are marked."""
        byte = _byte(self._page.ravel().take(self._cell(rows, cols)), rows, cols)
        marked: Bools = (self._bits.take(byte) & _BIT[cols & 7]) != 0
        return marked

    def _cell(self, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[Any]:
        """Return the cells of pixels; the table of cells has a rim out of reach, on which all beyond is moved."""
        tall, wide = self._page.shape
        down = np.clip((rows >> _CELL) - self._low[0], 0, tall - 1)
        across = np.clip((cols >> _CELL) - self._low[1], 0, wide - 1)
        cell: NDArray[Any] = down * wide + across
        return cell

    def _grown(self, cells: NDArray[Any]) -> bool:
        """Make pages for those of some cells that are within reach. Page 0 stands for all others and stays empty."""
        new = np.ones(len(cells), dtype=bool)
        new[1:] = cells[1:] != cells[:-1]
        cells = cells[new]
        cells = np.unique(cells[self._wanted.ravel().take(cells) > 0])
        self._page.ravel()[cells] = self._pages + np.arange(len(cells))
        self._pages += len(cells)
        short = (self._pages << _CELL_BITS) - len(self._bits)
        if short > 0:
            self._bits = np.concatenate([self._bits, np.zeros(max(short, len(self._bits)), dtype=np.uint8)])
        return len(cells) > 0


def _byte(page: NDArray[np.int32], rows: NDArray[Any], cols: NDArray[Any]) -> Ints:
    """Return which byte holds each pixel."""
    byte = page.astype(np.int64)
    byte <<= _CELL_BITS
    byte += ((rows & 31) << 2) | ((cols >> 3) & 3)
    return byte


def pixels_of(graph: PixelGraph, near: NDArray[Any], reach: float) -> PixelSet:
    """Mark the pixels of a graph, those between nodes and vertices that do not touch included."""
    marks = PixelSet(near, reach)
    marks.add(graph.places)
    add_nodes(marks, graph)
    return marks


def add_nodes(marks: PixelSet, graph: PixelGraph) -> None:
    """Mark the nodes of a graph, and what lies between them and vertices that do not touch them."""
    for places, _ in _nodes_and_links(graph):
        marks.add(places)


def owners(graph: PixelGraph, places: Ints) -> Ints:
    """Return (n,) what lies on each place: a vertex, or -2 - node; -1 where there is nothing."""
    wanted = PixelSet(places, 0)
    wanted.add(places)
    keys, owner = [], []
    for there, owns in [*_nodes_and_links(graph), *_vertices_near(graph, places)]:
        some = np.flatnonzero(wanted.at(there[:, 0], there[:, 1]))
        keys.append(_keys(there[some]))
        owner.append(owns[some])
    key, owned = np.concatenate(keys), np.concatenate(owner)
    found = np.full(len(places), -1)
    if len(key):
        order = np.argsort(key, kind="stable")
        at = np.minimum(np.searchsorted(key[order], _keys(places)), len(key) - 1)
        hit = key[order][at] == _keys(places)
        found[hit] = owned[order][at[hit]]
    return found


def _nodes_and_links(graph: PixelGraph) -> list[tuple[NDArray[Any], Ints]]:
    """Return places and their owners: nodes, and what lies between them and vertices."""
    nodes = np.rint(graph.nodes).astype(np.int64)
    some = np.flatnonzero(np.diff(graph.starts) > 0)
    vertex = np.concatenate([graph.starts[some], graph.starts[some + 1] - 1])
    node = nodes[np.concatenate([graph.ends[some, 0], graph.ends[some, 1]])]
    place = graph.places[vertex].astype(np.int64)
    apart = np.flatnonzero(np.abs(node - place).max(axis=1, initial=0) > 1)
    links = line_pixels(node[apart], place[apart], thick=False)
    return [(nodes, -2 - np.arange(len(nodes))), (links.places, vertex[apart][links.line])]


def _vertices_near(graph: PixelGraph, places: Ints) -> Iterator[tuple[NDArray[Any], Ints]]:
    """Return the vertices of edges whose boxes touch cells with some places in them."""
    low, high = _boxes(graph)
    cells = places >> _CELL
    corner = cells.min(axis=0, initial=2**20)
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


def _boxes(graph: PixelGraph) -> tuple[Ints, Ints]:
    """Return (edges, 2) the lowest and highest row and column of the vertices of each edge."""
    first, counts = graph.starts[:-1], np.diff(graph.starts)
    low, high = (
        np.stack([reduce_slices(operation, graph.places[:, axis], first, counts) for axis in (0, 1)], axis=1)
        for operation in (np.minimum, np.maximum)
    )
    return low.astype(np.int64), high.astype(np.int64)


def _keys(places: NDArray[Any]) -> Ints:
    """Return one number per pixel."""
    keys: Ints = (places[:, 0].astype(np.int64) << 32) + places[:, 1]
    return keys
