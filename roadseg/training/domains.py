"""One calibration for several places (domains): home, where the training data come from, and others of equal weight.

Away from home a model is less sure of its roads, so its best threshold is lower there. Among the logits that cost
home at most 0.005 of relaxed F1, the one with the best mean over all places becomes probability 0.5. Leaving
out each place in turn estimates how well this works in a place that the calibration has never seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadseg.errors import counted
from roadseg.metrics.calibration import (
    EQUAL_F1,
    Calibration,
    LogitCounts,
    as_good_as_best,
    fit,
    level_of_logit,
    shared_f1,
    together,
)
from roadseg.metrics.pixels import PixelCounts, relaxed
from roadseg.settings import CalibrationGoal


@dataclass(frozen=True)
class DomainCounts:
    """Pixel counts of one place by logit.

    Parameters
    ----------
    name
        Name of the place.
    logits
        Counts that probabilities are fitted to.
    levels
        Counts by level of ``logit_levels``, for relaxed measures.
    tiles
        Number of tiles counted.
    """

    name: str
    logits: LogitCounts
    levels: PixelCounts
    tiles: int


@dataclass(frozen=True)
class DomainScore:
    """Relaxed F1 in another place.

    Parameters
    ----------
    name, tiles
        Name of the place and number of its tiles.
    relaxed_f1
        Relaxed F1 at probability 0.5, calibrated on all places.
    left_out
        The same, calibrated on all places but this one.
    best_f1
        Relaxed F1 at the place's own best threshold.
    """

    name: str
    tiles: int
    relaxed_f1: float
    left_out: float
    best_f1: float


def shared_calibration(
    domains: Sequence[DomainCounts], goal: CalibrationGoal, within: float = EQUAL_F1
) -> Calibration | None:
    """Return the best calibration for places, the first of which is home; None if there is no road or no goal.

    What becomes 0.5 may cost ``within`` of the best relaxed F1, if that brings probabilities nearer to true ones.
    """
    if goal == "none":
        return None
    curves = [relaxed(counts.levels).f1 for counts in domains]
    middle = as_good_as_best(shared_f1(curves) if len(curves) > 1 else curves[0], within=within)
    if middle is None:
        return None
    logits = together([counts.logits for counts in domains]) if len(domains) > 1 else domains[0].logits
    return fit(logits) if goal == "probability" else fit(logits, middle=middle)


def domain_scores(
    domains: Sequence[DomainCounts], goal: CalibrationGoal, calibration: Calibration
) -> list[DomainScore]:
    """Score the places other than home, with a calibration and with one that leaves the place out."""
    scores = []
    for index, counts in enumerate(domains[1:], 1):
        f1 = relaxed(counts.levels).f1
        without = shared_calibration([*domains[:index], *domains[index + 1 :]], goal) or Calibration()
        at_half, left_out = (float(f1[_level_of_half(each)]) for each in (calibration, without))
        scores.append(DomainScore(counts.name, counts.tiles, at_half, left_out, float(np.nanmax(f1))))
    return scores


def _level_of_half(calibration: Calibration) -> int:
    """Return the level of the logit that becomes probability 0.5: logit / temperature + bias is 0 there."""
    return level_of_logit(-calibration.bias * calibration.temperature)


def mean_in_words(scores: Sequence[DomainScore]) -> str:
    """Return the mean over other places as a sentence."""
    mean, left_out = (sum(getattr(one, key) for one in scores) / len(scores) for key in ("relaxed_f1", "left_out"))
    places = counted(len(scores), "other place")
    return f"{places}: mean relaxed F1 {mean:.4f}, {left_out:.4f} where each is calibrated without itself"
