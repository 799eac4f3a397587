"""Completeness, correctness and quality of lines within a buffer, and how well junctions match.

Completeness is the share of the truth's length within a buffer around the prediction, correctness the share of
the prediction's length within a buffer around the truth, quality joins the two (Wiedemann, Heipke, Mayer, Jamet,
1998). Junctions are nodes where three or more roads meet; as many as possible are matched one to one. Lengths and
numbers add over tiles; ratios come last. Cost: about 20 s per million segments.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

from roadseg.metrics.capsules import within_capsule
from roadseg.metrics.graph import Floats, Ints, RoadGraph
from roadseg.ragged import offsets

BUFFER_M = 3.0
"""Default buffer: the slack of published pixel scores on imagery of 1 m."""

JUNCTION_M = 10.0
"""Default distance within which two junctions may match."""

_BATCH = 50_000


@dataclass(frozen=True)
class LineCounts:
    """Metres of road and numbers of junctions; those of tiles add.

    Parameters
    ----------
    truth_m, prediction_m
        Length of each network.
    matched_truth_m, matched_prediction_m
        Length of each within the buffer around the other.
    truth_junctions, prediction_junctions, matched_junctions
        Numbers of junctions, and of matched pairs of them.
    """

    truth_m: float = 0.0
    prediction_m: float = 0.0
    matched_truth_m: float = 0.0
    matched_prediction_m: float = 0.0
    truth_junctions: int = 0
    prediction_junctions: int = 0
    matched_junctions: int = 0

    def __add__(self, other: "LineCounts") -> "LineCounts":
        return LineCounts(
            self.truth_m + other.truth_m,
            self.prediction_m + other.prediction_m,
            self.matched_truth_m + other.matched_truth_m,
            self.matched_prediction_m + other.matched_prediction_m,
            self.truth_junctions + other.truth_junctions,
            self.prediction_junctions + other.prediction_junctions,
            self.matched_junctions + other.matched_junctions,
        )


@dataclass(frozen=True)
class LineScore:
    """Ratios from 0 to 1, NaN where there is nothing to divide by."""

    completeness: float
    correctness: float
    quality: float
    junction_precision: float
    junction_recall: float


def compare_lines(
    truth: RoadGraph,
    prediction: RoadGraph,
    *,
    buffer_m: float = BUFFER_M,
    junction_m: float = JUNCTION_M,
    advance: Callable[[float], None] = lambda _: None,
) -> LineCounts:
    """Measure how much of each network lies near the other, and match their junctions.

    Parameters
    ----------
    truth, prediction
        The networks in metres.
    buffer_m
        Half width of the buffer.
    junction_m
        How far apart matched junctions may be.
    advance
        Called with the share of the work finished since the last call.
    """
    here, there = junctions(truth), junctions(prediction)

    def half(share: float) -> None:
        advance(share / 2)

    return LineCounts(
        truth_m=float(truth.lengths.sum()),
        prediction_m=float(prediction.lengths.sum()),
        matched_truth_m=_length_near(truth, prediction, buffer_m, half),
        matched_prediction_m=_length_near(prediction, truth, buffer_m, half),
        truth_junctions=len(here),
        prediction_junctions=len(there),
        matched_junctions=_pairs(here, there, junction_m),
    )


def line_score(counts: LineCounts) -> LineScore:
    """Divide the counts.

    Quality is the matched length of the prediction over its whole length and the missed length of the truth.
    """
    missed = counts.truth_m - counts.matched_truth_m
    return LineScore(
        completeness=_ratio(counts.matched_truth_m, counts.truth_m),
        correctness=_ratio(counts.matched_prediction_m, counts.prediction_m),
        quality=_ratio(counts.matched_prediction_m, counts.prediction_m + missed),
        junction_precision=_ratio(counts.matched_junctions, counts.prediction_junctions),
        junction_recall=_ratio(counts.matched_junctions, counts.truth_junctions),
    )


def junctions(graph: RoadGraph) -> Floats:
    """Return the (n, 2) x, y of the nodes where at least three edges end."""
    degree = np.bincount(graph.ends.ravel(), minlength=len(graph.nodes))
    return graph.nodes[degree >= 3]


def _length_near(graph: RoadGraph, other: RoadGraph, buffer_m: float, advance: Callable[[float], None]) -> float:
    """Return the length of one network within a buffer around another one."""
    if not len(graph.edges) or not len(other.edges):
        advance(1)
        return 0.0
    start, vector = _segments(graph)
    other_start, other_vector = _segments(other)
    tree = shapely.STRtree(_line_strings(other_start, other_vector))
    length, near_m = np.hypot(*vector.T), 0.0
    for first in range(0, len(start), _BATCH):
        part = slice(first, first + _BATCH)
        here, there = tree.query(_line_strings(start[part], vector[part]), predicate="dwithin", distance=buffer_m)
        here += first
        low, high = within_capsule(start[here], vector[here], other_start[there], other_vector[there], buffer_m)
        near_m += float((length[here] * _newly_covered(here, low, high)).sum())
        advance(len(start[part]) / len(start))
    return near_m


def _segments(graph: RoadGraph) -> tuple[Floats, Floats]:
    """Return the straight segments of all edges, (segments, 2) each: first point, and vector to the last one."""
    points = np.concatenate(graph.edges)
    inside = np.ones(len(points) - 1, dtype=bool)
    inside[offsets(np.array([len(edge) for edge in graph.edges]))[1:-1] - 1] = False
    return points[:-1][inside], np.diff(points, axis=0)[inside]


def _line_strings(start: Floats, vector: Floats) -> NDArray[np.object_]:
    lines: NDArray[np.object_] = shapely.linestrings(np.stack([start, start + vector], axis=1))
    return lines


def _newly_covered(segment: Ints, low: Floats, high: Floats) -> Floats:
    """Return how much each interval adds to the union of those on its segment; 0 for empty ones.

    Intervals are taken in the order of their beginnings. Each adds what lies beyond the furthest end so far; with
    the segments two apart on one axis, a running maximum finds that end without a loop over segments::

        segment 0      segment 1              |--a--|      a adds all of itself
        0 . . . 1 . . . 2 . . . 3               |--b--|    b only what lies beyond a
    """
    order = np.lexsort((low, segment))
    shift, added = 2.0 * segment[order], np.zeros(len(segment))
    end = np.where(high > low, high, 0)[order] + shift
    before = np.maximum.accumulate(np.concatenate([[0.0], end[:-1]]))[: len(end)]
    added[order] = np.maximum(end - np.maximum(low[order] + shift, before), 0)
    return added


def _pairs(here: Floats, there: Floats, within_m: float) -> int:
    """Return the largest number of points of two sets that can be paired one to one within a distance."""
    if not len(here) or not len(there):
        return 0
    near = KDTree(here).sparse_distance_matrix(KDTree(there), within_m, output_type="ndarray")
    links = csr_array((np.ones(len(near)), (near["i"], near["j"])), shape=(len(here), len(there)))
    return int(np.count_nonzero(maximum_bipartite_matching(links, perm_type="column") >= 0))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
