"""Dev tiles predicted exactly as ``roadseg predict`` would, through the same windows and blending."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.model.card import MAYBE_ROAD, ModelCard, Sureness
from roadseg.prediction.block import predict_block
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.prediction.recalibration import becomes_half_in, recalibrated
from roadseg.raster.encoding import count_road, dequantize, quantize
from roadseg.raster.grid import Grid
from roadseg.raster.regrid import needed_window, regrid
from roadseg.raster.scene import Scene, as_bytes
from roadseg.raster.scene_settings import SceneSettings, gsd_to_read_at
from roadseg.settings import PredictSettings
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.shifts import Shift
from roadseg.windows import Block, Plan, Window

_MOST_PX = 1 << 25
"""Pixels of predictions that are kept, at 5 bytes each; more than all plots have that ``adapt`` reads."""


@dataclass(frozen=True)
class DevTile:
    """A predicted dev tile: its area, the probability of road, which pixels are valid, and the labels."""

    area: DevArea
    probability: NDArray[np.float32]
    valid: NDArray[np.bool_]
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class _Kept:
    """A predicted area: the block, on the grid that the model reads, and the seconds it took."""

    area: DevArea
    block: Block
    seconds: float

    def holds(self, area: DevArea) -> bool:
        """Return whether an area lies in this one and is read like it."""
        ours, theirs = (one.tile for one in (self.area, area))
        same = (ours.pair, ours.settings) == (theirs.pair, theirs.settings)
        return same and area.window.intersection(self.area.window) == area.window


class KeptPredictions:
    """What one model predicted of areas, as long as there is room, so that no ground is predicted twice.

    Parameters
    ----------
    most_px
        Pixels to keep; the last prediction is kept whatever its size.
    """

    def __init__(self, most_px: int = _MOST_PX) -> None:
        self._kept: list[_Kept] = []
        self._most_px = most_px

    def block(self, area: DevArea, window: Window, predict: Callable[[], Block]) -> Block:
        """Return the prediction of an area.

        Parameters
        ----------
        area
            The area; it may lie in a larger one that was predicted before.
        window
            Its place on the grid that the model reads.
        predict
            Predicts it, if it is not kept.
        """
        found = self._find(area)
        if found is None:
            while self._kept and window.area + sum(one.block.window.area for one in self._kept) > self._most_px:
                del self._kept[0]
            started = time.perf_counter()
            block = predict()
            self._kept.append(_Kept(area, block, time.perf_counter() - started))
            return block
        place = window.slices(found.block.window)
        return Block(window, found.block.values[place], found.block.valid[place])

    def seconds(self, area: DevArea, window_px: int) -> float:
        """Return how long predicting an area that is kept would take again, by the windows that touch it."""
        found = self._find(area)
        if found is None:
            return 0.0
        own, all_windows = (_plan(one.tile.grid, one.window, window_px).window_count for one in (area, found.area))
        return found.seconds * own / all_windows

    def _find(self, area: DevArea) -> _Kept | None:
        return next((one for one in self._kept if one.holds(area)), None)


def predict_tile(
    area: DevArea,
    engine: TorchEngine,
    *,
    card: ModelCard | None = None,
    shift: Shift | None = None,
    half: float = 0.5,
    kept: KeptPredictions | None = None,
) -> DevTile:
    """Predict a dev tile.

    Parameters
    ----------
    area
        The tile, or a part of it.
    engine
        The model on its device.
    card
        Card of the model, which says the size of its windows and the ground resolution it reads the area at; the
        probabilities are resampled to the area's pixels. Without one, windows are those of a new card, and the area is
        read as it is.
    shift
        Change of the pixels before prediction.
    half
        The probability that becomes 0.5, see ``roadseg.prediction.recalibration``.
    kept
        Earlier predictions of this model, to take the area from or to add it to.
    """
    kept, window_px = kept or KeptPredictions(0), card.window_px if card else ModelCard.window_px
    own_gsd_m = area.tile.settings.gsd_m
    gsd_m = gsd_to_read_at(area.tile.pixel_m, card.gsd_m, card.finest_gsd_m) if card else own_gsd_m
    with area.open(engine.mean) as pair:
        label = area.label(pair)
        if gsd_m == own_gsd_m:
            block = kept.block(area, area.window, lambda: _predict(pair.scene, area.window, engine, window_px, shift))
            block = _raised(block, half)
            return DevTile(area, block.values, block.valid, label)
    with Scene(str(area.tile.pair.image), replace(area.tile.settings, gsd_m=gsd_m, fill=engine.mean)) as scene:
        own, grid = area.tile.grid, scene.grid_model
        window = needed_window(area.window, grid, own)
        block = _raised(kept.block(area, window, lambda: _predict(scene, window, engine, window_px, shift)), half)
    return DevTile(area, *regrid(block.values, block.valid, area.window, grid, own), label)


def predict_windows(
    image: Path, windows: Iterable[Window], settings: SceneSettings, engine: TorchEngine, card: ModelCard, *, most: int
) -> Iterator[tuple[Window, NDArray[np.float32], NDArray[np.bool_]]]:
    """Predict windows of a scene, on its own pixels, as ``roadseg predict`` would if they were all of it.

    Parameters
    ----------
    image, windows
        The scene, and windows of its own pixels.
    settings
        Bands, and metres per pixel where the scene does not say.
    engine, card
        The model on its device, and its card.
    most
        So many windows are predicted at most, those without a valid pixel left out.

    Yields
    ------
    A window, the probability of road in it, and which of its pixels are valid, (height, width) each.

    Raises
    ------
    SceneError
        If the scene cannot be used.
    """
    settings = replace(settings, gsd_m=card.gsd_m, finest_gsd_m=card.finest_gsd_m, fill=engine.mean)
    with Scene(str(image), settings) as scene:
        own, grid = scene.grid, scene.grid_model
        found: list[tuple[Window, Block]] = []
        for window in windows:
            if len(found) < most:
                block = _predict(scene, needed_window(window, grid, own), engine, card.window_px, None)
                found += [(window, block)] if block.valid.any() else []
        half = _half_in([block for _, block in found], card.sureness) if card.sureness else 0.5
        for window, block in found:
            raised = _raised(block, half)
            yield window, *regrid(raised.values, raised.valid, window, grid, own)


def half_in_scene(tiles: Iterable[DevTile], sure_at_home: Sureness) -> float:
    """Return which probability ``predict`` would make 0.5 in a scene; 0.5 also where it finds too few roads to tell.

    Parameters
    ----------
    tiles
        Ground of the scene, predicted by a model.
    sure_at_home
        How sure the model is of its roads at home, from its card.
    """
    return _half_in((Block(tile.area.window, tile.probability, tile.valid) for tile in tiles), sure_at_home)


def _half_in(blocks: Iterable[Block], sure_at_home: Sureness) -> float:
    counts = np.zeros(3, np.int64)
    for block in blocks:
        counts += count_road(quantize(block.values, block.valid), MAYBE_ROAD, sure_at_home.threshold)
    half = becomes_half_in(counts.tolist(), sure_at_home.share)
    return 0.5 if half is None else half


def _predict(scene: Scene, area: Window, engine: TorchEngine, window_px: int, shift: Shift | None) -> Block:
    probability, valid = np.zeros((area.height, area.width), np.float32), np.zeros((area.height, area.width), bool)
    for planned in _plan(scene.grid_model, area, window_px).blocks():
        block = predict_block(_shifted(scene.read(planned.extent), shift), planned, engine)
        place = block.window.slices(area)
        probability[place], valid[place] = block.values, block.valid
    return Block(area, probability, valid)


def _plan(grid: Grid, area: Window, window_px: int) -> Plan:
    return Plan(grid.height, grid.width, area, window_px, max(1, window_px - PredictSettings().overlap_px))


def _raised(block: Block, half: float) -> Block:
    """Return probabilities as ``predict`` stores them once ``half`` has become 0.5."""
    if half == 0.5:
        return block
    levels = replace(block, values=quantize(block.values, block.valid))
    return replace(block, values=dequantize(recalibrated(levels, half).values)[0])


def _shifted(block: Block, shift: Shift | None) -> Block:
    if shift is None:
        return block
    values = as_bytes(block.values)
    return Block(block.window, np.where(block.valid, shift(values), values), block.valid)
