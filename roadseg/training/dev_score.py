"""Score and calibrate a model on dev tiles, predicted exactly as ``roadseg predict`` would.

Tiles go through the same windows, blending and 255 grey levels as a prediction. Pixel counts are added
over tiles, and over the processes of a distributed run, before any ratio is computed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import TrainingError, counted
from roadseg.metrics import error_classes
from roadseg.metrics.calibration import (
    EQUAL_F1,
    Calibration,
    LogitCounts,
    count_logits,
    expected_error,
    logit_levels,
    no_logits,
)
from roadseg.metrics.pixels import (
    FULL,
    PixelCounts,
    best_level,
    break_even_level,
    count_pixels,
    exact,
    level_of,
    no_pixels,
    relaxed,
)
from roadseg.model.card import ModelCard
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.raster.encoding import quantize
from roadseg.settings import CalibrationGoal
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.pairs import TilePair
from roadseg.training.dev_prediction import DevTile, KeptPredictions, predict_tile
from roadseg.training.domains import DomainCounts, DomainScore, domain_scores, shared_calibration
from roadseg.training.figures import TileSample
from roadseg.training.shifts import SHIFTS, Shift
from roadseg.training.sureness import sureness

Bytes = NDArray[np.uint8]
Sum = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Adds an array over the processes that score together."""

_PICTURE_PX = 750
_SLACK_PX = 3

_F1_STEPS = 1_000_000
"""Scores of single tiles are added over processes as whole numbers of these steps."""


@dataclass(frozen=True)
class DevScore:
    """Scores on the dev tiles, from counts added over all of them.

    Parameters
    ----------
    break_even
        Relaxed precision where it equals relaxed recall.
    threshold
        Probability from which a pixel counts as road: the one with the best relaxed F1, or 0.5 if calibrated to it.
    relaxed_f1, iou, precision, recall
        Measures at the threshold; all but relaxed F1 are without slack.
    best_iou, best_f1
        IoU and relaxed F1, each at its own best threshold.
    calibration_error
        Expected calibration error, see ``expected_error``.
    tiles
        Number of tiles scored.
    sure_share, sure_from
        How sure the model is of its roads, see ``Sureness``; None without any.
    """

    break_even: float
    relaxed_f1: float
    threshold: float
    iou: float
    precision: float
    recall: float
    best_iou: float
    best_f1: float
    calibration_error: float
    tiles: int
    sure_share: float | None = None
    sure_from: float | None = None

    def in_words(self) -> str:
        """Return the scores as a sentence."""
        return (
            f"relaxed break-even {self.break_even:.4f}, relaxed F1 {self.relaxed_f1:.4f} at {self.threshold:.3f}, "
            f"IoU {self.iou:.4f} ({counted(self.tiles, 'tile')})"
        )

    def figures(self) -> dict[str, float]:
        """Return the scores that the training history records, by column."""
        return {name: getattr(self, name) for name in ("break_even", "relaxed_f1", "best_iou", "threshold")}


