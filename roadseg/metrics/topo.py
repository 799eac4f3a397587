"""TOPO: how alike two networks look to someone who walks them from the same place.

Starts are set along the truth every 55 m and paired with the nearest road of the prediction that runs the same
way. From both places of a pair one walks 333 m along every road and drops a marble every 5.5 m; marbles of the
prediction match those of the truth one to one within 11.1 m and 45°. Precision is the mean share of the
prediction's marbles that match, recall that of the truth's, times the share of starts that were paired.
Cost: about 1.5 ms per start. Beyond 20,000 paired starts a sample of them is walked.
Source: Biagioni and Eriksson (2012), in the form and with the constants of He et al., Sat2Graph
(arXiv:2007.09547), which counts in degrees of latitude: 0.0005, 0.003, 0.00005 and 0.0001 of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching
from scipy.spatial import KDTree

from roadseg.metrics.graph import EdgePoints, Floats, Ints, RoadGraph, edge_pieces, morton_order
from roadseg.metrics.walks import Marbles, Walker
from roadseg.ragged import first_of_runs, ranges

_DEGREE_M = 111_111.0
_MOST_STARTS = 20_000
_MOST_IN_CLUSTER = 64


@dataclass(frozen=True)
class TopoSettings:
    """The constants of Sat2Graph in metres; turns are given as 1 - |cos|."""

    start_every_m: float = 0.0005 * _DEGREE_M
    walk_m: float = 0.003 * _DEGREE_M
    marble_every_m: float = 0.00005 * _DEGREE_M
    match_m: float = 0.0001 * _DEGREE_M
    start_turn: float = 0.04
    match_turn: float = 0.29
    apart_m: float = 0.0002 * _DEGREE_M


@dataclass(frozen=True)
class TopoCounts:
    """Sums over starts; those of tiles add.

    Parameters
    ----------
    starts, paired
        Numbers of starts, and of those with a partner that no better start claims.
    precision, recall
        Sums over the paired starts of the shares of marbles that match.
    walked
        Number of starts walked; where it is below the number with a partner, the sums are scaled up from a sample.
    partners
        Number of starts with a partner.
    """

    starts: int
    paired: int
    precision: float
    recall: float
    walked: int = 0
    partners: int = 0

    def __add__(self, other: "TopoCounts") -> "TopoCounts":
        return TopoCounts(
            self.starts + other.starts,
            self.paired + other.paired,
            self.precision + other.precision,
            self.recall + other.recall,
            self.walked + other.walked,
            self.partners + other.partners,
        )


@dataclass(frozen=True)
class TopoScore:
    """Precision, recall and their harmonic mean; NaN where there is nothing to walk."""

    precision: float
    recall: float
    f1: float


def topo(
    truth: RoadGraph,
    prediction: RoadGraph,
    settings: TopoSettings | None = None,
    *,
    advance: Callable[[float], None] = lambda _: None,
) -> TopoCounts:
    """Walk both networks from every start and count.

    Of several starts whose partners lie within ``apart_m`` of each other on the prediction, the one with the best
    precision counts, and any other only if nine in ten of its marbles match: a road drawn once does not pass for
    two.

    Parameters
    ----------
    truth, prediction
        The networks in metres.
    settings
        Constants; Sat2Graph's by default.
    advance
        Called with the share of the work finished since the last call.
    """
    settings = settings or TopoSettings()
    starts = _starts(truth, settings)
    if not len(starts) or not len(prediction.edges):
        return TopoCounts(len(starts), 0, 0.0, 0.0)
    walker, other = Walker(truth), Walker(prediction)
    partners = _partners(walker, other, starts, settings)
    paired = np.flatnonzero(partners.edge >= 0)
    walked = paired[_sample(other.locate(partners[paired])[0], settings)]
    shares = np.empty((len(walked), 2))
    for number, index in enumerate(walked.tolist()):
        limits = {"limit_m": settings.walk_m, "every_m": settings.marble_every_m}
        holes = walker.walk(int(starts.edge[index]), float(starts.along[index]), **limits)
        marbles = other.walk(int(partners.edge[index]), float(partners.along[index]), **limits)
        shares[number] = count_matches(holes, marbles, settings) / np.array([len(marbles), len(holes)])
        advance(1 / len(walked))
    kept = _one_of_each(other, partners[walked], shares[:, 0], settings)
    scale = len(paired) / max(1, len(walked))
    return TopoCounts(
        len(starts),
        round(len(kept) * scale),
        float(shares[kept, 0].sum()) * scale,
        float(shares[kept, 1].sum()) * scale,
        len(walked),
        len(paired),
    )


def topo_score(counts: TopoCounts) -> TopoScore:
    """Divide: precision over paired starts, recall over all of them."""
    if counts.starts == 0:
        return TopoScore(math.nan, math.nan, math.nan)
    recall = counts.recall / counts.starts
    precision = counts.precision / counts.paired if counts.paired else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return TopoScore(precision, recall, f1)


def count_matches(holes: Marbles, marbles: Marbles, settings: TopoSettings) -> int:
    """Return how many marbles of the prediction match one of the truth's (the holes they fall into), one to one."""
    near = KDTree(holes.xy).sparse_distance_matrix(KDTree(marbles.xy), settings.match_m, output_type="ndarray")
    turn = 1 - np.abs((holes.direction[near["i"]] * marbles.direction[near["j"]]).sum(axis=1))
    near = near[turn < settings.match_turn]
    links = csr_array((np.ones(len(near)), (near["i"], near["j"])), shape=(len(holes), len(marbles)))
    partner: NDArray[np.int32] = maximum_bipartite_matching(links, perm_type="column")
    return int(np.count_nonzero(partner >= 0))


