"""Worker processes: one function over many tasks, results in order and only few of them waiting."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_shared: list[Any] = []
"""In a worker process, the one value that all calls share."""


class WorkerPool:
    """Worker processes that share one value, such as the function that reads a raster.

    Parameters
    ----------
    shared
        First argument of every call; sent to each worker once.
    workers
        Number of processes; with 1, everything runs in this one.
    """

    def __init__(self, shared: Any, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.shared, self.workers = shared, workers
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, spawn, initializer=_start, initargs=(shared,))
            # submit() starts processes. In a thread of its own, no KeyboardInterrupt can leave one half started.
            self._submitter = ThreadPoolExecutor(1, "roadseg-workers", initializer=_block_signals)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._submitter.shutdown(cancel_futures=True)
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield ``function(shared, task)`` for each task, in order; the function must be defined in a module."""
        if not self._pool:
            for task in tasks:
                yield function(self.shared, task)
            return
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            waiting.append(self._submitter.submit(self._pool.submit, _call, function, task).result())
            if len(waiting) > 2 * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _block_signals() -> None:
    """Let processes that this thread starts be born deaf to Ctrl-C and SIGTERM, which terminals send to all.

    A worker that dies before it has read its data leaves the writing end of its pipe waiting for ever.
    """
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # starting it later would unblock the signals
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _start(shared: Any) -> None:
    """Prepare a worker: Ctrl-C and SIGTERM are left to the main process, and the worker ends when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="roadseg-parent", daemon=True).start()
    _shared[:] = [shared]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _call(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_shared[0], task)
