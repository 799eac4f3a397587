"""Lengths within a buffer and matched junctions, against sums done by hand."""

import numpy as np
import pytest
import shapely
from streets import city

from roadseg.metrics.graph import road_graph
from roadseg.metrics.lines import compare_lines, junctions, line_score


def graph(*lines):
    return road_graph([np.array(line, dtype=np.float64) for line in lines])


def test_half_a_road_found():
    counts = compare_lines(graph([(0, 0), (100, 0)]), graph([(0, 1), (50, 1)]), buffer_m=2)
    assert counts.prediction_m == counts.matched_prediction_m == 50
    assert counts.matched_truth_m == pytest.approx(50 + 3**0.5, abs=0.01)
    score = line_score(counts)
    assert score.completeness == pytest.approx((50 + 3**0.5) / 100, abs=1e-4)
    assert score.correctness == 1
    assert score.quality == pytest.approx(50 / (50 + 50 - 3**0.5), abs=1e-4)


def test_lengths_equal_those_of_one_great_buffer():
    truth, prediction = road_graph(city(3)), road_graph(city(3, keep=0.6, shift=2))
    counts = compare_lines(truth, prediction, buffer_m=3)
    one, other = (shapely.MultiLineString(g.edges) for g in (truth, prediction))
    for found, a, b in ((counts.matched_truth_m, truth, other), (counts.matched_prediction_m, prediction, one)):
        area = shapely.buffer(b, 3, quad_segs=16)
        expected = sum(shapely.length(shapely.intersection(line, area)) for line in map(shapely.LineString, a.edges))
        assert found == pytest.approx(expected, rel=1e-3)


def test_the_buffer_is_as_wide_as_asked():
    truth = graph([(0, 0), (100, 0)])
    for offset, right in ((2.9, 100), (3.1, 0)):
        assert compare_lines(truth, graph([(0, offset), (100, offset)])).matched_prediction_m == pytest.approx(right)


def test_junctions_are_where_three_roads_meet():
    tee = graph([(0, 0), (50, 0)], [(50, 0), (90, 9)], [(50, 0), (50, 60)])
    assert junctions(tee).tolist() == [[50, 0]]
    assert len(junctions(graph([(0, 0), (50, 0)], [(50, 0), (90, 9)]))) == 0


def test_junctions_are_matched_one_to_one():
    truth = graph([(0, 0), (50, 0)], [(50, 0), (90, 0)], [(50, 0), (50, 60)])
    double = graph([(0, 1), (47, 1)], [(47, 1), (53, 1)], [(53, 1), (90, 1)], [(47, 1), (47, 60)], [(53, 1), (53, 60)])
    counts = compare_lines(truth, double, junction_m=10)
    assert (counts.truth_junctions, counts.prediction_junctions, counts.matched_junctions) == (1, 2, 1)
    score = line_score(counts)
    assert (score.junction_precision, score.junction_recall) == (0.5, 1)
    assert compare_lines(truth, double, junction_m=3).matched_junctions == 0


def test_a_network_is_equal_to_itself_and_counts_add():
    roads = road_graph(city(2))
    counts = compare_lines(roads, roads)
    score = line_score(counts + counts)
    ratios = (score.completeness, score.correctness, score.quality)
    assert ratios == (pytest.approx(1), pytest.approx(1), pytest.approx(1))
    assert score.junction_precision == score.junction_recall == 1
    assert (counts + counts).truth_m == 2 * counts.truth_m


def test_empty_networks_score_zero_or_nan():
    empty, roads = road_graph([]), road_graph(city(1))
    missed = line_score(compare_lines(roads, empty))
    assert (missed.completeness, missed.quality, missed.junction_recall) == (0, 0, 0)
    assert np.isnan([missed.correctness, missed.junction_precision]).all()
    invented = line_score(compare_lines(empty, roads))
    assert (invented.correctness, invented.quality, invented.junction_precision) == (0, 0, 0)
    assert np.isnan(invented.completeness)
    assert np.isnan(line_score(compare_lines(empty, empty)).quality)
