"""Cleaning is its three rules on the whole raster, however it is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from roadseg.blocks import Window
from roadseg.network.clean import Cleaning, clean_raster

EIGHT = np.ones((3, 3))


class Raster:
    """Levels in memory, read window by window."""

    def __init__(self, levels):
        self.levels = levels

    def __call__(self, window):
        assert window.row >= 0
        assert window.col >= 0
        assert window.row_stop <= self.levels.shape[0]
        assert window.col_stop <= self.levels.shape[1]
        return self.levels[window.slices()].copy()


def plainly(levels, cleaning):
    """The three rules, one after the other, on everything at once."""
    road = (levels >= cleaning.low) & (levels != 255)
    labels, count = ndimage.label(road, EIGHT)
    numbers = np.arange(1, count + 1)
    strong = ndimage.maximum(levels, labels, numbers) >= cleaning.high
    area = ndimage.sum_labels(road, labels, numbers)
    road = np.isin(labels, numbers[strong & (area >= cleaning.min_area_px)])
    gaps, count = ndimage.label(~road)
    for number in range(1, count + 1):
        gap = gaps == number
        inside = not (gap[0].any() or gap[-1].any() or gap[:, 0].any() or gap[:, -1].any())
        if inside and gap.sum() <= cleaning.max_hole_px and (levels[gap] != 255).all():
            road |= gap
    return road.astype(np.uint8)


def by_blocks(levels, cleaning, block_px, folder, workers=1):
    height, width = levels.shape
    with clean_raster(
        Raster(levels), height, width, cleaning=cleaning, block_px=block_px, workers=workers, folder=folder
    ) as mask:
        return mask.read(Window(0, 0, height, width))


def noise(seed, height, width, smooth=1.0, unknown=0.02):
    """Levels with patches, holes and islands in holes of all sizes."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((height, width)), smooth)
    ranks = field.ravel().argsort().argsort().reshape(field.shape)
    levels = (ranks * 254.99 / field.size).astype(np.uint8)
    blotches = ndimage.gaussian_filter(rng.random((height, width)), 1.5)
    levels[blotches > np.quantile(blotches, 1 - unknown)] = 255
    return levels


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    block_px=st.integers(1, 40),
    smooth=st.sampled_from([0.4, 0.7, 1.2]),
    high=st.integers(60, 254),
    share=st.floats(0.3, 1),
    min_area_px=st.sampled_from([0, 2, 8, 25]),
    max_hole_px=st.sampled_from([0, 1, 6, 30]),
)
def test_blocks_give_what_the_whole_raster_gives(
    tmp_path, seed, height, width, block_px, smooth, high, share, min_area_px, max_hole_px
):
    levels = noise(seed, height, width, smooth)
    cleaning = Cleaning(high, max(1, int(high * share)), min_area_px, max_hole_px)
    assert np.array_equal(by_blocks(levels, cleaning, block_px, tmp_path), plainly(levels, cleaning))


@pytest.mark.parametrize("block_px", [2000, 313, 100])
def test_a_larger_raster_and_odd_blocks(tmp_path, block_px):
    levels = noise(5, 700, 941, 2.0)
    cleaning = Cleaning(200, 130, 40, 60)
    assert np.array_equal(by_blocks(levels, cleaning, block_px, tmp_path), plainly(levels, cleaning))
