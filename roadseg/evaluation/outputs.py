"""What an evaluation writes: checks before any work, and the report."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import roadseg
from roadseg.errors import OutputError
from roadseg.evaluation.pairs import ScoredPair, files_of_pairs
from roadseg.evaluation.report import html
from roadseg.evaluation.scores import Scores
from roadseg.files.lock import locked
from roadseg.files.outputs import as_utf8, write_output
from roadseg.files.targets import (
    GEOTIFF,
    HTML,
    check_distinct,
    check_extension,
    check_folder_name,
    check_target,
    writable_folder,
)
from roadseg.settings import EvaluateOutputs, EvaluateSettings


@contextmanager
def locked_outputs(
    outputs: EvaluateOutputs, settings: EvaluateSettings, pairs: Sequence[ScoredPair], *, networks: bool
) -> Iterator[None]:
    """Context manager that locks the outputs, which may be written; an empty folder it has made is removed on exit.

    Raises
    ------
    OutputError
        If one may not, or another run works on it.
    """
    folder = outputs.errors if len(pairs) > 1 and not networks else None
    if folder:
        check_folder_name(folder)
    with writable_folder(folder, "choose another place") if folder else nullcontext():
        check_outputs(outputs, settings, pairs, networks=networks)
        with locked(outputs.paths()):
            check_outputs(outputs, settings, pairs, networks=networks)  # another run may have finished since
            yield


def check_outputs(
    outputs: EvaluateOutputs, settings: EvaluateSettings, pairs: Sequence[ScoredPair], *, networks: bool
) -> None:
    """Check before any work that the outputs may be written.

    Raises
    ------
    OutputError
        If one may not, two are the same file, or errors are to be mapped of networks.
    """
    if networks and outputs.errors:
        raise OutputError("--errors maps the errors of rasters; leave it out for networks")
    check_distinct(outputs.paths())
    for path, extensions in ((outputs.report, HTML), (outputs.errors, GEOTIFF)):
        if path:
            check_extension(path, extensions)
    inputs = files_of_pairs(pairs) if any(path.exists() for path in outputs.paths()) else []
    for path in outputs.paths():
        maps = len(pairs) > 1 and path == outputs.errors
        for target in [path / f"{pair.name}.tif" for pair in pairs] if maps else [path]:
            check_target(target, overwrite=settings.overwrite, inputs=inputs)


def write_report(path: Path, scores: Scores, error_map: Path | None = None) -> None:
    """Write scores as a page; without it there is no map of errors either.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        write_output(path, as_utf8(html(scores, version=roadseg.__version__)))
    except OutputError:
        if error_map and error_map.is_file():
            error_map.unlink(missing_ok=True)
        raise
