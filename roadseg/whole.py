"""Small files that are all there or not there."""

import os
from pathlib import Path

NEW = ".new"
"""Ending of a file on its way to its place."""


def write_whole(path: Path, data: "bytes | memoryview[int]") -> None:
    """Write a file beside its place, flush it to the disk, then rename it."""
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
