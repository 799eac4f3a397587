"""What the dev tiles say about a network: how to read its logits, from where on is road, and how good it is."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import roadseg
from roadseg.metrics.calibration import Calibration
from roadseg.model.card import Measurement, ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.settings import CalibrationGoal, EngineSettings
from roadseg.training.dev_score import DevScore, Jury, Sample


@dataclass(frozen=True)
class Verdict:
    """What the dev tiles say about a network: how to read its logits, from where on is road, and figures."""

    calibration: Calibration = Calibration()  # noqa: RUF009 (it is frozen)
    threshold: float = 0.5
    score: DevScore | None = None
    measured: tuple[Measurement, ...] = ()
    samples: tuple[Sample, ...] = ()


def judge(
    network: ResUNet, card: ModelCard, jury: Jury, goal: CalibrationGoal, *, data: str, pictures: int = 2
) -> Verdict:
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
    """
    if not jury.areas:
        return Verdict()
    calibration, threshold, before = jury.calibrate(engine_of(network, card.mean, card.std), goal)
    engine = engine_of(network, card.mean, card.std, calibration=calibration)
    score, each = jury.score_each(engine, threshold=threshold)
    samples = jury.samples(engine, each, score.threshold, count=pictures)
    measured = measurements(score, before.calibration_error, data)
    return Verdict(calibration, score.threshold, score, measured, tuple(samples))


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
