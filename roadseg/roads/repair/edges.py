"""What all repairs need: edges as polylines with their lengths; edges taken, turned and put in canonical order.

Nothing here loops over edges. Lengths follow the pixels, which makes them up to 8 % too long: good enough to
compare with limits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import offsets, ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph

PixelSize = tuple[float, float]
"""Ground size of a pixel down its column and along its row, in metres; with (1, 1) all lengths are in pixels."""

Vertices = tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint8]]
"""(n, 2) places, (n,) areas and (n,) levels, as in a ``PixelGraph``."""

CHUNK = 1 << 17
"""Number of vertices worked on at a time, where all of them are."""

NODE_CHUNK = 1 << 19
"""The same where each chunk costs something per node of the graph."""

_PER_METRE = 2.0**20
"""Steps are rounded to multiples of 1 / this. Such sums are exact in floats, whatever edges come before."""


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
        (points,) float64 metres along the edges from the first point of the first one; jumps between edges count 0.
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


def polylines_of(graph: PixelGraph, pixel_size: PixelSize = (1.0, 1.0)) -> Polylines:
    """Return all edges with their nodes at both ends, and the distances along them."""
    # Edge i has two points more than vertices:    node  vertex … vertex  node
    # so its points start 2 i later.           starts[i]                  starts[i + 1] - 1
    starts = graph.starts + 2 * np.arange(len(graph.starts))
    at = ranges(graph.starts[:-1] - 1, np.diff(starts))  # any vertex stands for a node until the node is written
    points = places_at(graph, at).astype(np.float64)
    points[starts[:-1]] = graph.nodes[graph.ends[:, 0]]
    points[starts[1:] - 1] = graph.nodes[graph.ends[:, 1]]
    if pixel_size != (1.0, 1.0):
        points *= pixel_size
    squares = points[1:] - points[:-1]
    squares *= squares
    steps = np.zeros(len(points))
    np.add(squares[:, 0], squares[:, 1], out=steps[1:])
    np.sqrt(steps, out=steps)
    steps *= _PER_METRE
    np.rint(steps, out=steps)
    steps /= _PER_METRE
    steps[starts[:-1]] = 0
    return Polylines(points, starts, np.cumsum(steps, out=steps))


def edge_lengths(graph: PixelGraph, edges: Ints, pixel_size: PixelSize = (1.0, 1.0)) -> Floats:
    """Return (n,) the lengths of some edges in metres."""
    stops = np.cumsum(np.diff(graph.starts)[edges])
    lengths = [
        polylines_of(take_edges(graph, edges[part], all_nodes=True), pixel_size).lengths
        for part in chunks(stops, NODE_CHUNK)
    ]
    return np.concatenate([np.zeros(0), *lengths])


def incident_edges(graph: PixelGraph, nodes: Ints) -> Iterator[tuple[Ints, slice]]:
    """Yield the edges that meet some nodes, ascending, for one chunk of the rows of ``nodes`` after the other.

    Parameters
    ----------
    graph
        Graph with the nodes.
    nodes
        (n, k) indices; the nodes of a row stay together.

    Yields
    ------
    Indices of the edges at the nodes of some rows, and the slice of these rows.
    """
    tail = graph.ends.ravel()
    leaving = np.argsort(tail, kind="stable")
    degree = degrees(graph)
    first = np.cumsum(degree) - degree
    weight = np.bincount(tail, weights=np.repeat(np.diff(graph.starts), 2), minlength=len(graph.nodes))
    for part in chunks(np.cumsum(weight[nodes].sum(axis=1)), NODE_CHUNK):
        here = nodes[part].ravel()
        yield np.unique(leaving[ranges(first[here], degree[here])] >> 1), part


def take_edges(graph: PixelGraph, edges: Ints, *, turned: Bools | None = None, all_nodes: bool = False) -> PixelGraph:
    """Return some edges in the order given, with the nodes they use.

    Parameters
    ----------
    graph
        Graph to take them from.
    edges
        (n,) indices.
    turned
        (n,) whether to reverse them.
    all_nodes
        Keep nodes that no edge uses any more, so that nodes keep their indices.
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
        starts=offsets(counts),
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
    appended: Vertices | None = None,
) -> Vertices:
    """Return the places, areas and levels of slices of the vertices, end to end.

    Parameters
    ----------
    graph
        Graph with the vertices.
    first, counts
        (n,) slice ``i`` is made of vertices ``first[i], first[i] + 1 …`` (``counts[i]`` of them).
    turned
        (n,) which slices are reversed.
    lead
        (n,) in front of which slices one place is left free; its content is undefined.
    appended
        Vertices from elsewhere that follow at the end.
    """
    sizes = counts if lead is None else counts + lead
    stops = np.cumsum(sizes)
    size = (int(stops[-1]) if len(stops) else 0) + (len(appended[0]) if appended else 0)
    places, area = np.empty((size, 2), dtype=graph.places.dtype), np.empty(size, dtype=graph.area.dtype)
    level = np.empty(size, dtype=graph.level.dtype)
    begin = first if lead is None else first - lead
    # A slice from a to b is reversed by reading vertex a + b - i in place of vertex i. Chunk by chunk, so that no
    # array of indices grows with the graph.
    mirror = 2 * first + counts - 1
    for part in chunks(stops) if len(graph.area) else ():
        at = ranges(begin[part], sizes[part])
        if turned is not None and turned[part].any():
            back = turned[part]
            flipped = ranges((stops - sizes)[part][back] - (stops - sizes)[part.start], sizes[part][back])
            at[flipped] = np.repeat(mirror[part][back], sizes[part][back]) - at[flipped]
        to = slice(stops[part.start] - sizes[part.start], stops[part.stop - 1])
        places[to] = places_at(graph, at)
        area[to] = graph.area.take(at, mode="clip")
        level[to] = graph.level.take(at, mode="clip")
    if appended is not None:
        rest = slice(size - len(appended[0]), size)
        places[rest], area[rest], level[rest] = appended
    return places, area, level


