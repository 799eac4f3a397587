"""Train: from image and mask tiles to a model file.

``train`` is the whole chain: pair the tiles, look at them, loop over random crops, score the dev tiles the
way prediction works, calibrate there, and write weights and card as one file. The run folder beside the
output holds a checkpoint that lets the same command go on after anything that stops it, and what there is to see.
``recalibrate`` is its second half alone, for a model that is trained already.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from roadseg.errors import TrainingError
from roadseg.inference.engine import choose_device, choose_precision
from roadseg.model.card import ModelCard, find_model
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import as_stored, load_model, save_model
from roadseg.progress import Listener, counted, duration
from roadseg.raster.output import check_target
from roadseg.run import RunFolder
from roadseg.scoring.domains import mean_in_words
from roadseg.scoring.jury import DevScore, Jury
from roadseg.scoring.verdict import Verdict, engine_of, judge, judged, shifts_in_words
from roadseg.settings import DataSettings, DevFolder, TrainSettings
from roadseg.tiles.load import TrainingData, load, load_dev, load_domains
from roadseg.tiles.source import DevArea
from roadseg.training.loop import Step, Trainer
from roadseg.training.parallel import Team, joined
from roadseg.training.provenance import About, recipe_of, told
from roadseg.training.seen import seen_by
from roadseg.training.teacher import find_teacher

__all__ = ["About", "TrainSummary", "recalibrate", "train"]

Areas = Sequence[DevArea]


@dataclass(frozen=True)
class TrainSummary:
    """What came of it.

    Parameters
    ----------
    output
        The file; empty if the run left off to go on later.
    steps, seconds
        Of this run.
    loss
        The last one, smoothed; None without a step.
    finished
        Whether there is a model.
    dev
        Figures on the dev tiles, if there are any.
    """

    output: str
    steps: int
    seconds: float
    loss: float | None
    finished: bool
    dev: DevScore | None


def train(
    data: DataSettings,
    output: Path,
    about: About,
    settings: TrainSettings,
    *,
    device: str = "auto",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> TrainSummary:
    """Train a model.

    Parameters
    ----------
    data
        What to train on, and what to calibrate on and to score, which is never trained on.
    output
        Model file to write; the run folder lies beside it.
    about
        For the card.
    settings
        How to train.
    device
        Where.
    overwrite
        Replace the output and forget a checkpoint.
    listener
        Who wants to hear what happens; work is counted in steps.

    Raises
    ------
    RoadsegError
        If the data cannot be used or the output not be written.
    """
    started = time.monotonic()
    check_target(output, overwrite=overwrite, inputs=())
    listener = listener or Listener()
    with (
        joined(device) as (team, own),
        RunFolder(output, writes=team.leads, warn=listener.warn) as folder,
    ):
        listener = listener if team.leads else Listener(shield=listener.shield)
        place, why = choose_device(own)
        settings = replace(settings, precision=choose_precision(settings.precision, place))
        found = load_in_turn(data, output, settings, team, listener)
        torch.manual_seed(settings.seed)
        network, start = first_network(found.tiles.bands, settings)
        others = load_domains(data.domains, bands=network.bands, gsd_m=found.gsd_m, listener=listener)
        taught_by = find_teacher(
            settings.teacher, bands=network.bands, gsd_m=found.gsd_m, device=place, precision=settings.precision
        )
        if overwrite:
            folder.forget()
        team.wait()
        trainer = Trainer(
            network.to(place),
            found.tiles,
            settings,
            folder.path,
            statistics=(start.mean, start.std) if start else None,
            team=team,
            teacher=taught_by,
            listener=listener,
        )
        folder.begin(settings)
        first = trainer.step
        listener.say(
            f"{found.about}; width {settings.width}; device {place} ({why}), {settings.precision}"
            + (f"; {team.size} processes" if team.size > 1 else "")
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
            listener.say(f"left off at step {trainer.step} of {settings.steps}; the same command goes on from there")
            return TrainSummary("", steps, seconds, trainer.loss, finished=False, dev=None)
        final = as_stored(trainer.result(), settings.dtype)
        teacher = taught_by.card if taught_by else None
        known = f"{counted(len(found.tiles.tiles), 'tile')} of {found.name}"
        card = ModelCard(
            **asdict(told(about, known, start, teacher)),
            mean=trainer.mean,
            std=trainer.std,
            gsd_m=found.gsd_m,
            gsd_range_m=found.gsd_range_m,
            seen=seen_by(found.tiles, settings),
            recipe=recipe_of(settings, start, teacher, processes=team.size, steps_taken=trainer.step),
        )
        where = _where(found.dev, found.dev_name) + ("" if start else ", never trained on")
        verdict = judge(
            final,
            card,
            jury_of(found.dev, team, place),
            settings.calibration,
            data=where,
            pictures=2 * team.leads,
            domains=[(name, jury_of(areas, team, place)) for name, areas in others],
            shift_tiles=settings.shift_tiles,
        )
        if verdict.score and trainer.record.history:
            trainer.record.history[-1].update(verdict.score.figures())
        if team.leads:
            save_model(output, final, judged(card, verdict), dtype=settings.dtype)
            folder.finish(trainer.record.history, [(s.name, s.score, s.image, s.roads) for s in verdict.samples])
        team.wait()
    seconds = round(time.monotonic() - started, 1)
    _conclude(output, verdict, folder, listener)
    return TrainSummary(str(output), steps, seconds, trainer.loss, finished=True, dev=verdict.score)


def recalibrate(
    output: Path,
    about: About,
    settings: TrainSettings,
    *,
    dev: Path | Sequence[DevFolder],
    bands: tuple[int, ...] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> TrainSummary:
    """Calibrate and measure a trained model anew, without training: the weights stay, the card changes.

    Parameters
    ----------
    output, about, device, overwrite, listener
        As for ``train``; what ``about`` leaves out stays as it is.
    settings
        ``start`` is the model; ``calibration`` and ``dtype`` count.
    dev
        The tiles; of several folders the others are other places, with the same weight each in the calibration.
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
    network, card = load_model(path)
    settings = replace(settings, precision=choose_precision(settings.precision, place))
    home, *domains = [DevFolder(dev)] if isinstance(dev, Path) else dev
    names = " and of ".join(str(one.path) for one in (home, *domains))
    listener.say(f"calibrating {card.name} on the tiles of {names}; device {place} ({why})")
    final = as_stored(network, settings.dtype).to(place)
    areas = load_dev(home.path, bands=card.bands, gsd_m=card.gsd_m, listener=listener, chosen=bands)
    others = load_domains(domains, bands=card.bands, gsd_m=card.gsd_m, listener=listener, chosen=bands)
    juries = [(name, jury_of(some, Team(), place, window_px=card.window_px)) for name, some in (("", areas), *others)]
    verdict = judge(
        final,
        card,
        juries[0][1],
        settings.calibration,
        data=_where(areas, home.path.name),
        pictures=0,
        domains=juries[1:],
        shift_tiles=settings.shift_tiles,
    )
    named = {name: text for name, text in asdict(about).items() if text}
    recipe = {
        **card.recipe,
        "calibrated_on": ", ".join(
            f"{counted(len(some), 'tile')} of {name or home.path.name}" for name, some in (("", areas), *others)
        ),
        "calibration": settings.calibration,
    }
    save_model(output, final, judged(replace(card, **named, recipe=recipe), verdict), dtype=settings.dtype)
    _conclude(output, verdict, None, listener)
    return TrainSummary(str(output), 0, round(time.monotonic() - started, 1), None, finished=True, dev=verdict.score)


