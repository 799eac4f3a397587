"""Rasters of roads read as 255 levels: on any grid, through any window, in any process."""

import multiprocessing

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling
from worlds import METRES, whole, write_raster

from roadseg.errors import SceneError
from roadseg.raster.area import Area
from roadseg.raster.probability import open_probability
from roadseg.windows import Window

NORTH_UP = Affine.translation(236_789, 901_234) @ Affine.scale(1, -1)


def field(height, width, seed=0):
    """Draw smooth probabilities as levels 0–254."""
    rows, cols = np.mgrid[:height, :width]
    wave = np.sin(rows / 9 + seed) + np.cos(cols / 7) + np.sin((rows + cols) / 23)
    return np.rint((wave + 3) / 6 * 254).astype(np.uint8)


def write_levels(path, levels, *, pixel=1.0, tags=None, nodata=255, scale=1 / 254, **options):
    write_raster(path, levels[None], transform=NORTH_UP @ Affine.scale(pixel), nodata=nodata, **options)
    with rasterio.open(path, "r+") as file:
        if scale:
            file.scales = (scale,)
        file.update_tags(**(tags or {}))
    return path


def read(path, **options):
    levels, _ = open_probability(path, **options)
    return levels(levels.grid.window)


def test_levels_come_as_they_are(tmp_path):
    values = field(70, 91)
    values[5:9] = 255
    path = write_levels(tmp_path / "p.tif", values)
    np.testing.assert_array_equal(read(path), values)
    levels, notes = open_probability(path)
    assert (levels.grid, levels.is_mask, notes) == (levels.source, False, [])
    np.testing.assert_array_equal(levels(Window(3, 20, 30, 50)), values[3:33, 20:70])


def test_floats_and_other_scales_are_the_same_levels(tmp_path):
    values = field(40, 61)
    probability = (values / 254).astype(np.float32)
    probability[3, 4] = np.nan
    found = read(write_levels(tmp_path / "f.tif", probability, nodata=None, scale=None))
    assert found[3, 4] == 255
    found[3, 4] = values[3, 4]
    np.testing.assert_array_equal(found, values)
    whole16 = np.rint(values / 254 * 10_000).astype(np.uint16)
    np.testing.assert_array_equal(read(write_levels(tmp_path / "i.tif", whole16, nodata=None, scale=1e-4)), values)


@pytest.mark.parametrize(("road", "nodata"), [(1, None), (1, 255), (255, None)])
def test_masks_are_levels_0_and_254(tmp_path, road, nodata):
    mask = (field(50, 71) > 120).astype(np.uint8)
    values = mask * np.uint8(road)
    if nodata:
        values[9:12] = nodata
    path = write_levels(tmp_path / "m.tif", values, nodata=nodata, scale=None)
    expected = mask * np.uint8(254)
    expected[9:12] = 255 if nodata else expected[9:12]
    np.testing.assert_array_equal(read(path), expected)
    levels, notes = open_probability(path)
    assert levels.is_mask
    assert levels.threshold is None
    assert notes == ([f"{path}: values 0 and 255, 255 taken for road"] if road == 255 else [])


@pytest.mark.parametrize("pixel", [0.25, 0.4, 1.8, 3.0])
def test_the_window_read_through_does_not_show(tmp_path, pixel, monkeypatch):
    values = field(120, 175)
    values[40:44, 60:90] = 255
    path = write_levels(tmp_path / "p.tif", values, pixel=pixel, tags={"ROADSEG_GSD_M": "1"})
    levels, _ = open_probability(path)
    size = round(120 * pixel), round(175 * pixel)
    assert (levels.grid.height, levels.grid.width) == pytest.approx(size, abs=1)
    all_at_once = levels(levels.grid.window)
    assert (all_at_once == 255).any()
    monkeypatch.setattr("roadseg.raster.probability._STRIP_PX", 700)
    rng = np.random.default_rng(1)
    for _ in range(9):
        row, col = int(rng.integers(0, levels.grid.height)), int(rng.integers(0, levels.grid.width))
        window = Window(row, col, *rng.integers(1, 40, 2).tolist()).intersection(levels.grid.window)
        np.testing.assert_array_equal(levels(window), all_at_once[window.slices()])


