"""Backdrops show the ground under a raster of roads: the raster itself, or the same part of an image."""

import numpy as np
import pytest
from affine import Affine
from road_rasters import UTM, UTM_NORTH_UP, draw_t, write_levels
from worlds import write_raster

from roadseg.errors import SceneError
from roadseg.raster.backdrop import open_backdrop
from roadseg.raster.crs import DEGREES, reproject
from roadseg.raster.probability import open_probability


@pytest.mark.parametrize("crs", [UTM, DEGREES])
def test_pixels_are_those_of_the_picture_in_any_crs(tmp_path, crs):
    raster, _ = open_probability(write_levels(tmp_path / "t.tif", draw_t()))
    corner = reproject(np.array([[500_000.0, 5_300_000.0]]), UTM, crs)[0]
    scale = 1e-5 if crs == DEGREES else 2.0
    transform = Affine.translation(corner[0] - 3 * scale, corner[1] + 3 * scale) @ Affine.scale(scale, -scale)
    image = write_raster(tmp_path / "i.tif", np.zeros((3, 400, 500), np.uint8), crs=crs, transform=transform)
    backdrop = open_backdrop(raster, image)
    row, col = backdrop.pixels(np.array([[500_000.0, 5_300_000.0]]))[0]
    assert (row, col) == pytest.approx((-0.5, -0.5), abs=0.6)
    assert backdrop.rgb.shape[1:] == (backdrop.grid.height, backdrop.grid.width)


def test_without_a_crs_a_pixel_measures_one(tmp_path):
    path = write_levels(tmp_path / "t.tif", draw_t(), crs=None, transform=Affine.identity())
    backdrop = open_backdrop(open_probability(path)[0], None)
    assert backdrop.pixel_size() == 1
    assert backdrop.pixels(np.array([[3.5, 7.5]])).tolist() == [[7, 3]]


def test_nodata_of_a_mask_is_white(tmp_path):
    mask = (draw_t() > 0).astype(np.uint8)
    mask[:, :40] = 255
    path = write_raster(tmp_path / "m.tif", mask[None], crs=UTM, transform=UTM_NORTH_UP)
    rgb = open_backdrop(open_probability(path)[0], None).rgb
    assert (rgb[:, :, :40] == 255).all()
    assert np.unique(rgb[:, :, 40:]).tolist() == [30, 180]


def test_only_the_rasters_part_of_a_large_image_is_shown(tmp_path):
    raster, _ = open_probability(write_levels(tmp_path / "t.tif", draw_t()))
    image = np.arange(400, dtype=np.uint16).clip(0, 255).astype(np.uint8)[None, :, None].repeat(600, axis=2)
    path = write_raster(tmp_path / "image.tif", image, crs=UTM, transform=UTM_NORTH_UP @ Affine.translation(-100, -50))
    backdrop = open_backdrop(raster, path)
    assert backdrop.rgb.shape == (3, 150, 210)
    assert backdrop.rgb[:, :, 0].tolist() == [list(range(50, 200))] * 3


def test_an_image_that_lies_elsewhere_is_refused(tmp_path):
    raster, _ = open_probability(write_levels(tmp_path / "t.tif", draw_t()))
    image = np.zeros((3, 30, 40), np.uint8)
    far = write_raster(tmp_path / "far.tif", image, crs=UTM, transform=UTM_NORTH_UP @ Affine.translation(5000, 0))
    with pytest.raises(SceneError, match=r"shows other ground than .*t\.tif"):
        open_backdrop(raster, far)
    nowhere = write_raster(tmp_path / "nowhere.tif", image, crs=None, transform=Affine.identity())
    with pytest.raises(SceneError, match="has no CRS, so roads cannot be drawn over it"):
        open_backdrop(raster, nowhere)
