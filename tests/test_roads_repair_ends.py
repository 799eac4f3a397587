"""The last metres of edges: direction and width, whatever the side, the size of a pixel and the order of points."""

import numpy as np
import pytest
from tracing import graph_of

from roadseg.roads.repair.edges import polylines_of
from roadseg.roads.repair.ends import end_widths, measure_ends

FIRST, LAST = np.array([0]), np.array([1])
"""The half-edges of a graph's only edge."""


def straight(direction, *, steps=40, area=6):
    """Return a graph of one edge that runs from (100, 100) along a (row, col) direction, a pixel a step."""
    way = [(100 + direction[0] * i, 100 + direction[1] * i) for i in range(1, steps)]
    end = (100 + direction[0] * steps, 100 + direction[1] * steps)
    return graph_of([(0, 1, way)], [(100, 100), end], area=area)


def measured(graph, half, pixel_size=(1.0, 1.0), *, skip=0.0, span=15.0):
    polylines = polylines_of(graph, pixel_size)
    return measure_ends(graph, polylines, half, pixel_size, skip=np.full(len(half), skip), span=span)


@pytest.mark.parametrize("direction", [(0, 1), (0, -1), (1, 0), (1, 1), (-1, 1)])
def test_ends_point_out_of_the_edge(direction):
    graph, unit = straight(direction), np.array(direction) / np.hypot(*direction)
    np.testing.assert_allclose(measured(graph, LAST).outward[0], unit, atol=1e-12)
    np.testing.assert_allclose(measured(graph, FIRST).outward[0], -unit, atol=1e-12)


def test_the_width_is_road_pixels_per_length():
    assert measured(straight((0, 1), area=6), LAST).width[0] == pytest.approx(6)
    assert measured(straight((1, 1), area=6), LAST).width[0] == pytest.approx(6 / np.sqrt(2))


def test_metres_count_if_pixels_are_oblong():
    graph = straight((1, 1))
    ends = measured(graph, LAST, (2.0, 0.5))
    np.testing.assert_allclose(ends.outward[0], np.array([2.0, 0.5]) / np.hypot(2.0, 0.5), atol=1e-12)
    assert ends.width[0] == pytest.approx(6 * (2.0 * 0.5) / np.hypot(2.0, 0.5), rel=1e-6)


def test_single_pixels_off_the_line_hardly_turn_an_end():
    way = [(100 + (i in (7, 23, 38)), 100 + i) for i in range(1, 40)]
    ends = measured(graph_of([(0, 1, way)], [(100, 100), (100, 140)]), LAST)
    assert abs(np.degrees(np.arctan2(*ends.outward[0]))) < 3


def test_only_the_span_beyond_the_skipped_metres_counts():
    bent = [(100, 100 + i) for i in range(1, 30)] + [(100 + i, 130) for i in range(1, 30)]
    graph = graph_of([(0, 1, bent)], [(100, 100), (130, 130)])
    np.testing.assert_allclose(measured(graph, LAST, span=10.0).outward[0], (1, 0), atol=1e-6)
    far = measured(graph, FIRST, skip=5.0, span=10.0)
    assert far.reach[0] == pytest.approx(10, abs=1)
    np.testing.assert_allclose(far.middle[0], (100, 110), atol=1)


def test_an_edge_without_vertices_has_a_direction_and_no_width():
    ends = measured(graph_of([(0, 1, [])], [(5, 5), (5, 6)]), LAST)
    assert ends.outward[0].tolist() == [0, 1]
    assert ends.width[0] == 0


def test_a_loop_without_length_has_no_direction():
    ends = measured(graph_of([(0, 0, [])], [(5, 5)]), np.array([0, 1]))
    assert ends.outward.tolist() == [[0, 0], [0, 0]]


def test_widths_alone_are_the_same():
    graph = straight((0, 1))
    half, skip = np.array([0, 1]), np.array([3.0, 8.0])
    polylines = polylines_of(graph)
    both = measure_ends(graph, polylines, half, (1.0, 1.0), skip=skip, span=15.0).width
    np.testing.assert_array_equal(end_widths(graph, polylines, half, (1.0, 1.0), skip=skip, span=15.0), both)


def test_no_ends_are_no_error():
    assert measured(straight((0, 1)), np.zeros(0, np.int64)).outward.shape == (0, 2)
