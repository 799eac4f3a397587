"""A plan tiles its area exactly, and which windows see a pixel does not depend on how it is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import whole

from roadseg.windows import Plan, Window, reflected


@st.composite
def plans(draw, largest=700):
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    window = draw(st.integers(8, 96))
    stride = draw(st.integers(max(1, window // 8), window))
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    area = Window(row, col, draw(st.integers(1, height - row)), draw(st.integers(1, width - col)))
    return Plan(height, width, area, window, stride, draw(st.integers(1, 300)))


def all_windows(plan):
    """Return the windows of the whole grid: the lattice up to the first that reaches the far border."""
    axes = []
    for size in (plan.height, plan.width):
        starts = [0]
        while starts[-1] + plan.window_px < size:
            starts.append(starts[-1] + plan.stride_px)
        axes.append(starts)
    return [(row, col) for row in axes[0] for col in axes[1]]


@given(plans())
def test_cores_tile_the_area_exactly(plan):
    seen = np.zeros((plan.height, plan.width), dtype=int)
    for block in plan.blocks():
        assert block.core.area > 0
        seen[block.core.slices()] += 1
    inside = np.zeros_like(seen)
    inside[plan.area.slices()] = 1
    assert (seen == inside).all()


@given(plans(largest=150))
def test_a_block_has_exactly_the_windows_that_touch_its_core(plan):
    lattice = all_windows(plan)
    for block in plan.blocks():
        touching = [
            (row, col)
            for row, col in lattice
            if Window(row, col, plan.window_px, plan.window_px).intersection(block.core).area
        ]
        assert [(row, col) for row in block.row_starts for col in block.col_starts] == touching
        assert touching


@given(plans())
def test_the_extent_is_what_the_windows_see_and_holds_the_core(plan):
    for block in plan.blocks():
        extent, side = block.extent, plan.window_px
        assert (extent.row, extent.row_stop) == (block.row_starts[0], block.row_starts[-1] + side)
        assert (extent.col, extent.col_stop) == (block.col_starts[0], block.col_starts[-1] + side)
        assert extent.intersection(block.core) == block.core


@given(plans(), st.integers(1, 300))
def test_windows_over_a_pixel_do_not_depend_on_the_block_size(plan, other_px):
    other = Plan(plan.height, plan.width, plan.area, plan.window_px, plan.stride_px, other_px)
    row, col = plan.area.row_stop - 1, plan.area.col + plan.area.width // 2

    def over(plan):
        for block in plan.blocks():
            if block.core.intersection(Window(row, col, 1, 1)).area:
                side = range(plan.window_px)
                return [r for r in block.row_starts if row - r in side], [
                    c for c in block.col_starts if col - c in side
                ]
        raise AssertionError

    assert over(plan) == over(other)


def test_a_core_is_a_whole_number_of_strides():
    assert Plan(9000, 7000, whole(9000, 7000)).core_px == 6144
    assert Plan(900, 700, whole(900, 700), stride_px=14, block_px=100).core_px == 98
    assert Plan(900, 700, whole(900, 700), stride_px=192, block_px=1).core_px == 192


@pytest.mark.parametrize("sizes", [{"stride_px": 0}, {"block_px": 0}, {"height": 0}, {"stride_px": 225}])
def test_impossible_plans_are_refused(sizes):
    with pytest.raises(ValueError, match=r"positive|gaps"):
        Plan(**{"height": 90, "width": 70, "area": whole(90, 70), **sizes})


@given(st.integers(1, 40), st.integers(-100, 100), st.integers(1, 120))
def test_reflected_is_what_numpy_calls_reflect(size, start, length):
    before, after = max(0, -start), max(0, start + length - size)
    padded = np.pad(np.arange(size), (before, after), mode="reflect") if size > 1 else np.zeros(before + after + 1)
    np.testing.assert_array_equal(reflected(start, start + length, size), padded[start + before :][:length])


def test_windows_cut_and_meet():
    window = Window(2, 3, 4, 5)
    array = np.arange(100).reshape(10, 10)
    assert array[window.slices()].shape == (4, 5)
    assert array[window.slices()][0, 0] == 23
    assert window.slices(Window(1, 1, 9, 9)) == (slice(1, 5), slice(2, 7))
    assert window.intersection(Window(5, 7, 9, 9)) == Window(5, 7, 1, 1)
    assert window.intersection(Window(6, 0, 9, 9)).area == 0
    assert window.grown(2) == Window(0, 1, 8, 9)
