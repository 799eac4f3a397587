"""Repairs of traced roads: what is pruned, closed and merged, and what is left alone."""

from dataclasses import fields, replace

import numpy as np
import pytest
from tracing import circle, graph_of, shuffled, strips, town, trace

import roadseg.roads.repair.edges as edges_module
import roadseg.roads.repair.gaps as gaps_module
import roadseg.roads.repair.pixel_set as pixel_set_module
from roadseg.raster.ground import Ground
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.pixel_graph import PixelGraph
from roadseg.roads.repair.contract import contract, split_edges
from roadseg.roads.repair.edges import degrees, in_canonical_order, polylines_of
from roadseg.roads.repair.gaps import close_gaps
from roadseg.roads.repair.repair import RepairLimits, repair
from roadseg.roads.repair.spurs import drop_small_components, prune_spurs

OFF = RepairLimits(min_length=0, spur=0, max_gap=0, merge_junctions=False)


def repaired(road, limits=None, levels=None, known=None, **changes):
    """Trace and repair a drawn world; unknown pixels say 255."""
    levels = np.where(road, 200, 0) if levels is None else levels
    levels = np.where(np.ones(road.shape, bool) if known is None else known, levels, 255).astype(np.uint8)
    graph = trace(road & (levels < 255), levels, levels < 255)
    limits = replace(limits or RepairLimits(), **changes)
    return repair(graph, limits, levels_at=lambda places: levels[places[:, 0], places[:, 1]])


def shape_of(graph):
    """Return number of edges, sorted degrees and number of inferred edges."""
    return len(graph.ends), sorted(degrees(graph).tolist()), int(graph.inferred.sum())


def assert_same(one, other):
    for field in fields(PixelGraph):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


# --- edges -----------------------------------------------------------------------------------------------------------


def test_a_chain_through_nodes_of_degree_two_becomes_one_edge():
    edges = [(1, 0, [(5, 2), (5, 1)]), (1, 2, [(5, 4), (5, 5)]), (3, 2, [(5, 7)])]
    graph = contract(graph_of(edges, [(5, 0), (5, 3), (5, 6), (5, 8)], at_border=[3]))
    assert len(graph.ends) == 1
    way = graph.places[:, 1].tolist()
    assert way in ([1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1])
    assert graph.at_border[graph.ends[0][0 if way[0] == 7 else 1]]
    assert set(graph.area) == {7}
    assert set(graph.level) == {200}


def test_a_ring_of_edges_keeps_its_first_node():
    nodes = [(4, 4), (0, 8), (4, 12), (8, 8)]
    edges = [(0, 1, [(2, 6)]), (1, 2, [(2, 10)]), (3, 2, [(6, 10)]), (3, 0, [(6, 6)])]
    graph = contract(graph_of(edges, nodes))
    assert graph.ends.tolist() == [[0, 0]]
    assert graph.nodes.tolist() == [[4, 4]]
    assert len(graph.places) == 7


def test_seen_and_inferred_edges_stay_apart():
    edges = [(0, 1, [(5, 1), (5, 2)]), (1, 2, [(5, 4)]), (2, 3, [(5, 6), (5, 7)])]
    nodes = [(5, 0), (5, 3), (5, 5), (5, 8)]
    assert len(contract(graph_of(edges, nodes, inferred=[1])).ends) == 3
    assert len(contract(graph_of(edges, nodes, areal=[0])).ends) == 2
    assert len(contract(graph_of(edges, nodes)).ends) == 1


def test_joining_keeps_all_pixels_of_a_traced_town():
    graph = trace(town())
    cut = split_edges(graph, np.arange(3, len(graph.places), 7))
    assert len(cut.ends) > 3 * len(graph.ends)
    joined = in_canonical_order(contract(cut))
    whole = in_canonical_order(contract(graph))
    np.testing.assert_array_equal(joined.places, whole.places)
    np.testing.assert_array_equal(joined.ends, whole.ends)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_depends_on_the_shape_only(seed):
    graph = trace(town(seed))
    assert_same(in_canonical_order(graph), in_canonical_order(shuffled(graph, seed)))
    assert_same(in_canonical_order(in_canonical_order(graph)), in_canonical_order(graph))


@pytest.mark.parametrize("seed", range(4))
def test_repair_does_not_depend_on_the_order_of_nodes_and_edges(seed):
    graph = trace(town(seed))
    there = repair(graph, RepairLimits())
    assert there.inferred.any()
    assert_same(there, repair(shuffled(graph, seed), RepairLimits()))


