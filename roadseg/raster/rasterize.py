"""Rasterizing vector roads to a mask: a pixel is road if its centre lies within half the road's width of the line.

Widths are true metres on the ground whatever the CRS of lines and raster: lines are buffered in a metric projection at
the raster, and the outlines reprojected to its pixels. Long segments are divided first, because a straight line in
one CRS is curved in another. The mask is written block by block, so memory does not depend on its size.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import rasterio.warp
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from roadseg.errors import OutputError, SceneError
from roadseg.files.outputs import publish
from roadseg.raster.cog import check_complete
from roadseg.raster.crs import crs_wkt, reproject, same_crs, why_not
from roadseg.raster.encoding import byte_profile
from roadseg.raster.files import create_raster
from roadseg.raster.grid import Grid, units_per_metre
from roadseg.raster.metric_crs import choose_metric_crs
from roadseg.windows import Window, square_windows

Geometries = NDArray[np.object_]

_BLOCK_PX = 4096
_SEGMENT_M = 250.0


def near(geometries: Geometries, crs: str | None, grid: Grid, *, reach_m: float) -> NDArray[np.intp]:
    """Return the indices of the geometries near a grid, in ascending order.

    Parameters
    ----------
    geometries
        Lines or polygons.
    crs
        CRS of the geometries; None if neither they nor the grid have one.
    grid
        Grid of the raster.
    reach_m
        Margin around the grid in metres.

    Raises
    ------
    SceneError
        If only one side has a CRS, or the grid cannot be reprojected to the other CRS.
    """
    return np.sort(shapely.STRtree(geometries).query(shapely.box(*box_in(grid, crs, reach_m=reach_m))))


def box_in(grid: Grid, crs: str | None, *, reach_m: float) -> tuple[float, float, float, float]:
    """Return the rectangle (xmin, ymin, xmax, ymax) around a grid, with a margin, in another CRS.

    Raises
    ------
    SceneError
        If only one side has a CRS, or the grid cannot be reprojected to the other CRS.
    """
    if (crs is None) != (grid.crs is None):
        lacking = "the labels have no CRS and the image has one" if crs is None else "the image has no CRS"
        raise SceneError(
            f"{lacking}, so labels cannot be placed on it; assign one, with ogr2ogr -a_srs or gdal_edit.py"
        )
    xmin, ymin, xmax, ymax = grid.bounds()
    if crs is not None and grid.crs is not None and not same_crs(crs, grid.crs):
        try:
            xmin, ymin, xmax, ymax = rasterio.warp.transform_bounds(grid.crs, crs, xmin, ymin, xmax, ymax)
        except (CPLE_BaseError, RasterioError) as error:
            raise SceneError(
                f"the image cannot be reprojected to the CRS of the labels ({why_not(error)}); check both"
            ) from error
    away = reach_m * _units_per_metre(crs, (xmin + xmax) / 2, (ymin + ymax) / 2)
    return xmin - away, ymin - away, xmax + away, ymax + away


def write_mask(
    path: Path,
    grid: Grid,
    geometries: Geometries,
    widths_m: NDArray[np.float64],
    crs: str | None,
    tags: Mapping[str, str],
    choose: Callable[[Geometries], Sequence[Window]] | None = None,
) -> list[Window]:
    """Rasterize roads to a mask file, 1 road and 0 not road, which appears whole or not at all.

    Parameters
    ----------
    path, grid
        Path and grid of the mask.
    geometries
        Lines to buffer; polygons are used directly.
    widths_m
        Whole width of each line in metres.
    crs
        CRS of the geometries.
    tags
        Metadata of the mask.
    choose
        Returns the windows to draw, given the outlines of the roads in pixels; the rest of the mask is void. None draws
        everything.

    Returns
    -------
    The windows drawn.

    Raises
    ------
    OutputError
        If it cannot be written.
    SceneError
        If the geometries cannot be reprojected to the grid.
    """
    areas = road_outlines(geometries, widths_m, crs, grid)
    tree = shapely.STRtree(areas)
    windows = list(square_windows(grid.window, _BLOCK_PX) if choose is None else choose(areas))
    with new_mask(path, grid, tags) as write:
        for window in windows:
            here = areas[tree.query(shapely.box(window.col, window.row, window.col_stop, window.row_stop))]
            write(window, _burnt(here, window.row, window.col, (window.height, window.width)))
    return windows


@contextmanager
def new_mask(path: Path, grid: Grid, tags: Mapping[str, str]) -> Iterator[Callable[[Window, NDArray[np.uint8]], None]]:
    """Context manager that yields a function to write windows of a mask file with; the rest of it is void.

    The file appears whole, once all is written, or not at all.

    Parameters
    ----------
    path, grid, tags
        Path, grid and metadata of the mask.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    draft = path.with_name(f".{path.stem}.{os.getpid()}.tif")
    try:
        with create_raster(draft, {**byte_profile(grid), "sparse_ok": True}) as file:
            file.update_tags(**tags)

            def write(window: Window, label: NDArray[np.uint8]) -> None:
                place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
                file.write(label, 1, window=place)

            yield write
        check_complete(draft)
        publish(draft, path)
    except (RasterioError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {path} ({reason}); make room or choose another --cache") from error
    finally:
        draft.unlink(missing_ok=True)


def road_outlines(geometries: Geometries, widths_m: NDArray[np.float64], crs: str | None, grid: Grid) -> Geometries:
    """Return the outlines of roads in pixels of a grid, x for columns and y for rows.

    Parameters
    ----------
    geometries
        (n,) lines, which are buffered, and polygons, which are used directly.
    widths_m
        (n,) float64 whole width of the lines in metres.
    crs
        CRS of the geometries; None leaves them where they are.
    grid
        Grid of the raster.

    Raises
    ------
    SceneError
        If they cannot be reprojected.
    """
    if not len(geometries):
        return geometries
    xmin, ymin, xmax, ymax = grid.bounds()
    ground = choose_metric_crs([np.array([[xmin, ymin], [xmax, ymax]])], grid.crs).crs
    left, low, right, high = shapely.total_bounds(geometries).tolist()
    lines = shapely.segmentize(geometries, _SEGMENT_M * _units_per_metre(crs, (left + right) / 2, (low + high) / 2))
    metric = _reprojected(lines, crs, ground)
    is_line = shapely.get_dimensions(metric) == 1
    half = np.where(is_line, widths_m / 2, 0.0)
    wide = shapely.buffer(metric, half, quad_segs=8)
    if grid.crs is not None:
        wide = _reprojected(wide, ground, grid.crs)
    to_pixels = ~grid.transform
    matrix = np.array([[to_pixels.a, to_pixels.b], [to_pixels.d, to_pixels.e]])
    shift = np.array([to_pixels.c, to_pixels.f])
    placed: Geometries = shapely.transform(wide, lambda xy: xy @ matrix.T + shift)
    return placed


def _burnt(areas: Geometries, row: int, col: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if not len(areas):
        return np.zeros(shape, dtype=np.uint8)
    burnt: NDArray[np.uint8] = rasterio.features.rasterize(
        areas, out_shape=shape, transform=Affine.translation(col, row), fill=0, default_value=1, dtype="uint8"
    )
    return burnt


def _reprojected(geometries: Geometries, source: str | None, target: str | None) -> Geometries:
    """Reproject geometries; without a CRS on either side they stay unchanged."""
    if source is None or target is None or same_crs(source, target):
        return geometries
    reprojected: Geometries = shapely.transform(geometries, lambda xy: reproject(xy, source, target))
    return reprojected


def _units_per_metre(crs: str | None, x: float, y: float) -> float:
    """Return the units of a CRS per metre on the ground at a place, the larger of both axes."""
    return max(units_per_metre(crs_wkt(crs), x, y) or (1.0, 1.0)) if crs else 1.0
