"""Passes over the blocks of a raster, in this process and its workers.

A pass is a function over blocks. It reads the raster, and the masks of earlier passes with whatever halo it needs; what
it makes of a block are masks for later passes and a small result. All results are joined to what the next pass needs to
know. So each pass is exact by itself, and the outcome is the same for any blocks and any number of workers.
``shared_passes`` runs the same passes in several commands at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from roadseg.files.outputs import SCRATCH
from roadseg.files.workers import WorkerPool
from roadseg.progress import Advance
from roadseg.roads.mask.store import BitPlane, BlockGrid, Levels, Plane, RoadLevels
from roadseg.windows import Window

Bytes = NDArray[np.uint8]

Read = Callable[[Window], Bytes]
"""From a window inside the raster to its levels, (height, width) uint8: probability × 254, or 255 for nodata."""

Joined = TypeVar("Joined")


class BlockTask(Protocol):
    """What a pass needs for one block."""

    @property
    def block(self) -> Window:
        """The block."""


@dataclass(frozen=True)
class BlockOutput:
    """What a pass makes of a block.

    Parameters
    ----------
    result
        A dataclass of arrays and numbers, or None.
    masks
        By name, with 8 pixels per byte: (height, ceil(width / 8)) uint8, the last bits of a row are 0. One that is not
        there stays as it was, at first empty.
    levels
        Levels near the mask called ``road``, see ``packed_levels``.
    """

    result: Any = None
    masks: Mapping[str, Bytes] = field(default_factory=dict)
    levels: tuple[Bytes, Bytes] | None = None


@dataclass(frozen=True)
class BlockPass:
    """One pass.

    Parameters
    ----------
    name, function
        Its name, and what is done to each block.
    masks
        Names of the masks it writes.
    result, joined
        Types of the result of a block, and of what the results of all blocks are joined to: dataclasses of arrays,
        numbers and other dataclasses; None if there is nothing to know.
    """

    name: str
    function: Callable[[Read, Any], BlockOutput]
    masks: tuple[str, ...] = ()
    result: type | None = None
    joined: type | None = None


class Passes(Protocol):
    """Runs passes over the blocks of a raster."""

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""

    def plane(self, name: str) -> Plane:
        """Return a mask as the passes up to now have written it."""

    def levels(self) -> Levels:
        """Return the levels that were stored."""

    def joined(
        self,
        step: BlockPass,
        tasks: Sequence[BlockTask],
        join: Callable[[Iterator[Any]], Joined],
        on_block: Advance,
    ) -> Joined:
        """Run a pass and return what ``join`` makes of the results of all blocks; it may be called elsewhere.

        Parameters
        ----------
        step, tasks
            The pass, and its blocks row by row.
        join
            From the results, in order, to a dataclass of arrays, or None.
        on_block
            Called with the number of megapixels finished since the last call.
        """

    def results(self, step: BlockPass, tasks: Sequence[BlockTask], on_block: Advance) -> Iterator[Any]:
        """Run the last pass and return the results of its blocks, in order."""


class LocalPasses:
    """Passes that keep their masks in a temporary folder; see ``local_passes``."""

    def __init__(self, pool: WorkerPool, grid: BlockGrid, folder: Path) -> None:
        self._pool, self._grid, self._folder = pool, grid, folder

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""
        return self._grid

    def plane(self, name: str) -> BitPlane:
        """Return a mask; a later pass writes over it."""
        return _plane(self._folder, self._grid, name)

    def levels(self) -> RoadLevels:
        """Return the levels that were stored."""
        return _levels(self._folder, self._grid)

    def joined(
        self,
        step: BlockPass,
        tasks: Sequence[BlockTask],
        join: Callable[[Iterator[Any]], Joined],
        on_block: Advance,
    ) -> Joined:
        """Run a pass and join the results as they come."""
        return join(self.results(step, tasks, on_block))

    def results(self, step: BlockPass, tasks: Sequence[BlockTask], on_block: Advance) -> Iterator[Any]:
        """Run a pass and yield the results as they come."""
        keep = partial(_kept, step.function, self._folder, self._grid)
        for task, result in zip(tasks, self._pool.map(keep, tasks), strict=True):
            on_block(task.block.area / 1e6)
            yield result


@contextmanager
def local_passes(pool: WorkerPool, grid: BlockGrid, folder: Path | None) -> Iterator[LocalPasses]:
    """Context manager for passes with a pool that shares its ``read``; their files are removed on exit.

    Parameters
    ----------
    pool, grid
        The workers, and the blocks.
    folder
        Where temporary files go; None takes the system's folder.
    """
    # Interrupted, it may find workers that still write; what they leave goes with the folder around it.
    with TemporaryDirectory(prefix=SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
        yield LocalPasses(pool, grid, Path(scratch))


def drained(results: Iterable[object]) -> None:
    """Join results that say nothing."""
    for _ in results:
        pass


def _kept(
    function: Callable[[Read, Any], BlockOutput], folder: Path, grid: BlockGrid, read: Read, task: BlockTask
) -> Any:
    """Run a pass for one block, store its masks and levels, and return its result."""
    made = function(read, task)
    for name, mask in made.masks.items():
        _plane(folder, grid, name).write(task.block, mask)
    if made.levels is not None:
        _levels(folder, grid).write(task.block, made.levels)
    return made.result


def _plane(folder: Path, grid: BlockGrid, name: str) -> BitPlane:
    return BitPlane(folder / f"{name}.bits", grid)


def _levels(folder: Path, grid: BlockGrid) -> RoadLevels:
    return RoadLevels(folder / "levels.bin", grid)
