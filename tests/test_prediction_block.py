"""The prediction of a pixel does not depend on how its scene is cut, nor on nodata elsewhere."""

import numpy as np
import pytest
from engines import Constant, Identity, Placed
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import picture, stitch, whole

from roadseg.errors import ModelError
from roadseg.prediction.block import predict_block
from roadseg.windows import Block, Plan, Window


@st.composite
def worlds(draw):
    height, width = draw(st.integers(1, 160)), draw(st.integers(1, 160))
    window = draw(st.sampled_from([8, 16, 24, 40]))
    stride = draw(st.integers(window // 4, window))
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    area = Window(row, col, draw(st.integers(1, height - row)), draw(st.integers(1, width - col)))
    valid = np.ones((height, width), dtype=bool)
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height)), draw(st.integers(0, width))
        valid[top : top + draw(st.integers(0, 90)), left : left + draw(st.integers(0, 90))] = False
    values = picture(height, width, seed=draw(st.integers(0, 99))).astype(np.uint8)
    return values, valid, area, window, stride


@settings(max_examples=60)
@given(worlds(), st.integers(1, 200), st.sampled_from([1, 2, 5, 64]), st.sampled_from([Identity, Placed]))
def test_block_independence(world, block_px, batch, engine):
    values, valid, area, window, stride = world
    height, width = valid.shape
    whole_at_once = stitch(values, valid, Plan(height, width, whole(height, width), window, stride, 10_000), engine())
    in_blocks = stitch(values, valid, Plan(height, width, area, window, stride, block_px), engine(batch))
    np.testing.assert_array_equal(in_blocks.valid, valid[area.slices()])
    known = in_blocks.valid
    np.testing.assert_array_equal(in_blocks.values[known], whole_at_once.values[area.slices()][known])


@settings(max_examples=40)
@given(worlds(), st.integers(1, 200), st.floats(0, 1, width=32))
def test_constant_in_constant_out(world, block_px, value):
    values, valid, area, window, stride = world
    height, width = valid.shape
    block = stitch(values, valid, Plan(height, width, area, window, stride, block_px), Constant(value))
    assert (block.values[block.valid] == np.float32(value)).all()


@pytest.mark.parametrize("stride", [14, 56, 192, 210])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (223, 225), (3, 2_000), (300, 500)])
def test_an_unchanged_scene_comes_back(height, width, stride):
    values = picture(height, width).astype(np.uint8)
    valid = np.ones((height, width), dtype=bool)
    plan = Plan(height, width, whole(height, width), 224, stride, 448)
    block = stitch(values, valid, plan, Identity())
    assert block.valid.all()
    np.testing.assert_allclose(block.values, values[0] / 255, atol=1e-6)


def test_windows_without_a_wanted_pixel_are_never_computed():
    values, valid = picture(40, 200).astype(np.uint8), np.zeros((40, 200), dtype=bool)
    valid[5, 150] = True
    engine = Identity()
    block = stitch(values, valid, Plan(40, 200, whole(40, 200), 16, 12, 48), engine)
    assert (block.valid == valid).all()
    assert engine.windows <= 4
    assert block.values[5, 150] == pytest.approx(values[0, 5, 150] / 255)


def test_nothing_known_asks_nothing_of_the_engine():
    engine = Identity()
    nothing = np.zeros((30, 50), dtype=bool)
    block = stitch(np.zeros((3, 30, 50), np.uint8), nothing, Plan(30, 50, whole(30, 50), 16, 12, 48), engine)
    assert engine.windows == 0
    assert not block.valid.any()


def one_block(height, width, core):
    """Return the only block of a plan for ``core``, and its pixels cut from a picture, all known."""
    (planned,) = Plan(height, width, core, 16, 12, 1_000).blocks()
    extent = planned.extent
    values = picture(extent.row_stop, extent.col_stop).astype(np.uint8)[:, extent.row :, extent.col :]
    return planned, Block(extent, values, np.ones(values.shape[1:], dtype=bool))


def test_only_wanted_pixels_come_out_and_keep_their_values():
    planned, pixels = one_block(61, 70, Window(13, 5, 24, 48))
    wanted = np.zeros((24, 48), dtype=bool)
    wanted[3:9, 20:41] = True
    everything = predict_block(pixels, planned, Placed())
    part = predict_block(pixels, planned, Placed(), wanted=wanted)
    assert everything.valid.all()
    assert (part.valid == wanted).all()
    np.testing.assert_array_equal(part.values[wanted], everything.values[wanted])


def test_progress_adds_up_to_the_core():
    planned, pixels = one_block(61, 47, Window(0, 0, 50, 40))
    told: list[int] = []
    predict_block(pixels, planned, Identity(), on_rows=told.append)
    assert sum(told) == 50 * 40
    assert len(told) > 1


class Overflowing(Identity):
    """The identity engine, whose answer to the darkest byte is NaN."""

    def __call__(self, batches):
        for answer in super().__call__(batches):
            answer[answer == 0] = np.nan
            yield answer


def test_nan_for_a_valid_pixel_is_an_error_that_tells_the_cure():
    values, valid = np.ones((3, 30, 50), np.uint8), np.ones((30, 50), dtype=bool)
    values[:, 17, 41] = 0
    plan = Plan(30, 50, whole(30, 50), 16, 12, 24)
    with pytest.raises(ModelError, match=r"NaN for valid pixels.*--precision float32"):
        stitch(values, valid, plan, Overflowing())
    valid[17, 41] = False
    block = stitch(values, valid, plan, Overflowing())
    assert not np.isnan(block.values[valid]).any()
    np.testing.assert_array_equal(block.valid, valid)
