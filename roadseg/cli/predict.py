"""``roadseg predict``."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roadseg.cli.batch import check_summary, expand_stdin, fail_for, failures, for_each_file, write_summary
from roadseg.cli.memory import keep_freed_memory
from roadseg.cli.options import MODEL, OUTPUT, given, model_names, with_options
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
from roadseg.errors import OutputError, OutputInUseError, RoadsegError, counted
from roadseg.progress import Listener
from roadseg.settings import BatchSettings, EngineSettings, MachineSettings, PredictOutputs, PredictSettings
from roadseg.settings.option import as_options, declared, from_options
from roadseg.settings.parts import NO_STDOUT
from roadseg.settings.predict import check_combinations, check_lists

if TYPE_CHECKING:
    from roadseg.predict import LoadedModel

_OF_MACHINES = {one.option.flag or "" for one in declared(MachineSettings)}
"""Options that do not change the outputs; outputs do not store them."""


@with_options(PredictOutputs, EngineSettings, PredictSettings, MachineSettings, BatchSettings)
def predict(
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
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCENES",
            help="Images GDAL can open: files, URLs, /vsi… paths, patterns; - reads a list from stdin.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Model file, or name of a bundled model.",
            autocompletion=model_names,
            rich_help_panel=MODEL,
        ),
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
    roadseg predict --scenes tiles.csv -o roads/ --summary summary.json
    roadseg predict state.vrt -o roads.tif --part 3/20
    roadseg predict state.vrt -o roads.tif --dask tcp://scheduler:8786
    roadseg predict scene.tif -o - | gdal_translate '/vsistdin?buffer_limit=-1' out.jp2
    """
    check_stdout(output, as_json=as_json)
    with usage_errors():
        check_combinations(output, from_options(PredictSettings, options))
        check_lists(from_options(BatchSettings, options))
    with (
        exit_statuses(verbose),
        terminal_listener(quiet=quiet, progress=progress, unit="Mpx") as listener,
        ExitStack() as folders,
    ):
        from roadseg.files.parts import own_and_helped
        from roadseg.files.targets import output_folders
        from roadseg.predict import ready_model

        keep_freed_memory()
        batch, machines = from_options(BatchSettings, options), from_options(MachineSettings, options)
        _check_stdout_takes_it(output, batch, machines)
        with (
            stdout_file(output) as raster,
            ready_model(model, machines, **given(EngineSettings, options)) as loaded,
        ):
            outputs = from_options(PredictOutputs, options, raster=raster)
            jobs, several = _jobs(names or [], batch, outputs, output)
            if several:
                folders.enter_context(output_folders(outputs.paths()))
            if batch.summary:
                read = [loaded.path, batch.scenes, *(Path(name) for name, _ in jobs)]
                check_summary(
                    batch.summary,
                    overwrite=bool(options.get("overwrite")),
                    inputs=[path for path in read if path],
                    outputs=[path for _, targets in jobs for path in targets.paths()],
                )
            run = _Run(loaded, given(PredictSettings, options) | {"part": machines.part}, as_json, listener)
            run.skips = bool(batch.scenes) and not options.get("overwrite")
            own, others = own_and_helped(jobs, machines.share)
            if len(own) > 1 and not machines.share and not machines.dask:
                failed = failures(own, run.predict_overlapped(own), listener=listener)
            else:
                failed = for_each_file(own, run.predict, listener=listener)
            for_each_file(others, run.help_with, listener=Listener())  # their own parts report what fails
            if output == "-" and not failed:
                copy_to_stdout(raster)
        if batch.summary:
            write_summary(batch.summary, run.results, run.skipped, run.left, failed)
        if len(jobs) > 1:
            listener.report(run.sentence(len(own), len(failed)))
        elif run.skipped:
            listener.report(f"{run.skipped[0]} was done before; --overwrite predicts it again")
        fail_for(failed, len(own), "scenes", quiet=quiet)


