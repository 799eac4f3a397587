"""A CRS in which lengths are true metres on the ground.

A projected CRS whose unit is a metre on the ground, to two parts in a thousand where the roads lie, is used
directly. All others (degrees, feet, the stretched metres of Web Mercator) are reprojected to an azimuthal
equidistant projection around the roads, which is true to 1 in 10,000 within 150 km.
"""

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from roadseg.raster.crs import DEGREES, parse_crs, reproject
from roadseg.raster.grid import Grid

_TOLERANCE = 2e-3

Lines = list[NDArray[np.float64]]


@dataclass(frozen=True)
class MetricCRS:
    """The CRS that lengths are measured in, and a description of it; None if coordinates are assumed to be metres."""

    crs: str | None
    description: str


def choose_metric_crs(lines: Lines, crs: str | None) -> MetricCRS:
    """Choose a CRS to measure roads in.

    Parameters
    ----------
    lines
        (vertices, 2) x, y in ``crs``; a projection is centred on them.
    crs
        Any name PROJ understands, or None.

    Raises
    ------
    SceneError
        If the CRS is unknown or does not cover the lines.
    """
    if crs is None:
        return MetricCRS(None, "coordinates as they are, taken for metres (no CRS)")
    known = parse_crs(crs)
    xy = np.concatenate([np.zeros((0, 2)), *lines])
    if not len(xy):
        return MetricCRS(crs, known.to_string())
    x, y = ((xy.min(axis=0) + xy.max(axis=0)) / 2).tolist()
    if not known.is_geographic and _is_true(known, x, y):
        return MetricCRS(crs, known.to_string())
    lon, lat = reproject(np.array([[x, y]]), crs, DEGREES)[0].tolist()
    west, east = reproject(np.array([[xy[:, 0].min(), y], [xy[:, 0].max(), y]]), crs, DEGREES)[:, 0].tolist()
    if east - west > 180:  # on both sides of the antimeridian
        lons = reproject(xy, crs, DEGREES)[:, 0] % 360
        lon = math.remainder((lons.min() + lons.max()) / 2, 360)
    local = f"+proj=aeqd +lat_0={lat:.6f} +lon_0={lon:.6f} +datum=WGS84 +units=m +no_defs"
    return MetricCRS(local, f"azimuthal equidistant projection around {lat:.4f}, {lon:.4f}")


def to_metres(lines: Lines, crs: str | None, metric: MetricCRS) -> Lines:
    """Return lines in metres on the ground; without a CRS on either side they stay unchanged.

    Raises
    ------
    SceneError
        If a CRS is unknown or does not cover a vertex.
    """
    if crs is None or metric.crs is None or not lines or crs == metric.crs:
        return lines
    xy = reproject(np.concatenate(lines), crs, metric.crs)
    return np.split(xy, np.cumsum([len(line) for line in lines])[:-1])


def _is_true(crs: CRS, x: float, y: float) -> bool:
    """Return whether a step of 100 units measures 100 m in both directions."""
    pixel = Grid(crs.to_wkt(), Affine(100, 0, x - 50, 0, -100, y + 50), 1, 1).pixel_size_m()
    return pixel is not None and all(abs(size / 100 - 1) <= _TOLERANCE for size in pixel)
