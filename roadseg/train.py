"""Train: from image and mask tiles to a model file.

``train`` is the public function, with the options of ``roadseg train`` as keywords. ``train_model`` is the whole chain:
find and check the tiles, train on random crops, calibrate on the dev tiles and score them as prediction would see them,
and write weights and card as one file. The run folder beside the output holds the checkpoint from which the same
command resumes, a history, and pictures. ``calibrate_model`` does the second half for a model that is trained already.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from roadseg.files.lock import locked
from roadseg.files.targets import MODEL, check_extension, check_not_input, check_target
from roadseg.model.device import choose_device, choose_precision
from roadseg.model.weights import as_stored
from roadseg.progress import Listener
from roadseg.settings import CardTexts, DataSettings, RecipeSettings, TrainOptions, TrainSettings
from roadseg.settings.option import AnyPath, check_keywords, from_options
from roadseg.training.calibrate import calibrate_and_score, with_calibration
from roadseg.training.calibrate_only import calibrate_model
from roadseg.training.card import card_of_run
from roadseg.training.checkpoint import facts_of_run
from roadseg.training.data.load import load_domains, load_training_data
from roadseg.training.data.pairs import training_files
from roadseg.training.dev_tiles import describe_dev, dev_evaluation, dev_scorer
from roadseg.training.distributed import join_process_group
from roadseg.training.gradients import gradients_enabled, require_compiler
from roadseg.training.initial import initial_model
from roadseg.training.loop import Trainer
from roadseg.training.recipes import data_from_options, refuse_training_options, settings_from_options
from roadseg.training.report import RunReport, TrainResult, report_calibration
from roadseg.training.run_folder import RunFolder
from roadseg.training.save import save_model
from roadseg.training.teacher import load_teacher

__all__ = ["TrainResult", "train"]


@gradients_enabled()
def train(
    data: AnyPath | Sequence[AnyPath] | None,
    output: AnyPath,
    *,
    listener: Listener | None = None,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Train a model, or with ``steps=0`` calibrate one.

    Parameters
    ----------
    data
        Folder with ``images/`` and ``masks/``, or CSV file with columns image, mask and split, or several of them; None
        with ``images``.
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
    config = [run.config] if run.config else []
    check_not_input(target, [*training_files(source, settings), *config] if target.exists() else ())
    place: dict[str, Any] = {"device": run.device, "overwrite": run.overwrite, "listener": listener}
    if settings.steps > 0:
        return train_model(source, target, texts, settings, **place)
    refuse_training_options(source, options)
    return calibrate_model(target, texts, settings, source, **place)


def train_model(
    data: DataSettings,
    output: Path,
    texts: CardTexts,
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
    texts
        Texts for the model card.
    settings
        Settings for the model, its training and its calibration.
    device
        Device to train on.
    overwrite
        Replace the output, and discard a checkpoint made with other settings or data.
    listener
        Callbacks for messages and progress, which is counted in steps.

    Raises
    ------
    RoadsegError
        If the data cannot be used or the output not be written.
    """
    started, listener = time.monotonic(), listener or Listener()
    check_extension(output, MODEL)
    check_target(output, overwrite=overwrite, inputs=())
    with (
        join_process_group(device) as (processes, own_device),
        locked([output] if processes.is_main else ()),
        RunFolder(output, writes=processes.is_main, warn=listener.warn) as folder,
    ):
        listener = listener if processes.is_main else Listener(defer_interrupts=listener.defer_interrupts)
        (place, _), (_, reason) = choose_device(own_device), choose_device(device)
        if settings.compile:
            require_compiler(place)
        settings = replace(settings, precision=choose_precision(settings.precision, place))
        with processes.main_first():
            found = load_training_data(data, output, settings, listener)
        model, start = initial_model(found.tiles.bands, settings)
        others = load_domains(data.domains, bands=model.bands, gsd_m=found.gsd_m, listener=listener)
        teacher = load_teacher(settings, bands=model.bands, gsd_m=found.gsd_m, device=place)
        if overwrite:
            models = start, teacher.card if teacher else None
            folder.remove_checkpoints(unless=facts_of_run(settings, found.tiles.fingerprint(), *models, processes.size))
        processes.barrier()
        trainer = Trainer(
            model.to(place),
            found.tiles,
            settings,
            folder.path,
            start=start,
            processes=processes,
            teacher=teacher,
            listener=listener,
        )
        folder.write_config(settings)
        with RunReport(trainer, folder, listener, started) as report:
            report.on_start(found.summary, f"{place} ({reason})")
            evaluate = dev_evaluation(trainer, found.dev, report.on_score) if found.dev else None
            trainer.run(report.on_step, evaluate=evaluate, until=report.time_limit())
        if not trainer.finished:
            return report.result(None)
        weights = as_stored(trainer.result(), settings.dtype)
        card = card_of_run(texts, trainer, found, start, teacher.card if teacher else None)
        scorer = dev_scorer(found.dev, processes, place, card=card)
        dev_tiles = describe_dev(found.dev, found.dev_name, start)
        calibrated = calibrate_and_score(
            weights,
            card,
            scorer,
            settings.calibration,
            data=dev_tiles,
            pictures=2 * processes.is_main,
            domains=[(name, dev_scorer(areas, processes, place, card=card)) for name, areas in others],
            shift_tiles=settings.shift_tiles,
        )
        trainer.history.add_final_scores(calibrated.score.figures() if calibrated.score else {})
        if processes.is_main:
            cure = f"make room; {report.resumption()}"
            save_model(output, weights, with_calibration(card, calibrated), dtype=settings.dtype, cure=cure)
            folder.finish(trainer.history.rows, calibrated.samples)
        processes.barrier()
    report_calibration(output, calibrated, folder, listener)
    return report.result(output, calibrated.score)
