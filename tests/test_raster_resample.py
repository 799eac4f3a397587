"""Resampling gives the same pixel through every window, keeps constants, and ignores nodata pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.raster.resample import resample, taps

FACTORS = [0.3, 1.0, 1.7, 3.0, 0.07]


def resized(values, valid, shape, part=None):
    """Resample a whole array, or the rows and columns ``part`` of the result, reading only what is needed."""
    (top, bottom), (left, right) = part or ((0, shape[0]), (0, shape[1]))
    rows = taps(top, bottom, size_in=values.shape[1], size_out=shape[0])
    cols = taps(left, right, size_in=values.shape[2], size_out=shape[1])
    place = slice(rows.start, rows.stop), slice(cols.start, cols.stop)
    return resample(values[:, *place], valid[place], rows, cols)


def shape_of(values, factor):
    return tuple(max(1, round(n * factor)) for n in values.shape[1:])


@st.composite
def pictures(draw):
    shape = (2, draw(st.integers(1, 60)), draw(st.integers(1, 60)))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    return random.uniform(0, 1000, shape).astype(np.float32), random.random(shape[1:]) < draw(st.sampled_from([1, 0.8]))


@settings(max_examples=80)
@given(pictures(), st.sampled_from(FACTORS), st.data())
def test_every_window_gives_the_same_bits(world, factor, data):
    values, valid = world
    shape = shape_of(values, factor)
    ends = []
    for n in shape:
        first = data.draw(st.integers(0, n - 1))
        ends.append((first, data.draw(st.integers(first + 1, n))))
    all_values, all_valid = resized(values, valid, shape)
    (top, bottom), (left, right) = ends
    part_values, part_valid = resized(values, valid, shape, ends)
    np.testing.assert_array_equal(part_values, all_values[:, top:bottom, left:right])
    np.testing.assert_array_equal(part_valid, all_valid[top:bottom, left:right])


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("value", [0, 7, 255, 4095.5])
def test_a_constant_stays_and_unknown_pixels_do_not_leak(factor, value):
    random = np.random.default_rng(0)
    valid = random.random((53, 47)) < 0.7
    values = np.where(valid, np.float32(value), np.float32(np.nan))[None]
    out, known = resized(values, valid, shape_of(values, factor))
    np.testing.assert_allclose(out[:, known], value, rtol=1e-6)
    assert known.any()
    assert (out[:, ~known] == 0).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_a_slope_stays_a_slope_away_from_the_border(factor):
    rows, cols = np.mgrid[:90, :70].astype(np.float32)
    values = np.stack([rows, cols])
    shape = shape_of(values, factor)
    out, _ = resized(values, np.ones((90, 70), bool), shape)
    margin = int(np.ceil(2 * max(1, factor)))
    inner = slice(margin, -margin), slice(margin, -margin)
    expected = np.mgrid[: shape[0], : shape[1]] + 0.5
    for axis, size in enumerate((90, 70)):
        np.testing.assert_allclose(out[axis][inner], (expected[axis] * size / shape[axis] - 0.5)[inner], atol=0.02)


def test_the_same_size_gives_the_same_pixels():
    values = np.random.default_rng(0).uniform(0, 9, (3, 11, 17)).astype(np.float32)
    valid = np.random.default_rng(1).random((11, 17)) < 0.8
    out, known = resized(values, valid, (11, 17))
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(out, np.where(valid, values, 0))


def test_a_pixel_is_known_if_half_of_its_weight_is():
    valid = np.ones((1, 8), dtype=bool)
    valid[0, :4] = False
    _, known = resized(np.zeros((1, 1, 8), np.float32), valid, (1, 2))
    assert known.tolist() == [[False, True]]


def test_shrinking_is_antialiased():
    stripes = np.tile(np.array([0, 100], np.float32), (1, 60, 60))
    out, _ = resized(stripes, np.ones((60, 120), bool), (15, 30))
    np.testing.assert_allclose(out[0, :, 2:-2], 50, atol=1)


@given(st.integers(1, 300), st.integers(1, 300))
def test_weights_sum_to_one_and_stay_inside(size_in, size_out):
    found = taps(0, size_out, size_in=size_in, size_out=size_out)
    np.testing.assert_allclose(found.weight.sum(axis=1), 1, atol=1e-6)
    assert (found.weight >= 0).all()
    assert 0 <= found.start < found.stop <= size_in
    assert found.index.min() == 0
    assert found.index.max() == found.stop - found.start - 1


def test_whole_numbers_of_any_type_are_taken():
    for kind in (np.uint8, np.int16, np.uint16, np.int32):
        out, _ = resized(np.full((1, 6, 5), 100, kind), np.ones((6, 5), bool), (9, 7))
        np.testing.assert_allclose(out, 100, rtol=1e-6)
