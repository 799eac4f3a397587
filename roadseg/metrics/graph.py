"""Road networks as graphs: nodes where roads end or meet, edges in between.

Lines are joined where they share a vertex (to the millimetre) or one ends on another; two that cross without either
are a bridge, not a junction. Vertices with two neighbours lie inside an edge; a ring without a junction keeps the
ends of the lines it was drawn with. A segment drawn twice counts once, one without length not at all. Cost: one sort of
the vertices and one walk over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array

from roadseg.metrics.noding import SAME_M, with_vertices_at_ends
from roadseg.ragged import offsets, ranges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PIECE_SEGMENTS = 64


@dataclass(frozen=True)
class RoadGraph:
    """A road network in metres.

    Parameters
    ----------
    nodes
        (nodes, 2) x, y of ends and junctions, in the order in which they occur in the edges.
    ends
        (edges, 2) nodes at the first and last vertex of each edge; equal for a loop.
    edges
        (vertices, 2) x, y along each edge.
    lengths
        (edges,) metres.
    """

    nodes: Floats
    ends: Ints
    edges: list[Floats]
    lengths: Floats


@dataclass(frozen=True)
class EdgePoints:
    """Points on the edges of a graph: ``edge`` (n,), and ``along`` (n,) in metres from its first end.

    A point on edge -1 is not on the graph: no path leads to it.
    """

    edge: Ints
    along: Floats

    def __len__(self) -> int:
        return len(self.edge)

    def __getitem__(self, index: Ints | slice) -> "EdgePoints":
        return EdgePoints(self.edge[index], self.along[index])


def road_graph(lines: Sequence[Floats], *, join: bool = True) -> RoadGraph:
    """Build the graph of lines.

    Parameters
    ----------
    lines
        (vertices, 2) x, y in metres each.
    join
        Whether lines are connected where one ends on another, and become one edge where two meet end to end. Without
        it every end of a line is a node, for lines that are the edges of a graph already.

    Returns
    -------
    The graph, with edges in the order of the lines; without edges if no line has a length.
    """
    lines = with_vertices_at_ends(lines) if join else lines
    xy = np.concatenate([np.empty((0, 2)), *lines])
    line = np.repeat(np.arange(len(lines)), [len(one) for one in lines])
    _, first, vertex = np.unique(np.round(xy / SAME_M), axis=0, return_index=True, return_inverse=True)
    vertex = vertex.reshape(-1)
    joined = line[1:] == line[:-1]
    segments = _distinct(np.stack([vertex[:-1][joined], vertex[1:][joined]], axis=1))
    is_end = np.zeros(len(first), dtype=bool)
    turns = np.flatnonzero(line[1:] != line[:-1])
    is_end[vertex[np.concatenate([turns, turns + 1, [0, len(line) - 1]])] if len(line) else []] = True
    chains = _chains(segments, is_end, join=join)
    return _assemble(chains, xy[first])


@dataclass(frozen=True)
class EdgePieces:
    """The edges of a graph, cut into pieces of at most 64 segments.

    A search along a whole edge takes time in proportion to its vertices, again for every point; along a piece it
    takes the same time however long the edge is.

    Parameters
    ----------
    lines
        (pieces,) shapely LineStrings, in the order of the edges and along each of them.
    edge
        (pieces,) the edge each is part of.
    start_m
        (pieces,) metres along the edge at which each begins.
    """

    lines: NDArray[np.object_]
    edge: Ints
    start_m: Floats

    def project(self, piece: Ints, points: NDArray[np.object_]) -> Floats:
        """Return (n,) metres along the edges of the places on some pieces (n,) that are nearest to points (n,)."""
        along: Floats = self.start_m[piece] + shapely.line_locate_point(self.lines[piece], points)
        return along

    def containing(self, points: EdgePoints) -> Ints:
        """Return (n,) the piece that each point on an edge lies on."""
        # Beginnings of pieces and points, sorted together: a point lies on the last piece begun before it.
        #   pieces  0        1        2
        #           |--.-----|--------|--..---|        begun - 1:  0 0 1 2 2 2
        edge, along = np.concatenate([self.edge, points.edge]), np.concatenate([self.start_m, points.along])
        is_point = np.arange(len(edge)) >= len(self.edge)
        order = np.lexsort((is_point, along, edge))
        piece = np.empty(len(edge), dtype=np.int64)
        piece[order] = np.cumsum(~is_point[order]) - 1
        return piece[len(self.edge) :]


def edge_pieces(graph: RoadGraph) -> EdgePieces:
    """Cut the edges into pieces; most edges are one piece."""
    vertices = np.array([len(edge) for edge in graph.edges], dtype=np.int64)
    xy = np.concatenate([np.empty((0, 2)), *graph.edges])
    first = offsets(vertices)[:-1]
    pieces = -(-(vertices - 1) // _PIECE_SEGMENTS)
    edge = np.repeat(np.arange(len(vertices)), pieces)
    start = first[edge] + _PIECE_SEGMENTS * ranges(0, pieces)
    count = np.minimum(_PIECE_SEGMENTS, first[edge] + vertices[edge] - 1 - start) + 1
    walked = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    lines = shapely.linestrings(xy[ranges(start, count)], indices=np.repeat(np.arange(len(edge)), count))
    return EdgePieces(lines, edge, walked[start] - walked[first[edge]])


def coordinates(graph: RoadGraph, points: EdgePoints) -> Floats:
    """Return the (n, 2) x, y of points on the edges of a graph."""
    pieces = edge_pieces(graph)
    piece = pieces.containing(points)
    xy: Floats = shapely.get_coordinates(
        shapely.line_interpolate_point(pieces.lines[piece], points.along - pieces.start_m[piece])
    )
    return xy


def node_points(graph: RoadGraph) -> EdgePoints:
    """Return every node as a point on one of its edges."""
    # the last assignment to a node counts, so edges are taken backwards and their first ends last
    edge, along = np.full(len(graph.nodes), -1), np.zeros(len(graph.nodes))
    numbers = np.arange(len(graph.ends))[::-1]
    for side, distance in ((1, graph.lengths), (0, np.zeros(len(graph.ends)))):
        node = graph.ends[::-1, side]
        edge[node], along[node] = numbers, distance[::-1]
    return EdgePoints(edge, along)


def adjacency(graph: RoadGraph) -> csr_array:
    """Return the (nodes, nodes) symmetric matrix of edge lengths: of parallel edges the shortest, no loops."""
    low, high = graph.ends.min(axis=1, initial=2**62), graph.ends.max(axis=1, initial=-1)
    order = np.lexsort((graph.lengths, high, low))
    order = order[low[order] != high[order]]
    low, high, lengths = low[order], high[order], graph.lengths[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    low, high, lengths = low[first], high[first], lengths[first]
    size = (len(graph.nodes), len(graph.nodes))
    both = np.concatenate([low, high]), np.concatenate([high, low])
    return csr_array((np.concatenate([lengths, lengths]), both), shape=size)


def morton_order(xy: Floats) -> Ints:
    """Return an order of (n, 2) points in which neighbours on the ground are mostly neighbours in the list."""
    low, size = xy.min(axis=0), max(float(np.ptp(xy, axis=0).max()), 1.0)
    cell = ((xy - low) / size * 1023).astype(np.int64)
    # The bits of column and row alternate, which numbers the cells along Morton's Z-shaped curve:
    #   x = 0b10, y = 0b11  ->  y1 x1 y0 x0 = 0b1110
    bit = np.arange(10)
    spread = (((cell[..., None] >> bit) & 1) << (2 * bit)).sum(axis=-1)
    return np.argsort(spread[:, 0] + 2 * spread[:, 1], kind="stable")


def _distinct(segments: Ints) -> Ints:
    """Drop segments without length and repeated segments, keeping the order."""
    segments = segments[segments[:, 0] != segments[:, 1]]
    _, first = np.unique(np.sort(segments, axis=1), axis=0, return_index=True)
    return segments[np.sort(first)]


def _chains(segments: Ints, is_end: NDArray[np.bool_], *, join: bool) -> list[list[int]]:
    """Join segments into chains of vertices that run from node to node.

    Rings are walked last, from the ends of their lines.
    """
    # Segment i is two half-edges, 2i forwards and 2i + 1 backwards, so h ^ 1 is the same segment the other way:
    #
    #        2i ───▶                2j ───▶
    #   u ──────────── v (degree 2) ──────────── w      following[2i] = 2j
    #        ◀─── 2i+1              ◀─── 2j+1
    #
    # Two half-edges leave a vertex of degree 2; the one that is not h ^ 1 is next after h.
    tail = segments.ravel()
    head = segments[:, ::-1].ravel()
    degree = np.bincount(tail, minlength=len(is_end))
    leaving = np.argsort(tail, kind="stable")
    start = offsets(degree)
    following = np.full(len(tail), -1)
    through = np.flatnonzero(degree[head] == 2)
    one = leaving[start[head[through]]]
    other = leaving[start[head[through]] + 1]
    following[through] = np.where(one == (through ^ 1), other, one)
    walked = np.zeros(len(tail), dtype=bool)
    chains: list[list[int]] = []
    for is_node in (degree != 2 if join else (degree != 2) | is_end, is_end):
        _walk(np.flatnonzero(is_node[tail]), (head, tail, following, is_node), walked, chains)
    return chains


def _walk(
    starts: Ints,
    half_edges: tuple[Ints, Ints, Ints, NDArray[np.bool_]],
    walked: NDArray[np.bool_],
    chains: list[list[int]],
) -> None:
    """Append the chain of every half-edge in ``starts`` that is not walked yet."""
    head, tail, following, is_node = half_edges
    for first in starts.tolist():
        if walked[first]:
            continue
        chain, current = [int(tail[first])], first
        while True:
            walked[current] = walked[current ^ 1] = True
            chain.append(int(head[current]))
            if is_node[head[current]]:
                break
            current = int(following[current])
        chains.append(chain)


def _assemble(chains: list[list[int]], xy: Floats) -> RoadGraph:
    edges = [xy[chain] for chain in chains]
    ends = np.array([(chain[0], chain[-1]) for chain in chains], dtype=np.int64).reshape(-1, 2)
    # nodes are numbered in the order in which the ends of edges first name them
    used, first, renamed = np.unique(ends, return_index=True, return_inverse=True)
    order = np.argsort(first)
    used, renamed = used[order], np.argsort(order)[renamed]
    lengths = np.array([np.hypot(*np.diff(edge, axis=0).T).sum() for edge in edges], dtype=np.float64)
    return RoadGraph(xy[used], renamed.reshape(-1, 2), edges, lengths)
