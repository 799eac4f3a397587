"""Train: from image and mask tiles to a model file.

``train`` is the public function, with the options of ``roadseg train`` as keywords; ``train_model`` is the whole chain:
pair the tiles, look at them, loop over random crops, score the dev tiles the
way prediction works, calibrate there, and write weights and card as one file. The run folder beside the
output holds a checkpoint that lets the same command go on after anything that stops it, and what there is to see.
``recalibrate`` is its second half alone, for a model that is trained already.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch

from roadseg.errors import TrainingError, UsageError
from roadseg.files import check_target
from roadseg.model.card import ModelCard, find_model
from roadseg.model.device import choose_device, choose_precision
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import as_stored, load_model, save_model
from roadseg.progress import Listener, counted
from roadseg.settings import CardTexts, DataSettings, RecipeSettings, TrainOptions, TrainSettings
from roadseg.settings.option import check_keywords, from_options
from roadseg.training.calibrate import Verdict, engine_of, judge, judged
from roadseg.training.card import complete_texts, recipe_for_card
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.load import TrainingData, load, load_dev_areas
from roadseg.training.dev_score import DevScore, Jury
from roadseg.training.distributed import ProcessGroup, join_process_group
from roadseg.training.loop import Step, Trainer
from roadseg.training.recipes import settings_from_options
from roadseg.training.run_folder import RunFolder
from roadseg.training.teacher import load_teacher

__all__ = ["TrainResult", "train"]

Areas = Sequence[DevArea]


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Parameters
    ----------
    output
        The model file; None if the run stopped before its end, to be resumed.
    steps, seconds
        Of this run.
    loss
        Smoothed loss of the last step; None without a step.
    finished
        Whether there is a model.
    dev
        Figures on the dev tiles, if there are any.
    """

    output: Path | None
    steps: int
    seconds: float
    loss: float | None
    finished: bool
    dev: DevScore | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return {**asdict(self), "output": str(self.output or "")}


