"""Rasters of roads on disk: a T of two roads as probabilities or as a mask, and rasters that hold no roads."""

import numpy as np
import rasterio
from affine import Affine
from worlds import write_raster

UTM = "EPSG:32632"
NEAR = 9.0
"""How far off, in metres, an end or a junction may lie: the width of the road."""

UTM_NORTH_UP = Affine.translation(500_000, 5_300_000) @ Affine.scale(1, -1)


def draw_t(height=150, width=210, scale=1):
    """Draw a T as probabilities: a road of 9 px from border to border, and one that leaves it and ends."""
    image = np.zeros((height, width), np.uint8)
    image[56 * scale : 65 * scale] = 230
    image[60 * scale : 130 * scale, 96 * scale : 105 * scale] = 230
    return image


def write_levels(path, levels, *, transform=UTM_NORTH_UP, crs=UTM, scale=1 / 254, nodata=255, tags=None):
    """Write (height, width) levels as ``predict`` writes probabilities; without a scale they are plain numbers."""
    write_raster(path, levels[None], transform=transform, crs=crs, nodata=nodata)
    with rasterio.open(path, "r+") as file:
        if scale:
            file.scales = (scale,)
        file.update_tags(**(tags or {}))
    return path


def sorted_lengths(network):
    """Return the lengths of a network's roads in metres, to a decimetre."""
    return sorted(np.round(network.length_m, 1).tolist())


def bad_rasters(folder):
    """Write every kind of raster that holds no roads, and a good one."""
    write_raster(folder / "rgb.tif", np.zeros((3, 20, 30), np.uint8))
    write_levels(folder / "grey.tif", draw_t(), scale=None, nodata=None)
    write_levels(folder / "float.tif", draw_t().astype(np.float32) / 100, scale=None, nodata=None)
    write_levels(folder / "nowhere.tif", draw_t(), crs=None, transform=Affine.identity())
    write_levels(folder / "good.tif", draw_t())
    write_levels(folder / "good", draw_t())
    (folder / "text.tif").write_text("words", "utf-8")
    (folder / "text").write_text("words", "utf-8")
