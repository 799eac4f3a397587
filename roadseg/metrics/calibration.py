"""Calibration: how far predicted probabilities are from the observed share of road, and how to bring them together.

A temperature and a bias turn the model's logit z into sigmoid(z / temperature + bias). Two goals compete. As a
*probability*, 0.3 should be road three times in ten: maximum likelihood fits both numbers (Platt 1999). As a
*threshold*, 0.5 should be where roads are drawn best. The best threshold of a calibrated probability lies below 0.5,
at about half the F1 that can be reached (Lipton et al. 2014, arXiv:1402.1892), so both cannot be had. The compromise:
among all logits that draw roads practically as well as the best one, the one nearest to the maximum likelihood
becomes 0.5; the temperature is then the likeliest one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.metrics.pixels import FULL, VOID, Bytes, Counts, Floats, PixelCounts, best_level

CELLS = 1024
"""Number of histogram bins for logits."""

REACH = 16.0
"""Bins cover logits from minus to plus this; float32 probabilities cannot tell larger ones apart."""

EQUAL_F1 = 0.001
"""Difference in relaxed F1 that does not matter in practice."""

HOME_LOSS = 0.005
"""How much relaxed F1 a calibration for several domains may cost on the first.

More would be paid with precision, which road networks need: with a loss of 0.007 their APLS fell from 0.758 to 0.726,
with 0.003 to 0.757 (``compact``, 14 dev tiles).
"""

_LEVEL_REACH = 10.0
_STEEPEST = 20.0


@dataclass(frozen=True)
class LogitCounts:
    """Histograms of pixels by logit; counts of other pixels add.

    Parameters
    ----------
    pixels, road
        (1024,) int64: valid pixels, and those labelled road.
    """

    pixels: Counts
    road: Counts

    def __add__(self, other: "LogitCounts") -> "LogitCounts":
        """Add counts of other pixels."""
        return LogitCounts(self.pixels + other.pixels, self.road + other.road)


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities: sigmoid(logit / temperature + bias)."""

    temperature: float = 1.0
    bias: float = 0.0


def no_logits() -> LogitCounts:
    """Return counts of no pixels, to start a sum from."""
    return LogitCounts(np.zeros(CELLS, np.int64), np.zeros(CELLS, np.int64))


def count_logits(probability: NDArray[np.float32], valid: NDArray[np.bool_], label: Bytes) -> LogitCounts:
    """Count the pixels of an image.

    Parameters
    ----------
    probability, valid
        (height, width) float32 in [0, 1], and bool: where it is valid.
    label
        (height, width) uint8: 1 road, 255 nodata, anything else not road.
    """
    counted = valid & (label != VOID)
    cells = ((logit(probability[counted]) + REACH) * (CELLS / (2 * REACH))).astype(np.intp).clip(0, CELLS - 1)
    road = label[counted] == 1
    return LogitCounts(np.bincount(cells, minlength=CELLS), np.bincount(cells[road], minlength=CELLS))


