"""Completeness, correctness and quality of lines within a buffer, and how well junctions are met.

Completeness is the share of the truth's length that lies within a buffer around the prediction,
correctness the share of the prediction's within one around the truth, quality joins the two
(Wiedemann, Heipke, Mayer, Jamet, 1998). Junctions are nodes where three or more roads meet; they
are matched one to one, as many as can be. Lengths and numbers add over tiles; ratios come last.
"""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

from roadseg.metrics.graph import Floats, RoadGraph, line_strings

BUFFER_M = 3.0
"""Default buffer, the slack that published pixel results use on 1 m imagery."""

JUNCTION_M = 10.0
"""Default distance within which two junctions may be the same one."""

_ARC_SIDES = 16


@dataclass(frozen=True)
class LineCounts:
    """Metres of road and numbers of junctions; those of tiles add.

    Parameters
    ----------
    truth_m, prediction_m
        Length of either network.
    matched_truth_m
        Length of the truth within the buffer around the prediction.
    matched_prediction_m
        Length of the prediction within the buffer around the truth.
    truth_junctions, prediction_junctions, matched_junctions
        Numbers of junctions, and of pairs of them.
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
) -> LineCounts:
    """Measure how much of each network lies near the other, and match their junctions.

    Parameters
    ----------
    truth, prediction
        The networks in metres.
    buffer_m
        Half width of the buffer; its round parts are polygons of 64 sides, 0.1 % too narrow.
    junction_m
        How far apart matched junctions may be.
    """
    here, there = junctions(truth), junctions(prediction)
    return LineCounts(
        truth_m=float(truth.lengths.sum()),
        prediction_m=float(prediction.lengths.sum()),
        matched_truth_m=_length_near(truth, prediction, buffer_m),
        matched_prediction_m=_length_near(prediction, truth, buffer_m),
        truth_junctions=len(here),
        prediction_junctions=len(there),
        matched_junctions=_pairs(here, there, junction_m),
    )


def line_score(counts: LineCounts) -> LineScore:
    """Divide the counts.

    Quality is correct length over correct, wrong and missed length together, correct length being
    the prediction's.
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


def _length_near(graph: RoadGraph, other: RoadGraph, buffer_m: float) -> float:
    """Return the length of one network within a buffer around another one."""
    if not len(graph.edges) or not len(other.edges):
        return 0.0
    edges, others = line_strings(graph), line_strings(other)
    areas = shapely.buffer(others, buffer_m, quad_segs=_ARC_SIDES)
    edge, area = shapely.STRtree(areas).query(edges, predicate="intersects")
    order = np.argsort(edge, kind="stable")
    edge, area = edge[order], area[order]
    near, first = np.unique(edge, return_index=True)
    merged = [shapely.union_all(areas[group]) for group in np.split(area, first[1:])]
    inside = shapely.intersection(edges[near], np.array(merged, dtype=object))
    return float(shapely.length(inside).sum())


def _pairs(here: Floats, there: Floats, within_m: float) -> int:
    """Return how many points of two sets can be paired one to one within a distance."""
    if not len(here) or not len(there):
        return 0
    near = KDTree(here).sparse_distance_matrix(KDTree(there), within_m, output_type="ndarray")
    links = csr_array((np.ones(len(near)), (near["i"], near["j"])), shape=(len(here), len(there)))
    return int(np.count_nonzero(maximum_bipartite_matching(links, perm_type="column") >= 0))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
