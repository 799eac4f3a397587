"""Dev tiles predicted exactly as ``roadseg predict`` would, through the same windows and blending."""

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.prediction.block import predict_block
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.raster.scene import Scene
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
        The network.
    window_px
        Side of the prediction windows.
    gsd_m
        Ground resolution that the network reads at, if it is another one than that of the area; the probabilities are
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
        factors = grid.height / own.height, grid.width / own.width
        seen = _touched(area.window, factors).intersection(grid.window)
        probability, valid = _predict(scene, seen, engine, window_px, shift)
    size, matrix = (area.window.width, area.window.height), _transform(area.window, seen, factors)
    inverse = cv2.WARP_INVERSE_MAP
    how: dict[str, Any] = {"M": matrix, "dsize": size, "borderMode": cv2.BORDER_REPLICATE}
    fine = cv2.warpAffine(probability, flags=cv2.INTER_LINEAR | inverse, **how).astype(np.float32)
    known = cv2.warpAffine(valid.view(np.uint8), flags=cv2.INTER_NEAREST | inverse, **how) > 0
    return DevTile(area, fine, known, label)


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


def _touched(window: Window, factors: tuple[float, float]) -> Window:
    """Return the pixels that a window touches on a grid of so many times the rows and columns."""
    down, across = factors
    top, left = math.floor(window.row * down), math.floor(window.col * across)
    return Window(top, left, math.ceil(window.row_stop * down) - top, math.ceil(window.col_stop * across) - left)


def _transform(window: Window, seen: Window, factors: tuple[float, float]) -> NDArray[np.float64]:
    """Return the matrix that takes pixel centers (col, row) of a window to those of ``seen`` on another grid."""
    down, across = factors
    left, top = (window.col + 0.5) * across - 0.5 - seen.col, (window.row + 0.5) * down - 0.5 - seen.row
    return np.array([[across, 0, left], [0, down, top]])


def _shifted(block: Block, shift: Shift | None) -> Block:
    if shift is None:
        return block
    values = block.values if block.values.dtype == np.uint8 else np.rint(block.values * 255).astype(np.uint8)
    return Block(block.window, np.where(block.valid, shift(values), values), block.valid)
