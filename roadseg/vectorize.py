"""Vectorize: from road probability rasters, or masks, to road networks.

``vectorize`` is the whole chain for one raster; ``vectorize_many`` goes through a list of them and does
not let a bad one stop the others. The network is extracted at the resolution of the model that made the raster.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from roadseg.files import Outcomes, for_each_file, publish, staging_folder
from roadseg.progress import Listener
from roadseg.raster.files import bounded_cache
from roadseg.raster.picture import write_picture
from roadseg.raster.probability import ProbabilityRaster, open_probability
from roadseg.roads.extract import describe, extract, is_metric, threshold_of
from roadseg.roads.files.outputs import check_target_crs, check_vector_targets, stage_vectors
from roadseg.roads.files.write import SUFFIX_OF
from roadseg.roads.network import RoadAreas, Roads
from roadseg.roads.preview import draw, over_image, over_raster
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
    levels, notes = open_probability(path, pixel_m=settings.pixel_m)
    if outputs:
        check_target_crs(outputs, settings, levels.grid.crs)
    for sentence in [describe(levels, settings), *notes]:
        listener.report(sentence)
    if not is_metric(levels.grid):
        listener.warn(f"{path} has no CRS that tells metres; limits, lengths and widths are in pixels")
    with bounded_cache(), _folder(outputs) as folder:
        roads = extract(levels, settings, folder, listener)
        if not len(roads):
            why = levels.emptiness(threshold_of(levels, settings)[0])
            listener.warn(f"no road was found in {path}: {why}")
        if outputs:
            made = stage_vectors(roads, outputs, settings.crs, folder)
            if outputs.preview:
                picture = folder / "preview.png"
                backdrop = over_image(outputs.image, levels) if outputs.image else over_raster(levels)
                write_picture(picture, draw(roads, backdrop))
                made.append((picture, outputs.preview))
            for finished, target in made:
                publish(finished, target)
    levels.close()
    summary = _summary(roads, levels, settings, outputs)
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
def _folder(outputs: VectorOutputs | None) -> Iterator[Path]:
    """Give a folder to work in, beside the output if there is one."""
    if outputs:
        with staging_folder(outputs.vector) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="roadseg-") as name:
            yield Path(name)


def _summary(
    roads: Roads, levels: ProbabilityRaster, settings: VectorizeSettings, outputs: VectorOutputs | None
) -> Summary:
    """Count; how long it took is not known here."""
    metric = is_metric(levels.grid)
    lines = not isinstance(roads, RoadAreas)
    length = float(roads.length_m.sum()) if not isinstance(roads, RoadAreas) else 0.0
    gaps = float(roads.length_m[roads.inferred].sum()) if not isinstance(roads, RoadAreas) else 0.0
    wanted = {"vector": outputs.vector, "junctions": outputs.junctions, "preview": outputs.preview} if outputs else {}
    return Summary(
        raster=str(levels.path),
        outputs={name: str(path) for name, path in wanted.items() if path},
        roads=len(roads),
        length_km=length / 1e3 if metric and lines else None,
        length_px=None if metric or not lines else length,
        area_km2=float(roads.area_m2.sum()) / 1e6 if isinstance(roads, RoadAreas) and metric else None,
        junctions=0 if isinstance(roads, RoadAreas) else int((roads.degree >= 3).sum()),
        components=int(roads.component.max(initial=-1)) + 1,
        inferred=0 if isinstance(roads, RoadAreas) else int(roads.inferred.sum()),
        inferred_km=gaps / 1e3 if metric and lines else None,
        megapixels=round(levels.grid.window.area / 1e6, 6),
        seconds=0.0,
        threshold=threshold_of(levels, settings)[0],
    )
