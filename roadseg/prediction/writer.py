"""Storing finished blocks, in several threads, while the next ones are predicted."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from roadseg.files.processors import file_threads
from roadseg.windows import Block


class BlockWriter:
    """Stores blocks in other threads; a context manager that waits for all of them at its end.

    Parameters
    ----------
    store
        Called with each block.
    threads
        Number of threads; by default one for every four processors, up to four.
    """

    def __init__(self, store: Callable[[Block], None], *, threads: int | None = None) -> None:
        threads = threads or file_threads()
        self._store, self._pool = store, ThreadPoolExecutor(threads, "roadseg-write")
        self._room = threading.Semaphore(threads + 1)
        self._error: BaseException | None = None

    def put(self, block: Block) -> None:
        """Store a block soon; wait while one more block is waiting than there are threads.

        Raises
        ------
        RoadsegError
            If a block before could not be stored.
        """
        self._room.acquire()
        if self._error:
            self._room.release()
            raise self._error
        self._pool.submit(self._store, block).add_done_callback(self._finish)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pool.shutdown()
        if self._error and kind is None:
            raise self._error

    def _finish(self, writing: Future[None]) -> None:
        self._error = self._error or writing.exception()
        self._room.release()
