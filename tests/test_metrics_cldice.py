"""clDice is its formula, whatever the skeletonizer."""

import cv2
import numpy as np
import pytest
from skimage.morphology import skeletonize

from roadseg.metrics.cldice import HALO_PX, ClDiceCounts, cldice, count_skeletons


def roads(seed, height=120, width=175, thickness=7):
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), np.uint8)
    for _ in range(9):
        (r0, r1), (c0, c1) = rng.integers(0, height, 2).tolist(), rng.integers(0, width, 2).tolist()
        cv2.line(image, (c0, r0), (c1, r1), 1, thickness)
    return image


def scikit(mask):
    return skeletonize(mask.astype(bool)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_formula_with_scikit_images_skeleton(seed):
    prediction, label = roads(seed), roads(seed) | roads(seed + 50, thickness=3)
    sp, sl = skeletonize(prediction > 0), skeletonize(label > 0)
    tprec = (sp & (label > 0)).sum() / sp.sum()
    tsens = (sl & (prediction > 0)).sum() / sl.sum()
    counts = count_skeletons(prediction, label, skeletonize=scikit)
    assert 0 < tsens < 1
    assert cldice(counts) == pytest.approx(2 * tprec * tsens / (tprec + tsens), abs=1e-12)
    assert cldice(count_skeletons(prediction, label)) == pytest.approx(cldice(counts), abs=0.05)


@pytest.mark.parametrize("block", [(64, 64), (100, 37), (31, 175)])
def test_blocks_with_a_halo_add_up_to_the_whole(block):
    prediction, label = roads(4, 210, 290, 9), roads(5, 210, 290, 5)
    total = ClDiceCounts()
    for row in range(0, 210, block[0]):
        for col in range(0, 290, block[1]):
            top, left = max(0, row - HALO_PX), max(0, col - HALO_PX)
            there = np.s_[top : row + block[0] + HALO_PX, left : col + block[1] + HALO_PX]
            core = np.s_[row - top : row - top + block[0], col - left : col - left + block[1]]
            total += count_skeletons(prediction[there], label[there], core=core)
    assert total == count_skeletons(prediction, label)


def test_nodata_pixels_are_not_counted():
    prediction, label = roads(1), roads(2)
    valid = np.ones_like(label)
    valid[:, 80:] = 0
    cut = count_skeletons(prediction, label, valid=valid)
    assert cut == count_skeletons(prediction * valid, label * valid)
    assert cut.prediction < count_skeletons(prediction, label).prediction


def test_empty_masks_score_zero_or_nan():
    empty, some = np.zeros((9, 14), np.uint8), np.ones((9, 14), np.uint8)
    assert np.isnan(cldice(count_skeletons(empty, empty)))
    assert cldice(count_skeletons(some, empty)) == cldice(count_skeletons(empty, some)) == 0
    assert cldice(count_skeletons(some, some)) == 1
