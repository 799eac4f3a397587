"""Coordinates in any CRS become metres on the ground.

A projected CRS whose unit is a metre on the ground, to two parts in a thousand where the roads lie, is
used as it is. All others (degrees, feet, the stretched metres of web mercator) are carried to an
azimuthal equidistant projection around the roads, which is true to 1 in 10,000 within 150 km.
"""

import math
from dataclasses import dataclass

import numpy as np
import rasterio.warp
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from roadseg.errors import SceneError
from roadseg.raster.grid import Grid

_TRUE = 2e-3

Lines = list[NDArray[np.float64]]


@dataclass(frozen=True)
class MetricCRS:
    """Where lengths are measured: a CRS in metres, or None where coordinates are metres by assumption."""

    crs: str | None
    name: str


def choose_metric_crs(lines: Lines, crs: str | None) -> MetricCRS:
    """Choose where to measure roads.

    Parameters
    ----------
    lines
        (vertices, 2) x, y in ``crs``; the middle of them settles the projection.
    crs
        Anything GDAL understands, or None.

    Raises
    ------
    SceneError
        If the CRS is unknown or does not hold the lines.
    """
    if crs is None:
        return MetricCRS(None, "coordinates as they are, taken for metres (no CRS)")
    known = _crs(crs)
    xy = np.concatenate([np.zeros((0, 2)), *lines])
    if not len(xy):
        return MetricCRS(crs, known.to_string())
    x, y = ((xy.min(axis=0) + xy.max(axis=0)) / 2).tolist()
    if not known.is_geographic and _is_true(known, x, y):
        return MetricCRS(crs, known.to_string())
    lon, lat = _carry(np.array([[x, y]]), known, CRS.from_epsg(4326))[0].tolist()
    local = f"+proj=aeqd +lat_0={lat:.6f} +lon_0={lon:.6f} +datum=WGS84 +units=m +no_defs"
    return MetricCRS(local, f"azimuthal equidistant projection around {lat:.4f}, {lon:.4f}")


def to_metres(lines: Lines, crs: str | None, ground: MetricCRS) -> Lines:
    """Return lines in metres on the ground; a missing CRS on either side leaves them as they are.

    Raises
    ------
    SceneError
        If a CRS is unknown or a vertex cannot be carried over.
    """
    if crs is None or ground.crs is None or not lines or crs == ground.crs:
        return lines
    xy = _carry(np.concatenate(lines), _crs(crs), _crs(ground.crs))
    return np.split(xy, np.cumsum([len(line) for line in lines])[:-1])


def _is_true(crs: CRS, x: float, y: float) -> bool:
    """Say whether a step of 100 units is one of 100 m in both directions."""
    from affine import Affine

    pixel = Grid(crs.to_wkt(), Affine(100, 0, x - 50, 0, -100, y + 50), 1, 1).pixel_size_m()
    return pixel is not None and all(abs(size / 100 - 1) <= _TRUE for size in pixel)


def _carry(xy: NDArray[np.float64], source: CRS, target: CRS) -> NDArray[np.float64]:
    try:
        x, y = rasterio.warp.transform(source, target, xy[:, 0].tolist(), xy[:, 1].tolist())
    except (RasterioError, ValueError) as error:
        raise SceneError(f"coordinates cannot be carried to metres ({error}); check the CRS of the file") from error
    carried = np.stack([x, y], axis=1)
    if not all(map(math.isfinite, carried.ravel().tolist())):
        raise SceneError("coordinates lie outside their CRS; check the CRS of the file")
    return carried


def _crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise SceneError(f"the CRS {text[:60]} is not known to GDAL; assign another one") from error