def _check_stdout_takes_it(output: str, batch: BatchSettings, machines: MachineSettings) -> None:
    if output == "-" and batch.scenes:
        usage("-o - takes one scene")
    if output == "-" and machines.part:
        usage(NO_STDOUT)


def _jobs(
    names: list[str], batch: BatchSettings, outputs: PredictOutputs, output: str
) -> tuple[list[tuple[str, PredictOutputs]], bool]:
    """Return the scenes with their outputs, and whether outputs go to folders."""
    from roadseg.files.inputs import find_files
    from roadseg.files.targets import name_outputs
    from roadseg.predict import ENDINGS, listed_scenes

    if bool(names) == bool(batch.scenes):
        usage("name scenes, or a list of them with --scenes")
    if str(batch.scenes) == "-":
        usage("--scenes names a file; for a list on stdin name - as the scene: roadseg predict - -o roads/")
    if batch.scenes:
        return listed_scenes(batch.scenes, outputs, batch.asset), True
    found = find_files(expand_stdin(names))
    several = len(found) > 1 or output.endswith("/") or (output != "-" and Path(output).is_dir())
    if output == "-" and several:
        usage("-o - takes one scene")
    return (name_outputs(found, outputs, ENDINGS) if several else [(found[0], outputs)]), several


class _Run:
    """A run over scenes: what it predicted, skipped because it was finished, and left to other runs at work on it."""

    def __init__(self, model: "LoadedModel", options: dict[str, Any], as_json: bool, listener: Listener) -> None:
        self._model, self._options, self._as_json, self._listener = model, options, as_json, listener
        self.skips = False
        self.results: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self.left: list[str] = []

    def predict(self, scene: str, targets: PredictOutputs) -> None:
        """Predict a scene, unless it is finished."""
        self._note(*self._predicted((scene, targets), self._listener))

    def predict_overlapped(self, jobs: Sequence[tuple[str, PredictOutputs]]) -> Iterator[RoadsegError | None]:
        """Predict scenes, unless they are finished, some at once; yield None or an error for each, in order."""
        from roadseg.predict import process_scenes

        for done in process_scenes(jobs, self._predicted, self._listener):
            if isinstance(done, RoadsegError):
                yield done
            else:
                self._note(*done)
                yield None

    def help_with(self, scene: str, targets: PredictOutputs) -> None:
        """Predict blocks of a scene of another part, unless it has all of them."""
        from roadseg.predict import has_all_blocks

        if not has_all_blocks(targets):
            self.predict(scene, targets)

    def sentence(self, scenes: int, failed: int) -> str:
        """Return how many scenes are done."""
        before = f", {len(self.skipped):,} of them before" if self.skipped else ""
        left = f", {len(self.left):,} left to other runs" if self.left else ""
        done = scenes - failed - len(self.left)
        return f"{done:,} of {counted(scenes, 'scene')} done{before}{left}"

    def _predicted(self, job: tuple[str, PredictOutputs], listener: Listener) -> tuple[list[Any], Any]:
        """Predict a scene; return ``results`` and its result, or in which other list to note the scene."""
        from roadseg.predict import is_finished
        from roadseg.predict import predict as predict_one

        scene, targets = job

        def skipped() -> bool:
            return self.skips and is_finished(scene, targets, self._model, self._options, listener)

        if skipped():
            return self.skipped, scene
        options = {**self._options, **as_options(targets)}
        command = command_line(_OF_MACHINES)
        try:
            done = predict_one(scene, targets.raster, model=self._model, command=command, listener=listener, **options)
        except OutputError as error:
            if skipped():  # another run has finished it in between
                return self.skipped, scene
            if not self.skips or not isinstance(error, OutputInUseError):
                raise
            listener.report(f"{scene} is left to the other run that works on it")
            return self.left, scene
        return self.results, done.to_dict()

    def _note(self, place: list[Any], result: Any) -> None:
        """Keep a result, or the scene, and print the result as JSON."""
        place.append(result)
        if place is self.results and self._as_json:
            print_json("predict", result)
