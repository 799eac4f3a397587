"""Score rasters of roads, pixel against pixel, in two passes over each pair.

The first pass counts what serves every threshold at once. Its sum settles the threshold's scores and which
images are the worst; the second pass then does, at that threshold, what costs more: clDice, maps of the
errors, and pictures of the worst images. Counts add over blocks and pairs; ratios are made once, at the end.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.evaluation import scores
from roadseg.evaluation.error_map import ErrorPicture
from roadseg.evaluation.pairs import ScoredPair
from roadseg.evaluation.raster_pairs import OpenPair, PairBlock, PairReader, common_kind, megapixels
from roadseg.metrics import cldice, pixels
from roadseg.metrics.error_classes import COLOURS, NAMES, classify
from roadseg.progress import Listener
from roadseg.raster.class_map import WriteClasses, class_map
from roadseg.raster.files import bounded_cache
from roadseg.raster.grid import Grid
from roadseg.raster.probability import positive_number
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings
from roadseg.settings import EvaluateSettings

_PICTURE_PX = 1000


def score_rasters(
    pairs: Sequence[ScoredPair], settings: EvaluateSettings, listener: Listener, *, error_maps: Path | None = None
) -> scores.Scores:
    """Score predicted rasters against true ones.

    Parameters
    ----------
    pairs
        At least one.
    settings
        Settings for the threshold, the slack, resampling and clDice.
    listener
        Gets the progress in megapixels; every raster is read twice.
    error_maps
        Output path of the map of the errors: a file for one pair, a folder for several. None writes none.

    Raises
    ------
    SceneError
        If a raster cannot be read, is neither probabilities nor a mask, or does not fit its partner.
    OutputError
        If a map cannot be written.
    """
    with bounded_cache():
        return _scored(pairs, settings, listener, error_maps)


def _scored(
    pairs: Sequence[ScoredPair], settings: EvaluateSettings, listener: Listener, error_maps: Path | None
) -> scores.Scores:
    kind, kind_notes = common_kind([pair.prediction for pair in pairs])
    true_kind, true_notes = common_kind([pair.truth for pair in pairs])
    is_mask = kind != "probability"
    if is_mask and settings.threshold is not None:
        listener.warn("--threshold changed nothing: the predictions are masks")
    reader = PairReader((kind, true_kind), settings)
    listener.start(2 * sum(map(megapixels, pairs)), 0)
    counted, stored_thresholds = _first_pass(pairs, reader, listener)
    total = scores.pooled(counted)
    threshold, source = _threshold(settings, stored_thresholds)
    level = 1 if is_mask else pixels.level_of(threshold)
    second = _SecondPass(reader, level, error_maps, _worst(counted, level, settings.worst), listener)
    counted = [second.run(pair, image, several=len(pairs) > 1) for pair, image in zip(pairs, counted, strict=True)]
    used: dict[str, scores.Setting] = {
        "threshold": None if is_mask else threshold,
        "threshold from": "the masks" if is_mask else source,
        "slack": settings.slack_distance,
        "slack unit": "m" if settings.slack_in_metres else "px",
        "neighbourhood": settings.neighbourhood,
        "valid pixels": float(total.pixels.sum()),
        "road pixels": float(total.road.sum()),
        "images": float(len(pairs)),
        "skeletonizer": cldice.SKELETONIZER if settings.cldice else None,
    }
    return scores.Scores(
        "pixels",
        used,
        scores.raster_figures(counted, level, is_mask=is_mask),
        _rows(counted, level),
        [*kind_notes, *true_notes, *reader.notes, *_undefined(total, level)],
        [] if is_mask else scores.curves(total),
    )


def _rows(counted: Sequence[scores.RasterCounts], level: int) -> list[scores.ImageScore]:
    """Return the scores of each image, the worst first."""
    return scores.worst_first([scores.raster_row(image, level) for image in counted])


def _worst(counted: Sequence[scores.RasterCounts], level: int, count: int) -> set[str]:
    """Return the names of the images with the lowest IoU, where it is defined."""
    names = [row.name for row in _rows(counted, level) if not math.isnan(row.values["IoU"])]
    return set(names[:count])


def _first_pass(
    pairs: Sequence[ScoredPair], reader: PairReader, listener: Listener
) -> tuple[list[scores.RasterCounts], set[str]]:
    """Count what serves every threshold; return the counts and the thresholds stored in the predictions."""
    counted, stored_thresholds = [], set()
    for pair in pairs:
        with reader.open(pair) as rasters:
            stored_thresholds.add(rasters.stored_threshold)
            total = pixels.no_pixels(slack_px=rasters.slack_px, neighbourhood=rasters.neighbourhood)
            for block in rasters.blocks(reader.settings.block_px, halo_px=pixels.halo_px(rasters.slack_px)):
                total += pixels.count_pixels(
                    block.probability,
                    block.label,
                    slack_px=rasters.slack_px,
                    neighbourhood=rasters.neighbourhood,
                    core=block.core,
                )
                listener.advance(block.window.area / 1e6)
        counted.append(scores.RasterCounts(pair.name, total))
    return counted, stored_thresholds


@dataclass(frozen=True)
class _SecondPass:
    """What is done at one threshold.

    Parameters
    ----------
    reader
        Opens the pairs.
    level
        Lowest value that is road.
    error_maps
        Output path of the maps, None for none.
    pictured
        Names of the pairs to make a picture of.
    listener
        Gets the progress in megapixels.
    """

    reader: PairReader
    level: int
    error_maps: Path | None
    pictured: set[str]
    listener: Listener

    def run(self, pair: ScoredPair, image: scores.RasterCounts, *, several: bool) -> scores.RasterCounts:
        """Count skeletons, write the map of the errors and make a picture, as far as asked for."""
        wants_cldice, wants_picture = self.reader.settings.cldice, pair.name in self.pictured
        if not (wants_cldice or self.error_maps or wants_picture):
            self.listener.advance(megapixels(pair))
            return image
        target = self.error_maps
        if target and several:
            target = target / f"{pair.name}.tif"
        skeletons = cldice.ClDiceCounts()
        with self.reader.open(pair) as rasters, self._class_map(target, rasters) as write_classes:
            picture = ErrorPicture(rasters.grid.height, rasters.grid.width, _PICTURE_PX)
            halo_px = max(pixels.halo_px(rasters.slack_px), cldice.HALO_PX if wants_cldice else 0)
            side_px = picture.whole_squares(self.reader.settings.block_px)
            for block in rasters.blocks(side_px, halo_px=halo_px):
                if wants_cldice:
                    skeletons += _count_skeletons(block, self.level)
                if write_classes or wants_picture:
                    classes = self._classify(block, rasters)
                    if wants_picture:
                        picture.add(block.window, classes)
                    if write_classes:
                        write_classes(block.window, classes)
                self.listener.advance(block.window.area / 1e6)
        png = picture.png(_backdrop(pair.image, rasters.grid, picture.size)) if wants_picture else ""
        return replace(image, skeletons=skeletons if wants_cldice else None, picture=png)

    def _class_map(self, target: Path | None, rasters: OpenPair) -> AbstractContextManager[WriteClasses | None]:
        if target is None:
            return nullcontext()
        slack = f"{rasters.slack_px:.4g} px, {rasters.neighbourhood}"
        names = {f"ROADSEG_CLASS_{kind}": name for kind, name in NAMES.items()}
        tags = {"ROADSEG_THRESHOLD": f"{self.level / pixels.FULL:g}", "ROADSEG_SLACK": slack, **names}
        return class_map(target, rasters.grid, COLOURS, tags)

    def _classify(self, block: PairBlock, rasters: OpenPair) -> NDArray[np.uint8]:
        classes = classify(
            block.probability,
            block.label,
            level=self.level,
            slack_px=rasters.slack_px,
            neighbourhood=rasters.neighbourhood,
        )
        return classes[block.core]


def _count_skeletons(block: PairBlock, level: int) -> cldice.ClDiceCounts:
    valid = ((block.probability != pixels.VOID) & (block.label != pixels.VOID)).view(np.uint8)
    prediction, label = (block.probability >= level).view(np.uint8), (block.label == 1).view(np.uint8)
    return cldice.count_skeletons(prediction, label, valid=valid, core=block.core)


def _threshold(settings: EvaluateSettings, stored: set[str]) -> tuple[float, str]:
    """Return the threshold and where it comes from."""
    if settings.threshold is not None:
        return settings.threshold, "given"
    number = positive_number(next(iter(stored))) if len(stored) == 1 else None
    return (0.5, "default") if number is None else (number, "stored in the predictions")


def _undefined(total: pixels.PixelCounts, level: int) -> list[str]:
    """Return notes on the scores that are undefined or say nothing, and why."""
    if total.pixels.sum() == 0:
        return ["no pixel is valid in both prediction and truth; all scores are undefined"]
    notes = []
    if total.road.sum() == 0:
        notes.append("the truth holds no road; recall is undefined, and any predicted road scores 0")
    if total.road.sum() == total.pixels.sum():
        notes.append(
            "all valid pixels of the truth are road, so precision says nothing; where 0 is not road and a nodata tag "
            "hides it, take that away with gdal_edit.py -unsetnodata"
        )
    if total.pixels[level:].sum() == 0:
        notes.append("nothing is predicted as road; precision is undefined, and missed road scores 0")
    return notes


def _backdrop(image: Path | None, grid: Grid, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return imagery at the size of a picture, (3, rows, cols) uint8; None unless it has the grid's size."""
    if image is None:
        return None
    with Scene(str(image), SceneSettings(any_gsd=True)) as scene:
        if (scene.grid.height, scene.grid.width) != (grid.height, grid.width):
            return None
        return scene.picture(scene.grid.window, *size)