def logit(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log(p / (1 − p)), bounded where float32 cannot tell p from 0 or 1."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float32)


def logit_levels(probability: NDArray[np.float32], valid: NDArray[np.bool_]) -> Bytes:
    """Quantize logits to levels in even steps, so that thresholds near 0 and 1 stay apart.

    Parameters
    ----------
    probability, valid
        (height, width) float32 in [0, 1], and bool: where it is valid.

    Returns
    -------
    (height, width) uint8: 0 to 254 for logits from -10 to 10, 255 for nodata.
    """
    levels = np.rint((logit(probability) + _LEVEL_REACH) * (FULL / (2 * _LEVEL_REACH))).clip(0, FULL)
    return np.where(valid, levels, VOID).astype(np.uint8)


def logit_of_level(level: int) -> float:
    """Return the lowest logit that is quantized to a level."""
    return (level - 0.5) * (2 * _LEVEL_REACH / FULL) - _LEVEL_REACH


def level_of_logit(logit: float) -> int:
    """Return the level from which pixels have at least this logit, as near as levels tell."""
    return int(np.clip(math.floor((logit + _LEVEL_REACH) * (FULL / (2 * _LEVEL_REACH)) + 0.5), 0, FULL))


def fit(counts: LogitCounts, *, middle: tuple[float, float] | None = None) -> Calibration:
    """Fit a calibration by maximum likelihood.

    Parameters
    ----------
    counts
        Histograms of uncalibrated logits.
    middle
        The range of logits that the one which becomes probability 0.5 is chosen from; None for no constraint.

    Returns
    -------
    The calibration. Its temperature is at least 0.05 (logits that separate road perfectly would make it 0), and 1 if
    logits carry no information.
    """
    cells: Floats = (np.arange(CELLS, dtype=np.float64) + 0.5) * (2 * REACH / CELLS) - REACH
    slope, shift = _likeliest(np.column_stack([cells, np.ones_like(cells)]), counts)
    steep = _bounded(slope)
    free = Calibration(1 / steep, shift * steep / slope) if steep else Calibration()
    if middle is None:
        return free
    pinned = min(max(-free.bias * free.temperature, middle[0]), middle[1])
    (slope,) = _likeliest((cells - pinned)[:, None], counts)
    slope = _bounded(slope) or 1.0
    return Calibration(1 / slope, -slope * pinned)


def as_good_as_best(f1: Floats, *, within: float = EQUAL_F1) -> tuple[float, float] | None:
    """Return the range of logits around the best one within which F1 is practically as good; None if F1 is undefined.

    Parameters
    ----------
    f1
        (256,) by level of ``logit_levels``.
    within
        Difference in F1 that does not matter in practice.
    """
    best = best_level(f1)
    if best is None:
        return None
    good = np.nan_to_num(f1, nan=-1.0) >= f1[best] - within
    after, before = np.flatnonzero(~good[best:]), np.flatnonzero(~good[: best + 1])
    low = int(before[-1]) + 1 if before.size else 0
    high = best + int(after[0]) - 1 if after.size else len(good) - 1
    return logit_of_level(low), logit_of_level(high)


def together(domains: Sequence[LogitCounts]) -> LogitCounts:
    """Add the counts of domains so that each has the same weight, however large it is."""
    largest = max(int(one.pixels.sum()) for one in domains)
    shares = [largest / max(1, int(one.pixels.sum())) for one in domains]
    scaled = [
        (np.rint(one.pixels * share), np.rint(one.road * share)) for one, share in zip(domains, shares, strict=True)
    ]
    return LogitCounts(*(np.sum(parts, axis=0).astype(np.int64) for parts in zip(*scaled, strict=True)))


def shared_f1(curves: Sequence[Floats], *, within: float = HOME_LOSS) -> Floats:
    """Return the mean of F1 over domains, where the first of them is not far below its best.

    Parameters
    ----------
    curves
        (256,) of each domain, by level of ``logit_levels``; the first is home.
    within
        What home may lose.

    Returns
    -------
    (256,), NaN where home would lose more.
    """
    home = curves[0]
    mean = np.mean([np.nan_to_num(curve) for curve in curves], axis=0)
    return np.where(home >= np.nanmax(home, initial=0.0) - within, mean, np.nan)


def expected_error(counts: PixelCounts, *, bins: int = 15) -> float:
    """Return the expected calibration error (ECE).

    Valid pixels are sorted by probability into bins of equal width on [0, 1]; the error is the mean over pixels of
    the distance between their bin's share of road and its mean probability (Naeini et al. 2015).

    Parameters
    ----------
    counts
        Counts by value p × 254.
    bins
        Number of bins; 15 is customary.

    Returns
    -------
    From 0 to 1; NaN if no pixel is valid.
    """
    probability = np.arange(FULL + 1) / FULL
    place = np.minimum((probability * bins).astype(np.intp), bins - 1)
    pixels = counts.pixels[: FULL + 1]
    expected = np.bincount(place, weights=pixels * probability, minlength=bins)
    road = np.bincount(place, weights=counts.road[: FULL + 1], minlength=bins)
    total = int(pixels.sum())
    return float(np.abs(expected - road).sum() / total) if total else math.nan


def _bounded(slope: float) -> float:
    """Limit a slope to the steepest sensible one; 0 if it is flat, falling or not finite."""
    return min(slope, _STEEPEST) if math.isfinite(slope) and slope >= 1 / _STEEPEST else 0.0


def _likeliest(features: Floats, counts: LogitCounts, rounds: int = 100) -> list[float]:
    """Fit a logistic regression by Newton's method, halving steps that increase the cost."""
    weights: Floats = np.zeros(features.shape[1])
    weights[0] = 1.0
    total = max(1, int(counts.pixels.sum()))

    def cost(w: Floats) -> float:
        score = features @ w
        return float((counts.pixels * np.logaddexp(0, score) - counts.road * score).sum() / total)

    current = cost(weights)
    for _ in range(rounds):
        probability = 0.5 * (1 + np.tanh(features @ weights / 2))  # the sigmoid, without overflow
        gradient = features.T @ (counts.pixels * probability - counts.road) / total
        hessian = (features.T * (counts.pixels * probability * (1 - probability))) @ features / total
        step = np.linalg.solve(hessian + 1e-12 * np.eye(len(weights)), gradient)
        while cost(weights - step) > current and np.abs(step).max() > 1e-9:
            step = step / 2
        weights, previous, current = weights - step, current, cost(weights - step)
        if previous - current < 1e-12 or abs(weights[0]) > 2 * _STEEPEST:
            break
    return [float(weight) for weight in weights]
