"""Corners of blocks, and labels that mean one area over the seams between blocks."""

import numpy as np
import pytest
import scipy.ndimage

from roadseg.roads.areas.corners import ALONG, CHEQUER, NORTH, WEST, LabelUnion, find_corners
from roadseg.windows import Window


class Held:
    """A mask held in memory."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.uint8)

    def read(self, window):
        return self.values[window.slices()]


def blocks(shape, block_px):
    height, width = shape
    for row in range(0, height, block_px):
        for col in range(0, width, block_px):
            yield Window(row, col, min(block_px, height - row), min(block_px, width - col))


def found(mask, block_px=100):
    """Return the corners of all blocks as rows (row, col, bits, area)."""
    mask = np.asarray(mask)
    labels, rows = LabelUnion(mask.shape[1]), []
    for window in blocks(mask.shape, block_px):
        block = find_corners(Held(mask), window, *mask.shape)
        corners = block.corners
        rows += zip(corners.row, corners.col, corners.bits, corners.label + labels.count, strict=True)
        labels.unite(block, window)
    area = labels.areas()
    return [(int(row), int(col), int(bits), int(area[label])) for row, col, bits, label in rows]


def test_a_pixel_has_four_corners():
    mask = np.zeros((4, 6))
    mask[1, 2] = 1
    corners = {(row, col): bits for row, col, bits, _ in found(mask)}
    assert corners == {(1, 2): 0 | ALONG, (1, 3): WEST, (2, 2): NORTH, (2, 3): NORTH | WEST | ALONG}


@pytest.mark.parametrize("turned", [False, True])
def test_two_corners_share_a_chequer(turned):
    mask = np.array([[1, 0], [0, 1]]) if not turned else np.array([[0, 1], [1, 0]])
    corners = [bits for row, col, bits, _ in found(mask) if (row, col) == (1, 1)]
    assert [bool(bits & CHEQUER) for bits in corners] == [True, True]
    assert [bool(bits & WEST) for bits in corners] == [True, False]


@pytest.mark.parametrize("block_px", [1, 2, 3, 7])
def test_each_corner_is_found_once_however_the_mask_is_cut(block_px):
    mask = np.random.default_rng(5).random((13, 17)) < 0.5
    whole = sorted(corner[:3] for corner in found(mask))
    assert sorted(corner[:3] for corner in found(mask, block_px)) == whole


@pytest.mark.parametrize("block_px", [1, 3, 5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_labels_of_blocks_are_united_where_areas_cross_seams(block_px, seed):
    """Corners have the same area in blocks as in the whole mask, and there are as many areas as a library finds."""
    mask = np.random.default_rng(seed).random((19, 23)) < 0.6
    pairs = {}
    for one, other in zip(sorted(found(mask)), sorted(found(mask, block_px)), strict=True):
        assert pairs.setdefault(other[3], one[3]) == one[3]
    assert len(pairs) == len(set(pairs.values())) == scipy.ndimage.label(mask)[1]


def test_a_ring_closed_in_the_last_block_is_one_area():
    mask = np.ones((9, 9))
    mask[1:8, 1:8] = 0
    assert len({area for *_, area in found(mask, 3)}) == 1


def test_areas_that_touch_at_a_corner_of_four_blocks_stay_two():
    mask = np.zeros((6, 6))
    mask[1:3, 1:3] = mask[3:5, 3:5] = 1
    assert len({area for *_, area in found(mask, 3)}) == 2
