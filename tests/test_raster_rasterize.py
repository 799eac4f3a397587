"""Roads become masks that are true on the ground: in any CRS, on any grid, at any latitude."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely import LineString

from roadseg.errors import SceneError
from roadseg.raster import rasterize as burn
from roadseg.raster.grid import Grid, units_per_metre
from roadseg.raster.rasterize import near, write_mask
from roadseg.windows import Window

LONLAT = "EPSG:4326"
MERCATOR = "EPSG:3857"
UTM = "EPSG:32633"


def grid_at(lon: float, lat: float, crs: str, *, pixel_m: float = 0.5, turn: float = 0.0, size: int = 240) -> Grid:
    """Return a grid of pixels of true metres around a place, turned if wanted, a bit wider than high."""
    x, y = (v[0] for v in transform(LONLAT, crs, [lon], [lat]))
    per_x, per_y = units_per_metre(crs, x, y) or (1.0, 1.0)
    place = Affine.translation(x, y) @ Affine.scale(per_x * pixel_m, -per_y * pixel_m) @ Affine.rotation(turn)
    height, width = size, size + 30
    return Grid(CRS.from_user_input(crs).to_wkt(), place @ Affine.translation(-width / 2, -height / 2), height, width)


def drawn(path: Path, grid: Grid, lines: list[object], crs: str | None, width_m: float = 7.0) -> np.ndarray:
    write_mask(path, grid, np.array(lines, dtype=object), np.full(len(lines), width_m), crs, {})
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize(
    ("lon", "lat", "across", "length_m"),
    [([15.3, 15.3], [59.99, 60.01], 1, 120), ([15.2, 15.4], [60.0, 60.0], 0, 135)],
    ids=["north", "east"],
)
@pytest.mark.parametrize("crs", [LONLAT, MERCATOR, UTM])
@pytest.mark.parametrize("labels", [LONLAT, MERCATOR, UTM])
def test_seven_metres_are_seven_metres_at_60_north(
    tmp_path: Path, lon: list[float], lat: list[float], across: int, length_m: float, crs: str, labels: str
) -> None:
    """Counted along rows and columns of half-metre pixels, whichever CRS the raster and the lines are in."""
    x, y = transform(LONLAT, labels, lon, lat)
    mask = drawn(tmp_path / "m.tif", grid_at(15.3, 60.0, crs), [LineString(zip(x, y, strict=True))], labels)
    assert np.median(mask.sum(axis=across)) * 0.5 == pytest.approx(7, abs=0.5)
    assert mask.sum(axis=1 - across).max() * 0.5 == pytest.approx(length_m, abs=2)


@pytest.mark.parametrize("turn", [30.0, -75.0])
def test_a_turned_grid_holds_the_same_area(tmp_path: Path, turn: float) -> None:
    """A road that ends inside: its area is length × width with round ends, whatever way the pixels lie."""
    x, y = (v[0] for v in transform(LONLAT, UTM, [15.3], [60.0]))
    line = LineString([(x - 30, y - 5), (x + 30, y + 5)])
    mask = drawn(tmp_path / "m.tif", grid_at(15.3, 60.0, UTM, turn=turn), [line], UTM)
    assert mask.sum() * 0.25 == pytest.approx(line.length * 7 + np.pi * 3.5**2, rel=0.01)


def test_a_long_straight_line_bends_as_its_own_map_says(tmp_path: Path) -> None:
    """20 km along a parallel: straight in degrees, more than 10 m off the straight line of UTM in the middle."""
    line = LineString([(15.1, 60.0), (15.5, 60.0)])
    mask = drawn(tmp_path / "m.tif", grid_at(15.3, 60.0, UTM), [line], LONLAT)
    middle = mask[:, mask.shape[1] // 2].nonzero()[0].mean()
    assert middle == pytest.approx((mask.shape[0] - 1) / 2, abs=1)


def test_pixels_do_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    x, y = (v[0] for v in transform(LONLAT, UTM, [15.3], [60.0]))
    lines = [LineString(rng.uniform(-80, 80, (4, 2)) + np.array([x, y])) for _ in range(9)]
    grid = grid_at(15.3, 60.0, UTM, turn=12)
    whole = drawn(tmp_path / "a.tif", grid, lines, UTM)
    monkeypatch.setattr(burn, "_BLOCK_PX", 37)
    assert np.array_equal(drawn(tmp_path / "b.tif", grid, lines, UTM), whole)
    assert 0.05 < whole.mean() < 0.9
    assert not list(tmp_path.glob(".*"))


def test_areas_are_taken_as_they_are(tmp_path: Path) -> None:
    x, y = (v[0] for v in transform(LONLAT, UTM, [15.3], [60.0]))
    square = shapely.box(x - 10, y - 20, x + 10, y + 20)
    assert drawn(tmp_path / "m.tif", grid_at(15.3, 60.0, UTM), [square], UTM).sum() * 0.25 == pytest.approx(
        800, rel=0.02
    )


def test_no_road_is_a_mask_of_zeros(tmp_path: Path) -> None:
    assert not drawn(tmp_path / "m.tif", grid_at(15.3, 60.0, UTM), [], UTM).any()


def test_without_any_crs_units_are_metres(tmp_path: Path) -> None:
    grid = Grid(None, Affine(0.5, 0, 10, 0, -0.5, 90), 100, 140)
    mask = drawn(tmp_path / "m.tif", grid, [LineString([(0, 60), (200, 60)])], None)
    assert set(mask.sum(axis=0)) == {14}


def test_only_geometries_nearby_are_taken() -> None:
    grid = grid_at(15.3, 60.0, UTM)
    lines = np.array([LineString([(15.3 + d, 59.9), (15.3 + d, 60.1)]) for d in (0, 0.0018, 0.01)], dtype=object)
    assert near(lines, LONLAT, grid, reach_m=100).tolist() == [0, 1]
    assert near(lines, LONLAT, grid, reach_m=1).tolist() == [0]


@pytest.mark.parametrize(
    ("crs", "message"),
    [
        (None, "labels have no CRS"),
        ("EPSG:1", "is not known"),
        ('LOCAL_CS["site",UNIT["metre",1]]', r"of the labels \([^{]{0,80}\); check both$"),
    ],
)
def test_a_crs_that_is_missing_or_unknown_is_named(crs: str | None, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        near(np.array([LineString([(0, 0), (1, 1)])], dtype=object), crs, grid_at(15.3, 60.0, UTM), reach_m=1)


def test_only_chosen_windows_are_drawn(tmp_path: Path) -> None:
    grid = Grid(CRS.from_user_input(UTM).to_wkt(), Affine(1, 0, 500_000, 0, -1, 5_000_000), 900, 1200)
    lines = np.array([LineString([(500_000, 4_999_700), (501_200, 4_999_700)])], dtype=object)
    wanted = [Window(200, 100, 200, 150), Window(600, 700, 90, 80)]
    seen: list[np.ndarray] = []

    def choose(roads: np.ndarray) -> list[Window]:
        seen.append(shapely.bounds(roads))
        return wanted

    assert write_mask(tmp_path / "m.tif", grid, lines, np.array([6.0]), UTM, {}, choose) == wanted
    assert seen[0].round().tolist() == [[-3, 297, 1203, 303]]
    with rasterio.open(tmp_path / "m.tif") as file:
        mask = file.read(1)
    labelled = np.zeros_like(mask, bool)
    for window in wanted:
        labelled[window.slices()] = True
    assert (mask[~labelled] == 255).all()
    assert (mask[200:400, 100:250] == (np.abs(np.arange(200, 400) + 0.5 - 300) < 3)[:, None]).all()
    assert (mask[600:690, 700:780] == 0).all()
