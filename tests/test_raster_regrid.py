"""Tests of the windows that resampling from the model's grid to the scene's needs."""

import pytest
from affine import Affine

from roadseg.raster.grid import Grid
from roadseg.raster.regrid import needed_window
from roadseg.raster.resample import taps
from roadseg.windows import Window


def grid(height: int, width: int) -> Grid:
    return Grid(None, Affine.identity(), height, width)


@pytest.mark.parametrize("factor", [0.31, 0.5, 0.987, 1.0, 1.194, 2.0, 3.3])
@pytest.mark.parametrize(
    "window", [Window(0, 0, 70, 90), Window(0, 3, 1, 1), Window(17, 5, 40, 85), Window(69, 0, 1, 90)]
)
def test_the_needed_window_spans_the_taps_of_all_pixels(window: Window, factor: float) -> None:
    ours, theirs = grid(round(70 * factor), round(90 * factor)), grid(70, 90)
    rows = taps(window.row, window.row_stop, size_in=ours.height, size_out=70)
    cols = taps(window.col, window.col_stop, size_in=ours.width, size_out=90)
    expected = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
    assert needed_window(window, ours, theirs) == expected


def test_a_layer_of_the_whole_world_takes_no_memory() -> None:
    ours, theirs = grid(1 << 40, 1 << 41), grid(1 << 39, 1 << 40)
    assert needed_window(theirs.window, ours, theirs) == ours.window
