"""``roadseg train``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roadseg.cli.memory import ALL_BYTES, keep_freed_memory
from roadseg.cli.options import OUTPUT, with_options
from roadseg.cli.streams import printable
from roadseg.cli.terminal import (
    AsJson,
    Progress,
    Quiet,
    Verbose,
    exit_statuses,
    fail,
    print_json,
    print_table,
    terminal_listener,
    usage,
)
from roadseg.settings import CardTexts, DataSettings, RecipeSettings, TrainSettings
from roadseg.settings.data import DATA
from roadseg.settings.train import RUN

if TYPE_CHECKING:
    from roadseg.training.data.check import CheckReport

_SHOWN, _NAMED = 20, 3


@with_options(DataSettings, TrainSettings, RecipeSettings, CardTexts, layered=TrainSettings)
def train(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA",
            help="Folder with images/ and masks/, or CSV file with columns image,mask,split; or scenes.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Model file to write (.safetensors).", rich_help_panel=OUTPUT
        ),
    ] = None,
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only check the data: print a table, draw OUTPUT.check.png.", rich_help_panel=DATA
        ),
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as TOML and exit.", rich_help_panel=RUN)
    ] = False,
    as_json: AsJson = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Train a model on image and mask tiles.

    Masks hold 1 road, 0 not road, 255 nodata. A stopped run resumes when the same command is given again. Beside the
    model lies a folder with curves, samples, history and settings of the run.

    \b
    roadseg train data/ --dev dev/ -o my_model.safetensors
    roadseg train --images orthos/*.tif --labels osm_roads.gpkg --dev-fraction 0.1 -o my_model.safetensors
    roadseg train data/ -o my_model.safetensors --check
    roadseg train data/ -o quick.safetensors --width 16 --steps 2000 --crop 160
    roadseg train --recipe paper --print-config > paper.toml
    roadseg train --from my_model.safetensors --steps 0 --dev other/ -o calibrated.safetensors
    torchrun --nproc-per-node 4 -m roadseg train data/ -o my_model.safetensors
    """
    with exit_statuses(verbose):
        from roadseg.training.recipes import settings_from_options

        settings = settings_from_options(options)
    if print_config:
        from roadseg.training.recipes import to_toml

        print(to_toml(settings), end="")
        return
    if output is None:
        usage("-o must name the model file to write")
    place = _sort_inputs(data or [], options)
    if check:
        messages = {"verbose": verbose, "quiet": quiet, "progress": progress}
        _check(place, output, settings, options, as_json=as_json, messages=messages)
        return
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    leads = alone or os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, only one prints
    quiet = quiet or not leads
    with exit_statuses(verbose), terminal_listener(quiet=quiet, progress=progress, unit="steps") as listener:
        from roadseg.train import train as train_model

        keep_freed_memory(ALL_BYTES)
        result = train_model(place, output, listener=listener, **options)
        if as_json and leads:
            print_json("train", result.to_dict())


def _sort_inputs(data: list[Path], options: dict[str, Any]) -> list[Path] | None:
    """Return folders and CSV files; scenes join ``--images``, of which a shell makes ``--images *.tif`` only one."""
    if "images" in options or "labels" in options:
        options["images"] = [*options.get("images", []), *data]
        return None
    return data or None


def _check(
    place: list[Path] | None,
    output: Path,
    settings: TrainSettings,
    options: dict[str, Any],
    *,
    as_json: bool,
    messages: dict[str, Any],
) -> None:
    """Check the data and print what was found; exit status 1 if they cannot be trained on."""
    with (
        exit_statuses(messages["verbose"]),
        terminal_listener(quiet=messages["quiet"], progress=messages["progress"], unit="pairs") as listener,
    ):
        from roadseg.training.data.check import check_training_data
        from roadseg.training.recipes import data_from_options

        sheet = output.with_name(f"{output.name.removesuffix('.safetensors')}.check.png")
        found = check_training_data(
            data_from_options(place, options, needed=True),
            output,
            settings,
            device=options.get("device", "auto"),
            sheet=sheet,
            listener=listener,
        )
        if as_json:
            print_json("train", {**found.to_dict(), "contact_sheet": str(sheet)})
        else:
            _print_check(found, sheet)
        if found.obstacles:
            fail("training is impossible: " + "; ".join(found.obstacles))


def _print_check(found: "CheckReport", sheet: Path) -> None:
    """Print the pairs, odd ones first, what is odd about them, and what would be trained on."""
    rows = [
        (pair.name, pair.size, pair.pixel, f"{100 * pair.known:.1f} %", f"{100 * pair.road:.2f} %")
        for pair in found.pairs[:_SHOWN]
    ]
    print_table(("pair, the oddest first", "px", "m/px", "labelled", "road"), rows)
    if len(found.pairs) > _SHOWN:
        print(f"and {len(found.pairs) - _SHOWN} more")
    print()
    for remark, names in found.remarks().items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        print(printable(f"{', '.join(names[:_NAMED])}{more}: {remark}"))
    if found.summary:
        print(printable(found.summary))
    print(f"contact sheet: {sheet}")
