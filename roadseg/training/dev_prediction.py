"""Dev tiles predicted exactly as ``roadseg predict`` would, through the same windows and blending."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roadseg.prediction.block import predict_block
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.prediction.recalibration import becomes_half_in, recalibrated
from roadseg.raster.encoding import MAYBE_ROAD, SURELY_ROAD, count_road, dequantize, quantize
from roadseg.raster.regrid import needed_window, regrid
from roadseg.raster.scene import Scene, as_bytes
from roadseg.settings import PredictSettings
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.pairs import TilePair
from roadseg.training.shifts import Shift
from roadseg.windows import Block, Plan, Window


@dataclass(frozen=True)
class DevTile:
    """A predicted dev tile: its area, the probability of road, which pixels are valid, and the labels."""

    area: DevArea
    probability: NDArray[np.float32]
    valid: NDArray[np.bool_]
    label: NDArray[np.uint8]


def predict_tile(
    area: DevArea,
    engine: TorchEngine,
    *,
    window_px: int,
    gsd_m: float | None = None,
    shift: Shift | None = None,
    half: float = 0.5,
) -> DevTile:
    """Predict a dev tile.

    Parameters
    ----------
    area
        The tile, or a part of it.
    engine
        The model on its device.
    window_px
        Side of the prediction windows.
    gsd_m
        Ground resolution that the model reads at, if it is another one than that of the area; the probabilities are
        resampled to the area's pixels.
    shift
        Change of the pixels before prediction.
    half
        The probability that becomes 0.5, see ``roadseg.prediction.recalibration``.
    """
    with area.open(engine.mean) as pair:
        label = area.label(pair)
        if gsd_m is None:
            block = _raised(_predict(pair.scene, area.window, engine, window_px, shift), half)
            return DevTile(area, block.values, block.valid, label)
    with Scene(str(area.tile.pair.image), replace(area.tile.settings, gsd_m=gsd_m, fill=engine.mean)) as scene:
        own, grid = area.tile.grid, scene.grid_model
        block = _raised(_predict(scene, needed_window(area.window, grid, own), engine, window_px, shift), half)
    return DevTile(area, *regrid(block.values, block.valid, area.window, grid, own), label)


def scene_halves(tiles: Iterable[DevTile], sure_at_home: float) -> dict[TilePair, float]:
    """Return which probability ``predict`` would make 0.5 in each scene, judged by tiles of it; 0.5 is left out.

    Parameters
    ----------
    tiles
        Ground of the scenes, predicted by a model.
    sure_at_home
        How sure the model is of its roads at home, from its card.
    """
    counts: dict[TilePair, NDArray[np.int64]] = {}
    for tile in tiles:
        found = np.array(count_road(quantize(tile.probability, tile.valid), MAYBE_ROAD, SURELY_ROAD))
        scene = tile.area.tile.pair
        counts[scene] = counts[scene] + found if scene in counts else found
    halves = {scene: becomes_half_in(found.tolist(), sure_at_home) for scene, found in counts.items()}
    return {scene: half for scene, half in halves.items() if half is not None and half != 0.5}


def _predict(scene: Scene, area: Window, engine: TorchEngine, window_px: int, shift: Shift | None) -> Block:
    stride = max(1, window_px - PredictSettings().overlap_px)
    plan = Plan(scene.grid_model.height, scene.grid_model.width, area, window_px, stride)
    probability, valid = np.zeros((area.height, area.width), np.float32), np.zeros((area.height, area.width), bool)
    for planned in plan.blocks():
        block = predict_block(_shifted(scene.read(planned.extent), shift), planned, engine)
        place = block.window.slices(area)
        probability[place], valid[place] = block.values, block.valid
    return Block(area, probability, valid)


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
