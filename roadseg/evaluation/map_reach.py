"""How far a comparison reaches: the rectangle outside of which nothing of a map is read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.raster.crs import reproject, same_crs, world_width
from roadseg.raster.grid import units_per_metre
from roadseg.roads.files.layers import Box, Within
from roadseg.roads.files.read import read_polygons

Floats = NDArray[np.float64]

_STEPS = 32
"""Into how many steps a side of a rectangle is split to be reprojected."""

_SLACK = 0.05
"""What a reprojected rectangle is made wider by on each side, as a share: its sides are curved."""


def box_around(bounds: Sequence[float], crs: str | None, reach_m: float) -> shapely.Polygon:
    """Return a rectangle (xmin, ymin, xmax, ymax) that is wider by some metres on all sides."""
    xmin, ymin, xmax, ymax = bounds
    middle = (xmin + xmax) / 2, (ymin + ymax) / 2
    x, y = (reach_m * units for units in (crs and units_per_metre(crs, *middle)) or (1.0, 1.0))
    return shapely.box(xmin - x, ymin - y, xmax + x, ymax + y)


def surroundings(lines: Sequence[Floats], crs: str | None, reach_m: float) -> shapely.Polygon | None:
    """Return the rectangle around lines and what lies within reach of them, None without any."""
    if not lines:
        return None
    xy = np.concatenate(lines)
    return box_around((*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()), crs, reach_m)


def reach_of(lines: Sequence[Floats], crs: str | None, area: Path | None, buffer_m: float) -> Within:
    """Return a function from the CRS of a map to the rectangle in it that may be compared; None for everywhere.

    Parameters
    ----------
    lines, crs
        Predicted roads, (vertices, 2) float64 x, y each, and their CRS.
    area
        File with the area of interest, if there is one.
    buffer_m
        How far apart two lines match.
    """

    def in_crs(target: str | None) -> Box | None:
        shape, own = surroundings(lines, crs, 3 * buffer_m), crs
        if area:
            polygons, own = read_polygons(area)
            own = own or crs
            shape = box_around(shapely.total_bounds(polygons).tolist(), own, 3 * buffer_m)
        return _bounds_in(shape, own, target) if shape is not None else None

    return in_crs


def _bounds_in(shape: shapely.Polygon, crs: str | None, target: str | None) -> Box | None:
    """Return the bounds of a rectangle in another CRS; None where there are none, or they reach around the world."""
    if crs is None or target is None:
        return None if crs != target else shape.bounds
    longest = np.ptp(shapely.get_coordinates(shape), axis=0).max()
    outline = shapely.get_coordinates(shapely.segmentize(shape, longest / _STEPS))
    if not same_crs(crs, target):
        try:
            outline = reproject(outline, crs, target)
        except SceneError:
            return None
    low, high = outline.min(axis=0), outline.max(axis=0)
    slack = _SLACK * (high - low).max()
    (xmin, ymin), (xmax, ymax) = (low - slack).tolist(), (high + slack).tolist()
    half_world = world_width(target) / 2
    return (xmin, ymin, xmax, ymax) if -half_world < xmin and xmax < half_world else None
