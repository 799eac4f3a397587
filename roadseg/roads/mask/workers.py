"""Worker processes: one function over many tasks, results in order and only few of them waiting.

This process is one of them: it works from the beginning, while the others start and import, and whenever they have
enough to do. So a raster that is done before they are ready does not wait for them.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_GIVEN = 2
"""So many tasks each other process has at a time: one that it works on, and the next."""

_AHEAD = 4
"""At most so many results per process wait for an earlier one."""

_shared: list[Any] = []
"""In a worker process, the one value that all calls share."""


class WorkerPool:
    """Processes that share one value, such as the function that reads a raster: this one and others.

    Parameters
    ----------
    shared
        First argument of every call; sent to each process once.
    workers
        Number of processes, this one included.
    """

    def __init__(self, shared: Any, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.shared, self.workers = shared, workers
        self._pool: futures.ProcessPoolExecutor | None = None
        self._ready: Future[None] | None = None
        if workers > 1:
            spawn = multiprocessing.get_context("spawn")
            self._pool = futures.ProcessPoolExecutor(workers - 1, spawn, initializer=_start, initargs=(shared,))
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
        self._ready = self._ready or self._submitted(self._pool, _get_ready, function)
        waiting: deque[Future[Result]] = deque()
        each = 1  # at first, so that two tasks are not given to one process
        for task in tasks:
            given = sum(not future.done() for future in waiting)
            if self._ready.done() and given < each * (self.workers - 1):
                waiting.append(self._submitted(self._pool, _call, function, task))
            else:
                waiting.append(_done_here(function, self.shared, task))
                each = _GIVEN
            while waiting and (waiting[0].done() or len(waiting) > _AHEAD * self.workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _submitted(
        self, pool: "futures.ProcessPoolExecutor", function: Callable[..., Result], *arguments: Any
    ) -> Future[Result]:
        """Hand a call to another process; this one goes on, though it may have to be started first."""
        outcome: Future[Result] = Future()

        def submit() -> None:
            try:
                pool.submit(function, *arguments).add_done_callback(partial(_pass_on, outcome))
            except Exception as error:  # noqa: BLE001  (raised by outcome.result())
                outcome.set_exception(error)

        self._submitter.submit(submit)
        return outcome


def _pass_on(outcome: Future[Result], done: Future[Result]) -> None:
    """Give one future the outcome of another."""
    if done.cancelled():
        outcome.cancel()
    elif error := done.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(done.result())


def _block_signals() -> None:
    """Let processes that this thread starts be born deaf to Ctrl-C and SIGTERM, which terminals send to all.

    A worker that dies before it has read its data leaves the writing end of its pipe waiting for ever.
    """
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

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


def _get_ready(_: Callable[..., Any]) -> None:
    """Say that a worker has started: it has imported what a function needs, which is not searched for garbage."""
    gc.freeze()


def _done_here(function: Callable[[Any, Task], Result], shared: Any, task: Task) -> Future[Result]:
    """Do a task in this process; what it raises is raised when its turn comes."""
    future: Future[Result] = Future()
    try:
        future.set_result(function(shared, task))
    except Exception as error:  # noqa: BLE001  (raised by future.result())
        future.set_exception(error)
    return future
