"""APLS equals the reference on its own examples and a slow, plain computation elsewhere."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path
from shared import oracle
from streets import city

from roadseg.metrics import apls as module
from roadseg.metrics.apls import apls, apls_score, similarity, standard_error
from roadseg.metrics.control_points import control_points, snap
from roadseg.metrics.graph import coordinates, road_graph

CASES = (
    "identical_line", "identical_cross", "identical_grid", "cross_shift_3m", "cross_shift_5m",
    "grid_missing_1_edge", "grid_extra_diagonal", "line_gap_20m_middle", "cross_missing_arm",
    "cross_T_disconnected_8m", "grid_shift_2_2", "line_vs_detour", "two_components_vs_joined",
    "two_halves_vs_whole", "ring_as_2_arcs_identical", "empty_prop_far", "curved",
)  # fmt: skip


def edges(lines):
    """The examples are graphs, given edge by edge."""
    return road_graph([np.array(line, dtype=np.float64) for line in lines], join=False)


@pytest.mark.parametrize("case", CASES)
def test_the_reference_is_met_to_its_last_digit(case):
    world = oracle("apls.json")[case]
    expected = world["result"]["cli_defaults"]
    result = apls(edges(world["gt"]), edges(world["prop"]))
    there, back = result.truth_to_prediction, result.prediction_to_truth
    assert apls_score(result) == pytest.approx(expected["apls"], abs=1e-6)
    assert similarity(there) == pytest.approx(expected["gt_to_prop"], abs=1e-6)
    assert similarity(back) == pytest.approx(expected["prop_to_gt"], abs=1e-6)
    assert there.control_points == expected["n_cp_gt"]
    assert back.control_points == expected["n_cp_prop"]


def test_no_reference_case_is_forgotten():
    assert set(oracle("apls.json")) == set(CASES)


def plain_lengths(graph, places):
    """All distances between places, by making each a node of the graph."""
    rows, cols, weights = [], [], []
    for edge, (first, last) in enumerate(graph.ends):
        on = np.flatnonzero(places.edge == edge)
        on = on[np.argsort(places.along[on], kind="stable")]
        names = [first, *(len(graph.nodes) + on), last]
        steps = np.diff([0.0, *places.along[on], graph.lengths[edge]])
        for a, b, step in zip(names, names[1:], steps, strict=False):
            rows, cols, weights = [*rows, a], [*cols, b], [*weights, max(step, 1e-9)]
    size = len(graph.nodes) + len(places)
    full = np.full((size, size), np.inf)
    np.minimum.at(full, (rows, cols), weights)
    where = np.isfinite(full)
    matrix = coo_array((full[where], np.nonzero(where)), shape=full.shape)
    return shortest_path(matrix.tocsr(), directed=False)[len(graph.nodes) :, len(graph.nodes) :]


def plain_similarity(graph, other):
    own = control_points(graph)
    snapped = snap(other, coordinates(graph, own))
    here, there = plain_lengths(graph, own), plain_lengths(other, snapped)
    charges = []
    for a in range(len(own)):
        for b in range(len(own)):
            if a == b or not 1e-3 <= here[a, b] < np.inf:
                continue
            known = snapped.edge[a] >= 0 and snapped.edge[b] >= 0
            charges.append(min(1.0, abs(here[a, b] - there[a, b]) / here[a, b]) if known else 1.0)
    return 1 - np.mean(charges), len(charges)


@pytest.mark.parametrize(("keep", "shift"), [(0.8, 0.7), (0.45, 2.0), (0.9, 3.5)])
def test_chunks_of_paths_equal_the_plain_computation(monkeypatch, keep, shift):
    monkeypatch.setattr("roadseg.metrics.apls._NEAR", 61)
    monkeypatch.setattr("roadseg.metrics.apls._CHUNK", 17)
    loop = np.array([[0.0, 0], [-30, 60], [-80, 10], [0, 0]])
    truth = road_graph([*city(3), loop, np.array([[900.0, 900], [1000, 900]])])
    prediction = road_graph([*city(3, keep=keep, shift=shift), loop + 1])
    result = apls(truth, prediction)
    for way, (graph, other) in (
        (result.truth_to_prediction, (truth, prediction)),
        (result.prediction_to_truth, (prediction, truth)),
    ):
        expected, pairs = plain_similarity(graph, other)
        assert way.pairs == pairs
        assert similarity(way) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("keep", "shift"), [(0.8, 0.7), (0.45, 2.0), (0.9, 3.5)])
def test_an_estimate_for_large_networks_lies_within_its_error(monkeypatch, keep, shift):
    loop = np.array([[0.0, 0], [-30, 60], [-80, 10], [0, 0]])
    far = [line + np.array([3000.0, 0]) for line in city(5)]
    truth, prediction = road_graph([*city(3), loop, *far]), road_graph([*city(3, keep=keep, shift=shift), *far])
    exact = apls(truth, prediction)
    monkeypatch.setattr("roadseg.metrics.apls._MOST_POINTS", 50)
    monkeypatch.setattr("roadseg.metrics.apls._SOURCES", 64)
    estimate = apls(truth, prediction)
    error = standard_error(estimate)
    assert 0 < error < 0.03
    assert abs(apls_score(estimate) - apls_score(exact)) < 3 * error
    for one, other in (
        (exact.truth_to_prediction, estimate.truth_to_prediction),
        (exact.prediction_to_truth, estimate.prediction_to_truth),
    ):
        assert (one.pairs, one.control_points, 64) == (other.pairs, other.control_points, other.sources)
    assert standard_error(exact) == 0


def test_estimates_are_exact_where_nothing_differs_or_nothing_is_joined(monkeypatch):
    monkeypatch.setattr("roadseg.metrics.apls._MOST_POINTS", 5)
    roads = road_graph(city(3))
    same = apls(roads, roads)
    assert (apls_score(same), standard_error(same)) == (pytest.approx(1, abs=1e-9), pytest.approx(0, abs=1e-9))
    apart = road_graph([line + 9000 for line in city(3)])
    assert (apls_score(apls(roads, apart)), standard_error(apls(roads, apart))) == (0, 0)


def test_a_line_of_many_vertices_is_snapped_to_the_same_places_as_one_of_few():
    x = np.arange(0, 3001, 2.0)
    few = road_graph([np.array([[0.0, 0], [3000, 0]])])
    many = road_graph([np.stack([x, 0 * x], axis=1)])
    xy = np.stack([np.linspace(0, 3000, 77), np.linspace(-5, 5, 77)], axis=1)
    one, other = snap(few, xy), snap(many, xy)
    assert one.edge.tolist() == other.edge.tolist()
    np.testing.assert_allclose(one.along, other.along, atol=1e-9)
    on_road = one.edge >= 0
    np.testing.assert_allclose(coordinates(many, other[on_road])[:, 0], xy[on_road, 0], atol=1e-9)


def test_a_snapped_point_is_the_nearest_one():
    graph = road_graph(city(4))
    xy = np.random.default_rng(0).uniform(-20, 400, (300, 2))
    places = snap(graph, xy)
    marks = coordinates(graph, places)
    from shapely import LineString, distance, union_all
    from shapely import points as as_points

    nearest = distance(union_all([LineString(edge) for edge in graph.edges]), as_points(xy))
    found = places.edge >= 0
    assert 10 < found.sum() < 290
    np.testing.assert_array_equal(found, nearest <= 4)
    np.testing.assert_allclose(np.hypot(*(marks - xy)[found].T), nearest[found], atol=1e-9)


def test_paths_are_found_the_same_on_both_sides_and_in_any_place():
    truth, prediction = city(7), city(7, keep=0.8, shift=1.5)
    one = apls(road_graph(truth), road_graph(prediction))
    other = apls(road_graph(prediction), road_graph(truth))
    assert one.truth_to_prediction == other.prediction_to_truth
    assert apls_score(one) == pytest.approx(apls_score(other))
    origin = np.array([4.0e6, 5.0e5])
    far = [line + origin for line in truth], [line + origin for line in prediction]
    assert apls_score(apls(*map(road_graph, far))) == pytest.approx(apls_score(one), abs=1e-6)
    assert one == apls(road_graph(truth), road_graph(prediction))


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2])
def test_a_network_is_equal_to_itself_where_side_streets_end_on_a_road_without_a_vertex(angle):
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    side = [np.array([[x, 0.0], [x + 7, way * 110.0]]) for x, way in ((60, 1), (100, -1), (250, 1))]
    roads = road_graph([line @ turn + 5e5 for line in (np.array([[0.0, 0], [310, 0]]), *side)])
    result = apls(roads, roads)
    assert apls_score(result) == pytest.approx(1, abs=1e-9)
    points = result.truth_to_prediction.control_points
    assert result.truth_to_prediction.pairs == points * (points - 1)


def test_empty_networks_score_zero_or_nan():
    empty, roads = road_graph([]), road_graph(city(1))
    assert apls_score(apls(roads, empty)) == apls_score(apls(empty, roads)) == 0
    assert np.isnan(apls_score(apls(empty, empty)))
    assert apls(roads, empty).truth_to_prediction.penalty == apls(roads, empty).truth_to_prediction.pairs


def test_counts_of_tiles_add():
    one = apls(road_graph(city(1)), road_graph(city(1, keep=0.9)))
    two = one + one
    assert apls_score(two) == pytest.approx(apls_score(one))
    assert two.truth_to_prediction.pairs == 2 * one.truth_to_prediction.pairs


def test_the_order_of_lines_does_not_matter_where_no_point_has_two_nearest_edges():
    truth, prediction = city(9), city(9, keep=0.85, shift=0.6)
    shuffled = [truth[i] for i in np.random.default_rng(1).permutation(len(truth))]
    first = apls_score(apls(road_graph(truth), road_graph(prediction)))
    assert apls_score(apls(road_graph(shuffled), road_graph(prediction))) == pytest.approx(first, abs=1e-9)


def test_paths_are_sought_once_from_each_node_not_from_each_control_point(monkeypatch):
    truth = road_graph(city(2, side=15))
    prediction = road_graph(city(2, side=15, keep=0.9, shift=1.0))
    assert len(truth.edges) >= 450
    sought, search = [], module.dijkstra

    def counted(*given, indices, **how):
        sought.append(len(indices))
        return search(*given, indices=indices, **how)

    monkeypatch.setattr(module, "dijkstra", counted)
    counts = apls(truth, prediction)
    nodes, points = len(truth.nodes) + len(prediction.nodes), counts.truth_to_prediction.control_points
    assert len(sought) == 4  # in either network, in either direction
    assert sum(sought) <= 2 * nodes
    assert points > 2 * len(truth.nodes)


def test_progress_adds_up_to_the_whole(monkeypatch):
    roads, fewer, empty = road_graph(city(3)), road_graph(city(3, keep=0.8)), road_graph([])
    for most in (25_000, 20):
        monkeypatch.setattr("roadseg.metrics.apls._MOST_POINTS", most)
        for pair in ((roads, fewer), (roads, empty), (empty, empty)):
            shares = []
            apls(*pair, advance=shares.append)
            assert sum(shares) == pytest.approx(1)
