"""Rasters of roads on disk: a T of two roads as probabilities or as a mask, and rasters that hold no roads."""

import numpy as np
import rasterio
from affine import Affine
from worlds import write_raster

UTM = "EPSG:32632"
NEAR = 9.0
"""Metres that an end or a junction may lie off: the road's width."""

UNTURNED = Affine.translation(500_000, 5_300_000) @ Affine.scale(1, -1)


def drawn(height=150, width=210, scale=1):
    """Draw a T as probabilities: a road of 9 px from border to border, and one that leaves it and ends."""
    image = np.zeros((height, width), np.uint8)
    image[56 * scale : 65 * scale] = 230
    image[60 * scale : 130 * scale, 96 * scale : 105 * scale] = 230
    return image


def write(path, levels, *, transform=UNTURNED, crs=UTM, scale=1 / 254, nodata=255, tags=None):
    write_raster(path, levels[None], transform=transform, crs=crs, nodata=nodata)
    with rasterio.open(path, "r+") as file:
        if scale:
            file.scales = (scale,)
        file.update_tags(**(tags or {}))
    return path


def lengths(network):
    return sorted(np.round(network.length_m, 1).tolist())


def bad_rasters(folder):
    write_raster(folder / "rgb.tif", np.zeros((3, 20, 30), np.uint8))
    write(folder / "grey.tif", drawn(), scale=None, nodata=None)
    write(folder / "float.tif", drawn().astype(np.float32) / 100, scale=None, nodata=None)
    write(folder / "nowhere.tif", drawn(), crs=None, transform=Affine.identity())
    write(folder / "good.tif", drawn())
    (folder / "text.tif").write_text("words")
