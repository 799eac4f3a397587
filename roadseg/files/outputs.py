"""Writing output files: each appears whole or not at all, and those of one run appear together."""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from roadseg.errors import DISK_FULL, OutputError

_STAGING = "left-by-roadseg"
"""Name of an empty file that marks a staging folder as one."""

_RANDOM = 8
"""Number of letters that ``tempfile`` adds to a prefix."""

ADDED = len(".-") + _RANDOM
"""Number of letters that a staging folder adds to the name of an output; locks and others add fewer."""

NEW = ".new"
"""Suffix of a file that is being written."""

SCRATCH = "scratch-"
"""How names of folders for intermediate results begin; a killed run may leave them among its blocks."""


_TRIES, _BETWEEN_S = 40 if os.name == "nt" else 1, 0.05
"""On Windows a file cannot be removed or replaced while a virus scanner, say, has it open, which takes a moment."""


def patiently(remove_or_replace: Callable[[], object]) -> None:
    """Remove or replace a file; on Windows, try again for two seconds while another program has it open.

    Raises
    ------
    OSError
        If that fails.
    """
    for _ in range(_TRIES - 1):
        try:
            remove_or_replace()
        except PermissionError:
            time.sleep(_BETWEEN_S)
        else:
            return
    remove_or_replace()


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Context manager that yields a hidden folder beside an output, to write it in; the folder is removed on exit.

    The caller holds the lock of the output: folders that killed runs have left are removed.

    Raises
    ------
    OutputError
        If it cannot be created, or the disk fills up while files are written to it.
    """
    _remove_abandoned(target)
    cure = f"cannot write beside {target} ({{}}); choose another place"
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(cure.format(error.strerror)) from error
    with folder as name:
        try:
            (Path(name) / _STAGING).touch()
        except OSError as error:
            raise OutputError(cure.format(error.strerror)) from error
        try:
            yield Path(name)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise OutputError(f"cannot write beside {target} ({error.strerror}); make room and try again") from error


def _remove_abandoned(target: Path) -> None:
    """Remove the staging folders that killed runs left beside an output."""
    prefix = f".{target.name}-"
    with suppress(OSError):
        for folder in [path for path in target.parent.iterdir() if path.name.startswith(prefix)]:
            if folder.is_symlink() or not folder.is_dir():
                continue
            if (folder / _STAGING).is_file():
                shutil.rmtree(folder, ignore_errors=True)
            elif len(folder.name) == len(prefix) + _RANDOM:
                with suppress(OSError):
                    folder.rmdir()  # a run killed before it could mark its folder left it empty


def behind_links(path: Path) -> Path:
    """Return the path that symbolic links lead to, absolute, whether there is a file or not."""
    return Path(os.path.realpath(path))


@contextmanager
def on_their_disks(
    finished: Sequence[tuple[Path, Path]], cure: str = "choose another place"
) -> Iterator[list[tuple[Path, Path]]]:
    """Context manager that yields finished files with their paths, all on the file systems of the paths.

    Files that are on another one are copied first: where one does not fit, none is moved to its path.

    Parameters
    ----------
    finished
        Files, and the paths that they are to be moved to.
    cure
        What to do if one cannot be copied, for the message.

    Raises
    ------
    OutputError
        If one cannot be copied.
    """
    near, copies = [], []
    try:
        for made, target in finished:
            place = behind_links(target)
            try:
                if _file_system(made) == _file_system(place.parent):
                    near.append((made, target))
                    continue
                copies.append(_copy_beside(place))
                shutil.copyfile(made, copies[-1])
            except OSError as error:
                raise OutputError(f"cannot write {target} ({error.strerror}); {cure}") from error
            near.append((copies[-1], target))
        yield near
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def publish_together(finished: Sequence[tuple[Path, Path]], cure: str = "choose another place") -> None:
    """Move finished files to their paths once each is on the file system of its path.

    Parameters
    ----------
    finished, cure
        As for ``on_their_disks``.

    Raises
    ------
    OutputError
        If one cannot be copied or moved.
    """
    with on_their_disks(finished, cure) as near:
        for made, target in near:
            publish(made, target)


def _file_system(path: Path) -> int:
    return path.stat().st_dev


def _copy_beside(place: Path) -> Path:
    """Return where a file is copied to, before it replaces the one at its place."""
    return place.with_name(f".{place.name}{NEW}")


def publish(made: Path, target: Path) -> None:
    """Move a finished file to its path, across file systems too; a link stays, and the file it leads to is replaced.

    Raises
    ------
    OutputError
        If it cannot be moved; what was at the path stays.
    """
    place = behind_links(target)
    try:
        try:
            patiently(lambda: made.replace(place))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = _copy_beside(place)
            try:
                shutil.copyfile(made, beside)
                patiently(lambda: beside.replace(place))
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        is_held = os.name == "nt" and isinstance(error, PermissionError)
        cure = "close it in other programs and repeat the command" if is_held else "choose another place"
        raise OutputError(f"cannot write {target} ({error.strerror}); {cure}") from error


def as_utf8(text: str) -> bytes:
    r"""Return a text as UTF-8; bytes of file names that are not UTF-8 become escapes such as ``\udcff``."""
    return text.encode("utf-8", "backslashreplace")


def write_output(target: Path, data: bytes, *, staged: Path | None = None) -> None:
    """Write a file that a user asked for; a link stays, and the file it leads to is replaced.

    Parameters
    ----------
    target, data
        The file, by which a message names it, and what it is to hold.
    staged
        Where it is written instead, until it is published.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        write_atomically(behind_links(staged or target), data)
    except OSError as error:
        raise OutputError(f"cannot write {target} ({error.strerror}); choose another place") from error


def create(path: Path, data: bytes) -> None:
    """Create a small file; on most local file systems of Linux it appears with its content, even if the run is killed.

    Raises
    ------
    FileExistsError
        If there is one.
    OSError
        If it cannot be written.
    """
    with suppress(OSError, AttributeError):  # other systems, and file systems without nameless files or links
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        try:
            os.write(descriptor, data)
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)  # a descriptor has the link followed
            return
        finally:
            os.close(descriptor)
    with path.open("xb", buffering=0) as file:
        try:
            file.write(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def write_atomically(path: Path, *data: "bytes | memoryview[int]") -> None:
    """Write a file, given in parts, beside its path, flush it to the disk, then rename it."""
    beside = path.with_name(path.name + NEW)
    try:
        beside.unlink(missing_ok=True)  # what a killed run left, or a link that would be followed
        with beside.open("xb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        patiently(lambda: beside.replace(path))
    except OSError:
        beside.unlink(missing_ok=True)
        raise
