"""A picture of roads over the raster they were made of, or over imagery, at most 2,000 px wide."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.raster.crs import reproject, same_crs
from roadseg.raster.files import open_raster
from roadseg.raster.grid import Grid
from roadseg.raster.picture import draw_areas, draw_lines, grey, preview_size
from roadseg.raster.probability import ProbabilityRaster
from roadseg.raster.road_raster import RoadRaster
from roadseg.raster.scene import Scene, SceneSettings
from roadseg.roads.network import RoadAreas, RoadNetwork

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Backdrop:
    """What roads are drawn over.

    Parameters
    ----------
    rgb
        (3, height, width) uint8.
    grid
        Where its pixels lie.
    crs
        Of the roads, if that is another one.
    """

    rgb: NDArray[np.uint8]
    grid: Grid
    crs: str | None = None

    def places(self, xy: Points) -> Points:
        """Return (n, 2) row, col in the picture of x, y of roads; whole numbers are the middles of pixels."""
        if self.crs is not None and self.grid.crs is not None:
            xy = reproject(xy, self.crs, self.grid.crs)
        col, row = ~self.grid.transform @ (xy[:, 0], xy[:, 1])
        return np.stack([row, col], axis=1) - 0.5

    def pixel(self) -> float:
        """Return the size of a pixel in the unit that roads are measured in."""
        sizes = self.grid.pixel_size_m() or (1.0, 1.0)
        return float(np.sqrt(sizes[0] * sizes[1]))


def over_raster(levels: ProbabilityRaster) -> Backdrop:
    """Return the road probability as a backdrop."""
    height, width = preview_size(levels.source.height, levels.source.width)
    with RoadRaster(levels.path) as raster:
        raster.interpret_as(levels.kind)
        rgb = grey(*raster.reduced(height, width))
    return Backdrop(rgb, levels.source.scaled(height, width))


def over_image(image: Path, levels: ProbabilityRaster) -> Backdrop:
    """Return the part of an image that a raster of roads covers as a backdrop.

    Raises
    ------
    SceneError
        If it cannot be read or lies elsewhere.
    """
    with Scene(str(image), _bands(image)) as scene:
        grid, own = scene.grid, levels.source
        if (grid.crs is None) != (own.crs is None):
            raise SceneError(f"{image} or {levels.path} has no CRS, so roads cannot be drawn over it; assign one")
        crs = own.crs if own.crs and grid.crs and not same_crs(own.crs, grid.crs) else None
        corners = np.array([own.transform @ place for place in _rim(own)])
        corners = reproject(corners, crs, grid.crs) if crs and grid.crs else corners
        (left, low), (right, high) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        window = grid.window_of((left, low, right, high))
        if not window.area:
            raise SceneError(f"{image} shows other ground than {levels.path}; give the image it was made of")
        height, width = preview_size(window.height, window.width)
        return Backdrop(scene.picture(window, height, width), grid.cropped(window).scaled(height, width), crs)


def draw(roads: RoadNetwork | RoadAreas, backdrop: Backdrop) -> NDArray[np.uint8]:
    """Return a picture of roads, (3, height, width) uint8."""
    if isinstance(roads, RoadAreas):
        if not len(roads):
            return draw_areas(backdrop.rgb, np.zeros((0, 2)), np.zeros(1, dtype=np.int64))
        _, xy, (rings, _) = shapely.to_ragged_array(roads.polygons)
        return draw_areas(backdrop.rgb, backdrop.places(xy), np.asarray(rings, dtype=np.int64))
    nodes = backdrop.places(roads.nodes)
    return draw_lines(
        backdrop.rgb,
        backdrop.places(roads.vertices),
        roads.starts,
        width_px=roads.width_m / backdrop.pixel(),
        inferred=roads.inferred,
        junctions=nodes[roads.degree >= 3],
        dead_ends=nodes[(roads.degree == 1) & ~roads.at_border],
    )


def _bands(image: Path) -> SceneSettings:
    """Return how an image is read for people: in colours, or its first band if it has fewer than three."""
    with open_raster(image) as file:
        count = 3 if file.count >= 3 else 1
    return SceneSettings(any_gsd=True, band_count=count, fill=(0.0,) * count)


def _rim(grid: Grid) -> list[tuple[float, float]]:
    """Return points on the border of a grid, as (col, row)."""
    steps = np.linspace(0, 1, 9).tolist()
    across = [(step * grid.width, row) for step in steps for row in (0.0, float(grid.height))]
    return across + [(col, step * grid.height) for step in steps for col in (0.0, float(grid.width))]
