"""How much of a place its labels cover: figures about a small spot hold for that spot alone.

What a model learns from a few tiles may cost roads elsewhere in the same area, while its figures, which are of ground
beside them, gain. Labels cover too little where they are of fewer than ten plots, lie within a kilometre, or in a tenth
of the ground of the scenes.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from roadseg.errors import counted
from roadseg.raster.grid import Grid, units_per_metre
from roadseg.training.data.plots import MANY, Plot

_SPOT_M, _CORNER = 1000.0, 0.1

_Rectangle = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def coverage_remark(plots: Sequence[Plot], scenes: Iterable[Grid]) -> str:
    """Return as a sentence that labels cover too little of an area to judge a model by; empty if they cover enough.

    Parameters
    ----------
    plots
        The plots; those without road do not count, as roads may just not be drawn there.
    scenes
        Grids of all scenes.
    """
    drawn = [plot.tile.grid.cropped(plot.window) for plot in plots if plot.road_share]
    where = _spot(_around(drawn), _around(scenes))
    if not where and len(drawn) < MANY:
        where = f"in only {counted(len(drawn), 'plot')}"
    if not where:
        return ""
    return (
        f"all labelled roads lie {where}, so the figures hold for that ground alone, and elsewhere the model may be "
        "worse than before; label roads all over your area if it is larger"
    )


def _spot(labels: _Rectangle | None, scenes: _Rectangle | None) -> str:
    """Return where the rectangle around labels lies if it is small, in words; empty if not, or if it is not known."""
    if labels is None or scenes is None:
        return ""
    share = np.prod(_sides(labels)) / np.prod(_sides(scenes))
    if share < _CORNER:
        return f"in one corner of the scenes ({share:.1%} of the ground)"
    middle = (labels[0] + labels[2]) / 2, (labels[1] + labels[3]) / 2
    degrees = units_per_metre("EPSG:4326", *middle)
    side_m = max(np.divide(_sides(labels), degrees)) if degrees else _SPOT_M
    return f"within {side_m / 1000:.1f} km" if side_m < _SPOT_M else ""


def _around(grids: Iterable[Grid]) -> _Rectangle | None:
    """Return the rectangle around grids; None without any, or if one does not say where it lies."""
    found = [grid.lonlat_bounds() for grid in grids]
    boxes = [box for box in found if box]
    if not boxes or len(boxes) < len(found):
        return None
    low, high = np.min(boxes, axis=0).tolist(), np.max(boxes, axis=0).tolist()
    return low[0], low[1], high[2], high[3]


def _sides(box: _Rectangle) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]
