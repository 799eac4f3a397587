"""From a raster of roads to a road network or to road areas: what vectorize, predict and evaluate share.

    levels ──clean──▶ mask ──thin, trace──▶ pixel graph ──repair──▶ pixel graph ──to ground──▶ RoadNetwork
                      mask ──outline──▶ pixel areas ──to ground──▶ RoadAreas

Settings in metres become pixels here and nowhere else.
"""

import math
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.progress import Listener
from roadseg.raster.encoding import LEVELS
from roadseg.raster.probability import ProbabilityRaster
from roadseg.roads.centerlines.extract import centerlines_of
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.mask.clean import Cleaning, clean_raster
from roadseg.roads.mask.store import BlockGrid
from roadseg.roads.mask.workers import WorkerPool
from roadseg.roads.network import Roads
from roadseg.roads.repair.repair import RepairLimits, repair
from roadseg.settings import VectorizeSettings

LOW_SHARE = 0.5
"""Default of the low threshold, as a share of the threshold."""

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class ExtractionPlan:
    """A raster of roads with the settings for it, in its own units.

    Parameters
    ----------
    raster
        Probability of road, or a mask.
    settings
        Settings for the extraction, in metres.
    """

    raster: ProbabilityRaster
    settings: VectorizeSettings

    @property
    def threshold(self) -> float:
        """Probability from which a pixel is road."""
        return self._threshold()[0]

    def describe(self) -> str:
        """Return a line with the raster, its resolution and the threshold."""
        threshold, origin = self._threshold()
        road = "a mask" if self.raster.is_mask else f"road from probability {threshold:g} on ({origin})"
        return f"{self.raster.describe()}; {road}"

    def cleaning(self) -> Cleaning:
        """Return what counts as road, in levels and pixels.

        Raises
        ------
        SceneError
            If the low threshold is above the threshold.
        """
        settings, high = self.settings, self.threshold
        low = high * LOW_SHARE if settings.low_threshold is None else settings.low_threshold
        if self.raster.is_mask:
            low = high
        if low > high:
            raise SceneError(f"the low threshold {low:g} is above the threshold {high:g}; give a lower --low")
        pixel_m2 = self.raster.ground.pixel_side**2
        return Cleaning(
            high=_level(high),
            low=_level(low),
            min_area_px=round(settings.min_area_m2 / pixel_m2),
            max_hole_px=round(settings.max_hole_m2 / pixel_m2),
        )

    def repairs(self) -> RepairLimits:
        """Return what is repaired."""
        return RepairLimits(
            min_length=self.settings.min_length_m,
            spur=self.settings.spur_m,
            max_gap=self.settings.bridge_m,
            merge_junctions=self.settings.merge_junctions,
            road_level=None if self.raster.is_mask else float(_level(self.threshold)),
        )

    def simplify_px(self) -> float:
        """Return how coarse the outlines of areas may get."""
        from roadseg.roads.areas.polygons import SIMPLIFY_PX

        simplify_m = self.settings.simplify_m
        return SIMPLIFY_PX if simplify_m is None else simplify_m / self.raster.ground.pixel_side

    def blocks(self, processors: int) -> dict[str, int]:
        """Return how the raster is cut: no more processes than there are blocks, or processors."""
        height, width, block_px = self.raster.grid.height, self.raster.grid.width, self.settings.block_px
        count = math.ceil(height / block_px) * math.ceil(width / block_px)
        workers = max(1, min(self.settings.workers, count, processors))
        return {"height": height, "width": width, "block_px": block_px, "workers": workers}

    def _threshold(self) -> tuple[float, str]:
        """Return the threshold and where it comes from."""
        if not self.raster.is_mask and self.settings.threshold is not None:
            return self.settings.threshold, "given"
        if not self.raster.is_mask and self.raster.threshold is not None:
            return self.raster.threshold, "stored in the raster"
        return DEFAULT_THRESHOLD, "default"


def extract(plan: ExtractionPlan, folder: Path, listener: Listener) -> Roads:
    """Extract a road network, or road areas if the settings ask for them.

    Parameters
    ----------
    plan
        The raster, and the settings for it.
    folder
        Folder for temporary files: an eighth of a byte per pixel for areas, some 0.3 bytes for a network.
    listener
        Called with the number of megapixels finished since the last call.

    Raises
    ------
    SceneError
        If the raster cannot be read, or the low threshold is above the threshold.
    """
    raster, ground, cleaning, blocks = plan.raster, plan.raster.ground, plan.cleaning(), plan.blocks(processors())
    if plan.settings.workers > processors():
        listener.report(f"{plan.settings.workers} workers were asked for; {processors()} are used, one per processor")
    listener.start(raster.grid.window.area / 1e6, 0)
    if plan.settings.geometry == "polygons":
        from roadseg.roads.areas.polygons import areas_to_ground, road_areas

        half = replace(listener, advance=lambda megapixels: listener.advance(megapixels / 2))
        with clean_raster(raster, cleaning=cleaning, folder=folder, on_block=half.advance, **blocks) as mask:
            areas = road_areas(
                mask, simplify_px=plan.simplify_px(), on_block=lambda window: half.advance(window.area / 1e6), **blocks
            )
        return areas_to_ground(areas, ground)
    grid = BlockGrid(blocks["height"], blocks["width"], blocks["block_px"])
    with WorkerPool(raster, blocks["workers"]) as pool:
        # Nothing here keeps the graph of a stage: it is freed as soon as the next stage has its own.
        return to_ground(
            repair(
                centerlines_of(pool, grid, cleaning, folder, listener.advance),
                plan.repairs(),
                pixel_size=ground.pixel_size,
                levels_at=partial(_levels_at, pool),
            ),
            ground,
            simplify=plan.settings.simplify_m,
            probability=not raster.is_mask,
            pool=pool,
        )


_FEW_PLACES = 10_000
"""So many are read at once by this process."""


def _levels_at(pool: WorkerPool, places: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the levels of the pool's raster at (n, 2) row, col; each worker reads some rows of it."""
    if pool.workers == 1 or len(places) <= _FEW_PLACES:
        return _levels(pool.shared, places)
    parts = np.array_split(np.argsort(places[:, 0], kind="stable"), 4 * pool.workers)
    levels = np.empty(len(places), np.uint8)
    for part, found in zip(parts, pool.map(_levels, (places[part] for part in parts)), strict=True):
        levels[part] = found
    return levels


def _levels(raster: ProbabilityRaster, places: NDArray[np.int32]) -> NDArray[np.uint8]:
    return raster.at(places)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _level(probability: float) -> int:
    """Return the lowest level, of those from 1 to 254, that reaches a probability."""
    return int(np.clip(math.ceil(probability * LEVELS - 1e-6), 1, LEVELS))
