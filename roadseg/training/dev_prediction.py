"""Dev tiles predicted exactly as ``roadseg predict`` would, through the same windows and blending."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roadseg.prediction.block import predict_block
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.raster.regrid import needed_window, regrid
from roadseg.raster.scene import Scene, as_bytes
from roadseg.settings import PredictSettings
from roadseg.training.data.file_tiles import DevArea
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
    area: DevArea, engine: TorchEngine, *, window_px: int, gsd_m: float | None = None, shift: Shift | None = None
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
    """
    with area.open(engine.mean) as pair:
        label = area.label(pair)
        if gsd_m is None:
            return DevTile(area, *_predict(pair.scene, area.window, engine, window_px, shift), label)
    with Scene(str(area.tile.pair.image), replace(area.tile.settings, gsd_m=gsd_m, fill=engine.mean)) as scene:
        own, grid = area.tile.grid, scene.grid_model
        probability, valid = _predict(scene, needed_window(area.window, grid, own), engine, window_px, shift)
    return DevTile(area, *regrid(probability, valid, area.window, grid, own), label)


def _predict(
    scene: Scene, area: Window, engine: TorchEngine, window_px: int, shift: Shift | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    stride = max(1, window_px - PredictSettings().overlap_px)
    plan = Plan(scene.grid_model.height, scene.grid_model.width, area, window_px, stride)
    probability, valid = np.zeros((area.height, area.width), np.float32), np.zeros((area.height, area.width), bool)
    for planned in plan.blocks():
        block = predict_block(_shifted(scene.read(planned.extent), shift), planned, engine)
        place = block.window.slices(area)
        probability[place], valid[place] = block.values, block.valid
    return probability, valid


def _shifted(block: Block, shift: Shift | None) -> Block:
    if shift is None:
        return block
    values = as_bytes(block.values)
    return Block(block.window, np.where(block.valid, shift(values), values), block.valid)
