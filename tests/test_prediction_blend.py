"""A constant comes out exactly, corners included; every window counts, and nearer ones count more."""

from itertools import pairwise

import numpy as np
import pytest
from worlds import whole

from roadseg.prediction.blend import blend
from roadseg.windows import Plan, Window


def merged(plan, windows):
    """Blend a plan of one block; ``windows`` maps a window's corner to its values."""
    (block,) = plan.blocks()
    out = np.full((block.core.height, block.core.width), np.nan, dtype=np.float32)
    corners = [(row, col) for row in block.row_starts for col in block.col_starts]
    for part, rows in blend((windows(row, col) for row, col in corners), block):
        out[part.slices(block.core)] = rows
    return out


def straightforward(plan, windows):
    """Blend as one would write it down: sums of weighted values over sums of weights, in double precision."""
    (block,) = plan.blocks()
    side = plan.window_px
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)).astype(np.float64)
    weight = ramp[:, None] * ramp
    extent = block.extent
    total, weights = np.zeros((2, extent.height, extent.width))
    for row in block.row_starts:
        for col in block.col_starts:
            place = Window(row, col, side, side).slices(extent)
            total[place] += weight * windows(row, col)
            weights[place] += weight
    assert (weights[block.core.slices(extent)] > 0).all()
    return (total / weights)[block.core.slices(extent)]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 0.7071068, 1e-7])
@pytest.mark.parametrize("stride", [14, 96, 192, 210, 224])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (223, 225), (3, 10_000), (517, 301)])
def test_a_constant_comes_out_exactly(height, width, stride, value):
    if stride == 14 and width == 10_000:
        width = 1_000
    plan = Plan(height, width, whole(height, width), stride_px=stride, block_px=20_000)
    window = np.full((224, 224), value, dtype=np.float32)
    assert (merged(plan, lambda row, col: window) == np.float32(value)).all()


@pytest.mark.parametrize(("window", "stride"), [(16, 2), (16, 7), (16, 14), (16, 16), (9, 4)])
def test_it_is_the_mean_weighted_by_the_distance_to_the_border(window, stride):
    plan = Plan(61, 47, whole(61, 47), window, stride, 1_000)
    cards = np.random.default_rng(0).random((61, 47, window, window)).astype(np.float32)

    def values(row, col):
        return cards[row, col]

    np.testing.assert_allclose(merged(plan, values), straightforward(plan, values), atol=3e-7)


def test_every_window_counts_everywhere_it_reaches():
    plan = Plan(30, 44, whole(30, 44), 16, 10, 1_000)
    (block,) = plan.blocks()
    for corner in [(row, col) for row in block.row_starts for col in block.col_starts]:
        alone = merged(plan, lambda r, c, corner=corner: np.full((16, 16), (r, c) == corner, dtype=np.float32))
        reach = np.zeros((30, 44), dtype=bool)
        reach[corner[0] : corner[0] + 16, corner[1] : corner[1] + 16] = True
        assert ((alone > 0) == reach).all()


def test_pixels_that_only_left_out_windows_see_are_zero():
    plan = Plan(16, 40, whole(16, 40), 16, 12, 1_000)
    out = merged(plan, lambda row, col: None if col == 24 else np.ones((16, 16), dtype=np.float32))
    assert (out[:, 28:] == 0).all()
    assert (out[:, :24] == 1).all()


def test_values_stay_between_the_windows_that_made_them():
    plan = Plan(70, 50, whole(70, 50), 16, 3, 1_000)
    cards = np.random.default_rng(1).random((70, 50, 16, 16)).astype(np.float32)
    out = merged(plan, lambda row, col: cards[row, col])
    assert out.min() >= 0
    assert out.max() <= 1


def test_rows_are_given_out_once_and_in_order():
    plan = Plan(71, 33, Window(10, 4, 50, 20), 16, 12, 1_000)
    block = next(plan.blocks())
    ones = (np.ones((16, 16), dtype=np.float32) for _ in range(len(block.row_starts) * len(block.col_starts)))
    parts = [part for part, _ in blend(ones, block)]
    assert parts[0].row == block.core.row
    assert parts[-1].row_stop == block.core.row_stop
    assert all(a.row_stop == b.row for a, b in pairwise(parts))
    assert {(part.col, part.width) for part in parts} == {(block.core.col, block.core.width)}
