"""One calibration for several places: home, where the training data are from, and others with the same weight.

Away from home a network is less sure of its roads, so the best threshold lies lower there. Of all logits that cost
home at most 0.01 of relaxed F1, 0.5 becomes one that is best for the mean over the places. How well
this does in a place nobody calibrated on is told by leaving each out in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadseg.metrics.calibration import (
    Calibration,
    LogitCounts,
    as_good_as_best,
    fit,
    level_of_logit,
    shared_f1,
    together,
)
from roadseg.metrics.pixels import PixelCounts, relaxed
from roadseg.progress import counted
from roadseg.settings import CalibrationGoal


@dataclass(frozen=True)
class Tally:
    """Pixels of a place by logit.

    Parameters
    ----------
    name
        Of the place.
    logits
        To fit probabilities to.
    levels
        By level of ``logit_levels``, with the slack of relaxed measures.
    tiles
        How many there were.
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
        Of the place.
    relaxed_f1
        At the probability 0.5, calibrated with all places.
    left_out
        The same, calibrated with all places but this one.
    best_f1
        At the place's own best threshold.
    """

    name: str
    tiles: int
    relaxed_f1: float
    left_out: float
    best_f1: float


def calibrated(tallies: Sequence[Tally], goal: CalibrationGoal) -> Calibration | None:
    """Return the calibration that serves places best, the first of which is home; None if there is none."""
    if goal == "none":
        return None
    curves = [relaxed(one.levels).f1 for one in tallies]
    middle = as_good_as_best(shared_f1(curves) if len(curves) > 1 else curves[0])
    if middle is None:
        return None
    logits = together([one.logits for one in tallies]) if len(tallies) > 1 else tallies[0].logits
    return fit(logits) if goal == "probability" else fit(logits, middle=middle)


def domain_scores(tallies: Sequence[Tally], goal: CalibrationGoal, calibration: Calibration) -> list[DomainScore]:
    """Score the places that are not home, with a calibration and with ones that left them out."""
    found = []
    for index, one in enumerate(tallies[1:], 1):
        f1 = relaxed(one.levels).f1
        without = calibrated([*tallies[:index], *tallies[index + 1 :]], goal) or Calibration()
        at, left_out = (float(f1[level_of_logit(-how.bias * how.temperature)]) for how in (calibration, without))
        found.append(DomainScore(one.name, one.tiles, at, left_out, float(np.nanmax(f1))))
    return found


def mean_in_words(scores: Sequence[DomainScore]) -> str:
    """Return the mean over other places as a sentence."""
    mean, left_out = (sum(getattr(one, key) for one in scores) / len(scores) for key in ("relaxed_f1", "left_out"))
    where = counted(len(scores), "other place")
    return f"{where}: mean relaxed F1 {mean:.4f}, {left_out:.4f} where each is calibrated without itself"
