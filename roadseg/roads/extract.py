"""From a raster of roads to a network or to areas: what the verbs that make one have in common.

``extract`` is the whole chain: levels → clean mask → centrelines → repair → ground, or clean mask →
areas → ground. Settings in metres become pixels here, and nowhere else.
"""

import math
import os
from pathlib import Path

import numpy as np

from roadseg.errors import SceneError
from roadseg.progress import Listener
from roadseg.raster.crs import DEGREES, reproject
from roadseg.raster.encoding import LEVELS
from roadseg.raster.grid import Grid
from roadseg.raster.probability import ProbabilityRaster
from roadseg.roads.areas.polygons import SIMPLIFY_PX, areas_to_ground, road_areas
from roadseg.roads.centerlines.extract import extract_centerlines
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.ground import Ground, metre_steps
from roadseg.roads.mask.clean import Cleaning, clean_raster
from roadseg.roads.network import RoadAreas, RoadNetwork, Roads
from roadseg.roads.repair.repair import RepairLimits, repair
from roadseg.settings import VectorizeSettings

LOW_SHARE = 0.5
"""Of the threshold, what a road's probability has to be everywhere."""

DEFAULT_THRESHOLD = 0.5


def is_metric(grid: Grid) -> bool:
    """Whether it is known how many metres a pixel measures."""
    return grid.pixel_size_m() is not None


def describe(levels: ProbabilityRaster, settings: VectorizeSettings) -> str:
    """Say in one line what was chosen."""
    grid, source = levels.grid, levels.source
    pixel = source.pixel_size_m()
    own = f" of {math.sqrt(pixel[0] * pixel[1]):.3g} m" if pixel else ""
    read = grid.pixel_size_m() if grid != source else None
    scale = f"read at {math.sqrt(read[0] * read[1]):.3g} m" if read else "used as they are"
    threshold, origin = threshold_of(levels, settings)
    road = "a mask" if levels.is_mask else f"road from probability {threshold:g} on ({origin})"
    return f"{levels.path}: {source.width} × {source.height} px{own} {scale}; {road}"


def threshold_of(levels: ProbabilityRaster, settings: VectorizeSettings) -> tuple[float, str]:
    """Return the probability from which a pixel is road, and where that comes from."""
    if levels.is_mask:
        return DEFAULT_THRESHOLD, "a mask"
    if settings.threshold is not None:
        return settings.threshold, "given"
    if levels.threshold is not None:
        return levels.threshold, "noted in the raster"
    return DEFAULT_THRESHOLD, "default"


def cleaning_of(levels: ProbabilityRaster, settings: VectorizeSettings, pixel_m: float) -> Cleaning:
    """Return what is road, in levels and pixels."""
    threshold, _ = threshold_of(levels, settings)
    low = threshold * LOW_SHARE if settings.low_threshold is None else settings.low_threshold
    if levels.is_mask:
        low = threshold
    if low > threshold:
        raise SceneError(f"the low threshold {low:g} is above the threshold {threshold:g}; give a lower --low")
    return Cleaning(
        high=_level(threshold),
        low=_level(low),
        min_area_px=round(settings.min_area_m2 / pixel_m**2),
        max_hole_px=round(settings.max_hole_m2 / pixel_m**2),
    )


def ground_of(grid: Grid) -> Ground:
    """Return the ground under a grid; without a CRS a pixel is 1 × 1."""
    transform = tuple(grid.transform)[:6]
    pixel = grid.pixel_size_m()
    if grid.crs is None or pixel is None:
        return Ground(grid.crs, transform)
    crs = grid.crs
    try:
        steps = metre_steps(transform, (grid.height, grid.width), lambda xy: reproject(xy, crs, DEGREES))
    except SceneError:  # a CRS that lies nowhere on Earth still has a unit
        steps = None
    return Ground(crs, transform, pixel, steps)


def extract(levels: ProbabilityRaster, settings: VectorizeSettings, folder: Path, listener: Listener) -> Roads:
    """Make a road network of a raster, or areas.

    Parameters
    ----------
    levels
        The raster.
    settings
        How.
    folder
        Where an eighth of a byte per pixel may lie while it works.
    listener
        Hears of megapixels.
    """
    ground, how = ground_of(levels.grid), _How(levels, settings, folder, listener)
    listener.start(levels.grid.window.area / 1e6, 0)
    return _areas(how, ground) if settings.areas else _network(how, ground)


class _How:
    """What both ways share: settings in pixels, and how the raster is cut."""

    def __init__(
        self, levels: ProbabilityRaster, settings: VectorizeSettings, folder: Path, listener: Listener
    ) -> None:
        self.levels, self.settings, self.listener = levels, settings, listener
        pixel = levels.grid.pixel_size_m() or (1.0, 1.0)
        self.pixel_m = math.sqrt(pixel[0] * pixel[1])
        self.cleaning = cleaning_of(levels, settings, self.pixel_m)
        self.size = {"height": levels.grid.height, "width": levels.grid.width}
        self.blocks = {"block_px": settings.block_px, "workers": _workers(levels.grid, settings, listener)}
        self.folder = folder


def _network(how: _How, ground: Ground) -> RoadNetwork:
    settings, levels = how.settings, how.levels
    traced = extract_centerlines(
        levels, cleaning=how.cleaning, folder=how.folder, on_block=how.listener.advance, **how.size, **how.blocks
    )
    limits = RepairLimits(
        min_length=settings.min_length_m,
        spur=settings.spur_m,
        max_gap=settings.bridge_m,
        merge_junctions=settings.merge_junctions,
        level=None if levels.is_mask else float(how.cleaning.high),
    )
    repaired = repair(traced, limits, pixel=ground.pixel, sample=levels.at)
    return to_ground(repaired, ground, simplify=settings.simplify_m, probability=not levels.is_mask)


def _areas(how: _How, ground: Ground) -> RoadAreas:
    simplify_m, advance = how.settings.simplify_m, how.listener.advance
    simplify_px = SIMPLIFY_PX if simplify_m is None else simplify_m / how.pixel_m
    with clean_raster(
        how.levels,
        cleaning=how.cleaning,
        folder=how.folder,
        on_block=lambda mpx: advance(mpx / 2),
        **how.size,
        **how.blocks,
    ) as mask:
        found = road_areas(
            mask,
            simplify_px=simplify_px,
            on_block=lambda window: advance(window.area / 2e6),
            **how.size,
            **how.blocks,
        )
    return areas_to_ground(found, ground)


def _workers(grid: Grid, settings: VectorizeSettings, listener: Listener) -> int:
    """Return how many processes to start: no more than there are blocks or processors."""
    blocks = math.ceil(grid.height / settings.block_px) * math.ceil(grid.width / settings.block_px)
    most = processors()
    if settings.workers > most:
        listener.report(f"{settings.workers} workers were asked for; {most} are used, one per processor")
    return max(1, min(settings.workers, blocks, most))


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _level(probability: float) -> int:
    """Return the lowest level, of those from 1 to 254, that reaches a probability."""
    return int(np.clip(math.ceil(probability * LEVELS - 1e-6), 1, LEVELS))
