"""Passes over the blocks of a raster that several commands share, through a folder of finished blocks.

Each command begins with its own share of the blocks of a pass, and then takes those that nobody works on. The next pass
reads across the borders of blocks, so it begins when all blocks are there: a command waits for blocks that living ones
work on, and takes over those of dead ones. One of them joins the results, and the others read what came of it. In the
last pass nobody waits.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial as with_arguments
from typing import Any

from roadseg.errors import counted
from roadseg.files.parts import Share, own_and_others
from roadseg.files.workers import WorkerPool
from roadseg.progress import Advance, Listener
from roadseg.raster.partial import Partial
from roadseg.roads.mask.pass_files import (
    Layer,
    StoredLevels,
    StoredPlane,
    joined_file,
    output_bytes,
    pass_file,
    read_result,
    result_bytes,
)
from roadseg.roads.mask.passes import BlockOutput, BlockPass, BlockTask, Joined, Read
from roadseg.roads.mask.store import BlockGrid

_PAUSES_S = (0.02, 0.5)
"""The first and the longest pause between two looks at what others work on."""

_SILENT_S = 5.0
"""Who waits longer says so."""


@dataclass(frozen=True)
class SharedBlocks:
    """The finished blocks of an output, and what one command does for them.

    Parameters
    ----------
    partial
        Folder of the finished blocks.
    share
        This command among several; None if it is alone.
    part
        Index of its part, from 0, and the number of parts.
    """

    partial: Partial
    share: Share | None = None
    part: tuple[int, int] = (0, 1)


class SharedPasses:
    """Passes whose masks and results are kept in files that other commands see.

    Parameters
    ----------
    pool
        Workers of this command, which share a ``read``.
    grid
        The blocks.
    shared
        The finished blocks.
    listener
        Told when this command waits.
    """

    def __init__(self, pool: WorkerPool, grid: BlockGrid, shared: SharedBlocks, listener: Listener) -> None:
        self._pool, self._grid, self._shared, self._listener = pool, grid, shared, listener
        self._layers: dict[str, list[Layer]] = {}

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""
        return self._grid

    def plane(self, name: str) -> StoredPlane:
        """Return a mask as the passes up to now have left it."""
        return StoredPlane(self._shared.partial.folder, name, self._grid, tuple(self._layers.get(name, ())))

    def levels(self) -> StoredLevels:
        """Return the levels that the first pass over the road has stored."""
        return StoredLevels(self._shared.partial.folder, self._layers["road"][0].step)

    def joined(
        self,
        step: BlockPass,
        tasks: Sequence[BlockTask],
        join: Callable[[Iterator[Any]], Joined],
        on_block: Advance,
    ) -> Joined:
        """Run a pass with the others and return what the results of all blocks were joined to."""
        name = joined_file(step.name)
        if self._shared.partial.has_file(name):
            on_block(sum(task.block.area for task in tasks) / 1e6)
        else:
            self._finish(step, tasks, on_block)
            self._make(name, lambda: result_bytes(join(self._stored(step, tasks))))
        self._add_layers(step, tasks)
        joined: Joined = read_result(self._shared.partial.folder / name, step.joined)
        return joined

    def results(self, step: BlockPass, tasks: Sequence[BlockTask], on_block: Advance) -> Iterator[Any]:
        """Run the last pass and return the results; those of blocks that others work on are not there yet."""
        self._do_free_ones(step, self._in_turn(tasks), on_block)
        return self._stored(step, tasks)

    def _finish(self, step: BlockPass, tasks: Sequence[BlockTask], on_block: Advance) -> None:
        """Do blocks until all are finished, by whomever."""
        rest = self._do_free_ones(step, self._in_turn(tasks), on_block)
        wait = _Waiting(self._listener)
        while rest:
            wait(f"for {counted(len(rest), 'block')} that other parts work on")
            rest = self._do_free_ones(step, rest, on_block)

    def _do_free_ones(self, step: BlockPass, tasks: Sequence[BlockTask], on_block: Advance) -> list[BlockTask]:
        """Do the blocks that are neither finished nor worked on by others, and return those that others work on."""
        mine: deque[BlockTask] = deque()
        theirs: list[BlockTask] = []
        free = self._free(step, tasks, (mine, theirs), on_block)
        for data in self._pool.map(with_arguments(_file_of, step.function), free):
            task = mine.popleft()
            self._put(pass_file(step.name, task.block), data)
            on_block(task.block.area / 1e6)
        return theirs

    def _free(
        self,
        step: BlockPass,
        tasks: Sequence[BlockTask],
        lists: tuple[deque[BlockTask], list[BlockTask]],
        on_block: Advance,
    ) -> Iterator[BlockTask]:
        """Yield blocks as they are claimed, and list them and those of others; those that are finished count."""
        mine, theirs = lists
        for task in tasks:
            name = pass_file(step.name, task.block)
            claimed = not self._shared.partial.has_file(name) and self._claim(name)
            if self._shared.partial.has_file(name):  # maybe another one has finished it just before it was claimed
                if claimed:
                    self._release(name)
                on_block(task.block.area / 1e6)
            elif claimed:
                mine.append(task)
                yield task
            else:
                theirs.append(task)

    def _make(self, name: str, make: Callable[[], bytes]) -> None:
        """Write a file, or wait until another command has."""
        wait = _Waiting(self._listener)
        while not self._shared.partial.has_file(name):
            if not self._claim(name):
                wait("for another part that joins the blocks")
            elif self._shared.partial.has_file(name):
                self._release(name)
            else:
                self._put(name, make())

    def _put(self, name: str, data: bytes) -> None:
        """Write a file that this command has claimed, and let go of it."""
        self._shared.partial.put_file(name, data)
        self._release(name)

    def _claim(self, name: str) -> bool:
        return self._shared.share is None or self._shared.share.claim(name.removesuffix(".npz"))

    def _release(self, name: str) -> None:
        if self._shared.share:
            self._shared.share.release(name.removesuffix(".npz"))

    def _in_turn(self, tasks: Sequence[BlockTask]) -> list[BlockTask]:
        return list(itertools.chain(*own_and_others(tasks, *self._shared.part)))

    def _stored(self, step: BlockPass, tasks: Sequence[BlockTask]) -> Iterator[Any]:
        for task in tasks:
            yield read_result(self._shared.partial.folder / pass_file(step.name, task.block), step.result)

    def _add_layers(self, step: BlockPass, tasks: Sequence[BlockTask]) -> None:
        some = len(tasks) < len(self._grid.blocks())
        blocks = frozenset(self._grid.touching(task.block)[0][0] for task in tasks) if some else None
        for name in step.masks:
            self._layers.setdefault(name, []).append(Layer(step.name, blocks))


def finished_blocks(partial: Partial, step: BlockPass, grid: BlockGrid) -> int:
    """Return how many blocks of a pass are finished."""
    return sum(partial.has_file(pass_file(step.name, block)) for block in grid.blocks())


class _Waiting:
    """Pauses, longer and longer; says once that it waits."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._began, self._said = listener, time.monotonic(), False
        self._pause_s = _PAUSES_S[0]

    def __call__(self, for_what: str) -> None:
        if not self._said and time.monotonic() - self._began > _SILENT_S:
            self._listener.report(f"waiting {for_what}")
            self._said = True
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _PAUSES_S[1])


def _file_of(function: Callable[[Read, Any], BlockOutput], read: Read, task: BlockTask) -> bytes:
    """Run a pass for one block and return its file."""
    return output_bytes(function(read, task))