class DevScorer:
    """Scores models on dev tiles.

    Parameters
    ----------
    areas
        Dev tiles, or parts of tiles.
    share
        The areas that this process predicts.
    total
        Function that adds counts over the processes that score together.
    shift
        Change of the pixels before prediction, see ``roadseg.training.shifts``.
    card
        Card of the models, which says how they read areas; without one at their ground resolution, in usual windows.
    half_in
        Returns the probability that becomes 0.5 in a scene, see ``roadseg.prediction.recalibration``.
    kept
        Earlier predictions, if the scorer is for one model alone.
    """

    def __init__(
        self,
        areas: Sequence[DevArea],
        *,
        share: slice = slice(None),
        total: Sum = lambda counts: counts,
        shift: Shift | None = None,
        card: ModelCard | None = None,
        half_in: Callable[[TilePair], float] = lambda _: 0.5,
        kept: KeptPredictions | None = None,
    ) -> None:
        self.areas, self.own, self.total = tuple(areas), range(len(areas))[share], total
        self.share, self.shift, self.card, self.half_in, self.kept = share, shift, card, half_in, kept

    def on(self, areas: Sequence[DevArea]) -> "DevScorer":
        """Return a scorer of other areas, in this process alone, for models that read as these do."""
        return DevScorer(areas, shift=self.shift, card=self.card, half_in=self.half_in)

    def score(self, engine: TorchEngine, *, threshold: float | None = None) -> DevScore:
        """Score a model at a threshold; None takes the one with the best relaxed F1.

        Raises
        ------
        TrainingError
            If the tiles hold no road to score against.
        """
        return self.score_each(engine, threshold=threshold)[0]

    def score_each(
        self, engine: TorchEngine, *, threshold: float | None = None
    ) -> tuple[DevScore, NDArray[np.float64]]:
        """Score like ``score``, and also return the (tiles,) relaxed F1 of each tile, NaN where there is no road."""
        each = [count_pixels(quantize(t.probability, t.valid), t.label) for t in self.tiles(engine)]
        score = self._score_of(self._summed(each), threshold)
        # Each tile is scored by one process and 0 in all others, so a sum gathers them; -1 stands for NaN.
        level, steps = level_of(score.threshold), np.zeros(len(self.areas), np.int64)
        for index, counts in zip(self.own, each, strict=True):
            f1 = relaxed(counts).f1[level] if counts.road.any() else np.nan
            steps[index] = -1 if np.isnan(f1) else round(f1 * _F1_STEPS)
        steps = self.total(steps)
        return score, np.where(steps < 0, np.nan, steps / _F1_STEPS)

    def calibrate(
        self,
        engine: TorchEngine,
        goal: CalibrationGoal,
        domains: Sequence[tuple[str, "DevScorer"]] = (),
        *,
        within: float = EQUAL_F1,
    ) -> tuple[Calibration, float | None, DevScore, list[DomainScore]]:
        """Fit the calibration of a model.

        Parameters
        ----------
        engine
            Engine without calibration.
        goal
            What calibrated probabilities mean.
        domains
            Names and scorers of other places, each with the same weight as these tiles.
        within
            How much relaxed F1 the threshold may cost here, if that brings probabilities nearer to true ones.

        Returns
        -------
        The calibration; the threshold that belongs to it, None if it has to be chosen on the calibrated
        probabilities; the score before calibration; and the scores of the other places.
        """
        home, uncalibrated = self._count_logits(engine, "")
        counts = [home, *(scorer._count_logits(engine, name)[0] for name, scorer in domains)]
        before = self._score_of(uncalibrated, None)
        calibration = shared_calibration(counts, goal, within)
        threshold = 0.5 if goal == "threshold" and calibration else None
        calibration = calibration or Calibration()
        return calibration, threshold, before, domain_scores(counts, goal, calibration) if domains else []

    def _count_logits(self, engine: TorchEngine, name: str) -> tuple[DomainCounts, PixelCounts]:
        """Count pixels by logit, for a place of this name, and by probability; the engine has no calibration."""
        logits, levels, probabilities = no_logits(), [], []
        for tile in self.tiles(engine):
            logits += count_logits(tile.probability, tile.valid, tile.label)
            levels.append(count_pixels(logit_levels(tile.probability, tile.valid), tile.label))
            probabilities.append(count_pixels(quantize(tile.probability, tile.valid), tile.label))
        logits = LogitCounts(*self.total(np.stack([logits.pixels, logits.road])))
        return DomainCounts(name, logits, self._summed(levels), len(self.areas)), self._summed(probabilities)

    def score_shifts(self, engine: TorchEngine, chosen: Sequence[int], threshold: float) -> dict[str, DevScore]:
        """Score chosen tiles in each of the ``SHIFTS``, and unchanged under the name ``none``."""
        areas = [self.areas[index] for index in chosen]
        options: dict[str, Any] = {"share": self.share, "total": self.total, "card": self.card}
        shifts: dict[str, Shift | None] = {"none": None, **SHIFTS}
        return {
            name: DevScorer(areas, **options, shift=shift).score(engine, threshold=threshold)
            for name, shift in shifts.items()
        }

    def samples(
        self, engine: TorchEngine, each: NDArray[np.float64], threshold: float, *, count: int = 2
    ) -> list[TileSample]:
        """Return pictures of the worst and the best tiles, the worst first, with right, false and missed roads.

        Parameters
        ----------
        engine
            Predicts the tiles.
        each
            (tiles,) relaxed F1, from ``score_each``; tiles with NaN are left out.
        threshold
            Probability from which a pixel is road.
        count
            How many of the worst, and of the best.
        """
        ranked = [int(i) for i in np.argsort(each, kind="stable") if not np.isnan(each[i])]
        chosen = ranked if len(ranked) <= 2 * count else ranked[:count] + ranked[len(ranked) - count :]
        return [self.sample(engine, index, float(each[index]), threshold) for index in chosen]

    def tiles(self, engine: TorchEngine) -> Iterator[DevTile]:
        """Yield the tiles of this process, predicted."""
        yield from self._predicted(engine, self.own)

    def sample(self, engine: TorchEngine, index: int, score: float, threshold: float) -> TileSample:
        """Return a picture of a tile, with right, false and missed roads."""
        level = level_of(threshold)
        tile = next(self._predicted(engine, [index]))
        kinds = error_classes.classify(
            quantize(tile.probability, tile.valid),
            tile.label,
            level=level,
            slack_px=_SLACK_PX,
            neighbourhood="square",
        )
        factor = -(-max(kinds.shape) // _PICTURE_PX)
        parts = error_classes.share_of_classes(kinds, factor)
        with tile.area.open(engine.mean) as pair:
            photo = pair.picture(tile.area.window, *parts.shape[1:])
        return TileSample(tile.area.name, score, np.moveaxis(photo, 0, 2), error_classes.paint(parts, photo))

    def _predicted(self, engine: TorchEngine, chosen: Iterable[int]) -> Iterator[DevTile]:
        for index in chosen:
            area = self.areas[index]
            yield predict_tile(
                area,
                engine,
                card=self.card,
                shift=self.shift,
                half=self.half_in(area.tile.pair),
                kept=self.kept,
            )

    def _summed(self, each: Sequence[PixelCounts]) -> PixelCounts:
        own = sum(each, no_pixels())
        parts = self.total(np.stack([own.pixels, own.road, own.near, own.found]))
        return PixelCounts(own.slack_px, own.neighbourhood, *parts)

    def _score_of(self, counts: PixelCounts, threshold: float | None) -> DevScore:
        strict, loose = exact(counts), relaxed(counts)
        even, best = break_even_level(loose), best_level(loose.f1)
        if even is None or best is None:
            raise TrainingError("the dev tiles hold no road to score against; choose other ones")
        level = best if threshold is None else level_of(threshold)
        sure = sureness(counts.pixels)
        return DevScore(
            break_even=float((loose.precision[even] + loose.recall[even]) / 2),
            relaxed_f1=float(loose.f1[level]),
            threshold=level / FULL if threshold is None else threshold,
            iou=float(np.nan_to_num(strict.iou[level])),
            precision=float(np.nan_to_num(strict.precision[level])),
            recall=float(np.nan_to_num(strict.recall[level])),
            best_iou=float(np.nanmax(strict.iou)),
            best_f1=float(loose.f1[best]),
            calibration_error=expected_error(counts),
            tiles=len(self.areas),
            sure_share=sure.share if sure else None,
            sure_from=sure.threshold if sure else None,
        )
