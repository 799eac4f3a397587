"""Open components joined over the seams are those of the whole raster."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from roadseg.roads.mask.components import find_runs, label_runs
from roadseg.roads.mask.seams import Seams, find_open, whole_block
from roadseg.roads.mask.store import BlockGrid
from roadseg.windows import Window

EIGHT = np.ones((3, 3))


def mask_of(*rows):
    return np.array([[letter != "." for letter in row] for row in rows]).astype(np.uint8)


def opened(mask, marks, *, diagonal):
    """Return the open components of a mask, marked where any of their pixels is."""
    runs = find_runs(np.packbits(mask, axis=1), mask.shape[1])
    count, labels = label_runs(runs, diagonal=diagonal)
    area = np.bincount(labels, runs.length, count).astype(np.int64)
    spans = zip(runs.row, runs.col, runs.length, strict=True)
    marked_runs = np.array([marks[row, col : col + length].any() for row, col, length in spans], bool)
    return find_open(runs, labels, area, np.bincount(labels, marked_runs, count) > 0)


def test_only_components_at_the_border_are_open():
    mask = mask_of(".11..", ".1..2", "..x.2", "...22")
    found, is_open = opened(mask, np.zeros(mask.shape, bool), diagonal=False)
    assert is_open.sum() == 2
    assert found.top.tolist() == [0, 1, 1, 0, 0]
    assert found.bottom.tolist() == [0, 0, 0, 2, 2]
    assert found.left.tolist() == [0, 0, 0, 0]
    assert found.right.tolist() == [0, 2, 2, 2]
    assert found.area.tolist() == [3, 4]
    assert found.seed.tolist() == [[0, 1], [1, 4]]


def test_a_full_block_is_one_component():
    block = Window(20, 30, 3, 5)
    found, _ = opened(np.ones((3, 5), np.uint8), np.ones((3, 5), bool), diagonal=False)
    whole = whole_block(block, marked=True)
    for name in ("top", "bottom", "left", "right", "area", "marked", "seed"):
        assert getattr(whole, name).tolist() == getattr(found, name).tolist(), name


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    share=st.sampled_from([0.1, 0.4, 0.6, 0.9, 1]),
    block_px=st.integers(1, 12),
    diagonal=st.booleans(),
)
def test_areas_and_marks_are_those_of_the_whole_raster(seed, height, width, share, block_px, diagonal):
    rng = np.random.default_rng(seed)
    mask = (rng.random((height, width)) < share).astype(np.uint8)
    marks = (rng.random(mask.shape) < 0.03) & (mask > 0)
    labels, _ = ndimage.label(mask, EIGHT if diagonal else None)
    area, marked = np.bincount(labels.ravel()), np.bincount(labels.ravel(), marks.ravel()) > 0
    seams, blocks, seeds = Seams(width, diagonal=diagonal), BlockGrid(height, width, block_px).blocks(), []
    for block in blocks:
        found, _ = opened(mask[block.slices()], marks[block.slices()], diagonal=diagonal)
        seams.add(block, found)
        seeds.append(found.seed)
    areas, marked_by_block = seams.totals()
    for block, seed, area_found, marked_found in zip(blocks, seeds, areas, marked_by_block, strict=True):
        component = labels[block.slices()][tuple(seed.T)]
        assert (component > 0).all()
        assert area_found.tolist() == area[component].tolist()
        assert marked_found.tolist() == marked[component].tolist()


@pytest.mark.parametrize("diagonal", [True, False])
def test_blocks_that_share_a_corner_are_joined_only_over_corners(diagonal):
    seams = Seams(4, diagonal=diagonal)
    for mask, block in [
        (mask_of("..", ".1"), Window(0, 0, 2, 2)),
        (mask_of("..", ".."), Window(0, 2, 2, 2)),
        (mask_of("..", ".."), Window(2, 0, 2, 2)),
        (mask_of("1.", ".."), Window(2, 2, 2, 2)),
    ]:
        seams.add(block, opened(mask, np.zeros((2, 2), bool), diagonal=diagonal)[0])
    area, _ = seams.totals()
    assert [part.tolist() for part in area] == ([[2], [], [], [2]] if diagonal else [[1], [], [], [1]])


def test_no_blocks_have_no_components():
    assert Seams(7, diagonal=True).totals() == ([], [])
