"""Calibrate a trained model on the dev tiles, score it there, and write both into its model card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

import roadseg
from roadseg.errors import counted
from roadseg.metrics.calibration import Calibration
from roadseg.model.card import Measurement, ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.settings import CalibrationGoal, EngineSettings
from roadseg.training.dev_score import DevScore, DevScorer
from roadseg.training.domains import DomainScore
from roadseg.training.figures import TileSample


@dataclass(frozen=True)
class CalibrationResult:
    """Calibration of a model, the threshold that belongs to it, and the scores on the dev tiles.

    Parameters
    ----------
    calibration
        Temperature and bias of the logits.
    threshold
        Probability from which a pixel counts as road.
    score
        Scores on the dev tiles; None without tiles.
    measured
        Figures for the model card.
    samples
        The worst and the best dev tiles, as pictures.
    domains
        Scores in other places.
    shifts
        Scores in other colours, by name of the shift.
    """

    calibration: Calibration = Calibration()  # noqa: RUF009 (it is frozen)
    threshold: float = 0.5
    score: DevScore | None = None
    measured: tuple[Measurement, ...] = ()
    samples: tuple[TileSample, ...] = ()
    domains: tuple[DomainScore, ...] = ()
    shifts: Mapping[str, DevScore] = field(default_factory=dict)


def calibrate_and_score(
    model: ResUNet, card: ModelCard, scorer: DevScorer, goal: CalibrationGoal, *, data: str, pictures: int = 2,
    domains: Sequence[tuple[str, DevScorer]] = (), shift_tiles: int = 0,
) -> CalibrationResult:  # fmt: skip
    """Calibrate and score a model; without dev tiles it stays uncalibrated and unscored.

    Parameters
    ----------
    model, card
        Network to score, and the card with the normalization of its input.
    scorer
        Scorer of the dev tiles.
    goal
        What calibrated probabilities mean.
    data
        Description of the tiles for the model card.
    pictures
        Number of the worst and of the best tiles to draw.
    domains
        Names and scorers of other places, each with the same weight in the calibration.
    shift_tiles
        Number of tiles to score in other colours as well.
    """
    if not scorer.areas:
        return CalibrationResult()
    calibration, threshold, before, others = scorer.calibrate(engine_of(model, card.mean, card.std), goal, domains)
    engine = engine_of(model, card.mean, card.std, calibration=calibration)
    score, each = scorer.score_each(engine, threshold=threshold)
    samples = scorer.samples(engine, each, score.threshold, count=pictures)
    with_road = np.flatnonzero(~np.isnan(each)).tolist()
    chosen = with_road[:: -(-len(with_road) // shift_tiles)] if shift_tiles else []
    shifts = scorer.score_shifts(engine, chosen, score.threshold) if chosen else {}
    measured = (
        *measurements(score, before.calibration_error, data),
        *shift_measurements(shifts, len(chosen)),
        *domain_measurements(others),
    )
    return CalibrationResult(calibration, score.threshold, score, measured, tuple(samples), tuple(others), shifts)


def shift_measurements(shifts: Mapping[str, DevScore], tiles: int) -> list[Measurement]:
    """Return the figures of a card about tiles in other colours: each shift, and their mean."""
    if not shifts:
        return []
    plain, *others = shifts.values()
    data = f"{counted(tiles, 'dev tile')} in other colours (values x from 0 to 1, clipped)"
    found = [
        Measurement(
            f"relaxed F1: {name}",
            score.relaxed_f1,
            f"threshold {score.threshold:.3f}; {score.best_f1:.3f} at the best threshold",
            data,
        )
        for name, score in shifts.items()
        if name != "none"
    ]
    mean = sum(score.relaxed_f1 for score in others) / len(others)
    return [*found, Measurement("mean of these", mean, f"{plain.relaxed_f1:.3f} in the tiles' own colours", data)]


def shifts_in_words(shifts: Mapping[str, DevScore]) -> str:
    """Return the mean and the worst score of the shifts as a sentence."""
    others = {name: score.relaxed_f1 for name, score in shifts.items() if name != "none"}
    worst = min(others, key=lambda name: others[name])
    plain, mean = shifts["none"], sum(others.values()) / len(others)
    return (
        f"{counted(plain.tiles, 'dev tile')} in {len(others)} other colours: mean relaxed F1 {mean:.4f}, worst "
        f"{others[worst]:.4f} ({worst}), {plain.relaxed_f1:.4f} in their own"
    )


def domain_measurements(scores: Sequence[DomainScore]) -> list[Measurement]:
    """Return the figures of a card about other places: each of them, and their mean."""
    if not scores:
        return []
    data = f"{counted(len(scores), 'other place')}, each with the weight of the dev tiles in the calibration"
    slack = "slack 3 px square at threshold 0.5"
    found = [
        Measurement(
            f"relaxed F1 of {score.name}",
            score.relaxed_f1,
            f"{slack}; {score.left_out:.3f} calibrated without it, {score.best_f1:.3f} at its best threshold; "
            f"{counted(score.tiles, 'image')}",
            data,
        )
        for score in scores
    ]
    mean, left_out, best = (
        sum(getattr(score, key) for score in scores) / len(scores) for key in ("relaxed_f1", "left_out", "best_f1")
    )
    conditions = f"{slack}; {left_out:.3f} each calibrated without itself, {best:.3f} each at its best threshold"
    return [*found, Measurement("mean of these", mean, conditions, data)]


def engine_of(
    model: ResUNet, mean: tuple[float, ...], std: tuple[float, ...], *, calibration: Calibration | None = None
) -> TorchEngine:
    """Return an engine that predicts as ``roadseg predict`` does, on the device of the model."""
    logits, device = calibration or Calibration(), str(next(model.parameters()).device)
    return TorchEngine(model, mean, std, EngineSettings(device), temperature=logits.temperature, bias=logits.bias)


def with_calibration(card: ModelCard, result: CalibrationResult) -> ModelCard:
    """Return a card with the calibration, the figures, this version of roadseg and today's date."""
    return replace(
        card,
        threshold=result.threshold,
        temperature=result.calibration.temperature,
        bias=result.calibration.bias,
        sure_share=result.score.sure_share if result.score else None,
        sure_from=(result.score and result.score.sure_from) or ModelCard.sure_from,
        measurements=result.measured,
        roadseg_version=roadseg.__version__,
        created=datetime.now(UTC).date().isoformat(),
    )


def measurements(score: DevScore, raw_error: float, data: str) -> tuple[Measurement, ...]:
    """Return the figures of a card about the dev tiles.

    Parameters
    ----------
    score
        Score after calibration.
    raw_error
        Expected calibration error before calibration.
    data
        Description of the tiles.
    """
    pooled = "counts pooled over all tiles"
    where = f"threshold {score.threshold:.3f}, {pooled}"
    error = f"expected calibration error, 15 bins of equal width, all known pixels, {pooled}"
    return (
        Measurement("relaxed break-even", score.break_even, f"precision = recall, slack 3 px square, {pooled}", data),
        Measurement("relaxed F1", score.relaxed_f1, f"slack 3 px square, {where}", data),
        Measurement("IoU", score.iou, f"of the road class, {where}", data),
        Measurement("precision", score.precision, f"exact to the pixel, {where}", data),
        Measurement("recall", score.recall, f"exact to the pixel, {where}", data),
        Measurement("best IoU", score.best_iou, f"of the road class at the best threshold, {pooled}", data),
        Measurement("calibration error before", raw_error, f"{error}, temperature 1 and bias 0", data),
        Measurement("calibration error", score.calibration_error, f"{error}, as calibrated", data),
    )
