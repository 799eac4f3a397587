"""``rio roadseg``: the commands of roadseg among those of rasterio, whose plugins are click commands."""

import sys

import click  # noqa: TID251  (rasterio's; typer carries its own)


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Turn aerial imagery into roads: rio roadseg predict scene.tif -o roads.tif",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def roadseg(arguments: tuple[str, ...]) -> None:
    """Turn aerial imagery into roads; takes the commands and options of roadseg."""
    from roadseg.cli import main

    sys.argv = ["roadseg", *arguments]
    main()
