"""``roadseg export``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli.options import OUTPUT, model_names, with_options
from roadseg.cli.terminal import AsJson, Quiet, Verbose, exit_statuses, print_json, terminal_listener
from roadseg.settings import ExportSettings


@with_options(ExportSettings)
def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Model file, or name of a bundled model.", autocompletion=model_names),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="PATH", help="File to write: .onnx or .json.", rich_help_panel=OUTPUT),
    ],
    *,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Write a model for other programs: as an ONNX file, or as a STAC item for catalogues.

    The ONNX file runs in ONNX Runtime, OpenVINO, Deepness (QGIS) and GeoDeep; normalization and calibration are part
    of it. The STAC item (.json) follows the Machine Learning Model extension.

    \b
    roadseg export compact -o compact.onnx
    roadseg export my_model.safetensors -o my_model.json
    roadseg predict scene.tif -o roads.tif --model compact.onnx
    """
    with (
        exit_statuses(verbose, resumes=False),
        terminal_listener(quiet=quiet, progress=False, unit="files") as listener,
    ):
        from roadseg.export import export as export_model

        result = export_model(model, output, listener=listener, **options)
        listener.report(result.sentence())
    if as_json:
        print_json("export", result.to_dict())
