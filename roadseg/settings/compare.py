"""Options of ``roadseg compare``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

from roadseg.settings.option import AnyPath, Option

CLASSES = ("names separated by commas", lambda text: bool(text.strip(", ")))


@dataclass(frozen=True)
class CompareSettings:
    """How predicted roads are compared with a map."""

    classes: Annotated[
        str | None,
        Option("--classes", "Road classes of the map, as in primary,residential.", "Input", "NAMES", rule=CLASSES),
    ] = None
    aoi: Annotated[
        Path | None,
        Option("--aoi", "Polygons to compare inside of, in any CRS; by default the roads' rectangle.", "Input"),
    ] = None
    roads_layer: Annotated[str | None, Option("--roads-layer", "Layer of the predicted roads.", "Input", "NAME")] = None
    map_layer: Annotated[str | None, Option("--map-layer", "Layer of the map's roads.", "Input", "NAME")] = None
    threshold: Annotated[
        float | None,
        Option(
            "--threshold",
            "Probability of road in a raster; by default the threshold stored in the file, else 0.5.",
            "Input",
            "P",
            min=0,
            max=1,
        ),
    ] = None
    buffer_m: Annotated[
        float,
        Option(
            "--buffer", "How far apart two lines of one road may run, in metres.", "Matching", "M", min=0.01, max=1e6
        ),
    ] = 10.0
    angle_deg: Annotated[
        float, Option("--angle", "How much their directions may differ, in degrees.", "Matching", "DEG", min=0, max=90)
    ] = 30.0
    min_length_m: Annotated[
        float,
        Option(
            "--min-length",
            "Shortest unmatched road to report, in metres; sections that touch count as one.",
            "Matching",
            "M",
            min=0,
            max=1e9,
        ),
    ] = 20.0
    osm: Annotated[
        Path | None,
        Option("--osm", "Also write the missing roads for OpenStreetMap editors, as GeoJSON.", "Output"),
    ] = None
    preview: Annotated[
        Path | None, Option("--preview", "PNG: missing roads magenta, unseen orange, matched grey.", "Output")
    ] = None
    overwrite: Annotated[bool, Option("--overwrite", "Replace outputs.", "Output")] = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes asked for; none stands for all."""
        return tuple(name.strip() for name in (self.classes or "").split(",") if name.strip())


class CompareOptions(TypedDict, total=False):
    """Keyword options of ``roadseg.compare.compare``; ``roadseg compare --help`` says what each means."""

    classes: str | None
    aoi: AnyPath | None
    roads_layer: str | None
    map_layer: str | None
    threshold: float | None
    buffer: float
    angle: float
    min_length: float
    osm: AnyPath | None
    preview: AnyPath | None
    overwrite: bool
