"""What all repairs need: edges as chains of points, joined, picked, turned and put in order.

Nothing here loops over edges. A half-edge is one direction of an edge: ``2 i`` leaves the first node
of edge ``i``, ``2 i + 1`` its last. Chains of edges through nodes of degree two are followed by
pointer doubling, in as many rounds as the longest chain has binary digits. Lengths follow the
pixels, so they are up to 8 % too long: good enough to compare with limits.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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


@dataclass(frozen=True)
class Tips:
    """What the last metres of some half-edges tell.

    Parameters
    ----------
    outward
        (n, 2) unit vector down, across that points out of the edge beyond its node; zeros if there is none.
    width
        (n,) metres of road width.
    middle
        (n, 2) metres down, across: the middle of the points that were looked at.
    reach
        (n,) metres over which the direction was fitted.
    """

    outward: Floats
    width: Floats
    middle: Floats
    reach: Floats


def degrees(graph: PixelGraph) -> Ints:
    """Return (nodes,) how many edge ends meet in each node; a loop counts twice."""
    return np.bincount(graph.ends.ravel(), minlength=len(graph.nodes))


def slices(first: Ints, counts: Ints) -> Ints:
    """Return the indices ``first[i], first[i] + 1 …`` (``counts[i]`` of them), one slice after the other."""
    begin = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(first - begin, counts)


def touching(graph: PixelGraph, nodes: Bools) -> PixelGraph:
    """Return the edges that touch some nodes; all nodes keep their numbers."""
    return pick(graph, np.flatnonzero(nodes[graph.ends].any(axis=1)), all_nodes=True)


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


def tips(graph: PixelGraph, laid: Chains, half_edges: Ints, pixel: Pixel, *, skip: Floats, span: float) -> Tips:
    """Fit direction and width to the ends of some half-edges, at their tails.

    The direction is the slope of the points against their distance from the end, so that single
    pixels weigh little.

    Parameters
    ----------
    graph, laid, pixel
        The edges, the same laid out, and the size of a pixel.
    half_edges
        (n,) which ends.
    skip
        (n,) metres at the end that are left out, as far as the edge is long enough.
    span
        Metres that are looked at.
    """
    edge, side = half_edges >> 1, half_edges & 1
    low, high = laid.starts[edge], laid.starts[edge + 1] - 1
    length = laid.along[high] - laid.along[low]
    skip = np.minimum(skip, length / 3)
    near, far = skip, np.minimum(skip + span, length)
    begin = np.where(side == 0, laid.along[low] + near, laid.along[high] - far)
    stop = np.where(side == 0, laid.along[low] + far, laid.along[high] - near)
    first = np.clip(np.searchsorted(laid.along, begin - 1e-9, side="left"), low, high)
    last = np.clip(np.searchsorted(laid.along, stop + 1e-9, side="right") - 1, first, high)
    short = last - first < 1
    first, last = np.where(short, low, first), np.where(short, high, last)
    counts = last - first + 1
    at = slices(first, counts)
    group = np.cumsum(counts) - counts
    distance = np.abs(laid.along[at] - np.repeat(np.where(side == 0, laid.along[low], laid.along[high]), counts))
    outward = -_slopes(distance, laid.points[at], group, counts)
    width = _widths(graph, laid, at, np.repeat(edge, counts), group) * (pixel[0] * pixel[1])
    middle = laid.points[(first + last) // 2]
    return Tips(outward, width, middle, laid.along[last] - laid.along[first])


def _slopes(distance: Floats, points: Floats, group: Ints, counts: Ints) -> Floats:
    """Return (groups, 2) unit slopes of points against a distance."""
    if not len(group):
        return np.zeros((0, 2))
    shifted = distance - np.repeat(np.add.reduceat(distance, group) / counts, counts)
    origin = np.repeat(points[group], counts, axis=0)
    slope = np.add.reduceat(shifted[:, None] * (points - origin), group)
    norm = np.hypot(*slope.T)[:, None]
    return np.divide(slope, norm, out=np.zeros_like(slope), where=norm > 0)


def _widths(graph: PixelGraph, laid: Chains, at: Ints, edge: Ints, group: Ints) -> Floats:
    """Return (groups,) road pixels per metre of chain; nodes have no road pixels of their own and do not count."""
    if not len(group):
        return np.zeros(0)
    inner = (at > laid.starts[edge]) & (at < laid.starts[edge + 1] - 1)
    vertex = np.clip(at - 2 * edge - 1, 0, max(len(graph.area) - 1, 0))
    area = np.where(inner, graph.area[vertex], 0) if len(graph.area) else np.zeros(len(at))
    before, behind = np.maximum(at - 1, 0), np.minimum(at + 1, len(laid.along) - 1)
    length = np.where(inner, (laid.along[behind] - laid.along[before]) / 2, 0)
    whole = np.add.reduceat(length, group)
    width: Floats = np.divide(np.add.reduceat(area, group), whole, out=np.zeros(len(group)), where=whole > 0)
    return width


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


def contract(graph: PixelGraph) -> PixelGraph:
    """Join the two edges that meet in a node of degree two; a ring keeps one node, its first.

    Seen and inferred edges stay apart, so do areal ones and others. The node becomes a vertex with
    the mean area and level of its neighbours. Nodes without an edge are dropped.
    """
    through = _through(graph)
    if not through.any():
        return _tidied(graph)
    edges, turned, chain = _follow(graph, through)
    turned_graph = pick(graph, edges, turned=turned, all_nodes=True)
    new = np.concatenate([[True], chain[1:] != chain[:-1]])
    first, last = np.flatnonzero(new), np.flatnonzero(np.concatenate([new[1:], [True]]))
    joint = np.flatnonzero(~new)
    at = turned_graph.starts[joint]
    places = np.insert(turned_graph.places, at, np.rint(turned_graph.nodes[turned_graph.ends[joint, 0]]), axis=0)
    counts = np.add.reduceat(np.diff(turned_graph.starts), first) + (last - first)
    starts = np.concatenate([[0], np.cumsum(counts)])
    inserted = at + np.arange(len(at))
    area = _filled(np.insert(turned_graph.area, at, 0), inserted, starts)
    level = _filled(np.insert(turned_graph.level, at, 0), inserted, starts)
    ends = np.stack([turned_graph.ends[first, 0], turned_graph.ends[last, 1]], axis=1)
    joined = replace(turned_graph, ends=ends, starts=starts, places=places, area=area, level=level)
    joined = replace(joined, inferred=turned_graph.inferred[first], areal=turned_graph.areal[first])
    return _tidied(joined)


def _tidied(graph: PixelGraph) -> PixelGraph:
    """Drop nodes without an edge."""
    used = np.zeros(len(graph.nodes), dtype=bool)
    used[graph.ends] = True
    if used.all():
        return graph
    names = np.cumsum(used) - 1
    return replace(graph, nodes=graph.nodes[used], at_border=graph.at_border[used], ends=names[graph.ends])


def _filled(values: NDArray[Any], at: Ints, starts: Ints) -> NDArray[Any]:
    """Put the mean of both neighbours on the same edge in some places."""
    edge = np.searchsorted(starts, at, side="right") - 1
    before, behind = np.maximum(at - 1, starts[edge]), np.minimum(at + 1, starts[edge + 1] - 1)
    before, behind = np.where(before == at, behind, before), np.where(behind == at, before, behind)
    values[at] = (values[before].astype(np.int64) + values[behind]) // 2
    return values


def _through(graph: PixelGraph) -> Bools:
    """Return (nodes,) which nodes can become vertices."""
    degree = degrees(graph)
    leaving = np.argsort(graph.ends.ravel(), kind="stable")
    two = np.flatnonzero(degree == 2)
    position = (np.cumsum(degree) - degree)[two]
    one, other = leaving[position] >> 1, leaving[position + 1] >> 1
    alike = (graph.inferred[one] == graph.inferred[other]) & (graph.areal[one] == graph.areal[other])
    through = np.zeros(len(graph.nodes), dtype=bool)
    through[two[(one != other) & alike]] = True
    inside = graph.ends[through[graph.ends].all(axis=1)]
    links = coo_array((np.ones(len(inside), dtype=np.int8), inside.T), shape=(len(degree), len(degree)))
    count, part = connected_components(links, directed=False)
    ring = np.bincount(part[inside[:, 0]], minlength=count) == np.bincount(part, minlength=count)
    _, first = np.unique(part, return_index=True)
    through[first[ring]] = False
    return through


def _follow(graph: PixelGraph, through: Bools) -> tuple[Ints, Bools, Ints]:
    """Return the edges in the order of their chains, whether each is turned, and the chain it belongs to."""
    tail, head = graph.ends.ravel(), graph.ends[:, ::-1].ravel()
    degree = degrees(graph)
    leaving = np.argsort(tail, kind="stable")
    position = np.cumsum(degree) - degree
    half = np.arange(len(tail))
    goes_on = np.flatnonzero(through[head])
    one, other = (leaving[position[head[goes_on]] + i] for i in (0, 1))
    follow = half.copy()
    follow[goes_on] = np.where(one == (goes_on ^ 1), other, one)
    left = (follow != half).astype(np.int64)
    while (follow[follow] != follow).any():
        left += left[follow]
        follow = follow[follow]
    starting = half[~through[tail]]
    starting = starting[starting < (follow[starting] ^ 1)]
    chain_of = np.full(len(tail), -1)
    chain_of[follow[starting]] = np.arange(len(starting))
    chain = chain_of[follow]
    members = half[chain >= 0]
    order = np.lexsort((-left[members], chain[members]))
    members = members[order]
    return members >> 1, (members & 1).astype(bool), chain[members]
