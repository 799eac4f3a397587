"""Road masks as people have them, read whole as 0 not road, 1 road, 255 not known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.raster.grid import Grid
from roadseg.raster.output import NODATA
from roadseg.raster.roads import RoadRaster, mask_kind

VOID = NODATA


@dataclass(frozen=True)
class Label:
    """A road mask.

    Parameters
    ----------
    grid
        Where it lies.
    values
        (height, width) uint8: 1 road, 0 not road, 255 not known.
    note
        What was taken for what, where the file is not plain 0/1; empty otherwise.
    """

    grid: Grid
    values: NDArray[np.uint8]
    note: str = ""


def read_label(path: str) -> Label:
    """Read a road mask: 0/1 with 255 for not known, or 0/255 where 255 is road.

    Raises
    ------
    SceneError
        If it cannot be read, has several bands, or holds other values.
    """
    with RoadRaster(Path(path)) as mask:
        kind = None if mask.is_scaled else mask_kind(mask.values())
        if kind is None:
            raise SceneError(f"{path} is no road mask; it needs 1 for road, 0 for not road, 255 for not known")
        mask.take_as(kind)
        note = f"{path}: 255 taken for road, as no pixel is 1" if kind == "mask 0/255" else ""
        return Label(mask.grid, mask.read(mask.grid.window), note)
