"""From a raster of roads to a road network or to road areas: what vectorize, predict and evaluate share.

    levels ──clean──▶ mask ──thin, trace──▶ pixel graph ──repair──▶ pixel graph ──to ground──▶ RoadNetwork
                      mask ──outline──▶ pixel areas ──to ground──▶ RoadAreas

Settings in metres become pixels here and nowhere else.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import roadseg
from roadseg.errors import SceneError
from roadseg.files.parts import PartCounts
from roadseg.files.processors import processor_count
from roadseg.files.states import FileStates, states_hash
from roadseg.files.workers import WorkerPool
from roadseg.progress import Advance, Listener
from roadseg.raster.encoding import lowest_reaching
from roadseg.raster.partial import Partial
from roadseg.raster.probability import ProbabilityRaster
from roadseg.roads.centerlines.extract import TRACED, centerlines_of, traced_blocks
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.level_reader import LevelReader, level_reader
from roadseg.roads.mask.clean import Cleaning, CleanMask, clean_blocks
from roadseg.roads.mask.passes import Passes, local_passes
from roadseg.roads.mask.shared_passes import SharedBlocks, SharedPasses, finished_blocks
from roadseg.roads.mask.store import BlockGrid
from roadseg.roads.network import RoadAreas, Roads
from roadseg.roads.pixel_graph import PixelGraph
from roadseg.roads.repair.repair import RepairLimits, repair
from roadseg.settings import VectorizeSettings

LOW_SHARE = 0.95
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
    inputs, states
        The rasters as they were named, and the state of their files; needed to share the blocks.
    """

    raster: ProbabilityRaster
    settings: VectorizeSettings
    inputs: tuple[str, ...] = ()
    states: FileStates = field(default_factory=dict)

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

    def grid(self) -> BlockGrid:
        """Return the blocks that roads are extracted by."""
        return BlockGrid(self.raster.grid.height, self.raster.grid.width, self.settings.block_px)

    def workers(self) -> int:
        """Return the number of processes: no more than there are blocks, or processors."""
        return max(1, min(self.settings.workers, len(self.grid().blocks()), processor_count()))

    @property
    def fingerprint(self) -> dict[str, object]:
        """What the blocks of a shared extraction depend on, ready for JSON."""
        grid = self.raster.grid
        names = [str(Path(one).resolve()) if Path(one).exists() else one for one in self.inputs]
        return {
            "roadseg version": roadseg.__version__,
            "raster": _digest(names) if len(names) > 1 else names[0],
            "raster size or date": states_hash(self.states),
            "raster grid": [grid.crs, list(grid.transform), grid.height, grid.width],
            "kind of raster": self.raster.kind,
            "threshold, --low, --min-area or --max-hole": asdict(self.cleaning()),
            "block size": self.settings.block_px,
            "geometry": self.settings.geometry,
        }

    def _threshold(self) -> tuple[float, str]:
        """Return the threshold and where it comes from."""
        if not self.raster.is_mask and self.settings.threshold is not None:
            return self.settings.threshold, "given"
        if not self.raster.is_mask and self.raster.threshold is not None:
            return self.raster.threshold, "stored in the raster"
        return DEFAULT_THRESHOLD, "default"


def extract(plan: ExtractionPlan, folder: Path, listener: Listener, shared: SharedBlocks | None = None) -> Roads:
    """Extract a road network, or road areas if the settings ask for them.

    Parameters
    ----------
    plan
        The raster, and the settings for it.
    folder
        Folder for temporary files: an eighth of a byte per pixel for areas, some 0.3 bytes for a network,
        and up to half a gigabyte more with several workers.
    listener
        Called with the number of megapixels finished since the last call.
    shared
        Blocks that parts have finished; the others are added to them.

    Raises
    ------
    SceneError
        If the raster cannot be read, or the low threshold is above the threshold.
    """
    raster, ground = plan.raster, plan.raster.ground
    if plan.settings.workers > processor_count():
        listener.report(f"{plan.settings.workers} workers were asked for; one per processor makes {processor_count()}")
    listener.start(raster.grid.window.area / 1e6, 0)
    with WorkerPool(raster, plan.workers()) as pool:
        if plan.settings.geometry == "polygons":
            return _areas(plan, pool, folder, listener, shared)
        with level_reader(pool, folder) as levels:
            # Nothing here keeps the graph of a stage: it is freed as soon as the next stage has its own.
            return to_ground(
                repair(
                    _centerlines(plan, pool, folder, listener, shared, levels),
                    plan.repairs(),
                    pixel_size=ground.pixel_size,
                    levels_at=levels,
                ),
                ground,
                simplify=plan.settings.simplify_m,
                probability=not raster.is_mask,
                pool=pool,
            )


