"""Train: from image and mask tiles to a model file.

``train`` is the whole chain: pair the tiles, look at them, loop over random crops, score the dev tiles the
way prediction works, choose the threshold there, and write weights and card as one file. A
checkpoint beside the output lets the same command go on after anything that stops it.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import roadseg
from roadseg.blocks import Plan, Window
from roadseg.errors import TrainingError
from roadseg.inference.block import predict_block
from roadseg.inference.engine import TorchEngine, choose_device
from roadseg.metrics.pixels import (
    FULL,
    PixelCounts,
    best_level,
    break_even_level,
    count_pixels,
    exact,
    no_pixels,
    relaxed,
)
from roadseg.model.card import Measurement, ModelCard, find_model
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model, save_model
from roadseg.progress import Listener
from roadseg.raster.labels import read_label
from roadseg.raster.output import check_target, quantize
from roadseg.raster.scene import Scene, SceneSettings
from roadseg.settings import EngineSettings, TrainSettings
from roadseg.tiles import check_match, common_gsd, find_pairs, read_tile
from roadseg.training.dataset import Tiles
from roadseg.training.loop import Step, Trainer


@dataclass(frozen=True)
class About:
    """What the card is to say about a model: its name, what it is for, its data and their terms."""

    name: str
    description: str = ""
    training_data: str = ""
    licence: str = ""
    attribution: str = ""


@dataclass(frozen=True)
class DevScore:
    """Figures on the dev tiles: counts added over all of them, then divided.

    ``threshold`` is where the relaxed F1 is best; ``iou`` is the best over all thresholds.
    """

    break_even: float
    relaxed_f1: float
    iou: float
    threshold: float
    tiles: int


@dataclass(frozen=True)
class TrainSummary:
    """What came of it: the file, steps and seconds of this run, and the dev score if there are dev tiles."""

    output: str
    steps: int
    seconds: float
    loss: float
    dev: DevScore | None


def train(
    data: Path,
    output: Path,
    about: About,
    settings: TrainSettings,
    *,
    dev: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> TrainSummary:
    """Train a model.

    Parameters
    ----------
    data
        Folder with ``images/`` and ``masks/``; files with the same stem belong together.
    output
        Model file to write; ``<output>.checkpoint`` lies beside it until then.
    about
        For the card.
    settings
        How to train.
    dev
        Folder like ``data``, to choose the threshold and to score; never trained on.
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
    listener, started = listener or Listener(), time.monotonic()
    check_target(output, overwrite=overwrite, inputs=())
    checkpoint = output.with_name(output.name + ".checkpoint")
    if overwrite:
        checkpoint.unlink(missing_ok=True)
    place, why = choose_device(device)
    pairs, dev_pairs = find_pairs(data), find_pairs(dev) if dev else []
    tiles = Tiles([read_tile(image, mask, listener) for image, mask in pairs], crop=settings.crop)
    gsd_m = common_gsd(tiles.tiles, settings.pixel_m)
    torch.manual_seed(settings.seed)
    network, statistics = first_network(len(tiles.tiles[0].image), settings)
    trainer = Trainer(network.to(place), tiles, settings, checkpoint, statistics=statistics)
    listener.say(
        f"{len(pairs)} training tiles, {100 * tiles.road_fraction:.1f} % road; {len(dev_pairs)} dev tiles; "
        f"width {settings.width}; device {place} ({why}); "
        + (f"going on at step {trainer.step}" if trainer.step else f"{settings.steps} steps")
    )
    listener.start(settings.steps, trainer.step)
    first = trainer.step

    def on_step(step: Step) -> None:
        listener.advance(1)
        every = max(1, settings.steps // max(1, settings.evaluations))
        if dev_pairs and step.step % every == 0 and step.step < settings.steps:
            score = score_tiles(trainer, dev_pairs, listener)
            listener.say(f"step {step.step}: loss {step.loss:.4f}, {_in_words(score)}")

    trainer.run(on_step)
    score = score_tiles(trainer, dev_pairs, listener) if dev_pairs else None
    card = _card(about, trainer, gsd_m, score, dev)
    save_model(output, trainer.averaged(), card)
    checkpoint.unlink(missing_ok=True)
    if score:
        listener.say(f"dev: {_in_words(score)}")
    return TrainSummary(str(output), trainer.step - first, round(time.monotonic() - started, 1), trainer.loss, score)


def first_network(
    bands: int, settings: TrainSettings
) -> tuple[ResUNet, tuple[tuple[float, ...], tuple[float, ...]] | None]:
    """Return the network to begin with and, if it was trained before, the pixel mean and std it is used to.

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
            f"{settings.start} has {form[0]} bands, width {form[1]} and {form[2]} upsampling, the run wants "
            f"{wanted[0]}, {wanted[1]} and {wanted[2]}; choose --width and --upsample to match"
        )
    return network, (card.mean, card.std)


def score_tiles(trainer: Trainer, pairs: Sequence[tuple[Path, Path]], listener: Listener) -> DevScore:
    """Predict tiles as ``roadseg predict`` would, and count.

    Raises
    ------
    TrainingError
        If the tiles hold no road to score against.
    """
    engine = TorchEngine(trainer.averaged(), trainer.mean, trainer.std, EngineSettings(str(trainer.device)))
    counts = no_pixels()
    for image, mask in pairs:
        counts += _count_tile(engine, trainer.mean, image, mask, listener)
    strict, loose = exact(counts), relaxed(counts)
    even, best = break_even_level(loose), best_level(loose.f1)
    if even is None or best is None:
        raise TrainingError("the dev tiles hold no road to score against; choose other ones")
    return DevScore(
        break_even=float((loose.precision[even] + loose.recall[even]) / 2),
        relaxed_f1=float(loose.f1[best]),
        iou=float(np.nanmax(strict.iou)),
        threshold=best / FULL,
        tiles=len(pairs),
    )


def _count_tile(
    engine: TorchEngine, mean: tuple[float, ...], image: Path, mask: Path, listener: Listener
) -> PixelCounts:
    label = read_label(str(mask))
    if label.note:
        listener.warn(label.note)
    with Scene(str(image), SceneSettings(any_gsd=True, fill=mean)) as scene:
        check_match(scene, label, image, mask)
        grid = scene.grid
        plan = Plan(grid.height, grid.width, Window(0, 0, grid.height, grid.width))
        values = np.empty((grid.height, grid.width), dtype=np.uint8)
        for planned in plan.blocks():
            block = predict_block(scene.read(planned.extent), planned, engine)
            values[block.window.slices()] = quantize(block.values, block.valid)
    return count_pixels(values, label.values)


def _card(about: About, trainer: Trainer, gsd_m: float, score: DevScore | None, dev: Path | None) -> ModelCard:
    found: tuple[Measurement, ...] = ()
    if score:
        data = f"{score.tiles} tiles of {dev.name if dev else ''}, never trained on; the threshold was chosen there"
        pooled = "counts pooled over all tiles"
        found = (
            Measurement(
                "relaxed break-even", score.break_even, f"precision = recall, slack 3 px square, {pooled}", data
            ),
            Measurement(
                "relaxed F1", score.relaxed_f1, f"slack 3 px square, threshold {score.threshold:.3f}, {pooled}", data
            ),
            Measurement("IoU", score.iou, f"of the road class at the best threshold, {pooled}", data),
        )
    return ModelCard(
        **asdict(about),
        mean=trainer.mean,
        std=trainer.std,
        gsd_m=gsd_m,
        threshold=score.threshold if score else 0.5,
        recipe=asdict(trainer.settings),
        measurements=found,
        roadseg_version=roadseg.__version__,
        created=datetime.now(UTC).date().isoformat(),
    )


def _in_words(score: DevScore) -> str:
    return (
        f"relaxed break-even {score.break_even:.4f}, relaxed F1 {score.relaxed_f1:.4f} at {score.threshold:.3f}, "
        f"IoU {score.iou:.4f} ({score.tiles} tiles)"
    )
