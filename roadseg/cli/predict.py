"""``roadseg predict``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli.batch import expand_stdin, fail_for, for_each_file
from roadseg.cli.options import MODEL, OUTPUT, given, with_options
from roadseg.cli.terminal import (
    AsJson,
    Progress,
    Quiet,
    Verbose,
    check_stdout,
    command_line,
    copy_to_stdout,
    exit_statuses,
    print_json,
    stdout_file,
    terminal_listener,
    usage,
    usage_errors,
)
from roadseg.progress import Listener
from roadseg.settings import EngineSettings, MachineSettings, PredictOutputs, PredictSettings
from roadseg.settings.option import as_options, declared, from_options
from roadseg.settings.predict import check_combinations

_OF_MACHINES = {one.option.flag or "" for one in declared(MachineSettings)}
"""Options that do not change the outputs; outputs do not store them."""


@with_options(PredictOutputs, EngineSettings, PredictSettings, MachineSettings)
def predict(
    scenes: Annotated[
        list[str],
        typer.Argument(
            help="Images GDAL can open: files, URLs, /vsi… paths, patterns; - reads a list from stdin.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Probability raster to write (COG); a folder for several scenes; - for stdout.",
            rich_help_panel=OUTPUT,
        ),
    ],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Model file, or name of a bundled model.", rich_help_panel=MODEL)
    ] = None,
    *,
    as_json: AsJson = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Find the roads of scenes.

    A stopped run resumes when the same command is given again.

    \b
    roadseg predict scene.tif -o roads.tif
    roadseg predict scene.tif -o roads.tif --mask mask.tif --preview roads.png
    roadseg predict scene.tif -o roads.tif --vector roads.gpkg
    roadseg predict tiles/*.tif -o roads/
    roadseg predict https://host/scene.tif --bbox 230000,890000,232000,892000 -o part.tif
    ls tiles/*.tif | roadseg predict - -o roads/ --json | jq .road_fraction
    roadseg predict state.vrt -o roads.tif --part 3/20
    roadseg predict state.vrt -o roads.tif --dask tcp://scheduler:8786
    roadseg predict scene.tif -o - | gdal_translate /vsistdin/ out.jp2
    """
    check_stdout(output, as_json=as_json)
    with usage_errors():
        check_combinations(output, from_options(PredictSettings, options))
    with exit_statuses(verbose), terminal_listener(quiet=quiet, progress=progress, unit="Mpx") as listener:
        from roadseg.files.inputs import find_files
        from roadseg.files.outputs import make_folders, name_outputs
        from roadseg.predict import ENDINGS, has_all_blocks, ready_model, scenes_of_part
        from roadseg.predict import predict as predict_one

        found = find_files(expand_stdin(scenes))
        several = len(found) > 1 or output.endswith("/") or (output != "-" and Path(output).is_dir())
        if output == "-" and several:
            usage("-o - takes one scene")
        machines = from_options(MachineSettings, options)
        if output == "-" and machines.part:
            usage("--part writes no output; name the file that the parts are for instead of -o -")
        engine = given(EngineSettings, options)
        with stdout_file(output) as raster, ready_model(model, machines, **engine) as loaded:
            outputs = from_options(PredictOutputs, options, raster=raster)
            jobs = name_outputs(found, outputs, ENDINGS) if several else [(found[0], outputs)]
            settings = given(PredictSettings, options) | {"part": machines.part}
            if several:
                make_folders(outputs.paths())

            def process(scene: str, targets: PredictOutputs) -> None:
                places, command = as_options(targets), command_line(_OF_MACHINES)
                done = predict_one(
                    scene, targets.raster, model=loaded, command=command, listener=listener, **settings, **places
                )
                if as_json:
                    print_json("predict", done.to_dict())

            def help_with(scene: str, targets: PredictOutputs) -> None:
                if not has_all_blocks(targets):
                    process(scene, targets)

            own, others = scenes_of_part(jobs, machines.share)
            failed = for_each_file(own, process, listener=listener)
            for_each_file(others, help_with, listener=Listener())  # their own parts report what fails
            if output == "-" and not failed:
                copy_to_stdout(raster)
        if len(jobs) > 1:
            listener.report(f"{len(own) - len(failed)} of {len(own)} scenes done")
        fail_for(failed, len(own), "scenes", quiet=quiet)
