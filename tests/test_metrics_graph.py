"""Lines become the graph that a person would draw, whatever pieces they come in."""

import numpy as np
import pytest

from roadseg.metrics.graph import EdgePoints, adjacency, coordinates, node_points, road_graph


def lines(*every):
    return [np.array(line, dtype=np.float64) for line in every]


def shape(graph):
    return len(graph.nodes), len(graph.edges), round(float(graph.lengths.sum()), 6)


@pytest.mark.parametrize(
    ("drawn", "nodes", "edges", "length"),
    [
        (lines(), 0, 0, 0),
        (lines([(0, 0), (3, 4)]), 2, 1, 5),
        (lines([(0, 0), (3, 4)], [(3, 4), (6, 8)]), 2, 1, 10),
        (lines([(3, 4), (0, 0)], [(3, 4), (6, 8)]), 2, 1, 10),
        (lines([(0, 0), (5, 0), (9, 0)], [(5, 0), (5, 7)]), 4, 3, 16),
        (lines([(0, 0), (9, 0)], [(5, 0.04), (5, 7.04)]), 4, 3, 16.00036),
        (lines([(0, 0), (9, 0)], [(5, 0.06), (5, 7.06)]), 4, 2, 16),
        (lines([(0, 0), (9, 0)], [(6, 0), (6, 7)], [(6, -7), (6, 0)], [(2, 0), (2, 3)]), 6, 4, 26),
        (lines([(0, 0), (9, 0)], [(2, 0), (2, 3)], [(7, 4), (7, 0)], [(9.02, 0), (15.02, 0)]), 8, 6, 22),
        (lines([(-5, 0), (5, 0)], [(0, -5), (0, 5)]), 4, 2, 20),
        (lines([(0, 0), (4, 0), (4, 3), (0, 0)]), 1, 1, 12),
        (lines([(0, 0), (4, 0), (4, 3)], [(4, 3), (0, 0)]), 2, 2, 12),
        (lines([(0, 0), (4, 0), (4, 3), (0, 0)], [(0, 0), (-2, 0)]), 2, 2, 14),
        (lines([(0, 0), (4, 0)], [(4, 0), (0, 0)]), 2, 1, 4),
        (lines([(0, 0), (0, 0), (4, 0), (4, 0)]), 2, 1, 4),
        (lines([(1, 1), (1, 1)]), 0, 0, 0),
        (lines([(0, 0), (4, 4), (4, 0), (0, 4)]), 2, 1, 4 + 8 * 2**0.5),
        (lines([(0, 0), (2, 2), (4, 4), (4, 0), (2, 2), (0, 4)]), 3, 3, 4 + 8 * 2**0.5),
    ],
    ids=[
        "nothing", "line", "two pieces", "two pieces head to head", "T at a vertex", "T without a vertex",
        "end short of a road", "road under a street of two lines", "two T and a gap between ends", "bridge",
        "ring", "ring of two lines", "lollipop", "drawn twice", "repeated vertices", "no length",
        "self-crossing without a vertex", "self-crossing at a vertex",
    ],
)  # fmt: skip
def test_nodes_edges_and_length(drawn, nodes, edges, length):
    assert shape(road_graph(drawn)) == (nodes, edges, pytest.approx(length, abs=1e-6))


def test_lines_that_are_edges_already_keep_their_ends():
    assert shape(road_graph(lines([(0, 0), (3, 4)], [(3, 4), (6, 8)]), join=False)) == (3, 2, 10)


def test_vertices_within_a_millimetre_are_one():
    near, far = [(3, 4.0001), (6, 8)], [(3, 4.01), (6, 8)]
    assert len(road_graph(lines([(0, 0), (3, 4)], near)).edges) == 1
    assert len(road_graph(lines([(0, 0), (3, 4)], far)).edges) == 2


def test_edges_run_between_their_nodes_and_large_coordinates_do_no_harm():
    drawn = lines([(0, 0), (5, 1), (9, 0)], [(5, 1), (5, 7)], [(9, 0), (5, 7)])
    shift = np.array([4.2e6, 5.1e6])
    graph = road_graph([line + shift for line in drawn])
    assert shape(graph)[:2] == shape(road_graph(drawn))[:2]
    for edge, (first, last), length in zip(graph.edges, graph.ends, graph.lengths, strict=True):
        np.testing.assert_array_equal(edge[[0, -1]], graph.nodes[[first, last]])
        assert np.hypot(*np.diff(edge, axis=0).T).sum() == pytest.approx(length)
    np.testing.assert_allclose(coordinates(graph, node_points(graph)), graph.nodes)


def test_a_long_chain_of_short_pieces_is_one_edge():
    xy = np.stack([np.arange(5000.0), np.sin(np.arange(5000.0))], axis=1)
    pieces = [xy[i : i + 2] for i in np.random.default_rng(0).permutation(4999)]
    graph = road_graph(pieces)
    assert shape(graph)[:2] == (2, 1)
    assert len(graph.edges[0]) == 5000


def test_of_parallel_edges_the_shortest_counts_and_loops_do_not():
    graph = road_graph(
        lines([(0, 0), (5, 5), (9, 0)], [(0, 0), (9, 0)], [(9, 0), (12, 3), (12, 0), (9, 0)], [(0, 0), (-1, 0)])
    )
    matrix = adjacency(graph).toarray()
    assert sorted(matrix[matrix > 0].tolist()) == [1, 1, 9, 9]


def test_places_can_be_picked():
    places = EdgePoints(np.array([4, 7, 9]), np.array([0.0, 1, 2]))
    assert len(places[1:]) == 2
    assert places[np.array([2])].edge.tolist() == [9]
