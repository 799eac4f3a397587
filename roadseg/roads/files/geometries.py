"""Geometries as files hold them: damaged lines, and lines and polygons in collections."""

import struct
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

LINES = (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING)
POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)

_LINE, _MULTILINE = 2, 5
"""Codes of the kinds of geometry that are looked into."""

_HEAD_BYTES, _VERTEX_BYTES = 9, 16
"""Byte order, kind and count before what is counted; x and y."""


def from_wkb(wkb: NDArray[Any]) -> NDArray[np.object_]:
    """Return shapely geometries, with empty ones for lines of one vertex, which GEOS refuses and no road is.

    Map editors and GPS devices leave such behind.

    Parameters
    ----------
    wkb
        Bytes or None each, of two dimensions and in little-endian order where there are such lines.

    Raises
    ------
    shapely.errors.GEOSException
        If another geometry is damaged.
    """
    geometries: NDArray[np.object_] = shapely.from_wkb(wkb, on_invalid="ignore")
    for row in np.flatnonzero(shapely.is_missing(geometries)).tolist():
        if wkb[row] is not None:
            geometries[row] = shapely.from_wkb(_without_points(wkb[row]))
    return geometries


def _without_points(wkb: bytes) -> bytes:
    """Return a line without its vertex if it has but one, or lines without those; anything else as it is."""
    try:
        order, kind, count = struct.unpack_from("<BII", wkb)
        if order != 1 or kind not in (_LINE, _MULTILINE):
            return wkb
        if kind == _LINE:
            return struct.pack("<BII", 1, _LINE, 0) if count == 1 else wkb
        parts, at = [], _HEAD_BYTES
        for _ in range(count):
            vertices = struct.unpack_from("<BII", wkb, at)[2]
            end = at + _HEAD_BYTES + vertices * _VERTEX_BYTES
            parts += [wkb[at:end]] if vertices != 1 else []
            at = end
        return struct.pack("<BII", 1, _MULTILINE, len(parts)) + b"".join(parts)
    except struct.error:  # cut off
        return wkb


def out_of_collections(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return geometries with the lines of each collection in its place, else its polygons: clipping leaves such."""
    for row in np.flatnonzero(shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION).tolist():
        parts = shapely.get_parts(geometries[row])
        lines, polygons = of_kinds(parts, LINES), of_kinds(parts, POLYGONS)
        if len(lines):
            geometries[row] = shapely.multilinestrings(shapely.get_parts(lines))
        elif len(polygons):
            geometries[row] = shapely.multipolygons(shapely.get_parts(polygons))
    return geometries


def of_kinds(geometries: NDArray[np.object_], kinds: tuple[shapely.GeometryType, ...]) -> NDArray[np.object_]:
    """Return the geometries of some kinds that are not empty."""
    wanted = np.isin(shapely.get_type_id(geometries), kinds) & ~shapely.is_empty(geometries)
    chosen: NDArray[np.object_] = geometries[wanted]
    return chosen
