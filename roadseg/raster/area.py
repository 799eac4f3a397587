"""The area of interest in a scene: a rectangle, polygons, or all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio.features
import rasterio.warp
import shapely
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from roadseg.errors import SceneError
from roadseg.raster.grid import Grid
from roadseg.windows import Window


@dataclass(frozen=True)
class Area:
    """An area of interest.

    Parameters
    ----------
    window
        Bounding rectangle in pixels of the scene's grid.
    polygons
        Polygons in the scene's CRS; None is the whole rectangle.
    """

    window: Window
    polygons: tuple[Any, ...] | None = None

    def covers(self, grid: Grid, window: Window) -> NDArray[np.bool_] | None:
        """Return which pixels of a window have their centre in a polygon, (height, width) bool.

        None means all of them.
        """
        if self.polygons is None:
            return None
        part = grid.cropped(window)
        inside: NDArray[np.uint8] = rasterio.features.rasterize(
            self.polygons,
            out_shape=(window.height, window.width),
            transform=part.transform,
            fill=0,
            default_value=1,
            dtype="uint8",
        )
        return inside.astype(np.bool_)


def rectangle_area(grid: Grid, bounds: tuple[float, float, float, float] | None, name: str) -> Area:
    """Return the area of a rectangle (xmin, ymin, xmax, ymax) in the grid's CRS; None is the whole grid.

    Raises
    ------
    SceneError
        If it lies outside the scene called ``name``.
    """
    if bounds is None:
        return Area(grid.window)
    window = grid.window_of(bounds)
    if not window.area:
        raise SceneError(f"the area lies outside {name}; give it in the scene's own coordinates as xmin,ymin,xmax,ymax")
    return Area(window)


def polygon_area(grid: Grid, polygons: Sequence[Any], crs: str | None, name: str) -> Area:
    """Return the area of polygons in any CRS.

    Parameters
    ----------
    grid
        Grid of the scene.
    polygons
        shapely polygons.
    crs
        CRS of the polygons; None means the scene's.
    name
        Name of the scene, for messages.

    Raises
    ------
    SceneError
        If they lie outside the scene, or cannot be reprojected to its CRS.
    """
    if crs is not None and grid.crs is None:
        raise SceneError(f"{name} has no CRS, so the polygons cannot be placed in it; use --bbox in its own units")
    if crs is not None and grid.crs is not None:
        try:
            source, target = CRS.from_user_input(crs), CRS.from_wkt(grid.crs)
            if source != target:
                polygons = [
                    shapely.geometry.shape(rasterio.warp.transform_geom(source, target, p.__geo_interface__))
                    for p in polygons
                ]
        except (CPLE_BaseError, CRSError, RasterioError) as error:
            raise SceneError(f"the polygons cannot be reprojected to the CRS of {name}: {error}") from error
    bounds = tuple(float(v) for v in shapely.total_bounds(np.array(polygons, dtype=object)))
    box = rectangle_area(grid, (bounds[0], bounds[1], bounds[2], bounds[3]), name)
    return Area(box.window, tuple(polygons))
