"""One function over many blocks, here or in worker processes, in order and with few results waiting."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_context: list[Any] = []
"""What the crew's functions share, in a worker process."""


class Crew:
    """Worker processes that share something, such as the way to read a raster.

    Parameters
    ----------
    shared
        The first argument of every call; sent to each worker once.
    workers
        How many processes; 1 does everything in this one.
    """

    def __init__(self, shared: Any, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"{workers} workers cannot do anything")
        self.shared, self.workers = shared, workers
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, spawn, initializer=_start, initargs=(shared,))
            self._clerk = ThreadPoolExecutor(1, "roadseg-crew")
            """Starts workers as it submits: interruptions come to the main thread and so leave none half-born."""

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._clerk.shutdown(cancel_futures=True)
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield ``function(shared, task)`` for each task, in order; the function must be a module's own."""
        if not self._pool:
            for task in tasks:
                yield function(self.shared, task)
            return
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            waiting.append(self._clerk.submit(self._pool.submit, _call, function, task).result())
            if len(waiting) > 2 * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _start(shared: Any) -> None:
    """Begin a worker's life; Ctrl-C and SIGTERM are for the main process to deal with, and it ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="roadseg-parent", daemon=True).start()
    _context[:] = [shared]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _call(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_context[0], task)
