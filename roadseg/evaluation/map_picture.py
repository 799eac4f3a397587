"""The picture of a comparison with a map: lines in a colour each on white, the most important ones on top."""

from collections.abc import Sequence

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.raster.picture import as_png

Colour = tuple[int, int, int]

_SIDE_PX = 2000
_MARGIN_PX = 20
_LINE_PX = 4
_FRACTION_BITS = 4


def draw_difference(groups: Sequence[tuple[NDArray[np.object_], Colour]]) -> bytes:
    """Draw groups of lines, the last one on top.

    Parameters
    ----------
    groups
        (lines,) shapely lines in one CRS, and their colour as red, green, blue.

    Returns
    -------
    A PNG, north up, at most 2,000 px wide and high.
    """
    everything = np.concatenate([lines for lines, _ in groups])
    if not len(everything):
        return as_png(np.full((3, _SIDE_PX // 4, _SIDE_PX // 4), 255, np.uint8))
    left, bottom, right, top = shapely.total_bounds(everything)
    scale = (_SIDE_PX - 2 * _MARGIN_PX) / max(right - left, top - bottom, 1e-9)
    height, width = (round(size * scale) + 2 * _MARGIN_PX for size in (top - bottom, right - left))
    picture = np.full((height, width, 3), 255, np.uint8)
    for lines, colour in groups:
        xy, line = shapely.get_coordinates(lines, return_index=True)
        pixels = np.column_stack([xy[:, 0] - left, top - xy[:, 1]]) * scale + _MARGIN_PX
        fixed = np.rint(pixels * 2**_FRACTION_BITS).astype(np.int32)
        parts = np.split(fixed, np.flatnonzero(np.diff(line)) + 1) if len(fixed) else []
        cv2.polylines(picture, parts, False, colour, _LINE_PX, cv2.LINE_AA, _FRACTION_BITS)
    return as_png(np.ascontiguousarray(np.moveaxis(picture, 2, 0)))
