"""The area of interest in a scene: a rectangle, polygons, or all of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio.features
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from roadseg.errors import SceneError
from roadseg.raster.crs import parse_crs, reproject, same_crs, why_not
from roadseg.raster.encoding import NODATA
from roadseg.raster.grid import Grid
from roadseg.windows import Window, square_windows

Bounds = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax."""


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


_CELLS, _READ_PX, _LEAST_PX = 2048, 1024, 64
"""Cells along the longer side of a raster in which its valid ground is outlined, the side of a read, a least hole."""


def valid_ground(read: Callable[[Window], NDArray[np.uint8]], grid: Grid) -> Any:
    """Return the ground on which a raster is valid, a shapely geometry in its CRS; None where all of it is.

    Of a large raster it is made of cells of several pixels, those that are mostly valid. Specks do not count.

    Parameters
    ----------
    read
        Returns a window of the raster, (height, width) uint8, 255 for nodata.
    grid
        Its grid.
    """
    import shapely

    side = -(-max(grid.height, grid.width) // _CELLS)
    holes = np.zeros((-(-grid.height // side), -(-grid.width // side)), np.int64)
    for window in square_windows(grid.window, side * max(1, _READ_PX // side)):
        row, col = window.row // side, window.col // side
        counts = (read(window) == NODATA).astype(np.int64)
        for axis, size in enumerate(counts.shape):
            counts = np.add.reduceat(counts, np.arange(0, size, side), axis=axis)
        holes[row : row + counts.shape[0], col : col + counts.shape[1]] = counts
    valid, speck = (2 * holes < side**2).astype(np.uint8), _LEAST_PX // side**2
    if 1 < speck < valid.size:
        valid = rasterio.features.sieve(valid, speck)
    if valid.all():
        return None
    cells = grid.transform @ Affine.scale(side)
    outlines = rasterio.features.shapes(valid, mask=valid == 1, transform=cells)
    return shapely.union_all([shapely.geometry.shape(outline) for outline, _ in outlines])


def rectangle_area(grid: Grid, bounds: Bounds | None, name: str, crs: str | None = None) -> Area:
    """Return the area of a rectangle; None is the whole grid.

    Parameters
    ----------
    grid
        Grid of the scene.
    bounds
        xmin, ymin, xmax, ymax.
    name
        Name of the scene, for messages.
    crs
        CRS of the rectangle; None means the scene's. The area holds the whole rectangle, which another CRS may turn.

    Raises
    ------
    SceneError
        If it lies outside the scene, or cannot be reprojected to its CRS.
    """
    if bounds is None:
        return Area(grid.window)
    window = grid.window_of(bounds if crs is None else _reprojected_bounds(bounds, crs, grid, name))
    if not window.area:
        where = f"in {crs}" if crs else "in the scene's own coordinates, or with --bbox-crs"
        raise SceneError(f"the area lies outside {name}; give it {where} as xmin,ymin,xmax,ymax")
    return Area(window)


def _reprojected_bounds(bounds: Bounds, crs: str, grid: Grid, name: str) -> Bounds:
    if grid.crs is None:
        raise SceneError(f"{name} has no CRS, so --bbox-crs cannot place the area in it; leave it out")
    source = parse_crs(crs)
    try:
        found = rasterio.warp.transform_bounds(source, CRS.from_wkt(grid.crs), *bounds)
    except (CPLE_BaseError, CRSError, RasterioError) as error:
        said = f"the area cannot be reprojected to the CRS of {name} ({why_not(error)})"
        raise SceneError(f"{said}; give it in the scene's own coordinates") from error
    return found[0], found[1], found[2], found[3]


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
    import shapely

    if crs is not None and grid.crs is None:
        raise SceneError(
            f"{name} has no CRS, so the polygons cannot be placed in it; assign one with gdal_edit.py -a_srs, or give "
            "polygons in its own units and without a CRS"
        )
    if crs is not None and grid.crs is not None and not same_crs(crs, grid.crs):
        polygons = reproject_polygons(polygons, crs, grid.crs, grid.bounds(), name)
    window = grid.window_of(shapely.total_bounds(np.array(polygons, dtype=object)).tolist()) if polygons else None
    if window is None or not window.area:
        raise SceneError(
            f"the polygons lie outside {name}; choose others, or if their file states a wrong CRS mend it "
            "with ogr2ogr -a_srs"
        )
    return Area(window, tuple(polygons))


_MARGIN = 0.1
"""How far beyond a rectangle polygons are kept, as a share of its longer side; what lies further may have no place in
the CRS."""
_SEGMENTS = 100
"""Along a rectangle the sides of polygons get so many vertices: what is straight in one CRS is curved in another."""


def reproject_polygons(polygons: Sequence[Any], crs: str, target: str, bounds: Bounds, name: str) -> list[Any]:
    """Return the parts of polygons in and around a rectangle, in another CRS.

    Parameters
    ----------
    polygons
        shapely polygons.
    crs, target
        Their CRS, and the one to return them in.
    bounds
        The rectangle in ``target``.
    name
        What lies there, for messages.

    Raises
    ------
    SceneError
        If a CRS is unknown, or they cannot be reprojected.
    """
    import shapely

    xmin, ymin, xmax, ymax = bounds
    beyond = _MARGIN * max(xmax - xmin, ymax - ymin)
    around = (xmin - beyond, ymin - beyond, xmax + beyond, ymax + beyond)
    try:
        left, low, right, high = rasterio.warp.transform_bounds(parse_crs(target), parse_crs(crs), *around)
        if left > right:  # across the antimeridian
            left, right = -180.0, 180.0
        near: NDArray[np.object_] = shapely.intersection(
            np.array(polygons, dtype=object), shapely.box(left, low, right, high)
        )
        near = shapely.segmentize(shapely.get_parts(near), max(right - left, high - low) / _SEGMENTS)
        near = near[(shapely.get_dimensions(near) == 2) & ~shapely.is_empty(near)]
        return list(shapely.transform(near, lambda xy: reproject(xy, crs, target)))
    except (CPLE_BaseError, CRSError, RasterioError, shapely.GEOSException, SceneError) as error:
        raise SceneError(
            f"the polygons cannot be reprojected to the CRS of {name} ({why_not(error)}); reproject them first, "
            "with ogr2ogr -t_srs"
        ) from error
