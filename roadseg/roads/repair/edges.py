"""What all repairs need: edges polylines out as points, measured, picked, turned and put in order.

Nothing here loops over edges. Lengths follow the pixels, so they are up to 8 % too long: good enough
to compare with limits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph

Pixel = tuple[float, float]
"""Ground size of a pixel down its column and along its row, in metres; (1, 1) makes metres pixels."""

Vertices = tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint8]]
"""(n, 2) places, (n,) areas and (n,) levels, as in a ``PixelGraph``."""

CHUNK = 1 << 17
"""How many vertices are handled at a time where all are."""

WIDE_CHUNK = 1 << 19
"""The same where each such part costs something per node."""

_GRAINS = 2.0**20
"""Steps are rounded to this part of a metre: their sums are exact, whatever comes before an edge."""


@dataclass(frozen=True)
class Polylines:
    """The points along all edges, nodes included.

    Parameters
    ----------
    points
        (points, 2) float64 metres down and across; a node's point appears once per edge end.
    starts
        (edges + 1,) int64: edge ``i`` owns the points from ``starts[i]`` up to ``starts[i + 1]``.
    along
        (points,) float64 metres from the first point of the first edge, gaps between edges not counted.
    """

    points: Floats
    starts: Ints
    along: Floats

    @property
    def lengths(self) -> Floats:
        """(edges,) metres."""
        return self.along[self.starts[1:] - 1] - self.along[self.starts[:-1]]


def degrees(graph: PixelGraph) -> Ints:
    """Return (nodes,) how many edge ends meet in each node; a loop counts twice."""
    return np.bincount(graph.ends.ravel(), minlength=len(graph.nodes))


def edge_of_vertex(graph: PixelGraph) -> Ints:
    """Return (vertices,) the edge each vertex belongs to."""
    return np.repeat(np.arange(len(graph.ends)), np.diff(graph.starts))


def polylines_of(graph: PixelGraph, pixel: Pixel = (1.0, 1.0)) -> Polylines:
    """Lay out all edges with their nodes, and measure along them."""
    starts = graph.starts + 2 * np.arange(len(graph.starts))
    at = ranges(graph.starts[:-1] - 1, np.diff(starts))  # nodes get some vertex for now
    points = places_at(graph, at).astype(np.float64)
    points[starts[:-1]] = graph.nodes[graph.ends[:, 0]]
    points[starts[1:] - 1] = graph.nodes[graph.ends[:, 1]]
    if pixel != (1.0, 1.0):
        points *= pixel
    squares = points[1:] - points[:-1]
    squares *= squares
    steps = np.zeros(len(points))
    np.add(squares[:, 0], squares[:, 1], out=steps[1:])
    np.sqrt(steps, out=steps)
    steps *= _GRAINS
    np.rint(steps, out=steps)
    steps /= _GRAINS
    steps[starts[:-1]] = 0
    return Polylines(points, starts, np.cumsum(steps, out=steps))


def edge_lengths(graph: PixelGraph, edges: Ints, pixel: Pixel = (1.0, 1.0)) -> Floats:
    """Return (n,) metres along some edges."""
    stops = np.cumsum(np.diff(graph.starts)[edges])
    found = [
        polylines_of(take_edges(graph, edges[part], all_nodes=True), pixel).lengths
        for part in chunks(stops, WIDE_CHUNK)
    ]
    return np.concatenate([np.zeros(0), *found])


def incident_edges(graph: PixelGraph, nodes: Ints) -> Iterator[tuple[Ints, slice]]:
    """Return the edges that meet some nodes, ascending, part by part, and which rows of nodes these are.

    Parameters
    ----------
    graph
        Where from.
    nodes
        (n, k) numbers.
    """
    tail = graph.ends.ravel()
    leaving = np.argsort(tail, kind="stable")
    degree = degrees(graph)
    first = np.cumsum(degree) - degree
    weight = np.bincount(tail, weights=np.repeat(np.diff(graph.starts), 2), minlength=len(graph.nodes))
    for part in chunks(np.cumsum(weight[nodes].sum(axis=1)), WIDE_CHUNK):
        here = nodes[part].ravel()
        yield np.unique(leaving[ranges(first[here], degree[here])] >> 1), part


def reduce_slices(operation: np.ufunc, values: NDArray[Any], first: Ints, counts: Ints, empty: float = 0.0) -> Floats:
    """Reduce slices ``first[i] …`` (``counts[i]`` long) of an array, of which some may be empty.

    They should ascend: what lies between two slices that follow each other is reduced in vain.
    """
    reduced = np.full(len(first), empty)
    some = np.flatnonzero(counts > 0)
    bounds = np.stack([first[some], first[some] + counts[some]], axis=1).ravel()
    if len(some) and bounds[-1] == len(values):
        bounds = bounds[:-1]
    if len(some):
        reduced[some] = operation.reduceat(values, bounds)[::2]
    return reduced


def take_edges(graph: PixelGraph, edges: Ints, *, turned: Bools | None = None, all_nodes: bool = False) -> PixelGraph:
    """Return some edges in the order given, with the nodes they use.

    Parameters
    ----------
    graph
        Where from.
    edges
        (n,) indices.
    turned
        (n,) which of them run the other way round from now on.
    all_nodes
        Keep nodes that no edge uses any more, so that nodes keep their numbers.
    """
    counts = np.diff(graph.starts)[edges]
    ends = graph.ends[edges]
    if turned is not None:
        ends = np.where(turned[:, None], ends[:, ::-1], ends)
    places, area, level = take_vertices(graph, graph.starts[edges], counts, turned=turned)
    nodes, at_border = graph.nodes, graph.at_border
    if not all_nodes:
        used = np.zeros(len(nodes), dtype=bool)
        used[ends] = True
        nodes, at_border, ends = nodes[used], at_border[used], (np.cumsum(used) - 1)[ends]
    return PixelGraph(
        nodes=nodes,
        at_border=at_border,
        ends=ends,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        places=places,
        area=area,
        level=level,
        inferred=graph.inferred[edges],
        areal=graph.areal[edges],
    )


def take_vertices(
    graph: PixelGraph,
    first: Ints,
    counts: Ints,
    *,
    turned: Bools | None = None,
    lead: Bools | None = None,
    behind: Vertices | None = None,
) -> Vertices:
    """Return the places, areas and levels of slices of the vertices, one slice after the other.

    It goes some 100,000 vertices at a time, so that no array of indices grows with the graph.

    Parameters
    ----------
    graph
        Where from.
    first, counts
        (n,) slice ``i`` is made of vertices ``first[i], first[i] + 1 …`` (``counts[i]`` of them).
    turned
        (n,) which of them are read backwards.
    lead
        (n,) before which of them a place is left free; what it holds is not defined.
    behind
        Vertices from elsewhere that follow in the end.
    """
    whole = counts if lead is None else counts + lead
    stops = np.cumsum(whole)
    size = (int(stops[-1]) if len(stops) else 0) + (len(behind[0]) if behind else 0)
    places, area = np.empty((size, 2), dtype=graph.places.dtype), np.empty(size, dtype=graph.area.dtype)
    level = np.empty(size, dtype=graph.level.dtype)
    begin = first if lead is None else first - lead
    mirror = 2 * first + counts - 1
    for part in chunks(stops) if len(graph.area) else ():
        at = ranges(begin[part], whole[part])
        if turned is not None and turned[part].any():
            back = turned[part]
            flipped = ranges((stops - whole)[part][back] - (stops - whole)[part.start], whole[part][back])
            at[flipped] = np.repeat(mirror[part][back], whole[part][back]) - at[flipped]
        there = slice(stops[part.start] - whole[part.start], stops[part.stop - 1])
        places[there] = places_at(graph, at)
        area[there] = graph.area.take(at, mode="clip")
        level[there] = graph.level.take(at, mode="clip")
    if behind is not None:
        rest = slice(size - len(behind[0]), size)
        places[rest], area[rest], level[rest] = behind
    return places, area, level


def chunks(stops: Ints | Floats, size: int = 0) -> Iterator[slice]:
    """Cut things that end at ``stops`` on a long array into slices that fill about ``size`` of it, ``CHUNK`` if 0."""
    begin = 0
    while begin < len(stops):
        before = stops[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(stops, before + (size or CHUNK), side="right")), begin + 1)
        yield slice(begin, stop)
        begin = stop


def edge_range(graph: PixelGraph, edges: slice) -> PixelGraph:
    """Return some edges that follow each other, with all nodes; nothing is copied."""
    starts = graph.starts[edges.start : edges.stop + 1]
    vertices = slice(starts[0], starts[-1])
    return PixelGraph(
        nodes=graph.nodes,
        at_border=graph.at_border,
        ends=graph.ends[edges],
        starts=starts - starts[0],
        places=graph.places[vertices],
        area=graph.area[vertices],
        level=graph.level[vertices],
        inferred=graph.inferred[edges],
        areal=graph.areal[edges],
    )


def places_at(graph: PixelGraph, at: Ints) -> NDArray[np.int32]:
    """Return the places of some vertices, fast: row and column travel as one number. Wrong indices give any place."""
    if not len(graph.places):
        return np.zeros((len(at), 2), dtype=np.int32)
    return _pairs(graph).take(at, mode="clip").view(np.int32).reshape(-1, 2)


def vertices_where(graph: PixelGraph, keep: Bools) -> Vertices:
    """Return those vertices that are kept."""
    return _pairs(graph)[keep].view(np.int32).reshape(-1, 2), graph.area[keep], graph.level[keep]


def _pairs(graph: PixelGraph) -> Ints:
    """Return (vertices,) rows and columns side by side in one number."""
    return np.ascontiguousarray(graph.places).view(np.int64).ravel()


def in_canonical_order(graph: PixelGraph) -> PixelGraph:
    """Return the same graph in the order that only its shape decides.

    Nodes by row and column; each edge from its earlier node to its later one, a loop towards its
    earlier neighbour first; edges by their nodes, then by their first vertex.
    """
    order = np.lexsort((graph.nodes[:, 1], graph.nodes[:, 0]))
    names = np.empty(len(order), dtype=np.int64)
    names[order] = np.arange(len(order))
    ends = names[graph.ends]
    first, last = _outer_places(graph)
    later = (first[:, 0] > last[:, 0]) | ((first[:, 0] == last[:, 0]) & (first[:, 1] > last[:, 1]))
    turned = (ends[:, 0] > ends[:, 1]) | ((ends[:, 0] == ends[:, 1]) & later)
    ends.sort(axis=1)
    leading = np.where(turned[:, None], last, first)
    edges = np.lexsort((leading[:, 1], leading[:, 0], ends[:, 1], ends[:, 0]))
    if not turned.any() and (np.diff(order) == 1).all() and (np.diff(edges) == 1).all():
        return graph
    renamed = replace(graph, nodes=graph.nodes[order], at_border=graph.at_border[order], ends=names[graph.ends])
    return take_edges(renamed, edges, turned=turned[edges])


def _outer_places(graph: PixelGraph) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (edges, 2) the first and the last vertex of each edge, (-1, -1) where there is none."""
    some = np.diff(graph.starts) > 0
    first = np.full((len(some), 2), -1, dtype=np.int32)
    last = first.copy()
    first[some], last[some] = graph.places[graph.starts[:-1][some]], graph.places[graph.starts[1:][some] - 1]
    return first, last
