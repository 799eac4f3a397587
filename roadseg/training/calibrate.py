"""What the dev tiles say about a network: how to read its logits, from where on is road, and how good it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

import roadseg
from roadseg.metrics.calibration import Calibration
from roadseg.model.card import Measurement, ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.progress import counted
from roadseg.settings import CalibrationGoal, EngineSettings
from roadseg.training.dev_score import DevScore, Jury, Sample
from roadseg.training.domains import DomainScore


@dataclass(frozen=True)
class Verdict:
    """What the dev tiles say about a network: how to read its logits, from where on is road, and figures."""

    calibration: Calibration = Calibration()  # noqa: RUF009 (it is frozen)
    threshold: float = 0.5
    score: DevScore | None = None
    measured: tuple[Measurement, ...] = ()
    samples: tuple[Sample, ...] = ()
    domains: tuple[DomainScore, ...] = ()
    shifts: Mapping[str, DevScore] = field(default_factory=dict)


def judge(
    network: ResUNet, card: ModelCard, jury: Jury, goal: CalibrationGoal, *, data: str, pictures: int = 2,
    domains: Sequence[tuple[str, Jury]] = (), shift_tiles: int = 0,
) -> Verdict:  # fmt: skip
    """Calibrate a network and measure it; without tiles there is nothing to say.

    Parameters
    ----------
    network, card
        What is to be scored, and how it wants to see its pixels.
    jury
        Who scores.
    goal
        What probabilities are to mean.
    data
        The tiles in words.
    pictures
        How many of the worst and of the best tiles to paint.
    domains
        Other places by name, with the same weight each in the calibration.
    shift_tiles
        How many tiles to score in other colours, too.
    """
    if not jury.areas:
        return Verdict()
    calibration, threshold, before, others = jury.calibrate(engine_of(network, card.mean, card.std), goal, domains)
    engine = engine_of(network, card.mean, card.std, calibration=calibration)
    score, each = jury.score_each(engine, threshold=threshold)
    samples = jury.samples(engine, each, score.threshold, count=pictures)
    with_road = [index for index, one in enumerate(each) if not np.isnan(one)]
    chosen = with_road[:: -(-len(with_road) // shift_tiles)] if shift_tiles else []
    shifts = jury.shifted(engine, chosen, score.threshold) if chosen else {}
    measured = (
        *measurements(score, before.calibration_error, data),
        *in_other_colours(shifts, len(chosen)),
        *elsewhere(others),
    )
    return Verdict(calibration, score.threshold, score, measured, tuple(samples), tuple(others), shifts)


def in_other_colours(shifts: Mapping[str, DevScore], tiles: int) -> list[Measurement]:
    """Return what a card says about tiles in other colours: the mean, and each shift."""
    if not shifts:
        return []
    plain, *others = shifts.values()
    data = f"{counted(tiles, 'dev tile')} in other colours (values x from 0 to 1, clipped)"
    found = [
        Measurement(
            f"relaxed F1: {name}",
            one.relaxed_f1,
            f"threshold {one.threshold:.3f}; {one.best_f1:.3f} at the best threshold",
            data,
        )
        for name, one in shifts.items()
        if name != "none"
    ]
    mean = sum(one.relaxed_f1 for one in others) / len(others)
    return [*found, Measurement("mean of these", mean, f"{plain.relaxed_f1:.3f} in the tiles' own colours", data)]


def shifts_in_words(shifts: Mapping[str, DevScore]) -> str:
    """Return mean and worst of the shifts as a sentence."""
    others = {name: one.relaxed_f1 for name, one in shifts.items() if name != "none"}
    worst = min(others, key=lambda name: others[name])
    plain, mean = shifts["none"], sum(others.values()) / len(others)
    return (
        f"{counted(plain.tiles, 'dev tile')} in {len(others)} other colours: mean relaxed F1 {mean:.4f}, worst "
        f"{others[worst]:.4f} ({worst}), {plain.relaxed_f1:.4f} in their own"
    )


def elsewhere(scores: Sequence[DomainScore]) -> list[Measurement]:
    """Return what a card says about other places."""
    if not scores:
        return []
    data = f"{counted(len(scores), 'other place')}, each with the weight of the dev tiles in the calibration"
    slack = "slack 3 px square at threshold 0.5"
    found = [
        Measurement(
            f"relaxed F1 of {one.name}",
            one.relaxed_f1,
            f"{slack}; {one.left_out:.3f} calibrated without it, {one.best_f1:.3f} at its best threshold; "
            f"{counted(one.tiles, 'image')}",
            data,
        )
        for one in scores
    ]
    mean, left_out, best = (
        sum(getattr(one, key) for one in scores) / len(scores) for key in ("relaxed_f1", "left_out", "best_f1")
    )
    how = f"{slack}; {left_out:.3f} each calibrated without itself, {best:.3f} each at its best threshold"
    return [*found, Measurement("mean of these", mean, how, data)]


def engine_of(
    network: ResUNet, mean: tuple[float, ...], std: tuple[float, ...], *, calibration: Calibration | None = None
) -> TorchEngine:
    """Return an engine that predicts as ``roadseg predict`` does, where the network is."""
    how, where = calibration or Calibration(), EngineSettings(str(next(network.parameters()).device))
    return TorchEngine(network, mean, std, where, temperature=how.temperature, bias=how.bias)


def judged(card: ModelCard, verdict: Verdict) -> ModelCard:
    """Return a card that says what was found, by whom and when."""
    return replace(
        card,
        threshold=verdict.threshold,
        temperature=verdict.calibration.temperature,
        bias=verdict.calibration.bias,
        measurements=verdict.measured,
        roadseg_version=roadseg.__version__,
        created=datetime.now(UTC).date().isoformat(),
    )


def measurements(score: DevScore, raw_error: float, data: str) -> tuple[Measurement, ...]:
    """Return what a card says about a score.

    Parameters
    ----------
    score
        After calibration.
    raw_error
        Expected calibration error before it.
    data
        On which images.
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
