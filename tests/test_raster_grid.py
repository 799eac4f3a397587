"""Pixels are measured in true metres whatever the CRS, and found again whatever the turn."""

import math

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from worlds import METRES, ROTATED

from roadseg.raster.grid import Grid, model_grid
from roadseg.windows import Window


def wkt(code):
    return CRS.from_user_input(code).to_wkt()


def grid(transform, *, crs=METRES, height=70, width=110):
    return Grid(wkt(crs) if crs else None, transform, height, width)


def north_up(x, y, across, down):
    return Affine.translation(x, y) @ Affine.scale(across, -down)


@pytest.mark.parametrize(
    ("transform", "crs", "down_m", "across_m"),
    [
        (north_up(230_000, 900_000, 1, 1), METRES, 1, 1),
        (north_up(230_000, 900_000, 0.5, 2), METRES, 2, 0.5),
        (Affine.translation(230_000, 900_000) @ Affine.scale(1, 1), METRES, 1, 1),
        (ROTATED, METRES, 1, 1),
        (ROTATED @ Affine.shear(20, 0), METRES, 1 / math.cos(math.radians(20)), 1),
        (north_up(750_000, 2_950_000, 3, 3), "EPSG:2249", 0.9144, 0.9144),
        (north_up(25.0, 60.0, 1e-5, 1e-5), "EPSG:4326", 1.1141, 0.5580),
        (north_up(-71.0, 0.0, 1e-5, 1e-5), "EPSG:4326", 1.1057, 1.1132),
        (north_up(2_782_987, 8_399_738, 2, 2), "EPSG:3857", 1.003, 1.003),
        (north_up(500_000, 6_650_000, 0.25, 0.25), "EPSG:32635", 0.25, 0.25),
    ],
    ids=["plain", "oblong", "south-up", "rotated", "sheared", "feet", "60N", "equator", "mercator", "utm"],
)
def test_pixels_are_measured_in_true_metres(transform, crs, down_m, across_m):
    assert grid(transform, crs=crs).pixel_size_m() == pytest.approx((down_m, across_m), rel=3e-3)


def test_the_date_line_is_not_wide():
    assert grid(north_up(180 - 55e-5, 10, 1e-5, 1e-5), crs="EPSG:4326").pixel_size_m()[1] == pytest.approx(1.096, 0.01)


def test_without_a_crs_nothing_is_known():
    assert grid(Affine.identity(), crs=None).pixel_size_m() is None


def test_a_crs_that_has_no_place_on_the_map_tells_nothing():
    local = 'LOCAL_CS["site",UNIT["foot",0.3048]]'
    assert Grid(local, north_up(0, 0, 10, 10), 70, 110).pixel_size_m() is None


@pytest.mark.parametrize("transform", [ROTATED, Affine(0.5, 0, 3, 0, 0.25, 9), north_up(1e6, 5e6, 0.3, 0.3)])
def test_scaling_keeps_the_corners(transform):
    before = grid(transform)
    after = before.scaled(33, 200)
    assert (after.height, after.width) == (33, 200)
    for here, there in [((0, 0), (0, 0)), ((110, 70), (200, 33)), ((110, 0), (200, 0))]:
        assert after.transform @ there == pytest.approx(before.transform @ here, rel=1e-12)


@pytest.mark.parametrize("transform", [ROTATED, Affine(0.5, 0, 3, 0, 0.25, 9)])
def test_a_part_lies_where_it_was(transform):
    part = grid(transform).cropped(Window(7, 30, 20, 50))
    assert (part.height, part.width) == (20, 50)
    assert part.transform @ (0, 0) == pytest.approx(transform @ (30, 7))


@given(st.integers(0, 60), st.integers(0, 90), st.integers(1, 10), st.integers(1, 20), st.booleans())
def test_the_window_of_a_windows_bounds_is_itself(row, col, height, width, south_up):
    transform = Affine.translation(2.3e5, 9e5) @ Affine.scale(0.3, 0.3 if south_up else -0.3)
    x0, y0 = transform @ (col, row)
    x1, y1 = transform @ (col + width, row + height)
    bounds = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    assert grid(transform).window_of(bounds) == Window(row, col, height, width)


def test_a_grid_of_the_same_ground_may_be_turned_or_mirrored():
    grid, south_up = Grid(None, Affine(2, 0, 100, 0, -2, 900), 30, 50), Affine(1, 0, 0, 0, -1, 30)
    mirrored = Affine(-1, 0, 50, 0, 1, 0)
    for flip in (south_up, mirrored, south_up @ mirrored):
        assert grid.is_turned(Grid(None, grid.transform @ flip, 30, 50))
    for same in (Affine.identity(), Affine.translation(0.3, 0), Affine.translation(0, 30) @ south_up):
        assert not grid.is_turned(Grid(None, grid.transform @ same, 30, 50))


def test_bounds_between_pixels_take_every_pixel_they_touch():
    assert grid(Affine.scale(2, 2)).window_of((3, 5, 4.5, 5.1)) == Window(2, 1, 1, 2)


def test_the_window_of_bounds_in_a_turned_grid_holds_all_of_them():
    turned = grid(ROTATED)
    corners = [ROTATED @ place for place in ((10, 5), (40, 5), (10, 25), (40, 25))]
    xs, ys = zip(*corners, strict=True)
    window = turned.window_of((min(xs), min(ys), max(xs), max(ys)))
    assert window.intersection(Window(5, 10, 20, 30)) == Window(5, 10, 20, 30)


def test_bounds_outside_have_no_pixels():
    here = grid(north_up(100, 200, 1, 1))
    assert here.window_of((0, 0, 50, 50)).area == 0
    assert here.window_of((90, 150, 400, 500)) == Window(0, 0, 50, 110)


@pytest.mark.parametrize(
    ("pixel_m", "shape"),
    [
        ((1.0, 1.0), (70, 110)),
        ((1.15, 0.85), (70, 110)),
        ((1.16, 1.0), (81, 110)),
        ((0.3, 0.3), (21, 33)),
        ((3.0, 3.0), (210, 330)),
        ((0.001, 0.001), (1, 1)),
    ],
)
def test_the_model_grid_is_the_scenes_within_15_percent(pixel_m, shape):
    scene = grid(ROTATED)
    seen = model_grid(scene, gsd_m=1.0, pixel_m=pixel_m)
    assert (seen.height, seen.width) == shape
    assert (seen is scene) == (shape == (70, 110))
