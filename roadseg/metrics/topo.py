"""TOPO, how alike two networks are to someone who walks them from the same place.

Starts are set along the truth every 55 m and paired with the nearest road of the prediction that
runs the same way. From each pair one walks 300 m along every road in both networks and drops a
marble every 5.5 m; marbles of the two walks match one to one within 11.1 m and 45°. Precision is
the mean share of the prediction's marbles that match, recall that of the truth's times the share
of starts that were paired. Cost: about 4 ms per start.
Source: Biagioni and Eriksson (2012) in the form and with the constants of He et al., Sat2Graph
(arXiv:2007.09547), which counts in degrees of latitude: 0.0005, 0.003, 0.00005 and 0.0001 of them.
"""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra, maximum_bipartite_matching
from scipy.spatial import KDTree

from roadseg.metrics.graph import EdgePoints, Floats, Ints, RoadGraph, adjacency, line_strings
from roadseg.ragged import ranges

_DEGREE_M = 111_111.0
_SAME_M = 1e-6


@dataclass(frozen=True)
class TopoSettings:
    """The constants of Sat2Graph in metres; angles are given as 1 - |cos|."""

    start_every_m: float = 0.0005 * _DEGREE_M
    walk_m: float = 0.003 * _DEGREE_M
    marble_every_m: float = 0.00005 * _DEGREE_M
    match_m: float = 0.0001 * _DEGREE_M
    start_turn: float = 0.04
    match_turn: float = 0.29
    apart_m: float = 0.0002 * _DEGREE_M


@dataclass(frozen=True)
class TopoCounts:
    """Sums over starts; those of tiles add."""

    starts: int
    paired: int
    precision: float
    recall: float

    def __add__(self, other: "TopoCounts") -> "TopoCounts":
        return TopoCounts(
            self.starts + other.starts,
            self.paired + other.paired,
            self.precision + other.precision,
            self.recall + other.recall,
        )


@dataclass(frozen=True)
class TopoScore:
    """Precision, recall and their harmonic mean; NaN where there is nothing to walk."""

    precision: float
    recall: float
    f1: float


def topo(truth: RoadGraph, prediction: RoadGraph, settings: TopoSettings | None = None) -> TopoCounts:
    """Walk both networks from every start and count.

    Of several starts whose partners lie within ``apart_m`` of each other on the prediction, the
    one with the best precision counts, and any other only if nine in ten of its marbles match: a
    road drawn once does not pass for two.

    Parameters
    ----------
    truth, prediction
        The networks in metres.
    settings
        Constants; Sat2Graph's if not given.
    """
    how = settings or TopoSettings()
    starts = _starts(truth, how)
    if not len(starts) or not len(prediction.edges):
        return TopoCounts(len(starts), 0, 0.0, 0.0)
    walker, other = _Walker(truth), _Walker(prediction)
    partners = _partners(walker, other, starts, how)
    paired = np.flatnonzero(partners.edge >= 0)
    shares = np.empty((len(paired), 2))
    for number, index in enumerate(paired):
        holes = walker.walk(starts, int(index), how)
        marbles = other.walk(partners, int(index), how)
        shares[number] = _matched(holes, marbles, how) / np.array([len(marbles[0]), len(holes[0])])
    kept = _one_of_each(other, partners[paired], shares[:, 0], how)
    return TopoCounts(len(starts), len(kept), float(shares[kept, 0].sum()), float(shares[kept, 1].sum()))


def topo_score(counts: TopoCounts) -> TopoScore:
    """Divide: precision over paired starts, recall over all of them."""
    if counts.starts == 0:
        return TopoScore(math.nan, math.nan, math.nan)
    recall = counts.recall / counts.starts
    precision = counts.precision / counts.paired if counts.paired else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return TopoScore(precision, recall, f1)


