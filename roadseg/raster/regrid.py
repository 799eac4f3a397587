"""Resampling a probability raster from the model's grid to the scene's."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from roadseg.raster.encoding import dequantize
from roadseg.raster.files import OpenFile, open_raster
from roadseg.raster.grid import Grid
from roadseg.raster.resample import Taps, resample, taps
from roadseg.windows import Window


def needed_window(window: Window, grid_in: Grid, grid_out: Grid) -> Window:
    """Return the window of ``grid_in`` needed for a window of ``grid_out``; both grids cover the same ground."""
    first, last = Window(window.row, window.col, 1, 1), Window(window.row_stop - 1, window.col_stop - 1, 1, 1)
    (top, left), (bottom, right) = (_taps(pixel, grid_in, grid_out) for pixel in (first, last))  # windows may be huge
    return Window(top.start, left.start, bottom.stop - top.start, right.stop - left.start)


def regrid(
    probability: NDArray[np.float32], valid: NDArray[np.bool_], window: Window, grid_in: Grid, grid_out: Grid
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Resample probabilities to a window of another grid of the same ground.

    Parameters
    ----------
    probability, valid
        (height, width) float32 in [0, 1], and bool, of the window's ``needed_window``.
    window
        A window of ``grid_out``.
    grid_in, grid_out
        Grids of the whole scene.

    Returns
    -------
    (window.height, window.width) float32, 0 where not valid, and bool.
    """
    values, valid_out = resample(probability[None], valid, *_taps(window, grid_in, grid_out))
    return values[0], valid_out


class RegriddedRaster(OpenFile):
    """A probability raster on one grid, read on another of the same ground.

    Parameters
    ----------
    source
        Path of the raster.
    grid_in, grid_out
        Grids of the whole scene.
    area
        The window of ``grid_in`` that the source holds.
    """

    def __init__(self, source: Path, grid_in: Grid, area: Window, grid_out: Grid) -> None:
        self._file = open_raster(source)
        self._grid_in, self._area, self._grid_out = grid_in, area, grid_out

    def close(self) -> None:
        """Close the source."""
        self._file.close()

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return probability and validity, (height, width) each, of a window of ``grid_out``."""
        need = needed_window(window, self._grid_in, self._grid_out)
        place = rasterio.windows.Window(need.col - self._area.col, need.row - self._area.row, need.width, need.height)
        return regrid(*dequantize(self._file.read(1, window=place)), window, self._grid_in, self._grid_out)


def _taps(window: Window, grid_in: Grid, grid_out: Grid) -> tuple[Taps, Taps]:
    """Return the taps of the rows and of the columns of a window of ``grid_out``."""
    rows = taps(window.row, window.row_stop, size_in=grid_in.height, size_out=grid_out.height)
    return rows, taps(window.col, window.col_stop, size_in=grid_in.width, size_out=grid_out.width)
