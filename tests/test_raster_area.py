"""The valid ground of a raster, outlined in cells of several pixels where it is large."""

import numpy as np
import pytest
from affine import Affine
from shapely import Point

from roadseg.raster.area import valid_ground
from roadseg.raster.grid import Grid

PLACE = Affine(2, 0, 500, 0, -2, 9000)


@pytest.mark.parametrize(("height", "width"), [(300, 500), (2100, 5000)])
def test_the_valid_ground_leaves_out_holes_but_no_specks(height, width):
    def read(window):
        levels = whole[window.row : window.row_stop, window.col : window.col_stop]
        assert levels.shape == (window.height, window.width)
        return levels

    whole = np.zeros((height, width), np.uint8)
    whole[::13, ::17] = 255
    grid = Grid(None, PLACE, height, width)
    assert valid_ground(read, grid) is None
    whole[60:240, 120:420] = 255
    ground = valid_ground(read, grid)
    assert ground.area == pytest.approx(4 * (height * width - 180 * 300), rel=0.001)
    assert not ground.contains(Point(PLACE @ (270, 150)))
    whole[:] = 255
    assert valid_ground(read, grid).is_empty