class _Walker:
    """A network made ready for many short walks: all edges strung on one line."""

    def __init__(self, graph: RoadGraph) -> None:
        self.graph = graph
        self._matrix = adjacency(graph)
        vertices = np.concatenate(graph.edges)
        step = np.hypot(*np.diff(vertices, axis=0).T)
        count = np.array([len(edge) for edge in graph.edges])
        last = np.cumsum(count) - 1
        step[last[:-1]] = 1.0  # a gap between edges, so that each place has one segment
        self._at = np.concatenate([[0.0], np.cumsum(step)])
        self._vertices, self._first, self._last = vertices, last - count + 1, last
        self._near = self._edges_at_nodes(graph)

    def locate(self, edge: Ints, along: Floats) -> tuple[Floats, Floats]:
        """Return (n, 2) x, y and (n, 2) unit directions of places."""
        position = self._at[self._first[edge]] + along
        segment = np.searchsorted(self._at, position, side="right") - 1
        segment = np.clip(segment, self._first[edge], self._last[edge] - 1)
        start, end = self._vertices[segment], self._vertices[segment + 1]
        length = (self._at[segment + 1] - self._at[segment])[:, None]
        direction = (end - start) / length
        return start + direction * (position - self._at[segment])[:, None], direction

    def walk(self, places: EdgePoints, index: int, how: TopoSettings) -> tuple[Floats, Floats]:
        """Return the marbles dropped on a walk from one place: (n, 2) x, y and directions."""
        edge, along = int(places.edge[index]), float(places.along[index])
        reached = self.node_distances(edge, along, how.walk_m)
        nodes = np.flatnonzero(reached < np.inf)
        row_starts = self._near.indptr
        near = np.unique(self._near.indices[ranges(row_starts[nodes], row_starts[nodes + 1] - row_starts[nodes])])
        near = near[near != edge]
        length, ends = self.graph.lengths, self.graph.ends
        first, last = ends[edge]
        # pieces: edge, where it starts along it, which way it runs, length, distance at both ends
        pieces = np.concatenate(
            [
                [(edge, along, -1, along, 0, reached[first])],
                [(edge, along, 1, length[edge] - along, 0, reached[last])],
                np.stack([near, 0 * near, 0 * near + 1, length[near], *reached[ends[near]].T], axis=1),
            ]
        )
        on, where = _marbles(pieces, how)
        return self.locate(on[1:], where[1:])  # the start was marked by both of its pieces

    def node_distances(self, edge: int, along: float, limit_m: float) -> Floats:
        """Return (nodes,) metres from a place, infinite beyond the limit."""
        ends = self.graph.ends[edge]
        between = dijkstra(self._matrix, directed=True, indices=ends, limit=limit_m)
        offset = np.array([along, self.graph.lengths[edge] - along])
        reached: Floats = (between + offset[:, None]).min(axis=0)
        reached[reached > limit_m] = np.inf
        return reached

    @staticmethod
    def _edges_at_nodes(graph: RoadGraph) -> csr_array:
        edges = np.arange(len(graph.edges))
        index = graph.ends.T.ravel(), np.concatenate([edges, edges])
        shape = (len(graph.nodes), len(graph.edges))
        return csr_array((np.ones(2 * len(edges)), index), shape=shape)


def _marbles(pieces: Floats, how: TopoSettings) -> tuple[Ints, Floats]:
    """Drop marbles at whole multiples of the interval from the start, each place by its shorter way.

    Parameters
    ----------
    pieces
        (n, 6): edge, position of the piece's start along it, +1 or -1 for the way it runs, its
        length, and the walked distance at its start and end.
    how
        The interval, and where the walk ends.
    """
    edge, origin, sign, length, near, far = pieces.T
    step, both = how.marble_every_m, np.isfinite(near + far)
    meet = np.where(both, (length + far - near) / 2, np.where(np.isfinite(near), length, 0))
    meet = np.clip(meet, 0, length)
    edges, places = [], []
    for begin, share, from_end in ((near, meet + _SAME_M, False), (far, length - meet - _SAME_M, True)):
        walked = np.where(np.isfinite(begin), begin, how.walk_m)
        reach = np.minimum(share, how.walk_m - walked - _SAME_M)
        bias = np.maximum(np.ceil((walked - _SAME_M) / step) * step - walked, 0)
        count = np.maximum(np.ceil((reach - bias) / step), 0).astype(np.int64)
        piece = np.repeat(np.arange(len(edge)), count)
        number = ranges(0, count)
        offset = bias[piece] + number * step
        offset = length[piece] - offset if from_end else offset
        edges.append(edge[piece].astype(np.int64))
        places.append(origin[piece] + sign[piece] * np.clip(offset, 0, length[piece]))
    return np.concatenate(edges), np.concatenate(places)


