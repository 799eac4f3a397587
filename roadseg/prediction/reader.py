"""Reading blocks ahead, in several threads with a dataset each.

    thread 1   read 1 │ read 3 │ read 5 │
    thread 2   read 2 │ read 4 │ read 6 │
    engine              predict 1 │ predict 2 │ predict 3 │      never waits, unless reading is slower

A dataset is used by one thread at a time. How many threads there are depends on the processors, not on the scene, so
memory is bounded; each block that is read ahead takes about 115 MB at the default block size, memory that blocks before
it have left.
"""

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from roadseg.files.processors import file_threads
from roadseg.prediction.plan import ScenePlan
from roadseg.prediction.prepared_block import PreparedBlock, prepare_block
from roadseg.raster.scene import Scene
from roadseg.raster.scene_copies import SceneCopies
from roadseg.raster.spare_memory import Allocate, SpareMemory, fresh
from roadseg.windows import PlannedBlock


class BlockReader:
    """An iterator of blocks that are ready to predict, which any number of threads may share; a context manager.

    Parameters
    ----------
    scene
        An open scene; until the reader is closed nobody else may use it.
    plan
        Its plan.
    todo
        Blocks of the plan; asked for one by one, one more ahead than there are threads.
    threads
        Number of threads; by default one for every four processors, up to four.
    """

    def __init__(
        self, scene: Scene, plan: ScenePlan, todo: Iterable[PlannedBlock], *, threads: int | None = None
    ) -> None:
        self._plan, self._todo = plan, iter(todo)
        self.threads = threads or file_threads()
        self._scenes = SceneCopies(scene, self.threads)
        self._pool = ThreadPoolExecutor(self.threads, "roadseg-read")
        self._ahead: deque[Future[PreparedBlock]] = deque()
        self._turn, self.stopped, self._memory = threading.Lock(), False, SpareMemory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        with self._scenes:
            self._pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PreparedBlock:
        """Return the next block, once it is read.

        Raises
        ------
        SceneError
            If the scene cannot be read there.
        """
        with self._turn:
            self._read_ahead()
            if self.stopped or not self._ahead:
                raise StopIteration
            reading = self._ahead.popleft()
            self._read_ahead()
        return reading.result()

    def wait_for_first(self) -> None:
        """Begin to read, and wait until the first block is read or cannot be."""
        with self._turn:
            self._read_ahead()
            reading = self._ahead[0] if self._ahead else None
        if reading:
            wait([reading])

    def stop(self) -> None:
        """Yield no more blocks."""
        self.stopped = True

    def _read_ahead(self) -> None:
        while not self.stopped and len(self._ahead) <= self.threads:
            planned = next(self._todo, None)
            if planned is None:
                return
            self._ahead.append(self._pool.submit(self._read, planned))

    def _read(self, planned: PlannedBlock) -> PreparedBlock:
        with self._scenes.one() as scene:
            return read_block(scene, self._plan, planned, self._memory.allocate)


def read_block(scene: Scene, plan: ScenePlan, planned: PlannedBlock, allocate: Allocate = fresh) -> PreparedBlock:
    """Read a block into an array that ``allocate`` returns, and settle what to predict of it.

    Raises
    ------
    SceneError
        If the scene cannot be read there.
    """
    # Of a block that will be regridded every pixel is needed: neighbours outside the area weigh in.
    wanted = None if plan.regrids else plan.area.covers(plan.grid_out, planned.core)
    return prepare_block(scene.read(planned.extent, allocate), planned, wanted)
