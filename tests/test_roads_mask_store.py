"""Masks and levels are read from disk as they were written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.roads.mask.store import BitPlane, BlockGrid, RoadLevels, packed_levels
from roadseg.windows import Window


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    width=st.integers(1, 50),
    block_px=st.integers(1, 30),
    share=st.sampled_from([0, 0.02, 0.5, 1]),
)
def test_levels_are_read_as_written_wherever_there_is_road(tmp_path, seed, height, width, block_px, share):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (height, width)).astype(np.uint8)
    road = (rng.random((height, width)) < share).astype(np.uint8)
    stored = RoadLevels(tmp_path / "levels.bin", BlockGrid(height, width, block_px))
    blocks = stored.grid.blocks()
    for block in reversed(blocks):
        if road[block.slices()].any():
            stored.write(block, packed_levels(levels[block.slices()], road[block.slices()]))
    for block in blocks:
        row, col = np.indices((block.height, block.width)).reshape(2, -1)
        found, there = stored.read(block, row, col)
        assert np.array_equal(found[there], levels[block.slices()].ravel()[there])
        whole = block.area // 8 * 8
        assert there[:whole][road[block.slices()].ravel()[:whole] > 0].all()
        assert not there[whole:].any()
        assert not there.any() or road[block.slices()].any()
    stored.path.unlink()


def test_levels_that_were_never_written_are_not_known(tmp_path):
    stored = RoadLevels(tmp_path / "levels.bin", BlockGrid(30, 44, 20))
    block = stored.grid.blocks()[1]
    levels, there = stored.read(block, np.array([0, 9]), np.array([3, 7]))
    assert not there.any()
    assert levels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("size", "block_px", "heights"),
    [
        (4096, 2048, [2048, 2048]),
        (4097, 2048, [2560, 1537]),
        (5121, 2048, [2048, 2048, 1025]),
        (20_000, 2048, [2560] * 7 + [2080]),
        (1500, 2048, [1500]),
        (5121, 2000, [2048, 2048, 1025]),
        (1001, 400, [334, 334, 333]),
        (9, 20, [9]),
    ],
)
def test_blocks_have_nearly_equal_sizes_and_whole_tiles_of_512_if_they_can(size, block_px, heights):
    blocks = BlockGrid(size, 7, block_px).blocks()
    assert [block.height for block in blocks] == heights
    assert max(heights) <= 1.25 * block_px


masks = st.builds(
    lambda seed, height, width, share: (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8),
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 50),
    st.sampled_from([0, 0.02, 0.5, 1]),
)


@settings(max_examples=40)
@given(
    mask=masks,
    block_px=st.integers(1, 30),
    window=st.builds(Window, st.integers(-9, 45), st.integers(-9, 55), st.integers(0, 60), st.integers(0, 70)),
)
def test_any_window_of_a_mask_is_read_as_it_was_written(tmp_path, mask, block_px, window):
    plane = BitPlane(tmp_path / "mask.bits", BlockGrid(*mask.shape, block_px))
    for block in reversed(plane.grid.blocks()):
        plane.write(block, np.packbits(mask[block.slices()], axis=1))
    expected = np.pad(mask, 120)[window.slices(Window(-120, -120, 0, 0))]
    assert np.array_equal(plane.read(window), expected)
    assert np.array_equal(plane.bits(window), np.packbits(expected, axis=1))
    plane.path.unlink()


def test_a_mask_that_was_never_written_is_empty(tmp_path):
    plane = BitPlane(tmp_path / "mask.bits", BlockGrid(30, 44, 20))
    assert not plane.read(Window(0, 0, 30, 44)).any()
    assert plane.is_empty(Window(0, 0, 30, 44))


def test_blocks_can_be_written_again(tmp_path):
    plane = BitPlane(tmp_path / "mask.bits", BlockGrid(20, 30, 15))
    block = plane.grid.blocks()[1]
    mixed = np.indices((block.height, block.width)).sum(axis=0).astype(np.uint8) % 2
    for mask in (mixed, np.ones_like(mixed), mixed, np.zeros_like(mixed)):
        plane.write(block, np.packbits(mask, axis=1))
        assert np.array_equal(plane.read(block), mask)
        assert plane.is_empty(block) == (not mask.any())


def test_blocks_are_empty_by_themselves(tmp_path):
    plane = BitPlane(tmp_path / "mask.bits", BlockGrid(20, 30, 10))
    first, *others = plane.grid.blocks()
    plane.write(first, np.packbits(np.ones((first.height, first.width), np.uint8), axis=1))
    assert not plane.is_empty(Window(0, 0, 20, 30))
    assert all(plane.is_empty(block) for block in others)


def test_full_and_empty_blocks_take_a_byte_each(tmp_path):
    plane = BitPlane(tmp_path / "mask.bits", BlockGrid(2000, 3000, 1000))
    for number, block in enumerate(plane.grid.blocks()):
        plane.write(block, np.packbits(np.full((block.height, block.width), number % 2, np.uint8), axis=1))
    assert plane.path.stat().st_size == len(plane.grid.blocks())


@given(height=st.integers(1, 60), width=st.integers(1, 60), block_px=st.integers(1, 40))
def test_blocks_cover_each_pixel_once_and_are_found_by_windows(height, width, block_px):
    grid = BlockGrid(height, width, block_px)
    seen = np.zeros((height, width), int)
    for index, block in enumerate(grid.blocks()):
        seen[block.slices()] += 1
        assert grid.touching(block) == [(index, block)]
    assert (seen == 1).all()
    assert [block for _, block in grid.touching(grid.raster.grown(5))] == grid.blocks()
