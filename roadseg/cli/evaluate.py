"""``roadseg evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roadseg.cli.options import with_options
from roadseg.cli.terminal import (
    AsJson,
    Progress,
    Quiet,
    Verbose,
    command_line,
    exit_statuses,
    print_json,
    print_table,
    terminal_listener,
)
from roadseg.settings import EvaluateOutputs, EvaluateSettings

if TYPE_CHECKING:
    from roadseg.evaluate import Scores


@with_options(EvaluateOutputs, EvaluateSettings)
def evaluate(
    prediction: Annotated[
        Path,
        typer.Argument(metavar="PREDICTION", help="Predicted roads: a raster, a vector file, or a folder of them."),
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="The truth, of the same kind; folders are matched by stem.")
    ],
    *,
    as_json: AsJson = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Score predicted roads against the truth.

    \b
    roadseg evaluate roads.tif truth.tif
    roadseg evaluate predictions/ masks/ --report report.html --images tiles/ --json > scores.json
    roadseg evaluate roads.tif truth.tif --slack 2.5m --neighbourhood disk --errors errors.tif
    roadseg evaluate roads.gpkg truth.gpkg
    roadseg evaluate roads.tif truth.gpkg --network
    """
    with (
        exit_statuses(verbose, resumes=False),
        terminal_listener(quiet=quiet, progress=progress, unit="Mpx") as listener,
    ):
        from roadseg.evaluate import evaluate as score

        result = score(prediction, truth, command=command_line(), listener=listener, **options)
    if as_json:
        print_json("evaluate", result.to_dict())
    else:
        _print_scores(result.scores)


def _print_scores(scores: "Scores") -> None:
    from roadseg.evaluate import number

    width = max(len(figure.name) for figure in scores.figures)
    for figure in scores.figures:
        print(f"{figure.name:<{width}}  {number(figure.value):>6}  {figure.definition}")
    if len(scores.images) > 1:
        print()
        names = list(scores.images[0].values)
        rows = [(image.name, *[number(value, 3) for value in image.values.values()]) for image in scores.images]
        print_table(("worst first", *names), rows)
