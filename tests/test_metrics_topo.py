"""TOPO agrees with Sat2Graph's program as far as its definition goes, and exactly with itself."""

import dataclasses

import numpy as np
import pytest
from shared import oracle
from streets import city

from roadseg.metrics.graph import road_graph
from roadseg.metrics.topo import TopoSettings, count_matches, topo, topo_score
from roadseg.metrics.walks import Marbles, Walker

# The reference walks breadth first in degrees, marks the whole straight piece under a start however
# far the walk goes, and pairs starts by unprojected distances. On these worlds, of few and long
# straight edges, that moves a score by up to 0.04 (the diagonal that crosses 16 streets), and by
# less than 0.01 on average; a wrong constant moves it more (below).
TOLERANCE, MEAN_TOLERANCE = 0.04, 0.01
SMALL_WALK_M = TopoSettings().walk_m / 2


def reference():
    worlds = oracle("apls.json")
    for name, line in oracle("topo.json").items():
        case, scale = name.split("@x")
        said = [float(part.split("=")[1]) for part in line.split()]
        graphs = [road_graph([np.array(line) * float(scale) for line in worlds[case][side]]) for side in ("gt", "prop")]
        # the reference walks half as far on worlds under 0.01 degrees of latitude
        walk = SMALL_WALK_M if scale == "1" else TopoSettings().walk_m
        yield name, graphs, TopoSettings(walk_m=walk), said


def differences(**changes):
    found = {}
    for name, graphs, settings, said in reference():
        score = topo_score(topo(*graphs, dataclasses.replace(settings, **changes)))
        found[name] = max(abs(score.precision - said[0]), abs(score.recall - said[1]))
    return found


def test_every_reference_case_is_met_within_the_tolerance():
    found = differences()
    assert len(found) == 18
    assert max(found.values()) <= TOLERANCE, found
    assert np.mean(list(found.values())) <= MEAN_TOLERANCE


@pytest.mark.parametrize("change", [{"match_m": 22.2}, {"walk_m": 600.0}, {"match_m": 5.0}])
def test_other_constants_would_be_noticed(change):
    assert max(differences(**change).values()) > TOLERANCE


@pytest.mark.parametrize("seed", range(4))
def test_a_network_is_equal_to_itself(seed):
    graph = road_graph([*city(seed), np.array([[0.0, 0], [-30, 60], [-80, 10], [0, 0]])])
    score = topo_score(topo(graph, graph))
    assert score == topo_score(topo(graph, graph))
    assert (score.precision, score.recall, score.f1) == (1, 1, 1)


def marbles(lines, edge, along, **settings):
    graph = road_graph([np.array(line, dtype=np.float64) for line in lines])
    how = TopoSettings(**settings)
    found = Walker(graph).walk(edge, along, limit_m=how.walk_m, every_m=how.marble_every_m)
    np.testing.assert_allclose(np.hypot(*found.direction.T), 1)
    return sorted(map(tuple, np.round(found.xy, 6).tolist()))


def test_marbles_lie_at_whole_intervals_from_the_start():
    line = [(0, 0), (40, 0), (100, 0)]
    found = marbles([line], 0, 50.0, walk_m=22, marble_every_m=5)
    assert found == [(x, 0) for x in range(30, 75, 5)]


def test_marbles_run_on_at_junctions_and_stop_at_dead_ends():
    cross = [[(0, 0), (12, 0)], [(12, 0), (12, 50)], [(12, 0), (40, 0)]]
    found = marbles(cross, 0, 10.0, walk_m=14, marble_every_m=5)
    assert found == [(0, 0), (5, 0), (10, 0), (12, 3), (12, 8), (15, 0), (20, 0)]


def test_a_block_is_walked_from_both_sides_and_no_place_twice():
    ring = [[(0, 0), (30, 0)], [(30, 0), (30, 30), (0, 30), (0, 0)], [(30, 0), (60, 0)], [(0, 0), (-9, 0)]]
    found = marbles(ring, 0, 15.0, walk_m=500, marble_every_m=5)
    assert len(set(found)) == len(set(marbles(ring, 0, 15.0, walk_m=900, marble_every_m=5)))
    around = [xy for xy in set(found) if 0 <= xy[0] <= 30]
    assert len(around) == 120 / 5


@pytest.mark.parametrize(("turn", "apart", "matches"), [(44, 11, 2), (46, 11, 0), (136, 11, 2), (0, 11.2, 0)])
def test_marbles_match_one_to_one_within_11_m_and_45_degrees(turn, apart, matches):
    angle = np.radians(turn)
    holes = Marbles(np.array([[0.0, 0], [50, 0]]), np.array([[1.0, 0], [1, 0]]))
    turned = np.tile([np.cos(angle), np.sin(angle)], (3, 1))
    beside = Marbles(np.array([[0.0, apart], [0, -apart], [50, apart]]), turned)
    assert count_matches(holes, beside, TopoSettings()) == matches


def test_missing_and_invented_roads_lower_the_right_number():
    full, part = road_graph(city(5)), road_graph(city(5, keep=0.7))
    missing, invented = topo_score(topo(full, part)), topo_score(topo(part, full))
    assert missing.precision > 0.9 > missing.recall
    assert invented.recall > 0.9 > invented.precision


def test_one_road_does_not_pass_for_two():
    two = road_graph([np.array([[0.0, 0], [600, 0]]), np.array([[0.0, 8], [600, 8]])])
    one = road_graph([np.array([[0.0, 2], [300, 2]]), np.array([[0.0, 900], [300, 900]])])
    counts = topo(two, one)
    assert counts.starts == 20
    assert counts.paired < 12


def test_empty_networks_score_zero_or_nan_and_counts_add():
    empty, roads = road_graph([]), road_graph(city(1))
    score = topo_score(topo(roads, empty))
    assert (score.precision, score.recall, score.f1) == (0, 0, 0)
    assert np.isnan(topo_score(topo(empty, roads)).recall)
    one = topo(roads, road_graph(city(1, keep=0.8)))
    assert topo_score(one + one).f1 == pytest.approx(topo_score(one).f1)


def test_a_sample_of_starts_estimates_what_all_of_them_give(monkeypatch):
    truth, prediction = road_graph(city(5, side=12)), road_graph(city(5, side=12, keep=0.8, shift=2.0))
    exact = topo(truth, prediction)
    monkeypatch.setattr("roadseg.metrics.topo._MOST_STARTS", 100)
    estimate = topo(truth, prediction)
    assert (exact.walked, estimate.starts, estimate.partners) == (exact.partners, exact.starts, exact.partners)
    assert 90 <= estimate.walked <= 110
    assert topo_score(estimate).f1 == pytest.approx(topo_score(exact).f1, abs=0.05)
    assert topo_score(topo(truth, truth)).f1 == pytest.approx(1)


def test_the_sample_keeps_starts_together_that_claim_the_same_road(monkeypatch):
    double = [np.array([[0.0, y + dy], [900, y + dy]]) for y in range(0, 4000, 200) for dy in (0, 6)]
    single = [np.array([[0.0, y + 3], [900, y + 3]]) for y in range(0, 4000, 200)]
    truth, prediction = road_graph(double), road_graph(single)
    exact = topo(truth, prediction)
    monkeypatch.setattr("roadseg.metrics.topo._MOST_STARTS", 80)
    one, other = topo_score(topo(truth, prediction)), topo_score(exact)
    assert (one.precision, one.recall) == (
        pytest.approx(other.precision, abs=0.02),
        pytest.approx(other.recall, abs=0.02),
    )
