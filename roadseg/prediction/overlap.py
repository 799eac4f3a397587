"""Several scenes at once: while one is predicted, the next one is opened and read, and the last one's outputs written.

    scene 1   open, read │ predict │ write
    scene 2                open, read │ predict │ write          the engine goes from one scene to the next
    scene 3                             open, read │ predict │ write

Each scene runs in a thread of its own. What it reports is passed on in the order of the scenes, as if they had come one
after the other. Scenes of several blocks begin to read only when it is their turn, so memory stays bounded.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import RLock
from typing import Any, TypeVar

from roadseg.errors import RoadsegError, UsageError
from roadseg.files.processors import processor_count
from roadseg.progress import Listener
from roadseg.raster.files import bounded_cache

Job = TypeVar("Job")
Result = TypeVar("Result")

_MOST_SCENES = 4
_LOOK_EVERY_S = 0.2
"""On Windows only a wait that ends by itself can be interrupted."""


def overlapped(
    jobs: Sequence[Job], process: Callable[[Job, Listener], Result], listener: Listener, *, at_once: int | None = None
) -> Iterator[Result | RoadsegError]:
    """Yield what became of each scene, in order: its result, or the error by which it failed.

    Parameters
    ----------
    jobs
        First arguments of ``process``.
    process
        Called in another thread, with a listener that passes on what it is told when it is this scene's turn. The
        listener raises KeyboardInterrupt when the run has been stopped.
    listener
        Receives the reports of all scenes, from one thread at a time.
    at_once
        Number of scenes at once; by default one for every two processors, two to four.

    Raises
    ------
    UsageError
        If an option does not fit; it would fail for every scene.
    """
    at_once = at_once or min(_MOST_SCENES, max(2, processor_count() // 2))
    reports, running, ahead = _Reports(listener), deque[Future[Result]](), iter(enumerate(jobs))
    # GDAL takes settings of the main thread for all others, which the scenes' own threads cannot change.
    with bounded_cache(), ThreadPoolExecutor(at_once, "roadseg-scene") as pool:
        try:
            for _ in jobs:
                for number, job in ahead:
                    running.append(pool.submit(process, job, reports.listener_of(number)))
                    if len(running) >= 2 * at_once:
                        break
                future = running.popleft()
                while not wait([future], _LOOK_EVERY_S).done:
                    continue
                yield _outcome(future)
                reports.pass_on_next()
        except BaseException:
            reports.stop()
            pool.shutdown(cancel_futures=True)
            raise


def _outcome(future: "Future[Any]") -> Any:
    """Return the result of a scene, or the error by which it failed alone."""
    try:
        return future.result()
    except UsageError:
        raise
    except RoadsegError as error:
        return error


class _Reports:
    """What scenes report: that of the first unfinished one is passed on at once, that of others when its turn comes."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._lock = listener, RLock()
        self._current, self._stopped = 0, False
        self._kept: dict[int, list[Callable[[], None]]] = {}

    def listener_of(self, number: int) -> Listener:
        """Return the listener of a scene."""
        to, take = self._listener, partial(partial, self._take, number)
        return Listener(take(to.report), take(to.warn), take(to.start), take(to.advance))

    def pass_on_next(self) -> None:
        """Pass on what the next scene has reported, and from now on what it reports."""
        with self._lock:
            self._current += 1
            for report in self._kept.pop(self._current, ()):
                report()

    def stop(self) -> None:
        """Interrupt every scene with its next report."""
        self._stopped = True

    def _take(self, number: int, function: Callable[..., None], *args: Any) -> None:
        if self._stopped:
            raise KeyboardInterrupt
        with self._lock:
            if number == self._current:
                function(*args)
            else:
                self._kept.setdefault(number, []).append(partial(function, *args))
