"""What all repairs need: edges laid out as points, measured, picked, turned and put in order.

Nothing here loops over edges. Lengths follow the pixels, so they are up to 8 % too long: good enough
to compare with limits.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.network.graph import Bools, Floats, Ints, PixelGraph

Pixel = tuple[float, float]
"""Ground size of a pixel down its column and along its row, in metres; (1, 1) makes metres pixels."""


@dataclass(frozen=True)
class Chains:
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


def slices(first: Ints, counts: Ints) -> Ints:
    """Return the indices ``first[i], first[i] + 1 …`` (``counts[i]`` of them), one slice after the other."""
    begin = np.cumsum(counts) - counts
    at: Ints = np.arange(int(counts.sum())) + np.repeat(first - begin, counts)
    return at


def edge_of_vertex(graph: PixelGraph) -> Ints:
    """Return (vertices,) the edge each vertex belongs to."""
    return np.repeat(np.arange(len(graph.ends)), np.diff(graph.starts))


def chains(graph: PixelGraph, pixel: Pixel = (1.0, 1.0)) -> Chains:
    """Lay out all edges with their nodes, and measure along them."""
    starts = graph.starts + 2 * np.arange(len(graph.starts))
    points = np.empty((starts[-1], 2))
    inner = np.ones(len(points), dtype=bool)
    inner[starts[:-1]] = inner[starts[1:] - 1] = False
    points[inner] = graph.places
    points[starts[:-1]] = graph.nodes[graph.ends[:, 0]]
    points[starts[1:] - 1] = graph.nodes[graph.ends[:, 1]]
    if pixel != (1.0, 1.0):
        points *= pixel
    steps = np.zeros(len(points))
    np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1]), out=steps[1:])
    steps[starts[:-1]] = 0
    return Chains(points, starts, np.cumsum(steps))


def per_edge(operation: np.ufunc, values: NDArray[Any], first: Ints, counts: Ints, empty: float = 0.0) -> Floats:
    """Reduce slices ``first[i] …`` (``counts[i]`` long) of an array, of which some may be empty."""
    reduced = np.full(len(first), empty)
    some = counts > 0
    if some.any():
        bounds = np.stack([first[some], first[some] + counts[some]], axis=1).ravel()
        reduced[some] = operation.reduceat(np.append(values, values[:1]), bounds)[::2]
    return reduced


def pick(graph: PixelGraph, edges: Ints, *, turned: Bools | None = None, all_nodes: bool = False) -> PixelGraph:
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
    at = slices(graph.starts[edges], counts)
    ends = graph.ends[edges]
    if turned is not None:
        mirror = (graph.starts[edges] + graph.starts[edges + 1] - 1)[turned]
        flipped = np.repeat(turned, counts)
        at[flipped] = np.repeat(mirror, counts[turned]) - at[flipped]
        ends = np.where(turned[:, None], ends[:, ::-1], ends)
    used = np.full(len(graph.nodes), all_nodes)
    used[ends] = True
    names = np.cumsum(used) - 1
    return PixelGraph(
        nodes=graph.nodes[used],
        at_border=graph.at_border[used],
        ends=names[ends],
        starts=np.concatenate([[0], np.cumsum(counts)]),
        places=graph.places[at],
        area=graph.area[at],
        level=graph.level[at],
        inferred=graph.inferred[edges],
        areal=graph.areal[edges],
    )


def in_order(graph: PixelGraph) -> PixelGraph:
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
    return pick(renamed, edges, turned=turned[edges])


def _outer_places(graph: PixelGraph) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (edges, 2) the first and the last vertex of each edge, (-1, -1) where there is none."""
    some = np.diff(graph.starts) > 0
    first = np.full((len(some), 2), -1, dtype=np.int32)
    last = first.copy()
    first[some], last[some] = graph.places[graph.starts[:-1][some]], graph.places[graph.starts[1:][some] - 1]
    return first, last