def test_everything_off_changes_the_order_at_most():
    graph = trace(town())
    assert_same(repair(graph, OFF), in_canonical_order(contract(graph)))


def test_an_empty_graph_stays_empty():
    for world in (np.zeros((20, 31), bool), np.eye(1, 31, 4, dtype=bool).repeat(1, 0)):
        assert len(repaired(world).ends) == 0


# --- spurs -----------------------------------------------------------------------------------------------------------


def test_bumps_make_no_spurs():
    road = strips((81, 241), (9, [(40, 15), (40, 225)]))
    for col in range(30, 220, 17):
        road[33:36, col : col + 4] = True
        road[29:36, col : col + 3] = True
    graph = trace(road)
    assert len(graph.ends) > 5
    pruned = prune_spurs(graph, margin=0.0)
    assert shape_of(pruned)[:2] == (1, [1, 1])
    assert np.ptp(pruned.nodes[:, 1]) > 195


def test_a_side_road_longer_than_the_width_explains_stays():
    road = strips((101, 201), (9, [(70, 10), (70, 190)]), (7, [(70, 100), (40, 100)]))
    assert shape_of(repaired(road))[:2] == (3, [1, 1, 1, 3])
    assert shape_of(repaired(road, spur=40.0))[:2] == (1, [1, 1])


def test_a_short_road_keeps_both_its_ends():
    """Every one of its edges is a spur: a star of three and of five arms."""
    for arms in (3, 5):
        turn = 2 * np.pi * np.arange(arms) / arms
        tips = [(50 + 9 * np.sin(a), 50 + 9 * np.cos(a)) for a in turn]
        ways = [
            [tuple(np.rint(np.array((50, 50)) + share * (np.array(tip) - 50)).astype(int)) for share in (0.3, 0.7)]
            for tip in tips
        ]
        graph = graph_of([(0, i + 1, way) for i, way in enumerate(ways)], [(50, 50), *tips], area=20)
        pruned = prune_spurs(graph, margin=30.0)
        assert shape_of(pruned)[:2] == (1, [1, 1])


def test_a_road_that_ends_in_a_fork_keeps_the_longer_prong():
    way = [(20, c) for c in range(1, 40)]
    edges = [(0, 1, way), (1, 2, [(19, 41), (18, 42), (17, 43)]), (1, 3, [(21, 41), (22, 42), (23, 43), (24, 44)])]
    pruned = prune_spurs(graph_of(edges, [(20, 0), (20, 40), (16, 44), (25, 45)], area=9), margin=0.0)
    assert shape_of(pruned)[:2] == (1, [1, 1])
    assert [25.0, 45.0] in pruned.nodes.tolist()


def test_a_dead_end_at_the_border_is_no_spur():
    way, arm = [(6, c) for c in range(1, 40)], [(r, 20) for r in range(5, 0, -1)]
    edges = [(0, 1, way[:19]), (1, 2, way[20:]), (1, 3, arm)]
    nodes = [(6, 0), (6, 20), (6, 40), (0, 20)]
    assert len(prune_spurs(graph_of(edges, nodes, area=9, at_border=[3]), margin=0.0).ends) == 3
    assert len(prune_spurs(graph_of(edges, nodes, area=9), margin=0.0).ends) == 1


# --- small pieces ----------------------------------------------------------------------------------------------------


def test_small_components_are_dropped_unless_they_reach_the_border():
    long, short = [(5, c) for c in range(1, 60)], [(20, c) for c in range(1, 12)]
    border = [(30, c) for c in range(1, 12)]
    nodes = [(5, 0), (5, 60), (20, 0), (20, 12), (30, 0), (30, 12)]
    graph = graph_of([(0, 1, long), (2, 3, short), (4, 5, border)], nodes, at_border=[4])
    kept = drop_small_components(graph, length=40)
    assert sorted(kept.nodes[:, 0]) == [5, 5, 30, 30]
    assert len(drop_small_components(graph, length=40, pixel_size=(4.0, 4.0)).ends) == 3
    assert len(drop_small_components(graph, length=100).ends) == 1


# --- gaps ------------------------------------------------------------------------------------------------------------


def with_gap(turn=0.0, gap=20.0, width=9.0, shape=(161, 221)):
    """Two roads with a gap between their rims; the second turned by so many degrees about its middle."""
    turn, middle = np.radians(turn), np.array([80.0, 110.0])
    half = (gap + width) / 2
    left = middle - (0, half), middle - (0, half + 75)
    away = np.array([np.sin(turn), np.cos(turn)])
    return strips(shape, (width, left), (width, [middle + half * away, middle + (half + 75) * away]))


