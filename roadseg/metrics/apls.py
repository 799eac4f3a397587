"""APLS, the average path length similarity of two road networks, as CosmiQ Works define it.

Control points are set on one network (its nodes, and points every 50 m or so along its edges)
and snapped to the other; each pair of them that a path joins is charged by how much the path's
length differs there. This is done both ways and the two scores are joined by their harmonic mean.
Every pair counts, none is sampled. Distances between points on edges come from those between
nodes, so that Dijkstra runs on the bare network: time and memory of its matrix, in chunks.
Source: Van Etten, Lindenbaum, Bacastow, SpaceNet (arXiv:1807.01232); constants are the defaults
of its command line. The measure of this name in Sat2Graph and later papers is another one.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from roadseg.metrics.graph import (
    EdgePoints,
    Floats,
    Ints,
    RoadGraph,
    adjacency,
    coordinates,
    line_strings,
    node_points,
)
from roadseg.ragged import ranges

SPACING_M = 50.0
"""Distance of control points along an edge; an edge shorter than 0.75 of it gets none."""

SNAP_M = 4.0
"""How far a control point may lie off the other network."""

SHORTEST_M = 1e-3
"""A path shorter than this is not compared."""

_NEAR, _CHUNK = 2048, 128


@dataclass(frozen=True)
class PathCounts:
    """What one direction summed up: pairs of control points and their total penalty, 0 to 1 each."""

    pairs: int
    penalty: float
    control_points: int

    def __add__(self, other: "PathCounts") -> "PathCounts":
        return PathCounts(
            self.pairs + other.pairs,
            self.penalty + other.penalty,
            self.control_points + other.control_points,
        )


@dataclass(frozen=True)
class AplsCounts:
    """Both directions: truth's paths sought in the prediction, and the prediction's in the truth."""

    truth_to_prediction: PathCounts
    prediction_to_truth: PathCounts

    def __add__(self, other: "AplsCounts") -> "AplsCounts":
        return AplsCounts(
            self.truth_to_prediction + other.truth_to_prediction,
            self.prediction_to_truth + other.prediction_to_truth,
        )


def apls(truth: RoadGraph, prediction: RoadGraph) -> AplsCounts:
    """Compare the paths of two networks; `similarity` and `apls_score` make ratios of the result."""
    return AplsCounts(_one_way(truth, prediction), _one_way(prediction, truth))


def similarity(counts: PathCounts) -> float:
    """Return the share of path length kept, NaN if the network has no path."""
    return 1 - counts.penalty / counts.pairs if counts.pairs else float("nan")


def apls_score(result: AplsCounts) -> float:
    """Return APLS: 0 if one of the networks has no path, NaN if neither has one."""
    ways = (result.truth_to_prediction, result.prediction_to_truth)
    if not any(way.pairs for way in ways):
        return float("nan")
    if not all(way.pairs for way in ways):
        return 0.0
    there, back = (similarity(way) for way in ways)
    return 2 * there * back / (there + back) if there + back > 0 else 0.0


def control_points(graph: RoadGraph) -> EdgePoints:
    """Return the nodes and the points along the edges, in the order of the edges.

    An edge up to the spacing gets its middle, a longer one is cut into equal parts no longer than
    the spacing.
    """
    parts = np.ceil(graph.lengths / SPACING_M).astype(np.int64)
    parts[graph.lengths <= SPACING_M] = 2
    parts[graph.lengths < 0.75 * SPACING_M] = 1
    edge = np.repeat(np.arange(len(parts)), parts - 1)
    number = ranges(1, parts - 1)
    along = graph.lengths[edge] * number / parts[edge]
    nodes = node_points(graph)
    return EdgePoints(np.concatenate([nodes.edge, edge]), np.concatenate([nodes.along, along]))


def snap(graph: RoadGraph, xy: Floats) -> EdgePoints:
    """Return the nearest place on a graph for each point, nowhere if it is over `SNAP_M` away.

    A point may be equally near to several edges (a crossing of streets that was shifted). The
    reference then depends on the order of its edge list, from which each snapped point takes an
    edge and to which it adds two halves. The same choice is made here: the points are served in
    their order, and the edge wins whose part around the point has the earliest end.

    Parameters
    ----------
    graph
        Where to look.
    xy
        (n, 2) points in metres.
    """
    edge, along = np.full(len(xy), -1), np.zeros(len(xy))
    edges, marks = line_strings(graph), shapely.points(xy)
    who, which = shapely.STRtree(edges).query_nearest(marks, max_distance=SNAP_M)
    who, which = np.stack([who, which])[:, np.lexsort((which, who))]
    where = shapely.line_locate_point(edges[which], marks[who])
    parts = _Parts(graph)
    start = np.searchsorted(who, np.arange(len(xy) + 1)).tolist()
    found = list(zip(which.tolist(), where.tolist(), strict=True))
    for point, (first, last) in enumerate(pairwise(start)):
        if first < last:
            edge[point], along[point] = min(found[first:last], key=parts.rank)
            parts.cut(int(edge[point]), float(along[point]))
    return EdgePoints(edge, along)


class _Parts:
    """The parts into which snapped points have cut the edges so far, ranked by age."""

    def __init__(self, graph: RoadGraph) -> None:
        self._ends, self._lengths = graph.ends.tolist(), graph.lengths.tolist()
        self._nodes = len(graph.nodes)
        self._cuts: dict[int, list[tuple[float, int]]] = {}
        self._made = 0

    def rank(self, place: tuple[int, float]) -> tuple[int, int]:
        """Return the number of the earlier end of the part at a place, then the part's own."""
        edge, along = place
        cuts = self._cuts.get(edge, [])
        above = bisect_left(cuts, (along, 0))
        ends = list(self._ends[edge])
        made = [edge - len(self._ends)]
        if above > 0:
            made.append(cuts[above - 1][1])
            ends[0] = self._nodes + made[-1]
        if above < len(cuts):
            made.append(cuts[above][1])
            ends[1] = self._nodes + made[-1]
        return min(ends), max(made)

    def cut(self, edge: int, along: float) -> None:
        """Cut an edge where a point was snapped to it, unless that is at its end."""
        if 0 < along < self._lengths[edge]:
            insort(self._cuts.setdefault(edge, []), (along, self._made))
            self._made += 1


