"""Views of a scene: it is predicted more than once, at several pixel sizes or turned, for their mean and their spread.

    scale 0.63    1 │ 2 │ 3 │ 4 │ 5 │ 6        all blocks of other views are predicted first
                      ╲ resampled ╱
    scale 1          1    │    2    │    3     each block is put together with them before it is stored

Roads are wider at finer pixels, and a model that was trained at one pixel size finds others there. Where views differ,
the model is not sure. All this is about what the model says, before recalibration.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError, counted
from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.engines.oriented import OTHERS, UPSIDE_DOWN, averages, oriented, without_average
from roadseg.prediction.pipeline import join_predicted, predict_blocks
from roadseg.prediction.plan import ScenePlan
from roadseg.progress import Listener
from roadseg.raster.encoding import dequantize, encode
from roadseg.raster.partial import Partial
from roadseg.raster.regrid import RegriddedRaster, needed_window
from roadseg.raster.scene import Scene
from roadseg.windows import Block, Window, square_windows

Array = NDArray[np.float32]

_PART_PX = 2048
"""Side of the parts of a block that are put together at once, which bounds memory."""


def predict_views(
    scene: Scene, plan: ScenePlan, engine: Engine, partial: Partial, scales: Sequence[float], listener: Listener
) -> int:
    """Predict the blocks that are not finished yet, and what other views the plan's outputs need.

    Parameters
    ----------
    scene, plan, engine, partial
        The scene at its first scale, its plan, the model on its device, and where finished blocks go.
    scales
        Other pixel sizes, as shares of the first one; the probability is the mean of all.
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

        def look(again: Scene, view: ScenePlan, eyes: Engine) -> None:
            predict_blocks(again, view, eyes, partial, listener)
            raster = RegriddedRaster(join_predicted(view, partial), view.grid_model, view.area_model, plan.grid_model)
            rasters.append(stack.enter_context(raster))

        for number, share in enumerate(scales, 2):
            settings = replace(scene.settings, gsd_m=scene.settings.gsd_m * share, stretch=scene.stretch)
            again = stack.enter_context(Scene(scene.path, settings))
            view = _at_scale(plan, again, f"scale{number}")
            listener.report(f"also read at {settings.gsd_m:.3g} m, {counted(len(view.blocks), 'block')}")
            look(again, view, engine)
        is_mean = bool(scales)
        if plan.uncertainty and not scales:
            is_mean, engine = averages(engine), without_average(engine)
            ways = "turned and mirrored in seven ways" if is_mean else "upside down"
            listener.report(f"also predicted {ways}, for the uncertainty")
            for turns, mirrored in OTHERS if is_mean else [UPSIDE_DOWN]:
                view = _like(plan, f"turned{turns}{'_mirrored' if mirrored else ''}")
                look(scene, view, oriented(engine, (turns, mirrored)))
        if not rasters:
            return predict_blocks(scene, plan, engine, partial, listener)
        together = _Together(plan, partial, rasters, is_mean=is_mean)
        return predict_blocks(scene, plan, engine, partial, listener, finish=together)


class _Together:
    """Puts blocks together with other predictions of the same ground, and stores how far they are apart."""

    def __init__(self, plan: ScenePlan, partial: Partial, rasters: Sequence[RegriddedRaster], *, is_mean: bool) -> None:
        self._plan, self._partial, self._rasters, self._is_mean = plan, partial, rasters, is_mean
        self._turn = threading.Lock()  # a raster is read by one thread at a time

    def __call__(self, block: Block) -> Block:
        """Return the block with the mean of all views, if that is wanted."""
        spread = self._plan.spread
        mean = np.empty_like(block.values) if self._is_mean else block.values
        apart = np.empty(block.valid.shape, dtype=spread.dtype) if spread else None
        for part in square_windows(block.window, _PART_PX):
            place = part.slices(block.window)
            answers, known = self._answers(part, block.values[place], block.valid[place])
            count = np.maximum(known.sum(axis=0), 1).astype(np.float32)
            middle = answers.sum(axis=0) / count
            if self._is_mean:
                mean[place] = encode(middle, block.valid[place], self._plan.stored_as)
            if apart is not None and spread:
                squares = np.where(known, np.square(answers - middle), 0).sum(axis=0) / count
                apart[place] = encode(np.sqrt(squares), block.valid[place], spread.dtype)
        if apart is not None and spread:
            self._partial.put(spread, block.window, apart)
        return Block(block.window, mean, block.valid)

    def _answers(self, part: Window, values: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
        """Return the probabilities of all views, (views, height, width), 0 where unknown, and where each is known."""
        own = dequantize(values)[0] if values.dtype == np.uint8 else values
        with self._turn:
            others = [raster.read(part) for raster in self._rasters]
        known = np.stack([valid, *(where for _, where in others)])
        answers = np.stack([own, *(probability for probability, _ in others)])
        return np.where(known, answers, np.float32(0)), known


def _like(plan: ScenePlan, name: str) -> ScenePlan:
    """Return the plan of another prediction on the same grid."""
    return replace(plan, predicted=(replace(plan.predicted[0], name=name, as_tiles=False),))


def _at_scale(plan: ScenePlan, scene: Scene, name: str) -> ScenePlan:
    """Return how the area of a plan is predicted on another grid of the scene."""
    if scene.grid_model == plan.grid_model:
        raise SceneError(
            f"{scene.path} would be read at the same pixels at two of the --scales, as they differ too little or the "
            "size of its pixels is unknown; leave one out, or give the size with --gsd"
        )
    area = needed_window(plan.area_model, scene.grid_model, plan.grid_model)
    return replace(
        _like(plan, name),
        grid_model=scene.grid_model,
        area_model=area,
        grid_out=plan.grid_model,
        area_out=plan.area_model,
        layout=replace(plan.layout, height=scene.grid_model.height, width=scene.grid_model.width, area=area),
    )
