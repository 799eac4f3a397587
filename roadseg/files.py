"""Finding input files by name, checking output paths before any work, and writing files atomically."""

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from roadseg.errors import OutputError, RoadsegError, SceneError, UsageError
from roadseg.progress import Listener

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Job = TypeVar("Job")
Outputs = TypeVar("Outputs", bound="DataclassInstance")


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
    failed: list[tuple[str, RoadsegError]] = []
    for name, job in jobs:
        try:
            process(name, job)
        except UsageError:
            raise  # an option that does not fit fails for every input
        except RoadsegError as error:
            if len(jobs) > 1:
                listener.warn(str(error))
            failed.append((name, error))
    return failed


def find_files(names: Iterable[str]) -> list[str]:
    """Expand the patterns (``*``, ``?``, ``[…]``) among file names; other names stay unchanged.

    Raises
    ------
    SceneError
        If a pattern matches nothing, or there is no name at all.
    """
    found: list[str] = []
    for name in names:
        if glob.has_magic(name) and "://" not in name and not Path(name).exists():
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise SceneError(f"nothing matches the pattern {name}; check the path")
            found += matches
        else:
            found.append(name)
    if not found:
        raise SceneError("no scene was named; give at least one file")
    return found


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return file names or URLs without folder and suffix.

    Raises
    ------
    SceneError
        If two are the same.
    """
    found = [PurePosixPath(name.split("?")[0]).stem for name in names]
    twice = next((stem for stem in found if found.count(stem) > 1), None)
    if twice:
        raise SceneError(f"two scenes are called {twice} and would overwrite each other; rename one of them")
    return found


def name_outputs(inputs: Sequence[str], folders: Outputs, endings: Mapping[str, str]) -> list[tuple[str, Outputs]]:
    """Pair inputs with output files that take their names.

    Parameters
    ----------
    inputs
        Paths or URLs.
    folders
        A dataclass of paths, each a folder or None.
    endings
        For each of its fields with a folder, the ending of the files in it.

    Raises
    ------
    SceneError
        If two inputs have the same name.
    """
    wanted = {field: ending for field, ending in endings.items() if getattr(folders, field) is not None}
    return [
        (name, replace(folders, **{field: getattr(folders, field) / f"{stem}{end}" for field, end in wanted.items()}))
        for name, stem in zip(inputs, unique_stems(inputs), strict=True)
    ]


def make_folders(paths: Iterable[Path]) -> None:
    """Create missing folders.

    Raises
    ------
    OutputError
        If one cannot be created.
    """
    for path in paths:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if path.exists() else error.strerror
            raise OutputError(f"cannot create the folder {path} ({reason}); choose another place") from error


RASTERS = (".tif", ".tiff", ".vrt", ".png", ".jp2", ".img", ".bmp", ".gif", ".jpg", ".jpeg")
"""Suffixes of the files that are read as rasters in a folder."""


@dataclass(frozen=True)
class Matched:
    """Files of two folders: ``pairs`` with the same stem, in order, and the stems that only one folder has."""

    pairs: dict[str, tuple[Path, Path]]
    alone: tuple[list[str], list[str]]


def match_stems(left: Path, right: Path, endings: Sequence[str] = RASTERS) -> Matched:
    """Match the files of two folders by stem.

    Raises
    ------
    SceneError
        If a stem occurs twice in a folder.
    """
    ours, theirs = files_by_stem(left, endings), files_by_stem(right, endings)
    common = sorted(ours.keys() & theirs.keys())
    alone = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    return Matched({stem: (ours[stem], theirs[stem]) for stem in common}, alone)


def files_by_stem(folder: Path, endings: Sequence[str] = RASTERS) -> dict[str, Path]:
    """Return the files of a folder by stem.

    Raises
    ------
    SceneError
        If a stem occurs twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in endings):
        if path.stem in found:
            raise SceneError(f"{folder} holds {found[path.stem].name} and {path.name}; keep one of them")
        found[path.stem] = path
    return found


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Return names as a list for a message, the first ``most`` of them and the number of others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Context manager that yields a hidden folder beside an output, to write it in; the folder is removed on exit.

    Raises
    ------
    OutputError
        If it cannot be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write beside {target} ({error.strerror}); choose another place") from error
    with folder as name:
        yield Path(name)


@contextmanager
def writable_folder(path: Path, cure: str) -> Iterator[Path]:
    """Context manager that yields a writable folder; folders it had to create are removed on exit if still empty.

    Parameters
    ----------
    path
        The folder; missing parents are created too.
    cure
        What to do if it is not writable, for the message.

    Raises
    ------
    OutputError
        If it cannot be created or written to.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            raise OutputError(f"cannot write to {path} ({error.strerror}); {cure}") from error
        yield path
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def check_target(target: Path, *, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Check before any work that an output may be written.

    Raises
    ------
    OutputError
        If its folder is missing or read-only, it is an input, or it exists and may not be replaced.
    """
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a file in it")
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"{target} is also the input; choose another output")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; choose another name or add --overwrite")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"the folder {target.parent} is not writable; choose another place")


def publish(made: Path, target: Path) -> None:
    """Move a finished file to its path, across file systems too."""
    try:
        try:
            made.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = target.with_name(f".{target.name}{NEW}")
            try:
                shutil.copyfile(made, beside)
                beside.replace(target)
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target} ({error.strerror}); the result is in {made}") from error


NEW = ".new"
"""Suffix of a file that is being written."""


def write_atomically(path: Path, data: "bytes | memoryview[int]") -> None:
    """Write a file beside its path, flush it to the disk, then rename it."""
    beside = path.with_name(path.name + NEW)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
