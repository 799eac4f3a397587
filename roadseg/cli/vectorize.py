"""``roadseg vectorize``."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli.batch import expand_stdin, fail_for, for_each_file, gather_outcomes, outcome_apart
from roadseg.cli.memory import keep_freed_memory
from roadseg.cli.options import OUTPUT, given, with_options
from roadseg.cli.terminal import (
    AsJson,
    Progress,
    Quiet,
    Verbose,
    check_stdout,
    copy_to_stdout,
    exit_statuses,
    print_json,
    stdout_file,
    terminal_listener,
    usage,
)
from roadseg.progress import Listener
from roadseg.settings import VectorizeSettings, VectorOutputs
from roadseg.settings.option import as_options, from_options
from roadseg.settings.parts import NO_STDOUT
from roadseg.settings.vectorize import check_combinations


@with_options(VectorOutputs, VectorizeSettings)
def vectorize(
    rasters: Annotated[
        list[str],
        typer.Argument(
            metavar="RASTERS",
            help="Rasters of road probability or masks: files, URLs, patterns; - reads a list from stdin.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Vector file; its extension decides the format. A folder for a network per raster; - for stdout.",
            rich_help_panel=OUTPUT,
        ),
    ],
    *,
    as_json: AsJson = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Extract road networks from rasters of roads.

    Lengths are in metres, or in pixels where a raster has no CRS. Several rasters and a file as output give one
    network, connected across the borders of the rasters; a folder as output gets one network each.

    \b
    roadseg vectorize roads.tif -o roads.gpkg
    roadseg vectorize roads.tif -o roads.gpkg --preview roads.png --image scene.tif
    roadseg vectorize roads.tif -o areas.fgb --as polygons
    roadseg vectorize roads/*.tif -o network.gpkg
    roadseg vectorize roads/*.tif -o networks/ --json | jq .length_km
    roadseg vectorize state.vrt -o roads.gpkg --part 3/20
    roadseg vectorize roads.tif -o - --format GeoJSONSeq | tippecanoe -o roads.pmtiles
    """
    options["format"] = _format_for_stdout(output, options.get("format"), as_json=as_json)
    with (
        exit_statuses(verbose, resumes=_resumes(output, options.get("part"))),
        terminal_listener(quiet=quiet, progress=progress, unit="Mpx") as listener,
        ExitStack() as folders,
    ):
        from roadseg.files.processors import processor_count
        from roadseg.files.workers import early_workers, map_in_processes

        keep_freed_memory()
        # They import while this process does.
        workers = min(options["workers"], processor_count())
        folders.enter_context(early_workers(workers - 1, "roadseg.vectorize"))
        from roadseg.files.inputs import find_files
        from roadseg.files.parts import own_and_helped
        from roadseg.files.targets import name_outputs, output_folders
        from roadseg.vectorize import endings_of, has_all_blocks, names_a_file, processes_for

        asked = from_options(VectorizeSettings, options)
        check_combinations(from_options(VectorOutputs, options, vector=Path(output)), asked)
        found = find_files(expand_stdin(rasters))
        if output == "-":
            joined, several = False, len(found) > 1
            _check_for_stdout(several=several, part=asked.part)
        else:
            joined = len(found) > 1 and names_a_file(output, options["format"])
            several = (len(found) > 1 and not joined) or output.endswith("/") or Path(output).is_dir()
        with stdout_file(output, "stdout") as vector:
            outputs = from_options(VectorOutputs, options, vector=vector)
            jobs = name_outputs(found, outputs, endings_of(outputs)) if several else [(found[0], outputs)]
            settings = given(VectorizeSettings, options)
            if several:
                folders.enter_context(output_folders(outputs.paths()))

            def show(values: Mapping[str, Any]) -> None:
                if as_json:
                    print_json("vectorize", values)

            def process(raster: str, targets: VectorOutputs) -> None:
                show(_vectorized(found if joined else raster, targets, listener, settings=settings))

            def help_with(raster: str, targets: VectorOutputs) -> None:
                if not has_all_blocks(targets):
                    process(raster, targets)

            own, others = own_and_helped(jobs, asked.share)
            workers = processes_for(len(own), asked)
            if workers > 1:
                alone = partial(_vectorized, settings={**settings, "workers": 1})
                outcomes = map_in_processes(partial(outcome_apart, alone), own, workers)
                failed = gather_outcomes(own, outcomes, show, listener=listener)
            else:
                failed = for_each_file(own, process, listener=listener)
            for_each_file(others, help_with, listener=Listener())  # their own parts report what fails
            if output == "-" and not failed:
                copy_to_stdout(vector)
        fail_for(failed, len(own), "rasters", quiet=quiet)


def _vectorized(
    raster: str | Sequence[str], targets: VectorOutputs, listener: Listener, *, settings: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Vectorize one raster, or the mosaic of several; return the result for ``--json``."""
    from roadseg.vectorize import vectorize as vectorize_one

    done = vectorize_one(raster, targets.vector, listener=listener, **settings, **as_options(targets))
    if done.roads is not None:
        listener.report(done.sentence())
    return done.to_dict()


def _resumes(output: str, part: str | None) -> bool:
    """Return whether the same command continues an interrupted run: a part does, and what completes parts."""
    return bool(part) or Path(f"{output}.partial").is_dir()


def _check_for_stdout(*, several: bool, part: str | None) -> None:
    """Refuse what does not go with stdout."""
    if several:
        usage("-o - takes one raster")
    if part:
        usage(NO_STDOUT)


def _format_for_stdout(output: str, form: str | None, *, as_json: bool) -> str | None:
    """Return the format; stdout takes GeoJSON, by default one feature per line."""
    check_stdout(output, "vector data", as_json=as_json)
    if output == "-" and form not in {None, "GeoJSONSeq", "GeoJSON"}:
        usage(f"-o - writes GeoJSONSeq or GeoJSON, not {form}; name a file for it")
    return form or "GeoJSONSeq" if output == "-" else form
