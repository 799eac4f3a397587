"""Geometries from well-known binary, without the lines of one vertex that map editors and GPS devices leave behind."""

import struct
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

_LINE, _MULTILINE = 2, 5
"""Codes of the kinds of geometry that are looked into."""

_HEAD_BYTES, _VERTEX_BYTES = 9, 16
"""Byte order, kind and count before what is counted; x and y."""


def from_wkb(wkb: NDArray[Any]) -> NDArray[np.object_]:
    """Return shapely geometries, with empty ones for lines of one vertex, which GEOS refuses and no road is.

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
