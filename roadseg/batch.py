"""Several files in one command: their names, where their results go, and one bad one that stops no other."""

import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from roadseg.errors import OutputError, RoadsegError, SceneError
from roadseg.progress import Listener

Done = TypeVar("Done")
Job = TypeVar("Job")


@dataclass(frozen=True)
class Batch(Generic[Done]):
    """What became of several files: summaries of those done, and the errors of the others."""

    done: tuple[Done, ...]
    failed: tuple[tuple[str, RoadsegError], ...]


def in_turn(
    jobs: Sequence[tuple[str, Job]],
    do: Callable[[str, Job], Done],
    *,
    listener: Listener,
    on_done: Callable[[Done], None],
) -> Batch[Done]:
    """Do one job after the other, telling each as it is done; what goes wrong with one stops no other.

    Parameters
    ----------
    jobs
        Names of files, and what is to become of each.
    do
        Does one.
    listener
        Is warned of what goes wrong, if there are several jobs.
    on_done
        Gets what ``do`` returned.
    """
    done: list[Done] = []
    failed: list[tuple[str, RoadsegError]] = []
    for name, job in jobs:
        try:
            done.append(do(name, job))
            on_done(done[-1])
        except RoadsegError as error:
            if len(jobs) > 1:
                listener.warn(str(error))
            failed.append((name, error))
    return Batch(tuple(done), tuple(failed))


def find_files(names: Iterable[str]) -> list[str]:
    """Expand the patterns among names of files (``*``, ``?``, ``[…]``); other names stay as they are.

    Raises
    ------
    SceneError
        If a pattern fits nothing, or there is no name at all.
    """
    found: list[str] = []
    for name in names:
        if glob.has_magic(name) and "://" not in name and not Path(name).exists():
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise SceneError(f"nothing fits the pattern {name}; check the path")
            found += matches
        else:
            found.append(name)
    if not found:
        raise SceneError("no scene was named; give at least one file")
    return found


def stems(names: Sequence[str]) -> list[str]:
    """Return the names without folder and ending, by which results are called.

    Raises
    ------
    SceneError
        If two are the same.
    """
    found = [PurePosixPath(name.split("?")[0]).stem for name in names]
    twice = next((stem for stem in found if found.count(stem) > 1), None)
    if twice:
        raise SceneError(f"two scenes are called {twice} and would overwrite each other; take them apart")
    return found


def make_folders(paths: Iterable[Path]) -> None:
    """Make the folders that several files' results go to, if they are missing.

    Raises
    ------
    OutputError
        If one cannot be made.
    """
    for path in paths:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if path.exists() else error.strerror
            raise OutputError(f"cannot make the folder {path} ({reason}); choose another place") from error
