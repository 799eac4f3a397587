"""What speaks for and against closing a gap: its length, the turn of the roads, and the levels in between."""

import numpy as np
import pytest
from tracing import graph_of

from roadseg.roads.repair.ends import EdgeEnds
from roadseg.roads.repair.gap_evidence import (
    ACCEPTED,
    DeadEnds,
    GapCandidates,
    concatenate,
    odds_against,
    plausible,
    target_pixels,
    with_support,
)


def candidates(gap=20.0, turn=0.0, support=np.nan, *, pair=True, count=1):
    """Return equal candidates: pairs between dead ends 0 and 1, or Ts from dead end 0 to vertex 3."""
    gap, turn, support = np.broadcast_arrays(np.atleast_1d(gap), turn, support)
    filled = np.ones(max(count, len(gap)), np.int64)
    gap, turn, support = (np.resize(column, len(filled)).astype(float) for column in (gap, turn, support))
    other, vertex, node = (1, -1, 1) if pair else (-1, 3, -1)
    return GapCandidates(0 * filled, other * filled, vertex * filled, node * filled, gap, turn, support, -filled)


def two_roads(width=8.0):
    """Return a graph of two roads in row 50 with dead ends 30 px apart, at (50, 40) and (50, 70)."""
    ways = [[(50, c) for c in range(11, 40)], [(50, c) for c in range(71, 100)]]
    nodes = [(50, 40), (50, 70), (50, 10), (50, 100)]
    graph = graph_of([(2, 0, ways[0]), (1, 3, ways[1])], nodes, area=8)
    none = np.zeros((2, 2))
    ends = EdgeEnds(np.array([[0.0, 1.0], [0.0, -1.0]]), np.full(2, width), none, none[:, 0])
    return graph, DeadEnds(np.array([0, 1]), np.array([0, 1]), np.array([[50, 40], [50, 70]]), ends)


def supported(levels, found=None, *, road_level=100.0):
    graph, ends = two_roads()
    found = candidates(gap=22.0) if found is None else found
    options = {"road_level": road_level, "pixel_size": (1.0, 1.0)}
    return with_support(graph, ends, found, levels_at=lambda at: levels[at[:, 0], at[:, 1]], **options)[0]


@pytest.mark.parametrize("pair", [True, False])
def test_length_and_turn_speak_against_a_road_and_support_for_it(pair):
    assert (np.diff(odds_against(candidates(np.arange(5.0, 40.0), support=0.1, pair=pair))) > 0).all()
    assert (np.diff(odds_against(candidates(20.0, np.arange(0, 1.5, 0.1), 0.1, pair=pair))) > 0).all()
    assert (np.diff(odds_against(candidates(20.0, 0.3, np.arange(0, 0.5, 0.05), pair=pair))) < 0).all()


def test_overlapping_rims_count_as_no_gap_and_full_support_has_a_limit():
    assert odds_against(candidates(-5.0)) == odds_against(candidates(0.0))
    assert odds_against(candidates(support=0.5)) == odds_against(candidates(support=0.9))


def test_unknown_support_counts_as_a_little():
    assert odds_against(candidates(support=0.0)) > odds_against(candidates()) > odds_against(candidates(support=0.1))


def test_only_what_full_support_could_save_is_plausible():
    found = candidates(np.arange(0.0, 200.0))
    kept = plausible(found)
    assert 0 < len(kept.end) < len(found.end)
    best = candidates(kept.gap, support=0.5)
    assert (odds_against(best) <= ACCEPTED).all()
    assert np.isnan(kept.support).all()


def test_support_is_the_mean_level_between_the_rims():
    levels = np.zeros((90, 120), np.uint8)
    levels[:, 44:67] = 40
    assert supported(levels).support == pytest.approx([0.4])
    levels[:, 55] = 0
    assert 0.36 < supported(levels).support[0] < 0.4


def test_levels_under_the_roads_do_not_count():
    levels = np.zeros((90, 120), np.uint8)
    levels[:, :44] = levels[:, 67:] = 250
    assert supported(levels).support == pytest.approx([0])


def test_a_gap_over_nodata_is_dropped():
    levels = np.full((90, 120), 60, np.uint8)
    assert len(supported(levels, candidates(22.0, count=3)).end) == 3
    levels[50, 55] = 255
    assert len(supported(levels, candidates(22.0, count=3)).end) == 0


def test_masks_drop_nodata_and_measure_no_support():
    levels = np.full((90, 120), 254, np.uint8)
    assert np.isnan(supported(levels, road_level=None).support).all()
    levels[50, 55] = 255
    assert len(supported(levels, road_level=None).end) == 0


def test_without_levels_candidates_stay():
    graph, ends = two_roads()
    found = candidates(count=2)
    assert with_support(graph, ends, found, road_level=100.0, pixel_size=(1.0, 1.0), levels_at=None) == (found, None)


def test_candidates_lead_to_nodes_or_vertices():
    graph, _ = two_roads()
    both = concatenate(candidates(), candidates(pair=False))
    assert target_pixels(graph, both).tolist() == [[50, 70], [50, 14]]
    assert both[1:].vertex.tolist() == [3]
