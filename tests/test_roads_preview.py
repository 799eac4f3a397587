"""Previews show roads where they lie, over the raster they came from or over any image of the place."""

import numpy as np
import pytest
import rasterio.warp
import shapely
from affine import Affine
from rasterio.crs import CRS
from road_rasters import UTM, UTM_NORTH_UP, draw_t, write_levels
from worlds import write_raster

from roadseg.raster.backdrop import open_backdrop
from roadseg.raster.crs import DEGREES, reproject
from roadseg.raster.probability import open_probability
from roadseg.roads.preview import draw_roads
from roadseg.settings import VectorizeSettings
from roadseg.vectorize import vectorize_raster


def made(path, **settings):
    return open_probability(path)[0], vectorize_raster(path, settings=VectorizeSettings(**settings)).roads


def painted(before, after):
    """Return how far each pixel was changed, (height, width)."""
    return np.abs(after.astype(int) - before).max(axis=0)


@pytest.mark.parametrize("geometry", ["lines", "polygons"])
@pytest.mark.parametrize("scale", [1, 12])
def test_roads_are_painted_where_the_raster_has_them(tmp_path, geometry, scale):
    transform = UTM_NORTH_UP @ Affine.scale(1 / scale)
    path = write_levels(
        tmp_path / "t.tif", draw_t(150 * scale, 210 * scale, scale), transform=transform, tags={"ROADSEG_GSD_M": "1"}
    )
    levels, roads = made(path, geometry=geometry)
    backdrop = open_backdrop(levels, None)
    assert backdrop.rgb.shape == ((3, 150, 210) if scale == 1 else (3, 1429, 2000))
    picture = draw_roads(roads, backdrop)
    road = open_backdrop(levels, None).rgb[0] > 100
    yellow = (picture[0] > 180) & (picture[2] < 120)
    assert yellow[road].mean() > 0.6
    assert yellow[~road].mean() < 0.03


def test_an_image_of_another_crs_and_resolution_shows_the_same_place(tmp_path):
    levels, roads = made(write_levels(tmp_path / "t.tif", draw_t()))
    values = np.repeat(draw_t()[None], 3, axis=0)
    source, target = CRS.from_string(UTM), CRS.from_epsg(4326)
    corners = reproject(
        np.array([UTM_NORTH_UP @ place for place in ((0, 0), (210, 0), (0, 150), (210, 150))]), UTM, DEGREES
    )
    transform = Affine.translation(corners[:, 0].min(), corners[:, 1].max()) @ Affine.scale(4e-6, -4e-6)
    width, height = np.ceil(np.ptp(corners, axis=0) / 4e-6).astype(int).tolist()
    image = np.zeros((3, height, width), np.uint8)
    rasterio.warp.reproject(
        values, image, src_transform=UTM_NORTH_UP, src_crs=source, dst_transform=transform, dst_crs=target
    )
    path = write_raster(tmp_path / "image.tif", image, crs="EPSG:4326", transform=transform)
    backdrop = open_backdrop(levels, path)
    picture = draw_roads(roads, backdrop)
    road, yellow = backdrop.rgb[0] > 100, (picture[0] > 180) & (picture[2] < 120)
    assert yellow[road].mean() > 0.6
    assert yellow[~road].mean() < 0.03


def test_without_roads_the_backdrop_is_shown(tmp_path):
    levels, roads = made(write_levels(tmp_path / "t.tif", draw_t() * 0))
    for geometry in ("lines", "polygons"):
        picture = draw_roads(made(tmp_path / "t.tif", geometry=geometry)[1], open_backdrop(levels, None))
        assert painted(open_backdrop(levels, None).rgb, picture).max() <= 1
    assert shapely.is_empty(shapely.MultiLineString(list(roads.lines())))
