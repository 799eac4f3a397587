"""Backdrops: pictures of at most 2,000 px that roads are drawn over, and where x, y on the ground lies in them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.raster.crs import reproject, same_crs
from roadseg.raster.files import open_raster
from roadseg.raster.grid import Grid
from roadseg.raster.picture import grey, preview_size
from roadseg.raster.probability import ProbabilityRaster
from roadseg.raster.road_raster import RoadRaster
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Backdrop:
    """A picture that roads are drawn over.

    Parameters
    ----------
    rgb
        (3, height, width) uint8.
    grid
        Where its pixels lie.
    crs
        CRS of the roads, where it differs from the picture's.
    """

    rgb: NDArray[np.uint8]
    grid: Grid
    crs: str | None = None

    def pixels(self, xy: Points) -> Points:
        """Return (n, 2) row, col in the picture of (n, 2) x, y of roads; whole numbers are the centres of pixels."""
        if self.crs is not None and self.grid.crs is not None:
            xy = reproject(xy, self.crs, self.grid.crs)
        col, row = ~self.grid.transform @ (xy[:, 0], xy[:, 1])
        return np.stack([row, col], axis=1) - 0.5

    def pixel_size(self) -> float:
        """Return the size of a pixel in the unit that roads are measured in."""
        return self.grid.mean_pixel_m() or 1.0


def open_backdrop(raster: ProbabilityRaster, image: Path | None) -> Backdrop:
    """Return an image as a backdrop for the roads of a raster, or the raster itself if there is none.

    Raises
    ------
    SceneError
        If the image cannot be read or lies elsewhere.
    """
    return _from_image(image, raster) if image else _from_raster(raster)


def _from_raster(raster: ProbabilityRaster) -> Backdrop:
    """Return the road probability in shades of grey as a backdrop."""
    height, width = preview_size(raster.source.height, raster.source.width)
    with RoadRaster(raster.path) as file:
        file.interpret_as(raster.kind)
        rgb = grey(*file.reduced(height, width))
    return Backdrop(rgb, raster.source.scaled(height, width))


def _from_image(image: Path, raster: ProbabilityRaster) -> Backdrop:
    """Return the part of an image that a raster of roads covers as a backdrop."""
    with Scene(str(image), _bands(image)) as scene:
        grid, own = scene.grid, raster.source
        if (grid.crs is None) != (own.crs is None):
            raise SceneError(f"{image} or {raster.path} has no CRS, so roads cannot be drawn over it; assign one")
        crs = own.crs if own.crs and grid.crs and not same_crs(own.crs, grid.crs) else None
        outline = np.array([own.transform @ corner for corner in _outline(own)])
        outline = reproject(outline, crs, grid.crs) if crs and grid.crs else outline
        (left, bottom), (right, top) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
        window = grid.window_of((left, bottom, right, top))
        if not window.area:
            raise SceneError(f"{image} shows other ground than {raster.path}; give the image it was made of")
        height, width = preview_size(window.height, window.width)
        return Backdrop(scene.picture(window, height, width), grid.cropped(window).scaled(height, width), crs)


def _bands(image: Path) -> SceneSettings:
    """Return how to read an image for display: in colour, or its first band if it has fewer than three."""
    with open_raster(image) as file:
        count = 3 if file.count >= 3 else 1
    return SceneSettings(any_gsd=True, band_count=count, fill=(0.0,) * count)


def _outline(grid: Grid) -> list[tuple[float, float]]:
    """Return points along the border of a grid, as (col, row): its sides may be curved in another CRS."""
    steps = np.linspace(0, 1, 9).tolist()
    across = [(step * grid.width, row) for step in steps for row in (0.0, float(grid.height))]
    return across + [(col, step * grid.height) for step in steps for col in (0.0, float(grid.width))]
