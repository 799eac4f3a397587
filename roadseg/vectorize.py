"""Vectorize: from road probability rasters, or masks, to road networks.

``vectorize`` is the whole chain for one raster; ``vectorize_many`` goes through a list of them and does
not let a bad one stop the others. The network is extracted at the resolution of the model that made the raster.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from roadseg.files import Outcomes, for_each_file, publish, staging_folder
from roadseg.progress import Listener
from roadseg.raster.backdrop import open_backdrop
from roadseg.raster.files import bounded_cache
from roadseg.raster.picture import write_picture
from roadseg.raster.probability import open_probability
from roadseg.roads.extract import ExtractionPlan, extract
from roadseg.roads.files.outputs import check_target_crs, check_vector_targets, stage_vectors
from roadseg.roads.files.write import SUFFIX_OF
from roadseg.roads.network import Roads, RoadTotals
from roadseg.roads.preview import draw_roads
from roadseg.settings import VectorizeSettings, VectorOutputs


@dataclass(frozen=True)
class Summary:
    """What was made of a raster, and how long it took.

    Lengths are None where they cannot be told: kilometres without a CRS, pixels with one. Road areas have no length,
    no junctions and no gaps.
    """

    raster: str
    outputs: dict[str, str]
    roads: int
    length_km: float | None
    length_px: float | None
    area_km2: float | None
    junctions: int
    components: int
    inferred: int
    inferred_km: float | None
    megapixels: float
    seconds: float
    threshold: float

    def sentence(self) -> str:
        """Say it in one line."""
        rate = f"{self.megapixels:,.1f} Mpx in {self.seconds:,.1f} s"
        if self.area_km2 is not None:
            return f"{self.roads:,} road areas, {self.area_km2:,.2f} km², {self.components:,} pieces; {rate}"
        length = f"{self.length_px:,.0f} px" if self.length_km is None else f"{self.length_km:,.1f} km"
        gaps = f" ({self.inferred_km:,.1f} km)" if self.inferred_km is not None else ""
        return (
            f"{self.roads:,} roads, {length}, {self.junctions:,} junctions, {self.components:,} pieces, "
            f"{self.inferred:,} bridged gaps{gaps}; {rate}"
        )


@dataclass(frozen=True)
class Vectorized:
    """A road network, or road areas, and what there is to say of it."""

    roads: Roads
    summary: Summary


def vectorize(
    path: Path | str,
    outputs: VectorOutputs | None = None,
    settings: VectorizeSettings | None = None,
    *,
    listener: Listener | None = None,
) -> Vectorized:
    """Make a road network of a raster.

    With several workers a script must guard its start by ``if __name__ == "__main__":``, for each of
    them imports it anew.

    Parameters
    ----------
    path
        A raster of road probability, or a mask; anything GDAL opens.
    outputs
        What to write; nothing appears there before all of it is finished. None writes nothing.
    settings
        How.
    listener
        Who wants to hear what happens.

    Raises
    ------
    RoadsegError
        If the raster cannot be used as asked or an output not be written.
    """
    path, settings, listener = Path(path), settings or VectorizeSettings(), listener or Listener()
    started = time.monotonic()
    if outputs:
        check_vector_targets(outputs, settings, [path, *([outputs.image] if outputs.image else [])])
    raster, notes = open_probability(path, pixel_m=settings.pixel_m)
    with bounded_cache(), closing(raster):
        backdrop = open_backdrop(raster, outputs.image) if outputs and outputs.preview else None
        if outputs:
            check_target_crs(outputs, settings, raster.grid.crs)
        plan = ExtractionPlan(raster, settings)
        for sentence in [plan.describe(), *notes]:
            listener.report(sentence)
        if not raster.ground.in_metres:
            listener.warn(f"{path} has no CRS that tells metres; limits, lengths and widths are in pixels")
        with _working_folder(outputs) as folder:
            roads = extract(plan, folder, listener)
            if not len(roads):
                listener.warn(f"no road was found in {path}: {raster.emptiness(plan.threshold)}")
            if outputs:
                staged = stage_vectors(roads, outputs, settings.crs, folder)
                if outputs.preview and backdrop:
                    write_picture(folder / "preview.png", draw_roads(roads, backdrop))
                    staged.append((folder / "preview.png", outputs.preview))
                for file, target in staged:
                    publish(file, target)
    summary = _summary(roads.totals(), plan, outputs)
    return Vectorized(roads, replace(summary, seconds=round(time.monotonic() - started, 3)))


def vectorize_many(
    jobs: Sequence[tuple[str, VectorOutputs]],
    settings: VectorizeSettings,
    *,
    listener: Listener,
    on_done: Callable[[Summary], None] = lambda _: None,
) -> Outcomes[Summary]:
    """Vectorize one raster after the other, telling each as it is done; a bad one stops no other."""

    def do(raster: str, outputs: VectorOutputs) -> Summary:
        return vectorize(raster, outputs, settings, listener=listener).summary

    return for_each_file(jobs, do, listener=listener, on_done=on_done)


def endings_of(outputs: VectorOutputs) -> dict[str, str]:
    """Return what each of the outputs is called where several rasters are vectorized into folders."""
    ending = SUFFIX_OF[outputs.format or "GeoPackage"]
    return {"vector": ending, "junctions": ending, "preview": ".png"}


@contextmanager
def _working_folder(outputs: VectorOutputs | None) -> Iterator[Path]:
    """Yield a temporary folder, beside the output if there is one."""
    if outputs:
        with staging_folder(outputs.vector) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="roadseg-") as name:
            yield Path(name)


def _summary(totals: RoadTotals, plan: ExtractionPlan, outputs: VectorOutputs | None) -> Summary:
    """Return the summary but for the time it took."""
    raster, metric = plan.raster, plan.raster.ground.in_metres
    wanted = {"vector": outputs.vector, "junctions": outputs.junctions, "preview": outputs.preview} if outputs else {}
    return Summary(
        raster=str(raster.path),
        outputs={name: str(path) for name, path in wanted.items() if path},
        roads=totals.roads,
        length_km=_per(1e3, totals.length) if metric else None,
        length_px=None if metric else totals.length,
        area_km2=_per(1e6, totals.area) if metric else None,
        junctions=totals.junctions,
        components=totals.components,
        inferred=totals.inferred,
        inferred_km=_per(1e3, totals.inferred_length) if metric else None,
        megapixels=round(raster.grid.window.area / 1e6, 6),
        seconds=0.0,
        threshold=plan.threshold,
    )


def _per(unit: float, value: float | None) -> float | None:
    """Return a value in a larger unit, None if there is no value."""
    return None if value is None else value / unit