@pytest.mark.parametrize("turn", [0, 15, 40, -40])
def test_a_gap_between_two_roads_that_agree_is_closed(turn):
    graph = repaired(with_gap(turn))
    assert shape_of(graph) == (3, [1, 1, 2, 2], 1)
    lengths = polylines_of(graph).lengths
    assert 20 < lengths[graph.inferred][0] < 36
    assert shape_of(repaired(with_gap(turn), max_gap=0))[:2] == (2, [1, 1, 1, 1])
    assert shape_of(repaired(with_gap(turn), max_gap=8.0))[:2] == (2, [1, 1, 1, 1])


@pytest.mark.parametrize("turn", [90, -120])
def test_a_gap_between_roads_that_do_not_agree_stays(turn):
    assert not repaired(with_gap(turn)).inferred.any()


def test_probability_in_a_gap_speaks_for_closing_it():
    road = with_gap(80, gap=25)
    faint = strips(road.shape, (9, [(80, 92), (97, 113)]))
    assert not repaired(road).inferred.any()
    assert repaired(road, levels=np.where(road, 200, np.where(faint, 60, 0))).inferred.any()


def test_the_length_of_a_gap_counts_in_metres():
    graph = trace(with_gap(0, gap=30))
    assert repair(graph, RepairLimits(max_gap=40)).inferred.any()
    assert not repair(graph, RepairLimits(max_gap=40), pixel_size=(3.0, 3.0)).inferred.any()


@pytest.mark.parametrize("gap", [4, 12, 20])
def test_a_road_that_points_at_another_one_is_led_to_it(gap):
    road = strips((141, 201), (9, [(30, 10), (30, 190)]), (9, [(30 + 9 + gap, 100), (130, 100)]))
    graph = repaired(road)
    assert shape_of(graph) == (4, [1, 1, 1, 2, 3], 1)
    junction = graph.nodes[degrees(graph) == 3][0]
    np.testing.assert_allclose(junction, (30, 100), atol=2)


def test_no_gap_is_closed_over_nodata():
    for road in (with_gap(0), strips((161, 221), (9, [(30, 10), (30, 190)]), (9, [(59, 110), (150, 110)]))):
        known = np.ones(road.shape, bool)
        assert repaired(road, known=known).inferred.any()
        known[41:48, 100:120] = known[70:90, 108:112] = False
        assert not repaired(road, known=known).inferred.any()


def test_one_nodata_pixel_is_enough():
    road, known = with_gap(0), np.ones((161, 221), bool)
    known[79:82, 110] = False
    assert not repaired(road, known=known, min_length=0).inferred.any()


def test_no_gap_is_closed_through_another_road():
    """A road in the gap: both ends are led to it instead."""
    road = with_gap(0, gap=33) | strips((161, 221), (5, [(10, 110), (150, 110)]))
    graph = repaired(road)
    assert graph.inferred.sum() == 2
    assert sorted(degrees(graph)) == [1, 1, 1, 1, 2, 2, 4]


def test_a_gap_on_a_crossing_becomes_one_junction():
    ways = [[(100, 10), (100, 85)], [(100, 117), (100, 190)], [(10, 101), (85, 101)], [(116, 101), (190, 101)]]
    graph = repaired(strips((201, 203), *[(9, way) for way in ways]))
    assert sorted(degrees(graph)) == [1, 1, 1, 1, 2, 2, 2, 2, 4]
    assert graph.inferred.sum() == 4
    np.testing.assert_allclose(graph.nodes[degrees(graph) == 4][0], (100, 101), atol=2)


def test_each_end_gets_one_connection_the_best():
    """Of two roads that could go on, the one straight ahead does."""
    ahead, aside = (9, [(80, 125), (80, 200)]), (9, [(101, 125), (130, 190)])
    graph = repaired(strips((161, 221), (9, [(80, 15), (80, 95)]), ahead, aside), merge_junctions=False)
    closed = graph.nodes[graph.ends[graph.inferred]]
    ends = graph.ends[graph.inferred].ravel().tolist()
    assert any(np.allclose(way[:, 0], 80, atol=1) for way in closed)
    assert max(ends.count(end) for end in ends) == 1


@pytest.mark.parametrize("apart", [1, 3])
def test_parallel_roads_stay_two(apart):
    road = np.zeros((61, 201), bool)
    road[20:27, 10:190] = True
    road[27 + apart : 34 + apart, 15:180] = True
    graph = repaired(road)
    assert shape_of(graph) == (2, [1, 1, 1, 1], 0)


