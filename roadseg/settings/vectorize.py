"""Options of ``roadseg vectorize``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from roadseg.errors import UsageError
from roadseg.settings.option import AnyPath, Option, changed_flags
from roadseg.settings.parts import PART, share_of

VectorFormat = Literal["GeoPackage", "FlatGeobuf", "GeoJSON", "GeoJSONSeq", "GeoParquet", "Shapefile"]
Geometry = Literal["lines", "polygons"]


@dataclass(frozen=True)
class VectorizeSettings:
    """How a road network, or road areas, are extracted; in metres on the ground, or pixels without a CRS."""

    geometry: Annotated[Geometry, Option("--as", "A network of centerlines, or the areas of the roads.", "Roads")] = (
        "lines"
    )
    threshold: Annotated[
        float | None,
        Option(
            "--threshold",
            "Probability that a road must reach somewhere; by default the threshold stored in the file, else 0.5.",
            "Roads",
            "P",
            min=0.001,
            max=1,
        ),
    ] = None
    low_threshold: Annotated[
        float | None,
        Option(
            "--low",
            "Probability that it must keep everywhere; by default 0.95 of the threshold.",
            "Roads",
            "P",
            min=0,
            max=1,
        ),
    ] = None
    pixel_m: Annotated[
        float | None,
        Option("--gsd", "Metres per pixel to extract at; by default the model's.", "Roads", "M", min=1e-4, max=1e5),
    ] = None
    min_area_m2: Annotated[
        float,
        Option(
            "--min-area",
            "Smallest patch of road to keep, in square metres.",
            "Cleaning and repair",
            "M2",
            min=0,
            max=1e12,
        ),
    ] = 60.0
    max_hole_m2: Annotated[
        float,
        Option("--max-hole", "Largest hole to fill, in square metres.", "Cleaning and repair", "M2", min=0, max=1e12),
    ] = 60.0
    min_length_m: Annotated[
        float,
        Option(
            "--min-length",
            "Shortest component to keep, in metres of road; those that reach the border stay.",
            "Cleaning and repair",
            "M",
            min=0,
            max=1e9,
        ),
    ] = 60.0
    spur_m: Annotated[
        float | None,
        Option(
            "--spur",
            "Longest dead end to prune, in metres; by default what the road's width explains; 0 prunes none.",
            "Cleaning and repair",
            "M",
            min=0,
        ),
    ] = None
    bridge_m: Annotated[
        float,
        Option(
            "--bridge", "Longest gap to bridge, in metres; 0 bridges none.", "Cleaning and repair", "M", min=0, max=1e4
        ),
    ] = 30.0
    merge_junctions: Annotated[
        bool,
        Option(
            "--merge-junctions/--keep-junctions",
            "Merge junctions that lie within a road's width of each other.",
            "Cleaning and repair",
        ),
    ] = True
    simplify_m: Annotated[
        float | None,
        Option(
            "--simplify",
            "Largest distance a line may move to save vertices, in metres; by default 0.75 px; 0 keeps all vertices.",
            "Cleaning and repair",
            "M",
            min=0,
        ),
    ] = None
    crs: Annotated[
        str | None,
        Option(
            "--crs",
            "CRS of the output, such as EPSG:25832; by default the raster's.",
            "Output",
            "CRS",
            alias="--dst-crs",
        ),
    ] = None
    overwrite: Annotated[
        bool, Option("--overwrite", "Replace outputs; in a GeoPackage only the layers of these names.", "Output")
    ] = False
    block_px: Annotated[
        int,
        Option(
            "--block",
            "Side of a block in pixels; larger is faster and takes more memory.",
            "Tuning",
            "PX",
            min=64,
            max=10**6,
        ),
    ] = 2048
    workers: Annotated[int, Option("--workers", "Number of processes.", "Tuning", "N", min=1, max=1024)] = 1
    part: Annotated[str | None, PART] = None

    @property
    def share(self) -> tuple[int, int] | None:
        """The index of the part, from 0, and the number of parts; None for all of the work."""
        return share_of(self.part)


@dataclass(frozen=True)
class VectorOutputs:
    """Where a road network goes."""

    vector: Path
    format: Annotated[
        VectorFormat | None, Option("--format", "Format of the output; by default from its extension.", "Output")
    ] = None
    layer: Annotated[
        str | None,
        Option("--layer", "Name of the layer, which is added to a GeoPackage that exists.", "Output", "NAME"),
    ] = None
    junctions: Annotated[
        Path | None, Option("--junctions", "File for the junctions; by default a layer of the GeoPackage.", "Output")
    ] = None
    preview: Annotated[Path | None, Option("--preview", "Also draw the roads over the raster, as PNG.", "Output")] = (
        None
    )
    image: Annotated[Path | None, Option("--image", "Image to draw the roads over instead.", "Output")] = None
    osm: Annotated[
        Path | None,
        Option("--osm", "Also write the roads for OpenStreetMap editors, as GeoJSON.", "Output"),
    ] = None

    def paths(self) -> list[Path]:
        """Return the paths that are set."""
        return [path for path in (self.vector, self.junctions, self.osm, self.preview) if path]


def check_combinations(outputs: VectorOutputs, settings: VectorizeSettings) -> None:
    """Refuse options that only make sense with others.

    Raises
    ------
    UsageError
        If one of them is missing, or excludes another.
    """
    if outputs.image and not outputs.preview:
        raise UsageError("--image is the background of --preview; give both")
    if outputs.junctions and settings.geometry == "polygons":
        raise UsageError("--junctions belong to lines; leave out --as polygons")
    if outputs.osm and settings.geometry == "polygons":
        raise UsageError("--osm holds lines; leave out --as polygons")
    of_lines = changed_flags(settings, "min_length_m", "spur_m", "bridge_m", "merge_junctions")
    if of_lines and settings.geometry == "polygons":
        raise UsageError(f"{of_lines[0]} is about lines, and areas have none; leave it out, or --as polygons")


class VectorizeOptions(TypedDict, total=False):
    """Keyword options of ``roadseg.vectorize.vectorize``; ``roadseg vectorize --help`` says what each means."""

    as_: Geometry
    threshold: float | None
    low: float | None
    gsd: float | None
    min_area: float
    max_hole: float
    min_length: float
    spur: float | None
    bridge: float
    merge_junctions: bool
    simplify: float | None
    crs: str | None
    overwrite: bool
    block: int
    workers: int
    part: str | None
    format: VectorFormat | None
    layer: str | None
    junctions: AnyPath | None
    osm: AnyPath | None
    preview: AnyPath | None
    image: AnyPath | None