def chunks(stops: Ints | Floats, size: int = 0) -> Iterator[slice]:
    """Cut rows that stop at ``stops`` of a flat array into slices of rows that hold about ``size`` values each.

    A row with more values is a slice of its own; a size of 0 is ``CHUNK``.
    """
    begin = 0
    while begin < len(stops):
        before = stops[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(stops, before + (size or CHUNK), side="right")), begin + 1)
        yield slice(begin, stop)
        begin = stop


def edge_range(graph: PixelGraph, edges: slice) -> PixelGraph:
    """Return a range of edges, with all nodes; nothing is copied."""
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
    """Return (n, 2) the places of some vertices; an index out of range gives any place."""
    if not len(graph.places):
        return np.zeros((len(at), 2), dtype=np.int32)
    return _as_pairs(graph).take(at, mode="clip").view(np.int32).reshape(-1, 2)


def vertices_where(graph: PixelGraph, keep: Bools) -> Vertices:
    """Return the vertices for which ``keep`` is true."""
    return _as_pairs(graph)[keep].view(np.int32).reshape(-1, 2), graph.area[keep], graph.level[keep]


def _as_pairs(graph: PixelGraph) -> Ints:
    """Return (vertices,) row and column as the two halves of one int64, which is faster to gather than two int32."""
    return np.ascontiguousarray(graph.places).view(np.int64).ravel()


def in_canonical_order(graph: PixelGraph) -> PixelGraph:
    """Return the same graph in an order that depends on its shape only.

    Nodes by row and column; each edge from its earlier node to its later one, a loop towards its
    earlier neighbour first; edges by their nodes, then by their first vertex.
    """
    order = np.lexsort((graph.nodes[:, 1], graph.nodes[:, 0]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    ends = rank[graph.ends]
    first, last = _outer_places(graph)
    later = (first[:, 0] > last[:, 0]) | ((first[:, 0] == last[:, 0]) & (first[:, 1] > last[:, 1]))
    turned = (ends[:, 0] > ends[:, 1]) | ((ends[:, 0] == ends[:, 1]) & later)
    ends.sort(axis=1)
    leading = np.where(turned[:, None], last, first)
    edges = np.lexsort((leading[:, 1], leading[:, 0], ends[:, 1], ends[:, 0]))
    if not turned.any() and (np.diff(order) == 1).all() and (np.diff(edges) == 1).all():
        return graph
    renumbered = replace(graph, nodes=graph.nodes[order], at_border=graph.at_border[order], ends=rank[graph.ends])
    return take_edges(renumbered, edges, turned=turned[edges])


def _outer_places(graph: PixelGraph) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (edges, 2) the first and the last vertex of each edge, (-1, -1) where it has none."""
    some = np.diff(graph.starts) > 0
    first = np.full((len(some), 2), -1, dtype=np.int32)
    last = first.copy()
    first[some], last[some] = graph.places[graph.starts[:-1][some]], graph.places[graph.starts[1:][some] - 1]
    return first, last
