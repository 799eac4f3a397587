"""What adapting a model adds to training it: its recipe, its calibration on little ground, and its card."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from roadseg.errors import TrainingError
from roadseg.metrics.calibration import Calibration
from roadseg.model.card import ModelCard
from roadseg.model.device import fastest_precision
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import as_stored
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.progress import Listener
from roadseg.settings import AdaptSettings, CardTexts, TrainSettings
from roadseg.training.before_after import ScoredModel, measurements_before_after
from roadseg.training.calibrate import CalibrationResult, engine_of, with_calibration
from roadseg.training.card import complete_texts, recipe_for_card
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.labelled_plots import (
    LabelledPlots,
    correct_shifts,
    label_folder,
    load_ground,
    with_uncertain_labels,
)
from roadseg.training.data.plots import SplitPlots, split
from roadseg.training.dev_prediction import KeptPredictions
from roadseg.training.loop import Trainer
from roadseg.training.original import Original, find_original
from roadseg.training.pseudo_labels import labels_from
from roadseg.training.recipes import ADAPT
from roadseg.training.save import save_model
from roadseg.training.seen import seen_ranges

_LARGEST_CROP, _SMALLEST_CROP = 160, 64
_FEW_PX = 1000
"""Road pixels on which a calibration counts half."""

_WITHIN = 0.005
"""How much relaxed F1 the threshold may cost on the ground kept apart, to be nearer to a true probability of 0.5.

