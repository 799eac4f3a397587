"""``roadseg compare``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli.options import OUTPUT, with_options
from roadseg.cli.terminal import AsJson, Progress, Quiet, Verbose, exit_statuses, print_json, terminal_listener
from roadseg.settings import CompareSettings


@with_options(CompareSettings)
def compare(
    roads: Annotated[
        Path, typer.Argument(metavar="ROADS", help="Predicted roads: a vector file, or a raster to vectorize first.")
    ],
    reference: Annotated[Path, typer.Argument(metavar="MAP", help="Road lines of a map, in any CRS.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="PATH", help="GeoPackage for the three layers.", rich_help_panel=OUTPUT),
    ],
    *,
    as_json: AsJson = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Find predicted roads that a map lacks, and roads of the map that were not seen.

    The output has the layers missing_from_map, not_seen and matched. Tunnels of the map are left out.

    \b
    roadseg compare roads.gpkg osm_roads.gpkg -o changes.gpkg
    roadseg compare roads.tif osm_roads.gpkg -o changes.gpkg --aoi town.gpkg --preview changes.png
    roadseg compare roads.gpkg osm_roads.gpkg -o changes.gpkg --classes primary,secondary,residential
    """
    with (
        exit_statuses(verbose, resumes=False),
        terminal_listener(quiet=quiet, progress=progress, unit="Mpx") as listener,
    ):
        from roadseg.compare import compare as compare_files

        result = compare_files(roads, reference, output, listener=listener, **options)
        listener.report(result.sentence())
    if as_json:
        print_json("compare", result.to_dict())
