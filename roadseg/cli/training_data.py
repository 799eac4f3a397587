"""Options of ``roadseg train`` that say where training data come from, and the table of ``--check``."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli.terminal import fail, listening, print_table, reporting, usage
from roadseg.cli.values import integers
from roadseg.settings import DataSettings, DevFolder, SplitUnit, TrainSettings

DATA = DataSettings()

_SHOWN, _NAMED = 20, 3

Data = Annotated[
    list[Path] | None,
    typer.Argument(help="Folders with images/ and masks/, or CSV files with columns image,mask,split; or scenes."),
]
Images = Annotated[list[Path] | None, typer.Option(help="Scenes to draw --labels on; more of them may follow.")]
Labels = Annotated[Path | None, typer.Option(help="Vector file with roads, in any CRS, to draw on the scenes.")]
LabelLayer = Annotated[str | None, typer.Option(help="Its layer, if it has several.")]
RoadWidth = Annotated[
    float | None, typer.Option(min=0.1, max=200, help="Width of all roads in metres; by default by highway class.")
]
WidthAttribute = Annotated[str | None, typer.Option(help="Column with the width of each road in metres.")]
WidthTable = Annotated[Path | None, typer.Option(help="TOML or CSV with widths by class, over the built-in ones.")]
Bands = Annotated[str | None, typer.Option(help="Bands to use, from 1, for example 4,3,2.")]
Dev = Annotated[
    list[Path] | None,
    typer.Option(
        help="Like DATA, to choose the threshold on and to score; never trained on. Again for other places, which "
        "count as much in the calibration alone; FOLDER@0.3 tells metres per pixel where files do not."
    ),
]
DevFraction = Annotated[float, typer.Option(min=0, max=0.9, help="Share of the data to keep as dev data instead.")]
DevSplit = Annotated[SplitUnit, typer.Option(help="Keep blocks of ground or whole files.")]
DevBlock = Annotated[float, typer.Option(min=1, help="Side of such a block in metres.")]
Cache = Annotated[Path | None, typer.Option(help="Folder for masks made of vectors; by default OUTPUT.masks/.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be used.")]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0, help="GB for tiles before they are read from files as needed; by default half of what is free."
    ),
]
RoadShare = Annotated[float, typer.Option(min=0, max=1, help="Share of crops drawn in proportion to their road.")]
Check = Annotated[bool, typer.Option("--check", help="Only look at the data: a table, and a picture OUTPUT.check.png.")]


def data_settings(
    places: list[Path] | None, images: list[Path] | None, bands: str | None, *, wanted: bool = True, **options: Any
) -> DataSettings:
    """Put together where training data come from.

    Parameters
    ----------
    places
        What was named without an option.
    images
        What was named as scenes; the shell makes ``--images *.tif`` one of these and the rest places.
    bands
        As given.
    wanted
        Whether there must be any.
    options
        Other fields of ``DataSettings``.
    """
    places, images = places or [], images or []
    numbers = integers(bands, "--bands") if bands else None
    named = [_place(path) for path in options.pop("dev", None) or []]
    if named and named[0].pixel_m:
        usage(f"the pixel size of {named[0].path} goes with --gsd; FOLDER@METRES is for a second --dev and later ones")
    options |= {"dev": named[0].path if named else None, "domains": tuple(named[1:])}
    if images or options.get("labels"):
        return DataSettings(images=(*images, *places), bands=numbers, **options)
    if wanted and not places:
        usage("train wants a folder or CSV file of images and masks (or several), or scenes with --labels")
    return DataSettings(data=places[0] if places else None, more=tuple(places[1:]), bands=numbers, **options)


def _place(path: Path) -> DevFolder:
    """Read ``FOLDER`` or ``FOLDER@0.3``."""
    name, _, metres = str(path).rpartition("@")
    try:
        pixel_m = float(metres) if name and not path.exists() else 0.0
    except ValueError:
        pixel_m = 0.0
    return DevFolder(Path(name), pixel_m) if 0 < pixel_m < math.inf else DevFolder(path)


def show_check(
    source: DataSettings,
    output: Path,
    settings: TrainSettings,
    *,
    verbose: int,
    quiet: bool,
    progress: bool | None,
) -> None:
    """Look at the data and print what was found; exit status 1 if they cannot be trained on."""
    from roadseg.tiles.check import check

    with reporting(verbose), listening(quiet=quiet, progress=progress, unit="pairs") as listener:
        sheet = output.with_name(f"{output.name.removesuffix('.safetensors')}.check.png")
        found = check(
            source,
            crop=settings.crop,
            gsd_m=settings.pixel_m,
            seed=settings.seed,
            beside=output,
            sheet=sheet,
            listener=listener,
        )
        rows = [
            (look.name, look.size, look.pixel, f"{100 * look.known:.1f} %", f"{100 * look.road:.2f} %")
            for look in found.looks[:_SHOWN]
        ]
        print_table(("pair, the oddest first", "px", "m/px", "labelled", "road"), rows)
        if len(found.looks) > _SHOWN:
            print(f"and {len(found.looks) - _SHOWN} more")
        print()
        for remark, names in found.remarks().items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            print(f"{', '.join(names[:_NAMED])}{more}: {remark}")
        if found.summary:
            print(found.summary)
        print(f"to look at: {sheet}")
        if found.obstacles:
            fail("training is impossible: " + "; ".join(found.obstacles))