def test_without_levels_directions_decide():
    assert repair(trace(with_gap(0)), RepairLimits()).inferred.any()
    assert not repair(trace(with_gap(120)), RepairLimits()).inferred.any()


def test_closed_gaps_have_the_levels_below_them():
    road = with_gap(0)
    graph = repaired(road, levels=np.where(road, 200, 33))
    edge = int(np.flatnonzero(graph.inferred)[0])
    levels = graph.level[graph.starts[edge] : graph.starts[edge + 1]]
    assert set(levels.tolist()) <= {33, 200}
    assert (levels == 33).sum() >= 18


def test_splitting_an_edge_keeps_every_pixel():
    graph = trace(town(2))
    at = np.array([0, 1, 2, 50, len(graph.places) - 1])
    cut = split_edges(graph, at)
    assert len(cut.ends) == len(graph.ends) + 5
    assert len(cut.places) == len(graph.places) - 5
    np.testing.assert_array_equal(cut.nodes[-5:], graph.places[at])
    assert polylines_of(cut).lengths.sum() == pytest.approx(polylines_of(graph).lengths.sum())


def test_a_dead_end_that_points_at_a_junction_is_led_to_it():
    """What lies ahead is a node, not a vertex of an edge, and the last edges have no vertices."""
    ways = [[(60, c) for c in range(11, 60)], [(60, c) for c in range(61, 110)], [(r, 60) for r in range(11, 60)]]
    nodes = [(60, 10), (60, 60), (60, 110), (10, 60), (76, 60), (140, 60), (160, 10), (160, 11)]
    edges = [(0, 1, ways[0]), (1, 2, ways[1]), (3, 1, ways[2]), (4, 5, [(r, 60) for r in range(77, 140)]), (6, 7, [])]
    graph = close_gaps(graph_of(edges, nodes), max_gap=30, road_level=127)
    assert [1, 4] in np.sort(graph.ends[graph.inferred], axis=1).tolist()
    assert len(graph.ends) == 6


@pytest.mark.parametrize("seed", range(3))
def test_the_size_of_the_chunks_changes_nothing(seed, monkeypatch):
    graph = trace(town(seed))
    limits = RepairLimits(min_length=20)
    at_once, on_ground = (repair(graph, limits, pixel_size=(1.1, 0.7)), to_ground(repair(graph, limits), Ground()))
    monkeypatch.setattr(edges_module, "CHUNK", 50)
    monkeypatch.setattr(edges_module, "NODE_CHUNK", 100)
    monkeypatch.setattr(pixel_set_module, "CHUNK", 50)
    assert_same(at_once, repair(graph, limits, pixel_size=(1.1, 0.7)))
    in_parts = to_ground(repair(graph, limits), Ground())
    for field in fields(in_parts):
        if field.name != "crs":
            one, other = getattr(in_parts, field.name), getattr(on_ground, field.name)
            np.testing.assert_array_equal(one, other, err_msg=field.name)


@pytest.mark.parametrize("seed", range(3))
def test_levels_are_read_once_per_round_and_bridges_keep_those_under_them(seed, monkeypatch):
    """Reading means decompressing tiles all over the raster: the pixels of new edges have been read before."""
    levels = np.random.default_rng(seed).integers(1, 99, town(seed).shape).astype(np.uint8)
    rounds, reads = [], []
    measured = gaps_module.measure_dead_ends
    monkeypatch.setattr(gaps_module, "measure_dead_ends", lambda *of: rounds.append(1) or measured(*of))
    monkeypatch.setattr(edges_module, "CHUNK", 50)
    closed = close_gaps(
        contract(trace(town(seed))),
        60.0,
        road_level=127.0,
        levels_at=lambda at: reads.append(1) or levels[at[:, 0], at[:, 1]],
    )
    assert closed.inferred.any()
    assert 1 <= len(reads) <= len(rounds)
    for edge in np.flatnonzero(closed.inferred):
        way = slice(closed.starts[edge], closed.starts[edge + 1])
        np.testing.assert_array_equal(closed.level[way], levels[tuple(closed.places[way].T)])


# --- junctions -------------------------------------------------------------------------------------------------------


def crossing(angle, width, shape=(221, 261), turned=0.2):
    middle = np.array([110.3, 130.2])
    ways = [np.array([np.sin(a), np.cos(a)]) * 100 for a in (turned, turned + np.radians(angle))]
    return strips(shape, *[(width, [middle - way, middle + way]) for way in ways])


