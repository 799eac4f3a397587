"""Worker processes: one function over many tasks, results in order and only few of them waiting.

This process is one of them: it works from the beginning, while the others start and import, and whenever they have
enough to do. So a raster that is done before they are ready does not wait for them.
"""

import gc
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from roadseg.files.worker_process import WorkerProcess

Task = TypeVar("Task")
Result = TypeVar("Result")

_GIVEN = 2
"""So many tasks each other process has at a time: one that it works on, and the next."""

_AHEAD = 4
"""At most so many tasks per process are drawn whose results, or those of earlier ones, were not taken."""

_shared: list[Any] = []
"""In a worker process, the one value that all calls share."""

_early: list[WorkerProcess] = []
"""Processes that were started early and that no pool has at present."""


@contextmanager
def early_workers(count: int, module: str) -> Iterator[None]:
    """Context manager that starts worker processes, which import a module; pools take them before they start others."""
    _early.extend(WorkerProcess(module) for _ in range(count))
    try:
        yield
    finally:
        while _early:
            _early.pop().close()


def map_in_processes(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Yield what a function, which must be picklable, makes of tasks, in order; this process is one of the workers."""
    with WorkerPool(function, workers) as pool:
        yield from pool.map(_applied, tasks)


def _applied(function: Callable[[Task], Result], task: Task) -> Result:
    return function(task)


class WorkerPool:
    """Processes that share one value, such as the function that reads a raster: this one and others.

    Parameters
    ----------
    shared
        First argument of every call; sent to each process once.
    workers
        Number of processes, this one included.
    """

    # Tasks are drawn some time before they are done. Whoever is free takes the first of them:
    #
    #     tasks ──▶ drawn ──┬─▶ this process ─────────────┬─▶ outcomes, in the order of the tasks
    #                       └─▶ two calls of each worker ─┘

    def __init__(self, shared: Any, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.shared, self.workers = shared, workers
        self._borrowed = [_early.pop() for _ in range(min(workers - 1, len(_early)))]
        self._others = self._borrowed + [WorkerProcess() for _ in range(workers - 1 - len(self._borrowed))]
        self._ready: list[Future[None]] = []
        self._drawn: deque[_Job] = deque()
        self._lock = threading.RLock()
        for worker in self._others:
            worker.call(_share, shared)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._others:
            if worker in self._borrowed and kind is None and worker.is_alive():
                _early.append(worker)
            else:
                worker.close()

    def map(self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield ``function(shared, task)`` for each task, in order; the function must be defined in a module."""
        if not self._others:
            for task in tasks:
                yield function(self.shared, task)
            return
        self._prepare(function)
        waiting: deque[Future[Result]] = deque()
        rest = iter(tasks)
        try:
            while True:
                drawn = [_Job(function, task) for task in itertools.islice(rest, _AHEAD * self.workers - len(waiting))]
                self._drawn.extend(drawn)
                waiting.extend(job.outcome for job in drawn)
                if not waiting:
                    return
                self._hand_out()
                if waiting[0].done() or not self._do_one():
                    yield waiting.popleft().result()
        finally:
            self._prepare(function)

    def start(self, function: Callable[[Any, Task], object], tasks: Iterable[Task]) -> None:
        """Have other processes do tasks while this one does something else, until it calls ``map``.

        Tasks may be left undone, and what they raise is not seen.
        """
        self._prepare(function)
        with self._lock:
            self._drawn.extend(_Job(function, task) for task in tasks)
        self._hand_out()

    def _prepare(self, function: Callable[..., Any]) -> None:
        """Drop tasks of before; have processes import what a function needs, if they have not done anything yet."""
        with self._lock:
            self._drawn.clear()
            if not self._ready:
                self._ready = [worker.call(_get_ready, function) for worker in self._others]
                for ready in self._ready:
                    ready.add_done_callback(self._hand_out)

    def _hand_out(self, _: object = None) -> None:
        """Give tasks to processes that are ready for them; the last one that was drawn to one that has nothing else."""
        with self._lock:
            for worker, ready in zip(self._others, self._ready, strict=True):
                while ready.done() and self._drawn and worker.unanswered() < (_GIVEN if len(self._drawn) > 1 else 1):
                    job = self._drawn.popleft()
                    answer = worker.call(_call, job.function, job.task)
                    answer.add_done_callback(partial(_pass_on, job.outcome))
                    answer.add_done_callback(self._hand_out)

    def _do_one(self) -> bool:
        """Do the next task in this process; what it raises is raised when its turn comes. False if there is none."""
        with self._lock:
            job = self._drawn.popleft() if self._drawn else None
        if job is None:
            return False
        try:
            job.outcome.set_result(job.function(self.shared, job.task))
        except Exception as error:  # noqa: BLE001  (raised by outcome.result())
            job.outcome.set_exception(error)
        return True


@dataclass(frozen=True)
class _Job:
    """A task, what is to be done with it, and what will come of it."""

    function: Callable[[Any, Any], Any]
    task: Any
    outcome: Future[Any] = field(default_factory=Future)


def _pass_on(outcome: Future[Result], done: Future[Result]) -> None:
    """Give one future the outcome of another."""
    if error := done.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(done.result())


def _share(shared: Any) -> None:
    _shared[:] = [shared]


def _call(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_shared[0], task)


def _get_ready(_: Callable[..., Any]) -> None:
    """Say that a worker has started: it has imported what a function needs, which is not searched for garbage."""
    gc.freeze()
