"""Areas against a raster library's own polygons, burnt back, and cut into blocks of any size."""

import cv2
import numpy as np
import pytest
import rasterio.features
import scipy.ndimage
import shapely
import shared
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.files.workers import WorkerPool
from roadseg.raster.ground import Ground, metre_steps
from roadseg.roads.areas import outlines
from roadseg.roads.areas.polygons import areas_to_ground, road_areas
from roadseg.roads.mask.passes import local_passes
from roadseg.roads.mask.store import BlockGrid

EIGHT = np.ones((3, 3))


class Held:
    """A mask held in memory that refuses to be read outside."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.uint8)

    def read(self, window):
        height, width = self.values.shape
        assert window.row >= 0
        assert window.col >= 0
        assert window.row_stop <= height
        assert window.col_stop <= width
        return self.values[window.slices()]


def areas_of(mask, simplify_px=0.5, block_px=4096, workers=1, **options):
    mask = np.asarray(mask)
    grid = BlockGrid(*mask.shape, block_px)
    with WorkerPool(None, workers) as pool, local_passes(pool, grid, None) as passes:
        return road_areas(passes, Held(mask), simplify_px=simplify_px, **options)


def on_pixels(areas):
    """Return polygons in corner coordinates: pixel (row, col) is the square from (col, row) to (col + 1, row + 1)."""
    return shapely.transform(areas.polygons(), lambda xy: xy + 0.5)


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("vertices", "rings", "starts", "component")
    )


def burn(polygons, shape):
    if len(polygons) == 0:
        return np.zeros(shape, np.uint8)
    return rasterio.features.rasterize([(polygon, 1) for polygon in polygons], out_shape=shape)


def oracle(mask):
    """Return the polygons another library finds, 4 neighbours being one area."""
    found = rasterio.features.shapes(np.asarray(mask, np.uint8), connectivity=4)
    return np.array([shapely.geometry.shape(shape) for shape, value in found if value == 1], dtype=object)


def assert_disjoint_and_valid(polygons):
    assert shapely.is_valid(polygons).all()
    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    assert (one == other).all()


@st.composite
def masks(draw):
    """Draw noise, from single pixels to blobs, on rasters that are rarely square."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    noise = np.random.default_rng(draw(st.integers(0, 10**6))).random((height, width))
    blur = draw(st.sampled_from([0.0, 0.8, 1.5, 3.0]))
    if blur:
        noise = cv2.GaussianBlur(noise, (0, 0), blur)
    return (noise < np.quantile(noise, draw(st.sampled_from([0.1, 0.4, 0.5, 0.6, 0.9])))).astype(np.uint8)


