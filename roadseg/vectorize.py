"""Vectorize: from road probability rasters, or masks, to road networks.

``vectorize`` is the public function, with the options of ``roadseg vectorize`` as keywords; ``vectorize_raster`` is the
whole chain for one raster. The network is extracted at the resolution of the model that made the raster.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from roadseg.errors import UsageError, counted
from roadseg.files.lock import OutputLock, locked
from roadseg.files.outputs import publish_together, staging_folder
from roadseg.files.parts import check_unshared
from roadseg.files.processors import processor_count
from roadseg.files.states import check_unchanged, file_states
from roadseg.progress import Listener
from roadseg.raster.files import bounded_cache, local_files
from roadseg.raster.partial import Partial, interrupted_targets, is_complete, partial_folder
from roadseg.raster.probability import ProbabilityRaster, open_probability
from roadseg.raster.shared_partial import shared_partial
from roadseg.raster.tiles import join_tiles, mosaic_name
from roadseg.roads.extract import ExtractionPlan, count_finished, extract, extract_part
from roadseg.roads.files.outputs import check_target_crs, check_vector_targets, stage_vectors
from roadseg.roads.files.write import SUFFIX_OF, SUFFIXES
from roadseg.roads.mask.shared_passes import SharedBlocks
from roadseg.roads.network import RoadAreas, RoadNetwork, Roads
from roadseg.settings import VectorFormat, VectorizeOptions, VectorizeSettings, VectorOutputs
from roadseg.settings.option import AnyPath, check_keywords, from_options, refuse_options
from roadseg.settings.vectorize import check_combinations

if TYPE_CHECKING:
    from roadseg.raster.backdrop import Backdrop

__all__ = ["VectorizeResult", "vectorize"]


@dataclass(frozen=True)
class VectorizeResult:
    """A road network, or road areas, with its figures and the files written.

    Lengths are None where they are unknown: kilometres without a CRS, pixels with one. Road areas have no length, no
    junctions and no gaps. A part (``part="2/5"``) has no outputs, no roads and no figures. ``network`` and ``areas``
    are the roads where it is known which of them they are, for type checkers.
    """

    raster: str
    outputs: dict[str, Path]
    roads: Roads | None
    length_km: float | None
    length_px: float | None
    area_km2: float | None
    junctions: int | None
    components: int | None
    inferred: int | None
    inferred_km: float | None
    megapixels: float
    seconds: float
    threshold: float
    blocks: int
    blocks_resumed: int
    blocks_missing: int = 0

    @property
    def network(self) -> RoadNetwork:
        """The roads as lines; TypeError if they are areas, or of a part."""
        if not isinstance(self.roads, RoadNetwork):
            raise TypeError("the result of as_='polygons' or of a part has no network")
        return self.roads

    @property
    def areas(self) -> RoadAreas:
        """The roads as areas; TypeError if they are lines, or of a part."""
        if not isinstance(self.roads, RoadAreas):
            raise TypeError("only the result of as_='polygons' has areas")
        return self.roads

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values, with the number of roads instead of the roads."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        roads = None if self.roads is None else len(self.roads)
        return {**values, "roads": roads, "outputs": {name: str(path) for name, path in self.outputs.items()}}

    def sentence(self) -> str:
        """Return a summary in one line."""
        rate = f"{self.megapixels:,.1f} Mpx in {self.seconds:,.1f} s"
        if self.roads is None:
            return f"{self.blocks - self.blocks_missing:,} of {self.blocks:,} blocks finished; {rate}"
        parts = counted(self.components or 0, "component")
        if self.area_km2 is not None:
            return f"{counted(len(self.roads), 'road area')}, {self.area_km2:,.2f} km², {parts}; {rate}"
        length = f"{self.length_px:,.0f} px" if self.length_km is None else f"{self.length_km:,.1f} km"
        gaps = f" ({self.inferred_km:,.1f} km)" if self.inferred_km is not None else ""
        junctions, bridges = counted(self.junctions or 0, "junction"), counted(self.inferred or 0, "bridged gap") + gaps
        return f"{counted(len(self.roads), 'road')}, {length}, {junctions}, {parts}, {bridges}; {rate}"


def vectorize(
    raster: AnyPath | Sequence[AnyPath],
    output: AnyPath | None = None,
    *,
    listener: Listener | None = None,
    **options: Unpack[VectorizeOptions],
) -> VectorizeResult:
    """Extract a road network, or road areas, from a raster.

    With several workers a script must guard its start by ``if __name__ == "__main__":``: each worker imports it.

    Parameters
    ----------
    raster
        A raster of road probability, or a mask; anything GDAL opens. Of several, the roads of their mosaic are
        extracted: they must have one CRS and one grid of pixels.
    output
        Vector file to write; None writes nothing. No output appears before all are finished.
    listener
        Callbacks for messages and progress.
    options
        As on the command line, with the same defaults; ``--as`` is ``as_``.

    Raises
    ------
    UsageError
        If an option has a value it cannot have, or does not go with another.
    RoadsegError
        If the raster cannot be used or an output not be written.
    """
    check_keywords("vectorize", options, VectorizeOptions)
    settings = from_options(VectorizeSettings, options)
    if output is not None and not os.fspath(output):
        raise UsageError("output is empty; name the file to write, or leave it out")
    outputs = from_options(VectorOutputs, options, vector=Path(output or ""))
    check_combinations(outputs, settings)
    if output is None:
        refuse_options(VectorOutputs, options, "needs an output; name the file to write")
    return vectorize_raster(raster, outputs if output is not None else None, settings, listener=listener)


def vectorize_raster(
    raster: AnyPath | Sequence[AnyPath],
    outputs: VectorOutputs | None = None,
    settings: VectorizeSettings | None = None,
    *,
    listener: Listener | None = None,
) -> VectorizeResult:
    """Extract a road network, or road areas, from a raster or the mosaic of several; the whole chain.

    Parameters
    ----------
    raster
        A raster of road probability, or a mask; or several on one grid.
    outputs
        Files to write; none appears before all are finished. None writes nothing.
    settings
        Settings for the extraction.
    listener
        Callbacks for messages and progress.

    Raises
    ------
    RoadsegError
        If the raster cannot be used or an output not be written.
    """
    settings, listener = settings or VectorizeSettings(), listener or Listener()
    started = time.monotonic()
    paths = [os.fsdecode(one) for one in ([raster] if isinstance(raster, str | bytes | os.PathLike) else raster)]
    if not paths:
        raise UsageError("no raster is named; name at least one")
    check_outputs(paths, outputs, settings)
    if settings.share:
        return _vectorize_part(paths, outputs, settings, listener)
    with locked(outputs.paths() if outputs else ()) as lock, bounded_cache(), _working_folder(outputs) as folder:
        check_outputs(paths, outputs, settings)  # another run may have finished since
        with _planned(paths, outputs, settings, folder, listener) as plan, _left_by_parts(plan, outputs, lock) as left:
            backdrop = _backdrop(plan.raster, outputs) if outputs else None
            resumed = count_finished(plan, left.partial) if left else 0
            roads = extract(plan, folder, listener, left)
            check_unchanged(plan.states, discard=left.partial.discard if left else None)
            if not len(roads):
                listener.warn(f"no road was found in {mosaic_name(paths)}: {plan.raster.emptiness(plan.threshold)}")
            if outputs:
                staged = stage_vectors(roads, outputs, settings.crs, folder, attribution=plan.raster.attribution)
                if outputs.preview and backdrop:
                    staged.append((_preview(roads, backdrop, folder, outputs.preview), outputs.preview))
                _publish(staged, lock, left)
    return _result(roads, plan, outputs, resumed=resumed, seconds=round(time.monotonic() - started, 3))


def check_outputs(paths: Sequence[str], outputs: VectorOutputs | None, settings: VectorizeSettings) -> None:
    """Check before any work that the outputs may be written.

    Raises
    ------
    OutputError
        If one may not, or two are the same file.
    """
    if outputs:
        inputs = [*paths, str(outputs.image)] if outputs.image else paths
        there = {path.resolve() for path in outputs.paths() if path.exists()}
        of_interrupted_run = bool(there) and there <= interrupted_targets(outputs.vector)
        settings = replace(settings, overwrite=settings.overwrite or of_interrupted_run)
        check_vector_targets(outputs, settings, local_files(inputs))


def names_a_file(output: str, form: VectorFormat | None) -> bool:
    """Return whether an output is a file, so that several rasters give one network, and not a folder for one each."""
    is_folder = output.endswith("/") or Path(output).is_dir()
    return not is_folder and (form is not None or Path(output).suffix.lower() in SUFFIXES)


def has_all_blocks(outputs: VectorOutputs) -> bool:
    """Return whether parts have finished all blocks of a raster."""
    return is_complete(outputs.vector)


_MANY = 4
"""From so many rasters per process on, processes share rasters; below, they share the blocks of each."""


def processes_for(rasters: int, settings: VectorizeSettings) -> int:
    """Return how many processes share some rasters, each of which one of them does; 1 if blocks are shared instead."""
    workers = min(settings.workers, processor_count())
    return workers if rasters >= _MANY * workers and not settings.part else 1


def endings_of(outputs: VectorOutputs) -> dict[str, str]:
    """Return the extensions of the outputs of several rasters, which go to folders."""
    ending = SUFFIX_OF[outputs.format or "GeoPackage"]
    return {"vector": ending, "junctions": ending, "osm": ".geojson", "preview": ".png"}


def _backdrop(raster: ProbabilityRaster, outputs: VectorOutputs) -> "Backdrop | None":
    """Return what the roads are drawn over, if a preview is wanted."""
    if not outputs.preview:
        return None
    from roadseg.raster.backdrop import open_backdrop

    return open_backdrop(raster, outputs.image)


def _preview(roads: Roads, backdrop: "Backdrop", folder: Path, target: Path) -> Path:
    """Draw the roads; return the path of the PNG."""
    from roadseg.raster.picture import write_picture
    from roadseg.roads.preview import draw_roads

    picture = folder / "preview.png"
    write_picture(target, draw_roads(roads, backdrop), staged=picture)
    return picture


def _vectorize_part(
    paths: Sequence[str], outputs: VectorOutputs | None, settings: VectorizeSettings, listener: Listener
) -> VectorizeResult:
    """Do the blocks of a raster that no other process has finished or works on; no output is written."""
    started, share = time.monotonic(), settings.share
    if not outputs or not share:
        raise UsageError("--part needs an output; name the file that the parts are for")
    with (
        bounded_cache(),
        _working_folder(None) as folder,
        _planned(paths, outputs, settings, folder, listener) as plan,
        shared_partial(outputs.paths(), plan.fingerprint, start_over=settings.overwrite) as (partial, mine),
    ):
        counts = extract_part(plan, listener, SharedBlocks(partial, mine, share))
        check_unchanged(plan.states, shared=True)
    listener.report(counts.sentence(*share))
    seconds = round(time.monotonic() - started, 3)
    return _result(None, plan, None, resumed=counts.before, missing=counts.missing, seconds=seconds)


@contextmanager
def _planned(
    paths: Sequence[str],
    outputs: VectorOutputs | None,
    settings: VectorizeSettings,
    folder: Path,
    listener: Listener,
) -> Iterator[ExtractionPlan]:
    """Open a raster, or the mosaic of several, and say how it is read."""
    path, states = mosaic_name(paths), file_states(local_files(paths))
    opened, notes = open_probability(_joined(paths, settings, folder), pixel_m=settings.pixel_m)
    with closing(opened):
        if outputs:
            check_target_crs(outputs, settings, opened.grid.crs)
        plan = ExtractionPlan(opened, settings, tuple(paths), states)
        for sentence in [plan.describe().replace(str(opened.path), path, 1), *notes]:
            listener.report(sentence)
        if not opened.ground.in_metres:
            listener.warn(f"{path} has no CRS with metres; limits, lengths and widths are in pixels")
        if opened.source.lacks_geotransform and opened.ground.in_metres:
            pixel_m = opened.source.mean_pixel_m()
            listener.warn(f"{path} has a CRS but no geotransform; its pixels are assumed to be {pixel_m:.3g} m wide")
        if opened.is_mask and (settings.threshold, settings.low_threshold) != (None, None):
            listener.warn(f"{path} is a mask, in which pixels are road or not; --threshold and --low change nothing")
        yield plan


@contextmanager
def _left_by_parts(
    plan: ExtractionPlan, outputs: VectorOutputs | None, lock: OutputLock
) -> Iterator[SharedBlocks | None]:
    """Yield the blocks that parts have finished, to be completed; None if no part was ever started."""
    if not outputs or not partial_folder(outputs.vector).exists():
        yield None
        return
    check_unshared(outputs.vector, partial_folder(outputs.vector))
    found, start_over = plan.fingerprint, plan.settings.overwrite
    with Partial(outputs.vector, found, start_over=start_over, check_lock=lock.check) as partial:
        yield SharedBlocks(partial)


def _publish(staged: Sequence[tuple[Path, Path]], lock: OutputLock, left: SharedBlocks | None) -> None:
    """Move finished files to their paths, and remove the blocks that parts have left."""
    if left:
        left.partial.publish(staged)
        return
    lock.check()
    publish_together(staged)


@contextmanager
def _working_folder(outputs: VectorOutputs | None) -> Iterator[Path]:
    """Yield a temporary folder, beside the output if there is one."""
    if outputs:
        with staging_folder(outputs.vector) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="roadseg-") as name:
            yield Path(name)


def _joined(paths: Sequence[str], settings: VectorizeSettings, folder: Path) -> str:
    """Return the only raster, or a mosaic of several."""
    if len(paths) == 1:
        return paths[0]
    given = {"ROADSEG_GSD_M": settings.pixel_m, "ROADSEG_THRESHOLD": settings.threshold}
    mosaic = folder / "mosaic.vrt"
    join_tiles(paths, mosaic, given=[tag for tag, value in given.items() if value is not None])
    return str(mosaic)


def _result(
    roads: Roads | None,
    plan: ExtractionPlan,
    outputs: VectorOutputs | None,
    *,
    resumed: int,
    missing: int = 0,
    seconds: float,
) -> VectorizeResult:
    """Return the roads with their figures; a part has none."""
    totals = roads.totals() if roads is not None else None
    raster, metric = plan.raster, plan.raster.ground.in_metres
    wanted = {name: getattr(outputs, name) for name in ("vector", "junctions", "osm", "preview")} if outputs else {}
    length, area, inferred = (totals.length, totals.area, totals.inferred_length) if totals else (None, None, None)
    return VectorizeResult(
        raster=mosaic_name(plan.inputs),
        outputs={name: path for name, path in wanted.items() if path},
        roads=roads,
        length_km=_per(1e3, length) if metric else None,
        length_px=None if metric else length,
        area_km2=_per(1e6, area) if metric else None,
        junctions=totals.junctions if totals else None,
        components=totals.components if totals else None,
        inferred=totals.inferred if totals else None,
        inferred_km=_per(1e3, inferred) if metric else None,
        megapixels=round(raster.grid.window.area / 1e6, 6),
        seconds=seconds,
        threshold=plan.threshold,
        blocks=len(plan.grid().blocks()),
        blocks_resumed=resumed,
        blocks_missing=missing,
    )


def _per(unit: float, value: float | None) -> float | None:
    """Return a value in a larger unit, None if there is no value."""
    return None if value is None else value / unit