def _starts(graph: RoadGraph, how: TopoSettings) -> EdgePoints:
    """Spread starts evenly inside each edge; one shorter than half the interval has none."""
    count = np.maximum((graph.lengths / how.start_every_m).astype(np.int64), 1)
    count[graph.lengths < how.start_every_m / 2] = 0
    edge = np.repeat(np.arange(len(count)), count)
    number = ranges(1, count)
    return EdgePoints(edge, graph.lengths[edge] * number / (count[edge] + 1))


def _partners(walker: _Walker, other: _Walker, starts: EdgePoints, how: TopoSettings) -> EdgePoints:
    """Return for each start the nearest place of the other network that runs the same way."""
    xy, way = walker.locate(starts.edge, starts.along)
    marks, edges = shapely.points(xy), line_strings(other.graph)
    who, which = shapely.STRtree(edges).query(marks, predicate="dwithin", distance=how.match_m)
    along = shapely.line_locate_point(edges[which], marks[who])
    there, direction = other.locate(which, along)
    parallel = 1 - np.abs((way[who] * direction).sum(axis=1)) < how.start_turn
    distance = np.where(parallel, np.hypot(*(there - xy[who]).T), np.inf)
    order = np.lexsort((which, distance, who))
    order = order[np.isfinite(distance[order])]
    first = order[np.unique(who[order], return_index=True)[1]]
    partners = EdgePoints(np.full(len(starts), -1), np.zeros(len(starts)))
    partners.edge[who[first]], partners.along[who[first]] = which[first], along[first]
    return partners


def _matched(holes: tuple[Floats, Floats], marbles: tuple[Floats, Floats], how: TopoSettings) -> int:
    """Return how many marbles find a partner of their own in the other walk."""
    near = KDTree(holes[0]).sparse_distance_matrix(KDTree(marbles[0]), how.match_m, output_type="ndarray")
    turn = 1 - np.abs((holes[1][near["i"]] * marbles[1][near["j"]]).sum(axis=1))
    near = near[turn < how.match_turn]
    pairs = (np.ones(len(near)), (near["i"], near["j"]))
    links = csr_array(pairs, shape=(len(holes[0]), len(marbles[0])))
    partner: NDArray[np.int32] = maximum_bipartite_matching(links, perm_type="column")
    return int(np.count_nonzero(partner >= 0))


def _one_of_each(walker: _Walker, places: EdgePoints, precision: Floats, how: TopoSettings) -> Ints:
    """Return which places to keep so that none stands on another's ground, best first."""
    xy, _ = walker.locate(places.edge, places.along)
    neighbours = KDTree(xy).query_ball_point(xy, how.apart_m, return_sorted=True)
    taken, kept = np.zeros(len(places), dtype=bool), []
    for index in np.lexsort((np.arange(len(places)), -precision)):
        if taken[index] and precision[index] < 0.9:
            continue
        kept.append(index)
        close = np.array(neighbours[index], dtype=np.int64)
        taken[close[_within(walker, places, int(index), close, how.apart_m)]] = True
    return np.array(kept, dtype=np.int64)


def _within(walker: _Walker, places: EdgePoints, index: int, others: Ints, limit_m: float) -> NDArray[np.bool_]:
    """Say which other places are reached from one within some metres of road."""
    reached = walker.node_distances(int(places.edge[index]), float(places.along[index]), limit_m)
    edge, along = places.edge[others], places.along[others]
    ends, length = walker.graph.ends[edge], walker.graph.lengths[edge]
    distance = np.minimum(reached[ends[:, 0]] + along, reached[ends[:, 1]] + length - along)
    direct = np.where(edge == places.edge[index], np.abs(along - places.along[index]), np.inf)
    near: NDArray[np.bool_] = np.minimum(distance, direct) < limit_m
    return near
