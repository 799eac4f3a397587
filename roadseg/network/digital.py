"""Straight lines of pixels, and what lies on them.

A line for crossing tests goes from pixel to pixel through common sides, so that no 8-connected edge
can slip through it. Which pixels are taken is one bit each, in cells of 32 × 32 that exist only
near the places of interest: memory follows the roads, not the raster.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.network.edges import slices
from roadseg.network.graph import Bools, Floats, Ints, PixelGraph

_CELL = 5
_CELL_BITS = 7
_CHUNK, _STRETCH = 8192, 16
_BIT = np.left_shift(1, np.arange(8)).astype(np.uint8)


@dataclass(frozen=True)
class Lines:
    """Lines of pixels, one after the other.

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


def straight(start: Ints, stop: Ints, *, thick: bool) -> Lines:
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
    step = slices(np.zeros_like(steps), steps + 1)
    whole = np.maximum(steps, 1)[line]
    across = (2 * step * size[line, 1] + whole) // (2 * whole)
    down = step - across if thick else (2 * step * size[line, 0] + whole) // (2 * whole)
    places = start[line] + np.sign(stop - start)[line] * np.stack([down, across], axis=1)
    return Lines(places, line, step, np.concatenate([[0], np.cumsum(steps + 1)]))


def first_met(marks: "Marks", start: Ints, far: Floats, *, skip: int) -> Ints:
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


class Marks:
    """A set of pixels near some places.

    Parameters
    ----------
    near
        (n, 2) row, col.
    reach
        Pixels farther than this from all of them may be forgotten.
    """

    def __init__(self, near: NDArray[Any], reach: float) -> None:
        cells = near.astype(np.int64) >> _CELL
        around = int(reach) // (1 << _CELL) + 1
        self._low = (cells.min(axis=0, initial=2**20) - around - 1).astype(np.int32)
        span = np.maximum(cells.max(axis=0, initial=-(2**20)) - self._low + 2 + around, 1)
        wanted = np.zeros(span, dtype=bool)
        cells = np.unique(cells, axis=0) - self._low
        for down in range(-around, around + 1):
            for across in range(-around, around + 1):
                wanted[cells[:, 0] + down, cells[:, 1] + across] = True
        self._page = np.where(wanted, np.cumsum(wanted).reshape(wanted.shape), 0)
        self._bits = np.zeros((int(wanted.sum()) + 1) << _CELL_BITS, dtype=np.uint8)

    def add(self, places: NDArray[Any]) -> None:
        """Mark (n, 2) pixels; those out of reach are forgotten."""
        byte, bit = self._where(places[:, 0], places[:, 1])
        inside = byte >> _CELL_BITS > 0
        np.bitwise_or.at(self._bits, byte[inside], bit[inside])

    def at(self, rows: NDArray[Any], cols: NDArray[Any]) -> Bools:
        """Say which pixels are marked."""
        byte, bit = self._where(rows, cols)
        marked: Bools = (self._bits[byte] & bit) != 0
        return marked

    def _where(self, rows: NDArray[Any], cols: NDArray[Any]) -> tuple[Ints, NDArray[np.uint8]]:
        """Return byte and bit of pixels; page 0 stands for all that is out of reach and stays empty.

        The table of pages has an empty rim, on which places beyond it are moved.
        """
        tall, wide = self._page.shape
        down = np.clip((rows >> _CELL) - self._low[0], 0, tall - 1)
        across = np.clip((cols >> _CELL) - self._low[1], 0, wide - 1)
        byte = self._page.ravel().take(down * wide + across) << _CELL_BITS
        byte += ((rows & 31) << 2) | ((cols >> 3) & 3)
        return byte, _BIT[cols & 7]


def marks_of(graph: PixelGraph, near: NDArray[Any], reach: float) -> Marks:
    """Mark the pixels of a graph, those between nodes and vertices that do not touch included."""
    marks = Marks(near, reach)
    for places, _ in _layers(graph):
        marks.add(places)
    return marks


def owners(graph: PixelGraph, places: Ints) -> Ints:
    """Return (n,) what lies on each place: a vertex, or -2 - node; -1 where there is nothing."""
    wanted = Marks(places, 0)
    wanted.add(places)
    keys, owner = [], []
    for there, owns in _layers(graph):
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


def _layers(graph: PixelGraph) -> list[tuple[NDArray[Any], Ints]]:
    """Return places and their owners: nodes, what lies between them and vertices, vertices."""
    nodes = np.rint(graph.nodes).astype(np.int64)
    some = np.flatnonzero(np.diff(graph.starts) > 0)
    vertex = np.concatenate([graph.starts[some], graph.starts[some + 1] - 1])
    node = nodes[np.concatenate([graph.ends[some, 0], graph.ends[some, 1]])]
    place = graph.places[vertex].astype(np.int64)
    apart = np.flatnonzero(np.abs(node - place).max(axis=1, initial=0) > 1)
    links = straight(node[apart], place[apart], thick=False)
    vertices = np.arange(len(graph.places))
    return [(nodes, -2 - np.arange(len(nodes))), (links.places, vertex[apart][links.line]), (graph.places, vertices)]


def _keys(places: NDArray[Any]) -> Ints:
    """Return one number per pixel."""
    keys: Ints = (places[:, 0].astype(np.int64) << 32) + places[:, 1]
    return keys
