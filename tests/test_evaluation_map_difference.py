"""Lines of one map are split exactly where the other map leaves them."""

import numpy as np
import pytest

from roadseg.evaluation.map_difference import split_by_match
from roadseg.evaluation.map_sections import cut_lines, drop_short


def line(*points):
    return np.array(points, dtype=float)


def lengths(sections):
    return float(sections.length_m[sections.matched].sum()), float(sections.length_m[~sections.matched].sum())


def test_identical_maps_match_everywhere():
    roads = [line((0, 0), (300, 40), (500, 0)), line((300, 40), (300, 400))]
    sections = split_by_match(roads, roads)
    assert sections.matched.all()
    assert sections.partner.tolist() == [0, 1]
    assert lengths(sections)[0] == pytest.approx(sum(np.hypot(*np.diff(r, axis=0).T).sum() for r in roads))


def test_without_another_map_everything_is_unmatched():
    sections = split_by_match([line((0, 0), (30, 40))], [])
    assert (sections.start_m.tolist(), sections.stop_m.tolist(), sections.matched.tolist()) == ([0], [50], [False])
    assert len(split_by_match([], [line((0, 0), (30, 40))]).line) == 0


def test_the_split_lies_where_the_buffer_ends():
    sections = split_by_match([line((0, 0), (1000, 0))], [line((0, 6), (400, 6))], buffer_m=10)
    # The last point of the other line is 6 m aside: its surroundings reach √(10² − 6²) = 8 m further.
    assert sections.stop_m.tolist() == pytest.approx([408, 1000])
    assert sections.matched.tolist() == [True, False]


@pytest.mark.parametrize("gap", [(200, 260), (5, 980)])
def test_a_deleted_section_is_found_to_the_metre(gap):
    other = [line((0, 0), (gap[0], 0)), line((gap[1], 0), (1000, 0))]
    sections = split_by_match([line((0, 0), (1000, 0))], other, buffer_m=0.5)
    missing = sections.selected(~sections.matched)
    assert (missing.start_m.tolist(), missing.stop_m.tolist()) == (
        pytest.approx([gap[0] + 0.5]),
        pytest.approx([gap[1] - 0.5]),
    )


def test_an_offset_within_the_buffer_is_the_same_road_and_one_beyond_is_not():
    road = [line((0, 0), (100, 0))]
    assert lengths(split_by_match(road, [line((0, 5), (100, 5))], buffer_m=10)) == pytest.approx((100, 0))
    assert lengths(split_by_match(road, [line((0, 11), (100, 11))], buffer_m=10)) == pytest.approx((0, 100))


def test_a_crossing_street_is_no_match():
    sections = split_by_match([line((-200, 0), (200, 0))], [line((0, -200), (0, 200))])
    assert not sections.matched.any()


@pytest.mark.parametrize(("degrees", "matched"), [(20, True), (40, False), (-20, True), (160, True)])
def test_directions_may_differ_by_thirty_degrees(degrees, matched):
    turn = np.radians(degrees)
    other = line((-3 * np.cos(turn), -3 * np.sin(turn)), (3 * np.cos(turn), 3 * np.sin(turn)))
    sections = split_by_match([line((-3, 0), (3, 0))], [other])
    assert sections.matched.all() == sections.matched.any() == matched


def test_node_spacing_does_not_matter():
    x = np.linspace(0, 900, 50)
    sparse = [np.column_stack([x, 30 * np.sin(x / 90)])]
    fine = np.linspace(0, 900, 3001)
    dense = [np.column_stack([fine, np.interp(fine, x, 30 * np.sin(x / 90))])]
    assert not (~split_by_match(sparse, dense, buffer_m=1).matched).any()
    assert not (~split_by_match(dense, sparse, buffer_m=1).matched).any()


def test_both_carriageways_match_one_drawn_line():
    carriageways = [line((0, 7), (500, 7)), line((500, -7), (0, -7))]
    centre = [line((0, 0), (500, 0))]
    assert split_by_match(carriageways, centre).matched.all()
    assert split_by_match(centre, carriageways).matched.all()


def test_lines_that_touch_end_to_end_stay_apart():
    roads = [line((0, 0), (100, 0)), line((100, 0), (200, 0))]
    sections = split_by_match(roads, [line((0, 0), (200, 0))])
    assert (sections.line.tolist(), sections.matched.tolist(), sections.partner.tolist()) == (
        [0, 1],
        [True, True],
        [0, 0],
    )


def test_the_partner_is_the_line_that_follows_longest():
    others = [line((0, 2), (30, 2)), line((30, 2), (100, 2)), line((0, 300), (100, 300))]
    assert split_by_match([line((0, 0), (100, 0))], others).partner.tolist() == [1]


def test_short_leftovers_are_dropped_and_short_edges_of_a_long_road_are_kept():
    trunk = line((0, 0), (1000, 0))
    stub = line((100, 0), (100, 25))  # leaves the buffer after 10 m: 15 m are left over
    first, second, third = line((500, 0), (500, 300)), line((500, 300), (500, 312)), line((500, 312), (500, 700))
    roads = [trunk, stub, first, second, third]
    sections = split_by_match(roads, [trunk, line((100, 0), (100, 10))], buffer_m=1)
    kept = drop_short(sections, roads, min_length_m=20)
    assert sorted(kept.line[~kept.matched].tolist()) == [2, 3, 4]
    assert (kept.matched.sum(), sections.matched.sum()) == (2, 2)


def test_sections_keep_the_vertices_they_were_cut_from():
    metres = line((0, 0), (100, 0), (100, 100))
    degrees = metres / 111_320 + (7.1, 50.2)
    sections = split_by_match([metres], [line((0, 0), (40, 0))], buffer_m=1)
    parts = cut_lines([metres], [degrees], sections)
    assert [len(part) for part in parts] == [2, 3]
    assert (parts[0][0] == degrees[0]).all()
    assert (parts[1][1:] == degrees[1:]).all()
    assert (parts[0][-1] == parts[1][0]).all()
    assert parts[0][-1] == pytest.approx(degrees[0] + (41 / 111_320, 0), abs=1e-12)


def test_random_maps_are_split_as_densely_sampled_points_say():
    rng = np.random.default_rng(4)
    roads = [np.cumsum(rng.normal(0, 40, (6, 2)), axis=0) + rng.uniform(0, 400, 2) for _ in range(12)]
    others = [road + rng.normal(0, 6, road.shape) for road in roads[:8]]
    sections = split_by_match(roads, others, buffer_m=8, angle_deg=90)
    import shapely

    surroundings = shapely.union_all(shapely.linestrings(others[0]).buffer(8, quad_segs=64))
    for other in others[1:]:
        surroundings = surroundings.union(shapely.linestrings(other).buffer(8, quad_segs=64))
    inside = sum(shapely.linestrings(road).intersection(surroundings).length for road in roads)
    assert lengths(sections)[0] == pytest.approx(inside, rel=2e-3)
