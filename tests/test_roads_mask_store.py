"""Kept levels come back as they were, wherever there was road."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.roads.mask.store import BlockGrid, RoadLevels


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    width=st.integers(1, 50),
    block_px=st.integers(1, 30),
    share=st.sampled_from([0, 0.02, 0.5, 1]),
)
def test_levels_come_back_where_there_is_road(tmp_path, seed, height, width, block_px, share):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (height, width)).astype(np.uint8)
    road = (rng.random((height, width)) < share).astype(np.uint8)
    stored = RoadLevels(tmp_path / "levels.bin", BlockGrid(height, width, block_px))
    blocks = stored.grid.blocks()
    for block in reversed(blocks):
        if road[block.slices()].any():
            stored.write(block, levels[block.slices()], road[block.slices()])
    for block in blocks:
        row, col = np.indices((block.height, block.width)).reshape(2, -1)
        found, there = stored.read(block, row, col)
        assert np.array_equal(found[there], levels[block.slices()].ravel()[there])
        whole = block.area // 8 * 8
        assert there[:whole][road[block.slices()].ravel()[:whole] > 0].all()
        assert not there[whole:].any()
        assert not there.any() or road[block.slices()].any()
    stored.path.unlink()


def test_what_was_never_written_was_not_stored(tmp_path):
    stored = RoadLevels(tmp_path / "levels.bin", BlockGrid(30, 44, 20))
    block = stored.grid.blocks()[1]
    levels, there = stored.read(block, np.array([0, 9]), np.array([3, 7]))
    assert not there.any()
    assert levels.tolist() == [0, 0]


@pytest.mark.parametrize(("size", "block_px", "count"), [(4096, 2048, 2), (4097, 2048, 2), (5121, 2048, 3), (9, 20, 1)])
def test_blocks_are_about_as_large_as_each_other(size, block_px, count):
    grid = BlockGrid(size, 7, block_px)
    heights = [block.height for block in grid.blocks()]
    assert len(heights) == count
    assert sum(heights) == size
    assert max(heights) - min(heights) < count
    assert max(heights) <= 1.25 * block_px
