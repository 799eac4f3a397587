"""Scores of a model before and after it was adapted, on the same areas, and a picture of both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import TrainingError, counted
from roadseg.model.card import Measurement
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.training.dev_score import DevScore, DevScorer
from roadseg.training.figures import TileSample, draw_before_and_after
from roadseg.training.loop import Trainer

_SHOWN = 6


@dataclass(frozen=True)
class ScoredModel:
    """A model with its scorer, its score on areas, and the relaxed F1 of each area, NaN where there is no road."""

    scorer: DevScorer
    engine: TorchEngine
    threshold: float
    score: DevScore
    each: NDArray[np.float64]


def score_model(scorer: DevScorer, engine: TorchEngine, threshold: float) -> ScoredModel:
    """Score a model on areas at a threshold."""
    return ScoredModel(scorer, engine, threshold, *scorer.score_each(engine, threshold=threshold))


def gain_in_words(before: DevScore, after: DevScore, where: str) -> str:
    """Return what has changed as a sentence."""
    return (
        f"relaxed F1 {before.relaxed_f1:.2f} → {after.relaxed_f1:.2f}, IoU {before.iou:.2f} → {after.iou:.2f} on "
        f"{counted(after.tiles, where)}"
    )


def taught_in_words(run: Trainer, sheet: Path | None, teacher: str) -> str:
    """Return how long a run has learned from a teacher, and where to look; the sheet is its picture."""
    see = f"; {sheet} compares both models with what {teacher} is sure of" if sheet else ""
    return f"without labels nothing can be measured, after {_steps_of(run)}{see}"


def gain_kept_apart(before: ScoredModel, after: ScoredModel, run: Trainer, sheet: Path | None) -> str:
    """Return what a run has changed on the areas kept apart, and where to look; the sheet is its picture."""
    see = f"; see {sheet}" if sheet else ""
    is_raised = any(before.scorer.half_in(area.tile.pair) != 0.5 for area in before.scorer.areas)
    raised = " (before: with probabilities raised, as predict does there)" if is_raised else ""
    gain = gain_in_words(before.score, after.score, "area")
    return f"{gain} kept apart{raised}, after {_steps_of(run)}{see}"


def has_gained(before: DevScore, after: DevScore) -> bool:
    """Return whether a model has become better."""
    return after.relaxed_f1 > before.relaxed_f1


def no_gain(before: DevScore, after: DevScore, run: Trainer, sheet: Path | None) -> TrainingError:
    """Return the error of a model that has not become better in a run; the sheet is its picture."""
    see = f"see {sheet}, then " if sheet else ""
    more = "" if run.finished else "give it more time with --minutes, "
    return TrainingError(
        f"the model has not become better after {_steps_of(run)} ({gain_in_words(before, after, 'area')}), so none "
        f"was written; {see}{more}check the labels or add some, or write it with --anyway"
    )


def _steps_of(run: Trainer) -> str:
    """Return how many steps a run has taken, in words, and of how many if time has run out."""
    planned = "" if run.finished else f"{run.step} of "
    return f"{planned}{counted(run.settings.steps, 'step')}"


def score_elsewhere(scorer: DevScorer, before: ScoredModel, after: ScoredModel) -> tuple[DevScore, DevScore] | None:
    """Score both models on areas of another place, if there are any; the scorer is that of the model before."""
    if not scorer.areas:
        return None
    old = scorer.score(before.engine, threshold=before.threshold)
    return old, after.scorer.on(scorer.areas).score(after.engine, threshold=after.threshold)


def picture(before: ScoredModel, after: ScoredModel) -> NDArray[np.uint8] | None:
    """Draw areas from the worst to the best after adapting: the image, the roads before, the roads after.

    Returns
    -------
    (height, width, 3) uint8; None if no area holds road.
    """
    ranked = [int(index) for index in np.argsort(after.each, kind="stable") if not np.isnan(after.each[index])]
    if not ranked:
        return None
    evenly = np.rint(np.linspace(0, len(ranked) - 1, min(_SHOWN, len(ranked)))).astype(int)
    chosen = [ranked[rank] for rank in evenly]
    return draw_before_and_after([(_sample(before, index), _sample(after, index)) for index in chosen])


def measurements_before_after(before: DevScore, after: DevScore, data: str, where: str) -> list[Measurement]:
    """Return the figures of a card about areas that were neither learned from nor calibrated on until then."""
    place = f"{counted(after.tiles, where)} of {data}, not yet learned from"
    slack = "slack 3 px square at the default threshold, counts pooled, before these areas were learned from, too"
    found = "recalibrated where predict does so"
    return [
        Measurement(
            "relaxed F1", after.relaxed_f1, f"{slack}; {before.relaxed_f1:.4f} before adapting, {found}", place
        ),
        Measurement("IoU", after.iou, f"of the road class at the default threshold; {before.iou:.4f} before", place),
        Measurement("relaxed break-even", after.break_even, "precision = recall, slack 3 px square", place),
    ]


def _sample(model: ScoredModel, index: int) -> TileSample:
    return model.scorer.sample(model.engine, index, float(model.each[index]), model.threshold)
