"""Passes over a raster that is read by a function, as extraction makes them, for its tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roadseg.files.workers import WorkerPool
from roadseg.roads.mask.passes import LocalPasses, Read, local_passes
from roadseg.roads.mask.store import BlockGrid


@contextmanager
def passes_over(
    read: Read, height: int, width: int, *, block_px: int = 10**5, workers: int = 1, folder: Path | None = None
) -> Iterator[LocalPasses]:
    """Context manager for passes over blocks of ``block_px``; their files, in a folder, are removed on exit."""
    with WorkerPool(read, workers) as pool, local_passes(pool, BlockGrid(height, width, block_px), folder) as passes:
        yield passes


def silent(_: float) -> None:
    """Take what progress reports, and say nothing."""
