"""Worker processes: one function over many tasks, results in order and only few of them waiting.

This process is one of them: it works from the beginning, while the others start and import, and whenever they have
enough to do. So a raster that is done before they are ready does not wait for them. Each of the others is at the end of
a pipe; two threads here send it calls and receive its answers.
"""

import gc
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from roadseg.errors import RoadsegError

Task = TypeVar("Task")
Result = TypeVar("Result")

_GIVEN = 2
"""So many tasks each other process has at a time: one that it works on, and the next."""

_AHEAD = 4
"""At most so many tasks per process are drawn whose results, or those of earlier ones, were not taken."""

_shared: list[Any] = []
"""In a worker process, the one value that all calls share."""

_early: "list[_Worker]" = []
"""Processes that were started early and that no pool has at present."""


@contextmanager
def early_workers(count: int, module: str) -> Iterator[None]:
    """Context manager that starts worker processes, which import a module; pools take them before they start others."""
    _early.extend(_Worker(module) for _ in range(count))
    try:
        yield
    finally:
        while _early:
            _early.pop().close()


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
        self._others = self._borrowed + [_Worker() for _ in range(workers - 1 - len(self._borrowed))]
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
        """Have other processes do tasks while this one does something else, until it calls `map`.

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


class _Worker:
    """Another process, which answers calls in their order.

    Parameters
    ----------
    module
        What it imports before the first call.
    """

    def __init__(self, module: str = "") -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, far_end = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(far_end, module), name="roadseg-worker", daemon=True)
        self._unanswered: deque[Future[Any]] = deque()
        self._ended: Exception | None = None
        self._lock = threading.Lock()
        self._receiver = threading.Thread(target=self._receive, name="roadseg-answers", daemon=True)
        # In a thread of its own, no KeyboardInterrupt can leave a process half started, and nobody waits for it.
        self._sender = ThreadPoolExecutor(1, "roadseg-calls", initializer=_block_signals)
        self._started = self._sender.submit(self._start, far_end)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Have a function called there; it must be defined in a module."""
        answer: Future[Result] = Future()
        with self._lock:
            ended = self._ended
            if ended is None:
                self._unanswered.append(answer)
                self._sender.submit(self._send, answer, (function, arguments))
        if ended is not None:
            answer.set_exception(ended)
        return answer

    def unanswered(self) -> int:
        """Return the number of calls that were not answered yet."""
        return len(self._unanswered)

    def is_alive(self) -> bool:
        """Return whether it has not ended, as far as is known."""
        return self._ended is None

    def close(self) -> None:
        """End the process at once, whatever it does."""
        with suppress(Exception):
            self._started.result()
            self._process.kill()
            self._receiver.join()
            self._process.join()
            self._process.close()
        self._sender.shutdown(cancel_futures=True)
        self._pipe.close()

    def _start(self, far_end: "Connection[Any, Any]") -> None:
        try:
            self._process.start()
            self._receiver.start()
        except Exception as error:
            self._end(error)
            raise
        finally:
            far_end.close()

    def _send(self, answer: Future[Any], call: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        try:
            self._pipe.send(call)
        except OSError:
            pass  # it has ended, and so will the thread that receives its answers
        except Exception as error:  # noqa: BLE001  (it cannot be pickled)
            self._unanswered.remove(answer)
            answer.set_exception(error)

    def _receive(self) -> None:
        while True:
            try:
                is_result, value = self._pipe.recv()
            except (EOFError, OSError):
                self._end(RoadsegError("a worker process was killed, maybe for lack of memory; use fewer --workers"))
                return
            except Exception as error:  # noqa: BLE001  (it cannot be unpickled)
                is_result, value = False, error
            answer = self._unanswered.popleft()
            if is_result:
                answer.set_result(value)
            else:
                answer.set_exception(value)

    def _end(self, error: Exception) -> None:
        with self._lock:
            self._ended = error
        while self._unanswered:
            self._unanswered.popleft().set_exception(error)


def _pass_on(outcome: Future[Result], done: Future[Result]) -> None:
    """Give one future the outcome of another."""
    if error := done.exception():
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


def _work(pipe: "Connection[Any, Any]", module: str) -> None:
    """Answer calls until the main process kills this one, or ends; Ctrl-C and SIGTERM are left to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, calls), name="roadseg-calls", daemon=True).start()
    if module:
        import_module(module)
    while True:
        answer = _answer(calls.get())
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:  # noqa: BLE001  (it cannot be pickled)
            pipe.send((False, error))


def _listen(pipe: "Connection[Any, Any]", calls: "SimpleQueue[bytes]") -> None:
    """Receive calls, so that nobody waits with sending them; end this process when the main process has ended."""
    with suppress(EOFError, OSError):
        while True:
            calls.put(pipe.recv_bytes())
    os._exit(1)


def _answer(call: bytes) -> tuple[bool, Any]:
    """Return whether a call succeeds, and its result or what it raises; unpickling it imports what it needs."""
    try:
        function, arguments = ForkingPickler.loads(call)
        return True, function(*arguments)
    except Exception as error:  # noqa: BLE001  (raised by the main process)
        return False, error


def _share(shared: Any) -> None:
    _shared[:] = [shared]


def _call(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_shared[0], task)


def _get_ready(_: Callable[..., Any]) -> None:
    """Say that a worker has started: it has imported what a function needs, which is not searched for garbage."""
    gc.freeze()
