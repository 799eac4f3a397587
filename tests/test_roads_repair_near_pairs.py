"""Pairs of points that are close to each other are those that a search tree finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import KDTree

from roadseg.roads.repair import edges
from roadseg.roads.repair.near_pairs import near_pairs


@given(
    st.lists(st.tuples(st.integers(-40, 40), st.integers(-25, 25)), max_size=40),
    st.sampled_from([0.5, 1, 3, 5, 13, 200]),
    st.sampled_from([1.0, 0.3]),
)
def test_pairs_are_those_of_a_search_tree(places, distance, pixel):
    points = np.array(places, float).reshape(-1, 2) * pixel
    expected = KDTree(points).query_pairs(distance * pixel) if len(points) else set()
    assert [tuple(pair) for pair in near_pairs(points, distance * pixel).tolist()] == sorted(expected)


def test_many_points_are_searched_in_pieces(monkeypatch):
    points = np.random.default_rng(0).uniform(-50, 900, (3000, 2))
    expected = near_pairs(points, 20.0)
    assert len(expected) == len(KDTree(points).query_pairs(20.0)) > 3000
    monkeypatch.setattr(edges, "CHUNK", 100)
    assert np.array_equal(near_pairs(points, 20.0), expected)


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_point_has_no_partner(count):
    assert near_pairs(np.zeros((count, 2)), 5.0).shape == (0, 2)
