"""Coordinate reference systems: coordinates carried from one to another, and their names."""

from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from roadseg.errors import SceneError

DEGREES = "EPSG:4326"
"""Longitude and latitude in WGS 84."""

_AT_ONCE = 1 << 18

Points = NDArray[np.float64]


def reproject(xy: Points, source: str, target: str) -> Points:
    """Carry (n, 2) x, y from one CRS to another; equal points stay equal, bit for bit.

    Raises
    ------
    SceneError
        If one of them is not known or a point lies outside it.
    """
    here, there = _crs(source), _crs(target)
    carried = np.empty_like(xy)
    for first in range(0, len(xy), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        try:
            carried[part] = np.stack(rasterio.warp.transform(here, there, xy[part, 0], xy[part, 1]), axis=1)
        except (CPLE_BaseError, RasterioError, ValueError) as error:
            raise SceneError(f"coordinates cannot be carried to {target[:60]} ({error}); choose another CRS") from error
    if not np.isfinite(carried).all():
        raise SceneError(f"some coordinates lie outside {target[:60]}; choose another CRS")
    return carried


def crs_wkt(name: str) -> str:
    """Return the well-known text of a CRS by any name PROJ understands.

    Raises
    ------
    SceneError
        If it is not known.
    """
    return str(_crs(name).to_wkt())


def projjson(name: str) -> dict[str, Any]:
    """Return a CRS as PROJJSON."""
    return dict(_crs(name).to_dict(projjson=True))


def same_crs(one: str, other: str) -> bool:
    """Say whether two names mean one CRS."""
    return bool(_crs(one) == _crs(other))


def _crs(name: str) -> CRS:
    try:
        with rasterio.Env():  # without one GDAL talks to the terminal
            return CRS.from_user_input(name)
    except CRSError as error:
        raise SceneError(f"the CRS {name[:60]} is not known; name one such as EPSG:25832") from error