def _one_way(graph: RoadGraph, other: RoadGraph) -> PathCounts:
    if not len(graph.edges):
        return PathCounts(0, 0.0, 0)
    own = control_points(graph)
    xy = coordinates(graph, own)
    order = _along_a_curve(xy)
    own, snapped = own[order], snap(other, xy)[order]
    total = PathCounts(0, 0.0, len(own))
    for first in range(0, len(own), _NEAR):
        area = slice(first, first + _NEAR)
        here = _Reach(graph, own[area])
        there = _Reach(other, snapped[area]) if len(other.edges) else None
        for start in range(0, len(here.sources), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            length = here.distances(chunk, own)
            found = there.distances(chunk, snapped) if there else np.full_like(length, np.inf)
            total += _charge(length, found)
    return total


def _charge(length: Floats, there: Floats) -> PathCounts:
    """Count the pairs with a path and sum min(1, |difference| / length) over them."""
    asked = (length >= SHORTEST_M) & (length < np.inf)
    if not asked.all():
        length, there = length[asked], there[asked]
    np.subtract(there, length, out=there)
    np.abs(there, out=there)
    np.divide(there, length, out=there)
    np.minimum(there, 1.0, out=there)
    return PathCounts(there.size, float(there.sum()), 0)


class _Reach:
    """Shortest paths from some places of a graph; Dijkstra runs once for all of them.

    Parameters
    ----------
    graph
        Where to walk.
    sources
        Where walks start; the nearer they lie together, the fewer nodes are needed.
    """

    def __init__(self, graph: RoadGraph, sources: EdgePoints) -> None:
        self.graph, self.sources = graph, sources
        ends = graph.ends[sources.edge]
        used, row = np.unique(ends, return_inverse=True)
        self._row = row.reshape(ends.shape)
        self._between = dijkstra(adjacency(graph), directed=True, indices=used)

    def distances(self, chunk: slice, targets: EdgePoints) -> Floats:
        """Return (targets, chunk) metres of path, infinite where there is none."""
        graph, sources, row = self.graph, self.sources[chunk], self._row[chunk]
        ahead = graph.lengths[sources.edge] - sources.along
        from_first = self._between[row[:, 0]] + sources.along[:, None]
        from_last = self._between[row[:, 1]] + ahead[:, None]
        to_node = np.minimum(from_first, from_last, out=from_first)
        to_node[sources.edge < 0] = np.inf
        to_node = np.ascontiguousarray(to_node.T)  # (nodes, chunk)
        first, last = graph.ends[targets.edge].T
        found: Floats = to_node[first]
        found += targets.along[:, None]
        beyond = to_node[last]
        beyond += (graph.lengths[targets.edge] - targets.along)[:, None]
        np.minimum(found, beyond, out=found)
        found[targets.edge < 0] = np.inf
        target, source = _same_edge(targets.edge, sources.edge)
        direct = np.abs(targets.along[target] - sources.along[source])
        found[target, source] = np.minimum(found[target, source], direct)
        return found


def _same_edge(targets: Ints, sources: Ints) -> tuple[Ints, Ints]:
    """Return the pairs (target, source) that lie on one edge."""
    order = np.argsort(targets, kind="stable")
    first = np.searchsorted(targets[order], sources, side="left")
    count = np.searchsorted(targets[order], sources, side="right") - first
    count[sources < 0] = 0
    source = np.repeat(np.arange(len(sources)), count)
    return order[ranges(first, count)], source


def _along_a_curve(xy: Floats) -> NDArray[np.intp]:
    """Return an order in which neighbours on the ground are neighbours in the list (Morton's)."""
    low, size = xy.min(axis=0), max(float(np.ptp(xy, axis=0).max()), 1.0)
    cell = ((xy - low) / size * 1023).astype(np.int64)
    bit = np.arange(10)
    spread = (((cell[..., None] >> bit) & 1) << (2 * bit)).sum(axis=-1)
    return np.argsort(spread[:, 0] + 2 * spread[:, 1], kind="stable")