def load_in_turn(
    data: DataSettings, output: Path, settings: TrainSettings, team: Team, listener: Listener
) -> TrainingData:
    """Load the data, first in the process that leads: masks that it draws lie ready for the others."""
    how: dict[str, Any] = {"crop": settings.crop, "gsd_m": settings.pixel_m, "seed": settings.seed, "beside": output}
    if team.leads:
        found = load(data, **how, listener=listener)
        team.wait()
        return found
    team.wait()
    return load(data, **how, listener=listener)


def first_network(bands: int, settings: TrainSettings) -> tuple[ResUNet, ModelCard | None]:
    """Return the network to begin with and, if it was trained before, its card.

    Raises
    ------
    ModelError, TrainingError
        If the model to start from is missing or of another form.
    """
    if settings.start is None:
        return ResUNet(bands=bands, width=settings.width, upsample=settings.upsample), None
    network, card = load_model(find_model(settings.start))
    form, wanted = (card.bands, card.width, card.upsample), (bands, settings.width, settings.upsample)
    if form != wanted:
        raise TrainingError(
            f"{settings.start} has {counted(form[0], 'band')}, width {form[1]} and {form[2]} upsampling, the run wants "
            f"{wanted[0]}, {wanted[1]} and {wanted[2]}; choose --width and --upsample to match"
        )
    return network, card


