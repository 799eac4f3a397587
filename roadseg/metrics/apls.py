"""APLS, the average path length similarity of two road networks, as CosmiQ Works define it.

The control points of one network are snapped to the other; each pair of them that a path joins is penalized by
how much the path's length differs there. This is done both ways and the two similarities are joined by their
harmonic mean. Distances between points on edges come from those between nodes, so Dijkstra runs on the bare
network. Up to 25,000 control points every pair counts (1 s per 30 million pairs); beyond that the paths from a
sample of them are compared, and what needs no path is still counted in full.
Source: Van Etten, Lindenbaum, Bacastow, SpaceNet (arXiv:1807.01232); constants are the defaults of its command
line. The measure of this name in Sat2Graph and later papers is another one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components, dijkstra

from roadseg.metrics.control_points import control_points, snap
from roadseg.metrics.graph import EdgePoints, Floats, Ints, RoadGraph, adjacency, coordinates, morton_order

SHORTEST_M = 1e-3
"""A path shorter than this is not compared."""

_MOST_POINTS, _SOURCES = 25_000, 512
_NEAR, _CHUNK, _ROWS = 2048, 128, 256
_NODE_DISTANCES = 1 << 23

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PathCounts:
    """The sums of one direction; those of other networks add.

    Parameters
    ----------
    pairs
        Pairs of control points that a path joins.
    penalty
        Sum of their penalties, 0 to 1 each.
    control_points
        Number of control points.
    sources
        How many of them paths were followed from; if not from all, the penalty is an estimate.
    variance
        Of the estimated penalty; 0 if it is exact.
    """

    pairs: int
    penalty: float
    control_points: int
    sources: int
    variance: float = 0.0

    def __add__(self, other: "PathCounts") -> "PathCounts":
        return PathCounts(
            self.pairs + other.pairs,
            self.penalty + other.penalty,
            self.control_points + other.control_points,
            self.sources + other.sources,
            self.variance + other.variance,
        )


@dataclass(frozen=True)
class AplsCounts:
    """Both directions: the truth's paths sought in the prediction, and the prediction's in the truth."""

    truth_to_prediction: PathCounts
    prediction_to_truth: PathCounts

    def __add__(self, other: "AplsCounts") -> "AplsCounts":
        return AplsCounts(
            self.truth_to_prediction + other.truth_to_prediction,
            self.prediction_to_truth + other.prediction_to_truth,
        )


def apls(truth: RoadGraph, prediction: RoadGraph, *, advance: Callable[[float], None] = lambda _: None) -> AplsCounts:
    """Compare the paths of two networks; ``similarity`` and ``apls_score`` make ratios of the result.

    Parameters
    ----------
    truth, prediction
        The networks in metres.
    advance
        Called with the share of the work finished since the last call.
    """
    return AplsCounts(_one_way(truth, prediction, advance), _one_way(prediction, truth, advance))


def similarity(counts: PathCounts) -> float:
    """Return the share of path length kept, NaN if the network has no path."""
    return 1 - counts.penalty / counts.pairs if counts.pairs else math.nan


def apls_score(counts: AplsCounts) -> float:
    """Return APLS: 0 if one of the networks has no path, NaN if neither has one."""
    ways = (counts.truth_to_prediction, counts.prediction_to_truth)
    if not any(way.pairs for way in ways):
        return math.nan
    if not all(way.pairs for way in ways):
        return 0.0
    there, back = (similarity(way) for way in ways)
    return 2 * there * back / (there + back) if there + back > 0 else 0.0


def standard_error(counts: AplsCounts) -> float:
    """Return the standard error of APLS that comes from sampling; 0 if every pair was compared."""
    ways = (counts.truth_to_prediction, counts.prediction_to_truth)
    if not all(way.pairs for way in ways):
        return 0.0
    there, back = (similarity(way) for way in ways)
    errors = [math.sqrt(way.variance) / way.pairs for way in ways]
    total = there + back
    return 2 * math.hypot(back**2 * errors[0], there**2 * errors[1]) / total**2 if total > 0 else 0.0


@dataclass(frozen=True)
class _Side:
    """A network, and where each control point lies on it (on edge -1 if nowhere)."""

    graph: RoadGraph
    points: EdgePoints

    def components(self) -> Ints:
        """Return (points,) the connected component of each point, -1 for nowhere."""
        if not len(self.graph.edges):
            return np.full(len(self.points), -1)
        label = connected_components(adjacency(self.graph), directed=False)[1]
        return np.where(self.points.edge >= 0, label[self.graph.ends[self.points.edge, 0]], -1)


def _one_way(graph: RoadGraph, other: RoadGraph, advance: Callable[[float], None]) -> PathCounts:
    if not len(graph.edges):
        advance(0.5)
        return PathCounts(0, 0.0, 0, 0)
    points = control_points(graph)
    xy = coordinates(graph, points)
    order = morton_order(xy)
    here, there = _Side(graph, points[order]), _Side(other, snap(other, xy)[order])
    if len(points) > _MOST_POINTS:
        return _estimate(here, there, advance)
    pairs, penalty = _penalties(here, there, np.arange(len(points)), advance)
    return PathCounts(int(pairs.sum()), float(penalty.sum()), len(points), len(points))


def _estimate(here: _Side, there: _Side, advance: Callable[[float], None]) -> PathCounts:
    """Count what the components of both networks settle, and estimate the rest from a sample.

    A pair joined here has the full penalty if no path joins it there, as if one of its points is not snapped. Only
    pairs joined in both networks take paths. Their first points are drawn evenly along the curve on which the
    points are sorted, each as often as it has partners, so that every such pair is equally likely.
    """
    component, component_there = here.components(), there.components()
    sizes = np.bincount(component)
    pairs = int((sizes * (sizes - 1)).sum())
    # points of one group are joined in both networks; a point that is not snapped has no partner
    _, group = np.unique(np.stack([component, component_there]), axis=1, return_inverse=True)
    group = np.where(component_there >= 0, group, -1)
    partners = np.where(group >= 0, np.bincount(group + 1)[group + 1] - 1, 0)
    joined = int(partners.sum())
    if joined == 0:
        advance(0.5)
        return PathCounts(pairs, float(pairs), len(group), len(group))
    drawn = (np.arange(_SOURCES) + 0.5) * (joined / _SOURCES)
    sources = np.searchsorted(np.cumsum(partners), drawn, side="right")
    compared, penalty = _penalties(here, there, sources, advance, group)
    mean = penalty / np.maximum(compared, 1)
    variance = joined**2 * float(mean.var(ddof=1)) / _SOURCES
    return PathCounts(pairs, pairs - joined + joined * float(mean.mean()), len(group), _SOURCES, variance)


def _penalties(
    here: _Side, there: _Side, sources: Ints, advance: Callable[[float], None], group: Ints | None = None
) -> tuple[Ints, Floats]:
    """Compare the paths from some control points to all of them, or to those of their group.

    Returns
    -------
    (sources,) the number of paths compared and the sum of their penalties, min(1, |difference| / length) each.
    """
    pairs, penalty = np.zeros(len(sources), dtype=np.int64), np.zeros(len(sources))
    near = min(_NEAR, max(16, _NODE_DISTANCES // max(len(here.graph.nodes), len(there.graph.nodes))))
    for first in range(0, len(sources), near):
        area = sources[first : first + near]
        paths = _Paths(here, area), _Paths(there, area)
        for chunk in range(first, min(first + near, len(sources)), _CHUNK):
            part = slice(chunk - first, min(chunk - first + _CHUNK, len(area)))
            own, found = (side.from_sources(part) for side in paths)
            total = slice(first + part.start, first + part.stop)
            # blocks of rows that stay in the processor's cache
            for row in range(0, len(here.points), _ROWS):
                rows = slice(row, row + _ROWS)
                length, length_there = own.to(here.points[rows]), found.to(there.points[rows])
                asked = (length >= SHORTEST_M) & (length < np.inf)
                if group is not None:
                    asked &= group[rows, None] == group[sources[total]]
                pairs[total] += np.count_nonzero(asked, axis=0)
                penalty[total] += _penalty(length, length_there, asked)
            advance(0.5 * (total.stop - total.start) / len(sources))
    return pairs, penalty


def _penalty(length: Floats, there: Floats, asked: Bools) -> Floats:
    """Sum min(1, |there - length| / length) over the rows asked for; overwrites ``there``."""
    with np.errstate(divide="ignore", invalid="ignore"):  # pairs that are not asked for
        np.subtract(there, length, out=there)
        np.abs(there, out=there)
        np.divide(there, length, out=there)
    np.minimum(there, 1.0, out=there)
    if not asked.all():
        there[~asked] = 0
    total: Floats = there.sum(axis=0)
    return total


class _Paths:
    """Shortest paths from some control points; Dijkstra runs once for each node at an end of their edges.

    Parameters
    ----------
    side
        The network, and all control points.
    sources
        Which of them paths start at; the nearer they lie together, the fewer nodes are needed.
    """

    def __init__(self, side: _Side, sources: Ints) -> None:
        self._graph, self._sources = side.graph, side.points[sources]
        if len(self._graph.edges):
            nodes, row = np.unique(self._graph.ends[self._sources.edge], return_inverse=True)
            self._row = row.reshape(-1, 2)
            self._between = dijkstra(adjacency(self._graph), directed=True, indices=nodes)

    def from_sources(self, part: slice) -> "_FromSources":
        """Return the paths from some of the sources to all nodes."""
        graph, sources = self._graph, self._sources[part]
        if not len(graph.edges):
            return _FromSources(graph, sources, np.full((1, len(sources)), np.inf))
        row, ahead = self._row[part], graph.lengths[sources.edge] - sources.along
        from_first = self._between[row[:, 0]] + sources.along[:, None]
        from_last = self._between[row[:, 1]] + ahead[:, None]
        to_node = np.minimum(from_first, from_last, out=from_first)
        to_node[sources.edge < 0] = np.inf
        return _FromSources(graph, sources, np.ascontiguousarray(to_node.T))


@dataclass(frozen=True)
class _FromSources:
    """Sources on a graph, and the (nodes, sources) metres of path to every node."""

    graph: RoadGraph
    sources: EdgePoints
    to_node: Floats

    def to(self, targets: EdgePoints) -> Floats:
        """Return (targets, sources) metres of path, infinite where there is none."""
        if not len(self.graph.edges):
            return np.full((len(targets), len(self.sources)), np.inf)
        first, last = self.graph.ends[targets.edge].T
        metres: Floats = self.to_node[first]
        metres += targets.along[:, None]
        by_last = self.to_node[last]
        by_last += (self.graph.lengths[targets.edge] - targets.along)[:, None]
        np.minimum(metres, by_last, out=metres)
        metres[targets.edge < 0] = np.inf
        # between points on the same edge the way along it may be shorter; few targets share an edge with a source
        shared = np.flatnonzero(np.isin(targets.edge, self.sources.edge))
        if len(shared):
            same = (targets.edge[shared, None] == self.sources.edge) & (self.sources.edge >= 0)
            direct = np.abs(targets.along[shared, None] - self.sources.along)
            metres[shared] = np.minimum(metres[shared], direct, out=metres[shared], where=same)
        return metres
