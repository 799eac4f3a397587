"""Several inputs in one command: names on stdin, one input after the other, and the failures among them."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import roadseg
from roadseg.cli.streams import printable
from roadseg.cli.terminal import fail
from roadseg.errors import OutputError, RoadsegError, UsageError, shortened
from roadseg.progress import Listener

Job = TypeVar("Job")

_NAMED = 20
"""How many of the inputs that failed the last line names; a warning has named each."""


def for_each_file(
    jobs: Sequence[tuple[str, Job]], process: Callable[[str, Job], None], *, listener: Listener
) -> list[tuple[str, RoadsegError]]:
    """Process inputs one after the other; one that fails does not stop the others.

    Parameters
    ----------
    jobs
        Names of inputs, and the second argument of ``process`` for each.
    process
        Called with each job.
    listener
        Warned of each failure, if there are several inputs.

    Returns
    -------
    The inputs that failed, with their errors.
    """

    def outcome(name: str, job: Job) -> RoadsegError | None:
        try:
            process(name, job)
        except UsageError:
            raise  # an option that does not fit fails for every input
        except RoadsegError as error:
            return error
        return None

    return failures(jobs, (outcome(name, job) for name, job in jobs), listener=listener)


@dataclass(frozen=True)
class FileOutcome:
    """What became of an input in another process: messages, and whether each is a warning; values, or an error."""

    messages: Sequence[tuple[str, bool]]
    values: Mapping[str, Any] | None = None
    error: RoadsegError | None = None


def gather_outcomes(
    jobs: Sequence[tuple[str, Job]],
    outcomes: Iterable[FileOutcome],
    show: Callable[[Mapping[str, Any]], None],
    *,
    listener: Listener,
) -> list[tuple[str, RoadsegError]]:
    """Show what other processes have made of inputs; one that fails does not stop the others.

    Parameters
    ----------
    jobs
        Names of inputs, and what was to be done with each.
    outcomes
        What became of each, in the same order.
    show
        Called with the values of those that did not fail.
    listener
        Gets the messages of each input, and its progress in files.

    Returns
    -------
    The inputs that failed, with their errors.
    """

    def shown(outcome: FileOutcome) -> RoadsegError | None:
        listener.advance(1)
        for message, is_warning in outcome.messages:
            (listener.warn if is_warning else listener.report)(message)
        if isinstance(outcome.error, UsageError):
            raise outcome.error  # an option that does not fit fails for every input
        if outcome.values is not None:
            show(outcome.values)
        return outcome.error

    listener.start(len(jobs), 0, "file")
    return failures(jobs, map(shown, outcomes), listener=listener)


def outcome_apart(process: Callable[[str, Job, Listener], Mapping[str, Any]], job: tuple[str, Job]) -> FileOutcome:
    """Process an input in a process without a terminal."""
    messages: list[tuple[str, bool]] = []
    heard = Listener(lambda text: messages.append((text, False)), lambda text: messages.append((text, True)))
    try:
        return FileOutcome(messages, process(*job, heard))
    except RoadsegError as error:
        return FileOutcome(messages, error=error)


def failures(
    jobs: Sequence[tuple[str, Job]], outcomes: Iterable[object], *, listener: Listener
) -> list[tuple[str, RoadsegError]]:
    """Return the inputs that failed, with their errors: those outcomes that are errors; warn of each as it comes."""
    failed: list[tuple[str, RoadsegError]] = []
    for (name, _), outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, RoadsegError):
            if len(jobs) > 1:
                listener.warn(str(outcome))
            failed.append((name, outcome))
    return failed


def fail_for(failed: Sequence[tuple[str, RoadsegError]], count: int, noun: str, *, quiet: bool) -> None:
    """Exit if inputs failed: with the error of the only one, else with status 1 and their names.

    Why each of several failed has been printed as a warning, unless ``quiet``.
    """
    if not failed:
        return
    if count == 1:
        raise failed[0][1]
    for _, error in failed if quiet else ():
        print(printable(f"roadseg: error: {error}"), file=sys.stderr)
    fail(f"{len(failed):,} of {count:,} {noun} failed: {shortened([name for name, _ in failed], _NAMED)}")


def check_summary(path: Path, *, overwrite: bool, inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Check before any work that a summary may be written; that of an earlier run is replaced.

    Raises
    ------
    OutputError
        If its folder is missing or read-only, it is an input or another output, or another file that may not be
        replaced.
    """
    from roadseg.files.outputs import behind_links
    from roadseg.files.targets import check_target

    check_target(path, overwrite=overwrite or _is_summary(path), inputs=inputs)
    if behind_links(path) in {behind_links(output) for output in outputs}:
        raise OutputError(f"{path} is named twice; give each output its own name")


def _is_summary(path: Path) -> bool:
    try:
        return {"roadseg", "skipped", "scenes"} <= set(dict(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def write_summary(
    path: Path,
    done: Sequence[Mapping[str, Any]],
    skipped: Sequence[str],
    left: Sequence[str],
    failed: Sequence[tuple[str, RoadsegError]],
) -> None:
    """Write the summary of a run.

    Parameters
    ----------
    path
        The JSON file; replaced if it exists.
    done
        Results of the scenes that were predicted.
    skipped
        Scenes whose outputs were there.
    left
        Scenes that another run works on.
    failed
        Scenes that failed, with their errors.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    totals = {key: round(sum(result[key] for result in done), 3) for key in ("megapixels", "seconds")}
    values = {
        "version": 1,
        "roadseg": roadseg.__version__,
        "done": len(done),
        "skipped": len(skipped),
        "left": len(left),
        "failed": len(failed),
        **totals,
        "scenes": [
            *({"status": "done", **result} for result in done),
            *({"status": "skipped", "scene": scene} for scene in skipped),
            *({"status": "left", "scene": scene} for scene in left),
            *({"status": "failed", "scene": scene, "error": str(error)} for scene, error in failed),
        ],
    }
    from roadseg.files.outputs import as_utf8, write_output

    write_output(path, as_utf8(json.dumps(values, ensure_ascii=False, indent=1)))


def expand_stdin(names: Sequence[str]) -> list[str]:
    """Return names of inputs; those that stdin lists, a line each, stand in for ``-``."""
    return [line for name in names for line in (_lines_of_stdin() if name == "-" else [name])]


def _lines_of_stdin() -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()]
