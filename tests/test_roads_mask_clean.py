"""Cleaning by blocks is the three rules applied to the whole raster."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from road_passes import passes_over, silent
from scipy import ndimage

from roadseg.roads.mask.clean import Cleaning, clean_blocks
from roadseg.windows import Window

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
    """Apply the three rules, one after the other, to the whole raster."""
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
    how = {"block_px": block_px, "workers": workers, "folder": folder}
    with passes_over(Raster(levels), height, width, **how) as passes:
        return clean_blocks(passes, cleaning, silent).read(Window(0, 0, height, width))


def noise(seed, height, width, smooth=1.0, unknown=0.02):
    """Levels with patches, holes and islands in holes of all sizes."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((height, width)), smooth)
    ranks = field.ravel().argsort().argsort().reshape(field.shape)
    levels = (ranks * 254.99 / field.size).astype(np.uint8)
    blotches = ndimage.gaussian_filter(rng.random((height, width)), 1.5)
    levels[blotches > np.quantile(blotches, 1 - unknown)] = 255
    return levels


worlds = st.builds(
    noise,
    seed=st.integers(0, 10**6),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    smooth=st.sampled_from([0.4, 0.7, 1.2]),
    unknown=st.sampled_from([0, 0.02, 1]),
)
cleanings = st.builds(
    lambda high, share, *sizes: Cleaning(high, max(1, int(high * share)), *sizes),
    st.integers(60, 254),
    st.floats(0.3, 1),
    st.sampled_from([0, 2, 8, 25]),
    st.sampled_from([0, 1, 6, 30]),
)


@settings(max_examples=12)
@given(worlds, cleanings, st.integers(1, 40))
def test_blocks_give_the_mask_of_the_whole_raster(tmp_path, levels, cleaning, block_px):
    assert np.array_equal(by_blocks(levels, cleaning, block_px, tmp_path), plainly(levels, cleaning))


@pytest.mark.slow
@settings(max_examples=300)
@given(worlds, cleanings, st.integers(1, 40))
def test_many_blocks_give_the_mask_of_the_whole_raster(tmp_path, levels, cleaning, block_px):
    assert np.array_equal(by_blocks(levels, cleaning, block_px, tmp_path), plainly(levels, cleaning))


@pytest.mark.slow
@pytest.mark.parametrize("block_px", [2000, 313, 100])
def test_odd_blocks_give_the_mask_of_a_larger_raster(tmp_path, block_px):
    levels = noise(5, 700, 941, 2.0)
    cleaning = Cleaning(200, 130, 40, 60)
    assert np.array_equal(by_blocks(levels, cleaning, block_px, tmp_path), plainly(levels, cleaning))


@given(
    row=st.integers(-30, 60),
    col=st.integers(-30, 80),
    height=st.integers(0, 70),
    width=st.integers(0, 90),
)
@settings(max_examples=15)
def test_any_window_can_be_read_and_is_0_beyond_the_raster(tmp_path, row, col, height, width):
    levels = noise(3, 50, 67)
    window = Window(row, col, height, width)
    whole = np.zeros((2, 300, 300), np.uint8)
    whole[0, 100:150, 100:167] = plainly(levels, Cleaning())
    whole[1, 100:150, 100:167] = levels != 255
    with passes_over(Raster(levels), 50, 67, block_px=13, folder=tmp_path) as passes:
        mask = clean_blocks(passes, Cleaning(), silent)
        part = window.slices(Window(-100, -100, 0, 0))
        assert np.array_equal(mask.read(window), whole[0][part])
        assert np.array_equal(mask.valid(window), whole[1][part])
    assert not list(tmp_path.iterdir())


def test_one_strong_pixel_keeps_a_component_across_blocks(tmp_path):
    levels = np.zeros((20, 90), np.uint8)
    levels[9, 3:87] = 120
    assert not by_blocks(levels, Cleaning(200, 100), 8, tmp_path).any()
    levels[9, 80] = 210
    assert by_blocks(levels, Cleaning(200, 100), 8, tmp_path).sum() == 84


def test_a_component_dropped_inside_a_hole_counts_to_the_hole(tmp_path):
    levels = np.zeros((30, 30), np.uint8)
    levels[5:16, 5:16] = 254
    levels[6:15, 6:15] = 0
    levels[10, 10] = 254
    assert by_blocks(levels, Cleaning(min_area_px=2, max_hole_px=80), 11, tmp_path).sum() == 40
    assert by_blocks(levels, Cleaning(min_area_px=2, max_hole_px=81), 11, tmp_path).sum() == 121
    assert by_blocks(levels, Cleaning(min_area_px=1, max_hole_px=80), 11, tmp_path).sum() == 121


def test_progress_adds_up_to_the_raster(tmp_path):
    done = []
    with passes_over(Raster(noise(1, 40, 55)), 40, 55, block_px=16, folder=tmp_path) as passes:
        clean_blocks(passes, Cleaning(), done.append)
        assert sum(done) == pytest.approx(40 * 55 / 1e6)
