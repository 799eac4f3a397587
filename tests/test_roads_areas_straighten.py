"""Pixel outlines become straight lines that pass every gate, and few points remain."""

import numpy as np
import pytest
import shapely

from roadseg.roads.areas import straighten as straighten_module
from roadseg.roads.areas.straighten import WITHIN_GATE_PX, straighten


def outline(mask):
    """Return the corners of the one area of a mask without holes, clockwise, as (corners, 2) row, col."""
    boxes = [shapely.box(col, row, col + 1, row + 1) for row, col in np.argwhere(mask)]
    ring = shapely.get_exterior_ring(shapely.simplify(shapely.union_all(boxes), 0))
    xy = shapely.get_coordinates(ring)[:-1]
    xy = xy[::-1] if shapely.is_ccw(ring) else xy
    return xy[:, ::-1].astype(np.int32)


def straightened(*masks, tolerance_px=0.5):
    """Return the polygons (x = col, y = row) of the straightened outlines of some masks."""
    corners = [outline(mask) for mask in masks]
    starts = np.concatenate([[0], np.cumsum([len(ring) for ring in corners])])
    vertices, starts = straighten(np.concatenate(corners), starts, tolerance_px=tolerance_px)
    return [shapely.Polygon(ring[:, ::-1]) for ring in np.split(vertices, starts[1:-1])]


def half_plane(slope, shape=(70, 90)):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (rows > 8 + slope * cols) & (rows < 60) & (cols > 3) & (cols < 80)


def disk(radius=20, shape=(53, 61)):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (rows - 25.3) ** 2 + (cols - 30.6) ** 2 < radius**2


def centres_inside(polygon, shape):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return shapely.contains_xy(polygon, cols + 0.5, rows + 0.5)


@pytest.mark.parametrize("tolerance_px", [0.05, 0.2, 0.49, 3.0])
@pytest.mark.parametrize("mask", [disk(), half_plane(0.3), half_plane(0.0), half_plane(0.55)])
def test_no_pixel_centre_changes_sides(mask, tolerance_px):
    (polygon,) = straightened(mask, tolerance_px=tolerance_px)
    assert polygon.is_valid
    np.testing.assert_array_equal(centres_inside(polygon, mask.shape), mask)


def test_a_larger_tolerance_leaves_fewer_vertices():
    counts = [len(straightened(disk(), tolerance_px=tolerance)[0].exterior.coords) for tolerance in (0.02, 0.2, 0.49)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 2


def test_no_tolerance_goes_beyond_the_gates():
    one, other = (straightened(disk(), tolerance_px=tolerance)[0] for tolerance in (WITHIN_GATE_PX, 5.0))
    assert one.equals(other)


def test_a_staircase_becomes_a_straight_line():
    (polygon,) = straightened(half_plane(0.25))
    assert len(polygon.exterior.coords) < 16
    edge = shapely.LineString([(10, 8.5 + 0.25 * 9.5), (75, 8.5 + 0.25 * 74.5)])
    assert polygon.exterior.distance(shapely.Point(40, 8.5 + 0.25 * 39.5)) < 0.6
    assert shapely.hausdorff_distance(shapely.clip_by_rect(polygon.exterior, 10, 0, 75, 40), edge, 0.05) < 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 9), (3, 3)])
def test_the_smallest_areas_keep_an_area(shape):
    mask = np.zeros((12, 14), bool)
    mask[4 : 4 + shape[0], 2 : 2 + shape[1]] = True
    (polygon,) = straightened(mask)
    assert polygon.area > 0
    np.testing.assert_array_equal(centres_inside(polygon, mask.shape), mask)


@pytest.mark.parametrize("at_once", [1, 30, 200])
def test_rings_come_out_the_same_alone_and_together(monkeypatch, at_once):
    masks = disk(), half_plane(0.3), disk(7), half_plane(0.7)
    alone = [straightened(mask)[0] for mask in masks]
    monkeypatch.setattr(straighten_module, "_CORNERS_AT_ONCE", at_once)
    assert all(one.equals(other) for one, other in zip(alone, straightened(*masks), strict=True))


def test_no_rings_are_no_error():
    vertices, starts = straighten(np.zeros((0, 2), np.int32), np.zeros(1, np.int64), tolerance_px=0.5)
    assert (vertices.shape, starts.tolist()) == ((0, 2), [0])