def extract_part(plan: ExtractionPlan, listener: Listener, shared: SharedBlocks) -> PartCounts:
    """Do the blocks of roads that no other process has finished or works on.

    Parameters
    ----------
    plan
        The raster, and the settings for it.
    listener
        Called with the number of megapixels finished since the last call.
    shared
        The finished blocks, and this process's part of the work.

    Raises
    ------
    SceneError
        If the raster cannot be read, or the low threshold is above the threshold.
    OutputError
        If a block cannot be written.
    """
    with WorkerPool(plan.raster, plan.workers()) as pool:
        before = count_finished(plan, shared.partial)
        listener.start(plan.raster.grid.window.area / 1e6, 0)
        passes = SharedPasses(pool, plan.grid(), shared, listener)
        if plan.settings.geometry == "polygons":
            from roadseg.roads.areas.outlines import find_corners_of

            find_corners_of(passes, *_half_cleaned(plan, passes, listener))
        else:
            traced_blocks(passes, plan.cleaning(), listener.advance)
    count = len(plan.grid().blocks())
    counts = PartCounts(count, before, count - count_finished(plan, shared.partial))
    if not counts.missing:
        shared.partial.mark_complete()
    return counts


def count_finished(plan: ExtractionPlan, finished: Partial) -> int:
    """Return how many blocks have gone through all passes."""
    last = TRACED
    if plan.settings.geometry == "polygons":
        from roadseg.roads.areas.outlines import CORNERS

        last = CORNERS
    return finished_blocks(finished, last, plan.grid())


def _centerlines(
    plan: ExtractionPlan,
    pool: WorkerPool,
    folder: Path,
    listener: Listener,
    shared: SharedBlocks | None,
    levels: LevelReader,
) -> PixelGraph:
    on_ends = levels.read_ahead if pool.workers > 1 and plan.settings.bridge_m > 0 else None
    with _passes(plan, pool, folder, listener, shared) as passes:
        return centerlines_of(passes, plan.cleaning(), listener.advance, on_ends)


def _areas(
    plan: ExtractionPlan, pool: WorkerPool, folder: Path, listener: Listener, shared: SharedBlocks | None
) -> RoadAreas:
    from roadseg.roads.areas.polygons import areas_to_ground, road_areas

    with _passes(plan, pool, folder, listener, shared) as passes:
        mask, advance = _half_cleaned(plan, passes, listener)
        areas = road_areas(passes, mask, simplify_px=plan.simplify_px(), on_block=advance)
    return areas_to_ground(areas, plan.raster.ground)


def _half_cleaned(plan: ExtractionPlan, passes: Passes, listener: Listener) -> tuple[CleanMask, Advance]:
    """Return the clean mask, which is half of the work for areas, and what to call for the other half."""

    def half(megapixels: float) -> None:
        listener.advance(megapixels / 2)

    return clean_blocks(passes, plan.cleaning(), half), half


@contextmanager
def _passes(
    plan: ExtractionPlan, pool: WorkerPool, folder: Path, listener: Listener, shared: SharedBlocks | None
) -> Iterator[Passes]:
    """Context manager for the passes of this process alone, or those that complete what parts have left."""
    if shared:
        yield SharedPasses(pool, plan.grid(), shared, listener)
        return
    with local_passes(pool, plan.grid(), folder) as passes:
        yield passes


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _level(probability: float) -> int:
    """Return the lowest level that reaches a probability, as in a mask that is written; 0 is no road."""
    return max(1, lowest_reaching(probability))
