"""Adapt: a model for one's own imagery, from a few labelled tiles or the map that there is.

``adapt`` is the public function, with the options of ``roadseg adapt`` as keywords, and the whole chain: read plots of
the scenes, bring rough labels onto the roads, keep ground apart, score the model, train it on, calibrate it, score it
again, and if it has become better, let it learn from the ground kept apart, too, and write it.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from roadseg.errors import UsageError
from roadseg.files.lock import locked
from roadseg.files.targets import MODEL, check_extension, check_target
from roadseg.progress import Listener
from roadseg.settings import AdaptOptions, AdaptSettings, CardTexts, DataSettings, TrainSettings
from roadseg.settings.adapt import check_label_source
from roadseg.settings.option import AnyPath, check_keywords, from_options
from roadseg.training.adaptation import (
    blended,
    calibrated,
    prepare_plots,
    recipe_for,
    write_adapted,
)
from roadseg.training.before_after import (
    gain_in_words,
    gain_kept_apart,
    has_gained,
    no_gain,
    picture,
    score_elsewhere,
    score_model,
    taught_in_words,
)
from roadseg.training.checkpoint import facts_of_run
from roadseg.training.data.labelled_plots import load_other_place, typical_pixel_m
from roadseg.training.data.pairs import training_files
from roadseg.training.data.plots import SplitPlots
from roadseg.training.data.tiles import TileDataset
from roadseg.training.dev_prediction import KeptPredictions
from roadseg.training.dev_score import DevScore
from roadseg.training.finish import SHARE, calibrated_like, finish, finish_in_words, finish_steps
from roadseg.training.gradients import gradients_enabled
from roadseg.training.loop import Trainer
from roadseg.training.original import Original, find_original
from roadseg.training.report import next_command
from roadseg.training.run_folder import RunFolder

__all__ = ["AdaptResult", "adapt"]

_RESERVE, _RESERVE_S = 5.0, 5.0
"""Time to calibrate, score, draw and write a model: in times of scoring it, and in seconds."""


@dataclass(frozen=True)
class AdaptResult:
    """What adapting a model came to.

    Parameters
    ----------
    output
        The model file.
    picture
        Areas that were scored, with the roads before and after.
    steps, finish_steps, seconds
        Training steps before the scores, those after them on all ground, and time from start to model.
    before, after
        Scores on the areas that were kept apart, with ``teacher`` against what it is sure of; ``after`` is that of the
        model before its finish.
    elsewhere_before, elsewhere_after
        Scores in another place (``dev``), if one was named.
    """

    output: Path
    picture: Path | None
    steps: int
    finish_steps: int
    seconds: float
    before: DevScore
    after: DevScore
    elsewhere_before: DevScore | None = None
    elsewhere_after: DevScore | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return {**asdict(self), "output": str(self.output), "picture": str(self.picture) if self.picture else None}


@gradients_enabled()
def adapt(
    data: AnyPath | Sequence[AnyPath],
    output: AnyPath,
    *,
    listener: Listener | None = None,
    **options: Unpack[AdaptOptions],
) -> AdaptResult:
    """Adapt a model to imagery of one's own.

    Parameters
    ----------
    data
        Scenes, with ``labels`` or ``teacher``; or folders with ``images/`` and ``masks/``, or CSV files with columns
        image and mask.
    output
        Model file to write; a folder with checkpoint and picture lies beside it.
    listener
        Callbacks for messages and progress, which is counted in steps.
    options
        As on the command line, with the same defaults.

    Raises
    ------
    UsageError
        If an option has a value it cannot have.
    RoadsegError
        If the data cannot be used, the model has not become better, or the output cannot be written.
    """
    check_keywords("adapt", options, AdaptOptions)
    settings, texts, target = from_options(AdaptSettings, options), from_options(CardTexts, options), Path(output)
    check_label_source(settings)
    named = [data] if isinstance(data, str | os.PathLike) else data
    if not named:
        raise UsageError("adapt needs scenes with --labels or --teacher, or folders or CSV files of images and masks")
    texts = replace(texts, name=texts.name or target.name.removesuffix(".safetensors"))
    return adapt_model([Path(place) for place in named], target, settings, texts, listener or Listener())


def adapt_model(
    data: Sequence[Path], output: Path, settings: AdaptSettings, texts: CardTexts, listener: Listener
) -> AdaptResult:
    """Adapt a model; the whole chain.

    Parameters
    ----------
    data
        Scenes, folders or CSV files.
    output
        Model file to write.
    settings
        Labels, model and time.
    texts
        Texts for the model card.
    listener
        Callbacks for messages and progress.

    Raises
    ------
    RoadsegError
        If the data cannot be used, the model has not become better, or the output cannot be written.
    """
    started, original = time.monotonic(), find_original(settings)
    check_extension(output, MODEL)
    check_target(output, overwrite=settings.overwrite, inputs=_inputs(data, settings, original.path))
    with locked([output]), RunFolder(output, warn=listener.warn) as folder:
        engine = original.engine()
        original = original.reading_at(typical_pixel_m(data, settings), settings.model_gsd, listener)
        other = load_other_place(settings, original.card, listener)
        plots, parts = prepare_plots(data, settings, original, engine, folder.path, listener)
        scorer = original.scorer_before(parts.score, engine, parts.scored_plots)
        before = score_model(scorer, engine, original.card.threshold)
        reserve_s = _RESERVE * original.seconds_to_score(parts.score) + _RESERVE_S
        trainer = _trainer(original, parts, settings, folder, listener)
        recipe = trainer.settings
        listener.report(
            f"adapting {original.card.name} to {plots.description()}; {parts.held_in_words()}; device "
            f"{original.device} ({original.reason}), {recipe.precision}"
        )
        listener.start(recipe.steps + finish_steps(recipe.steps), trainer.step)
        clock, end = time.monotonic(), started + 60 * settings.minutes
        trainer.run(lambda _: listener.advance(1), until=clock + (end - reserve_s - clock) / (1 + SHARE))
        learned, kept = blended(original, trainer), KeptPredictions()
        candidate = calibrated(learned, original, parts.calibration, kept)
        after = score_model(original.scorer(parts.score, KeptPredictions()), candidate, 0.5)
        sheet = picture(before, after)
        drawn = folder.draw("before_after.png", sheet) if sheet is not None else None
        if not (settings.anyway or settings.teacher or has_gained(before.score, after.score)):
            folder.remove_checkpoints()
            raise no_gain(before.score, after.score, trainer, drawn)
        if settings.teacher:
            listener.report(taught_in_words(trainer, drawn, settings.teacher))
        else:
            listener.report(gain_kept_apart(before, after, trainer, drawn))
        calibration = calibrated(learned, original, (*parts.calibration, *parts.score), kept)
        finisher = finish(trainer, plots, lambda _: listener.advance(1), end - _RESERVE_S, listener)
        if not settings.teacher:
            listener.report(finish_in_words(finisher))
        model = blended(original, finisher)
        kept_model = replace(after, engine=calibrated_like(calibration, model))
        write_adapted(output, model, texts, original, plots, (trainer, finisher), before, kept_model)
        folder.remove_checkpoints()
    elsewhere = score_elsewhere(original.scorer_before(other, engine, other), before, kept_model)
    if elsewhere:
        listener.report(f"elsewhere: {gain_in_words(*elsewhere, 'tile')} of the place named with --dev")
    seconds = round(time.monotonic() - started, 1)
    listener.report(next_command(output, data[0] if settings.names_scenes and data[0].is_file() else None))
    scores = (before.score, after.score, *(elsewhere or ()))
    return AdaptResult(output, drawn, trainer.step, finisher.step, seconds, *scores)


def _trainer(
    original: Original, parts: SplitPlots, settings: AdaptSettings, folder: RunFolder, listener: Listener
) -> Trainer:
    """Return the run that learns from all ground that is not kept apart; one that was stopped is resumed."""
    recipe = recipe_for(settings, original, parts)
    tiles = TileDataset(parts.learn, crop=recipe.crop)
    if settings.overwrite:
        folder.remove_checkpoints(unless=facts_of_run(recipe, tiles.fingerprint(), original.card, None, 1))
    return Trainer(
        original.model(recipe),
        tiles,
        recipe,
        folder.path,
        start=original.card,
        listener=listener,
    )


def _inputs(data: Sequence[Path], settings: AdaptSettings, model: Path) -> list[Path]:
    """Return the files that adapting reads, which the output must not replace."""
    named = DataSettings(
        data=() if settings.names_scenes else tuple(data),
        images=tuple(data) if settings.names_scenes else (),
        labels=settings.labels,
        width_table=settings.width_table,
    )
    return [model, *training_files(named, TrainSettings(teacher=settings.teacher))]