That ground looks like what was learned from; its best threshold is low, and elsewhere calls more than roads a road.
"""

_MISSING_AFTER = 1 / 3

_TIMES, _TIMES_FINER, _FEWEST_STEPS = 100, 40, 150
"""How often each pixel is learned from, about, also if pixels become finer: more would be learning little ground by
heart; and the fewest steps."""

_SHARE = 0.85
"""Share of the trained weights in the model that is kept."""


def prepare_plots(
    data: Sequence[Path],
    settings: AdaptSettings,
    original: Original,
    engine: TorchEngine,
    run: Path,
    listener: Listener,
) -> tuple[LabelledPlots, SplitPlots]:
    """Read plots of the data, correct rough labels, and keep ground apart.

    Parameters
    ----------
    data, settings
        Where the labels come from, and how good they are.
    original, engine
        The model, which shows where rough labels belong.
    run
        Run folder, for masks of scenes; there are none in it after an error.
    listener
        Callbacks for messages.

    Raises
    ------
    RoadsegError
        If the data cannot be used or show too few roads.
    """
    card, find_labels = original.card, None
    if settings.teacher:
        find_labels = labels_from(find_original(replace(settings, start=settings.teacher)), settings)
        listener.report(f"{settings.teacher} looks for roads; what it is sure of is learned from in place of labels")
    with label_folder(run) as drawn:
        found = load_ground(data, settings, card, drawn, listener, find_labels)
        if settings.labels_are_rough:
            found = correct_shifts(
                found,
                lambda areas: [tile.probability for tile in original.predicted(areas, engine)],
                card.gsd_m,
                listener,
            )
            found = with_uncertain_labels(found, card.gsd_m)
        parts = split(found.plots)
        require_roads(parts, card.mean)
    if found.remark:
        listener.warn(found.remark)
    if f" of {found.name} (" in card.training_data:
        listener.warn(
            f"{card.name} has learned from {found.name} before, perhaps from what is kept apart now, so that the "
            "figures may be too good; those of a model that has not are true"
        )
    return found, parts


def recipe_for(settings: AdaptSettings, original: Original, parts: SplitPlots) -> TrainSettings:
    """Return the settings to train with.

    Parameters
    ----------
    settings
        Most steps, the seed, and whether roads may be missing from the labels.
    original
        The model that is adapted, and the device.
    parts
        Plots to learn from; crops are not larger than they are.
    """
    card, device = original.card, original.device
    side = int(np.median([min(tile.shape) for tile in parts.learn]))
    crop = min(_LARGEST_CROP, max(_SMALLEST_CROP, side // 8 * 8))
    pixels = sum(tile.shape[0] * tile.shape[1] for tile in parts.learn)
    times = _TIMES_FINER if card.gsd_m < original.before.gsd_m else _TIMES
    return replace(
        ADAPT,
        start=card.name,
        width=card.width,
        upsample="nearest" if card.upsample == "nearest" else "bilinear",
        pixel_m=card.gsd_m,
        steps=min(settings.steps, max(_FEWEST_STEPS, round(times * pixels / (ADAPT.batch * crop**2)))),
        seed=settings.seed,
        crop=crop,
        precision=fastest_precision("auto", device),
        missing_after=_MISSING_AFTER if settings.labels_are_rough else 1.0,
    )


def blended(original: Original, trainer: Trainer) -> ResUNet:
    """Return the averaged model with its weights and batch statistics drawn a little towards those it started from.

    On the new imagery that costs next to nothing, elsewhere much less is forgotten. Source: Wortsman et al. 2022
    (arXiv:2109.01903, weight-space ensembles for fine-tuning).
    """
    trained, before = trainer.averaged(), original.model(trainer.settings).state_dict()
    mixed = {
        name: before[name].lerp(value, _SHARE) if value.dtype.is_floating_point else value
        for name, value in trained.state_dict().items()
    }
    trained.load_state_dict(mixed)
    return as_stored(trained, "float16")


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


def calibrated(
    model: ResUNet, original: Original, areas: Sequence[DevArea], uncalibrated: KeptPredictions
) -> TorchEngine:
    """Return an engine of a model, calibrated on areas; the less road they show, the nearer to no calibration.

    Parameters
    ----------
    model, original
        The adapted model, and the one that it was.
    areas
        Areas to calibrate on.
    uncalibrated
        What the model predicted without calibration so far.
    """
    card, calibration, road_px = original.card, Calibration(), _road_px(areas, original.card.mean)
    if road_px:
        scorer, engine = original.scorer(areas, uncalibrated), engine_of(model, card.mean, card.std)
        found = scorer.calibrate(engine, "threshold", within=_WITHIN)[0]
        weight = road_px / (road_px + _FEW_PX)
        calibration = Calibration(found.temperature**weight, found.bias * weight)
    return engine_of(model, card.mean, card.std, calibration=calibration)


def write_adapted(
    output: Path,
    model: ResUNet,
    texts: CardTexts,
    original: Original,
    plots: LabelledPlots,
    runs: tuple[Trainer, Trainer],
    before: ScoredModel,
    after: ScoredModel,
) -> None:
    """Write an adapted model with its card.

    Parameters
    ----------
    output, model
        File to write, and the model.
    texts
        Texts for the card that were given; they take precedence.
    original, plots, runs
        What was adapted, what it learned from, the finished run, and the one on all ground.
    before, after
        Its figures before the second run and, in the engine, its calibration: on more areas than that of the figures.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    measured = measurements_before_after(before.score, after.score, plots.name, "area") if plots.are_truth else []
    logits = Calibration(after.engine.temperature, after.engine.bias)
    card = _card(texts, original.card, plots, runs)
    card = with_calibration(card, CalibrationResult(logits, measured=tuple(measured)))
    save_model(output, model, card, dtype="float16")


def _card(texts: CardTexts, card: ModelCard, ground: LabelledPlots, runs: tuple[Trainer, Trainer]) -> ModelCard:
    """Return the card of an adapted model, before its calibration and figures are known."""
    trainer, finisher = runs
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
        recipe=recipe_for_card(trainer.settings, card, steps_taken=trainer.step, finish_steps=finisher.step),
    )


def _road_px(areas: Sequence[DevArea], fill: tuple[float, ...]) -> int:
    """Return the number of road pixels in areas."""
    return sum(area.road_px(fill) for area in areas)