def roads(height=240, width=330, seed=4):
    """Draw curved roads 5 to 11 px wide with ragged edges, that cross."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((height, width), np.float32)
    for _ in range(9):
        turn = np.cumsum(rng.normal(0, 0.1, 60)) + rng.uniform(0, 6.3)
        line = rng.uniform(0, 1, 2) * (width, height) + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * 5, axis=0)
        cv2.polylines(
            canvas, [np.rint(line * 16).astype(np.int32)], False, 1.0, int(rng.integers(5, 12)), cv2.LINE_8, 4
        )
    grain = cv2.GaussianBlur(rng.normal(0, 1, canvas.shape).astype(np.float32), (0, 0), 1.2)
    return (cv2.GaussianBlur(canvas, (0, 0), 1.5) + 0.25 * grain > 0.5).astype(np.uint8)


RINGS = np.zeros((47, 61), np.uint8)
"""An island in a hole of an area in a hole of another."""
for margin in range(2, 20, 4):
    RINGS[margin:-margin, margin:-margin] = margin // 2 % 4 == 1
RINGS[::46, 30] = 1

WORLDS = {
    "empty": np.zeros((5, 7)),
    "all road": np.ones((5, 7)),
    "one pixel": np.pad([[1]], ((3, 1), (2, 4))),
    "a pixel alone": np.ones((1, 1)),
    "chequers": np.indices((11, 14)).sum(axis=0) % 2,
    "holes at corners": np.pad(1 - np.eye(6, 9), 1, constant_values=1),
    "islands in holes": RINGS,
    "diagonal": np.eye(17, 23),
    "comb": np.pad(np.tile([1, 0], (9, 8)), ((1, 0), (0, 0)), constant_values=1),
    "column": np.ones((300, 1)),
    "roads": roads(),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("simplify_px", [0, 0.5, 1.0])
def test_worlds_are_the_same_in_blocks_of_any_size(world, simplify_px):
    mask = WORLDS[world]
    areas = areas_of(mask, simplify_px)
    for block_px in (1, 2, 3, 7, 16, 100):
        if mask.size / block_px**2 < 500:
            assert same(areas, areas_of(mask, simplify_px, block_px=block_px))


@pytest.mark.parametrize("world", WORLDS)
def test_pixel_outlines_are_those_of_another_library(world):
    mask = WORLDS[world]
    areas, truth = on_pixels(areas_of(mask, 0)), oracle(mask)
    assert shapely.is_valid(areas).all()
    assert sorted(shapely.to_wkb(shapely.normalize(areas), True)) == sorted(
        shapely.to_wkb(shapely.normalize(truth), True)
    )


@settings(max_examples=50)
@given(masks(), st.integers(1, 45))
def test_noise_has_the_pixel_outlines_of_another_library_in_any_blocks(mask, block_px):
    areas, truth = on_pixels(areas_of(mask, 0, block_px=block_px)), oracle(mask)
    assert shapely.is_valid(areas).all()
    assert sorted(shapely.to_wkb(shapely.normalize(areas), True)) == sorted(
        shapely.to_wkb(shapely.normalize(truth), True)
    )


@settings(max_examples=60)
@given(masks(), st.integers(1, 45), st.sampled_from([0, 0.1, 0.3, 0.5, 0.8, 2.0]))
def test_blocks_leave_no_trace(mask, block_px, simplify_px):
    assert same(areas_of(mask, simplify_px, block_px=block_px), areas_of(mask, simplify_px, block_px=64))


@given(masks(), st.sampled_from([0.05, 0.2, 0.35, 0.49, 0.5]))
def test_no_pixel_changes_sides_and_no_outline_meets_another(mask, simplify_px):
    polygons = on_pixels(areas_of(mask, simplify_px))
    assert_disjoint_and_valid(polygons)
    assert np.array_equal(burn(polygons, mask.shape), mask)


@given(masks())
def test_an_area_is_what_hangs_together_and_holes_are_what_it_encloses(mask):
    polygons = areas_of(mask).polygons()
    assert len(polygons) == scipy.ndimage.label(mask, EIGHT)[1]
    outside = scipy.ndimage.label(np.pad(1 - mask, 1, constant_values=1))[1]
    assert shapely.get_num_interior_rings(polygons).sum() == outside - 1


@settings(max_examples=40)
@given(masks())
def test_touching_pixel_outlines_share_a_component(mask):
    labels, count = scipy.ndimage.label(mask, EIGHT)
    areas = areas_of(mask, 0)
    assert areas.component.max(initial=-1) + 1 == count
    for polygon, component in zip(on_pixels(areas), areas.component, strict=True):
        assert set(labels[burn([polygon], mask.shape) == 1]) == {component + 1}


@settings(max_examples=60)
@given(masks(), st.sampled_from([0.8, 1.5, 4.0]))
def test_coarse_outlines_do_not_meet_either(mask, simplify_px):
    fine, coarse = areas_of(mask), areas_of(mask, simplify_px)
    assert_disjoint_and_valid(coarse.polygons())
    assert np.array_equal(fine.starts, coarse.starts)
    assert len(coarse.vertices) <= len(fine.vertices)


@settings(max_examples=40)
@given(masks())
def test_rows_come_in_the_order_of_their_first_pixels(mask):
    first = [int(np.flatnonzero(burn([polygon], mask.shape))[0]) for polygon in on_pixels(areas_of(mask))]
    assert first == sorted(first)


@pytest.mark.parametrize("simplify_px", [0.5, 1.0, 1.5])
def test_roads_keep_their_area_with_few_vertices(simplify_px):
    mask = roads()
    exact, areas = areas_of(mask, 0), areas_of(mask, simplify_px)
    assert_disjoint_and_valid(areas.polygons())
    assert shapely.area(areas.polygons()).sum() == pytest.approx(mask.sum(), rel=0.005)
    assert len(areas.vertices) < 0.5 * len(exact.vertices)


@pytest.mark.parametrize("slope", [0.0, 0.05, 0.3, 0.5, 0.77, 1.0])
def test_a_straight_edge_stays_straight_and_needs_fewer_vertices(slope):
    rows, cols = np.mgrid[:150, :90]
    mask = (rows > 20 + slope * cols).astype(np.uint8)
    exact, fine, coarse = (len(areas_of(mask, simplify_px).vertices) for simplify_px in (0, 0.5, 1.0))
    assert coarse <= min(fine, 21)
    assert fine <= max(10, exact / 2)
    edge = shapely.LineString([(1, 20.5 + slope * 0.5), (89, 20.5 + slope * 88.5)])
    outline = shapely.clip_by_rect(on_pixels(areas_of(mask))[0].exterior, 1, 1, 89, 120)
    assert shapely.hausdorff_distance(outline, edge, densify=0.01) < 1


def test_a_strip_wider_than_sixteen_bits():
    mask = np.zeros((6, 70_000), np.uint8)
    mask[1:3, 10:69_990] = 1
    mask[4, ::2] = 1
    areas = areas_of(mask, 0, block_px=4096)
    assert len(areas) == 1 + 35_000
    assert areas.polygons()[0].bounds == (9.5, 0.5, 69_989.5, 2.5)
    assert same(areas, areas_of(mask, 0, block_px=70_000))


@pytest.fixture
def impatient(monkeypatch):
    """Close rings after every row of blocks."""
    monkeypatch.setattr(outlines, "LINK_AT", 0)


@given(masks(), st.integers(3, 20), st.sampled_from([0, 0.5]))
@settings(max_examples=40)
def test_rings_may_be_closed_at_any_time(impatient, mask, block_px, simplify_px):
    areas = areas_of(mask, simplify_px, block_px=block_px)
    polygons = on_pixels(areas)
    assert same(areas, areas_of(mask, simplify_px, block_px=64))
    assert np.array_equal(burn(polygons, mask.shape), mask)
    assert len(np.unique(areas.component)) == scipy.ndimage.label(mask, EIGHT)[1]


@pytest.mark.parametrize("world", WORLDS)
def test_worlds_are_the_same_if_rings_are_closed_early(world, impatient):
    mask = WORLDS[world]
    assert same(areas_of(mask, block_px=12), areas_of(mask, block_px=400))


def test_closed_rings_do_not_wait(monkeypatch):
    monkeypatch.setattr(outlines, "LINK_AT", 1000)
    walked = []
    walk = outlines._walk
    monkeypatch.setattr(outlines, "_walk", lambda *corners: walked.append(len(corners[1])) or walk(*corners))
    areas_of(np.tile(np.pad(np.ones((3, 3)), 1), (200, 20)), block_px=20)  # blocks of 25 px
    assert sum(walked) == 4 * 200 * 20
    assert max(walked) < 2600


def test_two_processes_see_what_one_sees(given_away):
    mask = roads()
    assert same(areas_of(mask, block_px=100, workers=2), areas_of(mask))
    assert "_call" in given_away


def test_blocks_are_reported_and_cover_the_raster():
    seen = []
    areas_of(np.ones((7, 11)), block_px=4, on_block=seen.append)
    assert len(seen) > 2
    assert sum(seen) == pytest.approx(77e-6)


@pytest.mark.parametrize("wrong", [{"simplify_px": -1.0}, {"simplify_px": float("nan")}, {"workers": 0}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        areas_of(np.ones((2, 3)), **wrong)


TURNED = Affine.translation(3e6, 5e6) @ Affine.rotation(30) @ Affine.shear(10) @ Affine.scale(0.6, -0.4)
TRANSFORMS = {"turned": TURNED, "south up": Affine(0.5, 0, 9e5, 0, 0.25, 4e6), "north up": Affine(2, 0, 0, 0, -3, 0)}


@pytest.mark.parametrize("simplify_px", [0, 0.5, 1.5])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_polygons_lie_where_their_pixels_do_on_the_ground(name, simplify_px):
    transform, mask = TRANSFORMS[name], WORLDS["islands in holes"]
    areas = areas_of(mask, simplify_px)
    pixel = (np.hypot(transform.b, transform.e), np.hypot(transform.a, transform.d))
    roads = areas_to_ground(areas, Ground("somewhere", tuple(transform)[:6], pixel))
    assert roads.crs == "somewhere"
    assert len(roads) == len(areas) == 5
    assert np.array_equal(roads.component, areas.component)
    assert shapely.is_ccw(shapely.get_exterior_ring(roads.polygons)).all()
    assert not any(shapely.is_ccw(hole) for polygon in roads.polygons for hole in polygon.interiors)
    back = shapely.transform(roads.polygons, lambda xy: np.stack(~transform @ (xy[:, 0], xy[:, 1]), axis=1))
    assert shapely.hausdorff_distance(back, on_pixels(areas)).max() < 1e-3
    assert roads.area_m2 == pytest.approx(shapely.area(on_pixels(areas)) * pixel[0] * pixel[1], rel=1e-9)


def test_no_areas_become_no_roads():
    roads = areas_to_ground(areas_of(np.zeros((3, 4))), Ground())
    assert len(roads) == len(roads.area_m2) == len(roads.component) == 0


def test_square_metres_of_degrees_far_north():
    transform = (1e-3, 0.0, 10.0, 0.0, -1e-3, 61.0)
    mask = np.zeros((2000, 3000), np.uint8)
    mask[100:1900, 200:2800], mask[700:1500, 900:2000] = 1, 0
    mask[1990:1995, 5:9] = 1
    ground = Ground("degrees", transform, (111.4, 55.8), metre_steps(transform, mask.shape, lambda xy: xy))
    roads = areas_to_ground(areas_of(mask, 0), ground)
    radius, squared = 6_378_137.0, 0.00669437999014
    lat = np.radians(61 - (np.arange(2000) + 0.5) * 1e-3)
    row_m2 = np.radians(1e-3) ** 2 * radius**2 * (1 - squared) * np.cos(lat) / (1 - squared * np.sin(lat) ** 2) ** 2
    mask[1990:1995] = 0
    assert roads.area_m2[0] == pytest.approx((row_m2 @ mask).sum(), rel=1e-3)
    assert roads.area_m2[1] == pytest.approx(row_m2[1990:1995].sum() * 4, rel=1e-4)


def test_real_masks_keep_their_area():
    path = sorted((shared.tiles("dev") / "masks").glob("*.tif"))[3]
    with rasterio.open(path) as file:
        mask = (file.read(1) == 1).astype(np.uint8)
    areas = areas_of(mask, block_px=500)
    polygons = on_pixels(areas)
    assert same(areas, areas_of(mask))
    assert_disjoint_and_valid(polygons)
    assert np.array_equal(burn(polygons, mask.shape), mask)
    assert shapely.area(polygons).sum() == pytest.approx(mask.sum(), rel=0.001)
