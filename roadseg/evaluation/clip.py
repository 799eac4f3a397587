"""Lines cut at the border of a shape."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def line_strings(lines: Sequence[Floats]) -> NDArray[np.object_]:
    """Return (lines,) shapely LineStrings of at least one line of (vertices, 2) x, y each."""
    of_vertex = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    strings: NDArray[np.object_] = shapely.linestrings(np.concatenate(lines), indices=of_vertex)
    return strings


def clip(lines: Sequence[Floats], shape: Any) -> tuple[list[Floats], NDArray[np.intp]]:
    """Return the parts of lines inside a shape, and which line each is of; lines wholly inside stay as they are.

    Parameters
    ----------
    lines
        (vertices, 2) float64 x, y each.
    shape
        A shapely geometry with an area, in the same CRS.
    """
    if not lines:
        return [], np.zeros(0, np.intp)
    strings = line_strings(lines)
    shapely.prepare(shape)
    inside = shapely.contains_properly(shape, strings)
    cut = np.where(inside, strings, shapely.intersection(strings, shape))
    parts, row = shapely.get_parts(cut, return_index=True)
    are_lines = (shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING) & ~shapely.is_empty(parts)
    return [shapely.get_coordinates(part) for part in parts[are_lines]], row[are_lines]
