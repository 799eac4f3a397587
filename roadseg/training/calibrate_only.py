"""``roadseg train --steps 0``: calibrate and score a trained model again, the second half of training alone."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from roadseg.errors import UsageError, counted
from roadseg.files.targets import MODEL, check_extension, check_target
from roadseg.model.card import find_model
from roadseg.model.device import choose_device
from roadseg.model.weights import as_stored, load_model
from roadseg.progress import Listener
from roadseg.settings import CardTexts, DataSettings, DevFolder, TrainSettings
from roadseg.training.calibrate import calibrate_and_score, with_calibration
from roadseg.training.data.load import load_dev_areas, load_domains
from roadseg.training.data.pairs import place_name
from roadseg.training.dev_tiles import describe_dev, dev_scorer
from roadseg.training.distributed import ProcessGroup
from roadseg.training.report import TrainResult, report_calibration
from roadseg.training.save import save_model


def calibrate_model(
    output: Path,
    texts: CardTexts,
    settings: TrainSettings,
    data: DataSettings,
    *,
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
        ``start`` names the model, ``pixel_m`` is the size of pixels of the first place without a CRS; ``calibration``,
        ``dtype``, ``finest_gsd_m`` and ``shift_tiles`` are used, too.
    data
        ``dev`` and ``bands`` are used; places after the first have the same weight each in the calibration, and in
        nothing else. Without bands these are red, green and blue, or the first that the model needs.

    Raises
    ------
    UsageError
        If no model to start from or no dev tiles are named.
    RoadsegError
        If there is no such model, the tiles cannot be used or the output not be written.
    """
    started, listener = time.monotonic(), listener or Listener()
    if settings.start is None or data.home is None:
        raise UsageError("--steps 0 only calibrates; add --from with a model and --dev with tiles")
    path, folders = find_model(settings.start), [DevFolder(data.home, settings.pixel_m, "--gsd"), *data.domains]
    check_extension(output, MODEL)
    check_target(output, overwrite=overwrite, inputs=[path])
    own_device, reason = choose_device(device)
    model, card = load_model(path)
    card = replace(card, finest_gsd_m=settings.finest_gsd_m or card.finest_gsd_m)
    paths = " and of ".join(str(folder.path) for folder in folders)
    listener.report(f"calibrating {card.name} on the tiles of {paths}; device {own_device} ({reason})")
    weights = as_stored(model, settings.dtype).to(own_device)
    needs: dict[str, Any] = {"bands": card.bands, "gsd_m": card.gsd_m, "listener": listener, "chosen": data.bands}
    areas, others = load_dev_areas(folders[0], **needs), load_domains(folders[1:], **needs)
    home = place_name(data.home)
    places = [(home, areas), *others]
    scorers = [dev_scorer(tiles, ProcessGroup(), own_device, card=card) for _, tiles in places]
    calibrated = calibrate_and_score(
        weights,
        card,
        scorers[0],
        settings.calibration,
        data=describe_dev(areas, home, card),
        pictures=0,
        domains=[(name, scorer) for (name, _), scorer in zip(others, scorers[1:], strict=True)],
        shift_tiles=settings.shift_tiles,
    )
    named = {name: text for name, text in asdict(texts).items() if text}
    calibrated_on = ", ".join(f"{counted(len(tiles), 'tile')} of {name}" for name, tiles in places)
    recipe = {**card.recipe, "calibrated_on": calibrated_on, "calibration": settings.calibration}
    card = with_calibration(replace(card, **named, recipe=recipe), calibrated)
    save_model(output, weights, card, dtype=settings.dtype)
    report_calibration(output, calibrated, None, listener)
    seconds = round(time.monotonic() - started, 1)
    return TrainResult(output, 0, seconds, None, finished=True, dev=calibrated.score)
