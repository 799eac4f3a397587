"""Thinning 64 pixels at a time equals thinning pixel by pixel, and keeps components and holes."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import euler_number
from skimage.measure import label as components

from roadseg.thinning import thin, thin_steps


def survives(turn):
    """Return (256,) whether a road pixel stays, by its neighbours clockwise from above, as Guo and Hall define it."""
    p2, p3, p4, p5, p6, p7, p8, p9 = ((np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool)).T
    crossings = (~p2 & (p3 | p4)).astype(int) + (~p4 & (p5 | p6)) + (~p6 & (p7 | p8)) + (~p8 & (p9 | p2))
    one = (p9 | p2).astype(int) + (p3 | p4) + (p5 | p6) + (p7 | p8)
    other = (p2 | p3).astype(int) + (p4 | p5) + (p6 | p7) + (p8 | p9)
    pairs = np.minimum(one, other)
    guard = ((p6 | p7 | ~p9) & p8, (p2 | p3 | ~p5) & p4)[turn]
    return (crossings != 1) | (pairs < 2) | (pairs > 3) | guard


STAYS = survives(0), survives(1)


def plainly(mask, most=10**9):
    """Thin a mask by looking up every pixel in every step; also the last step that changed anything."""
    image, step, changed = np.pad(mask, 1), 0, 0
    while step < most and step - changed < 2:
        code = np.zeros(mask.shape, int)
        moves = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
        for bit, (row, col) in enumerate(moves):
            code |= image[1 + row : image.shape[0] - 1 + row, 1 + col : image.shape[1] - 1 + col].astype(int) << bit
        left = image[1:-1, 1:-1] * STAYS[step % 2][code]
        step += 1
        changed = step if (left != image[1:-1, 1:-1]).any() else changed
        image[1:-1, 1:-1] = left
    return image[1:-1, 1:-1], changed


def blobs(seed, height, width, smooth, share):
    field = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    if smooth:
        field = cv2.GaussianBlur(field, (0, 0), smooth)
    return (field > np.quantile(field, share)).astype(np.uint8)


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 90),
    width=st.integers(1, 200),
    smooth=st.sampled_from([0, 0.6, 1.5, 4]),
    share=st.floats(0.05, 0.95),
    most=st.sampled_from([0, 1, 2, 5, 1000]),
)
def test_words_of_64_pixels_give_what_pixel_by_pixel_gives(seed, height, width, smooth, share, most):
    mask = blobs(seed, height, width, smooth, share)
    skeleton, changed = thin_steps(mask, most=most)
    expected, last = plainly(mask, most)
    assert np.array_equal(skeleton, expected)
    assert changed == last


@pytest.mark.parametrize("seed", range(20))
def test_components_and_holes_stay_and_nothing_is_added(seed):
    mask = blobs(seed, 61, 183, 1 + seed % 4, 0.5)
    thinned = thin(mask)
    assert (thinned <= mask).all()
    assert components(thinned, connectivity=2).max() == components(mask, connectivity=2).max()
    assert euler_number(thinned, connectivity=2) == euler_number(mask, connectivity=2)
    squares = thinned[:-1, :-1] & thinned[1:, :-1] & thinned[:-1, 1:] & thinned[1:, 1:]
    assert squares.sum() <= 0.02 * thinned.sum()


def test_a_thick_road_becomes_its_middle():
    mask = np.zeros((30, 180), np.uint8)
    mask[10:17, :] = 1
    assert thin(mask)[:, 20:160].sum(axis=0).tolist() == [1] * 140
    assert thin(mask)[13, 20:160].all()


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_pixel_depends_on_as_many_pixels_around_it_as_there_are_steps(steps):
    mask = blobs(3, 80, 150, 3, 0.3)
    whole = thin_steps(mask, most=steps)[0]
    part = thin_steps(mask[20:70, 30:120], most=steps)[0]
    inner = np.s_[20 + steps : 70 - steps, 30 + steps : 120 - steps]
    assert np.array_equal(whole[inner], part[steps:-steps, steps:-steps])
    assert not np.array_equal(whole[20:70, 30:120], part)


def test_the_mask_is_not_changed():
    mask = blobs(1, 40, 70, 2, 0.5)
    before = mask.copy()
    thin(mask)
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (130, 1), (3, 64), (2, 65)])
def test_full_masks_of_any_shape_keep_one_component(shape):
    thinned = thin(np.ones(shape, np.uint8))
    assert thinned.shape == shape
    assert components(thinned, connectivity=2).max() == 1


def test_an_empty_mask_stays_empty():
    assert not thin(np.zeros((5, 100), np.uint8)).any()
    assert thin(np.zeros((0, 9), np.uint8)).shape == (0, 9)
