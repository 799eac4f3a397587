"""Coordinate reference systems (CRS): reading their names, and reprojecting coordinates from one to another."""

import math
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from roadseg.errors import SceneError, one_line

DEGREES = "EPSG:4326"
"""Longitude and latitude in WGS 84."""

_WEB_MERCATOR, _WEB_MERCATOR_RADIUS_M = "EPSG:3857", 6_378_137.0

_CHUNK = 1 << 18

Points = NDArray[np.float64]


def parse_crs(name: str) -> CRS:
    """Return a CRS by any name PROJ understands: an authority code, well-known text, a PROJ string.

    Raises
    ------
    SceneError
        If the name is unknown.
    """
    try:
        with rasterio.Env():  # without one GDAL prints to the terminal
            return CRS.from_user_input(name)
    except CRSError as error:
        raise SceneError(f"the CRS {name[:60]} is not known; name one such as EPSG:25832") from error


def is_in_degrees(name: str) -> bool:
    """Return whether the coordinates of a CRS are longitude and latitude."""
    return bool(parse_crs(name).is_geographic)


def is_horizontal(name: str) -> bool:
    """Return whether the coordinates of a CRS are x and y on a map; not so if it is geocentric, or of heights alone."""
    known = parse_crs(name)
    return bool(known.is_geographic or known.is_projected)


def reproject(xy: Points, source: str, target: str) -> Points:
    """Reproject (n, 2) x, y from one CRS to another; equal points stay equal, bit for bit.

    Raises
    ------
    SceneError
        If a CRS is unknown or does not cover a point.
    """
    source_crs, target_crs = parse_crs(source), parse_crs(target)
    projected = np.empty_like(xy)
    for first in range(0, len(xy), _CHUNK):
        part = slice(first, first + _CHUNK)
        try:
            projected[part] = np.stack(
                rasterio.warp.transform(source_crs, target_crs, xy[part, 0], xy[part, 1]), axis=1
            )
        except (CPLE_BaseError, RasterioError, ValueError) as error:
            raise SceneError(
                f"coordinates cannot be reprojected to {target[:60]} ({why_not(error)}); choose another CRS"
            ) from error
    if not np.isfinite(projected).all():
        raise SceneError(f"some coordinates lie outside {target[:60]}; choose another CRS")
    return projected


def why_not(error: BaseException) -> str:
    """Return what GDAL says about coordinates that it cannot reproject, without both CRSs, each a page long."""
    return one_line(error).partition(" from '")[0]


def world_width(crs: str) -> float:
    """Return by how much x grows once around the world: in degrees and in Web Mercator; infinite in other CRSs."""
    if is_in_degrees(crs):
        return 360.0
    return 2 * math.pi * _WEB_MERCATOR_RADIUS_M if same_crs(crs, _WEB_MERCATOR) else math.inf


def with_x_near(xy: Points, crs: str, x: float) -> Points:
    """Return (n, 2) x, y, of the places that come again around the world those nearest to x."""
    width = world_width(crs)
    turns = np.rint((x - xy[:, 0]) / width)
    return np.column_stack([xy[:, 0] + width * turns, xy[:, 1]]) if turns.any() else xy


def crs_wkt(name: str) -> str:
    """Return the well-known text of a CRS by any name PROJ understands.

    Raises
    ------
    SceneError
        If the name is unknown.
    """
    return str(parse_crs(name).to_wkt())


def projjson(name: str) -> dict[str, Any]:
    """Return a CRS as PROJJSON."""
    return dict(parse_crs(name).to_dict(projjson=True))


def same_crs(one: str, other: str) -> bool:
    """Return whether two names mean the same CRS."""
    return bool(parse_crs(one) == parse_crs(other))
