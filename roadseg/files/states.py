"""Whether files have changed since a run looked at them first."""

from collections.abc import Iterable
from pathlib import Path

FileStates = dict[Path, tuple[int, int] | None]
"""Sizes in bytes and dates of change in nanoseconds of files; None where there is no file."""

_NOTES = [".aux", ".xml"]


def file_states(files: Iterable[Path]) -> FileStates:
    """Return the sizes and dates of files."""
    return {file: _state(file) for file in files}


def changed_files(before: FileStates) -> list[str]:
    """Return the names of files that have changed; ``.aux.xml``, where viewers keep statistics, does not count."""
    return [str(file) for file, state in before.items() if _state(file) != state and file.suffixes[-2:] != _NOTES]


def _state(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
