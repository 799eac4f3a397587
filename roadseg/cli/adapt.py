"""``roadseg adapt``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli.memory import ALL_BYTES, keep_freed_memory
from roadseg.cli.options import OUTPUT, with_options
from roadseg.cli.terminal import AsJson, Progress, Quiet, Verbose, exit_statuses, print_json, terminal_listener
from roadseg.settings import AdaptSettings, CardTexts


@with_options(AdaptSettings, CardTexts)
def adapt(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            help="Scenes, with --labels or --teacher; or folders with images/ and masks/, or CSV files of both.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Model file to write (.safetensors).", rich_help_panel=OUTPUT
        ),
    ],
    *,
    as_json: AsJson = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Make a model for your own imagery, from the map you have, a few labelled tiles, or no labels.

    Some ground is kept apart for the figures before and after; a model that is no better is not written. Otherwise it
    learns from that ground at the end, too. A stopped run resumes when the same command is given again.

    \b
    roadseg adapt scene.tif --labels osm_roads.gpkg -o mine.safetensors
    roadseg adapt scene.tif --teacher standard -o mine.safetensors
    roadseg adapt tiles/ -o mine.safetensors
    roadseg adapt scene.tif --labels drawn.gpkg --labels-are exact --aoi town.gpkg -o mine.safetensors --minutes 10
    """
    with exit_statuses(verbose), terminal_listener(quiet=quiet, progress=progress, unit="steps") as listener:
        from roadseg.adapt import adapt as adapt_model

        keep_freed_memory(ALL_BYTES)
        result = adapt_model(data, output, listener=listener, **options)
        if as_json:
            print_json("adapt", result.to_dict())