def _starts(graph: RoadGraph, settings: TopoSettings) -> EdgePoints:
    """Spread starts evenly inside each edge; one shorter than half the interval has none."""
    count = np.maximum((graph.lengths / settings.start_every_m).astype(np.int64), 1)
    count[graph.lengths < settings.start_every_m / 2] = 0
    edge, number = np.repeat(np.arange(len(count)), count), ranges(1, count)
    return EdgePoints(edge, graph.lengths[edge] * number / (count[edge] + 1))


def _partners(walker: Walker, other: Walker, starts: EdgePoints, settings: TopoSettings) -> EdgePoints:
    """Return for each start the nearest place of the other network that runs the same way; edge -1 if none does."""
    xy, heading = walker.locate(starts)
    points, pieces = shapely.points(xy), edge_pieces(other.graph)
    start, piece = shapely.STRtree(pieces.lines).query(points, predicate="dwithin", distance=settings.match_m)
    edge, along = pieces.edge[piece], pieces.project(piece, points[start])
    nearest, direction = other.locate(EdgePoints(edge, along))
    distance = np.hypot(*(nearest - xy[start]).T)
    # each edge stands for itself with its nearest piece only
    order = np.lexsort((piece, distance, edge, start))
    order = order[first_of_runs(start[order], edge[order])]
    turn = 1 - np.abs((heading[start[order]] * direction[order]).sum(axis=1))
    order = order[turn < settings.start_turn]
    order = order[np.lexsort((edge[order], distance[order], start[order]))]
    order = order[first_of_runs(start[order])]
    partners = EdgePoints(np.full(len(starts), -1), np.zeros(len(starts)))
    partners.edge[start[order]], partners.along[start[order]] = edge[order], along[order]
    return partners


def _sample(xy: Floats, settings: TopoSettings) -> Ints:
    """Return the indices of the starts to walk, given the (n, 2) x, y of their partners: all, or an even sample.

    Starts whose partners lie near each other decide together which of them count (``_one_of_each``), so clusters
    of them are drawn, every k-th along a curve through the area, and not single starts.
    """
    if len(xy) <= _MOST_STARTS:
        return np.arange(len(xy))
    pairs = KDTree(xy).query_pairs(settings.apart_m, output_type="ndarray")
    links = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(xy), len(xy)))
    curve = morton_order(xy)
    cluster = connected_components(links, directed=False)[1][curve]
    # Clusters follow each other as their first members do along the curve; one that covers the whole area is cut,
    # so that drawing it does not mean walking everything.
    #
    #   cluster along the curve  a a b a c b      head, sorted  0 0 0 2 2 4
    _, first, cluster = np.unique(cluster, return_index=True, return_inverse=True)
    order = np.argsort(first[cluster], kind="stable")
    head = first[cluster][order]
    members = np.diff(first_of_runs(head), append=len(head))
    begins = first_of_runs(head, ranges(0, members) // _MOST_IN_CLUSTER)
    members = np.diff(begins, append=len(head))
    drawn = np.linspace(0, len(begins), math.ceil(len(begins) * _MOST_STARTS / len(xy)), endpoint=False).astype(int)
    return np.sort(curve[order[ranges(begins[drawn], members[drawn])]])


def _one_of_each(walker: Walker, points: EdgePoints, precision: Floats, settings: TopoSettings) -> Ints:
    """Return which points to keep so that no road of the prediction is claimed twice, best first."""
    xy, _ = walker.locate(points)
    neighbours = KDTree(xy).query_ball_point(xy, settings.apart_m, return_sorted=True)
    taken, kept = np.zeros(len(points), dtype=bool), []
    for index in np.lexsort((np.arange(len(points)), -precision)):
        if taken[index] and precision[index] < 0.9:
            continue
        kept.append(index)
        close = np.array(neighbours[index], dtype=np.int64)
        taken[close[_within(walker, points, int(index), close, settings.apart_m)]] = True
    return np.array(kept, dtype=np.int64)


def _within(walker: Walker, points: EdgePoints, index: int, others: Ints, limit_m: float) -> NDArray[np.bool_]:
    """Return which other points can be reached from one within some metres of road."""
    reached = walker.reach(int(points.edge[index]), float(points.along[index]), limit_m)
    edge, along = points.edge[others], points.along[others]
    first, last = reached.to(walker.graph.ends[edge]).T
    distance = np.minimum(first + along, last + walker.graph.lengths[edge] - along)
    direct = np.where(edge == points.edge[index], np.abs(along - points.along[index]), np.inf)
    near: NDArray[np.bool_] = np.minimum(distance, direct) < limit_m
    return near