def train(
    data: str | Path | None,
    output: str | Path,
    *,
    listener: Listener | None = None,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Train a model, or with ``steps=0`` calibrate one.

    Parameters
    ----------
    data
        Folder with ``images/`` and ``masks/``, or CSV file with columns image, mask and split; None with ``images``.
    output
        Model file to write; the run folder lies beside it.
    listener
        Callbacks for messages and progress, which is counted in steps.
    options
        As on the command line, with the same defaults; ``--from`` is ``from_``.

    Raises
    ------
    UsageError
        If an option has a value it cannot have, or another is missing.
    RoadsegError
        If the data cannot be used or the output not be written.
    """
    check_keywords("train", options, TrainOptions)
    settings, run = settings_from_options(options), from_options(RecipeSettings, options)
    source = data_from_options(data, options, needed=settings.steps > 0)
    texts, target = from_options(CardTexts, options), Path(output)
    texts = replace(texts, name=texts.name or target.name.removesuffix(".safetensors"))
    place: dict[str, Any] = {"device": run.device, "overwrite": run.overwrite, "listener": listener}
    if settings.steps > 0:
        return train_model(source, target, texts, settings, **place)
    if settings.start is None or source.dev is None:
        raise UsageError("--steps 0 only calibrates; add --from with a model and --dev with tiles")
    return recalibrate(target, texts, settings, dev=source.dev, bands=source.bands, **place)


def data_from_options(data: str | Path | None, options: Mapping[str, Any], *, needed: bool) -> DataSettings:
    """Return where training data come from.

    Parameters
    ----------
    data
        As of ``train``.
    options
        Its options.
    needed
        Whether there must be any data.

    Raises
    ------
    UsageError
        If there are none, or two kinds of them.
    """
    source = from_options(DataSettings, options, data=None if data is None else Path(data))
    scenes = bool(source.images or source.labels)
    if (source.data is not None and scenes) or (needed and source.data is None and not scenes):
        raise UsageError("train needs one folder or CSV file of images and masks, or scenes with --labels")
    return source


def train_model(
    data: DataSettings,
    output: Path,
    about: CardTexts,
    settings: TrainSettings,
    *,
    device: str = "auto",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> TrainResult:
    """Train a model; the whole chain.

    Parameters
    ----------
    data
        Data to train on, and dev tiles to calibrate on and to score, which are never trained on.
    output
        Model file to write; the run folder lies beside it.
    about
        Texts for the model card.
    settings
        Settings for the network, its training and its calibration.
    device
        Device to train on.
    overwrite
        Replace the output and discard a checkpoint.
    listener
        Callbacks for messages and progress, which is counted in steps.

    Raises
    ------
    RoadsegError
        If the data cannot be used or the output not be written.
    """
    started = time.monotonic()
    check_target(output, overwrite=overwrite, inputs=())
    listener = listener or Listener()
    with (
        join_process_group(device) as (processes, own),
        RunFolder(output, writes=processes.is_main, warn=listener.warn) as folder,
    ):
        listener = listener if processes.is_main else Listener(defer_interrupts=listener.defer_interrupts)
        place, why = choose_device(own)
        settings = replace(settings, precision=choose_precision(settings.precision, place))
        found = load_main_first(data, output, settings, processes, listener)
        torch.manual_seed(settings.seed)
        model, start = initial_model(found.tiles.bands, settings)
        taught_by = load_teacher(
            settings.teacher, bands=model.bands, gsd_m=found.gsd_m, device=place, precision=settings.precision
        )
        if overwrite:
            folder.remove_checkpoints()
        processes.barrier()
        trainer = Trainer(
            model.to(place),
            found.tiles,
            settings,
            folder.path,
            statistics=(start.mean, start.std) if start else None,
            processes=processes,
            teacher=taught_by,
            listener=listener,
        )
        folder.write_config(settings)
        first = trainer.step
        listener.report(
            f"{found.summary}; width {settings.width}; device {place} ({why}), {settings.precision}"
            + (f"; {processes.size} processes" if processes.size > 1 else "")
            + (f"; going on at step {first} of {settings.steps}" if first else f"; {counted(settings.steps, 'step')}")
        )
        _run(
            trainer,
            folder,
            found.dev,
            listener,
            until=started + 60 * settings.minutes if settings.minutes else math.inf,
        )
        steps, seconds = trainer.step - first, round(time.monotonic() - started, 1)
        if not trainer.finished:
            listener.report(f"left off at step {trainer.step} of {settings.steps}; the same command goes on from there")
            return TrainResult(None, steps, seconds, trainer.loss, finished=False, dev=None)
        final = as_stored(trainer.result(), settings.dtype)
        teacher = taught_by.card if taught_by else None
        known = f"{counted(len(found.tiles.tiles), 'tile')} of {found.name}"
        card = ModelCard(
            **asdict(complete_texts(about, known, start, teacher)),
            mean=trainer.mean,
            std=trainer.std,
            gsd_m=found.gsd_m,
            gsd_range_m=found.gsd_range_m,
            recipe=recipe_for_card(settings, start, teacher, processes=processes.size, steps_taken=trainer.step),
        )
        where = _where(found.dev, found.dev_name) + ("" if start else ", never trained on")
        verdict = judge(
            final,
            card,
            jury_of(found.dev, processes, place),
            settings.calibration,
            data=where,
            pictures=2 * processes.is_main,
        )
        if verdict.score and trainer.history.rows:
            trainer.history.rows[-1].update(verdict.score.figures())
        if processes.is_main:
            save_model(output, final, judged(card, verdict), dtype=settings.dtype)
            folder.finish(trainer.history.rows, [(s.name, s.score, s.image, s.roads) for s in verdict.samples])
        processes.barrier()
    seconds = round(time.monotonic() - started, 1)
    _conclude(output, verdict, folder, listener)
    return TrainResult(output, steps, seconds, trainer.loss, finished=True, dev=verdict.score)


def recalibrate(
    output: Path,
    about: CardTexts,
    settings: TrainSettings,
    *,
    dev: Path,
    bands: tuple[int, ...] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> TrainResult:
    """Calibrate and measure a trained model anew, without training: the weights stay, the card changes.

    Parameters
    ----------
    output, about, dev, device, overwrite, listener
        As for ``train_model``; what ``about`` leaves out stays as it is.
    settings
        ``start`` is the model; ``calibration`` and ``dtype`` count.
    bands
        Of the tiles; None takes the colours, or the first that the model needs.

    Raises
    ------
    RoadsegError
        If there is no such model, the tiles cannot be used or the output not be written.
    """
    listener, started = listener or Listener(), time.monotonic()
    path = find_model(settings.start)
    check_target(output, overwrite=overwrite, inputs=[path])
    place, why = choose_device(device)
    model, card = load_model(path)
    settings = replace(settings, precision=choose_precision(settings.precision, place))
    listener.report(f"calibrating {card.name} on the tiles of {dev}; device {place} ({why})")
    final = as_stored(model, settings.dtype).to(place)
    areas = load_dev_areas(dev, bands=card.bands, gsd_m=card.gsd_m, listener=listener, chosen=bands)
    jury = jury_of(areas, ProcessGroup(), place, window_px=card.window_px)
    verdict = judge(final, card, jury, settings.calibration, data=_where(areas, dev.name), pictures=0)
    named = {name: text for name, text in asdict(about).items() if text}
    recipe = {
        **card.recipe,
        "calibrated_on": f"{counted(len(areas), 'tile')} of {dev.name}",
        "calibration": settings.calibration,
    }
    save_model(output, final, judged(replace(card, **named, recipe=recipe), verdict), dtype=settings.dtype)
    _conclude(output, verdict, None, listener)
    return TrainResult(output, 0, round(time.monotonic() - started, 1), None, finished=True, dev=verdict.score)


def load_main_first(
    data: DataSettings, output: Path, settings: TrainSettings, processes: ProcessGroup, listener: Listener
) -> TrainingData:
    """Load the data, first in the process that leads: masks that it draws lie ready for the others."""
    how: dict[str, Any] = {"crop": settings.crop, "gsd_m": settings.pixel_m, "seed": settings.seed, "beside": output}
    if processes.is_main:
        found = load(data, **how, listener=listener)
        processes.barrier()
        return found
    processes.barrier()
    return load(data, **how, listener=listener)


def initial_model(bands: int, settings: TrainSettings) -> tuple[ResUNet, ModelCard | None]:
    """Return the network to begin with and, if it was trained before, its card.

    Raises
    ------
    ModelError, TrainingError
        If the model to start from is missing or of another form.
    """
    if settings.start is None:
        return ResUNet(bands=bands, width=settings.width, upsample=settings.upsample), None
    model, card = load_model(find_model(settings.start))
    form, wanted = (card.bands, card.width, card.upsample), (bands, settings.width, settings.upsample)
    if form != wanted:
        raise TrainingError(
            f"{settings.start} has {counted(form[0], 'band')}, width {form[1]} and {form[2]} upsampling, the run wants "
            f"{wanted[0]}, {wanted[1]} and {wanted[2]}; choose --width and --upsample to match"
        )
    return model, card


def jury_of(areas: Areas, processes: ProcessGroup, device: torch.device, *, window_px: int = 224) -> Jury:
    """Return who scores this process's share of the tiles and adds up with the others."""
    return Jury(
        areas,
        share=slice(processes.rank, None, processes.size),
        total=lambda counts: processes.sum_counts(counts, device),
        window_px=window_px,
    )


def _run(trainer: Trainer, folder: RunFolder, areas: Areas, listener: Listener, *, until: float) -> None:
    """Run the trainer, telling what happens and keeping the pictures in the run folder up to date."""
    settings, processes = trainer.settings, trainer.processes
    some = areas[:: -(-len(areas) // settings.dev_tiles)] if areas else []
    jury = jury_of(some, processes, trainer.device)
    listener.start(settings.steps, trainer.step)
    telling, began, first = max(1, settings.steps // 20), time.monotonic(), trainer.step

    def on_step(step: Step) -> None:
        listener.advance(1)
        if step.step % telling == 0:
            left = (settings.steps - step.step) * (time.monotonic() - began) / (step.step - first)
            listener.report(
                f"step {step.step} of {settings.steps}: loss {step.loss:.4f}, learning rate {step.learning_rate:.2g}, "
                f"{step.crops_per_s:.1f} crops/s, {_duration(left)} left"
            )
            folder.write_history(trainer.history.rows)

    def evaluate() -> Mapping[str, float]:
        score = jury.score(engine_of(trainer.averaged(), trainer.mean, trainer.std))
        listener.report(f"step {trainer.step}: loss {trainer.loss:.4f}, {score.in_words()}")
        return score.figures()

    try:
        trainer.run(on_step, evaluate=evaluate if some else None, until=until)
    finally:
        if not trainer.finished and trainer.saved is not None:
            listener.report(f"step {trainer.saved} of {settings.steps} is saved in {folder.path}")
    folder.write_history(trainer.history.rows)
    if trainer.history.best:
        listener.report(f"kept the weights of step {trainer.history.best[1]}, relaxed F1 {trainer.history.best[0]:.4f}")


def _where(areas: Areas, name: str) -> str:
    return f"{counted(len(areas), 'tile')} of {name}, on which calibration and threshold were chosen"


def _conclude(output: Path, verdict: Verdict, folder: RunFolder | None, listener: Listener) -> None:
    """Say what was found, and what to do next."""
    if verdict.score:
        before = next(m.value for m in verdict.measured if m.name == "calibration error before")
        listener.report(
            f"dev: {verdict.score.in_words()}; calibration error {before:.4f} before, "
            f"{verdict.score.calibration_error:.4f} now"
        )
        if verdict.score.calibration_error > before:
            listener.warn("0.5 as the threshold costs calibration here; --calibration probability gives shares of road")
    else:
        listener.report("nothing was measured or calibrated; --dev tiles would choose the threshold and give figures")
    if folder:
        listener.report(f"what to look at: {folder.pictures()}")
    listener.report(f"next: roadseg predict scene.tif -o roads.tif --model {output}")


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
