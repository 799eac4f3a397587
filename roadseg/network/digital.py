"""Straight lines of pixels, and what lies under them.

A line for crossing tests goes from pixel to pixel through common sides, so that no 8-connected edge
can slip through it. Pixels are looked up in one sorted array of keys; only those near the places of
interest are sorted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.network.chains import slices
from roadseg.network.graph import Bools, Floats, Ints, PixelGraph

_CELL = 5


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


@dataclass(frozen=True)
class Owners:
    """Which vertex or node lies on a pixel: ``keys`` sorted, ``owner`` a vertex, or -2 - node."""

    keys: Ints
    owner: Ints

    def at(self, places: Ints) -> Ints:
        """Return (n,) the owner of each place, -1 where there is none."""
        wanted = _keys(places)
        found = np.full(len(wanted), -1)
        if len(self.keys):
            order = np.argsort(wanted)
            where = np.minimum(np.searchsorted(self.keys, wanted[order]), len(self.keys) - 1)
            hit = self.keys[where] == wanted[order]
            found[order[hit]] = self.owner[where[hit]]
        return found


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


def owners(graph: PixelGraph, near: Floats, reach: float) -> Owners:
    """Note what lies on each pixel of a graph that is no farther than ``reach`` pixels from some places."""
    region = _Region(near, reach)
    vertex = np.flatnonzero(region.holds(graph.places))
    node_places = np.rint(graph.nodes).astype(np.int64)
    node = np.flatnonzero(region.holds(node_places))
    links, link_owner = _links(graph, node_places)
    linked = region.holds(links)
    keys = np.concatenate([_keys(links[linked]), _keys(graph.places[vertex]), _keys(node_places[node])])
    owner = np.concatenate([link_owner[linked], vertex, -2 - node])
    order = np.argsort(keys, kind="stable")
    return Owners(keys[order], owner[order])


def _links(graph: PixelGraph, node_places: Ints) -> tuple[Ints, Ints]:
    """Return the pixels between nodes and first vertices that do not touch, and the vertices that own them."""
    some = np.flatnonzero(np.diff(graph.starts) > 0)
    vertex = np.concatenate([graph.starts[some], graph.starts[some + 1] - 1])
    node = node_places[np.concatenate([graph.ends[some, 0], graph.ends[some, 1]])]
    place = graph.places[vertex].astype(np.int64)
    apart = np.flatnonzero(np.abs(node - place).max(axis=1, initial=0) > 1)
    drawn = straight(node[apart], place[apart], thick=False)
    return drawn.places, vertex[apart][drawn.line]


class _Region:
    """The neighbourhood of some places, in cells of 32 pixels."""

    def __init__(self, near: Floats, reach: float) -> None:
        cells = near.astype(np.int64) >> _CELL
        self._low = cells.min(axis=0, initial=2**40)
        around = int(reach) // (1 << _CELL) + 1
        span = np.maximum(cells.max(axis=0, initial=-(2**40)) - self._low + 1, 0) + 2 * around
        self._low -= around
        self._marked = np.zeros(span, dtype=bool)
        moves = np.arange(-around, around + 1)
        for down in moves:
            for across in moves:
                self._marked[tuple((cells - self._low + (down, across)).T)] = True

    def holds(self, places: NDArray[np.integer]) -> Bools:  # type: ignore[type-arg]
        """Return (n,) which places lie in it."""
        row, col = ((places[:, i].astype(np.int64) >> _CELL) - self._low[i] for i in (0, 1))
        rows, cols = self._marked.shape
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        inside[inside] = self._marked[row[inside], col[inside]]
        return inside


def _keys(places: NDArray[np.integer]) -> Ints:  # type: ignore[type-arg]
    """Return one number per pixel."""
    return (places[:, 0].astype(np.int64) << 32) + places[:, 1]
