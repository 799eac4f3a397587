"""Whether files have changed since a run looked at them first."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from roadseg.errors import SceneError, shortened

FileStates = dict[Path, tuple[int, int] | None]
"""Sizes in bytes and dates of change in nanoseconds of files; None where there is no file."""

_NOTES = [".aux", ".xml"]


def file_states(files: Iterable[Path]) -> FileStates:
    """Return the sizes and dates of files."""
    return {file: _state(file) for file in files}


def states_hash(states: FileStates) -> str:
    """Return the SHA-256 of the paths, sizes and dates of files."""
    files = [(str(file.resolve()), state) for file, state in states.items()]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def check_unchanged(before: FileStates, *, discard: Callable[[], object] | None = None, shared: bool = False) -> None:
    """Check that files are as they were: blocks of both states would not fit together.

    Parameters
    ----------
    before
        The states when the files were opened; ``.aux.xml``, where viewers keep statistics, does not count.
    discard
        Removes what was made of them; None if none of it is kept.
    shared
        Whether other parts are at work, whose blocks stay.

    Raises
    ------
    SceneError
        If one has changed.
    """
    changed = [str(file) for file, state in before.items() if _state(file) != state and file.suffixes[-2:] != _NOTES]
    if not changed:
        return
    names = shortened(changed, 3)
    if shared:
        raise SceneError(f"{names} changed while it was read; stop the other parts and repeat all with --overwrite")
    if discard:
        discard()
    raise SceneError(f"{names} changed while it was read, so nothing was written; repeat the command")


def _state(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
