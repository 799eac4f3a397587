"""``roadseg evaluate``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roadseg.cli.terminal import Progress, Quiet, Verbose, command_line, listening, print_table, reporting
from roadseg.cli.values import slack_of
from roadseg.settings import EvaluateOutputs, EvaluateSettings, Neighbourhood

if TYPE_CHECKING:
    from roadseg.evaluation.scores import Scores

_EVALUATE = EvaluateSettings()


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Predicted roads: a raster, a vector file, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(help="The truth, of the same kind; folders are matched by stem.")],
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability of road; by default the one noted in the prediction, else 0.5."),
    ] = None,
    slack: Annotated[
        str, typer.Option(help="Slack of the relaxed measures: 3 pixels, or 2.5m on the ground.")
    ] = f"{_EVALUATE.slack:g}",
    neighbourhood: Annotated[
        Neighbourhood, typer.Option(help="Shape of the slack; published figures use a square.")
    ] = _EVALUATE.neighbourhood,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring predictions on another grid to the truth's.")
    ] = False,
    cldice: Annotated[
        bool, typer.Option("--cldice/--no-cldice", help="Also compute clDice, which takes longest.")
    ] = _EVALUATE.cldice,
    network: Annotated[
        bool, typer.Option("--network", help="Make networks of rasters and score those; a truth may be either.")
    ] = _EVALUATE.network,
    buffer: Annotated[
        float, typer.Option(min=0.01, help="Networks: buffer of completeness and correctness, in metres.")
    ] = _EVALUATE.buffer_m,
    junction: Annotated[
        float, typer.Option(min=0.01, help="Networks: how far apart matched junctions may be, in metres.")
    ] = _EVALUATE.junction_m,
    report: Annotated[Path | None, typer.Option(help="Write a page of HTML with curve, tables and pictures.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write all figures as JSON; - for stdout.")] = None,
    errors: Annotated[
        Path | None, typer.Option(help="Write a map of right, false and missed roads; a folder for several.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Imagery to show in the report: a file or a folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs.")] = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Score predicted roads against the truth.

    \b
    roadseg evaluate roads.tif truth.tif
    roadseg evaluate predictions/ masks/ --report report.html --images tiles/ --json scores.json
    roadseg evaluate roads.tif truth.tif --slack 2.5m --neighbourhood disk --errors errors.tif
    roadseg evaluate roads.gpkg truth.gpkg
    roadseg evaluate roads.tif truth.gpkg --network
    """
    distance, in_metres = slack_of(slack)
    with reporting(verbose, resumes=False), listening(quiet=quiet, progress=progress, unit="Mpx") as listener:
        from roadseg.evaluate import as_json as to_json
        from roadseg.evaluate import evaluate as score

        to_stdout = as_json is not None and str(as_json) == "-"
        settings = EvaluateSettings(
            threshold=threshold,
            slack=distance,
            slack_in_metres=in_metres,
            neighbourhood=neighbourhood,
            resample=resample,
            cldice=cldice,
            network=network,
            buffer_m=buffer,
            junction_m=junction,
            overwrite=overwrite,
        )
        outputs = EvaluateOutputs(report, None if to_stdout else as_json, errors)
        found = score(prediction, truth, outputs, settings, images=images, command=command_line(), listener=listener)
    if to_stdout:
        print(json.dumps(to_json(found), ensure_ascii=False))
        return
    _print_scores(found)


def _print_scores(found: "Scores") -> None:
    from roadseg.evaluation.report import number

    width = max(len(figure.name) for figure in found.figures)
    for figure in found.figures:
        print(f"{figure.name:<{width}}  {number(figure.value):>6}  {figure.definition}")
    if len(found.images) > 1:
        print()
        names = list(found.images[0].values)
        rows = [(image.name, *[number(value, 3) for value in image.values.values()]) for image in found.images]
        print_table(("worst first", *names), rows)
