"""What adapting a model adds to training it: its recipe, its calibration on little ground, and its card."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import torch

import roadseg
from roadseg.errors import TrainingError
from roadseg.metrics.calibration import Calibration
from roadseg.model.card import Measurement, ModelCard
from roadseg.model.device import choose_precision, cpu_has_bfloat16
from roadseg.model.resunet import ResUNet
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.settings import AdaptSettings, CardTexts, EngineSettings, TrainSettings
from roadseg.training.calibrate import engine_of
from roadseg.training.card import complete_texts, recipe_for_card
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.labelled_plots import LabelledPlots
from roadseg.training.data.plots import SplitPlots
from roadseg.training.dev_score import DevScorer
from roadseg.training.loop import Trainer
from roadseg.training.recipes import ADAPT
from roadseg.training.seen import seen_ranges

_LARGEST_CROP, _SMALLEST_CROP = 160, 64
_ENOUGH_PX = 300
_MISSING_AFTER = 1 / 3

_TIMES, _FEWEST_STEPS = 100, 150
"""How often each pixel is learned from, about: more would be learning little ground by heart; and the fewest steps."""

_SHARE = 0.85
"""Share of the trained weights in the model that is kept."""


def recipe_for(
    settings: AdaptSettings, card: ModelCard, parts: SplitPlots, device: torch.device, *, rough: bool
) -> TrainSettings:
    """Return the settings to train with.

    Parameters
    ----------
    settings
        Most steps, and the seed.
    card
        Card of the model that is adapted.
    parts
        Plots to learn from; crops are not larger than they are.
    device
        Device to train on.
    rough
        Whether roads may be missing from the labels.
    """
    side = int(np.median([min(tile.shape) for tile in parts.learn]))
    crop = min(_LARGEST_CROP, max(_SMALLEST_CROP, side // 8 * 8))
    pixels = sum(tile.shape[0] * tile.shape[1] for tile in parts.learn)
    precision = choose_precision("auto", device)
    if device.type == "cpu" and cpu_has_bfloat16():
        precision = "bfloat16"
    return replace(
        ADAPT,
        start=card.name,
        width=card.width,
        upsample="nearest" if card.upsample == "nearest" else "bilinear",
        pixel_m=card.gsd_m,
        steps=min(settings.steps, max(_FEWEST_STEPS, round(_TIMES * pixels / (ADAPT.batch * crop**2)))),
        seed=settings.seed,
        crop=crop,
        precision=precision,
        missing_after=_MISSING_AFTER if rough else 1.0,
    )


def original_engine(model: ResUNet, card: ModelCard, device: torch.device) -> TorchEngine:
    """Return an engine that predicts as the model does that is adapted."""
    return TorchEngine(
        model, card.mean, card.std, EngineSettings(str(device)), temperature=card.temperature, bias=card.bias
    )


def blended(original: ResUNet, trained: ResUNet) -> ResUNet:
    """Return the trained model with its weights and batch statistics drawn a little towards those it started from.

    On the new imagery that costs next to nothing, elsewhere much less is forgotten. Source: Wortsman et al. 2022
    (arXiv:2109.01903, weight-space ensembles for fine-tuning).
    """
    before = original.to(next(trained.parameters()).device).state_dict()
    mixed = {
        name: before[name].lerp(value, _SHARE) if value.dtype.is_floating_point else value
        for name, value in trained.state_dict().items()
    }
    trained.load_state_dict(mixed)
    return trained


def scorer_of(areas: Sequence[DevArea], card: ModelCard) -> DevScorer:
    """Return a scorer of areas in the windows of the model."""
    return DevScorer(areas, window_px=card.window_px)


def require_roads(parts: SplitPlots, fill: tuple[float, ...]) -> None:
    """Check that there are roads to learn from and roads to score.

    Raises
    ------
    TrainingError
        If either are missing.
    """
    learned = any((tile.label == 1).any() for tile in parts.learn)
    if not learned or not _road_px(parts.score, fill):
        raise TrainingError(
            "the labels show too little road to learn from some and keep some for the figures; label more roads, "
            "twenty will do"
        )


def calibrate_on(areas: Sequence[DevArea], model: ResUNet, card: ModelCard) -> Calibration:
    """Calibrate a model on areas; where they show too little, it stays as it is."""
    if _road_px(areas, card.mean) < _ENOUGH_PX:
        return Calibration()
    engine = engine_of(model, card.mean, card.std)
    return scorer_of(areas, card).calibrate(engine, "threshold")[0]


def card_of_adaptation(
    texts: CardTexts,
    card: ModelCard,
    ground: LabelledPlots,
    trainer: Trainer,
    calibration: Calibration,
    measured: Sequence[Measurement],
) -> ModelCard:
    """Return the card of an adapted model.

    Parameters
    ----------
    texts
        Texts that were given; they take precedence.
    card
        Card of the model that was adapted.
    ground, trainer
        What it learned from, and the finished run.
    calibration, measured
        Its calibration and its figures.
    """
    meant = f"{card.name} adapted to {ground.name}; meant for imagery of such places, seasons and sensors only"
    texts = replace(texts, description=texts.description or meant)
    return ModelCard(
        **asdict(complete_texts(texts, ground.description(), card)),
        mean=card.mean,
        std=card.std,
        gsd_m=card.gsd_m,
        gsd_range_m=ground.gsd_range_m,
        window_px=card.window_px,
        seen=seen_ranges(trainer.tiles, trainer.settings),
        temperature=calibration.temperature,
        bias=calibration.bias,
        recipe=recipe_for_card(trainer.settings, card, steps_taken=trainer.step),
        measurements=tuple(measured),
        roadseg_version=roadseg.__version__,
        created=datetime.now(UTC).date().isoformat(),
    )


def _road_px(areas: Sequence[DevArea], fill: tuple[float, ...]) -> int:
    """Return the number of road pixels in areas."""
    road = 0
    for area in areas:
        with area.open(fill) as scene:
            road += int((area.label(scene) == 1).sum())
    return road
