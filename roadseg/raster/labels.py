"""Road masks as people have them, read as 0 not road, 1 road, 255 not known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from roadseg.errors import SceneError
from roadseg.raster.files import open_raster
from roadseg.raster.grid import Grid

VOID = 255


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
    try:
        with open_raster(path) as file:
            if file.count != 1:
                raise SceneError(f"{path} has {file.count} bands; a road mask has one, with 1 for road and 0 for not")
            values = file.read(1)
            known = file.dataset_mask() > 0
            nodata = file.nodata
            grid = Grid(file.crs.to_wkt() if file.crs else None, file.transform, file.height, file.width)
    except RasterioError as error:
        raise SceneError(f"{path} cannot be read as a road mask ({error})") from error
    found = set(np.unique(values[known]).tolist())
    if found <= {0, 1, VOID}:
        inverted = 1 not in found and VOID in found and 0 in found and nodata != VOID
        road = values == (VOID if inverted else 1)
        void = ~known if inverted else ~known | (values == VOID)
        note = f"{path}: 255 taken for road, as no pixel is 1" if inverted else ""
        return Label(grid, np.where(void, VOID, road).astype(np.uint8), note)
    odd = min(found - {0, 1, VOID})
    raise SceneError(f"{path} holds the value {odd:g}; a road mask has 1 for road, 0 for not road, 255 for not known")
