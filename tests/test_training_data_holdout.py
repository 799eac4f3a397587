"""Blocks kept for validation: the same ground in every tile, a margin around, chosen by a seed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadseg.training.data.holdout_blocks import BlockKey, DevBlocks, choose_blocks
from roadseg.windows import Window

WHOLE = Window(0, 0, 90, 130)


def cut(turn: float = 0.0, *, row: float = 0.0, col: float = 0.0, block_px: float = 30.0) -> DevBlocks:
    """Lay blocks of some pixels over a tile that is turned and moved, one of them kept."""
    c, s = math.cos(math.radians(turn)) / block_px, math.sin(math.radians(turn)) / block_px
    return DevBlocks(
        "here", (c, -s, col / block_px, s, c, row / block_px), frozenset({("here", 1, 2), ("there", 0, 0)}), 9
    )


def test_a_block_is_where_it_should_be() -> None:
    inside = cut().inside(WHOLE)
    expected = np.zeros((90, 130), bool)
    expected[60:90, 30:60] = True
    assert np.array_equal(inside, expected)
    assert cut().windows((90, 130)) == [Window(60, 30, 30, 30)]


def test_the_margin_is_as_wide_as_asked_and_no_wider() -> None:
    around = cut().with_margin(WHOLE)
    expected = np.zeros((90, 130), bool)
    expected[51:90, 21:69] = True
    assert np.array_equal(around, expected)


@pytest.mark.parametrize(("turn", "row", "col"), [(0.0, 0, 0), (20.0, 40, -20), (-65.0, 40, -20), (90.0, 0, 100)])
def test_no_crop_with_a_label_that_counts_reaches_a_kept_pixel(turn: float, row: float, col: float) -> None:
    """The margin is the crop's side: a labelled pixel and a kept one never lie in one 9 px square."""
    one = cut(turn, row=row, col=col)
    inside, around = one.inside(WHOLE), one.with_margin(WHOLE)
    assert 100 < inside.sum() < 1000
    rows, cols = np.nonzero(inside)
    for there in zip(*np.nonzero(~around), strict=True):
        assert np.maximum(abs(rows - there[0]), abs(cols - there[1])).min() >= 9


@pytest.mark.parametrize("turn", [0.0, 33.0])
def test_the_same_pixels_through_any_window(turn: float) -> None:
    one, part = cut(turn), Window(37, 18, 41, 77)
    assert np.array_equal(one.inside(part), one.inside(WHOLE)[part.slices()])
    assert np.array_equal(one.with_margin(part), one.with_margin(WHOLE)[part.slices()])


def test_tiles_that_overlap_agree() -> None:
    """The second tile lies 40 px further down and 25 to the right on the same grid of blocks."""
    other = cut(row=40, col=25)
    assert np.array_equal(cut().inside(Window(40, 25, 50, 60)), other.inside(Window(0, 0, 50, 60)))


@pytest.mark.parametrize("turn", [0.0, 33.0])
def test_amounts_add_up_over_windows(turn: float) -> None:
    label = np.random.default_rng(0).random((90, 130)) < 0.4
    whole = cut(turn).count_labelled(label, WHOLE)
    assert sum(whole.values()) == label.sum()
    parts: dict[BlockKey, int] = {}
    for row in (0, 50):
        window = Window(row, 0, 50 - row // 5, 130)
        for block, count in cut(turn).count_labelled(label[window.slices()], window).items():
            parts[block] = parts.get(block, 0) + count
    assert parts == whole
    assert whole[("here", 1, 2)] == label[cut(turn).inside(WHOLE)].sum()


@given(st.integers(0, 50), st.floats(0.02, 0.8), st.integers(2, 60))
def test_the_fraction_is_met_to_half_a_block(seed: int, fraction: float, count: int) -> None:
    amounts: dict[BlockKey, float] = {("", i, 0): 100.0 for i in range(count)}
    found = choose_blocks(amounts, fraction, seed)
    assert abs(len(found) - max(1, fraction * count)) <= 0.5 + 1e-9
    assert found == choose_blocks(dict(reversed(amounts.items())), fraction, seed)


def test_another_seed_keeps_other_blocks_and_empty_ones_never() -> None:
    amounts: dict[BlockKey, float] = {("", i, j): float(i > 0) for i in range(9) for j in range(9)}
    picks = [choose_blocks(amounts, 0.2, seed) for seed in range(5)]
    assert len(set(picks)) == 5
    assert all(i > 0 for pick in picks for _, i, _ in pick)
