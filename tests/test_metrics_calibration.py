"""Calibration: a known distortion is undone, and the error is what its definition says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from roadseg.metrics.calibration import (
    Calibration,
    LogitCounts,
    as_good_as_best,
    count_logits,
    expected_error,
    fit,
    level_of_logit,
    logit,
    logit_levels,
    logit_of_level,
    no_logits,
    shared_f1,
    together,
)
from roadseg.metrics.pixels import count_pixels, relaxed
from roadseg.training.domains import DomainCounts, shared_calibration

SHAPE = (301, 417)


def world(slope: float = 1.0, shift: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw labels from known probabilities; what a network says of them has its logit at slope × z + shift."""
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 2, SHAPE)
    label = (rng.random(SHAPE) < 1 / (1 + np.exp(-z))).astype(np.uint8)
    return (1 / (1 + np.exp(-(slope * z + shift)))).astype(np.float32), label


def known() -> NDArray[np.bool_]:
    return np.ones(SHAPE, np.bool_)


@pytest.mark.parametrize(("slope", "shift"), [(1, 0), (2, -1), (0.5, 0.7)])
def test_a_distortion_is_undone(slope: float, shift: float) -> None:
    found = fit(count_logits(world(slope, shift)[0], known(), world()[1]))
    assert found.temperature == pytest.approx(slope, rel=0.03)
    assert found.bias == pytest.approx(-shift / slope, abs=0.03)


@pytest.mark.parametrize("middle", [-1.5, 0.0, 2.0])
def test_a_pinned_logit_becomes_one_half(middle: float) -> None:
    found = fit(count_logits(*_with_known(world(2, 0))), middle=(middle, middle))
    assert middle / found.temperature + found.bias == pytest.approx(0, abs=1e-9)
    free = fit(count_logits(*_with_known(world(2, 0))), middle=(-1.0, 1.0))
    assert free.temperature == pytest.approx(2, rel=0.03)


def test_pinning_is_the_likeliest_of_all_slopes() -> None:
    probability, label = world(2, 1)
    middle, z = 0.4, logit(probability)
    found = fit(count_logits(probability, known(), label), middle=(middle, middle + 3))

    def cost(temperature: float) -> float:
        score = (z - middle) / temperature
        return float((np.logaddexp(0, score) - label * score).mean())

    assert all(cost(found.temperature) < cost(found.temperature * other) for other in (0.9, 1.1))


def test_uninformative_and_perfect_logits_give_a_finite_calibration() -> None:
    label = world()[1]
    assert fit(count_logits(np.full(SHAPE, 0.3, np.float32), known(), label)).temperature > 0
    assert fit(count_logits(1 - world()[0], known(), label)) == Calibration()
    backwards = fit(count_logits(1 - world()[0], known(), label), middle=(0.5, 0.5))
    assert backwards == Calibration(1.0, -0.5)
    perfect = fit(count_logits(label.astype(np.float32), known(), label))
    assert perfect.temperature > 0
    assert math.isfinite(perfect.bias)


def test_nodata_is_not_counted_and_parts_add() -> None:
    probability, label = world()
    label[:100] = 255
    valid = known()
    valid[:, 400:] = False
    whole = count_logits(probability, valid, label)
    parts = sum(
        (count_logits(probability[:, part], valid[:, part], label[:, part]) for part in (np.s_[:200], np.s_[200:])),
        no_logits(),
    )
    assert int(whole.pixels.sum()) == 201 * 400
    assert np.array_equal(whole.pixels, parts.pixels)
    assert np.array_equal(whole.road, parts.road)


def test_expected_error_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, SHAPE).astype(np.uint8)
    label = rng.integers(0, 2, SHAPE).astype(np.uint8)
    label[:50] = 255
    counted = (values != 255) & (label != 255)
    p, road = values[counted] / 254, label[counted] == 1
    error = 0.0
    for number in range(15):
        inside = (p >= number / 15) & ((p < (number + 1) / 15) | (number == 14))
        error += inside.mean() * abs(road[inside].mean() - p[inside].mean())
    assert expected_error(count_pixels(values, label)) == pytest.approx(error)


