"""Adapt: a model for one's own imagery, from a few labelled tiles or the map that there is.

``adapt`` is the public function, with the options of ``roadseg adapt`` as keywords, and the whole chain: read plots of
the scenes, bring rough labels onto the roads, keep ground apart, score the model, train it on, calibrate it, score it
again, and write it if it has become better.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from roadseg.files.lock import locked
from roadseg.files.outputs import check_target
from roadseg.model.card import find_model, read_card
from roadseg.model.device import choose_device
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import as_stored, load_model, save_model
from roadseg.progress import Listener
from roadseg.settings import AdaptOptions, AdaptSettings, CardTexts, DataSettings, TrainSettings
from roadseg.settings.option import check_keywords, from_options
from roadseg.training.adaptation import (
    blended,
    calibrate_on,
    card_of_adaptation,
    original_engine,
    recipe_for,
    require_roads,
    scorer_of,
)
from roadseg.training.before_after import (
    gain_in_words,
    judge,
    measurements_before_after,
    picture,
    require_gain,
    score_elsewhere,
)
from roadseg.training.calibrate import engine_of
from roadseg.training.data.labelled_plots import (
    correct_shifts,
    label_folder,
    load_ground,
    load_other_place,
    with_uncertain_labels,
)
from roadseg.training.data.pairs import training_files
from roadseg.training.data.plots import split
from roadseg.training.data.tiles import TileDataset
from roadseg.training.dev_score import DevScore
from roadseg.training.initial import initial_model
from roadseg.training.loop import Trainer
from roadseg.training.run_folder import RunFolder

__all__ = ["AdaptResult", "adapt"]

_RESERVE = 2.5
"""Time to calibrate, score and write a model, in times of scoring it."""


@dataclass(frozen=True)
class AdaptResult:
    """What adapting a model came to.

    Parameters
    ----------
    output
        The model file.
    picture
        Areas that were scored, with the roads before and after.
    steps, seconds
        Training steps, and time from start to model.
    before, after
        Scores on the areas that were kept apart.
    elsewhere_before, elsewhere_after
        Scores in another place (``dev``), if one was named.
    """

    output: Path
    picture: Path | None
    steps: int
    seconds: float
    before: DevScore
    after: DevScore
    elsewhere_before: DevScore | None = None
    elsewhere_after: DevScore | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return {**asdict(self), "output": str(self.output), "picture": str(self.picture) if self.picture else None}


def adapt(
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    listener: Listener | None = None,
    **options: Unpack[AdaptOptions],
) -> AdaptResult:
    """Adapt a model to imagery of one's own.

    Parameters
    ----------
    data
        Scenes, with ``labels``; or folders with ``images/`` and ``masks/``, or CSV files with columns image and mask.
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
    named = [data] if isinstance(data, str | Path) else data
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
    started, path = time.monotonic(), find_model(settings.start)
    card = read_card(path)
    check_target(output, overwrite=settings.overwrite, inputs=_inputs(data, settings, path))
    with locked([output]), RunFolder(output, warn=listener.warn) as folder:
        device, reason = choose_device(settings.device)
        rough = settings.label_quality == "rough" or (settings.label_quality == "auto" and settings.labels is not None)
        engine = original_engine(load_model(path)[0], card, device)
        other = scorer_of(load_other_place(settings, card, listener), card)
        with label_folder(folder.path) as drawn_labels:
            ground = load_ground(data, settings, card, drawn_labels, listener)
            if rough:
                ground = correct_shifts(
                    ground, lambda areas: scorer_of(areas, card).probabilities(engine), card.gsd_m, listener
                )
                ground = with_uncertain_labels(ground, card.gsd_m)
            parts = split(ground.plots)
            require_roads(parts, card.mean)
        kept, clock = scorer_of(parts.score, card), time.monotonic()
        before = judge(kept, engine, card.threshold)
        reserve_s = _RESERVE * (time.monotonic() - clock)
        recipe = recipe_for(settings, card, parts, device, rough=rough)

        def start() -> ResUNet:
            return initial_model(card.bands, replace(recipe, start=str(path)))[0]

        if settings.overwrite:
            folder.remove_checkpoints()
        trainer = Trainer(
            start().to(device),
            TileDataset(parts.learn, crop=recipe.crop),
            recipe,
            folder.path,
            statistics=(card.mean, card.std),
            listener=listener,
        )
        listener.report(
            f"adapting {card.name} to {ground.description()}; {parts.held_in_words()}; device "
            f"{device} ({reason}), {recipe.precision}"
        )
        listener.start(recipe.steps, trainer.step)
        trainer.run(lambda _: listener.advance(1), until=started + 60 * settings.minutes - reserve_s)
        model = as_stored(blended(start(), trainer.averaged()), "float16")
        calibration = calibrate_on(parts.calibration, model, card)
        adapted = engine_of(model, card.mean, card.std, calibration=calibration)
        after = judge(kept, adapted, 0.5)
        sheet = picture(kept, before, after)
        drawn = folder.draw("before_after.png", sheet) if sheet is not None else None
        folder.remove_checkpoints()
        if not settings.anyway:
            require_gain(before.score, after.score, drawn)
        measured = measurements_before_after(before.score, after.score, ground.name, "area")
        save_model(output, model, card_of_adaptation(texts, card, ground, trainer, calibration, measured))
    listener.report(
        f"{gain_in_words(before.score, after.score, 'area')} that were kept apart, after {trainer.step} "
        f"steps; see {drawn}"
    )
    elsewhere = score_elsewhere(other, before, after)
    if elsewhere:
        listener.report(f"elsewhere: {gain_in_words(*elsewhere, 'tile')} of the place named with --dev")
    seconds = round(time.monotonic() - started, 1)
    listener.report(f"next: roadseg predict scene.tif -o roads.tif --model {output}")
    return AdaptResult(output, drawn, trainer.step, seconds, before.score, after.score, *(elsewhere or ()))


def _inputs(data: Sequence[Path], settings: AdaptSettings, model: Path) -> list[Path]:
    """Return the files that adapting reads, which the output must not replace."""
    named = DataSettings(
        data=() if settings.labels else tuple(data),
        images=tuple(data) if settings.labels else (),
        labels=settings.labels,
        width_table=settings.width_table,
    )
    return [model, *training_files(named, TrainSettings())]
