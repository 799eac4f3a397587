"""Several scales: a scene predicted at other pixel sizes as well, and the mean of all.

    scale 0.63    1 │ 2 │ 3 │ 4 │ 5 │ 6        all of its blocks are predicted first
                      ╲ resampled ╱
    scale 1          1    │    2    │    3     each block is averaged with the others before it is stored

Roads are wider at finer pixels, and a model that was trained at one pixel size finds others there.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from roadseg.errors import SceneError, counted
from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.pipeline import join_predicted, predict_blocks
from roadseg.prediction.plan import ScenePlan
from roadseg.progress import Listener
from roadseg.raster.encoding import dequantize
from roadseg.raster.partial import Partial
from roadseg.raster.regrid import RegriddedRaster, needed_window
from roadseg.raster.scene import Scene
from roadseg.windows import Block


def predict_scales(
    scene: Scene, plan: ScenePlan, engine: Engine, partial: Partial, others: Sequence[float], listener: Listener
) -> int:
    """Predict the blocks that are not finished yet, at one scale or as the mean of several.

    Parameters
    ----------
    scene, plan, engine, partial
        The scene at its first scale, its plan, the model on its device, and where finished blocks go.
    others
        The other pixel sizes, as shares of the first one.
    listener
        Callbacks for messages and for megapixels finished.

    Returns
    -------
    Number of blocks of the plan that were finished before.

    Raises
    ------
    RoadsegError
        If the scene cannot be read or a block not be stored; finished blocks are kept.
    """
    with ExitStack() as stack:
        rasters = []
        for number, share in enumerate(others, 2):
            settings = replace(scene.settings, gsd_m=scene.settings.gsd_m * share, stretch=scene.stretch)
            again = stack.enter_context(Scene(scene.path, settings))
            scaled = _plan_scale(plan, again, f"scale{number}")
            listener.report(f"also read at {settings.gsd_m:.3g} m, {counted(len(scaled.blocks), 'block')}")
            predict_blocks(again, scaled, engine, partial, listener)
            joined = join_predicted(scaled, partial)
            raster = RegriddedRaster(joined, scaled.grid_model, scaled.area_model, plan.grid_model)
            rasters.append(stack.enter_context(raster))
        if not rasters:
            return predict_blocks(scene, plan, engine, partial, listener)
        return predict_blocks(scene, plan, engine, partial, listener, finish=_Mean(rasters))


class _Mean:
    """Averages blocks with other predictions of the same ground."""

    def __init__(self, rasters: Sequence[RegriddedRaster]) -> None:
        self._rasters, self._turn = rasters, threading.Lock()  # a raster is read by one thread at a time

    def __call__(self, block: Block) -> Block:
        stored = block.values.dtype == np.uint8
        values = dequantize(block.values)[0] if stored else np.where(block.valid, block.values, 0)
        count = np.ones(values.shape, dtype=np.float32)
        for raster in self._rasters:
            with self._turn:
                probability, known = raster.read(block.window)
            values = values + np.where(known, probability, 0)
            count += known
        return Block(block.window, values / count, block.valid)


def _plan_scale(plan: ScenePlan, scene: Scene, name: str) -> ScenePlan:
    """Return how the area of a plan is predicted on another grid of the scene."""
    if scene.grid_model == plan.grid_model:
        raise SceneError(
            f"{scene.path} would be read at the same pixels at two of the --scales, as they differ too little or the "
            "size of its pixels is unknown; leave one out, or give the size with --gsd"
        )
    area = needed_window(plan.area_model, scene.grid_model, plan.grid_model)
    return replace(
        plan,
        grid_model=scene.grid_model,
        area_model=area,
        grid_out=plan.grid_model,
        area_out=plan.area_model,
        layout=replace(plan.layout, height=scene.grid_model.height, width=scene.grid_model.width, area=area),
        predicted=(replace(plan.predicted[0], name=name, as_tiles=False),),
    )