def test_finer_pixels_are_averaged_and_overviews_spare_the_work(tmp_path):
    values = field(240, 320)
    path = write_levels(tmp_path / "p.tif", values, pixel=0.25)
    mean = values.reshape(60, 4, 80, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(read(path, pixel_m=1.0).astype(float), mean, atol=12)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    np.testing.assert_array_equal(read(path, pixel_m=1.0), rasterio.open(path, overview_level=1).read(1))
    np.testing.assert_allclose(read(path, pixel_m=1.0).astype(float), mean, atol=1)


@pytest.mark.parametrize("level", [0, 1, 127, 254])
def test_a_constant_raster_stays_constant(tmp_path, level):
    path = write_levels(tmp_path / "p.tif", np.full((31, 47), level, np.uint8), pixel=0.3)
    assert np.unique(read(path, pixel_m=1.0)).tolist() == [level]


def test_a_mask_stays_a_mask_at_another_resolution(tmp_path):
    mask = np.zeros((60, 90), np.uint8)
    mask[20:32] = 1
    found = read(write_levels(tmp_path / "m.tif", mask, pixel=0.5, scale=None, nodata=None), pixel_m=1.0)
    assert np.unique(found).tolist() == [0, 254]
    assert (found[:, 9] == 254).sum() == 6


def test_pixels_within_15_percent_are_used_as_they_are(tmp_path):
    for pixel, same in ((0.9, True), (1.14, True), (0.8, False), (1.2, False)):
        path = write_levels(tmp_path / "p.tif", field(40, 50), pixel=pixel, tags={"ROADSEG_GSD_M": "1"})
        levels, _ = open_probability(path)
        assert (levels.grid == levels.source) == same
    levels, _ = open_probability(path, pixel_m=1.2)
    assert levels.grid == levels.source


def test_the_threshold_is_that_noted(tmp_path):
    for noted, expected in (("0.4", 0.4), ("", None), ("x", None), ("nan", None)):
        path = write_levels(tmp_path / "p.tif", field(20, 30), tags={"ROADSEG_THRESHOLD": noted})
        assert open_probability(path)[0].threshold == expected


def test_single_places_are_read_as_windows_are(tmp_path):
    values = field(1300, 700)
    levels, _ = open_probability(write_levels(tmp_path / "p.tif", values))
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(0, 1300, 400), rng.integers(0, 700, 400)], axis=1).astype(np.int32)
    np.testing.assert_array_equal(levels.at(places), values[places[:, 0], places[:, 1]])
    beyond = np.array([[-1, 0], [0, 700], [1299, 699], [1300, 5]], np.int32)
    assert levels.at(beyond).tolist() == [255, 255, values[1299, 699], 255]
    assert levels.at(np.zeros((0, 2), np.int32)).shape == (0,)


def test_a_reader_travels_to_another_process(tmp_path):
    values = field(60, 80)
    levels, _ = open_probability(write_levels(tmp_path / "p.tif", values, pixel=0.5), pixel_m=1.0)
    window = levels.grid.window
    here = levels(window)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(levels, (window,)), here)
    levels.close()
    np.testing.assert_array_equal(levels(window), here)


def test_outside_the_area_nothing_is_known(tmp_path):
    levels, _ = open_probability(write_levels(tmp_path / "p.tif", field(30, 40)))
    left, top = NORTH_UP.c, NORTH_UP.f
    levels.area = Area(whole(30, 40), (shapely.box(left + 10, top - 20, left + 25, top - 5),))
    known = levels(levels.grid.window) != 255
    assert known[5:20, 10:25].all()
    assert known.sum() == 15 * 15
    np.testing.assert_array_equal(levels(Window(4, 9, 8, 8)) != 255, known[4:12, 9:17])


def test_why_there_is_no_road(tmp_path):
    values = np.full((30, 40), 80, np.uint8)
    cases = [
        (values, {}, "its highest probability is 0.31, the threshold 0.50"),
        (np.full_like(values, 255), {}, "it holds only nodata"),
        (np.where(np.eye(30, 40) == 1, 200, values).astype(np.uint8), {}, "too small"),
        (np.zeros_like(values), {"scale": None, "nodata": None}, "it holds no road"),
    ]
    for content, options, words in cases:
        levels, _ = open_probability(write_levels(tmp_path / "p.tif", content, **options))
        assert words in levels.emptiness(0.5)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (field(20, 30), {"scale": None, "nodata": None}, "holds grey values but no scale"),
        ((field(20, 30) / 100).astype(np.float32), {"scale": None, "nodata": None}, "not probabilities from 0 to 1"),
        (field(20, 30).astype(np.int16) - 200, {"scale": None, "nodata": None}, "no road mask; make it 0 and 1"),
    ],
)
def test_what_is_no_raster_of_roads_is_refused(tmp_path, values, options, words):
    with pytest.raises(SceneError, match=words):
        read(write_levels(tmp_path / "p.tif", values, **options))


def test_an_image_and_a_resolution_without_crs_are_refused(tmp_path):
    image = write_raster(tmp_path / "rgb.tif", np.zeros((3, 20, 30), np.uint8), crs=METRES)
    with pytest.raises(SceneError, match=r"has 3 bands .* roadseg predict makes roads of it"):
        open_probability(image)
    path = write_levels(tmp_path / "p.tif", field(20, 30), crs=None, tags={"ROADSEG_GSD_M": "0.3"})
    levels, _ = open_probability(path)
    assert levels.grid == levels.source
    with pytest.raises(SceneError, match="has no CRS with known metres, so it cannot be read at 2 m"):
        open_probability(path, pixel_m=2.0)