@pytest.mark.parametrize("width", [3, 5, 9, 13])
@pytest.mark.parametrize("angle", [90, 60, 45, 33])
@pytest.mark.parametrize("turned", [0.0, 0.2, 1.1])
def test_two_roads_cross_in_one_junction(angle, width, turned):
    graph = repaired(crossing(angle, width, turned=turned))
    assert shape_of(graph)[:2] == (4, [1, 1, 1, 1, 4])
    off = graph.nodes[degrees(graph) == 4][0] - (110.3, 130.2)
    assert np.hypot(*off) < 2.5


def test_merging_can_be_switched_off():
    assert shape_of(repaired(crossing(33, 9), merge_junctions=False))[1] == [1, 1, 1, 1, 3, 3]


def test_side_roads_that_are_offset_stay_two_junctions():
    road = strips((161, 221), (9, [(80, 10), (80, 210)]), (7, [(80, 95), (10, 95)]), (7, [(80, 115), (150, 115)]))
    assert shape_of(repaired(road))[1] == [1, 1, 1, 1, 3, 3]


@pytest.mark.parametrize("width", [1.5, 9])
def test_rings_and_roads_that_end_on_them(width):
    shape = (201, 251)
    ring = (width, circle((100, 100), 50))
    assert shape_of(repaired(strips(shape, ring)))[:2] == (1, [2])
    lollipop = strips(shape, ring, (width, [(100, 150), (100, 235)]))
    assert shape_of(repaired(lollipop))[:2] == (2, [1, 3])
    theta = strips(shape, ring, (width, [(100, 50), (100, 150)]))
    assert shape_of(repaired(theta))[:2] == (3, [3, 3])
    turn = np.linspace(0, 2 * np.pi, 121)
    eight = strips((201, 301), (width, np.stack([100 + 60 * np.sin(2 * turn), 150 + 110 * np.sin(turn)], 1)))
    assert shape_of(repaired(eight))[:2] == (2, [4])


def test_two_edges_between_the_same_nodes_stay_two():
    eye = [(9, [(60, 10), (60, 60), (40, 110), (60, 160), (60, 210)]), (9, [(60, 60), (80, 110), (60, 160)])]
    assert shape_of(repaired(strips((121, 221), *eye)))[:2] == (4, [1, 1, 3, 3])


def test_a_road_that_leaves_keeps_its_ends_and_its_place():
    road = strips((81, 121), (9, [(40, -20), (40, 140)]))
    graph = repaired(road)
    assert graph.at_border.tolist() == [True, True]
    short = strips((81, 121), (5, [(40, -20), (40, 20)]))
    assert len(repaired(short).ends) == 1
    assert len(repaired(np.roll(short, 30, axis=1) & (np.arange(121) > 30)).ends) == 0


# --- size ------------------------------------------------------------------------------------------------------------


def test_large_coordinates_and_long_edges():
    """Columns over 32,767, an edge of 140,000 pixels, and a gap at the far end of it."""
    way = np.stack([np.full(140_000, 50_000), np.arange(100_000, 240_000)], axis=1)
    beyond = np.stack([np.full(60, 50_000), np.arange(240_020, 240_080)], axis=1)
    nodes = [(50_000, 99_999), (50_000, 240_000), (50_000, 240_019), (50_000, 240_080)]
    graph = close_gaps(graph_of([(0, 1, way), (2, 3, beyond)], nodes), max_gap=25, road_level=127)
    assert shape_of(graph) == (3, [1, 1, 2, 2], 1)
    assert polylines_of(graph).lengths.sum() == pytest.approx(140_081)


def test_many_nodes_and_dead_ends():
    """40,000 short roads in rows: more than 65,535 nodes, and all ends meet their neighbours."""
    rows, cols = (axis.ravel() for axis in np.meshgrid(np.arange(100) * 60, np.arange(400) * 60, indexing="ij"))
    count = len(rows)
    start = np.stack([rows, cols], axis=1)
    places = (start[:, None] + np.stack([np.zeros(30), np.arange(1, 31)], 1)).reshape(-1, 2).astype(np.int32)
    nodes = np.concatenate([start, start + np.array((0, 31))]).astype(float)
    graph = PixelGraph(
        nodes=nodes,
        at_border=np.zeros(len(nodes), bool),
        ends=np.stack([np.arange(count), np.arange(count) + count], axis=1),
        starts=np.arange(count + 1) * 30,
        places=places,
        area=np.full(len(places), 7, np.uint16),
        level=np.full(len(places), 200, np.uint8),
        inferred=np.zeros(count, bool),
        areal=np.zeros(count, bool),
    )
    joined = repair(graph, RepairLimits())
    assert joined.inferred.sum() == 100 * 399
    assert (degrees(joined) == 1).sum() == 200
