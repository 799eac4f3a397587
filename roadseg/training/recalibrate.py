"""Calibrate and score a model that is trained already: the second half of training alone."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from roadseg.files.outputs import check_target
from roadseg.model.card import find_model
from roadseg.model.device import choose_device
from roadseg.model.weights import as_stored, load_model, save_model
from roadseg.progress import Listener, counted
from roadseg.settings import CardTexts, DevFolder, TrainSettings
from roadseg.training.calibrate import judge, judged
from roadseg.training.data.load import load_dev_areas, load_domains
from roadseg.training.dev_tiles import describe_dev, jury_of
from roadseg.training.distributed import ProcessGroup
from roadseg.training.report import TrainResult, report_calibration


def calibrate_model(
    output: Path,
    texts: CardTexts,
    settings: TrainSettings,
    *,
    dev: Sequence[DevFolder],
    bands: tuple[int, ...] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> TrainResult:
    """Calibrate and score a trained model again, without training: the weights stay, the card changes.

    Parameters
    ----------
    output, texts, device, overwrite, listener
        As of ``train_model``; texts that are empty stay as they are.
    settings
        ``start`` names the model; ``calibration`` and ``dtype`` are used.
    dev
        Places with dev tiles; those after the first have the same weight each in the calibration, and in nothing else.
    bands
        Bands of the dev tiles; None takes red, green and blue, or the first that the model needs.

    Raises
    ------
    RoadsegError
        If there is no such model, the tiles cannot be used or the output not be written.
    """
    started, listener = time.monotonic(), listener or Listener()
    path = find_model(settings.start)
    check_target(output, overwrite=overwrite, inputs=[path])
    place, reason = choose_device(device)
    model, card = load_model(path)
    names = " and of ".join(str(folder.path) for folder in dev)
    listener.report(f"calibrating {card.name} on the tiles of {names}; device {place} ({reason})")
    weights = as_stored(model, settings.dtype).to(place)
    home = dev[0]
    needs: dict[str, Any] = {"bands": card.bands, "gsd_m": card.gsd_m, "listener": listener, "chosen": bands}
    areas, others = load_dev_areas(home, **needs), load_domains(dev[1:], **needs)
    juries = [jury_of(tiles, ProcessGroup(), place, window_px=card.window_px) for _, tiles in (("", areas), *others)]
    verdict = judge(
        weights,
        card,
        juries[0],
        settings.calibration,
        data=describe_dev(areas, home.path.name, card),
        pictures=0,
        domains=[(name, jury) for (name, _), jury in zip(others, juries[1:], strict=True)],
        shift_tiles=settings.shift_tiles,
    )
    named = {name: text for name, text in asdict(texts).items() if text}
    tiles = ", ".join(f"{counted(len(some), 'tile')} of {name}" for name, some in ((home.path.name, areas), *others))
    recipe = {**card.recipe, "calibrated_on": tiles, "calibration": settings.calibration}
    save_model(output, weights, judged(replace(card, **named, recipe=recipe), verdict), dtype=settings.dtype)
    report_calibration(output, verdict, None, listener)
    seconds = round(time.monotonic() - started, 1)
    return TrainResult(output, 0, seconds, None, finished=True, dev=verdict.score)