def test_expected_error_of_the_truth_is_small_and_of_nothing_unknown() -> None:
    probability, label = world()
    levels = np.rint(probability * 254).astype(np.uint8)
    assert expected_error(count_pixels(levels, label)) < 0.01
    distorted = np.rint(world(3, 1)[0] * 254).astype(np.uint8)
    assert expected_error(count_pixels(distorted, label)) > 0.05
    assert math.isnan(expected_error(count_pixels(levels, np.full(SHAPE, 255, np.uint8))))


def test_practically_the_best_is_a_range_around_the_best() -> None:
    f1 = np.full(256, np.nan)
    f1[100:120] = np.concatenate([np.linspace(0.1, 0.8, 8), [0.8005, 0.801, 0.8008, 0.8002], np.linspace(0.7, 0.1, 8)])
    f1[200] = 0.8007
    assert as_good_as_best(f1) == (logit_of_level(107), logit_of_level(111))
    assert as_good_as_best(f1, within=0) == (logit_of_level(109), logit_of_level(109))
    assert as_good_as_best(np.full(256, np.nan)) is None
    assert as_good_as_best(np.ones(256)) == (logit_of_level(0), logit_of_level(255))


def test_what_may_cost_more_is_nearer_to_a_true_half() -> None:
    probability, label = (one[:60, :80].repeat(12, axis=0).repeat(12, axis=1) for one in world(shift=-1.5))
    valid = np.ones(label.shape, np.bool_)
    levels = count_pixels(logit_levels(probability, valid), label)
    counts = DomainCounts("", count_logits(probability, valid, label), levels, 1)
    f1, middles = relaxed(levels).f1, []
    for within in (0.001, 0.02, 1.0):
        found = shared_calibration([counts], "threshold", within)
        assert found is not None
        middles.append(-found.bias * found.temperature)
        assert f1[level_of_logit(middles[-1] + 1e-6)] >= np.nanmax(f1) - within
    assert middles[0] < middles[1] - 0.1 < middles[2] - 0.2
    assert middles[2] == pytest.approx(-1.5, abs=0.05)


def test_domains_have_the_same_weight_whatever_their_size() -> None:
    few, many = (LogitCounts(np.full(1024, n), np.full(1024, n // 4 * k)) for n, k in ((4, 1), (400, 2)))
    both = together([few, many])
    assert both.pixels.tolist() == [800] * 1024
    assert both.road.tolist() == [300] * 1024


def test_home_bounds_what_is_best_for_all() -> None:
    home, other = np.full(256, 0.5), np.full(256, 0.2)
    home[100:140] = 0.9
    home[90:100] = 0.8905
    other[50:120] = np.linspace(0.45, 0.4, 70)
    mean = shared_f1([home, other], within=0.01)
    assert np.flatnonzero(~np.isnan(mean)).tolist() == list(range(90, 140))
    assert np.nanargmax(mean) == 100
    assert np.nanargmax(shared_f1([home, other], within=0.5)) == 100
    other[50:100] += 0.2
    assert np.nanargmax(shared_f1([home, other], within=0.01)) == 90
    assert np.isnan(shared_f1([np.full(256, np.nan), other])).all()


@given(st.floats(-9.5, 9.5))
def test_a_logit_lies_in_its_level(value: float) -> None:
    level = level_of_logit(value)
    assert logit_of_level(level) - 1e-9 <= value < logit_of_level(level + 1) + 1e-9


@given(st.floats(-9.5, 9.5), st.floats(-9.5, 9.5))
def test_quantized_logits_keep_order_and_know_their_lowest_logit(one: float, other: float) -> None:
    probability = (1 / (1 + np.exp(-np.array([[one, other]])))).astype(np.float32)
    levels = logit_levels(probability, np.array([[True, True]]))
    assert (one <= other) == (levels[0, 0] <= levels[0, 1]) or abs(one - other) < 0.1
    level = int(levels[0, 0])
    assert logit_of_level(level) - 1e-3 <= one <= logit_of_level(level + 1) + 1e-3
    assert logit_levels(probability, np.array([[True, False]]))[0, 1] == 255


def _with_known(
    pair: tuple[NDArray[np.float32], NDArray[np.uint8]],
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]:
    return pair[0], known(), world()[1]
