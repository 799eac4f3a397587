"""Pixel counts equal a loop over pixels, for any neighbourhood, void, and way of cutting blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from roadseg.metrics import pixels
from roadseg.metrics.pixels import (
    VOID,
    PixelCounts,
    best_level,
    break_even_level,
    count_pixels,
    dilate,
    exact,
    halo_px,
    no_pixels,
    relaxed,
)

FIELDS = ("pixels", "road", "near", "found")


def draw(seed, height, width, *, void=0.1, road=0.1):
    """A small world: coarse probabilities so that values repeat, sparse roads, void on both sides."""
    rng = np.random.default_rng(seed)
    probability = (rng.integers(0, 6, (height, width)) * 50 + rng.integers(0, 5)).astype(np.uint8)
    probability[rng.random((height, width)) < void] = VOID
    label = (rng.random((height, width)) < road).astype(np.uint8)
    label[rng.random((height, width)) < void] = VOID
    return probability, label


def loop(probability, label, slack, neighbourhood):
    """The definition, pixel by pixel."""
    height, width = label.shape
    known = (label != VOID) & (probability != VOID)
    counts = {field: np.zeros(256, dtype=np.int64) for field in FIELDS}
    for row in range(height):
        for col in range(width):
            if not known[row, col]:
                continue
            road_near, largest = False, 0
            for r in range(height):
                for c in range(width):
                    dr, dc = abs(r - row), abs(c - col)
                    far = max(dr, dc) > slack if neighbourhood == "square" else dr**2 + dc**2 > slack**2
                    if far or not known[r, c]:
                        continue
                    road_near |= bool(label[r, c] == 1)
                    largest = max(largest, probability[r, c])
            value = probability[row, col]
            counts["pixels"][value] += 1
            counts["near"][value] += road_near
            if label[row, col] == 1:
                counts["road"][value] += 1
                counts["found"][largest] += 1
    return counts


def assert_same(counts, other):
    for field in FIELDS:
        expected = other[field] if isinstance(other, dict) else getattr(other, field)
        np.testing.assert_array_equal(getattr(counts, field), expected, err_msg=field)


@pytest.mark.parametrize("neighbourhood", ["square", "disk"])
@pytest.mark.parametrize("slack", [0, 1, 2.5, 3, 5])
@pytest.mark.parametrize("shape", [(13, 19), (1, 17), (16, 3)])
def test_counts_equal_the_loop(neighbourhood, slack, shape):
    probability, label = draw(int(10 * slack) + shape[0], *shape)
    counted = count_pixels(probability, label, slack_px=slack, neighbourhood=neighbourhood)
    assert_same(counted, loop(probability, label, slack, neighbourhood))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    block=st.integers(1, 17),
    slack=st.sampled_from([0, 1, 1.5, 3, 6]),
    neighbourhood=st.sampled_from(["square", "disk"]),
)
def test_blocks_with_a_halo_add_up_to_the_whole(seed, height, width, block, slack, neighbourhood):
    probability, label = draw(seed, height, width)
    how = {"slack_px": slack, "neighbourhood": neighbourhood}
    total, halo = no_pixels(**how), halo_px(slack)
    for row in range(0, height, block):
        for col in range(0, width, block):
            top, left = max(0, row - halo), max(0, col - halo)
            there = np.s_[top : row + block + halo, left : col + block + halo]
            core = np.s_[row - top : row - top + block, col - left : col - left + block]
            total += count_pixels(probability[there], label[there], core=core, **how)
    assert_same(total, count_pixels(probability, label, **how))


def test_a_halo_one_pixel_short_is_noticed():
    probability, label = draw(5, 24, 31, void=0, road=0.02)
    whole = count_pixels(probability, label)
    total = no_pixels()
    for row in (0, 12):
        top = max(0, row - 2)
        core = np.s_[row - top : row - top + 12, :]
        total += count_pixels(probability[top : row + 14], label[top : row + 14], core=core)
    assert (total.near != whole.near).any() or (total.found != whole.found).any()


def test_strips_inside_a_block_do_not_show(monkeypatch):
    probability, label = draw(8, 90, 41)
    whole = count_pixels(probability, label, slack_px=2)
    monkeypatch.setattr(pixels, "_STRIP_PX", 41 * 9)
    assert_same(count_pixels(probability, label, slack_px=2), whole)


def test_exact_ratios_equal_scikit_learn_at_every_threshold():
    probability, label = draw(3, 40, 57)
    known = (probability != VOID) & (label != VOID)
    curve = exact(count_pixels(probability, label))
    truth = label[known] == 1
    for level in (0, 1, 3, 53, 104, 150, 203):
        said = probability[known] >= level
        assert curve.iou[level] == pytest.approx(jaccard_score(truth, said), abs=1e-12)
        assert curve.f1[level] == pytest.approx(f1_score(truth, said), abs=1e-12)
        assert curve.precision[level] == pytest.approx(precision_score(truth, said), abs=1e-12)
        assert curve.recall[level] == pytest.approx(recall_score(truth, said), abs=1e-12)


@pytest.mark.parametrize("neighbourhood", ["square", "disk"])
def test_relaxed_ratios_equal_masks_compared_one_threshold_at_a_time(neighbourhood):
    probability, label = draw(4, 33, 25)
    known = (probability != VOID) & (label != VOID)
    curve = relaxed(count_pixels(probability, label, slack_px=2, neighbourhood=neighbourhood))
    truth = known & (label == 1)
    near = dilate(truth.astype(np.uint8), 2, neighbourhood) > 0
    for level in (1, 54, 103, 201, 251):
        said = known & (probability >= level)
        if said.any():
            assert curve.precision[level] == pytest.approx((said & near).sum() / said.sum(), abs=1e-12)
        reached = dilate(said.astype(np.uint8), 2, neighbourhood) > 0
        recall = (truth & reached).sum() / truth.sum()
        assert curve.recall[level] == pytest.approx(recall, abs=1e-12)


def test_a_square_and_a_disk_differ_and_a_perfect_answer_scores_one():
    label = np.zeros((30, 41), np.uint8)
    label[:, 20] = 1
    probability = np.zeros_like(label)
    probability[3:27:8, 23] = 254
    label[5:, :] = 0
    square, disk = (relaxed(count_pixels(probability, label, neighbourhood=n)) for n in ("square", "disk"))
    assert square.recall[254] > disk.recall[254] > 0
    perfect = count_pixels(label * np.uint8(254), label)
    for curve in (exact(perfect), relaxed(perfect)):
        assert curve.precision[254] == curve.recall[254] == curve.f1[254] == 1
    assert exact(perfect).iou[254] == 1


def test_a_shift_by_the_slack_is_right_and_one_pixel_more_is_wrong():
    label = np.zeros((20, 33), np.uint8)
    label[:, 10] = 1
    for shift, score in ((3, 1.0), (4, 0.0)):
        moved = np.roll(label, shift, axis=1) * np.uint8(254)
        curve = relaxed(count_pixels(moved, label, slack_px=3))
        assert curve.precision[254] == curve.recall[254] == score


def test_nodata_pixels_count_neither_themselves_nor_for_neighbours():
    label = np.zeros((9, 12), np.uint8)
    probability = np.zeros_like(label)
    label[4, 3], probability[4, 5] = 1, 254
    assert relaxed(count_pixels(probability, label)).precision[254] == 1
    hidden_prediction = probability.copy()
    hidden_prediction[4, 3] = VOID
    counted = count_pixels(hidden_prediction, label)
    assert counted.pixels.sum() == 9 * 12 - 1
    assert counted.near.sum() == counted.road.sum() == 0
    hidden_label = label.copy()
    hidden_label[4, 5] = VOID
    curve = relaxed(count_pixels(probability, hidden_label))
    assert np.isnan(curve.precision[254])
    assert curve.recall[254] == 0


def test_empty_arrays_have_undefined_ratios():
    nothing, road = np.zeros((5, 7), np.uint8), np.ones((5, 7), np.uint8)
    for ratios in (exact, relaxed):
        both = ratios(count_pixels(nothing, nothing))
        assert np.isnan([both.precision[127], both.recall[127], both.f1[127]]).all()
        missed = ratios(count_pixels(nothing, road))
        assert np.isnan(missed.precision[127])
        assert missed.recall[127] == missed.f1[127] == 0
        invented = ratios(count_pixels(road * np.uint8(254), nothing))
        assert np.isnan(invented.recall[127])
        assert invented.precision[127] == invented.f1[127] == 0
    assert exact(count_pixels(nothing, road)).iou[127] == 0
    assert np.isnan(exact(count_pixels(nothing, nothing)).iou[127])
    void = np.full((5, 7), VOID, np.uint8)
    unknown = count_pixels(void, road)
    assert unknown.pixels.sum() == 0
    assert best_level(exact(unknown).iou) is None
    assert break_even_level(relaxed(unknown)) is None


def test_the_break_even_point_is_where_precision_and_recall_meet():
    label = np.zeros((1, 100), np.uint8)
    label[0, :40] = 1
    probability = np.zeros_like(label)
    probability[0, :30], probability[0, 30:40], probability[0, 40:50] = 200, 20, 120
    curve = exact(count_pixels(probability, label))
    level = break_even_level(curve)
    assert level == 21
    assert curve.precision[level] == curve.recall[level] == 30 / 40
    assert best_level(curve.iou) == 1


def test_thresholds_with_only_wrong_pixels_left_are_no_break_even_point():
    label = np.zeros((1, 50), np.uint8)
    label[0, :10] = 1
    probability = np.zeros_like(label)
    probability[0, :9], probability[0, 20] = 100, 250
    curve = exact(count_pixels(probability, label))
    assert curve.precision[250] == curve.recall[250] == 0
    assert break_even_level(curve) == 1
    assert curve.precision[1] == 0.9


def test_counts_made_in_different_ways_do_not_add():
    for other in (no_pixels(slack_px=2), no_pixels(neighbourhood="disk")):
        with pytest.raises(ValueError, match="do not add"):
            no_pixels() + other


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        count_pixels(np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        count_pixels(np.zeros((3, 4), np.float32), np.zeros((3, 4), np.uint8))


def test_counts_are_plain_sums():
    probability, label = draw(2, 20, 30)
    one = count_pixels(probability, label)
    twice = one + one
    assert isinstance(twice, PixelCounts)
    assert twice.pixels.sum() == 2 * one.pixels.sum()
    np.testing.assert_array_equal(exact(twice).iou, exact(one).iou)
