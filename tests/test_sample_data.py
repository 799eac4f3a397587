"""The committed sample scene is what its script draws, and its truth agrees with itself."""

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.transform import rowcol

FOLDER = Path(__file__).parents[1] / "sample_data"


def lines(folder=FOLDER):
    meta, _, geometry, fields = pyogrio.raw.read(folder / "roads.gpkg", layer="roads")
    return meta, shapely.from_wkb(geometry), dict(zip(meta["fields"], fields, strict=True))


def band(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    subprocess.run([sys.executable, FOLDER / "make_sample.py", folder], check=True)
    return folder


def means_of_blocks(pixels):
    """Return the means of the blocks of 8 × 8 pixels that JPEG stores, (bands, height / 8, width / 8)."""
    bands, height, width = pixels.shape
    blocks = pixels[:, : height // 8 * 8, : width // 8 * 8].reshape(bands, height // 8, 8, width // 8, 8)
    return blocks.mean(axis=(2, 4))


def test_script_reproduces_scene(redrawn):
    with rasterio.open(FOLDER / "scene.tif") as old, rasterio.open(redrawn / "scene.tif") as new:
        np.testing.assert_array_equal(old.dataset_mask(), new.dataset_mask())
        difference = np.abs(means_of_blocks(old.read()) - means_of_blocks(new.read()))
    # Versions of libjpeg differ in pixels, but hardly in the means of their blocks; a changed drawing does by tens.
    assert difference.max() < 4


def test_script_reproduces_truth(redrawn):
    np.testing.assert_array_equal(band(redrawn / "mask.tif"), band(FOLDER / "mask.tif"))
    (_, old, old_fields), (_, new, new_fields) = lines(), lines(redrawn)
    assert shapely.equals_exact(old, new, 0.011).all()
    assert all((old_fields[name] == new_fields[name]).all() for name in ("class", "width_m"))


def test_folder_holds_nothing_that_viewers_left_and_opens_without_a_warning_in_gdal_of_debian_12():
    assert not [path.name for path in FOLDER.glob("*.aux.xml")]
    with closing(sqlite3.connect(FOLDER / "roads.gpkg")) as package:
        assert package.execute("pragma user_version").fetchone() == (10200,)


def test_folder_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 4e6


def test_rasters_share_a_grid_of_one_metre():
    with rasterio.open(FOLDER / "scene.tif") as scene, rasterio.open(FOLDER / "mask.tif") as mask:
        assert scene.count == 3
        assert mask.count == 1
        assert mask.nodata == 255
        assert scene.profile["tiled"]
        assert mask.profile["tiled"]
        assert scene.shape == mask.shape == (1100, 1500)
        assert scene.transform == mask.transform
        assert scene.transform[:6] == (1.0, 0.0, scene.bounds.left, 0.0, -1.0, scene.bounds.top)
        assert scene.crs == mask.crs == rasterio.CRS.from_epsg(26986)


def test_void_is_where_nothing_was_photographed():
    with rasterio.open(FOLDER / "scene.tif") as scene:
        seen, pixels = scene.dataset_mask() > 0, scene.read()
    truth = band(FOLDER / "mask.tif")
    assert set(np.unique(truth)) == {0, 1, 255}
    np.testing.assert_array_equal(truth == 255, ~seen)
    assert 0.01 < (~seen).mean() < 0.05
    assert pixels[:, ~seen].mean() < 0.5
    assert pixels[:, seen].min(0).mean() > 40


def test_roads_are_a_fair_part_of_the_scene():
    truth = band(FOLDER / "mask.tif")
    assert 0.04 < (truth == 1).sum() / (truth != 255).sum() < 0.12


def test_lines_lie_on_the_mask():
    with rasterio.open(FOLDER / "mask.tif") as mask:
        truth, grid = mask.read(1), mask.transform
    for line in lines()[1]:
        points = shapely.get_coordinates(shapely.segmentize(line, 1.0))
        rows, columns = np.array(rowcol(grid, *points.T)).astype(int)
        on = truth[rows.clip(0, truth.shape[0] - 1), columns.clip(0, truth.shape[1] - 1)]
        on = on[on != 255]
        assert (on == 1).mean() >= 0.98


def test_lines_have_a_crs_classes_and_widths():
    meta, _, fields = lines()
    assert meta["crs"] == "EPSG:26986"
    assert set(fields["class"]) == {"motorway", "residential", "tertiary"}
    assert set(fields["width_m"]) == {7.0, 7.5, 10.5}


def test_lines_have_junctions_and_few_dead_ends():
    """A missed junction would be a dead end more."""
    with rasterio.open(FOLDER / "mask.tif") as mask:
        frame, truth, grid = shapely.box(*mask.bounds), mask.read(1), mask.transform
    meeting = Counter(end for line in lines()[1] for end in ends_of(line))
    assert sum(count >= 3 for count in meeting.values()) >= 20
    single = [shapely.Point(end) for end, count in meeting.items() if count == 1]
    inside = [end for end in single if frame.exterior.distance(end) > 0.01]
    assert len([end for end in inside if not near_void(truth, grid, end)]) <= 8


def test_lines_touch_others_at_their_ends_only():
    _, roads, _ = lines()
    for road in roads:
        for end in ends_of(road):
            others = [other for other in roads if other is not road and other.distance(shapely.Point(end)) < 1.0]
            assert all(end in ends_of(other) for other in others)


def ends_of(line):
    return line.coords[0], line.coords[-1]


def near_void(truth, grid, point):
    row, column = (int(v) for v in rowcol(grid, point.x, point.y))
    return (truth[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] == 255).any()