def jury_of(areas: Areas, team: Team, device: torch.device, *, window_px: int = 224) -> Jury:
    """Return who scores this process's share of the tiles and adds up with the others."""
    return Jury(
        areas,
        share=slice(team.rank, None, team.size),
        total=lambda counts: team.total(counts, device),
        window_px=window_px,
    )


def _run(trainer: Trainer, folder: RunFolder, areas: Areas, listener: Listener, *, until: float) -> None:
    """Run the trainer, telling what happens and keeping the pictures in the run folder up to date."""
    settings, team = trainer.settings, trainer.team
    some = areas[:: -(-len(areas) // settings.dev_tiles)] if areas else []
    jury = jury_of(some, team, trainer.device)
    listener.start(settings.steps, trainer.step)
    telling, began, first = max(1, settings.steps // 20), time.monotonic(), trainer.step

    def on_step(step: Step) -> None:
        listener.advance(1)
        if step.step % telling == 0:
            left = (settings.steps - step.step) * (time.monotonic() - began) / (step.step - first)
            listener.say(
                f"step {step.step} of {settings.steps}: loss {step.loss:.4f}, learning rate {step.learning_rate:.2g}, "
                f"{step.crops_per_s:.1f} crops/s, {duration(left)} left"
            )
            folder.follow(trainer.record.history)

    def evaluate() -> Mapping[str, float]:
        score = jury.score(engine_of(trainer.averaged(), trainer.mean, trainer.std))
        listener.say(f"step {trainer.step}: loss {trainer.loss:.4f}, {score.in_words()}")
        return score.figures()

    try:
        trainer.run(on_step, evaluate=evaluate if some else None, until=until)
    finally:
        if not trainer.finished and trainer.saved is not None:
            listener.say(f"step {trainer.saved} of {settings.steps} is saved in {folder.path}")
    folder.follow(trainer.record.history)
    if trainer.record.best:
        listener.say(f"kept the weights of step {trainer.record.best[1]}, relaxed F1 {trainer.record.best[0]:.4f}")


def _where(areas: Areas, name: str) -> str:
    return f"{counted(len(areas), 'tile')} of {name}, on which calibration and threshold were chosen"


def _conclude(output: Path, verdict: Verdict, folder: RunFolder | None, listener: Listener) -> None:
    """Say what was found, and what to do next."""
    if verdict.score:
        before = next(m.value for m in verdict.measured if m.name == "calibration error before")
        listener.say(
            f"dev: {verdict.score.in_words()}; calibration error {before:.4f} before, "
            f"{verdict.score.calibration_error:.4f} now"
        )
        if verdict.shifts:
            listener.say(shifts_in_words(verdict.shifts))
        if verdict.domains:
            listener.say(mean_in_words(verdict.domains))
        elif verdict.score.calibration_error > before:
            listener.warn("0.5 as the threshold costs calibration here; --calibration probability gives shares of road")
    else:
        listener.say("nothing was measured or calibrated; --dev tiles would choose the threshold and give figures")
    if folder:
        listener.say(f"what to look at: {folder.shown()}")
    listener.say(f"next: roadseg predict scene.tif -o roads.tif --model {output}")
